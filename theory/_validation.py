"""Checks at the border of the theory package: every message names the offending value and what was expected."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "LARGEST",
    "MAX_DEPTH",
    "as_real_array",
    "check_angle",
    "check_choice",
    "check_depth",
    "check_flag",
    "check_inputs",
    "check_instance",
    "check_integer",
    "check_kernel",
    "check_noise_level",
    "check_number",
    "check_positive",
]

LARGEST = 1e100
"""Largest size of a number: a product of three, a residual times a kernel times a residual, stays finite, sums of many of them too."""

MAX_DEPTH = 10_000
"""Most hidden layers: what takes a recursion over layers at many angles takes seconds there."""

_Kind = TypeVar("_Kind")


def as_real_array(values: ArrayLike, name: str, *, limit: float = LARGEST) -> NDArray[np.floating]:
    """Return ``values`` as a finite floating array; float32 stays float32, every other real type becomes float64.

    Raises:
        ValueError: if the values are not real numbers, or one of them is NaN, infinite, or larger in size than ``limit``.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} must be an array of real numbers, got a ragged sequence") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, got {array[index]} at index {index}")
    if array.dtype == np.float64 and array.size and max(array.max(), -array.min()) > limit:
        raise ValueError(f"{name} must hold numbers of size at most {limit:g}, got {np.abs(array).max():g}")
    return array


def check_inputs(x: ArrayLike, name: str = "x") -> NDArray[np.floating]:
    """Return inputs as a finite floating array ``[n, d]`` without zero rows (a zero vector has no direction).

    Raises:
        ValueError: if the shape is not ``[n, d]`` with n, d ≥ 1, a value is not finite, or a row is zero.
    """
    array = as_real_array(x, name, limit=np.inf)  # the kernels say themselves what overflows
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must have shape [n, d] with n, d >= 1, got shape {list(array.shape)}")
    zero = ~array.any(axis=1)
    if zero.any():
        raise ValueError(f"{name} must have no zero rows (a zero vector has no angle), got a zero vector at row {int(np.argmax(zero))}")
    return array


def check_angle(theta: ArrayLike, name: str = "theta") -> NDArray[np.floating]:
    """Return angles as a finite floating array with every value in [0, π] (radians).

    Raises:
        ValueError: if a value is not a real number in [0, π] to the precision of its type.
    """
    array = as_real_array(theta, name)
    largest = np.nextafter(array.dtype.type(np.pi), array.dtype.type(4))
    outside = (array < 0) | (array > largest)
    if outside.any():
        raise ValueError(f"{name} must lie in [0, pi] radians, got {array[outside].flat[0]}")
    return array


def check_kernel(kernel: ArrayLike, name: str = "kernel", *, n: int | None = None) -> NDArray[np.floating]:
    """Return a kernel matrix as a finite, square and symmetric (to rounding) floating array ``[n, n]``.

    Raises:
        ValueError: if it is not square, not of side ``n``, not symmetric, or not finite.
    """
    array = as_real_array(kernel, name)
    if array.ndim != 2 or array.shape[0] != array.shape[1] or array.size == 0:
        raise ValueError(f"{name} must be square [n, n] with n >= 1, got shape {list(array.shape)}")
    if n is not None and array.shape[0] != n:
        raise ValueError(f"{name} must be [{n}, {n}] to match the samples, got shape {list(array.shape)}")
    # Rounding of an inner product of d terms is at most d·eps relative; 1e4 eps covers d = 10^4.
    asymmetry, largest = _asymmetry(array)
    if asymmetry > 1e4 * np.finfo(array.dtype).eps * largest:
        raise ValueError(f"{name} must be symmetric, got |K - K^T| = {asymmetry:.3g}")
    return array


def check_number(value: float, name: str, *, limit: float = LARGEST) -> float:
    """Return a finite real number of size at most ``limit``.

    Raises:
        ValueError: otherwise.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.ndim != 0 or array.dtype.kind not in "fiu" or not abs(float(array)) <= limit:
        raise ValueError(f"{name} must be a real number of size at most {limit:g}, got {_shown(value)}")
    return float(array)


def check_noise_level(value: float, *, name: str = "noise_level") -> float:
    """Return a noise level δ in [0, 1).

    Raises:
        ValueError: if it is not a real number in [0, 1).
    """
    number = check_number(value, name)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value}")
    return number


def check_positive(value: float, name: str, *, smallest: float = 1 / LARGEST, limit: float = LARGEST) -> float:
    """Return a finite number above zero, and not below ``smallest`` (its reciprocal stays finite).

    Raises:
        ValueError: if it is not such a number.
    """
    number = check_number(value, name, limit=limit)
    if not number > 0:
        raise ValueError(f"{name} must be a positive finite number, got {value}")
    if number < smallest:
        raise ValueError(f"{name} must be at least {smallest:g}, got {value}")
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
        raise ValueError(f"{name} must be an integer >= {minimum}, got {_shown(value)}")
    if number > maximum:
        raise ValueError(f"{name} must be an integer <= {maximum}, got {_shown(value)}")
    return number


def check_depth(depth: int, name: str = "depth") -> int:
    """Return a number of hidden layers in [1, MAX_DEPTH].

    Raises:
        ValueError: otherwise.
    """
    return check_integer(depth, name, maximum=MAX_DEPTH)


def check_flag(value: bool, name: str) -> bool:
    """Return True or False.

    Raises:
        ValueError: if it is neither.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {_shown(value)}")
    return bool(value)


def check_choice(value: str, name: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ValueError: otherwise.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {_shown(value)}")
    return value


def check_instance(value: _Kind, name: str, kind: type[_Kind]) -> _Kind:
    """Return ``value`` if it is a ``kind``.

    Raises:
        ValueError: otherwise.
    """
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__}, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """Return a value in one line of some sixty characters at most; of what is no number, text or collection only its type."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {list(value.shape)} and dtype {value.dtype}"
    if value is None or isinstance(value, (str, bytes, int, float, complex, list, tuple, dict, set, np.generic)):
        return " ".join(reprlib.repr(value).split())
    return f"the class {value.__name__}" if isinstance(value, type) else f"a value of type {type(value).__name__}"


def _asymmetry(array: NDArray[np.floating], block: int = 256) -> tuple[float, float]:
    """Largest |K − Kᵀ| and largest |K| over the lower triangle, block by block: K.T read as a whole misses the cache at every entry."""
    asymmetry = largest = 0.0
    for i in range(0, len(array), block):
        for j in range(0, i + 1, block):
            lower, upper = array[i : i + block, j : j + block], array[j : j + block, i : i + block].T
            asymmetry = max(asymmetry, float(np.abs(lower - upper).max()))
            largest = max(largest, float(lower.max()), -float(lower.min()))
    return asymmetry, largest
