"""Measuring beyond one machine: the connection to a Dask cluster, and joblib's Dask backend made to report what a cluster loses.

Any deployment of Dask does: worker processes on this machine (``local:4``), or a scheduler that was started by ``dask-jobqueue`` on Slurm,
by the Kubernetes operator, or by hand over ssh (``tcp://host:port``). Workers need this package, and see the data folder and the folder of
the store under the same paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
import time
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joblib._dask import DaskDistributedBackend

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ClusterWarning", "Lost", "ReportingBackend", "check_address", "check_client", "check_workers", "connect", "why_unusable"]

_ADDRESS = re.compile(r"local:[1-9]\d{0,3}|(?:tcp|tls|ucx|ws|wss)://[^\s/]+:\d{1,5}/?")


_SCHEDULER_PATIENCE = 30.0  # seconds in which a scheduler must answer
_WORKER_PATIENCE = 600.0  # seconds that a run waits for a cluster that has no worker left
_BUSY_PATIENCE = 600.0  # seconds for which a scheduler in this process may be too busy to answer


class ClusterWarning(UserWarning):
    """A cluster that will do, though not at its best: what, in one line."""


@dataclass(frozen=True)
class Lost:
    """Stands in for the result of a task that the cluster did not carry out: its worker died with it, or the connection was cut."""

    reason: str


class ReportingBackend(DaskDistributedBackend):
    """joblib's Dask backend, which hands back ``Lost`` where the original waits for ever (joblib 1.6: a task whose workers all died).

    It also never measures in the process of the caller, as joblib does where a cluster has one worker with one thread.
    """

    def effective_n_jobs(self, n_jobs: int) -> int:
        """Threads of all workers, and at least two."""
        return max(2, int(super().effective_n_jobs(n_jobs)))

    def start_call(self) -> None:
        """Begin to collect results, and to watch whether there is anybody to make them."""
        super().start_call()
        self.client.loop.add_callback(self._watch)

    async def _watch(self) -> None:
        """Give up the tasks of a cluster that has had no worker for too long."""
        seen = time.monotonic()
        while self._continue and time.monotonic() - seen < _WORKER_PATIENCE:
            await asyncio.sleep(min(1.0, _WORKER_PATIENCE))
            with contextlib.suppress(OSError, AttributeError):  # while the connection is cut; the client sees to that
                if await self.client.scheduler.ncores():
                    seen = time.monotonic()
        if self._continue:
            await self.client.cancel(list(self._results), asynchronous=True)

    async def _collect(self) -> None:
        while self._continue:
            async for future, result in self.waiting_futures:
                done, callback = self._results.pop(future), self._callbacks.pop(future)
                if future.status != "finished":
                    error = result[1] if isinstance(result, tuple) and len(result) == 3 else result
                    result = [Lost(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")]
                done.set_result(result)
                callback(result)
            await asyncio.sleep(0.01)


def check_address(address: str) -> str:
    """Return a cluster's address as it is: ``local:<workers>`` or ``tcp://<host>:<port>`` (also tls, ucx, ws, wss).

    Raises:
        ValueError: if it is neither, or Dask is not installed.

    Example:
        >>> check_address("local:4"), check_address("tcp://10.0.0.7:8786")
        ('local:4', 'tcp://10.0.0.7:8786')
    """
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        raise ValueError(f"cluster must be local:<workers> or tcp://<host>:<port>, got {address!r}")
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise ValueError(f'cluster {address} needs Dask, which is not installed: python -m pip install "clean-priority[cluster]"') from None
    return address


@contextlib.contextmanager
def connect(address: str, *, timeout: float = 600.0) -> Iterator[Client]:
    """A client of the cluster at an address, with at least one worker; ``local:<workers>`` is started for the time being.

    Args:
        address: see ``check_address``.
        timeout: seconds to wait for the first worker (a queue may take its time); the scheduler itself must answer within 30.

    Yields:
        The client.

    Raises:
        ValueError: if the address is none, the scheduler does not answer, or no worker joins in time.
    """
    check_address(address)
    import dask.config
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # its news are for operators; what matters comes back as an exception
    with contextlib.ExitStack() as stack:
        if address.startswith("local:"):
            # A worker that died is started again; by default Dask gives it up if that takes more than 15 s, which loading PyTorch may.
            # Its scheduler lives in this process, so silence means that the machine is busy (ten thousand tasks handed over on a machine
            # at load 17 were seen to take longer than the usual 30 s), never that it is gone; a dead worker closes its connection.
            patience = {"distributed.deploy.lost-worker-timeout": f"{_WORKER_PATIENCE:g}s", "distributed.scheduler.allowed-failures": 1}
            patience |= dict.fromkeys(("distributed.comm.timeouts.connect", "distributed.comm.timeouts.tcp"), f"{_BUSY_PATIENCE:g}s")
            stack.enter_context(dask.config.set(patience))
            cluster = stack.enter_context(
                LocalCluster(
                    n_workers=int(address.removeprefix("local:")),
                    threads_per_worker=1,
                    processes=True,
                    protocol="tcp",
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )
            )
            client = stack.enter_context(Client(cluster, timeout=_BUSY_PATIENCE, set_as_default=False))
        else:
            try:
                client = stack.enter_context(Client(address, timeout=_SCHEDULER_PATIENCE, set_as_default=False))
            except (OSError, ValueError, ImportError) as error:
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                raise ValueError(f"cluster {address} cannot be reached: {reason}") from None
        try:
            if not client.scheduler_info(n_workers=-1)["workers"]:
                print(f"waiting for a worker of {address}", file=sys.stderr)
            client.wait_for_workers(1, timeout=timeout)
        except TimeoutError:
            raise ValueError(f"cluster {address} has no worker after {timeout:g} s: start some, or look at its queue") from None
        yield client


def check_client(client: Client) -> Client:
    """Return a client that is connected.

    Raises:
        ValueError: if it, or its cluster, has been closed.
    """
    if client.status != "running" or client.scheduler is None:
        raise ValueError(f"cluster must be a connected client, got one that is {client.status or 'closed'}")
    return client


def check_workers(client: Client, folder: Path) -> None:
    """Make sure that all workers see a folder, and warn of threads that would lie idle.

    Args:
        client: of the cluster.
        folder: of the store; made if need be.

    Raises:
        ValueError: if some worker does not find there what this process has just written, or the connection is lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".probe-{uuid.uuid4().hex}"
    probe.write_text(probe.name)
    try:
        answers: dict[str, bool] = client.run(_sees, str(probe), on_error="ignore")  # a worker that dies now is none to be asked
    except OSError as error:
        raise ValueError(f"cluster does not answer: {' '.join(str(error).split())[:160] or type(error).__name__}") from None
    finally:
        probe.unlink(missing_ok=True)
    blind = sorted(worker for worker, sees in answers.items() if not sees)
    if blind:
        raise ValueError(
            f"{len(blind)} of {len(answers)} workers do not see the store {folder} ({blind[0]}): "
            "name a folder that all machines share, under the same path, with --store DIR"
        )
    threads = max(client.nthreads().values(), default=1)
    if threads > 1:
        warnings.warn(
            f"workers have up to {threads} threads, of which one measures: start more workers with one thread each "
            "(dask worker --nworkers N --nthreads 1)",
            ClusterWarning,
            stacklevel=2,
        )


def _sees(path: str) -> bool:
    """In a worker: whether the file is there, with its content."""
    file = Path(path)
    try:
        return file.read_text() == file.name
    except OSError:
        return False


def why_unusable(client: Client) -> str:
    """Why nothing more can be asked of a cluster, in one line; "" if it can. Waits while the client reconnects."""
    try:
        cores = client.sync(_cores, client, callback_timeout=_SCHEDULER_PATIENCE)
    except Exception:  # closed loops, closed comms, timeouts: all mean no
        return "the connection to the cluster's scheduler is lost; run again to go on from here"
    return "" if cores else "the cluster has no worker any more; run again to go on from here"


async def _cores(client: Any) -> int:
    while client.status == "connecting":
        await asyncio.sleep(0.05)
    for _ in range(50):  # a worker that died may be on its way back
        if cores := sum((await client.scheduler.ncores()).values()):
            return int(cores)
        await asyncio.sleep(min(0.2, _WORKER_PATIENCE / 10))
    return 0
