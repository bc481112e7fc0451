"""Geometry at initialisation: closed forms against complete enumeration of label draws, explicit features and sampled initialisations.

Random assertions use |z| < 6 (2e-9 each under the normal law) or the Dvoretzky-Kiefer-Wolfowitz band at 1e-9.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import integrate, stats

from tests.support.sampling import deep_relu_gradients, ks_radius
from theory.dynamics import gradient_descent
from theory.initialization import (
    class_kernel_means,
    expected_segments,
    initial_truth_cosine,
    parzen_margin,
    sample_segment_cosine,
)
from theory.initialization_law import (
    class_logit_spread,
    class_mean_logit_covariance,
    collapsed_logit_deviation,
    log_ratio_law,
    probability_clean_dominates_both,
)
from theory.initialization_multiclass import (
    full_gradient_cosine,
    initial_residuals,
    multiclass_segment_ratio,
    noise_free_gradient_factor,
    opposed_residual_cosine,
)
from theory.kernels import nngp, ntk
from theory.segments import Segments, segment_geometry

Array = NDArray[np.float64]
Z = 6.0


def random_kernel(seed: int, n: int, *, features: int = 6, shift: float = 0.8) -> tuple[Array, Array]:
    """Features with a common direction (positive mean kernel) and their kernel."""
    phi = np.random.default_rng(seed).standard_normal((n, features)) + shift
    return phi, phi @ phi.T


# --- segments of one class (I4, I5) ---


@pytest.mark.parametrize(("n", "n_noise"), [(5, 1), (7, 2), (7, 3)])
def test_expected_segments_are_averages_over_all_subsets(n: int, n_noise: int) -> None:
    phi, kernel = random_kernel(n, n)
    clean, noise, inner = [], [], []
    for subset in itertools.combinations(range(n), n_noise):
        noisy = np.isin(np.arange(n), subset)
        g_clean, g_noise = (-0.5 * phi[~noisy]).sum(axis=0), (0.5 * phi[noisy]).sum(axis=0)
        clean.append(g_clean @ g_clean)
        noise.append(g_noise @ g_noise)
        inner.append(g_clean @ g_noise)
    expected = expected_segments(*class_kernel_means(kernel), n_clean=n - n_noise, n_noise=n_noise)
    # Exact up to the rounding of a few dozen products.
    np.testing.assert_allclose(expected.squared_clean_norm, np.mean(clean), rtol=1e-13)
    np.testing.assert_allclose(expected.squared_noise_norm, np.mean(noise), rtol=1e-13)
    np.testing.assert_allclose(expected.inner_product, np.mean(inner), rtol=1e-13)
    np.testing.assert_allclose(expected.cosine, np.mean(inner) / math.sqrt(np.mean(clean) * np.mean(noise)), rtol=1e-13)
    np.testing.assert_allclose(math.cos(expected.angle), expected.cosine, rtol=1e-14)


def test_expected_segments_scale_with_the_residuals_of_many_classes() -> None:
    classes = 10
    expected = expected_segments(2.0, 1.0, n_clean=700, n_noise=300, clean_residual=1 - 1 / classes, noise_residual=1 / classes)
    # n → ∞: (C−1)(1−δ)/δ = 21; the finite-sample term is (1 − (1/300 − 1/700))^½.
    assert expected.norm_ratio == pytest.approx(21 * math.sqrt((1 + 1 / 700) / (1 + 1 / 300)), rel=1e-13)


def test_worked_example_of_one_digit() -> None:
    # N = 400: the ratio 8.903 at δ = .1 fixes K̄_d/K̄_o = 1 + e from 81(e/360+1)/(e/40+1) = 8.903²; the three angles of the catalogue follow.
    square = 8.903**2 / 81
    excess = (1 - square) / (square / 40 - 1 / 360)
    for delta, degrees in [(0.1, 170.58), (0.3, 173.80), (0.4, 174.20)]:
        n_noise = round(400 * delta)
        expected = expected_segments(1 + excess, 1.0, n_clean=400 - n_noise, n_noise=n_noise)
        assert math.degrees(expected.angle) == pytest.approx(degrees, abs=0.04)  # 8.903 ± .0005 moves e by 1 %, the angle by .05° at most
        assert math.pi - expected.angle == pytest.approx(math.asin(math.sqrt(expected.collinearity_gap)), rel=0.02)  # first order in 1/n_n


@given(st.floats(0.01, 0.49), st.integers(10, 10_000), st.floats(0, 50))
@settings(max_examples=100, deadline=None)
def test_finite_sample_ratio_is_below_its_limit(delta: float, n: int, excess: float) -> None:
    n_noise = max(1, round(delta * n))
    if n_noise >= n - n_noise:
        return
    expected = expected_segments(1 + excess, 1.0, n_clean=n - n_noise, n_noise=n_noise)
    limit = (n - n_noise) / n_noise
    assert 1 < expected.norm_ratio <= limit * (1 + 1e-12)
    assert -1 <= expected.cosine < 0
    assert expected.norm_ratio == pytest.approx(limit, rel=excess / n_noise + 1e-12)


def test_ratio_at_centred_output_is_what_a_kernel_gives() -> None:
    # The closed form against Segments and segment_geometry, averaged over 4000 uniformly random noisy sets.
    n, n_noise = 60, 24
    _, kernel = random_kernel(3, n)
    rng = np.random.default_rng(4)
    squares = []
    for _ in range(4000):
        observed = np.ones(n, dtype=np.int64)
        observed[rng.choice(n, n_noise, replace=False)] = 0
        geometry = segment_geometry(kernel, 0.5 - observed, Segments.from_labels(np.ones(n, dtype=np.int64), observed))
        squares.append([geometry.clean_norm[1] ** 2, geometry.noise_norm[1] ** 2])
    sample = np.array(squares)
    expected = expected_segments(*class_kernel_means(kernel), n_clean=n - n_noise, n_noise=n_noise)
    z = (sample.mean(axis=0) - [expected.squared_clean_norm, expected.squared_noise_norm]) / (sample.std(axis=0) / math.sqrt(len(sample)))
    assert np.all(np.abs(z) < Z)
    # Control: clean and noise exchanged.
    assert abs(sample[:, 0].mean() - expected.squared_noise_norm) / (sample[:, 0].std() / math.sqrt(len(sample))) > Z


# --- sample angles (I1-I3) ---


def test_sample_cosines_agree_with_explicit_gradients() -> None:
    phi, kernel = random_kernel(1, 12)
    rng = np.random.default_rng(2)
    residuals = rng.uniform(-1, 1, 12)
    members = np.arange(12) < 5
    gradients = residuals[:, None] * phi
    segment = gradients[members].sum(axis=0)
    exact = gradients @ segment / np.linalg.norm(gradients, axis=1) / np.linalg.norm(segment)
    np.testing.assert_allclose(sample_segment_cosine(kernel, residuals, members), exact, rtol=0, atol=1e-14)
    # Tiny residuals have the same directions: their squares must not underflow.
    np.testing.assert_allclose(sample_segment_cosine(kernel, 1e-200 * residuals, members), exact, rtol=0, atol=1e-14)
    # A flipped label (residual of the other sign) reverses the direction exactly, whatever its size (I1).
    flipped = np.where(members, residuals, -0.3 * residuals)
    np.testing.assert_allclose(sample_segment_cosine(kernel, flipped, members)[5:], -exact[5:], rtol=0, atol=1e-14)


def test_sample_cosines_of_many_classes_agree_with_explicit_gradients() -> None:
    phi, kernel = random_kernel(5, 9)
    residuals = initial_residuals([0, 1, 2, 0, 1, 2, 3, 3, 0], n_classes=4)
    members = np.array([True] * 4 + [False] * 5)
    gradients = np.einsum("ic,ip->icp", residuals, phi).reshape(9, -1)
    segment = gradients[members].sum(axis=0)
    exact = gradients @ segment / np.linalg.norm(gradients, axis=1) / np.linalg.norm(segment)
    np.testing.assert_allclose(sample_segment_cosine(kernel, residuals, members), exact, rtol=0, atol=1e-14)


def test_zero_residual_has_no_direction() -> None:
    cosines = sample_segment_cosine(np.eye(3), [0.5, 0.0, -0.5], [True, False, False])
    assert np.isnan(cosines).tolist() == [False, True, False]


# --- direction of the noisy gradient, and the Parzen classifier (D4, D9) ---


@pytest.mark.parametrize("delta", [0.0, 0.2, 0.4, 0.7])
def test_truth_cosine_is_a_ratio_of_exact_expectations(delta: float) -> None:
    _, kernel = random_kernel(6, 7)
    truth = np.array([0, 0, 0, 1, 1, 1, 1])
    signs = 2.0 * truth - 1
    cross = square = 0.0
    for flips in itertools.product((1, -1), repeat=7):
        weight = math.prod(delta if flip < 0 else 1 - delta for flip in flips)
        s = signs * np.array(flips)
        cross += weight * s @ kernel @ signs
        square += weight * s @ kernel @ s
    exact = cross / math.sqrt(square * (signs @ kernel @ signs))
    assert initial_truth_cosine(kernel, truth, delta) == pytest.approx(exact, abs=1e-13)


@pytest.mark.parametrize("counts", [(0, 0), (1, 2), (3, 1), (2, 4)])
def test_truth_cosine_with_exact_counts(counts: tuple[int, int]) -> None:
    _, kernel = random_kernel(7, 7)
    truth = np.array([0, 1, 0, 1, 1, 0, 1])
    signs = 2.0 * truth - 1
    draws = itertools.product(itertools.combinations([0, 2, 5], counts[0]), itertools.combinations([1, 3, 4, 6], counts[1]))
    forms = []
    for chosen in draws:
        s = signs.copy()
        s[[*chosen[0], *chosen[1]]] *= -1
        forms.append((s @ kernel @ signs, s @ kernel @ s))
    cross, square = np.mean(forms, axis=0)
    exact = cross / math.sqrt(square * (signs @ kernel @ signs))
    assert initial_truth_cosine(kernel, truth, 0.3, n_noise=counts) == pytest.approx(exact, abs=1e-13)


def test_parzen_margin_is_the_first_descent_step() -> None:
    _, kernel = random_kernel(8, 20, shift=0.2)
    observed = np.random.default_rng(9).integers(0, 2, 20)
    step = gradient_descent(kernel, observed, learning_rate=0.5, steps=1).logits[-1]
    np.testing.assert_allclose(
        parzen_margin(kernel, observed), (2 * observed - 1) * step * 2 / 0.5, rtol=0, atol=1e-13 * np.abs(kernel).max()
    )


def test_whole_minority_is_misdirected() -> None:
    # 700 against 200 with a common direction: every minority gradient disagrees with descent, as in the catalogue's imbalanced run.
    kernel = 0.5 * np.ones((900, 900)) + 0.1 * np.eye(900)
    observed = np.repeat([0, 1], [700, 200])
    agrees = parzen_margin(kernel, observed) > 0
    assert agrees[:700].all()
    assert not agrees[700:].any()


# --- random initialisation (I5) ---


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
    phi, kernel = random_kernel(13, 8)
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


@pytest.mark.parametrize("spread", [0.0, 0.5, 5.0, 30.0])
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


# --- many classes (M2-M5) ---


def collapsed_classes(n_classes: int, per_class: int, delta: float) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Exact proportions: in each class a fraction δ, spread evenly over the wrong labels; one feature direction per class."""
    wrong = round(per_class * delta / (n_classes - 1))
    truth, observed = [], []
    for c in range(n_classes):
        others = [k for k in range(n_classes) if k != c]
        labels = [c] * (per_class - wrong * len(others)) + [k for k in others for _ in range(wrong)]
        truth += [c] * per_class
        observed += labels
    truth_array = np.array(truth)
    return np.eye(n_classes)[truth_array] + 0.3, truth_array, np.array(observed)


