"""Where a claim's formulas stand in the repository: read from the claim tests, which call them, and from the files that define them.

Nothing is imported or run: both are read as syntax trees. An installation without the claim tests finds nothing and says so by an empty
result.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["FormulaSource", "claim_places", "formula_sources"]


@dataclass(frozen=True)
class FormulaSource:
    """One function or class of `theory`.

    Attributes:
        name: as it is called, for example ``alpha_recursion``.
        file: its file, relative to the repository, with forward slashes.
        line: line of its definition.
        text: its source.
    """

    name: str
    file: str
    line: int
    text: str

    @property
    def id(self) -> str:
        """Name of its place on the page."""
        return f"code-{Path(self.file).stem.lstrip('_')}-{self.name}"


def formula_sources(root: Path | None = None) -> dict[str, list[FormulaSource]]:
    """Find the formulas that each claim is judged by.

    Args:
        root: the clone; by default the folder that holds this package.

    Returns:
        Claim id → functions and classes of `theory` that its tests call, directly or through helpers of the same file, by file and line.

    Example:
        >>> [source.file for source in formula_sources().get("X1", [])][:1]
        ['theory/alpha.py']
    """
    return _formula_sources(Path(__file__).resolve().parent.parent if root is None else root)


@cache
def _formula_sources(root: Path) -> dict[str, list[FormulaSource]]:
    """Read once in a process: the parsing of all claim tests takes a second, and a harness writes several reports."""
    defined = _definitions(root)
    found: dict[str, set[FormulaSource]] = {}
    for path in sorted((root / "tests" / "claims").glob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        known = _imported(tree, defined)
        for node in functions.values():
            claims = _claims(node)
            if claims:
                used = _reached(node, functions)
                for id in claims:
                    found.setdefault(id, set()).update(known[name] for name in used if name in known)
    return {id: sorted(sources, key=lambda source: (source.file, source.line)) for id, sources in sorted(found.items())}


def claim_places(root: Path | None = None) -> dict[str, list[str]]:
    """Find where each claim stands in the register and where it is judged.

    Args:
        root: the clone; by default the folder that holds this package.

    Returns:
        Claim id → ``file:line`` of its register entry, then of each of its tests.

    Example:
        >>> claim_places()["D2"][0].partition(":")[0]
        'theory/register/dynamics.py'
    """
    return _claim_places(Path(__file__).resolve().parent.parent if root is None else root)


@cache
def _claim_places(root: Path) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for path in sorted((root / "theory" / "register").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Claim":
                for word in node.keywords:
                    if word.arg == "id" and isinstance(word.value, ast.Constant):
                        places[str(word.value.value)] = [f"theory/register/{path.name}:{node.lineno}"]
    for path in sorted((root / "tests" / "claims").glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for id in _claims(node) if isinstance(node, ast.FunctionDef) else ():
                places.setdefault(id, []).append(f"tests/claims/{path.name}:{node.lineno}")
    return places


def _definitions(root: Path) -> dict[str, FormulaSource]:
    """Public functions and classes of `theory` by name; the first of a name that two files define."""
    defined: dict[str, FormulaSource] = {}
    for path in sorted((root / "theory").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                body = "\n".join(lines[node.lineno - 1 : node.end_lineno])
                defined.setdefault(node.name, FormulaSource(node.name, f"theory/{path.name}", node.lineno, body))
    return defined


def _imported(tree: ast.Module, defined: Mapping[str, FormulaSource]) -> dict[str, FormulaSource]:
    """Names under which a test file knows functions of `theory`; ``theory.<name>`` for the package as a whole."""
    known: dict[str, FormulaSource] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "theory" and node.module != "theory.claims":
            known |= {alias.asname or alias.name: defined[alias.name] for alias in node.names if alias.name in defined}
        if isinstance(node, ast.Import) and any(alias.name == "theory" for alias in node.names):
            known |= {f"theory.{name}": source for name, source in defined.items()}
    return known


def _claims(node: ast.FunctionDef) -> list[str]:
    """Ids in the test's ``claim`` marks, also those on its parameters."""
    ids = []
    for mark in (part for decorator in node.decorator_list for part in ast.walk(decorator)):
        is_claim = isinstance(mark, ast.Call) and isinstance(mark.func, ast.Attribute) and mark.func.attr == "claim"
        if is_claim and isinstance(mark, ast.Call) and mark.args and isinstance(mark.args[0], ast.Constant):
            ids.append(str(mark.args[0].value))
    return list(dict.fromkeys(ids))


def _reached(node: ast.FunctionDef, functions: Mapping[str, ast.FunctionDef]) -> set[str]:
    """Names that a function uses, with those that its helpers in the same file use."""
    names: set[str] = set()
    waiting, seen = [node], {node.name}
    while waiting:
        own = set(_names(waiting.pop().body))
        names |= own
        helpers = [functions[name] for name in own if name in functions and name not in seen]
        seen |= {helper.name for helper in helpers}
        waiting += helpers
    return names


def _names(body: Iterable[ast.stmt]) -> Iterable[str]:
    for statement in body:
        for part in ast.walk(statement):
            if isinstance(part, ast.Name):
                yield part.id
            elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                yield f"{part.value.id}.{part.attr}"
