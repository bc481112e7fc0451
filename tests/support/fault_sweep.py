"""A small sweep of real measurements, a process that carries it out, and the ways in which that process can be disturbed.

``drive`` runs in a process of its own, which a test may kill. What it leaves is compared with an undisturbed run by ``digests`` (the
measured numbers) and ``report_bytes`` (all that a report makes of them).
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import resource
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np

import empirical.store
from empirical.experiments import DataSpec, Experiment, GradientSample, NetworkSpec, TangentKernelSample, TrainingSpec
from empirical.inference import mean_interval
from empirical.runner import RunError, run
from empirical.store import Store, measurement_digest
from reports.agreement import ClaimResult, Verdict, judge
from reports.document import build_document
from reports.figure_data import FigureData
from reports.writer import write_report

__all__ = ["Proxy", "digests", "drive", "report_bytes", "sweep"]

_PATIENCE = 250.0  # seconds after which a run shows what it is waiting for
Specification = Experiment | GradientSample | TangentKernelSample


def sweep() -> list[Specification]:
    """Six measurements of all three kinds, on clusters, digits and the circle; about half a second in all."""
    clusters, digits = DataSpec(name="clusters", n_train=60, n_test=20), DataSpec(name="digits", classes=(7, 9), n_train=60, n_test=20)
    training = TrainingSpec(learning_rate=1.0, steps=60, n_records=8)
    specs: list[Specification] = [
        Experiment(
            name=f"{data.name}-{noise_level:g}",
            data=data,
            noise_level=noise_level,
            network=NetworkSpec(width=64, depth=1, centred=True),
            training=training,
            seeds=(1, 2, 3),
        )
        for data in (clusters, digits)
        for noise_level in (0.1, 0.3)
    ]
    specs.append(
        GradientSample(
            name="directions", data=clusters, noise_level=0.3, network=NetworkSpec(width=64, depth=1, centred=True), seeds=(4, 5)
        )
    )
    specs.append(TangentKernelSample(name="circle", network=NetworkSpec(width=64, depth=2), angles=(0.5, 1.0), seeds=tuple(range(20))))
    return specs


def digests(folder: Path) -> dict[str, str]:
    """Key → hash of the measured numbers, of every record that is sound."""
    store = Store(folder)
    records = {key: store.get(key) for key in store.keys()}  # noqa: SIM118
    return {key: measurement_digest(record) for key, record in records.items() if record is not None}


def report_bytes(folder: Path, out: Path | None = None) -> dict[str, bytes]:
    """Judge the records of a store: path → content of every file of the report; without ``out``, rows and figures of report.json alone."""
    store, rows, figures = Store(folder), [], []
    for spec in sweep():
        if not isinstance(spec, Experiment):
            continue
        record = store.get(spec.key())
        assert record is not None, spec.name
        # Claim I5 with output 0 at the start: ‖g_noise‖/‖g_clean‖ is about δ/(1 − δ). Whether it agrees does not matter here.
        expected = spec.noise_level / (1 - spec.noise_level)
        estimate = mean_interval(record.pooled_alpha.values[:, 0], error_rate=0.01)
        check = judge(expected, estimate, margin={"a wide one": 0.2}, claim="I5", name=spec.name)
        times, ratio = record.time.values, record.pooled_alpha.mean("seed").values
        figure = FigureData(
            id=f"alpha-{spec.name}",
            kind="comparison",
            claim="I5",
            title=spec.name,
            caption="ratio of the segment norms",
            arrays={"ratio/x": times, "ratio/measured": ratio, "ratio/prediction": np.full_like(times, expected)},
            labels={"x": "time", "y": "ratio"},
        )
        figures.append(figure)
        rows.append(
            ClaimResult(
                claim="I5",
                model=spec.regime,
                data=spec.name,
                expected=Verdict.AGREES,
                expected_reason="made up",
                records=[check],
                figures=(figure.id,),
                command="none",
                seconds=0.0,
            )
        )
    if out is None:
        document = build_document(rows, figures, {"device": "cpu"})
        return {part: json.dumps(document[part]).encode() for part in ("claims", "figures", "summary")}
    write_report(out, rows, figures, {"device": "cpu"})
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def drive(folder: str, fault: str = "", seed: int = 0, cluster: str | None = None) -> None:
    """Carry out the sweep; ends the process with 0, with 3 if measurements failed, or as the fault has it; says nothing.

    Args:
        folder: of the store.
        fault: "rename": killed between writing a record and giving it its name; "disk": no file may grow beyond some size; "clock": the
            clock jumps by up to three years either way, again and again; "": none of these.
        seed: of the fault.
        cluster: address of a Dask cluster, else in this process.
    """
    faulthandler.dump_traceback_later(_PATIENCE)  # where it hangs, if it does
    generator = random.Random(seed)
    if fault == "rename":
        _kill_at_rename(generator.randrange(len(sweep())))
    elif fault == "disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = generator.randrange(0, 50_000)  # the largest records take 52 kB
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    elif fault == "clock":
        real, year = time.time, 3.15e7
        time.time = lambda: real() + generator.uniform(-3 * year, 3 * year)
    specs = sweep()
    generator.shuffle(specs)
    try:
        run(specs, store=folder, n_jobs=1, device="cpu", cluster=cluster)
    except RunError as error:
        Path(folder).mkdir(parents=True, exist_ok=True)
        lines = "\n".join(f"{name}: {line}" for name, line in error.failures.items())
        if fault != "disk":
            (Path(folder) / "failures.txt").write_text(lines)
        os._exit(3)
    os._exit(0)


def _kill_at_rename(which: int) -> None:
    """Have this process killed when a record is written and not yet named; ``which`` of them."""
    link, calls = os.link, iter(range(10**6))

    def stop(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        if next(calls) == which:
            os.kill(os.getpid(), signal.SIGKILL)
        link(source, target)

    empirical.store.os.link = stop  # type: ignore[assignment]


class Proxy:
    """Passes TCP connections on to an address until they are cut; takes new ones at once."""

    def __init__(self, host: str, port: int) -> None:
        self._target, self._pairs, self._lock = (host, port), [], threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> int:
        """Reset all connections; return how many there were."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for one in pair:
                _close(one)
        return len(pairs)

    def close(self) -> None:
        """Take no more connections, and cut those that are."""
        _close(self._server)
        self.cut()

    def _serve(self) -> None:
        while True:
            try:
                inner, _ = self._server.accept()
                outer = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._pairs.append((inner, outer))
            for source, target in ((inner, outer), (outer, inner)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        _close(one)


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
