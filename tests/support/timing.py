"""Ratios of run times: two functions timed in turn, so that a busy machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Timing", "compare"]


@dataclass(frozen=True)
class Timing:
    """Shortest run times in seconds of a function and of its baseline over the same rounds."""

    seconds: float
    baseline: float

    @property
    def ratio(self) -> float:
        """Time of the function in units of its baseline."""
        return self.seconds / self.baseline


def compare(function: Callable[[], Any], baseline: Callable[[], Any], *, rounds: int, pause: float = 0.1) -> Timing:
    """Time both functions ``rounds`` times in turn, after one run each to warm caches and tables.

    A pause before each run lets the threads of a BLAS, which spin for tens of milliseconds after a product, go to sleep.
    """
    times: tuple[list[float], list[float]] = ([], [])
    function(), baseline()
    for _ in range(rounds):
        for call, record in zip((function, baseline), times, strict=True):
            time.sleep(pause)
            start = time.perf_counter()
            call()
            record.append(time.perf_counter() - start)
    return Timing(min(times[0]), min(times[1]))
