"""Angles between gradients and between hidden layers: against 50-digit references, and the worked numbers of G2 to G5.

Tolerances in EPS count roundings: 4 in a formula with one product, 8 at depth 1 as promised, 16 where two promised values meet.
"""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import oracles_angles as oracle
from theory import angles

EPS = float(np.finfo(np.float64).eps)
DEPTHS = (1, 2, 3, 5, 16, 64)


def angle_grid(count: int, seed: int) -> np.ndarray:
    """Angles over the whole range: log-uniform from 1e-300, uniform, close to π and to π/2, and the ends themselves."""
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            10.0 ** rng.uniform(-300, 0, count),
            10.0 ** rng.uniform(-17, 0, 2 * count),
            rng.uniform(0, np.pi, 2 * count),
            np.pi - 10.0 ** rng.uniform(-16, 0, count),
            [1e-300, 1e-154, 1e-8, 0.5 * np.pi, np.nextafter(np.pi, 0), np.pi],
        ]
    )


def allowed_ulps(depth: int) -> float:
    """The accuracy promised: 8 ulp at depth 1, 8 + 2·depth at depths 2 to 64 (one or two roundings per layer add up)."""
    return 8.0 if depth == 1 else 8.0 + 2.0 * depth


@pytest.mark.parametrize("depth", DEPTHS, ids=lambda depth: f"depth={depth}")
def test_angles_agree_with_the_definition_to_a_few_ulp(depth: int) -> None:
    theta = angle_grid(40 if depth < 16 else 8, seed=depth)
    hidden, gradient = angles.hidden_angle(theta, depth=depth), angles.gradient_angle(theta, depth=depth)
    for i, value in enumerate(theta):
        exact_hidden, exact_gradient = oracle.reference_angles(float(value), depth)
        assert oracle.ulps(hidden[i], exact_hidden) <= allowed_ulps(depth), f"hidden_angle({value!r})"
        assert oracle.ulps(gradient[i], exact_gradient) <= allowed_ulps(depth), f"gradient_angle({value!r})"


@pytest.mark.parametrize("depth", [1, 3, 64], ids=lambda depth: f"depth={depth}")
def test_float32_angles_are_correct_to_one_float32_ulp(depth: int) -> None:
    theta = np.concatenate([10.0 ** np.linspace(-37, 0, 40), np.linspace(0.1, np.pi, 40)]).astype(np.float32)
    for function, which in ((angles.hidden_angle, 0), (angles.gradient_angle, 1)):
        got = function(theta, depth=depth)
        assert got.dtype == np.float32
        # Computed in float64 and rounded once: half an ulp of float32, plus float64 errors 2^-29 times smaller.
        assert (
            max(oracle.ulps(g, oracle.reference_angles(float(t), depth)[which], np.float32) for g, t in zip(got, theta, strict=True))
            <= 0.51
        )


@pytest.mark.parametrize("theta", [1e-9, 0.3, 1.2, 2.2, 2.9])
def test_reference_recursion_is_the_gaussian_expectation(theta: float) -> None:
    with mp.workdps(40):
        closed = oracle.hidden_and_gradient(mp.mpf(theta), 2)
        integrated = oracle.hidden_and_gradient(mp.mpf(theta), 2, by_quadrature=True)
        # Tanh-sinh quadrature at 40 digits; two layers and one arccos of 1 − 1e-18 leave more than 15 of them.
        assert max(abs(a - b) for a, b in zip(closed, integrated, strict=True)) < mp.mpf(10) ** -15


@pytest.mark.parametrize("theta", [0.4, 1.3, 2.5])
def test_arc_cosine_kernels_are_expectations_over_the_plane(theta: float) -> None:
    # Gauss-Legendre with 200 × 200 nodes over 12 standard deviations (e^−72 is left out): rounding is all that remains.
    assert angles.kappa0(theta) == pytest.approx(oracle.plane_expectation(theta, 0), rel=1e-12)
    assert angles.kappa1(theta) == pytest.approx(oracle.plane_expectation(theta, 1), rel=1e-12)


