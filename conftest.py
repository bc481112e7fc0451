"""Root of the harness: its options and fixtures live in reports/plugin.py. Here: one BLAS thread, and the whole suite on all cores."""

import os
from typing import Any

import h5py  # noqa: F401 - before pytester, which forgets what a test imported first: HDF5 cannot be loaded twice in one process
import pytest

# Thousands of small matrix products: a second BLAS thread only spins, and sums should not depend on the number of cores.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

pytest_plugins = ["reports.plugin"]
PROCESSES = 4  # at most: the claim tests are one piece of work, and take longest


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite, `pytest` without a file or folder, in a process per core; ``-n 0`` for one process."""
    option = config.option
    one_process = option.agreement_report or option.cluster or option.collectonly or option.usepdb or option.trace
    is_worker = hasattr(config, "workerinput")
    if is_worker or one_process or not config.pluginmanager.hasplugin("xdist") or option.numprocesses is not None:
        return
    if config.args_source is config.ArgsSource.TESTPATHS:
        option.numprocesses = min(len(os.sched_getaffinity(0)), PROCESSES)
        option.loadscopereorder = False  # the claim tests, which come first in the configuration, take longest


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one worker, and all claim tests to one, which measures for them."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        """Pieces of work by file."""

        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "tests/claims" if file.startswith("tests/claims/") else file

    return ByFile(config, log)
