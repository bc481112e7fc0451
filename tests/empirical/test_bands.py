"""Bands over trajectories and the sign-flip test: joint coverage, exactness, negative controls."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from empirical import inference
from tests.support.coverage import ALPHA, assert_rate_at_most, rng


@pytest.mark.parametrize("method", ["bonferroni-t", "max-t"])
@pytest.mark.parametrize("dependence", ["independent", "walk"])
def test_bands_cover_everywhere_at_once(method: str, dependence: str):
    """400 repetitions at α = 0.1: a true miss rate of 0.2 is caught with probability 0.97; 24 points, 16 seeds."""
    generator, missed = rng(40), 0
    for _ in range(400):
        walks = generator.normal(size=(16, 24))
        if dependence == "walk":
            walks = np.cumsum(walks, axis=1)
        band = inference.simultaneous_band(walks, error_rate=0.1, method=method, n_resamples=400, seed=1)
        missed += not band.contains(0.0)
    assert_rate_at_most(missed, 400, 0.1)


def test_pointwise_intervals_fail_jointly():
    """Negative control: 24 intervals at 10 % each miss somewhere in 1 − 0.9^24 = 92 % of runs."""
    generator = rng(41)
    missed = sum(not inference.mean_interval(generator.normal(size=(16, 24)), error_rate=0.1).contains(0.0) for _ in range(100))
    assert missed > 70


def test_max_t_is_narrower_for_smooth_trajectories():
    walks = np.cumsum(rng(42).normal(size=(40, 200)), axis=1)
    wide = inference.simultaneous_band(walks, error_rate=0.05)
    narrow = inference.simultaneous_band(walks, error_rate=0.05, method="max-t")
    pointwise = inference.mean_interval(walks, error_rate=0.05)
    ratio = np.asarray(narrow.half_width) / np.asarray(wide.half_width)
    assert np.ptp(ratio) < 1e-12  # one critical value for all points
    assert np.all(narrow.half_width > pointwise.half_width)
    assert ratio[0] < 0.9
    again = inference.simultaneous_band(walks, error_rate=0.05, method="max-t")
    assert np.array_equal(again.lower, narrow.lower)


def test_sign_flips_match_full_enumeration():
    """N = 8: the p-value over all 256 flips, against 20000 random ones: within 5 standard errors of a proportion."""
    draws = rng(43).normal(0.4, 1.0, size=(8, 5))
    result = inference.sign_flip_test(draws, 0.0, n_resamples=20_000)
    statistics = []
    for signs in product((-1.0, 1.0), repeat=8):
        flipped = np.array(signs)[:, None] * draws
        statistics.append(np.max(np.abs(flipped.mean(axis=0) / (flipped.std(axis=0, ddof=1) / np.sqrt(8)))))
    assert statistics[-1] == pytest.approx(result.statistic, rel=1e-12)  # sums over a few dozen seeds in another order
    share = np.mean(np.array(statistics) >= statistics[-1] * (1 - 1e-9))
    assert abs(result.p_value - share) < 5 * np.sqrt(share * (1 - share) / 20_000) + 1 / 20_001


def test_sign_flip_test_keeps_its_level_without_normality():
    """Symmetric heavy tails (Student with 2 degrees, infinite variance), 10 seeds: exact all the same."""
    generator = rng(44)
    p_values = [inference.sign_flip_test(generator.standard_t(2, size=(10, 6)), 0.0, n_resamples=199, seed=k).p_value for k in range(1000)]
    assert_rate_at_most(sum(p <= ALPHA for p in p_values), 1000)
    assert max(p_values) <= 1
    # The data's own signs are one of the flips: no p-value is below 1/(n_resamples + 1), however large the deviation.
    assert inference.sign_flip_test(generator.normal(size=(40, 6)), 1e6, n_resamples=199).p_value == 1 / 200
    assert inference.sign_flip_test(generator.normal(size=(20, 6)), 2.0).p_value < 0.01
    assert inference.sign_flip_test(np.eye(6)[None, 3] + generator.normal(size=(30, 6)) / 9, 0.0).where == 3
