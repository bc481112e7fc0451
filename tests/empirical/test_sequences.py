"""Confidence sequences: validity under optional stopping, definitions, width and power against the fixed-n baseline, negative controls.

Tolerances of equations without a comment: 1e-12 is rounding of sums over a few hundred draws; 1e-8 allows for
quadrature to 1e-10 over a range cut off at some ten standard deviations, 1e-5 for quadrature to an absolute 1e-8 of numbers of about 0.05.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from empirical import inference
from tests.support.coverage import ALPHA, FALSE_ALARM, R, assert_rate_at_most, ever_misses, misses, rng

LOOKS = 80


@pytest.mark.parametrize("name", ["normal_mixture_sequence", "t_mixture_sequence"])
def test_normal_sequences_hold_at_every_look(name: str):
    draws = rng(20).normal(-1.0, 3.0, size=(LOOKS, R))
    known = {"sigma": 3.0} if name == "normal_mixture_sequence" else {}
    path = getattr(inference, name)(draws, error_rate=ALPHA, path=True, **known)
    count = ever_misses(path, -1.0)
    assert_rate_at_most(count, R)
    assert count > 0  # not vacuous: about 2 % are missed by look 80


def test_naive_repeated_interval_fails():
    """Negative control: Student's interval at each look, stopping at the first miss, misses more than four times its level."""
    draws = rng(20).normal(-1.0, 3.0, size=(LOOKS, R))
    missed = np.zeros(R, dtype=bool)
    for n in range(2, LOOKS + 1):
        estimate = inference.mean_interval(draws[:n], error_rate=ALPHA)
        missed |= (estimate.lower > -1.0) | (estimate.upper < -1.0)
    assert stats.binom.sf(int(missed.sum()) - 1, R, 4 * ALPHA) < FALSE_ALARM


def test_student_mixture_is_exact_where_the_plug_in_is_not():
    """From the first looks the plug-in sequence misses about 20 %; from look 50 on it keeps its level."""
    draws = rng(21).normal(size=(300, 1000))
    path = inference.normal_mixture_sequence(draws, error_rate=ALPHA, path=True)
    assert stats.binom.sf(ever_misses(path, 0.0) - 1, 1000, 2 * ALPHA) < FALSE_ALARM
    late = ((path.lower[49:] > 0) | (path.upper[49:] < 0)).any(axis=0).sum()
    assert_rate_at_most(int(late), 1000)
    exact = inference.t_mixture_sequence(draws, error_rate=ALPHA, path=True)
    assert_rate_at_most(ever_misses(exact, 0.0), 1000)


