"""Drawings on the page: the same picture in fewer bytes. That it is the same picture is seen in a browser, in test_browser.py."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.compact_svg import DrawingStyles, compact, short_path
from reports.figure_data import FigureData
from reports.figures import render
from reports.inline_svg import prepare_figure
from tests.support.sample_report import sample_figures

BYTES = 12_000
"""Upper bound for one panel of a drawing: two hundred of them in a standard report stay below 2.4 MB of its 6 MB."""

coordinate = st.floats(-2000, 2000, allow_nan=False)
points = st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=8)  # longer lines are thinned


def followed(path: str) -> list[tuple[float, float]]:
    """Corners of a path of M, L, H, V and z in relative or absolute form, by the rules of SVG, in points."""
    tokens = re.findall(r"[A-Za-z]|-?(?:\d+\.?\d*|\.\d+)", path)
    at, corners, letter, position = (0.0, 0.0), [], "", 0
    while position < len(tokens):
        if tokens[position].isalpha():
            letter = tokens[position]
            position += 1
        if letter == "z":
            continue
        count = 1 if letter in "HVhv" else 2
        values = [float(token) for token in tokens[position : position + count]]
        position += count
        x, y = at
        at = {
            "M": lambda v, x, y: (v[0], v[1]),
            "l": lambda v, x, y: (x + v[0], y + v[1]),
            "H": lambda v, x, y: (v[0], y),
            "V": lambda v, x, y: (x, v[0]),
            "h": lambda v, x, y: (x + v[0], y),
        }[letter](values, x, y)
        corners.append(at)
    return corners


@given(points)
def test_short_paths_lead_to_the_same_places(places: list[tuple[float, float]]) -> None:
    path = "".join(f"{'L' if k else 'M'} {x:.2f} {y:.2f} " for k, (x, y) in enumerate(places))
    corners = followed(short_path(path))
    rounded = [(round(float(f"{x:.2f}") * 10), round(float(f"{y:.2f}") * 10)) for x, y in places]
    kept = [place for k, place in enumerate(rounded) if k == 0 or place != rounded[k - 1]]
    reached = [(round(x * 10), round(y * 10)) for x, y in corners]
    # Places that fall together after rounding are left out, but a path of a single place keeps its point.
    assert [place for k, place in enumerate(reached) if k == 0 or place != reached[k - 1]] == kept


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(-9, 9)), min_size=9, max_size=60))
def test_thinned_lines_stay_close(steps: list[tuple[float, float]]) -> None:
    places = np.cumsum(np.array([(0.0, 0.0), *steps]), axis=0)
    corners = followed(short_path("".join(f"{'L' if k else 'M'} {x:.2f} {y:.2f} " for k, (x, y) in enumerate(places))))
    farthest = max(min(distance(place, *ends) for ends in itertools.pairwise([*corners, corners[-1]])) for place in map(tuple, places))
    # SLACK, and the rounding to a tenth in two directions of the ends: 0.05 sqrt(2); the text had two decimals: 0.005 sqrt(2).
    assert farthest < 0.125 + 0.055 * 2**0.5 + 1e-9


def distance(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    a, b, p = (np.array(one) for one in (start, end, point))
    share = 0.0 if (a == b).all() else float(np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1))
    return float(np.hypot(*(p - a - share * (b - a))))


def test_a_path_that_is_not_understood_is_refused() -> None:
    with pytest.raises(ValueError, match="'A'"):
        short_path("M 0 0 A 1 1 0 0 0 2 2")


def test_places_far_outside_do_not_cost_the_precision_of_those_inside() -> None:
    """An interval a trillion margins wide: in single precision, as browsers add, the corners inside the page stay where they are."""
    path = short_path("M 67 -2633507842115 L 67 3207355945098 L 73 885 L 78.5 550 L 90 382 L 100 40.5 L 110 41 z")
    at = np.zeros(2, dtype=np.float32)
    for x, y in np.diff(np.array([(0.0, 0.0), *followed(path)]), axis=0):
        at = at + np.array([x, y], dtype=np.float32)
    # Sums of numbers up to 20 000 in single precision: 2^-24 · 20 000 = 0.0012 for each of seven corners, and the rounding to a tenth.
    np.testing.assert_allclose(at, [110, 41], atol=7 * 0.0012 + 0.05)


def test_symbols_of_one_series_become_one_path() -> None:
    circle = "M 0 3 " + "".join(f"C 0 0 0 0 {3 * np.sin(angle):.6f} {3 * np.cos(angle):.6f} " for angle in np.linspace(0, 2 * np.pi, 9)[1:])
    body = f'<defs><path id="m" d="{circle}z "/></defs><g>' + "".join(
        f'<use href="#m" x="{x}.25" y="7" style="fill: red; fill-opacity: 0.5"/>' for x in range(30)
    )
    styles = DrawingStyles()
    small = compact(body + "</g>", styles)
    assert small.count("<path") == 1
    assert "<use" not in small
    assert "<defs" not in small
    assert "stroke-width:6" in styles.css()
    assert len(small) < 400


def test_other_symbols_stay() -> None:
    body = '<defs><path id="m" d="M 0 -3 L -3 3 L 3 3 z "/></defs><use href="#m" x="1.25" y="7" style="fill: red"/>'
    small = compact(body, DrawingStyles())
    assert small.count("<use") == 1
    assert 'id="m"' in small


@pytest.mark.parametrize("figure", sample_figures(), ids=lambda figure: figure.id)
def test_drawings_are_small(figure: FigureData) -> None:
    svg = render(figure)[0]
    small = prepare_figure(svg, name="f0", label="", styles=DrawingStyles())
    panels = max(2, len({name.rpartition("|")[0] for name in figure.arrays}))  # a comparison has its residuals below
    assert len(small.encode()) < min(panels * BYTES, 0.6 * len(svg.encode()))
    words = [re.sub(r"<[^>]*>|&#8203;", "", text) for text in re.findall(r"<text\b.*?</text>", svg, flags=re.DOTALL)]
    assert [re.sub(r"<[^>]*>|&#8203;", "", text) for text in re.findall(r"<text\b.*?</text>", small, flags=re.DOTALL)] == words


def test_many_points_are_still_a_small_drawing() -> None:
    figure = sample_figures()[0]
    x = np.linspace(0.0, 180.0, 5000)
    wave = np.cos(np.radians(x))
    columns = {"x": x, "prediction": wave, "measured": wave + 0.02, "lower": wave - 0.1, "upper": wave + 0.1}
    arrays = {f"ReLU/{name}": column for name, column in {**columns, "margin": np.full(5000, 0.05)}.items()}
    svg = render(type(figure)(**{**vars(figure), "arrays": arrays}))[0]
    assert len(prepare_figure(svg, name="f0", label="", styles=DrawingStyles())) < 2 * BYTES
