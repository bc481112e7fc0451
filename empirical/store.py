"""Immutable records of measurements: one netCDF file per key, written whole or not at all, verified whenever it is read.

A key is the SHA-256 of what was asked (specification, data hash, version of the measuring code). A file carries its key, a checksum of its
content, a hash of the measured numbers, and the provenance of the measurement in attributes, and opens anywhere as an xarray Dataset with
named dimensions and units. Damaged or foreign files are set aside under ``set-aside/`` with one line of warning: never read as data, never
deleted. Nothing is pickled. Listing, sweeping and exporting a store: ``empirical.store_upkeep``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from empirical.devices import provenance as measured_here
from empirical.record_files import read_record, write_record

__all__ = ["STORE_VARIABLE", "Store", "StoreWarning", "host_tag", "measurement_digest"]

STORE_VARIABLE = "CLEAN_PRIORITY_STORE"
"""Environment variable that names the folder of the store where no path is given."""

_FORMAT = "clean-priority record 1"
_KEY = re.compile(r"[0-9a-f]{64}")
_RECORD_ATTRIBUTES = ("name", "record_format", "key", "provenance", "content_sha256", "measurement_sha256")
_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL, errno.EACCES)


class StoreWarning(UserWarning):
    """A file of the store was set aside: which one, where it went, and why, in one line."""


class Store:
    """Folder of records; any number of processes may read and write at once.

    Args:
        path: the folder, made on the first write; else the environment variable ``CLEAN_PRIORITY_STORE``; else ``clean-priority`` in the
            user's cache folder (``$XDG_CACHE_HOME`` or ``~/.cache``, ``~/Library/Caches``, ``%LOCALAPPDATA%``).

    Raises:
        ValueError: if the path is not a path, or is a file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store(folder)
        ...     _ = store.put("0" * 64, xr.Dataset({"loss": ("time", [0.7, 0.3])}))
        ...     "0" * 64 in store, store.get("0" * 64).loss.values.tolist(), store.get("1" * 64)
        (True, [0.7, 0.3], None)
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise ValueError(f"store must be the path of a folder, got {path!r}")
        self.path = Path(path).expanduser() if path is not None else _default_path()
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"store must be the path of a folder, got the file {self.path}")

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    def __contains__(self, key: object) -> bool:
        """Whether there is a record of this key; only ``get`` verifies it."""
        return isinstance(key, str) and _KEY.fullmatch(key) is not None and self._file(key).is_file()

    def keys(self) -> Iterator[str]:
        """Keys of the records, sorted; files that do not look like records are left out."""
        if self.path.is_dir():
            yield from sorted(file.stem for file in self.path.glob("*.nc") if _KEY.fullmatch(file.stem))

    def get(self, key: str) -> xr.Dataset | None:
        """Return the record of a key, in memory, or None where there is no sound one.

        The content is checked against its checksum. A file that is damaged, not a record, or a record of another key is set aside with a
        ``StoreWarning``.

        Raises:
            ValueError: if the key is not a SHA-256 in hexadecimal.
        """
        file = self._file(key)
        if not file.is_file():
            return None
        try:
            dataset = read_record(file)
            fault = _fault(dataset, key)
        except FileNotFoundError:
            return None  # another process has set it aside meanwhile
        except Exception as error:  # a damaged HDF5 file raises nearly anything
            fault = f"it cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:120]})"
        if fault:
            self._set_aside(file, fault)
            return None
        return dataset

    def put(self, key: str, dataset: xr.Dataset, *, provenance: Mapping[str, object] | None = None) -> Path:
        """Write a record, unless a record of this key is there already.

        The file is written under a temporary name, synced, read back and verified, then given its own name: it appears whole or not at
        all, and of several processes that write the same key at once the first one's record stays.

        Args:
            key: SHA-256 in hexadecimal.
            dataset: the measurement, with units in the attributes of its variables; a variable of numbers without them is recorded
                with units "1". Attributes that netCDF cannot hold (booleans, mappings, None, lists of texts) are kept as JSON text.
            provenance: facts about the measurement; by default ``empirical.devices.provenance()``.

        Returns:
            Path of the record.

        Raises:
            ValueError: if the key is not one, or netCDF cannot hold the data.
            OSError: if the file cannot be written (no space, no permission), in one line; nothing is left behind.
        """
        file = self._file(key)
        if file.is_file():
            return file
        if not isinstance(dataset, xr.Dataset):
            raise ValueError(f"dataset must be an xarray Dataset, got {type(dataset).__name__}")
        record = _with_plain_attributes(dataset)
        facts = dict(provenance) if provenance is not None else measured_here()
        record.attrs["measurement_sha256"] = measurement_digest(record)
        record.attrs |= {"record_format": _FORMAT, "key": key, "provenance": json.dumps(facts, sort_keys=True, default=str)}
        record.attrs["content_sha256"] = _content_hash(record)
        temporary = self.path / f".{key}.{host_tag()}-{os.getpid()}-{uuid.uuid4().hex}.tmp"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_record(record, temporary)
            fault = _fault(read_record(temporary), key)
            if fault:
                raise ValueError(f"dataset cannot be kept faithfully in netCDF: after writing, {fault}")
            _publish(temporary, file)
            _sync_folder(self.path)
        except OSError as error:
            raise OSError(error.errno, f"record {key[:12]}… could not be written to {self.path}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        return file

    def verify(self) -> dict[str, bool]:
        """Read every record: key → whether it is sound; the others are set aside as by ``get``."""
        return {key: self.get(key) is not None for key in list(self.keys())}

    def set_aside(self, key: str, reason: str) -> None:
        """Move a record to ``set-aside/``, with one line of warning, so that it can be measured anew.

        Args:
            key: SHA-256 in hexadecimal; a key without a record is passed over.
            reason: words that follow "because".

        Raises:
            ValueError: if the key is not one.
        """
        file = self._file(key)
        if file.is_file():
            self._set_aside(file, reason)

    def _file(self, key: str) -> Path:
        """Path of a record; refuses anything but a hash, so that a key cannot leave the folder."""
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ValueError(f"key must be a SHA-256 in 64 hexadecimal digits, got {str(key)[:80]!r}")
        return self.path / f"{key}.nc"

    def _set_aside(self, file: Path, fault: str) -> None:
        """Move a file to ``set-aside/`` under a new name and say so."""
        target = self.path / "set-aside" / f"{file.name}.{uuid.uuid4().hex[:12]}"
        try:
            target.parent.mkdir(exist_ok=True)
            os.replace(file, target)
        except FileNotFoundError:
            return  # another process was first
        except OSError as error:
            warnings.warn(f"{file.name} is not used because {fault}; it could not be moved: {error.strerror}", StoreWarning, stacklevel=3)
            return
        warnings.warn(f"{file.name} is set aside as {target.parent.name}/{target.name} because {fault}", StoreWarning, stacklevel=3)


def measurement_digest(dataset: xr.Dataset) -> str:
    """SHA-256 of what was measured: all variables and attributes but those that say where, when, how fast and under which name.

    Two records of the same specification, made under the same policy on the same kind of machine, have the same digest whatever the number
    of workers, their order, or what was interrupted on the way; their files differ in ``provenance`` alone.

    Args:
        dataset: a measurement, or a record as ``Store.get`` returns it.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> one = xr.Dataset({"loss": ("time", [0.7, 0.3])}, attrs={"provenance": "here"})
        >>> measurement_digest(one) == measurement_digest(one.assign_attrs(provenance="there"))
        True
    """
    plain = _with_plain_attributes(dataset)
    return _content_hash(plain, without=_RECORD_ATTRIBUTES)


def host_tag() -> str:
    """Eight hexadecimal digits that tell machines apart without naming them; part of the names of temporary files."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _publish(temporary: Path, file: Path) -> None:
    """Give a finished file its name, unless another process was first; its record is as good and stays."""
    try:
        os.link(temporary, file)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        os.replace(temporary, file)  # a file system without hard links: atomic, too, but the last one stays


def _default_path() -> Path:
    """The folder that the environment names, else the user's cache folder by the platform's convention."""
    named = os.environ.get(STORE_VARIABLE, "")
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "clean-priority"


def _fault(dataset: xr.Dataset, key: str) -> str:
    """What is wrong with a record, in words that follow "because"; empty for a sound one."""
    if dataset.attrs.get("record_format") != _FORMAT:
        return f"it is no record of this program (format {str(dataset.attrs.get('record_format'))[:40]!r}, expected {_FORMAT!r})"
    if dataset.attrs.get("key") != key:
        return f"it is the record of another key ({str(dataset.attrs.get('key'))[:12]}…)"
    if dataset.attrs.get("content_sha256") != _content_hash(dataset):
        return "its content does not match its checksum"
    return ""


def _content_hash(dataset: xr.Dataset, without: tuple[str, ...] = ("content_sha256",)) -> str:
    """SHA-256 of names, dimensions, types, values and attributes; the same before writing and after reading."""
    digest = hashlib.sha256()
    for name in sorted(dataset.variables, key=str):
        variable = dataset.variables[name]
        header = [str(name), list(map(str, variable.dims)), list(variable.shape), name in dataset.coords, _plain(variable.attrs)]
        values = np.asarray(variable.values)
        if values.dtype.kind in "OUT":
            digest.update(json.dumps([*header, "text", [str(v) for v in values.ravel()]]).encode())
        else:
            little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
            digest.update(json.dumps([*header, little.dtype.str]).encode())
            digest.update(little.tobytes())
    attributes = {name: value for name, value in dataset.attrs.items() if name not in without}
    digest.update(json.dumps(_plain(attributes), sort_keys=True).encode())
    return digest.hexdigest()


def _plain(attributes: Mapping[object, object]) -> dict[str, object]:
    """Attributes as JSON values, with arrays of one number as that number (netCDF does not tell them apart)."""
    plain: dict[str, object] = {}
    for name, value in attributes.items():
        array = np.asarray(value)
        plain[str(name)] = (
            array.tolist() if array.size != 1 else array.ravel()[0].item() if array.dtype.kind in "iuf" else str(array.ravel()[0])
        )
    return plain


def _with_plain_attributes(dataset: xr.Dataset) -> xr.Dataset:
    """A shallow copy whose attributes netCDF can hold; texts that are no texts are refused."""
    record = dataset.copy()
    record.attrs = {str(name): _attribute(value) for name, value in dataset.attrs.items()}
    for name, variable in record.variables.items():
        if variable.dtype.kind not in "biufUOT" or variable.dtype == np.float16:
            raise ValueError(f"variable {name!r} must hold numbers, booleans or texts, got dtype {variable.dtype}")
        if variable.dtype.kind == "O" and not all(isinstance(v, str) for v in np.asarray(variable.values).ravel()):
            raise ValueError(f"variable {name!r} must hold numbers, booleans or texts, got Python objects")
        attributes = {str(key): _attribute(value) for key, value in variable.attrs.items()}
        if variable.dtype.kind in "iuf":
            attributes.setdefault("units", "1")
        record[name].attrs = attributes
        record[name].encoding = {}
    return record


def _attribute(value: object) -> object:
    """A text, a number or an array of numbers as they are; everything else as JSON text."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_)):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.ndim == 1 and array.size and array.dtype.kind in "iuf":
        return array
    return json.dumps(value, sort_keys=True, default=lambda item: item.item() if isinstance(item, np.generic) else str(item))


def _sync_folder(path: Path) -> None:
    """Make the rename durable where the system can sync a folder."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
