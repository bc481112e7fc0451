"""The store: whole or not at all, verified at every reading, damaged files set aside, many writers at once."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from empirical import store as store_module
from empirical.store import STORE_VARIABLE, Store, StoreWarning, measurement_digest

KEY, OTHER = "a" * 64, "b" * 64
ROOT = Path(__file__).resolve().parents[2]


def measurement(n: int = 40) -> xr.Dataset:
    generator = np.random.default_rng(5)
    return xr.Dataset(
        {
            "gram": (("seed", "time", "segment", "other"), generator.normal(size=(3, n, 4, 4))),
            "loss": (("seed", "time"), generator.normal(size=(3, n)).astype(np.float32), {"units": "nats", "scale": "mean"}),
            "n_noise": (("seed",), np.array([4, 5, 6])),
            "interior": (("seed",), np.array([True, False, True])),
            "final": ((), 0.25),
            "empty": (("nothing",), np.empty(0)),
            "undefined": (("seed",), np.array([np.nan, np.inf, -0.0])),
        },
        coords={
            "time": ("time", np.arange(n) * 0.1, {"units": "learning rate × step"}),
            "segment": ["clean0", "clean1", "noise0", "noise1"],
        },
        attrs={
            "name": "figure-5 · MNIST 7/9",
            "learning_rate": 0.1,
            "seeds": [1, 2, 3],
            "centred": True,
            "classes": ["7", "9"],
            "note": None,
        },
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def damage(path: Path, position: float) -> None:
    """Invert one byte at a fraction of the file."""
    content = bytearray(path.read_bytes())
    index = int(position * (len(content) - 1))
    content[index] ^= 0xFF
    path.write_bytes(bytes(content))


def test_round_trip_keeps_values_types_names_and_units(store: Store):
    original = measurement()
    store.put(KEY, original)
    read = store.get(KEY)
    assert read is not None
    for name, variable in original.variables.items():
        assert np.array_equal(read[name].values, variable.values, equal_nan=variable.dtype.kind == "f")
        assert read[name].dims == variable.dims
        if variable.dtype.kind in "biuf":
            assert read[name].dtype == variable.dtype
    assert np.signbit(read.undefined.values[2])
    assert read.loss.attrs == {"units": "nats", "scale": "mean"}
    assert read.time.attrs["units"] == "learning rate × step"
    assert set(read.coords) == {"time", "segment"}
    assert read.attrs["name"] == "figure-5 · MNIST 7/9"
    assert list(read.attrs["seeds"]) == [1, 2, 3]
    assert [json.loads(read.attrs[name]) for name in ("centred", "classes", "note")] == [True, ["7", "9"], None]
    assert "torch" in json.loads(read.attrs["provenance"])
    assert original.attrs["centred"] is True  # the caller's dataset is not changed


def test_record_opens_in_plain_xarray(store: Store):
    """No code of this project is needed to read a record."""
    path = store.put(KEY, measurement(), provenance={"device": "cpu", "cores": 2})
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        assert dataset.sizes["segment"] == 4
        assert json.loads(dataset.attrs["provenance"]) == {"device": "cpu", "cores": 2}


def test_contains_keys_and_missing(store: Store):
    assert KEY not in store
    assert list(store.keys()) == []
    assert store.get(KEY) is None
    store.put(OTHER, measurement(2))
    store.put(KEY, measurement(2))
    assert list(store.keys()) == [KEY, OTHER]
    assert KEY in store
    assert 7 not in store
    assert "../secret" not in store


def test_records_are_immutable(store: Store):
    """A second put under the same key changes nothing."""
    path = store.put(KEY, measurement(2))
    before = path.read_bytes()
    store.put(KEY, measurement(3))
    assert path.read_bytes() == before


@pytest.mark.parametrize("position", np.linspace(0, 1, 24).round(3).tolist())
def test_damage_anywhere_is_never_read_as_data(store: Store, position: float):
    """One inverted byte: either the record is set aside, or (in unused bytes of the format) what is read is what was written."""
    original = measurement(8)
    path = store.put(KEY, original)
    damage(path, position)
    damaged = path.read_bytes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = store.get(KEY)
    if read is None:
        (line,) = [str(warning.message) for warning in caught if warning.category is StoreWarning]
        assert "\n" not in line
        assert "is set aside as set-aside/" in line
        assert KEY not in store
        (moved,) = (store.path / "set-aside").iterdir()
        assert moved.read_bytes() == damaged
    else:
        assert np.array_equal(read.gram.values, original.gram.values)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_truncated_records_are_set_aside(store: Store, kept: float):
    path = store.put(KEY, measurement())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.warns(StoreWarning, match="is set aside as set-aside/.* because it cannot be read"):
        assert store.get(KEY) is None
    # It can be measured anew.
    store.put(KEY, measurement())
    assert store.get(KEY) is not None


def test_changed_numbers_and_attributes_are_noticed(store: Store):
    """A valid netCDF file whose content was edited: the checksum decides."""
    for edit in ("value", "attribute", "variable_attribute", "renamed_dimension"):
        path = store.put(KEY, measurement(4))
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            changed = dataset.load()
        if edit == "value":
            changed.gram.values[0, 0, 0, 0] = np.nextafter(changed.gram.values[0, 0, 0, 0], 1)
        elif edit == "attribute":
            changed.attrs["learning_rate"] = 0.2
        elif edit == "variable_attribute":
            changed.loss.attrs["units"] = "bits"
        else:
            changed = changed.rename(other="another")
        changed.to_netcdf(path, engine="h5netcdf")
        with pytest.warns(StoreWarning, match="because its content does not match its checksum"):
            assert store.get(KEY) is None


def test_foreign_files_are_set_aside_not_read(store: Store):
    """Text, a pickle, someone else's netCDF, the record of another key."""
    store.put(OTHER, measurement(4))
    path = store.path / f"{KEY}.nc"
    foreign = {
        "text": lambda: path.write_text("hello"),
        "pickle": lambda: path.write_bytes(pickle.dumps({"loss": 1})),
        "netcdf": lambda: xr.Dataset({"loss": 1.0}).to_netcdf(path, engine="h5netcdf"),
        "other-key": lambda: shutil.copy(store.path / f"{OTHER}.nc", path),
    }
    for make in foreign.values():
        make()
        with pytest.warns(StoreWarning, match="set aside"):
            assert store.get(KEY) is None
    assert len(list((store.path / "set-aside").iterdir())) == len(foreign)
    assert store.get(OTHER) is not None


