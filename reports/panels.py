"""Building blocks of the figures: one series, a panel of curves, a panel of residuals, direct labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator
from matplotlib.transforms import Affine2D, ScaledTranslation
from numpy.typing import NDArray

from reports.figure_data import FigureData
from reports.style import INK, MUTED, PAPER, color_of, plain_or_math
from reports.ticks import power_text, text_width

__all__ = [
    "DIRECT",
    "Series",
    "curve_panel",
    "direct_labels",
    "key_line",
    "marks",
    "panels_of",
    "residual_panel",
    "scales",
    "whole_numbers",
]

MANY_POINTS = 40  # more than this many measurements are drawn as a line with a band
DIRECT = 8.5  # size of a direct label, in points
POINT_LABEL_GAP = 11.5  # smallest distance between two direct labels, in points


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


def scales(axes: Axes, labels: Mapping[str, str], *, panel: str = "") -> None:
    """Set linear or logarithmic axes and their limits."""
    for axis in ("x", "y"):
        scale = labels.get(f"{axis}scale:{panel}", labels.get(f"{axis}scale", "linear"))
        if scale not in ("linear", "log"):
            raise ValueError(f"{axis}scale must be 'linear' or 'log', got {scale!r}")
        axes.set(**{f"{axis}scale": scale})
        limits = labels.get(f"{axis}lim:{panel}", labels.get(f"{axis}lim"))
        if limits:
            axes.set(**{f"{axis}lim": tuple(float(part) for part in limits.split(","))})


def curve_panel(axes: Axes, series: Sequence[Series], *, labels: Mapping[str, str], panel: str = "", margins: bool = False) -> None:
    """Draw every series of one panel: margin, band, measurement and, over them, the prediction; then marks and direct labels."""
    scales(axes, labels, panel=panel)
    positive_x, positive_y = axes.get_xscale() == "log", axes.get_yscale() == "log"

    def shown(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values that a logarithmic axis cannot show are left out, not moved."""
        keep = np.isfinite(x) & (x > 0 if positive_x else True) & (y > 0 if positive_y else True)
        return np.where(keep, y, np.nan)

    ends: list[tuple[float, float, str, str]] = []
    for one in series:
        x = one.get("x")
        if x is None:
            raise ValueError(f"series {one.name!r} has no column 'x'")
        prediction, measured, margin = one.get("prediction"), one.get("measured"), one.get("margin")
        lower, upper = one.get("lower"), one.get("upper")
        many = len(x) > MANY_POINTS
        if margins and prediction is not None and margin is not None:
            low, high = shown(x, prediction - margin), shown(x, prediction + margin)
            axes.fill_between(x, low, high, color=MUTED, alpha=0.2, linewidth=0, zorder=1.5)
        if measured is not None:
            if many:
                if lower is not None and upper is not None:
                    axes.fill_between(x, shown(x, lower), shown(x, upper), color=one.color, alpha=0.22, linewidth=0, zorder=2)
                axes.plot(x, shown(x, measured), color=one.color, linewidth=2.6, alpha=0.5, zorder=2.4)
            else:
                if lower is not None and upper is not None:
                    axes.vlines(x, shown(x, lower), shown(x, upper), color=one.color, linewidth=1.3, alpha=0.85, zorder=2.4)
                axes.plot(x, shown(x, measured), "o", color=one.color, markersize=6.0, alpha=0.5, markeredgewidth=0, zorder=2.6)
        if prediction is not None:
            line = shown(x, prediction)
            if many and measured is not None:
                axes.plot(x, line, color=PAPER, linewidth=2.6, alpha=0.75, zorder=2.8)
            axes.plot(x, line, color=one.color, linewidth=1.3, zorder=3)
        course = shown(x, prediction if prediction is not None else measured if measured is not None else np.full_like(x, np.nan))
        seen = np.flatnonzero(np.isfinite(course))
        if len(seen) and not any(label == one.label for *_, label, _color in ends):
            last = seen[np.argmax(x[seen])]
            ends.append((float(x[last]), float(course[last]), one.label, one.color))
    axes.margins(x=0.012)
    axes.autoscale_view()
    whole_numbers(axes, series)
    marks(axes, labels, panel=panel)
    if len(ends) > 1 or (ends and ends[0][2] not in ("", "value")):
        direct_labels(axes, ends)


def whole_numbers(axes: Axes, series: Sequence[Series]) -> None:
    """Number a linear horizontal axis by whole numbers alone where the positions are few whole numbers, such as depths and classes."""
    places = np.concatenate([x for one in series if (x := one.get("x")) is not None])
    places = np.unique(places[np.isfinite(places)])
    if axes.get_xscale() == "linear" and 1 < len(places) <= MANY_POINTS and np.all(places == np.round(places)) and np.ptp(places) <= 15:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))


