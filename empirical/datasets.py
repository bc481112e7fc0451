"""Data sets with ground-truth labels: arc clusters, scikit-learn's digits, MNIST, CIFAR-10, any pictures by class.

Labels are the ground truth and are numbered 0 … C − 1 in the order in which the classes were asked for; noise is added by
``empirical.noise``. Nothing is downloaded: data that is not there is a ``DatasetNotFound`` that says which files, where, and how to get
them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import as_real_array, check_choice, check_integer, check_labels, suggestion
from empirical.sources import DATA_ROOT_VARIABLE, DATASETS, LOADERS, STREAM, DatasetNotFound, Request, Rows, arc_clusters, even_share

__all__ = ["DATASETS", "DATA_ROOT_VARIABLE", "Dataset", "DatasetNotFound", "arc_clusters", "load_dataset"]

_BLOCK = 4096  # samples turned to float64 at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Training and test inputs with their ground-truth labels; the arrays are read-only.

    Attributes:
        name: name under which it was loaded.
        train_inputs: float32 ``[n, d]``.
        train_truth: ground-truth labels, int64 ``[n]``, values 0 … C − 1.
        test_inputs: float32 ``[n_test, d]``; n_test may be 0.
        test_truth: int64 ``[n_test]``.
        class_names: name of each class, length C, in the order of the labels.
        image_shape: shape of one picture, ``(height, width)`` or with colours ``(3, height, width)``, of which a row of the inputs is the
            flattening (all red values row by row, then green, then blue); None for other data.
        sha256: hash of shapes and values of the four arrays and of the class names.
    """

    name: str
    train_inputs: NDArray[np.float32]
    train_truth: NDArray[np.int64]
    test_inputs: NDArray[np.float32]
    test_truth: NDArray[np.int64]
    class_names: tuple[str, ...]
    image_shape: tuple[int, ...] | None
    sha256: str

    @property
    def n_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    @classmethod
    def from_arrays(
        cls,
        train_inputs: ArrayLike,
        train_truth: ArrayLike,
        test_inputs: ArrayLike | None = None,
        test_truth: ArrayLike | None = None,
        *,
        name: str = "arrays",
        class_names: Sequence[str] | None = None,
        image_shape: tuple[int, ...] | None = None,
        normalize: str = "pixel",
    ) -> Dataset:
        """Wrap plain arrays, checked, copied and hashed.

        Args:
            train_inputs: ``[n, d]``, or ``[n, …]`` to be flattened.
            train_truth: integer labels ``[n]``, 0 … C − 1.
            test_inputs: ``[n_test, d]``; with ``test_truth``, or neither.
            test_truth: integer labels ``[n_test]``.
            name: a name for reports.
            class_names: names of the C classes; by default "0", "1", … up to the largest label (two at least).
            image_shape: shape of one picture, or None.
            normalize: ``"pixel"`` takes the values as they are, ``"unit"`` scales each row to Euclidean norm 1.

        Raises:
            ValueError: if a shape, a type or a label does not fit, or a row to be scaled is zero.

        Example:
            >>> data = Dataset.from_arrays([[3.0, 4.0], [0.0, 2.0]], [0, 1], normalize="unit")
            >>> data.train_inputs.tolist(), data.n_classes, data.test_inputs.shape
            ([[0.6000000238418579, 0.800000011920929], [0.0, 1.0]], 2, (0, 2))
        """
        check_choice(normalize, "normalize", ("unit", "pixel"))
        if (test_inputs is None) != (test_truth is None):
            raise ValueError("test_inputs and test_truth must be given together, got one without the other")
        train = _as_rows(train_inputs, "train_inputs")
        if class_names is None:
            class_names = tuple(str(c) for c in range(max(2, 1 + _largest(train_truth), 1 + _largest(test_truth))))
        n_classes = len(class_names)
        if n_classes < 2 or len(set(class_names)) != n_classes:
            raise ValueError(f"class_names must be at least 2 different names, got {list(class_names)}")
        if image_shape is not None and int(np.prod(image_shape)) != train.shape[1]:
            raise ValueError(f"image_shape must multiply to the {train.shape[1]} input coordinates, got {list(image_shape)}")
        truth = check_labels(train_truth, n_classes, "train_truth")
        if len(truth) != len(train):
            raise ValueError(f"train_truth must have one label per row of train_inputs ({len(train)}), got {len(truth)}")
        if test_inputs is None or test_truth is None or np.size(test_inputs) == 0:
            test = np.empty((0, train.shape[1]), dtype=train.dtype)
            held_out = np.empty(0, dtype=np.int64)
        else:
            test = _as_rows(test_inputs, "test_inputs")
            held_out = check_labels(test_truth, n_classes, "test_truth")
        if test.shape[1] != train.shape[1]:
            raise ValueError(f"test_inputs must have {train.shape[1]} columns as train_inputs, got {test.shape[1]}")
        if len(held_out) != len(test):
            raise ValueError(f"test_truth must have one label per row of test_inputs ({len(test)}), got {len(held_out)}")
        if normalize == "unit":
            train, test = _unit_rows(train, "train_inputs"), _unit_rows(test, "test_inputs")
        inputs, test_rows = _to_float32(train, "train_inputs"), _to_float32(test, "test_inputs")
        arrays: list[NDArray[np.generic]] = [inputs, truth, test_rows, held_out]
        for array in arrays:
            array.setflags(write=False)
        return cls(
            name=name,
            train_inputs=inputs,
            train_truth=truth,
            test_inputs=test_rows,
            test_truth=held_out,
            class_names=tuple(class_names),
            image_shape=None if image_shape is None else tuple(image_shape),
            sha256=_sha256(arrays, class_names),
        )


