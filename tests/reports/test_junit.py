"""``pytest --junitxml``: each row of the report is a test case whose properties say which claim it judged and how it came out."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

BODY = """
import pytest
from empirical.inference import exact
regime = pytest.mark.regime
right = dict(prediction=1.0, estimate=exact(1.0), margin={"rounding": 1e-12})
wrong = dict(prediction=2.0, estimate=exact(1.0), margin={"rounding": 1e-12})

@pytest.mark.claim("G2")
@regime("network at initialisation", "class <b> & co")
def test_as_expected(agreement):
    agreement.check("one", **right)
    agreement.control("two", **wrong)

@pytest.mark.claim("G2")
@regime("trained network", "any")
def test_not_as_expected(agreement):
    agreement.check("one", **wrong)
    agreement.control("two", **wrong)

@pytest.mark.claim("G2")
@regime("trained network", "absent data")
def test_without_data(agreement):
    pytest.skip("no data")

@pytest.mark.claim("G2")
@regime("trained network", "broken")
def test_broken(agreement):
    raise RuntimeError("broken instrument")

def test_of_something_else():
    pass
"""


def test_rows_are_test_cases_with_properties(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(BODY)
    root = str(Path(__file__).resolve().parents[2])
    pytester.makeini(f"[pytest]\npythonpath = {root}\nmarkers =\n    claim\n    regime\n    experiments\n")
    store = f"--store={pytester.path / 'store'}"
    pytester.runpytest_inprocess("-p", "reports.plugin", "-p", "no:cacheprovider", store, "--junitxml=rows.xml")
    cases = {}
    for case in ElementTree.parse(pytester.path / "rows.xml").iter("testcase"):
        cases[case.get("name")] = {one.get("name"): one.get("value") for one in case.iter("property")}
    assert len(cases) == 5
    assert cases["test_of_something_else"] == {}
    green = cases["test_as_expected"]
    assert green["regime"] == "network at initialisation · class <b> & co"
    assert "test_as_expected" in green["reproduce"]
    found = {name: (row["claim"], row["verdict"], row["expected"], row["as_expected"]) for name, row in cases.items() if row}
    assert found == {
        "test_as_expected": ("G2", "AGREES", "AGREES", "true"),
        "test_not_as_expected": ("G2", "DISAGREES", "AGREES", "false"),
        "test_without_data": ("G2", "NOT RUN", "AGREES", "true"),
        "test_broken": ("G2", "ERROR", "AGREES", "false"),
    }