@pytest.mark.parametrize(("n_classes", "per_class", "delta"), [(10, 90, 0.3), (10, 90, 0.4), (4, 30, 0.6), (2, 10, 0.3)])
def test_multiclass_ratios_by_counting(n_classes: int, per_class: int, delta: float) -> None:
    phi, truth, observed = collapsed_classes(n_classes, per_class, delta)
    residuals = initial_residuals(observed, n_classes=n_classes)
    segments = Segments.from_labels(truth, observed, n_classes)
    geometry = segment_geometry(phi @ phi.T, residuals, segments)
    by_truth = multiclass_segment_ratio(delta, n_classes=n_classes)
    np.testing.assert_allclose(1 / geometry.alpha, by_truth, rtol=1e-10)  # full vector gradient, every class
    np.testing.assert_allclose(geometry.rho, 1, rtol=1e-10)  # segments are exactly opposite although sample pairs are not (M4)
    for c in range(n_classes):  # single logit c
        one = segment_geometry(phi @ phi.T, residuals[:, c], segments)
        assert 1 / one.alpha[c] == pytest.approx(by_truth, rel=1e-10)
    # Reading by logit: class c' = 0 in logit c = 1, noisy where mislabelled as 1.
    rows, noisy = truth == 0, (truth == 0) & (observed == 1)
    ratio = abs(residuals[rows & ~noisy, 1].sum() / residuals[noisy, 1].sum())
    assert ratio == pytest.approx(multiclass_segment_ratio(delta, n_classes=n_classes, reading="logit"), rel=1e-10)
    # The full gradient is one multiple of the noise-free gradient in every (class, logit) block (M5).
    clean_residuals = initial_residuals(truth, n_classes=n_classes)
    factor = noise_free_gradient_factor(delta, n_classes=n_classes)
    for c in range(n_classes):
        mine = truth == c
        np.testing.assert_allclose(residuals[mine].sum(axis=0), factor * clean_residuals[mine].sum(axis=0), rtol=0, atol=1e-11 * per_class)


