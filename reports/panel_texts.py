"""Texts in and around a panel: marked places, reference levels, names of the curves, the key; none is written over another or over data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Affine2D, ScaledTranslation
from numpy.typing import NDArray

from reports.series import MANY_POINTS, Series
from reports.style import INK, MUTED, PAPER, plain_or_math
from reports.ticks import text_width

__all__ = ["DIRECT", "direct_labels", "key_line", "legend_line", "marks", "panel_size"]

DIRECT = 8.5  # size of a direct label, in points
SMALL = 8.0  # size of the texts of marks, references and the key
POINT_LABEL_GAP = 11.5  # smallest distance between two direct labels, in points
ROW = 11.0  # points from the text of one mark to that of the next
ASIDE = 3.0  # points from a line to its text
OVERHANG = 22.0  # points that the text of the last of several marks may reach beyond the panel, where head room keeps curves away
DASHED = (0, (4, 3))
_CLEAR: Mapping[str, Any] = {"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.6}


@dataclass
class _Mark:
    """A vertical line: its place in data and in points, its text's side and row, and how many rows of other texts it ends below."""

    place: float
    text: str
    at: float
    left: bool = False
    row: int = 0
    below: int = 0

    def box(self, *, left: bool) -> tuple[float, float]:
        """Ends of its text in points, with the text on one side."""
        width = text_width(self.text, SMALL) + ASIDE
        return (self.at - width, self.at) if left else (self.at, self.at + width)


def marks(axes: Axes, labels: Mapping[str, str], *, panel: str = "", series: Sequence[Series] = ()) -> None:
    """Draw the vertical lines ``mark:<text>`` with their texts at the panel's top edge, and the horizontal ``reference:<text>``.

    Args:
        axes: the panel, its curves drawn.
        labels: those of the figure.
        panel: its name; ``mark:<panel>|<text>`` stands in it alone.
        series: what is drawn in it; the text of a reference keeps clear of that.
    """
    vertical: list[tuple[float, str]] = []
    horizontal: list[tuple[float, str]] = []
    for key, value in labels.items():
        kind, _, text = key.partition(":")
        where, bar, rest = text.partition("|")
        if kind in ("mark", "reference") and not (bar and where != panel):
            (vertical if kind == "mark" else horizontal).append((float(value), plain_or_math(rest if bar else text)))
    for height, _ in horizontal:
        axes.axhline(height, color=MUTED, linewidth=0.9, linestyle=DASHED, zorder=1.8)
    width, height = panel_size(axes)
    placed = [_Mark(place, text, float(_in_points(axes, [place], [axes.get_ylim()[0]])[0, 0])) for place, text in sorted(vertical)]
    _choose_sides(placed, width)
    if placed and axes.get_autoscaley_on():  # the texts stand above the curves where the panel's height is not fixed
        head = (ROW + 2) * (1 + max(one.row for one in placed)) / height
        low, high = axes.transScale.transform([(1.0, end) for end in axes.get_ylim()])[:, 1]
        axes.set_ylim(top=float(axes.transScale.inverted().transform((0.0, high + head * (high - low)))[1]))
    taken = [*_drawn(axes, series), *_vertical_marks(axes, placed)]
    for height, text in horizontal:
        taken.append(_reference_text(axes, height, text, np.array(taken).reshape(-1, 4)))


def _vertical_marks(axes: Axes, placed: Sequence[_Mark]) -> list[tuple[float, float, float, float]]:
    """Draw vertical lines and their texts; returns what they cover, as boxes (left, bottom, right, top) in points."""
    height = panel_size(axes)[1]
    boxes = []
    for one in placed:
        top = height - ROW * one.below
        axes.axvline(one.place, ymax=top / height, color=INK, linewidth=0.9, linestyle=DASHED, zorder=1.8)
        axes.annotate(
            one.text,
            (one.place, 1.0),
            (-ASIDE if one.left else ASIDE, -9 - ROW * one.row),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if one.left else "left",
            color=INK,
            fontsize=SMALL,
            zorder=5,
            bbox={**_CLEAR, "pad": 0.8},
        )
        left, right = one.box(left=one.left)
        boxes += [(one.at - 1, 0.0, one.at + 1, top), (left, height - ROW * (one.row + 1), right, height - ROW * one.row)]
    return boxes


