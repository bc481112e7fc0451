"""What ``clean-priority diagnose`` reads: data by name or from files, labels, a transition matrix, and the network's factory.

Files are read as numbers and pictures, never unpickled. The only code that is imported is the module that ``--network`` names.
"""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empirical.datasets import DATASETS, Dataset, load_dataset

__all__ = ["GivenData", "is_noise_file", "load_data", "load_factory", "read_labels", "read_matrix"]

_ALIASES = {
    "train_inputs": ("train_inputs", "x_train", "X_train", "inputs", "x", "X"),
    "train_truth": ("train_truth", "y_train", "labels", "y"),
    "test_inputs": ("test_inputs", "x_test", "X_test"),
    "test_truth": ("test_truth", "y_test"),
    "observed": ("observed", "observed_labels"),
    "class_names": ("class_names",),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenData:
    """A data set, and observed labels of its training samples if the file had them.

    Attributes:
        dataset: without a test set where the source has none.
        observed: ``[n]`` or None.
    """

    dataset: Dataset
    observed: NDArray[np.int64] | None = None


def load_data(
    source: str,
    *,
    classes: Sequence[str] | None = None,
    n_train: int | None = None,
    n_test: int | None = None,
    root: Path | None = None,
    normalize: str = "pixel",
) -> GivenData:
    """Load data by name, from an .npz file, or pictures from a folder or zip archive.

    Args:
        source: one of ``empirical.DATASETS``, or a path.
        classes: classes to keep, label k is the k-th of them; all by default.
        n_train: number of training samples; not for .npz.
        n_test: number of test samples; not for .npz.
        root: folder of MNIST and CIFAR-10.
        normalize: "pixel" or "unit", see ``empirical.load_dataset``.

    Raises:
        ValueError: in one line, if the source is not there, is damaged, or does not fit.
    """
    sizes: dict[str, Any] = {"classes": classes, "n_train": n_train, "normalize": normalize}
    if source in DATASETS and source != "images":
        return GivenData(dataset=load_dataset(source, root=root, n_test=n_test, **sizes))
    path = Path(source).expanduser()
    if not path.exists():
        names = ", ".join(sorted(name for name in DATASETS if name != "images"))
        raise ValueError(f"--data must be one of {names}, or a folder, .zip or .npz file that exists, got {source!r}")
    if path.suffix.lower() == ".npz":
        if n_train is not None or n_test is not None:
            raise ValueError("--n-train and --n-test are for data sets by name and for pictures, got them with an .npz file")
        return _read_npz(path, classes, normalize)
    if path.is_file() and path.suffix.lower() != ".zip":
        raise ValueError(f"--data must be a folder, a .zip or an .npz file, got the file {source!r}")
    try:
        return GivenData(dataset=load_dataset("images", root=path, n_test=n_test, **sizes))
    except ValueError as error:
        if n_test is None and "no test/" in str(error):
            return GivenData(dataset=load_dataset("images", root=path, n_test=0, **sizes))
        raise


def load_factory(text: str) -> Callable[..., Any]:
    """Import the network factory that ``package.module:name`` names; the current folder counts as a place to look.

    Raises:
        ValueError: in one line, if the text is not of this form, the module does not import, or has no such name.

    Example:
        >>> load_factory("torch.nn:Linear").__name__
        'Linear'
    """
    module_name, colon, name = text.partition(":")
    if not colon or not module_name or not name:
        raise ValueError(f"--network must have the form package.module:factory, got {text!r}")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's module raises
        raise ValueError(f"--network {text}: {module_name} does not import: {type(error).__name__}: {_brief(error)}") from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"--network {text}: {module_name} has no {name!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"--network {text}: {name!r} must be a function or class that makes a network, got {type(found).__name__}")
    factory: Callable[..., Any] = found
    return factory


def is_noise_file(path: Path) -> bool:
    """Whether a file looks like a noise file of ``empirical.save_noise``."""
    try:
        with path.open("rb") as stream:
            return stream.read(4096).lstrip().startswith(b"{")
    except OSError:
        return False


def read_labels(path: Path) -> NDArray[np.int64]:
    """Read observed labels ``[n]``: .npy, .npz with ``observed``, or a text file with one integer per line (or comma).

    Raises:
        ValueError: in one line, if it cannot be read or holds something else than integers.
    """
    labels = _read_array(path, "observed", "observed labels")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(f"{path}: observed labels must be integers [n], got {labels.dtype} {list(labels.shape)}")
    return labels.astype(np.int64)


def read_matrix(path: Path) -> NDArray[np.float64]:
    """Read a class transition matrix ``[C, C]``: .npy, .npz with ``transition``, JSON, or a text file with one row per line.

    Raises:
        ValueError: in one line, if it cannot be read or is no matrix of numbers.
    """
    matrix = _read_array(path, "transition", "a transition matrix")
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise ValueError(f"{path}: a transition matrix must be numbers [C, C], got {matrix.dtype} {list(matrix.shape)}")
    return matrix.astype(np.float64)


def _read_array(path: Path, key: str, what: str) -> NDArray[Any]:
    try:
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        if suffix == ".npz":
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                return np.asarray(archive[key])
        text = path.read_text(encoding="utf-8")
        if suffix == ".json":
            return np.asarray(json.loads(text))
        rows = [
            [_number(word) for word in line.replace(",", " ").split()]
            for line in text.splitlines()
            if line.strip() and line.strip()[0] != "#"
        ]
        if len({len(row) for row in rows}) > 1:
            raise ValueError(f"rows of different length, {sorted({len(row) for row in rows})}")
        array = np.asarray(rows)
        return array.ravel() if array.ndim == 2 and 1 in array.shape else array
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read, expected {what}: {getattr(error, 'strerror', None) or _brief(error)}") from None
    except KeyError:
        raise ValueError(f"{path}: holds no {key!r}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as {what}: {_brief(error)}") from None


def _number(word: str) -> int | float:
    try:
        return int(word)
    except ValueError:
        return float(word)


def _read_npz(path: Path, classes: Sequence[str] | None, normalize: str) -> GivenData:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {
                name: np.asarray(archive[found])
                for name, names in _ALIASES.items()
                if (found := next((one for one in names if one in archive), ""))
            }
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as an .npz file of numbers: {_brief(error)}") from None
    for name in ("train_inputs", "train_truth"):
        if name not in arrays:
            raise ValueError(f"{path}: holds no {name}, expected train_inputs and train_truth (or x_train and y_train)")
    for name in ("train_truth", "test_truth", "observed"):
        if name in arrays and (arrays[name].dtype.kind not in "iu" or arrays[name].ndim != 1):
            raise ValueError(f"{path}: {name} must hold integer labels [n], got {arrays[name].dtype} {list(arrays[name].shape)}")
    if len(arrays["train_truth"]) != len(arrays["train_inputs"]):
        raise ValueError(
            f"{path}: train_truth must have one label per sample ({len(arrays['train_inputs'])}), got {len(arrays['train_truth'])}"
        )
    if "observed" in arrays and len(arrays["observed"]) != len(arrays["train_truth"]):
        raise ValueError(
            f"{path}: observed must have one label per training sample ({len(arrays['train_truth'])}), got {len(arrays['observed'])}"
        )
    scale = {
        name: arrays[name].astype(np.float64) / 255 if arrays[name].dtype == np.uint8 else arrays[name]
        for name in arrays
        if name.endswith("inputs")
    }
    truth, observed = arrays["train_truth"].astype(np.int64), arrays.get("observed")
    names = [str(one) for one in arrays["class_names"]] if "class_names" in arrays else None
    keep, test_keep = np.ones(len(truth), dtype=bool), None
    test_truth = arrays.get("test_truth")
    if classes is not None:
        known = names if names is not None else [str(c) for c in range(int(truth.max()) + 1)]
        missing = [c for c in classes if c not in known]
        if missing or len(set(classes)) < max(2, len(classes)):
            raise ValueError(f"--classes must be at least two different ones of {', '.join(known[:20])}, got {', '.join(classes)}")
        codes = [known.index(c) for c in classes]
        keep = np.isin(truth, codes)
        truth = _renumbered(truth[keep], codes)
        if test_truth is not None:
            test_keep = np.isin(test_truth, codes)
            test_truth = _renumbered(test_truth[test_keep], codes)
        if observed is not None:
            if not np.isin(observed[keep], codes).all():
                raise ValueError(f"{path}: observed labels of the chosen classes must be among them, got others")
            observed = _renumbered(observed[keep], codes)
        names = list(classes)
    shape = scale["train_inputs"].shape[1:]
    test_inputs = scale.get("test_inputs")
    dataset = Dataset.from_arrays(
        scale["train_inputs"][keep],
        truth,
        test_inputs if test_inputs is None or test_keep is None else test_inputs[test_keep],
        test_truth,
        name=path.stem,
        class_names=names,
        image_shape=tuple(shape) if len(shape) in (2, 3) else None,
        normalize=normalize,
    )
    return GivenData(dataset=dataset, observed=None if observed is None else observed.astype(np.int64))


def _renumbered(labels: NDArray[Any], codes: Sequence[int]) -> NDArray[np.int64]:
    numbers = np.zeros(max(codes) + 1, dtype=np.int64)
    numbers[list(codes)] = np.arange(len(codes))
    return np.asarray(numbers[labels], dtype=np.int64)


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 160 else text[:159] + "…"
