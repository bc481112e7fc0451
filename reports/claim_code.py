"""Hash of the code behind each file of claim tests, so that a stored result says whether that code has changed since.

A file's code is its own, that of the decision rules, and what both import of `theory`, `empirical` and `tests`, and so on. Docstrings,
comments and the words of the register are left out: a verdict that the register expects and a run does not give is red by itself. The hash
is one of syntax trees, which another version of Python may write differently: it then takes all code for changed.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["claim_code"]

ROOT = Path(__file__).resolve().parents[1]
JUDGING = ("agreement", "budget", "evidence", "kept", "sequential", "session")
FOLLOWED = ("theory", "empirical", "tests")
WORDS = "theory/register/"


def claim_code(root: Path = ROOT) -> dict[str, str]:
    """File of claim tests, relative to the clone → twelve hex digits of the code that it measures and judges with.

    Args:
        root: the clone; a folder without claim tests, such as that of an installed package, gives {}.
    """
    files, judging, found = _Files(root), [f"reports/{name}.py" for name in JUDGING], {}
    for path in sorted((root / "tests" / "claims").glob("test_*.py")):
        test = path.relative_to(root).as_posix()
        code = {name: files.code[name] for name in files.behind([test, *judging])}
        found[test] = hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:12]
    return found


class _Files:
    """Files of a clone, each read once: its code without words, and the files whose modules it imports."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.code: dict[str, str] = {}
        self._imports: dict[str, list[str]] = {}

    def behind(self, names: Iterable[str]) -> set[str]:
        """These files and all that they import, and so on."""
        waiting, found = list(names), set()
        while waiting:
            name = waiting.pop()
            if name not in found and not name.startswith(WORDS):
                found.add(name)
                waiting += self._imported(name)
        return found

    def _imported(self, name: str) -> list[str]:
        if name not in self.code:
            tree = ast.parse((self.root / name).read_bytes())
            self._imports[name] = [
                file
                for module in _modules(tree)
                if module.split(".")[0] in FOLLOWED
                for file in (f"{module.replace('.', '/')}.py", f"{module.replace('.', '/')}/__init__.py")
                if (self.root / file).is_file()
            ]
            self.code[name] = ast.dump(_without_docstrings(tree))
        return self._imports[name]


def _modules(tree: ast.AST) -> Iterator[str]:
    """Names that may be those of modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree
