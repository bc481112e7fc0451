"""Rows prepared for pairwise products, and the angle or the distance of pairs whose inner product has lost it.

An inner product of unit rows carries an absolute error ε of a few units of the last digit, and the angle from it, by arccos, one of
ε/sin θ. For pairs where that matters the angle is recovered from the rows themselves: |u − v| = 2 sin(θ/2) next to θ = 0, and next to
θ = π the part of one row that is orthogonal to the other, by products with their rounding errors, to full relative precision of π − θ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "opposite_angles", "parallel_angles", "product_error", "row_exponents", "scale_rows", "squared_distances"]

Float64Array = NDArray[np.float64]
Indices = NDArray[np.intp]

# Pairs are gathered in chunks of this many numbers (2 MiB): within the second-level cache of one core.
_CHUNK = 2**18


@dataclass(frozen=True)
class Rows:
    """Rows x_i = 2^e_i s_i = |x_i| u_i, with the largest entry of s_i in [½, 1).

    Attributes:
        original: the rows as given ``[n, d]``.
        exponent: e_i ``[n]``; scaling by 2^e_i is exact.
        unit: u_i ``[n, d]``, float64.
        norm: |x_i| ``[n]``, float64.
    """

    original: NDArray[np.floating]
    exponent: NDArray[np.int32]
    unit: Float64Array
    norm: Float64Array

    @classmethod
    def of(cls, x: NDArray[np.floating]) -> Rows:
        """Prepare the rows of ``x`` ``[n, d]`` (no zero rows)."""
        exponent = row_exponents(x)
        unit = scale_rows(x, -exponent)
        scaled_norm = np.sqrt(np.einsum("nd,nd->n", unit, unit))
        unit /= scaled_norm[:, None]
        return cls(x, exponent, unit, np.ldexp(scaled_norm, exponent))

    def scaled(self, index: Indices) -> Float64Array:
        """Return s_i for the rows ``index``: exact."""
        return scale_rows(self.original[index], -self.exponent[index])


def row_exponents(x: NDArray[np.floating]) -> NDArray[np.int32]:
    """Return e_i ``[n]`` with the largest entry of 2^−e_i x_i in [½, 1)."""
    return np.asarray(np.frexp(np.maximum(x.max(axis=1), -x.min(axis=1)))[1])


def scale_rows(x: NDArray[np.floating], exponent: NDArray[np.int32]) -> Float64Array:
    """Return 2^exponent_i x_i in float64: exact."""
    return np.asarray(np.ldexp(x.astype(np.float64, copy=False), exponent[:, None]))


def product_error(dimension: int) -> float:
    """Typical largest rounding error of the inner product of two unit rows: ½ ulp per addition, adding up like a random walk."""
    return float(np.finfo(np.float64).eps) * (1.0 + 0.25 * math.sqrt(dimension))


def parallel_angles(left: Rows, right: Rows, i: Indices, j: Indices) -> Float64Array:
    """Angles of the nearly parallel pairs (i, j), from |u − v| = 2 sin(θ/2): absolute error of an ulp of 1, zero for equal rows."""
    angle = np.empty(i.size)
    for part in _chunks(i.size, left.unit.shape[1]):
        difference = left.unit[i[part]]
        difference -= right.unit[j[part]]
        angle[part] = 2.0 * np.arcsin(np.minimum(0.5 * np.sqrt(np.einsum("pd,pd->p", difference, difference)), 1.0))
    return angle


def opposite_angles(left: Rows, right: Rows, i: Indices, j: Indices) -> Float64Array:
    """Supplements φ = π − θ of the nearly opposite pairs (i, j) to full relative precision: sin φ = |z − x (x·z)/|x|²|/|z|.

    The quotient t = −(x·z)/|x|² is rounded, but z + t x is then formed exactly (two-part products) and projected once more, which
    removes what the rounding of t left along x.
    """
    angle = np.empty(i.size)
    for part in _chunks(i.size, 4 * left.unit.shape[1]):
        x, z = left.scaled(i[part]), right.scaled(j[part])
        square = np.einsum("pd,pd->p", x, x)
        quotient = (-np.einsum("pd,pd->p", x, z) / square)[:, None]
        product, error = _two_product(quotient, x)
        rest = (z + product) + error
        rest -= x * (np.einsum("pd,pd->p", rest, x) / square)[:, None]
        sine = np.sqrt(np.einsum("pd,pd->p", rest, rest) / np.einsum("pd,pd->p", z, z))
        angle[part] = np.arcsin(np.minimum(sine, 1.0))
    return angle


def squared_distances(left: NDArray[np.floating], right: NDArray[np.floating], i: Indices, j: Indices, exponent: int) -> Float64Array:
    """Squared distances of the pairs (i, j) in units of 4^exponent, from differences of the rows as given."""
    square = np.empty(i.size)
    for part in _chunks(i.size, left.shape[1]):
        difference = np.ldexp(left[i[part]].astype(np.float64, copy=False), -exponent)
        difference -= np.ldexp(right[j[part]].astype(np.float64, copy=False), -exponent)
        square[part] = np.einsum("pd,pd->p", difference, difference)
    return square


def _chunks(count: int, dimension: int) -> list[slice]:
    size = max(1, _CHUNK // dimension)
    return [slice(start, start + size) for start in range(0, count, size)]


def _two_product(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return a·b rounded, and its rounding error exactly (Dekker 1971)."""
    product = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, error


def _split(a: Float64Array) -> tuple[Float64Array, Float64Array]:
    shifted = 134217729.0 * a  # 2^27 + 1 (Veltkamp)
    high = shifted - (shifted - a)
    return high, a - high
