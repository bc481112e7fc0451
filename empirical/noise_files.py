"""Noise files: which labels were changed, so that others train on the same noise. Open JSON, verified against the true labels at reading.

=================== ==================================================================================================
key                 value
=================== ==================================================================================================
format, version     "clean-priority label noise", 1
n, n_classes        number of samples and of classes
noise_level         level δ that was asked for
transition          matrix ``[C, C]`` that was asked for, row = true class; null for symmetric noise
seed                of the draw, or null
class_counts        samples of each true class ``[C]``
class_noise_level   attained level of each true class ``[C]``, null for a class without samples
truth_sha256        SHA-256 of the true labels, as n little-endian 64-bit integers
observed_sha256     the same of the observed labels
index, old, new     changed samples in increasing order, counted from 0; their true and their observed labels
=================== ==================================================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import check_labels
from empirical.noise import NoisyLabels, check_transition

__all__ = ["load_noise", "save_noise"]

FORMAT, VERSION = "clean-priority label noise", 1
KEYS = (
    "format",
    "version",
    "n",
    "n_classes",
    "noise_level",
    "transition",
    "seed",
    "class_counts",
    "class_noise_level",
    "truth_sha256",
    "observed_sha256",
    "index",
    "old",
    "new",
)


def save_noise(noisy: NoisyLabels, path: str | os.PathLike[str]) -> None:
    """Write a noise file; the same as ``noisy.save(path)``. The same noise gives the same bytes.

    Args:
        noisy: the noise.
        path: the file; replaced as a whole if it exists.

    Raises:
        ValueError: in one line, if the file cannot be written.

    Example:
        >>> import tempfile, empirical
        >>> noisy = empirical.corrupt_labels([0, 0, 1, 1, 1], 0.4, n_classes=2, seed=3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     empirical.save_noise(noisy, folder + "/noise.json")
        ...     again = empirical.load_noise(folder + "/noise.json", [0, 0, 1, 1, 1])
        >>> (again.observed == noisy.observed).all(), again.seed
        (np.True_, 3)
    """
    target = Path(path)
    index = np.flatnonzero(noisy.is_noisy)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "n": len(noisy.truth),
        "n_classes": noisy.n_classes,
        "noise_level": noisy.noise_level,
        "transition": None if noisy.transition is None else noisy.transition.tolist(),
        "seed": noisy.seed,
        "class_counts": np.bincount(noisy.truth, minlength=noisy.n_classes).tolist(),
        "class_noise_level": [None if np.isnan(level) else level for level in noisy.class_noise_level.tolist()],
        "truth_sha256": _digest(noisy.truth),
        "observed_sha256": _digest(noisy.observed),
        "index": index.tolist(),
        "old": noisy.truth[index].tolist(),
        "new": noisy.observed[index].tolist(),
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(content[key], allow_nan=False)}" for key in KEYS]
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            stream.write("{\n" + ",\n".join(lines) + "\n}\n")
        Path(temporary).chmod(0o644)
        os.replace(temporary, target)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ValueError(f"{target}: the noise file cannot be written: {error.strerror}") from None


def load_noise(path: str | os.PathLike[str], truth: ArrayLike) -> NoisyLabels:
    """Read a noise file and apply it to the true labels for which it was made.

    Args:
        path: a file written by `save_noise`, or by any program in the format of this module.
        truth: true labels ``[n]``, integers 0 … C − 1, in the order for which the noise was drawn.

    Returns:
        The noise, as `corrupt_labels` returned it where the file was written.

    Raises:
        ValueError: in one line that names the file: not readable, not a noise file, of another version, made for other labels (hash,
            number, classes), indices out of range or not increasing, labels that do not change or do not exist, or a file that
            contradicts itself.
    """
    file = Path(path)
    content = _read(file)
    try:
        return _apply(content, truth)
    except _NoiseFileError as error:
        raise ValueError(f"{file}: {error}") from None


class _NoiseFileError(ValueError):
    """The file does not fit the labels, or itself."""


def _read(file: Path) -> dict[str, Any]:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not strict JSON")

    try:
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    except OSError as error:
        raise ValueError(f"{file}: the noise file cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"{file}: expected a noise file in JSON, got other content (or a file cut short)") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{file}: expected a noise file with format {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(f"{file}: has version {str(content.get('version'))[:20]} of the noise format, this program reads {VERSION}")
    missing = [key for key in KEYS if key not in content]
    if missing:
        raise ValueError(f"{file}: {missing[0]!r} is missing")
    return content


def _apply(content: dict[str, Any], truth: ArrayLike) -> NoisyLabels:
    n_classes = _integer(content, "n_classes", minimum=2)
    try:
        labels = check_labels(truth, n_classes, "truth")
    except ValueError as error:
        raise _NoiseFileError(str(error)) from None
    n = _integer(content, "n", minimum=1)
    if n != len(labels):
        raise _NoiseFileError(f"the noise was made for {n} samples, got {len(labels)} true labels")
    if content["truth_sha256"] != _digest(labels):
        raise _NoiseFileError("the noise was made for other true labels, or another order of them (their hash differs)")
    index, old, new = (_integers(content, key) for key in ("index", "old", "new"))
    if not len(index) == len(old) == len(new):
        raise _NoiseFileError(f"index, old and new must have one length, got {len(index)}, {len(old)} and {len(new)}")
    if len(index) and (index[0] < 0 or index[-1] >= n or (np.diff(index) <= 0).any()):
        raise _NoiseFileError(f"index must increase within 0..{n - 1}")
    if (old != labels[index]).any():
        at = int(index[np.argmax(old != labels[index])])
        raise _NoiseFileError(f"old must hold the true labels, got another one for sample {at}")
    if ((new < 0) | (new >= n_classes)).any():
        raise _NoiseFileError(f"new must lie in 0..{n_classes - 1}, got {new[(new < 0) | (new >= n_classes)][0]}")
    if (new == old).any():
        raise _NoiseFileError(f"new must differ from old, got the same label for sample {int(index[np.argmax(new == old)])}")
    observed = labels.copy()
    observed[index] = new
    if content["observed_sha256"] != _digest(observed):
        raise _NoiseFileError("the observed labels do not have the hash that the file names: it was changed after it was written")
    level = content["noise_level"]
    if isinstance(level, bool) or not isinstance(level, (int, float)) or not 0 <= level <= 1:
        raise _NoiseFileError(f"noise_level must lie in [0, 1], got {str(level)[:40]}")
    seed = content["seed"]
    if seed is not None:
        seed = _integer(content, "seed", minimum=0)
    is_noisy = observed != labels
    transition = _matrix(content["transition"], n_classes)
    for array in (labels, observed, is_noisy):
        array.setflags(write=False)
    noisy = NoisyLabels(
        observed=observed, truth=labels, is_noisy=is_noisy, noise_level=float(level), n_classes=n_classes, seed=seed, transition=transition
    )
    counts = np.bincount(labels, minlength=n_classes).tolist()
    rates = [None if np.isnan(rate) else rate for rate in noisy.class_noise_level.tolist()]
    for key, right in (("class_counts", counts), ("class_noise_level", rates)):
        if content[key] != right:
            raise _NoiseFileError(f"{key} is {str(content[key])[:60]}, but the file's own labels give {str(right)[:60]}")
    return noisy


def _integer(content: dict[str, Any], key: str, *, minimum: int) -> int:
    value = content[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise _NoiseFileError(f"{key} must be an integer >= {minimum}, got {str(value)[:40]}")
    return value


def _integers(content: dict[str, Any], key: str) -> NDArray[np.int64]:
    values = content[key]
    wrong = not isinstance(values, list) or any(isinstance(v, bool) or not isinstance(v, int) or abs(v) >= 2**62 for v in values)
    if wrong:
        raise _NoiseFileError(f"{key} must be a list of integers")
    return np.array(values, dtype=np.int64)


def _matrix(values: Any, n_classes: int) -> NDArray[np.float64] | None:
    if values is None:
        return None
    try:
        matrix = check_transition(values, n_classes)
    except ValueError as error:
        raise _NoiseFileError(str(error)) from None
    matrix.setflags(write=False)
    return matrix


def _digest(labels: NDArray[np.int64]) -> str:
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()
