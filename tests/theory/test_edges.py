"""Edges at which a changed number of theory changes a result: found by reading every mutant that was thought equivalent.

They are bounds of searches, allowances for rounding, defaults, and the other branch of a rarely taken choice. Tolerances: 1e-12 and
1e-14 are some thousand and some dozen roundings of 1.1e-16; the laws of χ² combinations are promised to 1e-13; others say theirs.
"""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import theory
from theory.finite_width_laws import chi2_combination_cdf
from theory.initialization_law import probability_clean_dominates_both
from theory.packed import PackedKernel
from theory.reductions import equicorrelated_flow
from theory.segments import SegmentGeometry
from theory.step_size import lanczos_top_pair, largest_eigenvalue
from theory.truth_gradient import TruthGeometry


@pytest.mark.parametrize("columns", [3, 512])
def test_single_precision_kernels_of_more_rows_than_a_panel_and_any_number_of_columns(columns: int) -> None:
    """515 rows are a panel of 512 and one of 3: neither is the whole where the rows are as long as the panel is high."""
    rows = np.random.default_rng(20230604).normal(size=(515, columns)).astype(np.float32)
    wanted = theory.ntk(rows.astype(np.float64))
    np.testing.assert_allclose(theory.ntk(rows), wanted, rtol=0, atol=1e-7 * wanted.max())  # one rounding to float32 is 6e-8


@pytest.mark.parametrize("draws", [0, 1, 3])
def test_softmax_flow_is_the_same_for_any_number_of_draws(draws: int) -> None:
    """Long enough for the spectral radius to be estimated again on the way."""
    root, labels = np.random.default_rng(0).normal(size=(12, 12)), np.eye(3)[np.arange(12) % 3]
    options = {"times": [0.0, 1e3], "loss": "softmax", "rtol": 1e-4}
    wanted = theory.gradient_flow(root @ root.T, np.stack([labels, labels], axis=2), **options).logits[..., :1]
    given = np.stack([labels] * draws, axis=2) if draws else labels
    logits = theory.gradient_flow(root @ root.T, given, **options).logits
    np.testing.assert_allclose(
        logits if draws else logits[..., None], np.broadcast_to(wanted, (2, 12, 3, max(draws, 1))), rtol=1e-12, atol=1e-12
    )


def test_mean_ratio_of_a_class_with_a_spread_of_one() -> None:
    """Continuous in the spread: 1 is no special value (2.142, and 2.473 for a collapsed class)."""
    means = [theory.log_ratio_law(0.4, logit_deviation=1.0, spread=tau).mean for tau in (1.0, 1.0 + 1e-9)]
    assert means[0] == pytest.approx(means[1], rel=1e-8)  # the mean moves by about as much as the spread, 1e-9


def test_a_law_is_that_of_a_collapsed_class_unless_a_spread_is_given() -> None:
    assert theory.LogRatioLaw(mean_log=0.0, deviation=1.0).mean == np.exp(0.5)


def test_each_class_has_its_own_spread() -> None:
    """Independent means: the probability is the product of those of the classes."""
    both = probability_clean_dominates_both(0.3, covariance=np.diag([1.0, 4.0]), spread=[0.5, 2.0])
    one, two = (theory.log_ratio_law(0.3, logit_deviation=s, spread=tau).probability_clean_dominates for s, tau in ((1.0, 0.5), (2.0, 2.0)))
    assert both == pytest.approx(one * two, rel=1e-12)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_correlation_beyond_one_by_rounding_is_one(sign: int) -> None:
    def both(correlation: float) -> float:
        return probability_clean_dominates_both(0.3, covariance=[[1.0, correlation], [correlation, 1.0]])

    assert both(sign * (1 + 1e-10)) == both(sign)


def test_tiny_logits_with_spread_leave_an_even_chance() -> None:
    assert theory.log_ratio_law(0.5, logit_deviation=1e-20, spread=1.0).probability_clean_dominates == 0.5


