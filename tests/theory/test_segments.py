"""Segments, their geometry, and the comparison with the noise-free gradient: kernel formulas against explicit features."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import Case, balanced_clusters, random_case, symmetric_locations, two_arcs
from theory.alpha import alpha_recursion, effective_learning_rate, initial_alpha, step_factor_from_residual
from theory.dynamics import gradient_descent
from theory.losses import residuals
from theory.segment_history import segment_history
from theory.segments import SegmentGeometry, Segments, segment_geometry
from theory.truth_gradient import TruthGeometry, segment_residuals, truth_geometry, truth_gram

# Inner products of n <= 40 terms with condition below 1e3: rounding of a few n·eps·cond, 1e-11 leaves an order of magnitude.
ROUNDING = 1e-11


def explicit_sums(features: np.ndarray, residual: np.ndarray, segments: Segments) -> list[np.ndarray]:
    """Segment gradients from the definition: a loop over samples, features ``[n, p]``, residual ``[n, m]``; each ``[m, p]``."""
    sums = []
    for mask in (segments.clean, segments.noise):
        for c in range(segments.n_classes):
            total = np.zeros((residual.shape[1], features.shape[1]))
            for i in np.flatnonzero(mask(c)):
                total += np.outer(residual[i], features[i])
            sums.append(total)
    return sums


def random_problem(seed: int, n_classes: int) -> tuple[np.ndarray, np.ndarray, Segments]:
    """Features ``[n, p]``, logits ``[n]`` or ``[n, C]`` and segments, each class with clean and noisy samples."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4 * n_classes, 40))
    truth = np.concatenate([np.tile(np.arange(n_classes), 2), rng.integers(0, n_classes, n - 2 * n_classes)])
    shift = rng.integers(0, n_classes, n)
    shift[:n_classes], shift[n_classes : 2 * n_classes] = 0, 1
    features = rng.normal(size=(n, int(rng.integers(2, 60)))) + rng.normal()
    logits = rng.normal(size=n if n_classes == 2 else (n, n_classes))
    return features, logits, Segments.from_labels(truth, (truth + shift) % n_classes, n_classes)


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


# D2, D4, R3: the relation of descent on D to the noise-free gradient.


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_identity_of_d2(seed: int) -> None:
    """ĝ = g_clean − g_noise + Σ_noise (2f−1) φ, exactly, in feature space; and the gram agrees with it."""
    features, logits, segments = random_problem(seed, 2)
    observed, truth = segment_residuals(logits, segments)
    clean0, clean1, noise0, noise1 = (total[0] for total in explicit_sums(features, observed[:, None], segments))
    probability = 1 / (1 + np.exp(-logits))
    for c, clean, noise in ((0, clean0, noise0), (1, clean1, noise1)):
        members = segments.truth == c
        hat = truth[members] @ features[members]
        correction = ((2 * probability - 1) * segments.noise(c)) @ features
        np.testing.assert_allclose(hat, clean - noise + correction, rtol=0, atol=ROUNDING * np.abs(features).sum())
        norm = truth_geometry(features @ features.T, logits, segments).truth_norm[c]
        assert norm**2 == pytest.approx(hat @ hat, rel=0, abs=ROUNDING * np.linalg.norm(features) ** 2 * segments.n)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gram_of_relabelled_segments(n_classes: int) -> None:
    features, logits, segments = random_problem(5, n_classes)
    loss = "logistic" if n_classes == 2 else "softmax"
    gram = truth_gram(features @ features.T, logits[None], segments)[0]
    observed, truth = (r.reshape(segments.n, -1) for r in segment_residuals(logits, segments, loss=loss))
    sums = explicit_sums(features, observed, segments) + explicit_sums(features, truth, segments)[n_classes:]
    flat = np.stack([total.ravel() for total in sums])
    np.testing.assert_allclose(gram, flat @ flat.T, rtol=0, atol=ROUNDING * np.abs(gram).max() * 10)
    geometry = truth_geometry(features @ features.T, logits, segments)
    full, hat = flat[: 2 * n_classes].sum(axis=0), flat[:n_classes].sum(axis=0) + flat[2 * n_classes :].sum(axis=0)
    cosine = full @ hat / np.linalg.norm(full) / np.linalg.norm(hat)
    assert float(geometry.cosine_with_truth) == pytest.approx(cosine, abs=1e-9)
    assert float(geometry.step_factor) == pytest.approx(full @ hat / (hat @ hat), abs=1e-9)


