"""Segment gradients of C classes at a softmax network that outputs 1/C everywhere, per logit and as full vector gradients.

Labels are uniform on the C − 1 wrong classes. Two readings of "noisy" give two ratios: by ground-truth class (the papers'), and by whether
the label is wrong *for that logit*, under which samples of other classes mislabelled as c weigh C − 1 times as much in logit c.
Derivations: notes/initialization.md §6.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_choice, check_integer, check_noise_level, check_positive

__all__ = [
    "full_gradient_cosine",
    "initial_residuals",
    "multiclass_segment_ratio",
    "noise_free_gradient_factor",
    "opposed_residual_cosine",
]

FloatArray = NDArray[np.floating[Any]]


def multiclass_segment_ratio(noise_level: float, *, n_classes: int, reading: str = "truth") -> float:
    """Return ‖g_clean‖/‖g_noise‖ of a collapsed class in one logit at f ≡ 1/C.

    Args:
        noise_level: δ in (0, 1).
        n_classes: C ≥ 2.
        reading: "truth": the segments of ground-truth class c, own logit (and every other logit, and the full gradient):
            (C−1)(1−δ)/δ, Eq. (14) [A]. "logit": samples of class c' in logit c ≠ c', noisy where mislabelled *as c*: (C−1−δ)/((C−1)δ).

    Raises:
        ValueError: for a noise level outside (0, 1), fewer than two classes, or an unknown reading.

    Source:
        Eq. (14) [A], Eq. (11) [B] (M3); notes/initialization.md §6.

    Example:
        >>> print(f"{multiclass_segment_ratio(0.3, n_classes=10):.2f} {multiclass_segment_ratio(0.3, n_classes=10, reading='logit'):.2f}")
        21.00 3.22
    """
    delta = check_noise_level(noise_level)
    if delta == 0:
        raise ValueError("noise_level must lie in (0, 1) for a ratio to exist, got 0")
    others = check_integer(n_classes, "n_classes", minimum=2) - 1
    if check_choice(reading, "reading", ("truth", "logit")) == "truth":
        return others * (1 - delta) / delta
    return (others - delta) / (others * delta)


def noise_free_gradient_factor(noise_level: float, *, n_classes: int) -> float:
    """Return 1 − δC/(C−1): the full gradient at f ≡ 1/C is this multiple of the noise-free gradient, in every (class, logit) block.

    It is positive iff δ < (C−1)/C.

    Raises:
        ValueError: for a noise level outside [0, 1) or fewer than two classes.

    Source:
        §5 [A, B] (M5); notes/initialization.md §6.

    Example:
        >>> round(noise_free_gradient_factor(0.4, n_classes=2), 12)
        0.2
    """
    classes = check_integer(n_classes, "n_classes", minimum=2)
    return 1 - check_noise_level(noise_level) * classes / (classes - 1)


def opposed_residual_cosine(n_classes: int) -> float:
    """Return −1/(C−1), the cosine at f ≡ 1/C between residual vectors of two different labels: only C = 2 is exactly opposite.

    Segments are opposite all the same, because the wrong labels average to a multiple of the truth's residual (M4).

    Raises:
        ValueError: for fewer than two classes.

    Source:
        §5 [A, B] (M4); notes/initialization.md §6.

    Example:
        >>> opposed_residual_cosine(5)
        -0.25
    """
    return -1 / (check_integer(n_classes, "n_classes", minimum=2) - 1)


def full_gradient_cosine(mean_diagonal: float, mean_off_diagonal: float, *, n_clean: int, n_noise: int, n_classes: int) -> float:
    """Return the cosine between the full vector segment gradients of a class at f ≡ 1/C, with finite-sample terms.

    It is E<g_clean, g_noise>/√(E‖g_clean‖² E‖g_noise‖²) over a uniformly random noisy subset of fixed size and uniformly random wrong
    labels; each of the three expectations is exact. It tends to −1 as the noisy samples grow in number (M4), the slower the more classes:
    the term of a noisy sample with itself weighs (C − 1)² times as much as in one logit. Two classes: the cosine of `expected_segments`.

    Args:
        mean_diagonal: K̄_d > 0 over the class (see `class_kernel_means`).
        mean_off_diagonal: K̄_o over the class, 0 < K̄_o ≤ K̄_d.
        n_clean: n_c ≥ 1.
        n_noise: n_n ≥ 1.
        n_classes: C ≥ 2.

    Raises:
        ValueError: for a non-positive kernel mean or size, K̄_o > K̄_d, or fewer than two classes.

    Source:
        §5 [A, B] (M4); notes/initialization.md §6.

    Example:
        >>> print(f"{full_gradient_cosine(2.0, 1.5, n_clean=70, n_noise=30, n_classes=10):.3f}")
        -0.467
    """
    diagonal = check_positive(mean_diagonal, "mean_diagonal")
    off = check_positive(mean_off_diagonal, "mean_off_diagonal")
    if off > diagonal:
        raise ValueError(f"mean_off_diagonal must be at most mean_diagonal = {mean_diagonal}, got {mean_off_diagonal}")
    n_c, n_n = check_integer(n_clean, "n_clean"), check_integer(n_noise, "n_noise")
    others = check_integer(n_classes, "n_classes", minimum=2) - 1
    # In units of (1 − 1/C) n_c K̄_o and (1 − 1/C) n_n K̄_o/(C − 1)²: a residual row has the square 1 − 1/C, the mean noisy row that/(C − 1)².
    clean = diagonal / off + n_c - 1
    noise = others**2 * diagonal / off + n_n - 1
    return -math.sqrt(n_c / clean) * math.sqrt(n_n / noise)


def initial_residuals(observed: ArrayLike, *, n_classes: int) -> NDArray[np.float64]:
    """Return the residuals ``[n, C]`` 1/C − onehot(y) of a network that outputs 1/C everywhere.

    Args:
        observed: ``[n]`` labels 0 … C−1.
        n_classes: C ≥ 2.

    Raises:
        ValueError: for labels that are no classes, or an empty or ill-shaped array.

    Source:
        Eq. (13) [A], Eq. (10) [B] (M2).

    Example:
        >>> initial_residuals([1], n_classes=4).tolist()
        [[0.25, -0.75, 0.25, 0.25]]
    """
    classes = check_integer(n_classes, "n_classes", minimum=2)
    labels = as_real_array(observed, "observed")
    if labels.ndim != 1 or labels.size == 0:
        raise ValueError(f"observed must have shape [n] with n >= 1, got shape {list(labels.shape)}")
    wrong = (labels != np.floor(labels)) | (labels < 0) | (labels >= classes)
    if wrong.any():
        raise ValueError(f"observed must hold classes 0 ... {classes - 1}, got {labels[wrong][0]:g}")
    residuals = np.full((labels.size, classes), 1 / classes)
    residuals[np.arange(labels.size), labels.astype(np.int64)] -= 1
    return residuals
