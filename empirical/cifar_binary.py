"""The official binary version of CIFAR-10: records of one label byte and 3 × 32 × 32 pixel bytes, in a folder or in the tar.gz archive.

Every departure from the format is a one-line ValueError that names the file, the value found and the value expected.
"""

from __future__ import annotations

import functools
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from empirical.pictures import check_member

__all__ = ["CIFAR10_ARCHIVE", "CIFAR10_CLASSES", "CIFAR10_FILES", "CIFAR10_FOLDER", "read_cifar10"]

CIFAR10_ARCHIVE, CIFAR10_FOLDER = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
"""Official names of the archive, and of the folder in it."""

CIFAR10_FILES = (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin")
"""The five training files and the test file."""

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""Class names in the order of the label bytes, which is that of the alphabet."""

_RECORD = 1 + 3 * 32 * 32


def read_cifar10(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the six files from their folder or from the archive.

    Args:
        path: the folder that holds the ``.bin`` files, or the tar.gz archive, which is unpacked in memory.

    Returns:
        training pixels ``[n, 3072]`` (channel first), training labels ``[n]``, test pixels, test labels.

    Raises:
        ValueError: if a file is missing, cannot be read or unpacked, is not a whole number of records, has fewer of them than another
            (the official files have 10,000 each), or holds a label above 9.
    """
    if path.is_dir():
        content = {name: _bytes_of(path / name) for name in CIFAR10_FILES}
    else:
        stat = path.stat()
        content = {name: np.frombuffer(part, dtype=np.uint8) for name, part in _unpack_once(path, stat.st_mtime_ns, stat.st_size).items()}
    records = []
    for name in CIFAR10_FILES:
        part = content[name]
        if len(part) == 0 or len(part) % _RECORD:
            raise ValueError(
                f"{path / name}: got {len(part)} bytes, expected a positive multiple of {_RECORD} (label and 3 × 32 × 32 pixels)"
            )
        record = part.reshape(-1, _RECORD)
        if record[:, 0].max() > 9:
            index = int(np.argmax(record[:, 0] > 9))
            raise ValueError(f"{path / name}: got label {record[index, 0]} in record {index}, expected 0 to 9")
        records.append(record)
    # Official files are all of 10,000 records: a file cut off at the end of a record is shorter than the others.
    most = max(len(record) for record in records)
    for name, record in zip(CIFAR10_FILES, records, strict=True):
        if len(record) != most:
            raise ValueError(f"{path / name}: got {len(record)} records, expected {most} as in the other files: is it cut off?")
    train, test = np.concatenate(records[:-1]), records[-1]
    return train[:, 1:], train[:, 0], test[:, 1:], test[:, 0]


def _bytes_of(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file."""
    try:
        return np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None


@functools.lru_cache(maxsize=1)
def _unpack_once(path: Path, modified: int, size: int) -> Mapping[str, bytes]:
    """The six files of the archive, once per process and state of the archive (time of change in ns, size in bytes)."""
    content = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = PurePosixPath(check_member(path, member.name)).name
                if member.isfile() and name in CIFAR10_FILES:
                    stream = archive.extractfile(member)
                    content[name] = stream.read() if stream is not None else b""
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: damaged archive ({reason}), expected the official {CIFAR10_ARCHIVE}") from None
    missing = [name for name in CIFAR10_FILES if name not in content]
    if missing:
        raise ValueError(f"{path}: got no {', '.join(missing)} in it, expected the six files of the official {CIFAR10_ARCHIVE}")
    return content
