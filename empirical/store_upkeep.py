"""Looking after a store: what is in it, sweeping up what interrupted runs left, and taking records elsewhere.

Nothing here removes a sound record. Records made under another policy than ``empirical.devices.POLICY`` can be moved to ``set-aside/``, and
files that were set aside can be removed; both only when asked for.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import time
import uuid
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import xarray as xr

from empirical.devices import policy_departures
from empirical.store import Store, host_tag

__all__ = ["StoreEntry", "Sweep", "export_store", "list_store", "sweep_store"]

_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.(?:([0-9a-f]{8})-)?(\d+)-[0-9a-f]{32}\.tmp")
_TEMPORARY_ROW = re.compile(r"\.[0-9a-f]{64}\.(?:json|npz)\.()(\d+)")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same records give the same archive


@dataclass(frozen=True, kw_only=True)
class StoreEntry:
    """One record, as its attributes describe it; nothing is verified.

    Attributes:
        key: SHA-256 of specification, data and measurement version.
        name: of the experiment under which it was measured.
        regime: what was examined, in words.
        measurement_version: of the instruments; 0 where it is not recorded.
        measurement_sha256: hash of the measured numbers; "" where it is not recorded.
        device: kind of device.
        seconds: duration of the measurement; nan where it is not recorded.
        size: bytes of the file.
        departures: in what it was made under another policy; empty for one that may be judged.
        fault: why its attributes could not be read, or "".
    """

    key: str
    name: str = ""
    regime: str = ""
    measurement_version: int = 0
    measurement_sha256: str = ""
    device: str = ""
    seconds: float = float("nan")
    size: int = 0
    departures: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What ``sweep_store`` took away, or would take away: paths relative to the store, sorted.

    Attributes:
        temporary: unfinished files of runs that have ended; removed.
        removed: files that had been set aside; removed.
        moved: records made under another policy; moved to ``set-aside/``.
    """

    temporary: tuple[str, ...]
    removed: tuple[str, ...]
    moved: tuple[str, ...]


def list_store(store: Store) -> list[StoreEntry]:
    """Describe every record, sorted by name and key, without reading its numbers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Store(folder).put("0" * 64, xr.Dataset({"loss": ("time", [0.7, 0.3])}, attrs={"name": "clusters"}))
        ...     [(entry.name, entry.device, entry.fault) for entry in list_store(Store(folder))]
        [('clusters', 'cpu', '')]
    """
    return sorted(map(partial(_entry, store), store.keys()), key=lambda entry: (entry.name, entry.key))


def sweep_store(
    store: Store, *, older_hours: float = 1.0, set_aside: bool = False, other_policy: bool = False, dry_run: bool = False
) -> Sweep:
    """Remove the unfinished files that interrupted runs left behind.

    A temporary file is left alone while the process that writes it is alive on this machine, while it is younger than ``older_hours``, and
    while its time lies in the future (the clock was set back).

    Args:
        store: the store.
        older_hours: hours since the last change of a file that is removed.
        set_aside: also remove what was set aside and is as old.
        other_policy: also move records made under another policy to ``set-aside/``, so that they are measured anew.
        dry_run: change nothing.

    Returns:
        What was, or would be, taken away.

    Raises:
        ValueError: if ``older_hours`` is negative or not finite.
    """
    if isinstance(older_hours, bool) or not isinstance(older_hours, (int, float)) or not 0 <= older_hours < float("inf"):
        raise ValueError(f"older_hours must be a finite number >= 0, got {older_hours!r}")
    moved = [entry for entry in list_store(store) if entry.departures and not entry.fault] if other_policy else []
    stale = [path for path in _files(store.path, store.path / "judgements", store.path / "kept") if _is_stale(path, older_hours)]
    aside = [path for path in _files(store.path / "set-aside") if _age_hours(path) >= older_hours] if set_aside else []
    if not dry_run:
        for path in (*stale, *aside):
            path.unlink(missing_ok=True)
        for entry in moved:
            store.set_aside(entry.key, f"it was made under another policy ({', '.join(entry.departures)})")
    return Sweep(
        temporary=tuple(sorted(str(path.relative_to(store.path)) for path in stale)),
        removed=tuple(sorted(str(path.relative_to(store.path)) for path in aside)),
        moved=tuple(sorted(entry.key for entry in moved)),
    )


