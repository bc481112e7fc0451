"""All pairs of rows, panel by panel: inner products by one matrix product per panel, then a function of every entry on threads.

Only the lower half of a symmetric result is computed; the upper half is its mirror image, so that it is symmetric bit for bit. Beside
the result, the driver holds one panel of float64 products and the temporaries of one tile per thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theory._parallel import run_all

__all__ = ["Transform", "pairwise"]

Float64Array = NDArray[np.float64]

Transform = Callable[[Float64Array, slice, slice], Float64Array]
"""(inner products [r, c], row slice, column slice) → values [r, c]; may overwrite its first argument."""

# A panel of 512 rows keeps the matrix product efficient; a tile of 128 × 256 doubles (256 KiB) keeps its temporaries in the
# second-level cache and its NumPy calls long enough for two threads not to wait for each other.
_PANEL_ROWS = 512
_TILE_ROWS, _TILE_COLUMNS = 128, 256


class _Tile(NamedTuple):
    rows: slice
    columns: slice


def pairwise(left: Float64Array, right: Float64Array | None, transform: Transform, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Return [transform(<left_i, right_j>)] as an array ``[n, n']``; symmetric ``[n, n]`` if ``right`` is None.

    Args:
        left: rows ``[n, d]``, scaled so that inner products neither overflow nor lose digits by underflow.
        right: rows ``[n', d]``, or None for all pairs of ``left``.
        transform: function of a tile of inner products, given with the rows and columns that it covers.
        dtype: precision of the result; everything is computed in float64 and rounded once.
    """
    symmetric = right is None
    other = left if right is None else right
    n, n_other = left.shape[0], other.shape[0]
    result = np.empty((n, n_other), dtype)
    panel = np.empty(min(_PANEL_ROWS, n) * n_other)

    for start in range(0, n, _PANEL_ROWS):
        stop = min(start + _PANEL_ROWS, n)
        width = stop if symmetric else n_other
        products = panel[: (stop - start) * width].reshape(stop - start, width)
        np.matmul(left[start:stop], other[:width].T, out=products)

        def fill(tile: _Tile, products: Float64Array = products, start: int = start) -> None:
            rows, columns = tile
            block = products[rows.start - start : rows.stop - start, columns]
            values = transform(block, rows, columns)
            if symmetric and columns.stop > rows.start:  # the tile meets the diagonal: its lower half decides
                square = values[:, rows.start - columns.start :]
                upper = np.triu_indices(square.shape[0], 1, square.shape[1])
                square[upper] = square.T[upper]
            result[rows, columns] = values
            if symmetric:
                result[columns, rows] = values.T

        run_all(fill, _tiles(start, stop, width, symmetric=symmetric))
    return result


def _tiles(start: int, stop: int, width: int, *, symmetric: bool) -> list[_Tile]:
    tiles = []
    for row in range(start, stop, _TILE_ROWS):
        rows = slice(row, min(row + _TILE_ROWS, stop))
        last = rows.stop if symmetric else width
        # On symmetric results the tile at the diagonal is square and closes the row.
        edge = rows.start if symmetric else last
        tiles += [_Tile(rows, slice(column, min(column + _TILE_COLUMNS, edge))) for column in range(0, edge, _TILE_COLUMNS)]
        if symmetric:
            tiles.append(_Tile(rows, slice(edge, last)))
    return tiles
