"""What a session asks before it measures, and what its provenance says of the measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr

import reports.session
from empirical.device_agreement import DeviceDisagreementError
from empirical.devices import POLICY
from empirical.experiments import experiment
from empirical.runner import run
from empirical.store import Store
from reports.session import AgreementSession

pytest_plugins = ["pytester"]

NAMES = ("figure-2-linear-depth-1", "figure-2-linear-depth-2")


@pytest.fixture(scope="module")
def record() -> xr.Dataset:
    """A sound record; what it holds does not matter here."""
    (dataset,) = run([experiment(NAMES[0])], device="cpu")
    return dataset


def session_of(store: Path, record: xr.Dataset, *facts: dict[str, Any], device: str = "cpu", **options: Any) -> AgreementSession:
    """A session whose store holds the first experiments, measured with these facts of their provenance."""
    kept = Store(store)
    for name, own in zip(NAMES, facts, strict=False):
        kept.put(experiment(name).key(), record, provenance=own)
    return AgreementSession(tier="quick", seed_salt="", device=device, store=kept, n_jobs=1, **options)


def test_provenance_has_the_policy_of_the_records(tmp_path: Path, record: xr.Dataset) -> None:
    """Whatever the settings of the process that judges, and also where a record was made under other ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        session = session_of(tmp_path / "one", record, {**POLICY, "device": "cpu"})
        session.measure_all([NAMES[0]], 1)
        assert not torch.are_deterministic_algorithms_enabled()  # here, where it is judged
        facts = session.provenance("none")
        assert {name: facts[name] for name in POLICY} == dict(POLICY)
        assert AgreementSession(tier="quick", seed_salt="", device="cpu", store=Store(tmp_path / "none"), n_jobs=1).provenance("")[
            "deterministic"
        ]
    finally:
        torch.set_num_threads(before)
    session = session_of(tmp_path / "two", record, {**POLICY, "threads": 4}, {**POLICY, "threads": 8, "deterministic": False})
    session.measure_all(list(NAMES), 1)
    facts = session.provenance("none")
    assert (facts["threads"], facts["deterministic"], facts["tf32"]) == ("4, 8", "False, True", False)


def watched(monkeypatch: pytest.MonkeyPatch, *, disagrees: bool) -> list[str]:
    """What the session calls, in order, on a machine that seems to have a GPU."""
    calls: list[str] = []

    def check(device: str) -> None:
        calls.append(f"check {device}")
        if disagrees:
            raise DeviceDisagreementError("device cuda:0 disagrees with the CPU")

    def measure(specifications: list[object], **options: object) -> list[None]:
        calls.append("run")
        return [None for _ in specifications]

    monkeypatch.setattr(reports.session, "resolve_device", lambda name: torch.device("cpu" if name == "cpu" else "cuda:0"))
    monkeypatch.setattr(reports.session, "check_device_agreement", check)
    monkeypatch.setattr(reports.session, "run", measure)
    return calls


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [
        ("auto", {}, ["check auto", "run"]),
        ("cuda", {}, ["check cuda", "run"]),
        ("cpu", {}, ["run"]),
        ("auto", {"cluster": "tcp://host:1"}, ["run"]),
    ],
    ids=["auto", "cuda", "cpu", "cluster"],
)
def test_a_gpu_is_compared_with_the_cpu_once_before_measuring(
    device: str, options: dict[str, Any], expected: list[str], tmp_path: Path, record: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = watched(monkeypatch, disagrees=False)
    session = session_of(tmp_path, record, device=device, **options)
    session.measure_all(list(NAMES), 1)
    assert calls == expected
    assert session.unusable == ""


def test_nothing_is_measured_or_judged_on_a_gpu_that_disagrees(tmp_path: Path, record: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = watched(monkeypatch, disagrees=True)
    session = session_of(tmp_path, record, {**POLICY, "device": "cuda"}, device="auto")
    session.measure_all([NAMES[0]], 1)
    assert calls == ["check auto"]
    assert session.unusable == "device cuda:0 disagrees with the CPU"
    with pytest.raises(RuntimeError, match=r"^measurement .* failed"):
        session.measurement(NAMES[0])


def test_the_harness_ends_with_the_line_that_says_so(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, disagrees=True)
    pytester.makepyfile(f"""
import pytest
@pytest.mark.claim("G2")
@pytest.mark.regime("network", "circle")
@pytest.mark.experiments("{NAMES[0]}")
def test_it(agreement):
    raise AssertionError("judged")
""")
    pytester.makeini(f"[pytest]\npythonpath = {Path(__file__).resolve().parents[2]}\nmarkers =\n    claim\n    regime\n    experiments\n")
    result = pytester.runpytest_inprocess("-p", "reports.plugin", "-p", "no:cacheprovider", f"--store={tmp_path}", "--jobs=1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*Exit: --device: device cuda:0 disagrees with the CPU*"])
    result.assert_outcomes()
