"""Losses of the linearised model as functions of logits: residuals, loss values and classification errors.

Three losses, each with the residual r = −∂(loss)/∂(step direction) in the convention h ← h − (η/n) K r:

* ``"logistic"``: one logit per sample, label y in [0, 1], f = σ(h), r = f − y (S1, Eq. (5) [A], Eq. (4) [B]);
* ``"softmax"``: C logits per sample, one-hot (or soft) labels, f = softmax(h), r = f − y (Eq. (13) [A]);
* ``"squared"``: half the squared distance of logit and label, r = h − y (Figure 9 [A]).

Everything is computed without cancellation: the residual of a sample that is fitted to 1e-200 is still accurate to a few ulp.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_choice, check_integer

__all__ = ["LOSSES", "check_labels", "errors", "loss_values", "residuals", "sigmoid"]

LOSSES = ("logistic", "softmax", "squared")

FloatArray = NDArray[np.floating[Any]]


def sigmoid(logits: ArrayLike) -> FloatArray:
    """Return σ(h) = 1 / (1 + exp(−h)), with full relative accuracy also where it is tiny.

    Args:
        logits: any shape.

    Raises:
        ValueError: if a value is not a finite real number.

    Example:
        >>> sigmoid([0.0, -700.0]).tolist() == [0.5, float(np.exp(-700.0))]
        True
    """
    return _sigmoid(as_real_array(logits, "logits"))


def residuals(logits: ArrayLike, labels: ArrayLike, *, loss: str = "logistic", axis: int = -1) -> FloatArray:
    """Return the residual f − y of each sample (logistic, softmax) or h − y (squared).

    Args:
        logits: ``[...]``; for softmax the classes run along ``axis``.
        labels: same shape as the logits, or broadcasting with them: y in [0, 1] (logistic), rows that sum to one (softmax).
        loss: ``"logistic"``, ``"softmax"`` or ``"squared"``.
        axis: the class axis of the softmax; unused otherwise.

    Returns:
        Residuals, shape of the broadcast; not divided by the number of samples.

    Raises:
        ValueError: for an unknown loss, labels outside its range, or values that are not finite.

    Source:
        S1, Eq. (5) [A], Eq. (4) [B].

    Example:
        >>> residuals([0.0, 0.0], [1, 0]).tolist()
        [-0.5, 0.5]
    """
    check_choice(loss, "loss", LOSSES)
    h, y = _logits_and_labels(logits, labels, loss, axis)
    return _residuals(h, y.astype(h.dtype, copy=False), loss, axis)


def loss_values(logits: ArrayLike, labels: ArrayLike, *, loss: str = "logistic", axis: int = -1) -> FloatArray:
    """Return the loss of each sample: cross entropy (logistic, softmax; nats) or ½(h − y)² (squared).

    Args:
        logits: ``[...]``; for softmax the classes run along ``axis``, which the result drops.
        labels: as in :func:`residuals`.
        loss: ``"logistic"``, ``"softmax"`` or ``"squared"``.
        axis: the class axis of the softmax; unused otherwise.

    Returns:
        One value per sample; average it for L(w; S). For soft labels this is the cross entropy −Σ y ln f.

    Raises:
        ValueError: as :func:`residuals`.

    Example:
        >>> loss_values([0.0], [1]).tolist() == [float(np.log(2))]
        True
    """
    check_choice(loss, "loss", LOSSES)
    h, y = _logits_and_labels(logits, labels, loss, axis)
    y = y.astype(h.dtype, copy=False)
    if loss == "squared":
        return np.asarray(0.5 * (h - y) ** 2)
    if loss == "logistic":
        return np.asarray((1 - y) * np.logaddexp(0, h) + y * np.logaddexp(0, -h))
    return np.asarray((y * _negative_log_softmax(h, axis)).sum(axis=axis))


def errors(logits: ArrayLike, labels: ArrayLike, *, loss: str = "logistic", axis: int = -1) -> FloatArray:
    """Return the classification error of each sample: 0 right, 1 wrong, the chance of being wrong on a tie.

    A tie is broken at random, so that the zero function has error ½ for two classes and 1 − 1/C for C.

    Args:
        logits: ``[...]``; for softmax the classes run along ``axis``, which the result drops. The logistic loss predicts class 1
            where h > 0, the squared loss where h exceeds the middle of the two label values.
        labels: hard labels: 0/1 (logistic), two values (squared), one-hot (softmax).
        loss: ``"logistic"``, ``"softmax"`` or ``"squared"``.
        axis: the class axis of the softmax; unused otherwise.

    Raises:
        ValueError: as :func:`residuals`, or if the labels of the squared loss take more than two values.

    Example:
        >>> errors([2.0, 2.0, 0.0], [1, 0, 1]).tolist()
        [0.0, 1.0, 0.5]
    """
    check_choice(loss, "loss", LOSSES)
    h, y = _logits_and_labels(logits, labels, loss, axis)
    if loss == "softmax":
        best = h == h.max(axis=axis, keepdims=True)
        return np.asarray(1 - (best * y).sum(axis=axis) / best.sum(axis=axis))
    middle = 0.0 if loss == "logistic" else _middle(y)
    side = np.sign(y - 0.5) if loss == "logistic" else np.sign(y - middle)
    return np.asarray(0.5 * (1 - np.sign(h - middle) * side))


def _logits_and_labels(logits: ArrayLike, labels: ArrayLike, loss: str, axis: int) -> tuple[FloatArray, FloatArray]:
    h = as_real_array(logits, "logits")
    check_integer(axis, "axis", minimum=-h.ndim, maximum=max(h.ndim - 1, 0))
    y = check_labels(labels, loss=loss, axis=axis)
    try:
        np.broadcast_shapes(h.shape, y.shape)
    except ValueError:
        raise ValueError(f"logits and labels must have shapes that fit, got {list(h.shape)} and {list(y.shape)}") from None
    return h, y


def check_labels(labels: ArrayLike, *, loss: str, axis: int = -1) -> FloatArray:
    """Return labels as floats in the range of the loss.

    Raises:
        ValueError: logistic labels outside [0, 1]; softmax labels outside [0, 1] or not summing to one along ``axis``.
    """
    y = as_real_array(labels, "labels")
    if loss != "squared":
        outside = (y < 0) | (y > 1)
        if outside.any():
            raise ValueError(f"labels must lie in [0, 1] for the {loss} loss, got {y[outside].flat[0]}")
    if loss == "softmax":
        if y.ndim < 2 or y.shape[axis] < 2:
            raise ValueError(f"labels must be one-hot with at least two classes for the softmax loss, got shape {list(y.shape)}")
        total = y.sum(axis=axis)
        wrong = np.abs(total - 1) > 8 * np.finfo(y.dtype).eps * y.shape[axis]
        if wrong.any():
            raise ValueError(f"labels must sum to 1 over the classes for the softmax loss, got a sum of {total[wrong].flat[0]}")
    return y


def _sigmoid(h: FloatArray) -> FloatArray:
    e = np.exp(-np.abs(h))
    return np.asarray(np.where(h >= 0, 1, e) / (1 + e))


def _residuals(h: FloatArray, y: FloatArray, loss: str, axis: int) -> FloatArray:
    if loss == "squared":
        return np.asarray(h - y)
    if loss == "logistic":
        # σ(h) − y = (1 − y) σ(h) − y σ(−h): no cancellation for hard labels.
        e = np.exp(-np.abs(h))
        positive = h >= 0
        return np.asarray(((1 - y) * np.where(positive, 1, e) - y * np.where(positive, e, 1)) / (1 + e))
    e = np.exp(h - h.max(axis=axis, keepdims=True))
    total = e.sum(axis=axis, keepdims=True)
    # 1 − f without cancellation: only the largest entry can dominate the sum, so the others are summed for it.
    top = np.expand_dims(e.argmax(axis=axis), axis)
    rest = total - e
    without_top = e.copy()
    np.put_along_axis(without_top, top, 0, axis=axis)
    np.put_along_axis(rest, top, without_top.sum(axis=axis, keepdims=True), axis=axis)
    return np.asarray(((1 - y) * e - y * rest) / total)


def _negative_log_softmax(h: FloatArray, axis: int) -> FloatArray:
    """Return −ln f_c = ln Σ_j exp(h_j − h_c), accurate where it is tiny."""
    top = np.expand_dims(h.argmax(axis=axis), axis)
    shifted = h - np.take_along_axis(h, top, axis=axis)
    e = np.exp(shifted)
    np.put_along_axis(e, top, 0, axis=axis)
    return np.asarray(np.log1p(e.sum(axis=axis, keepdims=True)) - shifted)


def _middle(y: FloatArray) -> float:
    values = np.unique(y)
    if values.size > 2:
        raise ValueError(f"labels must take at most two values for the error of the squared loss, got {values.size} values")
    # One value alone does not say where the other is: the symmetric coding −1/+1 is assumed.
    return float(values.mean()) if values.size == 2 else 0.0
