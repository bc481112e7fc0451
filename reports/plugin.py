"""The pytest plugin: options, the `agreement` fixture, and the order measure once, then judge.

A test with the marks ``claim``, ``regime`` and, where it needs measurements, ``experiments`` poses one row of the agreement report. Before
the first of them judges, the harness gathers the experiments of the whole selection and runs those that the store lacks.

With pytest-xdist the claim tests must all go to one worker (conftest.py at the root sees to it): it measures and judges, and the
controller reads the verdicts from the properties of its reports.
"""

from __future__ import annotations

import gc
import os
import secrets
import shlex
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from empirical.datasets import DATASETS, DatasetNotFound
from empirical.experiments import EXPERIMENTS, DataSpec
from empirical.store import Store
from reports.agreement import ClaimResult, Verdict
from reports.evidence import Agreement
from reports.figure_data import FigureData
from reports.kept import Kept
from reports.own_claims import OwnClaims, load_own_claims
from reports.session import AgreementSession
from theory.claims import Claim
from theory.claims import claim as claim_by_id

__all__ = ["check_cluster", "own_claims"]

TIERS = ("quick", "standard", "full")
MARKS = (
    "claim(id, expected=None, reason=None): the test judges the claim with this register id",
    "regime(model, data): what is examined and on which data; a row of the report",
    "experiments(*names): measurements that the test needs",
)


def own_claims(files: Iterable[Path]) -> OwnClaims:
    """Load files of claims of one's own, whose experiments must not have the names of the house's."""
    return load_own_claims(list(files), taken=list(EXPERIMENTS))


def check_cluster(address: str | None) -> None:
    """Refuse an address of a cluster that cannot be one.

    Raises:
        ValueError: see ``empirical.cluster.check_address``.
    """
    if address is not None:
        from empirical.cluster import check_address  # Dask takes a second to load

        check_address(address)


SESSION: pytest.StashKey[AgreementSession] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the harness's options."""
    group = parser.getgroup("clean-priority")
    group.addoption("--tier", choices=TIERS, default="quick", help="scale of the experiments (default: quick)")
    group.addoption("--dataset", default=None, help="judge only the regimes on this data set, for example mnist")
    group.addoption("--device", default="auto", help="where networks are measured: auto, cpu, cuda (default: auto)")
    group.addoption("--seeds", default="rule", help="rule (hash of the claim's id), fresh, or the number that an earlier fresh run printed")
    group.addoption("--agreement-report", default=None, metavar="DIR", help="write the agreement report of this run there")
    group.addoption("--data-root", default=None, metavar="DIR", help="folder with mnist/ (default: $CLEAN_PRIORITY_DATA)")
    group.addoption("--claims", action="append", default=[], metavar="FILE", help="judge the claims of one's own in this Python file, too")
    group.addoption("--store", default=None, metavar="DIR", help="where measurements are kept (default: the user's cache folder)")
    group.addoption("--cluster", default=None, metavar="ADDRESS", help="measure on a Dask cluster: tcp://host:port, or local:N")
    group.addoption("--jobs", type=int, default=-1, help="processes that measure, -1 for one per core (default: -1)")


