"""A whole training run, described by the same names as a run of a network: segment losses, errors, residuals and geometry over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import check_instance
from theory.losses import errors, loss_values
from theory.segments import SegmentGeometry, Segments, class_labels
from theory.truth_gradient import TruthGeometry, check_logits, label_array, segment_residuals, truth_gram

__all__ = ["SegmentHistory", "segment_history"]

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class SegmentHistory:
    """Time course of a run on noisy labels. Losses, errors and residuals are means over their samples, gradients are sums.

    A mean over no samples (``noise_*`` without noise, ``test_*`` without test points) is NaN.

    Attributes:
        gram: ``[T, 3C, 3C]`` inner products of the clean, noisy and relabelled segment gradients.
        alpha, rho: ``[T, C]`` per class, see :class:`theory.segments.SegmentGeometry`.
        pooled_alpha, pooled_rho: ``[T]`` a and ρ of the pooled gradients.
        clean_share: ``[T, C]``, step_factor, cosine_with_truth: ``[T]``, see :class:`theory.truth_gradient.TruthGeometry`.
        train_loss, clean_loss, noise_loss: ``[T]`` against the observed labels.
        truth_loss: ``[T]`` L(D̂), against the ground truth.
        train_error, clean_error, noise_error: ``[T]`` against the observed labels; a tie counts as the chance of being wrong.
        clean_residual, noise_residual: ``[T]`` mean |f − y| at the observed label, 1 − f_y.
        test_loss, test_error: ``[T]`` against the test points' ground truth.
        n_clean, n_noise: ``[C]`` sizes of the segments.
    """

    gram: FloatArray
    alpha: FloatArray
    rho: FloatArray
    pooled_alpha: FloatArray
    pooled_rho: FloatArray
    clean_share: FloatArray
    step_factor: FloatArray
    cosine_with_truth: FloatArray
    train_loss: FloatArray
    clean_loss: FloatArray
    noise_loss: FloatArray
    truth_loss: FloatArray
    train_error: FloatArray
    clean_error: FloatArray
    noise_error: FloatArray
    clean_residual: FloatArray
    noise_residual: FloatArray
    test_loss: FloatArray
    test_error: FloatArray
    n_clean: NDArray[np.int64]
    n_noise: NDArray[np.int64]


def segment_history(
    kernel: ArrayLike,
    logits: ArrayLike,
    segments: Segments,
    *,
    test_logits: ArrayLike | None = None,
    test_truth: ArrayLike | None = None,
) -> SegmentHistory:
    """Describe a run on a fixed kernel at all its recorded times, with one batched product per segment.

    Args:
        kernel: ``[n, n]`` tangent kernel; K ⊗ I_C for softmax logits.
        logits: ``[T, n]`` (two classes, one logit: logistic loss) or ``[T, n, C]`` (softmax).
        segments: the split of the n samples.
        test_logits: ``[T, n_test]`` or ``[T, n_test, C]``; with ``test_truth``.
        test_truth: ``[n_test]`` ground-truth classes of the test points.

    Returns:
        The history; see :class:`SegmentHistory`.

    Raises:
        ValueError: for shapes that do not fit, or test logits without their labels.

    Source:
        Figures 1, 5-8, 11-13 [A]; X4.

    Example:
        >>> segments = Segments.from_labels([1, 1, 0, 0], [1, 0, 0, 1])
        >>> history = segment_history(np.eye(4), np.zeros((1, 4)), segments)
        >>> float(history.pooled_alpha[0]), float(history.noise_error[0])
        (1.0, 0.5)
    """
    check_instance(segments, "segments", Segments)
    h, loss = check_logits(logits, segments, leading=1)
    gram = truth_gram(kernel, h, segments)
    two = 2 * segments.n_classes
    geometry = SegmentGeometry.from_gram(gram[:, :two, :two])
    truth_geometry = TruthGeometry.from_gram(gram)

    observed = label_array(segments.observed, segments, loss)
    sample_loss = loss_values(h, observed, loss=loss)
    sample_error = errors(h, observed, loss=loss)
    residual = np.abs(segment_residuals(h, segments, loss=loss)[0])
    if loss == "softmax":
        residual = (residual * observed).sum(axis=-1)
    truth_loss = loss_values(h, label_array(segments.truth, segments, loss), loss=loss).mean(axis=1)
    test_loss, test_error = _test_curves(test_logits, test_truth, segments, h.shape[0], loss)
    clean, noise = segments.clean(), segments.noise()
    return SegmentHistory(
        gram=gram,
        alpha=geometry.alpha,
        rho=geometry.rho,
        pooled_alpha=geometry.pooled_alpha,
        pooled_rho=geometry.pooled_rho,
        clean_share=truth_geometry.clean_share,
        step_factor=truth_geometry.step_factor,
        cosine_with_truth=truth_geometry.cosine_with_truth,
        train_loss=sample_loss.mean(axis=1),
        clean_loss=_mean_over(sample_loss, clean),
        noise_loss=_mean_over(sample_loss, noise),
        truth_loss=truth_loss,
        train_error=sample_error.mean(axis=1),
        clean_error=_mean_over(sample_error, clean),
        noise_error=_mean_over(sample_error, noise),
        clean_residual=_mean_over(residual, clean),
        noise_residual=_mean_over(residual, noise),
        test_loss=test_loss,
        test_error=test_error,
        n_clean=np.bincount(segments.truth[clean], minlength=segments.n_classes),
        n_noise=np.bincount(segments.truth[noise], minlength=segments.n_classes),
    )


def _test_curves(
    test_logits: ArrayLike | None, test_truth: ArrayLike | None, segments: Segments, n_times: int, loss: str
) -> tuple[FloatArray, FloatArray]:
    if test_logits is None and test_truth is None:
        return np.full(n_times, np.nan), np.full(n_times, np.nan)
    if test_logits is None or test_truth is None:
        missing = "test_truth" if test_truth is None else "test_logits"
        raise ValueError(f"test_logits and test_truth must come together, got no {missing}")
    truth = class_labels(test_truth, "test_truth", segments.n_classes)
    h, test_form = check_logits(test_logits, segments, leading=1, n=truth.size, name="test_logits")
    if test_form != loss or h.shape[0] != n_times:
        raise ValueError(f"test_logits must have the form of the logits at {n_times} times, got shape {list(h.shape)}")
    labels = label_array(truth, segments, loss)
    return loss_values(h, labels, loss=loss).mean(axis=1), errors(h, labels, loss=loss).mean(axis=1)


def _mean_over(values: FloatArray, mask: NDArray[np.bool_]) -> FloatArray:
    return np.asarray(values[:, mask].mean(axis=1)) if mask.any() else np.full(values.shape[0], np.nan)