def test_a_record_of_another_format_is_set_aside(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Sound by its key and its checksum, but a later version may mean something else by the same names."""
    monkeypatch.setattr(store_module, "_FORMAT", "clean-priority record 2")
    store.put(KEY, measurement(2))
    monkeypatch.undo()
    with pytest.warns(StoreWarning, match=r"no record of this program \(format 'clean-priority record 2', expected '.* 1'\)"):
        assert store.get(KEY) is None


def test_other_files_are_left_alone(store: Store):
    store.put(KEY, measurement(2))
    for name in ("notes.txt", "figure.nc", f".{OTHER}.12-ab.tmp"):
        (store.path / name).write_text("mine")
    assert list(store.keys()) == [KEY]
    assert store.verify() == {KEY: True}
    assert (store.path / "figure.nc").read_text() == "mine"


def test_verify_reports_each_record(store: Store):
    store.put(KEY, measurement(2))
    store.put(OTHER, measurement(2)).write_bytes(b"")
    with pytest.warns(StoreWarning, match=OTHER):
        assert store.verify() == {KEY: True, OTHER: False}


def test_many_writers_of_one_key(store: Store):
    """Threads and processes at once: one sound record, no temporary file left."""
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: store.put(KEY, measurement(4)), range(16)))
    assert len(set(paths)) == 1
    code = (
        "import sys, numpy as np, xarray as xr; from empirical.store import Store; "
        "Store(sys.argv[1]).put('b' * 64, xr.Dataset({'x': ('t', np.arange(9.0))}), provenance={})"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(store.path)], cwd=ROOT) for _ in range(2)]
    assert [process.wait(timeout=300) for process in running] == [0, 0]
    assert sorted(path.name for path in store.path.iterdir()) == [f"{KEY}.nc", f"{OTHER}.nc"]
    assert store.get(OTHER).x.sum() == 36


def test_killed_between_write_and_rename(store: Store):
    """SIGKILL after the file is written and before it is renamed: no record appears, and the next run writes it."""
    code = (
        "import os, sys, time, numpy as np, xarray as xr, empirical.store as module\n"
        "def stop(*arguments):\n"
        "    print('written', flush=True); time.sleep(60)\n"
        "module.os.link = stop\n"
        "module.Store(sys.argv[1]).put('a' * 64, xr.Dataset({'x': ('t', np.arange(9.0))}), provenance={})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(store.path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    process.stdout.close()
    assert KEY not in store
    assert list(store.keys()) == []
    assert [path.suffix for path in store.path.iterdir()] == [".tmp"]
    store.put(KEY, measurement(2))
    assert store.get(KEY) is not None


def test_a_record_is_synced_before_it_is_named_and_its_folder_after(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Else a power cut may leave a name without content, or a record without a name."""
    done: list[str] = []
    sync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        done.append("folder synced" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"{os.fstat(descriptor).st_size > 0} content synced")
        sync(descriptor)

    def named(source: os.PathLike[str], target: os.PathLike[str]) -> None:
        done.append("named")
        link(source, target)

    monkeypatch.setattr(store_module.os, "fsync", synced)
    monkeypatch.setattr(store_module.os, "link", named)
    store.put(KEY, measurement(2))
    assert done == ["True content synced", "named", "folder synced"]


def test_full_disk_leaves_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.os, "fsync", full)
    with pytest.raises(OSError, match=r"record aaaaaaaaaaaa… could not be written to .*: No space left on device") as caught:
        store.put(KEY, measurement(2))
    assert "\n" not in str(caught.value)
    assert list(store.path.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 1000, 9000, 20_000])
