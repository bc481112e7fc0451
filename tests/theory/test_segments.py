"""Segments and their geometry: kernel formulas against explicit features.

Tolerances without a comment: ROUNDING where sums do not cancel; 1e-12 and 1e-10 for means and ratios of at most a few hundred numbers of
both signs; 1e-9 for cosines and ratios of sums that may cancel to a thousandth; 1e-14, 1e-15 for a few roundings.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import balanced_clusters
from tests.support.oracles_segments import explicit_sums, random_problem
from theory.alpha import initial_alpha
from theory.segments import SegmentGeometry, Segments, segment_geometry
from theory.truth_gradient import TruthGeometry, segment_residuals

# Inner products of n <= 40 terms with condition below 1e3: rounding of a few n·eps·cond, 1e-11 leaves an order of magnitude.
ROUNDING = 1e-11


# Masks and noise levels.


def test_masks_partition_the_samples() -> None:
    segments = Segments.from_labels([0, 0, 1, 1, 2], [0, 1, 1, 0, 2], 3)
    assert segments.clean(0).tolist() == [True, False, False, False, False]
    assert segments.noise(1).tolist() == [False, False, False, True, False]
    assert segments.other(0).tolist() == [False, False, True, False, True]
    assert (segments.clean() ^ segments.noise()).all()
    for c in range(3):
        assert not (segments.clean(c) & segments.other(c)).any()
        assert (segments.other(c) | segments.clean(c)).tolist() == segments.clean().tolist()


def test_noise_levels() -> None:
    segments = Segments.from_labels([0, 0, 0, 0, 1], [0, 1, 1, 0, 1], 3)
    assert segments.noise_level == 0.4
    np.testing.assert_array_equal(segments.class_noise_level, [0.5, 0.0, np.nan])


def test_labels_are_frozen_copies() -> None:
    truth = np.array([0, 1])
    segments = Segments.from_labels(truth, [0, 0])
    truth[0] = 1
    assert segments.truth[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        segments.truth[0] = 1


@pytest.mark.parametrize(
    ("truth", "observed", "n_classes", "message"),
    [
        ([0, 2], [0, 1], 2, "truth must hold classes 0 ... 1, got 2"),
        ([0, 1], [0, -1], 2, "observed must hold classes 0 ... 1, got -1"),
        ([0, 0.5], [0, 1], 2, "truth must hold classes 0 ... 1, got 0.5"),
        ([0, np.nan], [0, 1], 2, "truth must be finite, got nan at index (1,)"),
        ([0, 1], [0], 2, "observed must have the shape of truth, [2], got [1]"),
        ([], [], 2, "truth must have shape [n] with n >= 1, got shape [0]"),
        (["a"], ["b"], 2, "truth must hold real numbers, got dtype <U1"),
        ([0], [0], 1, "n_classes must be an integer >= 2, got 1"),
    ],
    ids=["class-too-large", "negative", "fraction", "nan", "lengths", "empty", "strings", "one-class"],
)
def test_bad_labels_are_named(truth: list, observed: list, n_classes: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Segments.from_labels(truth, observed, n_classes)


def test_unknown_class_is_named() -> None:
    segments = Segments.from_labels([0, 1], [0, 1])
    with pytest.raises(ValueError, match="class c must be below n_classes = 2, got 2"):
        segments.other(2)


# Norms, ratios and cosines against sums over explicit gradients.


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_matches_explicit_gradients(n_classes: int, seed: int) -> None:
    features, logits, segments = random_problem(seed, n_classes)
    residual = segment_residuals(logits, segments, loss="logistic" if n_classes == 2 else "softmax")[0]
    geometry = segment_geometry(features @ features.T, residual, segments)
    sums = np.stack([total.ravel() for total in explicit_sums(features, residual.reshape(segments.n, -1), segments)])
    size = np.linalg.norm(sums, axis=1)
    scale = np.linalg.norm(features) ** 2 * np.linalg.norm(residual) ** 2
    np.testing.assert_allclose(geometry.gram, sums @ sums.T, rtol=0, atol=ROUNDING * scale)
    # Relative statements hold where a sum is not itself lost to cancellation.
    if size.min() ** 2 > 1e-3 * scale:
        clean, noise = sums[:n_classes], sums[n_classes:]
        np.testing.assert_allclose(geometry.alpha, size[n_classes:] / size[:n_classes], rtol=1e3 * ROUNDING)
        cosine = (clean * noise).sum(axis=1) / size[:n_classes] / size[n_classes:]
        np.testing.assert_allclose(geometry.rho, -cosine, rtol=0, atol=1e3 * ROUNDING)
    pooled = np.stack([sums[:n_classes].sum(axis=0), sums[n_classes:].sum(axis=0)])
    assert float(geometry.pooled_clean_norm**2) == pytest.approx(pooled[0] @ pooled[0], rel=0, abs=ROUNDING * scale)
    assert float(geometry.pooled_noise_norm**2) == pytest.approx(pooled[1] @ pooled[1], rel=0, abs=ROUNDING * scale)


def test_single_logit_is_a_column() -> None:
    features, logits, segments = random_problem(1, 3)
    residual = segment_residuals(logits, segments, loss="softmax")[0]
    one = segment_geometry(features @ features.T, residual[:, 1], segments)
    sums = np.stack([total[0] for total in explicit_sums(features, residual[:, 1:2], segments)])
    np.testing.assert_allclose(one.gram, sums @ sums.T, rtol=1e-9, atol=1e-9 * np.abs(one.gram).max())


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_permutation_of_samples_changes_nothing(seed: int) -> None:
    features, logits, segments = random_problem(seed, 2)
    order = np.random.default_rng(seed).permutation(segments.n)
    shuffled = Segments.from_labels(segments.truth[order], segments.observed[order])
    kernel, r = features @ features.T, segment_residuals(logits, segments)[0]
    one = segment_geometry(kernel, r, segments)
    two = segment_geometry(kernel[np.ix_(order, order)], r[order], shuffled)
    np.testing.assert_allclose(one.gram, two.gram, rtol=0, atol=ROUNDING * np.linalg.norm(features) ** 2 * segments.n)


def test_half_output_on_collapsed_classes_is_initial_alpha() -> None:
    for n_classes, noise_level in ((2, 0.3), (4, 0.3), (10, 0.36)):
        case = balanced_clusters(50, within=1.0, between=0.25, noise_level=noise_level, n_classes=n_classes)
        residual = segment_residuals(np.zeros((case.n, n_classes)), case.segments, loss="softmax")[0]
        geometry = segment_geometry(case.kernel, residual, case.segments)
        np.testing.assert_allclose(geometry.alpha, initial_alpha(noise_level, n_classes=n_classes), rtol=1e-12)
        np.testing.assert_allclose(geometry.rho, 1, rtol=1e-12)


def test_swapped_masks_are_seen() -> None:
    """Negative control: clean and noise exchanged gives 1/α."""
    case = balanced_clusters(10, within=1.0, between=0.25, noise_level=0.3)
    residual = np.where(case.observed == 1, -0.5, 0.5)
    right = segment_geometry(case.kernel, residual, case.segments)
    exchanged = np.where(case.segments.clean(), 1 - case.truth, case.truth)
    swapped = segment_geometry(case.kernel, residual, Segments.from_labels(case.truth, exchanged))
    np.testing.assert_allclose(swapped.alpha, 1 / right.alpha, rtol=1e-12)
    assert not np.allclose(swapped.alpha, right.alpha)


def test_empty_and_zero_segments_are_nan_and_nothing_else_is() -> None:
    segments = Segments.from_labels([0, 0, 1, 1], [0, 0, 1, 0])
    geometry = segment_geometry(np.eye(4), [0.5, 0.5, -0.5, 0.5], segments)
    np.testing.assert_array_equal(np.isnan(geometry.alpha), [True, False])
    np.testing.assert_array_equal(np.isnan(geometry.rho), [True, False])
    assert np.isfinite(geometry.gram).all()
    assert float(geometry.pooled_alpha) == pytest.approx(np.sqrt(1 / 3), rel=1e-14)
    still = segment_geometry(np.eye(4), np.zeros(4), segments)
    assert np.isnan(still.alpha).all()
    assert np.isnan(still.pooled_rho)


def test_leading_axes() -> None:
    grams = np.stack([np.diag([4.0, 4, 1, 1]), np.diag([4.0, 1, 4, 1])])
    geometry = SegmentGeometry.from_gram(grams)
    assert geometry.alpha.tolist() == [[0.5, 0.5], [1.0, 1.0]]
    assert geometry.pooled_alpha.shape == (2,)


def test_float32_in_float32_out_for_geometry() -> None:
    segments = Segments.from_labels([0, 1, 1], [0, 1, 0])
    geometry = segment_geometry(np.eye(3, dtype=np.float32), np.full(3, 0.5, dtype=np.float32), segments)
    assert geometry.gram.dtype == geometry.alpha.dtype == np.float32


@pytest.mark.parametrize(
    ("kernel", "residual", "message"),
    [
        (np.eye(3), [0.5, 0.5], "kernel must be [2, 2] to match the samples, got shape [3, 3]"),
        (np.eye(2), [0.5], "residuals must have shape [2] or [2, C] to match the segments, got [1]"),
        (np.eye(2), [0.5, np.inf], "residuals must be finite, got inf at index (1,)"),
        ([[1, 2], [0, 1]], [0.5, 0.5], "kernel must be symmetric, got |K - K^T| = 2"),
    ],
    ids=["kernel-shape", "residual-shape", "inf", "asymmetric"],
)
def test_bad_input_is_named_by_geometry(kernel: np.ndarray, residual: list, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        segment_geometry(kernel, residual, Segments.from_labels([0, 1], [0, 0]))


def test_bad_gram_is_named() -> None:
    with pytest.raises(ValueError, match=re.escape("gram must have shape [..., 2C, 2C], got [3, 3]")):
        SegmentGeometry.from_gram(np.eye(3))
    with pytest.raises(ValueError, match=re.escape("gram must have shape [..., 3C, 3C], got [4, 4]")):
        TruthGeometry.from_gram(np.eye(4))
