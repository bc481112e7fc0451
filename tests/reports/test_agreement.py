"""The decision rules of judge() and of ClaimResult: inside, outside, across the edge; arrays, ranges, NaN; what makes a row red."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empirical.inference import Estimate
from reports.agreement import AgreementRecord, ClaimResult, Margin, Range, Role, Verdict, judge


def estimate(value: float | list[float], half: float = 0.1, confidence: float = 0.999) -> Estimate:
    center = np.asarray(value, dtype=float)
    return Estimate(value=center, lower=center - half, upper=center + half, confidence=confidence, n_seeds=50, method="made up")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (1.0, Verdict.AGREES),  # [0.9, 1.1] within 1 ± 0.5
        (1.4, Verdict.AGREES),  # [1.3, 1.5] touches the edge from inside
        (1.45, Verdict.INCONCLUSIVE),  # [1.35, 1.55] straddles
        (1.55, Verdict.INCONCLUSIVE),  # the value is outside, the interval is not
        (1.7, Verdict.DISAGREES),  # [1.6, 1.8] beyond 1.5
        (0.3, Verdict.DISAGREES),
        (0.55, Verdict.INCONCLUSIVE),
    ],
)
def test_verdict_is_decided_by_the_interval_not_by_the_value(value: float, verdict: Verdict) -> None:
    # 1.4 + 0.1 rounds above 1.5 by one ulp, which is not what this test is about: hence the 1e-12.
    assert judge(1.0, estimate(value), margin=0.5 + 1e-12, claim="G2").verdict is verdict


def test_wide_interval_around_the_prediction_is_not_agreement() -> None:
    assert judge(1.0, estimate(1.0, half=5.0), margin=0.5, claim="G2").verdict is Verdict.INCONCLUSIVE


@given(
    value=st.floats(-10, 10),
    half=st.floats(0, 5),
    prediction=st.floats(-10, 10),
    margin=st.just(0.0) | st.floats(1e-290, 5),
)
def test_verdict_is_one_of_three_and_symmetric(value: float, half: float, prediction: float, margin: float) -> None:
    record = judge(prediction, estimate(value, half), margin=margin, claim="G2")
    mirrored = judge(-prediction, estimate(-value, half), margin=margin, claim="G2")
    assert record.verdict in (Verdict.AGREES, Verdict.DISAGREES, Verdict.INCONCLUSIVE)
    assert record.verdict is mirrored.verdict
    inside = prediction - margin <= value - half and value + half <= prediction + margin
    assert (record.verdict is Verdict.AGREES) == inside


def test_arrays_are_compared_one_by_one_never_crosswise() -> None:
    """Two estimates in a column against two predictions in a row would be four comparisons, two of them of different things."""
    with pytest.raises(ValueError, match="compared one by one"):
        judge(np.zeros(2), estimate([[0.0], [0.1]]), margin=1.0, claim="G2")  # type: ignore[list-item]
    assert judge(0.0, estimate([0.0, 0.1]), margin=np.array([1.0, 2.0]), claim="G2").components == 2


def test_array_disagrees_if_one_component_does_and_reports_that_component() -> None:
    record = judge(np.zeros(4), estimate([0.0, 0.1, 3.0, 2.0]), margin=1.0, claim="G2")
    assert record.verdict is Verdict.DISAGREES
    assert (record.estimate, record.components) == (3.0, 4)
    assert record.deviation == pytest.approx(3.0, rel=1e-15)


def test_array_is_inconclusive_if_one_component_straddles() -> None:
    record = judge(np.zeros(3), estimate([0.0, 0.95, 0.2]), margin=1.0, claim="G2")
    assert (record.verdict, record.estimate) == (Verdict.INCONCLUSIVE, 0.95)


def test_array_agrees_only_together_and_names_the_most_strained_component() -> None:
    record = judge([0.0, 1.0], estimate([0.1, 1.4]), margin=[0.5, 1.0], claim="G2")
    # Far ends: 0.2 of 0.5 (strain 0.4) and 0.5 of 1.0 (strain 0.5).
    assert (record.verdict, record.estimate, record.margin) == (Verdict.AGREES, 1.4, 1.0)


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.3, Verdict.AGREES), (-0.3, Verdict.DISAGREES), (-0.05, Verdict.INCONCLUSIVE), (1e6, Verdict.AGREES)]
)
def test_one_sided_range(value: float, verdict: Verdict) -> None:
    assert judge(Range(lower=0.0), estimate(value), margin=0.01, claim="G2").verdict is verdict


def test_range_reports_the_nearest_allowed_value() -> None:
    record = judge(Range(0.0, 1.0), estimate(1.5), margin=0.1, claim="G2")
    assert (record.prediction, record.verdict) == (1.0, Verdict.DISAGREES)
    assert judge(Range(0.0, 1.0), estimate(0.4), margin=0.1, claim="G2").deviation == 0.0


@pytest.mark.parametrize("prediction", [math.nan, [0.0, math.nan]])
def test_nan_is_an_error_never_a_pass(prediction: object) -> None:
    record = judge(prediction, estimate([0.0, 0.0]), margin=1.0, claim="G2")
    assert record.verdict is Verdict.ERROR
    assert not record.ok


def test_zero_margin_agrees_only_exactly() -> None:
    assert judge(1.0, estimate(1.0, half=0.0), margin=0.0, claim="G2").verdict is Verdict.AGREES
    missed = judge(1.0, estimate(1.0 + 2**-52, half=0.0), margin=0.0, claim="G2")
    assert (missed.verdict, missed.deviation) == (Verdict.DISAGREES, math.inf)


@pytest.mark.parametrize(
    ("margin", "named"),
    [
        (-0.1, "-0.1"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        ({}, "at least one term"),
        ({"rounding": -1e-9}, "rounding"),
        ([0.1, -0.2], "-0.2"),
    ],
)
def test_bad_margin_is_refused_by_name(margin: object, named: str) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        judge(1.0, estimate(1.0), margin=margin, claim="G2")  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_margin_is_the_sum_of_its_terms() -> None:
    record = judge(0.0, estimate(0.0), margin=Margin({"rounding": 0.25, "finite width": 0.5}), claim="G2")
    assert record.margin == 0.75
    assert record.margin_terms == {"rounding": 0.25, "finite width": 0.5}


def test_detectable_is_sure_to_be_rejected() -> None:
    """A truth off by more than margin + interval width is rejected by every interval of that width that covers it."""
    width, margin = 0.2, 0.5
    record = judge(0.0, estimate(0.0, half=width / 2), margin=margin, claim="G2")
    truth = record.detectable * (1 + 1e-9)
    for place in np.linspace(-0.5, 0.5, 11):  # every interval that covers the truth
        assert judge(0.0, estimate(truth + place * width, half=width / 2), margin=margin, claim="G2").verdict is Verdict.DISAGREES


def test_unknown_claim_and_unfitting_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="G99"):
        judge(0.0, estimate(0.0), margin=1.0, claim="G99")
    with pytest.raises(ValueError, match="broadcast"):
        judge([0.0, 1.0, 2.0], estimate([0.0, 1.0]), margin=1.0, claim="G2")


def test_failure_text_needs_no_debugger() -> None:
    record = judge(0.5, estimate(0.9), margin={"rounding": 1e-9, "finite width": 0.01}, claim="G2", name="cosine", role="correction")
    text = record.describe()
    for part in ("cosine", "DISAGREES", "expected AGREES", "0.5", "0.9", "[0.8, 1]", "rounding", "finite width", "50 seeds"):
        assert part in text


STATEMENT = judge(1.0, estimate(1.0), margin=0.5, claim="G2", name="statement")
REJECTED = judge(1.0, estimate(9.0), margin=0.5, claim="G2", name="statement")
UNCLEAR = judge(1.0, estimate(1.5), margin=0.5, claim="G2", name="statement")
CONTROL = judge(1.0, estimate(9.0), margin=0.5, claim="G2", name="control", role=Role.CONTROL)
HELD = judge(1.0, estimate(1.0), margin=0.5, claim="G2", name="hypothesis", role=Role.HYPOTHESIS)
BROKEN = judge(1.0, estimate(9.0), margin=0.5, claim="G2", name="hypothesis", role=Role.HYPOTHESIS)


def row(*records: AgreementRecord, expected: Verdict = Verdict.AGREES, claim: str = "G2", **more: str) -> ClaimResult:
    return ClaimResult(claim=claim, model="algebra", data="any", expected=expected, expected_reason="by design", records=records, **more)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        ((STATEMENT, CONTROL), Verdict.AGREES),
        ((STATEMENT, REJECTED, CONTROL), Verdict.DISAGREES),
        ((STATEMENT, UNCLEAR, CONTROL), Verdict.INCONCLUSIVE),
        ((REJECTED, UNCLEAR), Verdict.DISAGREES),
        ((HELD, STATEMENT), Verdict.AGREES),
        ((BROKEN, STATEMENT), Verdict.ASSUMPTION_VIOLATED),
        ((BROKEN, REJECTED), Verdict.ASSUMPTION_VIOLATED),
        ((CONTROL,), Verdict.ERROR),  # a control alone judges nothing
        ((HELD, CONTROL), Verdict.ERROR),  # nor does a hypothesis that holds
        ((), Verdict.ERROR),
    ],
)
def test_verdict_of_a_row(records: tuple[AgreementRecord, ...], verdict: Verdict) -> None:
    assert row(*records).verdict is verdict


def test_green_needs_the_expected_verdict_and_a_control() -> None:
    assert row(STATEMENT, CONTROL).ok
    assert any("negative control" in text for text in row(STATEMENT).failures())
    assert any("expected AGREES" in text for text in row(REJECTED, CONTROL).failures())
    assert any("no check" in text for text in row().failures())


def test_better_than_expected_is_red_too() -> None:
    assert not row(STATEMENT, CONTROL, expected=Verdict.DISAGREES).ok


def test_a_control_that_passes_is_red() -> None:
    passing = replace(CONTROL, verdict=Verdict.AGREES)
    assert row(STATEMENT, CONTROL).ok
    assert any("check not as expected" in text for text in row(STATEMENT, passing).failures())
    undecided = replace(CONTROL, verdict=Verdict.INCONCLUSIVE)
    assert not row(STATEMENT, undecided).ok


def test_rejection_of_a_printed_form_needs_its_correction() -> None:
    rejected = judge(1.0, estimate(9.0), margin=0.5, claim="D2", name="printed")
    control = replace(rejected, role=Role.CONTROL)
    corrected = judge(9.0, estimate(9.0), margin=0.5, claim="D2", name="corrected", role=Role.CORRECTION)
    assert any("correction" in text for text in row(rejected, control, claim="D2", expected=Verdict.DISAGREES).failures())
    assert row(rejected, control, corrected, claim="D2", expected=Verdict.DISAGREES).ok
    wrong = judge(1.0, estimate(9.0), margin=0.5, claim="D2", name="corrected", role=Role.CORRECTION)
    assert not row(rejected, control, wrong, claim="D2", expected=Verdict.DISAGREES).ok


def test_error_and_not_run_are_never_green() -> None:
    broken = row(STATEMENT, CONTROL, error="ValueError: no")
    assert (broken.verdict, broken.ok, broken.failures()) == (Verdict.ERROR, False, ["ValueError: no"])
    absent = row(not_run="MNIST was not found")
    assert (absent.verdict, absent.ok, absent.failures()) == (Verdict.NOT_RUN, False, [])


def test_headline_is_the_check_that_decided() -> None:
    assert row(STATEMENT, REJECTED, CONTROL).headline is REJECTED
    assert row(BROKEN, STATEMENT).headline is BROKEN
    assert row().headline is None
