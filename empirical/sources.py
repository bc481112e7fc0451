"""Where data come from: arc clusters drawn by seed, scikit-learn's digits, the official MNIST and CIFAR-10 files, pictures by class.

A loader turns a request into a pool, all that the source has; ``empirical.datasets`` chooses classes and samples from it. To add a data
set, write a loader and name it in ``LOADERS`` and ``DATASETS``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from empirical._validation import check_integer, check_integers, check_positive
from empirical.cifar_binary import CIFAR10_ARCHIVE, CIFAR10_CLASSES, CIFAR10_FILES, CIFAR10_FOLDER, read_cifar10
from empirical.idx import read_idx
from empirical.pictures import PictureCollection, open_collection

__all__ = ["DATASETS", "DATA_ROOT_VARIABLE", "LOADERS", "DatasetNotFound", "Pool", "Request", "Rows", "arc_clusters", "even_share"]

DATA_ROOT_VARIABLE = "CLEAN_PRIORITY_DATA"
"""Environment variable that names the folder of ``mnist/`` and ``cifar10/`` where no ``root`` is given."""

STREAM = int.from_bytes(b"dataset", "big")
"""First word of every seed of a data draw: keeps it independent of the label noise of the same seed."""

_LARGEST_CLUSTER = 10_000_000  # samples of a cluster; more is taken for a slip


class DatasetNotFound(ValueError):  # noqa: N818 — named for what the caller sees
    """A data set whose files are not there: which files, where they were looked for, and how to get them, in one line."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a loader is asked for."""

    classes: tuple[str, ...] | None
    n_train: int | tuple[int, ...] | None
    n_test: int | tuple[int, ...] | None
    root: Path | None
    seed: int


class Rows(Protocol):
    """Samples ``[n, d]`` of which rows can be taken: an array, or pictures that are decoded when they are taken."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: NDArray[np.int64], /) -> NDArray[np.generic]: ...


@dataclass(frozen=True, kw_only=True)
class Pool:
    """All that a source has, before classes are chosen and samples drawn: pixel values in [0, 1] or coordinates."""

    train_inputs: Rows
    train_labels: NDArray[np.integer]
    test_inputs: Rows
    test_labels: NDArray[np.integer]
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...] | None = None
    divisor: float = 1.0  # inputs are divided by it after selection: 255 for bytes


def even_share(size: int | tuple[int, ...], available: Sequence[int], name: str, class_names: Sequence[str]) -> list[int]:
    """Samples per class: as even as the classes allow, the first classes one more where it does not divide."""
    if isinstance(size, tuple):
        if len(size) != len(available):
            raise ValueError(f"{name} must be one number or {len(available)} counts, one per class, got {len(size)} counts")
        for count, most, c in zip(size, available, class_names, strict=True):
            if count > most:
                raise ValueError(f"{name} asks for {count} samples of class {c}, expected at most {most}")
        return list(size)
    if size > sum(available):
        raise ValueError(f"{name} must be at most {sum(available)}, the samples of class {', '.join(class_names)}, got {size}")
    level, beyond = 0, max(available, default=0) + 1  # the highest level to which every class that has so many can be filled
    while beyond - level > 1:
        middle = (level + beyond) // 2
        level, beyond = (middle, beyond) if sum(min(most, middle) for most in available) <= size else (level, middle)
    share = [min(most, level) for most in available]
    for index in [index for index, most in enumerate(available) if most > level][: size - sum(share)]:
        share[index] += 1
    return share


def arc_clusters(
    counts: Sequence[int], *, seed: int, span: float = np.deg2rad(80.0), relative_spread: float = 0.125
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draw separated clusters on an arc of the plane.

    Cluster c of C is centred at the angle (π/2 − span)/2 + c·Δ with Δ = span/(C − 1); its samples lie at that angle plus
    ``relative_spread``·Δ·u, at radius 1 + v/10, where u and v are standard normal cut off at ±3 (drawn by the inverse distribution
    function). With the default values the two clusters sit at 5° and 85° with standard deviation 9.9° and stay at least 20° apart; of C
    clusters, neighbours keep a gap of Δ/4.

    Args:
        counts: samples per cluster, length C ≥ 2.
        seed: of the draw; the first samples of a cluster do not depend on how many follow.
        span: angle between the first and the last centre, radians.
        relative_spread: standard deviation of the angle as a fraction of the distance of neighbouring centres.

    Returns:
        coordinates ``[n, 2]`` and labels ``[n]``, cluster by cluster.

    Raises:
        ValueError: if there are fewer than two counts, none is positive, or span or spread is not positive.

    Source: Fig. 3 [A] (which states no parameters).

    Example:
        >>> points, labels = arc_clusters([3, 2], seed=0)
        >>> points.shape, labels.tolist()
        ((5, 2), [0, 0, 0, 1, 1])
    """
    counts = list(check_integers(counts, "counts"))
    if len(counts) < 2 or sum(counts) == 0:
        raise ValueError(f"counts must be at least 2 cluster sizes that are not all 0, got {counts}")
    check_positive(span, "span")
    check_positive(relative_spread, "relative_spread")
    return _arc_clusters(counts, (check_integer(seed, "seed", minimum=0),), span, relative_spread)


