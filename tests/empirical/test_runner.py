"""The runner: order, only what the store lacks, failures apart, interruption, workers, progress."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
import xarray as xr

from empirical import runner
from empirical.runner import Progress, RunError, run
from empirical.store import Store, StoreWarning

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Squares:
    """A small specification that counts its measurements in a file."""

    number: int
    log: str = ""
    fail: bool = False

    @property
    def name(self) -> str:
        """Name."""
        return f"squares-{self.number}"

    def key(self) -> str:
        """Key, without the log."""
        return hashlib.sha256(f"squares {self.number}".encode()).hexdigest()

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Square, with the settings under which it ran."""
        if self.log:
            with open(self.log, "a") as handle:
                handle.write(f"{self.number}\n")
        if self.fail:
            raise FloatingPointError("the loss is nan\nat step 3")
        facts = {
            "threads": torch.get_num_threads(),
            "deterministic": int(torch.are_deterministic_algorithms_enabled()),
            "device": str(device),
        }
        return xr.Dataset({"square": ("t", np.arange(3.0) * self.number**2)}, attrs=facts)


def numbers(results: list[xr.Dataset]) -> list[float]:
    return [float(result.square[1]) for result in results]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_results_come_in_order_and_repeats_are_measured_once(tmp_path: Path, n_jobs: int):
    log = tmp_path / "log"
    store = Store(tmp_path / "store")
    specs = [Squares(n, str(log)) for n in (3, 1, 3, 2)]
    assert numbers(run(specs, store=store, n_jobs=n_jobs, device="cpu")) == [9, 1, 9, 4]
    assert sorted(log.read_text().split()) == ["1", "2", "3"]
    # A second run measures nothing; a larger one measures what is new.
    assert numbers(run([*specs, Squares(4, str(log))], store=store.path, device="cpu")) == [9, 1, 9, 4, 16]
    assert sorted(log.read_text().split()) == ["1", "2", "3", "4"]
    assert numbers(run(specs[:2])) == [9, 1]  # without a store


@dataclasses.dataclass(frozen=True)
class Weighty(Squares):
    """One that says how much work it is."""

    @property
    def effort(self) -> float:
        """As large as its number."""
        return float(self.number)


def test_workers_begin_with_the_longest(tmp_path: Path):
    """The order in which they are handed out, seen with a single worker, who cannot overtake."""
    log = tmp_path / "log"
    specs = [Weighty(n, str(log)) for n in (1, 4, 2, 5, 3)]
    with joblib.parallel_config(backend="threading", n_jobs=1):
        assert numbers(run(specs, store=tmp_path / "store", n_jobs=None, device="cpu")) == [1, 16, 4, 25, 9]
    assert log.read_text().split() == ["5", "4", "3", "2", "1"]


def test_numbers_do_not_depend_on_workers(tmp_path: Path):
    specs = [Squares(n) for n in range(4)]
    alone = run(specs, store=tmp_path / "a", device="cpu")
    spread = run(specs, store=tmp_path / "b", n_jobs=2, device="cpu")
    for one, two in zip(alone, spread, strict=True):
        assert one.square.equals(two.square)
        assert {**one.attrs, "provenance": "", "content_sha256": ""} == {**two.attrs, "provenance": "", "content_sha256": ""}
        assert (one.attrs["threads"], one.attrs["deterministic"], one.attrs["device"]) == (1, 1, "cpu")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_failure_does_not_stop_the_others(tmp_path: Path, n_jobs: int):
    store = Store(tmp_path)
    with pytest.raises(RunError) as caught:
        run([Squares(1), Squares(2, fail=True), Squares(3)], store=store, n_jobs=n_jobs)
    error = caught.value
    assert str(error) == "1 of 3 measurements failed: squares-2: FloatingPointError: the loss is nan at step 3"
    assert error.failures == {"squares-2": "FloatingPointError: the loss is nan at step 3"}
    assert [result is None for result in error.results] == [False, True, False]
    assert len(list(store.keys())) == 2
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_record_that_does_not_arrive_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A worker that writes to a folder of the same name on another machine, say."""
    monkeypatch.setattr(Store, "put", lambda *_, **__: None)
    with pytest.raises(RunError, match=r"squares-1: its record is not in .*, do the workers see that folder\?"):
        run([Squares(1)], store=tmp_path)


def test_damaged_records_are_measured_anew(tmp_path: Path):
    store = Store(tmp_path)
    run([Squares(5)], store=store)
    (tmp_path / f"{Squares(5).key()}.nc").write_bytes(b"damaged")
    with pytest.warns(StoreWarning, match="set aside"):
        results = run([Squares(5)], store=store)
    assert numbers(results) == [25]


def test_progress_counts_each_specification_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    steps: list[Progress] = []
    run([Squares(1)], store=tmp_path)
    with pytest.raises(RunError):
        run([Squares(2), Squares(1), Squares(2), Squares(3, fail=True)], store=tmp_path, progress=steps.append)
    assert [(step.name, step.source, step.done, step.total) for step in steps] == [
        ("squares-1", "stored", 1, 3),
        ("squares-2", "measured", 2, 3),
        ("squares-3", "failed", 3, 3),
    ]
    assert steps[0].seconds == 0 < steps[1].seconds
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""  # a library says nothing by itself
    run([Squares(1)], store=tmp_path, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "squares-1" in captured.err


def test_interrupt_in_this_process_passes_through(tmp_path: Path):
    """An interrupt is no failed measurement: it ends the run, and what came before it is stored."""

    class Interrupting(Squares):
        def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
            raise KeyboardInterrupt

    store = Store(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run([Squares(1), Interrupting(2), Squares(3)], store=store)
    assert list(store.keys()) == [Squares(1).key()]
    assert not torch.are_deterministic_algorithms_enabled()  # the policy is put back


@dataclasses.dataclass(frozen=True)
class CtrlC(Squares):
    """Waits until two records are in the folder named by ``log``, interrupts the main process again and again, and never ends."""

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Play the user."""
        while len(list(Path(self.log).glob("*.nc"))) < 2:
            time.sleep(0.01)
        for _ in range(12):
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(10)
        return xr.Dataset()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C raises, also in a job that a shell put into the background and that ignores it from birth."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# An interrupt that arrives while Python runs a finalizer is printed and lost, for anybody: then the key is pressed again.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("interruptible")
