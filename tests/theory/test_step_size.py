"""λ_max and the step sizes of D6, D10, X4: no violation below them, violations above; what they do not promise (D7).

Tolerances without a comment are rounding: an eigenvalue from a decomposition of an [n, n] matrix, n ≤ 320, is right to n · eps = 7e-14 of
the largest one (1e-12), one of Lanczos' to the 1e-9 that its certificate allows; a loss of a mean over 25 samples to 1e-13. 1e-4 and 1e-6
are sizes of a start and of a distance to the limit, far beyond rounding.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.support.cases import accuracy_counterexample, random_case, symmetric_locations
from tests.support.problems import problems_under_assumption_4_1
from theory.dynamics import gradient_descent
from theory.losses import loss_values, residuals
from theory.segment_history import segment_history
from theory.segments import Segments, segment_geometry
from theory.step_size import clean_descent_rate, clean_priority_rate, lanczos_top_pair, largest_eigenvalue, max_learning_rate


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