def test_a_real_full_disk_is_one_line_and_no_crash(store: Store, limit: int):
    """No file may grow beyond a limit: HDF5 that writes by itself takes the process down here (a segmentation fault, measured)."""
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from tests.empirical.test_store import measurement, Store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))\n"
        "try:\n    Store(sys.argv[1]).put('a' * 64, measurement(200))\n"
        "except OSError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store.path), str(limit)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[Errno 27] record aaaaaaaaaaaa… could not be written to ")
    assert done.stdout.endswith(": File too large\n")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert list(store.path.iterdir()) == []


def test_of_two_writers_the_first_stays(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Another process finishes the same key between our look and our rename."""
    link, other = os.link, measurement(3)

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(store_module.os, "link", link)
        store.put(KEY, other, provenance={"who": "the other"})
        link(source, target)

    monkeypatch.setattr(store_module.os, "link", overtaken)
    path = store.put(KEY, measurement(3), provenance={"who": "we"})
    assert json.loads(store.get(KEY).attrs["provenance"]) == {"who": "the other"}
    assert list(store.path.iterdir()) == [path]


def test_a_file_system_without_hard_links(store: Store, monkeypatch: pytest.MonkeyPatch):
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(store_module.os, "link", refuse)
    path = store.put(KEY, measurement(3))
    assert store.get(KEY) is not None
    assert list(store.path.iterdir()) == [path]


def test_every_number_has_a_unit(store: Store):
    """A variable that says nothing is recorded as dimensionless; one that does keeps what it says."""
    store.put(KEY, measurement(3))
    record = store.get(KEY)
    for name, variable in record.variables.items():
        if variable.dtype.kind in "iuf":
            assert variable.attrs["units"], name
    assert record.loss.attrs["units"] == "nats"
    assert record.gram.attrs["units"] == "1"


def test_the_digest_is_of_what_was_measured(store: Store):
    """Not of where and when; of values, names, dimensions, units and attributes."""
    original = measurement(3)
    store.put(KEY, original, provenance={"seconds": 1.0})
    store.put(OTHER, original.assign_attrs(name="another name"), provenance={"seconds": 2.0})
    digest = measurement_digest(original)
    for key in (KEY, OTHER):
        assert measurement_digest(store.get(key)) == digest
        assert store.get(key).attrs["measurement_sha256"] == digest
    changed = original.copy(deep=True)
    changed.gram.values[0, 0, 0, 0] = np.nextafter(changed.gram.values[0, 0, 0, 0], 2)
    others = [changed, original.rename(loss="lost"), original.assign_attrs(learning_rate=0.2), original.drop_vars("final")]
    assert len({digest, *map(measurement_digest, others)}) == 5


def test_setting_aside(store: Store):
    store.put(KEY, measurement(3))
    with pytest.warns(StoreWarning, match="is set aside as set-aside/.* because it is wanted so"):
        store.set_aside(KEY, "it is wanted so")
    assert store.get(KEY) is None
    store.set_aside(KEY, "it is wanted so")  # nothing there: nothing to do
    with pytest.raises(ValueError, match="key must be a SHA-256"):
        store.set_aside("..", "no")


def test_unfaithful_writing_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch):
    """What is read back before the rename is what counts: a writer that loses precision is caught."""
    write = store_module.write_record
    monkeypatch.setattr(store_module, "write_record", lambda record, path: write(record.astype(np.float32), path))
    with pytest.raises(ValueError, match="cannot be kept faithfully in netCDF: after writing, its content does not match"):
        store.put(KEY, measurement(2).drop_vars(["interior", "n_noise"]))
    assert list(store.path.iterdir()) == []


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (xr.Dataset({"x": ("t", np.array([1j]))}), "variable 'x' must hold numbers, booleans or texts, got dtype complex128"),
        (xr.Dataset({"x": ("t", np.ones(2, np.float16))}), "variable 'x' must hold numbers, booleans or texts, got dtype float16"),
        (xr.Dataset({"x": ("t", np.array([{}, 1], dtype=object))}), "variable 'x' must hold .*, got Python objects"),
        (xr.Dataset({"x": ("t", np.array(["2020-01-01"], dtype="datetime64[ns]"))}), "got dtype datetime64"),
        (xr.DataArray([1.0]), "dataset must be an xarray Dataset, got DataArray"),
        ({"x": 1}, "dataset must be an xarray Dataset, got dict"),
    ],
    ids=["complex", "float16", "objects", "dates", "array", "dict"],
)
def test_what_netcdf_cannot_hold_is_refused(store: Store, dataset: object, message: str):
    with pytest.raises(ValueError, match=message):
        store.put(KEY, dataset)
    assert not store.path.exists() or list(store.path.iterdir()) == []


@pytest.mark.parametrize("key", ["", "abc", "A" * 64, "../" + "a" * 61, "a" * 63 + "\n", "a" * 65, 3, None])
def test_keys_are_hashes(store: Store, key: object):
    for call in (store.get, lambda k: store.put(k, measurement(2))):
        with pytest.raises(ValueError, match="key must be a SHA-256 in 64 hexadecimal digits") as caught:
            call(key)
        assert "\n" not in str(caught.value)


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Argument, environment variable, the user's cache folder."""
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "named"))
    assert Store().path == tmp_path / "named"
    assert Store(tmp_path / "given").path == tmp_path / "given"
    monkeypatch.delenv(STORE_VARIABLE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert Store().path == tmp_path / ".cache" / "clean-priority"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert Store().path == tmp_path / "xdg" / "clean-priority"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Store().path == tmp_path / "Library" / "Caches" / "clean-priority"
    assert not (tmp_path / "named").exists()  # asking makes no folder
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="store must be the path of a folder, got the file"):
        Store(tmp_path / "file")
    with pytest.raises(ValueError, match="store must be the path of a folder, got 3"):
        Store(3)


def test_reading_is_fast(store: Store):
    """A record of 1 MB is verified and read in well under a second (it takes about 10 ms): re-judging reads hundreds."""
    store.put(KEY, xr.Dataset({"x": ("t", np.random.default_rng(0).normal(size=125_000))}), provenance={})
    start = time.perf_counter()
    store.get(KEY)
    assert time.perf_counter() - start < 1
    assert os.path.getsize(store.path / f"{KEY}.nc") < 2e6
