"""Faults at random times, with the real engine: whatever is killed, cut or full, a second run leaves what an undisturbed one leaves.

A Dask ``LocalCluster`` of worker processes over TCP and a driver in a process of its own carry out the same small sweep again and again,
each time with one fault. After a resume the store holds every run exactly once and sound, and its measured numbers and the report made of
them are byte for byte those of an undisturbed run; what may differ is the ``provenance`` attribute (seconds), which no report shows. CI
makes ten faults, ``--tier=full`` a hundred.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from empirical.cluster import connect
from empirical.store import Store
from empirical.store_upkeep import sweep_store
from reports.plugin import SESSION
from tests.support.fault_sweep import Proxy, digests, drive, report_bytes, sweep

distributed = pytest.importorskip("distributed", reason="the extra [cluster] is not installed")

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("worker killed", "main killed", "connection cut", "rename", "disk", "clock")
FAULTS = {"quick": 10, "standard": 20, "full": 100}
LONGEST = 300.0  # seconds that one run may take on a busy machine; it takes one or two on an idle one


@dataclass
class Bench:
    """What all faults share: a cluster, a fork server with everything loaded, and the undisturbed result."""

    cluster: object
    proxy: Proxy
    context: multiprocessing.context.ForkServerContext
    folder: Path
    wanted: dict[str, str]
    report: dict[str, bytes]
    seconds: float

    def start(self, *arguments: object) -> BaseProcess:
        """Start ``drive`` with these arguments."""
        process = self.context.Process(target=drive, args=arguments)
        process.start()
        return process

    def finish(self, process: BaseProcess) -> int | None:
        """Wait for the end of a run; the exit code. A run that hangs is a failure."""
        process.join(LONGEST)
        if process.is_alive():
            process.kill()
            process.join()
            pytest.fail(f"a run hangs: it has not ended after {LONGEST:g} s")
        return process.exitcode


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Starts the cluster and makes the undisturbed run, in one process without a cluster."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.support.fault_preload"])
        cluster = stack.enter_context(connect("local:2")).cluster
        host, port = cluster.scheduler_address.removeprefix("tcp://").rsplit(":", 1)
        proxy = Proxy(host, int(port))
        stack.callback(proxy.close)
        bench = Bench(cluster, proxy, context, folder, {}, {}, 0.0)
        bench.finish(bench.start(str(folder / "warm")))
        began = time.perf_counter()
        assert bench.finish(bench.start(str(folder / "undisturbed"))) == 0
        bench.seconds = time.perf_counter() - began
        bench.wanted = digests(folder / "undisturbed")
        bench.report = report_bytes(folder / "undisturbed")
        assert set(bench.wanted) == {spec.key() for spec in sweep()}
        yield bench


def disturb(bench: Bench, store: Path, kind: str, generator: random.Random) -> str:
    """One run with one fault at a random time; returns how it ended."""
    seed = generator.randrange(2**31)
    if kind in ("rename", "disk", "clock"):
        code = bench.finish(bench.start(str(store), kind, seed))
        assert code == {"rename": -signal.SIGKILL, "disk": code, "clock": 0}[kind]
        assert code in (0, 3, -signal.SIGKILL)  # a full disk is a line for each measurement, never a crash
        return f"exit code {code}"
    process = bench.start(str(store), "", seed, bench.proxy.address)
    time.sleep(generator.uniform(0, 1.5 * bench.seconds))
    if kind == "worker killed":
        nanny = generator.choice(list(bench.cluster.workers.values()))
        with contextlib.suppress(ProcessLookupError, TypeError):  # TypeError: it is being started again this very moment
            os.kill(nanny.pid, signal.SIGKILL)
        code = bench.finish(process)
        assert code == 0, "a run survives the death of a worker"
    elif kind == "connection cut":
        bench.proxy.cut()
        code = bench.finish(process)
        assert code in (0, 1, 2, 3)
    else:
        process.kill()
        code = bench.finish(process)
        assert code in (0, -signal.SIGKILL)
    return f"exit code {code}, {len(list(store.glob('*.nc')))} records"


def test_faults_at_random_times(bench: Bench, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Which fault, when and where follows from the printed seed; ``--seeds fresh`` draws others."""
    session = request.config.stash[SESSION]
    base = f"faults {session.seed_salt}"
    endings = []
    for number in range(FAULTS[session.tier]):
        seed, kind = f"{base} {number}", KINDS[number % len(KINDS)]
        generator = random.Random(seed)
        store = tmp_path / f"store-{number}"
        ending = disturb(bench, store, kind, generator)
        endings.append(f"{kind} (seed {seed!r}): {ending}")
        print(endings[-1])
        if kind == "clock":
            for path in store.glob("*.nc"):
                os.utime(path, (time.time() + 1e8, time.time() + 1e8))  # records of the future are as good as any
        where = (bench.proxy.address,) if generator.random() < 0.5 else ()
        assert bench.finish(bench.start(str(store), "", generator.randrange(2**31), *where)) == 0, endings[-1]
        assert digests(store) == bench.wanted, endings[-1]
        assert report_bytes(store) == bench.report, endings[-1]
        sweep_store(Store(store), older_hours=0)
        left = {path.name for path in store.iterdir() if not path.name.startswith(".") and path.name != "failures.txt"}
        assert left == {f"{key}.nc" for key in bench.wanted}, endings[-1]  # each run once, nothing set aside
    assert len(endings) == FAULTS[session.tier]


def test_the_whole_report_is_that_of_an_undisturbed_run(bench: Bench, tmp_path: Path) -> None:
    """Pages and figures, too, after a run that was killed between writing and naming a record."""
    generator = random.Random("whole report")
    disturb(bench, tmp_path / "store", "rename", generator)
    assert bench.finish(bench.start(str(tmp_path / "store"))) == 0
    disturbed = report_bytes(tmp_path / "store", tmp_path / "report")
    assert disturbed == report_bytes(bench.folder / "undisturbed", tmp_path / "undisturbed")
    assert {"report.html", "report.json", "report.md"} <= set(disturbed)


def test_the_comparison_can_fail(bench: Bench, tmp_path: Path) -> None:
    """One number in one record, changed in its last digit, is seen in the digests; a missing one, too."""
    first = sorted(bench.wanted)[0]
    for key in bench.wanted:
        record = Store(bench.folder / "undisturbed").get(key)
        assert record is not None
        if key == first:
            name = next(name for name, variable in record.data_vars.items() if variable.dtype.kind == "f")
            record[name].values.ravel()[:1] *= 1 + 2**-20
        for attribute in ("content_sha256", "record_format", "key", "measurement_sha256"):
            del record.attrs[attribute]
        Store(tmp_path).put(key, record, provenance={})
    found = digests(tmp_path)
    assert [key for key in bench.wanted if found[key] != bench.wanted[key]] == [first]
    (tmp_path / f"{first}.nc").unlink()
    assert digests(tmp_path).keys() == bench.wanted.keys() - {first}
