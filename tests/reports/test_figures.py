"""Every kind of figure: drawn, labelled, the same bytes each time, and honest about what it cannot show."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from reports.figure_data import FigureData
from reports.figures import KINDS, draw, render
from reports.style import plain_or_math
from tests.support.sample_report import sample_figures

FIGURES = {figure.id: figure for figure in sample_figures()}
ROOT = Path(__file__).resolve().parents[2]


def line(**columns: object) -> FigureData:
    arrays = {f"line/{name}": np.asarray(values, dtype=float) for name, values in columns.items()}
    return FigureData("line", "comparison", "A line", "Straight.", "G1", arrays, {"x": "width m", "y": "K"})


def test_sample_has_every_kind() -> None:
    assert {figure.kind for figure in FIGURES.values()} == set(KINDS)


@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_titled_and_series_labelled(name: str) -> None:
    figure = draw(FIGURES[name])
    lowest = max(axes.get_subplotspec().get_gridspec().nrows for axes in figure.axes) - 1
    for axes in figure.axes:
        if axes.get_subplotspec().rowspan.start == lowest:
            assert axes.get_xlabel()
    words = {text.get_text() for text in figure.findobj(Text)}
    keys = (key.rpartition("/")[0].rpartition("|")[2].partition("@")[0] for key in FIGURES[name].arrays)
    assert set(keys) <= words
    panels = {key.rpartition("|")[0] for key in FIGURES[name].arrays} - {""}
    assert panels <= words


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_drawn_outside_the_page(name: str) -> None:
    """Every text lies within the figure, to within 2 pixels of antialiasing."""
    figure = draw(FIGURES[name])
    figure.draw_without_rendering()
    width, height = figure.bbox.width, figure.bbox.height
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible():
            box = text.get_window_extent()
            outside = box.x0 < -2 or box.y0 < -2 or box.x1 > width + 2 or box.y1 > height + 2
            # Ticks beyond the limits of an axis exist but are not drawn.
            ticks = [label for axes in figure.axes for label in (*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both"))]
            assert not outside or text in ticks, text.get_text()


@pytest.mark.parametrize("name", ["G2-network-at-initialisation", "figure-4"])
def test_same_arrays_same_bytes(name: str) -> None:
    assert render(FIGURES[name]) == render(FIGURES[name])


def test_same_bytes_in_another_process() -> None:
    """Neither hash randomisation nor the time of day enters a file."""
    code = (
        "import hashlib, numpy as np; from reports.figure_data import FigureData; from reports.figures import render\n"
        "x = np.linspace(0.1, 1, 60)\n"
        "columns = ('x', 'prediction', 'measured', 'lower', 'upper', 'margin')\n"
        "data = FigureData('f', 'comparison', 'T', 'C', 'G1', {f'a/{column}': x for column in columns})\n"
        "svg, png = render(data)\n"
        "digest = hashlib.sha256(svg.encode() + png).hexdigest()"
    )
    here: dict[str, str] = {}
    exec(code, here)
    found = subprocess.run([sys.executable, "-c", code + "\nprint(digest)"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == here["digest"]


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(mpl.rcParams)
    render(line(x=[1, 2], prediction=[1, 2]))
    assert dict(mpl.rcParams) == before


def test_comparison_draws_the_residual_in_margins() -> None:
    figure = draw(
        line(
            x=[1, 2, 3],
            prediction=[1.0, 1.0, 1.0],
            measured=[1.0, 1.05, 0.9],
            lower=[0.9, 1.0, 0.8],
            upper=[1.1, 1.1, 1.0],
            margin=[0.1] * 3,
        )
    )
    residual = figure.axes[1]
    dots = next(one for one in residual.lines if one.get_marker() == "o")
    # (measured − prediction)/margin; 0.1 has a relative rounding of 2^-53, amplified tenfold by the division.
    np.testing.assert_allclose(dots.get_ydata(), [0.0, 0.5, -1.0], atol=1e-14)
    low, high = residual.get_ylim()
    assert low < -2.0 < 1.0 < high


def test_comparison_without_margin_has_no_residual_panel() -> None:
    assert len(draw(line(x=[1, 2], prediction=[1, 2], measured=[1, 2])).axes) == 1


def test_huge_residuals_keep_the_margin_visible() -> None:
    figure = draw(line(x=[1, 2], prediction=[0, 0], measured=[0.5, 1e8], lower=[0.4, 9e7], upper=[0.6, 1.1e8], margin=[1.0, 1.0]))
    assert figure.axes[1].get_yscale() == "symlog"


def test_points_become_a_band_when_they_are_many() -> None:
    x = np.linspace(0, 1, 200)
    figure = draw(line(x=x, measured=x, lower=x - 0.1, upper=x + 0.1))
    assert not [one for one in figure.axes[0].lines if one.get_marker() == "o"]
    assert "measured, with its band" in {text.get_text() for text in figure.findobj(Text)}


def test_log_axis_leaves_out_what_it_cannot_show() -> None:
    data = line(x=[0, 1, 10, 100], measured=[1, 0.1, 0.0, 0.01])
    figure = draw(replace(data, labels={"xscale": "log", "yscale": "log"}))
    dots = next(one for one in figure.axes[0].lines if one.get_marker() == "o")
    shown = np.isfinite(dots.get_ydata())
    assert shown.tolist() == [False, True, False, True]


def test_nan_is_a_gap_not_an_error() -> None:
    svg, _ = render(line(x=[1, 2, 3], prediction=[1, np.nan, 3], measured=[1, 2, np.nan], margin=[0.1] * 3))
    assert "nan" not in svg.lower().replace("nance", "")


def test_end_labels_do_not_overlap() -> None:
    arrays = {}
    for k in range(6):
        arrays |= {f"series {k}/x": np.arange(3.0), f"series {k}/prediction": np.full(3, 1.0 + 1e-3 * k)}
    figure = draw(FigureData("f", "comparison", "", "", "G1", arrays))
    figure.draw_without_rendering()
    boxes = sorted(
        (text.get_window_extent().y0, text.get_window_extent().y1) for text in figure.findobj(Text) if text.get_text().startswith("series")
    )
    assert len(boxes) == 6
    assert all(below[1] <= above[0] + 1 for below, above in itertools.pairwise(boxes))


def label_height(figure: Figure, label: str) -> float:
    """Height of a direct label in the units of the first panel's vertical axis."""
    axes = figure.axes[0]
    note = next(text for text in axes.texts if text.get_text() == label)
    box = note.get_window_extent()
    return float(axes.transData.inverted().transform((0.0, (box.y0 + box.y1) / 2))[1])


