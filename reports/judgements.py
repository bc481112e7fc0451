"""Rows that were judged before, kept beside the measurements: a second run judges again only what may have changed.

A row is a deterministic function of the code, the records and data it reads, and the options of the run. All of that goes into its key; any
change of a source file judges everything again. Rows are JSON; nothing is pickled. ``pytest`` never reads them, only
``clean-priority report`` does, and not with ``--rejudge``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from reports.agreement import AgreementRecord, ClaimResult, Role, Verdict
from reports.figure_data import FigureData

__all__ = ["Judgements", "code_digest", "folder_digest"]

PACKAGES = ("numpy", "scipy", "torch", "scikit-learn", "xarray")
ROOMS = ("theory", "empirical", "reports", "tests/claims", "tests/support")


def code_digest(root: Path, rooms: Iterable[str] = ROOMS) -> str:
    """Hash of every source file that can move a verdict, and of the versions of the libraries under them.

    Args:
        root: the clone.
        rooms: folders to read.
    """
    files = [path for room in rooms for path in (root / room).rglob("*.py")]
    digest = hashlib.sha256(" ".join(f"{name}={version(name)}" for name in PACKAGES).encode())
    for path in sorted(files):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def folder_digest(folder: str | os.PathLike[str] | None) -> str:
    """Hash of names, sizes and times of the files in a data root, two levels deep; "" without one."""
    if not folder or not Path(folder).is_dir():
        return ""
    files = sorted(path for pattern in ("*", "*/*") for path in Path(folder).glob(pattern) if path.is_file())
    facts = [f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


class Judgements:
    """A folder of judged rows.

    Args:
        folder: where they lie; made when the first one is kept.
        context: what all rows of the run depend on: code, data root, tier, seeds, device.
    """

    def __init__(self, folder: Path, context: Iterable[str]) -> None:
        self.folder = folder
        self._context = "\0".join(context)

    def _file(self, test: str, records: Iterable[str]) -> Path:
        key = hashlib.sha256("\0".join([self._context, test, *records]).encode()).hexdigest()
        return self.folder / f"{key}.json"

    def recall(self, test: str, records: Iterable[str]) -> tuple[ClaimResult, tuple[FigureData, ...], dict[str, str]] | None:
        """Return the row of a test with its figures and the hashes of the data that it loaded, or None if it must be judged.

        Args:
            test: the test's node id.
            records: keys of the measurements that it reads.
        """
        try:
            kept = json.loads(self._file(test, records).read_text())
            row = dict(kept["row"])
            row["expected"] = Verdict(row["expected"])
            row["records"] = tuple(_record(record) for record in row["records"])
            row |= {name: tuple(row[name]) for name in ("figures", "notes")}
            figures = tuple(FigureData(**{**figure, "arrays": _arrays(figure["arrays"])}) for figure in kept["figures"])
            return ClaimResult(**row), figures, dict(kept["data"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # absent, cut short or of another version: the row is judged again

    def keep(self, test: str, records: Iterable[str], row: ClaimResult, figures: Iterable[FigureData], data: Mapping[str, str]) -> None:
        """Keep a row that ran to its end; written under a temporary name and renamed. A folder that cannot be written keeps nothing."""
        file = self._file(test, records)
        content = {
            "row": asdict(row),
            "figures": [{**vars(figure), "arrays": {name: _plain(array) for name, array in figure.arrays.items()}} for figure in figures],
            "data": dict(data),
        }
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content))
            os.replace(temporary, file)
        except OSError:
            temporary.unlink(missing_ok=True)


def _record(fields: Mapping[str, Any]) -> AgreementRecord:
    expected = fields["expected"]
    typed = {
        "role": Role(fields["role"]),
        "verdict": Verdict(fields["verdict"]),
        "expected": None if expected is None else Verdict(expected),
        "interval": tuple(fields["interval"]),
        "region": tuple(fields["region"]),
    }
    return AgreementRecord(**{**fields, **typed})


def _plain(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    return {"dtype": str(array.dtype), "shape": list(array.shape), "values": array.ravel().tolist()}


def _arrays(kept: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    return {name: np.array(part["values"], dtype=part["dtype"]).reshape(part["shape"]) for name, part in kept.items()}