def test_arc_cosine_kernels_keep_their_digits_at_both_ends() -> None:
    for theta in angle_grid(30, seed=7):
        with mp.workdps(oracle.working_digits(float(theta))):
            # κ0: subtraction, second part of π, division. κ1: a cube and a series besides, whose terms reach 10 times their sum.
            assert oracle.ulps(angles.kappa0(theta), oracle.kappa0(mp.mpf(float(theta)))) <= 3.0
            assert oracle.ulps(angles.kappa1(theta), oracle.kappa1(mp.mpf(float(theta)))) <= 16.0


def test_arccos_of_the_cosine_would_lose_all_digits_of_a_small_angle() -> None:
    theta = 1e-17  # negative control: the textbook formula
    printed = np.arccos((1 - theta / np.pi) * np.cos(theta) + np.sin(theta) / (2 * np.pi))
    assert printed == 0.0
    assert angles.gradient_angle(theta) == pytest.approx(np.sqrt(theta / np.pi), rel=1e-8)


def test_one_minus_cosine_is_exact_where_the_cosine_rounds_to_one() -> None:
    for theta in (1e-300, 1e-20, 1e-3, 1.0, 3.0):
        for depth in (1, 4):
            with mp.workdps(oracle.working_digits(theta)):
                exact = 1 - oracle.hidden_and_gradient(mp.mpf(theta), depth)[1]
            assert oracle.ulps(angles.one_minus_cos_gradient_angle(theta, depth=depth), exact) <= 2 * allowed_ulps(depth)
    assert angles.one_minus_cos_gradient_angle(1e-9, activation="linear") == pytest.approx(5e-19, rel=4 * EPS)


# --- derivative, inverse --------------------------------------------------------------------------------------------------


def test_derivative_at_depth_one_is_equation_27() -> None:
    theta = np.linspace(0, np.pi, 201)
    closed = -np.cos(theta) / (2 * np.pi) - (1 - theta / np.pi) * np.sin(theta)
    # A dozen roundings of terms up to 1.
    np.testing.assert_allclose(angles.cos_gradient_angle_derivative(theta), closed, rtol=0, atol=12 * EPS)


@pytest.mark.parametrize("depth", [1, 2, 7, 30], ids=lambda depth: f"depth={depth}")
def test_derivatives_agree_with_numerical_differentiation_at_high_precision(depth: int) -> None:
    for theta in (1e-6, 0.2, 1.5, 2.6, 3.1):
        with mp.workdps(60):
            slope = mp.diff(lambda t: oracle.hidden_and_gradient(t, depth)[1], mp.mpf(theta))
            angle_slope = mp.diff(lambda t: mp.acos(oracle.hidden_and_gradient(t, depth)[1]), mp.mpf(theta))
        # A few roundings per layer, of terms no larger than the bound L/(2π) + θ of the slope.
        margin = (8 + 8 * depth) * EPS
        assert abs(float(angles.cos_gradient_angle_derivative(theta, depth=depth)) - float(slope)) <= margin * (depth / 6 + theta)
        assert abs(float(angles.gradient_angle_derivative(theta, depth=depth)) - float(angle_slope)) <= margin * (
            abs(float(angle_slope)) + depth / 6 + 1
        )


def test_derivative_ends() -> None:
    assert angles.cos_gradient_angle_derivative(0.0, depth=3) == pytest.approx(-3 / (2 * np.pi), rel=4 * EPS)
    assert angles.cos_gradient_angle_derivative(np.pi) == pytest.approx(1 / (2 * np.pi), rel=4 * EPS)
    assert np.isposinf(angles.gradient_angle_derivative(0.0))
    assert angles.gradient_angle_derivative(0.7, activation="linear") == 1.0


