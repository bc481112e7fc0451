"""Judging refuses records that were made under another policy, by name: such a record is planted and the row is an error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from empirical.devices import POLICY
from empirical.experiments import experiment, seeds_by_rule
from empirical.runner import run
from empirical.store import Store
from reports.session import AgreementSession

pytest_plugins = ["pytester"]

NAME = "figure-2-linear-depth-1"
BODY = f"""
import pytest
from empirical.inference import exact
@pytest.mark.claim("G2")
@pytest.mark.regime("network", "circle")
@pytest.mark.experiments("{NAME}")
def test_it(agreement):
    agreement.measure("{NAME}")
    agreement.check("one", prediction=1.0, estimate=exact(1.0), margin={{"rounding": 1e-12}})
    agreement.control("two", prediction=2.0, estimate=exact(1.0), margin={{"rounding": 1e-12}})
"""


@pytest.fixture(scope="module")
def record():
    """A sound record of the experiment."""
    (dataset,) = run([experiment(NAME)], device="cpu")
    return dataset


def judged(pytester: pytest.Pytester, store: Path) -> tuple[pytest.RunResult, dict[str, object], dict[str, object]]:
    pytester.makepyfile(BODY)
    root = str(Path(__file__).resolve().parents[2])
    pytester.makeini(f"[pytest]\npythonpath = {root}\nmarkers =\n    claim\n    regime\n    experiments\n")
    result = pytester.runpytest_inprocess(
        "-p", "reports.plugin", "-p", "no:cacheprovider", f"--store={store}", "--jobs=1", "--agreement-report=report"
    )
    document = json.loads((pytester.path / "report" / "report.json").read_text())
    return result, next(row for row in document["claims"] if row["id"] == "G2"), document["provenance"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tf32": True}, "tf32 True, expected False"),
        ({"deterministic": False, "threads": 2}, "deterministic False, expected True; threads 2, expected 1"),
        ({"device": "cpu", **dict.fromkeys(("tf32", "deterministic", "threads"), None)}, "tf32 None, expected False"),
    ],
    ids=["tf32", "not-deterministic", "unknown"],
)
def test_a_record_of_another_policy_is_refused(
    pytester: pytest.Pytester, tmp_path: Path, record: object, change: dict[str, object], says: str
) -> None:
    Store(tmp_path / "s").put(experiment(NAME).key(), record, provenance={**POLICY, "device": "cpu"} | change)
    result, row, _ = judged(pytester, tmp_path / "s")
    result.assert_outcomes(failed=1)
    assert row["verdict"] == "ERROR"
    for part in (f"measurement '{NAME}' is not judged", "made under another policy", says, "clean-priority store gc --other-policy"):
        assert part in row["reason"]
    assert "\n" not in row["reason"]


def test_a_record_of_the_policy_is_judged_whatever_its_device(pytester: pytest.Pytester, tmp_path: Path, record: object) -> None:
    """The report shows on which kinds of devices its measurements were made."""
    Store(tmp_path / "s").put(experiment(NAME).key(), record, provenance={**POLICY, "device": "cuda", "device_name": "made up"})
    result, row, provenance = judged(pytester, tmp_path / "s")
    result.assert_outcomes(passed=1)
    assert row["verdict"] == "AGREES"
    assert provenance["measured_on"] == {"cuda": 1}


def test_further_replicates_of_another_policy_are_refused(tmp_path: Path, record: object) -> None:
    """A block beyond the experiment's own seeds lies in the store under a key of its own."""
    spec, facts = experiment(NAME), {**POLICY, "device": "cpu"}
    first = len(spec.seeds)
    more = replace(spec, seeds=seeds_by_rule(NAME, first + 2)[first:])
    store = Store(tmp_path)
    store.put(spec.key(), record, provenance=facts)
    store.put(more.key(), record, provenance=facts | {"tf32": True})
    session = AgreementSession(tier="quick", seed_salt="", device="cpu", store=store, n_jobs=1)
    session.measure_all([NAME], 1)
    assert session.replicates(NAME, 0, first) is session.measurement(NAME)
    with pytest.raises(ValueError, match=f"'{NAME}' is not judged, its record was made under another policy: tf32 True, expected False"):
        session.replicates(NAME, first, 2)
