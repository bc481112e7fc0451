"""Two reports side by side: verdicts that changed, effects that moved by more than their intervals, provenance that differs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reports._validation import check_mapping, check_text
from reports.html import environment, flatten
from reports.wording import outcome

__all__ = ["changed", "compare", "comparison_html"]


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Compare two reports.

    Rows are matched by claim and regime, checks by role and name. An effect moved if the two intervals do not meet; between two exact
    values, which have no interval, a difference within the larger margin is rounding and does not count.

    Args:
        before: content of the older report.json.
        after: content of the newer one.

    Returns:
        ``verdicts``, ``effects`` and ``provenance``, each a list of differences; ``rows`` and ``checks``, how many were compared.

    Raises:
        ValueError: if one of them is not the content of a report.

    Example:
        >>> empty = {"claims": [], "provenance": {"commit": "a"}}
        >>> compare(empty, {"claims": [], "provenance": {"commit": "b"}})["provenance"]
        [{'name': 'commit', 'before': 'a', 'after': 'b'}]
    """
    for name, report in (("before", before), ("after", after)):
        check_mapping(report, name, ("claims", "provenance"), what="the content of a report.json")
    old, new = ({(row["id"], row["regime"]): row for row in report["claims"]} for report in (before, after))
    verdicts, effects, checks = [], [], 0
    for key in dict.fromkeys([*old, *new]):
        first, second = old.get(key), new.get(key)
        sides = [row["verdict"] if row else "" for row in (first, second)]
        if sides[0] != sides[1] and {"", "NOT RUN"} != set(sides):
            verdicts.append({"id": key[0], "regime": key[1], "before": sides[0], "after": sides[1]})
        if first is None or second is None:
            continue
        partners = {(check["role"], check["name"]): check for check in second["checks"]}
        for check in first["checks"]:
            partner = partners.get((check["role"], check["name"]))
            if partner is None:
                continue
            checks += 1
            if _moved(check, partner):
                effects.append({"id": key[0], "regime": key[1], "check": check["name"], "before": _side(check), "after": _side(partner)})
    lines = [dict(flatten(report["provenance"])) for report in (before, after)]
    provenance = [
        {"name": name, "before": lines[0].get(name, ""), "after": lines[1].get(name, "")}
        for name in dict.fromkeys([*lines[0], *lines[1]])
        if lines[0].get(name) != lines[1].get(name)
    ]
    return {"verdicts": verdicts, "effects": effects, "provenance": provenance, "rows": len(old.keys() & new.keys()), "checks": checks}


def changed(comparison: Mapping[str, Any]) -> bool:
    """Whether a verdict or an effect changed; provenance alone does not count."""
    return bool(comparison["verdicts"] or comparison["effects"])


def comparison_html(comparison: Mapping[str, Any], *, before: str, after: str) -> str:
    """Render a comparison as one offline page.

    Args:
        comparison: what `compare` returned.
        before: name of the older report.
        after: name of the newer one.

    Raises:
        ValueError: if an argument is of another kind.
    """
    check_mapping(comparison, "comparison", ("verdicts", "effects", "provenance", "rows", "checks"), what="what compare returned")
    check_text(before, "before")
    check_text(after, "after")
    page = environment().get_template("compare.html.j2")
    return page.render(comparison=comparison, before=before, after=after, same=not changed(comparison), outcome=outcome(comparison)) + "\n"


def _side(check: Mapping[str, Any]) -> dict[str, Any]:
    return {"estimate": check["estimate"], "interval": check["interval"]}


def _moved(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    if first["estimate"] is None or second["estimate"] is None:
        return (first["estimate"] is None) != (second["estimate"] is None)
    if first["estimate"] == second["estimate"]:
        return False
    ends = [[math.nan if end is None else float(end) for end in side["interval"]] for side in (first, second)]
    gap = max(ends[0][0] - ends[1][1], ends[1][0] - ends[0][1])
    exact = first["confidence"] == 1 and second["confidence"] == 1
    allowed = max(float(side["margin"] or 0) for side in (first, second)) if exact else 0.0
    return bool(gap > allowed)
