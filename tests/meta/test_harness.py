"""No silent green: each way in which a claim test could pass without having judged anything is made to happen, and is red."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).resolve().parents[2]

HEADER = """
import pytest
from empirical.inference import exact
claim, regime = pytest.mark.claim, pytest.mark.regime("algebra", "any")
right = dict(prediction=1.0, estimate=exact(1.0), margin={"rounding": 1e-12})
wrong = dict(prediction=2.0, estimate=exact(1.0), margin={"rounding": 1e-12})
"""


def run(pytester: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    """Run one made-up claim test file in a process of its own."""
    pytester.makepyfile(HEADER + body)
    pytester.makeini(f"[pytest]\npythonpath = {ROOT}\nmarkers =\n    claim\n    regime\n    experiments\n")
    return pytester.runpytest_inprocess("-p", "reports.plugin", "-p", "no:cacheprovider", f"--store={pytester.path / 'store'}", *options)


def test_a_claim_with_check_and_control_is_green(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@claim("G2")
@regime
def test_it(agreement):
    agreement.check("one", **right)
    agreement.control("two", **wrong)
""",
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("fault", "body", "says"),
    [
        ("no check at all", "pass", "no check was executed"),
        ("no control", 'agreement.check("one", **right)', "no negative control"),
        ("a control that passes", 'agreement.check("one", **right); agreement.control("two", **right)', "check not as expected"),
        (
            "a verdict that turned",
            'agreement.check("one", **wrong); agreement.control("two", **wrong)',
            "verdict DISAGREES, expected AGREES",
        ),
        (
            "a measurement that is NaN",
            'agreement.check("one", **(right | dict(estimate=exact(float("nan"))))); agreement.control("two", **wrong)',
            "ERROR",
        ),
        ("an exception", 'raise RuntimeError("broken instrument")', "broken instrument"),
    ],
)
def test_a_fault_is_red(pytester: pytest.Pytester, fault: str, body: str, says: str) -> None:
    result = run(pytester, f'@claim("G2")\n@regime\ndef test_it(agreement):\n    {body}\n')
    result.assert_outcomes(failed=1)
    assert says in result.stdout.str(), fault


def test_a_rejected_statement_without_its_correction_is_red(pytester: pytest.Pytester) -> None:
    body = '@claim("D2")\n@regime\ndef test_it(agreement):\n    agreement.check("printed", **wrong); agreement.control("two", **wrong)\n'
    result = run(pytester, body)
    result.assert_outcomes(failed=1)
    assert "correction was not judged" in result.stdout.str()


def test_rows_that_must_disagree_say_which_check_does(pytester: pytest.Pytester) -> None:
    """Two statements, one wrong: without a word on which, the row would stay green if the other turned instead."""
    head = '@claim("G2", expected="DISAGREES", reason="made up")\n@regime\ndef test_it(agreement):\n'
    silent = '    agreement.check("one", **right); agreement.check("three", **wrong); agreement.control("two", **wrong)\n'
    result = run(pytester, head + silent)
    result.assert_outcomes(failed=1)
    assert "the test does not say which: one; three" in result.stdout.str()
    stated = silent.replace('"one", ', '"one", expected="AGREES", ').replace('"three", ', '"three", expected="DISAGREES", ')
    run(pytester, head + stated).assert_outcomes(passed=1)
    turned = stated.replace('"one", expected="AGREES", **right', '"one", expected="AGREES", **wrong')
    run(pytester, head + turned).assert_outcomes(failed=1)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('@claim("Z9")\n@regime\ndef test_it(agreement): pass\n', "Z9"),
        ('@claim("G2")\ndef test_it(agreement): pass\n', "regime"),
        ('@claim("G2")\n@regime\ndef test_it(): pass\n', "agreement fixture"),
        ('@claim("G2")\n@regime\n@pytest.mark.experiments("no-such-run")\ndef test_it(agreement): pass\n', "no-such-run"),
    ],
)
def test_a_claim_test_that_is_marked_wrongly_stops_the_run(pytester: pytest.Pytester, body: str, says: str) -> None:
    result = run(pytester, body)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert says in result.stderr.str() + result.stdout.str()


