"""Kernels against 120-digit references on generic and on degenerate rows; symmetry, memory, properties, bad input.

Tolerances of 4 EPS are the roundings of an inner product of two or three numbers and of one scaling.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support import oracles_angles as oracle
from theory import _profile, angles, kernels
from theory._rows import Rows, opposite_angles, parallel_angles

EPS = float(np.finfo(np.float64).eps)
# The accuracy that theory/kernels.py promises.
ACCURACY = 1e-13


def rotation(dimension: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.normal(size=(dimension, dimension)))[0]


def degenerate_rows(seed: int, dimension: int = 9) -> np.ndarray:
    """Generic, duplicated, scaled, parallel, opposite, nearly parallel and nearly opposite rows at many distances; norms 1e±150."""
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(3, dimension))
    rows = [*base, base[0], 2 * base[0], 3 * base[1], -base[0], -7 * base[1]]
    for distance in (1e-1, 1e-3, 1e-6, 1e-9, 1e-13, 1e-16):
        rows += [base[0] + distance * rng.normal(size=dimension), -base[0] + distance * rng.normal(size=dimension)]
    rows += [1e150 * base[0], -1e150 * base[2], 1e-150 * base[0], 1e-150 * (base[1] + 1e-7 * rng.normal(size=dimension))]
    return np.array(rows)


def assert_close(got: np.ndarray, exact: np.ndarray, scale: np.ndarray) -> None:
    """Relative error within ACCURACY; where the kernel passes through zero (|K| below 1% of its scale, far from π) relative to that 1%."""
    opposite = np.abs(exact) < 1e-4 * scale  # next to π: relative to the value itself, however small
    reference = np.where(opposite, np.abs(exact), np.maximum(np.abs(exact), 0.01 * scale))
    error = np.abs(got - exact) / np.where(reference == 0, 1, reference)
    worst = np.unravel_index(np.argmax(error), error.shape)
    assert np.isfinite(got).all()
    assert error[worst] <= ACCURACY, f"pair {worst}: got {got[worst]!r}, expected {exact[worst]!r}, relative error {error[worst]:.2e}"


@pytest.mark.parametrize("depth", [1, 2, 5, 50], ids=lambda depth: f"depth={depth}")
def test_kernels_agree_with_the_definition_on_degenerate_rows(depth: int) -> None:
    x = degenerate_rows(seed=depth)
    few = x if depth < 5 else x[:3]  # every kind of pair has one of the first three rows in it
    tangent, output = oracle.reference_kernels(few, x, depth)
    norms = np.array([float(mp.norm(mp.matrix(row))) for row in x])
    scale = np.outer(norms[: len(few)], norms)
    assert_close(kernels.ntk(x, depth=depth)[: len(few)], tangent, (depth + 1) * scale)
    assert_close(kernels.nngp(x, depth=depth)[: len(few)], output, scale)
    assert_close(kernels.ntk(few, x[5:], depth=depth), tangent[:, 5:], (depth + 1) * scale[:, 5:])


@pytest.mark.parametrize("depth", [1, 3, 50], ids=lambda depth: f"depth={depth}")
def test_kernels_agree_with_the_definition_in_many_dimensions(depth: int) -> None:
    rng = np.random.default_rng(depth)
    x = rng.random(size=(7, 784))  # non-negative like pixels: angles near 40°
    x[5] = x[0] + 1e-3 * rng.normal(size=784)
    x[6] = -x[1] + 1e-2 * rng.normal(size=784)
    tangent, output = oracle.reference_kernels(x, x, depth)
    norms = np.sqrt(np.diag(output))
    assert_close(kernels.ntk(x, depth=depth), tangent, (depth + 1) * np.outer(norms, norms))
    assert_close(kernels.nngp(x, depth=depth), output, np.outer(norms, norms))


@pytest.mark.parametrize("depth", [1, 4], ids=lambda depth: f"depth={depth}")
def test_an_inner_product_alone_would_miss_the_angle_of_near_pairs(depth: int) -> None:
    x = degenerate_rows(seed=1)[:-4]  # negative control: the textbook path, arccos of an inner product
    unit = x / np.linalg.norm(x, axis=1)[:, None]
    cosine = angles.cos_gradient_angle(np.arccos(np.clip(unit @ unit.T, -1, 1)), depth=depth)
    textbook = (depth + 1) * np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(x, axis=1)) * cosine
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(textbook, oracle.reference_kernels(x, x, depth)[0], np.abs(textbook).max() * np.ones_like(textbook))


def test_scale_of_each_convention() -> None:
    x = np.array([[3.0, 4.0], [-1.0, 2.0]])
    square = np.einsum("nd,nd->n", x, x)
    for depth in (1, 2, 6):
        np.testing.assert_allclose(np.diag(kernels.ntk(x, depth=depth)), (depth + 1) * square, rtol=4 * EPS)
        np.testing.assert_allclose(np.diag(kernels.nngp(x, depth=depth)), square, rtol=4 * EPS)
        np.testing.assert_allclose(kernels.ntk(x, depth=depth, activation="linear"), (depth + 1) * x @ x.T, rtol=4 * EPS)
    np.testing.assert_array_equal(kernels.ntk(x, convention="eq7"), 0.5 * kernels.ntk(x))
    np.testing.assert_array_equal(kernels.nngp(x, convention="eq7"), 0.5 * kernels.nngp(x))
    np.testing.assert_array_equal(kernels.ntk(x, activation="linear", convention="eq6"), 2 * x @ x.T)
    for depth in (1, 2, 3):  # √(2/m) left in place of √(1/m): a factor 2 for each hidden layer, a power of two, hence exact
        for kernel in (kernels.ntk, kernels.nngp):
            plain = kernel(x, depth=depth, activation="linear")
            np.testing.assert_array_equal(kernel(x, depth=depth, activation="linear", convention="eq2-literal"), 2**depth * plain)
            np.testing.assert_array_equal(kernel(x, depth=depth, convention="eq2-literal"), kernel(x, depth=depth))
    np.testing.assert_array_equal(kernels.nngp(x, activation="linear", convention="eq6"), x @ x.T)


def test_opposite_inputs_have_orthogonal_gradients_at_depth_one() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6))
    assert np.all(np.diag(kernels.ntk(x, -x)) == 0.0)
    assert np.all(np.diag(kernels.nngp(x, -x)) == 0.0)


def test_off_diagonal_is_equation_16() -> None:
    # Eq. (16) [A] in the scale of Eq. (7) [A]: K = x·z (π − θ)/π + |x||z| sin θ/(2π).
    x, z = np.array([[1.0, 2.0]]), np.array([[3.0, -1.0]])
    inner, product = 1.0, np.sqrt(50.0)
    theta = np.arccos(inner / product)
    assert kernels.ntk(x, z, convention="eq7")[0, 0] == pytest.approx(
        inner * (np.pi - theta) / np.pi + product * np.sin(theta) / (2 * np.pi), rel=16 * EPS
    )


@pytest.mark.parametrize("depth", [1, 2, 3, 20, 64, 200, 1000], ids=lambda depth: f"depth={depth}")
def test_table_reproduces_the_recursion(depth: int) -> None:
    theta = np.concatenate([np.linspace(0, np.pi, 4001), np.geomspace(1e-12, 1, 2000)])
    # The table interpolates the recursion to 4e-15 of F(0) (theory/notes/kernels.md), most of it rounding of the recursion.
    for profile, exact in (
        (_profile.gradient_profile(depth), (depth + 1) * angles.cos_gradient_angle(theta, depth=depth)),
        (_profile.output_profile(depth), 1 - 2 * np.sin(0.5 * angles.hidden_angle(theta, depth=depth)) ** 2),
    ):
        at_zero = profile.of_angle(np.zeros(1))[0]
        assert at_zero in (1.0, depth + 1.0)
        assert np.max(np.abs(profile.of_angle(theta.copy()) - exact)) <= 5e-15 * at_zero
        middle = np.abs(np.cos(theta)) <= _profile.MIDDLE
        assert middle.sum() > 2000
        # The rounding of the cosine, half an ulp of 1, moves F by F′/sin θ ≤ F(0)·L of it here, on top of the table's own 5e-15.
        slack = (
            5e-15 + 0.5 * EPS * profile.relative_slope(theta[middle]) * np.abs(exact[middle]) / at_zero / np.sin(theta[middle])
        ) * at_zero
        assert np.all(np.abs(profile.of_cosine(np.cos(theta[middle])) - exact[middle]) <= slack)


def test_angles_of_near_pairs_come_from_the_rows() -> None:
    x = degenerate_rows(seed=3)
    rows = Rows.of(x)
    close = np.array([8, 10, 12, 14, 3, 4])
    far = np.array([9, 11, 13, 15, 6])
    zeros = np.zeros(close.size, np.intp)
    with mp.workdps(120):
        exact_close = [float(oracle.angle_between(x[0], x[j])[0]) for j in close]
        exact_far = [float(mp.pi - oracle.angle_between(x[0], x[j])[0]) for j in far]
    # Rounding of unit rows: an absolute error of two units of the last digit of 1. The supplement: relative, √d ulp.
    np.testing.assert_allclose(parallel_angles(rows, rows, zeros, close), exact_close, rtol=4 * EPS, atol=2 * EPS)
    np.testing.assert_allclose(opposite_angles(rows, rows, zeros[: far.size], far), exact_far, rtol=8 * EPS)


SYMMETRIC: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ntk-depth=1": kernels.ntk,
    "ntk-depth=3": lambda x: kernels.ntk(x, depth=3),
    "nngp-depth=2": lambda x: kernels.nngp(x, depth=2),
    "linear": lambda x: kernels.ntk(x, activation="linear"),
    "gaussian": lambda x: kernels.gaussian_kernel(x, bandwidth=3.0),
    "laplacian": lambda x: kernels.laplacian_kernel(x, bandwidth=3.0),
}


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_symmetric_bit_for_bit_and_positive_semidefinite(name: str, dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(560, 11)).astype(dtype)  # more rows than a panel; the last tiles are not full
    x[100:140] = x[:40]
    x[540:550] = -x[:10]
    kernel = SYMMETRIC[name](x)
    assert kernel.dtype == dtype
    np.testing.assert_array_equal(kernel, kernel.T)
    smallest = np.linalg.eigvalsh(kernel.astype(np.float64))[0]
    # Entries carry relative errors of max(1e-13, half an ulp of the result): at most n times that of the largest entry.
    assert smallest >= -560 * max(ACCURACY, np.finfo(dtype).eps) * np.abs(kernel).max()
    np.testing.assert_allclose(
        SYMMETRIC[name](x[:300]), kernel[:300, :300], rtol=2 * max(ACCURACY, np.finfo(dtype).eps), atol=0.01 * ACCURACY
    )


@pytest.mark.parametrize("name", SYMMETRIC)
def test_train_by_test_is_a_block_of_the_symmetric_kernel(name: str) -> None:
    x = np.random.default_rng(6).normal(size=(620, 5))
    whole = SYMMETRIC[name](x)
    cross = {
        "ntk-depth=1": kernels.ntk(x[:600], x[600:]),
        "ntk-depth=3": kernels.ntk(x[:600], x[600:], depth=3),
        "nngp-depth=2": kernels.nngp(x[:600], x[600:], depth=2),
        "linear": kernels.ntk(x[:600], x[600:], activation="linear"),
        "gaussian": kernels.gaussian_kernel(x[:600], x[600:], bandwidth=3.0),
        "laplacian": kernels.laplacian_kernel(x[:600], x[600:], bandwidth=3.0),
    }[name]
    # Two results within the promised accuracy of the same number; kernels that pass through zero: of a hundredth of the scale.
    np.testing.assert_allclose(cross, whole[:600, 600:], rtol=2 * ACCURACY, atol=0.02 * ACCURACY * np.abs(whole).max())


def test_distance_kernels_agree_with_the_definition() -> None:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(10, 6))
    x[5] = x[0]
    x[6:9] = x[1] + np.array([1e-3, 1e-8, 1e-15])[:, None] * rng.normal(size=(3, 6))
    x[9] = 0.0
    for shift in (0.0, 1e4):  # far from the origin: inner products cancel, differences of the rows do not
        for bandwidth in (0.3, 2.0):
            gaussian, laplacian = oracle.reference_distance_kernels(x + shift, x + shift, bandwidth)
            # 1e-13, or 4 ulp times the exponent where that is more.
            for got, exact in (
                (kernels.gaussian_kernel(x + shift, bandwidth=bandwidth), gaussian),
                (kernels.laplacian_kernel(x + shift, bandwidth=bandwidth), laplacian),
            ):
                margin = np.maximum(ACCURACY, -4 * EPS * np.log(exact))
                assert np.all(np.abs(got / exact - 1) <= margin)
                assert np.all(np.diag(got) == 1.0)
                assert got[0, 5] == 1.0


def test_distance_kernels_at_extreme_scales() -> None:
    x = np.array([[1e150, 0.0], [-1e150, 1.0], [0.0, 0.0]])
    for kernel in (kernels.gaussian_kernel, kernels.laplacian_kernel):
        np.testing.assert_array_equal(kernel(x, bandwidth=1.0), np.eye(3))
        np.testing.assert_array_equal(kernel(1e-300 * x, bandwidth=1.0), np.ones((3, 3)))
    assert kernels.gaussian_kernel(x, bandwidth=1e150)[0, 2] == pytest.approx(np.exp(-0.5), rel=4 * EPS)


def test_float32_is_the_rounded_float64_result() -> None:
    x = np.random.default_rng(9).normal(size=(600, 20)).astype(np.float32)
    for function in (SYMMETRIC["ntk-depth=3"], SYMMETRIC["gaussian"]):
        exact = function(x.astype(np.float64))
        # One rounding of a result with relative error 1e-13.
        np.testing.assert_allclose(function(x), exact, rtol=0.51 * float(np.finfo(np.float32).eps))


def test_peak_memory_is_at_most_twice_the_result() -> None:
    x = np.random.default_rng(10).normal(size=(3000, 784))
    kernels.ntk(x[:10], depth=3)
    tracemalloc.start()
    try:
        result = kernels.ntk(x, depth=3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2.2 * result.nbytes, f"peak memory is {peak / result.nbytes:.2f} times the result"


# --- properties ------------------------------------------------------------------------------------------------------------

row_arrays = arrays(np.float64, (5, 4), elements=st.floats(-10, 10, allow_subnormal=False)).filter(
    lambda x: bool(np.all(np.abs(x).max(axis=1) > 1e-3))
)


@settings(max_examples=60, deadline=None)
@given(row_arrays, st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_invariances(x: np.ndarray, depth: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel = kernels.ntk(x, depth=depth)
    norms = np.sqrt(np.diag(kernel))
    scale = np.outer(norms, norms)
    # Rotating the rows rounds them: angles move by a few ulp of 1, the kernel by at most (L/(2π) + π/2) times that.
    moved = 64 * EPS * (depth / 6 + 2)
    assert np.all(np.abs(kernels.ntk(x @ rotation(4, rng), depth=depth) - kernel) <= moved * scale)
    factors = 2.0 ** rng.integers(-40, 40, size=5)  # homogeneous of degree one in each input, exactly for powers of two
    np.testing.assert_array_equal(kernels.ntk(x * factors[:, None], depth=depth), kernel * np.outer(factors, factors))
    order = rng.permutation(5)
    assert np.all(np.abs(kernels.ntk(x[order], depth=depth) - kernel[np.ix_(order, order)]) <= 2 * ACCURACY * scale)
    assert np.all(np.abs(kernel) <= scale * (1 + 8 * EPS))
    assert np.linalg.eigvalsh(kernel / scale)[0] >= -5 * ACCURACY


# --- bad input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[0.0, 0.0], [1.0, 2.0]], "x must have no zero rows .* got a zero vector at row 0"),
        ([[1.0, np.nan]], r"x must be finite, got nan at index \(0, 1\)"),
        ([1.0, 2.0], r"x must have shape \[n, d\] with n, d >= 1, got shape \[2\]"),
        (np.empty((0, 3)), r"x must have shape \[n, d\] with n, d >= 1, got shape \[0, 3\]"),
        ([[1j, 2.0]], "x must hold real numbers, got dtype complex128"),
        ([[1e200, 1.0]], "x and z must have rows whose kernel fits float64, got rows with a kernel near 1e40[01]"),
    ],
    ids=["zero-row", "nan", "vector", "empty", "complex", "overflow"],
)
def test_bad_rows_are_named(x: object, message: str) -> None:
    for function in (kernels.ntk, kernels.nngp, lambda x: kernels.ntk(x, activation="linear")):
        with pytest.raises(ValueError, match=message):
            function(x)  # type: ignore[operator]


def test_largest_kernel_that_fits_is_given() -> None:
    # K = 2|x|²: a part in 1e6 within the largest number and beyond it; the check compares logarithms, 308 · 1.1e-16.
    longest = np.sqrt(np.finfo(np.float64).max / 2)
    assert np.isfinite(kernels.ntk([[longest * (1 - 1e-6), 0.0]])).all()
    with pytest.raises(ValueError, match="x and z must have rows whose kernel fits float64, got rows with a kernel near 1e308"):
        kernels.ntk([[longest * (1 + 1e-6), 0.0]])


def test_bad_options_are_named() -> None:
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"z must have as many columns as x \(3\), got shape \[1, 2\]"):
        kernels.ntk(x, np.ones((1, 2)))
    with pytest.raises(ValueError, match="convention 'eq6' is the linear network of depth 1, got activation='relu', depth=1"):
        kernels.ntk(x, convention="eq6")
    with pytest.raises(ValueError, match="convention 'eq7' is the ReLU network of depth 1, got activation='relu', depth=2"):
        kernels.nngp(x, depth=2, convention="eq7")
    with pytest.raises(ValueError, match="convention must be one of 'eq2', 'eq2-literal', 'eq6', 'eq7', got 'eq8'"):
        kernels.ntk(x, convention="eq8")
    with pytest.raises(ValueError, match="bandwidth must be a positive finite number, got 0"):
        kernels.gaussian_kernel(x, bandwidth=0)
    with pytest.raises(ValueError, match="x must be finite, got inf"):
        kernels.laplacian_kernel([[np.inf]], bandwidth=1.0)
