"""What a diagnosis is made of: plain arrays of each seed's run and of what the tangent kernel at initialisation predicts for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KernelPrediction", "SeedRun", "longest_phase"]

FloatArray = NDArray[np.float64]


def longest_phase(steps: NDArray[np.generic], alpha: FloatArray, rho: FloatArray) -> tuple[float, float]:
    """Steps between which α < ρ for the most records more than not: single records that mini-batches throw to the other side do not end it.

    Where α − ρ changes sign once this is its first step with α ≥ ρ. A ratio or cosine that is not defined counts for neither side.

    Args:
        steps: ``[T]``, evenly spaced in log time.
        alpha: ``[T]``.
        rho: ``[T]``.

    Returns:
        Begin and end; (nan, nan) where α < ρ nowhere, end inf where it lasts to the end of the run.

    Example:
        >>> longest_phase(np.arange(6), np.array([0.5, 0.6, 1.1, 0.7, 1.0, 1.2]), np.full(6, 0.9))
        (0.0, 2.0)
        >>> longest_phase(np.arange(6), np.array([0.5, 0.6, 1.1, 0.7, 0.8, 1.2]), np.full(6, 0.9))
        (0.0, 5.0)
    """
    with np.errstate(invalid="ignore"):
        score = np.where(np.isnan(alpha) | np.isnan(rho), 0, np.where(alpha < rho, 1, -1))
    best, begin, end, total, start = 0, 0, 0, 0, 0
    for index, one in enumerate(score):
        if total <= 0:
            total, start = 0, index
        total += int(one)
        if total > best:
            best, begin, end = total, start, index + 1
    if best == 0:
        return math.nan, math.nan
    return float(steps[begin]), float(steps[end]) if end < len(steps) else math.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelPrediction:
    """What the tangent kernel of one network at initialisation predicts for its training set.

    Attributes:
        samples: training samples that the kernel was computed for.
        of: training samples in all. Where there are more, run and times are those of the smaller set; ratio, cosine and existence
            threshold are carried over to the whole set.
        times: ``[K]`` η·step of the predicted run; empty where no run could be predicted.
        pooled_alpha, pooled_rho, test_error, noise_loss: ``[K]`` along it.
        truth_time, flip_time: times in which linearised training learns half of the true labels, and of the flips (eigen-alignment).
        initial_alpha, initial_rho: a and ρ at f ≡ 1/C for the whole training set (gradient cancellation).
        needed: samples per class from which on there is clean priority at the start (X8); inf where no number suffices.
        diagonal, within, between: mean kernel of a sample with itself, of two samples of a class, of two classes.
        reason: why there is no prediction; empty where there is one.
    """

    samples: int = 0
    of: int = 0
    times: FloatArray = field(default_factory=lambda: np.empty(0))
    pooled_alpha: FloatArray = field(default_factory=lambda: np.empty(0))
    pooled_rho: FloatArray = field(default_factory=lambda: np.empty(0))
    test_error: FloatArray = field(default_factory=lambda: np.empty(0))
    noise_loss: FloatArray = field(default_factory=lambda: np.empty(0))
    truth_time: float = np.nan
    flip_time: float = np.nan
    initial_alpha: float = np.nan
    initial_rho: float = np.nan
    needed: float = np.nan
    diagonal: float = np.nan
    within: float = np.nan
    between: float = np.nan
    reason: str = ""

    @property
    def eigen_predicts(self) -> bool:
        """Eigen-alignment predicts clean priority: the truth is learnt before the flips."""
        return bool(self.truth_time < self.flip_time)

    @property
    def rise(self) -> float:
        """Predicted rise of the noisy loss above its start, which by X4 happens exactly while a < ρ."""
        return float(self.noise_loss.max() - self.noise_loss[0]) if len(self.noise_loss) else math.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class SeedRun:
    """One seed's training.

    Attributes:
        seed: of initialisation and label noise.
        steps: ``[T]`` recorded steps, 0 first.
        learning_rate: η, or None where it is not known.
        values: recorded variables, ``[T]`` or ``[T, C]`` (see ``empirical.Trajectory`` and ``empirical.record``).
        n_clean, n_noise: ``[C]`` sizes of the segments.
        n_classes: C.
        class_names: names of the classes.
        steps_per_epoch: or None.
        rule_step: step (interpolated) at which the label-free rule stops; inf if never, nan if it does not apply.
        rule_target: residual at which it stops.
        overhead: time spent on measuring in units of training time.
        prediction: of the tangent kernel at initialisation.
    """

    seed: int
    steps: NDArray[np.int64]
    learning_rate: float | None
    values: Mapping[str, FloatArray]
    n_clean: NDArray[np.int64]
    n_noise: NDArray[np.int64]
    n_classes: int
    class_names: tuple[str, ...]
    steps_per_epoch: float | None
    rule_step: float
    rule_target: float
    overhead: float
    prediction: KernelPrediction

    @property
    def noise_level(self) -> float:
        """Share of wrong labels."""
        return float(self.n_noise.sum() / (self.n_clean.sum() + self.n_noise.sum()))

    @property
    def threshold(self) -> float:
        """Noise level (C−1)/C from which on the majority of labels is not the true one."""
        return (self.n_classes - 1) / self.n_classes

    @property
    def beyond_threshold(self) -> bool:
        """Whether the noise level is (C−1)/C or more, up to the rounding of the counts: half a sample for each class, 0.01 at most."""
        n = float(self.n_clean.sum() + self.n_noise.sum())
        return self.noise_level >= self.threshold - min(0.5 * self.n_classes / n, 0.01)

    def has(self, name: str) -> bool:
        """Whether a variable was recorded."""
        return name in self.values

    def phase(self, alpha: FloatArray | None = None, rho: FloatArray | None = None) -> tuple[float, float]:
        """Steps between which the clean gradients dominate, α < ρ; see ``longest_phase``.

        Args:
            alpha: ratio ``[T]``; by default the pooled one.
            rho: ``[T]``; by default the pooled one.
        """
        a = self.values["pooled_alpha"] if alpha is None else alpha
        return longest_phase(self.steps, a, self.values["pooled_rho"] if rho is None else rho)

    @property
    def full_rise(self) -> float:
        """Rise of the noisy loss from chance, log C, to that of a network that gives the labels' own probabilities, −log(δ/(C−1)).

        Negative beyond (C−1)/C; inf without noise.
        """
        level = self.noise_level
        return -math.log(level / (self.n_classes - 1)) - math.log(self.n_classes) if level else math.inf

    def at_step(self, name: str, step: float) -> float:
        """A variable at any step, linearly between records; nan beyond the run."""
        if not np.isfinite(step) or not self.has(name):
            return float("nan")
        return float(np.interp(step, self.steps, self.values[name]))

    def best(self, name: str = "test_error") -> int | None:
        """Index of the first record with the smallest value; None where the variable was not recorded."""
        return int(np.argmin(self.values[name])) if self.has(name) else None

    def separation(self) -> FloatArray:
        """Share of noisy less share of clean samples whose observed label is overruled, of each class ``[T, C]``.

        1 where every label is overruled by the truth, 0 where clean and noisy samples are treated alike, also by an output that is the same
        for all (in the mean over classes), −1 where the wrong labels are learnt and the right ones overruled.
        """
        return self.values["class_noise_error"] - self.values["class_clean_error"]

    def informative(self) -> int:
        """Index of the record whose test error is farthest from chance: chosen without a look at the flips.

        Midway where there is no test set.
        """
        if not self.has("test_error"):
            return len(self.steps) // 2
        return int(np.argmax(np.abs(self.values["test_error"] - self.threshold)))

    def describe(self) -> dict[str, Any]:
        """What enters the document of the run itself."""
        return {"seed": self.seed, "steps": int(self.steps[-1]), "records": len(self.steps), "overhead": self.overhead}
