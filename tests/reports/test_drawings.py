"""Drawings are taken over exactly where nothing that they depend on has changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import reports.drawings
from reports.drawings import draw_all
from reports.figure_data import FigureData
from tests.support.sample_report import sample_figures

FIGURES = sample_figures()[-2:]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the figures that were drawn, by a quick stand-in for matplotlib."""
    names: list[str] = []

    def render(figure: FigureData) -> tuple[str, bytes]:
        names.append(figure.id)
        return f"<svg>{figure.title}</svg>", b"png of " + figure.id.encode()

    monkeypatch.setattr(reports.drawings, "render", render)
    return names


def folder(tmp_path: Path, name: str) -> Path:
    place = tmp_path / name
    place.mkdir()
    return place


def test_unchanged_figures_are_taken_over_with_the_same_bytes(drawn: list[str], tmp_path: Path) -> None:
    first, second = folder(tmp_path, "a"), folder(tmp_path, "b")
    texts = draw_all(FIGURES, first)
    assert drawn == [figure.id for figure in FIGURES]
    assert draw_all(FIGURES, second, earlier=first) == texts
    assert len(drawn) == len(FIGURES)
    assert {file.name: file.read_bytes() for file in first.iterdir()} == {file.name: file.read_bytes() for file in second.iterdir()}


@pytest.mark.parametrize("change", ["data", "label", "title", "kind", "svg", "png", "csv", "lost", "index", "foreign index"])
def test_whatever_changes_is_drawn_again(drawn: list[str], tmp_path: Path, change: str) -> None:
    first, second = folder(tmp_path, "a"), folder(tmp_path, "b")
    draw_all(FIGURES, first)
    drawn.clear()
    one, id = FIGURES[0], FIGURES[0].id
    name = next(iter(one.arrays))
    if change == "data":
        one = replace(one, arrays={**one.arrays, name: one.arrays[name] * (1 + 1e-15)})
    elif change in ("label", "title", "kind"):
        one = replace(one, **{"label": {"labels": {"x": "other"}}, "title": {"title": "other"}, "kind": {"kind": "comparison"}}[change])
    elif change in ("svg", "png"):
        (first / f"{id}.{change}").write_bytes(b"other")
    elif change == "csv":
        (first / f"{id}.csv").write_text("other")  # the arrays in hand count, not the file
    elif change == "lost":
        (first / f"{id}.svg").unlink()
    else:
        (first / "drawn.json").write_text({"index": "{", "foreign index": json.dumps([1, 2])}[change])
    draw_all([one, *FIGURES[1:]], second, earlier=first)
    assert drawn == {"csv": [], "index": [figure.id for figure in FIGURES], "foreign index": [figure.id for figure in FIGURES]}.get(
        change, [id]
    )


def test_other_code_draws_again(drawn: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = folder(tmp_path, "a"), folder(tmp_path, "b")
    draw_all(FIGURES, first)
    monkeypatch.setattr(reports.drawings, "_code", lambda: "other")
    draw_all(FIGURES, second, earlier=first)
    assert len(drawn) == 2 * len(FIGURES)
