"""Which GPU a worker process uses: the first free slot of its machine, slot k on device k modulo the number of devices.

A slot is a lock on a file in a private temporary folder, held until the process ends, however it ends. So workers of joblib and of Dask,
and of several runs at once, share the GPUs of a machine evenly and without knowing of each other.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from empirical.devices import resolve_device

__all__ = ["device_of_slot", "device_of_worker", "worker_slot"]

_MOST_SLOTS = 4096
_HELD: dict[tuple[int, str], tuple[int, int]] = {}  # (process, folder) → (slot, open file); a forked child holds none of its parent's


def device_of_slot(slot: int, devices: Sequence[str]) -> str:
    """Device of a slot: each of n devices is taken once before one is taken twice.

    Args:
        slot: 0, 1, …
        devices: names, at least one.

    Raises:
        ValueError: if there is no device, or the slot is negative.

    Example:
        >>> [device_of_slot(slot, ("cuda:0", "cuda:1")) for slot in range(3)]
        ['cuda:0', 'cuda:1', 'cuda:0']
    """
    if not devices:
        raise ValueError("devices must be at least one name, got none")
    if slot < 0:
        raise ValueError(f"slot must be an integer >= 0, got {slot}")
    return devices[slot % len(devices)]


def worker_slot(folder: str | os.PathLike[str] | None = None) -> int:
    """Slot of this process: the lowest that no other living process holds; the same whenever it is asked for.

    Args:
        folder: where the locks lie; by default a private folder of this user in the system's temporary folder.

    Raises:
        OSError: if the folder cannot be used.
    """
    place = Path(folder) if folder is not None else _private_folder()
    held = _HELD.get((os.getpid(), str(place)))
    if held is not None:
        return held[0]
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for slot in range(_MOST_SLOTS):
        descriptor = os.open(place / f"slot-{slot}", os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600)
        if _lock(descriptor):
            _HELD[os.getpid(), str(place)] = (slot, descriptor)
            return slot
        os.close(descriptor)
    raise OSError(f"no free slot in {place}: {_MOST_SLOTS} processes hold one")


def device_of_worker(device: str | torch.device, devices: Sequence[str] | None = None) -> torch.device:
    """Device on which this worker process measures: its slot's where several GPUs would do, else ``resolve_device``.

    Args:
        device: "auto" or "cuda" leave the choice; any other name is taken as it is.
        devices: names of the GPUs to choose from; by default all that PyTorch shows (``CUDA_VISIBLE_DEVICES`` narrows them).

    Raises:
        ValueError: as ``resolve_device``.
    """
    if devices is None:
        devices = [f"cuda:{index}" for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    if str(device) not in ("auto", "cuda") or len(devices) < 2:
        return resolve_device(device)
    return torch.device(device_of_slot(worker_slot(), devices))


def _private_folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"clean-priority-slots-{user}"


def _lock(descriptor: int) -> bool:
    """Take an exclusive lock if it is free; the system gives it back when the process ends."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
