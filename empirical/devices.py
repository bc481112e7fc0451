"""Device, precision and determinism in one place, and the provenance that a record carries.

The policy: float32 means float32 (no TF32, no reduced-precision reductions), deterministic algorithms only, a stated number of threads in
PyTorch and in BLAS. ``POLICY`` is what a record must have been made under to be judged. The kind of device is not part of it: a CPU and a
GPU round differently, within the bound that the README of this folder states, and a record says on which it was made. Neither is the dtype:
it is a field of the specification, so that it has a key of its own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

import torch
from threadpoolctl import ThreadpoolController

from empirical._validation import check_integer

__all__ = ["POLICY", "policy", "policy_departures", "provenance", "resolve_device"]

POLICY: Mapping[str, str | int | bool] = MappingProxyType(
    {
        "matmul_precision": "highest",
        "tf32": False,
        "reduced_precision": False,
        "deterministic": True,
        "cudnn_benchmark": False,
        "threads": 1,
    }
)
"""Facts of a record's provenance that judging insists on: float32 at full precision, deterministic algorithms, sums in one thread."""

_ALWAYS_RECORDED = ("tf32", "deterministic", "threads")

_PACKAGES = ("numpy", "scipy", "torch", "xarray", "h5netcdf", "scikit-learn", "joblib")


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that a name stands for; ``"auto"`` is the first CUDA device where there is one, else the CPU.

    Args:
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, or a torch device.

    Raises:
        ValueError: if the name is unknown or this machine has no such device.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if not isinstance(device, (str, torch.device)):
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {device!r:.60}")
    if device == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got {device!r:.60}") from None
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be of type cpu or cuda, got {str(device)!r:.60}")
    if resolved.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        resolved = torch.device("cuda", resolved.index or 0)
        if resolved.index >= count:
            raise ValueError(f"device {str(device)!r} is not on this machine, which has {count} CUDA devices")
    return resolved


