"""Figure 2 [A], [B]: the angle between gradients against the angle between inputs, at width 512, for networks of several depths."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

from empirical.inference import simultaneous_band
from reports.evidence import Agreement
from theory.angles import cos_gradient_angle, gradient_angle

Array = NDArray[np.float64]
CURVES = [(activation, depth) for activation in ("linear", "relu") for depth in (1, 2, 4)]  # the papers' 2, 3 and 5 layers

SHOWN = [curve for curve in CURVES if curve not in (("linear", 2), ("linear", 4))]  # as in the paper: the linear curves coincide

# A curve is taken for that of its own depth if, on the way to the curve of a neighbouring depth (0 here, 1 there), it stands in the first
# half. Finite width moves it by O(L/m), a few hundredths. SCATTER: standard deviation of that position in one ReLU network, at most, by
# depth; a linear network's, towards the far curve of ReLU networks, is below 0.1 at every depth.
HALF_WAY, SCATTER = 0.5, {1: 0.1, 2: 0.2, 4: 0.65}


@pytest.mark.claim("F2")
@pytest.mark.regime("networks at initialisation, width 512", "unit circle")
@pytest.mark.experiments(*(f"figure-2-{activation}-depth-{depth}" for activation, depth in CURVES))
def test_measured_curves_are_the_limits_of_their_depth(agreement: Agreement) -> None:
    arrays: dict[str, Array] = {}
    for activation, depth in CURVES:
        sample = agreement.measure(f"figure-2-{activation}-depth-{depth}")
        theta, n, m = sample.angle.values, sample.sizes["seed"], 512
        inner = slice(1, -1)  # identical and opposite inputs: the angle does not vary
        measured = cosine(sample)
        limit = cos_gradient_angle(theta, depth=depth, activation=activation)

        # Point by point. The bias of cos θ_h is O(L/m); its constant is 0.16 at L = 1 and taken as 1. The standard deviation in one network
        # is at most 0.55 √(L/m) (0.53 at L = 1); Student's quantile for 64 networks or more is at most 1.5 times the normal one, 5.6.
        k, error_rate = len(theta) - 2, agreement.error_rate
        half_width = 1.5 * 5.6 * 0.55 * np.sqrt(depth / m / n)
        band = simultaneous_band(measured[:, inner], error_rate=error_rate)
        agreement.check(
            f"cos θ_h, {activation}, L = {depth}, at {k} angles",
            prediction=limit[inner],
            estimate=band,
            margin={"finite width": depth / m, "sampling": 2 * half_width},
        )
        name = f"{'ReLU' if activation == 'relu' else 'linear'}, L = {depth}"
        degrees = np.degrees(np.arccos(np.clip(measured, -1, 1)))
        shown = simultaneous_band(degrees[:, inner], error_rate=error_rate)
        if (activation, depth) in SHOWN:
            arrays |= {
                f"{name}/x": np.degrees(theta[inner]),
                f"{name}/prediction": np.degrees(gradient_angle(theta[inner], depth=depth, activation=activation)),
                f"{name}/measured": np.asarray(shown.value),
                f"{name}/lower": np.asarray(shown.lower),
                f"{name}/upper": np.asarray(shown.upper),
            }
        # As a whole: the position of each network's curve on the way from its own limit to that of another depth (linear: to the ReLU's).
        others = {
            f"L = {other}": cos_gradient_angle(theta, depth=other) for other in (depth - 1, depth + 1) if other and activation == "relu"
        }
        for other, curve in (others or {"ReLU, L = 1": cos_gradient_angle(theta)}).items():
            way = curve - limit
            position = simultaneous_band(((measured - limit) @ way / (way @ way))[:, None], error_rate=error_rate)
            half_width = -stdtrit(n - 1, error_rate / 2) * (SCATTER[depth] if activation == "relu" else 0.1) / np.sqrt(n)
            assert HALF_WAY + 2 * half_width < 1  # power: a curve of the neighbouring depth is rejected
            margin = {"half of the way to the other curve": HALF_WAY}
            agreement.check(f"{name}: way from its curve (0) to {other} (1)", prediction=np.zeros(1), estimate=position, margin=margin)
            agreement.control(f"{name}: taken for {other}", prediction=np.ones(1), estimate=position, margin=margin)
    agreement.figure(
        "figure_2",
        title="Fig. 2: the angle between gradients follows that between inputs, width 512",
        caption="Equal to it in linear networks; in ReLU networks it rises steeply and hardly beyond 90°. Means over networks with "
        "simultaneous bands; lines: the limits of infinite width. L counts hidden layers. The curves of the three linear networks "
        "coincide; one is shown.",
        arrays=arrays,
        id="figure-2",
    )


def cosine(sample: xr.Dataset) -> Array:
    """Cosine of θ_h ``[seed, angle]``."""
    return np.asarray((sample.kernel_xz / np.sqrt(sample.kernel_xx * sample.kernel_zz)).values)
