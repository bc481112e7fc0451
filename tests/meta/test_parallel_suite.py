"""The whole suite in several processes: claim tests stay in one of them; no red row and no seed of the run is lost between them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
pytest.importorskip("xdist", reason="the extra [test] is not installed")

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = """
import os, pytest
from empirical.inference import exact
right = dict(prediction=1.0, estimate=exact(1.0), margin={"rounding": 1e-12})
wrong = dict(prediction=2.0, estimate=exact(1.0), margin={"rounding": 1e-12})

@pytest.mark.claim("G2")
@pytest.mark.regime("algebra", "green NUMBER")
def test_green(agreement):
    agreement.check("one", **right)
    agreement.control("two", **wrong)

@pytest.mark.claim("G2")
@pytest.mark.regime("algebra", "red NUMBER")
def test_red(agreement):
    agreement.check("one", **wrong)
    agreement.control("two", **wrong)
"""
WHERE = """
import os
from pathlib import Path

def test_where():
    Path(__file__).with_suffix(".pid").write_text(f"{os.getpid()} {os.environ.get('PYTEST_XDIST_WORKER', 'alone')}")
"""
HEADINGS = "addopts = --import-mode=importlib\ntestpaths = tests/claims tests/others\nmarkers =\n    claim\n    regime\n    experiments\n"


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite with two files of claim tests and five others, under the root conftest of this repository."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):  # where this test itself runs in a worker
        monkeypatch.delenv(name, raising=False)
    pytester.makeini(f"[pytest]\npythonpath = {ROOT}\n{HEADINGS}")
    (pytester.path / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    for folder, count, body in (("claims", 2, CLAIMS + WHERE), ("others", 5, WHERE)):
        (pytester.path / "tests" / folder).mkdir(parents=True)
        for number in range(count):
            (pytester.path / "tests" / folder / f"test_{folder}_{number}.py").write_text(body.replace("NUMBER", str(number)))
    return pytester


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    return suite.runpytest_subprocess("-p", "no:cacheprovider", f"--store={suite.path / 'store'}", *options)


def workers(suite: pytest.Pytester, folder: str) -> set[str]:
    return {path.read_text().split()[1] for path in (suite.path / "tests" / folder).glob("*.pid")}


def test_claims_stay_together_and_red_rows_and_seeds_arrive(suite: pytest.Pytester) -> None:
    result = run(suite, "-n", "2", "--seeds=fresh")
    result.assert_outcomes(passed=9, failed=2)
    text = result.stdout.str()
    assert "claims: 2 AGREES, 2 DISAGREES; 2 not as expected" in text
    assert "G2   algebra · red 1: DISAGREES, expected AGREES" in text
    (salt,) = set(re.findall(r"fresh \(repeat with --seeds (\d+)\)", text))
    assert set(re.findall(r"--seeds=(\d+)", text)) == {salt}
    assert len(workers(suite, "claims")) == 1
    assert workers(suite, "claims") | workers(suite, "others") == {"gw0", "gw1"}


def test_without_a_file_all_cores_and_with_one_this_process(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    result = suite.runpytest_inprocess("-p", "no:cacheprovider", f"--store={suite.path / 'store'}")
    result.assert_outcomes(passed=9, failed=2)
    assert "alone" not in workers(suite, "claims") | workers(suite, "others")
    for path in suite.path.rglob("*.pid"):
        path.unlink()
    run(suite, "tests/others").assert_outcomes(passed=5)
    assert workers(suite, "others") == {"alone"}


def test_a_report_gathers_the_rows_of_one_process(suite: pytest.Pytester) -> None:
    refused = run(suite, "-n", "2", "--agreement-report=report")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "--agreement-report gathers the rows of one process: use it without -n, or with -n 0" in refused.stderr.str()
    run(suite, "--agreement-report=report").assert_outcomes(passed=9, failed=2)
    assert (suite.path / "report" / "report.json").is_file()
    assert workers(suite, "claims") == {"alone"}
