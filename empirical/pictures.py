"""Collections of pictures by class: a folder or a zip archive of ``train/<class>/…`` and ``test/<class>/…``.

The collection is listed at once and decoded on demand: only the pictures that a selection needs are opened. Nothing is unpacked to disk.
Every picture that is read is checked against the size and the colours of the first one; whatever does not fit is a one-line ValueError
that names the file, what was found and what was expected.
"""

from __future__ import annotations

import io
import os
import threading
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["PICTURE_SUFFIXES", "PictureCollection", "PictureRows", "check_member", "open_collection"]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
"""Names of picture files end in one of these, in small or capital letters."""

_LAYOUT = "train/<class>/<picture> and test/<class>/<picture>"
_PARALLEL = 512  # pictures from which threads are worth their start
_SPLITS = ("train", "test")
_TOP = [[split] for split in _SPLITS]


@dataclass(frozen=True, kw_only=True, eq=False)
class PictureCollection:
    """What a folder or archive holds, in the order of class names and file names.

    Attributes:
        path: the folder or archive.
        class_names: names of the class folders, sorted (numbers by value).
        train: pictures of the training split.
        train_labels: index of each one's class in ``class_names`` ``[n]``.
        test: pictures of the test split; may be none.
        test_labels: int64 ``[n_test]``.
        image_shape: ``(3, height, width)`` for colour, ``(height, width)`` for grey.
    """

    path: Path
    class_names: tuple[str, ...]
    train: PictureRows
    train_labels: NDArray[np.int64]
    test: PictureRows
    test_labels: NDArray[np.int64]
    image_shape: tuple[int, ...]


class PictureRows:
    """Pictures as rows of bytes, decoded when they are indexed: ``rows[index]`` is uint8 ``[k, d]``.

    Colour is channel first, ``d = 3·height·width``: all red values row by row, then green, then blue, as in the CIFAR-10 binaries.

    Made by ``open_collection``. An archive stays open as long as its rows are referred to.
    """

    def __init__(self, files: _Files, names: Sequence[str], image_shape: tuple[int, ...]) -> None:
        self._files, self._names, self._shape = files, tuple(names), image_shape

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: NDArray[np.integer]) -> NDArray[np.uint8]:
        rows = np.empty((len(index), int(np.prod(self._shape))), dtype=np.uint8)

        def decode(place: int) -> None:
            name = self._names[index[place]]
            rows[place] = _decode(self._files.read(name), self._files.label(name), self._shape)

        if len(index) < _PARALLEL:
            for place in range(len(index)):
                decode(place)
        else:
            with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
                for _ in pool.map(decode, range(len(index))):
                    pass
        return rows


def open_collection(path: Path, *, needs_test: bool = True) -> PictureCollection:
    """List a folder or zip archive of pictures by class.

    The splits may lie at the top or in one common folder. Hidden files and ``__MACOSX`` are passed over, and so is whatever lies outside
    ``train`` and ``test``.

    Args:
        path: folder or zip archive.
        needs_test: whether a missing test split is an error.

    Raises:
        ValueError: if the archive is damaged, a member's path leads out of it, a split is missing, a class has no picture, a file is not
            named as a picture, or the first picture cannot be decoded.
    """
    files = _Files(path)
    folders, names = _grouped(path, files.names())
    wanted = _SPLITS if needs_test else ("train",)
    for split in wanted:
        if not any(part == split for part, _ in folders):
            raise ValueError(f"{path}: no {split}/<class>/ in it, expected {_LAYOUT}")
    class_names = tuple(sorted({c for split, c in folders if split in wanted}, key=_natural))
    for split in wanted:
        for c in class_names:
            if not names.get((split, c)):
                raise ValueError(f"{path}: got no picture in {split}/{c}, expected at least one for every class ({', '.join(class_names)})")
    first = names["train", class_names[0]][0]
    shape = _shape_of(files.read(first), files.label(first))
    listed = {split: [names.get((split, c), []) for c in class_names] for split in _SPLITS}
    rows = {split: PictureRows(files, [name for group in listed[split] for name in group], shape) for split in _SPLITS}
    labels = {split: np.repeat(np.arange(len(class_names)), [len(group) for group in listed[split]]) for split in _SPLITS}
    return PictureCollection(
        path=path,
        class_names=class_names,
        train=rows["train"],
        train_labels=labels["train"],
        test=rows["test"],
        test_labels=labels["test"],
        image_shape=shape,
    )


def check_member(archive: Path, name: str) -> str:
    """Return the name of an archive's member if it stays inside the archive.

    Raises:
        ValueError: if it is absolute or climbs out by ``..``.

    Example:
        >>> check_member(Path("a.zip"), "train/cat/1.png")
        'train/cat/1.png'
    """
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or ":" in parts[0]:
        raise ValueError(f"{archive}: member {name!r} leads out of the archive, expected paths inside it")
    return name


