"""What the command line prints: the table of a run, the register, one claim, a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from reports.plain_formulas import plain_formula
from reports.wording import SECTIONS, SIGNS, estimate_text, interval_text, number_text, outcome, prediction_text, rejected_claims

__all__ = ["COLORS", "print_claim", "print_comparison", "print_register", "print_run"]

COLORS: Mapping[str, str] = {
    "AGREES": "green",
    "DISAGREES": "dark_orange3",
    "INCONCLUSIVE": "yellow",
    "ASSUMPTION VIOLATED": "magenta",
    "NOT RUN": "bright_black",
    "ERROR": "bold red",
}
WIDE, NARROW = 120, 100  # columns from which on the register shows its sources, and below which it leaves out the kind
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
    return Text.assemble(f"{estimate_text(row)} ", (interval, "dim"), f" vs {prediction_text(row)}")


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
    """Print every claim of the register in one table, by parts of the papers; a narrow terminal leaves out sources and kinds.

    Args:
        register: claims as mappings of their fields.
        console: where to print.
    """
    wide, narrow = console.width >= WIDE, console.width < NARROW
    table = Table(box=None, pad_edge=False, show_header=False, expand=False, padding=(0, 2, 0, 0))
    table.add_column("claim", no_wrap=True, style="bold", min_width=4)
    table.add_column("title", no_wrap=True, overflow="ellipsis", max_width=None if wide else console.width - (32 if narrow else 44))
    if wide:
        table.add_column("source", style="dim", overflow="fold", max_width=44)
    if not narrow:
        table.add_column("kind", no_wrap=True, style="dim")
    table.add_column("expected", no_wrap=True)
    previous = ""
    for claim in register:
        letter = claim["id"][0]
        if letter != previous:
            if previous:
                table.add_row()
            table.add_row("", Text(SECTIONS.get(letter, letter), style="italic cyan"))
            previous = letter
        more = ([", ".join(claim["sources"])] if wide else []) + ([] if narrow else [claim["kind"]])
        table.add_row(claim["id"], claim["title"], *more, verdict_text(claim["expected"]))
    console.print(table)
    expected = [claim["expected"] for claim in register]
    counts = Text("   ").join(Text.assemble(verdict_text(name), f" {expected.count(name)}") for name in COLORS if name in expected)
    console.print(Text.assemble(f"\n{len(register)} claims; expected of the statements as printed:  ", counts))
    console.print(Text("`clean-priority claims ID` shows one of them.", style="dim"))


def print_claim(claim: Mapping[str, Any], console: Console, *, places: Sequence[str] = ()) -> None:
    """Print one claim of the register in full.

    Args:
        claim: its fields.
        console: where to print.
        places: where its formulas and tests stand, one line each.
    """
    parts: list[RenderableType] = []

    def heading(text: str) -> Text:
        return Text(text, style="bold dim")

    def add(title: str, *body: RenderableType) -> None:
        parts.extend([heading(title), *body, Text()])

    if claim["quote"]:
        quote = Group(Text(f"“{claim['quote']}”", style="italic"), Text("— " + ", ".join(claim["sources"]), style="dim"))
        add("In the papers' words", Padding(quote, (0, 0, 0, 2)))
    else:
        add("Extends", Text(", ".join(claim["sources"])))
    add("Precisely", Text(claim["statement"]))
    if claim["hypotheses"]:
        add("Under the hypotheses", _bullets([_hypothesis(text) for text in claim["hypotheses"]]))
    add("Expected of the statement as printed", Text.assemble(verdict_text(claim["expected"]), f"  {claim['reason']}"))
    printed = _side("As printed", claim["formula"], "", COLORS.get(claim["expected"], ""), SIGNS[claim["expected"]])
    corrected = _side("Correct form", claim["correction_formula"], claim["correction"], COLORS["AGREES"], SIGNS["AGREES"])
    if claim["correction"] or claim["correction_formula"]:
        parts.extend([part for part in (printed, corrected) if part is not None])
        parts.append(Text())
    elif claim["formula"]:
        add("Formula", _formula(claim["formula"]))
    add("Negative control", Text(claim["control"]))
    if places:
        add("In the repository", _bullets(places))
    parts.pop()
    audit = AUDIT.get(claim["audit"], claim["audit"])
    title = Text.assemble((f" {claim['id']} ", "bold reverse"), (f" {claim['title']} ", "bold"))
    subtitle = f" {claim['kind']} · {audit} "
    border = COLORS.get(claim["expected"], "")
    console.print(
        Panel(
            Group(*parts),
            title=title,
            title_align="left",
            subtitle=subtitle,
            subtitle_align="right",
            box=box.ROUNDED,
            padding=(1, 2),
            border_style=border,
        )
    )


def _formula(latex: str) -> Text:
    """In plain signs; a claim of one's own may use commands of LaTeX that the register does not, and is shown as it is written."""
    try:
        return Text(plain_formula(latex), style="cyan")
    except ValueError:
        return Text(latex, style="cyan")


def _hypothesis(text: str) -> str:
    """A hypothesis; one that the papers leave out says so."""
    return f"{text.removeprefix('unstated: ').rstrip('.')} (not stated in the papers)." if text.startswith("unstated: ") else text


def _bullets(texts: Sequence[str]) -> Table:
    """Lines with a hanging bullet."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column()
    for text in texts:
        grid.add_row("•", Text(text))
    return grid


def _side(title: str, formula: str, words: str, color: str, sign: str) -> RenderableType | None:
    """One form of a statement, printed or corrected, in a frame of its verdict's colour."""
    lines: list[RenderableType] = [Text(words)] if words else []
    lines += [_formula(formula)] if formula else []
    if not lines:
        return None
    head = Text(f" {sign} {title} ", style=f"bold {color}")
    return Panel(Group(*lines), title=head, title_align="left", box=box.ROUNDED, border_style=color, padding=(0, 1))


def _plain_table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", title=title, title_justify="left")


def print_comparison(comparison: Mapping[str, Any], console: Console) -> None:
    """Print what differs between two reports, as compare.compare found it."""
    if comparison["verdicts"]:
        table = _plain_table("Verdicts that changed, came or went")
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
            sides = (f"{estimate_text(side)} {interval_text(side['interval'])}" for side in (change["before"], change["after"]))
            table.add_row(change["id"], change["regime"], change["check"], *sides)
        console.print(table)
    if comparison["provenance"]:
        table = _plain_table("Provenance that differs")
        for name in ("", "before", "now"):
            table.add_column(name, overflow="fold")
        for change in comparison["provenance"]:
            table.add_row(change["name"], change["before"] or "–", change["after"] or "–")
        console.print(table)
    same = not (comparison["verdicts"] or comparison["effects"])
    console.print(
        Text(f"the same: {outcome(comparison)}" if same else outcome(comparison), style="bold green" if same else "bold dark_orange3")
    )
