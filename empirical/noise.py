"""Label noise with an exact count in every class: the mask is kept, and a level of 0.40 is 0.40, not what the dice gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import check_integer, check_labels, check_noise_level

__all__ = ["NoisyLabels", "corrupt_labels", "corrupt_labels_batch", "noisy_counts"]

_STREAM = int.from_bytes(b"noise", "big")  # keeps these draws independent of other draws with the same seed


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyLabels:
    """Observed labels beside the ground truth; the arrays are read-only.

    Attributes:
        observed: labels that training sees, int64 ``[n]``.
        truth: ground-truth labels, int64 ``[n]``.
        is_noisy: mask of the corrupted samples, bool ``[n]``; ``observed != truth`` exactly there.
        noise_level: the level δ asked for; the level attained in each class is ``class_noise_level``.
        n_classes: number of classes C.
        seed: of the draw.
    """

    observed: NDArray[np.int64]
    truth: NDArray[np.int64]
    is_noisy: NDArray[np.bool_]
    noise_level: float
    n_classes: int
    seed: int

    @property
    def class_noise_level(self) -> NDArray[np.float64]:
        """Attained noise level of each ground-truth class ``[C]``; nan for a class without samples."""
        counts = np.bincount(self.truth, minlength=self.n_classes)
        noisy = np.bincount(self.truth[self.is_noisy], minlength=self.n_classes)
        level = np.full(self.n_classes, np.nan)
        np.divide(noisy, counts, out=level, where=counts > 0)
        return level


def noisy_counts(class_counts: ArrayLike, noise_level: float) -> NDArray[np.int64]:
    """Number of samples to corrupt in each class: δ·n_c rounded half to even, with δ taken as the decimal number that it prints as.

    The decimal reading makes ties exact: 0.29 · 50 is 14.5 (→ 14) although the binary product is 14.499….

    Args:
        class_counts: samples per class ``[C]``, non-negative integers.
        noise_level: δ in [0, 1).

    Raises:
        ValueError: if a count is not a non-negative integer or δ is outside [0, 1).

    Source: δ = |D_noise|/|D|, Eq. (1) [A], applied to each class.

    Example:
        >>> noisy_counts([50, 100, 5], 0.29).tolist()
        [14, 29, 1]
    """
    level = check_noise_level(noise_level)
    counts = np.asarray(class_counts)
    if counts.ndim != 1 or counts.size == 0 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(f"class_counts must be non-negative integers [C], got {' '.join(repr(class_counts).split())[:80]}")
    exact = Fraction(repr(level))
    return np.array([round(exact * int(count)) for count in counts], dtype=np.int64)


def corrupt_labels(truth: ArrayLike, noise_level: float, *, n_classes: int, seed: int) -> NoisyLabels:
    """Corrupt labels: in every class exactly ``noisy_counts`` samples, uniform among its samples, each to a uniform wrong class.

    Wrong labels are drawn independently (their counts are multinomial; with two classes there is only one). With the same seed the noisy
    samples of a lower level are a subset of those of a higher level, with the same wrong labels, so that levels can be compared in pairs.

    Args:
        truth: ground-truth labels ``[n]``, integers 0 … C − 1.
        noise_level: δ in [0, 1), the share of wrong labels in each class.
        n_classes: C ≥ 2.
        seed: non-negative integer; the draw is independent of the data draw with the same seed.

    Returns:
        NoisyLabels with the mask of the corrupted samples.

    Raises:
        ValueError: if δ is outside [0, 1), labels are not integers of the classes, or there are fewer than two classes.

    Source: §2 [A], Eq. (1); §2 [B].

    Example:
        >>> noisy = corrupt_labels([0] * 10 + [1] * 20, 0.4, n_classes=2, seed=1)
        >>> noisy.is_noisy[:10].sum(), noisy.is_noisy[10:].sum(), (noisy.observed != noisy.truth).sum()
        (np.int64(4), np.int64(8), np.int64(12))
    """
    n_classes = check_integer(n_classes, "n_classes", minimum=2)
    level = check_noise_level(noise_level)
    seed = check_integer(seed, "seed", minimum=0)
    labels = check_labels(truth, n_classes, "truth")
    observed = _corrupt(labels, level, n_classes, seed)
    is_noisy = observed != labels
    for array in (labels, observed, is_noisy):
        array.setflags(write=False)
    return NoisyLabels(observed=observed, truth=labels, is_noisy=is_noisy, noise_level=level, n_classes=n_classes, seed=seed)


def corrupt_labels_batch(truth: ArrayLike, noise_level: float, *, n_classes: int, seeds: Sequence[int]) -> NDArray[np.int64]:
    """Observed labels for many seeds ``[len(seeds), n]``; row s is ``corrupt_labels(…, seed=seeds[s]).observed``.

    Args:
        truth: ground-truth labels ``[n]``.
        noise_level: δ in [0, 1).
        n_classes: C ≥ 2.
        seeds: at least one non-negative integer, all different.

    Raises:
        ValueError: as ``corrupt_labels``, and if there is no seed or a seed is repeated.

    Example:
        >>> corrupt_labels_batch([0, 0, 1, 1], 0.5, n_classes=2, seeds=range(3)).shape
        (3, 4)
    """
    n_classes = check_integer(n_classes, "n_classes", minimum=2)
    level = check_noise_level(noise_level)
    checked = [check_integer(seed, "each of seeds", minimum=0) for seed in seeds]
    if not checked or len(set(checked)) != len(checked):
        raise ValueError(f"seeds must be at least one integer, all different, got {' '.join(map(str, checked))[:80] or 'none'}")
    labels = check_labels(truth, n_classes, "truth")
    return np.stack([_corrupt(labels, level, n_classes, seed) for seed in checked])


def _corrupt(labels: NDArray[np.int64], level: float, n_classes: int, seed: int) -> NDArray[np.int64]:
    """One draw. The order of samples and all wrong labels are drawn before the count is used, which nests the levels."""
    observed = labels.copy()
    counts = noisy_counts(np.bincount(labels, minlength=n_classes), level)
    for c in range(n_classes):
        generator = np.random.default_rng([_STREAM, seed, c])
        members = generator.permutation(np.flatnonzero(labels == c))
        wrong = generator.integers(0, n_classes - 1, size=len(members))
        wrong += wrong >= c  # uniform over the C − 1 classes other than c
        observed[members[: counts[c]]] = wrong[: counts[c]]
    return observed
