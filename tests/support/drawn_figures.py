"""What the claim tests hand over as the papers' figures, series by series: whether a band and a theory are in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import numpy as np
import pytest

from empirical.datasets import DatasetNotFound
from reports.evidence import Agreement
from reports.figure_data import FigureData

__all__ = ["BAND", "THEORY", "Row", "Untold", "claims_of", "drawn", "experiment_marks", "rows", "series_of", "series_without", "stripped"]

Notebook = Callable[[str, str, str], Agreement]
MEASURED, BAND, THEORY = ("measured", "angle"), ("lower", "upper"), ("prediction", "predicted")


@dataclass(frozen=True)
class Row:
    """One case of a claim test.

    Attributes:
        test: the function.
        claim: id in the register.
        model, data: the regime.
        arguments: of the function, but for the notebook.
        marks: all of the case.
    """

    test: Callable[..., None]
    claim: str
    model: str
    data: str
    arguments: dict[str, Any]
    marks: tuple[pytest.Mark, ...]


@dataclass(frozen=True)
class Untold:
    """Series without theory, and why.

    Attributes:
        kinds: of figures.
        reason: for people.
        model, data: the regime; ``*`` stands for anything.
        series: ``panel|series``; ``*`` stands for anything.
        tiers: where this is so.
    """

    kinds: tuple[str, ...]
    reason: str
    model: str = "*"
    data: str = "*"
    series: str = "*"
    tiers: tuple[str, ...] = ("quick", "standard", "full")

    def holds(self, row: Row, kind: str, series: str, tier: str) -> bool:
        """Whether this series of a figure is meant."""
        pairs = ((row.model, self.model), (row.data, self.data), (series, self.series))
        return kind in self.kinds and tier in self.tiers and all(fnmatchcase(*pair) for pair in pairs)


def claims_of(test: object) -> list[str]:
    """Ids of the claims that a function judges by its marks; none for anything else."""
    marks = getattr(test, "pytestmark", []) if inspect.isfunction(test) else []
    return [mark.args[0] for mark in marks if mark.name == "claim"]


def rows(test: Callable[..., None]) -> list[Row]:
    """All cases of a claim test, from its marks."""
    marks: list[pytest.Mark] = list(getattr(test, "pytestmark", []))
    choices = []
    for mark in marks:
        if mark.name == "parametrize":
            names = [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else list(mark.args[0])
            choices.append([(dict(zip(names, one.values, strict=True)), [m.mark for m in one.marks]) for one in mark.args[1]])  # type: ignore[union-attr]
    found = []
    for chosen in product(*choices):
        own = [*marks, *(mark for _, some in chosen for mark in some)]
        claim, regime = (next(mark for mark in own if mark.name == name) for name in ("claim", "regime"))
        arguments = {name: value for values, _ in chosen for name, value in values.items()}
        found.append(Row(test, claim.args[0], *regime.args, arguments, tuple(own)))
    return found


def experiment_marks(tests: Sequence[Callable[..., None]]) -> list[pytest.MarkDecorator]:
    """Marks that have everything measured that these tests measure."""
    marks = [mark for test in tests for row in rows(test) for mark in row.marks if mark.name == "experiments"]
    return [pytest.mark.experiments(*mark.args, **mark.kwargs) for mark in marks]


def drawn(tests: Sequence[Callable[..., None]], notebook_of: Notebook) -> Iterator[tuple[Row, FigureData]]:
    """Every figure of the papers that the cases of these tests hand over in this tier and with the data at hand."""
    for test in tests:
        for row in rows(test):
            notebook = notebook_of(row.claim, row.model, row.data)
            try:
                test(notebook, **row.arguments)
            except (DatasetNotFound, pytest.skip.Exception):
                continue
            yield from ((row, figure) for figure in notebook.figures if figure.kind.startswith("figure_"))


def series_of(figure: FigureData) -> list[str]:
    """Measured series of a figure, ``panel|series``."""
    return list(dict.fromkeys(name for name, _, column in (key.rpartition("/") for key in figure.arrays) if column in MEASURED))


def series_without(figure: FigureData, columns: tuple[str, ...]) -> list[str]:
    """Measured series of a figure that lack these columns: both of a band, any one of a theory.

    A band that is nowhere wider than nothing is none, and so is a prediction without a finite value. A prediction that stands alone, as the
    line of infinite width beside several widths does, is the theory of its whole panel.
    """
    names = series_of(figure)
    parts = [key.rpartition("/") for key in figure.arrays]
    alone = {name for name, _, column in parts if column in THEORY and _has(figure, name, THEORY)} - set(names)
    told = {name.rpartition("|")[0] for name in alone} if columns == THEORY else set()
    return [name for name in names if name.rpartition("|")[0] not in told and not _has(figure, name, columns)]


def _has(figure: FigureData, name: str, columns: tuple[str, ...]) -> bool:
    found = [np.asarray(figure.arrays[key], dtype=float) for column in columns if (key := f"{name}/{column}") in figure.arrays]
    if columns == BAND:
        return len(found) == len(BAND) and bool(np.any(found[1] > found[0]))
    return any(np.isfinite(one).any() for one in found)


def stripped(figure: FigureData, columns: tuple[str, ...]) -> FigureData:
    """The same figure without these columns."""
    kept = {key: array for key, array in figure.arrays.items() if key.rpartition("/")[2] not in columns}
    return FigureData(figure.id, figure.kind, figure.title, figure.caption, figure.claim, kept, figure.labels)
