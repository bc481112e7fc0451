"""``--trust-record DIR``: the tests of the verdicts write down what they measured, for the report's page "How far to trust this"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.trust import write_trust

ROWS: pytest.StashKey[dict[str, list[dict[str, Any]]]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("clean-priority")
    group.addoption(
        "--trust-record", default=None, metavar="DIR", help="write what the tests of the verdicts measured there (all of them green)"
    )
    group.addoption("--seed-sets", type=int, default=0, metavar="N", help="judge all claims with the seed sets 1 … N (hours)")
    group.addoption("--mutants", choices=("sample", "all"), default="sample", help="mutants of theory: a sample (default) or all (an hour)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = {}


@pytest.fixture
def trust_record(request: pytest.FixtureRequest) -> Callable[[str, dict[str, Any]], None]:
    """Take down a row: name of the file ("kill_matrix", "calibration", "mutants") and the row."""
    rows = request.config.stash[ROWS]
    return lambda name, row: rows.setdefault(name, []).append(row)


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder, rows = session.config.getoption("--trust-record"), session.config.stash[ROWS]
    if folder and rows and not session.testsfailed:
        write_trust(Path(folder), rows)
