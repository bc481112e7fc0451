"""Kernels in half the memory: the same numbers as the whole matrix, and a peak that stays under the budget."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import theory
from theory._pairwise import PANEL_ROWS

EPS = float(np.finfo(np.float64).eps)
# Half an ulp of float32: what storing an entry costs, relative to the entry.
STORED = 2.0**-24
# Both ways of computing an entry are within 1e-13 of the exact kernel (theory/kernels.py).
ACCURACY = 2e-13
AMPLE = 2**28

KERNELS: dict[str, Callable[..., object]] = {
    "ntk-depth=1": theory.ntk,
    "ntk-depth=3": partial(theory.ntk, depth=3),
    "ntk-linear": partial(theory.ntk, activation="linear"),
    "nngp-depth=2": partial(theory.nngp, depth=2),
    "gaussian": partial(theory.gaussian_kernel, bandwidth=2.0),
    "laplacian": partial(theory.laplacian_kernel, bandwidth=2.0),
}


def rows(n: int, d: int = 12, dtype: type[np.floating] = np.float64) -> np.ndarray:
    """Generic rows with some duplicates and opposites, which take the careful path."""
    x = np.random.default_rng(n).normal(size=(n, d))
    if n > 8:
        x[n // 2], x[n // 3] = x[0], -2 * x[1]
    return x.astype(dtype)


def float32_budget(n: int, d: int = 12) -> int:
    """A budget between what float32 and what float64 take for n rows."""
    with pytest.raises(ValueError, match="at least") as refusal:
        theory.ntk(rows(n, d), memory_budget=1)
    return int(str(refusal.value).split("at least ")[1].split(" ")[0])


@pytest.mark.parametrize("n", [1, 2, PANEL_ROWS - 1, PANEL_ROWS, PANEL_ROWS + 1, 1300], ids=lambda n: f"n={n}")
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_packed_holds_the_whole_kernel(kernel: Callable[..., object], n: int) -> None:
    x = rows(n)
    whole, packed = kernel(x), kernel(x, memory_budget=AMPLE)
    dense = packed.to_dense()
    assert packed.dtype == np.float64
    assert packed.nbytes <= 4 * n * (n + PANEL_ROWS)
    assert np.array_equal(dense, dense.T)
    scale = np.sqrt(np.multiply.outer(np.abs(np.diag(whole)), np.abs(np.diag(whole))))
    # Next to a zero of the kernel the accuracy is relative to its scale (theory/kernels.py).
    assert (np.abs(dense - whole) <= ACCURACY * scale).all()
    np.testing.assert_array_equal(packed.diagonal(), np.diag(dense))


@pytest.mark.parametrize("n", [1, PANEL_ROWS + 3, 1300], ids=lambda n: f"n={n}")
@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
def test_products_from_either_side(n: int, dtype: type[np.floating]) -> None:
    packed = theory.ntk(rows(n, dtype=dtype), memory_budget=AMPLE)
    assert packed.dtype == dtype
    dense = packed.to_dense().astype(np.float64)
    vectors = np.random.default_rng(1).normal(size=(n, 3))
    # A sum of n products: n·eps relative to the sum of their sizes.
    bound = n * EPS * (np.abs(dense) @ np.abs(vectors))
    for got, exact in (
        (packed @ vectors, dense @ vectors),
        (packed @ vectors[:, 0], (dense @ vectors)[:, 0]),
        ((vectors.T @ packed).T, dense @ vectors),
        (vectors[:, 0] @ packed, (dense @ vectors)[:, 0]),
    ):
        assert (np.abs(got - exact) <= (bound if got.ndim == 2 else bound[:, 0])).all()


def test_float32_where_float64_does_not_fit() -> None:
    n = 1300
    least = float32_budget(n)
    packed = theory.ntk(rows(n), memory_budget=least)
    assert packed.dtype == np.float32
    np.testing.assert_allclose(packed.to_dense(), theory.ntk(rows(n)), rtol=1.01 * STORED, atol=1.01 * STORED * ACCURACY)
    with pytest.raises(ValueError, match=f"at least {least} bytes for {n} rows in float32, got {least - 1}"):
        theory.ntk(rows(n), memory_budget=least - 1)


def test_geometry_and_training_take_a_packed_kernel() -> None:
    n = 700
    x, generator = rows(n), np.random.default_rng(2)
    segments = theory.Segments.from_labels(generator.integers(0, 2, n), generator.integers(0, 2, n))
    whole, packed = theory.ntk(x), theory.ntk(x, memory_budget=AMPLE)
    for residuals in (generator.normal(size=n), generator.normal(size=(n, 2))):
        exact, got = theory.segment_geometry(whole, residuals, segments), theory.segment_geometry(packed, residuals, segments)
        largest = np.abs(exact.gram).max()
        assert np.abs(got.gram - exact.gram).max() <= (2 * n * EPS + ACCURACY) * largest * np.sqrt(n)
        assert np.array_equal(got.gram, got.gram.T)
    # Lanczos stops at a residual of 1e-8: its value is good to the square of that over the relative gap.
    assert theory.largest_eigenvalue(packed) == pytest.approx(theory.largest_eigenvalue(whole), rel=1e-10)
    assert theory.max_learning_rate(packed) == pytest.approx(theory.max_learning_rate(whole), rel=1e-10)
    cross = theory.ntk(x[:5], x)
    options = {"learning_rate": 1.0, "steps": 20, "cross_kernel": cross}
    exact, got = theory.gradient_descent(whole, segments.observed, **options), theory.gradient_descent(packed, segments.observed, **options)
    # Descent below max_learning_rate does not magnify errors: 20 steps of n·eps each, on logits of order 1.
    np.testing.assert_allclose(got.logits, exact.logits, atol=20 * (n * EPS + ACCURACY))
    np.testing.assert_allclose(got.test_logits, exact.test_logits, atol=20 * (n * EPS + ACCURACY))
    flow = {"times": [0.0, 1.0, 20.0], "rtol": 1e-6}
    exact, got = theory.gradient_flow(whole, segments.observed, **flow), theory.gradient_flow(packed, segments.observed, **flow)
    np.testing.assert_allclose(got.logits, exact.logits, atol=2e-6 * np.abs(exact.logits).max())


def test_error_of_a_run_on_float32_entries() -> None:
    n, time = 700, 20.0
    x, generator = rows(n), np.random.default_rng(3)
    labels = generator.integers(0, 2, n)
    whole = theory.ntk(x)
    packed = theory.ntk(x, memory_budget=float32_budget(n))
    assert packed.dtype == np.float32
    options = {"learning_rate": 1.0, "steps": int(time)}
    error = theory.gradient_descent(packed, labels, **options).logits[-1] - theory.gradient_descent(whole, labels, **options).logits[-1]
    # notes/kernels.md: root mean square at most 2⁻²⁴ · time · λ_max(|K|)/n, residuals being at most 1.
    bound = STORED * time * np.linalg.eigvalsh(np.abs(whole))[-1] / n
    assert 0 < np.sqrt(np.mean(error**2)) <= bound


def test_bad_input_is_one_line() -> None:
    x = rows(5)
    packed = theory.ntk(x, memory_budget=AMPLE)
    with pytest.raises(ValueError, match=r"memory_budget must come without z"):
        theory.ntk(x, x, memory_budget=AMPLE)
    for budget in (0, -1, 1.5, "512MB", [2**29]):
        with pytest.raises(ValueError, match="memory_budget"):
            theory.ntk(x, memory_budget=budget)
    with pytest.raises(ValueError, match=r"vectors must have shape \[5\] or \[5, k\], got \[4\]"):
        packed @ np.ones(4)
    with pytest.raises(ValueError, match=r"kernel must be \[4, 4\] to match the samples, got shape \[5, 5\]"):
        theory.segment_geometry(packed, np.ones(4), theory.Segments.from_labels([0, 0, 1, 1], [0, 1, 1, 0]))
    with pytest.raises(ValueError, match="kernel must be an array for the squared loss"):
        theory.gradient_flow(packed, np.ones(5), times=[1.0], loss="squared")
    with pytest.raises(ValueError, match="kernel"):
        theory.clean_priority_rate(packed, theory.Segments.from_labels([0, 0, 1, 1, 1], [0, 1, 1, 0, 1]))


MEASURED = """
import resource, sys
import numpy as np, theory
n, budget = 12_000, 512 * 2**20
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
x = np.random.default_rng(0).standard_normal((n, 100), dtype=np.float32)
labels = np.arange(n) % 2
before = peak()
packed = theory.ntk(x, memory_budget=budget)
segments = theory.Segments.from_labels(labels, labels[::-1])
theory.segment_geometry(packed, labels - 0.5, segments)
theory.gradient_descent(packed, labels, learning_rate=1.0, steps=2)
print(peak() - before, packed.dtype, 8 * n * n)
"""


def test_twelve_thousand_samples_stay_under_512_mebibytes() -> None:
    run = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True, timeout=600)
    peak, dtype, plain = run.stdout.split()
    assert dtype == "float32"
    assert int(peak) <= 512 * 2**20 < int(plain), f"peak of {int(peak) / 2**20:.0f} MiB"
