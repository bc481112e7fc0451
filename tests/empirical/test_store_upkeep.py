"""Looking after a store: what is listed, what is swept and what never is, and an export that reads back."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from empirical import store_upkeep
from empirical.devices import POLICY
from empirical.store import Store, StoreWarning, host_tag, measurement_digest
from empirical.store_upkeep import export_store, list_store, sweep_store

KEYS = ("a" * 64, "b" * 64, "c" * 64)
FACTS = {**POLICY, "device": "cpu", "seconds": 1.5}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three records; the third was made with TF32."""
    store = Store(tmp_path / "store")
    for number, key in enumerate(KEYS):
        data = xr.Dataset({"loss": ("time", np.arange(3.0) + number)}, attrs={"name": f"run-{number}", "measurement_version": 1})
        store.put(key, data, provenance=FACTS | ({"tf32": True} if number == 2 else {}))
    return store


def plant(path: Path, *, hours: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"unfinished")
    os.utime(path, (time.time() - 3600 * hours,) * 2)
    return path


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    return process.pid


def temporary(store: Store, process: int, host: str = "") -> Path:
    return store.path / f".{KEYS[0]}.{host or host_tag()}-{process}-{'0' * 32}.tmp"


def test_entries_describe_records(store: Store) -> None:
    entries = list_store(store)
    assert [(entry.name, entry.device, entry.seconds, entry.fault) for entry in entries] == [(f"run-{k}", "cpu", 1.5, "") for k in range(3)]
    assert [entry.departures for entry in entries] == [(), (), ("tf32 True, expected False",)]
    assert entries[0].measurement_sha256 == measurement_digest(store.get(KEYS[0]))
    assert entries[0].size == (store.path / f"{KEYS[0]}.nc").stat().st_size
    (store.path / f"{KEYS[1]}.nc").write_bytes(b"damaged")
    assert [entry.fault != "" for entry in list_store(store)] == [True, False, False]  # listed, and not touched
    assert len(list(store.keys())) == 3


@pytest.mark.parametrize(
    ("host", "alive", "hours", "goes"),
    [
        ("", False, 2, True),
        ("", False, 0.5, False),  # young
        ("", True, 1000, False),  # its process lives: the clock has jumped, say
        ("", False, -1000, False),  # from the future: the clock was set back
        ("0badc0de", True, 2, True),  # another machine's; that the number is in use here says nothing
    ],
)
def test_only_what_a_dead_process_left_is_swept(store: Store, host: str, alive: bool, hours: float, goes: bool) -> None:
    path = plant(temporary(store, os.getpid() if alive else dead_process(), host), hours=hours)
    assert sweep_store(store, dry_run=True).temporary == ((path.name,) if goes else ())
    assert path.exists()
    assert sweep_store(store).temporary == ((path.name,) if goes else ())
    assert path.exists() is not goes
    assert store.verify() == dict.fromkeys(KEYS, True)


def test_sound_records_and_other_files_are_never_swept(store: Store) -> None:
    """However old: neither records nor files that are not ours, in any combination of flags."""
    others = [plant(store.path / name, hours=1e5) for name in ("notes.txt", f".{KEYS[0]}.tmp", ".hidden", "figure.nc")]
    for key in KEYS:
        os.utime(store.path / f"{key}.nc", (0, 0))
    swept = sweep_store(store, older_hours=0, set_aside=True)
    assert (swept.temporary, swept.removed, swept.moved) == ((), (), ())
    assert all(path.exists() for path in others)
    assert store.verify() == dict.fromkeys(KEYS, True)


def test_records_of_another_policy_are_moved_when_asked(store: Store) -> None:
    assert sweep_store(store, other_policy=True, dry_run=True).moved == (KEYS[2],)
    with pytest.warns(StoreWarning, match=r"set aside as .* because it was made under another policy \(tf32 True, expected False\)"):
        assert sweep_store(store, other_policy=True).moved == (KEYS[2],)
    assert list(store.keys()) == list(KEYS[:2])
    (moved,) = (store.path / "set-aside").iterdir()
    assert sweep_store(store, set_aside=True).removed == ()  # too young
    assert sweep_store(store, set_aside=True, older_hours=0).removed == (f"set-aside/{moved.name}",)
    assert not moved.exists()


def test_unfinished_rows_are_swept(store: Store) -> None:
    path = plant(store.path / "judgements" / f".{'d' * 64}.json.{dead_process()}", hours=2)
    row = plant(store.path / "judgements" / f"{'d' * 64}.json", hours=1e5)
    sweep_store(store)
    assert (path.exists(), row.exists()) == (False, True)


