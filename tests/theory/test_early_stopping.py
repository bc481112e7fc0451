"""U-curve, stopping rules, existence thresholds, mini-batches: against enumeration of all label draws, descent, and SciPy.

Random assertions use |z| < 6 (2e-9 each under the normal law of the mean).
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
from scipy import stats

from theory.alpha import alpha_flow, initial_alpha
from theory.dynamics import gradient_descent
from theory.early_stopping import early_stopping_curve
from theory.existence import critical_depth, largest_noise_for_clean_priority, noisy_sample_drift, samples_for_clean_priority
from theory.initialization_multiclass import initial_residuals
from theory.minibatch import (
    batch_alpha_deviation,
    batch_noise_probabilities,
    class_noise_majority_probability,
    noise_majority_probability,
)
from theory.segments import Segments, segment_geometry
from theory.stopping_rules import (
    clean_loss_falls,
    first_crossing,
    held_out_disagreement,
    label_free_residual,
    label_free_stopping_time,
    noise_loss_rises,
    noise_loss_turn,
    transition_residual,
)

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Z = 6.0


def gaussian_problem(seed: int, n: int, n_test: int, *, separation: float = 0.8) -> tuple[Array, Array, Labels, Labels]:
    """Two overlapping clouds in the plane and their Gaussian kernel: (train × train, test × train, truth, test truth)."""
    rng = np.random.default_rng(seed)
    truth, test_truth = np.arange(n) % 2, np.arange(n_test) % 2
    x = rng.standard_normal((n, 2)) + separation * (2 * truth[:, None] - 1)
    z = rng.standard_normal((n_test, 2)) + separation * (2 * test_truth[:, None] - 1)

    def kernel(a: Array, b: Array) -> Array:
        return np.asarray(np.exp(-np.sum((a[:, None] - b[None]) ** 2, axis=2) / 2))

    return kernel(x, x), kernel(z, x), truth, test_truth


# --- the U-curve (X7) ---


def test_moments_are_exact_over_all_label_draws() -> None:
    n, delta, rate = 8, 0.3, 2.0
    kernel, cross, truth, test_truth = gaussian_problem(0, n, 5)
    flips = np.array(list(itertools.product((1, -1), repeat=n)))  # [2^n, n]
    weights = np.prod(np.where(flips < 0, delta, 1 - delta), axis=1)
    labels = ((2 * truth - 1) * flips).T.astype(float)
    steps = [0, 1, 2, 7, 200]
    run = gradient_descent(kernel, labels, learning_rate=rate, steps=200, loss="squared", cross_kernel=cross, record=steps)
    outputs = np.asarray(run.test_logits) * (2 * test_truth - 1)[None, :, None]
    mean = outputs @ weights
    variance = outputs**2 @ weights - mean**2
    curve = early_stopping_curve(kernel, truth, delta, learning_rate=rate, steps=steps, cross_kernel=cross, test_truth=test_truth)
    # Both sides: a few hundred roundings of numbers of size one.
    np.testing.assert_allclose(curve.test_mean, mean, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.test_variance, variance, rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.times, rate * np.array(steps))


def test_errors_are_those_of_sampled_label_draws() -> None:
    n, n_test, delta, draws, rate = 300, 60, 0.3, 1500, 4.0
    kernel, cross, truth, test_truth = gaussian_problem(1, n, n_test)
    steps = np.array([1, 30, 1000, 30_000])
    curve = early_stopping_curve(kernel, truth, delta, learning_rate=rate, steps=steps, cross_kernel=cross, test_truth=test_truth)
    rng = np.random.default_rng(2)
    signs = 2.0 * truth - 1
    flipped = rng.random((n, draws)) < delta
    labels = np.where(flipped, -1, 1) * signs[:, None]
    identity = np.eye(n)
    for index, count in enumerate(steps):
        # The definition, without eigenvectors; 1e-13 keeps the inverse finite where the kernel is numerically singular.
        decay = np.linalg.matrix_power(identity - rate / n * kernel, int(count))
        smoother = np.linalg.solve(kernel + 1e-13 * identity, identity - decay)
        weights_test, weights_train = cross @ smoother, kernel @ smoother
        test_wrong = (weights_test @ labels) * (2 * test_truth - 1)[:, None] < 0
        train_wrong = (weights_train @ labels) * labels < 0
        # Modelling term: the first Edgeworth term of each sum is skewness/6 · sup|z²−1|φ(z) = .4/6 · skewness, averaged over the points.
        skew = (1 - 2 * delta) / math.sqrt(delta * (1 - delta))
        thirds = [
            np.sum(np.abs(w) ** 3, axis=1) / np.sum(w**2, axis=1) ** 1.5
            for w in (weights_test, weights_train - np.diag(np.diag(weights_train)))
        ]
        margins = [float(np.mean(skew * 0.4 / 6 * third)) for third in thirds]
        # The draws are the replicates: one error rate per draw.
        for got, sample, margin in [
            (curve.test_error, test_wrong.mean(axis=0), margins[0]),
            (curve.clean_error, np.sum(train_wrong & ~flipped, axis=0) / n / (1 - delta), margins[1]),
            (curve.noise_error, np.sum(train_wrong & flipped, axis=0) / n / delta, margins[1]),
        ]:
            assert got is not None
            assert abs(got[index] - sample.mean()) < Z * sample.std() / math.sqrt(draws) + margin
        assert Z * test_wrong.mean(axis=0).std() / math.sqrt(draws) + margins[0] < 0.05  # power: an error 5 % off is rejected


def test_curve_has_the_shape_of_figure_9() -> None:
    kernel, cross, truth, test_truth = gaussian_problem(3, 200, 200)
    steps = np.unique(np.geomspace(1, 10**8, 60).astype(int))
    curve = early_stopping_curve(kernel, truth, 0.4, learning_rate=1.0, steps=steps, cross_kernel=cross, test_truth=test_truth)
    error = curve.test_error
    assert error is not None
    best = int(np.argmin(error))
    assert 0 < best < len(steps) - 1
    assert curve.best_step == steps[best]
    assert error[best] < 0.4 - 0.1
    assert error[-1] > error[best] + 0.05
    assert curve.noise_error[0] > 0.5 > curve.noise_error[-1]  # noise is misfitted first and fitted last
    assert curve.train_error[-1] < curve.train_error[best] < curve.train_error[0]


def test_curve_without_noise_does_not_turn() -> None:
    kernel, cross, truth, test_truth = gaussian_problem(4, 100, 100, separation=3.0)
    curve = early_stopping_curve(kernel, truth, 0.0, learning_rate=1.0, steps=[1, 100, 10**6], cross_kernel=cross, test_truth=test_truth)
    np.testing.assert_array_equal(curve.test_error, [0.0, 0.0, 0.0])


def test_collapsed_class_has_the_closed_form() -> None:
    # All samples share φ: mean output (1−2δ)(1 − (1−ηκ)^t), here at ηκ = 0.3 and, oscillating, at 1.7 (X7).
    n, delta = 5, 0.2
    for rate in (0.3, 1.7):
        curve = early_stopping_curve(
            np.ones((n, n)), np.ones(n), delta, learning_rate=rate, steps=6, cross_kernel=np.ones((1, n)), test_truth=[1]
        )
        assert curve.test_mean is not None
        np.testing.assert_allclose(curve.test_mean[:, 0], (1 - 2 * delta) * (1 - (1 - rate) ** np.arange(7)), rtol=0, atol=1e-14)
    assert curve.truth_error[0] == 0.5


@given(st.integers(0, 2**31), st.floats(0.01, 1.9), st.integers(0, 60))
@settings(max_examples=30, deadline=None)
def test_filter_agrees_with_the_matrix_power(seed: int, fraction: float, steps: int) -> None:
    n = 6
    phi = np.random.default_rng(seed).standard_normal((n, 4))  # rank 4: two directions without kernel
    kernel = phi @ phi.T
    rate = fraction * n / np.linalg.eigvalsh(kernel)[-1]
    truth = np.array([0, 1, 1, 0, 1, 0])
    curve = early_stopping_curve(kernel, truth, 0.0, learning_rate=rate, steps=[steps], cross_kernel=kernel[:2], test_truth=truth[:2])
    y, h = 2.0 * truth - 1, np.zeros(n)
    for _ in range(steps):
        h = h - rate / n * kernel @ (h - y)
    assert curve.test_mean is not None
    np.testing.assert_allclose(curve.test_mean[0], (h * y)[:2], rtol=0, atol=1e-11)


# --- stopping rules (X4, R2) ---


@pytest.mark.parametrize("seed", range(6))
def test_noisy_loss_turns_where_a_reaches_rho(seed: int) -> None:
    # Fixed-kernel logistic descent on random features: no assumption on the data.
    rng = np.random.default_rng(seed)
    n, delta = 40, 0.3
    truth = np.arange(n) % 2
    phi = rng.standard_normal((n, 60)) + 1.5 * np.outer(2 * truth - 1, rng.standard_normal(60)) / math.sqrt(60) * 3
    kernel = phi @ phi.T / 60
    observed = truth.copy()
    noisy = rng.choice(n, round(delta * n), replace=False)
    observed[noisy] = 1 - observed[noisy]
    segments = Segments.from_labels(truth, observed)
    rate = 0.2 * n / np.linalg.eigvalsh(kernel)[-1]
    run = gradient_descent(kernel, observed, learning_rate=rate, steps=1500)
    h = np.asarray(run.logits)
    f = 1 / (1 + np.exp(-h))
    losses = np.logaddexp(0, -(2 * observed - 1) * h)
    clean_loss, noise_loss = losses[:, segments.clean()].mean(axis=1), losses[:, segments.noise()].mean(axis=1)
    geometry = [segment_geometry(kernel, f[t] - observed, segments) for t in range(len(h))]
    a = np.array([g.pooled_alpha for g in geometry])
    rho = np.array([g.pooled_rho for g in geometry])
    rises = noise_loss_rises(a, rho)
    assert rises.any()
    assert not rises.all()
    assert (np.diff(noise_loss)[rises[:-1]] > 0).all()  # exact for every step size (convexity)
    # aρ ≥ 1 − small: gradient flow; a step of a fifth of n/λ_max changes the loss by at most a tenth in ratio, so judge beyond it.
    clear = a * rho < 0.8
    assert clean_loss_falls(a, rho)[clear].all()
    assert (np.diff(clean_loss)[clear[:-1]] < 0).all()
    turn = noise_loss_turn(run.times, a, rho)
    peak = run.times[int(np.argmax(noise_loss))]
    assert abs(turn - peak) <= rate * (1 + 1e-9)  # a ≥ ρ at step t means the step from t may be the first to fall: within one step
    # Control: the turn is not where the two norms are equal.
    equal = noise_loss_turn(run.times, a, np.ones_like(a))
    assert equal > turn + 2 * rate


def test_crossings() -> None:
    assert noise_loss_turn([0.0, 1.0, 2.0], [0.5, 0.8, 0.99], [0.95, 0.9, 0.9], interpolate=True) == pytest.approx(
        1 + 0.1 / 0.19, rel=1e-14
    )
    assert noise_loss_turn([0.0, 1.0], [0.9, 0.9], [0.9, 1.0]) == 0.0
    assert first_crossing([0.0, 1.0], [-2.0, -1.0]) == math.inf
    assert first_crossing([0.0, 1.0], [2.0, 1.0], level=1.5) == 0.0


@given(st.floats(0.01, 0.49))
@settings(max_examples=30, deadline=None)
def test_label_free_residual_is_reached_with_alpha_one(delta: float) -> None:
    # Collapsed class, f the probability of the true label: α = δ f/((1−δ)(1−f)), observed residual (1−δ)(1−f) + δ f.
    def residual(alpha: float) -> float:
        f = (1 - delta) * alpha / (delta + (1 - delta) * alpha)
        return (1 - delta) * (1 - f) + delta * f

    level = label_free_residual(delta)
    assert level == pytest.approx(2 * delta * (1 - delta), rel=1e-14)
    assert residual(1.0) == pytest.approx(level, rel=1e-13)
    # α → 1 from below only as t → ∞: the rule stops never in the collapsed model, and between any two levels in order.
    times = np.linspace(0, 400 / (delta * (1 - delta)), 50)
    alphas = alpha_flow(times, alpha0=initial_alpha(delta), kernel_scale=1.0, noise_level=delta)
    residuals = np.array([residual(float(alpha)) for alpha in alphas])
    assert residuals[0] == pytest.approx(0.5, abs=1e-12)
    assert (np.diff(residuals) <= 1e-15).all()
    assert residuals[-1] == pytest.approx(level, rel=1e-9)
    slightly_more = residuals + 1e-6
    assert label_free_stopping_time(times, slightly_more, delta) == math.inf


@pytest.mark.parametrize(("n_classes", "delta"), [(2, 0.3), (3, 0.4), (10, 0.6)])
def test_label_free_residual_of_many_classes(n_classes: int, delta: float) -> None:
    # At the fixed point f = (1−δ on the truth, δ/(C−1) elsewhere) the full gradient of a collapsed class vanishes.
    probabilities = np.full(n_classes, delta / (n_classes - 1))
    probabilities[0] = 1 - delta
    labels = probabilities  # distribution of the observed label
    np.testing.assert_allclose(np.einsum("y,yc->c", labels, probabilities[None] - np.eye(n_classes)), 0, atol=1e-15)
    assert label_free_residual(delta, n_classes=n_classes) == pytest.approx(float(labels @ (1 - probabilities)), rel=1e-13)


# --- existence (X8, X9) ---


def test_residual_of_a_transition_matrix_is_that_of_the_trained_output() -> None:
    """Softmax descent on three collapsed classes: at its end the segment gradients are opposite, α = 1, and the residual is the formula."""
    counts = np.array([[14, 4, 2], [0, 30, 0], [3, 3, 4]])  # labels of each class
    truth = np.repeat([0, 1, 2], counts.sum(axis=1))
    observed = np.concatenate([np.repeat([0, 1, 2], row) for row in counts])
    n = len(truth)
    kernel = (truth[:, None] == truth[None, :]).astype(float)
    run = gradient_descent(kernel, np.eye(3)[observed], learning_rate=2.0, steps=40_000, loss="softmax", record=[40_000])
    logits = np.asarray(run.logits)[-1]
    output = np.exp(logits - logits.max(axis=1, keepdims=True))
    output /= output.sum(axis=1, keepdims=True)
    residuals = output - np.eye(3)[observed]
    alpha = segment_geometry(kernel, residuals, Segments.from_labels(truth, observed, n_classes=3)).alpha
    # Class 1 has no noise: its residual falls like 1/(ηκt) with κ = 30/60, below 1e-4 here; α is not defined there.
    assert np.abs(alpha[[0, 2]] - 1).max() < 1e-3
    assert (1 - output[np.arange(n), observed]).mean() == pytest.approx(
        transition_residual(counts / counts.sum(1, keepdims=True), class_shares=counts.sum(1)), abs=1e-4
    )


@given(st.integers(2, 12), st.floats(0.0, 0.9))
@settings(max_examples=50, deadline=None)
def test_symmetric_noise_is_one_transition_matrix(n_classes: int, share: float) -> None:
    delta = share * (n_classes - 1) / n_classes
    matrix = np.full((n_classes, n_classes), delta / (n_classes - 1))
    np.fill_diagonal(matrix, 1 - delta)
    # Sums of n_classes squares below 1.
    assert transition_residual(matrix) == pytest.approx(label_free_residual(delta, n_classes=n_classes), abs=1e-13)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_held_out_disagreement_by_enumeration(n_classes: int) -> None:
    """All pairs of predicted and observed label of class 0, mistakes and noise uniform and independent."""
    delta, error = 0.3, 0.2
    predicted, observed = (np.full(n_classes, level / (n_classes - 1)) for level in (error, delta))
    predicted[0], observed[0] = 1 - error, 1 - delta
    assert held_out_disagreement(delta, error, n_classes=n_classes) == pytest.approx(1 - predicted @ observed, abs=1e-14)
    assert held_out_disagreement(delta, 0.0, n_classes=n_classes) == delta


@pytest.mark.parametrize(("n_classes", "per_class", "delta"), [(2, 3, 0.2), (2, 3, 0.45), (3, 2, 0.3), (3, 2, 0.8)])
def test_drift_of_a_noisy_sample_by_enumeration(n_classes: int, per_class: int, delta: float) -> None:
    truth = np.repeat(np.arange(n_classes), per_class)
    n = truth.size
    diagonal, within, between = 2.0, 1.1, 0.4
    kernel = np.where(truth[:, None] == truth[None], within, between) + (diagonal - within) * np.eye(n)
    chance = np.full((n_classes, n_classes), delta / (n_classes - 1))
    np.fill_diagonal(chance, 1 - delta)
    total = mass = 0.0
    for labels in itertools.product(range(n_classes), repeat=n):
        if labels[0] == truth[0]:
            continue  # sample 0 is the noisy one
        weight = math.prod(chance[c, y] for c, y in zip(truth, labels, strict=True))
        r = initial_residuals(labels, n_classes=n_classes)
        total += weight * float(kernel[0] @ (r @ r[0]))
        mass += weight
    exact = noisy_sample_drift(delta, samples_per_class=per_class, diagonal=diagonal, within=within, between=between, n_classes=n_classes)
    assert n_classes * total / mass == pytest.approx(exact, abs=1e-12)


@given(st.integers(2, 12), st.floats(0.0, 0.95), st.floats(0.5, 5), st.floats(0.05, 0.95), st.floats(0.0, 0.9), st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_threshold_is_where_the_drift_changes_sign(
    n_classes: int, delta: float, diagonal: float, within: float, between: float, samples: int
) -> None:
    means = {"diagonal": diagonal, "within": within * diagonal, "between": between * within * diagonal}
    threshold = samples_for_clean_priority(delta, n_classes=n_classes, **means)
    drift = noisy_sample_drift(delta, samples_per_class=samples, n_classes=n_classes, **means)
    if abs(drift) > 1e-9 * diagonal * samples:
        assert (samples > threshold) == (drift < 0)
    largest = largest_noise_for_clean_priority(samples_per_class=samples, n_classes=n_classes, **means)
    assert 0 <= largest < (n_classes - 1) / n_classes
    if abs(delta - largest) > 1e-9 and delta < (n_classes - 1) / n_classes:
        assert (delta < largest) == (samples > threshold)


def test_no_number_of_samples_suffices() -> None:
    assert samples_for_clean_priority(0.3, diagonal=1.0, within=0.4, between=0.4) == math.inf  # no contrast
    assert samples_for_clean_priority(0.5, diagonal=1.0, within=0.9, between=0.1) == math.inf  # δ ≥ (C−1)/C
    assert samples_for_clean_priority(0.72, diagonal=1.0, within=0.9, between=0.1, n_classes=10) < math.inf


def test_depth_ends_clean_priority() -> None:
    within, between = math.radians(20), math.radians(80)
    depths = [critical_depth(delta, samples_per_class=20, within_angle=within, between_angle=between) for delta in (0.1, 0.2, 0.3, 0.4)]
    assert depths == sorted(depths, reverse=True)
    assert depths[2:] == [26, 11]
    # Contrast ~ 1/L: the critical depth grows in proportion to the samples (up to the slow logarithm of the contrast).
    many = critical_depth(0.4, samples_per_class=200, within_angle=within, between_angle=between)
    more = critical_depth(0.4, samples_per_class=400, within_angle=within, between_angle=between)
    assert 1.7 < more / many < 2.3
    assert critical_depth(0.4, samples_per_class=2, within_angle=within, between_angle=between) == 0
    assert critical_depth(0.1, samples_per_class=20, within_angle=within, between_angle=between, max_depth=5) == 5


# --- mini-batches (D5) ---


@pytest.mark.parametrize(("n", "noise", "batch"), [(10, 4, 5), (12_000, 4800, 256), (7, 0, 3), (7, 7, 3), (50, 10, 50)])
def test_batch_counts_are_hypergeometric(n: int, noise: int, batch: int) -> None:
    exact = stats.hypergeom.pmf(np.arange(batch + 1), n, noise, batch)
    np.testing.assert_allclose(batch_noise_probabilities(n, noise, batch_size=batch), exact, rtol=1e-9, atol=1e-300)
    assert noise_majority_probability(n, noise, batch_size=batch) == pytest.approx(
        stats.hypergeom.sf((batch + 1) // 2 - 1, n, noise, batch), rel=1e-9
    )


def test_batch_probabilities_have_the_worked_values() -> None:
    assert noise_majority_probability(12_000, 4800, batch_size=256) == pytest.approx(6.7e-4, abs=5e-6)
    assert class_noise_majority_probability(12_000, 6000, 2400, batch_size=256) == pytest.approx(0.0119, abs=5e-5)


def test_batch_of_one_class_by_enumeration() -> None:
    # 6 samples, 3 of the class of which 1 is noisy; all 20 batches of 3.
    hits = sum(
        1 for batch in itertools.combinations(range(6), 3) if (size := sum(i < 3 for i in batch)) and 2 * sum(i == 0 for i in batch) >= size
    )
    assert class_noise_majority_probability(6, 3, 1, batch_size=3) == pytest.approx(hits / 20, rel=1e-13)


def test_batch_alpha_fluctuates_as_stated() -> None:
    n, delta, batch, alpha = 3000, 0.4, 300, 0.8
    counts = np.random.default_rng(1).hypergeometric(round(delta * n), round((1 - delta) * n), batch, size=50_000)
    sample = alpha * counts / (batch - counts) * (1 - delta) / delta
    predicted = batch_alpha_deviation(alpha, noise_level=delta, batch_size=batch, n_samples=n)
    # Relative: sampling 6/√(2·50000) = .02, next order of the delta method 3/(B δ(1−δ)) = .04.
    assert sample.std() == pytest.approx(predicted, rel=0.06)
    assert batch_alpha_deviation(alpha, noise_level=delta, batch_size=n, n_samples=n) == 0
    assert sample.std() != pytest.approx(batch_alpha_deviation(alpha, noise_level=delta, batch_size=2 * batch, n_samples=n), rel=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=4.0, steps=3), r"learning_rate must be below .* = 4, got 4.0"),
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 1.2, learning_rate=1.0, steps=3), r"noise_level must lie in \[0, 1\), got 1.2"),
        (lambda: early_stopping_curve(np.eye(2), [0, 3], 0.1, learning_rate=1.0, steps=3), "got 3"),
        (lambda: early_stopping_curve(np.eye(2), [0, -1], 0.1, learning_rate=1.0, steps=3), "got both 0 and -1"),
        (lambda: early_stopping_curve(np.diag([1.0, -1.0]), [0, 1], 0.1, learning_rate=1.0, steps=3), "positive semi-definite"),
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=[-1]), "steps must not be negative, got -1"),
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=[1.5]), "list of integers"),  # type: ignore[list-item]
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=1, cross_kernel=np.eye(2)), "given together"),
        (
            lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=1, cross_kernel=np.eye(3), test_truth=[0, 1, 0]),
            r"cross_kernel must have shape \[n_test, 2\], got \[3, 3\]",
        ),
        (lambda: noise_loss_rises([0.1], [1.2]), r"pooled_rho must lie in \[-1, 1\], got 1.2"),
        (lambda: clean_loss_falls([-0.1], [1.0]), "pooled_alpha must not be negative, got -0.1"),
        (lambda: noise_loss_rises([math.nan], [1.0]), "pooled_alpha must be finite"),
        (lambda: first_crossing([0.0, 0.0], [1.0, 2.0]), "times must increase"),
        (lambda: label_free_stopping_time([0.0], [1.4], 0.3), r"mean_residual must lie in \[0, 1\], got 1.4"),
        (lambda: transition_residual([[1.0, 0.0]]), r"transition must have shape \[C, C\] with C >= 2, got \[1, 2\]"),
        (lambda: transition_residual([[0.5, 0.6], [0, 1]]), "rows that sum to 1, got 1.1 in row 0"),
        (lambda: transition_residual([[1.5, -0.5], [0, 1]]), "transition must not be negative, got -0.5"),
        (lambda: transition_residual(np.eye(2), class_shares=[1.0]), "class_shares must be 2 shares"),
        (lambda: held_out_disagreement(0.3, 1.5), r"model_error must lie in \[0, 1\], got 1.5"),
        (lambda: samples_for_clean_priority(0.3, diagonal=0.0, within=1.0, between=0.5), "diagonal must be a positive"),
        (
            lambda: critical_depth(0.3, samples_per_class=0, within_angle=0.1, between_angle=1.0),
            "samples_per_class must be an integer >= 1",
        ),
        (lambda: critical_depth(0.3, samples_per_class=3, within_angle=-0.1, between_angle=1.0), r"within_angle must lie in \[0, pi\]"),
        (lambda: noise_majority_probability(5, 6, batch_size=2), "must be at most n_samples = 5, got 6"),
        (lambda: noise_majority_probability(5, 2, batch_size=6), "batch_size must be at most n_samples = 5, got 6"),
        (lambda: class_noise_majority_probability(5, 3, 4, batch_size=2), "class_noise must be at most class_size = 3, got 4"),
        (lambda: batch_alpha_deviation(0.5, noise_level=1.0, batch_size=3), r"noise_level must lie in \(0, 1\), got 1.0"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
