"""Random linear classification problems at which Assumption 4.1 holds to rounding, built by choosing the noisy features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

__all__ = ["AssumptionProblem", "problems_under_assumption_4_1"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class AssumptionProblem:
    """A linear model h = Φw with g_noise^(c) = −α g_clean^(c) for both classes at w.

    Attributes:
        features: Φ ``[n, p]``.
        weights: w ``[p]``.
        truth: ``[n]``.
        noisy: mask ``[n]``.
        alpha: α, the same for both classes.
    """

    features: Array
    weights: Array
    truth: NDArray[np.int64]
    noisy: NDArray[np.bool_]
    alpha: float

    @property
    def observed(self) -> NDArray[np.int64]:
        """Labels that the training sees."""
        return np.where(self.noisy, 1 - self.truth, self.truth)

    def segment_gradient(self, weights: Array, c: int, *, noisy: bool) -> Array:
        """g_noise^(c) or g_clean^(c) at some weights: a sum ``[p]``."""
        residual = expit(self.features @ weights) - self.observed
        return (residual * ((self.truth == c) & (self.noisy == noisy))) @ self.features

    @property
    def largest_rate(self) -> float:
        """8n/((1 − α)λ_max(K_cc)), below which the clean loss must fall."""
        clean = self.features[~self.noisy]
        return 8 * len(self.truth) / ((1 - self.alpha) * np.linalg.norm(clean, 2) ** 2)

    def after(self, learning_rate: float) -> Array:
        """Weights after one step on all of D."""
        residual = expit(self.features @ self.weights) - self.observed
        return self.weights - learning_rate / len(self.truth) * residual @ self.features

    def loss_changes(self, learning_rate: float) -> tuple[float, float]:
        """Change of the mean loss on the clean and on the noisy samples in one step."""
        signs = np.where(self.observed == 1, -1.0, 1.0)
        before, after = (np.logaddexp(0, signs * (self.features @ w)) for w in (self.weights, self.after(learning_rate)))
        change = after - before
        return float(change[~self.noisy].mean()), float(change[self.noisy].mean())


def problems_under_assumption_4_1(rng: np.random.Generator, *, count: int) -> Iterator[AssumptionProblem]:
    """Draw problems of random size, features, weights and α ∈ (0.05, 0.95).

    All noisy features but one per class are random; the last one closes g_noise^(c) = −α g_clean^(c). Its logit enters its own residual,
    so that the logit is solved for first. Draws whose last feature does not exist, or is longer than 1000, are drawn again.
    """
    made = 0
    while made < count:
        problem = _draw(rng)
        if problem is not None:
            made += 1
            yield problem


def _draw(rng: np.random.Generator) -> AssumptionProblem | None:
    p, alpha = int(rng.integers(2, 12)), float(rng.uniform(0.05, 0.95))
    weights = rng.normal(size=p)
    features, truth, noisy = [], [], []
    for c in (0, 1):
        centre = rng.normal(size=p)
        n_clean, n_noise = int(rng.integers(2, 12)), int(rng.integers(1, 6))
        clean = centre + 0.7 * rng.normal(size=(n_clean, p))
        free = centre + 0.7 * rng.normal(size=(n_noise - 1, p))
        g_clean = (expit(clean @ weights) - c) @ clean
        missing = -alpha * g_clean - (expit(free @ weights) - (1 - c)) @ free
        last = _closing_feature(missing, weights, label=1 - c)
        if last is None:
            return None
        features += [clean, free, last[None]]
        truth += [c] * (n_clean + n_noise)
        noisy += [False] * n_clean + [True] * n_noise
    return AssumptionProblem(np.concatenate(features), weights, np.array(truth), np.array(noisy), alpha)


def _closing_feature(missing: Array, weights: Array, *, label: int) -> Array | None:
    """φ with (σ(w·φ) − y)φ = v: φ = v/r with h·r(h) = w·v, r(h) = σ(h) − y, solved by bisection on the branch that reaches h = 0."""
    target = float(missing @ weights)
    sign = 1.0 if label == 0 else -1.0  # of the residual
    # h·r(h) is monotone for sign·h ≥ −1: from its value there up to infinity.
    low, high = -1.0, 1e3
    if target < low * expit(low):
        return None
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if middle * expit(middle) < target else (low, middle)
    residual = sign * float(expit(0.5 * (low + high)))
    feature = missing / residual
    return feature if np.linalg.norm(feature) < 1e3 else None
