"""Seed sets: the claim tests run again with other seeds in all that they draw, and how many sets each row of the report has passed.

Set k is ``--seeds k``: every measurement, label draw and generator of the run follows from a hash with k in it. Each set is measured into a
store of its own, judged, and thrown away. What is kept is which rows were as the register expects.
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

__all__ = ["SeedSet", "code_hash", "ledger", "merged", "run_set"]

ROOT = Path(__file__).resolve().parents[2]
JUDGING = ("agreement", "budget", "evidence", "kept", "sequential", "session")
FOLLOWED = ("theory", "empirical", "tests")
WORDS = ROOT / "theory" / "register"  # a verdict that the register expects and a set does not give is red by itself


@dataclass(frozen=True)
class SeedSet:
    """What came of one set.

    Attributes:
        number: k of ``--seeds k``.
        rows: (claim, regime) → why the row is red, empty where it is as expected; rows that did not run are left out.
        output: what pytest said, for a set that is not green.
    """

    number: int
    rows: Mapping[tuple[str, str], tuple[str, ...]]
    output: str = ""

    @property
    def red(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """The rows that are not as expected."""
        return {row: why for row, why in self.rows.items() if why}


def code_hash() -> str:
    """Twelve hex digits of the code that measures and judges; without docstrings, comments and the words of the register.

    It is that of the claim tests and decision rules and of what they import of `theory`, `empirical` and `tests`, and so on.
    """
    waiting = [*(ROOT / "tests" / "claims").glob("*.py"), *(ROOT / "reports" / f"{name}.py" for name in JUDGING)]
    found: dict[str, str] = {}
    while waiting:
        path = waiting.pop()
        name = path.relative_to(ROOT).as_posix()
        if name in found or path.is_relative_to(WORDS):
            continue
        tree = ast.parse(path.read_bytes())
        waiting += _imported(tree)
        found[name] = ast.dump(_without_docstrings(tree))
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]


def _imported(tree: ast.AST) -> list[Path]:
    """Files of the modules that a module names in its imports."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    places = [ROOT / name.replace(".", "/") for name in names if name.split(".")[0] in FOLLOWED]
    return [path for place in places for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


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
            return SeedSet(number, {("", ""): ("no row was judged",)}, run.stdout[-4000:] + run.stderr[-4000:])
        rows = dict(_rows(ElementTree.parse(written)))
    return SeedSet(number, rows, "" if run.returncode == 0 else run.stdout[-8000:])


def _rows(document: ElementTree.ElementTree) -> Iterator[tuple[tuple[str, str], tuple[str, ...]]]:
    """(claim, regime) → why the row is red, from the JUnit file of a run; a test that failed before it had a row goes by its name."""
    for case in document.iter("testcase"):
        facts = {one.get("name"): one.get("value", "") for one in case.iter("property")}
        why = tuple(line for fault in (*case.iter("failure"), *case.iter("error")) for line in (fault.get("message") or "").splitlines())
        if "claim" not in facts:
            if why:
                yield ("", case.get("name", "")), why
        elif facts["verdict"] != "NOT RUN":
            yield (facts["claim"], facts["regime"]), why or (() if facts["as_expected"] == "true" else ("not as the register expects",))


def ledger(sets: Iterable[SeedSet], *, code: str) -> list[dict[str, Any]]:
    """Rows of the stored ledger: for each claim and regime how many sets it was judged with, how many it passed, which it failed.

    Args:
        sets: what was run.
        code: hash of the code that ran, by `code_hash`.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for one in sorted(sets, key=lambda one: one.number):
        for (claim, regime), why in one.rows.items():
            row = found.setdefault(
                (claim, regime), {"claim": claim, "regime": regime, "code": code, "sets": 0, "passed": 0, "failed": [], "first": one.number}
            )
            row["sets"] += 1
            row["passed"] += not why
            row["last"] = one.number
            if why:
                row["failed"].append(one.number)
    return list(found.values())


def merged(earlier: Iterable[Mapping[str, Any]], later: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Two ledgers of the same code as one; where the code differs the earlier one no longer counts."""
    rows = {(row["claim"], row["regime"]): dict(row) for row in later}
    for row in earlier:
        mine = rows.get((row["claim"], row["regime"]))
        if mine is None or mine["code"] != row["code"]:
            continue
        mine["sets"] += row["sets"]
        mine["passed"] += row["passed"]
        mine["failed"] = sorted({*row["failed"], *mine["failed"]})
        mine["first"], mine["last"] = min(row["first"], mine["first"]), max(row["last"], mine["last"])
    return list(rows.values())


def further_sets(stored: Sequence[Mapping[str, Any]], *, total: int, code: str) -> Iterator[int]:
    """Numbers of the sets that a ledger of this code still lacks up to ``total``, from 1 on."""
    done = max((row["last"] for row in stored if row["code"] == code), default=0)
    yield from range(done + 1, total + 1)
