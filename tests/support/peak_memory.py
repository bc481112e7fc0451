"""What one call adds to the memory of a process at most, in a process of its own: what an earlier call left in the heap would count.

The peak is reset by Linux alone.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

__all__ = ["added_peak", "on_linux"]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")

_SCRIPT = """
from pathlib import Path
import numpy as np, torch
peak = lambda: int(dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())["VmHWM"].split()[0]) * 1024
torch.set_num_threads(1)
{prepare}
{first}
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is resident now
before = peak()
{call}
print(peak() - before)
"""


def added_peak(prepare: str, *, first: str, call: str) -> int:
    """Bytes that a call adds at most.

    Args:
        prepare: lines of Python that make its arguments; NumPy and torch are imported, with one thread.
        first: a small call that loads what libraries load at first use.
        call: the call.
    """
    script = _SCRIPT.format(prepare=prepare, first=first, call=call)
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True, timeout=600)
    return int(run.stdout)
