"""E-values: expectation at most one under the statement at any stopping time, agreement with the confidence sequences, and power."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical import inference
from tests.support.coverage import R, assert_rate_at_most, rng

Array = NDArray[np.float64]
RATE = 0.05

# Names rather than functions, so that a planted fault (tests/meta/test_kill_matrix.py) is seen.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "betting": ("betting_e_value", "betting_sequence", {}),
    "normal mixture": ("normal_mixture_e_value", "normal_mixture_sequence", {"sigma": 1.0}),
    "Student mixture": ("t_mixture_e_value", "t_mixture_sequence", {}),
}


def functions(kind: str) -> tuple[Callable[..., float], Callable[..., inference.Estimate], dict[str, Any]]:
    """The e-value, its confidence sequence, and their options."""
    e_value, sequence, options = KINDS[kind]
    return getattr(inference, e_value), getattr(inference, sequence), options


def draws(kind: str, generator: np.random.Generator, n: int, shift: float = 0.0) -> Array:
    """Indicators of mean ½ + shift, or normal numbers of mean shift."""
    return (generator.random(n) < 0.5 + shift).astype(float) if kind == "betting" else generator.normal(size=n) + shift


@pytest.mark.parametrize("kind", KINDS)
def test_at_least_one_over_the_error_rate_exactly_where_the_sequence_is_disjoint(kind: str) -> None:
    """Mixtures: e ≥ 1/α if and only if the interval misses the point. Betting: if it does; half of two capitals may be there first."""
    e_value, sequence, options = functions(kind)
    generator = rng(310, sorted(KINDS).index(kind))
    decided = 0
    for _ in range(300):
        scale = 0.4 if kind == "betting" else 1.0
        values = draws(kind, generator, int(generator.integers(3, 80)), float(generator.uniform(-scale, scale)))
        point = 0.4 if kind == "betting" else 0.0  # not the middle: the two gamblers must not be mistaken for each other
        estimate = sequence(values, error_rate=RATE, **options)
        outside = bool(estimate.lower > point or estimate.upper < point)
        evidence = e_value(values, region=(point, point), error_rate=RATE, **options)
        # The ends of the betting interval are found by bisection to 6e-14.
        if outside:
            assert evidence >= (1 - 1e-9) / RATE
        else:  # neither of two gamblers has 2/α yet
            assert evidence <= (2 if kind == "betting" else 1) * (1 + 1e-9) / RATE
        decided += outside
    assert 30 < decided < 270, "both sides of the equivalence must occur"


@pytest.mark.parametrize("kind", KINDS)
def test_expectation_under_the_statement_is_at_most_one_after_any_stopping(kind: str) -> None:
    """Stop at the first of 40 looks at which e ≥ 1/α: by Ville's inequality that happens with probability at most α."""
    e_value, _, options = functions(kind)
    generator = rng(311, sorted(KINDS).index(kind))
    point, ever = 0.5 if kind == "betting" else 0.0, 0
    for _ in range(R // 2):
        values = draws(kind, generator, 40)
        ever += any(e_value(values[:n], region=(point, point), error_rate=RATE, **options) >= 1 / RATE for n in range(2, 41, 2))
    assert_rate_at_most(ever, R // 2, RATE)


def test_mean_of_the_e_value_is_one_at_the_true_mean() -> None:
    """The normal mixture is a martingale: its mean is 1. 20,000 repetitions at n = 3, where the standard deviation is about 2."""
    generator = rng(312)
    found = [
        inference.normal_mixture_e_value(generator.normal(size=3), region=(0.0, 0.0), error_rate=0.5, sigma=1.0) for _ in range(20_000)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert error < 0.05
    assert abs(np.mean(found) - 1) < 5.5 * error  # false alarm 4e-8 for a normal mean


@pytest.mark.parametrize("kind", KINDS)
def test_a_region_is_as_likely_as_its_likeliest_point(kind: str) -> None:
    e_value, _, options = functions(kind)
    values = draws(kind, rng(313, sorted(KINDS).index(kind)), 60, 0.3)
    mean = float(values.mean())
    narrow, wide = ((mean - 0.3, mean - d) for d in (0.2, 0.1))
    assert e_value(values, region=narrow, error_rate=RATE, **options) > e_value(values, region=wide, error_rate=RATE, **options)
    assert e_value(values, region=(-np.inf, np.inf), error_rate=RATE, **options) <= 1
    assert e_value(values, region=(mean - 0.01, np.inf), error_rate=RATE, **options) < 1


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_grows_with_the_seeds_against_a_wrong_statement(kind: str) -> None:
    e_value, _, options = functions(kind)
    values = draws(kind, rng(314, sorted(KINDS).index(kind)), 400, 0.3)
    region = (0.5, 0.5) if kind == "betting" else (0.0, 0.0)
    evidence = [e_value(values[:n], region=region, error_rate=RATE, **options) for n in (25, 100, 400)]
    assert evidence[0] < evidence[1] < evidence[2]
    assert evidence[2] > 1e4


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: inference.betting_e_value([0.5, 2.0], region=(0, 1), error_rate=0.1),
            r"samples must lie between lower_bound and upper_bound, in \[0, 1\], got 2",
        ),
        (lambda: inference.betting_e_value([[0.5]], region=(0, 1), error_rate=0.1), r"samples must have shape \[n\]"),
        (lambda: inference.t_mixture_e_value([0.5], region=(1, 0), error_rate=0.1), "lower <= upper"),
        (lambda: inference.t_mixture_e_value([0.5], region=(float("nan"), 0), error_rate=0.1), "region"),
        (lambda: inference.normal_mixture_e_value([0.5], region=(0, 1), error_rate=0.1, sigma=0.0), "sigma"),
        (lambda: inference.normal_mixture_e_value([0.5], region=(0, 1), error_rate=1.0, sigma=1.0), "error_rate"),
    ],
)
def test_arguments_are_checked(call: Callable[[], float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        call()
