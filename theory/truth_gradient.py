"""The gradient of the noise-free loss beside the gradients of the segments: what descent on noisy labels does for the truth.

ĝ^(c) sums over all of class c with ground-truth labels: the clean samples as they are, the noisy ones relabelled. The inner products of
clean, noisy and relabelled segments put both statements of the papers about it to the test, printed and corrected:

* Eq. (10) [A], (7) [B]: g_clean = ĝ/(1+α_t) printed, (1−δ) ĝ corrected (D2);
* Prop 4.2 [A], Lemma 4.2 [B]: ∇L(D) = s ∇L(D̂) with s = (1−α_t)/(1+α_t) printed, (1−δ)(1−α_t) corrected (D4, R3).

Derivation: notes/segments.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_choice, check_instance, check_kernel
from theory.losses import residuals
from theory.segments import Segments, block_gram, segment_parts

__all__ = ["TruthGeometry", "segment_residuals", "truth_geometry", "truth_gram"]

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class TruthGeometry:
    """How the gradients of D relate to those of the relabelled set D̂. Leading axes (times, seeds) are allowed.

    A value is NaN where its denominator vanishes: a class without samples, or a noise-free gradient of zero. G = G_c + G_n is small beside
    its parts when α is near 1, and inner products lose digits with the square: cosine_with_truth has an error of about ε/(1−α)².

    Attributes:
        gram: ``[..., 3C, 3C]`` inner products of (clean^(0) …, noise^(0) …, relabelled^(0) …).
        truth_norm: ``[..., C]`` ‖ĝ^(c)‖ (a sum over the class).
        clean_share: ``[..., C]`` ‖g_clean^(c)‖ / ‖ĝ^(c)‖; 1−δ under hypothesis H, printed as 1/(1+α_t) (D2).
        clean_cosine: ``[..., C]`` cos∠(g_clean^(c), ĝ^(c)).
        step_factor: ``[...]`` the s that minimises ‖∇L(D) − s ∇L(D̂)‖, <∇L(D), ∇L(D̂)> / ‖∇L(D̂)‖² (D4).
        cosine_with_truth: ``[...]`` cos∠(∇L(D), ∇L(D̂)).

    Source:
        Eq. (10) [A], (7) [B], Prop 4.2 [A], Lemma 4.2 [B]; D2, D4.
    """

    gram: FloatArray
    truth_norm: FloatArray
    clean_share: FloatArray
    clean_cosine: FloatArray
    step_factor: FloatArray
    cosine_with_truth: FloatArray

    @classmethod
    def from_gram(cls, gram: ArrayLike) -> Self:
        """Derive the geometry from inner products ``[..., 3C, 3C]`` of clean, noisy and relabelled segments.

        Raises:
            ValueError: for a shape that is not ``[..., 3C, 3C]``.
        """
        g = as_real_array(gram, "gram")
        if g.ndim < 2 or g.shape[-1] != g.shape[-2] or g.shape[-1] % 3 or g.shape[-1] == 0:
            raise ValueError(f"gram must have shape [..., 3C, 3C], got {list(g.shape)}")
        n_classes = g.shape[-1] // 3
        # blocks[..., s, c, u, d] = <segment s of class c, segment u of class d>, s and u in (clean, noise, relabelled).
        blocks = g.reshape(*g.shape[:-2], 3, n_classes, 3, n_classes)
        by_class = np.einsum("...scuc->...csu", blocks)
        pooled = blocks.sum(axis=(-3, -1))
        clean, truth, observed = np.array([1, 0, 0]), np.array([1, 0, 1]), np.array([1, 1, 0])
        truth_square = _form(by_class, truth, truth)
        clean_square = _form(by_class, clean, clean)
        full_truth, full_observed = _form(pooled, truth, truth), _form(pooled, observed, observed)
        across = _form(pooled, observed, truth)
        return cls(
            g,
            _root(truth_square),
            _divide(_root(clean_square), _root(truth_square)),
            _cosine(_form(by_class, clean, truth), clean_square, truth_square),
            _divide(across, full_truth),
            _cosine(across, full_truth, full_observed),
        )


def segment_residuals(logits: ArrayLike, segments: Segments, *, loss: str = "logistic") -> tuple[FloatArray, FloatArray]:
    """Return the residuals towards the observed and towards the ground-truth labels.

    Args:
        logits: ``[..., n]`` for two classes with one logit (logistic), ``[..., n, C]`` for softmax.
        segments: the split of the n samples.
        loss: ``"logistic"`` or ``"softmax"``.

    Returns:
        Two arrays of the shape of the logits.

    Raises:
        ValueError: for logits that do not fit the segments.

    Example:
        >>> observed, truth = segment_residuals([0.0, 0.0], Segments.from_labels([1, 1], [1, 0]))
        >>> observed.tolist(), truth.tolist()
        ([-0.5, 0.5], [-0.5, -0.5])
    """
    check_choice(loss, "loss", ("logistic", "softmax"))
    check_instance(segments, "segments", Segments)
    h = as_real_array(logits, "logits")
    _check_last_axes(h, segments.n, segments.n_classes, loss, "logits")
    observed = residuals(h, label_array(segments.observed, segments, loss), loss=loss)
    return observed, residuals(h, label_array(segments.truth, segments, loss), loss=loss)


def truth_gram(kernel: ArrayLike, logits: ArrayLike, segments: Segments) -> FloatArray:
    """Return the inner products ``[T, 3C, 3C]`` of clean, noisy and relabelled segment gradients at T times in one go.

    Args:
        kernel: ``[n, n]``; K ⊗ I_C for softmax logits.
        logits: ``[T, n]`` or ``[T, n, C]``.
        segments: the split of the n samples.

    Raises:
        ValueError: for shapes that do not fit.

    Example:
        >>> truth_gram([[1.0]], [[0.0]], Segments.from_labels([0], [1])).shape
        (1, 6, 6)
    """
    check_instance(segments, "segments", Segments)
    k = check_kernel(kernel, n=segments.n)
    h, loss = check_logits(logits, segments, leading=1)
    observed, truth = segment_residuals(h, segments, loss=loss)
    shape = (observed.shape[0], segments.n, -1)
    parts = segment_parts(segments, observed.reshape(shape))
    relabelled = segment_parts(segments, truth.reshape(shape))[segments.n_classes :]
    return block_gram(k, [*parts, *relabelled])


def truth_geometry(kernel: ArrayLike, logits: ArrayLike, segments: Segments) -> TruthGeometry:
    """Compare the gradient on D with the gradient on the noise-free D̂, at one point of training.

    Args:
        kernel: ``[n, n]``; K ⊗ I_C for softmax logits.
        logits: ``[n]`` for two classes with one logit, ``[n, C]`` for softmax.
        segments: the split of the n samples.

    Raises:
        ValueError: for shapes that do not fit.

    Source:
        D2, D4.

    Example:
        >>> segments = Segments.from_labels([1, 1, 1, 1], [1, 1, 1, 0])
        >>> geometry = truth_geometry(np.ones((4, 4)), np.full(4, 2.0), segments)
        >>> round(float(geometry.clean_share[1]), 12)  # 1 − δ, at every α_t
        0.75
    """
    check_instance(segments, "segments", Segments)
    h, _ = check_logits(logits, segments, leading=0)
    return TruthGeometry.from_gram(truth_gram(kernel, h[None], segments)[0])


def check_logits(
    logits: ArrayLike, segments: Segments, *, leading: int, n: int | None = None, name: str = "logits"
) -> tuple[FloatArray, str]:
    """Return logits and the loss that their number of axes implies: ``[..., n]`` logistic, ``[..., n, C]`` softmax, after ``leading`` axes.

    Raises:
        ValueError: if the shape is neither, or one logit is given for more than two classes.
    """
    h = as_real_array(logits, name)
    points = segments.n if n is None else n
    if h.ndim not in (leading + 1, leading + 2):
        raise ValueError(f"{name} must have {leading + 1} axes (logistic) or {leading + 2} (softmax), got shape {list(h.shape)}")
    loss = "logistic" if h.ndim == leading + 1 else "softmax"
    _check_last_axes(h, points, segments.n_classes, loss, name)
    return h, loss


def _check_last_axes(h: FloatArray, n: int, n_classes: int, loss: str, name: str) -> None:
    expected = (n,) if loss == "logistic" else (n, n_classes)
    if h.shape[-len(expected) :] != expected or h.size == 0:
        raise ValueError(f"{name} must have shape [..., {', '.join(map(str, expected))}] for the {loss} loss, got {list(h.shape)}")
    if loss == "logistic" and n_classes != 2:
        raise ValueError(f"{name} must have a class axis of {n_classes} for {n_classes} classes, got shape {list(h.shape)}")


def label_array(labels: NDArray[np.int64], segments: Segments, loss: str) -> FloatArray:
    """Return integer labels as 0/1 floats (logistic) or one-hot rows (softmax)."""
    return labels.astype(np.float64) if loss == "logistic" else np.eye(segments.n_classes)[labels]


def _form(gram: FloatArray, left: NDArray[np.int64], right: NDArray[np.int64]) -> FloatArray:
    return np.asarray(np.einsum("s,...su,u->...", left, gram, right))


def _root(square: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.maximum(square, 0)))


def _cosine(product: FloatArray, one: FloatArray, two: FloatArray) -> FloatArray:
    return np.clip(_divide(_divide(product, _root(one)), _root(two)), -1, 1)


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.asarray(np.divide(numerator, denominator, out=np.full(np.shape(numerator), np.nan), where=denominator > 0))
