"""The papers' figures in the papers' layout, each with the theory's curve drawn over the measurement.

=========  ==========================================================================================================================
kind       arrays besides those of figures.py
=========  ==========================================================================================================================
figure_2   one panel; x = input angle, prediction and measured = gradient angle, both in degrees
figure_3   ``cluster <name>/x`` and ``/y`` (points in the plane, left panel, may be missing); ``within/angle`` and ``between/angle``
           (θ_h of sample pairs, degrees), each with ``/predicted`` (the theory's angle for the same pairs) if there is one, and
           ``/bins`` with ``/lower``, ``/upper`` (edges of the bins, band over networks of the density in each), also in figure_4, figure_10
figure_4   ``<panel>|clean/angle``, ``|noise/angle``, ``|other/angle`` (angle between ∇l_i and the clean segment gradient, degrees), each
           with ``/predicted``; ``/segment`` and ``/segment_predicted`` of length 1 (angle of that segment gradient: the dashed line)
figure_5   three panels in the order in which they come, time on the horizontal axis; so figure_1, 7, 9, 11, 12, 13, up to three in a row
figure_6   panels of the ratio of the clean to the noisy segment gradient for each class over time; so figure_8
figure_10  as figure_4, up to four panels in a row
=========  ==========================================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator
from numpy.typing import NDArray

from reports.figure_data import FigureData
from reports.panel_texts import DIRECT, key_line, legend_line, marks, panel_size
from reports.panels import curve_panel
from reports.series import MANY_POINTS, Series, panels_of
from reports.style import INK, MUTED, PAPER, plain_or_math
from reports.ticks import text_width

__all__ = [
    "figure_1",
    "figure_2",
    "figure_3",
    "figure_4",
    "figure_5",
    "figure_6",
    "figure_7",
    "figure_8",
    "figure_9",
    "figure_10",
    "figure_11",
    "figure_12",
    "figure_13",
]

BAND = ("bins", "lower", "upper")  # columns of a histogram's band over networks


def figure_1(data: FigureData) -> Figure:
    """Test and training error over time, with the noise level. Fig. 1 [A], [B]."""
    return _courses(data)


def figure_2(data: FigureData) -> Figure:
    """Angle between two gradients against the angle between the two inputs; the dotted diagonal is equality. Fig. 2 [A], [B]."""
    panels = panels_of(data)
    figure = Figure(figsize=(4.1 * len(panels) + 2.0, 4.3))
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=0.115 / len(panels), right=1 - 0.23 / len(panels), top=0.91, bottom=0.115, wspace=0.45)
    for axes, (panel, series) in zip(grid, panels.items(), strict=True):
        highest = max(float(np.nanmax(column)) for one in series if (column := one.get("x")) is not None)
        turn = 180.0 if highest > 100 else 90.0
        axes.plot([0, turn], [0, turn], color=MUTED, linewidth=0.9, linestyle=(0, (1, 2.5)), zorder=1.6)
        axes.set(xlim=(0, turn), ylim=(0, None))
        curve_panel(axes, series, labels=data.labels, panel=panel)
        axes.xaxis.set_major_locator(MultipleLocator(turn / 6))
        axes.yaxis.set_major_locator(MultipleLocator(30 if turn > 90 else 15))
        _titles(axes, data.labels, panel, x="angle between the inputs, θ_d (degrees)", y="angle between the gradients, θ_h (degrees)")
        key_line(axes, series)
    return figure


def figure_3(data: FigureData) -> Figure:
    """Left: two clusters in the plane. Right: angles θ_h of pairs within one cluster and between the two. Fig. 3 [A], [B]."""
    series = next(iter(panels_of(data, single=BAND).values()))
    clouds = [one for one in series if one.get("y") is not None]
    angles = [one for one in series if one.get("angle") is not None]
    if not angles:
        raise ValueError(f"figure {data.id!r} has no series with a column 'angle'")
    figure = Figure(figsize=(8.6, 3.5) if clouds else (5.4, 3.5))
    if clouds:
        left, right = figure.subplots(1, 2, width_ratios=[1.0, 1.35])
        for one in clouds:
            x, y = one.get("x"), one.get("y")
            if x is None or y is None:
                raise ValueError(f"series {one.name!r} of figure {data.id!r} has no column 'x'")
            left.plot(x, y, "o", color=one.color, markersize=3.6, alpha=0.65, markeredgewidth=0)
        _name_clouds(left, clouds)
        left.set_aspect("equal", adjustable="datalim")
        left.margins(0.25)
        left.set(xlabel=plain_or_math(data.labels.get("x:data", "x₁")), ylabel=plain_or_math(data.labels.get("y:data", "x₂")))
    else:
        right = figure.subplots()
    figure.subplots_adjust(left=0.085 if clouds else 0.125, right=0.97, top=0.88, bottom=0.15, wspace=0.24)
    key = _histograms(right, angles, labels=data.labels)
    right.annotate(key, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", color=MUTED, fontsize=8)
    right.set(
        xlabel=plain_or_math(data.labels.get("x", "θ_h (degrees)")), ylabel=plain_or_math(data.labels.get("y", "share of pairs per degree"))
    )
    return figure


def figure_4(data: FigureData) -> Figure:
    """Angles between sample-wise gradients and the clean segment gradient, by segment; dashed: the segment gradients. Fig. 4 [A], [B]."""
    return _angles(data, per_row=2, size=(4.5, 3.6), every=30)


def figure_5(data: FigureData) -> Figure:
    """Learning dynamics: errors of the segments, their mean residuals, total errors, over time. Fig. 5 [A], [B]."""
    return _courses(data)


def figure_6(data: FigureData) -> Figure:
    """Ratio ‖g_clean‖/‖g_noise‖ of each class over time; the dashed line at 1 is where neither dominates. Fig. 6 [A], [B]."""
    return _ratios(data)


def figure_7(data: FigureData) -> Figure:
    """As figure_5, of several classes. Fig. 7 [A], [B]."""
    return _courses(data)


def figure_8(data: FigureData) -> Figure:
    """As figure_6, of the single-logit gradients of several classes; logarithmic, for it starts above ten. Fig. 8 [A], [B]."""
    return _ratios(replace(data, labels={"yscale": "log", **data.labels}))


def figure_9(data: FigureData) -> Figure:
    """Errors of kernel machines over time, a panel for each kernel. Fig. 9 [A]."""
    return _courses(data, lines=False)


def figure_10(data: FigureData) -> Figure:
    """As figure_4, a panel for each logit. Fig. 10 [A]."""
    return _angles(data, per_row=4, size=(2.75, 2.35), every=60, named=False)


def figure_11(data: FigureData) -> Figure:
    """Losses on clean and noisy samples over time, a panel for each setting. Fig. 11 [A]."""
    return _courses(data)


def figure_12(data: FigureData) -> Figure:
    """As figure_5, a series for each width and a panel for each quantity and segment. Fig. 12 [A]."""
    return _courses(data)


def figure_13(data: FigureData) -> Figure:
    """As figure_12, a series for each noise level. Fig. 13 [A]."""
    return _courses(data)


def _courses(data: FigureData, *, lines: bool = True) -> Figure:
    """Panels of curves from 0 upwards over logarithmic time, three in a row; ``lines``: measurements as lines with bands, not as points."""
    panels = panels_of(data)
    if lines:
        panels = {panel: [_as_line(one, data.labels) for one in series] for panel, series in panels.items()}
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    over = 0.64 if any(panels) else 0.34  # inches above the panels: the key, and their titles where they have any
    width, height = 3.75 * max(columns, 1.6), 3.2 * rows - 0.64 + over
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(left=0.62 / width, right=1 - 0.7 / width, top=1 - over / height, bottom=0.5 / height, wspace=0.42, hspace=0.55)
    labels = {**data.labels, **({} if "xscale" in data.labels else {"xscale": "log"})}
    headroom = 1.04 + 0.1 * sum(name.startswith("mark:") for name in labels)
    for axes, (panel, series) in zip(grid, panels.items(), strict=False):
        high = _extent(series)[1]
        axes.set_ylim(
            0 if lines else -0.035 * high, headroom * high
        )  # before the direct labels, whose places depend on it; dots at 0 are whole
        curve_panel(axes, series, labels=labels, panel=panel)
        axes.set_title(plain_or_math(panel), pad=19)
        axes.set_xlabel(plain_or_math(labels.get(f"x:{panel}", labels.get("x", "time η·step"))))
        axes.set_ylabel(plain_or_math(labels.get(f"y:{panel}", labels.get("y", ""))))
    for axes in grid[len(panels) :]:
        axes.remove()
    key_line(grid[0], [one for series in panels.values() for one in series])
    return figure


def _ratios(data: FigureData) -> Figure:
    """Panels of ratios over logarithmic time, with a line where they are 1."""
    panels = {panel: [_as_line(one, data.labels) for one in series] for panel, series in panels_of(data).items()}
    figure = Figure(figsize=(5.4 * len(panels) if len(panels) > 1 else 6.6, 3.7))
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=0.1 / len(panels), right=1 - 0.19 / len(panels), top=0.88, bottom=0.135, wspace=0.4)
    labels = {"xscale": "log", "reference:equal": "1", **data.labels}
    head = 0.06 + 0.08 * any(name.startswith("mark:") for name in labels)
    for axes, (panel, series) in zip(grid, panels.items(), strict=True):
        low, high = _extent(series)
        low, high = min(low, 1.0), max(high, 1.0)
        if labels.get("yscale") == "log":
            axes.set_ylim(low / 1.1, high * (2.4 if head > 0.1 else 1.5))  # a reference has room for its text above it
        else:
            axes.set_ylim(low - 0.06 * (high - low), high + head * (high - low))
        curve_panel(axes, series, labels=labels, panel=panel)
        if panel:
            axes.set_title(plain_or_math(panel), pad=19)
        _titles(axes, labels, "", x="time η·step", y="‖g_clean‖ / ‖g_noise‖")
        key_line(axes, series)
    return figure


def _angles(data: FigureData, *, per_row: int, size: tuple[float, float], every: int, named: bool = True) -> Figure:
    """Panels of histograms of angles, each of ``size`` inches, with a tick ``every`` so many degrees; ``named``: names beside the data."""
    panels = panels_of(data, single=("segment", "segment_predicted", "predicted", *BAND))
    key = ""
    columns = min(per_row, len(panels))
    rows = -(-len(panels) // columns)
    width, height = size[0] * max(columns, 1.3), size[1] * rows + 0.25 * (rows > 1)
    figure = Figure(figsize=(width, height))
    grid = figure.subplots(rows, columns, squeeze=False)
    over = 0.72 if any(panels) else 0.4  # inches above the panels: the key, and their titles where they have any
    figure.subplots_adjust(left=0.65 / width, right=1 - 0.13 / width, top=1 - over / height, bottom=0.52 / height, wspace=0.2, hspace=0.62)
    for position, (axes, (panel, series)) in enumerate(zip(grid.ravel(), panels.items(), strict=False)):
        axes.set_xlim(0, 180)
        dashed = [(float(segment[0]), one.color) for one in series if (segment := one.get("segment")) is not None]
        angles = [one for one in series if one.get("angle") is not None]
        key = _histograms(axes, angles, labels=data.labels, panel=panel, named=named, lines=[place for place, _ in dashed])
        for place, color in dashed:
            axes.axvline(place, color=color, linewidth=1.4, linestyle=(0, (4, 2.5)), zorder=4)
        for one in series:
            predicted = one.get("segment_predicted")
            if predicted is not None:
                axes.plot(
                    [float(predicted[0])], [0], marker="^", color=one.color, markeredgecolor=INK, markersize=6, clip_on=False, zorder=6
                )
        axes.xaxis.set_major_locator(MultipleLocator(every))
        if panel:
            axes.set_title(plain_or_math(panel))
        if position >= len(panels) - columns:
            title = "θ_g to the clean segment gradient (degrees)" if size[0] > 4 else "θ_g (degrees)"
            axes.set_xlabel(plain_or_math(data.labels.get("x", title)))
    for axes in grid.ravel()[len(panels) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel(plain_or_math(data.labels.get("y", "share of samples per degree")))
    drawn = [one for series in panels.values() for one in series]
    key += "; dashed: segment gradient" if any(one.get("segment") is not None for one in drawn) else ""
    key += ", triangle: its theory" if any(one.get("segment_predicted") is not None for one in drawn) else ""
    figure.text(figure.subplotpars.left, 1 - 0.2 / height, key, color=MUTED, fontsize=8)
    if not named:
        legend_line(grid[0, 0], drawn, left=text_width(key, 8.0) + 14, up=(over - 0.2) * 72)
    return figure


def _as_line(one: Series, labels: Mapping[str, str]) -> Series:
    """The same series at many points of the straight lines between its own, which `curve_panel` then draws as a line with its band.

    Straight as they are seen: with the logarithms of what stands on a logarithmic axis, time by default.
    """
    x = one.get("x")
    if x is None or not 2 <= len(x) <= MANY_POINTS:
        return one
    logarithmic = labels.get("xscale", "log") == "log" and bool(np.all(x > 0))
    place = np.log(x) if logarithmic else x
    if np.any(np.diff(place) <= 0):
        return one
    dense = np.union1d(place, np.linspace(place[0], place[-1], 2 * MANY_POINTS))
    columns = {"x": np.exp(dense) if logarithmic else dense}
    for name, values in one.columns.items():
        heights = np.asarray(values, dtype=float)
        if name == "x":
            continue
        if labels.get("yscale") == "log" and np.all(heights > 0):
            columns[name] = np.exp(np.interp(dense, place, np.log(heights)))
        else:
            columns[name] = np.interp(dense, place, heights)
    return replace(one, columns=columns)


def _extent(series: Sequence[Series]) -> tuple[float, float]:
    """Smallest and largest finite value of the curves and their bands."""
    columns = [one.get(name) for one in series for name in ("prediction", "measured", "lower", "upper")]
    values = np.concatenate([column[np.isfinite(column)] for column in columns if column is not None])
    if not len(values):
        raise ValueError("curves must hold at least one finite value, got none")
    return float(values.min()), float(values.max())


def _titles(axes: Axes, labels: Mapping[str, str], panel: str, *, x: str, y: str) -> None:
    """Axis titles from the labels, with the paper's own as the default."""
    axes.set_xlabel(plain_or_math(labels.get(f"x:{panel}", labels.get("x", x))))
    axes.set_ylabel(plain_or_math(labels.get(f"y:{panel}", labels.get("y", y))))