def test_short_runs_take_a_step_within_them() -> None:
    """z_c = (1 + q(1 − 2δ)) s/2 to first order."""
    run = equicorrelated_flow([0.0, 1e-6], coupling=1.0, noise_level=0.25)
    assert run.clean_margin[1] == pytest.approx(0.75e-6, rel=1e-5)  # next order: of the time, 1e-6, times the coupled rate, at most 2


def test_the_shortest_times_move_what_is_coupled_most() -> None:
    """Q s = 1.5: δz − ln(1 − α_0 e^z) + ln(1 − α_0) = qδ(1 − δ)s, the collapsed flow (X2), α_0 = δ/(1 − δ) = 1/3."""
    run = equicorrelated_flow([1.5e-100], coupling=1e100, noise_level=0.25)
    z = float(run.clean_margin[0])
    assert 0.25 * z - np.log1p(-np.exp(z) / 3) + np.log(2 / 3) == pytest.approx(0.1875 * 1.5, rel=1e-9)  # the flow is to 1e-10


def test_a_spectrum_that_the_iteration_does_not_resolve() -> None:
    """Chebyshev nodes crowd at the top: 120 steps give a lower bound, and the certificate turns to the full decomposition."""
    values = 2 - 2 * np.cos(np.pi * (np.arange(320) + 0.5) / 320)
    kernel = np.diag(values)
    value, vector, products = lanczos_top_pair(kernel)
    assert products == 120
    assert values.max() * (1 - 1e-3) < value < values.max()
    assert vector @ kernel @ vector == pytest.approx(value, rel=1e-12)
    assert largest_eigenvalue(kernel) == pytest.approx(values.max(), rel=1e-14)


@pytest.mark.parametrize("delta", [1e-20, 1e-30, 1e-60])
@pytest.mark.parametrize("target", [0.3, 0.9, 3.0])
def test_flow_at_little_noise(delta: float, target: float) -> None:
    """δ → 0, α_0 = δ/(1 − δ): ln(1 + α_0(e^v − 1)) + δv = x, so that α = 1 − e^−x to within δ·ln(1/δ)."""
    alpha = theory.alpha_flow(target / delta, alpha0=theory.initial_alpha(delta), kernel_scale=1.0, noise_level=delta)
    assert float(alpha) == pytest.approx(-np.expm1(-target), rel=1e-12)


def test_margin_growth_beyond_the_largest_exponent() -> None:
    """α_0 = 1e20, growth v = 700.5: 1 − α = −e^−v to within 1e-20."""
    growth = 700.5
    late = theory.alpha_flow(4 * (growth + 0.5 * np.log(1e20)), alpha0=1e20, kernel_scale=1.0, noise_level=0.5, complement=True)
    assert float(late) == pytest.approx(-np.exp(-growth), rel=1e-11)  # rounding of v, 1e-13, is relative here


def inverted(value: float, weights: np.ndarray, degrees: np.ndarray) -> float:
    """P(Σ λχ² ≤ value) by the inversion of its characteristic function on the imaginary axis (Gil-Pelaez), midpoint rule."""
    step = 2 * np.pi / (400 * np.sqrt(2 * degrees @ weights**2))
    t = (np.arange(20_000) + 0.5) * step
    phi = np.exp(-0.5 * (np.log(1 - 2j * np.outer(t, weights)) @ degrees) - 1j * t * value)
    return float(0.5 - step / np.pi * (phi.imag / t).sum())


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_law_of_one_large_weight_and_many_small_ones(sign: float) -> None:
    """The small ones are nearly a normal variable: e^(σ²s²/2) grows along a contour that bends by 45° or more."""
    weights, degrees = sign * np.array([1.0, 0.05]), np.array([1.0, 2000.0])
    for shift in (-1.0, 0.1, 1.0):
        value = sign * (101 + shift * np.sqrt(12))
        assert chi2_combination_cdf(value, weights=weights, degrees=degrees) == pytest.approx(inverted(value, weights, degrees), abs=1e-13)