@pytest.mark.parametrize(("n_classes", "n_noise"), [(2, 2), (3, 1), (3, 2), (4, 2)])
def test_full_gradient_cosine_by_enumeration(n_classes: int, n_noise: int) -> None:
    """All noisy subsets of a class of five samples and all their wrong labels, one after the other."""
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(5, 3)) + 2
    kernel, moments = phi @ phi.T, np.zeros(3)
    for noisy in itertools.combinations(range(5), n_noise):
        for labels in itertools.product(range(1, n_classes), repeat=n_noise):
            observed = np.zeros(5, dtype=int)
            observed[list(noisy)] = labels
            r = initial_residuals(observed, n_classes=n_classes)
            clean, noise = (np.where(mask[:, None], r, 0) for mask in (observed == 0, observed != 0))
            moments += [np.sum(left * (kernel @ right)) for left, right in ((clean, noise), (clean, clean), (noise, noise))]
    means = class_kernel_means(kernel)
    found = full_gradient_cosine(*means, n_clean=5 - n_noise, n_noise=n_noise, n_classes=n_classes)
    assert found == pytest.approx(moments[0] / math.sqrt(moments[1] * moments[2]), rel=1e-12)
    if n_classes == 2:
        two = expected_segments(*means, n_clean=5 - n_noise, n_noise=n_noise)
        assert found == pytest.approx(math.cos(two.angle), rel=1e-12)
    # Many noisy samples make the segments opposite; a single pair at one input has the cosine of its residuals.
    assert full_gradient_cosine(*means, n_clean=10**9, n_noise=10**9, n_classes=n_classes) == pytest.approx(-1, abs=1e-6)
    assert full_gradient_cosine(1, 1, n_clean=1, n_noise=1, n_classes=n_classes) == pytest.approx(-1 / (n_classes - 1), rel=1e-15)


