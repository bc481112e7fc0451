"""Infinite-width ReLU kernels as a function of one variable, the angle between the inputs: a table instead of a recursion per entry.

For unit inputs at angle θ the kernel is F(θ), F analytic on [0, π], with singularities at a distance of order 1/L from θ = 0 at depth L.
In u = log(1 + Lθ/(3π)) they keep their distance at every depth, and a piecewise polynomial of degree 5 on 1024 equal intervals of u
gives F within 4e-15 of F(0) for depth ≤ 1000 (2e-15 for depth ≤ 200). The cost of an entry does not depend on the depth.
Where all cosines of a tile lie in [−0.9, 0.9], F is analytic in the cosine itself, and a second table spares arccosine and logarithm.
Derivation and measured errors: theory/notes/kernels.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev

from theory._arc_cosine import Float64Array, gradient_gap, layers, sine_minus

__all__ = ["MIDDLE", "AngleProfile", "gradient_profile", "output_profile"]

Function = Callable[[Float64Array], Float64Array]

_INTERVALS = 1024
_DEGREE = 5
MIDDLE = 0.9
"""Cosines up to this size are looked up directly: F is analytic but at ±1."""
_EDGE = MIDDLE * (1.0 + 1e-12)
_MIDDLE_INTERVALS, _MIDDLE_DEGREE = 12288, 3  # fewer look-ups, more intervals: away from its ends the table is read in a narrow band


@dataclass(frozen=True)
class AngleProfile:
    """F(θ) on [0, π] for unit inputs.

    Attributes:
        depth: number of hidden layers L.
        table: coefficients ``[degree + 1, intervals]``, lowest power first, in the position t ∈ [0, 1) within an interval.
        intervals_per_log: intervals per unit of u = log(1 + Lθ/(3π)).
        middle: coefficients likewise, on equal intervals of cos θ in [−MIDDLE, MIDDLE].
        of_supplement: F as a function of φ = π − θ in full relative precision, where F(π) = 0 (depth 1); else None.
    """

    depth: int
    table: Float64Array
    intervals_per_log: float
    middle: Float64Array
    of_supplement: Function | None = None

    def of_angle(self, theta: Float64Array) -> Float64Array:
        """Return F(θ) for a contiguous array of angles in [0, π]; overwrites ``theta``."""
        position = theta
        position *= self.depth / (3.0 * np.pi)
        position += 1.0
        np.log(position, out=position)
        position *= self.intervals_per_log
        return _look_up(self.table, position)

    def of_cosine(self, cosine: Float64Array) -> Float64Array:
        """Return F(θ) for an array of cos θ in [−MIDDLE, MIDDLE], which is left as it is."""
        position = cosine * (0.5 * _MIDDLE_INTERVALS / _EDGE)
        position += 0.5 * _MIDDLE_INTERVALS
        return _look_up(self.middle, position)

    def relative_slope(self, theta: Float64Array) -> Float64Array:
        """Return |F′(θ)/F(θ)| at the left edges of the intervals that hold ``theta``, to the accuracy that thresholds need."""
        scale = self.depth / (3.0 * np.pi)
        index = np.minimum((np.log1p(scale * theta) * self.intervals_per_log).astype(np.intp), self.table.shape[1] - 1)
        slope = self.table[1, index] * self.intervals_per_log * scale / (1.0 + scale * theta)
        return np.asarray(np.abs(slope / self.table[0, index]))


def _look_up(table: Float64Array, position: Float64Array) -> Float64Array:
    """Evaluate the piecewise polynomial at positions in units of the interval; overwrites ``position``."""
    cell = np.floor(position)
    index = cell.astype(np.intp)
    position -= cell
    value = np.take(table[-1], index, out=cell, mode="clip")
    coefficient = np.empty_like(value)
    for row in table[-2::-1]:
        value *= position
        value += np.take(row, index, out=coefficient, mode="clip")
    return value


@lru_cache(maxsize=64)
def gradient_profile(depth: int) -> AngleProfile:
    """Profile of the tangent kernel in the scale of Eq. (2) [B]: F(θ) = (L+1) cos θ_h, F(0) = L+1."""
    # Depth 1, φ = π − θ: F = 2 cos θ_h = [2(sin φ − φ cos φ) − sin φ]/π.
    near_opposite: Function | None = (lambda angle: (2.0 * angle**3 * sine_minus(angle) - np.sin(angle)) / np.pi) if depth == 1 else None
    return _fit(lambda theta: (depth + 1) - gradient_gap(theta, depth), depth, float(depth + 1), near_opposite)


@lru_cache(maxsize=64)
def output_profile(depth: int) -> AngleProfile:
    """Profile of the covariance of h(w0; ·), Eq. (2) [B]: F(θ) = cos θ_L, F(0) = 1."""

    def cosine(theta: Float64Array) -> Float64Array:
        for _, half_sine, _ in layers(theta, depth):  # noqa: B007 - only the last layer is wanted
            pass
        return 1.0 - 2.0 * half_sine * half_sine

    # Depth 1, φ = π − θ: F = κ1(θ) = (sin φ − φ cos φ)/π.
    near_opposite: Function | None = (lambda angle: angle**3 * sine_minus(angle) / np.pi) if depth == 1 else None
    return _fit(cosine, depth, 1.0, near_opposite)


def _fit(function: Function, depth: int, at_zero: float, of_supplement: Function | None) -> AngleProfile:
    scale = depth / (3.0 * np.pi)
    # A hair more than [0, π], so that θ = π falls inside the last interval.
    step = np.log1p(scale * np.pi) * (1.0 + 1e-14) / _INTERVALS
    table = _piecewise(lambda u: function(np.expm1(u * step) / scale), _INTERVALS, _DEGREE)
    table[0, 0] = at_zero
    # _EDGE: a hair wider than what is looked up, so that ±MIDDLE falls inside too.
    middle = _piecewise(lambda u: function(np.arccos((u / (0.5 * _MIDDLE_INTERVALS) - 1.0) * _EDGE)), _MIDDLE_INTERVALS, _MIDDLE_DEGREE)
    return AngleProfile(depth, table, float(1.0 / step), middle, of_supplement)


def _piecewise(function: Function, intervals: int, degree: int) -> Float64Array:
    """Power coefficients ``[degree + 1, intervals]`` of polynomials through a function of u at Chebyshev nodes of [k, k + 1]."""
    nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    values = function(np.arange(intervals)[:, None] + 0.5 * (1.0 + nodes))
    series = np.linalg.solve(chebyshev.chebvander(nodes, degree), values.T)
    return np.ascontiguousarray(_chebyshev_to_powers(degree) @ series)


def _chebyshev_to_powers(degree: int) -> Float64Array:
    """Matrix from Chebyshev coefficients in z = 2t − 1 to coefficients of powers of t: T_k(2t − 1), exact small integers."""
    matrix = np.zeros((degree + 1, degree + 1))
    matrix[0, 0] = 1.0
    matrix[:2, 1] = -1.0, 2.0
    for k in range(2, degree + 1):  # T_k = 2 z T_{k−1} − T_{k−2}
        matrix[:, k] = -2.0 * matrix[:, k - 1] - matrix[:, k - 2]
        matrix[1:, k] += 4.0 * matrix[:-1, k - 1]
    return matrix
