"""Finite-width laws: moments against mpmath and brute-force networks, laws against samples, printed errors of Lemma A.2 rejected.

Random assertions use |z| < 6: a true statement fails with probability 2e-9 per assertion by the normal law of the mean of n ≥ 2e4 draws
(1e-6 for heavy-tailed squares, allowing for skewness). There are fewer than 100 of them.
"""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from tests.support.sampling import deep_relu_gradients, ks_radius, two_layer_gradients, unit_pair, variance_z
from theory.angles import gradient_angle
from theory.finite_width import cross_logit_variance, ntk_moments, quadrant_moment
from theory.finite_width_depth import DRIFT_EXPONENTS, diagonal_moments
from theory.finite_width_laws import (
    chi2_combination_cdf,
    gram_chebyshev_bound,
    gram_deviation_probability,
    gram_entry_variance,
    gram_frobenius_moment,
    linear_ntk_cdf,
    relu_ntk_diagonal_cdf,
)
from theory.kernels import ntk

Z = 6.0
POWERS = [(0, 0), (1, 1), (2, 0), (2, 2), (3, 1)]


def quadrant_by_definition(theta: float, a: int, b: int) -> mp.mpf:
    """E[1{p>0}1{q>0} p^a q^b] by integrating over p with q | p ~ N(p cosθ, sin²θ), 40 digits."""
    with mp.workdps(40):
        t = mp.mpf(theta)
        c, s = mp.cos(t), mp.sin(t)

        def inner(p: mp.mpf) -> mp.mpf:
            mean = c * p
            tail, density = mp.ncdf(mean / s), mp.npdf(mean / s)
            return [tail, mean * tail + s * density, (mean**2 + s**2) * tail + mean * s * density][b]

        points = sorted({mp.mpf(0), s, 3 * s, 10 * s, 40 * s, mp.mpf(1), mp.mpf(4), mp.mpf(12), mp.mpf(20)})
        return mp.quad(lambda p: p**a * mp.npdf(p) * inner(p), points)


@pytest.mark.parametrize("theta", [1e-3, 0.6, 1.5707963, 2.9, math.pi - 1e-2, math.pi - 1e-6])
@pytest.mark.parametrize(("a", "b"), POWERS)
def test_quadrant_moments_agree_with_their_definition(theta: float, a: int, b: int) -> None:
    # Relative, also where M_22 is 1e-31: sums of 24 positive terms, each accurate to a few ulp.
    assert float(quadrant_moment(theta, a, b)) == pytest.approx(float(quadrant_by_definition(theta, a, b)), rel=1e-13)


@pytest.mark.parametrize("theta", [0.15, 0.6, 1.2, 2.2, 2.9])
def test_quadrant_moments_agree_with_the_catalogue(theta: float) -> None:
    c, s, p = math.cos(theta), math.sin(theta), math.pi - theta
    printed = [p, p * c + s, p + s * c, 3 * s * c + p * (1 + 2 * c**2), 3 * p * c + (2 + c**2) * s]
    got = [2 * math.pi * float(quadrant_moment(theta, a, b)) for a, b in POWERS]
    np.testing.assert_allclose(got, printed, rtol=0, atol=1e-14)  # the printed forms cancel by terms of size 10, a few ulp each


