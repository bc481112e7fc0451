"""The exactly solvable reductions: two numbers for equicorrelated kernels, two logits for unequal clusters; against descent.

Tolerances without a comment are rounding, 1.1e-16 at a time: 1e-12 for 200 steps of two numbers; 1e-10 for 25 steps of up to 28 samples
with a kernel whose residuals may cancel to a hundredth; 1e-13 for a few hundred roundings in a formula.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import balanced_clusters, equicorrelated
from theory.dynamics import gradient_descent
from theory.losses import loss_values
from theory.reductions import (
    cosine_from_alpha_gap,
    equicorrelated_coupling,
    equicorrelated_descent,
    equicorrelated_flow,
    same_alpha_imbalance,
    turning_alpha,
    turning_time,
    two_cluster_alpha,
)
from theory.segment_history import segment_history
from theory.segments import Segments

# --- X5, X6: equicorrelated kernels


@pytest.mark.parametrize(
    ("size", "diagonal", "within", "between", "noise_level"),
    [(20, 1.0, 0.6, 0.2, 0.3), (10, 2.0, 1.9, -0.4, 0.1), (40, 1.0, 0.05, 0.0, 0.25)],
)
def test_two_numbers_describe_equicorrelated_descent(size: int, diagonal: float, within: float, between: float, noise_level: float) -> None:
    case = equicorrelated(size, diagonal=diagonal, within=within, between=between, noise_level=noise_level)
    rate = 4.0
    run = gradient_descent(case.kernel, case.observed, learning_rate=rate, steps=200)
    q = equicorrelated_coupling(diagonal, within, between, class_size=size)
    reduced = equicorrelated_descent(q, noise_level=noise_level, step=rate * (diagonal - within) / case.n, steps=200)
    margin = (2 * case.truth - 1) * run.logits
    tolerance = 1e-12 * max(1, np.abs(margin).max())
    np.testing.assert_allclose(
        margin[:, case.segments.clean()], reduced.clean_margin[:, None] * np.ones(case.segments.clean().sum()), rtol=0, atol=tolerance
    )
    np.testing.assert_allclose(
        margin[:, case.segments.noise()], reduced.noise_margin[:, None] * np.ones(case.segments.noise().sum()), rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("noise_level", [0.1, 0.3, 0.45])
@pytest.mark.parametrize("coupling", [10.0, 100.0, 1000.0])
def test_noisy_loss_turns_at_the_predicted_ratio(noise_level: float, coupling: float) -> None:
    """X6: on a fine time grid the maximum of z_n lies at α* exactly, and at s* within 5 % (q ≥ 10) where it turns late."""
    if coupling * (1 - 2 * noise_level) <= 1:
        with pytest.raises(ValueError, match="coupling must exceed"):
            turning_alpha(coupling, noise_level)
        return
    guess = turning_time(coupling, noise_level)
    times = np.concatenate([[0.0], np.linspace(0.5, 1.6, 4001) * guess])
    run = equicorrelated_flow(times, coupling=coupling, noise_level=noise_level)
    top = int(np.argmax(run.noise_margin))
    assert 1 < top < times.size - 1
    # dα/ds over one grid interval bounds the error of reading α at the grid's maximum.
    spacing = abs(run.alpha[top + 1] - run.alpha[top - 1])
    assert abs(run.alpha[top] - turning_alpha(coupling, noise_level)) <= spacing
    assert times[top] == pytest.approx(guess, rel=0.05)
    # Not the noisy loss only: X4's a = ρ happens there too, up to the private parts; the loss on noisy labels ln(1+e^{z_n}) has its peak.
    noisy_loss = loss_values(run.noise_margin, np.zeros_like(times))
    assert int(np.argmax(noisy_loss)) == top


def test_noise_is_never_fitted_without_private_parts() -> None:
    """Collapsed classes approach α = 1 and never turn; with private parts they turn, and noise is fitted in the end (D10)."""
    late = equicorrelated_flow([0.0, 1.0, 1e3], coupling=100.0, noise_level=0.3)
    assert late.noise_margin[1] > 0
    assert late.noise_margin[2] < -3
    collapsed = balanced_clusters(10, within=1.0, between=0.0, noise_level=0.3)
    run = gradient_descent(collapsed.kernel, collapsed.observed, learning_rate=4.0, steps=3000, record=[3000])
    assert ((2 * collapsed.truth - 1) * run.logits[0] > 0).all()


# --- D1, X10: two unequal clusters


def unequal(sizes: tuple[int, int], noise: tuple[int, int], kernel: np.ndarray) -> tuple[np.ndarray, Segments]:
    """Kernel ``[n, n]`` of two collapsed clusters and their segments."""
    truth = np.repeat([0, 1], sizes)
    place = np.concatenate([np.arange(sizes[0]), np.arange(sizes[1])])
    observed = np.where(place < np.repeat(noise, sizes), 1 - truth, truth)
    return kernel[np.ix_(truth, truth)], Segments.from_labels(truth, observed)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_two_cluster_map_is_the_descent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = tuple(int(v) for v in rng.integers(2, 15, 2))
    noise = tuple(int(rng.integers(1, size)) for size in sizes)
    factor = rng.normal(size=(2, 2))
    small = factor @ factor.T + 0.1 * np.eye(2)
    small = (small + small.T) / 2
    kernel, segments = unequal(sizes, noise, small)
    start = rng.normal(size=2)
    rate = float(rng.uniform(0.1, 2))
    run = gradient_descent(kernel, segments.observed, learning_rate=rate, steps=25, initial_logits=start[segments.truth])
    levels = [noise[c] / sizes[c] for c in (0, 1)]
    alpha = two_cluster_alpha(small, sizes=sizes, noise_levels=levels, learning_rate=rate, steps=25, initial_logits=start)
    np.testing.assert_allclose(alpha, segment_history(kernel, run.logits, segments).alpha, rtol=1e-10)


def test_one_alpha_needs_the_identity_condition() -> None:
    """n_1(k_11+k_10) = n_0(k_00+k_01): equal for ever if it holds, apart at once if not (D1)."""
    kernel = np.array([[2.0, 0.5], [0.5, 1.25 - 1 / 3]])
    sizes = (17, 30)
    kernel[1, 1] = sizes[0] * (kernel[0, 0] + kernel[0, 1]) / sizes[1] - kernel[1, 0]
    options = {"noise_levels": [0.3, 0.3], "learning_rate": 2.0, "steps": 200}
    assert same_alpha_imbalance(kernel, sizes=sizes) == pytest.approx(0, abs=1e-14)
    alpha = two_cluster_alpha(kernel, sizes=sizes, **options)
    np.testing.assert_allclose(alpha[:, 0], alpha[:, 1], rtol=1e-12)
    apart = two_cluster_alpha([[1.0, 0.6], [0.6, 1.0]], sizes=(20, 80), **options)
    assert np.abs(apart[:, 0] - apart[:, 1]).max() > 0.3  # the catalogue: up to .37 at 80/20


@pytest.mark.parametrize(("k00", "k10"), [(1.0, 0.3), (1.0, 0.6), (2.0, 0.45), (2.0, 0.55)])
def test_minority_alpha_falls_at_first_iff_outweighed(k00: float, k10: float) -> None:
    """D10, class-wise: from f = ½ with one δ, α^(0) falls in the first step if and only if n_0 k_00 < n_1 k_10."""
    sizes = (20, 80)
    alpha = two_cluster_alpha([[k00, k10], [k10, 1.0]], sizes=sizes, noise_levels=[0.3, 0.3], learning_rate=0.1, steps=1)
    assert (alpha[1, 0] < alpha[0, 0]) == (sizes[0] * k00 < sizes[1] * k10)


def test_cosine_under_an_alpha_gap() -> None:
    """Explicit features: two collapsed clean gradients of equal norm, ratios α^(0) ≠ α^(1) (D1)."""
    within, between = 1.0, 0.4
    features = np.linalg.cholesky(np.array([[within, between], [between, within]]))
    toward = np.stack([features[0], -features[1]])  # clean gradients of class 0 and class 1
    for alpha in ([0.5, 0.5], [0.9, 0.95], [0.99, 0.93], [1.3, 1.2]):
        step = (1 - np.array(alpha)) @ toward
        truth = toward.sum(axis=0)
        cosine = step @ truth / np.linalg.norm(step) / np.linalg.norm(truth)
        assert float(cosine_from_alpha_gap(alpha, within=within, between=between)) == pytest.approx(cosine, abs=1e-13)
    assert np.isnan(cosine_from_alpha_gap([1.0, 1.0], within=1.0, between=0.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equicorrelated_coupling(1.0, 1.0, 0.0, class_size=3), "diagonal > within > between must hold, got 1, 1, 0"),
        (
            lambda: equicorrelated_flow([1.0, 0.0], coupling=1.0, noise_level=0.3),
            "times must be [T] increasing numbers >= 0, got [1.0, 0.0]",
        ),
        (lambda: turning_time(10.0, 0.0), "noise_level must lie in (0, 0.5) for a noisy loss to turn, got 0.0"),
        (
            lambda: two_cluster_alpha(np.eye(2), sizes=[1, 0], noise_levels=[0, 0], learning_rate=1, steps=1),
            "sizes must be at least 1e-50, got [1.0, 0.0]",
        ),
        (
            lambda: two_cluster_alpha(np.eye(2), sizes=[1, 2], noise_levels=[0, 1], learning_rate=1, steps=1),
            "noise_levels must lie in [0, 1)",
        ),
        (
            lambda: two_cluster_alpha(np.eye(3), sizes=[1, 2], noise_levels=[0, 0], learning_rate=1, steps=1),
            "kernel must be a symmetric [2, 2]",
        ),
        (lambda: same_alpha_imbalance(np.eye(2), sizes=[1, 2, 3]), "sizes must hold two numbers, got shape [3]"),
        (lambda: cosine_from_alpha_gap([0.5], within=1.0, between=0.5), "alpha must hold pairs [..., 2] of numbers >= 0, got [0.5]"),
        (lambda: cosine_from_alpha_gap([0.5, 0.5], within=1.0, between=1.0), "within must exceed |between| = 1, got 1.0"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
