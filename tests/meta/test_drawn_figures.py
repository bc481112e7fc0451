"""What row R6 looks at: bands and theory in the arrays that claim tests hand over, series by series."""

from __future__ import annotations

import numpy as np
import pytest

from reports.evidence import Agreement
from reports.figure_data import FigureData
from tests.support.drawn_figures import BAND, THEORY, Untold, claims_of, drawn, rows, series_of, series_without, stripped
from theory.claims import claim as claim_by_id

ONE = np.ones(3)
WHOLE = {"p|a/x": ONE, "p|a/measured": ONE, "p|a/lower": 0 * ONE, "p|a/upper": ONE, "p|a/prediction": ONE}


def figure(arrays: dict[str, np.ndarray], kind: str = "figure_5") -> FigureData:
    return FigureData("f", kind, "title", "caption", "F5", arrays)


@pytest.mark.parametrize(
    ("change", "band", "theory"),
    [
        ({}, [], []),
        ({"p|b/measured": ONE}, ["p|b"], ["p|b"]),
        ({"p|a/upper": 0 * ONE}, ["p|a"], []),  # no wider than nothing
        ({"p|a/prediction": np.nan * ONE}, [], ["p|a"]),  # nowhere
        ({"h/angle": ONE, "h/predicted": ONE, "h/lower": 0 * ONE, "h/upper": ONE}, [], []),
        # A line alone is the theory of its panel, and of no other.
        ({"p|b/measured": ONE, "p|limit/prediction": ONE}, ["p|b"], []),
        ({"p|b/measured": ONE, "q|limit/prediction": ONE}, ["p|b"], ["p|b"]),
        ({"cloud/x": ONE, "cloud/y": ONE}, [], []),  # nothing is measured there
    ],
)
def test_series_without_band_or_theory(change: dict[str, np.ndarray], band: list[str], theory: list[str]) -> None:
    made = figure(WHOLE | change)
    assert series_without(made, BAND) == band
    assert series_without(made, THEORY) == theory
    for columns in (BAND, THEORY):
        assert series_without(stripped(made, columns), columns) == series_of(made)


@pytest.mark.claim("F5")
@pytest.mark.regime("model", "data")
@pytest.mark.experiments("digits-7-9")
def drawing(agreement: Agreement) -> None:
    agreement.figure("comparison", title="", caption="", arrays=WHOLE)
    agreement.figure("figure_5", title="", caption="", arrays=WHOLE)


@pytest.mark.claim("F6")
@pytest.mark.parametrize("choice", [pytest.param(c, marks=pytest.mark.regime(f"model {c}", "data")) for c in "ab"])
def skipping(agreement: Agreement, choice: str) -> None:
    agreement.figure("figure_6", title="", caption="", arrays=WHOLE)
    if choice == "b":
        pytest.skip("later")


def notebook(claim: str, model: str, data: str) -> Agreement:
    def none(*_: object, **__: object) -> None:
        raise AssertionError("nothing is measured here")

    return Agreement(
        claim_by_id(claim),
        model=model,
        data=data,
        expected=claim_by_id(claim).expected,  # type: ignore[arg-type]
        expected_reason="",
        command="",
        tier="quick",
        rng=np.random.default_rng(0),
        seed_salt="",
        measure=none,  # type: ignore[arg-type]
        replicates=none,  # type: ignore[arg-type]
        load=none,  # type: ignore[arg-type]
    )


def test_cases_come_from_the_marks_and_figures_from_the_notebook() -> None:
    assert claims_of(drawing) == ["F5"]
    assert claims_of(ONE) == []
    assert [(row.claim, row.model, row.arguments) for row in rows(skipping)] == [
        ("F6", "model a", {"choice": "a"}),
        ("F6", "model b", {"choice": "b"}),
    ]
    handed = list(drawn([drawing, skipping], notebook))
    assert [(row.model, found.kind) for row, found in handed] == [("model", "figure_5"), ("model a", "figure_6")]


def test_a_listed_series_is_that_of_its_kind_regime_name_and_tier() -> None:
    one = Untold(kinds=("figure_5",), reason="why", model="mod*", series="*|a", tiers=("full",))
    (row,) = rows(drawing)
    assert one.holds(row, "figure_5", "p|a", "full")
    for kind, series, tier in (("figure_6", "p|a", "full"), ("figure_5", "p|b", "full"), ("figure_5", "p|a", "quick")):
        assert not one.holds(row, kind, series, tier)
    assert not Untold(kinds=("figure_5",), reason="why", data="other").holds(row, "figure_5", "p|a", "full")