@contextlib.contextmanager
def policy(device: str | torch.device = "auto", *, threads: int | None = None) -> Iterator[torch.device]:
    """Run under the policy of this project and put torch's settings back afterwards.

    Within it: TF32 and reduced-precision reductions off, deterministic algorithms on (an operation that has none raises), no algorithm
    search by timing, ``threads`` threads.

    Args:
        device: as ``resolve_device``.
        threads: threads of one operation, in PyTorch and in the BLAS of NumPy and SciPy; None leaves the numbers as they are. Sums over
            many numbers may differ in the last digit between numbers of threads, so that a reproducible run states it.

    Yields:
        The device to work on.

    Raises:
        ValueError: as ``resolve_device``, or if ``threads`` is not a positive integer.

    Example:
        >>> with policy("cpu", threads=1) as device:
        ...     device.type, torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
        ('cpu', True, 1)
    """
    resolved = resolve_device(device)
    wanted = None if threads is None else check_integer(threads, "threads", minimum=1)
    # cuBLAS reads this when its first handle is made; without it deterministic matrix products raise.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before_threads = torch.get_num_threads()
    before = (
        torch.get_float32_matmul_precision(),
        matmul.allow_fp16_reduced_precision_reduction,
        matmul.allow_bf16_reduced_precision_reduction,
        cudnn.allow_tf32,
        cudnn.benchmark,
        cudnn.deterministic,
        torch.get_deterministic_debug_mode(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    limits = None
    try:
        # New memory is not filled: whatever takes it writes it before reading.
        _set("highest", False, False, False, False, True, 2, False)
        if wanted is not None:
            limits = _thread_pools(len(sys.modules)).limit(limits=wanted)
            torch.set_num_threads(wanted)
        yield resolved
    finally:
        _set(*before)
        if limits is not None:
            limits.restore_original_limits()
        torch.set_num_threads(before_threads)


def policy_departures(provenance: Mapping[str, object]) -> tuple[str, ...]:
    """In what a record was made otherwise than ``POLICY`` asks: one short text each; none for a record that may be judged.

    Args:
        provenance: of the record, as ``provenance()`` made it. Facts that older records lack, and that followed from the others when they
            were made, are passed over; precision, determinism and threads must be there.

    Raises:
        ValueError: if it is not a mapping.

    Example:
        >>> with policy("cpu", threads=1):
        ...     facts = provenance()
        >>> policy_departures(facts), policy_departures(facts | {"threads": 4})
        ((), ('threads 4, expected 1',))
    """
    if not isinstance(provenance, Mapping):
        raise ValueError(f"provenance must be a mapping, got {type(provenance).__name__}")
    found = []
    for name, expected in POLICY.items():
        if name not in provenance:
            if name in _ALWAYS_RECORDED:
                found.append(f"{name} not recorded, expected {expected}")
        elif provenance[name] != expected or isinstance(provenance[name], bool) is not isinstance(expected, bool):
            found.append(f"{name} {provenance[name]}, expected {expected}")
    return tuple(found)


def provenance(device: str | torch.device = "cpu") -> dict[str, str | int | bool]:
    """Where and with what a measurement is made, flat and JSON-able; no host name, user name or path.

    Args:
        device: device of the measurement, as ``resolve_device``.

    Returns:
        Versions (``python``, ``numpy``, …), ``system``, ``machine``, ``processor``, ``cores`` that this process may use, ``threads``,
        ``device`` and ``device_name``, ``matmul_precision``, ``tf32``, ``reduced_precision``, ``deterministic``, ``cudnn_benchmark``, and
        ``commit`` with ``modified`` when the package lies in a git clone of its own.

    Raises:
        ValueError: as ``resolve_device``.

    Example:
        >>> facts = provenance()
        >>> facts["device"], "torch" in facts
        ('cpu', True)
    """
    resolved = resolve_device(device)
    matmul = torch.backends.cuda.matmul
    facts: dict[str, str | int | bool] = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts[package] = metadata.version(package)
    facts |= {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": resolved.type,
        "device_name": torch.cuda.get_device_name(resolved) if resolved.type == "cuda" else _processor(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "tf32": torch.get_float32_matmul_precision() != "highest" or (resolved.type == "cuda" and torch.backends.cudnn.allow_tf32),
        "reduced_precision": bool(matmul.allow_fp16_reduced_precision_reduction or matmul.allow_bf16_reduced_precision_reduction),
        "deterministic": torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }
    return facts | _commit(Path(__file__).resolve().parent.parent)


@functools.lru_cache(maxsize=1)
def _thread_pools(loaded_modules: int) -> ThreadpoolController:
    """The thread pools of BLAS and OpenMP in this process; looked for again (20 ms) only after another module was imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # advice about two OpenMP libraries side by side: not for the user
        return ThreadpoolController()


def _set(
    matmul_precision: str,
    fp16_reduction: bool,
    bf16_reduction: bool,
    cudnn_tf32: bool,
    cudnn_benchmark: bool,
    cudnn_deterministic: bool,
    deterministic: int,
    fill_uninitialized_memory: bool,
) -> None:
    """Set torch's global precision and determinism."""
    torch.set_float32_matmul_precision(matmul_precision)
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = fp16_reduction
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = bf16_reduction
    torch.backends.cudnn.allow_tf32 = cudnn_tf32
    torch.backends.cudnn.benchmark = cudnn_benchmark
    torch.backends.cudnn.deterministic = cudnn_deterministic
    # As use_deterministic_algorithms (2: an operation without such an algorithm raises), which would load the compiler: two seconds.
    torch.set_deterministic_debug_mode(deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = fill_uninitialized_memory  # type: ignore[attr-defined]


def _processor() -> str:
    """Model of the processor, as far as the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit(root: Path) -> dict[str, str | bool]:
    """Commit of the clone whose top is ``root``, and whether tracked files differ from it; empty when there is no such clone."""
    if not (root / ".git").exists():
        return {}
    answers = []
    for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return {}
        if done.returncode != 0:
            return {}
        answers.append(done.stdout.strip())
    return {"commit": answers[0], "modified": bool(answers[1])}