def load_dataset(
    name: str,
    *,
    classes: Sequence[int | str] | None = None,
    n_train: int | Sequence[int] | None = None,
    n_test: int | Sequence[int] | None = None,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    normalize: str = "unit",
) -> Dataset:
    """Load a data set with its ground-truth labels.

    * ``"clusters"``: two or more arc clusters in the plane (Fig. 3 [A]), see ``arc_clusters``; 400 + 400 samples unless sizes are given.
    * ``"digits"``: scikit-learn's 1797 pictures of 8 × 8 pixels. It has no official split: of each class a third (rounded half to even),
      drawn by ``seed``, is the test set.
    * ``"mnist"``: the official IDX files and their official split.
    * ``"cifar10"``: the official binary version (its folder ``cifar-10-batches-bin`` or ``cifar-10-binary.tar.gz``) or, where that is not
      there, its pictures by class: ``train/<class>/…`` and ``test/<class>/…`` in a folder or in a zip archive whose name starts with
      ``cifar10`` or ``cifar-10``.
    * ``"images"``: any pictures by class in the same layout; ``root`` is the folder or the zip archive itself. Grey pictures or colour, of
      one size. Classes are the folders' names, sorted.

    Pictures are decoded only if they are selected; inputs are rows, channel first (see ``Dataset.image_shape``). With ``n_test=0`` a test
    split need not be there.

    A size takes equally many samples of every class; a class that runs out gives all that it has and the others share the rest. Which
    ones is drawn by ``seed``; they keep their order in the source, and a larger set contains the smaller one of the same seed.

    Args:
        name: one of ``DATASETS``.
        classes: the classes to keep; label k is the k-th of them. All by default; for ``"clusters"`` (0, 1).
        n_train: training samples in total, or one count per class; everything by default.
        n_test: the same for the test set; 0 for none.
        root: folder that holds the files or their subfolder ``mnist`` or ``cifar10``; for ``"images"`` the folder or zip archive; else the
            environment variable ``CLEAN_PRIORITY_DATA``.
        seed: of the draw of samples; independent of the label noise of the same seed.
        normalize: ``"unit"`` scales each row to Euclidean norm 1; ``"pixel"`` gives pixels in [0, 1] (for clusters, raw coordinates).

    Raises:
        DatasetNotFound: if the files are not there.
        ValueError: if a name, class or size is not available, or a file is damaged.

    Source: Fig. 3, 4 and Appendix B [A].

    Example:
        >>> data = load_dataset("digits", classes=(7, 9), n_train=100, n_test=50, seed=3)
        >>> data.train_inputs.shape, data.test_inputs.shape, data.class_names, int(data.train_truth.sum())
        ((100, 64), (50, 64), ('7', '9'), 50)
    """
    check_choice(name, "data set name", tuple(LOADERS))
    check_choice(normalize, "normalize", ("unit", "pixel"))
    request = Request(
        classes=_check_classes(classes),
        n_train=_check_size(n_train, "n_train", minimum=1),
        n_test=_check_size(n_test, "n_test", minimum=0),
        root=_check_root(root),
        seed=check_integer(seed, "seed", minimum=0),
    )
    pool = LOADERS[name](request)
    wanted = request.classes if request.classes is not None else pool.class_names
    for c in wanted:
        if c not in pool.class_names:
            raise ValueError(
                f"class {c!r} is not in {name!r}, expected some of {', '.join(pool.class_names)}{suggestion(c, pool.class_names)}"
            )
    codes = [pool.class_names.index(c) for c in wanted]
    train, train_truth = _select(pool.train_labels, codes, request.n_train, f"n_train of {name!r}", wanted, (request.seed, 0))
    test, test_truth = _select(pool.test_labels, codes, request.n_test, f"n_test of {name!r}", wanted, (request.seed, 1))
    return Dataset.from_arrays(
        _prepare(pool.train_inputs, train, pool.divisor, normalize, "train_inputs"),
        train_truth,
        _prepare(pool.test_inputs, test, pool.divisor, normalize, "test_inputs"),
        test_truth,
        name=name,
        class_names=wanted,
        image_shape=pool.image_shape,
    )


def _prepare(rows: Rows, index: NDArray[np.int64], divisor: float, normalize: str, name: str) -> NDArray[np.float32]:
    """The chosen rows, divided and scaled in double precision, a block at a time: 50,000 pictures never stand in memory as doubles."""
    blocks = []
    for start in range(0, max(len(index), 1), _BLOCK):
        block = np.asarray(rows[index[start : start + _BLOCK]], dtype=np.float64) / divisor
        blocks.append(_to_float32(_unit_rows(block, name, first=start) if normalize == "unit" else block, name))
    return np.concatenate(blocks) if len(blocks) > 1 else blocks[0]


