"""Imported by the fork server of the fault tests alone: whatever its children would otherwise load again, each for itself."""

from __future__ import annotations

import xarray as xr

from empirical.devices import policy
from tests.support.fault_sweep import sweep

__all__: list[str] = []

with policy("cpu", threads=1):  # loads a large part of PyTorch
    for _specification in sweep():
        _specification.key()  # loads the data
xr.Dataset({"nothing": 0.0}).to_netcdf(engine="h5netcdf")
