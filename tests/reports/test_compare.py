"""Two reports side by side: what counts as a change and what does not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from reports.compare import changed, compare, comparison_html
from reports.schema import read_report
from reports.wording import outcome


@pytest.fixture
def document(written: Path) -> dict[str, Any]:
    return read_report(written)


def row(document: dict[str, Any], id: str, regime: str = "") -> dict[str, Any]:
    return next(row for row in document["claims"] if row["id"] == id and regime in row["regime"])


def test_a_report_equals_itself(document: dict[str, Any]) -> None:
    result = compare(document, copy.deepcopy(document))
    assert (result["verdicts"], result["effects"], result["provenance"]) == ([], [], [])
    assert not changed(result)
    assert result["checks"] == document["summary"]["checks"]


def test_provenance_alone_is_shown_but_no_change(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    other["provenance"]["commit"] = "fedcba"
    result = compare(document, other)
    assert result["provenance"] == [{"name": "commit", "before": document["provenance"]["commit"], "after": "fedcba"}]
    assert not changed(result)


def test_changed_verdict_is_found(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    row(other, "D2", "clusters")["verdict"] = "INCONCLUSIVE"
    result = compare(document, other)
    assert result["verdicts"] == [{"id": "D2", "regime": "fixed kernel · clusters", "before": "DISAGREES", "after": "INCONCLUSIVE"}]
    assert changed(result)


def test_lost_and_new_rows_are_changes(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    other["claims"] = [one for one in other["claims"] if not (one["id"] == "G2" and "unit pairs" in one["regime"])]
    lost = compare(document, other)["verdicts"]
    assert lost == [{"id": "G2", "regime": "network at initialisation · unit pairs", "before": "AGREES", "after": ""}]
    found = compare(other, document)
    assert found["verdicts"][0]["after"] == "AGREES"
    assert outcome(found).startswith("0 verdicts and 0 effects changed among ")
    assert outcome(found).endswith(" that both reports have; 1 judgement is new.")
    assert outcome(found) in comparison_html(found, before="a", after="b")


def test_a_row_that_never_ran_on_either_side_is_no_change(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    other["claims"] = [one for one in other["claims"] if one["reason"] != "no test judges this claim yet"]
    assert not changed(compare(document, other))


@pytest.mark.parametrize(
    ("shift", "moved"),
    [(0.003, False), (0.0079, False), (0.0081, True), (-0.0081, True)],  # the two intervals are 0.008 wide
)
def test_effects_move_when_their_intervals_part(document: dict[str, Any], shift: float, moved: bool) -> None:
    other = copy.deepcopy(document)
    check = next(check for check in row(other, "D2", "clusters")["checks"] if check["role"] == "correction")
    check["estimate"] += shift
    check["interval"] = [end + shift for end in check["interval"]]
    result = compare(document, other)
    assert changed(result) is moved
    assert [effect["check"] for effect in result["effects"]] == ([check["name"]] if moved else [])


def test_rounding_of_exact_values_is_no_change_but_leaving_the_margin_is(document: dict[str, Any]) -> None:
    for value, moved in ((5e-13, False), (1e-9, True)):  # margin 1e-10, was 3e-13
        other = copy.deepcopy(document)
        check = row(other, "S1")["checks"][0]
        check["estimate"], check["interval"] = value, [value, value]
        assert changed(compare(document, other)) is moved


def test_a_value_that_vanishes_is_a_change(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    row(other, "G2")["checks"][0]["estimate"] = None
    assert len(compare(document, other)["effects"]) == 1


def test_page_shows_the_changes_and_escapes(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    row(other, "D2", "clusters")["verdict"] = "ERROR"
    other["provenance"]["commit"] = "<script>alert(1)</script>"
    result = compare(document, other)
    page = comparison_html(result, before="old <b>", after="new")
    assert "What changed" in page
    assert "fixed kernel · clusters" in page
    assert "<script" not in page
    assert "old &lt;b&gt;" in page
    same = comparison_html(compare(document, document), before="a", after="b")
    assert "The same" in same


def test_comparison_is_plain_data(document: dict[str, Any]) -> None:
    result = compare(document, copy.deepcopy(document))
    assert json.loads(json.dumps(result)) == result
