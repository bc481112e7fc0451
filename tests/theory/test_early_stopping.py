"""The U-curve of a kernel machine, against enumeration of all label draws, sampled draws and descent (X7).

Random assertions use |z| < 6 (2e-9 each under the normal law of the mean).

A tolerance of 1e-11 is 60 steps of a kernel of six samples, each rounded a dozen times, with logits up to 30.
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
from theory.early_stopping import early_stopping_curve

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


def test_errors_of_two_samples_are_normal_probabilities() -> None:
    # W = (η/n) K = [[.5, .25], [.25, .5]] after one step, m = −.25: the margins .5 ± m/2, the variance 4δ(1−δ) · .25² = .75 · .25².
    curve = early_stopping_curve([[2, 1], [1, 2]], [0, 1], 0.25, learning_rate=0.5, steps=[1])
    clean, noise = (math.erfc(margin / math.sqrt(0.75 * 0.25**2) / math.sqrt(2)) / 2 for margin in (0.375, 0.625))
    got = [curve.clean_error[0], curve.noise_error[0], curve.train_error[0], curve.truth_error[0]]
    # A few dozen roundings, 1.1e-16 each, of margins; they move a normal tail by their square, less than ten times more.
    np.testing.assert_allclose(got, [clean, noise, 0.75 * clean + 0.25 * noise, 0.75 * clean + 0.25 * (1 - noise)], rtol=1e-13)


def test_no_step_may_be_asked_for() -> None:
    assert early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=0).steps.tolist() == [0]


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=4.0, steps=3), r"learning_rate must be below .* = 4, got 4.0"),
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 1.2, learning_rate=1.0, steps=3), r"noise_level must lie in \[0, 1\), got 1.2"),
        (lambda: early_stopping_curve(np.eye(2), [0, 3], 0.1, learning_rate=1.0, steps=3), "got 3"),
        (lambda: early_stopping_curve(np.eye(2), [0, -1], 0.1, learning_rate=1.0, steps=3), "got both 0 and -1"),
        (lambda: early_stopping_curve(np.diag([1.0, -1.0]), [0, 1], 0.1, learning_rate=1.0, steps=3), "semi-definite .* eigenvalue -1"),
        # Negative beyond 1e-8 of the largest eigenvalue, however small that is.
        (lambda: early_stopping_curve(np.diag([1e-3, -1e-9]), [0, 1], 0.1, learning_rate=1.0, steps=3), "smallest eigenvalue -1e-09"),
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=[-1]), "steps must not be negative, got -1"),
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=[1.5]), "list of integers"),  # type: ignore[list-item]
        (lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=1, cross_kernel=np.eye(2)), "given together"),
        (
            lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=1, cross_kernel=np.eye(3), test_truth=[0, 1, 0]),
            r"cross_kernel must have shape \[n_test, 2\], got \[3, 3\]",
        ),
        (
            lambda: early_stopping_curve(np.eye(2), [0, 1], 0.1, learning_rate=1.0, steps=1, cross_kernel=np.ones((0, 2)), test_truth=[]),
            r"cross_kernel must have shape \[n_test, 2\], got \[0, 2\]",
        ),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
