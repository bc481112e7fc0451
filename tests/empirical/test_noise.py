"""Label noise: exact counts per class, uniform choice of samples and of wrong labels, the mask, seeds, bad input."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from empirical.noise import corrupt_labels, corrupt_labels_batch, noisy_counts, transition_counts


@given(
    counts=st.lists(st.integers(0, 60), min_size=2, max_size=5).filter(any),
    percent=st.integers(0, 99),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_counts_are_exact_and_the_mask_tells_the_truth(counts: list[int], percent: int, seed: int):
    """In each class exactly round(δ n_c) labels are wrong; the mask marks them and no other."""
    truth = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    noisy = corrupt_labels(truth, percent / 100, n_classes=len(counts), seed=seed)
    expected = [round(Fraction(percent, 100) * n) for n in counts]
    assert np.bincount(truth[noisy.is_noisy], minlength=len(counts)).tolist() == expected
    assert np.array_equal(noisy.is_noisy, noisy.observed != noisy.truth)
    assert np.array_equal(noisy.truth, truth)
    assert ((noisy.observed >= 0) & (noisy.observed < len(counts))).all()
    level = noisy.class_noise_level
    assert all(np.isnan(level[c]) if n == 0 else level[c] == expected[c] / n for c, n in enumerate(counts))


def test_rounding_is_half_to_even_of_the_decimal_level():
    """0.29 · 50 = 14.5 and 0.57 · 50 = 28.5 are ties though their binary products are below; 0.4 · 5 is 2 exactly."""
    assert noisy_counts([50], 0.29).tolist() == [14]
    assert noisy_counts([50, 50], 0.57).tolist() == [28, 28]
    assert noisy_counts([50], 0.59).tolist() == [30]
    assert noisy_counts([5, 15, 25, 35], 0.1).tolist() == [0, 2, 2, 4]
    assert noisy_counts([10**15], 0.3).tolist() == [3 * 10**14]
    assert noisy_counts([3, 0], 0.0).tolist() == [0, 0]


def test_every_sample_is_equally_likely():
    """χ² over which of 12 samples are noisy (3 of them), 4000 seeds: false-alarm rate 1e-6.

    A set of fixed size: the counts have covariance p(1−p)(δ_ij − 1/n)·n/(n−1) per draw, so that the sum of squares over its expectation
    is χ² with n − 1 degrees of freedom after this factor. A bias of one sample from 0.25 to 0.30 is caught with probability above 0.99.
    """
    truth = np.zeros(12, dtype=int)
    noisy = corrupt_labels_batch(truth, 0.25, n_classes=2, seeds=range(4000)) != 0
    counts = noisy.sum(axis=0)
    statistic = np.sum((counts - 1000.0) ** 2) / (4000 * 0.25 * 0.75) * 11 / 12
    assert stats.chi2.sf(statistic, 11) > 1e-6
    assert (noisy.sum(axis=1) == 3).all()


def test_wrong_labels_are_uniform_and_independent():
    """χ² of the wrong labels of class 2 out of 5 classes; 400 seeds of 50 noisy samples: false-alarm rate 1e-6."""
    truth = np.full(100, 2)
    observed = corrupt_labels_batch(truth, 0.5, n_classes=5, seeds=range(400))
    counts = np.bincount(observed[observed != 2], minlength=5)
    assert counts[2] == 0
    assert stats.chisquare(np.delete(counts, 2)).pvalue > 1e-6
    # Independent draws: the number of zeros per seed is Binomial(50, 1/4); its variance 9.375 has standard error 9.375·√(2/400) = 0.66.
    zeros = (observed == 0).sum(axis=1)
    assert abs(zeros.var() - 9.375) < 5 * 0.67


def test_seeds_reproduce_and_differ():
    truth = np.arange(200) % 4
    first, again, other = (corrupt_labels(truth, 0.3, n_classes=4, seed=s).observed for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # The state of the global generator plays no part.
    batch = corrupt_labels_batch(truth, 0.3, n_classes=4, seeds=[4, 3])
    assert np.array_equal(batch, np.stack([other, first]))


def test_levels_are_nested():
    """A higher level adds wrong labels and keeps the others."""
    truth = np.arange(100) % 3
    low, high = (corrupt_labels(truth, level, n_classes=3, seed=8) for level in (0.2, 0.5))
    assert (high.is_noisy | ~low.is_noisy).all()
    assert np.array_equal(high.observed[low.is_noisy], low.observed[low.is_noisy])


def test_draw_is_independent_of_the_data_draw_of_the_same_seed():
    """The choice of noisy samples among the first half must not follow the permutation that chose a data set by the same seed.

    Were the streams the same, the noisy 30 of 100 would be the first 30 of the permutation. Agreement is hypergeometric with mean 9.
    """
    from empirical.sources import STREAM

    agreements = []
    for seed in range(50):
        noisy = set(np.flatnonzero(corrupt_labels(np.zeros(100, dtype=int), 0.3, n_classes=2, seed=seed).is_noisy))
        for key in ([STREAM, seed, 0, 0], [STREAM, seed, 0], [seed]):
            agreements.append(len(noisy & set(np.random.default_rng(key).permutation(100)[:30])))
    # Standard deviation of one: √(30·.3·.7·70/99) = 2.11; five standard errors of the mean of 150.
    assert abs(np.mean(agreements) - 9) < 5 * 2.11 / np.sqrt(150)


def test_results_are_read_only_and_inputs_untouched():
    truth = np.zeros(10, dtype=np.int32)
    noisy = corrupt_labels(truth, 0.5, n_classes=2, seed=0)
    assert truth.tolist() == [0] * 10
    assert truth.flags.writeable
    for array in (noisy.observed, noisy.truth, noisy.is_noisy):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_level": 1.0}, r"noise_level must lie in \[0, 1\), got 1.0"),
        ({"noise_level": -0.1}, r"noise_level must lie in \[0, 1\), got -0.1"),
        ({"noise_level": np.nan}, "noise_level must be a finite real number, got nan"),
        ({"noise_level": "0.4"}, "noise_level must be a finite real number, got '0.4'"),
        ({"noise_level": [0.4]}, r"noise_level must be a finite real number, got \[0.4\]"),
        ({"truth": [0, 2]}, r"truth must lie in 0..1 \(2 classes\), got 2 at index 1"),
        ({"truth": [-1, 0]}, "truth must lie in 0..1 .* got -1 at index 0"),
        ({"truth": [0.0, 1.0]}, "truth must hold integers, got dtype float64"),
        ({"truth": [True, False]}, "truth must hold integers, got dtype bool"),
        ({"truth": []}, r"truth must have shape \[n\] with n >= 1, got shape \[0\]"),
        ({"truth": [[0, 1]]}, r"truth must have shape \[n\] with n >= 1, got shape \[1, 2\]"),
        ({"truth": [[0], [0, 1]]}, "ragged"),
        ({"truth": ["0", "1"]}, "truth must hold integers, got dtype"),
        ({"n_classes": 1}, "n_classes must be an integer >= 2, got 1"),
        ({"n_classes": 2.0}, "n_classes must be an integer >= 2, got 2.0"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"seed": None}, "seed must be an integer >= 0, got None"),
    ],
)
def test_bad_input(arguments: dict[str, object], message: str):
    given_arguments = {"truth": [0, 1, 0], "noise_level": 0.4, "n_classes": 2, "seed": 0} | arguments
    truth, level = given_arguments.pop("truth"), given_arguments.pop("noise_level")
    with pytest.raises(ValueError, match=message) as caught:
        corrupt_labels(truth, level, **given_arguments)
    assert "\n" not in str(caught.value)


def test_bad_batches_and_counts():
    with pytest.raises(ValueError, match=r"seeds must .* at least one integer.*, got none"):
        corrupt_labels_batch([0, 1], 0.4, n_classes=2, seeds=[])
    with pytest.raises(ValueError, match="all different, got 3 3"):
        corrupt_labels_batch([0, 1], 0.4, n_classes=2, seeds=[3, 3])
    with pytest.raises(ValueError, match="class_counts must be non-negative integers"):
        noisy_counts([1.5], 0.4)
    with pytest.raises(ValueError, match="class_counts must be non-negative integers"):
        noisy_counts([-1], 0.4)


@given(
    counts=st.lists(st.integers(0, 60), min_size=2, max_size=5).filter(any),
    sixteenths=st.integers(0, 2**30),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_transition_counts_are_exact(counts: list[int], sixteenths: int, seed: int):
    """Each count is n_c·T_cj rounded down or up, rows sum to n_c, and the draw has exactly these counts; entries of 1/16 make ties."""
    matrix = np.random.default_rng(sixteenths).multinomial(16, np.ones(len(counts)) / len(counts), size=len(counts)) / 16
    wanted = transition_counts(counts, matrix)
    for c, n in enumerate(counts):
        exact = [Fraction(p) * n for p in matrix[c].tolist()]
        assert all(k >= 0 and abs(k - share) < 1 for k, share in zip(wanted[c].tolist(), exact, strict=True))
        assert wanted[c].sum() == n
        up = [share - int(share) for share, k in zip(exact, wanted[c].tolist(), strict=True) if k > share]
        down = [share - int(share) for share, k in zip(exact, wanted[c].tolist(), strict=True) if k <= share]
        assert not up or not down or min(up) >= max(down)
    truth = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    noisy = corrupt_labels(truth, n_classes=len(counts), seed=seed, transition=matrix)
    attained = np.zeros_like(wanted)
    np.add.at(attained, (truth, noisy.observed), 1)
    assert np.array_equal(attained, wanted)
    assert np.array_equal(noisy.is_noisy, noisy.observed != truth)
    assert noisy.noise_level == pytest.approx(sum(n * (1 - matrix[c, c]) for c, n in enumerate(counts)) / sum(counts), rel=1e-12)


def test_transition_rounding_in_the_documented_order():
    """Equal remainders: the true label first, then the lower class; thirds count as thirds although their decimals fall short of 1."""
    assert transition_counts([1, 1, 1], np.full((3, 3), 1 / 3)).tolist() == np.eye(3, dtype=int).tolist()
    assert transition_counts([2, 2, 2], np.full((3, 3), 1 / 3)).tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 1]]
    assert transition_counts([5, 5], [[0.5, 0.5], [0.1, 0.9]]).tolist() == [[3, 2], [0, 5]]
    assert transition_counts([0, 3], [[0, 1], [1, 0]]).tolist() == [[0, 0], [3, 0]]


def test_transition_draw_is_uniform_over_the_samples_of_a_class():
    """χ² over which of 12 samples of class 0 become 1 (3 of them) and 2 (6), 3000 seeds each: false-alarm rate 1e-6 each.

    As above: a set of fixed size needs the factor (n − 1)/n before the sum of squares is χ² with n − 1 degrees of freedom.
    """
    truth = np.repeat([0, 1, 2], 12)
    matrix = [[0.25, 0.25, 0.5], [0, 1, 0], [0, 0, 1]]
    draws = np.stack([corrupt_labels(truth, n_classes=3, seed=s, transition=matrix).observed for s in range(3000)])
    assert (draws[:, 12:] == truth[12:]).all()
    for label, p in ((1, 0.25), (2, 0.5)):
        counts = (draws[:, :12] == label).sum(axis=0)
        assert counts.sum() == 3000 * 12 * p
        statistic = np.sum((counts - 3000 * p) ** 2) / (3000 * p * (1 - p)) * 11 / 12
        assert stats.chi2.sf(statistic, 11) > 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transition": [[0.5, 0.5], [0.5, 0.5]], "noise_level": 0.4}, "either noise_level or transition, got both"),
        ({}, "either noise_level or transition, got neither"),
        ({"transition": [[1.0]]}, r"transition must have shape \[2, 2\], got \[1, 1\]"),
        ({"transition": [[0.5, 0.6], [0, 1]]}, "rows that sum to 1, got 1.1 in row 0"),
        ({"transition": [[1.5, -0.5], [0, 1]]}, "transition must not be negative, got -0.5"),
        ({"transition": [[np.nan, 1], [0, 1]]}, "transition must be finite"),
        ({"transition": [["a", "b"], ["c", "d"]]}, "transition must hold real numbers"),
        ({"transition": [[1], [0, 1]]}, "ragged"),
    ],
)
def test_bad_transition(arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        corrupt_labels([0, 1, 0], n_classes=2, seed=0, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
