"""Records as files: what is read is what xarray reads, type by type, and what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from empirical.record_files import read_record, write_record

RECORD = xr.Dataset(
    {
        "loss": (("seed", "time"), np.array([[0.7, np.nan, -np.inf], [0.5, 0.25, 5e-324]]), {"units": "1", "long_name": "‖loss‖"}),
        "single": ("time", np.arange(3, dtype=np.float32)),
        "large": (("time", "sample"), np.arange(600.0).reshape(3, 200)),
        "counts": (("seed", "class_"), np.arange(4).reshape(2, 2)),
        "small": ("time", np.array([0, 255, 7], dtype=np.uint8)),
        "late": (("seed", "time"), np.array([[True, False, True]] * 2)),
        "labels": ("sample", [f"é{k}" for k in range(200)]),
        "number": ((), 3),
        "empty": ("nothing", np.empty(0)),
    },
    coords={"time": ("time", [0.0, 1.5, 3.0], {"units": "s"}), "step": ("time", [0, 3, 6]), "class_": ["7", "<b>"]},
    attrs={"name": "a record", "version": 2, "share": 0.25, "widths": np.array([32, 64]), "text": "∇L · δ"},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_record(RECORD, tmp_path / "record.nc")
    return tmp_path / "record.nc"


def test_what_is_read_is_what_xarray_reads(file: Path) -> None:
    ours = read_record(file)
    with xr.open_dataset(file, engine="h5netcdf", decode_times=False) as opened:
        theirs = opened.load()
    xr.testing.assert_identical(ours, theirs)
    assert list(ours.variables) == list(theirs.variables)
    assert {name: value.dtype for name, value in ours.variables.items()} == {name: value.dtype for name, value in theirs.variables.items()}
    assert {name: type(value) for name, value in ours.attrs.items()} == {name: type(value) for name, value in theirs.attrs.items()}
    assert set(ours.coords) == set(theirs.coords) == {"time", "step", "class_"}


def test_what_is_read_is_what_was_written(file: Path) -> None:
    ours = read_record(file)
    for name, value in RECORD.variables.items():
        np.testing.assert_array_equal(ours[name].values, value.values)
        assert ours[name].dims == value.dims


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "damaged.nc"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(OSError, match="Unable to"):
        read_record(path)
