"""Mutation of theory: every numeric constant (and arithmetic operator) of the package changed in turn, and the theory tests run on it.

One warm process: the modules that are not ours are imported once, the tests that run each line are found once by tracing, and every mutant
lives in a fork in which the changed source is loaded in place of the file. A mutant is killed when some test that runs its line fails, when
an import or a collection does, or when it runs far longer than the original. Tests are tried from the quickest on, until one fails. An
integer or a float n becomes n + 1 (the mutation of cosmic-ray's NumberReplacer); + and −, × and /, and so on change places.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from tests.support.mutation_survivors import reason

__all__ = ["Coverage", "Mutant", "apply", "code_of", "cover", "find_again", "judge_mutant", "mutants_of", "recorded", "survivors_again"]

ROOT = Path(__file__).resolve().parents[2]
OURS = ("theory", "empirical", "reports", "tests")
OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "*"),
    ast.Pow: ("**", "*"),
}


@dataclass(frozen=True, order=True)
class Mutant:
    """One change of one place of one file.

    Attributes:
        path: file, relative to the repository.
        line: 1-based.
        column: 0-based, in bytes.
        old: text that is replaced.
        new: its replacement.
        code: the whole line, stripped, for people and for finding the place again.
        occurrence: which of the equal ``old`` on that line, from 0.
        kind: "constant" or "operator".
    """

    path: str
    line: int
    column: int
    old: str
    new: str
    code: str
    occurrence: int
    kind: str


def mutants_of(path: Path, *, operators: bool = False) -> list[Mutant]:
    """All mutants of a file, in the order of its text.

    Args:
        path: a Python file below the repository's root.
        operators: arithmetic operators too, not only numeric constants.
    """
    source = path.read_bytes()
    lines = source.splitlines()
    found: list[tuple[int, int, str, str, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            old = lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode()
            found.append((node.lineno, node.col_offset, old, repr(node.value + 1), "constant"))
        elif operators and isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and node.left.end_lineno == node.right.lineno:
            old, new = OPERATORS[type(node.op)]
            assert node.left.end_col_offset is not None
            between = lines[node.right.lineno - 1][node.left.end_col_offset : node.right.col_offset]
            place = between.find(old.encode())
            if place >= 0:
                found.append((node.right.lineno, node.left.end_col_offset + place, old, new, "operator"))
    result = []
    for line, column, old, new, kind in sorted(set(found)):
        text = lines[line - 1]
        occurrence = sum(1 for other in found if other[0] == line and other[1] < column and other[2] == old and other[4] == kind)
        result.append(Mutant(str(path.relative_to(ROOT)), line, column, old, new, text.decode().strip(), occurrence, kind))
    return result


def apply(mutant: Mutant, source: bytes) -> bytes:
    """The mutant's source text.

    Raises:
        LookupError: if the place no longer holds what the mutant replaces.
    """
    lines = source.splitlines(keepends=True)
    line = lines[mutant.line - 1]
    end = mutant.column + len(mutant.old.encode())
    if line[mutant.column : end].decode() != mutant.old:
        raise LookupError(f"{mutant.path}:{mutant.line} must hold {mutant.old!r} at {mutant.column}, found {line.decode().strip()!r}")
    lines[mutant.line - 1] = line[: mutant.column] + mutant.new.encode() + line[end:]
    return b"".join(lines)


def find_again(path: Path, entry: Mapping[str, Any]) -> Mutant | None:
    """The mutant that an entry of the record describes, in the file as it is now; None if its line is gone, or stands there twice.

    Args:
        path: the file.
        entry: ``code``, ``old``, ``new`` and ``occurrence``.
    """
    same = [m for m in mutants_of(path) if all(getattr(m, name) == entry[name] for name in ("code", "old", "new", "occurrence"))]
    return same[0] if len(same) == 1 else None


def code_of(path: Path) -> str:
    """Hashes of a module and of all theory tests, joined by a hyphen: what a record was made with."""
    tests = sorted((ROOT / "tests" / "theory").glob("*.py"))
    module, others = (hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)) for files in ((path,), tests))
    return f"{module.hexdigest()[:12]}-{others.hexdigest()[:12]}"


def survivors_again(path: Path, row: Mapping[str, Any], judge: Callable[[Mutant], tuple[str, str]]) -> dict[str, Any]:
    """Row of a module whose tests have changed, but not its code: survivors that are not equivalent are judged again.

    What was killed is taken to be so still: tests are added rather than taken away, and the sample is tried whenever the suite runs.

    Args:
        path: of the module.
        row: its record.
        judge: mutant → outcome and what killed it.
    """
    alive = {(one["line"], one["code"], one["old"], one["new"], one["occurrence"]) for one in row["survivors"]}
    found = mutants_of(path)

    def outcome(mutant: Mutant) -> tuple[str, str]:
        if (mutant.line, mutant.code, mutant.old, mutant.new, mutant.occurrence) not in alive:
            return "killed", ""
        return ("survived", "") if reason(mutant)[1] else judge(mutant)

    return {**recorded(path, [(mutant, *outcome(mutant)) for mutant in found]), "sample": row["sample"]}


def recorded(path: Path, judged: Iterable[tuple[Mutant, str, str]], *, sample: int = 2) -> dict[str, Any]:
    """Row of the stored record for one module.

    Args:
        path: of the module.
        judged: its mutants with their outcome and what killed them.
        sample: how many killed ones to keep, chosen by a hash of those whose line stands in the file once.
    """
    found = list(judged)
    survivors = sorted(mutant for mutant, outcome, _ in found if outcome == "survived")
    killed = [(mutant, by) for mutant, outcome, by in found if outcome == "killed"]
    lines = Counter(line.strip() for line in path.read_text().splitlines())
    named = [one for one in killed if "::" in one[1] and lines[one[0].code] == 1]
    chosen = sorted(named, key=lambda one: hashlib.sha256(repr(one[0]).encode()).hexdigest())[:sample]
    return {
        "module": str(path.relative_to(ROOT)),
        "code": code_of(path),
        "mutants": len(mutants_of(path)),
        "judged": len(found),
        "killed": len(killed),
        "survivors": [
            {
                "line": m.line,
                "code": m.code,
                "old": m.old,
                "new": m.new,
                "occurrence": m.occurrence,
                "why": reason(m)[0],
                "equivalent": reason(m)[1],
            }
            for m in survivors
        ],
        "sample": [{"code": m.code, "old": m.old, "new": m.new, "occurrence": m.occurrence, "killed_by": by} for m, by in chosen],
    }


@dataclass
class Coverage:
    """Which tests run which lines, and how long they take.

    Attributes:
        tests: (path, line) → ids of the tests that ran it.
        loaded: (path, line) of the lines that run while modules are imported; any test may see them.
        seconds: test id → time of its call.
        failed: tests that fail without any mutation; they judge nothing.
    """

    tests: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    loaded: set[tuple[str, int]] = field(default_factory=set)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)

    def killers(self, mutant: Mutant) -> list[str]:
        """Ids of the tests that may notice the mutant, the quickest first; of a line that only imports run, all of its module."""
        found = self.tests.get((mutant.path, mutant.line), set()) - self.failed
        ordered = sorted(found, key=lambda name: self.seconds.get(name, 0.0))
        if ordered:
            return ordered
        same_file = {name for (path, _), names in self.tests.items() if path == mutant.path for name in names}
        # A test of a table of constants runs no line of the module at all: its file's name says what it is about.
        same_file |= {name for name in self.seconds if f"/test_{Path(mutant.path).stem}.py::" in name}
        return sorted(same_file - self.failed, key=lambda name: self.seconds.get(name, 0.0))


class _Tracer:
    """A pytest plugin that notes the lines of the package that each test runs."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.found = Coverage()
        self.lines: set[tuple[CodeType, int]] = set()

    def _local(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.lines.add((frame.f_code, frame.f_lineno))
        return self._local

    def _global(self, frame: FrameType, _event: str, _: Any) -> Any:
        return self._local if frame.f_code.co_filename.startswith(self.prefix) else None

    @contextlib.contextmanager
    def watching(self) -> Iterator[set[tuple[str, int]]]:
        """Collect lines for as long as the block runs."""
        places: set[tuple[str, int]] = set()
        self.lines = set()
        sys.settrace(self._global)
        threading.settrace(self._global)
        try:
            yield places
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            places.update((str(Path(code.co_filename).relative_to(ROOT)), line) for code, line in self.lines)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        with self.watching() as places:
            result = yield
        for place in places:
            self.found.tests.setdefault(place, set()).add(item.nodeid)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.found.seconds[report.nodeid] = report.duration
        if report.failed:
            self.found.failed.add(report.nodeid)


def cover(targets: Sequence[str], *, package: str = "theory") -> Coverage:
    """Run the tests once, traced.

    Args:
        targets: files and folders for pytest.
        package: folder whose lines count.
    """
    tracer = _Tracer(str(ROOT / package) + os.sep)
    pytest.main([*_OPTIONS, *targets], plugins=[tracer])
    return tracer.found


_WARM = "ignore::pytest.PytestAssertRewriteWarning"  # plugins that the warm process holds already
_OPTIONS = ["-q", "-p", "no:cacheprovider", "-W", _WARM, f"--rootdir={ROOT}", f"-c{ROOT / 'pyproject.toml'}"]


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Finder and loader of one module, from changed source."""

    def __init__(self, name: str, path: Path, source: bytes) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: str | bytes) -> bytes:
        if Path(os.fsdecode(path)) == self.path:
            return self.source
        raise OSError("no bytecode")  # a cached file would hold the original

    def path_stats(self, path: str) -> dict[str, Any]:
        raise OSError("no bytecode")


class _First:
    """A pytest plugin that remembers the first test that failed."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


def judge_mutant(mutant: Mutant, tests: Sequence[str], *, limit: float = 60.0, memory: int = 6 << 30) -> tuple[str, str]:
    """Run the tests on the mutant in a fork.

    Args:
        mutant: the mutant.
        tests: ids, in the order in which to try them.
        limit: seconds after which a mutant that still runs counts as killed.
        memory: bytes of address space beyond what the process holds already.

    Returns:
        ("killed", id of the test, or how), or ("survived", "").
    """
    if not tests:
        return "survived", ""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_the_fork(mutant, tests, limit, memory, writing)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "killed", "ran out of time" if os.WTERMSIG(status) in (signal.SIGALRM, signal.SIGXCPU) else "crashed"
    code = os.WEXITSTATUS(status)
    return ("survived", "") if code == 0 else ("killed", said or "does not import")


def _in_the_fork(mutant: Mutant, tests: Sequence[str], limit: float, memory: int, answer: int) -> None:
    """Never returns."""
    code: int = 2
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        signal.alarm(int(20 * limit) + 1)  # a busy machine must not kill: the limit that counts is on processor time
        spent = time.process_time()
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent + limit) + 1, int(spent + limit) + 5))
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if Path("/proc/self/statm").exists() else 0
        resource.setrlimit(resource.RLIMIT_AS, (held + memory, resource.RLIM_INFINITY))
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        path = ROOT / mutant.path
        dotted = ".".join(Path(mutant.path).with_suffix("").parts).removesuffix(".__init__")
        sys.meta_path.insert(0, _Mutated(dotted, path, apply(mutant, path.read_bytes())))
        importlib.import_module(dotted)
        first = _First()
        code = int(pytest.main([*_OPTIONS, "-x", *tests], plugins=[first]))
        os.write(answer, first.name.encode())
    finally:
        os._exit(code)
