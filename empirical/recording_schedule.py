"""When to measure during training: evenly in log time, for at most a given share of the training time, or half a second if that is more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from empirical._validation import check_fraction, check_integer

__all__ = ["RecordingSchedule", "log_candidates"]

_RATIO = 1.25  # from one candidate to the next: about ten per decade
_PLANNED = 0.85  # part of the share that is planned with: training may turn out faster than it began


def log_candidates(last: int) -> tuple[int, ...]:
    """Steps 0, 1, 2, …, each about 1.25 times the one before, up to ``last``, which is among them.

    Raises:
        ValueError: if ``last`` is not a non-negative integer.

    Example:
        >>> log_candidates(20)
        (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 19, 20)
    """
    last = check_integer(last, "last", minimum=0)
    steps, step = [0], 0
    while (step := _after(step)) < last:
        steps.append(step)
    return tuple(steps) if last == 0 else (*steps, last)


@dataclass
class RecordingSchedule:
    """Decides, step by step, whether to measure now.

    The first and the last step are always measured. In between, the steps of ``every`` are candidates. Candidates that are given as
    numbers are all taken. Those of ``"log"`` are thinned out so that measuring stays below ``share`` of the training time, or ``grace``
    seconds in a short run: with a known number of steps evenly over the rest of the run, otherwise by waiting until the time for one more
    measurement has been earned.

    Attributes:
        every: ``"log"``, a number k (every k-th step), or the steps themselves.
        total_steps: number of steps to come, if known.
        share: largest share of measuring, in units of the training time.
        grace: seconds that measuring may take however short the run is.
        costs: seconds that each measurement so far took.
        preparation: seconds spent before the first measurement.
        credit: measurements that are earned and not yet taken, where candidates are thinned out.

    Raises:
        ValueError: if ``every`` is none of these, or a number is out of range.

    Example:
        >>> schedule = RecordingSchedule("log", total_steps=100)
        >>> schedule.costs.append(1.0)  # one measurement takes a second, a step as well: 25 measurements are earned
        >>> sum(schedule.wants(step, training_seconds=float(step)) and not schedule.costs.append(1.0) for step in range(1, 101))
        19
    """

    every: str | int | Sequence[int] = "log"
    total_steps: int | None = None
    share: float = 0.25
    grace: float = 0.5
    costs: list[float] = field(default_factory=list)
    credit: float = 1.0
    preparation: float = 0.0
    _steps: frozenset[int] | None = None
    _next: int = 1

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_fraction(self.share, "share")
        if self.total_steps is not None:
            check_integer(self.total_steps, "steps", minimum=0)
        given: Any = self.every
        if isinstance(given, str):
            if self.every != "log":
                raise ValueError(f"every must be 'log', a number of steps or the steps themselves, got {self.every!r:.60}")
        elif isinstance(given, Sequence | np.ndarray):
            self._steps = frozenset(check_integer(step, "each of every", minimum=0) for step in given)
        else:
            self.every = check_integer(given, "every")

    @property
    def seconds(self) -> float:
        """Time spent on measuring."""
        return self.preparation + sum(self.costs)

    def is_candidate(self, step: int) -> bool:
        """Whether a step > 0 is one of the steps to be looked at; steps must be asked in order."""
        if self.total_steps is not None and step == self.total_steps:
            return True
        if self._steps is not None:
            return step in self._steps
        if isinstance(self.every, int):
            return step % self.every == 0
        if step < self._next:
            return False
        while self._next <= step:
            self._next = _after(self._next)
        return True

    def wants(self, step: int, *, training_seconds: float) -> bool:
        """Whether to measure at a step > 0.

        Args:
            step: steps taken so far.
            training_seconds: time spent on them, without measuring.
        """
        return self.is_candidate(step) and self.affords(step, training_seconds=training_seconds)

    def affords(self, step: int, *, training_seconds: float) -> bool:
        """Whether a candidate can be measured within the share."""
        if self.every != "log" or not self.costs or step == self.total_steps:
            return True
        cost = median(self.costs)
        if self.total_steps is None or step > self.total_steps:
            return self.seconds + 2 * cost <= max(
                _PLANNED * self.share * training_seconds, self.grace
            )  # one of the two is for the last step
        budget = max(_PLANNED * self.share * training_seconds * self.total_steps / step, self.grace)
        to_come = sum(1 for candidate in log_candidates(self.total_steps) if step <= candidate < self.total_steps)
        earned = (budget - self.seconds - cost) / max(cost, 1e-12)
        self.credit = min(self.credit + max(earned, 0.0) / max(to_come, 1), 1.5)
        if earned < 1 or (earned < to_come and self.credit < 1):
            return False
        self.credit -= 1
        return True


def _after(step: int) -> int:
    return max(step + 1, round(step * _RATIO))
