"""What happens to a tile of inner products: from products to angles to a kernel, or to distances to a kernel.

Every transform takes (products, row slice, column slice) as `theory._pairwise.pairwise` passes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory._arc_cosine import Float64Array
from theory._profile import MIDDLE, AngleProfile
from theory._rows import Rows, opposite_angles, parallel_angles, product_error, squared_distances

__all__ = ["AngleTransform", "DistanceTransform", "ScaledProduct"]

# Share of the accuracy of 1e-13 that the rounding of an inner product may use up before a pair is treated on its own.
_TOLERANCE = 3e-14


@dataclass(frozen=True)
class ScaledProduct:
    """K_ij = left_i right_j <s_i, s_j>: the linear network."""

    left_scale: Float64Array
    right_scale: Float64Array

    def __call__(self, products: Float64Array, rows: slice, columns: slice) -> Float64Array:
        """Return the kernel of one tile."""
        values = products * self.left_scale[rows, None]
        values *= self.right_scale[columns]
        return values


@dataclass(frozen=True)
class AngleTransform:
    """K_ij = scale · |x_i||z_j| F(θ_ij), θ_ij from the products of unit rows or, near 0 and π, from the rows themselves.

    Attributes:
        left, right: the rows; the same object for a symmetric kernel.
        profile: F.
        scale: factor of the convention.
        parallel, opposite: pairs with a cosine above ``parallel`` or below ``opposite`` are treated on their own.
    """

    left: Rows
    right: Rows
    profile: AngleProfile
    scale: float
    parallel: float
    opposite: float

    @classmethod
    def of(cls, left: Rows, right: Rows, profile: AngleProfile, scale: float) -> AngleTransform:
        """Choose the two thresholds: where the error of a product, magnified by |F′/F|/sin θ, passes the tolerance."""
        error = product_error(left.unit.shape[1])
        angles = np.geomspace(1e-6, 1.2, 400)
        supplements = angles[angles <= 0.6]
        close = profile.relative_slope(angles) * error > _TOLERANCE * np.sin(angles)
        far = profile.relative_slope(np.pi - supplements) * error > _TOLERANCE * np.sin(supplements)
        parallel = float(np.cos(angles[close].max(initial=1e-6)))
        opposite = -float(np.cos(supplements[far].max(initial=1e-6)))
        return cls(left, right, profile, scale, parallel, opposite)

    def __call__(self, products: Float64Array, rows: slice, columns: slice) -> Float64Array:
        """Return the kernel of one tile."""
        largest, smallest = float(products.max()), float(products.min())
        if largest <= min(MIDDLE, self.parallel) and smallest >= max(-MIDDLE, self.opposite):
            return self._scaled(self.profile.of_cosine(products), rows, columns)
        close = np.nonzero(products > self.parallel) if largest > self.parallel else None
        far = np.nonzero(products < self.opposite) if smallest < self.opposite else None
        angle = np.arccos(products if close is None and far is None else np.clip(products, -1.0, 1.0))
        supplements: Float64Array | None = None
        if close is not None:
            angle[close] = parallel_angles(self.left, self.right, close[0] + rows.start, close[1] + columns.start)
        if far is not None:
            supplements = opposite_angles(self.left, self.right, far[0] + rows.start, far[1] + columns.start)
            angle[far] = np.pi - supplements
        values = self.profile.of_angle(angle)
        if far is not None and supplements is not None and self.profile.of_supplement is not None:
            values[far] = self.profile.of_supplement(supplements)
        return self._scaled(values, rows, columns)

    def _scaled(self, values: Float64Array, rows: slice, columns: slice) -> Float64Array:
        """Multiply by scale · |x_i||z_j|, in place."""
        values *= self.left.norm[rows, None] * self.scale
        values *= self.right.norm[columns]
        return values


@dataclass(frozen=True)
class DistanceTransform:
    """K_ij = exp(−(|x_i − z_j|/b)²/2) or exp(−|x_i − z_j|/b), from products of centred rows or, where they cancel, from differences.

    Attributes:
        left, right: rows as given ``[n, d]``.
        exponent: the centred rows are in units of 2^exponent.
        left_square, right_square: squared norms of the centred rows, in units of 4^exponent.
        inverse_bandwidth: 2^exponent / b.
        gaussian: the square of the distance or the distance.
        symmetric: whether left and right are the same rows.
    """

    left: NDArray[np.floating]
    right: NDArray[np.floating]
    exponent: int
    left_square: Float64Array
    right_square: Float64Array
    inverse_bandwidth: float
    gaussian: bool
    symmetric: bool

    def __call__(self, products: Float64Array, rows: slice, columns: slice) -> Float64Array:
        """Return the kernel of one tile."""
        square = products * -2.0
        square += self.left_square[rows, None]
        square += self.right_square[columns]
        np.maximum(square, 0.0, out=square)
        limit = self._limit(float(self.left_square[rows].max() + self.right_square[columns].max()))
        if float(square.min()) <= limit:
            i, j = np.nonzero(square <= limit)
            square[i, j] = squared_distances(self.left, self.right, i + rows.start, j + columns.start, self.exponent)
        if self.symmetric:
            diagonal = np.arange(max(rows.start, columns.start), min(rows.stop, columns.stop))
            square[diagonal - rows.start, diagonal - columns.start] = 0.0
        if self.gaussian:
            square *= -0.5 * self.inverse_bandwidth**2
        else:
            np.sqrt(square, out=square)
            square *= -self.inverse_bandwidth
        return np.exp(square, out=square)

    def _limit(self, largest: float) -> float:
        """Squared distance up to which the difference of the rows is used; ``largest`` bounds |x|² + |z|² in the tile.

        The expansion |x|² + |z|² − 2<x, z> has an error ε(|x|² + |z|²), which moves the exponent by ε(…)/(2b²) (Gaussian) or
        ε(…)/(2b|x − z|) (Laplacian). Above a quarter of |x|² + |z|² nothing cancels.
        """
        error = product_error(self.left.shape[1]) * largest
        if self.gaussian:
            return 0.25 * largest if 0.5 * error * self.inverse_bandwidth**2 > _TOLERANCE else -1.0
        return float(min(0.25 * largest, (0.5 * error * self.inverse_bandwidth / _TOLERANCE) ** 2))
