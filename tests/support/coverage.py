"""Measured coverage: counting misses over repetitions, and deciding on the count with a stated false-alarm rate.

A test that claims "miss rate ≤ α" fails when the count of misses is above the 1 − 1e-6 quantile of Binomial(R, α): its false-alarm rate is
1e-6. With R = 2000 and α = 0.05 that quantile is 149 (7.4 %), so that a true miss rate of 10 % is caught with probability above 0.999.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from empirical.estimates import Estimate

__all__ = ["ALPHA", "FALSE_ALARM", "R", "assert_rate_at_most", "assert_rate_equal", "ever_misses", "misses", "rng"]

R = 2000
ALPHA = 0.05
FALSE_ALARM = 1e-6


def rng(*key: int) -> np.random.Generator:
    """A local generator by rule: a fixed first word and the test's own key."""
    return np.random.default_rng([20230604, *key])


def misses(estimate: Estimate, truth: float) -> int:
    """Components whose interval misses the truth."""
    return int(np.sum((estimate.lower > truth) | (estimate.upper < truth)))


def ever_misses(estimate: Estimate, truth: float) -> int:
    """Repetitions (last axis) in which some look (first axis) misses the truth."""
    return int(np.sum(((estimate.lower > truth) | (estimate.upper < truth)).any(axis=0)))


def assert_rate_at_most(count: int, repetitions: int, rate: float = ALPHA) -> None:
    """Fail when so many misses have a probability below 1e-6 at the nominal rate."""
    assert stats.binom.sf(count - 1, repetitions, rate) > FALSE_ALARM, f"missed {count} of {repetitions}, nominal {rate}"


def assert_rate_equal(count: int, repetitions: int, rate: float = ALPHA) -> None:
    """Fail when so many, or so few, misses have a probability below 1e-6 at the nominal rate."""
    assert_rate_at_most(count, repetitions, rate)
    assert stats.binom.cdf(count, repetitions, rate) > FALSE_ALARM, f"missed only {count} of {repetitions}, nominal {rate}: too wide"
