"""Laws of the kernel at finite width and the Gram matrix of Lemma A.2: against SciPy, quadrature and samples; its printed bound rejected.

Random assertions use |z| < 6 (2e-9 each under the normal law) or the Dvoretzky-Kiefer-Wolfowitz band at 1e-9.

Tolerances without a comment: 1e-12 allows for the 1e-13 that `chi2_combination_cdf` promises, 1e-9 and 1e-8 for 600 Gauss nodes across a
law with a kink (its mean and second moment); 5e-5 is half of the last digit printed.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from tests.support.sampling import ks_radius, two_layer_gradients, unit_pair, variance_z
from theory.finite_width import ntk_moments
from theory.finite_width_laws import (
    chi2_combination_cdf,
    gram_chebyshev_bound,
    gram_deviation_probability,
    gram_entry_variance,
    gram_frobenius_moment,
    linear_ntk_cdf,
    relu_ntk_diagonal_cdf,
)

Z = 6.0


# --- laws ---


@pytest.mark.parametrize("degrees", [1, 2, 5, 100, 65536])
def test_one_term_is_the_chi_square_law(degrees: int) -> None:
    low = stats.chi2.ppf([1e-200, 1e-20, 1e-3, 0.1, 0.4, 0.5, 0.6, 0.9], degrees)
    high = stats.chi2.isf([0.3, 1e-3, 1e-20, 1e-250], degrees)
    low = low[low > 1e-290]
    # Relative in both tails; 65536 terms of size eps in the exponent give 1e-11.
    np.testing.assert_allclose(chi2_combination_cdf(low, weights=[1.0], degrees=[degrees]), stats.chi2.cdf(low, degrees), rtol=1e-11)
    np.testing.assert_allclose(chi2_combination_cdf(-high, weights=[-1.0], degrees=[degrees]), stats.chi2.sf(high, degrees), rtol=1e-11)


def test_nodes_are_dense_enough_far_out() -> None:
    # The exponent of 1e-250 is 575: its rounding, 575 · 1.1e-16, in either law. Nodes placed ten times as far apart give 3e-12.
    far = stats.chi2.isf(1e-250, 160)
    np.testing.assert_allclose(chi2_combination_cdf(-far, weights=[-1.0], degrees=[160]), stats.chi2.sf(far, 160), rtol=1e-12)


def test_smallest_weights_and_degrees_are_taken() -> None:
    assert float(chi2_combination_cdf(0.0, weights=[1.5e-100, -1.5e-100], degrees=[1, 1])) == pytest.approx(0.5, abs=1e-13)
    assert float(chi2_combination_cdf(1.0, weights=[1.0], degrees=[1.5e-100])) == pytest.approx(1, abs=1e-13)


def test_two_signs_give_the_laplace_and_the_product_law() -> None:
    x = np.linspace(-60, 60, 401)
    laplace = chi2_combination_cdf(x, weights=[0.5, -0.5], degrees=[2, 2])
    np.testing.assert_allclose(laplace, stats.laplace.cdf(x), rtol=1e-12)
    for point in (-1e-3, -0.5, -3.0, -20.0, -300.0):  # product of two normals: density K_0(|x|)/π = k0e(|x|) e^{-|x|}/π
        scaled = integrate.quad(lambda u, p=point: special.k0e(u - p) * math.exp(-u) / math.pi, 0, 60, epsabs=0, epsrel=1e-13, limit=400)[0]
        exact = scaled * math.exp(point)
        assert float(chi2_combination_cdf(point, weights=[0.5, -0.5], degrees=[1, 1])) == pytest.approx(exact, rel=5e-12, abs=0)


@given(st.floats(0.0, math.pi), st.integers(1, 400), st.floats(-6, 6))
@settings(max_examples=60, deadline=None)
def test_linear_law_is_a_law(theta: float, width: int, z: float) -> None:
    moments = ntk_moments(theta, width=width, activation="linear")
    value = float(moments.mean) + z * math.sqrt(moments.variance)
    below, above = linear_ntk_cdf([value, value + 0.01], theta, width=width)
    assert 0 <= below <= above <= 1
    # z → −z turns K into −K; the two computations share no tail.
    assert below == pytest.approx(1 - float(linear_ntk_cdf(-value, math.pi - theta, width=width)), abs=1e-12)
    assert float(linear_ntk_cdf(2 * value, theta, width=width, convention="eq2-literal")) == pytest.approx(below, abs=1e-13)
    assert float(linear_ntk_cdf(value, theta, width=width, convention="eq2")) == pytest.approx(below, abs=1e-13)


@pytest.mark.parametrize(("width", "theta"), [(1, 0.3), (2, 2.0), (5, 1.2), (20, 0.05)])
def test_linear_law_holds_in_networks(width: int, theta: float) -> None:
    draws = 20_000
    _, gradients = two_layer_gradients(np.random.default_rng(width), unit_pair(theta), width=width, draws=draws, activation="linear")
    sample = np.sort(np.einsum("rp,rp->r", gradients[:, 0], gradients[:, 1]))
    step = np.arange(1, draws + 1) / draws
    radius = ks_radius(draws, 1e-9)

    def distance(angle: float, m: int) -> float:
        law = linear_ntk_cdf(sample, angle, width=m)
        return float(max(np.max(step - law), np.max(law - step + 1 / draws)))

    assert distance(theta, width) < radius
    # Controls: the law of another angle, and of another width, are rejected.
    assert distance(theta + 0.35, width) > radius
    assert distance(theta, 2 * width) > radius


@pytest.mark.parametrize(("theta", "width"), [(0.4, 3), (1.3, 10), (2.6, 40)])
def test_linear_law_has_excess_kurtosis_six_over_width(theta: float, width: int) -> None:
    moments = ntk_moments(theta, width=width, activation="linear")
    sd = math.sqrt(moments.variance)
    # E(x−μ)^4 = ∫ 4 z³ [P(X > μ+z) + P(X < μ−z)] dz. The exponential rate is at least √m/2 per sd: beyond 60 sd there is nothing at m = 3.
    # The density is not smooth at K = 0, which costs the quadrature 1e-7.
    z, weights = np.polynomial.legendre.leggauss(600)
    z, weights = 30 * sd * (z + 1), 30 * sd * weights
    tails = 1 - linear_ntk_cdf(float(moments.mean) + z, theta, width=width) + linear_ntk_cdf(float(moments.mean) - z, theta, width=width)
    fourth = float(np.sum(weights * 4 * z**3 * tails))
    assert fourth / sd**4 - 3 == pytest.approx(6 / width, abs=1e-6)


@pytest.mark.parametrize("width", [1, 2, 9])
def test_relu_diagonal_law_holds_in_networks(width: int) -> None:
    draws = 20_000
    _, gradients = two_layer_gradients(np.random.default_rng(width), unit_pair(0.0)[:1], width=width, draws=draws, activation="relu")
    sample = np.sum(gradients[:, 0] ** 2, axis=1)
    values = np.unique(sample)
    right = np.searchsorted(np.sort(sample), values, side="right") / draws
    radius = ks_radius(draws, 1e-9)
    assert np.max(np.abs(right - relu_ntk_diagonal_cdf(values, width=width))) < radius
    assert np.max(np.abs(right - relu_ntk_diagonal_cdf(values, width=2 * width))) > radius  # control
    assert float(relu_ntk_diagonal_cdf(0.0, width=width)) == pytest.approx(2.0**-width, rel=1e-15)
    assert float(relu_ntk_diagonal_cdf(-0.1, width=width)) == 0


@pytest.mark.parametrize("width", [3, 1000, 1001, 100_000])
def test_relu_diagonal_law_has_its_moments(width: int) -> None:
    sd = math.sqrt(3 / width)
    upper = 1 + 40 * sd

    def tail(power: int) -> float:
        nodes, weights = np.polynomial.legendre.leggauss(600)
        points = upper / 2 * (nodes + 1)
        return float(np.sum(upper / 2 * weights * power * points ** (power - 1) * (1 - relu_ntk_diagonal_cdf(points, width=width))))

    if width <= 1000:
        assert tail(1) == pytest.approx(1, abs=1e-9)
        assert tail(2) - 1 == pytest.approx(3 / width, abs=1e-8)
    else:  # narrow law: compare with its normal limit, off by O(skewness) = 5/(3√3 √(m))
        z = np.linspace(-3, 3, 7)
        np.testing.assert_allclose(relu_ntk_diagonal_cdf(1 + z * sd, width=width), stats.norm.cdf(z), atol=1 / math.sqrt(width))


def test_relu_diagonal_law_is_the_binomial_mixture_at_large_width() -> None:
    m, active = 1001, np.arange(1, 1002)
    x = np.array([0.9, 1.0, 1.1])
    exact = special.gammainc(active, x[:, None] * m / 2) @ stats.binom.pmf(active, m, 0.5)
    # Logarithms of factorials near 6000: 6000 · 1.1e-16 each, a few of them.
    np.testing.assert_allclose(relu_ntk_diagonal_cdf(x, width=m), exact, rtol=1e-11)


def test_relu_diagonal_law_never_exceeds_one() -> None:
    # The binomial weights add up to 1 to rounding only, at some widths from above.
    assert all(relu_ntk_diagonal_cdf(1e3, width=width) <= 1 for width in range(1, 300))


# --- Lemma A.2 ---


def test_gram_entries_have_the_stated_variances() -> None:
    width, n_inputs, draws = 5, 3, 20_000
    a = np.random.default_rng(1).standard_normal((draws, width, n_inputs))
    gram = np.einsum("rmi,rmj->rij", a, a) / width
    assert abs(variance_z(gram[:, 0, 0], gram_entry_variance(width, diagonal=True))) < Z
    assert abs(variance_z(gram[:, 0, 1], gram_entry_variance(width, diagonal=False))) < Z
    squared = np.sum((gram - np.eye(n_inputs)) ** 2, axis=(1, 2))
    exact = gram_frobenius_moment(width, n_inputs=n_inputs)
    assert abs(squared.mean() - exact) / (squared.std() / math.sqrt(draws)) < Z


def test_printed_chebyshev_bound_is_false() -> None:
    probability = float(gram_deviation_probability(0.1, width=100, diagonal=False))
    assert probability == pytest.approx(0.3149, abs=5e-5)
    assert probability > gram_chebyshev_bound(0.1, width=100, diagonal=False, form="printed") == pytest.approx(0.1)
    draws = 20_000
    a = np.random.default_rng(2).standard_normal((draws, 100, 2))
    observed = np.mean(np.abs(np.einsum("rm,rm->r", a[..., 0], a[..., 1]) / 100) >= 0.1)
    assert abs(observed - probability) < Z * math.sqrt(probability * (1 - probability) / draws)


@given(st.integers(1, 5000), st.floats(1e-3, 3.0), st.booleans())
@settings(max_examples=60, deadline=None)
def test_corrected_chebyshev_bound_holds(width: int, epsilon: float, diagonal: bool) -> None:
    probability = float(gram_deviation_probability(epsilon, width=width, diagonal=diagonal))
    assert 0 <= probability <= min(1.0, gram_chebyshev_bound(epsilon, width=width, diagonal=diagonal)) + 1e-12


@pytest.mark.parametrize(("form", "bound"), [("corrected", 4.0), ("printed", 1.0)])
def test_chebyshev_bound_is_the_variance_over_a_power_of_epsilon(form: str, bound: float) -> None:
    assert gram_chebyshev_bound(0.25, width=4, diagonal=False, form=form) == bound
    assert gram_chebyshev_bound(0.25, width=4, diagonal=True, form=form) == 2 * bound


def test_off_diagonal_deviation_agrees_with_quadrature() -> None:
    # Σ a_k b_k given a is normal with variance χ²_m.
    m, epsilon = 7, 0.4

    def density(u: float) -> float:
        return float(2 * stats.norm.sf(epsilon * m / math.sqrt(u)) * stats.chi2.pdf(u, m))

    exact = integrate.quad(density, 0, 200, epsabs=1e-13, epsrel=1e-13, limit=200)[0]
    assert float(gram_deviation_probability(epsilon, width=m, diagonal=False)) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: chi2_combination_cdf(0.0, weights=[0.0], degrees=[1]), "zero: one must be at least 1e-100 in size, got 0$"),
        (lambda: chi2_combination_cdf(0.0, weights=[1.0], degrees=[-1]), "degrees must be at least 1e-100, got -1"),
        (lambda: chi2_combination_cdf(0.0, weights=[1.0, 1.0], degrees=[1.5e-100, 5e-101]), "degrees must be at least 1e-100, got 5e-101"),
        (lambda: chi2_combination_cdf(0.0, weights=[1.0, 2.0], degrees=[1]), "same|both have shape"),
        (lambda: linear_ntk_cdf(0.0, [0.1, 0.2], width=3), "theta must be one angle"),  # type: ignore[arg-type]
        (lambda: relu_ntk_diagonal_cdf(math.inf, width=3), "values must be finite"),
        (lambda: gram_chebyshev_bound(0.0, width=3, diagonal=True), "epsilon must be a positive"),
        (lambda: gram_deviation_probability(-1.0, width=3, diagonal=True), "epsilon must not be negative"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
