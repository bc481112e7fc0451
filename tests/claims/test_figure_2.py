"""Figure 2 [A], [B]: the angle between gradients against the angle between inputs, at width 512, for networks of several depths."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from empirical.inference import simultaneous_band
from reports.evidence import Agreement
from theory.angles import cos_gradient_angle, gradient_angle

Array = NDArray[np.float64]
CURVES = [(activation, depth) for activation in ("linear", "relu") for depth in (1, 2, 4)]  # the papers' 2, 3 and 5 layers

# A curve is taken for that of its own depth if, on the way to the curve of a neighbouring depth (0 here, 1 there), it stands in the first
# half. Finite width moves it by O(L/m), a few hundredths; one network scatters by at most 0.7 (L = 4 towards L = 5, width 512).
HALF_WAY, SCATTER = 0.5, 0.7


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
        degrees = np.degrees(np.arccos(np.clip(measured, -1, 1)))
        shown = simultaneous_band(degrees[:, inner], error_rate=error_rate)
        name = f"{'ReLU' if activation == 'relu' else 'linear'}, L = {depth}"
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
            assert 6 * SCATTER / np.sqrt(n) < 2 * HALF_WAY  # power: 6 > 5.0 = Student's quantile; a curve at 1 never reaches the margin
            margin = {"half of the way to the other curve": HALF_WAY}
            agreement.check(f"{name}: way from its curve (0) to {other} (1)", prediction=np.zeros(1), estimate=position, margin=margin)
            agreement.control(f"{name}: taken for {other}", prediction=np.ones(1), estimate=position, margin=margin)
    agreement.figure(
        "figure_2",
        title="Angle between gradients against angle between inputs, width 512",
        caption="Means over networks with simultaneous bands; the lines are the limits of infinite width. L counts hidden layers.",
        arrays=arrays,
        id="figure-2",
    )


def cosine(sample: xr.Dataset) -> Array:
    """Cosine of θ_h ``[seed, angle]``."""
    return np.asarray((sample.kernel_xz / np.sqrt(sample.kernel_xx * sample.kernel_zz)).values)
