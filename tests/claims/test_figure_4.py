"""Fig. 4 [A], [B]: angles between sample-wise gradients and the clean segment gradient of class 1, at initialisation, δ = 0.3."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import simultaneous_band
from reports.evidence import Agreement
from tests.support.histogram_bands import histogram_bands
from tests.support.initial import FIGURE_4, InitialRegime, initial_regimes
from theory.finite_width import ntk_moments
from theory.initialization import sample_segment_cosine
from theory.kernels import ntk

Array = NDArray[np.float64]
NAMES = ("clean", "noise", "other")
WIDTH = 512


@pytest.mark.claim("F4")
@initial_regimes(FIGURE_4)
def test_histograms(agreement: Agreement, regime: InitialRegime) -> None:
    """Mean angle of each segment's samples, network by network, against the closed form with the same label draw."""
    data, run = regime.data(agreement), agreement.measure(regime.experiment)
    kernel, truth = ntk(data.train_inputs.astype(float)), data.train_truth
    observed = np.asarray(run["observed"])
    measured = np.degrees(np.arccos(np.clip(run["sample_cosines"].values[:, :, 1], -1, 1)))
    predicted = np.stack([closed_form(kernel, truth, labels) for labels in observed])
    masks = segment_masks(truth, observed)
    means, wanted = (
        np.stack([[row[mask].mean() for mask in some] for row, some in zip(angles, masks, strict=True)]) for angles in (measured, predicted)
    )
    difference = simultaneous_band(means - wanted, error_rate=agreement.error_rate)
    # The largest standard deviation of one pair's angle (G2) bounds that of a segment's mean angle; 2h is planned from it. The bias of θ̂_h
    # is of order 1/m: the theory's own term at its largest, and as much again for the curvature of the segment mean.
    moments = ntk_moments(np.linspace(0.05, 3.0, 60), width=WIDTH)
    sd, bias = (float(np.degrees(np.max(np.abs(x)))) for x in (np.sqrt(moments.angle_variance), moments.angle_bias))
    seeds = len(measured)
    planned = 2 * 7.0 * sd / np.sqrt(seeds)  # the t quantile at 1e-6/3 with 31 degrees of freedom is 6.4
    margin = {"finite width": 2 * bias, "sampling": planned}
    shifted = type(difference)(
        value=wanted.mean(axis=0) + difference.value,
        lower=wanted.mean(axis=0) + difference.lower,
        upper=wanted.mean(axis=0) + difference.upper,
        confidence=difference.confidence,
        n_seeds=difference.n_seeds,
        method=f"{difference.method}, paired with the prediction",
        unit="°",
    )
    agreement.check("mean angle of clean, noisy and other samples", prediction=wanted.mean(axis=0), estimate=shifted, margin=margin)
    agreement.control("clean and noisy masks exchanged", prediction=wanted.mean(axis=0)[[1, 0, 2]], estimate=shifted, margin=margin)
    mixed = np.full(3, float(wanted.mean()))
    agreement.control("shuffled masks: one mean for all three", prediction=mixed, estimate=shifted, margin=margin)

    shown, mask = 0, masks[0]
    every = {name: [row[some[i]] for row, some in zip(measured, masks, strict=True)] for i, name in enumerate(NAMES)}
    arrays: dict[str, Array] = histogram_bands(every, predicted=[predicted[shown]])
    segment = np.degrees(np.arccos(-run["rho"].values[:, 1]))
    for name, members in zip(NAMES, mask, strict=True):
        arrays[f"{name}/angle"], arrays[f"{name}/predicted"] = measured[shown][members], predicted[shown][members]
    arrays["noise/segment"] = segment[[shown]]
    agreement.figure(
        "figure_4",
        id=f"figure-4-{regime.label}".lower().replace(" ", "-").replace("/", "-"),
        title=f"Fig. 4: directions of sample-wise gradients, {regime.label}",
        caption=f"Angles to the clean gradient of class 1 in one network of width {WIDTH}, with the closed form for its labels, "
        f"and in each bin the middle 80 % of {seeds} networks. Their means: clean {means[:, 0].mean():.1f}°, noise "
        f"{means[:, 1].mean():.1f}°, other {means[:, 2].mean():.1f}°.",
        arrays=arrays,
        labels={"x": "θ_g to the clean segment gradient (degrees)"},
    )


def closed_form(kernel: Array, truth: NDArray[np.int64], observed: NDArray[np.int64]) -> Array:
    """Angles of all samples to the clean gradient of class 1 at f = ½, degrees."""
    residual = np.where(observed == 1, -0.5, 0.5)
    members = (truth == 1) & (observed == 1)
    return np.degrees(np.arccos(np.clip(sample_segment_cosine(kernel, residual, members), -1, 1)))


def segment_masks(truth: NDArray[np.int64], observed: NDArray[np.int64]) -> list[list[NDArray[np.bool_]]]:
    """Per network: clean and noisy samples of class 1, and the clean samples of class 0."""
    return [[(truth == 1) & (y == 1), (truth == 1) & (y == 0), (truth == 0) & (y == 0)] for y in observed]
