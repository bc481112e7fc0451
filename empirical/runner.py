"""Run the specifications that the store lacks: here, on many cores, or on a cluster, through joblib.

A specification is any frozen, picklable object with a name, a key and a way to measure itself; experiments are the usual ones. Each
finished measurement is in the store before the next is waited for, so that an interrupted run resumes where it stopped. What a dead worker
or a cut connection took along is measured again; a specification that kills every worker it meets is a failure, and the others are not.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
import xarray as xr

from empirical._validation import check_integer
from empirical.datasets import DATA_ROOT_VARIABLE
from empirical.devices import policy, provenance, resolve_device
from empirical.slots import device_of_worker
from empirical.store import Store

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Progress", "RunError", "Specification", "run"]


@runtime_checkable
class Specification(Protocol):
    """What ``run`` needs of a specification: picklable, and measuring the same numbers whenever it has the same key.

    One that also has an ``effort``, a number on any scale, is begun before those of less.
    """

    @property
    def name(self) -> str:
        """Short name for progress and messages."""
        ...

    def key(self) -> str:
        """SHA-256 in hexadecimal of all that determines the measurement."""
        ...

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Carry out the measurement."""
        ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One specification is done.

    Attributes:
        name: its name.
        done: specifications done so far, this one included.
        total: specifications in all, without repeats.
        seconds: time that this one took, 0 where the store had it.
        source: ``"stored"``, ``"measured"`` or ``"failed"``.
        seconds_left: estimate of what remains, from the pace since the first measurement began; nan before one has ended.
    """

    name: str
    done: int
    total: int
    seconds: float
    source: str
    seconds_left: float = float("nan")


class RunError(RuntimeError):
    """Some specifications failed; the others are finished and stored.

    Attributes:
        failures: name → one line that says what went wrong.
        results: what ``run`` would have returned, None for each that failed.
    """

    def __init__(self, failures: dict[str, str], results: list[xr.Dataset | None]) -> None:
        first, line = next(iter(failures.items()))
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        super().__init__(f"{len(failures)} of {len(results)} measurements failed: {first}: {line}{more}")
        self.failures = failures
        self.results = results

    def __reduce__(self) -> tuple[type[RunError], tuple[dict[str, str], list[xr.Dataset | None]]]:
        return (RunError, (self.failures, self.results))


@dataclass(frozen=True)
class _Outcome:
    """What a worker sends back: the data only where there is no store to hold it."""

    key: str
    seconds: float
    dataset: xr.Dataset | None
    failure: str


def run(
    specifications: Sequence[Specification],
    *,
    store: Store | str | os.PathLike[str] | None = None,
    n_jobs: int | None = 1,
    progress: Callable[[Progress], None] | bool | None = None,
    device: str | torch.device = "auto",
    threads: int = 1,
    cluster: str | Client | None = None,
) -> list[xr.Dataset]:
    """Measure the specifications that the store lacks and return all results in the order asked for.

    Repeated specifications are measured once. One that fails does not stop the others. After Ctrl-C everything that had finished is in the
    store.

    Args:
        specifications: what to measure.
        store: where records are kept; a path makes a ``Store``; None keeps nothing.
        n_jobs: parallel workers, −1 for all cores; None takes joblib's own setting, so that ``joblib.parallel_config(…)`` decides.
        progress: called with a ``Progress`` whenever one is done, stored ones first; True shows a bar on standard error; None is silent.
        device: device of each measurement, as ``empirical.devices.resolve_device``; with "auto" and "cuda" parallel workers share the
            GPUs of their machine by slot (``empirical.slots``).
        threads: threads per measurement. Kept apart from ``n_jobs``, so that the numbers do not depend on the number of workers.
        cluster: measure on a Dask cluster instead: its address (``tcp://host:port``), ``local:<workers>``, or a Dask client. Its workers
            must see the store's folder, which is checked; ``n_jobs`` has no effect.

    Returns:
        One Dataset per specification.

    Raises:
        ValueError: if an item is no specification, an argument is out of range, or the cluster cannot be used.
        RunError: at the end, if some failed.

    Example:
        >>> @dataclass(frozen=True)
        ... class Square:
        ...     number: float
        ...     @property
        ...     def name(self): return f"square-{self.number:g}"
        ...     def key(self): return f"{int(self.number):064x}"
        ...     def measure(self, *, device="auto"): return xr.Dataset({"square": self.number**2})
        >>> [float(result.square) for result in run([Square(3.0), Square(2.0), Square(3.0)])]
        [9.0, 4.0, 9.0]
    """
    if not isinstance(specifications, Sequence) or isinstance(specifications, (str, bytes)):
        raise ValueError(f"specifications must be a sequence of specifications, got {type(specifications).__name__}")
    wanted = list(specifications)
    for item in wanted:
        if not isinstance(item, Specification) or isinstance(item, type):
            raise ValueError(f"each of specifications must have name, key() and measure(), got {type(item).__name__}")
    if n_jobs is not None and not (isinstance(n_jobs, int) and n_jobs == -1):
        check_integer(n_jobs, "n_jobs", minimum=1)
    check_integer(threads, "threads", minimum=1)
    if cluster is None:
        resolve_device(device)  # an unknown device is an error before any work
    elif isinstance(cluster, str):
        from empirical.cluster import check_address

        check_address(cluster)
    kept = store if isinstance(store, Store) or store is None else Store(store)

    keys = [item.key() for item in wanted]
    distinct = dict(zip(keys, wanted, strict=True))
    results: dict[str, xr.Dataset] = {}
    failures: dict[str, str] = {}
    with _reporter(progress, len(distinct)) as report:
        if kept is not None:
            for key, item in distinct.items():
                record = kept.get(key)
                if record is not None:
                    results[key] = record
                    report(item.name, 0.0, "stored")
        missing = {key: item for key, item in distinct.items() if key not in results}
        if n_jobs != 1 or cluster is not None:  # the longest first, so that no worker is left alone with one at the end
            missing = dict(sorted(missing.items(), key=lambda entry: -getattr(entry[1], "effort", 0.0)))
        job = _Job(store=kept, device=device, threads=threads, data_root=os.environ.get(DATA_ROOT_VARIABLE))
        for outcome in _outcomes(missing, job, n_jobs, cluster):
            name = missing[outcome.key].name
            record, failure = outcome.dataset, outcome.failure
            if not failure and kept is not None:
                record = kept.get(outcome.key)
                failure = "" if record is not None else f"its record is not in {kept.path}, do the workers see that folder?"
            if record is not None and not failure:
                results[outcome.key] = record
            else:
                failures[name if name not in failures else f"{name} ({outcome.key[:12]})"] = failure
            report(name, outcome.seconds, "failed" if failure else "measured")
    if failures:
        raise RunError(failures, [results.get(key) for key in keys])
    return [results[key] for key in keys]


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What all measurements of one call have in common; travels to the workers."""

    store: Store | None
    device: str | torch.device
    threads: int
    data_root: str | None


_Spread = Callable[[list[str]], Iterator[object]]
"""Starts the measurement of some keys and yields what comes back, in the order in which it does."""

_ONE_AT_A_TIME = threading.Lock()  # the policy is a setting of the whole process, and Dask's workers may have several threads


def _outcomes(missing: Mapping[str, Specification], job: _Job, n_jobs: int | None, cluster: str | Client | None) -> Iterator[_Outcome]:
    """Outcomes in the order in which they finish."""
    if not missing:
        return
    if cluster is not None:
        yield from _on_cluster(missing, job, cluster)
    elif n_jobs == 1:
        for key, item in missing.items():
            yield _measure(key, item, job)
    else:
        settings = {} if n_jobs is None else {"n_jobs": n_jobs}
        yield from _persist(missing, lambda keys: _parallel(missing, job, keys, **settings), lambda: "")


def _parallel(missing: Mapping[str, Specification], job: _Job, keys: list[str], **settings: Any) -> Iterator[object]:
    """Measure through joblib; ``settings`` are those of ``joblib.parallel_config``, none takes the caller's."""
    import joblib

    with joblib.parallel_config(**settings) if settings else contextlib.nullcontext():
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    with warnings.catch_warnings():
        # An interrupted run cancels what is still running: joblib's advice about that is not for the user.
        warnings.filterwarnings("ignore", message=r"\d+ tasks which were still being processed", category=UserWarning)
        # Loky replaces a worker that was idle for minutes or has grown by 300 MB, and says so from a thread of its own: where warnings are
        # errors (as under pytest here) that thread would end, and with it all that waits for it.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor", category=UserWarning)
        yield from parallel(joblib.delayed(_measure)(key, missing[key], job, spread=True) for key in keys)


def _on_cluster(missing: Mapping[str, Specification], job: _Job, cluster: str | Client) -> Iterator[_Outcome]:
    """Measure on a Dask cluster, as often as its workers and connections take."""
    from empirical.cluster import ReportingBackend, check_client, check_workers, connect, why_unusable

    with contextlib.ExitStack() as stack:
        client = stack.enter_context(connect(cluster)) if isinstance(cluster, str) else check_client(cluster)
        if job.store is not None:
            job = _Job(store=Store(job.store.path.resolve()), device=job.device, threads=job.threads, data_root=job.data_root)
            assert job.store is not None
            check_workers(client, job.store.path)

        def spread(keys: list[str]) -> Iterator[object]:
            return _parallel(missing, job, keys, backend=ReportingBackend(client=client))

        yield from _persist(missing, spread, lambda: why_unusable(client))


def _persist(missing: Mapping[str, Specification], spread: _Spread, gone: Callable[[], str]) -> Iterator[_Outcome]:
    """Start again what was lost: all together while that gets on, then one by one, so that what kills its workers stands alone."""
    waiting, reason = list(missing), ""
    groups, alone, fruitless = [waiting], False, False
    while groups:
        group = groups.pop(0)
        answered: set[str] = set()
        try:
            for outcome in spread(group):
                if isinstance(outcome, _Outcome):
                    answered.add(outcome.key)
                    yield outcome
                else:
                    reason = getattr(outcome, "reason", repr(outcome)[:200])
        except BrokenExecutor as error:  # a worker of loky died, and with it all that its pool was working on
            reason = f"{type(error).__name__}: a worker process ended abruptly (out of memory, perhaps)"
        except (OSError, RuntimeError, TypeError) as error:  # a connection that broke under joblib's Dask backend
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        lost = [key for key in group if key not in answered]
        if not lost:
            continue
        ended = gone()
        if ended or alone:
            for key in [*lost, *(key for other in groups for key in other)] if ended else lost:
                yield _Outcome(key, 0.0, None, ended or f"it was lost on the way: {reason}")
            if ended:
                return
        elif len(lost) > 1 and (answered or not fruitless):
            groups, fruitless = [lost], not answered
        else:
            alone, groups = True, [[key] for key in lost]


def _measure(key: str, item: Specification, job: _Job, spread: bool = False) -> _Outcome:
    """Measure one specification under the policy and store it, in the worker; an exception becomes one line."""
    start = time.perf_counter()
    try:
        with _ONE_AT_A_TIME:
            if spread:
                if job.data_root is not None:
                    os.environ[DATA_ROOT_VARIABLE] = job.data_root
                if job.store is not None and key in job.store:  # another run, or an earlier attempt of this one, was first
                    return _Outcome(key, 0.0, None, "")
                if item.key() != key:
                    raise ValueError(f"this worker's data or code are not those of the caller: it makes the key {item.key()[:12]}…")
            device = device_of_worker(job.device) if spread else job.device
            with policy(device, threads=job.threads) as resolved:
                start = time.perf_counter()
                dataset = item.measure(device=resolved)
                seconds = time.perf_counter() - start
                if not isinstance(dataset, xr.Dataset):
                    raise TypeError(f"measure() must return an xarray Dataset, got {type(dataset).__name__}")
                if job.store is None:
                    return _Outcome(key, seconds, dataset, "")
                facts = {**provenance(resolved), "name": item.name, "seconds": round(seconds, 3)}
                job.store.put(key, dataset, provenance=facts)
            return _Outcome(key, seconds, None, "")
    except Exception as error:
        line = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return _Outcome(key, time.perf_counter() - start, None, line)


@contextlib.contextmanager
def _reporter(progress: Callable[[Progress], None] | bool | None, total: int) -> Iterator[Callable[[str, float, str], None]]:
    """A function that counts and passes on what is done: to a callback, to a bar, or to nobody."""
    done, paced, began = 0, 0, 0.0
    if progress is None or progress is False:
        yield lambda name, seconds, source: None
        return

    def count(name: str, seconds: float, source: str) -> Progress:
        nonlocal done, paced, began
        done += 1
        if source != "stored":
            began = began or time.perf_counter() - seconds
            paced += 1
        left = (time.perf_counter() - began) / paced * (total - done) if paced else float("nan")
        return Progress(name=name, done=done, total=total, seconds=seconds, source=source, seconds_left=left)

    if callable(progress):
        yield lambda name, seconds, source: progress(count(name, seconds, source))
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), text)
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=total)

        def advance(name: str, seconds: float, source: str) -> None:
            count(name, seconds, source)
            bar.update(task, completed=done, description=f"{source} {name}")

        yield advance
