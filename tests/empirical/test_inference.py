"""Estimators for a fixed number of seeds: measured coverage, definitions, other implementations; bad input of every estimator.

Tolerances: 1e-14 is rounding; 1e-9 is where two implementations of a tail probability may part, by logarithms of factorials.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats

from empirical import inference
from tests.support.coverage import ALPHA, FALSE_ALARM, R, assert_rate_at_most, assert_rate_equal, misses, rng


@pytest.mark.parametrize("n", [2, 5, 30])
def test_student_and_known_sigma_cover_at_their_level(n: int):
    draws = rng(1, n).normal(3.0, 2.0, size=(n, R))
    assert_rate_equal(misses(inference.mean_interval(draws, error_rate=ALPHA), 3.0), R)
    assert_rate_equal(misses(inference.known_sigma_mean(draws, sigma=2.0, error_rate=ALPHA), 3.0), R)


def test_student_interval_is_scipys():
    draws = rng(2).normal(size=12)
    reference = stats.ttest_1samp(draws, 0.0).confidence_interval(0.99)
    estimate = inference.mean_interval(draws, error_rate=0.01)
    # Both evaluate one quantile to 1e-13 relative or better and sum 12 terms.
    assert np.allclose([estimate.lower, estimate.upper], [reference.low, reference.high], rtol=1e-12, atol=0)


def test_wrong_sigma_is_noticed():
    """Negative control: σ too small by √2 misses 16.6 %."""
    draws = rng(3).normal(0.0, np.sqrt(2.0), size=(10, R))
    count = misses(inference.known_sigma_mean(draws, sigma=1.0, error_rate=ALPHA), 0.0)
    assert stats.binom.sf(count - 1, R, ALPHA) < FALSE_ALARM


@pytest.mark.parametrize("law", ["normal", "exponential", "uniform"])
def test_variance_interval_covers_for_any_tail(law: str):
    """At n = 1000 Bonett's interval is within 1 % of its level for these laws; the χ²-interval misses 33 % for the exponential."""
    draw: dict[str, tuple[Callable[..., np.ndarray], float]] = {
        "normal": (rng(4).standard_normal, 1.0),
        "exponential": (rng(5).standard_exponential, 1.0),
        "uniform": (rng(6).random, 1 / 12),
    }
    sample, variance = draw[law]
    draws = sample(size=(1000, 1000))
    assert_rate_at_most(misses(inference.variance_interval(draws, error_rate=ALPHA), variance), 1000, ALPHA + 0.01)
    kurtosis = {"normal": 0.0, "exponential": 6.0, "uniform": -1.2}[law]
    known = inference.variance_interval(draws, error_rate=ALPHA, excess_kurtosis=kurtosis)
    assert_rate_at_most(misses(known, variance), 1000, ALPHA + 0.01)
    if law == "exponential":
        wrong = inference.variance_interval(draws, error_rate=ALPHA, excess_kurtosis=0.0)  # what a χ²-interval supposes
        assert misses(wrong, variance) > 250


def test_proportion_is_never_below_its_level():
    """Exact: P(miss) summed over the binomial law, for every p on a grid and both error rates."""
    for trials, error_rate in product((1, 7, 40), (0.05, 1e-5)):
        intervals = [inference.proportion(k, trials, error_rate=error_rate) for k in range(trials + 1)]
        for p in np.linspace(0, 1, 41):
            missed = [not estimate.contains(p) for estimate in intervals]
            # 1e-9: the incomplete beta function's inverse is good to 1e-10 or so at the ends.
            assert stats.binom.pmf(np.arange(trials + 1), trials, p)[missed].sum() <= error_rate * (1 + 1e-9)


def test_proportion_is_scipys():
    reference = stats.binomtest(3, 20).proportion_ci(0.99, method="exact")
    estimate = inference.proportion(3, 20, error_rate=0.01)
    # SciPy finds the ends by a root search with tolerance 2e-12.
    assert np.allclose([estimate.lower, estimate.upper], [reference.low, reference.high], rtol=0, atol=1e-10)


def test_binomial_and_hypergeometric_are_exact():
    """Under the law P(p-value ≤ a) ≤ a for every attainable a: enumerated."""
    law = stats.hypergeom(30, 11, 9)
    counts = np.arange(10)
    p_values = np.array([inference.hypergeometric_test(k, population=30, marked=11, drawn=9).p_value for k in counts])
    for level in p_values:
        assert law.pmf(counts)[p_values <= level].sum() <= level * (1 + 1e-9)
    reference = stats.fisher_exact([[6, 3], [5, 16]]).pvalue
    assert inference.hypergeometric_test(6, population=30, marked=11, drawn=9).p_value == pytest.approx(reference, rel=1e-9)
    p_values = np.array([inference.binomial_test(k, 12, probability=0.3).p_value for k in range(13)])
    for level in p_values:
        assert stats.binom.pmf(np.arange(13), 12, 0.3)[p_values <= level].sum() <= level * (1 + 1e-9)


def test_ks_is_scipys_and_keeps_its_level():
    draws = rng(7).exponential(size=(R, 25))
    results = [inference.ks_test(row, stats.expon.cdf) for row in draws]
    reference = stats.kstest(draws[0], "expon", method="exact")
    assert results[0].statistic == pytest.approx(reference.statistic, rel=1e-14)
    assert results[0].p_value == pytest.approx(reference.pvalue, rel=1e-9)
    assert_rate_equal(sum(result.p_value <= ALPHA for result in results), R)


def test_ks_rejects_another_law():
    """Negative control: a gamma law of the same mean and shape 2, n = 300; the distance of the laws is 0.147, critical 0.078 at 5 %."""
    draws = rng(8).gamma(2.0, 0.5, size=300)
    assert inference.ks_test(draws, stats.expon.cdf).p_value < 1e-3