def test_interrupted_workers_keep_what_was_finished(tmp_path: Path):
    """Ctrl-C while one measurement never ends: the run ends at once, and the others are in the store, sound."""
    store = Store(tmp_path)
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        run([CtrlC(3, str(tmp_path)), Squares(1), Squares(2)], store=store, n_jobs=2, device="cpu")
    assert time.perf_counter() - start < 60
    assert store.verify() == dict.fromkeys(sorted((Squares(1).key(), Squares(2).key())), True)
    # A second run resumes.
    assert numbers(run([Squares(3), Squares(1), Squares(2)], store=store)) == [9, 1, 4]


_HOARD: list[bytearray] = []


@dataclasses.dataclass(frozen=True)
class Hoarder(Squares):
    """Keeps 200 MB for good, as a worker does that reads data sets; says how many of them its process holds."""

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Take more memory than loky lets a worker of its own have, where psutil tells it."""
        time.sleep(1.1)  # loky looks once a second
        _HOARD.append(bytearray(b"\1") * (2 * 10**8))
        return xr.Dataset({"held": len(_HOARD)})


def test_a_worker_may_be_replaced() -> None:
    """Loky replaces a worker that has grown by 300 MB (where psutil tells it) and warns; as an error the warning stopped the run.

    It stopped for ever, hence a process of its own that is given an end; without pipes, which orphaned workers would keep open.
    """
    code = "from tests.empirical.test_runner import Hoarder, run; assert len(run([Hoarder(n) for n in range(10)], n_jobs=2)) == 10"
    command = [sys.executable, "-W", "error:A worker stopped while some jobs:UserWarning", "-c", code]
    assert subprocess.run(command, cwd=ROOT, timeout=300, check=False).returncode == 0


@dataclasses.dataclass(frozen=True)
class Deadly(Squares):
    """Kills the process that measures it, always or (with ``log``) the first time."""

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Die without a word, as if out of memory."""
        if not self.log or not Path(self.log).exists():
            if self.log:
                Path(self.log).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure(device=device)


def test_what_a_dead_worker_took_along_is_measured_again(tmp_path: Path):
    store = Store(tmp_path / "store")
    specs = [Deadly(1, str(tmp_path / "died")), Squares(2), Squares(3)]
    assert numbers(run(specs, store=store, n_jobs=2, device="cpu")) == [1, 4, 9]
    assert len(list(store.keys())) == 3


def test_what_kills_every_worker_is_one_failure(tmp_path: Path):
    """The others are measured all the same."""
    with pytest.raises(RunError) as caught:
        run([Squares(1), Deadly(2), Squares(3)], store=tmp_path, n_jobs=2, device="cpu")
    assert set(caught.value.failures) == {"squares-2"}
    line = "it was lost on the way: TerminatedWorkerError: a worker process ended abruptly (out of memory, perhaps)"
    assert caught.value.failures["squares-2"] == line
    assert [result is None for result in caught.value.results] == [False, True, False]


