"""Building blocks of the figures: one series, a panel of curves, a panel of residuals, direct labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator
from numpy.typing import NDArray

from reports.figure_data import FigureData
from reports.style import GRID, INK, MUTED, PAPER, color_of, plain_or_math

__all__ = ["Series", "curve_panel", "direct_labels", "key_line", "marks", "minor_ticks", "panels_of", "residual_panel", "scales"]

MANY_POINTS = 40  # more than this many measurements are drawn as a line with a band
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
        if scale == "log":
            getattr(axes, f"{axis}axis").set_major_formatter(FuncFormatter(lambda value, _position: _short(value)))
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
    marks(axes, labels, panel=panel)
    if len(ends) > 1 or (ends and ends[0][2] not in ("", "value")):
        direct_labels(axes, ends)


def minor_ticks(axes: Axes) -> None:
    """Draw the minor ticks of logarithmic axes as one line for each axis: the same picture from one object instead of nine a decade.

    An axis with fewer than two powers of ten in view keeps its own ticks, because it needs their numbers.
    """
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        if axis.get_scale() != "log" or np.count_nonzero([low <= place <= high for place in axis.get_majorticklocs()]) < 2:
            continue
        places = [place for place in axis.get_minorticklocs() if low <= place <= high]
        axis.set_minor_locator(NullLocator())
        edge = np.zeros(len(places))
        across = axis is axes.xaxis
        ticks = Line2D(
            places if across else edge,
            edge if across else places,
            transform=axes.get_xaxis_transform() if across else axes.get_yaxis_transform(),
            linestyle="none",
            marker=3 if across else 0,  # markers.TICKDOWN, markers.TICKLEFT
            markersize=1.8,
            markeredgewidth=0.6,
            color=MUTED,
        )
        axes.add_artist(ticks)
        ticks.set_clip_on(False)


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
        axes.set_yticks([-far, 0.0, far], labels=[_short(-far), "0", _short(far)])
        axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylabel("residual\n/ margin")


def _short(value: float) -> str:
    """A tick on a logarithmic axis: plain numbers from 0.01 to 1000, powers of ten beyond."""
    if value == 0 or 0.009 < abs(value) < 1001:
        return f"{value:g}".replace("-", "−")
    exponent = int(np.floor(np.log10(abs(value)) + 1e-9))
    factor = abs(value) / 10.0**exponent
    power = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return ("−" if value < 0 else "") + (power if abs(factor - 1) < 1e-6 else f"{factor:g}·{power}")


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
                text, (0.015, float(value)), (0, 3), xycoords=("axes fraction", "data"), textcoords="offset points", color=MUTED, fontsize=8
            )
        else:
            vertical.append((float(value), text))
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
            fontsize=8.5,
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
    boxes: list[Artist] = []
    for symbol, text in parts:
        area = DrawingArea(16, 8, 0, 0)
        if symbol == "line":
            area.add_artist(Line2D([0, 15], [4, 4], color=INK, linewidth=1.3))
        elif symbol == "band":
            area.add_artist(Rectangle((0, 0.5), 15, 7, facecolor=INK, alpha=0.2, linewidth=0))
            area.add_artist(Line2D([0, 15], [4, 4], color=INK, linewidth=2.6, alpha=0.5))
        elif symbol == "dot":
            area.add_artist(Line2D([8, 8], [0, 8], color=INK, linewidth=1.3))
            area.add_artist(Line2D([8], [4], color=INK, marker="o", markersize=6.0, alpha=0.5, markeredgewidth=0, linewidth=0))
        else:
            area.add_artist(Rectangle((0, 0.5), 15, 7, facecolor=MUTED, alpha=0.25, edgecolor=GRID, linewidth=0))
        boxes += [area, TextArea(text, textprops={"color": MUTED, "fontsize": 8})]
    if boxes:
        packed = HPacker(children=boxes, align="center", pad=0, sep=5)
        corner, over = (0.0, 1.0), axes.transAxes
        axes.add_artist(
            AnchoredOffsetbox(
                "lower left", child=packed, pad=0.0, borderpad=0.35, frameon=False, bbox_to_anchor=corner, bbox_transform=over
            )
        )
