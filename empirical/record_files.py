"""One record as a netCDF file: written through memory, read without the thousands of look-ups that a general reader needs.

Records are written by xarray's h5netcdf engine, and any netCDF reader opens them. Read through that engine they took a fifth of the time in
which a full store is judged, for it looks up every dimension of every variable again and again; here the numbers of the dimensions, which
stand with each variable, are read once, and xarray decodes the rest.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

__all__ = ["read_record", "write_record"]

# Attributes by which HDF5 and netCDF keep house; every other one is the record's own.
_HOUSEKEEPING = frozenset(
    ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties", "_nc3_strict")
)
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


def write_record(record: xr.Dataset, path: Path) -> None:
    """Write and sync one file; numbers are compressed without loss.

    The file is made in memory: HDF5 that meets a full disk half-way takes the whole process down, a plain write raises OSError. It is made
    without xarray's lock: on a Dask worker that one is kept by the scheduler, and a record must not be lost with the connection.

    Raises:
        ValueError: if netCDF cannot hold the data.
        OSError: if the file cannot be written.
    """
    encoding = {name: {"zlib": True, "complevel": 4} for name, v in record.variables.items() if v.dtype.kind in "biuf" and v.size > 64}
    content = io.BytesIO()
    try:
        target = xr.backends.H5NetCDFStore.open(content, mode="w", lock=False)
        record.dump_to_store(target, encoding=encoding)
        target.close()
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"dataset cannot be kept in netCDF: {' '.join(str(error).split())[:200]}") from None
    with open(path, "wb") as handle:
        handle.write(content.getbuffer())
        handle.flush()
        os.fsync(handle.fileno())


def read_record(path: Path) -> xr.Dataset:
    """Read one file into memory and close it; the same dataset as ``xarray.load_dataset(path)`` gives of a file of ``write_record``.

    Raises:
        Exception: of nearly any kind, if the file is damaged or was not written by ``write_record``.
    """
    with h5py.File(path, "r") as file:
        nodes = dict(file.items())
        scales = {name: one for name, one in nodes.items() if "CLASS" in one.attrs}
        names = {int(one.attrs["_Netcdf4Dimid"]): name for name, one in scales.items()}
        variables = {
            name: (_dimensions(one, names), _values(one), _attributes(one))
            for name, one in nodes.items()
            if name not in scales or not one.attrs["NAME"].startswith(_NO_VARIABLE)
        }
        raw = xr.Dataset(variables, attrs=_attributes(file))
    return xr.decode_cf(raw, decode_times=False)


def _dimensions(variable: h5py.Dataset, names: dict[int, str]) -> tuple[str, ...]:
    return tuple(names[number] for number in variable.attrs["_Netcdf4Coordinates"].tolist()) if variable.ndim else ()


def _values(variable: h5py.Dataset) -> object:
    """Numbers, or texts as NumPy's own."""
    return variable[()] if variable.dtype.kind != "O" else np.asarray(variable.asstr()[()].tolist())


def _attributes(node: h5py.Dataset | h5py.File) -> dict[str, object]:
    """The record's own attributes; an array of one number as that number."""
    found = {name: node.attrs[name] for name in node.attrs if name not in _HOUSEKEEPING}
    return {name: value[0] if isinstance(value, np.ndarray) and value.shape == (1,) else value for name, value in found.items()}