@pytest.mark.parametrize("error", [ConnectionError, RuntimeError, TypeError])
def test_what_a_broken_connection_took_along_is_measured_again(error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The errors of joblib's Dask backend whose scheduler goes away; what had come back is not measured twice."""
    parallel, log = runner._parallel, tmp_path / "log"
    asked: list[int] = []

    def breaking(missing: Any, job: Any, keys: list[str], **settings: Any) -> Iterator[object]:
        asked.append(len(keys))
        yield from parallel(missing, job, keys[:1], backend="threading", n_jobs=1)
        if len(asked) == 1:
            raise error("Stream is closed")
        yield from parallel(missing, job, keys[1:], backend="threading", n_jobs=1)

    monkeypatch.setattr(runner, "_parallel", breaking)
    assert numbers(run([Squares(n, str(log)) for n in (1, 2, 3)], n_jobs=2, device="cpu")) == [1, 4, 9]
    assert asked == [3, 2]
    assert sorted(log.read_text().split()) == ["1", "2", "3"]


@dataclasses.dataclass(frozen=True)
class Overtaking(Squares):
    """While it is measured, another run stores the record of the next number."""

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Play the other run."""
        Store(Path(self.log).parent / "store").put(Squares(self.number + 1).key(), Squares(self.number + 1).measure())
        return super().measure(device=device)


def test_what_another_run_has_stored_meanwhile_is_not_measured_again(tmp_path: Path):
    """A single worker, so that the second is handed out after the first has ended."""
    log = tmp_path / "log"
    with joblib.parallel_config(backend="threading", n_jobs=1):
        results = run([Overtaking(1, str(log)), Squares(2, str(log))], store=tmp_path / "store", n_jobs=None, device="cpu")
    assert numbers(results) == [1, 4]
    assert log.read_text().split() == ["1"]


def test_parallel_workers_ask_for_the_device_of_their_slot(monkeypatch: pytest.MonkeyPatch):
    """Threads as workers, for these see the made-up slot; a single process has no need to share."""
    asked: list[object] = []

    def slot(device: object) -> torch.device:
        asked.append(device)
        return torch.device("cpu")

    monkeypatch.setattr(runner, "device_of_worker", slot)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        results = run([Squares(1), Squares(2)], n_jobs=None, device="auto")
    assert [result.attrs["device"] for result in results] == ["cpu", "cpu"]
    assert asked == ["auto", "auto"]
    run([Squares(3)], device="auto")
    assert len(asked) == 2


def test_threads_of_one_process_take_turns(tmp_path: Path):
    """The policy is a setting of the whole process: two measurements at once would undo each other's."""
    with joblib.parallel_config(backend="threading", n_jobs=4):
        results = run([Squares(n) for n in range(8)], n_jobs=None, device="cpu")
    assert {(r.attrs["threads"], r.attrs["deterministic"]) for r in results} == {(1, 1)}
    assert not torch.are_deterministic_algorithms_enabled()


def test_time_left_is_paced_by_what_was_measured(tmp_path: Path):
    steps: list[Progress] = []
    run([Squares(1)], store=tmp_path)
    run([Squares(n) for n in range(1, 5)], store=tmp_path, progress=steps.append)
    assert np.isnan(steps[0].seconds_left)  # stored: says nothing of the pace
    assert all(step.seconds_left > 0 for step in steps[1:-1])
    assert steps[-1].seconds_left == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cluster": "nowhere"}, "cluster must be local:<workers> or tcp://<host>:<port>, got 'nowhere'"),
        ({"specifications": [3]}, r"each of specifications must have name, key\(\) and measure\(\), got int"),
        ({"specifications": [Squares]}, "each of specifications must have name"),
        ({"n_jobs": 0}, "n_jobs must be an integer >= 1, got 0"),
        ({"n_jobs": 1.5}, "n_jobs must be an integer >= 1, got 1.5"),
        ({"threads": 0}, "threads must be an integer >= 1, got 0"),
        ({"device": "gpu"}, "device must be 'auto', 'cpu', 'cuda'"),
        ({"store": 3}, "store must be the path of a folder, got 3"),
    ],
)
def test_bad_input(arguments: dict[str, object], message: str):
    given = {"specifications": [Squares(1)]} | arguments
    with pytest.raises(ValueError, match=message):
        run(given.pop("specifications"), **given)


def test_nothing_to_do():
    assert run([]) == []


def test_a_measurement_that_is_no_dataset_is_a_failure():
    @dataclasses.dataclass(frozen=True)
    class Wrong(Squares):
        def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
            return {"square": 1}

    with pytest.raises(RunError, match=r"TypeError: measure\(\) must return an xarray Dataset, got dict"):
        run([Wrong(1)])
