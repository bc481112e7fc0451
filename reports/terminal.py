"""What the command line prints: the table of a run, the register, one claim, a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reports.wording import SIGNS, interval_text, number_text, rejected_claims

__all__ = ["COLORS", "print_claim", "print_comparison", "print_register", "print_run"]

COLORS: Mapping[str, str] = {
    "AGREES": "green",
    "DISAGREES": "dark_orange3",
    "INCONCLUSIVE": "yellow",
    "ASSUMPTION VIOLATED": "magenta",
    "NOT RUN": "bright_black",
    "ERROR": "bold red",
}
AUDIT: Mapping[str, str] = {
    "OK": "correct",
    "TYPO": "misprint",
    "ERR": "wrong as printed",
    "HYP": "a hypothesis is missing",
    "VAC": "vacuous on generic data",
    "EMP": "empirical",
    "DEF": "definition",
}


def verdict_text(verdict: str) -> Text:
    """A verdict by colour, sign and word."""
    return Text(f"{SIGNS[verdict]} {verdict}", style=COLORS[verdict])


def print_run(document: Mapping[str, Any], console: Console) -> None:
    """Print the table of a run, its counts, the rejected statements, and every failure in full.

    Args:
        document: content of report.json.
        console: where to print.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", expand=False)
    for name, options in (
        ("claim", {"no_wrap": True}),
        ("title", {"max_width": 34}),
        ("regime", {"max_width": 30}),
        ("verdict", {"no_wrap": True}),
        ("expected", {"max_width": 11}),
        ("effect with interval", {"max_width": 34}),
        ("margin", {"justify": "right", "no_wrap": True}),
    ):
        table.add_column(name, **options)
    for row in document["claims"]:
        if row["verdict"] == "NOT RUN" and not row["regime"]:
            continue
        expected = Text("as expected", style="dim") if not row["failures"] else Text(f"✗ {row['expected']}", style="bold red")
        if row["verdict"] == "NOT RUN":
            expected = Text(row["expected"], style="dim")
        shown = Text(row["reason"], style="dim") if row["estimate"] is None else _effect(row)
        table.add_row(
            row["id"], row["title"], row["regime"], verdict_text(row["verdict"]), expected, shown, number_text(row["margin"], digits=2)
        )
    console.print(table)
    waiting: dict[str, list[str]] = {}
    for row in document["claims"]:
        if row["verdict"] == "NOT RUN" and not row["regime"]:
            waiting.setdefault(row["reason"], []).append(row["id"])
    for reason, ids in waiting.items():
        console.print(Text.assemble(verdict_text("NOT RUN"), f"  {len(ids)} claims, {reason}: ", (", ".join(ids), "dim")))
    _print_rejected(document, console)
    _print_failures(document, console)
    summary = document["summary"]
    counts = Text("   ").join(Text.assemble(verdict_text(name), f" {count}") for name, count in summary["verdicts"].items() if count)
    console.print()
    console.print(counts)
    bad = summary["not_as_expected"]
    console.print(
        Text(f"{bad} of {summary['rows']} judgements not as expected", style="bold red")
        if bad
        else Text(f"all {summary['rows']} judgements as expected" if summary["rows"] else "nothing was judged", style="bold")
    )


def _effect(row: Mapping[str, Any]) -> Text:
    unit = f" {row['unit']}" if row["unit"] else ""
    interval = f"{interval_text(row['interval']) or 'exact'}{unit}"
    return Text.assemble(f"{number_text(row['estimate'])} ", (interval, "dim"), f" vs {number_text(row['prediction'])}")


def _print_rejected(document: Mapping[str, Any], console: Console) -> None:
    rejected = rejected_claims(document)
    if not rejected:
        return
    console.print("\n[bold]Printed statements that the evidence rejects[/bold]")
    for claim in rejected:
        console.print(Text.assemble((f"  {claim['id']}  ", "bold"), claim["title"], (f"  {', '.join(claim['sources'])}", "dim")))
        console.print(Text.assemble(("      correct: ", COLORS["AGREES"]), claim["correction"] or claim["reason"]))