@pytest.mark.parametrize("depth", [1, 2, 10, 64], ids=lambda depth: f"depth={depth}")
def test_inverse_recovers_the_input_angle(depth: int) -> None:
    turn = angles.turning_point(depth)
    theta = np.concatenate([10.0 ** np.linspace(-280, -1, 60), np.linspace(0.1, 0.999 * turn, 60), [0.0]])
    gradient = angles.gradient_angle(theta, depth=depth)
    recovered = angles.inverse_gradient_angle(gradient, depth=depth)
    positive = theta > 0
    condition = gradient[positive] / (theta[positive] * angles.gradient_angle_derivative(theta[positive], depth=depth))
    # Rounding of θ_h (both ways), magnified by the condition number, and the last Newton step.
    margin = EPS * (4 + 2 * allowed_ulps(depth) * condition)
    assert np.all(np.abs(recovered[positive] / theta[positive] - 1) <= margin)
    assert recovered[-1] == 0.0
    assert angles.inverse_gradient_angle(0.3, activation="linear") == 0.3


def test_inverse_reaches_the_turning_point_and_no_further() -> None:
    largest = angles.gradient_angle(angles.turning_point())
    # The maximum is flat: θ is determined to the square root of the rounding of θ_h, √(2·8·eps·θ_h/|θ_h″|) < 1e-7.
    assert angles.inverse_gradient_angle(largest) == pytest.approx(angles.turning_point(), abs=1e-7)
    with pytest.raises(ValueError, match=r"theta_h must lie in \[0, 1.63924\].*got 1.65"):
        angles.inverse_gradient_angle(1.65)


# --- the worked numbers of G3, G4, G5 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "degrees"), [(1, 142.57), (2, 148.25), (3, 152.70), (4, 156.16), (5, 158.90), (10, 167.00), (200, 179.65)]
)
def test_turning_points(depth: int, degrees: float) -> None:
    assert np.degrees(angles.turning_point(depth)) == pytest.approx(degrees, abs=0.005)  # numbers given to two decimals


def test_turning_point_and_largest_angle_at_depth_one() -> None:
    supplement = np.pi - angles.turning_point()
    assert supplement * np.tan(supplement) == pytest.approx(0.5, abs=16 * EPS)
    assert np.degrees(angles.gradient_angle(angles.turning_point())) == pytest.approx(93.92, abs=0.005)
    assert angles.gradient_angle(np.pi) == pytest.approx(np.pi / 2, rel=8 * EPS)


@pytest.mark.parametrize(("depth", "degrees"), [(1, 80.84), (2, 76.79), (3, 74.63), (4, 73.38), (5, 72.62), (10, 71.56)])
def test_largest_gradient_angle_over_acute_inputs(depth: int, degrees: float) -> None:
    assert np.degrees(angles.max_gradient_angle(depth)) == pytest.approx(degrees, abs=0.005)
    assert np.max(angles.gradient_angle(np.linspace(0, np.pi / 2, 501), depth=depth)) == angles.max_gradient_angle(depth)


def test_depth_one_thresholds() -> None:
    obtuse, spread = angles.orthogonal_angle(), angles.spreading_threshold()
    assert np.degrees(obtuse) == pytest.approx(113.22, abs=0.005)
    assert np.degrees(spread) == pytest.approx(66.78, abs=0.005)
    assert np.tan(np.pi - obtuse) == pytest.approx(2 * (np.pi - obtuse), rel=32 * EPS)  # condition of tan at 67°: about 3
    assert np.tan(spread) == pytest.approx(2 * spread, rel=32 * EPS)
    assert obtuse + spread == pytest.approx(np.pi, rel=4 * EPS)
    assert np.degrees(angles.spreading_threshold(2)) == pytest.approx(67.2, abs=0.05)
    below, above = spread * (1 - 1e-9), spread * (1 + 1e-9)
    assert angles.gradient_angle(below) > below
    assert angles.gradient_angle(above) < above


@pytest.mark.parametrize("depth", [2, 3, 8, 64, 200], ids=lambda depth: f"depth={depth}")
def test_deeper_gradients_stay_below_86_degrees(depth: int) -> None:
    assert np.degrees(angles.gradient_angle(np.linspace(0, np.pi, 4001), depth=depth)).max() < 86.0


