"""The command line: ``clean-priority``, also ``python -m reports``.

Exit codes: 0 every verdict as expected (``compare``: the same; ``store verify``: all sound), 1 some verdict not as expected (``compare``:
changed; ``store verify``: a record was set aside), 2 bad input.
``diagnose``: 0 whatever it finds. Bad input is answered by one line on standard error.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["main"]

TIERS = ("quick", "standard", "full")
DATA_VARIABLE = "CLEAN_PRIORITY_DATA"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after the program's name; by default those of this process.

    Returns:
        The exit code.
    """
    try:
        options = _parser().parse_args(arguments)
        options.words = list(sys.argv[1:] if arguments is None else arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except ValueError as error:
        first = " ".join(str(error).split())
        print(f"clean-priority {options.command}: {first}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"clean-priority {options.command}: interrupted; what was measured is kept, the next run goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that the system refuses: its reason, and the start of its name
        print(f"clean-priority {options.command}: {error.strerror or type(error).__name__}: {error.filename!r:.80}", file=sys.stderr)
        return 2


def _version() -> str:
    """Of the installed package; a clone on the path alone has none."""
    try:
        return version("clean-priority")
    except PackageNotFoundError:
        return "(not installed)"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="clean-priority", description="Put the claims of the theory of clean-priority learning to the test.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command", parser_class=_Parser)

    report = commands.add_parser(
        "report", help="judge the claims and write a report", description="Judge claims and write report.html, report.json, report.md."
    )
    report.add_argument("claims", nargs="*", metavar="ID", help="claims to judge (default: all)")
    report.add_argument(
        "--out", type=Path, default=Path("reports/latest"), metavar="DIR", help="folder of the report (default: %(default)s)"
    )
    report.add_argument("--tier", default="quick", metavar="|".join(TIERS), help="how much to measure (default: %(default)s)")
    report.add_argument("--dataset", default=None, metavar="NAME", help="judge on this data set instead of the default ones")
    report.add_argument("--device", default="auto", help="cpu, cuda, … (default: %(default)s)")
    report.add_argument(
        "--seeds", default="rule", metavar="rule|fresh|N", help="seeds by rule, fresh, or N of a fresh run (default: %(default)s)"
    )
    report.add_argument(
        "--data-root",
        type=Path,
        default=None,
        metavar="DIR",
        help=f"folder with mnist/, cifar10/ (default: environment variable {DATA_VARIABLE})",
    )
    report.add_argument(
        "--store", type=Path, default=None, metavar="DIR", help="where measurements are kept (default: the user's cache folder)"
    )
    report.add_argument(
        "--claims",
        dest="claim_files",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="also judge the claims of one's own in this Python file",
    )
    report.add_argument("--rejudge", action="store_true", help="judge again also rows for which nothing has changed since an earlier run")
    report.add_argument("--jobs", type=int, default=-1, metavar="N", help="experiments at a time (default: one per core)")
    report.add_argument(
        "--cluster", default=None, metavar="ADDRESS", help="measure on a Dask cluster: tcp://host:port, or local:N for N processes here"
    )
    report.add_argument("--no-progress", action="store_true", help="no progress bar")
    report.set_defaults(run=_report)

    claims = commands.add_parser(
        "claims", help="print the register of claims, or one claim", description="Print the register of claims, or one claim."
    )
    claims.add_argument("id", nargs="?", metavar="ID", help="claim to show in full")
    claims.set_defaults(run=_claims)

    render = commands.add_parser(
        "render", help="make a report again from its records", description="Make report.html, report.md and the figures again."
    )
    render.add_argument("folder", type=Path, metavar="DIR", help="folder of the report")
    render.add_argument("--out", type=Path, default=None, metavar="DIR", help="where to write (default: the same folder)")
    render.set_defaults(run=_render)

    compare = commands.add_parser(
        "compare", help="compare two reports", description="Compare two reports: exit code 0 the same, 1 changed, 2 unreadable."
    )
    compare.add_argument("before", type=Path, metavar="A", help="report.json or its folder")
    compare.add_argument("after", type=Path, metavar="B", help="report.json or its folder")
    compare.add_argument("--html", type=Path, default=None, metavar="FILE", help="write the comparison as one offline page, too")
    compare.set_defaults(run=_compare)

    from reports.diagnose_command import add_diagnose

    add_diagnose(commands)
    commands.choices["diagnose"].set_defaults(run=_diagnose)

    store = commands.add_parser(
        "store", help="look after the measurements that are kept", description="Look after the store of measurements."
    )
    actions = store.add_subparsers(dest="action", required=True, metavar="ls|verify|gc|export", parser_class=_Parser)
    ls = actions.add_parser("ls", help="list the records", description="List the records.")
    ls.add_argument("--json", action="store_true", help="as JSON")
    actions.add_parser(
        "verify", help="read every record against its checksum", description="Exit code 1 if a damaged record was set aside."
    )
    gc = actions.add_parser("gc", help="remove what interrupted runs left", description="Remove unfinished files; never a sound record.")
    gc.add_argument("--older", type=float, default=1.0, metavar="HOURS", help="only what is older (default: %(default)s)")
    gc.add_argument("--set-aside", action="store_true", help="remove set-aside files, too")
    gc.add_argument("--other-policy", action="store_true", help="set records aside that were made under another policy and are not judged")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be done")
    export = actions.add_parser("export", help="copy records as plain netCDF with an index", description="Copy records, verified.")
    export.add_argument("target", type=Path, metavar="DIR|FILE.zip", help="new folder or archive")
    export.add_argument("keys", nargs="*", metavar="KEY", help="records, by the start of their keys (default: all)")
    for action in actions.choices.values():
        action.add_argument("--store", type=Path, default=None, metavar="DIR", help="folder of the store (default: as for report)")
    store.set_defaults(run=_store)

    fetch = commands.add_parser(
        "fetch",
        help="download MNIST or CIFAR-10",
        description="Download the official files over HTTPS; only what has the pinned SHA-256 is kept.",
    )
    fetch.add_argument("dataset", metavar="mnist|cifar10", help="data set")
    fetch.add_argument("root", type=Path, metavar="DIR", help="data root: the files go to DIR/<data set>")
    fetch.set_defaults(run=_fetch)
    return parser


def _console() -> Console:
    from rich.console import Console

    # A pipe or a log has no width of its own: 80 columns would fold the table.
    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 150, highlight=False, soft_wrap=False)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, int, str], None] | None]:
    """One progress bar on standard error over measuring and judging."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False)
    columns = (BarColumn(bar_width=32), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), text)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda finished, total, description: bar.update(task, completed=finished, total=total, description=description)


def _report(options: argparse.Namespace) -> int:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # before NumPy loads: as in conftest.py, for the same numbers
    from reports.own_claims import load_own_claims
    from theory.claims import claim

    register = load_own_claims(options.claim_files).register
    selection = list(dict.fromkeys(claim(id, register).id for id in options.claims))
    if options.tier not in TIERS:
        raise ValueError(f"tier must be one of {', '.join(TIERS)}, got {options.tier!r}")
    if options.jobs < 1 and options.jobs != -1:
        raise ValueError(f"jobs must be at least 1, or -1 for one per core, got {options.jobs}")
    if options.seeds not in ("rule", "fresh") and not options.seeds.isdecimal():
        raise ValueError(f"seeds must be 'rule', 'fresh' or a number, got {options.seeds!r}")
    root = options.data_root or (Path(os.environ[DATA_VARIABLE]) if os.environ.get(DATA_VARIABLE) else None)
    if root is not None and not root.is_dir():
        raise ValueError(f"data root must be a folder, got {root}")
    from reports.harness import run_claims
    from reports.terminal import print_run
    from reports.writer import check_target, write_report

    if options.cluster is not None:
        from reports.plugin import check_cluster

        check_cluster(options.cluster)
    check_target(options.out)
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")  # the same records, the same bytes: see reports/session.py
    if epoch and not epoch.isdecimal():
        raise ValueError(f"SOURCE_DATE_EPOCH must be a number of seconds, got {epoch!r}")
    began = (datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)).isoformat(timespec="seconds")
    with _progress(shown=not options.no_progress) as on_progress:
        outcome = run_claims(
            selection,
            tier=options.tier,
            dataset=options.dataset,
            device=options.device,
            seeds=options.seeds,
            data_root=root,
            store=options.store,
            jobs=options.jobs,
            cluster=options.cluster,
            claim_files=options.claim_files,
            rejudge=options.rejudge,
            command=f"clean-priority {shlex.join(options.words)}",
            on_progress=on_progress,
        )
    provenance = {"date": began, **outcome.provenance}
    document = write_report(
        options.out,
        outcome.results,
        outcome.figures,
        provenance,
        problems=outcome.problems,
        selection=selection,
        register=outcome.register,
    )
    console = _console()
    print_run(document, console)
    console.print(f"report: {options.out / 'report.html'}", soft_wrap=True, markup=False)
    return 1 if document["problems"] or document["summary"]["not_as_expected"] else 0


def _store(options: argparse.Namespace) -> int:
    from reports.store_commands import ACTIONS

    return ACTIONS[options.action](options, _console())


def _diagnose(options: argparse.Namespace) -> int:
    from reports.diagnose_command import run_diagnose

    return run_diagnose(options, _console(), _progress)


def _fetch(options: argparse.Namespace) -> int:
    from empirical.downloads import fetch_dataset

    for path in fetch_dataset(options.dataset, options.root):
        print(path)
    return 0


def _claims(options: argparse.Namespace) -> int:
    from reports.terminal import print_claim, print_register
    from theory.claims import CLAIMS, claim

    if options.id is None:
        print_register([asdict(one) for one in CLAIMS.values()], _console())
    else:
        one = asdict(claim(options.id))
        console = _console()
        console.width = min(console.width, 110)
        print_claim(one, console, places=_places(one["id"]))
    return 0


def _places(id: str) -> list[str]:
    """Where a claim's formulas, its statement and its tests stand in the clone; nothing outside one."""
    from reports.sources import claim_places, formula_sources

    formulas = [f"formula {source.name}: {source.file}:{source.line}" for source in formula_sources().get(id, ())]
    return [*formulas, *(f"{'statement' if place.startswith('theory') else 'test'}: {place}" for place in claim_places().get(id, ()))]


def _render(options: argparse.Namespace) -> int:
    from reports.writer import redraw

    redraw(options.folder, options.out)
    _console().print(f"report: {(options.out or options.folder) / 'report.html'}", soft_wrap=True, markup=False)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from reports.compare import changed, compare, comparison_html
    from reports.schema import read_report
    from reports.terminal import print_comparison

    comparison = compare(read_report(options.before), read_report(options.after))
    if options.html is not None:
        try:
            options.html.write_text(comparison_html(comparison, before=str(options.before), after=str(options.after)), encoding="utf-8")
        except OSError as error:
            raise ValueError(f"{options.html}: cannot be written: {error.strerror}") from None
    print_comparison(comparison, _console())
    return 1 if changed(comparison) else 0


if __name__ == "__main__":
    sys.exit(main())
