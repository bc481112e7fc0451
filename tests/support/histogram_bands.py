"""Histograms of angles with their band over networks, for the figures that show one network's histogram filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["histogram_bands"]

Array = NDArray[np.float64]
BINS = 60
MIDDLE = (0.1, 0.9)  # of the networks


def histogram_bands(angles: Mapping[str, Sequence[Array]], *, predicted: Sequence[Array] = ()) -> dict[str, Array]:
    """Arrays of the band of several histograms in common bins: for each, the middle 80 % of the networks' densities, bin by bin.

    Args:
        angles: ``series`` or ``panel|series`` → the angles in each network.
        predicted: further angles that the bins must hold.

    Returns:
        ``name/bins`` ``[61]``, ``name/lower`` and ``name/upper`` ``[60]`` for each.

    Example:
        >>> arrays = histogram_bands({"clean": [np.array([10.0, 10.5]), np.array([10.0, 70.0])]})
        >>> arrays["clean/bins"][[0, -1]].tolist(), arrays["clean/lower"][0].round(2).item(), arrays["clean/upper"][0].round(2).item()
        ([10.0, 70.0], 0.55, 0.95)
    """
    pooled = np.concatenate([part for parts in (*angles.values(), predicted) for part in parts])
    low, high = np.floor(pooled.min()), np.ceil(pooled.max())
    bins = np.linspace(low, high if high > low else low + 1, BINS + 1)
    arrays = {}
    for name, networks in angles.items():
        density = np.stack([np.histogram(one, bins=bins)[0] / (len(one) * np.diff(bins)) for one in networks])
        arrays[f"{name}/bins"] = bins
        arrays[f"{name}/lower"], arrays[f"{name}/upper"] = np.quantile(density, MIDDLE, axis=0)
    return arrays