def test_expansion_of_the_cosine_at_small_angles() -> None:
    theta = np.array([1e-2, 1e-3])
    expansion = theta / (2 * np.pi) + theta**2 / 2 - 5 * theta**3 / (12 * np.pi)
    # The next term is −θ⁴/24 + O(θ⁵).
    assert np.all(np.abs(angles.one_minus_cos_gradient_angle(theta) - expansion) <= theta**4 / 20)


@pytest.mark.parametrize("depth", [1, 2, 10, 100], ids=lambda depth: f"depth={depth}")
def test_small_angle_law_is_a_square_root(depth: int) -> None:
    theta = np.array([1e-12, 1e-10])
    ratio = angles.gradient_angle(theta, depth=depth) / angles.small_angle_law(theta, depth=depth)
    # Relative correction O(L θ).
    np.testing.assert_allclose(ratio, 1.0, rtol=1e-7)
    slope = np.diff(np.log(angles.gradient_angle(theta, depth=depth)))[0] / np.log(100)
    assert slope == pytest.approx(0.5, abs=1e-7)
    linear = np.diff(np.log(angles.gradient_angle(theta, depth=depth, activation="linear")))[0] / np.log(100)
    assert linear == pytest.approx(1.0, abs=1e-14)


def test_default_depth_is_one() -> None:
    assert angles.max_gradient_angle() == angles.max_gradient_angle(1)
    assert angles.gradient_gap_bound(1.0) == angles.gradient_gap_bound(1.0, depth=1)


@pytest.mark.parametrize("depth", [1, 3])
def test_bound_of_the_gap_is_its_formula(depth: int) -> None:
    for theta in (0.1, 1.0, np.pi / 2):
        assert angles.gradient_gap_bound(theta, depth=depth) == pytest.approx(depth * theta / (2 * np.pi) + theta**2 / 2, rel=4 * EPS)


def test_root_at_the_end_of_its_bracket_is_found() -> None:
    # The middle of a bracket that is at most two spacings of its upper end wide.
    assert angles._root(lambda theta: 8.0 - theta, 7.0, 8.0) == pytest.approx(8.0, abs=np.spacing(8.0))


def test_infinite_depth_forgets_the_input_angle() -> None:
    assert angles.INFINITE_DEPTH_COSINE == 0.25
    for theta in (0.3, 1.57, 3.0):
        for depth in (250, 1000):
            # The approach is log L/L with a constant of order one (G5).
            assert abs(float(angles.cos_gradient_angle(theta, depth=depth)) - 0.25) < 8 * np.log(depth) / depth
    difference = [
        depth * float(angles.cos_gradient_angle(0.3, depth=depth) - angles.cos_gradient_angle(1.57, depth=depth)) for depth in (500, 1000)
    ]
    assert difference[1] == pytest.approx(5.52, abs=0.1)  # L × the difference tends to a constant
    assert difference[1] == pytest.approx(difference[0], rel=0.02)


@pytest.mark.parametrize("depth", [1, 2, 7, 50, 200], ids=lambda depth: f"depth={depth}")
def test_monotone_and_bounded_up_to_the_turning_point_only(depth: int) -> None:
    theta = np.linspace(0, angles.turning_point(depth), 2001)
    gap = angles.one_minus_cos_gradient_angle(theta, depth=depth)
    assert np.all(np.diff(gap[:-4]) > 0)  # the last steps, next to the flat maximum, are below rounding
    acute = theta[theta <= np.pi / 2]
    assert np.all(angles.gradient_gap_bound(acute, depth=depth) * (1 + 8 * EPS) >= gap[: acute.size])
    beyond = np.linspace(angles.turning_point(depth), np.pi, 50)[2:]
    assert np.all(np.diff(angles.one_minus_cos_gradient_angle(beyond, depth=depth)) < 0)  # negative control: Cor 3.2 outside its range


# --- properties ------------------------------------------------------------------------------------------------------------

acute_angles = st.floats(0.0, float(np.pi / 2), allow_subnormal=False)
depths = st.integers(1, 40)