def test_worked_numbers_of_d2_and_d4() -> None:
    """In the exact fixture, δ = 0.3, at the ratio of the catalogue's t = 10: .7000 against .5036, .01004 against .00722."""
    case = symmetric_locations()
    assert np.linalg.matrix_rank(case.kernel) == 16
    run, rate = run_to_alpha(case, 0.98566)
    history = segment_history(case.kernel, run, case.segments)
    alpha = float(history.pooled_alpha[-1])
    # The catalogue prints four digits: half a unit of the last.
    assert alpha == pytest.approx(0.98566, abs=1e-9)
    np.testing.assert_allclose(history.clean_share[-1], 0.7, rtol=0, atol=1e-12)
    assert 1 / (1 + alpha) == pytest.approx(0.5036, abs=5e-5)
    corrected = float(effective_learning_rate(1.0, alpha=alpha, noise_level=0.3))
    printed = float(effective_learning_rate(1.0, alpha=alpha, noise_level=0.3, form="printed"))
    assert float(history.step_factor[-1]) == pytest.approx(corrected, rel=1e-9)
    assert corrected == pytest.approx(0.01004, abs=5e-6)
    assert printed == pytest.approx(0.00722, abs=5e-6)
    assert rate > 0


def test_assumption_4_1_holds_exactly_in_the_fixture() -> None:
    """‖g_noise + α g_clean‖² = ‖g_noise‖² (1 − ρ²): zero to rounding for all times, and one α for both classes."""
    case = symmetric_locations()
    run = gradient_descent(case.kernel, case.observed, learning_rate=2.0, steps=400, record=40)
    history = segment_history(case.kernel, run.logits, case.segments)
    np.testing.assert_allclose(history.rho, 1, rtol=0, atol=1e-12)
    np.testing.assert_allclose(history.alpha[:, 0], history.alpha[:, 1], rtol=1e-12)
    # It is a collapsed problem in disguise: κ from the row sums, k and k′ averaged over a class.
    same = case.truth == case.truth[0]
    kappa = (case.kernel[0, same].mean() - case.kernel[0, ~same].mean()) / 2
    recursion = alpha_recursion(initial_alpha(0.3), learning_rate=2.0, kernel_scale=kappa, noise_level=0.3, steps=400)
    np.testing.assert_allclose(history.alpha[:, 0], recursion[run.steps], rtol=1e-11)


def test_generic_data_violate_assumption_4_1() -> None:
    """Negative control: with distinct inputs ‖g_noise + αg_clean‖² ≥ λ_min ‖r‖² > 0 (D1)."""
    case = random_case(np.random.default_rng(0), n=12)
    kernel = case.kernel + 0.1 * np.eye(12)
    r = segment_residuals(case.initial_logits, case.segments)[0]
    geometry = segment_geometry(kernel, r, case.segments)
    smallest = np.linalg.eigvalsh(kernel)[0]
    for c in (0, 1):
        rest = geometry.noise_norm[c] ** 2 * (1 - geometry.rho[c] ** 2)
        assert rest >= smallest * (r[case.truth == c] ** 2).sum() * min(1, geometry.alpha[c] ** 2) > 0


def test_step_factor_of_r3_on_clusters_of_any_class_number() -> None:
    for n_classes in (2, 3, 5):
        case = balanced_clusters(20, within=1.0, between=0.1, noise_level=0.4 if n_classes != 3 else 0.3, n_classes=n_classes)
        labels = np.eye(n_classes)[case.observed]
        run = gradient_descent(case.kernel, labels, learning_rate=3.0, steps=20, loss="softmax")
        history = segment_history(case.kernel, run.logits, case.segments)
        missing = -(residuals(run.logits, np.eye(n_classes)[case.truth], loss="softmax")[:, 0, 0])
        delta = case.segments.noise_level
        np.testing.assert_allclose(history.step_factor, step_factor_from_residual(missing, noise_level=delta), rtol=1e-9, atol=1e-12)
        # Inner products lose ε/(1−α)²: compare while 1−α > 1e-2, where that is 1e-11.
        early = 1 - history.pooled_alpha > 1e-2
        assert early.sum() >= 4
        np.testing.assert_allclose(history.cosine_with_truth[early], 1, rtol=1e-9)


def test_worked_numbers_of_r3() -> None:
    """Two arcs, δ = .3, η = .5: the catalogue's draw lies among ours, and (1−δ)(1−α) is nearer than the printed factor."""
    histories = []
    for seed in range(40):
        case = two_arcs(seed=seed)
        run = gradient_descent(case.kernel, case.observed, learning_rate=0.5, steps=100, record=[0, 20, 50, 100])
        histories.append(segment_history(case.kernel, run.logits, case.segments))
    factor = np.stack([history.step_factor for history in histories])
    cosine = np.stack([history.cosine_with_truth for history in histories])
    alpha = np.stack([history.pooled_alpha for history in histories])
    # One more exchangeable draw lies outside the range of 40 with probability 2/41 each. The catalogue does not give its arcs,
    # so this is a check of magnitude, on fixed seeds.
    for value, column in ((0.202, 1), (0.060, 2)):
        assert factor[:, column].min() < value < factor[:, column].max()
    for value, column in ((0.998, 0), (0.978, 1), (0.835, 2), (0.201, 3)):
        assert cosine[:, column].min() <= value < cosine[:, column].max()
    corrected = effective_learning_rate(1.0, alpha=alpha, noise_level=0.3)
    printed = effective_learning_rate(1.0, alpha=alpha, noise_level=0.3, form="printed")
    for column in (1, 2):
        assert np.abs(factor - corrected)[:, column].mean() < 0.6 * np.abs(factor - printed)[:, column].mean()


