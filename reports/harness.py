"""Runs the claim tests without pytest's terminal: what ``clean-priority report`` stands on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import reports.plugin
from empirical.datasets import DATASETS
from reports.agreement import ClaimResult
from reports.budget import FALSE_ALARM_BUDGET, spent
from reports.figure_data import FigureData
from reports.judgements import Judgements, code_digest, folder_digest
from reports.session import AgreementSession
from theory.claims import CLAIMS, Claim
from theory.claims import claim as claim_by_id

__all__ = ["RunOutcome", "claim_tests", "run_claims"]


@dataclass(frozen=True)
class RunOutcome:
    """What came of one run of the claim tests.

    Attributes:
        results: the rows, in the order of the register.
        figures: the arrays behind the figures.
        provenance: where, with what and how the run was made.
        problems: what kept tests from being collected or set up, one text each; empty if all ran.
        register: the claims of the run: the papers' and, from files, one's own.
    """

    results: list[ClaimResult]
    figures: list[FigureData]
    provenance: dict[str, Any]
    problems: list[str]
    register: Mapping[str, Claim] = field(default_factory=lambda: CLAIMS)


def claim_tests() -> Path:
    """Return the folder of claim tests, which lies in the clone beside the packages.

    Raises:
        ValueError: if there is none, as after an installation outside a clone.
    """
    folder = Path(__file__).resolve().parent.parent / "tests" / "claims"
    if not folder.is_dir():
        raise ValueError(
            "the claim tests (tests/claims) are not beside the installed package: install with `pip install -e .` from a clone"
        )
    return folder


class _Selection:
    """Keeps only the tests of the wanted claims, and takes down what pytest would have printed of failures outside rows."""

    def __init__(self, wanted: Sequence[str], on_progress: Callable[[int, int, str], None] | None, *, rejudge: bool) -> None:
        self.wanted = set(wanted)
        self.rejudge = rejudge
        self.on_progress = on_progress
        self.problems: list[str] = []
        self.session: AgreementSession | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        self.session = session = config.stash[reports.plugin.SESSION]
        session.on_progress = self.on_progress
        if not self.rejudge:
            data = folder_digest(os.environ.get("CLEAN_PRIORITY_DATA"))
            context = (code_digest(claim_tests().parents[1]), data, session.tier, session.seed_salt, session.device, session.own.digest)
            session.judgements = Judgements(session.store.path / "judgements", context)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        marks = [(item, item.get_closest_marker("claim")) for item in items]
        items[:] = [item for item, mark in marks if mark is not None and (not self.wanted or mark.args[0] in self.wanted)]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.problems.append(f"{report.nodeid}: {report.longreprtext.strip().splitlines()[-1]}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.when != "call":
            self.problems.append(f"{report.nodeid} ({report.when}): {report.longreprtext.strip().splitlines()[-1]}")


def run_claims(
    claims: Sequence[str] = (),
    *,
    tier: str = "quick",
    dataset: str | None = None,
    device: str = "auto",
    seeds: str = "rule",
    claim_files: Sequence[Path] = (),
    data_root: Path | None = None,
    store: Path | None = None,
    jobs: int = -1,
    cluster: str | None = None,
    rejudge: bool = False,
    command: str = "",
    on_progress: Callable[[int, int, str], None] | None = None,
) -> RunOutcome:
    """Measure what the store lacks and judge the claims.

    Args:
        claims: ids in the register; none means all.
        tier: "quick", "standard" or "full".
        dataset: judge only regimes on this data set.
        device: where networks are measured.
        seeds: "rule", "fresh" or a number printed by an earlier fresh run.
        claim_files: files of claims of one's own, see `reports.own_claims`.
        data_root: folder with ``mnist/``.
        store: where measurements are kept.
        jobs: processes that measure, −1 for one per core.
        cluster: address of a Dask cluster that measures instead, or ``local:<workers>``.
        rejudge: judge every row again, also those that nothing has changed for since an earlier run.
        command: the command line, for the provenance.
        on_progress: called with (finished, total, description).

    Returns:
        The rows, figures, provenance and problems.

    Raises:
        ValueError: if an option or a claim id is not known, or the claim tests are not there.
    """
    own = reports.plugin.own_claims(claim_files)
    for claim_id in claims:
        claim_by_id(claim_id, own.register)
    if dataset is not None and dataset not in DATASETS:
        raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {dataset!r}")
    reports.plugin.check_cluster(cluster)
    folder = claim_tests()
    # Addopts and warning filters belong to the development harness (and need its extras), not to a user's report.
    arguments = [str(folder), f"--rootdir={folder.parent.parent}", "-o", "addopts=", "-o", "filterwarnings=default"]
    arguments += ["--import-mode=importlib", "--strict-markers", "-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:warnings"]
    options = {"--tier": tier, "--dataset": dataset, "--device": device, "--seeds": seeds, "--data-root": data_root, "--store": store}
    options["--cluster"] = cluster
    arguments += [f"{name}={value}" for name, value in options.items() if value is not None]
    arguments += [f"--claims={file}" for file in own.files]
    selection = _Selection(claims, on_progress, rejudge=rejudge)
    status = pytest.main([*arguments, f"--jobs={jobs}"], plugins=[selection])
    if selection.session is not None and selection.session.unusable:
        raise ValueError(selection.session.unusable)
    if status == pytest.ExitCode.USAGE_ERROR or selection.session is None:
        raise ValueError(
            f"the claim tests did not start (tier {tier!r}, dataset {dataset!r}, seeds {seeds!r}, data root {str(data_root)!r})"
        )
    if status == pytest.ExitCode.INTERRUPTED and not selection.problems:
        raise KeyboardInterrupt
    session = selection.session
    overdrawn = spent(session.results)
    if overdrawn["false_alarm_bound"] > FALSE_ALARM_BUDGET:
        selection.problems.append(
            f"error budget overdrawn: {overdrawn['random_checks']} random checks may raise a false alarm with probability "
            f"{overdrawn['false_alarm_bound']:.2g}, the budget of a run is {FALSE_ALARM_BUDGET:g}"
        )
    return RunOutcome(
        results=session.complete(list(claims) or None),
        figures=session.figures,
        provenance=session.provenance(command),
        problems=[*session.problems, *selection.problems],
        register=own.register,
    )