def test_multiclass_worked_values() -> None:
    assert multiclass_segment_ratio(0.3, n_classes=10) == pytest.approx(21.0, rel=1e-14)
    assert multiclass_segment_ratio(0.4, n_classes=10) == pytest.approx(13.5, rel=1e-14)
    assert multiclass_segment_ratio(0.3, n_classes=10, reading="logit") == pytest.approx(3.22, abs=5e-3)
    assert multiclass_segment_ratio(0.4, n_classes=10, reading="logit") == pytest.approx(2.39, abs=5e-3)
    assert multiclass_segment_ratio(0.4, n_classes=2) == pytest.approx(1.5, rel=1e-15)
    residuals = initial_residuals([0, 3], n_classes=5)
    cosine = residuals[0] @ residuals[1] / (residuals[0] @ residuals[0])
    assert cosine == pytest.approx(opposed_residual_cosine(5), abs=1e-15)
    assert noise_free_gradient_factor(0.95, n_classes=10) < 0 < noise_free_gradient_factor(0.72, n_classes=10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: expected_segments(1.0, 2.0, n_clean=2, n_noise=1), "mean_off_diagonal must be at most mean_diagonal = 1.0, got 2.0"),
        (lambda: expected_segments(1.0, 0.0, n_clean=2, n_noise=1), "mean_off_diagonal must be a positive"),
        (lambda: expected_segments(2.0, 1.0, n_clean=0, n_noise=1), "n_clean must be an integer >= 1, got 0"),
        (lambda: class_kernel_means([[1.0]]), "at least 2 samples"),
        (lambda: sample_segment_cosine(np.eye(2), [0.5, 0.5], [False, False]), "empty segment"),
        (lambda: sample_segment_cosine(np.eye(2), [0.5, 0.5], [1, 0]), "bool mask"),
        (lambda: sample_segment_cosine(np.eye(2), [0.5, 0.0], [False, True]), "that is not zero"),
        (lambda: sample_segment_cosine(np.eye(2), [0.5, 0.5, 0.1], [False, True]), r"shape \[2\] or \[2, C\], got \[3\]"),
        (lambda: initial_truth_cosine(np.eye(2), [0, 2], 0.1), "labels 0 and 1, got 2"),
        (lambda: initial_truth_cosine(np.eye(2), [0, 1], 1.0), r"noise_level must lie in \[0, 1\), got 1.0"),
        (lambda: initial_truth_cosine(np.eye(2), [0, 1], 0.1, n_noise=[2, 0]), "at most the size of class 0 in truth, 1, got 2"),
        (lambda: initial_truth_cosine(np.eye(2), [0, 1], 0.1, n_noise=[0]), "one count for each of the 2 classes"),
        (lambda: parzen_margin(np.eye(2), [0, 1, 1]), r"shape \[2\] to match the kernel, got \[3\]"),
        (lambda: log_ratio_law(0.3, logit_deviation=1.0, spread=-1.0), "spread must not be negative, got -1.0"),
        (lambda: log_ratio_law(0.0, logit_deviation=1.0), r"lie in \(0, 1\)"),
        (lambda: log_ratio_law(0.4, logit_deviation=1.0).quantile(1.0), r"probability must lie in \(0, 1\), got 1.0"),
        (lambda: log_ratio_law(0.4, logit_deviation=1.0).cdf(-1.0), "ratio must be positive, got -1.0"),
        (lambda: class_mean_logit_covariance(np.eye(2), [1, 1]), "got no sample of class 0"),
        (lambda: probability_clean_dominates_both(0.4, covariance=[[1.0, 2.0], [2.0, 1.0]]), "correlation in"),
        (lambda: multiclass_segment_ratio(0.4, n_classes=1), "n_classes must be an integer >= 2, got 1"),
        (
            lambda: full_gradient_cosine(1, 2, n_clean=1, n_noise=1, n_classes=3),
            "mean_off_diagonal must be at most mean_diagonal = 1, got 2",
        ),
        (lambda: full_gradient_cosine(1, 1, n_clean=1, n_noise=1, n_classes=1), "n_classes must be an integer >= 2, got 1"),
        (lambda: multiclass_segment_ratio(0.4, n_classes=3, reading="both"), "reading must be one of"),
        (lambda: initial_residuals([3], n_classes=3), "classes 0 ... 2, got 3"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
