"""Symmetric kernels in half the memory and under a stated budget, for data sets whose full matrix would not fit.

The lower half is kept in panels of rows: panel p holds rows s … e − 1 and columns 0 … e − 1. Numbers are float64 where the budget allows,
else float32: every entry is computed in float64 and rounded once, so that K carries a relative error of at most 6e-8 per entry and products
are taken in float64 from there. Derivation of the error that this leaves in a training run: theory/notes/kernels.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._pairwise import PANEL_ROWS, Transform, lower_panel
from theory._validation import check_integer, check_kernel

__all__ = ["PackedKernel", "check_kernel_or_packed", "multiply", "pack"]

FloatArray = NDArray[np.floating[Any]]

# Temporaries of the tiles on all threads, and what NumPy and the BLAS take for themselves.
_OVERHEAD = 32 * 2**20
# Columns of a float32 panel that are widened to float64 at once.
_COLUMNS = 4096


class PackedKernel:
    """A symmetric kernel matrix ``[n, n]`` of which only the lower half is held; acts on vectors by ``@`` from either side.

    Made by `ntk`, `nngp`, `gaussian_kernel` and `laplacian_kernel` with ``memory_budget``; taken by `segment_geometry`, `gradient_descent`,
    `largest_eigenvalue` and `max_learning_rate` in place of an array.

    Attributes:
        shape: ``(n, n)``.
        dtype: precision of the stored numbers, float64 or float32.
        nbytes: bytes held.

    Example:
        >>> from theory import ntk
        >>> rows = np.eye(3)
        >>> packed = ntk(rows, memory_budget=2**27)
        >>> packed.shape, packed.dtype, bool(np.allclose(packed @ np.ones(3), ntk(rows) @ np.ones(3), rtol=1e-14))
        ((3, 3), dtype('float64'), True)
    """

    __array_ufunc__ = None  # array @ PackedKernel comes to __rmatmul__; other arithmetic with arrays is an error

    def __init__(self, panels: Sequence[FloatArray]) -> None:
        self._panels = tuple(panels)
        n = int(self._panels[-1].shape[1])
        self.shape: tuple[int, int] = (n, n)
        self.ndim = 2
        self.dtype: np.dtype[np.floating[Any]] = self._panels[0].dtype
        self.nbytes = sum(panel.nbytes for panel in self._panels)

    def __len__(self) -> int:
        """Return n."""
        return self.shape[0]

    def __repr__(self) -> str:
        return f"PackedKernel(n={len(self)}, dtype={self.dtype}, {self.nbytes / 2**20:.0f} MiB)"

    def __matmul__(self, vectors: FloatArray) -> FloatArray:
        """Return K v ``[n]`` or K V ``[n, k]``, in float64."""
        values = np.asarray(vectors)
        columns = values.reshape(values.shape[0], -1) if values.ndim in (1, 2) and values.size else None
        if columns is None or columns.shape[0] != len(self):
            raise ValueError(f"vectors must have shape [{len(self)}] or [{len(self)}, k], got {list(values.shape)}")
        columns = np.ascontiguousarray(columns, dtype=np.float64)
        result = np.zeros(columns.shape)
        start = 0
        for panel in self._panels:
            stop = panel.shape[1]
            for left in range(0, stop, _COLUMNS):
                right = min(left + _COLUMNS, stop)
                block = panel[:, left:right].astype(np.float64, copy=False)
                result[start:stop] += block @ columns[left:right]
                mirrored = min(right, start) - left  # columns before the diagonal block stand for rows too
                if mirrored > 0:
                    result[left : left + mirrored] += block[:, :mirrored].T @ columns[start:stop]
            start = stop
        return result.reshape(values.shape)

    def __rmatmul__(self, vectors: FloatArray) -> FloatArray:
        """Return vᵀ K ``[n]`` or V K ``[k, n]``, in float64: K is symmetric."""
        values = np.asarray(vectors)
        return (self @ values.T).T

    def diagonal(self) -> FloatArray:
        """Return the diagonal ``[n]``."""
        parts, start = [], 0
        for panel in self._panels:
            parts.append(panel[:, start:].diagonal())
            start = panel.shape[1]
        return np.concatenate(parts)

    def to_dense(self) -> FloatArray:
        """Return the whole matrix ``[n, n]``, symmetric bit for bit: twice the memory."""
        dense = np.empty(self.shape, self.dtype)
        start = 0
        for panel in self._panels:
            stop = panel.shape[1]
            dense[start:stop, :stop] = panel
            dense[:start, start:stop] = panel[:, :start].T
            start = stop
        return dense


def pack(left: NDArray[np.float64], transform: Transform, dtype: np.dtype[np.floating[Any]], memory_budget: int) -> PackedKernel:
    """Return [transform(<left_i, left_j>)] within ``memory_budget`` bytes, those of ``left`` included.

    Args:
        left: rows ``[n, d]``, as `theory._pairwise.pairwise` takes them.
        transform: function of a tile of inner products.
        dtype: precision of the inputs; float32 is kept, float64 falls to float32 where only that fits.
        memory_budget: bytes.

    Raises:
        ValueError: if not even float32 fits; the line says how much would.
    """
    budget = check_integer(memory_budget, "memory_budget", minimum=1)
    n = left.shape[0]
    panel_rows = min(PANEL_ROWS, n)
    numbers = sum((min(start + panel_rows, n) - start) * min(start + panel_rows, n) for start in range(0, n, panel_rows))
    fixed = left.nbytes + _OVERHEAD + 8 * panel_rows * n  # one panel of float64 inner products
    chosen = dtype if dtype == np.float32 or fixed + 8 * numbers <= budget else np.dtype(np.float32)
    needed = fixed + chosen.itemsize * numbers
    if needed > budget:
        raise ValueError(f"memory_budget must be at least {needed} bytes for {n} rows in {chosen}, got {budget}")
    return PackedKernel([lower_panel(left, transform, start, chosen) for start in range(0, n, panel_rows)])


def check_kernel_or_packed(kernel: ArrayLike | PackedKernel, *, n: int | None = None) -> FloatArray | PackedKernel:
    """Return a kernel array, checked as `check_kernel` does, or a packed kernel of side ``n`` as it is.

    Raises:
        ValueError: as `check_kernel`.
    """
    if not isinstance(kernel, PackedKernel):
        return check_kernel(kernel, n=n)
    if n is not None and len(kernel) != n:
        raise ValueError(f"kernel must be [{n}, {n}] to match the samples, got shape {list(kernel.shape)}")
    return kernel


def multiply(rows: FloatArray, kernel: FloatArray | PackedKernel, out: FloatArray) -> None:
    """Write rows ``[m, n]`` times the kernel into ``out`` ``[m, n]``."""
    if isinstance(kernel, PackedKernel):
        out[...] = rows @ kernel
    else:
        np.matmul(rows, kernel, out=out)
