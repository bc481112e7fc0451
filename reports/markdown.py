"""report.md: the report in the shape of a reproduction logbook, one section per claim: scope, method, result, command, hardware."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from reports.html import machine
from reports.wording import SIGNS, effect, number_text, rejected_claims

__all__ = ["escape_markdown", "render_markdown"]

ROLES = {"statement": "statement", "hypothesis": "hypothesis", "correction": "corrected form", "control": "negative control"}
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def render_markdown(document: Mapping[str, Any]) -> str:
    """Render the logbook.

    Args:
        document: content of report.json.
    """
    summary, provenance = document["summary"], document["provenance"]
    lines = ["# Clean-priority learning: agreement report", ""]
    counts = ", ".join(f"{SIGNS[verdict]} {count} {verdict}" for verdict, count in summary["verdicts"].items() if count)
    outcome = "all as expected" if not summary["not_as_expected"] else f"**{summary['not_as_expected']} not as expected**"
    scope = f"{summary['rows']} judgements of {summary['claims']} claims ({summary['claims_in_register']} in the register)"
    lines += [f"{scope}: {outcome}.", ""]
    lines += [f"Verdicts: {counts}.", ""]
    for problem in document["problems"]:
        lines += ["> Problem: " + escape_markdown(problem.strip().replace("\n", " ")), ""]
    lines += ["| claim | title | regime | verdict | expected | deciding check | effect | margin |", "|---|---|---|---|---|---|---|---|"]
    for row in document["claims"]:
        if row["verdict"] != "NOT RUN":
            verdict = f"{SIGNS[row['verdict']]} {row['verdict']}"
            cells = [row["id"], row["title"], row["regime"], verdict, row["expected"], row["headline"], effect(row)]
            lines.append("| " + " | ".join(escape_markdown(cell) for cell in [*cells, number_text(row["margin"], digits=2)]) + " |")
    waiting = [row for row in document["claims"] if row["verdict"] == "NOT RUN"]
    if waiting:
        lines += ["", "Not run:", ""]
    for row in waiting:
        where = f" ({row['regime']})" if row["regime"] else ""
        lines.append(f"- {row['id']} {escape_markdown(row['title'] + where)}: {escape_markdown(row['reason'])}")
    lines += ["", "## Printed statements that the evidence rejects", ""]
    register = {claim["id"]: claim for claim in document["register"]}
    rejected = rejected_claims(document)
    for claim in rejected:
        head = f"- **{claim['id']}** {escape_markdown(claim['title'])} ({escape_markdown(', '.join(claim['sources']))})."
        lines.append(f"{head} Correct: {escape_markdown(claim['correction'] or claim['reason'])}")
    lines += ([] if rejected else ["None among the claims judged here."]) + [""]
    hardware = machine({**provenance, "wall_time_s": None}) or "not recorded"
    figures = {figure["id"]: figure for figure in document["figures"]}
    for id in dict.fromkeys(row["id"] for row in document["claims"] if row["verdict"] != "NOT RUN"):
        claim = register[id]
        lines += [f"## {id} · {escape_markdown(claim['title'])}", ""]
        if claim["quote"]:
            lines += [f"> {escape_markdown(claim['quote'])}", "> " + escape_markdown("(" + ", ".join(claim["sources"]) + ")"), ""]
        lines += [f"**Statement.** {escape_markdown(claim['statement'])}", ""]
        if claim["hypotheses"]:
            lines += ["**Hypotheses.** " + escape_markdown(" ".join(map(_hypothesis, claim["hypotheses"]))), ""]
        if claim["correction"]:
            lines += [f"**Correct form.** {escape_markdown(claim['correction'])}", ""]
        lines += [f"**Negative control.** {escape_markdown(claim['control'])}", ""] if claim["control"] else []
        for row in document["claims"]:
            if row["id"] == id:
                lines += _row(row, hardware, [figures[name] for name in row["figures"] if name in figures])
    lines += ["## Provenance", "", *_tree(provenance), ""]
    return "\n".join(lines)


def _hypothesis(text: str) -> str:
    """A hypothesis as a sentence; one that the papers leave out says so."""
    unstated = text.startswith("unstated: ")
    words = text.removeprefix("unstated: ").rstrip(".")
    return f"{words[:1].upper()}{words[1:]}{' (not stated in the papers)' if unstated else ''}."


def _row(row: Mapping[str, Any], hardware: str, figures: Sequence[Mapping[str, Any]]) -> list[str]:
    seeds = f"{row['seeds']} seed{'' if row['seeds'] == 1 else 's'}"
    lines = [f"### {escape_markdown(row['regime'])}: {SIGNS[row['verdict']]} {row['verdict']} (expected {row['expected']})", ""]
    lines += [f"- Scope: {escape_markdown(row['regime'])}, {row['kind']} claim, {seeds} in the deciding check"]
    if row["reason"]:
        lines.append(f"- Reason: {escape_markdown(row['reason'])}")
    methods = list(dict.fromkeys(check["method"] for check in row["checks"]))
    if methods:
        lines.append(f"- Method: {escape_markdown('; '.join(methods))}")
    for check in row["checks"]:
        verdict = check["verdict"]
        if check["role"] == "control":
            verdict = f"{verdict}, {'as it must' if check['ok'] else 'but must be rejected'}"
        lines.append(
            f"- Result, {ROLES[check['role']]}: {escape_markdown(check['name'])}: {verdict}; measured {escape_markdown(effect(check))},"
            f" margin {number_text(check['margin'], digits=2)}"
        )
    lines += [f"- Note: {escape_markdown(text)}" for text in row["notes"]]
    for figure in figures:
        lines.append(f"- Figure: [{escape_markdown(figure['title'])}]({quote(figure['path'])}): {escape_markdown(figure['caption'])}")
    lines += [f"- Not as expected: {escape_markdown(' '.join(text.split()))}" for text in row["failures"]]
    if row["command"]:
        lines.append(f"- Command: `{row['command'].replace('`', '')}`")
    return [*lines, f"- Hardware: {escape_markdown(hardware)}", ""]


def _tree(value: Mapping[str, Any], depth: int = 0) -> list[str]:
    lines: list[str] = []
    for name, part in value.items():
        if isinstance(part, Mapping):
            lines += [f"{'  ' * depth}- {escape_markdown(name)}", *_tree(part, depth + 1)]
        else:
            lines.append(f"{'  ' * depth}- {escape_markdown(name)}: {escape_markdown(str(part))}")
    return lines


def escape_markdown(text: str) -> str:
    """A text in which Markdown finds no markup of its own."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))