def _arc_clusters(
    counts: Sequence[int], key: tuple[int, ...], span: float = np.deg2rad(80.0), relative_spread: float = 0.125
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """``arc_clusters`` with any key for the generator."""
    from scipy.special import ndtr, ndtri

    step = span / (len(counts) - 1)
    points = []
    for c, count in enumerate(counts):
        uniform = np.random.default_rng([STREAM, *key, c]).uniform(ndtr(-3.0), ndtr(3.0), size=(count, 2))
        deviation = ndtri(uniform)
        angle = (np.pi / 2 - span) / 2 + c * step + relative_spread * step * deviation[:, 0]
        radius = 1 + deviation[:, 1] / 10
        points.append(radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    return np.concatenate(points), np.repeat(np.arange(len(counts)), counts)


def _load_clusters(request: Request) -> Pool:
    """Draw exactly the samples asked for; classes must be 0, 1, …, C − 1 in any order."""
    names = request.classes if request.classes is not None else ("0", "1")
    if sorted(names, key=_natural) != [str(c) for c in range(len(names))]:
        raise ValueError(f"classes of 'clusters' must be 0 to C - 1, got {', '.join(names)}")
    drawn = []
    most = [_LARGEST_CLUSTER] * len(names)
    for split, (argument, size) in enumerate((("n_train", request.n_train), ("n_test", request.n_test))):
        share = even_share(400 if size is None else size, most, f"{argument} of 'clusters'", names)
        by_label = [share[names.index(str(c))] for c in range(len(names))]
        drawn.append(_arc_clusters(by_label, (request.seed, split)))
    (train, train_labels), (test, test_labels) = drawn
    return Pool(
        train_inputs=train,
        train_labels=train_labels,
        test_inputs=test,
        test_labels=test_labels,
        class_names=tuple(str(c) for c in range(len(names))),
    )


def _load_digits(request: Request) -> Pool:
    """Scikit-learn's digits with a split drawn by the seed: of each class round(n_c/3) test samples."""
    pictures, labels = _read_digits()
    is_test = np.zeros(len(labels), dtype=bool)
    for c in range(10):
        members = np.flatnonzero(labels == c)
        is_test[np.random.default_rng([STREAM, request.seed, 2, c]).permutation(members)[: round(len(members) / 3)]] = True
    return Pool(
        train_inputs=pictures[~is_test],
        train_labels=labels[~is_test],
        test_inputs=pictures[is_test],
        test_labels=labels[is_test],
        class_names=tuple(map(str, range(10))),
        image_shape=(8, 8),
        divisor=16.0,
    )


@functools.cache
def _read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    pictures, labels = load_digits(return_X_y=True)
    return pictures, labels


def _load_mnist(request: Request) -> Pool:
    """The official IDX files, raw or gzip, under root or root/mnist."""
    parts = ("train-images", "train-labels", "t10k-images", "t10k-labels")
    paths = _find_mnist(parts, request.root)
    content = {}
    for part in parts:
        stat = paths[part].stat()
        content[part] = _read_idx_once(paths[part], part.split("-")[1], stat.st_mtime_ns, stat.st_size)
    for split in ("train", "t10k"):
        images, labels = content[f"{split}-images"], content[f"{split}-labels"]
        if len(images) != len(labels):
            raise ValueError(
                f"{paths[f'{split}-labels']}: got {len(labels)} labels, expected {len(images)} as in {paths[f'{split}-images'].name}"
            )
        if labels.max() > 9:
            raise ValueError(f"{paths[f'{split}-labels']}: got label {labels.max()} at index {labels.argmax()}, expected 0 to 9")
    train, test = content["train-images"], content["t10k-images"]
    if train.shape[1:] != test.shape[1:]:
        name = paths["t10k-images"]
        raise ValueError(
            f"{name}: got pictures of {list(test.shape[1:])} pixels, expected {list(train.shape[1:])} as in {paths['train-images'].name}"
        )
    return Pool(
        train_inputs=train.reshape(len(train), -1),
        train_labels=content["train-labels"],
        test_inputs=test.reshape(len(test), -1),
        test_labels=content["t10k-labels"],
        class_names=tuple(map(str, range(10))),
        image_shape=train.shape[1:],
        divisor=255.0,
    )


def _find_mnist(parts: Sequence[str], root: Path | None) -> dict[str, Path]:
    """Paths of the four files; both official spellings, raw or gzip."""
    official = ", ".join(_idx_names(part)[1] for part in parts)
    how = f"get the four official files ({official}) and pass --data-root DIR, root=DIR or set {DATA_ROOT_VARIABLE}"
    if root is None:
        raise DatasetNotFound(f"data set 'mnist' not found: no data root is given; {how}")
    folders = [root, root / "mnist"]
    found: dict[str, Path] = {}
    for part in parts:
        for path in (folder / name for folder in folders for name in _idx_names(part)):
            if path.is_file():
                found[part] = path
                break
    missing = [_idx_names(part)[1] for part in parts if part not in found]
    if missing:
        raise DatasetNotFound(f"data set 'mnist' not found: no {', '.join(missing)} (nor raw) in {' or '.join(map(str, folders))}; {how}")
    return found


def _idx_names(part: str) -> tuple[str, ...]:
    """File names of one part: ``train-images`` → train-images-idx3-ubyte, with .gz, and the spelling with a dot."""
    rank = 3 if part.endswith("images") else 1
    return tuple(f"{part}{joint}idx{rank}-ubyte{suffix}" for joint in "-." for suffix in ("", ".gz"))


@functools.lru_cache(maxsize=8)
def _read_idx_once(path: Path, kind: str, modified: int, size: int) -> NDArray[np.uint8]:
    """``read_idx``, once per process and state of the file (time of change in ns, size in bytes)."""
    return read_idx(path, kind)


def _load_cifar10(request: Request) -> Pool:
    """The official binary version, else a folder or zip of its pictures, under root/cifar10 or root."""
    how = f"get the official {CIFAR10_ARCHIVE}, or its pictures as train/<class>/ and test/<class>/, and pass --data-root DIR, root=DIR"
    how = f"{how} or set {DATA_ROOT_VARIABLE}"
    if request.root is None:
        raise DatasetNotFound(f"data set 'cifar10' not found: no data root is given; {how}")
    folders = [request.root / "cifar10", request.root]
    for folder in folders:
        for place in (folder / CIFAR10_FOLDER, folder):
            if any((place / name).is_file() for name in CIFAR10_FILES):
                return _cifar10_pool(place)
        if (folder / CIFAR10_ARCHIVE).is_file():
            return _cifar10_pool(folder / CIFAR10_ARCHIVE)
    for folder in folders:
        archives = sorted({*folder.glob("cifar10*.zip"), *folder.glob("cifar-10*.zip")}) if folder.is_dir() else []
        if (folder / "train").is_dir() or archives or folder.suffix == ".zip":
            path = folder if not archives or (folder / "train").is_dir() else archives[0]
            collection = open_collection(path, needs_test=request.n_test != 0)
            if collection.class_names != CIFAR10_CLASSES or collection.image_shape != (3, 32, 32):
                got = f"classes {', '.join(collection.class_names)} and pictures {list(collection.image_shape)}"
                raise ValueError(f"{path}: got {got}, expected the ten of CIFAR-10 ({', '.join(CIFAR10_CLASSES)}) and [3, 32, 32]")
            return _picture_pool(collection)
    raise DatasetNotFound(
        f"data set 'cifar10' not found: neither {CIFAR10_ARCHIVE} nor pictures in {' or '.join(map(str, folders))}; {how}"
    )


def _cifar10_pool(path: Path) -> Pool:
    """The official binary version in a folder or archive."""
    train, train_labels, test, test_labels = read_cifar10(path)
    return Pool(
        train_inputs=train,
        train_labels=train_labels,
        test_inputs=test,
        test_labels=test_labels,
        class_names=CIFAR10_CLASSES,
        image_shape=(3, 32, 32),
        divisor=255.0,
    )


def _load_images(request: Request) -> Pool:
    """Pictures by class in the folder or zip archive that root names, or in its ``images`` or ``images.zip``."""
    how = "pass root=PATH of a folder or zip archive that holds train/<class>/ and test/<class>/"
    if request.root is None:
        raise DatasetNotFound(f"data set 'images' not found: no data root is given; {how}")
    places = [request.root / "images", request.root / "images.zip", request.root]
    for path in places:
        if path.is_file() or (
            path.is_dir() and any(any(path.glob(f"{depth}{split}")) for depth in ("", "*/") for split in ("train", "test"))
        ):
            return _picture_pool(open_collection(path, needs_test=request.n_test != 0))
    raise DatasetNotFound(f"data set 'images' not found: nothing at {' or '.join(map(str, places))}; {how}")


def _picture_pool(collection: PictureCollection) -> Pool:
    return Pool(
        train_inputs=collection.train,
        train_labels=collection.train_labels,
        test_inputs=collection.test,
        test_labels=collection.test_labels,
        class_names=collection.class_names,
        image_shape=collection.image_shape,
        divisor=255.0,
    )


def _natural(name: str) -> tuple[int, str]:
    """Sort key that puts 10 after 9."""
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


LOADERS: dict[str, Callable[[Request], Pool]] = {
    "clusters": _load_clusters,
    "digits": _load_digits,
    "mnist": _load_mnist,
    "cifar10": _load_cifar10,
    "images": _load_images,
}

DATASETS: Mapping[str, str] = MappingProxyType(
    {
        "clusters": "two or more separated clusters on an arc of the plane, drawn by seed",
        "digits": "scikit-learn's 1797 handwritten digits of 8 × 8 pixels, embedded",
        "mnist": "MNIST, official IDX files under a data root",
        "cifar10": "CIFAR-10, official binary version or its pictures by class under a data root",
        "images": "any pictures by class, a folder or zip of train/<class>/ and test/<class>/ that the data root names",
    }
)
"""Names that ``load_dataset`` takes, with a description."""
