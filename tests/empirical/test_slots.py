"""Slots: each living process of a machine has its own, the lowest free one, and gives it back however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from empirical import slots
from empirical.slots import device_of_slot, device_of_worker, worker_slot

ROOT = Path(__file__).resolve().parents[2]
HOLD = "import sys; from empirical.slots import worker_slot; print(worker_slot(sys.argv[1]), flush=True); sys.stdin.read()"


def holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds a slot until it ends."""
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> None:
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=300)


def test_living_processes_hold_different_slots_and_dead_ones_none(tmp_path: Path) -> None:
    assert worker_slot(tmp_path) == 0
    assert worker_slot(tmp_path) == 0  # asked again
    one, two = holder(tmp_path), holder(tmp_path)
    taken = {process: int(process.stdout.readline()) for process in (one, two)}
    assert sorted(taken.values()) == [1, 2]
    one.send_signal(signal.SIGKILL)
    ended(one)
    three = holder(tmp_path)
    assert int(three.stdout.readline()) == taken[one]
    ended(two)
    ended(three)


@pytest.mark.parametrize(("n_workers", "n_devices"), [(4, 2), (5, 2), (3, 4), (8, 8)])
def test_devices_are_shared_evenly(n_workers: int, n_devices: int) -> None:
    devices = [f"cuda:{index}" for index in range(n_devices)]
    load = Counter(device_of_slot(slot, devices) for slot in range(n_workers))
    assert max(load.values()) - min((load[device] for device in devices), default=0) <= 1
    assert len(load) == min(n_workers, n_devices)


@pytest.mark.parametrize(
    ("device", "devices", "expected"),
    [
        ("auto", ["cuda:0", "cuda:1", "cuda:2"], "cuda:1"),  # this process holds slot 1
        ("cuda", ["cuda:0", "cuda:1"], "cuda:1"),
        ("cpu", ["cuda:0", "cuda:1"], "cpu"),  # what is named is taken
        ("auto", ["cuda:0"], "auto"),  # nothing to share
        ("auto", [], "auto"),
    ],
)
def test_a_worker_measures_on_the_device_of_its_slot(
    device: str, devices: list[str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a made-up list of devices: there need not be a GPU."""
    monkeypatch.setattr(slots, "worker_slot", lambda: 1)
    wanted = slots.resolve_device("auto") if expected == "auto" else torch.device(expected)
    assert device_of_worker(device, devices) == wanted


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="devices must be at least one name, got none"):
        device_of_slot(0, [])
    with pytest.raises(ValueError, match="slot must be an integer >= 0, got -1"):
        device_of_slot(-1, ["cpu"])
    with pytest.raises(ValueError, match="device must be 'auto'"):
        device_of_worker("gpu")