def export_store(store: Store, target: str | os.PathLike[str], *, keys: Iterable[str] | None = None) -> list[StoreEntry]:
    """Copy sound records to a folder or zip archive of plain netCDF files with ``index.csv`` and ``index.json``, and read them back.

    The folder is itself a store. An archive of the same records has the same bytes. It appears whole or not at all.

    Args:
        store: where the records are.
        target: a folder that does not exist or is empty, or a file that ends in ``.zip`` and does not exist.
        keys: which records; all by default.

    Returns:
        The entries that were written.

    Raises:
        ValueError: if the target is there already, a key has no sound record, or the store has no record.
        OSError: if the target cannot be written.
    """
    target = Path(target)
    as_archive = target.suffix.lower() == ".zip"
    if target.exists() and (as_archive or not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"export target must not exist yet, or be an empty folder, got {target}")
    chosen = list(dict.fromkeys(keys)) if keys is not None else list(store.keys())
    absent = [key for key in chosen if key not in store or store.get(key) is None]
    if absent:
        raise ValueError(f"export needs a sound record of every key, got none of {absent[0][:80]!r}")
    if not chosen:
        raise ValueError(f"store to be exported must hold records, got none in {store.path}")
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.parent / f".{target.name}.{os.getpid()}-{uuid.uuid4().hex}"
    try:
        staging.mkdir()
        for key in chosen:
            shutil.copyfile(store.path / f"{key}.nc", staging / f"{key}.nc")
        copy = Store(staging)
        damaged = [key for key in chosen if copy.get(key) is None]
        if damaged:
            raise OSError(f"export of record {damaged[0][:12]}… does not read back as it was written")
        entries = [entry for entry in list_store(copy) if entry.key in set(chosen)]
        _write_index(staging, entries)
        if as_archive:
            _archive(staging, target)
        else:
            if target.exists():
                target.rmdir()
            os.replace(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return entries


def _entry(store: Store, key: str) -> StoreEntry:
    """One record by its attributes."""
    path = store.path / f"{key}.nc"
    try:
        size = path.stat().st_size
        with xr.open_dataset(path, engine="h5netcdf", decode_times=False) as dataset:
            attributes = dict(dataset.attrs)
        facts = json.loads(attributes.get("provenance", "{}"))
        return StoreEntry(
            key=key,
            name=str(attributes.get("name", "")),
            regime=str(attributes.get("regime", "")),
            measurement_version=int(attributes.get("measurement_version", 0)),
            measurement_sha256=str(attributes.get("measurement_sha256", "")),
            device=str(facts.get("device", "")),
            seconds=float(facts.get("seconds", "nan")),
            size=size,
            departures=policy_departures(facts),
        )
    except Exception as error:  # a damaged HDF5 file raises nearly anything; ``verify`` sets it aside
        return StoreEntry(key=key, fault=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")


def _files(*folders: Path) -> list[Path]:
    return [path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_file()]


def _age_hours(path: Path) -> float:
    """Hours since the last change; negative if that lies in the future."""
    try:
        return (time.time() - path.stat().st_mtime) / 3600
    except FileNotFoundError:
        return -1.0  # another process was first


def _is_stale(path: Path, older_hours: float) -> bool:
    """Whether a file is the unfinished one of a process that has ended."""
    match = _TEMPORARY.fullmatch(path.name) or _TEMPORARY_ROW.fullmatch(path.name)
    if match is None or _age_hours(path) < older_hours:
        return False
    return match[1] not in (host_tag(), None, "") or not _is_alive(int(match[2]))


def _is_alive(process: int) -> bool:
    """Whether this machine has a process of that number; yes where it cannot be told."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _write_index(folder: Path, entries: list[StoreEntry]) -> None:
    """What the files are, as CSV for people and JSON for programs, with the SHA-256 of each file."""
    rows = []
    for entry in entries:
        fields = asdict(entry)
        fields["file"] = f"{entry.key}.nc"
        fields["file_sha256"] = hashlib.sha256((folder / f"{entry.key}.nc").read_bytes()).hexdigest()
        fields["seconds"] = None if entry.seconds != entry.seconds else entry.seconds
        fields["departures"] = list(entry.departures)
        rows.append({name: value for name, value in fields.items() if name != "fault"})
    index = {"format": "clean-priority export 1", "records": rows}
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    text = io.StringIO()
    table = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows({**row, "departures": "; ".join(row["departures"])} for row in rows)
    (folder / "index.csv").write_text(text.getvalue(), encoding="utf-8")


def _archive(folder: Path, target: Path) -> None:
    """Put the files of a folder into a zip archive, read it back, and give it its name."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex}.tmp")
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            for path in sorted(folder.iterdir()):
                archive.writestr(zipfile.ZipInfo(path.name, _EPOCH), path.read_bytes())  # netCDF is compressed already
        with zipfile.ZipFile(temporary) as archive:
            for path in sorted(folder.iterdir()):
                if archive.read(path.name) != path.read_bytes():
                    raise OSError(f"export of {path.name} does not read back as it was written")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
