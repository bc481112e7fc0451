"""Ticks, grid and their numbers as a handful of objects for each axis, in the look that style.py gives matplotlib's own.

Matplotlib keeps five objects for every tick and lays their texts out twice in every pass. Once a figure is composed its ticks do not
move any more, so each axis gets one line for its grid, one for its ticks, one for the small ticks between powers of ten, and its numbers.
That takes a quarter off the time of drawing, and lets the numbers of one axis be written in one way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import NullFormatter, NullLocator

from reports.style import GRID, MUTED

__all__ = ["plain_ticks", "power_text", "text_width"]

TICK, SMALL_TICK, GAP = 3.0, 1.8, 3.5  # points: lengths of ticks, distance of their numbers
NUMBERS, LABEL_GAP = 8.5, 4.0  # points: size of the numbers, distance of an axis title from them
LINE = 1.17  # height of a line of text over its size
MANTISSAS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 2.0, 3.0, 4.0, 6.0, 8.0))  # of the numbers on a logarithmic axis, coarse to fine
FEWEST = 3  # numbers that a logarithmic axis ought to show


@dataclass(frozen=True)
class _Scale:
    """What one axis shows: places of its numbers and their texts, places of the small ticks."""

    places: Sequence[float]
    texts: Sequence[str]
    small: Sequence[float]


def plain_ticks(figure: Figure) -> None:
    """Replace the ticks of every axis of a composed figure by a few objects that look the same, and place the axis titles.

    Args:
        figure: its limits, scales and subplots are final.
    """
    for axes in figure.axes:
        axes.apply_aspect()  # may widen the limits
    # All are read before any is changed: panels that share an axis share its locator.
    found = [(axes, axis, _read(axis)) for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    widest: dict[int, float] = {}
    for axes, axis, scale in found:
        if axis is axes.yaxis:
            column = round(axes.get_position().x0 * 1000)
            widest[column] = max([widest.get(column, 0.0), *(text_width(text, NUMBERS) for text in scale.texts)])
    for axes, axis, scale in found:
        axes.autoscale(False)
        for set_locator, set_formatter in (
            (axis.set_major_locator, axis.set_major_formatter),
            (axis.set_minor_locator, axis.set_minor_formatter),
        ):
            set_locator(NullLocator())
            set_formatter(NullFormatter())
        _draw(axes, scale, across=axis is axes.xaxis)
        box = axes.get_position()
        width, height = (float(size) for size in figure.get_size_inches() * 72)
        if axis is axes.xaxis:
            axis.set_label_coords(0.5, -(TICK + GAP + LINE * NUMBERS + LABEL_GAP) / (box.height * height))
        else:
            lines = 1 + axes.get_ylabel().count("\n")
            room = box.x0 * width - LINE * float(axis.label.get_fontsize()) * lines  # the title stays within the figure
            left = TICK + GAP + widest[round(box.x0 * 1000)] + LABEL_GAP
            axis.set_label_coords(-min(left, room) / (box.width * width), 0.5)


def power_text(value: float) -> str:
    """A number as a power of ten where it is one.

    Example:
        >>> power_text(1000.0), power_text(-2e-5), power_text(0.0)
        ('10³', '−2·10⁻⁵', '0')
    """
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    factor = f"{abs(value) / 10.0**exponent:.6g}"
    power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return ("−" if value < 0 else "") + (power if factor == "1" else f"{factor}·{power}")


@cache
def text_width(text: str, size: float) -> float:
    """Width of a text in DejaVu Sans, in points, at a size in points.

    Example:
        >>> 10.0 < text_width("0.25", 8.5) < 30.0
        True
    """
    width, _height, _descent = text_to_path.get_text_width_height_descent(text, FontProperties(family="DejaVu Sans", size=size), False)
    return float(width)


def _read(axis: Axis) -> _Scale:
    """The numbers in view and their texts, as matplotlib would show them or better."""
    low, high = sorted(float(end) for end in axis.get_view_interval())
    slack = 1e-9 * (high - low)

    def within(places: Sequence[float]) -> list[float]:
        return [float(place) for place in places if low - slack <= place <= high + slack]

    hidden = not axis.get_tick_params(which="major").get("labelbottom" if isinstance(axis, XAxis) else "labelleft", True)
    if axis.get_scale() == "log":
        places, small = _powers(low, high)
        return _Scale(places, [] if hidden else _log_texts(places), small)
    every = list(axis.get_majorticklocs())
    formatter = axis.get_major_formatter()
    texts = formatter.format_ticks(every)
    shown = [(float(place), text) for place, text in zip(every, texts, strict=True) if low - slack <= place <= high + slack]
    if formatter.get_offset():  # a common factor above the axis would stand where the key stands
        shown = [(place, power_text(place)) for place, _ in shown]
    return _Scale([place for place, _ in shown], [] if hidden else [text for _, text in shown], within(list(axis.get_minorticklocs())))


def _powers(low: float, high: float) -> tuple[list[float], list[float]]:
    """Places of the numbers and of the small ticks on a logarithmic axis: powers of ten, and fewer or more where there are many or few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    edge = 1e-9
    small = [m * 10.0**k for k in range(first, last + 1) for m in range(1, 10)]
    inside = [place for place in small if low * (1 - edge) <= place <= high * (1 + edge)]
    powers = [10.0**k for k in range(first, last + 1) if low * (1 - edge) <= 10.0**k <= high * (1 + edge)]
    if len(powers) > 8:
        return powers[:: -(-len(powers) // 8)], powers
    for mantissas in MANTISSAS:
        places = [m * 10.0**k for k in range(first, last + 1) for m in mantissas]
        places = [place for place in places if low * (1 - edge) <= place <= high * (1 + edge)]
        if len(places) >= FEWEST:
            return places, inside
    return list(np.linspace(low, high, 5)[1:-1].round(2 - math.floor(math.log10(high - low)))), []


def _log_texts(places: Sequence[float]) -> list[str]:
    """Plain numbers from 0.001 to below 10⁴; where the axis leaves that range, powers of ten for all that are not near 1."""
    if all(0.0009 < place < 9999 for place in places):
        return [f"{place:g}" for place in places]
    return [f"{place:g}" if 0.09 < place < 101 else power_text(place) for place in places]


def _draw(axes: Axes, scale: _Scale, *, across: bool) -> None:
    """Grid, ticks and numbers of one axis."""
    along = axes.get_xaxis_transform() if across else axes.get_yaxis_transform()

    def line(places: Sequence[float], **look: object) -> None:
        edge = np.zeros(len(places))
        ticks = Line2D(places if across else edge, edge if across else places, transform=along, linestyle="none", color=MUTED, **look)  # type: ignore[arg-type]
        ticks.set_clip_on(False)
        axes.add_artist(ticks)

    gaps = np.ravel([(place, place, np.nan) for place in scale.places])
    ends = np.tile([0.0, 1.0, np.nan], len(scale.places))
    grid = Line2D(gaps if across else ends, ends if across else gaps, transform=along, color=GRID, linewidth=0.7, zorder=0.5)
    axes.add_artist(grid)
    marker = 3 if across else 0  # markers.TICKDOWN, markers.TICKLEFT
    if len(scale.small):
        line(scale.small, marker=marker, markersize=SMALL_TICK, markeredgewidth=0.6, zorder=0.6)
    line(scale.places, marker=marker, markersize=TICK, markeredgewidth=0.7, zorder=0.6)
    if across:
        where, upright, sideways = axes.get_xaxis_text1_transform(TICK + GAP)
    else:
        where, upright, sideways = axes.get_yaxis_text1_transform(TICK + GAP)
    for place, text in zip(scale.places, scale.texts, strict=False):
        spot = (place, 0.0) if across else (0.0, place)
        axes.text(*spot, text, transform=where, ha=sideways, va=upright, fontsize=NUMBERS, color=MUTED)
