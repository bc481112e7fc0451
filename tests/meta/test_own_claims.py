"""Claims of one's own: a file outside the repository is judged by the same harness, and what is wrong with it stops the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.__main__ import main
from reports.own_claims import load_own_claims
from theory.claims import CLAIMS

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
TUTORIAL = ROOT / "docs" / "tutorials" / "leaky_relu.py"

ENTRY = """
import pytest
from empirical.inference import exact
from theory.claims import Claim

def entry(id, **changes):
    fields = dict(title="Own", sources=(), quote="", statement="One is one.", formula="1 = 1", hypotheses=(), kind="exact", audit="OK",
                  expected="AGREES", reason="Arithmetic.", control="Two is rejected.")
    return Claim(id=id, **(fields | changes))
"""
CLAIM = 'CLAIMS = (entry("U7"),)\n'
TEST = """
@pytest.mark.claim("U7")
@pytest.mark.regime("algebra", "any")
def test_one(agreement):
    agreement.check("one", prediction=1.0, estimate=exact({found}), margin={{"rounding": 1e-12}})
    agreement.control("two", prediction=2.0, estimate=exact(1.0), margin={{"rounding": 1e-12}})
"""


def run(pytester: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    """Judge one file of own claims in a folder without any configuration."""
    (pytester.path / "mine.py").write_text(ENTRY + body)
    store = f"--store={pytester.path / 'store'}"
    return pytester.runpytest_inprocess("-p", "reports.plugin", "-p", "no:cacheprovider", store, "--claims", "mine.py", *options)


def test_an_own_claim_is_judged_and_shown(pytester: pytest.Pytester) -> None:
    result = run(pytester, CLAIM + TEST.format(found=1.0), "--agreement-report=report")
    result.assert_outcomes(passed=1)
    report = json.loads((pytester.path / "report" / "report.json").read_text())
    assert [claim["id"] for claim in report["register"]] == [*CLAIMS, "U7"]
    (row,) = [row for row in report["claims"] if row["id"] == "U7"]
    assert row["verdict"] == "AGREES"
    assert row["command"] == "pytest -p reports.plugin --claims mine.py -k test_one"
    assert {row["verdict"] for row in report["claims"] if row["id"] != "U7"} == {"NOT RUN"}
    page = (pytester.path / "report" / "report.html").read_text()
    assert "Claims of one&#39;s own" in page
    assert "One is one." in page
    assert "U7" not in CLAIMS


def test_only_the_file_is_judged_unless_tests_are_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_other="def test_other(): pass")
    run(pytester, CLAIM + TEST.format(found=1.0)).assert_outcomes(passed=1)
    run(pytester, CLAIM + TEST.format(found=1.0), "test_other.py").assert_outcomes(passed=2)


def test_an_own_claim_can_fail(pytester: pytest.Pytester) -> None:
    result = run(pytester, CLAIM + TEST.format(found=1.5))
    result.assert_outcomes(failed=1)
    assert "verdict DISAGREES, expected AGREES: Arithmetic." in result.stdout.str()


def test_a_rejected_own_claim_needs_its_correction_judged(pytester: pytest.Pytester) -> None:
    body = 'CLAIMS = (entry("U7", expected="DISAGREES", correction="One and a half."),)\n' + TEST.format(found=1.5)
    result = run(pytester, body)
    result.assert_outcomes(failed=1)
    assert "its correction was not judged" in result.stdout.str()


def test_an_own_claim_without_a_test_did_not_run(pytester: pytest.Pytester) -> None:
    body = 'CLAIMS = (entry("U7"), entry("U8"))\n' + TEST.format(found=1.0)
    run(pytester, body, "--agreement-report=report").assert_outcomes(passed=1)
    rows = json.loads((pytester.path / "report" / "report.json").read_text())["claims"]
    assert [row["verdict"] for row in rows if row["id"] == "U8"] == ["NOT RUN"]


EXPERIMENT = """
import hashlib
from dataclasses import dataclass
import xarray as xr
from empirical.devices import policy

@dataclass(frozen=True)
class Square:
    name: str
    seeds: tuple
    def key(self): return hashlib.sha256(repr(("square", self.seeds)).encode()).hexdigest()
    def measure(self, *, device="auto"):
        with policy(device):
            return xr.Dataset({"square": ("seed", [float(s) ** 2 for s in self.seeds])})

