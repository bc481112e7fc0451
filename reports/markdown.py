"""report.md: the report in the shape of a reproduction logbook, one section per claim: scope, method, result, command, hardware."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reports.html import machine
from reports.wording import SIGNS, effect, interval_text, number_text, rejected_claims

__all__ = ["escape_markdown", "render_markdown"]

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
    lines += ["| claim | title | regime | verdict | expected | effect | margin |", "|---|---|---|---|---|---|---|"]
    for row in document["claims"]:
        if row["verdict"] != "NOT RUN":
            cells = [row["id"], row["title"], row["regime"], f"{SIGNS[row['verdict']]} {row['verdict']}", row["expected"], effect(row)]
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
    hardware = machine(provenance) or "not recorded"
    for id in dict.fromkeys(row["id"] for row in document["claims"] if row["verdict"] != "NOT RUN"):
        claim = register[id]
        lines += [f"## {id} · {escape_markdown(claim['title'])}", ""]
        if claim["quote"]:
            lines += [f"> {escape_markdown(claim['quote'])}", "> " + escape_markdown("(" + ", ".join(claim["sources"]) + ")"), ""]
        lines += [f"**Statement.** {escape_markdown(claim['statement'])}", ""]
        if claim["hypotheses"]:
            lines += ["**Hypotheses.** " + escape_markdown(" ".join(claim["hypotheses"])), ""]
        for row in document["claims"]:
            if row["id"] == id:
                lines += _row(row, hardware)
    lines += ["## Provenance", "", *_tree(provenance), ""]
    return "\n".join(lines)


def _row(row: Mapping[str, Any], hardware: str) -> list[str]:
    lines = [f"### {escape_markdown(row['regime'])}: {SIGNS[row['verdict']]} {row['verdict']} (expected {row['expected']})", ""]
    lines += [f"- Scope: {escape_markdown(row['regime'])}, {row['kind']} claim, {row['seeds']} seeds in the deciding check"]
    if row["reason"]:
        lines.append(f"- Reason: {escape_markdown(row['reason'])}")
    methods = list(dict.fromkeys(check["method"] for check in row["checks"]))
    if methods:
        lines.append(f"- Method: {escape_markdown('; '.join(methods))}")
    for check in row["checks"]:
        interval = interval_text(check["interval"])
        lines.append(
            f"- Result, {check['role']}: {escape_markdown(check['name'])}: {check['verdict']}; measured {number_text(check['estimate'])}"
            f"{' ' + escape_markdown(interval) if interval else ''}{' ' + escape_markdown(check['unit']) if check['unit'] else ''},"
            f" predicted {number_text(check['prediction'])}, margin {number_text(check['margin'], digits=2)}"
        )
    lines += [f"- Note: {escape_markdown(text)}" for text in row["notes"]]
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