def _name_clouds(axes: Axes, clouds: Sequence[Series]) -> None:
    """Write each cloud's name beside it, on the side of the common centre, where there is room."""
    centers = np.array([[float(np.mean(np.asarray(one.columns[axis], dtype=float))) for axis in "xy"] for one in clouds])
    middle = centers.mean(axis=0) if len(clouds) > 1 else centers[0] - [0.0, 1.0]
    for one, center in zip(clouds, centers, strict=True):
        way = middle - center
        length = float(np.hypot(*way))
        shift = 46.0 * way / length if length > 0 else np.array([0.0, -46.0])
        spot = float(shift[0]), float(shift[1])
        axes.annotate(one.label, tuple(center), spot, textcoords="offset points", ha="center", va="center", color=one.color)


def _histograms(
    axes: Axes,
    series: Sequence[Series],
    *,
    labels: Mapping[str, str],
    panel: str = "",
    top: float = 1.18,
    named: bool = True,
    lines: Sequence[float] = (),
) -> str:
    """Filled: measured. Outlined: the theory's value for the same pairs or samples. Both in the same bins, as density; returns the key.

    Args:
        axes: the panel.
        series: what is drawn.
        labels: those of the figure.
        panel: name of the panel.
        top: height of the panel over that of the highest bin.
        named: whether each name stands beside its histogram.
        lines: places of vertical lines, which no name may cover.
    """
    pooled = np.concatenate([part for one in series for name in ("angle", "predicted") if (part := one.get(name)) is not None])
    pooled = pooled[np.isfinite(pooled)]
    if not len(pooled):
        raise ValueError("angles must hold at least one finite value, got none")
    low, high = float(pooled.min()), float(pooled.max())
    given = [bins for one in series if (bins := one.get("bins")) is not None]
    edges = given[0] if given else np.linspace(np.floor(low), np.ceil(high) if high > low else np.floor(low) + 1, 61)
    shapes: list[NDArray[np.float64]] = []
    for one in series:
        measured, predicted = one.get("angle"), one.get("predicted")
        heights = np.zeros(len(edges) - 1)
        if measured is not None:
            heights = _density(measured, edges)
            axes.stairs(heights, edges, fill=True, color=one.color, alpha=0.3, linewidth=0)
        if (lower := one.get("lower")) is not None and (upper := one.get("upper")) is not None:
            axes.stairs(upper, edges, baseline=lower, fill=True, color=one.color, alpha=0.4, linewidth=0)
            heights = np.maximum(heights, upper)
        if predicted is not None:
            expected = _density(predicted, edges)
            axes.stairs(expected, edges, color=PAPER, linewidth=2.4, alpha=0.7)
            axes.stairs(expected, edges, color=one.color, linewidth=1.3)
            heights = np.maximum(heights, expected)
        shapes.append(heights)
    axes.set_ylim(0, top * max(float(heights.max()) for heights in shapes))
    axes.margins(x=0.02)
    if named:
        _name_histograms(axes, series, shapes, edges, lines)
    axes.tick_params(axis="y", labelleft=True)
    marks(axes, labels, panel=panel)
    key = "filled: measured, dark: its band, outline: theory" if given else "filled: measured, outline: theory for the same data"
    return key if any(one.get("predicted") is not None for one in series) else key.rpartition(", ")[0]


