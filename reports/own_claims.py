"""Claims of one's own, from a file outside this repository: its register entries, its experiments and its tests.

The file is a test module, as those in tests/claims, with two names at its top:

* ``CLAIMS``: the register entries, `theory.claims.Claim` records with ids ``U1`` … ``U99``, which the papers' register does not use;
* ``EXPERIMENTS`` (optional): name → frozen specification, for the ``experiments`` mark; the harness measures and stores them. What
  ``measure`` computes must be under `empirical.policy`, or its record is not judged.

``pytest --claims FILE`` and ``clean-priority report --claims FILE`` judge them with the same plugin, and the report shows them. A worked
example is docs/tutorials/leaky_relu.py.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import MappingProxyType
from typing import Any

from reports._validation import check_list, check_path
from theory.claims import CLAIMS, Claim

__all__ = ["OwnClaims", "load_own_claims"]


@dataclass(frozen=True)
class OwnClaims:
    """What files of own claims add to a run.

    Attributes:
        files: the files, absolute.
        register: the papers' register with the own claims after it, id → claim.
        experiments: name → specification of their own experiments.
        digest: hash of the files' content; "" without files.
    """

    files: tuple[Path, ...] = ()
    register: Mapping[str, Claim] = field(default_factory=lambda: CLAIMS)
    experiments: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""


def load_own_claims(files: Iterable[Path | str], *, taken: Iterable[str] = ()) -> OwnClaims:
    """Import files of own claims and add them to the register of this run; `theory.CLAIMS` itself is not changed.

    Args:
        files: Python files with ``CLAIMS`` and, optionally, ``EXPERIMENTS``.
        taken: names of experiments that own ones must not have.

    Raises:
        ValueError: in one line: a file that is not there, does not import, or defines no claims; an id that is not U1 … U99 or occurs
            twice; an experiment that is no specification or whose name is taken.

    Example:
        >>> load_own_claims([]).register is CLAIMS
        True
    """
    register, experiments, found = dict(CLAIMS), {}, []
    names = set(check_list(taken, "taken", str, "names of experiments"))
    digest = hashlib.sha256()
    for name in check_list(files, "files", (str, os.PathLike), "Python files"):
        file = check_path(name, "files").expanduser().absolute()
        if file.suffix != ".py" or not file.is_file():
            raise ValueError(f"{name}: expected a Python file with claims, got {'another file' if file.exists() else 'no such file'}")
        if file in found:
            raise ValueError(f"{name}: the file of claims is given twice")
        module = _import(file)
        for claim in _claims(file, module):
            if claim.id in register:
                raise ValueError(f"{file.name}: claim id {claim.id!r} is defined twice")
            register[claim.id] = claim
        for key, spec in _experiments(file, module).items():
            if key in names:
                raise ValueError(f"{file.name}: the name of experiment {key!r} is taken")
            names.add(key)
            experiments[key] = spec
        found.append(file)
        digest.update(file.read_bytes() + b"\0")
    return OwnClaims(tuple(found), MappingProxyType(register), experiments, digest.hexdigest()) if found else OwnClaims()


class _Text(SourceFileLoader):
    """Runs the text as it stands: compiled files are told apart by second and size only, and "U1" edited to "U2" may share both."""

    def path_stats(self, path: Any) -> Any:  # the import system's way to say that nothing compiled is to be read or written
        raise OSError


def _import(file: Path) -> Any:
    """Run a file, once, as a module of its own name; worker processes get what it defines by value."""
    name = f"own_claims_{file.stem}_{hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file, loader=_Text(name, str(file)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        text = " ".join(str(error).split()) or "no message"
        raise ValueError(f"{file.name}: cannot be imported: {type(error).__name__}: {text[:300]}") from error
    _pickler().register_pickle_by_value(module)
    return module


def _claims(file: Path, module: Any) -> tuple[Claim, ...]:
    claims = getattr(module, "CLAIMS", None)
    if not isinstance(claims, tuple | list) or not claims or not all(isinstance(claim, Claim) for claim in claims):
        raise ValueError(f"{file.name}: expected CLAIMS, a tuple of theory.claims.Claim records")
    foreign = [claim.id for claim in claims if not claim.id.startswith("U")]
    if foreign:
        raise ValueError(f"{file.name}: claims of one's own have ids U1 to U99, got {foreign[0]!r}")
    return tuple(claims)


def _experiments(file: Path, module: Any) -> Mapping[str, Any]:
    experiments = getattr(module, "EXPERIMENTS", {})
    if not isinstance(experiments, Mapping):
        raise ValueError(f"{file.name}: EXPERIMENTS must be a mapping from names to specifications, got {type(experiments).__name__}")
    for name, spec in experiments.items():
        lacking = [part for part in ("name", "key", "measure") if not hasattr(spec, part)]
        if lacking or not isinstance(name, str):
            raise ValueError(
                f"{file.name}: experiment {name!r} must be a frozen specification with name, key() and measure(), lacks {lacking}"
            )
    return experiments


def _pickler() -> Any:
    """The cloudpickle that joblib's workers use: a copy of its own up to version 1.5, the package from 1.6 on."""
    try:
        return importlib.import_module("joblib.externals.cloudpickle")
    except ImportError:
        return importlib.import_module("cloudpickle")
