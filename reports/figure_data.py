"""The arrays behind one figure, as a claim hands them over and as a report stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["FigureData"]


@dataclass(frozen=True)
class FigureData:
    """One figure before it is drawn.

    Attributes:
        id: name of its files, for example ``G2-network-at-initialisation``.
        kind: which function of figures.py draws it: "comparison", or "figure_2" … for the papers' figures.
        title: one line.
        caption: what it shows and what was found, in sentences; also the alternative text.
        claim: id of the claim it belongs to.
        arrays: ``"series/column"`` → 1-d array (2-d where the kind says so). Columns of one series have one length. A comparison knows
            the columns x, prediction, measured, lower, upper (simultaneous band or interval) and margin.
        labels: axis titles and options by name: x, y, xscale, yscale ("linear" or "log"), and what the kind adds; marked times as
            ``mark:<text>`` → value.
    """

    id: str
    kind: str
    title: str
    caption: str
    claim: str
    arrays: Mapping[str, NDArray[np.generic]]
    labels: Mapping[str, str] = field(default_factory=dict)
