"""Building blocks of the figures: a panel of curves, a panel of residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from reports.panel_texts import direct_labels, marks
from reports.series import MANY_POINTS, Series
from reports.style import MUTED, PAPER
from reports.ticks import power_text

__all__ = ["curve_panel", "residual_panel", "scales", "whole_numbers"]


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

    ends: dict[str, tuple[float, bool, float, str]] = {}
    dotted = False
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
        dotted = dotted or (measured is not None and not many)
        # The name stands at the end of what was measured; at the theory's where that is all there is, or reaches farther.
        for course in (prediction, measured):
            seen = np.flatnonzero(np.isfinite(shown(x, course))) if course is not None else np.empty(0, dtype=int)
            if course is None or not len(seen):
                continue
            last = seen[np.argmax(x[seen])]
            end = (float(x[last]), course is measured, float(course[last]), one.color)
            if one.label not in ends or end[:2] > ends[one.label][:2]:
                ends[one.label] = end
    axes.margins(x=0.03 if dotted else 0.012)  # the outermost dots are whole
    axes.autoscale_view()
    whole_numbers(axes, series)
    marks(axes, labels, panel=panel, series=series)
    if len(ends) > 1 or set(ends) - {"", "value"}:
        direct_labels(axes, [(x, y, label, color) for label, (x, _, y, color) in ends.items()])


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