def _print_failures(document: Mapping[str, Any], console: Console) -> None:
    for problem in document["problems"]:
        console.print(Text(f"\n{problem}", style="red"))
    for row in document["claims"]:
        if not row["failures"]:
            continue
        console.print()
        console.print(Text.assemble((f"{row['id']} · {row['regime']}", "bold red"), f"  {row['title']}"))
        for failure in row["failures"]:
            console.print(Text("  " + failure.replace("\n", "\n  ")))
        if row["command"]:
            console.print(Text(f"  reproduce: {row['command']}", style="dim"))


def print_register(register: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Print every claim of the register in one table.

    Args:
        register: claims as mappings of their fields.
        console: where to print.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in ("claim", "title", "source", "kind", "expected as printed"):
        table.add_column(name, no_wrap=name in ("claim", "kind", "expected as printed"))
    previous = register[0]["id"][0] if register else ""
    for claim in register:
        if claim["id"][0] != previous:
            table.add_section()
            previous = claim["id"][0]
        table.add_row(claim["id"], claim["title"], ", ".join(claim["sources"]), claim["kind"], verdict_text(claim["expected"]))
    console.print(table)
    console.print(Text(f"{len(register)} claims. `clean-priority claims ID` shows one of them.", style="dim"))


def print_claim(claim: Mapping[str, Any], console: Console) -> None:
    """Print one claim of the register in full."""
    parts: list[RenderableType] = []

    def add(title: str, text: str, style: str = "") -> None:
        if text:
            parts.append(Text.assemble((f"{title}\n", "bold dim"), (text, style), "\n"))

    add("In the papers' words" if claim["quote"] else "", f"“{claim['quote']}”" if claim["quote"] else "", "italic")
    add("Source" if claim["quote"] else "Extends", ", ".join(claim["sources"]))
    add("Precisely", claim["statement"])
    add("Formula (LaTeX)", claim["formula"], "cyan")
    add("Hypotheses", "\n".join(f"• {text}" for text in claim["hypotheses"]))
    parts.append(Text.assemble(("Expected as printed\n", "bold dim"), verdict_text(claim["expected"]), f"  {claim['reason']}\n"))
    add("Correct form", claim["correction"], "green")
    add("Correct formula (LaTeX)", claim["correction_formula"], "cyan")
    add("Negative control", claim["control"])
    audit = AUDIT.get(claim["audit"], claim["audit"])
    title = Text.assemble((f" {claim['id']} ", "bold"), f"{claim['title']} ")
    subtitle = f" {claim['kind']} · {audit} "
    console.print(Panel(Group(*parts), title=title, title_align="left", subtitle=subtitle, box=box.ROUNDED, padding=(1, 2)))


def _plain_table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title=title, title_justify="left")


def print_comparison(comparison: Mapping[str, Any], console: Console) -> None:
    """Print what differs between two reports, as compare.compare found it."""
    if comparison["verdicts"]:
        table = _plain_table("Verdicts that changed")
        for name in ("claim", "regime", "before", "now"):
            table.add_column(name)
        for change in comparison["verdicts"]:
            before, now = (verdict_text(side) if side else Text("not there", style="dim") for side in (change["before"], change["after"]))
            table.add_row(change["id"], change["regime"], before, now)
        console.print(table)
    if comparison["effects"]:
        table = _plain_table("Effects that moved by more than their intervals")
        for name in ("claim", "regime", "check", "before", "now"):
            table.add_column(name)
        for change in comparison["effects"]:
            sides = (f"{number_text(side['estimate'])} {interval_text(side['interval'])}" for side in (change["before"], change["after"]))
            table.add_row(change["id"], change["regime"], change["check"], *sides)
        console.print(table)
    if comparison["provenance"]:
        table = _plain_table("Provenance that differs")
        for name in ("", "before", "now"):
            table.add_column(name, overflow="fold")
        for change in comparison["provenance"]:
            table.add_row(change["name"], change["before"] or "–", change["after"] or "–")
        console.print(table)
    changed = len(comparison["verdicts"]), len(comparison["effects"])
    same = not any(changed)
    console.print(
        Text(f"the same: {comparison['rows']} rows, {comparison['checks']} checks compared", style="bold green")
        if same
        else Text(f"changed: {changed[0]} verdicts, {changed[1]} effects", style="bold dark_orange3")
    )
