"""When to stop: the exact criterion for the turn of the noisy loss, and a rule that needs no clean labels.

With a = ‖G_n‖/‖G_c‖ and ρ = −cos∠(G_c, G_n) of the pooled segment gradients, gradient flow gives dL_clean/dt < 0 ⇔ aρ < 1 and
dL_noise/dt > 0 ⇔ a < ρ, whatever the network, the data and the noise: no assumption is used. The noisy loss turns at a = ρ, hence at a
ratio ‖G_c‖/‖G_n‖ = 1/ρ > 1, before the two gradients are equally long. Derivations: notes/early_stopping.md §2-3.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_flag, check_integer, check_noise_level, check_number

__all__ = [
    "clean_loss_falls",
    "first_crossing",
    "held_out_disagreement",
    "label_free_residual",
    "label_free_stopping_time",
    "noise_loss_rises",
    "noise_loss_turn",
    "transition_residual",
]

FloatArray = NDArray[np.floating[Any]]


def clean_loss_falls(pooled_alpha: ArrayLike, pooled_rho: ArrayLike) -> NDArray[np.bool_]:
    """Return aρ < 1: the clean loss falls under gradient flow.

    Args:
        pooled_alpha: a = ‖G_n‖/‖G_c‖ ≥ 0, any shape.
        pooled_rho: ρ = −cos∠(G_c, G_n) in [−1, 1], the same shape.

    Raises:
        ValueError: for values out of range, not finite, or of different shapes.

    Source:
        X4, in place of Thm 4.4 [A, B]; notes/early_stopping.md §2.

    Example:
        >>> bool(clean_loss_falls(0.9, 1.0))
        True
    """
    a, rho = _geometry(pooled_alpha, pooled_rho)
    result: NDArray[np.bool_] = np.asarray(a * rho < 1)[()]
    return result


def noise_loss_rises(pooled_alpha: ArrayLike, pooled_rho: ArrayLike) -> NDArray[np.bool_]:
    """Return a < ρ: the noisy loss rises under gradient flow, and for every step size under descent on a fixed kernel.

    Args:
        pooled_alpha: a = ‖G_n‖/‖G_c‖ ≥ 0, any shape.
        pooled_rho: ρ = −cos∠(G_c, G_n) in [−1, 1], the same shape.

    Raises:
        ValueError: for values out of range, not finite, or of different shapes.

    Source:
        X4, in place of Thm 4.4 [A, B]; notes/early_stopping.md §2.

    Example:
        >>> bool(noise_loss_rises(0.9, 0.8))
        False
    """
    a, rho = _geometry(pooled_alpha, pooled_rho)
    result: NDArray[np.bool_] = np.asarray(a < rho)[()]
    return result


def noise_loss_turn(times: ArrayLike, pooled_alpha: ArrayLike, pooled_rho: ArrayLike, *, interpolate: bool = False) -> float:
    """Return the first time with a ≥ ρ: the noisy loss has its peak there (small steps).

    Args:
        times: ``[T]`` increasing.
        pooled_alpha: ``[T]`` a.
        pooled_rho: ``[T]`` ρ.
        interpolate: between the recorded times, linearly in a − ρ; otherwise the recorded time itself.

    Returns:
        The time; inf if a < ρ throughout the record.

    Raises:
        ValueError: for values out of range, times that do not increase, or shapes that do not fit.

    Source:
        X4; notes/early_stopping.md §2.

    Example:
        >>> noise_loss_turn([0.0, 1.0, 2.0], [0.5, 0.8, 0.99], [0.95, 0.9, 0.9])
        2.0
    """
    a, rho = _geometry(pooled_alpha, pooled_rho)
    return first_crossing(times, a - rho, interpolate=interpolate)


def first_crossing(times: ArrayLike, values: ArrayLike, *, level: float = 0.0, interpolate: bool = True) -> float:
    """Return the first time at which the values are at or above a level; inf if none is.

    Args:
        times: ``[T]`` strictly increasing.
        values: ``[T]``.
        level: the level.
        interpolate: linearly between the last value below and the first at or above; otherwise the recorded time.

    Raises:
        ValueError: for shapes that do not fit, values that are not finite, or times that do not increase.

    Example:
        >>> first_crossing([0.0, 1.0, 2.0], [-1.0, -0.5, 0.5])
        1.5
    """
    check_flag(interpolate, "interpolate")
    t = as_real_array(times, "times").astype(np.float64)
    v = as_real_array(values, "values").astype(np.float64)
    if t.ndim != 1 or t.size == 0 or t.shape != v.shape:
        raise ValueError(f"times and values must have one shape [T], got {list(t.shape)} and {list(v.shape)}")
    if (np.diff(t) <= 0).any():
        index = int(np.argmax(np.diff(t) <= 0))
        raise ValueError(f"times must increase, got {t[index]} before {t[index + 1]}")
    limit = check_number(level, "level")
    reached = v >= limit
    if not reached.any():
        return math.inf
    i = int(np.argmax(reached))
    if i == 0 or not interpolate:
        return float(t[i])
    return float(t[i - 1] + (t[i] - t[i - 1]) * (limit - v[i - 1]) / (v[i] - v[i - 1]))


def label_free_residual(noise_level: float, *, n_classes: int = 2) -> float:
    """Return the mean residual 1 − f to the *observed* label at which α = 1 for collapsed classes: δ(2 − δC/(C−1)); 2δ(1−δ) for C = 2.

    There the network gives the true class probability 1 − δ and each other class δ/(C−1). It needs δ, but no true label.

    Args:
        noise_level: δ in [0, 1).
        n_classes: C ≥ 2.

    Raises:
        ValueError: for a noise level outside [0, 1) or fewer than two classes.

    Source:
        R2; notes/early_stopping.md §3.

    Example:
        >>> round(label_free_residual(0.4), 12)
        0.48
    """
    delta = check_noise_level(noise_level)
    classes = check_integer(n_classes, "n_classes", minimum=2)
    return delta * (2 - delta * classes / (classes - 1))


def transition_residual(transition: ArrayLike, *, class_shares: ArrayLike | None = None) -> float:
    """Return the mean residual to the observed labels at which α = 1 in every collapsed class: 1 − Σ_c π_c Σ_k T_ck².

    There the network gives every class c its noise distribution T_c, and the segment gradients of c are opposite and equally long. For
    symmetric noise it is `label_free_residual`.

    Args:
        transition: T ``[C, C]``, P(observed k | true c) in row c.
        class_shares: π ``[C]``, shares or counts of the true classes; equal if not given.

    Raises:
        ValueError: for a matrix that is not square, has a negative entry or a row sum other than 1, or shares that do not fit.

    Source:
        R2; notes/early_stopping.md §3.

    Example:
        >>> round(transition_residual([[0.6, 0.4], [0.4, 0.6]]), 12)
        0.48
    """
    matrix = as_real_array(transition, "transition").astype(np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ValueError(f"transition must have shape [C, C] with C >= 2, got {list(matrix.shape)}")
    if (matrix < 0).any():
        raise ValueError(f"transition must not be negative, got {matrix[matrix < 0][0]}")
    off = np.abs(matrix.sum(axis=1) - 1)
    if (off > 1e-9).any():
        raise ValueError(f"transition must have rows that sum to 1, got {matrix.sum(axis=1)[np.argmax(off)]:.12g} in row {np.argmax(off)}")
    shares = np.ones(len(matrix)) if class_shares is None else as_real_array(class_shares, "class_shares").astype(np.float64)
    if shares.shape != (len(matrix),) or (shares < 0).any() or shares.sum() <= 0:
        raise ValueError(f"class_shares must be {len(matrix)} shares that are not all 0, got {shares.ravel()[:8].tolist()}")
    return float(1 - shares / shares.sum() @ (matrix**2).sum(axis=1))


def held_out_disagreement(noise_level: float, model_error: float, *, n_classes: int = 2) -> float:
    """Return the probability that a prediction differs from a held-out observed label: δ + ε(1 − δC/(C − 1)), never below δ.

    It bounds δ from above, and fixes it where the model's error ε is known: all that observed labels alone can tell.

    Args:
        noise_level: δ in [0, 1) of symmetric noise, independent of the model's mistakes.
        model_error: ε in [0, 1], probability of a prediction other than the true label.
        n_classes: C ≥ 2.

    Raises:
        ValueError: for values out of range.

    Source:
        R2; notes/early_stopping.md §3.

    Example:
        >>> round(held_out_disagreement(0.4, 0.05), 12)
        0.41
    """
    delta, classes = check_noise_level(noise_level), check_integer(n_classes, "n_classes", minimum=2)
    error = check_number(model_error, "model_error")
    if not 0 <= error <= 1:
        raise ValueError(f"model_error must lie in [0, 1], got {model_error}")
    return delta + error * (1 - delta * classes / (classes - 1))


def label_free_stopping_time(
    times: ArrayLike, mean_residual: ArrayLike, noise_level: float, *, n_classes: int = 2, interpolate: bool = True
) -> float:
    """Return the first time at which the mean residual to the observed labels has fallen to `label_free_residual`.

    Exact for collapsed classes. Elsewhere a rule: individual noise fitted early lowers the mean residual too and stops it early.

    Args:
        times: ``[T]`` increasing.
        mean_residual: ``[T]`` mean over all training samples of |f − y| (binary), or of 1 − f at the observed label (C classes).
        noise_level: δ in [0, 1).
        n_classes: C ≥ 2.
        interpolate: linearly between recorded times.

    Returns:
        The time; inf if the level is not reached within the record.

    Raises:
        ValueError: for residuals outside [0, 1], times that do not increase, or shapes that do not fit.

    Source:
        R2; notes/early_stopping.md §3.

    Example:
        >>> label_free_stopping_time([0.0, 10.0, 20.0], [0.5, 0.49, 0.47], 0.4)
        15.0
    """
    residual = as_real_array(mean_residual, "mean_residual").astype(np.float64)
    t = as_real_array(times, "times")
    if residual.ndim != 1 or residual.shape != t.shape:
        raise ValueError(f"times and mean_residual must have one shape [T], got {list(t.shape)} and {list(residual.shape)}")
    if ((residual < 0) | (residual > 1)).any():
        raise ValueError(f"mean_residual must lie in [0, 1], got {residual[(residual < 0) | (residual > 1)].flat[0]}")
    return first_crossing(times, -residual, level=-label_free_residual(noise_level, n_classes=n_classes), interpolate=interpolate)


def _geometry(pooled_alpha: ArrayLike, pooled_rho: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, rho = as_real_array(pooled_alpha, "pooled_alpha"), as_real_array(pooled_rho, "pooled_rho")
    if a.shape != rho.shape:
        raise ValueError(f"pooled_alpha and pooled_rho must have one shape, got {list(a.shape)} and {list(rho.shape)}")
    if (a < 0).any():
        raise ValueError(f"pooled_alpha must not be negative, got {a[a < 0].flat[0]}")
    if (np.abs(rho) > 1).any():
        raise ValueError(f"pooled_rho must lie in [-1, 1], got {rho[np.abs(rho) > 1].flat[0]}")
    return a, rho
