"""From stored arrays to pictures: one function for each kind of figure.

A figure is drawn from a `FigureData` and nothing else, so that a report can be drawn again from its records. Names of the arrays are
``series/column``; a kind with several panels says ``panel|series/column``; series that share the text before ``@`` share colour and
label (``ReLU, L = 1@curve/x`` and ``ReLU, L = 1@points/x``). Columns of every kind:

===============  ====================================================================================================================
column           meaning, each of shape ``[k]`` unless said otherwise
===============  ====================================================================================================================
x                position on the horizontal axis
prediction       what the theory says there
measured         what was measured there
lower, upper     its simultaneous band, or its interval
margin           half-width of the tolerance around the prediction
===============  ====================================================================================================================

Labels of every kind: ``x`` and ``y`` (axis titles with units), ``xscale`` and ``yscale`` (``linear`` or ``log``), ``xlim`` and ``ylim``
(``low,high``), ``y:<panel>`` and ``x:<panel>``, ``name:<series>`` (another text for the label), ``mark:<text>`` → x (a vertical line;
``mark:<panel>|<text>`` in one panel only), ``reference:<text>`` → y (a horizontal line). An index is written ``θ_d``.
The kinds of the papers' figures are in figures_papers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure

from reports import figures_papers
from reports.figure_data import FigureData
from reports.panel_texts import DIRECT, key_line
from reports.panels import curve_panel, residual_panel
from reports.series import panels_of
from reports.style import plain_or_math, style, to_png, to_svg
from reports.ticks import plain_ticks, text_width

__all__ = ["KINDS", "comparison", "draw", "render"]

WIDTH = 5.0  # inches; the page shows it at about 1.2 times this size, so that its text is read without zooming
LEFT = 0.9  # inches from the edge to the panel


def comparison(data: FigureData) -> Figure:
    """Prediction drawn over measurement, and below it the residual in units of the margin.

    The upper panel shows the prediction (line), the margin around it (grey), the measurement (points with intervals, or a line with its
    band where there are more than forty). The lower panel shows (measured − prediction)/margin; the claim agrees where the whole
    interval lies between −1 and 1. It is left out where no series has prediction, measurement and margin together.

    Args:
        data: one panel; see the module's table for columns and labels.
    """
    series = next(iter(panels_of(data).values()))
    judged = [one for one in series if one.residual() is not None]
    height = 3.9 if judged else 3.1
    figure = Figure(figsize=(WIDTH, height))
    labels = {one.label for one in series} - {"", "value"}
    beside = 0.15 + min(2.0, max((text_width(label, DIRECT) for label in labels), default=0.0) / 72)
    if judged:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.7, 1.0])
        residual_panel(lower, judged, labels=data.labels)
        upper.tick_params(labelbottom=False)
    else:
        upper = lower = figure.subplots()
    figure.subplots_adjust(left=LEFT / WIDTH, right=1 - beside / WIDTH, top=1 - 0.33 / height, bottom=0.48 / height, hspace=0.1)
    curve_panel(upper, series, labels=data.labels, margins=True)
    lower.set_xlabel(plain_or_math(data.labels.get("x", "")))
    upper.set_ylabel(plain_or_math(data.labels.get("y", "")))
    key_line(upper, series, margins=bool(judged))
    return figure


KINDS: Mapping[str, Callable[[FigureData], Figure]] = {
    "comparison": comparison,
    **{name: getattr(figures_papers, name) for name in figures_papers.__all__},
}


def draw(data: FigureData) -> Figure:
    """Draw one figure.

    Args:
        data: its arrays, kind and labels.

    Raises:
        ValueError: if the kind is unknown, an array's name or length does not fit, or there is nothing to draw.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(0, 1, 5)
        >>> data = FigureData("demo", "comparison", "A line", "It is straight.", "G1", {"line/x": x, "line/prediction": x})
        >>> len(draw(data).axes)
        1
    """
    if data.kind not in KINDS:
        raise ValueError(f"figure {data.id!r} has kind {data.kind!r}, expected one of {', '.join(KINDS)}")
    if not any(np.size(array) for array in data.arrays.values()):
        raise ValueError(f"figure {data.id!r} has no data, expected at least one array with values")
    with style():
        figure = KINDS[data.kind](data)
        plain_ticks(figure)
        return figure


def render(data: FigureData) -> tuple[str, bytes]:
    """Draw one figure and return it as SVG text and PNG bytes; the same arrays give the same bytes."""
    with style():
        figure = draw(data)
        return to_svg(figure, name=data.id), to_png(figure)
