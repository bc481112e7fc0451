"""The turn of the noisy loss and the rules that stop without true labels, against descent and enumeration (X4, R2).

Tolerances of 1e-13 … 1e-15 are a few hundred to a few roundings of 1.1e-16.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.alpha import alpha_flow, initial_alpha
from theory.dynamics import gradient_descent
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
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
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
