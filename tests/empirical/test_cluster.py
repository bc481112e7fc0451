"""A Dask cluster: addresses, workers that do not see the store, tasks that kill their workers, and the same numbers as at home."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from empirical import cluster as cluster_module
from empirical.cluster import ClusterWarning, check_address, check_workers, connect, why_unusable
from empirical.runner import Progress, RunError, run
from empirical.store import Store, measurement_digest
from tests.empirical.test_runner import Squares, numbers
from tests.support.fault_sweep import digests, sweep

distributed = pytest.importorskip("distributed", reason="the extra [cluster] is not installed")


@pytest.fixture(scope="module")
def client() -> Iterator[object]:
    """Two worker processes over TCP."""
    with connect("local:2") as client:
        yield client


@dataclasses.dataclass(frozen=True)
class Deadly(Squares):
    """Kills the process that measures it."""

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Die without a word, as if out of memory."""
        os.kill(os.getpid(), signal.SIGKILL)
        return xr.Dataset()


@dataclasses.dataclass(frozen=True)
class Process(Squares):
    """Says in which process it was measured."""

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """The process and its threads."""
        return xr.Dataset({"square": ("t", np.zeros(3)), "process": os.getpid()})


@dataclasses.dataclass(frozen=True)
class Endless(Squares):
    """Never done; an error where it is begun in the process of the tests."""

    home: int = dataclasses.field(default_factory=os.getpid)

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Wait until the process is ended."""
        if os.getpid() == self.home:
            raise AssertionError("measured in the caller's process")
        time.sleep(600)
        return xr.Dataset()


def test_the_sweep_gives_the_numbers_of_one_process(client: object, tmp_path: Path) -> None:
    steps: list[Progress] = []
    run(sweep(), store=tmp_path / "spread", cluster=client, device="cpu", progress=steps.append)
    run(sweep()[::-1], store=tmp_path / "alone", device="cpu")
    assert digests(tmp_path / "spread") == digests(tmp_path / "alone")
    assert [step.source for step in steps] == ["measured"] * len(sweep())
    assert steps[-1].seconds_left == 0
    assert all(step.seconds_left > 0 for step in steps[:-1])
    # All is stored: nothing is asked of a cluster, not even whether there is one.
    run(sweep(), store=tmp_path / "spread", cluster="tcp://127.0.0.1:9", device="cpu")


def test_without_a_store_the_data_come_back(client: object) -> None:
    assert numbers(run([Squares(3), Squares(2), Squares(3)], cluster=client, device="cpu")) == [9, 4, 9]


def test_nothing_is_measured_in_this_process(client: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself joblib works in the caller's process where a cluster has a single thread."""
    monkeypatch.setattr(client, "ncores", lambda: {"tcp://127.0.0.1:1": 1})
    results = run([Process(1), Process(2)], cluster=client, device="cpu")
    assert os.getpid() not in [int(result.process) for result in results]


def test_a_task_that_kills_its_workers_is_one_failure(client: object, tmp_path: Path) -> None:
    """The Dask backend of joblib itself waits for ever here."""
    with pytest.raises(RunError) as caught:
        run([Squares(1), Deadly(2), Squares(3)], store=tmp_path, cluster=client, device="cpu")
    assert set(caught.value.failures) == {"squares-2"}
    assert "it was lost on the way: KilledWorker" in caught.value.failures["squares-2"]
    assert [result is None for result in caught.value.results] == [False, True, False]
    assert why_unusable(client) == ""


def test_a_failure_is_one_line(client: object, tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        run([Squares(1), Squares(2, fail=True)], store=tmp_path, cluster=client, device="cpu")
    assert caught.value.failures == {"squares-2": "FloatingPointError: the loss is nan at step 3"}


def test_workers_that_do_not_see_the_store(client: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_sees", lambda path: False)
    with pytest.raises(ValueError, match=r"2 of 2 workers do not see the store .*: name a folder that all machines share") as caught:
        run([Squares(1)], store=tmp_path / "store", cluster=client)
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "store").iterdir()) == []  # the probe is gone, nothing was measured
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ClusterWarning)
        check_workers(client, tmp_path / "store")


