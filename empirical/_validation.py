"""Checks at the border of the empirical package: every message names the offending value and what was expected, in one line.

The package shares no code with ``theory`` but the segment vocabulary, so that an instrument cannot borrow what it is meant to test.
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "as_real_array",
    "check_choice",
    "check_fraction",
    "check_integer",
    "check_labels",
    "check_noise_level",
    "check_positive",
    "check_real",
    "suggestion",
]


def as_real_array(values: ArrayLike, name: str) -> NDArray[np.floating]:
    """Return ``values`` as a finite floating array; float32 stays float32, every other real type becomes float64.

    Raises:
        ValueError: if the values are not real numbers, or one of them is NaN or infinite.
    """
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of real numbers, got a ragged sequence: {error}") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} must be finite, got {array[index]} at index {list(index)}")
    return array


def check_labels(labels: ArrayLike, n_classes: int, name: str = "labels") -> NDArray[np.int64]:
    """Return labels as an int64 array ``[n]`` with values in 0 … n_classes − 1.

    Raises:
        ValueError: if the shape is not ``[n]`` with n ≥ 1, the type is not an integer type, or a value is outside the classes.
    """
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of integers, got a ragged sequence: {error}") from None
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must have shape [n] with n >= 1, got shape {list(array.shape)}")
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, got dtype {array.dtype}")
    outside = (array < 0) | (array >= n_classes)
    if outside.any():
        index = int(np.argmax(outside))
        raise ValueError(f"{name} must lie in 0..{n_classes - 1} ({n_classes} classes), got {array[index]} at index {index}")
    return array.astype(np.int64)


def check_real(value: float, name: str) -> float:
    """Return a finite real number as a float.

    Raises:
        ValueError: if it is not one real number, or is NaN or infinite.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be a real number, got a ragged sequence") from None
    if array.ndim != 0 or array.dtype.kind not in "fiu" or not np.isfinite(array):
        raise ValueError(f"{name} must be a finite real number, got {_brief(value)}")
    return float(array)


def check_positive(value: float, name: str) -> float:
    """Return a finite number above zero.

    Raises:
        ValueError: if it is not a finite real number above zero.
    """
    number = check_real(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be a positive finite number, got {_brief(value)}")
    return number


def check_fraction(value: float, name: str) -> float:
    """Return a number in the open interval (0, 1): a confidence or an error rate.

    Raises:
        ValueError: if it is not a real number in (0, 1).
    """
    number = check_real(value, name)
    if not 0 < number < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {_brief(value)}")
    return number


def check_noise_level(value: float, *, name: str = "noise_level") -> float:
    """Return a noise level δ in [0, 1).

    Raises:
        ValueError: if it is not a real number in [0, 1).
    """
    number = check_real(value, name)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {_brief(value)}")
    return number


def check_integer(value: int, name: str, *, minimum: int = 1) -> int:
    """Return an integer not below ``minimum``; booleans and floats are refused.

    Raises:
        ValueError: if it is not an integer, or is below ``minimum``.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {_brief(value)}")
    return int(value)


def check_choice(value: str, name: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``; the message lists them and names the closest.

    Raises:
        ValueError: otherwise.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {_brief(value)}{suggestion(value, choices)}")
    return value


def suggestion(value: object, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of ``choices``, or nothing when none is close."""
    text = str(value).lower()
    close = difflib.get_close_matches(text, list(choices), n=1) if len(text) > 2 else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _brief(value: object) -> str:
    """``repr`` on one line, cut at 80 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
