"""From the Gram matrix of the segment gradients to what the papers speak of: norms, α, ρ, the angle to the noise-free gradient.

A Gram matrix here is ``[…, 3C, 3C]``, the inner products of the segment gradients (**sums** over samples) in the order
``clean^0 … clean^{C−1}, noise^0 … noise^{C−1}, relabelled^0 … relabelled^{C−1}``. Classes are those of the ground truth;
``relabelled^(c)`` sums over the noisy samples of class c with their *true* labels, so that ĝ^(c) = clean^(c) + relabelled^(c).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SegmentSummary", "segment_names", "summarize_gram"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentSummary:
    """Norms, ratios and cosines of segment gradients; leading axes are those of the Gram matrix.

    A ratio or cosine of an empty segment, or of one whose gradient is exactly zero, is nan (there is no direction); nothing else is.

    Attributes:
        clean_norm: ‖g_clean^(c)‖ ``[…, C]``.
        noise_norm: ‖g_noise^(c)‖ ``[…, C]``.
        truth_norm: ‖ĝ^(c)‖ ``[…, C]``, all samples of class c with their true labels.
        alpha: α^(c) = ‖g_noise^(c)‖/‖g_clean^(c)‖ ``[…, C]``.
        rho: ρ^(c) = −cos∠(g_clean^(c), g_noise^(c)) ``[…, C]``.
        pooled_clean_norm: ‖G_c‖, G_c = Σ_c g_clean^(c) ``[…]``.
        pooled_noise_norm: ‖G_n‖, G_n = Σ_c g_noise^(c) ``[…]``.
        pooled_alpha: a = ‖G_n‖/‖G_c‖ ``[…]``.
        pooled_rho: ρ = −cos∠(G_c, G_n) ``[…]``.
        cosine_with_truth: cos∠(∇L(D), ∇L(D̂)) ``[…]``.

    Source: §3.2 [A]; Assumption 4.1, Prop. 4.2 [A].
    """

    clean_norm: NDArray[np.float64]
    noise_norm: NDArray[np.float64]
    truth_norm: NDArray[np.float64]
    alpha: NDArray[np.float64]
    rho: NDArray[np.float64]
    pooled_clean_norm: NDArray[np.float64]
    pooled_noise_norm: NDArray[np.float64]
    pooled_alpha: NDArray[np.float64]
    pooled_rho: NDArray[np.float64]
    cosine_with_truth: NDArray[np.float64]


def segment_names(n_classes: int) -> tuple[str, ...]:
    """Names of the 3C segments in the order of the Gram matrix.

    Example:
        >>> segment_names(2)
        ('clean^0', 'clean^1', 'noise^0', 'noise^1', 'relabelled^0', 'relabelled^1')
    """
    return tuple(f"{kind}^{c}" for kind in ("clean", "noise", "relabelled") for c in range(n_classes))


def summarize_gram(gram: NDArray[np.float64]) -> SegmentSummary:
    """Summarise the Gram matrix of segment gradients.

    Args:
        gram: ``[…, 3C, 3C]``, see the module.

    Raises:
        ValueError: if the last two axes are not equal and a multiple of three.

    Example:
        >>> gradients = np.array([[4.0, 0.0], [0.0, 4.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> summary = summarize_gram(gradients @ gradients.T)
        >>> summary.alpha.tolist(), summary.rho.tolist(), float(summary.pooled_alpha)
        ([0.25, 0.25], [1.0, 1.0], 0.25)
    """
    gram = np.asarray(gram, dtype=np.float64)
    side = gram.shape[-1] if gram.ndim >= 2 else 0
    if gram.ndim < 2 or gram.shape[-2] != side or side == 0 or side % 3:
        raise ValueError(f"gram must have shape [..., 3C, 3C], got {list(gram.shape)}")
    n_classes = side // 3
    clean, noise, relabelled = np.split(np.eye(side), 3)  # one row of coefficients per segment
    clean_norm, noise_norm = _norm(gram, clean), _norm(gram, noise)
    pooled_clean, pooled_noise = clean.sum(0, keepdims=True), noise.sum(0, keepdims=True)
    pooled_truth = pooled_clean + relabelled.sum(0, keepdims=True)
    pooled_clean_norm, pooled_noise_norm = _norm(gram, pooled_clean)[..., 0], _norm(gram, pooled_noise)[..., 0]
    assert clean.shape == (n_classes, side)
    return SegmentSummary(
        clean_norm=clean_norm,
        noise_norm=noise_norm,
        truth_norm=_norm(gram, clean + relabelled),
        alpha=_norm_ratio(noise_norm, clean_norm),
        rho=-_cosine(gram, clean, noise),
        pooled_clean_norm=pooled_clean_norm,
        pooled_noise_norm=pooled_noise_norm,
        pooled_alpha=_norm_ratio(pooled_noise_norm, pooled_clean_norm),
        pooled_rho=-_cosine(gram, pooled_clean, pooled_noise)[..., 0],
        cosine_with_truth=_cosine(gram, pooled_clean + pooled_noise, pooled_truth)[..., 0],
    )


def _inner(gram: NDArray[np.float64], left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inner products of combinations of segments, ``left`` and ``right`` coefficients ``[k, 3C]`` → ``[…, k]``."""
    return np.asarray(np.einsum("ki,...ij,kj->...k", left, gram, right))


def _norm(gram: NDArray[np.float64], coefficients: NDArray[np.float64]) -> NDArray[np.float64]:
    # A difference of nearly equal gradients may come out below zero by rounding.
    return np.sqrt(np.maximum(_inner(gram, coefficients, coefficients), 0.0))


def _cosine(gram: NDArray[np.float64], left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = _norm(gram, left) * _norm(gram, right)
    return np.clip(_ratio(_inner(gram, left, right), norms), -1.0, 1.0)


def _norm_ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotient of norms; nan where either is zero, for a ratio of 0 would hide an empty segment."""
    return np.where(numerator > 0, _ratio(numerator, denominator), np.nan)


def _ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotient; nan where the denominator is zero."""
    result = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
