"""The false-alarm budget of a run: what random checks spend adds up, and the share of one check fits it."""

from __future__ import annotations

import pytest

import reports.budget
import reports.evidence
from empirical.inference import Estimate, exact
from reports.agreement import ClaimResult, Verdict, judge
from reports.budget import FALSE_ALARM_BUDGET, spent


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
