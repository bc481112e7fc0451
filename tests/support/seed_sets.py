"""Seed sets: the claim tests run again with other seeds in all that they draw, and how many sets each row of the report has passed.

Set k is ``--seeds k``: every measurement, label draw and generator of the run follows from a hash with k in it. Each set is measured into a
store of its own, judged, and thrown away. What is kept is which rows were as the register expects.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

__all__ = ["Row", "SeedSet", "further_sets", "ledger", "merged", "run_set"]

ROOT = Path(__file__).resolve().parents[2]


class Row(NamedTuple):
    """A row of the report, and the file that judges it."""

    test: str
    claim: str
    regime: str


@dataclass(frozen=True)
class SeedSet:
    """What came of one set.

    Attributes:
        number: k of ``--seeds k``.
        rows: row → why it is red; empty where it is as expected, None where it did not run, as for want of data or of the tier.
        output: what pytest said, for a set that is not green.
    """

    number: int
    rows: Mapping[Row, tuple[str, ...] | None]
    output: str = ""

    @property
    def red(self) -> dict[Row, tuple[str, ...]]:
        """The rows that are not as expected."""
        return {row: why for row, why in self.rows.items() if why}


def run_set(number: int, targets: Sequence[str] = ("tests/claims",), *, options: Sequence[str] = ()) -> SeedSet:
    """Measure and judge the claim tests with one set of seeds, in a process and a store of their own.

    Args:
        number: of the set.
        targets: files and folders for pytest.
        options: further ones for pytest, such as a selection.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--seeds={number}", f"--store={folder}/store", f"--junitxml={folder}/rows.xml", "--jobs=1", *options]
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *targets],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        written = Path(folder) / "rows.xml"
        if not written.is_file():
            return SeedSet(number, {Row("", "", ""): ("no row was judged",)}, run.stdout[-4000:] + run.stderr[-4000:])
        rows = dict(_rows(ElementTree.parse(written)))
    return SeedSet(number, rows, "" if run.returncode == 0 else run.stdout[-8000:])


def _rows(document: ElementTree.ElementTree[Any]) -> Iterator[tuple[Row, tuple[str, ...] | None]]:
    """Rows of a run from its JUnit file; a test that failed before it had a row goes by its name."""
    for case in document.iter("testcase"):
        facts = {one.get("name"): one.get("value", "") for one in case.iter("property")}
        why = tuple(line for fault in (*case.iter("failure"), *case.iter("error")) for line in (fault.get("message") or "").splitlines())
        test = case.get("classname", "").replace(".", "/") + ".py"
        if "claim" not in facts:
            if why:
                yield Row(test, "", case.get("name", "")), why
        elif facts["verdict"] == "NOT RUN" and not why:
            yield Row(test, facts["claim"], facts["regime"]), None
        else:
            yield (
                Row(test, facts["claim"], facts["regime"]),
                why or (() if facts["as_expected"] == "true" else ("not as the register expects",)),
            )


def ledger(sets: Iterable[SeedSet], *, code: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of the stored ledger: for each row of the report how many sets it was judged with, how many it passed, which it failed.

    Args:
        sets: what was run, each with all or some of the tests.
        code: test → hash of the code that ran, by `reports.claim_code`.
    """
    found: dict[Row, dict[str, Any]] = {}
    for one in sorted(sets, key=lambda one: one.number):
        for row, why in one.rows.items():
            entry = found.setdefault(
                row, row._asdict() | {"code": code.get(row.test, ""), "sets": 0, "passed": 0, "failed": [], "first": one.number}
            )
            entry["sets"] += why is not None
            entry["passed"] += why == ()
            entry["last"] = one.number
            if why:
                entry["failed"].append(one.number)
    return list(found.values())


def merged(earlier: Iterable[Mapping[str, Any]], later: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Two ledgers as one. Sets of the same code add up; those of code before it stay beside them until there are as many of the new.

    Args:
        earlier: what was stored, in its order.
        later: what ran now, of today's code.
    """
    rows = {_row(entry): dict(entry) for entry in later}
    tests = {row.test for row in rows}
    before = []
    for entry in earlier:
        mine = rows.get(_row(entry))
        if mine is None:
            if entry["test"] not in tests:  # else the row has another name now, or is gone
                before.append(dict(entry))
        elif mine["code"] == entry["code"]:
            mine["sets"] += entry["sets"]
            mine["passed"] += entry["passed"]
            mine["failed"] = sorted({*entry["failed"], *mine["failed"]})
            mine["first"], mine["last"] = min(entry["first"], mine["first"]), max(entry["last"], mine["last"])
        elif entry["sets"] > mine["sets"]:
            before.append(dict(entry))
    return [*rows.values(), *before]


def further_sets(stored: Iterable[Mapping[str, Any]], *, total: int, code: Mapping[str, str]) -> dict[int, list[str]]:
    """Number of a set → tests that a ledger lacks it for, up to ``total``.

    Args:
        stored: the ledger; entries of other code than today's do not count.
        total: how many sets there shall be.
        code: test → hash of today's code.
    """
    done = dict.fromkeys(code, 0)
    for entry in stored:
        if code.get(entry["test"]) == entry["code"]:
            done[entry["test"]] = max(done[entry["test"]], entry["last"])
    lacking = {number: [test for test, last in done.items() if last < number] for number in range(1, total + 1)}
    return {number: tests for number, tests in lacking.items() if tests}


def _row(entry: Mapping[str, Any]) -> Row:
    return Row(entry["test"], entry["claim"], entry["regime"])
