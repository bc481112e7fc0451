"""The IDX format: what is written is read, and every departure is one line that names file, value and expectation."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from empirical.idx import read_idx

PICTURES = np.random.default_rng(0).integers(0, 256, size=(5, 4, 3), dtype=np.uint8)


def image_bytes(pictures: np.ndarray = PICTURES, *, magic: int = 2051) -> bytes:
    return struct.pack(">IIII", magic, *pictures.shape) + pictures.tobytes()


def label_bytes(labels: np.ndarray, *, magic: int = 2049) -> bytes:
    return struct.pack(">II", magic, len(labels)) + labels.astype(np.uint8).tobytes()


@pytest.mark.parametrize("packed", [False, True], ids=["raw", "gzip"])
def test_reads_what_was_written(tmp_path: Path, packed: bool):
    path = tmp_path / ("images.gz" if packed else "images")
    path.write_bytes(gzip.compress(image_bytes()) if packed else image_bytes())
    read = read_idx(path, "images")
    assert np.array_equal(read, PICTURES)
    assert read.dtype == np.uint8
    path.write_bytes(label_bytes(np.arange(7)))
    if not packed:
        assert read_idx(path, "labels").tolist() == list(range(7))


def test_gzip_is_recognised_by_content(tmp_path: Path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(image_bytes()))
    assert np.array_equal(read_idx(path, "images"), PICTURES)


FAULTS = {
    "empty": (b"", "truncated IDX file, got 0 bytes, expected a header of 16"),
    "half-a-header": (image_bytes()[:9], "truncated IDX file, got 9 bytes, expected a header of 16"),
    "truncated": (image_bytes()[:-1], r"truncated IDX file, got 59 bytes after the header, expected 60 for sizes \[5, 4, 3\]"),
    "overlong": (image_bytes() + b"\0", "overlong IDX file, got 61 bytes after the header, expected 60"),
    "labels-for-images": (label_bytes(np.arange(7)), r"got magic number 2049 \(labels\), expected 2051 \(images\)"),
    "wrong-magic": (b"PK\3\4" + bytes(80), r"got magic number 1347093252 \(0x504b0304\), expected 2051 \(images\)"),
    "float-data": (image_bytes(magic=0x00000D03), r"got magic number 3331 \(3 dimensions of floats\), expected 2051"),
    "two-dimensions": (image_bytes(magic=0x00000802), r"got magic number 2050 \(2 dimensions of unsigned bytes\), expected 2051"),
    "little-endian": (struct.pack("<IIII", 2051, 5, 4, 3) + PICTURES.tobytes(), "got magic number"),
    "zero-size": (struct.pack(">IIII", 2051, 5, 0, 3), r"sizes \[5, 0, 3\], expected every size to be at least 1"),
    "huge-size": (struct.pack(">IIII", 2051, 2**32 - 1, 28, 28), "truncated IDX file, got 0 bytes after the header"),
    "damaged-gzip": (gzip.compress(image_bytes())[:-12], "damaged gzip file"),
    "gzip-of-garbage": (gzip.compress(b"hello world"), "not an IDX file of images"),
    "gzip-checksum": (gzip.compress(image_bytes())[:-8] + bytes(8), "damaged gzip file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_departures_are_one_line(tmp_path: Path, fault: str):
    content, message = FAULTS[fault]
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(path, "images")
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_for_labels(tmp_path: Path):
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(image_bytes())
    with pytest.raises(ValueError, match=r"not an IDX file of labels, got magic number 2051 \(images\), expected 2049 \(labels\)"):
        read_idx(path, "labels")


def test_missing_and_misnamed(tmp_path: Path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_idx(tmp_path / "nothing", "images")
    path = tmp_path / "images.gz"
    path.write_bytes(image_bytes())
    with pytest.raises(ValueError, match="not a gzip file, got first bytes 0000, expected 1f8b"):
        read_idx(path, "images")
    with pytest.raises(ValueError, match="kind must be 'images' or 'labels', got 'pictures'"):
        read_idx(path, "pictures")
