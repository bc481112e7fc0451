"""The law of the segment ratio at random output: against quadrature and sampled initialisations (I5).

Random assertions use |z| < 6 (2e-9 each under the normal law) or the Dvoretzky-Kiefer-Wolfowitz band at 1e-9.

Tolerances without a comment: 5e-4 is half of the last digit printed, 1e-15 a few roundings, 1e-14 those of SciPy's normal law; 1e-9 … 1e-11
allow for quadrature and root searches to 1e-13 seen through a quantile, whose slope 1/pdf is up to 300 at p = 0.001.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

from tests.support.sampling import deep_relu_gradients, ks_radius
from theory.initialization_law import (
    _normal_orthant,
    class_logit_spread,
    class_mean_logit_covariance,
    collapsed_logit_deviation,
    log_ratio_law,
    probability_clean_dominates_both,
)
from theory.kernels import nngp, ntk

Array = NDArray[np.float64]
Z = 6.0


def test_log_ratio_law_has_the_worked_values() -> None:
    assert log_ratio_law(0.4, logit_deviation=1.0).probability_clean_dominates == pytest.approx(0.657, abs=5e-4)
    assert log_ratio_law(0.4, logit_deviation=9.2).probability_clean_dominates == pytest.approx(0.518, abs=5e-4)
    law = log_ratio_law(0.4, logit_deviation=collapsed_logit_deviation(1.0))
    assert law.median == pytest.approx(1.5, rel=1e-15)
    assert law.mean == pytest.approx(1.5 * math.exp(0.5), rel=1e-15)
    narrow = log_ratio_law(0.4, logit_deviation=0.040)  # the default initialisation of a library: within ±8 % of 1.5 in 95 % of draws
    np.testing.assert_allclose(narrow.quantile([0.025, 0.975]) / 1.5, [0.925, 1.082], atol=1e-3)


@given(st.floats(0.05, 0.95), st.floats(0.01, 20), st.floats(0.001, 0.999))
@settings(max_examples=60, deadline=None)
def test_log_ratio_law_inverts(delta: float, deviation: float, p: float) -> None:
    law = log_ratio_law(delta, logit_deviation=deviation)
    assert float(law.cdf(law.quantile(p))) == pytest.approx(p, rel=1e-9)
    assert float(law.cdf(1.0)) + law.probability_clean_dominates == pytest.approx(1, abs=1e-15)
    assert (law.probability_clean_dominates > 0.5) == (law.mean_log > 0)


def test_collapsed_class_in_wide_random_networks_follows_the_law() -> None:
    # One input, label 1: ‖g_clean‖/‖g_noise‖ = (1−δ)(1−f)/(δ f) in every network. At width m the logit has kurtosis 3(1 + 5/m); by the
    # Edgeworth term, excess/24 · sup|z³−3z|φ(z) = .55/24 · 15/m, its law differs from the normal one by 1.4e-3 at m = 256 (margin 3e-3).
    width, draws, delta, norm = 256, 20_000, 0.4, 1.3
    rng = np.random.default_rng(11)
    logits = []
    for _ in range(20):
        h, _ = deep_relu_gradients(rng, np.array([[norm]]), width=width, depth=1, draws=draws // 20)
        logits.append(h[:, 0, 0])
    h = np.concatenate(logits)
    ratios = np.sort((1 - delta) / delta * np.exp(-h))
    law = log_ratio_law(delta, logit_deviation=collapsed_logit_deviation(norm)).cdf(ratios)
    distance = np.max(np.abs(np.arange(1, draws + 1) / draws - law))
    margin = ks_radius(draws, 1e-9) + 1 / draws + 3e-3
    assert distance < margin
    # Control: the deviation of Eq. (7) [A], which is smaller by √2.
    wrong = log_ratio_law(delta, logit_deviation=collapsed_logit_deviation(norm, convention="eq7")).cdf(ratios)
    assert np.max(np.abs(np.arange(1, draws + 1) / draws - wrong)) > margin


def test_class_with_spread_follows_the_class_mean_logit() -> None:
    # Small logits (standard deviation ε = .05): log ratio = log((1−δ)/δ) − <weights, h> + O(ε³). The noisy set is the whole class repeated,
    # so that no sampling term enters.
    rng = np.random.default_rng(12)
    phi = np.random.default_rng(13).standard_normal((8, 6)) + 0.8  # a common direction: positive mean kernel
    kernel = phi @ phi.T
    root = 0.05 * rng.standard_normal((8, 8)) / math.sqrt(8)
    covariance = root @ root.T
    deviation = math.sqrt(
        class_mean_logit_covariance(np.kron(np.eye(2), covariance), [0] * 8 + [1] * 8, kernel=np.kron(np.eye(2), kernel))[1, 1]
    )
    h = rng.standard_normal((20_000, 8)) @ root.T
    f = 1 / (1 + np.exp(-h))
    clean, noise = np.linalg.norm(3 * (1 - f) @ phi, axis=1), np.linalg.norm(2 * f @ phi, axis=1)
    logs = np.log(clean / noise)
    law = log_ratio_law(0.4, logit_deviation=deviation)
    assert abs(logs.mean() - law.mean_log) / (logs.std() / math.sqrt(len(h))) < Z  # odd in h: no second-order bias
    # Sample sd has relative error 1/√(2n) = .005; the cubic term is of relative size ε²/4.
    assert logs.std() == pytest.approx(deviation, rel=Z * 0.005 + 0.05**2)


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0, 5.0, 30.0])
@pytest.mark.parametrize("delta", [0.1, 0.4, 0.6])
def test_spread_enters_through_the_class_average(spread: float, delta: float) -> None:
    # R = (1−δ)(1−F)/(δF) at the class-mean logit h̄ with F = E σ(h̄ + τz), by adaptive quadrature.
    law = log_ratio_law(delta, logit_deviation=1.3, spread=spread)
    for z in (-1.7, 0.4):

        def integrand(u: float, h: float = -1.3 * z) -> float:
            return float(stats.norm.pdf(u) / (1 + np.exp(-(h + spread * u))))

        breaks = [1.3 * z / spread] if spread > 0.2 else None
        average = integrate.quad(integrand, -9, 9, epsabs=1e-13, epsrel=1e-13, limit=500, points=breaks)[0]
        ratio = (1 - delta) / delta * (1 - average) / average
        assert float(law.quantile(stats.norm.cdf(z))) == pytest.approx(ratio, rel=1e-10)
        assert float(law.cdf(ratio)) == pytest.approx(stats.norm.cdf(z), abs=1e-9)
    assert law.mean > law.median
    # E R = ∫ quantile: a fine midpoint rule in the normal score.
    scores = np.linspace(-8.5, 8.5, 4001)
    weights = stats.norm.pdf(scores) * (scores[1] - scores[0])
    inner = (scores > -6) & (scores < 6)
    lower_bound = float(np.sum(weights[inner] * law.quantile(stats.norm.cdf(scores[inner]))))
    assert lower_bound <= law.mean * (1 + 1e-9)
    assert law.mean == pytest.approx(lower_bound, rel=1e-4)  # the tail beyond six standard deviations, tilted by e^{1.3·6}


@pytest.mark.parametrize(("norm", "error"), [(1.0, 0.03), (8.0, 0.05)])
def test_law_with_spread_describes_two_classes_of_inputs(norm: float, error: float) -> None:
    # Two cones of inputs, logits drawn from the NNGP, exact segment norms from the tangent kernel. Modelling error of the law (deviations
    # treated as unrelated to directions, 24 noisy samples of 60): `error` in probability, seen at .02 and .03 over seeds.
    rng = np.random.default_rng(21)
    truth = np.repeat([0, 1], 60)
    centre = rng.standard_normal((2, 10)) + 1.0
    x = centre[truth] + 1.2 * rng.standard_normal((120, 10))
    x *= norm / np.linalg.norm(x, axis=1, keepdims=True)
    kernel, covariance = ntk(x), nngp(x)
    values, vectors = np.linalg.eigh(covariance)
    draws = 4000
    h = (vectors * np.sqrt(np.maximum(values, 0))) @ rng.standard_normal((120, draws))
    f = 1 / (1 + np.exp(-h))
    noisy = np.arange(120) % 60 < 24
    observed = np.where(noisy, 1 - truth, truth)
    residuals = f - observed[:, None]

    def length(members: NDArray[np.bool_]) -> Array:
        r = residuals[members]
        return np.sqrt(np.sum(r * (kernel[np.ix_(members, members)] @ r), axis=0))

    ratios = [length((truth == c) & ~noisy) / length((truth == c) & noisy) for c in (0, 1)]
    spread = class_logit_spread(covariance, truth, kernel=kernel)
    means = class_mean_logit_covariance(covariance, truth, kernel=kernel)
    sample = np.sort(ratios[1])[::20]  # 200 points of the empirical law: the band holds at all of them
    steps = np.arange(1, draws + 1, 20) / draws

    def distance(tau: float) -> float:
        law = log_ratio_law(0.4, logit_deviation=math.sqrt(means[1, 1]), spread=tau)
        return float(np.max(np.abs(steps - law.cdf(sample))))

    assert distance(float(spread[1])) < ks_radius(draws, 1e-9) + error
    both = float(np.mean((ratios[0] > 1) & (ratios[1] > 1)))
    predicted = probability_clean_dominates_both(0.4, covariance=means, spread=spread)
    assert abs(both - predicted) < Z * 0.5 / math.sqrt(draws) + error
    if norm > 1:  # control: without spread the law is far too wide
        assert distance(0.0) > ks_radius(draws, 1e-9) + error


@pytest.mark.parametrize("correlation", [-0.9, -0.3, 0.0, 0.5, 0.99])
@pytest.mark.parametrize("delta", [0.2, 0.5, 0.7])
def test_both_classes_by_quadrature(correlation: float, delta: float) -> None:
    covariance = np.array([[1.3, correlation * math.sqrt(1.3 * 0.4)], [correlation * math.sqrt(1.3 * 0.4), 0.4]])
    edge = math.log((1 - delta) / delta)
    low, high = edge / math.sqrt(1.3), edge / math.sqrt(0.4)

    def density(x: float) -> float:  # X = −h̄_0/sd, Y = h̄_1/sd have correlation −ρ
        return float(stats.norm.pdf(x) * stats.norm.cdf((high + correlation * x) / math.sqrt(1 - correlation**2)))

    exact = integrate.quad(density, -12, low, epsabs=1e-13, epsrel=1e-13, limit=300, points=[-1.0, 0.0] if low > 0 else None)[0]
    assert probability_clean_dominates_both(delta, covariance=covariance) == pytest.approx(exact, abs=1e-11)


def test_both_classes_at_perfect_correlation() -> None:
    edge = math.log(1.5)
    same = probability_clean_dominates_both(0.4, covariance=[[1.0, 1.0], [1.0, 1.0]])
    assert same == pytest.approx(2 * stats.norm.cdf(edge) - 1, abs=1e-14)  # |h| < ℓ
    opposite = probability_clean_dominates_both(0.4, covariance=[[1.0, -1.0], [-1.0, 1.0]])
    assert opposite == pytest.approx(stats.norm.cdf(edge), abs=1e-14)


@pytest.mark.parametrize("correlation", [-0.6, 0.4])
@pytest.mark.parametrize(("h", "k"), [(-0.3, 0.5), (0.5, -0.3), (0.0, 0.7), (0.0, -0.7), (-0.7, 0.0), (0.7, 0.0), (0.0, 0.0)])
def test_orthant_by_quadrature_in_every_quadrant_and_between_them(h: float, k: float, correlation: float) -> None:
    root = math.sqrt(1 - correlation**2)

    def density(x: float) -> float:
        return float(stats.norm.pdf(x) * stats.norm.cdf((k - correlation * x) / root))

    exact = integrate.quad(density, -12, h, epsabs=1e-13, epsrel=1e-13, limit=300, points=[-1.0])[0]
    assert _normal_orthant(h, k, correlation) == pytest.approx(exact, abs=1e-11)


def test_smallest_numbers_are_taken_and_scales_drop_out() -> None:
    # log((1−δ)/δ) at δ = 1.5e-100, whose 1 − δ is 1: a rounding or two of 230.
    assert log_ratio_law(1.5e-100, logit_deviation=1.0).mean_log == pytest.approx(100 * math.log(10) - math.log(1.5), rel=1e-15)
    assert probability_clean_dominates_both(0.5, covariance=1.5e-100 * np.eye(2)) == 0.25
    # The kernel enters as weights, in any unit.
    assert class_mean_logit_covariance(np.eye(2), [0, 1], kernel=0.1 * np.eye(2)).tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_ratio_law(0.3, logit_deviation=1.0, spread=-1.0), "spread must not be negative, got -1.0"),
        (lambda: log_ratio_law(0.0, logit_deviation=1.0), r"lie in \(0, 1\), at least 1e-100, for a ratio to exist, got 0.0"),
        (lambda: log_ratio_law(0.4, logit_deviation=1.0).quantile([0.5, 1.0]), r"probability must lie in \(0, 1\), got 1.0"),
        (lambda: log_ratio_law(0.4, logit_deviation=1.0).cdf(-1.0), "ratio must be positive, got -1.0"),
        (lambda: class_mean_logit_covariance(np.eye(2), [1, 1]), "got no sample of class 0"),
        (lambda: probability_clean_dominates_both(0.4, covariance=[[1, 0], [0, 0]]), "diagonal, at least 1e-100, got 1.0 and 0.0"),
        (lambda: probability_clean_dominates_both(0.4, covariance=[[1.0, 2.0], [2.0, 1.0]]), "correlation in"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