def test_threads_that_lie_idle_are_a_warning(client: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements of one process take turns; a worker of several threads works all the same."""
    monkeypatch.setattr(client, "nthreads", lambda: {"tcp://127.0.0.1:1": 1, "tcp://127.0.0.1:2": 4})
    with pytest.warns(ClusterWarning, match=r"workers have up to 4 threads, of which one measures: start more workers") as caught:
        assert numbers(run([Squares(2)], store=tmp_path, cluster=client, device="cpu")) == [4]
    assert ["\n" in str(warning.message) for warning in caught] == [False]


def test_a_worker_with_other_code_or_data_measures_nothing(client: object, tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True)
    class Shifty(Squares):
        """Makes another key in every process."""

        def key(self) -> str:
            return f"{os.getpid():064x}"

    with pytest.raises(RunError, match="this worker's data or code are not those of the caller"):
        run([Shifty(1)], store=tmp_path, cluster=client)
    assert list(Store(tmp_path).keys()) == []


def test_another_run_may_be_first(client: object, tmp_path: Path) -> None:
    """A record that another process has made meanwhile is taken, not made again: see the log of measurements."""
    log = tmp_path / "log"
    run([Squares(1, str(log))], store=tmp_path / "store", cluster=client)
    first = measurement_digest(Store(tmp_path / "store").get(Squares(1).key()))
    run([Squares(1, str(log)), Squares(2, str(log))], store=tmp_path / "store", cluster=client)
    assert sorted(log.read_text().split()) == ["1", "2"]
    assert measurement_digest(Store(tmp_path / "store").get(Squares(1).key())) == first


@pytest.mark.parametrize("address", ["", "local", "local:0", "local:x", "10.0.0.1:8786", "http://host:1", "tcp://host", "tcp://a b:1", 3])
def test_addresses(address: object) -> None:
    with pytest.raises(ValueError, match=r"cluster must be local:<workers> or tcp://<host>:<port>, got") as caught:
        check_address(address)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cluster must be"):
        run([Squares(1)], cluster=address if isinstance(address, str) else "")


def test_a_scheduler_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_SCHEDULER_PATIENCE", 0.5)
    with pytest.raises(ValueError, match=r"cluster tcp://127.0.0.1:9 cannot be reached: ") as caught:
        run([Squares(1)], store=tmp_path, cluster="tcp://127.0.0.1:9")
    assert "\n" not in str(caught.value)


def test_no_worker_in_time_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    """A scheduler alone, as while a queue holds all its workers back: the wait is announced, and ends."""
    with distributed.LocalCluster(n_workers=0, protocol="tcp", host="127.0.0.1", dashboard_address="127.0.0.1:0") as alone:
        address = alone.scheduler_address
        line = re.escape(f"cluster {address} has no worker after 0.5 s: start some, or look at its queue")
        with pytest.raises(ValueError, match=f"^{line}$"), connect(address, timeout=0.5):
            pass
    assert f"waiting for a worker of {address}\n" in capfd.readouterr().err


def test_a_cluster_that_loses_all_its_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run ends with one line instead of waiting for ever; a dead worker comes back by itself before that."""
    monkeypatch.setattr(cluster_module, "_WORKER_PATIENCE", 1.0)
    with connect("local:1") as alone:
        alone.retire_workers(list(alone.nthreads()), close_workers=True)
        monkeypatch.setattr(alone, "ncores", lambda: {"tcp://127.0.0.1:1": 1})
        caught: list[str] = []

        def measure() -> None:
            with pytest.raises(RunError) as error:
                run([Squares(1), Squares(2)], store=tmp_path, cluster=alone, device="cpu")
            caught.append(str(error.value))

        # A run that waited for ever would not fail but hang: it waits in a thread, and for a minute at most.
        waiting = threading.Thread(target=measure, daemon=True)
        waiting.start()
        waiting.join(60)
        assert not waiting.is_alive(), "the run waits for workers that do not come"
    assert len(caught) == 1
    assert "the cluster has no worker any more; run again to go on from here" in caught[0]


def test_a_cluster_that_does_not_answer_any_more_is_one_line(client: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its scheduler fell silent between two runs; the probe in the store is taken away all the same."""

    def silent(*arguments: object, **options: object) -> None:
        raise OSError("Timed out trying to connect\nto tcp://127.0.0.1:9 after 30 s")

    monkeypatch.setattr(client, "run", silent)
    with pytest.raises(ValueError, match=r"^cluster does not answer: Timed out trying to connect to tcp://127.0.0.1:9 after 30 s$"):
        run([Squares(1)], store=tmp_path / "store", cluster=client, device="cpu")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_closed_client_is_one_line() -> None:
    with connect("local:1") as client:
        pass
    with pytest.raises(ValueError, match="cluster must be a connected client, got one that is closed"):
        run([Squares(1)], cluster=client, device="cpu")


def test_a_cluster_that_is_gone_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its scheduler, between two measurements: what is lacking says so, and is not made here in its place."""
    monkeypatch.setattr(cluster_module, "_SCHEDULER_PATIENCE", 1.0)
    with connect("local:1") as lost, pytest.raises(RunError) as caught:
        run([Process(1), Endless(2)], cluster=lost, device="cpu", progress=lambda step: lost.cluster.close())
    assert caught.value.failures == {"squares-2": "the connection to the cluster's scheduler is lost; run again to go on from here"}
    assert [result is None for result in caught.value.results] == [False, True]
