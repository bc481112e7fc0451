"""How noisy are the labels, and what residual does their noise explain? What can be said with a few checked labels, and with none.

A network that outputs exactly the noise distribution p of a sample's class has the mean residual 1 − f_y = 1 − Σ_k p_k² to labels drawn
from it. `noise_residual` evaluates this definition and borrows no formula from ``theory``, which derives the same number from α = 1.

Observed labels alone do not identify the noise level: a wrong label and a truth that the model cannot represent look the same. Two
things do: labels of some samples checked by hand (an exact interval), and the disagreement of predictions with *held-out* noisy labels,
which is δ + ε(1 − δC/(C − 1)) for a model with error ε whose mistakes are independent of the noise: an upper bound of δ, and an interval
once ε is bounded. Derivation: theory/notes/early_stopping.md §3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from empirical._validation import as_real_array, check_integer, check_noise_level, check_real
from empirical.estimates import Estimate
from empirical.inference import proportion
from empirical.noise import check_transition

__all__ = ["noise_level_from_checked", "noise_level_from_disagreement", "noise_residual"]


def noise_residual(
    noise_level: float | None = None, *, n_classes: int = 2, transition: ArrayLike | None = None, class_shares: ArrayLike | None = None
) -> float:
    """Return the mean residual 1 − f_y to the observed labels of an output f that equals their noise distribution: 1 − Σ_c π_c Σ_k T_ck².

    Args:
        noise_level: δ of symmetric noise, in [0, (C − 1)/C).
        n_classes: C ≥ 2; not needed with ``transition``.
        transition: T ``[C, C]``, P(observed k | true c) in row c, in place of ``noise_level``.
        class_shares: π ``[C]``, shares of the true classes; equal if not given. Counts will do: they are divided by their sum.

    Raises:
        ValueError: if neither or both kinds of noise are given, or a value is out of range.

    Source: row R2; theory/notes/early_stopping.md §3.

    Example:
        >>> round(noise_residual(0.3), 12), round(noise_residual(0.3, n_classes=10), 12)  # 2δ(1−δ) = 0.42 with two classes
        (0.42, 0.5)
        >>> round(noise_residual(transition=[[1, 0], [0.4, 0.6]]), 12)
        0.24
    """
    if (noise_level is None) == (transition is None):
        raise ValueError(f"give either noise_level or transition, got {'neither' if transition is None else 'both'}")
    if noise_level is not None:
        classes = check_integer(n_classes, "n_classes", minimum=2)
        level = check_noise_level(noise_level)
        if level >= (classes - 1) / classes:
            raise ValueError(f"noise_level must be below (C - 1)/C = {(classes - 1) / classes:g}, where labels say nothing, got {level}")
        return gini(level, classes)
    given = as_real_array(transition, "transition")  # type: ignore[arg-type]
    matrix = check_transition(given, len(given) if given.ndim == 2 and len(given) > 1 else 2)
    shares = np.ones(len(matrix)) if class_shares is None else as_real_array(class_shares, "class_shares").astype(np.float64)
    if shares.shape != (len(matrix),) or (shares < 0).any() or shares.sum() <= 0:
        raise ValueError(f"class_shares must be {len(matrix)} shares that are not all 0, got {' '.join(repr(class_shares).split())[:60]}")
    return float(1 - shares / shares.sum() @ (matrix**2).sum(axis=1))


def noise_level_from_checked(wrong: int, checked: int, *, error_rate: float = 0.05) -> Estimate:
    """Estimate the noise level from samples whose true label was looked up: exact binomial (Clopper-Pearson) interval.

    Args:
        wrong: how many of them have a wrong observed label.
        checked: how many were drawn at random and looked up; without replacement the interval is conservative.
        error_rate: probability, at most, of missing the noise level.

    Raises:
        ValueError: if a count is out of range or the error rate is not in (0, 1).

    Example:
        >>> estimate = noise_level_from_checked(20, 50)
        >>> estimate.value, round(estimate.lower, 3), round(estimate.upper, 3)
        (0.4, 0.264, 0.548)
    """
    found = _share(wrong, checked, error_rate)
    return Estimate(
        value=found.value,
        lower=found.lower,
        upper=found.upper,
        confidence=found.confidence,
        n_seeds=found.n_seeds,
        method="Clopper-Pearson interval, labels checked at random",
    )


def noise_level_from_disagreement(
    wrong: int, checked: int, *, n_classes: int = 2, max_model_error: float | None = None, error_rate: float = 0.05
) -> Estimate:
    """Estimate the noise level from the disagreement of predictions with held-out observed labels.

    The disagreement has the probability q = δ + ε(1 − δC/(C − 1)) ≥ δ, so that δ = (q − ε)/(1 − εC/(C − 1)) falls in ε. The interval runs
    from ε = ``max_model_error`` at the lower end of the exact interval of q to ε = 0 at its upper end. With no bound on ε its lower end is
    0: from observed labels alone no more can be said.

    Args:
        wrong: held-out samples predicted otherwise than their observed label.
        checked: held-out samples; their labels have the noise of the training labels, and no part in training or in choosing the model.
        n_classes: C ≥ 2; symmetric noise below (C − 1)/C.
        max_model_error: largest possible error ε of the predictions against the true labels, in [0, (C − 1)/C); None bounds nothing.
        error_rate: probability, at most, of missing the noise level.

    Returns:
        The estimate; its value takes ε = 0, and half of ``max_model_error`` where that is given.

    Raises:
        ValueError: if a count or an error is out of range.

    Example:
        >>> estimate = noise_level_from_disagreement(420, 1000, max_model_error=0.04)
        >>> round(estimate.value, 3), round(estimate.lower, 3), round(estimate.upper, 3)
        (0.417, 0.38, 0.451)
    """
    classes = check_integer(n_classes, "n_classes", minimum=2)
    chance = (classes - 1) / classes
    worst = None if max_model_error is None else check_real(max_model_error, "max_model_error")
    if worst is not None and not 0 <= worst < chance:
        raise ValueError(f"max_model_error must lie in [0, {chance:g}), got {worst}")
    found = _share(wrong, checked, error_rate)
    share, lower, upper = (float(part) for part in (found.value, found.lower, found.upper))

    def level(disagreement: float, error: float) -> float:
        return min(max((disagreement - error) / (1 - error / chance), 0.0), 1.0)

    value = min(level(share, 0.0 if worst is None else worst / 2), upper)  # at or above chance the formula turns over
    return Estimate(
        value=value,
        lower=0.0 if worst is None else min(level(lower, worst), value),
        upper=upper,
        confidence=found.confidence,
        n_seeds=found.n_seeds,
        method="Clopper-Pearson interval of the disagreement, model error "
        + ("not bounded" if worst is None else f"between 0 and {worst:g}")
        + ", held-out labels with symmetric noise",
    )


def gini(level: float, classes: int) -> float:
    """1 − Σ p_k² of the distribution with 1 − δ on one class and δ/(C − 1) on each other; flat beyond δ = (C − 1)/C."""
    level = min(level, (classes - 1) / classes)
    return 1 - (1 - level) ** 2 - level**2 / (classes - 1)


def _share(wrong: int, checked: int, error_rate: float) -> Estimate:
    """Exact interval of a share of wrong labels, counts checked under their own names."""
    checked = check_integer(checked, "checked")
    wrong = check_integer(wrong, "wrong", minimum=0)
    if wrong > checked:
        raise ValueError(f"wrong must not exceed checked = {checked}, got {wrong}")
    if checked > 10**9:
        raise ValueError(f"checked must be at most 1000000000, got {checked}")
    return proportion(wrong, checked, error_rate=error_rate)
