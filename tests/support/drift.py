"""Families of widths beside their linearisation: what is read of them, and designs of exponents fixed before the data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from empirical.inference import Estimate
from empirical.linearized_experiments import members
from reports.evidence import Agreement

__all__ = [
    "BOTH_FAMILIES",
    "HALF_WAY",
    "NEXT_ORDER",
    "QUANTITIES",
    "SCATTER",
    "SMOOTH",
    "WidthFamily",
    "against_width",
    "exponent_design",
    "limit_design",
    "width_families",
    "width_family",
]

Array = NDArray[np.float64]

# The exponents in question lie a quarter apart: one is told from its neighbours if its interval is on its own side of half of the way.
HALF_WAY = 0.125
# What the next order does to a slope: a square that is raised by a quarter at m = 64 and not at 4096 moves it by ½ ln(5/4)/ln 64 = 0.027.
NEXT_ORDER = 0.027
# The smooth part of ‖∇h_t − ∇h_0‖² over that of the flipped gates at m = 64, at most (`theory.relu_drift`; row X11 asserts it).
SMOOTH = 0.18

BOTH_FAMILIES = {"clusters": "clusters", "digits-7-9": "digits 7/9"}
"""Data sets of the drift families, and their names in the report."""

QUANTITIES: dict[str, Callable[[xr.Dataset], Array]] = {
    "gradient": lambda run: np.sqrt(np.mean(run["gradient_change"].values[:, -1] ** 2, axis=1)),
    "gates": lambda run: np.asarray(run["pattern_change"].values[:, -1].mean(axis=1)),
    "kernel": lambda run: np.asarray(run["kernel_drift"].values[:, -1]),
    "distance": lambda run: np.asarray(run["test_distance_rms"].values[:, -1]),
    "weights": lambda run: np.asarray(run["parameter_drift"].values[:, -1, 0]),
}
"""One number per network at the last recorded time."""

# Standard deviation relative to the mean, between networks (for the gradient: of its square, halved), at most, by rising width. A design
# value of ReLU networks; tanh networks scatter less in the gradient and alike in the kernel.
SCATTER: dict[str, tuple[float, ...]] = {
    "gradient": (0.34, 0.20, 0.14, 0.11),
    "gates": (0.45, 0.30, 0.22, 0.16),
    "kernel": (0.50, 0.38, 0.28, 0.18),
    "weights": (0.14, 0.10, 0.09, 0.09),
}


@dataclass(frozen=True, eq=False)
class WidthFamily:
    """The measurements of one family, by rising width.

    Attributes:
        widths: m.
        runs: as stored.
    """

    widths: tuple[int, ...]
    runs: tuple[xr.Dataset, ...]

    def samples(self, quantity: str) -> list[Array]:
        """One number per network, for each width."""
        return [QUANTITIES[quantity](run) for run in self.runs]

    @property
    def networks(self) -> tuple[int, ...]:
        """Networks at each width."""
        return tuple(run.sizes["seed"] for run in self.runs)


def width_family(agreement: Agreement, name: str) -> WidthFamily:
    """The measurements of a family; its members must be in the test's ``experiments`` mark."""
    runs = tuple(agreement.measure(member) for member in members(name))
    return WidthFamily(tuple(json.loads(run.attrs["specification"])["network"]["width"] for run in runs), runs)


def width_families(stem: str, names: Mapping[str, str], *, model: str, beside: str = "") -> pytest.MarkDecorator:
    """Parametrise a claim test over families of widths: its regimes, ids and experiments.

    Args:
        stem: name of a family, with the data set in braces.
        names: data set as families name it → as the report does.
        model: first half of the regimes.
        beside: a family that every case needs.
    """
    return pytest.mark.parametrize(
        "family",
        [
            pytest.param(
                stem.format(name),
                id=name,
                marks=[
                    pytest.mark.regime(model, label),
                    pytest.mark.experiments(*members(stem.format(name)), *(members(beside) if beside else ())),
                ],
            )
            for name, label in names.items()
        ],
    )


def against_width(name: str, widths: ArrayLike, values: Estimate, *, exponent: float | None = None) -> dict[str, Array]:
    """Arrays of one series of a figure against width: means with intervals, and a line of this slope through their middle."""
    x = np.asarray(widths, dtype=float)
    columns = {"x": x, "measured": values.value, "lower": values.lower, "upper": values.upper}
    if exponent is not None:
        middle = np.exp(np.mean(np.log(x)))
        columns["prediction"] = np.exp(np.mean(np.log(values.value) - exponent * np.log(x / middle))) * (x / middle) ** exponent
    return {f"{name}/{column}": np.asarray(part, dtype=float) for column, part in columns.items()}


def exponent_design(
    widths: Sequence[int], networks: Sequence[int], scatter: Sequence[float], *, error_rate: float, statistic: str = "mean"
) -> float:
    """Half-width of the interval that `rate_in_width` will give for an exponent if the networks scatter as foreseen.

    >>> round(exponent_design((64, 256, 1024), (100, 100, 100), (0.3, 0.3, 0.3), error_rate=0.05), 4)
    0.0304
    """
    x, n, errors = np.log(np.asarray(widths, float)), np.asarray(networks, float), np.asarray(scatter) / np.sqrt(networks)
    weight = n if statistic == "rms" else errors**-2.0
    centre = np.sum(weight * x) / weight.sum()
    lever = weight * (x - centre) / np.sum(weight * (x - centre) ** 2)
    return float(-stdtrit(min(networks) - 1, error_rate / 2) * np.linalg.norm(lever * errors))


def limit_design(
    widths: Sequence[int], networks: Sequence[int], means: Sequence[float], scatter: Sequence[float], *, power: float, error_rate: float
) -> tuple[float, float]:
    """Extrapolation of given means in width^power as `rate_in_width` does it, and the half-width of its interval.

    Args:
        widths: m.
        networks: at each width.
        means: expected mean at each width.
        scatter: relative standard deviations between networks.
        power: of the width.
        error_rate: of the interval.
    """
    x, values = np.asarray(widths, float) ** power, np.asarray(means, float)
    errors = np.asarray(scatter) * values / np.sqrt(networks)
    weight = errors**-2.0 / np.sum(errors**-2.0)
    centre = np.sum(weight * x)
    to_limit = weight - centre * weight * (x - centre) / np.sum(weight * (x - centre) ** 2)
    return float(to_limit @ values), float(-stdtrit(min(networks) - 1, error_rate / 2) * np.linalg.norm(to_limit * errors))
