"""Numbers that a claim test computes at length, kept beside the measurements: training on a fixed kernel, draws of many small networks.

A measurement of `empirical` has a record of its own in the store. What a test computes from theory, or draws in passing, is a deterministic
function of its arguments and of the code, and is kept here: one file of arrays per computation, with a digest of all code that it may have
run. Where the digest differs the numbers are computed again and replace the old ones, so that the folder does not grow with every change,
and no number outlives the code that made it. Nothing is pickled. Notebooks made by hand, as under a planted fault, keep nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reports.judgements import code_digest

__all__ = ["Compute", "Kept"]

Compute = Callable[[], Mapping[str, ArrayLike]]
"""A computation without arguments: name → array of numbers."""

ROOT = Path(__file__).resolve().parents[1]
# What a computation may call. Claim tests are left out but for the file that it stands in: a margin may change without new numbers.
ROOMS = ("theory", "empirical", "tests/support")


class Kept:
    """A folder of computed arrays.

    Args:
        folder: where they lie; made when the first one is kept.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Kept(Path(folder))("squares", lambda: {"squares": np.arange(4) ** 2}, n=4)["squares"].tolist()
        [0, 1, 4, 9]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, compute: Compute, **key: object) -> dict[str, NDArray[np.generic]]:
        """Return what was kept under this name and key by the same code; else compute and keep it.

        Args:
            name: of the computation.
            compute: arguments are bound in it; all that its result depends on, but for the code, must be in ``key``. What is typed at a
                prompt has no file that could be read, and is computed each time.
            key: JSON values.

        Raises:
            ValueError: if ``key`` holds something else, or the result holds anything but numbers and booleans.
        """
        try:
            text = json.dumps([name, key], sort_keys=True, allow_nan=False)
        except TypeError:
            raise ValueError(f"key of {name!r} must hold JSON values only, got {' '.join(repr(key).split())[:80]}") from None
        file = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.npz"
        source = inspect.unwrap(getattr(compute, "func", compute)).__code__.co_filename
        if not Path(source).is_file():
            return {part: np.asarray(values) for part, values in compute().items()}
        digest = _code(source)
        try:
            with open(file, "rb") as handle, np.load(handle, allow_pickle=False) as found:
                if str(found["__code__"]) == digest and str(found["__key__"]) == text:
                    return {part: found[part] for part in found.files if not part.startswith("__")}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # absent, cut short or damaged: computed again
        arrays = {part: np.asarray(values) for part, values in compute().items()}
        for part, values in arrays.items():
            if values.dtype.kind not in "biuf":
                raise ValueError(f"{name!r} must give arrays of numbers, got dtype {values.dtype} in {part!r}")
        self._write(file, {**arrays, "__code__": np.asarray(digest), "__key__": np.asarray(text)})
        return arrays

    def _write(self, file: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Under a temporary name first; a folder that cannot be written keeps nothing."""
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as handle:
                np.savez(handle, allow_pickle=False, **arrays)
            os.replace(temporary, file)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()


@cache
def _code(file: str) -> str:
    """Digest of the code that a computation written in a file may run."""
    return hashlib.sha256(f"{code_digest(ROOT, rooms=ROOMS)} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}".encode()).hexdigest()