def _select(
    labels: NDArray[np.integer],
    codes: Sequence[int],
    size: int | tuple[int, ...] | None,
    name: str,
    class_names: Sequence[str],
    key: tuple[int, int],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the chosen samples in the order of the source, and their labels 0 … C − 1."""
    members = [np.flatnonzero(labels == code) for code in codes]
    if size is not None:
        share = even_share(size, [len(m) for m in members], name, class_names)
        draws = [np.random.default_rng([STREAM, *key, code]).permutation(m) for m, code in zip(members, codes, strict=True)]
        members = [draw[:count] for draw, count in zip(draws, share, strict=True)]
    index = np.concatenate(members)
    truth = np.repeat(np.arange(len(members)), [len(m) for m in members])
    order = np.argsort(index)
    return index[order], truth[order]


def _check_classes(classes: Sequence[int | str] | None) -> tuple[str, ...] | None:
    """Classes as names: at least two, all different."""
    if classes is None:
        return None
    if isinstance(classes, (str, bytes)) or not isinstance(classes, (Sequence, np.ndarray)):
        raise ValueError(f"classes must be a sequence of at least two classes, got {classes!r}")
    for c in classes:
        if isinstance(c, (bool, np.bool_)) or not isinstance(c, (int, np.integer, str)):
            raise ValueError(f"classes must be integers or names, got {c!r}")
    names = tuple(str(c) for c in classes)
    if len(names) < 2 or len(set(names)) != len(names):
        raise ValueError(f"classes must be at least two different classes, got {', '.join(names) or 'none'}")
    return names


def _check_size(size: int | Sequence[int] | None, name: str, *, minimum: int) -> int | tuple[int, ...] | None:
    """A total, or one count per class (0 is allowed for a class, not for all of a training set)."""
    if size is None:
        return None
    if isinstance(size, (list, tuple, range)) or (isinstance(size, np.ndarray) and size.ndim > 0):
        counts = tuple(check_integer(count, f"each count of {name}", minimum=0) for count in size)
        if sum(counts) < minimum:
            raise ValueError(f"{name} must have at least {minimum} sample, got counts {list(counts)}")
        return counts
    if isinstance(size, Sequence):
        raise ValueError(f"{name} must be a number of samples or one count per class, got {size!r}")
    return check_integer(size, name, minimum=minimum)


def _check_root(root: str | os.PathLike[str] | None) -> Path | None:
    """The data root: the argument, else the environment variable, else None."""
    if root is None:
        value = os.environ.get(DATA_ROOT_VARIABLE, "")
        return Path(value).expanduser() if value else None
    if not isinstance(root, (str, os.PathLike)):
        raise ValueError(f"root must be a folder's path, got {root!r}")
    return Path(root).expanduser()


def _largest(labels: ArrayLike | None) -> int:
    """Largest label, −1 where there is none or they are not integers (the check that follows says so)."""
    try:
        array = np.asarray(labels if labels is not None else [])
    except ValueError:
        return -1
    return int(array.max()) if array.size and array.dtype.kind in "iu" else -1


def _as_rows(values: ArrayLike, name: str) -> NDArray[np.floating]:
    """Finite floating array ``[n, d]``; further axes are flattened."""
    array = as_real_array(values, name)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{name} must have shape [n, d] or [n, height, width], none of them 0, got {list(array.shape)}")
    return array.reshape(len(array), -1)


def _unit_rows(rows: NDArray[np.floating], name: str, *, first: int = 0) -> NDArray[np.float64]:
    """Rows scaled to Euclidean norm 1, in double precision; ``first`` is the number of the first row in messages."""
    wide = np.asarray(rows, dtype=np.float64)
    largest = np.max(np.abs(wide), axis=1, keepdims=True, initial=0.0)
    if (largest == 0).any():
        raise ValueError(
            f"{name} must have no zero rows to be scaled to norm 1, got a zero vector at row {first + int(np.argmin(largest))}"
        )
    scaled = wide / largest  # no overflow or underflow in the squares
    unit: NDArray[np.float64] = scaled / np.sqrt(np.sum(scaled * scaled, axis=1, keepdims=True))
    return unit


def _to_float32(array: NDArray[np.floating], name: str) -> NDArray[np.float32]:
    """A float32 copy in C order; values too large for it are an error."""
    if array.size and float(np.max(np.abs(array))) > float(np.finfo(np.float32).max):
        raise ValueError(f"{name} must fit single precision (at most 3.4e38), got {float(np.max(np.abs(array))):.3g}")
    return np.array(array, dtype=np.float32, order="C")


def _sha256(arrays: Sequence[NDArray[np.generic]], class_names: Sequence[str]) -> str:
    """Hash of class names and of shapes, types and little-endian values of the arrays."""
    digest = hashlib.sha256("\0".join(class_names).encode())
    for array in arrays:
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        digest.update(f"|{little.dtype.str}{list(little.shape)}|".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()