@settings(max_examples=150, deadline=None)
@given(acute_angles, acute_angles, depths)
def test_order_of_acute_angles_is_preserved(first: float, second: float, depth: int) -> None:
    low, high = sorted((first, second))
    slack = 1 + 2 * allowed_ulps(depth) * EPS
    assert angles.gradient_angle(low, depth=depth) <= angles.gradient_angle(high, depth=depth) * slack
    assert angles.hidden_angle(low, depth=depth) <= angles.hidden_angle(high, depth=depth) * slack


@settings(max_examples=150, deadline=None)
@given(st.floats(0.0, float(np.pi), allow_subnormal=False), depths)
def test_ranges_and_composition_of_layers(theta: float, depth: int) -> None:
    hidden = angles.hidden_angle(theta, depth=depth)
    slack = 1 + 2 * allowed_ulps(depth) * EPS
    assert 0 <= hidden <= min(theta, np.pi / 2) * slack
    assert 0 <= angles.gradient_angle(theta, depth=depth) <= 1.6393
    composed = angles.hidden_angle(angles.hidden_angle(theta, depth=depth), depth=2)
    assert composed == pytest.approx(angles.hidden_angle(theta, depth=depth + 2), rel=4 * allowed_ulps(depth + 2) * EPS)


def test_shapes_types_and_blocks() -> None:
    assert isinstance(angles.gradient_angle(1.0), np.float64)
    assert isinstance(angles.gradient_angle(np.float32(1.0)), np.float32)
    assert angles.gradient_angle([[0.1, 0.2, 0.3]]).shape == (1, 3)
    assert angles.gradient_angle(np.empty((0, 3))).shape == (0, 3)
    assert angles.gradient_angle(1) == angles.gradient_angle(1.0)
    strided = np.linspace(0, 3, 200_000)[::2]  # several blocks, not contiguous
    got = angles.gradient_angle(strided, depth=2)
    assert got[77_777] == angles.gradient_angle(strided[77_777], depth=2)
    np.testing.assert_array_equal(got.reshape(2, -1), angles.gradient_angle(strided.reshape(2, -1), depth=2))
    np.testing.assert_array_equal(angles.gradient_angle(strided, activation="linear"), strided)


def test_zero_angles_stay_zero() -> None:
    for function in (angles.gradient_angle, angles.hidden_angle, angles.one_minus_cos_gradient_angle, angles.small_angle_law):
        assert function(0.0, depth=5) == 0.0


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (3.2, r"theta must lie in \[0, pi\] radians, got 3.2"),
        (-0.1, r"theta must lie in \[0, pi\] radians, got -0.1"),
        (np.nan, "theta must be finite, got nan"),
        ([0.1, np.inf], r"theta must be finite, got inf at index \(1,\)"),
        (1j, "theta must hold real numbers, got dtype complex128"),
        ("a", "theta must hold real numbers"),
        ([[1.0], [1.0, 2.0]], "ragged"),
    ],
    ids=["above", "negative", "nan", "inf", "complex", "string", "ragged"],
)
def test_bad_angles_are_named(theta: object, message: str) -> None:
    for function in (angles.gradient_angle, angles.hidden_angle, angles.gradient_angle_derivative, angles.kappa1):
        with pytest.raises(ValueError, match=message):
            function(theta)  # type: ignore[operator]


def test_bad_options_are_named() -> None:
    with pytest.raises(ValueError, match="depth must be an integer >= 1, got 0"):
        angles.gradient_angle(1.0, depth=0)
    with pytest.raises(ValueError, match="depth must be an integer <= 10000, got 10001"):
        angles.gradient_angle(1.0, depth=10_001)
    with pytest.raises(ValueError, match=r"depth must be an integer >= 1, got 1.5"):
        angles.turning_point(1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="activation must be one of 'relu', 'linear', got 'tanh'"):
        angles.gradient_angle(1.0, activation="tanh")
    with pytest.raises(ValueError, match=r"theta must lie in \[0, pi/2\] for this bound, got 2.0"):
        angles.gradient_gap_bound(2.0)
