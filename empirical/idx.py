"""The IDX file format of MNIST: a big-endian header of magic number and sizes, then the bytes; raw or gzip.

Every departure from the format is a one-line ValueError that names the file, the value found and the value expected.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["IDX_MAGIC", "read_idx"]

IDX_MAGIC = {"images": 0x00000803, "labels": 0x00000801}
"""Magic numbers of the two kinds: two zero bytes, 0x08 for unsigned bytes, and the number of dimensions (3 or 1)."""

_KIND_OF_MAGIC = {magic: kind for kind, magic in IDX_MAGIC.items()}
_TYPE_NAMES = {0x08: "unsigned byte", 0x09: "signed byte", 0x0B: "short", 0x0C: "int", 0x0D: "float", 0x0E: "double"}


def read_idx(path: Path, kind: str) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes: images ``[n, height, width]`` or labels ``[n]``.

    Args:
        path: the file; gzip is recognised by its content, not by its name.
        kind: ``"images"`` or ``"labels"``.

    Returns:
        A read-only uint8 array.

    Raises:
        ValueError: if ``kind`` is neither, the file cannot be read or unpacked, its magic number, data type or sizes are not those of
            the kind, or it holds fewer or more bytes than its header says.
    """
    if kind not in IDX_MAGIC:
        raise ValueError(f"kind must be 'images' or 'labels', got {kind!r}")
    path = Path(path)
    content = _unpacked(path)
    dimensions = IDX_MAGIC[kind] & 0xFF
    header = 4 * (1 + dimensions)
    if len(content) < 4:
        raise ValueError(f"{path}: truncated IDX file, got {len(content)} bytes, expected a header of {header}")
    (magic,) = struct.unpack(">I", content[:4])
    if magic != IDX_MAGIC[kind]:
        raise ValueError(f"{path}: not an IDX file of {kind}, got magic number {_describe(magic)}, expected {_describe(IDX_MAGIC[kind])}")
    if len(content) < header:
        raise ValueError(f"{path}: truncated IDX file, got {len(content)} bytes, expected a header of {header}")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if 0 in shape:
        raise ValueError(f"{path}: IDX file of {kind} with sizes {list(shape)}, expected every size to be at least 1")
    expected = math.prod(shape)
    if len(content) - header != expected:
        fault = "truncated" if len(content) - header < expected else "overlong"
        raise ValueError(
            f"{path}: {fault} IDX file, got {len(content) - header} bytes after the header, expected {expected} for sizes {list(shape)}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _unpacked(path: Path) -> bytes:
    """Content of the file, unpacked if it starts as gzip does."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    if content[:2] != b"\x1f\x8b":
        if path.suffix == ".gz":
            raise ValueError(f"{path}: not a gzip file, got first bytes {content[:2].hex() or 'none'}, expected 1f8b")
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file ({error}), expected a complete archive of an IDX file") from None


def _describe(magic: int) -> str:
    """Magic number in words: ``2051 (images, 3 dimensions of unsigned bytes)``."""
    if magic in _KIND_OF_MAGIC:
        return f"{magic} ({_KIND_OF_MAGIC[magic]})"
    kind, dimensions = (magic >> 8) & 0xFF, magic & 0xFF
    if magic >> 16 == 0 and kind in _TYPE_NAMES:
        return f"{magic} ({dimensions} dimensions of {_TYPE_NAMES[kind]}s)"
    return f"{magic} (0x{magic:08x})"