def _name_histograms(
    axes: Axes, series: Sequence[Series], shapes: Sequence[NDArray[np.float64]], edges: NDArray[np.float64], lines: Sequence[float]
) -> None:
    """Write each name over its highest bin, or as near to that as it lies on no bin, no line and no other name."""
    (width, height), (left, right), top = panel_size(axes), axes.get_xlim(), axes.get_ylim()[1]
    places, tops = (edges - left) * width / (right - left), np.max(shapes, axis=0) * height / top
    taken = [(start, 0.0, end, up) for start, end, up in zip(places[:-1], places[1:], tops, strict=True) if up > 0]
    taken += [(at - 2, 0.0, at + 2, height) for at in ((line - left) * width / (right - left) for line in lines)]
    for one, heights in zip(series, shapes, strict=True):
        peak = int(np.argmax(heights))
        half, middle, floor = (
            text_width(one.label, DIRECT) / 2,
            float(places[peak : peak + 2].mean()),
            float(heights[peak]) * height / top + 3,
        )
        moves = [(across, up) for across in range(-120, 121, 3) for up in range(0, 61, 4)]
        boxes = np.array([(middle + x - half - 2, floor + y, middle + x + half + 2, floor + y + DIRECT) for x, y in moves])
        walls = np.array(taken)[:, None, :]
        over = np.sum(
            (walls[..., 0] < boxes[:, 2]) & (walls[..., 2] > boxes[:, 0]) & (walls[..., 1] < boxes[:, 3]) & (walls[..., 3] > boxes[:, 1]),
            axis=0,
        )
        outside = (boxes[:, 0] < 0) | (boxes[:, 2] > width) | (boxes[:, 3] > height)
        best = int(np.argmin(1000 * over + 10_000 * outside + np.hypot(*np.transpose(moves))))
        spot = float(boxes[best, 0]) + 2, float(boxes[best, 1]) + 1
        axes.annotate(
            one.label, (0, 0), spot, xycoords="axes fraction", textcoords="offset points", color=one.color, fontsize=DIRECT, zorder=5
        )
        taken.append(tuple(boxes[best]))


def _density(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the values per unit, in each bin."""
    counts = np.histogram(values[np.isfinite(values)], bins=edges)[0]
    density: NDArray[np.float64] = counts / (max(counts.sum(), 1) * np.diff(edges))
    return density