def _choose_sides(placed: Sequence[_Mark], width: float) -> None:
    """Give each mark's text a side on which it crosses no other line: the first's is on the left, the last's on the right.

    Where there is no such side, the lines that a text would cross end below it.
    """

    def crossed(one: _Mark, left: bool) -> list[_Mark]:
        start, end = one.box(left=left)
        return [other for other in placed if other is not one and start - ASIDE <= other.at <= end + ASIDE]

    def within(one: _Mark, left: bool) -> bool:
        start, end = one.box(left=left)
        return start >= 0 and end <= width + (OVERHANG if len(placed) > 1 else 0.0)

    for position, one in enumerate(placed):
        # Alone, it keeps away from the names beside the panel.
        wish = one.at > 0.6 * width if len(placed) == 1 else position < len(placed) / 2 and position < len(placed) - 1
        sides = [side for side in (wish, not wish) if within(one, side)] or [wish]
        one.left = min(sides, key=lambda side, mark=one: len(crossed(mark, side)))  # type: ignore[misc]
    done: list[_Mark] = []
    for one in sorted(placed, key=lambda mark: -len(crossed(mark, mark.left))):
        (start, end), others = one.box(left=one.left), [(mark.row, *mark.box(left=mark.left)) for mark in done]
        busy = {row for row, low, high in others if low < end + ASIDE and start < high + ASIDE}
        one.row = next(row for row in range(one.below, one.below + len(placed) + 1) if row not in busy)
        for other in crossed(one, one.left):
            other.below = max(other.below, one.row + 1)
        done.append(one)


