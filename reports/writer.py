"""Writing a report's folder: report.json, report.html, report.md and figures/, all or nothing.

Everything is written into a temporary folder beside the target, which then takes the target's place by renaming. A reader
sees the old report or the new one, never a half-written one. The same document and arrays give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports._validation import check_list, check_mapping, check_path
from reports.diagnosis_page import render_diagnosis_html, render_diagnosis_markdown
from reports.drawings import draw_all
from reports.figure_data import FigureData
from reports.figure_store import load_figures
from reports.html import render_html
from reports.markdown import render_markdown
from reports.schema import problems_with, read_report
from theory.claims import CLAIMS, Claim

if TYPE_CHECKING:
    from reports.agreement import ClaimResult

__all__ = ["redraw", "write_document", "write_report"]

OWN = ("report.json", "report.html", "report.md", "figures")
"""What a report's folder holds; other files found in it are kept."""


def write_report(
    out: Path | str,
    results: Iterable[ClaimResult],
    figures: Sequence[FigureData],
    provenance: Mapping[str, Any],
    *,
    problems: Sequence[str] = (),
    selection: Collection[str] = (),
    register: Mapping[str, Claim] = CLAIMS,
) -> dict[str, Any]:
    """Write the report of a run.

    Args:
        out: folder of the report; created, or replaced if it holds a report.
        results: one per claim and regime.
        figures: the figures that belong to them.
        provenance: commit, versions, machine, data hashes, wall time …
        problems: what kept tests from running.
        selection: claim ids that were asked for; empty means all.
        register: the claims of the run, id → claim.

    Returns:
        The document, as report.json holds it.

    Raises:
        ValueError: in one line, if the folder cannot be written or holds something else than a report, or the results do not fit together.
    """
    from reports.agreement import ClaimResult
    from reports.document import build_document

    check_target(out)
    results, figures = check_list(results, "results", ClaimResult, "claim results"), check_list(figures, "figures", FigureData, "figures")
    check_mapping(provenance, "provenance")
    problems, selection = check_list(problems, "problems", str, "texts"), check_list(selection, "selection", str, "claim ids")
    document = build_document(results, figures, provenance, problems=problems, selection=selection, register=register)
    write_document(out, document, figures)
    return document


def redraw(folder: Path | str, out: Path | str | None = None) -> dict[str, Any]:
    """Make every form of a report again from its report.json and its figures' data.

    Args:
        folder: the report's folder.
        out: where to write; by default the same folder.

    Raises:
        ValueError: in one line, if the report cannot be read or the target cannot be written.
    """
    folder = check_path(folder, "folder")
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected the folder of a report")
    document = read_report(folder, kinds=("report", "diagnosis"))
    write_document(folder if out is None else out, document, load_figures(folder, document), earlier=folder)
    return document


def check_target(out: Path | str) -> Path:
    """Return the absolute target folder, if a report may be written there.

    Raises:
        ValueError: if it is a file, a folder with other content than a report, or the current folder or one above it.
    """
    target = check_path(out, "out").expanduser().absolute()
    try:
        if target.is_dir():
            here = Path.cwd()
            if here == target.resolve() or target.resolve() in here.parents:
                raise ValueError(f"{out}: the report's folder is replaced as a whole, so it must not be the current folder or one above it")
            if any(target.iterdir()) and not (target / "report.json").is_file():
                raise ValueError(f"{out}: the folder holds something else than a report; give a new or empty folder")
        elif target.exists() or target.is_symlink():
            raise ValueError(f"{out}: expected a folder for the report, got a file")
    except OSError as error:
        raise ValueError(f"{out}: cannot be used for the report: {error.strerror}") from None
    return target


def write_document(out: Path | str, document: Mapping[str, Any], figures: Sequence[FigureData], *, earlier: Path | None = None) -> None:
    """Write a document and its figures into a report's folder, all or nothing.

    Args:
        out: folder of the report.
        document: content of report.json.
        figures: data of the figures that it lists.
        earlier: a report's folder whose drawings are taken where nothing has changed; by default the one that is replaced.

    Raises:
        ValueError: in one line, if the document does not fit the schema, a figure cannot be drawn, or the folder cannot be written.
    """
    target = check_target(out)
    first = next(problems_with(json.loads(json.dumps(document))), None)
    if first:
        raise ValueError(f"the report does not fit its schema: {first}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    except OSError as error:
        raise ValueError(f"{out}: cannot be written: {error.strerror}") from None
    try:
        _fill(fresh, document, figures, earlier=(earlier or target) / "figures")
        _put_in_place(fresh, target)
    except OSError as error:
        raise ValueError(f"{out}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _fill(folder: Path, document: Mapping[str, Any], figures: Sequence[FigureData], *, earlier: Path) -> None:
    folder.chmod(0o755)
    (folder / "figures").mkdir()
    drawings = draw_all(figures, folder / "figures", earlier=earlier)
    diagnosis = document.get("kind") == "diagnosis"
    page, logbook = (render_diagnosis_html, render_diagnosis_markdown) if diagnosis else (render_html, render_markdown)
    _write(folder / "report.html", page(document, drawings))
    _write(folder / "report.md", logbook(document))
    _write(folder / "report.json", json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8", errors="replace"))


def _put_in_place(fresh: Path, target: Path) -> None:
    """Exchange the folders; whatever else lay in the old one moves along."""
    if not target.exists():
        os.replace(fresh, target)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
    os.rmdir(old)
    os.replace(target, old)
    try:
        os.replace(fresh, target)
    except OSError:
        os.replace(old, target)
        raise
    for extra in old.iterdir():
        if extra.name not in OWN:
            os.replace(extra, target / extra.name)
    shutil.rmtree(old, ignore_errors=True)
