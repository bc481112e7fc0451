"""Checks at the border of the empirical package: every message names the offending value and what was expected, in one line.

The package shares no code with ``theory`` but the segment vocabulary, so that an instrument cannot borrow what it is meant to test.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Kind = TypeVar("_Kind")

__all__ = [
    "as_real_array",
    "check_choice",
    "check_flag",
    "check_fraction",
    "check_instance",
    "check_integer",
    "check_integers",
    "check_labels",
    "check_noise_level",
    "check_positive",
    "check_real",
    "check_reals",
    "check_text",
    "suggestion",
]


LARGEST = 1e100
"""Largest size of a number: squares and their sums stay finite."""


def as_real_array(values: ArrayLike, name: str) -> NDArray[np.floating]:
    """Return ``values`` as a finite floating array; float32 stays float32, every other real type becomes float64.

    Raises:
        ValueError: if the values are not real numbers, or one of them is NaN, infinite or larger in size than 1e100.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must be an array of real numbers, got a ragged sequence") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        index = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name} must be finite, got {array[index]} at index {list(index)}")
    if array.dtype == np.float64 and array.size and max(array.max(), -array.min()) > LARGEST:
        raise ValueError(f"{name} must hold numbers of size at most {LARGEST:g}, got {np.abs(array).max():g}")
    return array


def check_labels(labels: ArrayLike, n_classes: int, name: str = "labels") -> NDArray[np.int64]:
    """Return labels as an int64 array ``[n]`` with values in 0 … n_classes − 1.

    Raises:
        ValueError: if the shape is not ``[n]`` with n ≥ 1, the type is not an integer type, or a value is outside the classes.
    """
    try:
        array = np.asarray(labels)
    except ValueError:
        raise ValueError(f"{name} must be an array of integers, got a ragged sequence") from None
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
    if array.ndim != 0 or array.dtype.kind not in "fiu" or not abs(float(array)) <= LARGEST:
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
        ValueError: if it is not a real number in (0, 1), or is below 1e-300.
    """
    number = check_real(value, name)
    if not 0 < number < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {_brief(value)}")
    if number < 1e-300:
        raise ValueError(f"{name} must be at least 1e-300, got {_brief(value)}")
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


def check_integer(value: int, name: str, *, minimum: int = 1, maximum: int = 2**63 - 1) -> int:
    """Return an integer in [minimum, maximum]; booleans and floats are refused.

    Raises:
        ValueError: if it is not an integer, or is out of range.
    """
    try:
        number = None if isinstance(value, (bool, np.bool_)) or np.ndim(value) else operator.index(value)
    except (TypeError, ValueError):
        number = None
    if number is None or number < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {_brief(value)}")
    if number > maximum:
        raise ValueError(f"{name} must be an integer <= {maximum}, got {_brief(value)}")
    return number


def check_integers(
    values: Sequence[int] | NDArray[np.integer], name: str, *, minimum: int = 0, maximum: int = 2**63 - 1
) -> tuple[int, ...]:
    """Return integers in [minimum, maximum], at least one: seeds or counts.

    Raises:
        ValueError: if it is no sequence of such integers.
    """
    if not isinstance(values, (Sequence, np.ndarray)) or isinstance(values, (str, bytes)) or getattr(values, "ndim", 1) != 1:
        raise ValueError(f"{name} must be a sequence of integers, got {_brief(values)}")
    checked = tuple(check_integer(value, f"{name}[{i}]", minimum=minimum, maximum=maximum) for i, value in enumerate(values))
    if not checked:
        raise ValueError(f"{name} must be at least one integer, got none")
    return checked


def check_flag(value: bool, name: str) -> bool:
    """Return True or False.

    Raises:
        ValueError: if it is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {_brief(value)}")
    return bool(value)


def check_reals(values: Sequence[float] | NDArray[np.floating], name: str) -> tuple[float, ...]:
    """Return finite real numbers, at least one.

    Raises:
        ValueError: if it is no sequence of such numbers.
    """
    array = as_real_array(values, name)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a sequence of numbers, at least one, got shape {list(array.shape)}")
    return tuple(float(value) for value in array)


def check_instance(value: _Kind, name: str, kind: type[_Kind]) -> _Kind:
    """Return ``value`` if it is a ``kind``.

    Raises:
        ValueError: otherwise.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {_brief(value)}")
    return value


def check_text(value: str, name: str) -> str:
    """Return a text.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {_brief(value)}")
    return value


def check_choice(value: str, name: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``; the message lists them and names the closest.

    Raises:
        ValueError: otherwise.
    """
    if not isinstance(value, str) or value not in choices:
        known = ", ".join(map(repr, choices)) if len(choices) <= 12 else f"{len(choices)} names such as {choices[0]!r} and {choices[1]!r}"
        raise ValueError(f"{name} must be one of {known}, got {_brief(value)}{suggestion(value, choices)}")
    return value


def suggestion(value: object, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest of ``choices``, or nothing when none is close."""
    text = str(value).lower()[:100]
    close = difflib.get_close_matches(text, list(choices), n=1) if len(text) > 2 else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _brief(value: object) -> str:
    """``repr`` on one line, cut at 80 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
