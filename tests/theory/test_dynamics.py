"""Gradient descent in function space, against descent on explicit weights, 40 digits and closed forms.

Tolerances without a comment are rounding, 1.1e-16 at a time, which steps below the stable rate do not amplify: up to 30 steps of products
with kernels of up to 25 samples are 30 · 25 roundings of the largest logit, 1e-13, and 1e-12 or 1e-11 leave room for kernels whose entries
differ by a factor of a hundred; 1e-14 and 1e-15 are a few dozen and a few roundings.
"""

from __future__ import annotations

import re

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import random_case
from theory.dynamics import Trajectory, gradient_descent
from theory.losses import loss_values, residuals, sigmoid
from theory.step_size import max_learning_rate

EPS = np.finfo(np.float64).eps


def brute_force(features: np.ndarray, labels: np.ndarray, rate: float, steps: int, loss: str, initial: np.ndarray) -> np.ndarray:
    """Descend in parameter space, sample by sample: weights ``[p, m]``, logits ``[steps + 1, n, m]``; the definition of the model."""
    n = features.shape[0]
    weights = np.zeros((features.shape[1], labels.shape[1]))
    history = [initial]
    for _ in range(steps):
        h = initial + features @ weights
        if loss == "softmax":
            e = np.exp(h - h.max(axis=1, keepdims=True))
            r = e / e.sum(axis=1, keepdims=True) - labels
        else:
            r = (1 / (1 + np.exp(-h)) if loss == "logistic" else h) - labels
        gradient = np.zeros_like(weights)
        for i in range(n):
            gradient += np.outer(features[i], r[i])
        weights = weights - rate / n * gradient
        history.append(initial + features @ weights)
    return np.stack(history)


