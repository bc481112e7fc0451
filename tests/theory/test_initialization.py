"""Geometry at initialisation: closed forms against complete enumeration of label draws and explicit features.

Random assertions use |z| < 6: 2e-9 each under the normal law.

Tolerances without a comment are rounding, 1.1e-16 at a time: 1e-14 for sums over a dozen samples, 1e-13 for up to 128 draws of labels one
after the other.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from theory.dynamics import gradient_descent
from theory.initialization import (
    class_kernel_means,
    expected_segments,
    initial_truth_cosine,
    parzen_margin,
    sample_segment_cosine,
)
from theory.initialization_multiclass import (
    initial_residuals,
)
from theory.segments import Segments, segment_geometry

Array = NDArray[np.float64]
Z = 6.0


def random_kernel(seed: int, n: int, *, features: int = 6, shift: float = 0.8) -> tuple[Array, Array]:
    """Features with a common direction (positive mean kernel) and their kernel."""
    phi = np.random.default_rng(seed).standard_normal((n, features)) + shift
    return phi, phi @ phi.T


# --- segments of one class (I4, I5) ---


@pytest.mark.parametrize(("n", "n_noise"), [(5, 1), (7, 2), (7, 3)])
def test_expected_segments_are_averages_over_all_subsets(n: int, n_noise: int) -> None:
    phi, kernel = random_kernel(n, n)
    clean, noise, inner = [], [], []
    for subset in itertools.combinations(range(n), n_noise):
        noisy = np.isin(np.arange(n), subset)
        g_clean, g_noise = (-0.5 * phi[~noisy]).sum(axis=0), (0.5 * phi[noisy]).sum(axis=0)
        clean.append(g_clean @ g_clean)
        noise.append(g_noise @ g_noise)
        inner.append(g_clean @ g_noise)
    expected = expected_segments(*class_kernel_means(kernel), n_clean=n - n_noise, n_noise=n_noise)
    # Exact up to the rounding of a few dozen products.
    np.testing.assert_allclose(expected.squared_clean_norm, np.mean(clean), rtol=1e-13)
    np.testing.assert_allclose(expected.squared_noise_norm, np.mean(noise), rtol=1e-13)
    np.testing.assert_allclose(expected.inner_product, np.mean(inner), rtol=1e-13)
    np.testing.assert_allclose(expected.cosine, np.mean(inner) / math.sqrt(np.mean(clean) * np.mean(noise)), rtol=1e-13)
    np.testing.assert_allclose(math.cos(expected.angle), expected.cosine, rtol=1e-14)


def test_expected_segments_scale_with_the_residuals_of_many_classes() -> None:
    classes = 10
    expected = expected_segments(2.0, 1.0, n_clean=700, n_noise=300, clean_residual=1 - 1 / classes, noise_residual=1 / classes)
    # n → ∞: (C−1)(1−δ)/δ = 21; the finite-sample term is (1 − (1/300 − 1/700))^½.
    assert expected.norm_ratio == pytest.approx(21 * math.sqrt((1 + 1 / 700) / (1 + 1 / 300)), rel=1e-13)


def test_worked_example_of_one_digit() -> None:
    # N = 400: the ratio 8.903 at δ = .1 fixes K̄_d/K̄_o = 1 + e from 81(e/360+1)/(e/40+1) = 8.903²; the three angles of the catalogue follow.
    square = 8.903**2 / 81
    excess = (1 - square) / (square / 40 - 1 / 360)
    for delta, degrees in [(0.1, 170.58), (0.3, 173.80), (0.4, 174.20)]:
        n_noise = round(400 * delta)
        expected = expected_segments(1 + excess, 1.0, n_clean=400 - n_noise, n_noise=n_noise)
        assert math.degrees(expected.angle) == pytest.approx(degrees, abs=0.04)  # 8.903 ± .0005 moves e by 1 %, the angle by .05° at most
        assert math.pi - expected.angle == pytest.approx(math.asin(math.sqrt(expected.collinearity_gap)), rel=0.02)  # first order in 1/n_n


@given(st.floats(0.01, 0.49), st.integers(10, 10_000), st.floats(0, 50))
@settings(max_examples=100, deadline=None)
def test_finite_sample_ratio_is_below_its_limit(delta: float, n: int, excess: float) -> None:
    n_noise = max(1, round(delta * n))
    if n_noise >= n - n_noise:
        return
    expected = expected_segments(1 + excess, 1.0, n_clean=n - n_noise, n_noise=n_noise)
    limit = (n - n_noise) / n_noise
    assert 1 < expected.norm_ratio <= limit * (1 + 1e-12)
    assert -1 <= expected.cosine < 0
    assert expected.norm_ratio == pytest.approx(limit, rel=excess / n_noise + 1e-12)


def test_ratio_at_centred_output_is_what_a_kernel_gives() -> None:
    # The closed form against Segments and segment_geometry, averaged over 4000 uniformly random noisy sets.
    n, n_noise = 60, 24
    _, kernel = random_kernel(3, n)
    rng = np.random.default_rng(4)
    squares = []
    for _ in range(4000):
        observed = np.ones(n, dtype=np.int64)
        observed[rng.choice(n, n_noise, replace=False)] = 0
        geometry = segment_geometry(kernel, 0.5 - observed, Segments.from_labels(np.ones(n, dtype=np.int64), observed))
        squares.append([geometry.clean_norm[1] ** 2, geometry.noise_norm[1] ** 2])
    sample = np.array(squares)
    expected = expected_segments(*class_kernel_means(kernel), n_clean=n - n_noise, n_noise=n_noise)
    z = (sample.mean(axis=0) - [expected.squared_clean_norm, expected.squared_noise_norm]) / (sample.std(axis=0) / math.sqrt(len(sample)))
    assert np.all(np.abs(z) < Z)
    # Control: clean and noise exchanged.
    assert abs(sample[:, 0].mean() - expected.squared_noise_norm) / (sample[:, 0].std() / math.sqrt(len(sample))) > Z


# --- sample angles (I1-I3) ---


def test_sample_cosines_agree_with_explicit_gradients() -> None:
    phi, kernel = random_kernel(1, 12)
    rng = np.random.default_rng(2)
    residuals = rng.uniform(-1, 1, 12)
    members = np.arange(12) < 5
    gradients = residuals[:, None] * phi
    segment = gradients[members].sum(axis=0)
    exact = gradients @ segment / np.linalg.norm(gradients, axis=1) / np.linalg.norm(segment)
    np.testing.assert_allclose(sample_segment_cosine(kernel, residuals, members), exact, rtol=0, atol=1e-14)
    # Tiny residuals have the same directions: their squares must not underflow.
    np.testing.assert_allclose(sample_segment_cosine(kernel, 1e-200 * residuals, members), exact, rtol=0, atol=1e-14)
    # A flipped label (residual of the other sign) reverses the direction exactly, whatever its size (I1).
    flipped = np.where(members, residuals, -0.3 * residuals)
    np.testing.assert_allclose(sample_segment_cosine(kernel, flipped, members)[5:], -exact[5:], rtol=0, atol=1e-14)


def test_sample_cosines_of_many_classes_agree_with_explicit_gradients() -> None:
    phi, kernel = random_kernel(5, 9)
    residuals = initial_residuals([0, 1, 2, 0, 1, 2, 3, 3, 0], n_classes=4)
    members = np.array([True] * 4 + [False] * 5)
    gradients = np.einsum("ic,ip->icp", residuals, phi).reshape(9, -1)
    segment = gradients[members].sum(axis=0)
    exact = gradients @ segment / np.linalg.norm(gradients, axis=1) / np.linalg.norm(segment)
    np.testing.assert_allclose(sample_segment_cosine(kernel, residuals, members), exact, rtol=0, atol=1e-14)


def test_zero_residual_has_no_direction() -> None:
    cosines = sample_segment_cosine(np.eye(3), [0.5, 0.0, -0.5], [True, False, False])
    assert np.isnan(cosines).tolist() == [False, True, False]


# --- direction of the noisy gradient, and the Parzen classifier (D4, D9) ---


@pytest.mark.parametrize("delta", [0.0, 0.2, 0.4, 0.7])
def test_truth_cosine_is_a_ratio_of_exact_expectations(delta: float) -> None:
    _, kernel = random_kernel(6, 7)
    truth = np.array([0, 0, 0, 1, 1, 1, 1])
    signs = 2.0 * truth - 1
    cross = square = 0.0
    for flips in itertools.product((1, -1), repeat=7):
        weight = math.prod(delta if flip < 0 else 1 - delta for flip in flips)
        s = signs * np.array(flips)
        cross += weight * s @ kernel @ signs
        square += weight * s @ kernel @ s
    exact = cross / math.sqrt(square * (signs @ kernel @ signs))
    assert initial_truth_cosine(kernel, truth, delta) == pytest.approx(exact, abs=1e-13)


@pytest.mark.parametrize("counts", [(0, 0), (1, 2), (3, 1), (2, 4)])
def test_truth_cosine_with_exact_counts(counts: tuple[int, int]) -> None:
    _, kernel = random_kernel(7, 7)
    truth = np.array([0, 1, 0, 1, 1, 0, 1])
    signs = 2.0 * truth - 1
    draws = itertools.product(itertools.combinations([0, 2, 5], counts[0]), itertools.combinations([1, 3, 4, 6], counts[1]))
    forms = []
    for chosen in draws:
        s = signs.copy()
        s[[*chosen[0], *chosen[1]]] *= -1
        forms.append((s @ kernel @ signs, s @ kernel @ s))
    cross, square = np.mean(forms, axis=0)
    exact = cross / math.sqrt(square * (signs @ kernel @ signs))
    assert initial_truth_cosine(kernel, truth, 0.3, n_noise=counts) == pytest.approx(exact, abs=1e-13)


@pytest.mark.parametrize(
    ("truth", "counts", "exact"),
    [([0, 1], (0, 0), 1.0), ([0, 1], (1, 0), 0.0), ([0, 1], (1, 1), -1.0), ([1, 1], (0, 1), 0.0), ([0, 0], (2, 0), -1.0)],
)
def test_truth_cosine_of_classes_of_one_sample_or_none(truth: list[int], counts: tuple[int, int], exact: float) -> None:
    # Orthogonal features: the cosine is the mean of s_i ŝ_i.
    assert initial_truth_cosine(np.eye(2), truth, 0.3, n_noise=counts) == pytest.approx(exact, abs=1e-14)


def test_parzen_margin_is_the_first_descent_step() -> None:
    _, kernel = random_kernel(8, 20, shift=0.2)
    observed = np.random.default_rng(9).integers(0, 2, 20)
    step = gradient_descent(kernel, observed, learning_rate=0.5, steps=1).logits[-1]
    np.testing.assert_allclose(
        parzen_margin(kernel, observed), (2 * observed - 1) * step * 2 / 0.5, rtol=0, atol=1e-13 * np.abs(kernel).max()
    )


def test_whole_minority_is_misdirected() -> None:
    # 700 against 200 with a common direction: every minority gradient disagrees with descent, as in the catalogue's imbalanced run.
    kernel = 0.5 * np.ones((900, 900)) + 0.1 * np.eye(900)
    observed = np.repeat([0, 1], [700, 200])
    agrees = parzen_margin(kernel, observed) > 0
    assert agrees[:700].all()
    assert not agrees[700:].any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_segments(1.0, 2.0, n_clean=2, n_noise=1), "mean_off_diagonal must be at most mean_diagonal = 1.0, got 2.0"),
        (lambda: expected_segments(1.0, 0.0, n_clean=2, n_noise=1), "mean_off_diagonal must be a positive"),
        (lambda: expected_segments(2.0, 1.0, n_clean=0, n_noise=1), "n_clean must be an integer >= 1, got 0"),
        (lambda: class_kernel_means([[1.0]]), "at least 2 samples"),
        (lambda: sample_segment_cosine(np.eye(2), [0.5, 0.5], [False, False]), "empty segment"),
        (lambda: sample_segment_cosine(np.eye(2), [0.5, 0.5], [1, 0]), "bool mask"),
        (lambda: sample_segment_cosine(np.eye(2), [0.5, 0.0], [False, True]), "that is not zero"),
        (lambda: sample_segment_cosine(np.eye(2), [0.5, 0.5, 0.1], [False, True]), r"shape \[2\] or \[2, C\], got \[3\]"),
        (lambda: initial_truth_cosine(np.eye(2), [0, 2], 0.1), "labels 0 and 1, got 2"),
        (lambda: initial_truth_cosine(np.eye(2), [0, 1], 1.0), r"noise_level must lie in \[0, 1\), got 1.0"),
        (lambda: initial_truth_cosine(np.eye(2), [0, 1], 0.1, n_noise=[2, 0]), "at most the size of class 0 in truth, 1, got 2"),
        (lambda: initial_truth_cosine(np.eye(2), [0, 1], 0.1, n_noise=[0]), "one count for each of the 2 classes"),
        (lambda: parzen_margin(np.eye(2), [0, 1, 1]), r"shape \[2\] to match the kernel, got \[3\]"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
