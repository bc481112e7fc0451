"""Stored trust data: written and read again unchanged, foreign files refused in one line, reports without them still read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reports.html import render_html
from reports.schema import problems_with
from reports.trust import FILES, read_trust, trust_part, trust_view, write_trust

KILL = dict.fromkeys(FILES["kill_matrix"], "x") | {"fault": "<b>", "room": "theory", "claim": "G2"}


def test_rows_come_back_and_bytes_repeat(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_trust(tmp_path / folder, {"kill_matrix": [KILL]})
    assert read_trust(tmp_path / "one") == {"kill_matrix": [KILL], "calibration": [], "seed_sets": [], "mutants": []}
    first, second = (tmp_path / folder / "kill_matrix.json" for folder in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2, "rows": []}', '{"version": 1, "rows": [{"fault": "x"}]}'])
def test_foreign_files_are_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "kill_matrix.json").write_text(text)
    with pytest.raises(ValueError, match="must hold") as error:
        read_trust(tmp_path)
    assert "\n" not in str(error.value)


def test_unknown_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got 'hunches'"):
        write_trust(tmp_path, {"hunches": []})


def test_reports_without_trust_data_still_read(written: Path) -> None:
    document = json.loads((written / "report.json").read_text(encoding="utf-8"))
    assert document["trust"]["kill_matrix"]
    del document["trust"]
    assert list(problems_with(document | {"schema_version": "1.0"})) == []
    view = trust_view(document)
    assert (view["faults"], view["alarms"], view["curves"]) == (0, [], [])
    assert view["ledger"]


def test_ledger_adds_up_to_the_budget(written: Path) -> None:
    document = json.loads((written / "report.json").read_text(encoding="utf-8"))
    ledger = trust_view(document)["ledger"]
    assert sum(row["random"] for row in ledger) == document["budget"]["random_checks"]
    assert sum(row["spent"] for row in ledger) == pytest.approx(document["budget"]["false_alarm_bound"], abs=1e-12)


SEED_SETS = [
    {
        "test": "tests/claims/test_rank_one_recursion.py",
        "claim": "D10",
        "regime": "trained network · clusters",
        "code": "abc",
        "sets": 12,
        "passed": 11,
        "failed": [7],
        "first": 1,
        "last": 12,
    },
    {
        "test": "tests/claims/test_finite_width.py",
        "claim": "G2",
        "regime": "algebra · any",
        "code": "abc",
        "sets": 12,
        "passed": 12,
        "failed": [],
        "first": 1,
        "last": 12,
    },
]
SURVIVOR = {"line": 3, "code": "BLOCK = 128", "old": "128", "new": "129", "why": "block size", "equivalent": True}
MUTANTS = [
    {
        "module": "theory/alpha.py",
        "code": "abc",
        "mutants": 40,
        "judged": 20,
        "killed": 18,
        "survivors": [SURVIVOR, SURVIVOR | {"equivalent": False, "why": "no test"}],
        "sample": [],
    }
]


def test_seed_sets_and_mutants_reach_the_page(tmp_path: Path, written: Path) -> None:
    write_trust(tmp_path, {"seed_sets": SEED_SETS, "mutants": MUTANTS})
    document = json.loads((written / "report.json").read_text(encoding="utf-8"))
    document["trust"] |= {name: read_trust(tmp_path)[name] for name in ("seed_sets", "mutants")}
    assert list(problems_with(document)) == []
    view = trust_view(document)
    assert (view["seed_sets"]["sets"], view["seed_sets"]["judged"], view["seed_sets"]["failed"]) == (12, 24, 1)
    assert view["seed_sets"]["rows"][0]["claim"] == "D10", "a row that failed comes first"
    mutants = view["mutants"]
    assert (mutants["judged"], mutants["killed"], mutants["survivors"], mutants["equivalent"]) == (20, 18, 2, 1)
    assert mutants["share"] == 18 / 19
    page = render_html(document, {})
    assert "passed 11 of 12" in page.replace("\n", " ")
    assert "BLOCK = 128" in page


def test_sets_of_earlier_code_are_called_so(written: Path) -> None:
    document = json.loads((written / "report.json").read_text(encoding="utf-8"))
    rows = [SEED_SETS[0] | {"earlier": True}, SEED_SETS[1] | {"earlier": False}, SEED_SETS[1] | {"sets": 0, "passed": 0, "earlier": True}]
    document["trust"] |= {"seed_sets": rows}
    assert list(problems_with(document)) == []
    view = trust_view(document)["seed_sets"]
    assert (view["earlier"], view["names"], len(view["rows"])) == (1, 2, 2), "a row that did not run is none"
    page = render_html(document, {})
    assert page.count("by earlier code") == 1
    assert "Of 1 rows some code has changed since" in page


def test_a_report_says_whose_code_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [SEED_SETS[0] | {"test": "tests/claims/test_one.py"}, SEED_SETS[1] | {"test": "tests/claims/test_other.py"}]
    monkeypatch.setattr("reports.trust.read_trust", lambda: {"seed_sets": rows})
    monkeypatch.setattr(
        "reports.trust.claim_code", lambda: {"tests/claims/test_one.py": rows[0]["code"], "tests/claims/test_other.py": "new"}
    )
    assert [row["earlier"] for row in trust_part()["seed_sets"]] == [False, True]


def test_pages_without_them_say_nothing_of_them(written: Path) -> None:
    document = json.loads((written / "report.json").read_text(encoding="utf-8"))
    document["trust"] |= {"seed_sets": [], "mutants": []}
    document["budget"] = {name: value for name, value in document["budget"].items() if "e_value" not in name}
    view = trust_view(document)
    assert view["seed_sets"] is view["mutants"] is view["evidence"] is None
    assert "Seed sets" not in render_html(document, {})
