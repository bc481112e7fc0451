"""Checks at the border of the reports: every message names the argument and the offending value, in one line.

This room imports neither `theory` nor `empirical` beyond their registers and records, hence checks of its own.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LARGEST",
    "brief",
    "check_count",
    "check_list",
    "check_mapping",
    "check_member",
    "check_number",
    "check_numbers",
    "check_path",
    "check_text",
]

LARGEST = 1e100
"""Largest size of a finite number: squares and their sums stay finite."""

_Kind = TypeVar("_Kind")
_Member = TypeVar("_Member", bound=StrEnum)


def brief(value: object) -> str:
    """``repr`` on one line, cut at 80 characters.

    Example:
        >>> brief([1, "two"]), len(brief("x" * 1000))
        ("[1, 'two']", 80)
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def check_text(value: str, name: str) -> str:
    """Return a text.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {brief(value)}")
    return value


def check_member(value: _Member | str, name: str, kind: type[_Member]) -> _Member:
    """Return a member of an enumeration, given as itself or by its text.

    Raises:
        ValueError: if it is none; the line lists them.

    Example:
        >>> check_member("AGREES", "expected", StrEnum("Verdict", {"AGREES": "AGREES"}))
        <Verdict.AGREES: 'AGREES'>
    """
    if isinstance(value, str):
        for member in kind:
            if member == value:
                return member
    raise ValueError(f"{name} must be one of {', '.join(kind)}, got {brief(value)}")


def check_numbers(value: Any, name: str) -> NDArray[np.float64]:
    """Return real numbers, at least one, NaN and infinity among them, as an array of float64.

    Raises:
        ValueError: if it is anything else.

    Example:
        >>> check_numbers([1, 2], "prediction")
        array([1., 2.])
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):
        raise ValueError(f"{name} must hold real numbers, got {brief(value)}") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got {brief(value)} of dtype {array.dtype}"[:300])
    if array.size == 0:
        raise ValueError(f"{name} must hold at least one number, got shape {list(array.shape)}")
    return np.asarray(array, dtype=np.float64)


def check_number(value: Any, name: str, *, above: float | None = None) -> float:
    """Return one finite real number, of a size of at most 1e100.

    Raises:
        ValueError: if it is none, or not larger than ``above``.
    """
    array = check_numbers(value, name)
    number = float(array) if array.ndim == 0 else math.nan
    if not abs(number) <= LARGEST or (above is not None and number <= above):
        raise ValueError(f"{name} must be a finite number{'' if above is None else f' > {above:g}'}, got {brief(value)}")
    return number


def check_count(value: Any, name: str, *, minimum: int = 1, maximum: int = 2**31) -> int:
    """Return an integer in [minimum, maximum]; booleans and floats are refused.

    Raises:
        ValueError: if it is none.
    """
    try:
        number = None if isinstance(value, (bool, np.bool_)) or np.ndim(value) else operator.index(value)
    except (TypeError, ValueError):
        number = None
    if number is None or not minimum <= number <= maximum:
        raise ValueError(f"{name} must be an integer from {minimum} to {maximum}, got {brief(value)}")
    return number


def check_list(values: Iterable[_Kind], name: str, kind: type[_Kind] | tuple[type, ...], what: str) -> list[_Kind]:
    """Return a list of records of one kind; a text or a mapping is no list.

    Args:
        values: what was given.
        name: of the argument.
        kind: what each must be.
        what: the kind in words.

    Raises:
        ValueError: if it is no list, or one of them is of another kind.

    Example:
        >>> check_list(("S1", "G2"), "selection", str, "claim ids")
        ['S1', 'G2']
    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise ValueError(f"{name} must be a list of {what}, got {brief(values)}")
    listed = list(values)
    for position, value in enumerate(listed):
        if not isinstance(value, kind):
            raise ValueError(f"{name} must be a list of {what}, got {brief(value)} at position {position}")
    return listed


def check_mapping(value: Any, name: str, needed: Sequence[str] = (), *, what: str = "a mapping") -> Mapping[str, Any]:
    """Return a mapping that has the needed keys.

    Raises:
        ValueError: if it is none, or a key is missing.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be {what}, got {brief(value)}")
    missing = [key for key in needed if key not in value]
    if missing:
        raise ValueError(f"{name} must be {what}, got one without {missing[0]!r}")
    return value


def check_path(value: Any, name: str) -> Path:
    """Return a path whose name the file system can hold and a message can show.

    Raises:
        ValueError: if it is no path, is empty or too long, or has control characters.

    Example:
        >>> check_path("reports/latest", "out").name
        'latest'
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text:
        raise ValueError(f"{name} must be a path, got {brief(value)}")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError(f"{name} must be a path without control characters, got {brief(text)}")
    if max(len(os.fsencode(part)) for part in text.split("/")) > 255 or len(os.fsencode(text)) > 4000:
        raise ValueError(f"{name} must be a path whose parts have at most 255 bytes, got {brief(text)}")
    return Path(text)
