"""Gradient descent in function space, step sizes, and the loss and monotonicity statements that hold for every kernel."""

from __future__ import annotations

import re

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cases import accuracy_counterexample, random_case, symmetric_locations
from tests.support.problems import problems_under_assumption_4_1
from theory.dynamics import gradient_descent
from theory.losses import errors, loss_values, residuals, sigmoid
from theory.segment_history import segment_history
from theory.segments import Segments, segment_geometry
from theory.step_size import clean_descent_rate, clean_priority_rate, lanczos_top_pair, largest_eigenvalue, max_learning_rate

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
    chosen = gradient_descent(np.eye(2), [0, 1], learning_rate=1.0, steps=100, record=[2, 7], cross_kernel=np.eye(2))
    assert chosen.kernel_products == 7
    np.testing.assert_array_equal(chosen.logits, every.logits[[2, 7]])
    np.testing.assert_allclose(chosen.test_logits, chosen.logits, rtol=1e-15)
    assert gradient_descent(np.eye(2), [0, 1], learning_rate=1.0, steps=0, record=5).steps.tolist() == [0]


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
        ({"labels": [0, -1]}, "labels must lie in [0, 1] for the logistic loss, got -1.0"),
        ({"labels": [0, 1j]}, "labels must hold real numbers, got dtype complex128"),
        ({"loss": "hinge"}, "loss must be one of 'logistic', 'softmax', 'squared', got 'hinge'"),
        ({"loss": "softmax"}, "labels must be one-hot with at least two classes for the softmax loss, got shape [2]"),
        ({"loss": "softmax", "labels": [[1, 1], [0, 1]]}, "labels must sum to 1 over the classes for the softmax loss, got a sum of"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive finite number, got 0.0"),
        ({"steps": 1.5}, "steps must be an integer >= 0, got 1.5"),
        ({"steps": -1}, "steps must be an integer >= 0, got -1"),
        ({"initial_logits": [0.0]}, "initial_logits must have shape [2] or that with an axis of draws, got [1]"),
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


# Residuals, losses and errors at 50 digits and on ties.


@given(h=st.floats(-700, 700), y=st.sampled_from([0.0, 1.0]))
@settings(max_examples=200, deadline=None)
def test_logistic_to_a_few_ulp(h: float, y: float) -> None:
    with mpmath.workdps(50):
        f = 1 / (1 + mpmath.exp(-mpmath.mpf(h)))
        r = f if y == 0 else -mpmath.exp(-mpmath.mpf(h)) * f
        loss = mpmath.log1p(mpmath.exp(mpmath.mpf(h if y == 0 else -h)))
        # mpmath's exp and 50 digits make both exact here; 1 exp, 1 sum, 1 quotient in float64: 4 ulp, exp itself below 1.
        assert abs(float(residuals([h], [y])[0]) / r - 1) < 4 * EPS
        assert abs(float(loss_values([h], [y])[0]) / loss - 1) < 4 * EPS


@given(h=st.lists(st.floats(-300, 300), min_size=2, max_size=6), label=st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_softmax_to_a_few_ulp(h: list[float], label: int) -> None:
    label %= len(h)
    one_hot = np.eye(len(h))[label]
    got, loss = residuals([h], [one_hot], loss="softmax")[0], float(loss_values([h], [one_hot], loss="softmax")[0])
    with mpmath.workdps(320):
        e = [mpmath.exp(mpmath.mpf(value)) for value in h]
        total = mpmath.fsum(e)
        for c, value in enumerate(e):
            exact = value / total if c != label else -(mpmath.fsum(e) - value) / total
            # The shifts h − max h are rounded at a relative eps of at most 600: eps · 600 in the exponent.
            if abs(exact) > 1e-290:
                assert abs(float(got[c]) / exact - 1) < 650 * EPS
        exact = -mpmath.log(e[label] / total)
        assert exact < 1e-290 or abs(loss / exact - 1) < 650 * EPS


def test_ties_cost_their_chance() -> None:
    assert errors([0.0], [1]).tolist() == [0.5]
    assert errors([[0.0, 0.0, 0.0]], [[0, 1, 0]], loss="softmax")[0] == pytest.approx(2 / 3, rel=1e-15)
    assert errors([0.2, -0.2], [1, -1], loss="squared").tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="labels must take at most two values for the error of the squared loss, got 3 values"):
        errors([0.0, 0.0, 0.0], [1, 2, 3], loss="squared")


def test_sigmoid_far_out() -> None:
    assert sigmoid([-745.0, 800.0, -800.0]).tolist() == [np.exp(-745.0), 1.0, 0.0]


# λ_max and the bounds of D6, D10, X4: no violation below them, violations above.


@pytest.mark.parametrize("n", [5, 299, 320])
def test_largest_eigenvalue(n: int) -> None:
    features = np.random.default_rng(n).normal(size=(n, n)) + 1
    kernel = features @ features.T
    exact = np.linalg.eigvalsh(kernel)[-1]
    assert largest_eigenvalue(kernel) == pytest.approx(exact, rel=1e-12)
    assert largest_eigenvalue(kernel, certified=False) == pytest.approx(exact, rel=1e-12)


def test_certificate_catches_an_eigenvector_that_lanczos_cannot_see() -> None:
    """The start vector is made an eigenvector with a small eigenvalue, orthogonal to the top one."""
    n = 320
    start = 1 + np.cos(np.sqrt(2) * np.arange(n, dtype=np.float64) ** 2 + 1)
    start /= np.linalg.norm(start)
    top = np.zeros(n)
    top[:2] = start[1], -start[0]
    top /= np.linalg.norm(top)
    kernel = np.outer(start, start) + 5 * np.outer(top, top)
    assert lanczos_top_pair(kernel)[0] == pytest.approx(1, rel=1e-9)
    assert largest_eigenvalue(kernel) == pytest.approx(5, rel=1e-12)


@pytest.mark.parametrize(("loss", "factor"), [("logistic", 8), ("softmax", 4), ("squared", 2)])
def test_no_overshoot_below_the_largest_rate(loss: str, factor: int) -> None:
    """Every step lowers the loss below the bound; at twice the bound some step raises it."""
    rng = np.random.default_rng(5)
    raised = {0.99: 0, 2.1: 0}
    for _ in range(60):
        case = random_case(rng, initial_scale=rng.uniform(0, 3))
        rate = max_learning_rate(case.kernel, loss=loss)
        assert rate == pytest.approx(factor * case.n / np.linalg.eigvalsh(case.kernel)[-1], rel=1e-9)
        labels = np.eye(2)[case.observed] if loss == "softmax" else case.observed
        start = np.stack([case.initial_logits, -case.initial_logits], axis=1) if loss == "softmax" else case.initial_logits
        for part in raised:
            run = gradient_descent(case.kernel, labels, learning_rate=part * rate, steps=30, loss=loss, initial_logits=start)
            curve = loss_values(run.logits, np.broadcast_to(labels, run.logits.shape), loss=loss).mean(axis=1)
            raised[part] += bool((np.diff(curve) > 1e-13 * curve[:-1]).any())
    assert raised[0.99] == 0
    assert raised[2.1] > 0


def test_softmax_bound_is_sharp_in_the_worst_case() -> None:
    """At f = (½, ½) the Hessian of the softmax attains ½: just above 4n/λ_max the linearised step overshoots."""
    kernel = np.array([[1.0]])
    start = np.array([[1e-4, -1e-4]])
    label = np.array([[0.5, 0.5]])
    for part, grows in ((0.99, False), (1.01, True)):
        run = gradient_descent(
            kernel, label, learning_rate=part * max_learning_rate(kernel, loss="softmax"), steps=1, loss="softmax", initial_logits=start
        )
        assert bool(np.abs(run.logits[1]).max() > 1e-4) is grows


def test_x4_loss_directions_in_random_problems() -> None:
    """Assumption-free: a < ρ raises the noisy loss at any rate; below the bound the clean loss falls. 600 problems × 3 rates."""
    rng = np.random.default_rng(11)
    early = bounded = control = 0
    for _ in range(600):
        case = random_case(rng, initial_scale=rng.uniform(0, 2))
        segments = case.segments
        r = residuals(case.initial_logits, case.observed)
        geometry = segment_geometry(case.kernel, r, segments)
        limit = clean_descent_rate(case.kernel, r, segments)
        slope = case.kernel @ r / case.n
        # Gradient flow: both criteria are identities of signs.
        clean_rate, noise_rate = -(r * slope)[segments.clean()].sum(), -(r * slope)[segments.noise()].sum()
        a, rho = float(geometry.pooled_alpha), float(geometry.pooled_rho)
        assert (clean_rate < 0) == (a * rho < 1)
        assert (noise_rate > 0) == (a < rho)
        for part in (0.3, 0.99, 30.0):
            rate = part * limit if limit > 0 else part * max_learning_rate(case.kernel)
            run = gradient_descent(case.kernel, case.observed, learning_rate=rate, steps=1, initial_logits=case.initial_logits)
            losses = loss_values(run.logits, np.broadcast_to(case.observed, run.logits.shape))
            clean, noise = losses[:, segments.clean()].mean(axis=1), losses[:, segments.noise()].mean(axis=1)
            if a < rho:
                early += 1
                assert noise[1] > noise[0], f"noisy loss fell at a={a}, rho={rho}, rate={rate}"
            if limit > 0 and part < 1:
                bounded += 1
                assert clean[1] < clean[0], f"clean loss rose at rate {rate} of limit {limit}"
            control += bool(limit > 0 and part > 1 and clean[1] > clean[0])
    assert early > 150
    assert bounded > 600
    assert control > 50  # the bound is not vacuous: at thirty times it the clean loss often rises


def test_d6_d10_under_the_assumption() -> None:
    """Below 8n/((1−α)λ_max(K_cc)): clean loss and clean gradient fall, noisy loss and noisy gradient rise. 600 problems."""
    control = 0
    for case in problems_under_assumption_4_1(np.random.default_rng(12), count=600):
        features, observed, alpha = case.features, case.observed, case.alpha
        kernel, segments = features @ features.T, Segments.from_labels(case.truth, observed)
        start = features @ case.weights
        geometry = segment_geometry(kernel, residuals(start, observed), segments)
        # D4: the direction part is exact, ∇L(D) = (1−α)(n_c/n) ∇L(D_clean).
        full = features.T @ residuals(start, observed)
        clean_gradient = features.T @ (residuals(start, observed) * segments.clean())
        np.testing.assert_allclose(full, (1 - alpha) * clean_gradient, rtol=0, atol=1e-9 * np.abs(features).max() * case.truth.size)
        limit = clean_priority_rate(kernel, segments, alpha=alpha)
        for part in (0.3, 0.99, 4.0):
            run = gradient_descent(kernel, observed, learning_rate=part * limit, steps=1, initial_logits=start)
            after = segment_geometry(kernel, residuals(run.logits[1], observed), segments)
            losses = loss_values(run.logits, np.broadcast_to(observed, run.logits.shape))
            clean, noise = losses[:, segments.clean()].mean(axis=1), losses[:, segments.noise()].mean(axis=1)
            assert noise[1] > noise[0]
            assert after.pooled_noise_norm > geometry.pooled_noise_norm
            if part < 1:
                assert clean[1] < clean[0]
                assert after.pooled_clean_norm < geometry.pooled_clean_norm
                assert after.pooled_alpha > geometry.pooled_alpha
            else:
                control += bool(after.pooled_clean_norm >= geometry.pooled_clean_norm)
    assert control > 30  # at four times the bound the clean gradient often grows


def test_d7_counterexample() -> None:
    """Assumption 4.1 at t and t+1, clean loss .6949 → .6841, clean accuracy 2/3 → 1/3, α .473 → .800."""
    case, rate = accuracy_counterexample()
    run = gradient_descent(case.kernel, case.observed, learning_rate=rate, steps=1, initial_logits=case.initial_logits)
    history = segment_history(case.kernel, run.logits, case.segments)
    np.testing.assert_allclose(history.rho, 1, rtol=0, atol=1e-14)  # rank one: exactly collinear at both times
    np.testing.assert_allclose(history.alpha[:, 0], history.alpha[:, 1], rtol=1e-14)  # and the same α in both classes
    np.testing.assert_allclose(history.alpha[:, 0], [0.473, 0.800], rtol=0, atol=5e-4)
    np.testing.assert_allclose(history.clean_loss, [0.6949, 0.6841], rtol=0, atol=5e-5)
    np.testing.assert_allclose(history.clean_error, [1 / 3, 2 / 3], rtol=1e-15)
    assert rate < clean_priority_rate(case.kernel, case.segments, alpha=float(history.alpha[0, 0]))


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


def test_fixture_never_overshoots() -> None:
    """D10's strengthening: with T = ∞ and η ≤ 4n/λ_max, α_t → 1 from below."""
    case = symmetric_locations()
    run = gradient_descent(case.kernel, case.observed, learning_rate=max_learning_rate(case.kernel) / 2, steps=2000, record=60)
    alpha = segment_history(case.kernel, run.logits, case.segments).pooled_alpha
    assert (np.diff(alpha[alpha < 1 - 1e-9]) > 0).all()
    assert alpha[-1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_learning_rate(np.zeros((2, 2))), "kernel must have a positive eigenvalue, got a largest eigenvalue of 0"),
        (lambda: max_learning_rate(np.eye(2), loss="hinge"), "loss must be one of"),
        (lambda: clean_priority_rate(np.eye(2), Segments.from_labels([0, 1], [0, 1]), alpha=1.0), "alpha must lie in [0, 1), got 1.0"),
        (lambda: clean_priority_rate(np.eye(2), Segments.from_labels([0, 1], [1, 0])), "segments must have clean samples, got none"),
        (lambda: clean_descent_rate(np.eye(2), [0.5], Segments.from_labels([0, 1], [0, 1])), "residuals must have shape [2]"),
    ],
    ids=["zero-kernel", "loss", "alpha", "no-clean", "residual-shape"],
)
def test_bad_input_is_named_by_step_sizes(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()  # type: ignore[operator]
