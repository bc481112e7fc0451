"""Sec. 3.2 [A], Sec. 3 [B]: segment gradients at initialisation. "Other" competes, noise opposes; how sharply is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from reports.sequential import Normal
from tests.support.initial import FIGURE_4, InitialRegime, initial_regimes
from tests.support.paired import label_draws, paired
from theory.angles import gradient_angle, orthogonal_angle
from theory.initialization import class_kernel_means, expected_segments
from theory.kernels import ntk

Array = NDArray[np.float64]
NONE = {"none allowed": 0.0}
DRAWS = 20_000


@pytest.mark.claim("I3")
@initial_regimes(FIGURE_4)
def test_clean_gradients_of_two_classes_compete(agreement: Agreement, regime: InitialRegime) -> None:
    """θ_g = π − θ_h between clean samples of different classes: obtuse for every pair in the kernel, for the segments in networks."""
    data, run = regime.data(agreement), agreement.measure(regime.experiment)
    kernel, truth = ntk(data.train_inputs.astype(float)), data.train_truth
    scale = np.sqrt(np.diag(kernel))
    cosine = kernel / scale[:, None] / scale
    across, within = cosine[np.ix_(truth == 0, truth == 1)], cosine[np.ix_(truth == 1, truth == 1)]
    unit = data.train_inputs / np.linalg.norm(data.train_inputs, axis=1, keepdims=True)
    near = unit[truth == 0] @ unit[truth == 1].T > np.cos(orthogonal_angle())  # θ_d < 113.22°, the hypothesis K > 0 at one hidden layer
    acute = exact((across[near] <= 0).sum())
    agreement.check("acute angles θ_g among clean pairs across classes, θ_d < 113.22°", prediction=0, estimate=acute, margin=NONE)
    gram = np.asarray(run["gram"], dtype=float)
    between = gram[:, 0, 1] / np.sqrt(gram[:, 0, 0] * gram[:, 1, 1])
    estimate = mean_interval(between, error_rate=agreement.error_rate)
    agreement.check("networks: cos∠(g_other, g_clean) is negative", prediction=Range(upper=0), estimate=estimate, margin=NONE)
    sine = mean_interval(np.sqrt(1 - between**2), error_rate=agreement.error_rate)
    agreement.check("networks: sin∠(g_other, g_clean) is of order one, above ½", prediction=Range(lower=0.5), estimate=sine, margin=NONE)
    others = np.asarray(run["sample_cosines"], dtype=float)[:, truth == 0, 1]
    clean = np.asarray(run["observed"])[:, truth == 0] == 0
    # In networks the cosine of one sample scatters, and with enough of them some angle is acute: a network's least obtuse one is judged.
    agreement.sequential(
        "networks: cos∠(∇l_i, g_clean) of that sample of the other class which is nearest to acute",
        prediction=Range(upper=0),
        draw=lambda first, count: nearest_to_acute(agreement.replicates(regime.experiment, first, count), truth),
        sequence=Normal(),
        margin=NONE,
        start=len(others),
        cap=8 * len(others),
    )
    agreement.control("pairs within a class taken for pairs across", prediction=0, estimate=exact((within > 0).sum()), margin=NONE)
    beyond = np.cos(gradient_angle(np.deg2rad(142.0)))
    agreement.control("inputs 142° apart, one hidden layer: K > 0", prediction=Range(lower=0), estimate=exact(beyond), margin=NONE)
    angles = 180 - np.degrees(np.arccos(across))
    agreement.note(
        f"θ_g across classes: {angles.mean():.1f}° on average, at least {angles.min():.1f}°; {(~near).sum()} of {near.size} pairs have "
        f"θ_d > 113.22°. Segments in networks: {np.degrees(np.arccos(between)).mean():.1f}°; {(others[clean] >= 0).sum()} of {clean.sum()} "
        "samples of the other class at an acute angle to g_clean."
    )


def nearest_to_acute(run: xr.Dataset, truth: NDArray[np.int64]) -> Array:
    """Largest cosine between the clean gradient of class 1 and a clean sample of the other class, of each network ``[R]``."""
    others = np.asarray(run["sample_cosines"], dtype=float)[:, truth == 0, 1]
    clean = np.asarray(run["observed"])[:, truth == 0] == 0
    return np.asarray(np.where(clean, others, -1.0).max(axis=1))


@pytest.mark.claim("I4")
@initial_regimes(FIGURE_4, model="fixed kernel")
def test_expected_geometry_over_random_noisy_subsets(agreement: Agreement, regime: InitialRegime) -> None:
    """E<g_c, g_n> and E‖g_k‖² over uniformly random noisy subsets of one class, f = ½: exact at any size; E sin² to first order."""
    data = regime.data(agreement)
    block = ntk(data.train_inputs[data.train_truth == 1].astype(float))
    n = len(block)
    diagonal, off = class_kernel_means(block)
    for noise_level in (0.1, 0.3, 0.4):
        n_noise = round(noise_level * n)

        def subsets(rng: np.random.Generator, n_noise: int = n_noise) -> dict[str, Array]:
            found = subset_geometry(block, np.argsort(rng.random((DRAWS, n)), axis=1) < n_noise)
            return dict(zip(("inner", "clean", "noise", "angle"), found, strict=True))

        inner, clean, noise, angle = agreement.drawn(f"subsets, δ = {noise_level}", subsets, draws=DRAWS).values()
        expected = expected_segments(diagonal, off, n_clean=n - n_noise, n_noise=n_noise)
        predicted = np.array([expected.squared_clean_norm, expected.squared_noise_norm, expected.inner_product])
        samples = np.stack([clean, noise, inner], axis=1) / predicted
        estimate = mean_interval(samples, error_rate=agreement.error_rate / 3)
        # The expectations are exact: the margin is the discrepancy that this check is asked to see, one part in a hundred.
        agreement.check(
            f"E‖g_clean‖², E‖g_noise‖², E<g_clean, g_noise> over their formulas, δ = {noise_level}",
            prediction=np.ones(3),
            estimate=estimate,
            margin={"resolution asked for": 0.01},
        )
        along, beyond, spread = next_order(block, n_noise / n)
        margin = {
            "second order in sin²": 2 * expected.collinearity_gap,
            "second order along ĝ": beyond,
            "label draws": label_draws(spread, replicates=DRAWS, error_rate=agreement.error_rate),
        }
        turned = mean_interval(np.sin(angle) ** 2 / expected.collinearity_gap, error_rate=agreement.error_rate)
        agreement.check(
            f"E sin² over (K̄_d − K̄_o)/K̄_o · (1/n_c + 1/n_n), orthogonal part, δ = {noise_level}",
            prediction=1 - along,
            estimate=turned,
            margin=margin,
        )
        agreement.control(
            f"1/n_c for 1/n_c + 1/n_n, δ = {noise_level}", prediction=(1 - along) * noise_level, estimate=turned, margin=margin
        )
        order = np.argsort(block @ np.ones(n))  # the noisy samples are those least like their class
        chosen = (np.argsort(order) < n_noise)[None]
        biased = exact(subset_geometry(block, chosen)[0][0] / expected.inner_product)
        agreement.control(f"noise chosen by input, δ = {noise_level}", prediction=1, estimate=biased, margin={"resolution asked for": 0.01})


@pytest.mark.claim("I4")
@initial_regimes(FIGURE_4)
def test_angle_in_networks(agreement: Agreement, regime: InitialRegime) -> None:
    """Angle between noisy and clean segment gradient in wide networks with output 0, each with its own label draw."""
    data, run = regime.data(agreement), agreement.measure(regime.experiment)
    truth = data.train_truth
    kernel = ntk(data.train_inputs.astype(float))
    measured, predicted = angles_of(run, kernel, truth)
    prediction, estimate = paired(measured, predicted, error_rate=agreement.error_rate)
    # sin² is a ratio of quadratic forms in K whose entries fluctuate by √(3/m) at most (G2): relative √(3/m) on sin², half on the angle;
    # averaged over the networks this leaves its square, 3/m, and the mean's own spread, planned at twice its half-width.
    departure = 180 - predicted.mean()
    width = 512
    planned = label_draws(departure * np.sqrt(3 / width) / 2, replicates=len(measured), error_rate=agreement.error_rate)
    # Where a class is narrow, as in the clusters, K̄_d − K̄_o is a small difference that scatters more than that: more networks are drawn.
    agreement.sequential(
        "angle between noisy and clean segment gradient less that of the label draw",
        prediction=0.0,
        draw=lambda first, count: np.subtract(*angles_of(agreement.replicates(regime.experiment, first, count), kernel, truth)),
        sequence=Normal(),
        margin={"finite width": departure * 3 / width, "sampling": planned},
        start=len(measured),
        cap=8 * len(measured),
        unit="°",
    )
    agreement.control("noisy gradient taken for clean", prediction=180 - prediction, estimate=estimate, margin={"finite width": departure})


def angles_of(run: xr.Dataset, kernel: Array, truth: NDArray[np.int64]) -> tuple[Array, Array]:
    """Mean over both classes of the angle between noisy and clean segment gradient ``[R]``, degrees: measured, and the theory's.

    The theory takes each network's own label draw: the quadratic forms of its masks in the infinite-width kernel.
    """
    observed = np.asarray(run["observed"])
    measured = np.degrees(np.arccos(-np.asarray(run["rho"], dtype=float))).mean(axis=1)
    blocks = [(kernel[np.ix_(truth == c, truth == c)], (observed != truth)[:, truth == c]) for c in (0, 1)]
    predicted = np.stack([np.degrees(subset_geometry(block, noisy)[3]) for block, noisy in blocks]).mean(axis=0)
    return measured, predicted


def next_order(block: Array, share: float) -> tuple[float, float, float]:
    """What E sin² over its first-order value leaves out, from the kernel of one class and the noisy share δ of it.

    With s = Σφ the noisy sum is δs + e, the clean one (1 − δ)s − e, and sin²∠ = ‖s‖²‖e_⊥‖²/(‖(1 − δ)s − e‖²‖δs + e‖²) exactly: only the
    part of e orthogonal to s turns the gradients. Of E‖e‖² ∝ K̄_d − K̄_o the share along s is Var(k)·n/(n − 1)/(Σk·(K̄_d − K̄_o)), k the row
    sums. With x = e_∥/‖s‖ the denominator brings the factor 1 + 2x(1/(1 − δ) − 1/δ) + x²(3/(1 − δ)² + 3/δ² − 4/(δ(1 − δ))) + …, of
    which the first term counts only as far as x and ‖e_⊥‖² are correlated; ‖e_⊥‖² has the relative variance 2/q, q = (tr C)²/tr C² the
    degrees of freedom of the centred kernel C.

    Returns:
        The share along s; a bound on what the second order along s adds, relative; standard deviation of the ratio in one draw.
    """
    n, rows = len(block), block.sum(axis=1)
    diagonal, off = class_kernel_means(block)
    along = rows.var() * n / (n - 1) / (rows.sum() * (diagonal - off))
    x = np.sqrt(share * (1 - share) * n**2 / (n - 1) * rows.var()) / rows.sum()
    centred = block - rows[:, None] / n - rows[None] / n + rows.sum() / n**2
    freedom = np.trace(centred) ** 2 / np.sum(centred**2)
    first, second = 2 * abs(1 / (1 - share) - 1 / share), 3 / (1 - share) ** 2 + 3 / share**2 - 4 / (share * (1 - share))
    beyond = first * x * np.sqrt(2 / freedom) + second * x**2
    return float(along), float(beyond), float(np.hypot(np.sqrt(2 / freedom), first * x))


def subset_geometry(block: Array, noisy: NDArray[np.bool_]) -> tuple[Array, Array, Array, Array]:
    """<g_clean, g_noise>, ‖g_clean‖², ‖g_noise‖² and the angle ``[draws]`` of one class with residuals ∓½, for masks ``[draws, n]``."""
    clean, noise = -0.5 * ~noisy, 0.5 * noisy
    moved = noise @ block
    inner, noise_norm = np.einsum("dn,dn->d", clean, moved), np.einsum("dn,dn->d", noise, moved)
    clean_norm = np.einsum("dn,dn->d", clean, clean @ block)
    return inner, clean_norm, noise_norm, np.arccos(np.clip(inner / np.sqrt(clean_norm * noise_norm), -1, 1))
