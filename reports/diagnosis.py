"""The result of a diagnosis: one document, from which page, logbook and files are made; the same kind of report as the agreement report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from reports.diagnosis_answers import answer_all
from reports.diagnosis_data import SeedRun
from reports.diagnosis_figures import diagnosis_figures
from reports.diagnosis_numbers import CONFIDENCE
from reports.document import figure_entry, plain
from reports.figure_data import FigureData

__all__ = ["DIAGNOSIS_VERSION", "SHOWN_WITH", "Diagnosis"]

DIAGNOSIS_VERSION = "1.0"
"""Version of the document, see schemas/diagnosis-1.json."""

SHOWN_WITH = {"until-when": "turn", "dominance": "classes", "test-error-minimum": "errors", "label-free-rule": "losses"}
"""Answer → the figure that stands beside it."""


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Answers about one task, with the figures behind them.

    Attributes:
        document: content of report.json: ``task``, ``answers``, ``figures``, ``notes``, ``provenance`` (schemas/diagnosis-1.json).
        figures: data of the figures.
        runs: what the answers were made from; empty for a report that was read from its file.
    """

    document: Mapping[str, Any]
    figures: tuple[FigureData, ...]
    runs: tuple[SeedRun, ...] = ()

    @classmethod
    def from_runs(
        cls, runs: Sequence[SeedRun], *, task: Mapping[str, Any], provenance: Mapping[str, Any], notes: Sequence[str] = ()
    ) -> Diagnosis:
        """Answer the questions from the runs of several seeds.

        Args:
            runs: one for each seed, recorded at the same steps.
            task: what was trained on what.
            provenance: versions, machine.
            notes: remarks on how to read the numbers.
        """
        answers = answer_all(runs)
        figures = diagnosis_figures(runs, {one["id"]: one for one in answers}, error_rate=1 - CONFIDENCE)
        drawn = {figure.id for figure in figures}
        for one in answers:
            one["figures"] = [name for name in [SHOWN_WITH.get(one["id"])] if name in drawn]
        document = {
            "schema_version": DIAGNOSIS_VERSION,
            "kind": "diagnosis",
            "provenance": plain({"date": datetime.now(UTC).isoformat(timespec="seconds"), **provenance}),
            "task": plain(task),
            "confidence": CONFIDENCE,
            "answers": answers,
            "runs": plain([run.describe() for run in runs]),
            "figures": [figure_entry(figure) for figure in figures],
            "notes": [str(note) for note in notes],
        }
        return cls(document, tuple(figures), tuple(runs))

    @cached_property
    def answers(self) -> dict[str, dict[str, Any]]:
        """Answer id → question, verdict, sentence, and numbers (value, interval, one value for each seed)."""
        return {one["id"]: dict(one) for one in self.document["answers"]}

    @property
    def verdicts(self) -> dict[str, str]:
        """Answer id → verdict in a word or two."""
        return {id: str(one["verdict"]) for id, one in self.answers.items()}

    def to_html(self) -> str:
        """The page, complete and offline."""
        from reports.diagnosis_page import render_diagnosis_html
        from reports.figures import render

        return render_diagnosis_html(self.document, {figure.id: render(figure)[0] for figure in self.figures})

    def to_markdown(self) -> str:
        """The report as Markdown."""
        from reports.diagnosis_page import render_diagnosis_markdown

        return render_diagnosis_markdown(self.document)

    def write(self, out: Path | str) -> Path:
        """Write report.html, report.json, report.md and figures/ into a folder, all or nothing; returns the page's path.

        Raises:
            ValueError: in one line, if the folder cannot be written or holds something else than a report.
        """
        from reports.writer import write_document

        write_document(out, self.document, self.figures)
        return Path(out) / "report.html"

    def __str__(self) -> str:
        """One line for each question."""
        width = max(len(one["question"]) for one in self.document["answers"])
        return "\n".join(f"{one['question']:<{width}}  {one['verdict']}: {one['sentence']}" for one in self.document["answers"])
