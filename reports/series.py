"""The columns of one curve, and how the arrays of a figure are sorted into panels and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.figure_data import FigureData
from reports.style import color_of, plain_or_math

__all__ = ["MANY_POINTS", "Series", "panels_of"]

MANY_POINTS = 40  # more than this many measurements are drawn as a line with a band


@dataclass(frozen=True)
class Series:
    """The columns of one series, its colour and the text of its label."""

    name: str
    label: str
    color: str
    columns: Mapping[str, NDArray[np.generic]]

    def get(self, column: str) -> NDArray[np.float64] | None:
        """A column as floats, or None where the series lacks it."""
        return None if column not in self.columns else np.asarray(self.columns[column], dtype=float)

    def residual(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
        """(measured − prediction)/margin and the same for the ends of the interval, or None where a column is missing."""
        prediction, measured, margin = self.get("prediction"), self.get("measured"), self.get("margin")
        if prediction is None or measured is None or margin is None:
            return None
        low, high = self.get("lower"), self.get("upper")
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = [np.where(margin > 0, (part - prediction) / margin, np.nan) for part in (measured, low, high) if part is not None]
        return (parts[0], parts[1], parts[2]) if len(parts) == 3 else (parts[0], parts[0], parts[0])


def panels_of(data: FigureData, *, single: Sequence[str] = ()) -> dict[str, list[Series]]:
    """Sort the arrays of a figure into panels and series, both in their order of appearance.

    Args:
        data: the figure.
        single: columns that may have another length than the rest of their series.

    Raises:
        ValueError: if a name is not ``series/column`` or ``panel|series/column``, or columns of a series differ in length.
    """
    gathered: dict[str, dict[str, dict[str, NDArray[np.generic]]]] = {}
    for key, array in data.arrays.items():
        path, slash, column = key.rpartition("/")
        if not slash or not path or not column:
            raise ValueError(f"figure {data.id!r} has an array called {key!r}, expected 'series/column' or 'panel|series/column'")
        panel, _, series = path.rpartition("|")
        gathered.setdefault(panel, {}).setdefault(series, {})[column] = np.asarray(array)
    panels: dict[str, list[Series]] = {}
    for panel, by_series in gathered.items():
        groups: dict[str, int] = {}
        panels[panel] = []
        for name, columns in by_series.items():
            lengths = {column: len(array) if array.ndim else 1 for column, array in columns.items() if column not in single}
            if len(set(lengths.values())) > 1:
                raise ValueError(f"figure {data.id!r}, series {name!r}: columns must have one length, got {lengths}")
            group = name.partition("@")[0]
            position = groups.setdefault(group, len(groups))
            label = data.labels.get(f"name:{group}", group)
            panels[panel].append(Series(name=name, label=plain_or_math(label), color=color_of(group, position), columns=columns))
    return panels