def _grouped(path: Path, entries: Sequence[str]) -> tuple[set[tuple[str, str]], dict[tuple[str, str], list[str]]]:
    """Class folders ``(split, class)``, also empty ones, and the sorted pictures in each. Entries that end in "/" are folders."""
    split = [(entry, [part for part in entry.split("/") if part not in ("", ".")]) for entry in sorted(set(entries))]
    depth = 0 if any(parts[:1] in _TOP for _, parts in split) else 1
    common = {parts[0] for _, parts in split if parts[1:2] in _TOP} if depth else set()
    if len(common) > 1:
        raise ValueError(f"{path}: got splits in {', '.join(sorted(common))}, expected {_LAYOUT} at the top or in one folder")
    folders: set[tuple[str, str]] = set()
    names: dict[tuple[str, str], list[str]] = {}
    for entry, whole in split:
        parts = whole[depth:]
        if parts[:1] not in _TOP or any(part.startswith(".") for part in parts) or parts[-1] == "Thumbs.db":
            continue
        is_folder = entry.endswith("/")
        if len(parts) == 1 and is_folder:
            continue
        if len(parts) == 2 and is_folder:
            folders.add((parts[0], parts[1]))
        elif len(parts) == 3 and not is_folder and entry.lower().endswith(PICTURE_SUFFIXES):
            folders.add((parts[0], parts[1]))
            names.setdefault((parts[0], parts[1]), []).append(entry)
        else:
            raise ValueError(f"{path}: got {entry!r}, expected {_LAYOUT} with a name that ends in {', '.join(PICTURE_SUFFIXES)}")
    return folders, names


class _Files:
    """Read access to the files of a folder or of a zip archive; reading is safe from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None
        if not path.is_dir():
            try:
                self._archive = zipfile.ZipFile(path)
            except (OSError, zipfile.BadZipFile) as error:
                reason = getattr(error, "strerror", None) or error
                raise ValueError(f"{path}: cannot be opened ({reason}), expected a folder or a zip archive of pictures") from None

    def names(self) -> list[str]:
        """All files, and folders with "/" at the end, relative, with "/"; at most four levels deep."""
        if self._archive is not None:
            members = [check_member(self._path, name) for name in self._archive.namelist()]
            return [name for name in members if not name.startswith("__MACOSX/")]
        found, level = [], [""]
        for _ in range(4):
            deeper = []
            for folder in level:
                for entry in os.scandir(self._path / folder):
                    if entry.is_dir():
                        deeper.append(f"{folder}{entry.name}/")
                    else:
                        found.append(folder + entry.name)
            found += deeper
            level = [name for name in deeper if not name.split("/")[-2].startswith(".")]
        return found

    def label(self, name: str) -> str:
        """Name of a file for messages."""
        return f"{self._path / name}"

    def read(self, name: str) -> bytes:
        """Content of a file."""
        try:
            if self._archive is None:
                return (self._path / name).read_bytes()
            with self._lock:
                return self._archive.read(name)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{self.label(name)}: cannot be read ({_one_line(error)}), expected a picture") from None


def _decode(content: bytes, label: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """One picture as a row of bytes; its size and colours must be those of ``shape``."""
    from PIL import Image

    grey = len(shape) == 2
    try:
        with Image.open(io.BytesIO(content)) as picture:
            size, colours = _size(picture, label), picture.mode
            if size != shape[-2:]:
                raise _UnfitError(
                    f"{label}: got a picture of {list(size)} pixels, expected {list(shape[-2:])} as the first of the collection"
                )
            if grey and colours not in ("L", "1"):
                raise _UnfitError(f"{label}: got a colour picture (mode {colours}), expected grey as the first of the collection")
            mode = "L" if grey else "RGB"
            pixels = np.asarray(picture if colours == mode else picture.convert(mode))
    except _UnfitError as fault:
        raise ValueError(str(fault)) from None
    except Exception as error:  # a damaged file makes Pillow raise nearly anything: OSError, SyntaxError, struct.error, …
        raise ValueError(f"{label}: damaged or no picture ({_one_line(error)}), expected one that Pillow can decode") from None
    return pixels.reshape(-1) if grey else pixels.transpose(2, 0, 1).reshape(-1)


def _shape_of(content: bytes, label: str) -> tuple[int, ...]:
    """Shape of a picture from its header."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as picture:
            size = _size(picture, label)
            return size if picture.mode in ("L", "1") else (3, *size)
    except _UnfitError as fault:
        raise ValueError(str(fault)) from None
    except Exception as error:
        raise ValueError(f"{label}: damaged or no picture ({_one_line(error)}), expected one that Pillow can decode") from None


def _size(picture: object, label: str) -> tuple[int, int]:
    """Height and width; transparency and deep colours are refused, for they would be lost."""
    mode, info = getattr(picture, "mode", ""), getattr(picture, "info", {})
    if mode not in ("L", "1", "RGB", "P") or "transparency" in info:
        what = f"{mode} with transparency" if "transparency" in info else mode
        raise _UnfitError(f"{label}: got a picture of mode {what}, expected RGB, grey (L) or a palette (P) without transparency")
    width, height = getattr(picture, "size", (0, 0))
    return int(height), int(width)


class _UnfitError(Exception):
    """A picture that can be read and is not what was expected."""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _natural(name: str) -> tuple[int, str]:
    """Sort key that puts 10 after 9, and names after numbers."""
    return (int(name), "") if name.isdecimal() else (1 << 62, name)
