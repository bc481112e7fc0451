"""Segments of a training set with noisy labels, and their gradient geometry from a kernel and residuals.

D splits by *ground-truth* class c into D_clean^(c) (observed label right) and D_noise^(c) (observed label wrong). The segment gradient
is the **sum** g_k^(c) = Σ_{i in D_k^(c)} r_i φ_i, so that every inner product is a quadratic form of residuals in the kernel
K_ij = <φ_i, φ_j>. Nothing here is specific to infinite width: a kernel measured on a network gives that network's geometry.
Notation: claims §0, derivation of the block product in notes/segments.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_instance, check_integer
from theory.packed import PackedKernel, check_kernel_or_packed

__all__ = ["SegmentGeometry", "Segments", "segment_geometry"]

FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]

# A block of times is reduced at once while its product with the kernel holds at most this many numbers (128 MiB in float64).
_MAX_PRODUCT = 1 << 24


@dataclass(frozen=True, eq=False)
class Segments:
    """Which samples are clean and which are noisy, per ground-truth class.

    Attributes:
        truth: ``[n]`` ground-truth classes 0 … C−1.
        observed: ``[n]`` labels that the training sees.
        n_classes: C ≥ 2.

    Source:
        Eq. (1), (2) [A], §2 [B].

    Example:
        >>> segments = Segments.from_labels([0, 0, 1, 1], [0, 1, 1, 1])
        >>> segments.noise(0).tolist(), segments.noise_level
        ([False, True, False, False], 0.25)
    """

    truth: NDArray[np.int64]
    observed: NDArray[np.int64]
    n_classes: int = 2

    def __post_init__(self) -> None:
        """Check the labels and freeze copies of them."""
        check_integer(self.n_classes, "n_classes", minimum=2)
        truth = class_labels(self.truth, "truth", self.n_classes)
        observed = class_labels(self.observed, "observed", self.n_classes)
        if truth.shape != observed.shape:
            raise ValueError(f"observed must have the shape of truth, {list(truth.shape)}, got {list(observed.shape)}")
        object.__setattr__(self, "truth", truth)
        object.__setattr__(self, "observed", observed)

    @classmethod
    def from_labels(cls, truth: ArrayLike, observed: ArrayLike, n_classes: int = 2) -> Self:
        """Build the segments from ground-truth and observed labels.

        Args:
            truth: ``[n]`` integers in 0 … C−1.
            observed: ``[n]`` integers in 0 … C−1.
            n_classes: C ≥ 2.

        Raises:
            ValueError: for labels that are no classes, empty or different lengths.
        """
        return cls(as_real_array(truth, "truth"), as_real_array(observed, "observed"), n_classes)  # type: ignore[arg-type]

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.truth.size)

    def clean(self, c: int | None = None) -> BoolArray:
        """Mask ``[n]`` of D_clean^(c), or of all clean samples."""
        return self._mask(self.truth == self.observed, c)

    def noise(self, c: int | None = None) -> BoolArray:
        """Mask ``[n]`` of D_noise^(c) (ground truth c, another label), or of all noisy samples."""
        return self._mask(self.truth != self.observed, c)

    def other(self, c: int) -> BoolArray:
        """Mask ``[n]`` of D_other^(c): the clean samples of the other classes."""
        return self.clean() & ~self._mask(np.ones(self.n, dtype=np.bool_), c)

    @property
    def noise_level(self) -> float:
        """Global noise level δ = |D_noise| / |D|."""
        return float(np.mean(self.noise()))

    @property
    def class_noise_level(self) -> NDArray[np.float64]:
        """Noise level ``[C]`` of each class, δ_c = |D_noise^(c)| / |D^(c)|; NaN for a class without samples."""
        noisy = np.bincount(self.truth[self.noise()], minlength=self.n_classes).astype(np.float64)
        total = np.bincount(self.truth, minlength=self.n_classes).astype(np.float64)
        return np.asarray(np.divide(noisy, total, out=np.full(self.n_classes, np.nan), where=total > 0))

    def _mask(self, members: BoolArray, c: int | None) -> BoolArray:
        if c is None:
            return members
        if check_integer(c, "class c", minimum=0) >= self.n_classes:
            raise ValueError(f"class c must be below n_classes = {self.n_classes}, got {c}")
        return np.asarray(members & (self.truth == c))


@dataclass(frozen=True, eq=False)
class SegmentGeometry:
    """Norms, ratios and cosines of segment gradients (sums over samples), per class and pooled over classes.

    Leading axes (times, seeds) are allowed: ``[..., C]`` and ``[...]``. A ratio or cosine is NaN where one of its two
    segments is empty or has a zero gradient; this is the only NaN.

    Attributes:
        gram: ``[..., 2C, 2C]`` inner products of (clean^(0) … clean^(C−1), noise^(0) … noise^(C−1)).
        clean_norm: ``[..., C]`` ‖g_clean^(c)‖.
        noise_norm: ``[..., C]`` ‖g_noise^(c)‖.
        alpha: ``[..., C]`` α^(c) = ‖g_noise^(c)‖ / ‖g_clean^(c)‖.
        rho: ``[..., C]`` ρ^(c) = −cos∠(g_clean^(c), g_noise^(c)); 1 means exactly opposite.
        pooled_clean_norm: ``[...]`` ‖G_c‖ with G_c = Σ_c g_clean^(c).
        pooled_noise_norm: ``[...]`` ‖G_n‖.
        pooled_alpha: ``[...]`` a = ‖G_n‖ / ‖G_c‖.
        pooled_rho: ``[...]`` ρ = −cos∠(G_c, G_n).

    Source:
        §4 [A], Assumption 4.1 [A, B], X4.
    """

    gram: FloatArray
    clean_norm: FloatArray
    noise_norm: FloatArray
    alpha: FloatArray
    rho: FloatArray
    pooled_clean_norm: FloatArray
    pooled_noise_norm: FloatArray
    pooled_alpha: FloatArray
    pooled_rho: FloatArray

    @classmethod
    def from_gram(cls, gram: ArrayLike) -> Self:
        """Derive the geometry from the inner products of the segment gradients.

        Args:
            gram: ``[..., 2C, 2C]``, clean segments first, then the noisy ones.

        Raises:
            ValueError: for a shape that is not ``[..., 2C, 2C]``.

        Example:
            >>> SegmentGeometry.from_gram([[4.0, 0, -2, 0], [0, 4, 0, -2], [-2, 0, 1, 0], [0, -2, 0, 1]]).alpha.tolist()
            [0.5, 0.5]
        """
        g = as_real_array(gram, "gram")
        if g.ndim < 2 or g.shape[-1] != g.shape[-2] or g.shape[-1] % 2 or g.shape[-1] == 0:
            raise ValueError(f"gram must have shape [..., 2C, 2C], got {list(g.shape)}")
        n_classes = g.shape[-1] // 2
        square = np.einsum("...ii->...i", g)
        cross = np.einsum("...ii->...i", g[..., :n_classes, n_classes:])
        clean = np.sqrt(np.maximum(square[..., :n_classes], 0))
        noise = np.sqrt(np.maximum(square[..., n_classes:], 0))
        pooled_clean = np.sqrt(np.maximum(g[..., :n_classes, :n_classes].sum(axis=(-2, -1)), 0))
        pooled_noise = np.sqrt(np.maximum(g[..., n_classes:, n_classes:].sum(axis=(-2, -1)), 0))
        pooled_cross = g[..., :n_classes, n_classes:].sum(axis=(-2, -1))
        alpha, rho = _ratio_and_opposition(clean, noise, cross)
        pooled_alpha, pooled_rho = _ratio_and_opposition(pooled_clean, pooled_noise, pooled_cross)
        return cls(g, clean, noise, alpha, rho, pooled_clean, pooled_noise, pooled_alpha, pooled_rho)


def segment_geometry(kernel: ArrayLike | PackedKernel, residuals: ArrayLike, segments: Segments) -> SegmentGeometry:
    """Measure the segment gradients that a kernel and residuals imply.

    Args:
        kernel: ``[n, n]`` inner products of the gradients of one logit, K_ij = <φ_i, φ_j>; an array, or a `PackedKernel` to save memory.
        residuals: ``[n]`` (binary: f − y), or ``[n, C]`` (multi-class: the full vector gradient under the kernel K ⊗ I_C, M1). The
            geometry of a single logit c is that of the column ``residuals[:, c]``.
        segments: the split of the n samples.

    Returns:
        The geometry of the sums g_k^(c); nothing is divided by n.

    Raises:
        ValueError: for shapes that do not fit, or values that are not finite.

    Source:
        Eq. (8), (9), (14) [A], Eq. (5), (6), (11) [B].

    Example:
        >>> kernel = np.ones((4, 4)) + np.eye(4)
        >>> segments = Segments.from_labels([1, 1, 1, 1], [1, 1, 1, 0])
        >>> geometry = segment_geometry(kernel, [-0.5, -0.5, -0.5, 0.5], segments)
        >>> round(float(geometry.alpha[1] ** 2), 12)  # (1 + 1) / (9 + 3)
        0.166666666667
    """
    check_instance(segments, "segments", Segments)
    r = as_real_array(residuals, "residuals")
    if r.ndim not in (1, 2) or r.shape[0] != segments.n or r.size == 0:
        raise ValueError(f"residuals must have shape [{segments.n}] or [{segments.n}, C] to match the segments, got {list(r.shape)}")
    k = check_kernel_or_packed(kernel, n=segments.n)
    parts = segment_parts(segments, r.reshape(1, segments.n, -1))
    return SegmentGeometry.from_gram(block_gram(k, parts)[0])


def segment_parts(segments: Segments, residuals: FloatArray) -> list[tuple[NDArray[np.intp], FloatArray]]:
    """Return (indices, residual rows) of clean^(0) … noise^(C−1) for residuals ``[T, n, m]``."""
    masks = [segments.clean(c) for c in range(segments.n_classes)] + [segments.noise(c) for c in range(segments.n_classes)]
    return [(np.flatnonzero(mask), residuals[:, mask]) for mask in masks]


def block_gram(kernel: FloatArray | PackedKernel, parts: Sequence[tuple[NDArray[np.intp], FloatArray]]) -> FloatArray:
    """Return the inner products ``[T, S, S]`` of S weighted sums of gradients at T times.

    Part s is Σ_i w_i φ_i over its indices, with weights ``[T, |s|, m]`` (m outputs, kernel K ⊗ I_m). Each part meets only its own rows of
    the kernel, so all parts together cost one product of the kernel with ``[n, T·m]``, not S of them.
    """
    if isinstance(kernel, PackedKernel):
        return _packed_gram(kernel, parts)
    n_times, _, n_outputs = parts[0][1].shape
    dtype = np.result_type(kernel, *(weights for _, weights in parts))
    gram = np.zeros((n_times, len(parts), len(parts)), dtype=dtype)
    chunk = max(1, _MAX_PRODUCT // (kernel.shape[0] * n_outputs))
    for b, (rows, weights) in enumerate(parts):
        if rows.size == 0:
            continue
        block = kernel[rows]
        for start in range(0, n_times, chunk):
            stop = min(start + chunk, n_times)
            flat = np.moveaxis(weights[start:stop], 1, 0).reshape(rows.size, -1)
            product = (block.T @ flat).reshape(-1, stop - start, n_outputs)
            for a, (others, other_weights) in enumerate(parts[: b + 1]):
                gram[start:stop, a, b] = np.einsum("tim,itm->t", other_weights[start:stop], product[others])
                gram[start:stop, b, a] = gram[start:stop, a, b]
    return gram


def _packed_gram(kernel: PackedKernel, parts: Sequence[tuple[NDArray[np.intp], FloatArray]]) -> FloatArray:
    """`block_gram` through products with the whole kernel: S of them, since a packed kernel has no rows to pick."""
    n_times, _, n_outputs = parts[0][1].shape
    gram = np.zeros((n_times, len(parts), len(parts)))
    weights = np.zeros((len(kernel), len(parts), n_outputs))
    for t in range(n_times):
        for s, (rows, values) in enumerate(parts):
            weights[rows, s] = values[t]
        products = (kernel @ weights.reshape(len(kernel), -1)).reshape(weights.shape)
        gram[t] = np.einsum("iam,ibm->ab", weights, products)
    return (gram + np.swapaxes(gram, 1, 2)) / 2


def _ratio_and_opposition(clean: FloatArray, noise: FloatArray, cross: FloatArray) -> tuple[FloatArray, FloatArray]:
    defined = (clean > 0) & (noise > 0)
    nan = np.full(np.shape(clean), np.nan, dtype=np.result_type(clean, np.float32))
    ratio = np.divide(noise, clean, out=nan.copy(), where=defined)
    # Two divisions rather than one by the product, which may underflow; Cauchy-Schwarz holds only up to rounding.
    cosine = np.divide(cross, clean, out=nan.copy(), where=defined)
    cosine = np.divide(cosine, noise, out=nan, where=defined)
    return ratio, -np.clip(cosine, -1, 1)


def class_labels(labels: ArrayLike, name: str, n_classes: int) -> NDArray[np.int64]:
    """Return labels ``[n]`` as read-only integers.

    Raises:
        ValueError: if they are no classes 0 … C−1.
    """
    values = as_real_array(labels, name)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{name} must have shape [n] with n >= 1, got shape {list(values.shape)}")
    wrong = (values != np.floor(values)) | (values < 0) | (values >= n_classes)
    if wrong.any():
        raise ValueError(f"{name} must hold classes 0 ... {n_classes - 1}, got {values[wrong][0]:g}")
    result = values.astype(np.int64)
    result.flags.writeable = False
    return result
