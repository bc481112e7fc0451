"""Planted faults: named mistakes of the kind that a verification suite exists to catch, put in at run time and taken out again.

A fault replaces one function, method or constant of theory, of the instruments or of the judging, in its home module and wherever else it
was imported, for as long as a `pytest.MonkeyPatch` lives. Most are edits of one piece of the source text, which must occur exactly once: a
fault whose place has changed is an error, never a silent survivor. Caches are put aside meanwhile, so that no faulty number outlives its
fault. Every fault names the checks that must turn red (tests/support/checks.py); tests/meta/test_kill_matrix.py runs them.
"""

from __future__ import annotations
import __future__

import functools
import importlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

__all__ = ["ROOMS", "Fault", "edited", "plant"]

ROOMS = ("theory", "instrument", "judging")
_OURS = ("theory", "empirical", "reports", "tests")
_KEPT_CACHES = ("empirical.sources", "reports.equations", "reports.schema")  # files read from disk, and what no fault touches

Replacement = Callable[[Any], Any]


@dataclass(frozen=True)
class Fault:
    """A mistake and what must notice it.

    Attributes:
        name: short, unique; the row of the kill matrix.
        description: what is wrong, for the report.
        room: one of `ROOMS`.
        target: "module:attribute", or "module:Class.attribute".
        replacement: what stands in for the target while the fault is planted, made from the original.
        caught_by: names of the checks that must each turn red.
    """

    name: str
    description: str
    room: str
    target: str
    replacement: Replacement
    caught_by: tuple[str, ...]


def edited(old: str, new: str, *, count: int = 1) -> Replacement:
    """Replacement that compiles the target's own source again with ``old`` changed to ``new``; ``old`` must occur ``count`` times."""

    def replace(original: Any) -> Any:
        function = original.fget if isinstance(original, property) else inspect.unwrap(getattr(original, "__func__", original))
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(old) != count:
            raise LookupError(f"{function.__qualname__} must hold {old!r} {count} times to plant a fault, found {source.count(old)}")
        code = compile(
            source.replace(old, new), f"<{function.__qualname__} with a fault>", "exec", __future__.annotations.compiler_flag, True
        )
        made: dict[str, Any] = {}
        exec(code, function.__globals__, made)
        (result,) = made.values()
        return result

    return replace


def plant(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a fault in for the life of ``monkeypatch``; all caches of the project start empty and are restored with it.

    Raises:
        LookupError: if the target's source is not what the fault was written for.
    """
    _set_caches_aside(monkeypatch)
    module, _, path = fault.target.partition(":")
    *classes, name = path.split(".")
    holder: Any = functools.reduce(getattr, classes, importlib.import_module(module))
    original = inspect.getattr_static(holder, name)
    planted = fault.replacement(original)
    monkeypatch.setattr(holder, name, planted)
    if not classes:
        _replace_everywhere(original, planted, monkeypatch)


def _modules() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _OURS and module is not None:
            yield module


def _replace_everywhere(original: object, planted: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is original:
                monkeypatch.setattr(module, name, planted)


def _set_caches_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    cached = {id(value): value for module in _modules() for value in list(vars(module).values()) if hasattr(value, "cache_parameters")}
    for value in cached.values():
        if value.__module__ not in _KEPT_CACHES:
            empty = functools.lru_cache(maxsize=value.cache_parameters()["maxsize"])(value.__wrapped__)
            _replace_everywhere(value, empty, monkeypatch)
