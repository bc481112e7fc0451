"""The data of a figure as a CSV file that people read and `clean-priority render` draws from again.

One column for each array, called by the array's name; a two-dimensional array ``[n, k]`` takes the columns ``name[0] … name[k-1]``.
Columns of unequal length end in empty cells. Numbers are written in full, so reading gives the same bits back. Shapes and number types
stand in report.json. Nothing is pickled.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reports.figure_data import FigureData

__all__ = ["arrays_from_csv", "arrays_to_csv", "load_figures"]

_KINDS = "fiubU"  # float, int, unsigned, bool, text


def arrays_to_csv(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """Write named arrays of at most two dimensions as CSV.

    Raises:
        ValueError: if an array has more than two dimensions, or holds objects or complex numbers.

    Example:
        >>> print(arrays_to_csv({"a/x": np.array([0.1, 2.0]), "a/margin": np.array([0.5])}))
        a/x,a/margin
        0.1,0.5
        2.0,
        <BLANKLINE>
    """
    header: list[str] = []
    columns: list[list[str]] = []
    for name, given in arrays.items():
        array = np.asarray(given)
        if array.ndim > 2 or array.dtype.kind not in _KINDS:
            raise ValueError(f"array {name!r} must hold numbers or texts in at most two dimensions, got {array.dtype} {array.shape}")
        for suffix, column in [("", array.reshape(-1))] if array.ndim < 2 else [(f"[{k}]", array[:, k]) for k in range(array.shape[1])]:
            header.append(name + suffix)
            columns.append([str(value) for value in column])
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    for i in range(max(map(len, columns), default=0)):
        writer.writerow([column[i] if i < len(column) else "" for column in columns])
    return buffer.getvalue()


def arrays_from_csv(text: str, columns: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.generic]]:
    """Read the arrays back.

    Args:
        text: the CSV file.
        columns: for each array its ``name``, ``shape`` and ``dtype``, as report.json has them.

    Raises:
        ValueError: if a column is missing, too short, or holds something that is not of its type.
    """
    rows = list(csv.reader(io.StringIO(text)))
    header = {name: position for position, name in enumerate(rows[0])} if rows else {}
    arrays = {}
    for column in columns:
        name, shape, dtype = column["name"], tuple(column["shape"]), np.dtype(column["dtype"])
        if dtype.kind not in _KINDS:
            raise ValueError(f"array {name!r} must hold numbers or texts, got {dtype}")
        length = shape[0] if shape else 1
        names = [name] if len(shape) < 2 else [f"{name}[{k}]" for k in range(shape[1])]
        parts = []
        for one in names:
            if one not in header or len(rows) - 1 < length:
                raise ValueError(
                    f"column {one!r} with {length} values expected, the file has {max(len(rows) - 1, 0)} rows of {len(header)} columns"
                )
            cells = [row[header[one]] for row in rows[1 : length + 1]]
            try:
                parts.append(
                    np.array([cell == "True" for cell in cells]) if dtype.kind == "b" else np.array(cells, dtype=str).astype(dtype)
                )
            except ValueError:
                raise ValueError(f"column {one!r} must hold {dtype} values") from None
        arrays[name] = (
            np.stack(parts, axis=1) if len(shape) == 2 and parts else (parts[0].reshape(shape) if parts else np.empty(shape, dtype))
        )
    return arrays


def load_figures(folder: Path, document: Mapping[str, Any]) -> list[FigureData]:
    """Read the figures that a report's document lists, from the report's folder.

    Raises:
        ValueError: in one line, if a data file is missing or damaged.
    """
    figures = []
    for entry in document["figures"]:
        file = folder / entry["data"]
        try:
            with file.open(encoding="utf-8", newline="") as stream:
                arrays = arrays_from_csv(stream.read(), entry["columns"])
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"{file}: cannot be read, expected the data of figure {entry['id']!r}") from None
        except (ValueError, IndexError, TypeError, csv.Error) as error:
            raise ValueError(f"{file}: damaged, {error}") from None
        figures.append(
            FigureData(entry["id"], entry["kind"], entry["title"], entry["caption"], entry["claim"], arrays=arrays, labels=entry["labels"])
        )
    return figures
