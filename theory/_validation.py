"""Checks at the border of the theory package: every message names the offending value and what was expected."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "as_real_array",
    "check_angle",
    "check_choice",
    "check_inputs",
    "check_integer",
    "check_kernel",
    "check_noise_level",
    "check_positive",
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
    if not np.isfinite(array).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, got {array[index]} at index {index}")
    return array


def check_inputs(x: ArrayLike, name: str = "x") -> NDArray[np.floating]:
    """Return inputs as a finite floating array ``[n, d]`` without zero rows (a zero vector has no direction).

    Raises:
        ValueError: if the shape is not ``[n, d]`` with n, d ≥ 1, a value is not finite, or a row is zero.
    """
    array = as_real_array(x, name)
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


def check_noise_level(value: float, *, name: str = "noise_level") -> float:
    """Return a noise level δ in [0, 1).

    Raises:
        ValueError: if it is not a real number in [0, 1).
    """
    number = _real(value, name)
    if not 0 <= number < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value}")
    return number


def check_positive(value: float, name: str) -> float:
    """Return a finite number above zero.

    Raises:
        ValueError: if it is not a finite real number above zero.
    """
    number = _real(value, name)
    if not (0 < number < float("inf")):
        raise ValueError(f"{name} must be a positive finite number, got {value}")
    return number


def check_integer(value: int, name: str, *, minimum: int = 1) -> int:
    """Return an integer not below ``minimum``; booleans and floats are refused.

    Raises:
        ValueError: if it is not an integer, or is below ``minimum``.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {value!r}")
    return int(value)


def check_choice(value: str, name: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ValueError: otherwise.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def _asymmetry(array: NDArray[np.floating], block: int = 256) -> tuple[float, float]:
    """Largest |K − Kᵀ| and largest |K| over the lower triangle, block by block: K.T read as a whole misses the cache at every entry."""
    asymmetry = largest = 0.0
    for i in range(0, len(array), block):
        for j in range(0, i + 1, block):
            lower, upper = array[i : i + block, j : j + block], array[j : j + block, i : i + block].T
            asymmetry = max(asymmetry, float(np.abs(lower - upper).max()))
            largest = max(largest, float(lower.max()), -float(lower.min()))
    return asymmetry, largest


def _real(value: float, name: str) -> float:
    array = np.asarray(value)
    if array.ndim != 0 or array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must be a real number, got {value!r}")
    return float(array)