# The whole-trajectory form against a loop over times.


@pytest.mark.parametrize("n_classes", [2, 3])
def test_matches_a_loop_over_times(n_classes: int) -> None:
    features, _, segments = random_problem(3, n_classes)
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(6, segments.n) if n_classes == 2 else (6, segments.n, n_classes))
    kernel, loss = features @ features.T, "logistic" if n_classes == 2 else "softmax"
    history = segment_history(kernel, logits, segments, test_logits=logits, test_truth=segments.truth)
    for t, h in enumerate(logits):
        observed, _ = segment_residuals(h, segments, loss=loss)
        one, truth = segment_geometry(kernel, observed, segments), truth_geometry(kernel, h, segments)
        np.testing.assert_allclose(history.alpha[t], one.alpha, rtol=1e-10)
        np.testing.assert_allclose(history.rho[t], one.rho, rtol=1e-10)
        np.testing.assert_allclose(history.pooled_alpha[t], one.pooled_alpha, rtol=1e-10)
        np.testing.assert_allclose(history.clean_share[t], truth.clean_share, rtol=1e-10)
        np.testing.assert_allclose(history.cosine_with_truth[t], truth.cosine_with_truth, rtol=1e-10)
        scores = np.stack([np.zeros_like(h), h], axis=1) if n_classes == 2 else h
        chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        seen = chance[np.arange(segments.n), segments.observed]
        clean, noise = segments.clean(), segments.noise()
        assert history.clean_loss[t] == pytest.approx(-np.log(seen[clean]).mean(), rel=1e-12)
        assert history.noise_loss[t] == pytest.approx(-np.log(seen[noise]).mean(), rel=1e-12)
        assert history.train_loss[t] == pytest.approx(-np.log(seen).mean(), rel=1e-12)
        assert history.clean_residual[t] == pytest.approx((1 - seen)[clean].mean(), rel=1e-12)
        assert history.noise_residual[t] == pytest.approx((1 - seen)[noise].mean(), rel=1e-12)
        wrong = scores.argmax(axis=1) != segments.observed
        assert history.clean_error[t] == pytest.approx(wrong[clean].mean(), abs=1e-15)
        assert history.noise_error[t] == pytest.approx(wrong[noise].mean(), abs=1e-15)
        assert history.train_error[t] == pytest.approx(wrong.mean(), abs=1e-15)
        assert history.truth_loss[t] == history.test_loss[t]
        assert history.test_error[t] == pytest.approx((scores.argmax(axis=1) != segments.truth).mean(), abs=1e-15)
    assert history.n_clean.sum() + history.n_noise.sum() == segments.n


def test_no_noise_is_nan_in_noise_columns_only() -> None:
    history = segment_history(np.eye(2), np.ones((1, 2)), Segments.from_labels([0, 1], [0, 1]))
    assert np.isnan(history.noise_loss).all()
    assert np.isnan(history.pooled_alpha).all()
    assert np.isfinite(history.clean_loss).all()
    assert np.isnan(history.test_loss).all()
    # L(D) = L(D̂): no noise, full step.
    assert float(history.step_factor[0]) == pytest.approx(1, rel=1e-15)


def test_bad_input_is_named_by_history() -> None:
    segments = Segments.from_labels([0, 1, 2], [0, 1, 1], 3)
    with pytest.raises(ValueError, match="logits must have a class axis of 3 for 3 classes"):
        segment_history(np.eye(3), np.zeros((2, 3)), segments)
    with pytest.raises(ValueError, match="test_logits and test_truth must come together, got no test_truth"):
        segment_history(np.eye(3), np.zeros((2, 3, 3)), segments, test_logits=np.zeros((2, 1, 3)))
    with pytest.raises(ValueError, match=re.escape("test_logits must have the form of the logits at 2 times")):
        segment_history(np.eye(3), np.zeros((2, 3, 3)), segments, test_logits=np.zeros((1, 1, 3)), test_truth=[0])


def run_to_alpha(case: Case, alpha: float) -> tuple[np.ndarray, float]:
    """Ten steps of gradient descent at the rate that brings the pooled ratio to ``alpha``; logits ``[11, n]`` and the rate."""
    low, high = 0.0, 40.0
    for _ in range(60):
        rate = (low + high) / 2
        run = gradient_descent(case.kernel, case.observed, learning_rate=rate, steps=10)
        reached = segment_history(case.kernel, run.logits[-1:], case.segments).pooled_alpha[0]
        low, high = (rate, high) if reached < alpha else (low, rate)
    return run.logits, rate
