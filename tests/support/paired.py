"""Comparisons within a replicate: the prediction made from each replicate's own monitor values, and the measurement beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from empirical.inference import Estimate, mean_interval

__all__ = ["most_telling_time", "paired"]


def paired(measured: ArrayLike, predicted: ArrayLike, *, error_rate: float) -> tuple[float, Estimate]:
    """Mean prediction, and the mean measurement with the interval of the paired difference.

    Prediction and measurement share the replicate's label draw; the difference has a far smaller spread than either.

    Args:
        measured: one number per replicate ``[R]``.
        predicted: the prediction for that replicate ``[R]``, or one number for all.
        error_rate: probability of missing the mean difference.
    """
    target = np.broadcast_to(np.asarray(predicted, float), np.shape(measured))
    difference = mean_interval(np.asarray(measured, float) - target, error_rate=error_rate)
    centre = float(target.mean())
    return centre, Estimate(
        value=centre + difference.value,
        lower=centre + difference.lower,
        upper=centre + difference.upper,
        confidence=difference.confidence,
        n_seeds=difference.n_seeds,
        method=f"{difference.method}, paired with the prediction",
    )


def most_telling_time(first: ArrayLike, second: ArrayLike, margin: ArrayLike) -> int:
    """Index of the time at which two rival predictions are farthest apart in units of the margin; chosen without the measurement.

    Args:
        first: one prediction ``[T]``.
        second: the other ``[T]``.
        margin: the margin ``[T]``; times with a zero margin are left out.
    """
    size = np.asarray(margin, float)
    gap = np.abs(np.asarray(first, float) - np.asarray(second, float))
    return int(np.argmax(np.where(size > 0, gap / np.where(size > 0, size, 1), 0)))
