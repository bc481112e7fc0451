"""A diagnosis as one offline page and as Markdown, made from its document; the page shares styles and parts with the agreement report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reports.compact_svg import DrawingStyles
from reports.html import environment, flatten, machine
from reports.inline_svg import prepare_figure
from reports.markdown import escape_markdown
from reports.wording import interval_text, number_text

__all__ = ["TONES", "render_diagnosis_html", "render_diagnosis_markdown"]

TONES: Mapping[str, tuple[str, str]] = {
    "yes": ("agrees", "✓"),
    "approximately": ("agrees", "✓"),
    "reached": ("agrees", "✓"),
    "interior": ("agrees", "✓"),
    "both": ("inconclusive", "?"),
    "unclear": ("inconclusive", "?"),
    "neither": ("disagrees", "✗"),
    "no": ("disagrees", "✗"),
    "reversed": ("disagrees", "✗"),
    "violated": ("assumption-violated", "⊘"),
    "gradient cancellation": ("agrees", "✓"),
    "eigen-alignment": ("agrees", "✓"),
}
"""Verdict → the class of its colour and its sign; all others are neutral."""

NEUTRAL = ("not-run", "○")


def render_diagnosis_html(document: Mapping[str, Any], drawings: Mapping[str, str]) -> str:
    """Render the page.

    Args:
        document: content of report.json.
        drawings: figure id → SVG text.
    """
    styles = DrawingStyles()
    figures = {
        figure["id"]: {
            **figure,
            "regime": "",
            "svg": prepare_figure(
                drawings[figure["id"]], name=f"f{position}", label=f"{figure['title']}. {figure['caption']}", styles=styles
            ),
        }
        for position, figure in enumerate(document["figures"])
        if figure["id"] in drawings
    }
    shown = {name for one in document["answers"] for name in one["figures"]}
    body = (
        environment()
        .get_template("diagnosis.html.j2")
        .render(
            document=document,
            task=document["task"],
            date=document["provenance"].get("date"),
            answers=[{**one, "tone": tone(one["verdict"])} for one in document["answers"]],
            figures=figures,
            others=[figure for id, figure in figures.items() if id not in shown],
            title=title(document["task"]),
            facts=[*flatten({"training": document["task"]["training"]}), *flatten(document["provenance"])],
            machine=machine(document["provenance"]),
        )
    )
    return re.sub(r"\n\s*\n+", "\n", body.replace("/*drawings*/", styles.css(), 1)) + "\n"


def render_diagnosis_markdown(document: Mapping[str, Any]) -> str:
    """Render the report as Markdown: one section for each question."""
    task = document["task"]
    lines = [f"# Diagnosis: {escape_markdown(title(task))}", ""]
    lines += ["| question | verdict | answer |", "|---|---|---|"]
    for one in document["answers"]:
        lines.append("| " + " | ".join(escape_markdown(one[key]) for key in ("question", "verdict", "sentence")) + " |")
    lines += ["", "## Task", ""]
    lines += [f"- {escape_markdown(name)}: {escape_markdown(text)}" for name, text in flatten(task)]
    lines += [f"- note: {escape_markdown(text)}" for text in document["notes"]]
    for one in document["answers"]:
        if one["numbers"]:
            lines += ["", f"## {escape_markdown(one['question'])}", "", escape_markdown(one["sentence"]), ""]
            lines += ["| number | value | interval | unit | seeds |", "|---|---|---|---|---|"]
            for quantity in one["numbers"]:
                seeds = ", ".join(number_text(value, digits=3) for value in quantity["per_seed"])
                cells = [
                    quantity["name"],
                    number_text(quantity["value"]),
                    interval_text([quantity["lower"], quantity["upper"]]),
                    quantity["unit"],
                    seeds,
                ]
                lines.append("| " + " | ".join(escape_markdown(cell) for cell in cells) + " |")
    lines += ["", "## Provenance", ""]
    lines += [f"- {escape_markdown(name)}: {escape_markdown(text)}" for name, text in flatten(document["provenance"])]
    return "\n".join(lines) + "\n"


def tone(verdict: str) -> tuple[str, str]:
    """Class of the colour, and sign, of a verdict.

    Example:
        >>> tone("yes"), tone("not measured")
        (('agrees', '✓'), ('not-run', '○'))
    """
    return TONES.get(verdict, NEUTRAL)


def title(task: Mapping[str, Any]) -> str:
    """The task in one phrase.

    Example:
        >>> title({"data": "digits", "classes": ["7", "9"], "noise_level": 0.4, "network": "CNN"})
        'digits 7/9, 40 % wrong labels, CNN'
    """
    classes = "/".join(task["classes"]) if len(task["classes"]) <= 4 else f"{len(task['classes'])} classes"
    level = task["noise_level"] if task.get("noise_asked") is None else task["noise_asked"]
    return f"{task['data']} {classes}, {number_text(round(100 * level, 1), digits=3)} % wrong labels, {task['network']}"