def _reference_text(axes: Axes, level: float, text: str, taken: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Write the text of a horizontal line where nothing is drawn, from the right end on; returns the box that it covers, in points."""
    width, height = panel_size(axes)
    wide = text_width(text, SMALL)
    low, high = (float(end) for end in axes.get_xlim())
    base = float(_in_points(axes, [np.sqrt(low * high) if axes.get_xscale() == "log" else low], [level])[0, 1])
    starts = np.maximum(np.linspace(width - wide - 4, 4, 25), 0)
    best: tuple[int, float, float] | None = None
    for start in (starts[0], starts[-1], *starts[1:-1]):
        for rise in (2.5, -2.5 - SMALL):
            box = (start - 1, base + rise - 1, start + wide + 1, base + rise + SMALL + 1)
            over = np.sum((taken[:, 0] < box[2]) & (taken[:, 2] > box[0]) & (taken[:, 1] < box[3]) & (taken[:, 3] > box[1]))
            cost = int(over) + 10_000 * (box[1] < 0 or box[3] > height + 6)
            if best is None or cost < best[0]:
                best = cost, float(start), rise
    assert best is not None
    cost, start, rise = best
    axes.annotate(
        text,
        (0.0, level),
        (start, rise + 0.22 * SMALL),  # from the lower edge of the letters to their baseline
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=MUTED,
        fontsize=SMALL,
        zorder=5,
        bbox=None if cost else dict(_CLEAR),  # where no place is free the data are not erased
    )
    return start, base + rise, start + wide, base + rise + SMALL


def _drawn(axes: Axes, series: Sequence[Series]) -> list[tuple[float, float, float, float]]:
    """What the curves, bands, points and bars of a panel cover, as small boxes (left, bottom, right, top) in points."""
    width, _ = panel_size(axes)
    boxes: list[NDArray[np.float64]] = []
    for one in series:
        x = one.get("x")
        if x is None:
            continue
        joined = len(x) > MANY_POINTS
        for lower, upper, line in (("prediction", "prediction", True), ("measured", "measured", joined), ("lower", "upper", joined)):
            low, high = one.get(lower), one.get(upper)
            if low is None or high is None:
                continue
            below, above = _in_points(axes, x, low), _in_points(axes, x, high)
            keep = np.all(np.isfinite(below) & np.isfinite(above), axis=1) & ((x > 0) | (axes.get_xscale() != "log"))
            order = np.argsort(below[keep, 0], kind="stable")
            places, bottom, top = below[keep, 0][order], below[keep, 1][order], above[keep, 1][order]
            half = 1.0 if lower != "measured" else 3.0
            if line and len(places) > 1:
                grid = np.arange(max(0.0, places[0]), min(width, places[-1]), 2.0)
                grid = np.union1d(grid, places[(places >= 0) & (places <= width)])
                bottom, top = np.interp(grid, places, bottom), np.interp(grid, places, top)
                ends = np.minimum(np.arange(1, len(grid) + 1), len(grid) - 1)
                places, bottom, top = grid, np.minimum(bottom, bottom[ends]), np.maximum(top, top[ends])
            boxes.append(np.stack([places - half, bottom - half, places + half, top + half], axis=1))
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in np.concatenate(boxes)] if boxes else []


def panel_size(axes: Axes) -> tuple[float, float]:
    """Width and height of a panel in points."""
    box, figure = axes.get_window_extent(), axes.get_figure(root=True)
    points = 72.0 / (figure.dpi if figure else 72.0)
    return float(box.width) * points, float(box.height) * points


def _in_points(axes: Axes, x: Sequence[float] | NDArray[np.float64], y: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Places in points from the panel's lower left corner, shape [k, 2]."""
    box, figure = axes.get_window_extent(), axes.get_figure(root=True)
    spots: NDArray[np.float64] = np.asarray(axes.transData.transform(np.stack([np.asarray(x), np.asarray(y)], axis=1)), dtype=float)
    spots = (spots - [box.x0, box.y0]) * (72.0 / (figure.dpi if figure else 72.0))
    return spots


def direct_labels(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each series' name at its right-hand end, outside the axes, moved apart where they would touch.

    Args:
        axes: the panel, its limits already set.
        ends: for each series x and y of its end, its label and its colour.
    """
    wanted = [float(_in_points(axes, [x], [y])[0, 1]) for x, y, *_ in ends]
    order = np.argsort(wanted, kind="stable")
    height = panel_size(axes)[1]
    placed = np.clip(np.asarray(wanted, dtype=float)[order], 2.0, height - 2.0)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + POINT_LABEL_GAP)
    placed -= max(0.0, (placed[-1] - height)) if len(placed) else 0.0
    for i in range(len(placed) - 2, -1, -1):
        placed[i] = min(placed[i], placed[i + 1] - POINT_LABEL_GAP)
    for rank, index in enumerate(order):
        _, _, label, color = ends[index]
        axes.annotate(
            label,
            (1.0, 0.0),
            (6, placed[rank]),
            xycoords="axes fraction",
            textcoords="offset points",
            va="center",
            color=color,
            fontsize=DIRECT,
            annotation_clip=False,
        )


def legend_line(axes: Axes, series: Sequence[Series], *, left: float, up: float) -> None:
    """Name the colours once above a figure of many small panels, in which names beside the data would lie on each other.

    Args:
        axes: the panel from whose upper left corner places are counted.
        series: those that are named; of several with one label the first.
        left: where the first name starts, in points.
        up: height of the line of names, in points.
    """
    colors: dict[str, str] = {}
    for one in series:
        colors.setdefault(one.label, one.color)
    for label, color in colors.items():
        spot = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(label, (0, 1), (left, up), color=color, fontsize=SMALL, **spot)  # type: ignore[arg-type]
        left += text_width(label, SMALL) + 9


def key_line(axes: Axes, series: Sequence[Series], *, margins: bool = False) -> None:
    """Say above the panel which stroke is the theory, which the measurement, which the margin."""
    parts: list[tuple[str, str]] = []
    if any("prediction" in one.columns for one in series):
        parts.append(("line", "theory"))
    measured = [one for one in series if "measured" in one.columns]
    if measured:
        many = all(len(one.columns["x"]) > MANY_POINTS for one in measured)
        spread = any((ends := one.get("lower")) is not None and bool(np.any(np.isfinite(ends))) for one in measured)
        parts.append(("course" if many else "dot", "measured"))
        if spread:
            parts[-1] = ("band", "measured, with its band") if many else ("bar", "measured, with its interval")
    if margins:
        parts.append(("margin", "margin"))
    # In points from the panel's upper left corner; the symbols are 15 wide, the widths of the texts are known.
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("axes must belong to a figure, got axes of none")
    points = Affine2D().scale(1 / 72) + figure.dpi_scale_trans + ScaledTranslation(0.0, 1.0, axes.transAxes)  # type: ignore[arg-type]
    left, low, middle, high = 0.0, 4.0, 8.0, 12.0

    def stroke(x: Sequence[float], y: Sequence[float], **look: Any) -> None:
        axes.add_line(Line2D([left + place for place in x], y, transform=points, color=INK, clip_on=False, **look))

    def block(color: str, alpha: float) -> None:
        axes.add_patch(Rectangle((left, low + 0.5), 15, 7, transform=points, facecolor=color, alpha=alpha, linewidth=0, clip_on=False))

    for symbol, text in parts:
        if symbol == "line":
            stroke([0, 15], [middle, middle], linewidth=1.3)
        elif symbol in ("band", "course"):
            if symbol == "band":
                block(INK, 0.2)
            stroke([0, 15], [middle, middle], linewidth=2.6, alpha=0.5)
        elif symbol in ("bar", "dot"):
            if symbol == "bar":
                stroke([8, 8], [low, high], linewidth=1.3)
            stroke([8], [middle], marker="o", markersize=6.0, alpha=0.5, markeredgewidth=0, linewidth=0)
        else:
            block(MUTED, 0.25)
        axes.text(left + 21, middle, text, transform=points, va="center_baseline", color=MUTED, fontsize=8)
        left += 21 + text_width(text, 8.0) + 9