def test_a_name_stands_where_the_measurement_ends() -> None:
    """Theory and measurement have one colour; the name belongs to what was measured, unless that stops before the theory."""
    x = np.arange(5.0)
    early = np.where(x < 4, 0.0, np.nan)
    for measured, wanted in ((np.zeros(5), 0.0), (early, 4.0)):
        figure = draw(line(x=x, prediction=x, measured=measured))
        figure.draw_without_rendering()
        assert label_height(figure, "line") == pytest.approx(wanted, abs=0.15)


def texts_and_lines(figure: Figure, names: set[str]) -> tuple[dict[str, Bbox], list[Bbox]]:
    """Boxes of the named texts and of the upright dashed lines of the first panel, in pixels."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    texts = {text.get_text(): text.get_window_extent() for text in axes.texts if text.get_text() in names}
    upright = [one for one in axes.lines if one.get_linestyle() == "--" and len(set(one.get_xdata())) == 1]
    return texts, [one.get_window_extent() for one in upright]


@pytest.mark.parametrize("places", [(40, 54), (48, 49), (2, 3), (96, 98), (1, 99), (49, 50, 52), (1, 2, 3), (97, 98, 99), (50,)])
def test_texts_of_marks_cross_neither_lines_nor_each_other(places: tuple[int, ...]) -> None:
    x = np.linspace(0.0, 100.0, 60)
    named = {f"mark:{'rule' if k % 2 else 'noisy-loss turn'} {k}": str(place) for k, place in enumerate(places)}
    figure = draw(replace(line(x=x, measured=x), labels={**named, "xlim": "0,100"}))
    texts, lines = texts_and_lines(figure, {key.partition(":")[2] for key in named})
    assert len(texts) == len(lines) == len(places)
    for text in texts.values():
        assert not [one for one in lines if text.x0 < one.x0 < text.x1 and one.y1 > text.y0]
        assert not [other for other in texts.values() if other is not text and text.overlaps(other)]


def test_of_two_marks_the_first_has_its_text_on_the_left() -> None:
    x = np.linspace(0.0, 100.0, 60)
    figure = draw(replace(line(x=x, measured=x), labels={"mark:rule": "54", "mark:noisy-loss turn": "40"}))
    texts, lines = texts_and_lines(figure, {"rule", "noisy-loss turn"})
    first, last = sorted(one.x0 for one in lines)
    assert texts["noisy-loss turn"].x1 <= first
    assert texts["rule"].x0 >= last


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_text_of_a_reference_keeps_clear_of_the_curves(start: float) -> None:
    """A curve that leaves the level, or comes to it: the text stands at the other end."""
    x = np.linspace(0.0, 1.0, 60)
    curve = np.abs(x - start)
    figure = draw(replace(line(x=x, measured=curve), labels={"reference:a level": "0"}))
    texts, _ = texts_and_lines(figure, {"a level"})
    box = texts["a level"]
    seen = figure.axes[0].transData.transform(np.stack([x, curve], axis=1))
    assert not [spot for spot in seen if box.contains(*spot)]
    assert (box.x0 < figure.axes[0].bbox.x0 + figure.axes[0].bbox.width / 2) == (start == 1.0)


@pytest.mark.parametrize(("count", "symbol"), [(5, "interval"), (60, "band")])
@pytest.mark.parametrize("spread", [False, True])
def test_key_shows_bars_and_bands_only_where_there_are_some(count: int, symbol: str, spread: bool) -> None:
    x = np.linspace(0, 1, count)
    axes = draw(line(x=x, measured=x, **({"lower": x - 0.1, "upper": x + 0.1} if spread else {}))).axes[0]
    assert f"measured{f', with its {symbol}' if spread else ''}" in {text.get_text() for text in axes.texts}
    bars = [one for one in axes.lines if not one.get_clip_on() and list(one.get_xdata()) == [8.0, 8.0]]
    assert (len(axes.patches), len(bars)) == ((0, int(spread)) if symbol == "interval" else (int(spread), 0))


def test_outermost_dots_are_whole() -> None:
    x = np.geomspace(1, 100, 6)
    data = FigureData(
        "f", "figure_9", "", "", "F9", {"one|train/x": x, "one|train/measured": np.zeros(6), "one|test/x": x, "one|test/measured": x}
    )
    for figure in (draw(data), draw(line(x=x, measured=x))):
        axes = figure.axes[0]
        for dots in (one for one in axes.lines if one.get_marker() == "o" and one.get_clip_on()):
            radius = dots.get_markersize() / 2 * figure.dpi / 72
            for spot in axes.transData.transform(np.stack([dots.get_xdata(), dots.get_ydata()], axis=1)):
                assert np.all(spot >= [axes.bbox.x0 + radius, axes.bbox.y0 + radius])
                assert np.all(spot <= [axes.bbox.x1 - radius, axes.bbox.y1 - radius])


def test_names_of_histograms_keep_clear_of_lines_and_edges() -> None:
    figure = draw(FIGURES["figure-4"])
    texts, lines = texts_and_lines(figure, {"clean", "noise", "other"})
    assert len(texts) == 3
    for box in texts.values():
        assert figure.axes[0].bbox.x0 <= box.x0 + 1
        assert box.x1 <= figure.axes[0].bbox.x1 + 1
        assert not [one for one in lines if box.x0 < one.x0 < box.x1]


def test_figure_10_names_its_colours_once() -> None:
    words = [text.get_text() for text in draw(FIGURES["figure-10"]).findobj(Text)]
    assert [words.count(name) for name in ("clean", "noise", "other")] == [1, 1, 1]


def test_svg_holds_text_as_text_and_no_date() -> None:
    svg, png = render(replace(line(x=[1, 2], prediction=[1, 2]), labels={"x": "angle θ_d (degrees)"}))
    assert 'θ<tspan dy="2.2" font-size="75%">d</tspan>' in svg
    assert not re.search(r"<metadata|<dc:date|Matplotlib v", svg)
    assert png.startswith(b"\x89PNG")
    assert b"Software" not in png
    assert b"Matplotlib" not in png


@pytest.mark.parametrize(
    ("text", "shown"), [("plain", "plain"), (r"$\theta_d$", r"$\theta_d$"), ("costs $5", r"costs \$5"), (r"$\nonsense$", r"\$\nonsense\$")]
)
def test_dollar_signs(text: str, shown: str) -> None:
    assert plain_or_math(text) == shown


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "pie"}, "'pie'"),
        ({"arrays": {}}, "no data"),
        ({"arrays": {"line/x": np.empty(0)}}, "no data"),
        ({"arrays": {"x": np.arange(2.0)}}, "'x'"),
        ({"arrays": {"line/x": np.arange(2.0), "line/measured": np.arange(3.0)}}, "'measured': 3"),
        ({"arrays": {"line/measured": np.arange(3.0)}}, "no column 'x'"),
        ({"labels": {"xscale": "square"}}, "'square'"),
        ({"kind": "figure_3"}, "'angle'"),
    ],
)
def test_bad_figures_are_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)) as caught:
        draw(replace(line(x=[1, 2], prediction=[1, 2]), **change))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_figure_3_without_a_plane_shows_the_angles_alone() -> None:
    data = FIGURES["figure-3"]
    angles = {name: array for name, array in data.arrays.items() if not name.startswith("cluster")}
    assert len(draw(replace(data, arrays=angles)).axes) == 1


def test_figure_4_marks_the_segment_gradients() -> None:
    figure = draw(FIGURES["figure-4"])
    places = {float(np.ravel(one.get_xdata())[0]) for one in figure.axes[0].lines if one.get_linestyle() == "--"}
    assert places == {0.0, 112.0, 176.5}