def test_quadrant_moments_at_the_ends() -> None:
    np.testing.assert_allclose([float(quadrant_moment(0.0, a, b)) for a, b in POWERS], [0.5, 0.5, 0.5, 1.5, 1.5], rtol=1e-14)
    assert all(quadrant_moment(math.pi, a, b) <= 1.3e-16 for a, b in POWERS)  # π − θ of the double nearest to π is 1.2e-16


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("theta", [0.4, 1.3, 2.4])
def test_exact_moments_hold_in_networks_of_three_neurons(activation: str, theta: float) -> None:
    width, draws = 3, 40_000
    rng = np.random.default_rng(20)
    _, gradients = two_layer_gradients(rng, unit_pair(theta), width=width, draws=draws, activation=activation)
    kernels = np.einsum("rkp,rlp->rkl", gradients, gradients)
    xz, xx, zz = kernels[:, 0, 1], kernels[:, 0, 0], kernels[:, 1, 1]
    moments = ntk_moments(theta, width=width, activation=activation)
    assert abs(xz.mean() - moments.mean) / math.sqrt(moments.variance / draws) < Z
    assert abs(xx.mean() - moments.diagonal_mean) / math.sqrt(moments.diagonal_variance / draws) < Z
    assert abs(variance_z(xz, float(moments.variance))) < Z
    assert abs(variance_z(xx, moments.diagonal_variance)) < Z
    # Cov(u, v) = (Var(u+v) − Var(u−v))/4, each variance with its own exact value.
    total, difference = 2 * moments.diagonal_variance + 2 * moments.diagonal_covariance, moments.diagonal_variance * 2
    assert abs(variance_z(xx + zz, float(total))) < Z
    assert abs(variance_z(xx - zz, float(difference - 2 * moments.diagonal_covariance))) < Z
    assert abs(variance_z(xz + xx, float(moments.variance + moments.diagonal_variance + 2 * moments.cross_covariance))) < Z
    # Control: a variance 25 % off is rejected.
    assert abs(variance_z(xz, 1.25 * float(moments.variance))) > Z


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_limits_agree_with_angles_and_kernels(activation: str) -> None:
    # Two independent implementations: the recursion of theory.angles and theory.kernels, and the quadrant moments here.
    theta = np.linspace(0, math.pi, 50)
    moments = ntk_moments(theta, width=1, activation=activation)
    np.testing.assert_allclose(moments.cosine, np.cos(gradient_angle(theta, activation=activation)), rtol=0, atol=2e-15)
    kernel = ntk(unit_pair(theta[7]), activation=activation)
    scale = 2 if activation == "relu" else 1  # theory.ntk has K(x, x) = 2 for both; Eq. (7) [A] has 1
    np.testing.assert_allclose(kernel[0], scale * np.array([moments.diagonal_mean, moments.mean[7]]), rtol=1e-14)


@pytest.mark.parametrize(
    ("activation", "convention"),
    [*((activation, name) for activation in ("relu", "linear") for name in ("eq2", "eq2-literal")), ("relu", "eq7"), ("linear", "eq6")],
)
def test_moments_and_kernels_have_one_scale(activation: str, convention: str) -> None:
    """E K at width m is the infinite-width kernel in every convention that both have: at depth 1 it is exact at every width."""
    theta = 0.7
    x = [[1.0, 0.0], [math.cos(theta), math.sin(theta)]]
    kernel = ntk(x, activation=activation, convention=convention)
    moments = ntk_moments(theta, width=10, activation=activation, convention=convention)
    np.testing.assert_allclose([moments.diagonal_mean, moments.mean], kernel[0], rtol=1e-14)


def test_convention_of_the_follow_up_doubles_the_kernel() -> None:
    one, two = ntk_moments(0.7, width=10), ntk_moments(0.7, width=10, convention="eq2")
    np.testing.assert_allclose([two.mean, two.diagonal_mean], [2 * one.mean, 2 * one.diagonal_mean], rtol=1e-15)
    np.testing.assert_allclose(
        [two.variance, two.diagonal_variance, two.diagonal_covariance, two.cross_covariance],
        4 * np.array([one.variance, one.diagonal_variance, one.diagonal_covariance, one.cross_covariance]),
        rtol=1e-15,
    )
    assert two.cosine_bias == one.cosine_bias
    assert two.angle_variance == one.angle_variance
    draws = 20_000
    _, gradients = deep_relu_gradients(np.random.default_rng(5), unit_pair(0.7), width=4, depth=1, draws=draws)
    kernel = np.einsum("rp,rp->r", gradients[:, 0, 0], gradients[:, 1, 0])
    exact = ntk_moments(0.7, width=4, convention="eq2")
    assert abs(kernel.mean() - exact.mean) / math.sqrt(exact.variance / draws) < Z
    assert abs(variance_z(kernel, float(exact.variance))) < Z


