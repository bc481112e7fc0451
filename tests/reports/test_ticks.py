"""Ticks, grid and numbers of the axes: what is shown, where, and in which words."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from reports.figure_data import FigureData
from reports.figures import draw
from reports.style import style
from reports.ticks import plain_ticks, power_text, text_width


def numbers(low: float, high: float, *, scale: str = "log") -> list[str]:
    """Texts of the numbers on a horizontal axis."""
    with style():
        figure = Figure()
        axes = figure.subplots()
        axes.set(xscale=scale, xlim=(low, high), ylim=(0, 1))
        plain_ticks(figure)
        return [text.get_text() for text in axes.texts if text.get_va() == "top"]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (1, 1000, ["1", "10", "100", "1000"]),
        (60, 4200, ["100", "300", "1000", "3000"]),
        (1, 1e5, ["1", "10", "100", "10³", "10⁴", "10⁵"]),
        (0.0008, 0.04, ["0.001", "0.003", "0.01", "0.03"]),
        (2e-6, 3e-3, ["10⁻⁵", "10⁻⁴", "10⁻³"]),
        (1.5, 9, ["2", "3", "4", "6", "8"]),
    ],
)
def test_logarithmic_axes_show_at_least_three_numbers_in_one_way(low: float, high: float, wanted: list[str]) -> None:
    assert numbers(low, high) == wanted


def test_a_narrow_logarithmic_axis_is_numbered_too() -> None:
    assert len(numbers(1.01, 1.02)) >= 3


def test_many_powers_are_thinned() -> None:
    assert 3 <= len(numbers(1e-30, 1.0)) <= 8


def test_a_common_factor_stands_in_the_numbers_not_above_the_axis() -> None:
    assert "2·10⁻⁷" in numbers(0, 5e-7, scale="linear")


def test_panels_that_share_an_axis_both_keep_their_ticks() -> None:
    """Matplotlib shares the locator of a shared axis: emptying one must not empty the other."""
    with style():
        figure = Figure()
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.set(xscale="log", xlim=(1, 1000))
        upper.tick_params(labelbottom=False)
        plain_ticks(figure)
    ticks = [[tuple(line.get_xdata()) for line in axes.lines if line.get_marker() == 3] for axes in (upper, lower)]
    assert ticks[0] == ticks[1]
    assert (1.0, 10.0, 100.0, 1000.0) in ticks[0]
    shown = [[text.get_text() for text in axes.texts if text.get_va() == "top"] for axes in (upper, lower)]
    assert shown == [[], ["1", "10", "100", "1000"]]


def test_numbers_of_an_axis_that_the_aspect_widens_lie_within_it() -> None:
    with style():
        figure = Figure(figsize=(6.0, 3.0))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1])
        axes.set_aspect("equal", adjustable="datalim")
        plain_ticks(figure)
        figure.draw_without_rendering()
    shown = [(text.get_position()[0], text.get_va()) for text in axes.texts if text.get_va() == "top"]
    low, high = axes.get_xlim()
    assert high - low > 1.5
    assert {place for place, _ in shown} > {0.0, 1.0}
    assert all(low <= place <= high for place, _ in shown)


def test_few_whole_positions_have_whole_numbers() -> None:
    layers = np.array([1.0, 2.0, 3.0])
    figure = draw(FigureData("f", "comparison", "", "", "G8", {"a/x": layers, "a/prediction": layers}))
    shown = [text.get_text() for text in figure.axes[0].texts if text.get_va() == "top"]
    assert set(shown) >= {"1", "2", "3"}
    assert not [text for text in shown if "." in text]


@pytest.mark.parametrize("label", ["m = 4096", "WWWWWWWWWW", "kernel, mean-field scale"])
def test_direct_labels_lie_within_the_figure(label: str) -> None:
    x = np.array([1.0, 2.0])
    figure = draw(FigureData("f", "comparison", "", "", "G8", {f"{label}/x": x, f"{label}/prediction": x}))
    figure.draw_without_rendering()
    box = next(text for text in figure.findobj(Text) if text.get_text() == label).get_window_extent()
    assert box.x1 <= figure.bbox.width


def test_marks_have_room_above_the_curves() -> None:
    x = np.linspace(1.0, 10.0, 50)
    data = FigureData("f", "comparison", "", "", "X4", {"a/x": x, "a/measured": x}, {"mark:early stopping": "3"})
    figure = draw(data)
    assert figure.axes[0].get_ylim()[1] > 10.0 + 0.04 * 9.0


@pytest.mark.parametrize(("value", "wanted"), [(1e4, "10⁴"), (-3e-7, "−3·10⁻⁷"), (0.0, "0"), (2.5e5, "2.5·10⁵")])
def test_powers(value: float, wanted: str) -> None:
    assert power_text(value) == wanted


def test_width_grows_with_text_and_size() -> None:
    assert text_width("m", 8.0) < text_width("mm", 8.0) < text_width("mm", 9.0)