@pytest.mark.parametrize("option", ["--seeds=sometimes", "--dataset=mnst", "--data-root=/no/such/folder", "--tier=huge", "--cluster=host"])
def test_a_bad_option_stops_the_run(pytester: pytest.Pytester, option: str) -> None:
    assert run(pytester, "", option).ret == pytest.ExitCode.USAGE_ERROR


def test_a_cluster_that_does_not_answer_stops_the_run_in_one_line(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at the port "discard" of this machine."""
    pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
    monkeypatch.setattr("empirical.cluster._SCHEDULER_PATIENCE", 0.5)
    body = '@claim("G2")\n@regime\n@pytest.mark.experiments("figure-2-linear-depth-1")\ndef test_it(agreement): pass\n'
    result = run(pytester, body, "--cluster=tcp://127.0.0.1:9")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    shown = result.stderr.str() + result.stdout.str()
    assert "--cluster: cluster tcp://127.0.0.1:9 cannot be reached: " in shown
    assert "Traceback" not in shown


def test_the_report_says_why_a_cluster_cannot_be_used(tmp_path: Path) -> None:
    """As a user types it: the reason in one line, not that claim tests did not start; no report is written."""
    pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
    code = "from empirical import cluster; from reports.__main__ import main; cluster._SCHEDULER_PATIENCE = 0.5; raise SystemExit(main())"
    words = ["report", "G2", "--cluster", "tcp://127.0.0.1:9", "--store", "store", "--out", "report", "--no-progress"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("clean-priority report: cluster tcp://127.0.0.1:9 cannot be reached: ")
    assert not (tmp_path / "report").exists()


def test_missing_data_is_not_run_never_a_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEAN_PRIORITY_DATA", raising=False)
    body = """
@claim("G2")
@regime
def test_it(agreement):
    agreement.dataset("mnist", classes=(7, 9))
"""
    result = run(pytester, body, "--agreement-report=report", "-rs")
    result.assert_outcomes(skipped=1)
    rows = json.loads((pytester.path / "report" / "report.json").read_text())["claims"]
    row = next(row for row in rows if row["id"] == "G2")
    assert row["verdict"] == "NOT RUN"
    assert "mnist" in row["reason"].lower()


def test_a_measurement_of_another_tier_is_not_made(pytester: pytest.Pytester) -> None:
    """The quick tier leaves out what a mark keeps for larger ones; the row is NOT RUN with the test's reason, never a pass."""
    result = run(
        pytester,
        """
@claim("F8")
@regime
@pytest.mark.experiments("cifar10-resnet9", tiers=("full",))
def test_it(agreement):
    pytest.skip("needs the full tier")
""",
        "--agreement-report",
        str(pytester.path / "report"),
    )
    result.assert_outcomes(skipped=1)
    assert not list((pytester.path / "store").glob("*.nc"))
    rows = json.loads((pytester.path / "report" / "report.json").read_text())["claims"]
    assert [(row["verdict"], row["reason"]) for row in rows if row["id"] == "F8"] == [("NOT RUN", "needs the full tier")]


def test_every_claim_of_the_register_is_in_the_report(pytester: pytest.Pytester) -> None:
    from theory.claims import CLAIMS

    body = '@claim("G2")\n@regime\ndef test_it(agreement):\n    agreement.check("one", **right); agreement.control("two", **wrong)\n'
    run(pytester, body, "--agreement-report=report").assert_outcomes(passed=1)
    rows = json.loads((pytester.path / "report" / "report.json").read_text())["claims"]
    assert {row["id"] for row in rows} == set(CLAIMS)
    assert [row["verdict"] for row in rows if row["id"] == "G2"] == ["AGREES"]
    assert {row["verdict"] for row in rows if row["id"] != "G2"} == {"NOT RUN"}