@pytest.mark.parametrize("name", ["betting_sequence", "empirical_bernstein_sequence"])
@pytest.mark.parametrize("law", ["beta", "rare", "coin", "drifting"])
def test_bounded_sequences_hold_at_every_look(name: str, law: str):
    """Laws that are hard for a normal approximation; "drifting" changes its variance with the past, at a constant mean."""
    shape = (LOOKS * 3 // 4, R // 5)
    generator = rng(22)
    if law == "beta":
        draws, mean = generator.beta(2, 5, size=shape), 2 / 7
    elif law == "rare":
        draws, mean = (generator.random(shape) < 0.02).astype(float), 0.02
    elif law == "coin":
        draws, mean = generator.integers(0, 2, size=shape).astype(float), 0.5
    else:
        draws, mean = np.empty(shape), 0.5
        spread = np.full(shape[1], 0.01)
        for look in range(shape[0]):
            draws[look] = 0.5 + spread * generator.choice([-1.0, 1.0], size=shape[1])
            spread = np.where(draws[look] > 0.5, 0.5, 0.01)
    path = getattr(inference, name)(draws, error_rate=ALPHA, path=True)
    assert_rate_at_most(ever_misses(path, mean), shape[1])
    assert (path.lower >= 0).all()
    assert (path.upper <= 1).all()


def test_normal_interval_for_rare_events_fails():
    """Negative control for "rare": Student's interval at a single n misses P(no event in 80) = 0.98^80 = 20 % at least."""
    draws = (rng(22).random((LOOKS, 500)) < 0.02).astype(float)
    assert stats.binom.sf(misses(inference.mean_interval(draws, error_rate=ALPHA), 0.02) - 1, 500, 2 * ALPHA) < FALSE_ALARM


def test_widths_against_the_fixed_number_baseline():
    """The price of looking at any time, at the tuned number of seeds: √(w/n)/(1.96/√n) = 1.55 for α = 0.05, less for smaller α."""
    for error_rate, price in ((0.05, 1.55), (1e-3, 1.28), (1e-6, 1.16)):
        ratio = inference.normal_mixture_radius(30, error_rate=error_rate, tuned_at=30) / (stats.norm.isf(error_rate / 2) / np.sqrt(30))
        assert ratio == pytest.approx(price, abs=0.005)  # the printed digits
    draws = rng(23).normal(size=(60, 500))
    student = np.mean(inference.mean_interval(draws, error_rate=1e-3).half_width)
    sequence = np.mean(inference.t_mixture_sequence(draws, error_rate=1e-3, tuned_at=60).half_width)
    assert 1.2 < sequence / student < 1.5
    bounded = rng(24).beta(20, 50, size=(200, 50))
    student = np.mean(inference.mean_interval(bounded, error_rate=ALPHA).half_width)
    betting = np.mean(inference.betting_sequence(bounded, error_rate=ALPHA).half_width)
    bernstein = np.mean(inference.empirical_bernstein_sequence(bounded, error_rate=ALPHA).half_width)
    hoeffding = np.sqrt(np.log(2 / ALPHA) / (2 * 200))
    assert student < betting < 2.5 * student
    assert betting < bernstein < hoeffding


def test_power():
    """A mean off by one standard deviation is excluded after 60 seeds with probability above 0.99 at α = 1e-3."""
    draws = rng(25).normal(1.0, 1.0, size=(60, 500))
    for estimate in (
        inference.normal_mixture_sequence(draws, error_rate=1e-3, sigma=1.0),
        inference.t_mixture_sequence(draws, error_rate=1e-3),
    ):
        assert stats.binom.cdf(misses(estimate, 0.0), 500, 0.99) > FALSE_ALARM
    coins = (rng(26).random((150, 300)) < 0.8).astype(float)
    assert stats.binom.cdf(misses(inference.betting_sequence(coins, error_rate=1e-3), 0.5), 300, 0.99) > FALSE_ALARM


def test_radius_is_the_mixture_s_crossing_and_least_where_tuned():
    """∫exp(λS − nλ²/2)·N(λ; 0, ρ²)dλ = 1/α at S = n·radius, and no other ρ² gives a smaller radius at n = tuned_at."""
    n, error_rate, tuned_at = 17, 0.01, 40
    w = 1 - 2 * np.log(error_rate)
    for _ in range(60):  # fixed point of w − ln w = 1 + 2 ln(1/α); contracts by 1/w < 0.1
        w = 1 - 2 * np.log(error_rate) + np.log(w)
    spread = (w - 1) / tuned_at
    radius = float(inference.normal_mixture_radius(n, error_rate=error_rate, tuned_at=tuned_at))
    s = n * radius

    def integrand(effect: float) -> float:
        return float(np.exp(effect * s - n * effect**2 / 2) * stats.norm.pdf(effect, scale=np.sqrt(spread)))

    mixture = integrate.quad(integrand, -4, 6, epsabs=0, epsrel=1e-10)[0]
    assert mixture == pytest.approx(1 / error_rate, rel=1e-8)
    inner = tuned_at * np.linspace(0.2, 5, 200) * spread + 1
    others = np.sqrt(2 * inner / (tuned_at * (inner - 1)) * (np.log(inner) / 2 - np.log(error_rate)))
    best = inference.normal_mixture_radius(tuned_at, error_rate=error_rate, tuned_at=tuned_at)
    assert best <= others.min() * (1 + 1e-12)
    assert best == pytest.approx(np.sqrt(w / tuned_at), rel=1e-12)


def test_student_mixture_solves_its_definition():
    """At each end the scale-free likelihood ratio, integrated over σ (1/σ dσ) and the effect (N(0, 1/c²)), is 1/α."""
    draws, error_rate = np.array([0.3, 1.9, 1.1, 0.7, 1.4, 0.2, 0.9]), 0.2
    estimate = inference.t_mixture_sequence(draws, error_rate=error_rate, tuned_at=5)
    w = 1 - 2 * np.log(error_rate)
    for _ in range(60):
        w = 1 - 2 * np.log(error_rate) + np.log(w)
    precision = 5 / (w - 1)
    n = len(draws)
    for end in (estimate.lower, estimate.upper):
        total, squares = float(np.sum(draws - end)), float(np.sum((draws - end) ** 2))

        def density(effect: float, log_sigma: float, total: float = total, squares: float = squares) -> float:
            scale = math.exp(-log_sigma)  # Σ(x/σ − effect)² = Σx²/σ² − 2 effect Σx/σ + n effect²
            return math.exp(-n * log_sigma - (squares * scale**2 - 2 * effect * total * scale + n * effect**2) / 2)

        null = integrate.quad(lambda v: density(0.0, v), -4, 6, epsrel=1e-9)[0]
        mixed = integrate.dblquad(
            lambda effect, v: density(effect, v) * math.exp(-precision * effect**2 / 2), -4, 6, -9, 9, epsabs=1e-8, epsrel=1e-8
        )[0] * math.sqrt(precision / (2 * math.pi))
        assert mixed / null == pytest.approx(1 / error_rate, rel=1e-5)


def test_first_seeds_bound_nothing():
    path = inference.t_mixture_sequence([1.0, 2.0, 1.5, 1.2], error_rate=1e-6, path=True)
    assert np.isinf(path.upper[:2]).all()
    assert inference.t_mixture_sequence([2.0, 2.0], error_rate=0.05).contains(1e9)


def test_radius_at_extreme_error_rates():
    """The equation w − ln w = 1 + 2 ln(1/α) holds down to α = 1e-200, where the Lambert function's argument underflows, and up to 0.999."""
    for error_rate, accuracy in ((0.999, 1e-6), (0.5, 1e-9), (1e-12, 1e-12), (1e-140, 1e-12), (1e-200, 1e-5)):
        w = float(inference.normal_mixture_radius(7, error_rate=error_rate, tuned_at=7)) ** 2 * 7
        # The radius is stationary in ρ², so that an error of the expansion (1e-2 relative in ln w) enters squared.
        assert w - math.log(w) == pytest.approx(1 - 2 * math.log(error_rate), rel=accuracy)


def test_empirical_bernstein_is_its_definition():
    """Centre and radius evaluated as printed, one seed at a time: agreement to the rounding of 30 additions."""
    draws, error_rate = rng(29).beta(2, 3, size=30), 0.1
    estimate = inference.empirical_bernstein_sequence(draws, error_rate=error_rate, path=True)
    mean, squares = 0.5, 0.25
    weights = weighted = penalty = 0.0
    for t, x in enumerate(draws, start=1):
        weight = min(math.sqrt(2 * math.log(2 / error_rate) / (squares / t * t * math.log(t + 1))), 0.5)
        weights, weighted = weights + weight, weighted + weight * x
        penalty += 4 * (x - mean) ** 2 * (-math.log(1 - weight) - weight) / 4
        mean = (0.5 + draws[:t].sum()) / (t + 1)
        squares += (x - mean) ** 2
        radius = (math.log(2 / error_rate) + penalty) / weights
        assert estimate.lower[t - 1] == pytest.approx(max(weighted / weights - radius, 0), rel=1e-12, abs=1e-12)
        assert estimate.upper[t - 1] == pytest.approx(min(weighted / weights + radius, 1), rel=1e-12)


def test_betting_is_its_definition():
    """Hedged capital evaluated as printed, on a fine grid of m, one bet at a time: excluded exactly outside the interval."""
    draws, error_rate = rng(27).beta(1, 3, size=40), 0.1
    estimate = inference.betting_sequence(draws, error_rate=error_rate, path=True)
    grid = np.linspace(0.001, 0.999, 999)
    up, down = np.ones_like(grid), np.ones_like(grid)
    mean, squares = 0.5, 0.25
    for t, x in enumerate(draws, start=1):
        bet = np.sqrt(2 * np.log(2 / error_rate) / (squares / t * t * np.log(t + 1)))
        up *= 1 + np.minimum(bet, 0.75 / grid) * (x - grid)
        down *= 1 - np.minimum(bet, 0.75 / (1 - grid)) * (x - grid)
        mean = (0.5 + draws[:t].sum()) / (t + 1)
        squares += (x - mean) ** 2
        inside = np.maximum(up, down) / 2 < 1 / error_rate
        assert np.array_equal(inside, (grid > estimate.lower[t - 1]) & (grid < estimate.upper[t - 1]))


@pytest.mark.parametrize("name", ["betting_sequence", "empirical_bernstein_sequence", "normal_mixture_sequence", "t_mixture_sequence"])
def test_path_columns_and_scale_are_consistent(name: str):
    estimator = getattr(inference, name)
    draws = rng(28).uniform(size=(25, 3))
    bounded = name in ("betting_sequence", "empirical_bernstein_sequence")
    path = estimator(draws, error_rate=ALPHA, path=True)
    last = estimator(draws, error_rate=ALPHA)
    column = estimator(draws[:, 1], error_rate=ALPHA)
    prefix = estimator(draws[:11], error_rate=ALPHA)
    assert path.value.shape == (25, 3)
    # One reduction in another order: a few ulp of values of order one.
    for part in ("value", "lower", "upper"):
        assert np.allclose(getattr(path, part)[-1], getattr(last, part), rtol=0, atol=1e-12)
        assert np.allclose(getattr(last, part)[1], getattr(column, part), rtol=0, atol=1e-12)
        assert np.allclose(getattr(path, part)[10], getattr(prefix, part), rtol=0, atol=1e-12)
    bounds = {"lower_bound": -4.0, "upper_bound": 6.0} if bounded else {}
    moved = estimator(10 * draws - 4, error_rate=ALPHA, **bounds)
    assert np.allclose(moved.upper, 10 * np.asarray(last.upper) - 4, rtol=0, atol=1e-10)
