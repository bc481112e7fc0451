"""Label noise with an exact count in every class: the mask is kept, and a level of 0.40 is 0.40, not what the dice gave.

Symmetric noise of level δ, or a class transition matrix. `NoisyLabels.save` and `load_noise` (empirical/noise_files.py) exchange the noise.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import as_real_array, check_integer, check_integers, check_labels, check_noise_level

__all__ = ["NoisyLabels", "corrupt_labels", "corrupt_labels_batch", "noisy_counts", "transition_counts"]

_STREAM = int.from_bytes(b"noise", "big")  # keeps these draws independent of other draws with the same seed


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyLabels:
    """Observed labels beside the ground truth; the arrays are read-only.

    Attributes:
        observed: labels that training sees, int64 ``[n]``.
        truth: ground-truth labels, int64 ``[n]``.
        is_noisy: mask of the corrupted samples, bool ``[n]``; ``observed != truth`` exactly there.
        noise_level: the level δ asked for (of a transition matrix: the share of wrong labels that it asks for in this data set); the
            level attained in each class is ``class_noise_level``.
        n_classes: number of classes C.
        seed: of the draw; None for noise that was read from a file which does not name one.
        transition: matrix ``[C, C]`` asked for, P(observed j | true c) in row c; None for symmetric noise.
    """

    observed: NDArray[np.int64]
    truth: NDArray[np.int64]
    is_noisy: NDArray[np.bool_]
    noise_level: float
    n_classes: int
    seed: int | None
    transition: NDArray[np.float64] | None = None

    @property
    def class_noise_level(self) -> NDArray[np.float64]:
        """Attained noise level of each ground-truth class ``[C]``; nan for a class without samples."""
        counts = np.bincount(self.truth, minlength=self.n_classes)
        noisy = np.bincount(self.truth[self.is_noisy], minlength=self.n_classes)
        level = np.full(self.n_classes, np.nan)
        np.divide(noisy, counts, out=level, where=counts > 0)
        return level

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the noise as an open JSON file, for `empirical.load_noise`; an existing file is replaced, whole or not at all.

        Args:
            path: the file; its folder must exist.

        Raises:
            ValueError: in one line, if the file cannot be written.
        """
        from empirical.noise_files import save_noise

        save_noise(self, path)


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
    counts = _class_counts(class_counts)
    exact = Fraction(repr(level))
    return np.array([round(exact * int(count)) for count in counts], dtype=np.int64)


def transition_counts(class_counts: ArrayLike, transition: ArrayLike) -> NDArray[np.int64]:
    """Number of samples of each true class that get each label: n_c·T_cj rounded by largest remainders, so that every row sums to n_c.

    Each count is n_c·T_cj rounded down or up; the largest fractional parts go up. Of equal fractional parts the true label goes first,
    then the lower class. Entries are read as the decimals that they print as and each row is divided by its sum, exactly.

    Args:
        class_counts: samples per class n_c ``[C]``, non-negative integers.
        transition: T ``[C, C]``, P(observed j | true c) in row c; rows sum to 1 within 1e-9.

    Returns:
        Counts ``[C, C]``, row = true class, column = observed label.

    Raises:
        ValueError: if a count is not a non-negative integer, or the matrix is not square, has a negative entry or a row sum other than 1.

    Example:
        >>> transition_counts([10, 5], [[0.75, 0.25], [0.1, 0.9]]).tolist()
        [[8, 2], [0, 5]]
    """
    counts = _class_counts(class_counts)
    matrix = check_transition(transition, len(counts))
    found = np.zeros(matrix.shape, dtype=np.int64)
    for c, row in enumerate(matrix):
        entries = [Fraction(repr(float(entry))) for entry in row]
        exact = [entry / sum(entries) * int(counts[c]) for entry in entries]
        found[c] = [int(share) for share in exact]
        by_remainder = sorted(range(len(row)), key=lambda j: (int(exact[j]) - exact[j], j != c, j))
        found[c, by_remainder[: counts[c] - found[c].sum()]] += 1
    return found


