"""Infinite-width kernels beside the matrix product ``x @ x.T`` that any kernel of the rows needs, and beside the plain recursion.

Ratios count, not seconds; two threads, float64, n = 3000, d = 784. The limits are those of the issue; README.md holds the table.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import theory
from tests.support.timing import compare

N, D = 3000, 784
# Pixels are non-negative (angles near 40°), standard normal rows are nearly orthogonal: both kinds of data are timed.
ROWS = {"normal": lambda rng: rng.normal(size=(N, D)), "uniform": lambda rng: rng.random(size=(N, D))}


def plain_recursion(x: np.ndarray, depth: int) -> np.ndarray:
    """The tangent kernel as one writes it in five lines of NumPy: the recursion at every entry."""
    norms = np.linalg.norm(x, axis=1)
    cosine = np.clip(x @ x.T / np.outer(norms, norms), -1, 1)
    kernel = cosine
    for _ in range(depth):
        theta = np.arccos(cosine)
        cosine = np.clip(((np.pi - theta) * cosine + np.sin(theta)) / np.pi, -1, 1)
        kernel = cosine + (1 - theta / np.pi) * kernel
    return kernel * np.outer(norms, norms)


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize(("depth", "limit"), [(1, 2.2), (3, 2.2), (50, 4.0)], ids=["depth=1", "depth=3", "depth=50"])
def test_ntk_beside_the_matrix_product(benchmark, rows: str, depth: int, limit: float) -> None:
    x = ROWS[rows](np.random.default_rng(0))
    timing = compare(lambda: theory.ntk(x, depth=depth), lambda: x @ x.T, rounds=9)
    benchmark.extra_info["ratio to x @ x.T"] = round(timing.ratio, 2)
    benchmark.pedantic(theory.ntk, args=(x,), kwargs={"depth": depth}, rounds=3)
    assert timing.ratio <= limit, f"{timing.seconds:.3f} s against {timing.baseline:.3f} s: ratio {timing.ratio:.2f}, at most {limit}"


@pytest.mark.parametrize("depth", [3, 50], ids=["depth=3", "depth=50"])
def test_ntk_beside_the_plain_recursion(benchmark, depth: int) -> None:
    x = ROWS["normal"](np.random.default_rng(0))
    np.testing.assert_allclose(
        theory.ntk(x[:50], depth=depth), plain_recursion(x[:50], depth), rtol=1e-6
    )  # arccos of its own diagonal: 1e-8
    timing = compare(lambda: theory.ntk(x, depth=depth), lambda: plain_recursion(x, depth), rounds=2)
    benchmark.extra_info["ratio to the plain recursion"] = round(timing.ratio, 3)
    benchmark.pedantic(theory.ntk, args=(x,), kwargs={"depth": depth}, rounds=3)
    assert timing.ratio <= 0.6


def test_ntk_memory(benchmark) -> None:
    x = ROWS["normal"](np.random.default_rng(0))
    tracemalloc.start()
    try:
        result = theory.ntk(x, depth=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    benchmark.extra_info["peak memory / result"] = round(peak / result.nbytes, 2)
    benchmark.pedantic(theory.ntk, args=(x,), kwargs={"depth": 3}, rounds=1)
    assert peak <= 2.2 * result.nbytes
