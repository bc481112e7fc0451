"""The command line: exit codes, one-line complaints, and what each command prints."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from reports.__main__ import main
from reports.agreement import ClaimResult
from reports.plain_formulas import plain_formula
from reports.writer import write_report
from tests.support.sample_report import PROVENANCE, sample_results
from theory.claims import CLAIMS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for the harness, which returns made-up results; the real one is tried by its own tests."""
    state = SimpleNamespace(results=sample_results(), problems=[], calls=[])

    def run_claims(selection: list[str], **options: Any) -> SimpleNamespace:
        state.calls.append((selection, options))
        if options["on_progress"]:
            options["on_progress"](1, 2, "judging [bold]")
        return SimpleNamespace(results=state.results, figures=[], provenance=PROVENANCE, problems=state.problems, register=CLAIMS)

    module = ModuleType("reports.harness")
    module.run_claims = run_claims  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reports.harness", module)
    monkeypatch.delenv("CLEAN_PRIORITY_DATA", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it for its workers; the width is then not that of a pipe
    return state


def green() -> list[ClaimResult]:
    return [replace(result, figures=()) for result in sample_results() if result.ok]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def test_report_prints_the_table_and_where_the_report_is(
    harness: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harness.results = green()
    assert main(["report", "--out", str(tmp_path / "r"), "--no-progress"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert (tmp_path / "r" / "report.html").is_file()
    for part in (
        "S1",
        "✓ AGREES",
        "✗ DISAGREES",
        "0.7002",
        "[0.6962, 0.7042]",
        "0.02",
        "Printed statements that the evidence rejects",
        "correct: ",
    ):
        assert part in out
    assert f"all {len(harness.results)} judgements as expected" in out
    assert str(tmp_path / "r" / "report.html") in out.replace("\n", "")


def test_unexpected_verdicts_are_exit_code_one_with_their_failures_in_full(
    harness: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--out", str(tmp_path / "r"), "--no-progress"]) == 1
    out = capsys.readouterr().out
    assert "3 of 11 judgements not as expected" in out
    for result in harness.results:
        for failure in result.failures():
            first = failure.splitlines()[0]
            assert first[:60] in re.sub(r"\s+", " ", out)
        if result.failures():
            assert f"reproduce: {result.command}" in out


def test_not_run_alone_does_not_fail(harness: SimpleNamespace, tmp_path: Path) -> None:
    harness.results = [result for result in sample_results() if result.not_run]
    assert main(["report", "--out", str(tmp_path / "r"), "--no-progress"]) == 0


def test_problems_of_collection_fail(harness: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    harness.results, harness.problems = green(), ["tests/claims/test_x.py: SyntaxError"]
    assert main(["report", "--out", str(tmp_path / "r"), "--no-progress"]) == 1
    assert "tests/claims/test_x.py: SyntaxError" in capsys.readouterr().out


def test_options_reach_the_harness(harness: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.results = green()
    words = [
        "report",
        "D2",
        "G2",
        "D2",
        "--out",
        str(tmp_path / "r"),
        "--tier",
        "standard",
        "--dataset",
        "digits",
        "--seeds",
        "17",
        "--jobs",
        "3",
    ]
    assert main([*words, "--data-root", str(tmp_path), "--store", str(tmp_path / "s"), "--device", "cpu"]) == 0
    selection, options = harness.calls[0]
    assert selection == ["D2", "G2"]
    assert options["command"].startswith("clean-priority report D2 G2 D2 --out")
    wanted = {
        "tier": "standard",
        "dataset": "digits",
        "seeds": "17",
        "jobs": 3,
        "data_root": tmp_path,
        "store": tmp_path / "s",
        "device": "cpu",
    }
    assert wanted.items() <= options.items()
    monkeypatch.setenv("CLEAN_PRIORITY_DATA", str(tmp_path))
    assert main(["report", "--out", str(tmp_path / "r"), "--no-progress"]) == 0
    assert harness.calls[1][1]["data_root"] == tmp_path


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["report", "G99"], "'G99'"),
        (["report", "--tier", "huge"], "'huge'"),
        (["report", "--jobs", "0"], "got 0"),
        (["report", "--jobs", "many"], "'many'"),
        (["report", "--seeds", "lucky"], "'lucky'"),
        (["report", "--data-root", "no/such/folder"], "no/such/folder"),
        (["report", "--out", "."], "current folder"),
        (["report", "--colour"], "--colour"),
        (["claims", "D99"], "'D99'"),
        (["render", "no/such/report"], "no/such/report"),
        (["compare", "no/a", "no/b"], "no/a"),
        (["compare", "only-one"], "B"),
        (["dance"], "'dance'"),
        ([], "command"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(
    harness: SimpleNamespace,
    words: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert named in one_line(capsys)
    assert harness.calls == []
    assert list(tmp_path.iterdir()) == []


def test_bad_input_found_by_the_harness_is_one_line(
    harness: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("unknown data set 'mnits',\ndid you mean mnist?")

    monkeypatch.setattr(sys.modules["reports.harness"], "run_claims", refuse)
    assert main(["report", "--dataset", "mnits", "--out", str(tmp_path / "r"), "--no-progress"]) == 2
    assert "unknown data set 'mnits', did you mean mnist?" in one_line(capsys)


def test_interruption_is_one_line(
    harness: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["reports.harness"], "run_claims", interrupt)
    assert main(["report", "--out", str(tmp_path / "r"), "--no-progress"]) == 130
    assert "interrupted" in one_line(capsys)


def test_claims_lists_the_register(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "180")
    assert main(["claims"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line.strip() and line.split()[0] in CLAIMS] == list(CLAIMS)


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    written = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out in (f"clean-priority {written}\n", "clean-priority (not installed)\n")


def test_claims_shows_one_claim_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "D2"]) == 0
    out = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    claim = CLAIMS["D2"]
    for text in (claim.quote, claim.statement, plain_formula(claim.formula), claim.reason, claim.correction, claim.control):
        assert text in out
    for text in claim.hypotheses:
        words = text.removeprefix("unstated: ").rstrip(".")
        assert words + (" (not stated in the papers)." if words != text.rstrip(".") else ".") in out


def test_render_writes_elsewhere_and_in_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "report"
    write_report(folder, green(), [], PROVENANCE)
    html = (folder / "report.html").read_bytes()
    (folder / "report.html").write_text("damaged")
    assert main(["render", str(folder), "--out", str(tmp_path / "elsewhere")]) == 0
    assert (tmp_path / "elsewhere" / "report.html").read_bytes() == html
    assert (folder / "report.html").read_text() == "damaged"
    assert main(["render", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == html
    assert "report.html" in capsys.readouterr().out


def test_compare_exit_codes(written: Path, report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(written), str(report)]) == 0
    assert "the same" in capsys.readouterr().out
    file = report / "report.json"
    file.write_text(
        file.read_text(encoding="utf-8").replace('"verdict": "ASSUMPTION VIOLATED"', '"verdict": "AGREES"', 1), encoding="utf-8"
    )
    assert main(["compare", str(written), str(report), "--html", str(tmp_path / "c.html")]) == 1
    out = capsys.readouterr().out
    assert "Verdicts that changed" in out
    assert "fixed kernel · digits 7/9" in out
    assert "What changed" in (tmp_path / "c.html").read_text(encoding="utf-8")
    shutil.rmtree(report)
    assert main(["compare", str(written), str(report)]) == 2
    one_line(capsys)


@pytest.mark.parametrize("words", [["--help"], ["report", "--help"], ["claims", "--help"]])
def test_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "usage: clean-priority" in capsys.readouterr().out


def test_light_commands_import_nothing_heavy() -> None:
    code = (
        "import sys; from reports.__main__ import main; main(['claims', 'D2']); main(['--help'])\n"
        "print(sorted({'torch', 'matplotlib', 'xarray', 'sklearn', 'pytest'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.splitlines()[-1] == "[]"