def residual_panel(axes: Axes, series: Sequence[Series], *, labels: Mapping[str, str]) -> None:
    """Draw (measured − prediction)/margin with its interval; the band from −1 to 1 is where the claim agrees."""
    axes.set_xscale(labels.get("xscale", "linear"))
    axes.axhspan(-1, 1, color=MUTED, alpha=0.2, linewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    reach = 1.0
    for one in series:
        x, residual = one.get("x"), one.residual()
        if x is None or residual is None:
            continue
        value, low, high = residual
        farthest, ends = (float(np.max(np.abs(part[np.isfinite(part)]), initial=1.0)) for part in (value, np.concatenate((low, high))))
        reach = max(reach, farthest, min(ends, 4 * farthest))  # one interval far wider than its margin must not hide the rest
        if len(x) > MANY_POINTS:
            axes.fill_between(x, low, high, color=one.color, alpha=0.25, linewidth=0)
            axes.plot(x, value, color=one.color, linewidth=1.2)
        else:
            axes.vlines(x, low, high, color=one.color, linewidth=1.3, alpha=0.85)
            axes.plot(x, value, "o", color=one.color, markersize=3.6, markeredgecolor=PAPER, markeredgewidth=0.5)
    if reach <= 12:
        axes.set_ylim(-1.15 * max(reach, 1.3), 1.15 * max(reach, 1.3))
    else:  # a rejected form: keep the margin visible and the distance readable
        axes.set_yscale("symlog", linthresh=2.0, linscale=1.0)
        axes.set_ylim(-2.5 * reach, 2.5 * reach)
        far = 10.0 ** np.floor(np.log10(reach))
        axes.set_yticks([-far, 0.0, far], labels=[power_text(-far), "0", power_text(far)])
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("residual\n/ margin")


def marks(axes: Axes, labels: Mapping[str, str], *, panel: str = "") -> None:
    """Draw the vertical lines ``mark:<text>`` with their texts above the panel's top edge, and the horizontal ``reference:<text>``."""
    vertical: list[tuple[float, str]] = []
    for key, value in labels.items():
        kind, _, text = key.partition(":")
        where, bar, rest = text.partition("|")
        if kind not in ("mark", "reference") or (bar and where != panel):
            continue
        text = plain_or_math(rest if bar else text)
        if kind == "reference":
            axes.axhline(float(value), color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.8)
            axes.annotate(
                text,
                (0.015, float(value)),
                (0, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color=MUTED,
                fontsize=8,
                zorder=5,
                bbox={"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.6},
            )
        else:
            vertical.append((float(value), text))
    if vertical and axes.get_autoscaley_on():  # the texts stand above the curves where the panel's height is not fixed
        head = 13.0 * min(len(vertical), 3) / _height(axes)
        low, high = axes.transScale.transform([(1.0, end) for end in axes.get_ylim()])[:, 1]
        axes.set_ylim(top=float(axes.transScale.inverted().transform((0.0, high + head * (high - low)))[1]))
    for position, (place, text) in enumerate(sorted(vertical)):
        axes.axvline(place, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.8)
        share = float(axes.transAxes.inverted().transform(axes.transData.transform((place, axes.get_ylim()[0])))[0])
        late = share > 0.6  # its text then stands on the left of the line, away from the labels beside the panel
        axes.annotate(
            text,
            (place, 1.0),
            (-3 if late else 3, -9 - 11 * (position % 3)),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if late else "left",
            color=INK,
            fontsize=8,
            zorder=5,
            bbox={"facecolor": PAPER, "alpha": 0.8, "linewidth": 0, "pad": 0.8},
        )


def _height(axes: Axes) -> float:
    """Height of a panel in points."""
    figure = axes.get_figure(root=True)
    return float(axes.get_window_extent().height) * 72.0 / (figure.dpi if figure else 72.0)


def direct_labels(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each series' name at its right-hand end, outside the axes, moved apart where they would touch.

    Args:
        axes: the panel, its limits already set.
        ends: for each series x and y of its end, its label and its colour.
    """
    figure = axes.get_figure(root=True)
    points = 72.0 / (figure.dpi if figure else 72.0)
    box = axes.get_window_extent()
    wanted = [(float(axes.transData.transform((x, y))[1]) - box.y0) * points for x, y, *_ in ends]
    order = np.argsort(wanted, kind="stable")
    height = box.height * points
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


def key_line(axes: Axes, series: Sequence[Series], *, margins: bool = False) -> None:
    """Say above the panel which stroke is the theory, which the measurement, which the margin."""
    parts: list[tuple[str, str]] = []
    if any("prediction" in one.columns for one in series):
        parts.append(("line", "theory"))
    measured = [one for one in series if "measured" in one.columns]
    if measured:
        many = all(len(one.columns["x"]) > MANY_POINTS for one in measured)
        spread = (", with its band" if many else ", with its interval") if any("lower" in one.columns for one in measured) else ""
        parts.append(("band" if many else "dot", "measured" + spread))
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
        elif symbol == "band":
            block(INK, 0.2)
            stroke([0, 15], [middle, middle], linewidth=2.6, alpha=0.5)
        elif symbol == "dot":
            stroke([8, 8], [low, high], linewidth=1.3)
            stroke([8], [middle], marker="o", markersize=6.0, alpha=0.5, markeredgewidth=0, linewidth=0)
        else:
            block(MUTED, 0.25)
        axes.text(left + 21, middle, text, transform=points, va="center_baseline", color=MUTED, fontsize=8)
        left += 21 + text_width(text, 8.0) + 9