@pytest.mark.parametrize(("geometry", "shape", "unit"), [(SegmentGeometry, (2, 4), "2C"), (TruthGeometry, (3, 6), "3C")])
def test_a_gram_matrix_that_is_not_square_is_refused(geometry: type, shape: tuple[int, int], unit: str) -> None:
    with pytest.raises(ValueError, match=rf"gram must have shape \[\.\.\., {unit}, {unit}\], got \[{shape[0]}, {shape[1]}\]"):
        geometry.from_gram(np.zeros(shape))


def test_depths_are_searched_to_a_thousand() -> None:
    assert theory.critical_depth(0.1, samples_per_class=10**9, within_angle=0.1, between_angle=1.5) == 1000


def test_panels_of_a_packed_kernel_may_be_of_one_row() -> None:
    assert (PackedKernel([np.array([[2.0]]), np.array([[1.0, 3.0]])]) @ np.ones(2)).tolist() == [3, 4]


def test_allowances_for_rounding_end_where_they_are_said_to() -> None:
    """Four roundings beyond the largest gradient angle, eight per class in a sum of labels."""
    eps = np.finfo(float).eps
    largest = float(theory.gradient_angle(theory.turning_point()))
    assert theory.inverse_gradient_angle(largest * (1 + 3.5 * eps)) == pytest.approx(
        theory.turning_point(), abs=1e-7
    )  # a maximum: √(4 eps) = 3e-8 in the angle
    with pytest.raises(ValueError, match="theta_h must lie in"):
        theory.inverse_gradient_angle(largest * (1 + 4.6 * eps))
    theory.residuals([[0.0, 0.0]], [[0.5, 0.5 + 16 * eps]], loss="softmax")
    with pytest.raises(ValueError, match="labels must sum to 1"):
        theory.residuals([[0.0, 0.0]], [[0.5, 0.5 + 17 * eps]], loss="softmax")


def test_nearly_parallel_rows_keep_to_the_budget() -> None:
    """16,384 pairs of rows of 2,000 numbers would be 250 MiB if they were gathered at once."""
    rows = np.ones((128, 2000)) + 1e-9 * np.arange(128)[:, None]
    tracemalloc.start()
    try:
        theory.ntk(rows, memory_budget=2**26)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("weights", "degrees", "values"),
    [
        ([-1.0, 0.04], [3.0, 400.0], (2.2074, 4.0, 5.0)),
        ([1.0, -0.04], [3.0, 400.0], (-2.2074, -4.0, -5.0)),
        ([-1.0, 0.02], [2.0, 8000.0], (145.1, 151.55, 155.0)),
    ],
)
def test_law_of_one_weight_against_many_small_ones(weights: list[float], degrees: list[float], values: tuple[float, ...]) -> None:
    """Many small weights act as a shift by their mean: the sign of the value is not that of what is left of it."""
    for value in values:
        wanted = inverted(value, np.array(weights), np.array(degrees))
        assert chi2_combination_cdf(value, weights=weights, degrees=degrees) == pytest.approx(wanted, abs=1e-13)


@pytest.mark.parametrize("growth", [650.0, 697.0, 709.0, 720.0])
@pytest.mark.parametrize("alpha0", [1e6, 1e20, 1e90])
def test_large_ratios_come_down_to_one(growth: float, alpha0: float) -> None:
    """Late α is 1 to rounding, whatever α_0: α_0 e^v may overflow, α does not."""
    time = 4 * (growth + 0.5 * np.log(alpha0))
    assert float(theory.alpha_flow(time, alpha0=alpha0, kernel_scale=1.0, noise_level=0.5)) == pytest.approx(1, rel=1e-12)


def test_kernels_of_rows_that_differ_in_a_tiny_coordinate() -> None:
    rows = [[1.0, 0.0], [1.0, 1e-151]]
    assert theory.gaussian_kernel(rows, bandwidth=1e-151)[0, 1] == pytest.approx(np.exp(-0.5), rel=1e-12)
    assert theory.laplacian_kernel(rows, bandwidth=1e-151)[0, 1] == pytest.approx(np.exp(-1), rel=1e-12)
