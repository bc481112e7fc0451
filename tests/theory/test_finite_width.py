"""Moments of the tangent kernel at finite width, against mpmath and brute-force networks.

Random assertions use |z| < 6: a true statement fails with probability 2e-9 per assertion by the normal law of the mean of n ≥ 2e4 draws
(1e-6 for heavy-tailed squares, allowing for skewness). There are fewer than 100 of them.

Tolerances without a comment: 1e-14 and 1e-15 are a few dozen and a few roundings of 1.1e-16, 5e-5 is half of the last digit printed.
"""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from tests.support.sampling import deep_relu_gradients, two_layer_gradients, unit_pair, variance_z
from theory.angles import gradient_angle
from theory.finite_width import cross_logit_variance, ntk_moments, quadrant_moment
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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ntk_moments(-0.1, width=4), r"theta must lie in \[0, pi\] radians, got -0.1"),
        (lambda: ntk_moments(0.1, width=0), "width must be an integer >= 1, got 0"),
        (lambda: ntk_moments(0.1, width=4, activation="tanh"), "activation must be one of"),
        (lambda: ntk_moments(0.1, width=4, convention="eq6"), "activation must be 'linear', got 'relu'"),
        (lambda: ntk_moments([math.nan], width=4), "theta must be finite"),
        (lambda: quadrant_moment(0.1, 1, 2), "must be 0, 2 or 4, got 3"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
