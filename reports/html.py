"""report.html: one offline file, made from the document and the figures' SVG texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from reports.compact_svg import DrawingStyles
from reports.equations import EquationSheet
from reports.inline_svg import interval_picture, prepare_figure, shift_picture
from reports.trust import trust_view
from reports.wording import (
    DATA_NAMES,
    KINDS,
    SECTIONS,
    SIGNS,
    effect,
    estimate_text,
    interval_text,
    number_text,
    prediction_text,
    rejected_claims,
    slug,
    typeset,
)

__all__ = ["environment", "render_html"]

GLANCE = (("The papers' statements", "SGIDMP"), ("Their figures, and beyond", "FXR"))
FEW_ROWS = 12
OTHER = "other settings"
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")


def environment() -> Environment:
    """The template environment: everything is escaped unless it is markup that this program made; an unknown name is an error."""
    loader = PackageLoader("reports", "templates")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters.update(listing=listing, slug=slug, number=number_text, interval=interval_text, typeset=typeset, duration=duration, day=day)
    made.filters.update(effect=effect, estimate=estimate_text, prediction=prediction_text)
    made.globals.update(signs=SIGNS, kinds=KINDS, picture=interval_picture, shift=shift_picture)
    return made


def render_html(document: Mapping[str, Any], drawings: Mapping[str, str]) -> str:
    """Render the report.

    Args:
        document: content of report.json.
        drawings: figure id → SVG text.

    Returns:
        The page, complete: styles, drawings and equations are in it, and it asks nothing of any network.
    """
    equations, styles = EquationSheet(), DrawingStyles()
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in document["claims"]:
        rows.setdefault(row["id"], []).append(row)
    claims = []
    for claim in document["register"]:
        own = rows.get(claim["id"], [])
        claims.append(
            {
                "code": [],
                "places": [],
                **claim,
                "rows": [_with_deciding(row) for row in own],
                "judged": _judged(own),
                "prominent": _prominent(own),
            }
        )
    regimes = {name: row["regime"] for row in document["claims"] for name in row["figures"]}
    shown = [row for row in document["claims"] if row["regime"]]
    places = columns_of(shown)
    models = sorted({column for column, _ in places.values()}, key=lambda name: (name == OTHER, name))
    figures = [
        {
            **figure,
            "regime": regimes.get(figure["id"], ""),
            "svg": prepare_figure(
                drawings[figure["id"]], name=f"f{position}", label=f"{figure['title']}. {figure['caption']}", styles=styles
            ),
        }
        for position, figure in enumerate(document["figures"])
        if figure["id"] in drawings
    ]
    page = environment().get_template("report.html.j2")
    body = page.render(
        document=document,
        date=document["provenance"].get("date"),
        commit=document["provenance"].get("commit"),
        summary=document["summary"],
        trust=trust_view(document),
        claims=claims,
        groups=[(SECTIONS.get(letter, letter), [claim for claim in claims if claim["id"][0] == letter]) for letter in _letters(claims)],
        models=models,
        places=places,
        glance=_glance(claims, models, places),
        code={source["id"]: source for source in document.get("code", ())},
        data_sets=_data_sets(document["provenance"], shown),
        unexpected=[row for row in document["claims"] if row["failures"]],
        rejected=[claim for claim in claims if claim["id"] in {one["id"] for one in rejected_claims(document)}],
        violated=[claim for claim in claims if any(row["verdict"] == "ASSUMPTION VIOLATED" for row in claim["rows"])],
        waiting=[claim for claim in claims if not claim["judged"]],
        figures=figures,
        paper_figures=_paper_figures(claims, figures),
        own_figures={claim["id"]: _figures_of(claim, figures) for claim in claims},
        equation=equations.render_all,
        facts=flatten({name: part for name, part in document["provenance"].items() if name != "budget"}),
        machine=machine(document["provenance"]),
    )
    body = body.replace("<!--glyphs-->", str(equations.definitions()), 1).replace("/*drawings*/", styles.css(), 1)
    return re.sub(r"\n\s*\n+", "\n", body) + "\n"


def listing(text: str) -> Markup:
    """Source code for a ``pre`` element: escaped, and with blank lines that outlive the tidying of the page.

    Example:
        >>> print(listing("a <= b" + chr(10) * 2 + "c"))
        a &lt;= b
        &#10;c
    """
    return Markup(str(escape(text)).replace("\n\n", "\n&#10;"))


def _judged(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(row["verdict"] != "NOT RUN" for row in rows)


def _with_deciding(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with the check that decided it, and with its hypotheses sorted into those that held and those that did not."""
    deciding = next((check for check in row["checks"] if check["name"] == row["headline"] and check["role"] != "control"), None)
    hypotheses = [check for check in row["checks"] if check["role"] == "hypothesis"]
    held = [check for check in hypotheses if check["verdict"] == "AGREES"]
    return {**row, "deciding": deciding, "held": held, "broken": [check for check in hypotheses if check not in held]}