def problem(seed: int, loss: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Features ``[n, p]``, labels and initial logits ``[n, m]``, and a stable rate."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 12))
    features = rng.normal(size=(n, int(rng.integers(1, 8))))
    m = int(rng.integers(2, 5)) if loss == "softmax" else 1
    labels = {
        "logistic": rng.integers(0, 2, (n, 1)).astype(float),
        "softmax": np.eye(m)[rng.integers(0, m, n)],
        "squared": rng.normal(size=(n, 1)),
    }[loss]
    rate = rng.uniform(0.05, 0.9) * max_learning_rate(features @ features.T, loss=loss)
    return features, labels, rng.normal(size=labels.shape), rate


# Against descent on explicit weights.


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_matches_brute_force(loss: str, seed: int) -> None:
    features, labels, initial, rate = problem(seed, loss)
    expected = brute_force(features, labels, rate, 15, loss, initial)
    shape = labels.shape if loss == "softmax" else labels.shape[:1]
    kernel = features @ features.T
    run = gradient_descent(
        kernel,
        labels.reshape(shape),
        learning_rate=rate,
        steps=15,
        loss=loss,
        initial_logits=initial.reshape(shape),
        cross_kernel=kernel[:1],
        initial_test_logits=initial.reshape(shape)[:1],
    )
    # Below the stable rate rounding is not amplified: 15 steps of n·eps each, on the scale of the largest logit.
    tolerance = 1e-12 * max(1, np.abs(expected).max())
    np.testing.assert_allclose(run.logits, expected.reshape(16, *shape), rtol=0, atol=tolerance)
    assert run.test_logits is not None
    np.testing.assert_allclose(run.test_logits, run.logits[:, :1], rtol=0, atol=tolerance)
    np.testing.assert_allclose(run.times, rate * np.arange(16), rtol=1e-15)


def test_descent_in_extended_precision() -> None:
    """Thirty steps at 40 digits: the float64 run keeps 1e-14."""
    features, labels, initial, rate = problem(7, "logistic")
    kernel = features @ features.T
    run = gradient_descent(kernel, labels[:, 0], learning_rate=rate, steps=30, initial_logits=initial[:, 0])
    with mpmath.workdps(40):
        h = mpmath.matrix(initial[:, 0].tolist())
        k = mpmath.matrix(kernel.tolist())
        for _ in range(30):
            r = mpmath.matrix([1 / (1 + mpmath.exp(-value)) - y for value, y in zip(h, labels[:, 0].tolist(), strict=True)])
            h = h - mpmath.mpf(rate) / len(h) * (k * r)
        expected = np.array([float(value) for value in h])
    np.testing.assert_allclose(run.logits[-1], expected, rtol=0, atol=30 * len(h) * EPS * np.abs(expected).max())


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_draws_are_independent_columns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(rng)
    labels = rng.integers(0, 2, (case.n, 3))
    initial = rng.normal(size=(case.n, 3))
    rate = max_learning_rate(case.kernel) / 2
    options = {"learning_rate": rate, "steps": 12, "cross_kernel": case.kernel[:2], "record": [0, 5, 12]}
    together = gradient_descent(case.kernel, labels, initial_logits=initial, initial_test_logits=initial[:2], **options)
    assert together.logits.shape == (3, case.n, 3)
    for d in range(3):
        alone = gradient_descent(case.kernel, labels[:, d], initial_logits=initial[:, d], initial_test_logits=initial[:2, d], **options)
        np.testing.assert_allclose(together.logits[..., d], alone.logits, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(together.test_logits[..., d], alone.test_logits, rtol=1e-11, atol=1e-11)
    shared = gradient_descent(case.kernel, labels[:, 0], initial_logits=initial, **options)
    np.testing.assert_allclose(shared.logits[..., 0], together.logits[..., 0], rtol=1e-11, atol=1e-11)


def test_softmax_draws() -> None:
    rng = np.random.default_rng(3)
    case = random_case(rng, n=9)
    labels = np.eye(3)[rng.integers(0, 3, (9, 2))].transpose(0, 2, 1)  # [n, C, draws]
    run = gradient_descent(case.kernel, labels, learning_rate=0.1, steps=6, loss="softmax", cross_kernel=case.kernel[:4])
    assert run.logits.shape == (7, 9, 3, 2)
    for d in range(2):
        alone = gradient_descent(case.kernel, labels[..., d], learning_rate=0.1, steps=6, loss="softmax")
        np.testing.assert_allclose(run.logits[..., d], alone.logits, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(run.test_logits, run.logits[:, :4], rtol=1e-11, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_two_class_softmax_is_logistic_with_twice_the_kernel(seed: int) -> None:
    case = random_case(np.random.default_rng(seed))
    rate = max_learning_rate(case.kernel) / 4
    softmax = gradient_descent(case.kernel, np.eye(2)[case.observed], learning_rate=rate, steps=20, loss="softmax")
    logistic = gradient_descent(2 * case.kernel, case.observed, learning_rate=rate, steps=20)
    difference = softmax.logits[..., 1] - softmax.logits[..., 0]
    np.testing.assert_allclose(difference, logistic.logits, rtol=0, atol=1e-12 * max(1, np.abs(difference).max()))


@pytest.mark.parametrize("loss", ["logistic", "softmax", "squared"])
def test_time_composition(loss: str) -> None:
    features, labels, initial, rate = problem(11, loss)
    shape = labels.shape if loss == "softmax" else labels.shape[:1]
    kernel, y, start = features @ features.T, labels.reshape(shape), initial.reshape(shape)
    whole = gradient_descent(kernel, y, learning_rate=rate, steps=20, loss=loss, initial_logits=start, cross_kernel=kernel)
    half = gradient_descent(kernel, y, learning_rate=rate, steps=8, loss=loss, initial_logits=start, cross_kernel=kernel)
    rest = gradient_descent(
        kernel,
        y,
        learning_rate=rate,
        steps=12,
        loss=loss,
        initial_logits=half.logits[-1],
        cross_kernel=kernel,
        initial_test_logits=half.test_logits[-1],
    )
    np.testing.assert_array_equal(rest.logits, whole.logits[8:])
    np.testing.assert_allclose(rest.test_logits, whole.test_logits[8:], rtol=0, atol=1e-13 * np.abs(whole.test_logits).max())


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_permutation_equivariance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(rng)
    order = rng.permutation(case.n)
    rate = max_learning_rate(case.kernel) / 2
    one = gradient_descent(case.kernel, case.observed, learning_rate=rate, steps=10)
    two = gradient_descent(case.kernel[np.ix_(order, order)], case.observed[order], learning_rate=rate, steps=10)
    np.testing.assert_allclose(one.logits[:, order], two.logits, rtol=0, atol=1e-12 * max(1, np.abs(one.logits).max()))


def test_soft_labels_reach_their_logit() -> None:
    run = gradient_descent(np.eye(2), [0.25, 0.5], learning_rate=8.0, steps=300, record=[300])
    np.testing.assert_allclose(run.logits[0], [np.log(1 / 3), 0], rtol=0, atol=1e-14)


def test_squared_loss_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    case = random_case(rng, n=8)
    target = rng.normal(size=8)
    rate = 0.7 * max_learning_rate(case.kernel, loss="squared")
    run = gradient_descent(case.kernel, target, learning_rate=rate, steps=30, loss="squared")
    values, vectors = np.linalg.eigh(case.kernel)
    decay = (1 - rate * values / 8) ** np.arange(31)[:, None]
    expected = target - (decay * (vectors.T @ target)) @ vectors.T
    np.testing.assert_allclose(run.logits, expected, rtol=0, atol=1e-12 * np.abs(target).max())


def test_recorded_steps() -> None:
    every = gradient_descent(np.eye(2), [0, 1], learning_rate=1.0, steps=100)
    assert every.steps.tolist() == list(range(101))
    few = gradient_descent(np.eye(2), [0, 1], learning_rate=1.0, steps=100, record=6)
    assert few.steps.tolist() == [0, 1, 3, 10, 32, 100]
    np.testing.assert_array_equal(few.logits, every.logits[few.steps])
    three = gradient_descent(np.eye(2), [0, 1], learning_rate=1.0, steps=100, record=3)
    assert three.steps.tolist() == [0, 1, 100]
    two = gradient_descent(np.eye(2), [0, 1], learning_rate=1.0, steps=100, record=2)
    assert two.steps.tolist() == [0, 100]
    chosen = gradient_descent(np.eye(2), [0, 1], learning_rate=1.0, steps=100, record=[2, 7], cross_kernel=np.eye(2))
    assert chosen.kernel_products == 7
    np.testing.assert_array_equal(chosen.logits, every.logits[[2, 7]])
    np.testing.assert_allclose(chosen.test_logits, chosen.logits, rtol=1e-15)
    assert gradient_descent(np.eye(2), [0, 1], learning_rate=1.0, steps=0, record=5).steps.tolist() == [0]


def test_trajectory_counts_no_product_by_default() -> None:
    assert Trajectory(np.zeros(1), np.zeros((1, 2))).kernel_products == 0


def test_float32_in_float32_out_for_gradient_descent() -> None:
    kernel = np.eye(3, dtype=np.float32)
    run = gradient_descent(kernel, [0, 1, 1], learning_rate=1.0, steps=50, cross_kernel=kernel)
    assert run.logits.dtype == run.test_logits.dtype == np.float32
    exact = gradient_descent(np.eye(3), [0, 1, 1], learning_rate=1.0, steps=50)
    np.testing.assert_allclose(run.logits, exact.logits, rtol=0, atol=50 * np.finfo(np.float32).eps * np.abs(exact.logits).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": np.ones((2, 3))}, "kernel must be square [n, n] with n >= 1, got shape [2, 3]"),
        ({"kernel": [[1.0, np.nan], [np.nan, 1.0]]}, "kernel must be finite, got nan at index (0, 1)"),
        ({"labels": [0, 1, 1]}, "labels must have shape [2] or [2, draws] to match the kernel, got [3]"),
        (
            {"loss": "softmax", "labels": np.eye(3)},
            "labels must have shape [2, C] or [2, C, draws] to match the kernel, got [3, 3]",
        ),
        ({"labels": [0, -1]}, "labels must lie in [0, 1] for the logistic loss, got -1.0"),
        ({"labels": [0, 1j]}, "labels must hold real numbers, got dtype complex128"),
        ({"loss": "hinge"}, "loss must be one of 'logistic', 'softmax', 'squared', got 'hinge'"),
        ({"loss": "softmax"}, "labels must be one-hot with at least two classes for the softmax loss, got shape [2]"),
        ({"loss": "softmax", "labels": [[1, 1], [0, 1]]}, "labels must sum to 1 over the classes for the softmax loss, got a sum of"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive finite number, got 0.0"),
        ({"steps": 1.5}, "steps must be an integer >= 0, got 1.5"),
        ({"steps": -1}, "steps must be an integer >= 0, got -1"),
        ({"initial_logits": [0.0]}, "initial_logits must have shape [2] or that with an axis of draws, got [1]"),
        ({"initial_logits": np.ones((2, 0))}, "initial_logits must have shape [2] or that with an axis of draws, got [2, 0]"),
        ({"cross_kernel": np.ones((0, 2))}, "cross_kernel must have shape [n_test, 2], got [0, 2]"),
        ({"cross_kernel": np.ones((1, 3))}, "cross_kernel must have shape [n_test, 2], got [1, 3]"),
        ({"initial_test_logits": [0.0]}, "initial_test_logits must come with a cross_kernel, got none"),
        ({"cross_kernel": np.ones((1, 2)), "initial_test_logits": [0.0, 1.0]}, "initial_test_logits must have shape [1], got [2]"),
        ({"record": [3, 2]}, "record must hold increasing step numbers in [0, 4], got [3, 2]"),
        ({"record": [5]}, "record must hold increasing step numbers in [0, 4], got [5]"),
        ({"record": 1}, "record must be an integer >= 2, got 1"),
        ({"record": 2.5}, "record must be an integer >= 2, got 2.5"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_named_by_gradient_descent(change: dict, message: str) -> None:
    arguments = {"kernel": np.eye(2), "labels": [0, 1], "learning_rate": 1.0, "steps": 4} | change
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        gradient_descent(arguments.pop("kernel"), arguments.pop("labels"), **arguments)
    assert "\n" not in str(caught.value)


def test_divergence_of_the_squared_loss_is_named() -> None:
    with pytest.raises(ValueError, match="learning_rate must be below"):
        gradient_descent(np.eye(2), [0.0, 1.0], learning_rate=1e3, steps=1000, loss="squared", record=[1000])


# λ_max and the bounds of D6, D10, X4: no violation below them, violations above.


def test_d8_clean_residual_can_rise_while_the_loss_falls() -> None:
    """Two samples with features 1 and −0.1, label 1, at w = −5: descent raises w, the loss falls, the mean residual rises."""
    phi = np.array([1.0, -0.1])
    run = gradient_descent(np.outer(phi, phi), [1, 1], learning_rate=1.0, steps=1, initial_logits=-5 * phi)
    losses = loss_values(run.logits, np.ones((2, 2))).mean(axis=1)
    missing = np.abs(residuals(run.logits, np.ones((2, 2)))).mean(axis=1)
    assert losses[1] < losses[0]
    assert missing[1] > missing[0]
    # d/dw Σ (1 − f) = 0.1 σ'(0.5) − σ'(−5) = +.0169, the catalogue's number.
    h = -5 * phi
    assert -(phi * sigmoid(h) * sigmoid(-h)).sum() == pytest.approx(0.0169, abs=5e-5)
    # A single sample improves if and only if r_i (K r)_i > 0: here the second does not.
    r = residuals(h, [1, 1])
    improves = np.abs(residuals(run.logits[1], [1, 1])) < np.abs(r)
    assert improves.tolist() == (r * (np.outer(phi, phi) @ r) > 0).tolist() == [True, False]