def second_order(theta: float, activation: str) -> tuple[mp.mpf, mp.mpf, mp.mpf]:
    """Bias and variance of cosθ̂ and bias of θ̂ times m: ½tr(HΣ) and gᵀΣg with derivatives taken by mpmath at 60 digits."""
    with mp.workdps(60):
        t = mp.mpf(theta)
        c, s, p = mp.cos(t), mp.sin(t), mp.pi - t
        if activation == "linear":
            mean, diagonal, v, d = 2 * c, mp.mpf(2), 1 + 3 * c**2, mp.mpf(4)
            dd, x = 2 + 2 * c**2, 4 * c
        else:
            m00, m11, m20 = p / (2 * mp.pi), (p * c + s) / (2 * mp.pi), (p + s * c) / (2 * mp.pi)
            m31 = (3 * p * c + (2 + c**2) * s) / (2 * mp.pi)
            mean, diagonal, d = (p * c + s / 2) / mp.pi, mp.mpf(1), mp.mpf(3)
            v = (5 * s * c + p * (1 + 7 * c**2)) / (2 * mp.pi) - mean**2
            dd = (5 * s * c + p * (6 + 2 * c**2)) / (2 * mp.pi) - 1
            x = m31 + m11 + c * m20 + 3 * c * m00 - mean
        cov = [[v, x, x], [x, d, dd], [x, dd, d]]
        at = (mean, diagonal, diagonal)

        def cosine(a: mp.mpf, b: mp.mpf, e: mp.mpf) -> mp.mpf:
            return a / mp.sqrt(b * e)

        def unit(i: int) -> tuple[int, ...]:
            return tuple(int(i == j) for j in range(3))

        gradient = [mp.diff(cosine, at, unit(i)) for i in range(3)]
        hessian = [[mp.diff(cosine, at, tuple(u + w for u, w in zip(unit(i), unit(j), strict=True))) for j in range(3)] for i in range(3)]
        bias = sum(hessian[i][j] * cov[i][j] for i in range(3) for j in range(3)) / 2
        variance = sum(gradient[i] * gradient[j] * cov[i][j] for i in range(3) for j in range(3))
        u = cosine(*at)
        angle_bias = mp.diff(mp.acos, u) * bias + mp.diff(mp.acos, u, 2) * variance / 2
        return bias, variance, angle_bias


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("theta", [1e-8, 1e-3, 0.15, 0.6, 1.2, 2.2, 2.9])
def test_delta_method_agrees_with_differentiation(activation: str, theta: float) -> None:
    bias, variance, angle_bias = second_order(theta, activation)
    moments = ntk_moments(theta, width=1, activation=activation)
    # Relative even at θ = 1e-8, where the variance is 1e-9 of its terms; the bias may cancel between its two parts, both O(variance).
    assert float(moments.cosine_variance) == pytest.approx(float(variance), rel=1e-12)
    assert float(moments.cosine_bias) == pytest.approx(float(bias), abs=1e-12 * float(variance + abs(bias)))
    sine = math.sin(float(mp.acos(moments.cosine))) if theta > 0.1 else math.sqrt(2 * theta if activation == "relu" else theta**2)
    # θ̂'s bias is the difference of two terms of size bias/sinθ_h (linear: exactly 0).
    assert float(moments.angle_bias) == pytest.approx(float(angle_bias), abs=1e-11 * float(abs(bias) + variance) / sine**3)


def test_bias_times_width_has_the_worked_values() -> None:
    moments = ntk_moments(np.array([0.15, 0.6, 1.2, 2.2, 2.9]), width=1)
    np.testing.assert_allclose(moments.cosine_bias, [-0.0456, -0.1559, -0.0578, 0.0798, 0.0018], rtol=0, atol=5e-5)
    linear = ntk_moments(np.array([0.6, 2.2]), width=1, activation="linear")
    np.testing.assert_allclose(linear.cosine_bias, [-0.0329, 0.0481], rtol=0, atol=5e-5)
    np.testing.assert_allclose(linear.angle_variance, np.sin([0.6, 2.2]) ** 2 / 4, rtol=1e-14)


def test_bias_of_the_cosine_is_seen_in_networks() -> None:
    # m·bias(m) = B + C/m + O(1/m²): B by extrapolation from two widths, with the first-order fluctuation as a control variate of mean zero.
    theta, draws, widths = 0.6, 40_000, (48, 96)
    rng = np.random.default_rng(7)
    scaled, errors = [], []
    for m in widths:
        p, w, v = (rng.standard_normal((draws, m)) for _ in range(3))
        q = math.cos(theta) * p + math.sin(theta) * w
        gate_p, gate_q, square = p > 0, q > 0, v**2
        xx = (gate_p * (p**2 + square)).mean(axis=1)
        zz = (gate_q * (q**2 + square)).mean(axis=1)
        xz = (gate_p * gate_q * (p * q + math.cos(theta) * square)).mean(axis=1)
        moments = ntk_moments(theta, width=m)
        control = (xz - moments.mean) - float(moments.mean) * ((xx - 1) + (zz - 1)) / 2
        excess = m * (xz / np.sqrt(xx * zz) - moments.cosine - control)
        scaled.append(excess.mean())
        errors.append(excess.std() / math.sqrt(draws))
    limit, error = 2 * scaled[1] - scaled[0], math.hypot(2 * errors[1], errors[0])
    second_order_margin = 30 / widths[0] ** 2  # O(1/m²) left by the extrapolation, coefficient of the size of a sixth cumulant
    assert abs(limit - float(ntk_moments(theta, width=1).cosine_bias)) < Z * error + second_order_margin
    assert Z * error + second_order_margin < 0.08  # power: half of the bias −0.156 (or its sign) would be rejected


