"""Writing a report: complete, strict, all or nothing, and the same bytes for the same records."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import reports.drawings
import reports.writer
from reports.agreement import ClaimResult, Verdict
from reports.document import NOT_JUDGED, NOT_SELECTED, build_document, number
from reports.figure_data import FigureData
from reports.figure_store import arrays_from_csv, arrays_to_csv
from reports.schema import read_report
from reports.writer import redraw, write_report
from tests.support.sample_report import PROVENANCE, sample_figures, sample_results
from theory.claims import CLAIMS


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def small() -> list[FigureData]:
    x = np.linspace(0.0, 1.0, 4)
    return [FigureData("line", "comparison", "A line", "Straight.", "G1", {"line/x": x, "line/prediction": x})]


def test_every_form_is_there(written: Path) -> None:
    names = set(contents(written))
    assert {"report.json", "report.html", "report.md"} <= names
    for figure in sample_figures():
        assert {f"figures/{figure.id}.{end}" for end in ("svg", "png", "csv")} <= names
    assert len(names) == 3 + 3 * len(sample_figures()) + 1  # figures/drawn.json


def test_every_register_claim_has_a_row(written: Path) -> None:
    rows = read_report(written)["claims"]
    assert list(dict.fromkeys(row["id"] for row in rows)) == list(CLAIMS)
    silent = [row for row in rows if row["reason"] == NOT_JUDGED]
    assert len(silent) == len(CLAIMS) - len({result.claim for result in sample_results()})
    assert all(row["verdict"] == "NOT RUN" and not row["ok"] and not row["failures"] for row in silent)


def test_unselected_claims_say_so() -> None:
    document = build_document([], [], {}, selection=["G2"])
    reasons = {row["id"]: row["reason"] for row in document["claims"]}
    assert reasons["G2"] == NOT_JUDGED
    assert {reason for id, reason in reasons.items() if id != "G2"} == {NOT_SELECTED}


def test_rows_that_the_harness_fills_in_have_no_regime() -> None:
    filled = ClaimResult("S3", "none", "none", Verdict.AGREES, "", not_run=NOT_JUDGED)
    row = next(row for row in build_document([filled], [], {})["claims"] if row["id"] == "S3")
    assert (row["regime"], row["model"], row["reason"]) == ("", "", NOT_JUDGED)


def test_summary_counts_every_row(written: Path) -> None:
    document = read_report(written)
    summary, rows = document["summary"], document["claims"]
    assert sum(summary["verdicts"].values()) == len(rows)
    assert summary["as_expected"] + summary["not_as_expected"] == summary["rows"] == len(rows) - summary["verdicts"]["NOT RUN"]
    assert summary["not_as_expected"] == 3  # D10 (NaN), X1 (exception), X4 (unexpected verdict) of the sample
    assert {row["id"] for row in rows if row["failures"]} == {"D10", "X1", "X4"}


def test_json_is_strict_and_nan_is_null(written: Path) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in report.json")

    document = json.loads((written / "report.json").read_text(encoding="utf-8"), parse_constant=refuse)
    broken = next(row for row in document["claims"] if row["id"] == "D10" and row["verdict"] == "ERROR")
    assert broken["prediction"] is None
    assert broken["checks"][0]["deviation"] is None


@pytest.mark.parametrize(
    ("value", "stored"), [(math.nan, None), (math.inf, "inf"), (-math.inf, "-inf"), (np.float32(0.5), 0.5), (-0.0, 0.0)]
)
def test_number(value: float, stored: object) -> None:
    assert number(value) == stored


def test_same_records_same_bytes_and_render_redraws_them(written: Path, tmp_path: Path) -> None:
    records = tmp_path / "records"
    shutil.copytree(written, records, ignore=shutil.ignore_patterns("drawn.json"))  # so that nothing drawn is taken over
    redraw(records, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(written)
    redraw(written, tmp_path / "taken-over")
    assert contents(tmp_path / "taken-over") == contents(written)


def test_a_failure_leaves_the_old_report(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(report)

    def fail(*_: object) -> tuple[str, bytes]:
        raise ValueError("the pen broke")

    monkeypatch.setattr(reports.drawings, "render", fail)
    with pytest.raises(ValueError, match="the pen broke"):
        write_report(report, sample_results(), small(), PROVENANCE)
    assert contents(report) == before
    assert [path.name for path in report.parent.iterdir()] == [report.name]


def test_a_failure_of_the_exchange_brings_the_old_report_back(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = contents(report), reports.writer.os.replace

    def fail_second(source: Path, target: Path) -> None:
        if ".new-" in str(source):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(reports.writer.os, "replace", fail_second)
    with pytest.raises(ValueError, match="No space left"):
        write_report(report, [], small(), PROVENANCE)
    assert contents(report) == before
    assert [path.name for path in report.parent.iterdir()] == [report.name]


def test_replacing_drops_old_figures_and_keeps_foreign_files(report: Path) -> None:
    (report / "junit.xml").write_text("<testsuite/>")
    write_report(report, [], small(), PROVENANCE)
    names = set(contents(report))
    assert "junit.xml" in names
    assert {name for name in names if name.startswith("figures/")} == {
        "figures/line.svg",
        "figures/line.png",
        "figures/line.csv",
        "figures/drawn.json",
    }


def test_foreign_folders_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "chapter1.tex").write_text("hello")
    with pytest.raises(ValueError, match="something else than a report"):
        write_report(mine, [], [], {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="got a file"):
        write_report(tmp_path / "file", [], [], {})
    with pytest.raises(ValueError, match="cannot be"):
        write_report(tmp_path / "file" / "below", [], [], {})
    monkeypatch.chdir(mine)
    (mine / "report.json").write_text("{}")
    for here in (".", ".."):
        with pytest.raises(ValueError, match="current folder"):
            write_report(here, [], [], {})
    assert contents(mine) == {"chapter1.tex": b"hello", "report.json": b"{}"}


def test_bad_results_are_refused_by_name(tmp_path: Path) -> None:
    result, figure = sample_results()[0], small()[0]
    with pytest.raises(ValueError, match="two results for the regime 'algebra · random networks'"):
        write_report(tmp_path / "a", [result, result], [], {})
    with pytest.raises(ValueError, match="figure ids must differ"):
        write_report(tmp_path / "a", [], [figure, replace(figure, id="LINE")], {})
    for name in ("../line", "a/b", "", ".hidden", "<b>"):
        with pytest.raises(ValueError, match="figure id"):
            write_report(tmp_path / "a", [], [replace(figure, id=name)], {})
    with pytest.raises(ValueError, match="kind 'pie'"):
        write_report(tmp_path / "a", [], [replace(figure, kind="pie")], {})
    assert list(tmp_path.iterdir()) == []


def test_provenance_of_any_plain_kind_is_kept(tmp_path: Path) -> None:
    odd = {"path": Path("a/b"), "n": np.int64(3), "x": np.float32(0.5), "bad": math.nan, "flags": (True, None), "deep": {"s": {"b", "a"}}}
    document = write_report(tmp_path / "a", [], [], odd)
    expected = {"path": "a/b", "n": 3, "x": 0.5, "bad": None, "flags": [True, None], "deep": {"s": ["a", "b"]}}
    assert document["provenance"] == expected
    assert read_report(tmp_path / "a")["provenance"] == expected


def test_problems_are_stored_and_shown(tmp_path: Path) -> None:
    write_report(tmp_path / "a", [], [], {}, problems=["tests/claims/test_x.py: SyntaxError <here>"])
    assert read_report(tmp_path / "a")["problems"] == ["tests/claims/test_x.py: SyntaxError <here>"]
    assert "SyntaxError &lt;here&gt;" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert "SyntaxError \\<here\\>" in (tmp_path / "a" / "report.md").read_text(encoding="utf-8")


def test_arrays_survive_csv_bit_for_bit() -> None:
    rng = np.random.default_rng(5)
    arrays = {
        "a/x": rng.standard_normal(7) * 10.0 ** rng.integers(-300, 300, 7),
        "a/odd": np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308]),
        "a/single": rng.standard_normal(3).astype(np.float32),
        "b/count": np.array([1, -(2**62)]),
        "b/flag": np.array([True, False]),
        "b/name": np.array(["plain", 'quo"te, comma', "line\nbreak"]),
        "c/points": rng.standard_normal((4, 2)),
        "c/none": np.empty(0),
        "c/scalar": np.array(3.5),
    }
    document = build_document([], [FigureData("f", "comparison", "", "", "G1", arrays)], {})
    read = arrays_from_csv(arrays_to_csv(arrays), document["figures"][0]["columns"])
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert (read[name].shape, read[name].dtype.kind) == (array.shape, array.dtype.kind), name
        if array.dtype.kind == "U":
            assert (read[name] == array).all()
        else:
            assert read[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("array", [np.array([object()]), np.array([1j]), np.zeros((2, 2, 2))])
def test_arrays_that_no_csv_holds_are_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="array 'a/x'"):
        arrays_to_csv({"a/x": array})


@pytest.mark.parametrize("damage", ["missing", "short", "words", "renamed"])
def test_damaged_figure_data_is_one_line(report: Path, damage: str) -> None:
    file = report / "figures" / "figure-2.csv"
    text = file.read_text(encoding="utf-8")
    if damage == "missing":
        file.unlink()
    else:
        file.write_text(
            {"short": text[: len(text) // 2], "words": text.replace("0.0", "zero"), "renamed": text.replace("curve/x", "y")}[damage]
        )
    with pytest.raises(ValueError, match=r"figure-2\.csv") as caught:
        redraw(report)
    assert "\n" not in str(caught.value)


def test_markdown_names_every_judged_claim_and_escapes(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    for result in sample_results():
        assert f"## {result.claim} · " in text
    assert "got \\<0\\> & less" in text
    assert "Command: `clean-priority report D2 --seeds rule`" in text
    assert "Hardware: a processor of eight cores, 8 cores, Linux" in text
