"""What a mini-batch holds of the noise, against SciPy, enumeration and samples (D5).

Tolerances without a comment: 1e-9 is a logarithm of a factorial of 12,000 (1e5 · 1.1e-16 each, six of them, exponentiated: 1e-10), 1e-13
counting, 5e-6 and 5e-5 half of the last digit printed.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from theory.minibatch import (
    batch_alpha_deviation,
    batch_noise_probabilities,
    class_noise_majority_probability,
    noise_majority_probability,
)


@pytest.mark.parametrize(("n", "noise", "batch"), [(10, 4, 5), (12_000, 4800, 256), (7, 0, 3), (7, 7, 3), (50, 10, 50)])
def test_batch_counts_are_hypergeometric(n: int, noise: int, batch: int) -> None:
    exact = stats.hypergeom.pmf(np.arange(batch + 1), n, noise, batch)
    np.testing.assert_allclose(batch_noise_probabilities(n, noise, batch_size=batch), exact, rtol=1e-9, atol=1e-300)
    assert noise_majority_probability(n, noise, batch_size=batch) == pytest.approx(
        stats.hypergeom.sf((batch + 1) // 2 - 1, n, noise, batch), rel=1e-9
    )


def test_batch_probabilities_have_the_worked_values() -> None:
    assert noise_majority_probability(12_000, 4800, batch_size=256) == pytest.approx(6.7e-4, abs=5e-6)
    assert class_noise_majority_probability(12_000, 6000, 2400, batch_size=256) == pytest.approx(0.0119, abs=5e-5)


def test_batch_of_one_class_by_enumeration() -> None:
    # 6 samples, 3 of the class of which 1 is noisy; all 20 batches of 3.
    hits = sum(
        1 for batch in itertools.combinations(range(6), 3) if (size := sum(i < 3 for i in batch)) and 2 * sum(i == 0 for i in batch) >= size
    )
    assert class_noise_majority_probability(6, 3, 1, batch_size=3) == pytest.approx(hits / 20, rel=1e-13)


def test_batch_alpha_fluctuates_as_stated() -> None:
    n, delta, batch, alpha = 3000, 0.4, 300, 0.8
    counts = np.random.default_rng(1).hypergeometric(round(delta * n), round((1 - delta) * n), batch, size=50_000)
    sample = alpha * counts / (batch - counts) * (1 - delta) / delta
    predicted = batch_alpha_deviation(alpha, noise_level=delta, batch_size=batch, n_samples=n)
    # Relative: sampling 6/√(2·50000) = .02, next order of the delta method 3/(B δ(1−δ)) = .04.
    assert sample.std() == pytest.approx(predicted, rel=0.06)
    assert batch_alpha_deviation(alpha, noise_level=delta, batch_size=n, n_samples=n) == 0
    assert sample.std() != pytest.approx(batch_alpha_deviation(alpha, noise_level=delta, batch_size=2 * batch, n_samples=n), rel=0.06)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: noise_majority_probability(10**12 + 1, 2, batch_size=2),
            "n_samples must be an integer <= 1000000000000, got 1000000000001",
        ),
        (
            lambda: batch_alpha_deviation(0.5, noise_level=0.5, batch_size=3, n_samples=10**12 + 1),
            "n_samples must be an integer <= 1000000000000, got 1000000000001",
        ),
        (lambda: noise_majority_probability(5, 6, batch_size=2), "must be at most n_samples = 5, got 6"),
        (lambda: noise_majority_probability(5, 2, batch_size=6), "batch_size must be at most n_samples = 5, got 6"),
        (lambda: class_noise_majority_probability(5, 3, 4, batch_size=2), "class_noise must be at most class_size = 3, got 4"),
        (lambda: batch_alpha_deviation(0.5, noise_level=1.0, batch_size=3), r"noise_level must lie in \(0, 1\), got 1.0"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
