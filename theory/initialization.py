"""Geometry of sample and segment gradients at a network that outputs ½ everywhere: closed forms with their finite-sample terms.

The residuals are then −½ (label 1) and +½ (label 0), and every angle is a quadratic form of signs in the kernel. What random initialisation
adds is in `theory.initialization_law`, more classes in `theory.initialization_multiclass`; derivations in notes/initialization.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_integer, check_kernel, check_noise_level, check_positive

__all__ = [
    "SegmentExpectation",
    "class_kernel_means",
    "expected_segments",
    "initial_truth_cosine",
    "parzen_margin",
    "sample_segment_cosine",
]

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class SegmentExpectation:
    """Expected inner products of g_clean and g_noise of one class over a uniformly random noisy subset of fixed size.

    Attributes:
        n_clean: n_c, size of the clean segment.
        n_noise: n_n, size of the noisy segment.
        squared_clean_norm: E‖g_clean‖², exact; the gradient is a sum over samples.
        squared_noise_norm: E‖g_noise‖², exact.
        inner_product: E<g_clean, g_noise>, exact.
        cosine: the cosine of these expectations; it differs from the expected cosine by a term of second order in 1/n_noise.
        angle: arccos of `cosine`, radians.
        norm_ratio: square root of E‖g_clean‖²/E‖g_noise‖²; below (1−δ)/δ for every finite sample, and equal to it in the limit.
        collinearity_gap: first-order value of sin² of the angle, (K̄_d − K̄_o)/K̄_o · (1/n_c + 1/n_n).
    """

    n_clean: int
    n_noise: int
    squared_clean_norm: float
    squared_noise_norm: float
    inner_product: float
    cosine: float
    angle: float
    norm_ratio: float
    collinearity_gap: float


def class_kernel_means(kernel: ArrayLike) -> tuple[float, float]:
    """Return (K̄_d, K̄_o), the mean diagonal and the mean off-diagonal entry of the kernel of one class.

    Args:
        kernel: ``[N, N]``, N ≥ 2.

    Raises:
        ValueError: for a kernel that is not square and symmetric, or has a single sample.

    Source:
        I4; notes/initialization.md §2.

    Example:
        >>> class_kernel_means([[2.0, 1.0], [1.0, 2.0]])
        (2.0, 1.0)
    """
    k = check_kernel(kernel).astype(np.float64, copy=False)
    n = k.shape[0]
    if n < 2:
        raise ValueError("kernel must hold at least 2 samples to have off-diagonal entries, got [1, 1]")
    trace = float(np.trace(k))
    return trace / n, (float(k.sum()) - trace) / (n * (n - 1))


def expected_segments(
    mean_diagonal: float,
    mean_off_diagonal: float,
    *,
    n_clean: int,
    n_noise: int,
    clean_residual: float = 0.5,
    noise_residual: float = 0.5,
) -> SegmentExpectation:
    """Return the expected geometry of the two segments of a class whose noisy members are a uniformly random subset of fixed size.

    With common residual magnitudes r_c, r_n (½ at f ≡ ½), opposite in sign,
    E‖g_k‖² = r_k² [n_k K̄_d + n_k(n_k − 1) K̄_o] and E<g_c, g_n> = −r_c r_n n_c n_n K̄_o, exactly: a random pair of distinct samples has the
    mean kernel K̄_o whatever segments it falls into.

    Args:
        mean_diagonal: K̄_d > 0 over the class (see `class_kernel_means`).
        mean_off_diagonal: K̄_o over the class, 0 < K̄_o ≤ K̄_d.
        n_clean: n_c ≥ 1.
        n_noise: n_n ≥ 1.
        clean_residual: r_c > 0; 1/C·(C−1) for the own logit of C classes.
        noise_residual: r_n > 0; 1/C for the own logit of C classes.

    Raises:
        ValueError: for a non-positive kernel mean, residual or size, or K̄_o > K̄_d.

    Source:
        Eq. (8), (9) [A], Eq. (5), (6) [B] with finite-sample terms (I4, I5); notes/initialization.md §2.

    Example:
        >>> expected = expected_segments(2.0, 1.0, n_clean=360, n_noise=40)
        >>> print(f"{expected.norm_ratio:.3f} {np.degrees(expected.angle):.2f}")
        8.902 170.53
    """
    diagonal = check_positive(mean_diagonal, "mean_diagonal")
    off = check_positive(mean_off_diagonal, "mean_off_diagonal")
    if off > diagonal:
        raise ValueError(f"mean_off_diagonal must be at most mean_diagonal = {mean_diagonal}, got {mean_off_diagonal}")
    n_c, n_n = check_integer(n_clean, "n_clean"), check_integer(n_noise, "n_noise")
    r_c, r_n = check_positive(clean_residual, "clean_residual"), check_positive(noise_residual, "noise_residual")
    clean = r_c**2 * n_c * (diagonal + (n_c - 1) * off)
    noise = r_n**2 * n_n * (diagonal + (n_n - 1) * off)
    inner = -r_c * r_n * n_c * n_n * off
    # With e = K̄_d/K̄_o − 1: cos² = n_c n_n/((n_c+e)(n_n+e)), so sin² has no cancellation.
    excess = (diagonal - off) / off
    sine_squared = excess * (n_c + n_n + excess) / ((n_c + excess) * (n_n + excess))
    cosine = -math.sqrt(n_c * n_n / ((n_c + excess) * (n_n + excess)))
    return SegmentExpectation(
        n_clean=n_c,
        n_noise=n_n,
        squared_clean_norm=clean,
        squared_noise_norm=noise,
        inner_product=inner,
        cosine=cosine,
        angle=math.atan2(math.sqrt(sine_squared), cosine),
        norm_ratio=math.sqrt(clean / noise),
        collinearity_gap=excess * (1 / n_c + 1 / n_n),
    )


def sample_segment_cosine(kernel: ArrayLike, residuals: ArrayLike, members: ArrayLike) -> FloatArray:
    """Return cos∠(∇l_i, g_S) of every sample gradient with the gradient g_S = Σ_{j∈S} r_j φ_j of a segment.

    Binary: sgn(r_i) (K r_S)_i / √(K_ii r_Sᵀ K r_S). Several classes, full vector gradient under K ⊗ I_C: the same with inner products of
    residual rows. A sample with zero residual has no direction: NaN there.

    Args:
        kernel: ``[n, n]``.
        residuals: ``[n]`` or ``[n, C]``, f − y.
        members: ``[n]`` bool, the segment S.

    Returns:
        ``[n]`` cosines in [−1, 1].

    Raises:
        ValueError: for shapes that do not fit, an empty segment, or a segment whose gradient is zero.

    Source:
        Figures 4 and 10 [A] (I2).

    Example:
        >>> sample_segment_cosine([[1.0, 0.5], [0.5, 1.0]], [-0.5, 0.5], [True, False]).tolist()
        [1.0, -0.5]
    """
    k = check_kernel(kernel)
    n = k.shape[0]
    r = as_real_array(residuals, "residuals")
    if r.ndim not in (1, 2) or r.shape[0] != n or r.size == 0:
        raise ValueError(f"residuals must have shape [{n}] or [{n}, C], got {list(r.shape)}")
    mask = _as_mask(members)
    if mask.shape != (n,) or mask.dtype != np.bool_:
        raise ValueError(f"members must be a bool mask of shape [{n}], got dtype {mask.dtype} and shape {list(mask.shape)}")
    if not mask.any():
        raise ValueError("members must name at least one sample, got an empty segment")
    rows = r.reshape(n, -1)
    size = np.max(np.abs(rows))
    if size > 0:
        rows = rows / size  # cosines do not depend on the scale; squares of tiny residuals must not underflow
    product = k[:, mask] @ rows[mask]
    squared_norm = float(np.sum(rows[mask] * product[mask]))
    if not squared_norm > 0:
        raise ValueError(f"kernel and residuals must give the segment a gradient that is not zero, got squared norm {squared_norm:.3g}")
    length = np.sqrt(np.diag(k)) * np.linalg.norm(rows, axis=1)
    inner = np.sum(rows * product, axis=1)
    cosine = np.divide(inner, length, out=np.full_like(inner, np.nan), where=length > 0) / math.sqrt(squared_norm)
    return np.asarray(np.clip(cosine, -1, 1))


def _as_mask(members: ArrayLike) -> NDArray[np.generic]:
    try:
        return np.asarray(members)
    except ValueError:
        raise ValueError("members must be a bool mask, got a ragged sequence") from None


def initial_truth_cosine(kernel: ArrayLike, truth: ArrayLike, noise_level: float, *, n_noise: Sequence[int] | None = None) -> float:
    """Return cos∠(∇L(D), ∇L(D̂)) at f ≡ ½: how well the noisy gradient points along the noise-free one.

    With s = ±1 the observed and ŝ the true labels, S = ŝᵀKŝ: E sᵀKŝ = (1−2δ)S and E sᵀKs = (1−2δ)²S + 4δ(1−δ) tr K for independent
    flips; the result is the ratio of these expectations (the expected cosine differs by Jensen's gap).

    Args:
        kernel: ``[n, n]``.
        truth: ``[n]`` true labels 0/1.
        noise_level: δ in [0, 1), probability of a flip; not used when the counts are given, except that it must be valid.
        n_noise: exact numbers of flipped labels in class 0 and class 1, drawn uniformly; None for independent flips.

    Raises:
        ValueError: for labels other than 0 and 1, counts that exceed a class, a zero noise-free gradient, or shapes that do not fit.

    Source:
        Prop 4.2 [A], Lemma 4.2 [B] at t = 0 (D4); notes/initialization.md §3.

    Example:
        >>> print(f"{initial_truth_cosine(np.eye(4), [0, 0, 1, 1], 0.25):.3f}")
        0.500
    """
    k = check_kernel(kernel).astype(np.float64, copy=False)
    signs = binary_signs(truth, k.shape[0], "truth")
    delta = check_noise_level(noise_level)
    product = k @ signs
    truth_form = float(signs @ product)
    if not truth_form > 0:
        raise ValueError(f"kernel and truth must give a noise-free gradient that is not zero, got squared norm {truth_form:.3g}")
    trace = float(np.trace(k))
    if n_noise is None:
        kept = 1 - 2 * delta
        cross, square = kept * truth_form, kept**2 * truth_form + 4 * delta * (1 - delta) * trace
        return cross / math.sqrt(truth_form * square)
    if as_real_array(n_noise, "n_noise").shape != (2,):
        raise ValueError(f"n_noise must hold one count for each of the 2 classes, got {n_noise!r:.60}")
    counts = [check_integer(count, f"n_noise[{c}]", minimum=0) for c, count in enumerate(n_noise)]
    mean_flip = np.ones(k.shape[0])  # E s_i ŝ_i
    correction = 0.0
    for c, sign in enumerate((-1.0, 1.0)):
        members = signs == sign
        size = int(members.sum())
        if counts[c] > size:
            raise ValueError(f"n_noise[{c}] must be at most the size of class {c} in truth, {size}, got {counts[c]}")
        if size == 0:
            continue
        kept = 1 - 2 * counts[c] / size
        mean_flip[members] = kept
        # Beyond the product of means: the diagonal has E = 1, a pair of one class ((N−2k)² − N)/(N(N−1)).
        block = k[np.ix_(members, members)]
        block_trace = float(np.trace(block))
        correction += (1 - kept**2) * block_trace
        if size > 1:
            pair = ((size * kept) ** 2 - size) / (size * (size - 1)) - kept**2
            correction += pair * (float(block.sum()) - block_trace)
    mean = signs * mean_flip
    cross, square = float(mean @ product), float(mean @ (k @ mean)) + correction
    return cross / math.sqrt(truth_form * square)


def parzen_margin(kernel: ArrayLike, observed: ArrayLike) -> NDArray[np.float64]:
    """Return s_i Σ_j K_ij s_j / n, the margin of the kernel-mean (Parzen) classifier on its own training labels s = ±1.

    At f ≡ ½ gradient descent lowers the loss of sample i exactly where this is positive: "the gradient of sample i agrees with the descent
    direction" is "the kernel-mean classifier predicts the observed label".

    Args:
        kernel: ``[n, n]``.
        observed: ``[n]`` observed labels 0/1.

    Raises:
        ValueError: for labels other than 0 and 1, or shapes that do not fit.

    Source:
        §4 [A] "almost all clean sample gradients agree" (D9); notes/initialization.md §4.

    Example:
        >>> parzen_margin([[2.0, 1.5, 1.5], [1.5, 2.0, 1.5], [1.5, 1.5, 2.0]], [1, 1, 0]).round(3).tolist()
        [0.667, 0.667, -0.333]
    """
    k = check_kernel(kernel).astype(np.float64, copy=False)
    signs = binary_signs(observed, k.shape[0], "observed")
    return np.asarray(signs * (k @ signs) / k.shape[0])


def binary_signs(labels: ArrayLike, n: int, name: str) -> NDArray[np.float64]:
    """Return 0/1 labels as −1/+1, after checking them."""
    values = as_real_array(labels, name)
    if values.shape != (n,):
        raise ValueError(f"{name} must have shape [{n}] to match the kernel, got {list(values.shape)}")
    wrong = (values != 0) & (values != 1)
    if wrong.any():
        raise ValueError(f"{name} must hold labels 0 and 1, got {values[wrong][0]:g}")
    return np.asarray(2 * values.astype(np.float64) - 1)
