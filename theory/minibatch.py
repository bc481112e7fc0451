"""Mini-batches: how often noise has the majority in a batch, and how much the batch value of α fluctuates.

A batch drawn without replacement from n samples, of which n_n are noisy, holds a hypergeometric number of noisy ones. Derivation:
notes/early_stopping.md §5.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from theory._validation import check_integer, check_positive

__all__ = ["batch_alpha_deviation", "batch_noise_probabilities", "class_noise_majority_probability", "noise_majority_probability"]


def batch_noise_probabilities(n_samples: int, n_noise: int, *, batch_size: int) -> NDArray[np.float64]:
    """Return P(k noisy samples in a batch) for k = 0 … batch_size ``[B + 1]``, drawn without replacement.

    Relative accuracy about n · 1e-16 · log n.

    Raises:
        ValueError: for counts that are no integers, or n_noise or batch_size above n_samples.

    Source:
        Remark 4.3 [A] (D5); notes/early_stopping.md §5.

    Example:
        >>> batch_noise_probabilities(4, 2, batch_size=2).round(4).tolist()
        [0.1667, 0.6667, 0.1667]
    """
    n, k_n, b = _counts(n_samples, n_noise, batch_size, name="n_noise")
    return _hypergeometric(n, k_n, b)


def noise_majority_probability(n_samples: int, n_noise: int, *, batch_size: int) -> float:
    """Return P(at least half of a batch is noisy).

    Raises:
        ValueError: for counts that are no integers, or n_noise or batch_size above n_samples.

    Source:
        Remark 4.3 [A] (D5); notes/early_stopping.md §5.

    Example:
        >>> print(f"{noise_majority_probability(12000, 4800, batch_size=256):.1e}")
        6.7e-04
    """
    probabilities = batch_noise_probabilities(n_samples, n_noise, batch_size=batch_size)
    return float(probabilities[(len(probabilities)) // 2 :].sum())


def class_noise_majority_probability(n_samples: int, class_size: int, class_noise: int, *, batch_size: int) -> float:
    """Return P(at least half of one class's samples in a batch are noisy); a batch without the class counts as no.

    The number of the class in the batch is hypergeometric, and the noisy ones among them are hypergeometric given it.

    Args:
        n_samples: n, size of the training set.
        class_size: number of samples of the class.
        class_noise: number of noisy samples among them.
        batch_size: B.

    Raises:
        ValueError: for counts that are no integers or exceed the set they are drawn from.

    Source:
        Remark 4.3 [A] (D5); notes/early_stopping.md §5.

    Example:
        >>> print(f"{class_noise_majority_probability(12000, 6000, 2400, batch_size=256):.4f}")
        0.0119
    """
    n, size, b = _counts(n_samples, class_size, batch_size, name="class_size")
    noisy = check_integer(class_noise, "class_noise", minimum=0)
    if noisy > size:
        raise ValueError(f"class_noise must be at most class_size = {size}, got {class_noise}")
    present = _hypergeometric(n, size, b)
    total = 0.0
    for count in range(1, b + 1):
        if present[count] > 1e-25:  # all that is left out is below 1e-25 · B
            total += float(present[count] * _hypergeometric(size, noisy, count)[(count + 1) // 2 :].sum())
    return total


def batch_alpha_deviation(alpha: float, *, noise_level: float, batch_size: int, n_samples: int | None = None) -> float:
    """Return the standard deviation of the batch value of α for collapsed classes, to first order in 1/√B.

    α̂ = α · (k/(B−k))/(δ/(1−δ)) with k noisy samples in the batch, so that sd(α̂) = α √(f/(B δ(1−δ))), f = 1 − (B−1)/(n−1) the
    finite-population factor: clean priority of single steps ends once 1 − α falls to this size.

    Args:
        alpha: α > 0 over the whole set.
        noise_level: δ in (0, 1).
        batch_size: B ≥ 1.
        n_samples: n; None for an infinite set (f = 1).

    Raises:
        ValueError: for values out of range.

    Source:
        Remark 4.3 [A] (D5); notes/early_stopping.md §5.

    Example:
        >>> round(batch_alpha_deviation(1.0, noise_level=0.5, batch_size=400), 12)
        0.1
    """
    value = check_positive(alpha, "alpha")
    delta = check_positive(noise_level, "noise_level")
    if delta >= 1:
        raise ValueError(f"noise_level must lie in (0, 1), got {noise_level}")
    b = check_integer(batch_size, "batch_size")
    factor = 1.0
    if n_samples is not None:
        n = check_integer(n_samples, "n_samples", minimum=2, maximum=10**12)
        if b > n:
            raise ValueError(f"batch_size must be at most n_samples = {n}, got {batch_size}")
        factor = 1 - (b - 1) / (n - 1)
    return value * math.sqrt(factor / (b * delta * (1 - delta)))


def _counts(n_samples: int, n_marked: int, batch_size: int, *, name: str) -> tuple[int, int, int]:
    n = check_integer(n_samples, "n_samples", maximum=10**12)
    marked, b = check_integer(n_marked, name, minimum=0), check_integer(batch_size, "batch_size")
    if marked > n:
        raise ValueError(f"{name} must be at most n_samples = {n}, got {n_marked}")
    if b > n:
        raise ValueError(f"batch_size must be at most n_samples = {n}, got {batch_size}")
    return n, marked, b


def _hypergeometric(n: int, marked: int, b: int) -> NDArray[np.float64]:
    from scipy.special import gammaln  # on first use: `import theory` stays light

    k = np.arange(b + 1, dtype=np.float64)
    possible = (k <= marked) & (b - k <= n - marked)

    def log_choose(total: float, part: NDArray[np.float64]) -> NDArray[np.float64]:
        result: NDArray[np.float64] = gammaln(total + 1) - gammaln(part + 1) - gammaln(total - part + 1)
        return result

    inside = k[possible]
    logs = log_choose(marked, inside) + log_choose(n - marked, b - inside)
    probabilities = np.zeros(b + 1)
    weights = np.exp(logs - logs.max())
    probabilities[possible] = weights / weights.sum()
    return probabilities
