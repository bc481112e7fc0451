"""Exponents and limits in the width: coverage, neighbouring exponents excluded, departures seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from empirical import inference
from tests.support.coverage import ALPHA, FALSE_ALARM, assert_rate_at_most, rng

WIDTHS = (64, 128, 256, 512)


def test_exponent_and_limit_cover():
    """500 repetitions, 60 replicates per width. Student's quantile and log-scale errors cost less than 2 % of coverage here."""
    generator = rng(60)
    rates = [
        inference.rate_in_width(
            WIDTHS, [0.7 + 3 / m + generator.normal(size=60) / np.sqrt(m) for m in WIDTHS], error_rate=ALPHA, unit="rad"
        )
        for _ in range(500)
    ]
    assert_rate_at_most(sum(not rate.exponent.contains(-0.5) for rate in rates), 500, ALPHA + 0.02)
    assert_rate_at_most(sum(not rate.limit.contains(0.7) for rate in rates), 500, ALPHA + 0.02)
    assert_rate_at_most(sum(rate.exponent_fit < ALPHA for rate in rates), 500, ALPHA + 0.03)
    assert_rate_at_most(sum(rate.limit_fit < ALPHA for rate in rates), 500, ALPHA + 0.03)
    # Negative controls: both neighbouring exponents are excluded. Standard error 0.055, half-width 0.11, the nearer one 0.25 away: a single
    # run excludes it with probability 0.99.
    excluded = sum(not (rate.exponent.contains(-0.25) or rate.exponent.contains(-1.0)) for rate in rates)
    assert stats.binom.cdf(excluded, 500, 0.99) > FALSE_ALARM
    assert rates[0].local_exponents.value.shape == (3,)
    assert (rates[0].limit.unit, rates[0].exponent.unit) == ("rad", "")


@pytest.mark.parametrize(("statistic", "exponent"), [("mean", -1.0), ("rms", -1.0), ("sd", -1.0)])
def test_other_statistics(statistic: str, exponent: float):
    generator, missed = rng(61), 0
    for _ in range(300):
        samples = [2 + 3 / m * (1 + 0.4 * generator.normal(size=50)) for m in WIDTHS]
        rate = inference.rate_in_width(WIDTHS[::-1], samples[::-1], error_rate=ALPHA, statistic=statistic, target=2.0)
        missed += not rate.exponent.contains(exponent)
        assert rate.widths == WIDTHS
    assert_rate_at_most(missed, 300, ALPHA + 0.02)


def test_bent_curve_is_seen():
    """σ = m^−1/2·(1 + 40/m) is no power law on 64 … 512: lack of fit, and local exponents that drift by −0.3."""
    generator = rng(62)
    samples = [generator.normal(size=4000) / np.sqrt(m) * (1 + 40 / m) for m in WIDTHS]
    rate = inference.rate_in_width(WIDTHS, samples, error_rate=ALPHA)
    assert rate.exponent_fit < 1e-6
    assert rate.local_exponents.value[0] < rate.local_exponents.value[-1] - 0.1


def test_wrong_limit_power_shifts_the_limit():
    """Negative control: means with a bias of order m^−1/2, extrapolated as 1/m, miss their limit."""
    generator = rng(63)
    samples = [1 + 1 / np.sqrt(m) + 0.05 * generator.normal(size=200) for m in WIDTHS]
    assert not inference.rate_in_width(WIDTHS, samples, error_rate=ALPHA).limit.contains(1.0)
    assert inference.rate_in_width(WIDTHS, samples, error_rate=1e-4, limit_power=-0.5).limit.contains(1.0)