EXPERIMENTS = {"one-squared": Square("one-squared", (1,)), "zero-squared": Square("zero-squared", (0,))}
"""


def test_own_experiments_are_measured_by_workers_and_stored(tmp_path: Path) -> None:
    """Two processes, which have never seen the file; the test of it then reads the store."""
    test = TEST.format(found='float(agreement.measure("one-squared").square[0])').replace(
        "@pytest.mark.regime", '@pytest.mark.experiments("one-squared", "zero-squared")\n@pytest.mark.regime'
    )
    (tmp_path / "mine.py").write_text(ENTRY + EXPERIMENT + CLAIM + test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "reports.plugin", "--store=store", "--jobs=2", "--claims", "mine.py"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert len(list((tmp_path / "store").rglob("*.nc"))) == 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "expected CLAIMS, a tuple of theory.claims.Claim records"),
        ("CLAIMS = ()", "expected CLAIMS"),
        ('CLAIMS = ("U1",)', "expected CLAIMS"),
        ('CLAIMS = (entry("D2"),)', "have ids U1 to U99, got 'D2'"),
        ('CLAIMS = (entry("U0"),)', "id must be one of the letters"),
        ('CLAIMS = (entry("U1"), entry("U1"))', "claim id 'U1' is defined twice"),
        ('CLAIMS = (entry("U1", kind="opinion"),)', "kind must be one of"),
        ("import no_such_module", "cannot be imported: ModuleNotFoundError"),
        ("def f(:", "cannot be imported: SyntaxError"),
        (CLAIM + "EXPERIMENTS = [1]", "EXPERIMENTS must be a mapping"),
        (CLAIM + 'EXPERIMENTS = {"a": 1}', "must be a frozen specification"),
        (EXPERIMENT + CLAIM + 'EXPERIMENTS = {"clusters": Square("clusters", (1,))}', "the name of experiment 'clusters' is taken"),
        (CLAIM + TEST.format(found=1.0).replace('"U7"', '"U9"'), "unknown claim id 'U9'"),
        (CLAIM + TEST.format(found=1.0).replace("@pytest.mark.regime", '@pytest.mark.experiments("none")\n@pytest.mark.regime'), "'none'"),
    ],
)
def test_a_file_with_a_fault_stops_the_run(pytester: pytest.Pytester, body: str, says: str) -> None:
    result = run(pytester, body)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert says in result.stderr.str() + result.stdout.str()


@pytest.mark.parametrize(("name", "says"), [("none.py", "no such file"), ("mine.txt", "another file"), (".", "another file")])
def test_files_that_are_none(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ValueError, match=says) as caught:
        load_own_claims([tmp_path / name])
    assert "\n" not in str(caught.value)


def test_two_files_share_one_register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a file that is edited within a second, to the same length, is read again."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text(ENTRY + 'CLAIMS = (entry("U1"),)')
    other.write_text(ENTRY + 'CLAIMS = (entry("U2"),)')
    own = load_own_claims([one, other])
    assert tuple(own.register) == (*CLAIMS, "U1", "U2")
    with pytest.raises(ValueError, match="given twice"):
        load_own_claims([one, one])
    other.write_text(ENTRY + 'CLAIMS = (entry("U1"),)')
    with pytest.raises(ValueError, match="'U1' is defined twice"):
        load_own_claims([one, other])


def test_the_register_of_the_papers_leaves_the_letter_free() -> None:
    assert not [id for id in CLAIMS if id.startswith("U")]


def test_the_command_line_judges_the_tutorial(tmp_path: Path) -> None:
    """As a user types it, from another folder: the file of the tutorial, its claim alone, and the report."""
    command = [sys.executable, "-m", "reports", "report", "U1", "--claims", str(TUTORIAL), "--store=store", "--jobs=1", "--out", "report"]
    done = subprocess.run([*command, "--no-progress"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    (row,) = [row for row in report["claims"] if row["id"] == "U1"]
    assert row["verdict"] == "AGREES"
    assert [check["verdict"] for check in row["checks"] if check["role"] == "control"] == ["DISAGREES", "DISAGREES"]
    assert row["figures"]


def test_the_command_line_refuses_an_unknown_id(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "U2", "--claims", str(TUTORIAL)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("clean-priority report: unknown claim id 'U2'")
    assert len(error.splitlines()) == 1
