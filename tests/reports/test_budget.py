"""The false-alarm budget of a run: what random checks spend adds up, and the share of one check fits it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import reports.budget
import reports.evidence
from empirical.inference import Estimate, exact
from reports.agreement import AgreementRecord, ClaimResult, Verdict, judge
from reports.budget import (
    FALSE_ALARM_BUDGET,
    MAX_RANDOM_CHECKS,
    adjusted_e_values,
    e_value,
    evidence_against,
    ought_to_hold,
    spent,
)


def test_error_rates_add_up_to_the_budget() -> None:
    rates = (2e-6, 1e-6, 5e-7)
    measured = [Estimate(value=0.0, lower=-1.0, upper=1.0, confidence=1 - rate, n_seeds=9, method="made up") for rate in rates]
    records = [judge(0.0, estimate, margin=2.0, claim="G2") for estimate in (*measured, exact(0.0))]
    rows = [
        ClaimResult(claim="G2", model=model, data="any", expected=Verdict.AGREES, expected_reason="", records=part)
        for model, part in (("one", records[:2]), ("two", records[2:]))
    ]
    found = spent(rows)
    assert (found["random_checks"], found["exact_checks"]) == (3, 1)
    # 1 − confidence is exact to half an ulp of 1, 1.1e-16 for each of three.
    assert found["false_alarm_bound"] == pytest.approx(sum(rates), abs=4e-16)
    assert found["budget"] == FALSE_ALARM_BUDGET == 1e-3
    # What a claim test is handed must leave room for every random check that the suite may hold.
    assert reports.evidence.PER_CHECK_ERROR_RATE * reports.budget.MAX_RANDOM_CHECKS <= FALSE_ALARM_BUDGET * (1 + 1e-12)


def brute_force(values: list[float]) -> list[float]:
    """Closed testing by averages, over every set of hypotheses."""
    indices = range(len(values))
    sets = [chosen for size in range(1, len(values) + 1) for chosen in itertools.combinations(indices, size)]
    return [min(float(np.mean([values[i] for i in chosen])) for chosen in sets if k in chosen) for k in indices]


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=7))
def test_adjusted_e_values_are_those_of_closed_testing(values: list[float]) -> None:
    # Sums of at most seven terms, in another order.
    np.testing.assert_allclose(adjusted_e_values(values), brute_force(values), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize("values", [[-1.0], [float("nan")], [float("inf")], [[1.0]]])
def test_e_values_must_be_finite_and_not_negative(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        adjusted_e_values(values)


def row(records: list[AgreementRecord], expected: Verdict = Verdict.AGREES) -> ClaimResult:
    return ClaimResult(claim="G2", model="m", data="d", expected=expected, expected_reason="", records=records)


def record(
    value: float, *, rate: float = 1e-6, e: float | None = None, role: str = "statement", expected: str | None = None
) -> AgreementRecord:
    measured = Estimate(value=value, lower=value - 0.1, upper=value + 0.1, confidence=1 - rate, n_seeds=9, method="made up")
    return replace(judge(0.0, measured, margin=0.5, claim="G2", role=role, expected=expected), e_value=e)


def test_a_rejected_fixed_check_reaches_the_level_of_the_run_among_a_thousand() -> None:
    """1e6 against 999 zeros: the average is 1/budget exactly. One check more, and it would be short of it."""
    many = [record(0.0)] * (MAX_RANDOM_CHECKS - 1)
    found = evidence_against([row([record(3.0), *many])])
    assert (found["tested"], found["rejected"]) == (1000, 1)
    assert evidence_against([row([record(3.0), *many, record(0.0)])])["rejected"] == 0
    assert evidence_against([row(many)])["largest_e_value"] == 0


def test_sequential_checks_short_of_their_own_threshold_add_up() -> None:
    """Ten checks with 5e5 each, below 1e6: among 1000 none is rejected by itself, but that all of them hold is, at 5000."""
    quiet = [record(0.0)] * 990
    assert evidence_against([row([record(0.0, e=5e5), *quiet])])["run_e_value"] < 1000
    found = evidence_against([row([record(0.0, e=5e5)] * 10 + quiet)])
    assert (found["sequential"], found["rejected"]) == (10, 0)
    assert found["run_e_value"] == pytest.approx(5000)
    assert found["largest_e_value"] == pytest.approx(5e5 / 991)


def test_only_what_ought_to_hold_can_be_an_alarm() -> None:
    wrong = record(3.0)
    assert ought_to_hold(row([wrong]), wrong)
    assert not ought_to_hold(row([wrong], Verdict.DISAGREES), wrong)
    assert ought_to_hold(row([], Verdict.DISAGREES), record(3.0, role="correction"))
    assert ought_to_hold(row([], Verdict.DISAGREES), record(3.0, expected="AGREES"))
    assert not ought_to_hold(row([]), record(3.0, role="control"))
    assert not ought_to_hold(row([]), judge(0.0, exact(1.0), margin=0.5, claim="G2"))
    with pytest.raises(ValueError, match="random check"):
        e_value(judge(0.0, exact(1.0), margin=0.5, claim="G2"))


def test_alarms_of_a_run_under_the_statements_are_within_the_budget() -> None:
    """20,000 runs of 50 checks of true statements: half of them rejected with probability 1e-4 by an interval, half with heavy e-values.

    Both laws have the greatest mean allowed, or nearly: 1e4 with probability 1e-4, and P(e > x) = 1/(20x) up to 1e6, of mean 0.89.
    """
    generator = np.random.default_rng([20230604, 77])
    fixed = np.where(generator.random((20_000, 25)) < 1e-4, 1e4, 0.0)
    sequential = np.minimum(1 / (20 * generator.random((20_000, 25))), 1e6)
    every = np.concatenate([fixed, sequential], axis=1)
    alarms = sum(bool((adjusted_e_values(run) >= 1000).any()) for run in every[every.max(axis=1) >= 1000])
    assert stats.binom.sf(alarms - 1, 20_000, FALSE_ALARM_BUDGET) > 1e-6
