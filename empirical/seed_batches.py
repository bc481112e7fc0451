"""Seeds measured in batches that fit into memory: a batch that does not fit is halved, and the measurement goes on."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import TypeVar

import torch

__all__ = ["in_seed_batches"]

T = TypeVar("T")


def in_seed_batches(measure: Callable[[slice], T], n_seeds: int, size: int, *, name: str, device: torch.device) -> list[T]:
    """Measure a range of seeds batch by batch; one that runs out of memory is halved, with a warning.

    Args:
        measure: measures the seeds at the places of a slice.
        n_seeds: number of seeds.
        size: seeds of a batch, at least 1.
        name: of the measurement, for the warning and the error.
        device: on which it is measured; its cached memory is given back before going on.

    Returns:
        What ``measure`` gave for each batch, in the order of the seeds.

    Raises:
        MemoryError: if a single seed does not fit; one line.

    Example:
        >>> in_seed_batches(lambda part: list(range(5))[part], 5, 2, name="example", device=torch.device("cpu"))
        [[0, 1], [2, 3], [4]]
    """
    waiting = [slice(start, min(start + size, n_seeds)) for start in range(0, n_seeds, size)]
    parts: list[T] = []
    while waiting:
        part = waiting.pop(0)
        try:
            parts.append(measure(part))
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if part.stop - part.start == 1:
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise MemoryError(
                    f"{name}: out of memory on device {device} with a single seed, which cannot be halved: {reason}"
                ) from None
        else:
            continue
        # Outside the handler, which would keep the arrays of the failed batch.
        waiting = _halves(part) + waiting
        warnings.warn(f"{name}: out of memory with {part.stop - part.start} seeds at once, going on with half as many", stacklevel=3)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return parts


def _halves(part: slice) -> list[slice]:
    """Two halves of a range of two seeds or more."""
    middle = (part.start + part.stop) // 2
    return [slice(part.start, middle), slice(middle, part.stop)]


def _is_out_of_memory(error: BaseException) -> bool:
    """PyTorch says it in a class of its own on a GPU, in words on a CPU."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "not enough memory" in str(error) or "can't allocate" in str(error)
