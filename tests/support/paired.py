"""Comparisons within a replicate: the prediction made from each replicate's own monitor values, and the measurement beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from empirical.inference import Estimate, mean_interval

__all__ = ["label_draws", "most_telling_time", "paired"]


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


def label_draws(sd: float, *, replicates: int, error_rate: float) -> float:
    """Margin term for the spread over label draws: twice the half-width that ``paired`` is planned to have, from a predicted spread.

    Args:
        sd: predicted standard deviation of one replicate.
        replicates: how many.
        error_rate: of the interval.
    """
    return float(2 * stats.t.isf(error_rate / 2, replicates - 1) * sd / np.sqrt(replicates))


def most_telling_time(first: ArrayLike, second: ArrayLike, margin: ArrayLike) -> int:
    """Index of the time at which the distance of two rival predictions exceeds the margin most; chosen without the measurement.

    Args:
        first: one prediction ``[T]``.
        second: the other ``[T]``.
        margin: the margin ``[T]``.
    """
    return int(np.argmax(np.abs(np.asarray(first, float) - np.asarray(second, float)) - np.asarray(margin, float)))