def pytest_configure(config: pytest.Config) -> None:
    """Check the options and open the session."""
    dataset = config.getoption("--dataset")
    if dataset is not None and dataset not in DATASETS:
        raise pytest.UsageError(f"--dataset must be one of {', '.join(DATASETS)}, got {dataset!r}")
    cluster = config.getoption("--cluster")
    try:
        check_cluster(cluster)
    except ValueError as error:
        raise pytest.UsageError(f"--cluster: {error}") from None
    seeds = config.getoption("--seeds")
    if seeds not in ("rule", "fresh") and not seeds.isdigit():
        raise pytest.UsageError(f"--seeds must be rule, fresh or a number, got {seeds!r}")
    if config.getoption("--data-root"):
        root = Path(config.getoption("--data-root"))
        if not root.is_dir():
            raise pytest.UsageError(f"--data-root must name a folder, got {str(root)!r}")
        os.environ["CLEAN_PRIORITY_DATA"] = str(root.resolve())
    try:
        own = own_claims(config.invocation_params.dir / file for file in config.getoption("--claims"))
    except ValueError as error:
        raise pytest.UsageError(f"--claims: {error}") from None
    if config.getoption("--agreement-report") and config.getoption("numprocesses", None):
        raise pytest.UsageError("--agreement-report gathers the rows of one process: use it without -n, or with -n 0")
    if own.files:  # alone, the option judges these files and nothing else
        config.args[:] = [*(config.args if config.args_source is config.ArgsSource.ARGS else ()), *map(str, own.files)]
    for mark in MARKS:  # the repository's own configuration has them, that of a user's folder need not
        config.addinivalue_line("markers", mark)
    salt = {"rule": "", "fresh": str(secrets.randbelow(10**9))}.get(seeds, seeds)
    config.stash[SESSION] = AgreementSession(
        tier=config.getoption("--tier"),
        seed_salt=getattr(config, "workerinput", {}).get("seed_salt", salt),
        device=config.getoption("--device"),
        store=Store(config.getoption("--store")),
        n_jobs=config.getoption("--jobs"),
        cluster=cluster,
        own=own,
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of pytest-xdist the seeds that the header names."""
    node.workerinput["seed_salt"] = node.config.stash[SESSION].seed_salt


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which seeds and scale this run uses."""
    session = config.stash[SESSION]
    seeds = f"fresh (repeat with --seeds {session.seed_salt})" if session.seed_salt else "by rule"
    return [f"clean-priority: tier {session.tier}, seeds {seeds}, device {session.device}"]


def _claim_of(item: pytest.Item) -> Claim | None:
    mark = item.get_closest_marker("claim")
    return None if mark is None else claim_by_id(mark.args[0], item.config.stash[SESSION].own.register)


def _regime_of(item: pytest.Item) -> tuple[str, str]:
    mark = item.get_closest_marker("regime")
    if mark is None or len(mark.args) != 2:
        raise pytest.UsageError(f"{item.nodeid}: a claim test needs @pytest.mark.regime(model, data)")
    return mark.args[0], mark.args[1]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check the marks of claim tests and select by data set; an unknown claim or experiment is an error, never a silent pass."""
    session = config.stash[SESSION]
    dataset = config.getoption("--dataset")
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        try:
            claim = _claim_of(item)
        except ValueError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None
        if claim is None:
            kept.append(item)
            continue
        session.judged_ids.add(claim.id)
        _, data = _regime_of(item)
        if "agreement" not in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"{item.nodeid}: a claim test must use the agreement fixture, or it judges nothing")
        unknown = [name for name in _experiments_of(item) if name not in EXPERIMENTS and name not in session.own.experiments]
        if unknown:
            raise pytest.UsageError(f"{item.nodeid}: unknown experiment {unknown[0]!r}")
        (kept if dataset is None or dataset.lower() in data.lower() else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


def _experiments_of(item: pytest.Item) -> list[str]:
    """Experiments that a test names; a mark with ``tiers=`` counts in these tiers only."""
    tier = item.config.stash[SESSION].tier
    return [name for mark in item.iter_markers("experiments") if tier in mark.kwargs.get("tiers", TIERS) for name in mark.args]


def pytest_collection_finish() -> None:
    """Modules and collected tests live to the end; the collector of garbage need not walk through them again and again."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure once, before the first test that judges."""
    harness = item.config.stash[SESSION]
    if harness.total == 0 and item.get_closest_marker("claim"):
        claims = [one for one in item.session.items if one.get_closest_marker("claim")]
        names = list(dict.fromkeys(name for one in claims for name in _experiments_of(one)))
        harness.total = len(claims)
        if names:
            capture = item.config.pluginmanager.getplugin("capturemanager")
            with capture.global_and_fixture_disabled():
                harness.measure_all(names, len(claims))
            if harness.unusable:
                option = "--device" if harness.cluster is None else "--cluster"
                pytest.exit(f"{option}: {harness.unusable}", returncode=int(pytest.ExitCode.USAGE_ERROR))
    return (yield)


@pytest.fixture
def agreement(request: pytest.FixtureRequest) -> Agreement:
    """The notebook of a claim test: ``check``, ``correct``, ``control``, ``hypothesis``, ``figure``, ``measure``."""
    item, session = request.node, request.config.stash[SESSION]
    claim = _claim_of(item)
    if claim is None:
        raise ValueError(f"{item.nodeid}: the agreement fixture needs @pytest.mark.claim(id)")
    return _open(item, claim, session)


@pytest.fixture
def notebook_of(request: pytest.FixtureRequest) -> Callable[[str, str, str], Agreement]:
    """Other notebooks, of (claim id, model, data), for a test of what claim tests hand over: they measure, and their rows count nowhere."""
    session = request.config.stash[SESSION]
    return lambda claim, model, data: _notebook(
        claim_by_id(claim, session.own.register), session, model, data, expected=None, reason="", command=""
    )


def _open(item: pytest.Item, claim: Claim, session: AgreementSession) -> Agreement:
    model, data = _regime_of(item)
    mark = item.get_closest_marker("claim")
    override = mark.kwargs if mark is not None else {}
    if ("expected" in override) != ("reason" in override):
        raise ValueError(f"{item.nodeid}: expected= and reason= override the register only together")
    options = ("" if session.tier == "quick" else f" --tier={session.tier}") + (
        f" --seeds={session.seed_salt}" if session.seed_salt else ""
    )
    expected, reason = override.get("expected"), override.get("reason", claim.reason)
    return _notebook(claim, session, model, data, expected=expected, reason=reason, command=f"pytest {_where(item, session.own)}{options}")


def _notebook(
    claim: Claim, session: AgreementSession, model: str, data: str, *, expected: str | None, reason: str, command: str
) -> Agreement:
    return Agreement(
        claim,
        model=model,
        data=data,
        expected=Verdict(expected or claim.expected),
        expected_reason=reason,
        command=command,
        tier=session.tier,
        rng=session.generator(claim.id, model, data),
        seed_salt=session.seed_salt,
        measure=session.measurement,
        replicates=session.replicates,
        load=lambda name, **options: DataSpec(name=name, **options).load(),
        keep=Kept(session.store.path / "kept"),
    )


def _where(item: pytest.Item, own: OwnClaims) -> str:
    """Words that select a test again; a file of own claims may lie anywhere and goes by its name."""
    if item.path in own.files:
        return f"-p reports.plugin --claims {shlex.quote(item.path.name)} -k {shlex.quote(item.name)}"
    return shlex.quote(item.nodeid)


def _properties(row: ClaimResult, register: Mapping[str, Claim]) -> list[tuple[str, object]]:
    """What ``--junitxml`` says of a row, as properties of its test case."""
    return [
        ("claim", row.claim),
        ("title", register[row.claim].title),
        ("regime", row.regime),
        ("verdict", row.verdict.value),
        ("expected", Verdict(row.expected).value),
        ("as_expected", str(not row.failures()).lower()),
        ("reproduce", row.command),
    ]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Close the notebook of a claim test: one row, red if it is not as the register expects."""
    notebook = pyfuncitem.funcargs.get("agreement")
    if not isinstance(notebook, Agreement):
        return (yield)
    session = pyfuncitem.config.stash[SESSION]
    records = [session.keys.get(name, "") for name in _experiments_of(pyfuncitem)]
    if session.judgements is not None and (kept := session.judgements.recall(pyfuncitem.nodeid, records)) is not None:
        pyfuncitem.obj = lambda **_: None  # nothing that the row depends on has changed
        session.recalled += 1
        session.add(*kept)
        pyfuncitem.user_properties += _properties(kept[0], session.own.register)
        return (yield)

    def take_down(row: ClaimResult, figures: tuple[FigureData, ...] = ()) -> ClaimResult:
        session.add(row, figures, notebook.data_hashes)
        pyfuncitem.user_properties += _properties(row, session.own.register)
        return row

    start = time.perf_counter()
    try:
        value = yield
    except DatasetNotFound as error:
        take_down(notebook.result(seconds=0.0, not_run=str(error)))
        pytest.skip(str(error))
    except pytest.skip.Exception as skipped:
        take_down(notebook.result(seconds=0.0, not_run=str(skipped)))
        raise
    except BaseException as error:
        text = str(error).splitlines() or [""]
        seconds = time.perf_counter() - start
        take_down(notebook.result(seconds=seconds, error=f"{type(error).__name__}: {text[0]}"), notebook.figures)
        raise
    row = take_down(notebook.result(seconds=time.perf_counter() - start), notebook.figures)
    failures = row.failures()
    if session.judgements is not None and not failures:
        session.judgements.keep(pyfuncitem.nodeid, records, row, notebook.figures, notebook.data_hashes)
    if failures:
        claim = notebook.claim
        pytest.fail(
            "\n".join([f"{claim.id} ({', '.join(claim.sources)}): {claim.title} · {row.regime}", *failures, f"reproduce: {row.command}"]),
            pytrace=False,
        )
    return value


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line per verdict that is not as expected, and the counts."""
    reports = [report for category in terminalreporter.stats.values() for report in category if getattr(report, "when", "") == "call"]
    rows = [facts for report in reports if "claim" in (facts := dict(report.user_properties))]
    if not rows:
        return
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in Verdict}
    line = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    red = [row for row in rows if row["as_expected"] == "false"]
    terminalreporter.write_sep("=", f"claims: {line}; {len(red)} not as expected")
    for row in red:
        terminalreporter.write_line(f"{row['claim']:4} {row['regime']}: {row['verdict']}, expected {row['expected']}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the agreement report where ``--agreement-report`` asks for one."""
    folder = session.config.getoption("--agreement-report")
    if folder and not session.config.option.collectonly:
        from reports.writer import write_report

        harness = session.config.stash[SESSION]
        command = "pytest " + shlex.join(session.config.invocation_params.args)
        write_report(Path(folder), harness.complete(), harness.figures, harness.provenance(command), register=harness.own.register)
