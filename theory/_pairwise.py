"""All pairs of rows: inner products by a few large matrix products, then a function of every entry, tile by tile, on threads.

Only the lower half of a symmetric result is computed; the upper half is its mirror image, so that it is symmetric bit for bit. A float64
result holds its own inner products until they are overwritten; a float32 result needs one panel of float64 products beside it.
The two phases are kept apart: a BLAS keeps its threads spinning for tens of milliseconds after each product, in the way of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from theory._parallel import run_all

__all__ = ["PANEL_ROWS", "Transform", "lower_panel", "pairwise"]

Float64Array = NDArray[np.float64]

Transform = Callable[[Float64Array, slice, slice], Float64Array]
"""(inner products [r, c], row slice, column slice) → new values [r, c]; leaves its first argument as it is."""

# A panel of 512 rows keeps the matrix product efficient; a tile of 128 × 256 doubles (256 KiB) keeps its temporaries in the
# second-level cache and its NumPy calls long enough for two threads not to wait for each other.
PANEL_ROWS = 512
"""Rows that are worked on at once."""
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
    other = left if right is None else right
    n, width = left.shape[0], other.shape[0]
    result = np.empty((n, width), dtype)
    if dtype == np.float64:
        _fill(result, left, other, transform, result.view(np.float64), slice(0, n), symmetric=right is None)
        return result
    panel = np.empty((min(PANEL_ROWS, n), width))
    for start in range(0, n, PANEL_ROWS):
        _fill(result, left, other, transform, panel, slice(start, min(start + PANEL_ROWS, n)), symmetric=right is None)
    return result


def lower_panel(left: Float64Array, transform: Transform, start: int, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """Return rows ``start`` to ``start + PANEL_ROWS`` of the symmetric result, up to the last of these columns ``[r, start + r]``.

    The block on the diagonal is symmetric bit for bit.
    """
    stop = min(start + PANEL_ROWS, left.shape[0])
    products = left[start:stop] @ left[:stop].T
    panel = products if dtype == np.float64 else np.empty(products.shape, dtype)

    def fill(tile: _Tile) -> None:
        rows, columns = slice(tile.rows.start - start, tile.rows.stop - start), tile.columns
        values = _values(transform, products[rows, columns], tile, symmetric=True)
        panel[rows, columns] = values
        if start <= columns.start < tile.rows.start:  # the mirror image within the block on the diagonal
            panel[columns.start - start : columns.stop - start, tile.rows] = values.T

    run_all(fill, _tiles(start, stop, stop, symmetric=True))
    return panel


def _fill(
    result: NDArray[np.floating],
    left: Float64Array,
    right: Float64Array,
    transform: Transform,
    products: Float64Array,
    span: slice,
    *,
    symmetric: bool,
) -> None:
    """Fill the rows ``span`` of the result (and the columns, if symmetric); ``products[0]`` is the first of those rows."""
    tiles: list[_Tile] = []
    whole = symmetric and span.stop - span.start == left.shape[0]
    if whole:  # a matrix times its own transpose: the BLAS does half the work, and knows how better than panels of ours
        np.matmul(left, left.T, out=products)
    for start in range(span.start, span.stop, PANEL_ROWS):
        stop = min(start + PANEL_ROWS, span.stop)
        width = stop if symmetric else right.shape[0]
        if not whole:
            np.matmul(left[start:stop], right[:width].T, out=products[start - span.start : stop - span.start, :width])
        tiles += _tiles(start, stop, width, symmetric=symmetric)

    def fill(tile: _Tile) -> None:
        rows, columns = tile
        values = _values(transform, products[rows.start - span.start : rows.stop - span.start, columns], tile, symmetric=symmetric)
        result[rows, columns] = values
        if symmetric and columns.start < rows.start:
            result[columns, rows] = values.T

    run_all(fill, tiles)


def _values(transform: Transform, products: Float64Array, tile: _Tile, *, symmetric: bool) -> Float64Array:
    """Transform one tile; on a symmetric result the lower half of the square tile on the diagonal decides."""
    values = transform(products, tile.rows, tile.columns)
    if symmetric and tile.columns.stop > tile.rows.start:
        upper = np.triu_indices(values.shape[0], 1)
        values[upper] = values.T[upper]
    return values


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