def corrupt_labels(
    truth: ArrayLike, noise_level: float | None = None, *, n_classes: int, seed: int, transition: ArrayLike | None = None
) -> NoisyLabels:
    """Corrupt labels at an exact rate: symmetric noise of level δ, or by a class transition matrix.

    Symmetric: in every class exactly ``noisy_counts`` samples, uniform among its samples, each to a uniform wrong class. Wrong labels are
    drawn independently (their counts are multinomial; with two classes there is only one). With the same seed the noisy samples of a
    lower level are a subset of those of a higher level, with the same wrong labels, so that levels can be compared in pairs.

    Transition matrix: exactly ``transition_counts`` samples of each true class get each label, uniform among the samples of the class.

    Args:
        truth: ground-truth labels ``[n]``, integers 0 … C − 1.
        noise_level: δ in [0, 1), the share of wrong labels in each class.
        n_classes: C ≥ 2.
        seed: non-negative integer; the draw is independent of the data draw with the same seed.
        transition: T ``[C, C]``, P(observed j | true c) in row c, in place of ``noise_level``.

    Returns:
        NoisyLabels with the mask of the corrupted samples.

    Raises:
        ValueError: if δ is outside [0, 1), the matrix is not a transition matrix, both or neither are given, labels are not integers of
            the classes, or there are fewer than two classes.

    Source: §2 [A], Eq. (1); §2 [B].

    Example:
        >>> noisy = corrupt_labels([0] * 10 + [1] * 20, 0.4, n_classes=2, seed=1)
        >>> noisy.is_noisy[:10].sum(), noisy.is_noisy[10:].sum(), (noisy.observed != noisy.truth).sum()
        (np.int64(4), np.int64(8), np.int64(12))
        >>> corrupt_labels([0] * 10 + [1] * 20, n_classes=2, seed=1, transition=[[1, 0], [0.4, 0.6]]).class_noise_level.tolist()
        [0.0, 0.4]
    """
    n_classes = check_integer(n_classes, "n_classes", minimum=2)
    seed = check_integer(seed, "seed", minimum=0)
    labels = check_labels(truth, n_classes, "truth")
    if (noise_level is None) == (transition is None):
        raise ValueError(f"give either noise_level or transition, got {'neither' if transition is None else 'both'}")
    if noise_level is not None:
        return _noisy(labels, _corrupt(labels, check_noise_level(noise_level), n_classes, [seed])[0], float(noise_level), n_classes, seed)
    matrix = check_transition(transition, n_classes)
    matrix.setflags(write=False)
    counts = np.bincount(labels, minlength=n_classes)
    level = float(counts @ (1 - np.diag(matrix)) / len(labels))
    return _noisy(labels, _corrupt_by(labels, matrix, counts, seed), level, n_classes, seed, matrix)


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
    checked = list(check_integers(seeds, "seeds"))
    if not checked or len(set(checked)) != len(checked):
        raise ValueError(f"seeds must be at least one integer, all different, got {' '.join(map(str, checked))[:80] or 'none'}")
    labels = check_labels(truth, n_classes, "truth")
    return _corrupt(labels, level, n_classes, checked)


def _corrupt(labels: NDArray[np.int64], level: float, n_classes: int, seeds: Sequence[int]) -> NDArray[np.int64]:
    """One draw per seed ``[S, n]``. The order and all wrong labels are drawn before the count is used, which nests the noise levels."""
    observed = np.tile(labels, (len(seeds), 1))
    counts = noisy_counts(np.bincount(labels, minlength=n_classes), level)
    for c in range(n_classes):
        of_class = np.flatnonzero(labels == c)
        for row, seed in zip(observed, seeds, strict=True):
            generator = np.random.default_rng([_STREAM, seed, c])
            members = generator.permutation(of_class)
            wrong = generator.integers(0, n_classes - 1, size=len(members))
            wrong += wrong >= c  # uniform over the C − 1 classes other than c
            row[members[: counts[c]]] = wrong[: counts[c]]
    return observed


def _corrupt_by(labels: NDArray[np.int64], matrix: NDArray[np.float64], counts: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """One draw by a transition matrix: the members of a class in random order, cut into the counts of its row."""
    observed = labels.copy()
    wanted = transition_counts(counts, matrix)
    for c in range(len(counts)):
        members = np.random.default_rng([_STREAM, seed, c]).permutation(np.flatnonzero(labels == c))
        others = [j for j in range(len(counts)) if j != c]
        wrong = np.repeat(others, wanted[c, others])
        observed[members[: len(wrong)]] = wrong
    return observed


def _noisy(
    truth: NDArray[np.int64],
    observed: NDArray[np.int64],
    level: float,
    n_classes: int,
    seed: int | None,
    transition: NDArray[np.float64] | None = None,
) -> NoisyLabels:
    is_noisy = observed != truth
    for array in (truth, observed, is_noisy):
        array.setflags(write=False)
    return NoisyLabels(
        observed=observed, truth=truth, is_noisy=is_noisy, noise_level=level, n_classes=n_classes, seed=seed, transition=transition
    )


def _class_counts(class_counts: ArrayLike) -> NDArray[np.int64]:
    try:
        counts = np.asarray(class_counts)
    except ValueError as error:
        raise ValueError(f"class_counts must be non-negative integers [C], got a ragged sequence: {error}") from None
    if counts.ndim != 1 or counts.size == 0 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(f"class_counts must be non-negative integers [C], got {' '.join(repr(class_counts).split())[:80]}")
    return counts.astype(np.int64)


def check_transition(transition: ArrayLike | None, n_classes: int) -> NDArray[np.float64]:
    matrix = as_real_array([] if transition is None else transition, "transition").astype(np.float64)
    if matrix.shape != (n_classes, n_classes):
        raise ValueError(f"transition must have shape [{n_classes}, {n_classes}], got {list(matrix.shape)}")
    if (matrix < 0).any():
        raise ValueError(f"transition must not be negative, got {matrix[matrix < 0][0]}")
    sums = matrix.sum(axis=1)
    if (np.abs(sums - 1) > 1e-9).any():
        row = int(np.argmax(np.abs(sums - 1)))
        raise ValueError(f"transition must have rows that sum to 1, got {sums[row]:.12g} in row {row}")
    return matrix
