"""Run the specifications that the store lacks: here, on many cores, or on a cluster, through joblib.

A specification is any frozen, picklable object with a name, a key and a way to measure itself; experiments are the usual ones. Each
finished measurement is in the store before the next is waited for, so that an interrupted run resumes where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import xarray as xr

from empirical._validation import check_integer
from empirical.devices import policy, provenance, resolve_device
from empirical.store import Store

__all__ = ["Progress", "RunError", "Specification", "run"]


@runtime_checkable
class Specification(Protocol):
    """What ``run`` needs of a specification: picklable, and measuring the same numbers whenever it has the same key."""

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
    """

    name: str
    done: int
    total: int
    seconds: float
    source: str


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
) -> list[xr.Dataset]:
    """Measure the specifications that the store lacks and return all results in the order asked for.

    Repeated specifications are measured once. One that fails does not stop the others. After Ctrl-C everything that had finished is in the
    store.

    Args:
        specifications: what to measure.
        store: where records are kept; a path makes a ``Store``; None keeps nothing.
        n_jobs: parallel workers, −1 for all cores; None takes joblib's own setting, so that ``joblib.parallel_config(backend="dask")``
            spreads the work over a cluster (whose workers must see the store's folder).
        progress: called with a ``Progress`` whenever one is done, stored ones first; True shows a bar on standard error; None is silent.
        device: device of each measurement, as ``empirical.devices.resolve_device``.
        threads: threads per measurement. Kept apart from ``n_jobs``, so that the numbers do not depend on the number of workers.

    Returns:
        One Dataset per specification.

    Raises:
        ValueError: if an item is no specification or an argument is out of range.
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
    wanted = list(specifications)
    for item in wanted:
        if not isinstance(item, Specification) or isinstance(item, type):
            raise ValueError(f"each specification must have name, key() and measure(), got {type(item).__name__}")
    if n_jobs is not None and n_jobs != -1:
        check_integer(n_jobs, "n_jobs", minimum=1)
    check_integer(threads, "threads", minimum=1)
    resolve_device(device)  # an unknown device is an error before any work
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
        for outcome in _outcomes(missing, kept, n_jobs, device, threads):
            name = missing[outcome.key].name
            record, failure = outcome.dataset, outcome.failure
            if not failure and kept is not None:
                record = kept.get(outcome.key)
                failure = "" if record is not None else f"its record is not in {kept.path}, do the workers see that folder?"
            if record is not None and not failure:
                results[outcome.key] = record
            else:
                failures[name] = failure
            report(name, outcome.seconds, "failed" if failure else "measured")
    if failures:
        raise RunError(failures, [results.get(key) for key in keys])
    return [results[key] for key in keys]


def _outcomes(
    missing: dict[str, Specification], store: Store | None, n_jobs: int | None, device: str | torch.device, threads: int
) -> Iterator[_Outcome]:
    """Outcomes in the order in which they finish."""
    if n_jobs == 1 or not missing:
        for key, item in missing.items():
            yield _measure(key, item, store, device, threads)
        return
    import joblib

    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="all")
    with warnings.catch_warnings():
        # An interrupted run cancels what is still running: joblib's advice about that is not for the user.
        warnings.filterwarnings("ignore", message=r"\d+ tasks which were still being processed", category=UserWarning)
        yield from parallel(joblib.delayed(_measure)(key, item, store, device, threads) for key, item in missing.items())


def _measure(key: str, item: Specification, store: Store | None, device: str | torch.device, threads: int) -> _Outcome:
    """Measure one specification under the policy and store it, in the worker; an exception becomes one line."""
    start = time.perf_counter()
    try:
        with policy(device, threads=threads) as resolved:
            dataset = item.measure(device=resolved)
            seconds = time.perf_counter() - start
            if not isinstance(dataset, xr.Dataset):
                raise TypeError(f"measure() must return an xarray Dataset, got {type(dataset).__name__}")
            if store is None:
                return _Outcome(key, seconds, dataset, "")
            store.put(key, dataset, provenance={**provenance(resolved), "name": item.name, "seconds": round(seconds, 3)})
        return _Outcome(key, seconds, None, "")
    except Exception as error:
        line = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return _Outcome(key, time.perf_counter() - start, None, line)


@contextlib.contextmanager
def _reporter(progress: Callable[[Progress], None] | bool | None, total: int) -> Iterator[Callable[[str, float, str], None]]:
    """A function that counts and passes on what is done: to a callback, to a bar, or to nobody."""
    done = 0
    if progress is None or progress is False:
        yield lambda name, seconds, source: None
        return
    if callable(progress):

        def call(name: str, seconds: float, source: str) -> None:
            nonlocal done
            done += 1
            progress(Progress(name=name, done=done, total=total, seconds=seconds, source=source))

        yield call
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=total)

        def advance(name: str, seconds: float, source: str) -> None:
            bar.update(task, advance=1, description=f"{source} {name}")

        yield advance