def test_angle_moments_at_the_ends() -> None:
    ends = ntk_moments(np.array([0.0, math.pi]), width=8)
    assert ends.angle_variance[0] == 0  # the two gradients are the same vector
    assert np.all(np.abs([ends.angle_bias[0], ends.cosine_bias[0], ends.cosine_bias[1], ends.cosine_variance[1]]) < 1e-16)
    _, gradients = two_layer_gradients(np.random.default_rng(0), np.array([[1.0, 0.0], [-1.0, 0.0]]), width=8, draws=50, activation="relu")
    assert not np.einsum("rp,rp->r", gradients[:, 0], gradients[:, 1]).any()  # disjoint gates: orthogonal in every network
    # Just above 0 the first-order variance tends to 3/(4m): gates that separate x from z are Poisson, and the formula needs many.
    assert float(ntk_moments(1e-9, width=8).angle_variance) == pytest.approx(3 / 32, rel=1e-4)


def test_moments_keep_type_and_shape() -> None:
    single = ntk_moments(np.array([[0.1, 0.2]], dtype=np.float32), width=4)
    double = ntk_moments(single.cosine * 0 + np.array([[0.1, 0.2]], dtype=np.float32).astype(float), width=4)
    for name in ("mean", "variance", "cosine_bias", "angle_variance"):
        values = getattr(single, name)
        assert values.dtype == np.float32
        assert values.shape == (1, 2)
        np.testing.assert_allclose(values, getattr(double, name), rtol=1e-7)  # computed in float64, rounded once: half an ulp, 6e-8
    assert isinstance(ntk_moments(0.1, width=4).mean, float)


@pytest.mark.parametrize("convention", ["eq2", "eq7"])
def test_two_logits_share_a_kernel_of_the_stated_variance(convention: str) -> None:
    theta, width, draws = 1.1, 5, 40_000
    _, gradients = deep_relu_gradients(np.random.default_rng(3), unit_pair(theta), width=width, depth=1, draws=draws, n_outputs=2)
    cross = np.einsum("rp,rp->r", gradients[:, 0, 0], gradients[:, 1, 1]) / (1 if convention == "eq2" else 2)
    exact = float(cross_logit_variance(theta, width=width, convention=convention))
    assert abs(cross.mean()) / math.sqrt(exact / draws) < Z
    assert abs(variance_z(cross, exact)) < Z
    assert abs(variance_z(cross, 1.3 * exact)) > Z
    if convention == "eq2":
        assert exact == pytest.approx(2 / width * math.cos(theta) ** 2 * (1 - theta / math.pi), rel=1e-14)


# --- depth ---


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_one_neuron_per_layer_is_a_product(depth: int) -> None:
    # m = 1: with all gates open (probability 2^-L) K = 2^L e_L(g_0² … g_L²), e_L the elementary symmetric function of L+1 squares:
    # E K² = 2^L [(L+1) 3^L + L(L+1) 3^(L−1)].
    exact = 2**depth * 3 ** (depth - 1) * (depth + 1) * (depth + 3)
    moments = diagonal_moments(depth=depth, width=1)
    assert moments.variance + moments.mean**2 == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize(("depth", "width"), [(1, 4), (2, 6), (3, 12)])
def test_depth_moments_hold_in_networks(depth: int, width: int) -> None:
    draws, blocks = 10_000, 10
    rng = np.random.default_rng(depth)
    kernels, logits = [], []
    for _ in range(blocks):
        h, gradients = deep_relu_gradients(rng, np.array([[1.0, 0.0]]), width=width, depth=depth, draws=draws)
        kernels.append(np.sum(gradients[:, 0, 0] ** 2, axis=1))
        logits.append(h[:, 0, 0])
    kernel, h = np.concatenate(kernels), np.concatenate(logits)
    moments = diagonal_moments(depth=depth, width=width)
    assert abs(kernel.mean() - moments.mean) / math.sqrt(moments.variance / kernel.size) < Z
    for sample, exact in [
        (kernel**2, moments.variance + moments.mean**2),
        (h**4, moments.logit_kurtosis),
        (h**2 * kernel, moments.logit_kernel_covariance + moments.mean),
    ]:
        assert abs(sample.mean() - exact) / (sample.std() / math.sqrt(sample.size)) < Z
    # Controls: Gaussian kurtosis 3 and an uncorrelated kernel are rejected.
    assert abs(np.mean(h**4) - 3) / (np.std(h**4) / math.sqrt(h.size)) > Z
    assert abs(np.mean(h**2 * kernel) - moments.mean) / (np.std(h**2 * kernel) / math.sqrt(h.size)) > Z


