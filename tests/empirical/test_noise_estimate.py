"""The noise level from checked labels and from held-out disagreement: coverage by enumeration, the limits of what can be known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from empirical.noise import corrupt_labels
from empirical.noise_estimate import noise_level_from_checked, noise_level_from_disagreement, noise_residual
from theory.stopping_rules import held_out_disagreement

ROUNDING = 1e-12  # of a sum of up to 201 binomial probabilities, each right to about 1e-14


@pytest.mark.parametrize("checked", [1, 20, 60])
def test_coverage_for_checked_labels_is_exact(checked: int):
    """Sum of the binomial probabilities of all outcomes that cover, for many noise levels: never below 1 − error rate."""
    estimates = [noise_level_from_checked(k, checked, error_rate=0.05) for k in range(checked + 1)]
    for level in np.linspace(0, 1, 41):
        covered = sum(stats.binom.pmf(k, checked, level) for k, e in enumerate(estimates) if e.contains(level))
        assert covered >= 0.95 - ROUNDING


@pytest.mark.parametrize("n_classes", [2, 10])
def test_coverage_from_held_out_disagreement(n_classes: int):
    """Also exact, for every model error up to the bound; with a bound that is too small it misses (control)."""
    checked, worst = 200, 0.1
    wide = [noise_level_from_disagreement(k, checked, n_classes=n_classes, max_model_error=worst) for k in range(checked + 1)]
    tight = [noise_level_from_disagreement(k, checked, n_classes=n_classes, max_model_error=0.0) for k in range(checked + 1)]
    free = [noise_level_from_disagreement(k, checked, n_classes=n_classes) for k in range(checked + 1)]
    missed = []
    for level in (0.0, 0.1, 0.3, 0.45):
        for error in (0.0, 0.03, worst):
            share = held_out_disagreement(level, error, n_classes=n_classes)
            outcomes = stats.binom.pmf(np.arange(checked + 1), checked, share)
            assert sum(p for p, e in zip(outcomes, wide, strict=True) if e.contains(level)) >= 0.95 - ROUNDING
            assert sum(p for p, e in zip(outcomes, free, strict=True) if e.contains(level)) >= 0.95 - ROUNDING
            missed.append(sum(p for p, e in zip(outcomes, tight, strict=True) if not e.contains(level)))
    assert max(missed) > 0.5


@pytest.mark.parametrize(("n_classes", "level", "error"), [(2, 0.4, 0.1), (2, 0.0, 0.2), (5, 0.3, 0.25)])
def test_disagreement_formula_on_drawn_labels(n_classes: int, level: float, error: float):
    """Predictions with uniform mistakes against labels of `corrupt_labels`: within 5 standard errors (two-sided 6e-7)."""
    n = 200_000
    truth = np.arange(n) % n_classes
    observed = corrupt_labels(truth, level, n_classes=n_classes, seed=1).observed
    predicted = corrupt_labels(truth, error, n_classes=n_classes, seed=2).observed
    share = held_out_disagreement(level, error, n_classes=n_classes)
    assert abs((predicted != observed).mean() - share) < 5 * np.sqrt(share * (1 - share) / n)


def test_without_a_bound_nothing_is_known_from_below():
    estimate = noise_level_from_disagreement(300, 1000)
    assert (estimate.lower, estimate.value) == (0.0, 0.3)
    assert "not bounded" in estimate.method


@pytest.mark.parametrize("wrong", [0, 50, 60, 100])
def test_disagreement_at_or_above_chance_is_an_interval_still(wrong: int):
    estimate = noise_level_from_disagreement(wrong, 100, max_model_error=0.2)
    assert 0 <= estimate.lower <= estimate.value <= estimate.upper <= 1


def test_residual_of_a_transition_matrix_is_that_of_its_definition():
    """Mean of 1 − T_c,y over labels drawn with exact counts; shares of unequal classes enter."""
    matrix = np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]])
    truth = np.repeat([0, 1, 2], [100, 50, 10])
    noisy = corrupt_labels(truth, n_classes=3, seed=0, transition=matrix)
    mean = (1 - matrix[truth, noisy.observed]).mean()
    # Counts are exact here, so both are the same sum of 160 numbers.
    assert noise_residual(transition=matrix, class_shares=[100, 50, 10]) == pytest.approx(mean, abs=1e-14)
    assert noise_residual(transition=matrix) != pytest.approx(mean, abs=1e-2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noise_residual(), "either noise_level or transition, got neither"),
        (lambda: noise_residual(0.1, transition=np.eye(2)), "got both"),
        (lambda: noise_residual(0.9, n_classes=10), r"noise_level must be below \(C - 1\)/C = 0.9"),
        (lambda: noise_residual(transition=[[0.5, 0.5]]), r"transition must have shape \[2, 2\]"),
        (lambda: noise_residual(transition=np.eye(3), class_shares=[1, 1]), "class_shares must be 3 shares"),
        (lambda: noise_residual(transition=np.eye(2), class_shares=[np.nan, 1]), "class_shares must be finite"),
        (lambda: noise_level_from_checked(3, 2), "wrong must not exceed checked = 2, got 3"),
        (lambda: noise_level_from_checked(0, 0), "checked must be an integer >= 1, got 0"),
        (lambda: noise_level_from_disagreement(1, 2, max_model_error=0.5), r"max_model_error must lie in \[0, 0.5\), got 0.5"),
        (lambda: noise_level_from_disagreement(1, 2, error_rate=0), r"error_rate must lie in \(0, 1\), got 0"),
    ],
)
def test_bad_input(call, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