def _glance(
    claims: Sequence[Mapping[str, Any]], models: Sequence[str], places: Mapping[tuple[str, str], tuple[str, str]]
) -> list[tuple[str, list[dict[str, Any]]]]:
    """The matrix in small: two tables of claims by kinds of models, each cell the most notable verdict of its regimes."""

    def cell(claim: Mapping[str, Any], model: str) -> dict[str, Any] | None:
        rows = [row for row in claim["rows"] if row["regime"] and places[row["id"], row["regime"]][0] == model]
        if not rows:
            return None
        return {"verdict": _prominent(rows), "rows": len(rows), "unexpected": any(row["failures"] for row in rows)}

    tables = []
    for caption, letters in GLANCE:
        columns = [claim for claim in claims if claim["id"][0] in letters]
        if any(claim["judged"] for claim in columns):
            tables.append((caption, [{"claim": claim, "cells": [cell(claim, model) for model in models]} for claim in columns]))
    return tables


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], tuple[str, str]]:
    """Where a row stands in the matrix: (id, regime) → column and label.

    A column is a kind of model, its name up to the first comma; kinds with few rows share the column "other settings".
    """
    families = [str(row["model"]).partition(",")[0].strip().replace("networks at", "network at") for row in rows]
    frequent = [family for family, count in Counter(families).most_common() if count >= FEW_ROWS]
    places = {}
    for row, family in zip(rows, families, strict=True):
        detail = str(row["model"]).partition(",")[2].strip()
        parts = (detail, row["data"]) if family in frequent else (row["model"], row["data"])
        label = " · ".join(part for part in parts if part and part != "any")
        places[row["id"], row["regime"]] = (family if family in frequent else OTHER, label)
    return places


def _prominent(rows: Sequence[Mapping[str, Any]]) -> str:
    """The verdict by which a claim is coloured in the contents: the most notable one of its rows."""
    order = ("ERROR", "DISAGREES", "INCONCLUSIVE", "ASSUMPTION VIOLATED", "AGREES", "NOT RUN")
    return min((str(row["verdict"]) for row in rows), key=order.index, default="NOT RUN")


def _data_sets(provenance: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the data sets that were loaded; where the provenance has none, what the rows say."""
    loaded = provenance.get("data")
    if isinstance(loaded, Mapping) and loaded:
        return [*(DATA_NAMES.get(str(name), str(name)) for name in loaded), "constructed inputs"]
    return list(dict.fromkeys(str(row["data"]) for row in rows if row["verdict"] != "NOT RUN"))


def _letters(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(claim["id"][0] for claim in claims))


def _paper_figure(figure: Mapping[str, Any]) -> bool:
    return str(figure["kind"]).startswith("figure_")


def _paper_figures(
    claims: Sequence[Mapping[str, Any]], figures: Sequence[Mapping[str, Any]]
) -> list[tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]]:
    """Our figures in the papers' order, beside the claim F1 … F13 that says what the paper shows and where ours differs."""
    rows = {claim["id"]: claim for claim in claims}
    numbered: dict[str, list[Mapping[str, Any]]] = {}
    for figure in figures:
        if _paper_figure(figure):
            numbered.setdefault(str(figure["kind"]).removeprefix("figure_"), []).append(figure)
    return [(rows.get(f"F{number}"), numbered[number]) for number in sorted(numbered, key=int)]


def _figures_of(claim: Mapping[str, Any], figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    named = {name for row in claim["rows"] for name in row["figures"]}
    return [figure for figure in figures if figure["id"] in named or figure["claim"] == claim["id"]]


def flatten(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested provenance as lines of name and text."""
    lines: list[tuple[str, str]] = []
    for name, part in value.items():
        title = f"{prefix}{name.removesuffix('_s').replace('_', ' ')}"
        if isinstance(part, Mapping):
            lines += flatten(part, f"{title} · ")
        elif isinstance(part, list) and all(not isinstance(item, Mapping | list) for item in part):
            lines.append((title, ", ".join(map(str, part))))
        elif part is not None and part != "":
            seconds = name.endswith("_s") and isinstance(part, int | float)
            lines.append((title, duration(part) if seconds else number_text(part, digits=6) if isinstance(part, float) else str(part)))
    return lines


def machine(provenance: Mapping[str, Any]) -> str:
    """The machine in one phrase, from whatever the provenance knows of it.

    Example:
        >>> machine({"processor": "Neoverse", "cores": 8, "system": "Linux", "wall_time_s": 90.0})
        'Neoverse, 8 cores, Linux; took 1 min 30 s'
    """
    words = [str(provenance[name]) for name in ("processor",) if provenance.get(name)]
    words += [f"{provenance['cores']} cores"] if provenance.get("cores") else []
    words += [str(provenance["device_name"])] if provenance.get("device", "cpu") != "cpu" and provenance.get("device_name") else []
    words += [str(provenance[name]) for name in ("system",) if provenance.get(name)]
    spent = provenance.get("wall_time_s")
    return ", ".join(words) + (f"; took {duration(spent)}" if isinstance(spent, int | float) and words else "")


def duration(seconds: float | str | None) -> str:
    """A time for reading.

    Example:
        >>> duration(0.25), duration(187.4), duration(7300)
        ('0.25 s', '3 min 7 s', '2 h 1 min')
    """
    if seconds is None or isinstance(seconds, str):
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def day(text: str) -> str:
    """An ISO time as a day for reading; other texts as they are.

    Example:
        >>> day("2024-05-01T12:00:00+00:00")
        '1 May 2024'
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"