@pytest.mark.parametrize("depth", [1, 2, 5, 8, 40])
def test_relative_variance_tends_to_its_leading_term(depth: int) -> None:
    wide = diagonal_moments(depth=depth, width=10**12)
    # Next term O(L⁴/m²)/L = 1e-6 at L = 40; no digits are lost to the subtraction of (L+1)².
    assert 10**12 * wide.relative_variance == pytest.approx(wide.relative_variance_limit, rel=1e-6)
    assert diagonal_moments(depth=1, width=7).relative_variance == pytest.approx(3 / 7, rel=1e-15)


def test_kurtosis_has_the_worked_values() -> None:
    got = [diagonal_moments(depth=d, width=m).logit_kurtosis for d, m in [(2, 64), (5, 384), (8, 128)]]
    np.testing.assert_allclose(got, [3.49, 3.20, 4.08], atol=5e-3)


def test_drift_exponents_say_what_they_need() -> None:
    assert DRIFT_EXPONENTS["gradient-relu"].exponent == -1 / 4
    assert DRIFT_EXPONENTS["gradient-tanh"].exponent == -1 / 2
    for record in DRIFT_EXPONENTS.values():
        assert record.basis in {"theorem", "heuristic", "measured"}
        assert any("time" in hypothesis for hypothesis in record.hypotheses)


# --- laws ---


@pytest.mark.parametrize("degrees", [1, 2, 5, 100, 65536])
def test_one_term_is_the_chi_square_law(degrees: int) -> None:
    low = stats.chi2.ppf([1e-200, 1e-20, 1e-3, 0.1, 0.4, 0.5, 0.6, 0.9], degrees)
    high = stats.chi2.isf([0.3, 1e-3, 1e-20, 1e-250], degrees)
    low = low[low > 1e-290]
    # Relative in both tails; 65536 terms of size eps in the exponent give 1e-11.
    np.testing.assert_allclose(chi2_combination_cdf(low, weights=[1.0], degrees=[degrees]), stats.chi2.cdf(low, degrees), rtol=1e-11)
    np.testing.assert_allclose(chi2_combination_cdf(-high, weights=[-1.0], degrees=[degrees]), stats.chi2.sf(high, degrees), rtol=1e-11)


def test_two_signs_give_the_laplace_and_the_product_law() -> None:
    x = np.linspace(-60, 60, 401)
    laplace = chi2_combination_cdf(x, weights=[0.5, -0.5], degrees=[2, 2])
    np.testing.assert_allclose(laplace, stats.laplace.cdf(x), rtol=1e-12)
    for point in (-1e-3, -0.5, -3.0, -20.0, -300.0):  # product of two normals: density K_0(|x|)/π = k0e(|x|) e^{-|x|}/π
        scaled = integrate.quad(lambda u, p=point: special.k0e(u - p) * math.exp(-u) / math.pi, 0, 60, epsabs=0, epsrel=1e-13, limit=400)[0]
        exact = scaled * math.exp(point)
        assert float(chi2_combination_cdf(point, weights=[0.5, -0.5], degrees=[1, 1])) == pytest.approx(exact, rel=5e-12)


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
        (lambda: ntk_moments(-0.1, width=4), r"theta must lie in \[0, pi\] radians, got -0.1"),
        (lambda: ntk_moments(0.1, width=0), "width must be an integer >= 1, got 0"),
        (lambda: ntk_moments(0.1, width=4, activation="tanh"), "activation must be one of"),
        (lambda: ntk_moments(0.1, width=4, convention="eq6"), "activation must be 'linear', got 'relu'"),
        (lambda: ntk_moments([math.nan], width=4), "theta must be finite"),
        (lambda: quadrant_moment(0.1, 1, 2), "must be 0, 2 or 4, got 3"),
        (lambda: diagonal_moments(depth=0, width=3), "depth must be an integer >= 1, got 0"),
        (lambda: chi2_combination_cdf(0.0, weights=[0.0], degrees=[1]), "weights must not all be zero"),
        (lambda: chi2_combination_cdf(0.0, weights=[1.0], degrees=[-1]), "degrees must be at least 1e-100, got -1"),
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