BAD_SAMPLES = {
    "nan": ([1.0, np.nan, 2.0], "samples must be finite, got nan at index"),
    "infinite": ([1.0, np.inf], "samples must be finite, got inf"),
    "empty": ([], r"samples must have shape \[n, ...\] with n >= \d+ seeds"),
    "scalar": (1.0, r"samples must have shape \[n, ...\]"),
    "text": (["a", "b"], "samples must hold real numbers, got dtype"),
    "complex": ([1j, 2.0], "samples must hold real numbers, got dtype complex"),
    "ragged": ([[1.0], [1.0, 2.0]], "ragged"),
    "object": (np.array([1, None], dtype=object), "samples must hold real numbers, got dtype object"),
}


ESTIMATORS = {
    "mean_interval": {},
    "known_sigma_mean": {"sigma": 1.0},
    "variance_interval": {},
    "betting_sequence": {},
    "empirical_bernstein_sequence": {},
    "normal_mixture_sequence": {"sigma": 1.0},
    "t_mixture_sequence": {},
    "simultaneous_band": {},
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("bad", BAD_SAMPLES)
def test_samples(name: str, bad: str):
    value, message = BAD_SAMPLES[bad]
    if name == "simultaneous_band":
        message = message.replace("samples", "trajectories")
    with pytest.raises(ValueError, match=message) as caught:
        getattr(inference, name)(value, error_rate=0.05, **ESTIMATORS[name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("error_rate", [0.0, 1.0, -0.1, np.nan, "0.05", None, [0.05]], ids=repr)
def test_error_rate(name: str, error_rate: object):
    with pytest.raises(ValueError, match="error_rate must"):
        getattr(inference, name)(np.linspace(0, 1, 20), error_rate=error_rate, **ESTIMATORS[name])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: inference.betting_sequence([0.5, 1.2], error_rate=0.1),
            r"samples must lie between lower_bound and upper_bound, in \[0, 1\], got 1.2",
        ),
        (lambda: inference.betting_sequence([0.5], error_rate=0.1, lower_bound=1, upper_bound=0), "lower_bound must be below"),
        (lambda: inference.known_sigma_mean([1.0], sigma=0.0, error_rate=0.1), "sigma must be positive, got 0.0"),
        (lambda: inference.known_sigma_mean([1.0], sigma=[1.0, 1.0], error_rate=0.1), "sigma must fit samples"),
        (lambda: inference.normal_mixture_sequence([1.0], sigma=-1.0, error_rate=0.1), "sigma must be positive and finite, got -1.0"),
        (lambda: inference.normal_mixture_sequence([1.0], error_rate=0.1), "n >= 2 seeds"),
        (lambda: inference.normal_mixture_radius([0], error_rate=0.1), "n must be numbers of seeds >= 1"),
        (lambda: inference.normal_mixture_radius([5], error_rate=0.1, tuned_at=0), "tuned_at must be an integer >= 1, got 0"),
        (lambda: inference.variance_interval(np.ones(20), error_rate=0.1), "got variance 0"),
        (lambda: inference.variance_interval(np.arange(20), error_rate=0.1, excess_kurtosis=-3), "excess_kurtosis must be at least -2"),
        (lambda: inference.proportion(5, 4, error_rate=0.1), r"successes must be an integer in 0..4, got 5"),
        (lambda: inference.proportion(1.5, 4, error_rate=0.1), "successes must be an integer >= 0, got 1.5"),
        (lambda: inference.binomial_test(1, 4, probability=1.5), r"probability must lie in \[0, 1\], got 1.5"),
        (lambda: inference.hypergeometric_test(0, population=5, marked=4, drawn=4), "observed must be at least 3"),
        (lambda: inference.ks_test([0.5, 0.7], lambda x: x + 1), "cdf must give one value"),
        (lambda: inference.ks_test([[0.5]], lambda x: x), r"samples must have shape \[n\]"),
        (lambda: inference.simultaneous_band(np.eye(3), error_rate=0.1, method="max"), "method must be one of"),
        (lambda: inference.simultaneous_band(np.eye(4), error_rate=0.1, method="max-t"), "for max-t with 4 seeds"),
        (lambda: inference.simultaneous_band(np.eye(40), error_rate=1e-4, method="max-t"), "error_rate must be at least 10/"),
        (lambda: inference.sign_flip_test(np.eye(3), [0.0, 1.0]), "prediction must fit trajectories"),
        (lambda: inference.rate_in_width([64], [np.arange(9)], error_rate=0.1), "widths must be at least two"),
        (lambda: inference.rate_in_width([64, 64], [np.arange(9)] * 2, error_rate=0.1), "widths must be at least two different"),
        (lambda: inference.rate_in_width([64, 128], [np.arange(9)], error_rate=0.1), "one set of replicates for each of 2 widths"),
        (lambda: inference.rate_in_width([64, 128], [np.arange(5)] * 2, error_rate=0.1), "n >= 8 replicates"),
        (lambda: inference.rate_in_width([64, 128], [np.ones(9)] * 2, error_rate=0.1), "the sd at width 64 must be positive"),
        (
            lambda: inference.rate_in_width([64, 128], [np.tile([-1.0, 1.0], 9)] * 2, error_rate=0.1, statistic="mean"),
            "must differ from 0 by more than its standard error",
        ),
        (lambda: inference.rate_in_width([64, 128], [np.arange(9)] * 2, error_rate=0.1, limit_power=1), "limit_power must be negative"),
    ],
)
def test_other_arguments(call: Callable[[], object], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
