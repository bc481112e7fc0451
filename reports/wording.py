"""How numbers, verdicts and plain-text mathematics are written, the same in every form of the report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

__all__ = ["SECTIONS", "SIGNS", "effect", "interval_text", "number_text", "rejected_claims", "slug", "typeset"]

SIGNS: Mapping[str, str] = {
    "AGREES": "✓",
    "DISAGREES": "✗",
    "INCONCLUSIVE": "?",
    "ASSUMPTION VIOLATED": "⊘",
    "NOT RUN": "○",
    "ERROR": "!",
}
"""Verdict → the sign that stands beside its colour."""


SECTIONS: Mapping[str, str] = {
    "S": "Set-up",
    "G": "Geometry of the model derivative",
    "I": "Sample-wise gradients at initialisation",
    "D": "Learning dynamics",
    "M": "Several classes",
    "F": "Figures of the papers",
    "P": "Discussion",
    "X": "Beyond the papers",
    "R": "Further questions",
    "U": "Claims of one's own",
}
"""First letter of an id → heading."""


def slug(text: str) -> str:
    """A text as part of a name on the page.

    Example:
        >>> slug("ASSUMPTION VIOLATED")
        'assumption-violated'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def number_text(value: float | str | None, *, digits: int = 4) -> str:
    """A number for reading.

    Example:
        >>> number_text(0.70021), number_text(-3.1e-13, digits=2), number_text(None), number_text("inf")
        ('0.7002', '−3.1·10⁻¹³', '–', '∞')
    """
    if value is None:
        return "–"
    value = float(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}g}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = f"10{power}" if mantissa == "1" else f"{mantissa}·10{power}"
    return text.replace("-", "−")


def interval_text(interval: Sequence[float | str | None]) -> str:
    """An interval for reading; empty where it has no width.

    Example:
        >>> interval_text([0.1, 0.25]), interval_text([1.0, 1.0])
        ('[0.1, 0.25]', '')
    """
    lower, upper = interval
    if lower is None or upper is None or lower == upper:
        return ""
    digits = 4
    if isinstance(lower, float | int) and isinstance(upper, float | int) and upper > lower:
        size = max(abs(lower), abs(upper))
        digits = min(10, max(3, math.ceil(math.log10(size / (upper - lower))) + 2))
    return f"[{number_text(lower, digits=digits)}, {number_text(upper, digits=digits)}]"


def effect(row: Mapping[str, Any]) -> str:
    """What a row or a check measured, with its interval and unit, and what was predicted."""
    if row["estimate"] is None:
        return "–"
    measured = f"{number_text(row['estimate'])} {interval_text(row['interval'])}".strip()
    unit = f" {row['unit']}" if row["unit"] else ""
    return f"{measured}{unit}, predicted {number_text(row['prediction'])}"


_SCRIPTS = r"(?:[_^](?:\((?:[^()]|\([^()]*\))*\)|\{[^{}]*\}|[A-Za-z0-9∞′−+]+))"
_ATOM = re.compile(rf"((?<![A-Za-z_])d?[^\W\d_][\u0302\u0304\u0307]?|[)\]‖′])({_SCRIPTS}+)")
_ONE = re.compile(_SCRIPTS)


def rejected_claims(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The claims in the papers' own words that the evidence rejects in some regime, as the register expects, in its order.

    An unexpected rejection is a failure to be looked into; it stands under that heading, not here.
    """
    rejected = {row["id"] for row in document["claims"] if row["verdict"] == row["expected"] == "DISAGREES"}
    return [claim for claim in document["register"] if claim["id"] in rejected and claim["quote"]]


def typeset(text: str) -> Markup:
    """Escape a text for the page and set indices and exponents such as ``g_clean^(c)``, ``λ_max`` or ``m^(−1/2)``.

    Example:
        >>> typeset("g_clean^(c) <= K_cc")
        Markup('g<sub>clean</sub><sup>(c)</sup> &lt;= K<sub>cc</sub>')
        >>> typeset("max_learning_rate stays")
        Markup('max_learning_rate stays')
    """

    def scripts(found: re.Match[str]) -> str:
        out = [str(escape(found[1]))]
        for script in _ONE.findall(found[2]):
            kind, body = script[0], script[1:]
            inner = body[1:-1] if body[0] == "{" or (body[0] == "(" and not re.fullmatch(r"\([A-Za-z0-9]′?\)", body)) else body
            tag = "sub" if kind == "_" else "sup"
            out.append(f"<{tag}>{typeset(inner)}</{tag}>")
        return "".join(out)

    parts: list[str] = []
    position = 0
    for found in _ATOM.finditer(text):
        parts += [str(escape(text[position : found.start()])), scripts(found)]
        position = found.end()
    parts.append(str(escape(text[position:])))
    return Markup("".join(parts))
