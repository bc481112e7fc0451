"""Cache-sized blocks on a few threads: NumPy releases the interpreter lock inside its loops, so threads scale on large arrays."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["blockwise", "run_all", "worker_count"]

# 32768 doubles are 256 KiB: a few such temporaries stay in a second-level cache, and each loop outlasts a thread switch.
_BLOCK = 32768
_Task = TypeVar("_Task")


def worker_count() -> int:
    """Return the number of threads to use: one per core, at most eight (then the interpreter lock between NumPy calls is the limit)."""
    return min(multiprocessing.cpu_count(), 8)


def run_all(function: Callable[[_Task], None], tasks: Sequence[_Task]) -> None:
    """Call ``function`` on every task, on as many threads as there are cores; the first exception is raised here."""
    workers = min(worker_count(), len(tasks))
    if workers <= 1:
        for task in tasks:
            function(task)
        return
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(function, tasks):
            pass


def blockwise(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Apply an elementwise float64 function block by block; the result has the shape and the precision of ``values``.

    A 0-d input gives a NumPy scalar. float32 input is computed in float64 and rounded once.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    result = np.empty(flat.shape, flat.dtype)

    def apply(start: int) -> None:
        block = slice(start, start + _BLOCK)
        result[block] = function(flat[block].astype(np.float64, copy=False))

    starts = range(0, flat.size, _BLOCK)
    if len(starts) <= 2:
        for start in starts:
            apply(start)
    else:
        run_all(apply, starts)
    shaped = result.reshape(values.shape)
    return shaped[()] if values.ndim == 0 else shaped