@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_export_reads_back(store: Store, tmp_path: Path, suffix: str) -> None:
    """Plain netCDF that xarray opens without this project, an index that tells what it is, and a store again."""
    target = tmp_path / "deep" / f"export{suffix}"
    entries = export_store(store, target, keys=[KEYS[1], KEYS[0], KEYS[1]])
    assert [entry.key for entry in entries] == [KEYS[0], KEYS[1]]
    if suffix:
        with zipfile.ZipFile(target) as archive:
            assert archive.testzip() is None
            archive.extractall(tmp_path / "unpacked")
        again = tmp_path / "again.zip"
        export_store(store, again, keys=KEYS[:2])
        assert again.read_bytes() == target.read_bytes()
        target = tmp_path / "unpacked"
    index = json.loads((target / "index.json").read_text())
    assert [row["name"] for row in index["records"]] == ["run-0", "run-1"]
    with open(target / "index.csv", newline="") as handle:
        assert [row["file"] for row in csv.DictReader(handle)] == [row["file"] for row in index["records"]]
    for row in index["records"]:
        assert hashlib.sha256((target / row["file"]).read_bytes()).hexdigest() == row["file_sha256"]
        with xr.open_dataset(target / row["file"], engine="h5netcdf") as dataset:
            assert dataset.loss.dims == ("time",)
            assert dataset.loss.attrs["units"] == "1"
    assert Store(target).verify() == dict.fromkeys(KEYS[:2], True)
    assert not list(tmp_path.glob(".*")) + list((tmp_path / "deep").glob(".*"))


def test_export_refuses(store: Store, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    (tmp_path / "there.zip").write_text("mine")
    for target in (tmp_path / "full", tmp_path / "there.zip", tmp_path / "full" / "file"):
        with pytest.raises(ValueError, match="export target must not exist yet"):
            export_store(store, target)
    assert (tmp_path / "there.zip").read_text() == "mine"
    with pytest.raises(ValueError, match="export needs a sound record of every key, got none of 'dddd"):
        export_store(store, tmp_path / "new", keys=["d" * 64])
    (store.path / f"{KEYS[0]}.nc").write_bytes(b"damaged")
    with pytest.warns(StoreWarning), pytest.raises(ValueError, match="export needs a sound record"):
        export_store(store, tmp_path / "new")
    with pytest.raises(ValueError, match="must hold records, got none"):
        export_store(Store(tmp_path / "empty"), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_record_that_is_copied_wrongly_is_not_exported(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that swallows the end of a file: the export says so and leaves nothing behind."""

    def swallow(source: Path, target: Path) -> None:
        target.write_bytes(source.read_bytes()[:-100])

    monkeypatch.setattr(store_upkeep.shutil, "copyfile", swallow)
    with pytest.warns(StoreWarning, match="set aside"), pytest.raises(OSError, match="export of record aaaaaaaaaaaa… does not read back"):
        export_store(store, tmp_path / "new")
    assert list(tmp_path.iterdir()) == [store.path]


def test_an_archive_that_is_written_wrongly_is_not_exported(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is sound by its own checksums, of other bytes than those that were to be written."""
    write = zipfile.ZipFile.writestr

    def swallow(archive: zipfile.ZipFile, member: zipfile.ZipInfo, content: bytes) -> None:
        write(archive, member, content[:-1])

    monkeypatch.setattr(zipfile.ZipFile, "writestr", swallow)
    with pytest.raises(OSError, match=r"export of .* does not read back as it was written"):
        export_store(store, tmp_path / "new.zip")
    assert list(tmp_path.iterdir()) == [store.path]


@pytest.mark.parametrize(
    ("name", "place", "step"), [("new", shutil, "copyfile"), ("new.zip", zipfile.ZipFile, "writestr")], ids=["folder", "archive"]
)
def test_an_export_has_its_name_only_when_it_is_whole(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, place: object, step: str
) -> None:
    """Interrupted at the first file: neither then nor afterwards is there anything under the name."""

    def interrupted(*_: object) -> None:
        assert not (tmp_path / name).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(place, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_store(store, tmp_path / name)
    assert list(tmp_path.iterdir()) == [store.path]


@pytest.mark.parametrize("hours", [-1, float("nan"), float("inf"), "1", True])
def test_bad_age(store: Store, hours: object) -> None:
    with pytest.raises(ValueError, match="older_hours must be a finite number >= 0, got"):
        sweep_store(store, older_hours=hours)
