"""How numbers, verdicts and plain-text mathematics are written, the same in every form of the report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

__all__ = [
    "DATA_NAMES",
    "KINDS",
    "SECTIONS",
    "SIGNS",
    "effect",
    "estimate_text",
    "interval_text",
    "number_text",
    "outcome",
    "prediction_text",
    "rejected_claims",
    "slug",
    "typeset",
]

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


KINDS: Mapping[str, str] = {
    "exact": "holds to rounding",
    "law": "gives a distribution, or its mean and variance",
    "rate": "says how fast something shrinks or grows",
    "conditional": "holds under hypotheses that the data may break",
    "phenomenon": "is observed on data",
}
"""Kind of a claim → what a claim of this kind does."""

DATA_NAMES: Mapping[str, str] = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "cifar-10": "CIFAR-10"}
"""Name of a data set in the provenance → as people write it."""


def slug(text: str) -> str:
    """A text as part of a name on the page.

    Example:
        >>> slug("ASSUMPTION VIOLATED")
        'assumption-violated'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


WHOLE = 1e6  # numbers below are written without a power of ten


def number_text(value: float | str | None, *, digits: int = 4) -> str:
    """A number for reading.

    Example:
        >>> number_text(0.70021), number_text(-3.1e-13, digits=2), number_text(None), number_text("inf")
        ('0.7002', '−3.1·10⁻¹³', '–', '∞')
        >>> number_text(31682.0), number_text(31682.5), number_text(483.2, digits=2), number_text(3.2e6)
        ('31682', '31680', '480', '3.2·10⁶')
    """
    if value is None:
        return "–"
    value = float(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    counted = value.is_integer() and abs(value) < WHOLE
    text = f"{value:.0f}" if counted else f"{value:.{digits}g}"
    if "e+" in text and abs(value) < WHOLE:
        text = f"{float(text):.0f}"
    if "e" in text:
        mantissa, _, exponent = text.partition("e")
        power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = {"1": f"10{power}", "-1": f"-10{power}"}.get(mantissa, f"{mantissa}·10{power}")
    return text.replace("-", "−")


def interval_text(interval: Sequence[float | str | None]) -> str:
    """An interval for reading, both ends to two digits of its width; empty where it has no width.

    Example:
        >>> interval_text([0.1, 0.25]), interval_text([1.68829, 1.702]), interval_text([3.9e-9, 0.128]), interval_text([1.0, 1.0])
        ('[0.10, 0.25]', '[1.688, 1.702]', '[3.9·10⁻⁹, 0.13]', '')
    """
    lower, upper = interval
    if lower is None or upper is None or lower == upper:
        return ""
    decimals = _decimals(interval)
    if decimals is not None:
        return f"[{_fixed(float(lower), decimals)}, {_fixed(float(upper), decimals)}]"
    digits = 4
    if isinstance(lower, float | int) and isinstance(upper, float | int) and upper > lower:
        size = max(abs(lower), abs(upper))
        digits = min(10, max(3, math.ceil(math.log10(size / (upper - lower))) + 2))
    return f"[{number_text(lower, digits=digits)}, {number_text(upper, digits=digits)}]"


def _decimals(interval: Sequence[float | str | None]) -> int | None:
    """Decimals that show two digits of an interval's width; None where fixed decimals do not suit its numbers."""
    if not all(isinstance(end, float | int) for end in interval):
        return None
    lower, upper = (float(end) for end in interval if end is not None)
    size = max(abs(lower), abs(upper))
    if not 1e-3 <= size < WHOLE or not 1e-9 * size < upper - lower:
        return None
    return max(0, 1 - math.floor(math.log10(upper - lower) + 1e-9))


def _fixed(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    if value != 0 and float(text) == 0:
        return number_text(value, digits=2)
    return text.replace("-", "−")


def estimate_text(row: Mapping[str, Any]) -> str:
    """What a row or a check measured, with as many decimals as its interval has.

    Example:
        >>> estimate_text({"estimate": 0.10801, "interval": [0.10599, 0.11]}), estimate_text({"estimate": 2.5, "interval": [2.5, 2.5]})
        ('0.1080', '2.5')
    """
    decimals = None if row["estimate"] is None or not interval_text(row["interval"]) else _decimals(row["interval"])
    return number_text(row["estimate"]) if decimals is None else _fixed(float(row["estimate"]), decimals)


def effect(row: Mapping[str, Any]) -> str:
    """What a row or a check measured, with its interval and unit, and what was predicted.

    Example:
        >>> effect({"estimate": 0.4593, "interval": [0.4593, 0.4593], "unit": "", "prediction": 0.3425})
        '0.4593, predicted 0.3425'
        >>> effect({"estimate": 31.04, "interval": [30.1, 32.2], "unit": "degrees", "prediction": 30})
        '31.0 [30.1, 32.2] degrees, predicted 30'
        >>> effect({"estimate": 1.0, "interval": [0.64, 1.0], "unit": "", "prediction": 1.0, "region": [0.5, "inf"]})
        '1.00 [0.64, 1.00], predicted ≥ 0.5'
    """
    if row["estimate"] is None:
        return "–"
    measured = f"{estimate_text(row)} {interval_text(row['interval'])}".strip()
    unit = f" {row['unit']}" if row["unit"] else ""
    return f"{measured}{unit}, predicted {prediction_text(row)}"


def prediction_text(row: Mapping[str, Any]) -> str:
    """What was predicted of a row or a check: a number, or the range of an inequality rather than its value nearest to the measured one.

    Example:
        >>> prediction_text({"prediction": 0.4, "region": [0.0, 0.5]}), prediction_text({"prediction": 0.4, "region": ["-inf", 0.5]})
        ('0 to 0.5', '≤ 0.5')
        >>> prediction_text({"prediction": 0.4})
        '0.4'
    """
    region = row.get("region")
    if region is None:  # a row has the prediction of the check that decided it
        deciding = (check for check in row.get("checks", ()) if check["name"] == row["headline"] and check["role"] != "control")
        region = next((check["region"] for check in deciding if check["prediction"] == row["prediction"]), None)
    if region is None or None in region or region[0] == region[1]:
        return number_text(row["prediction"])
    low, high = (float(end) for end in region)
    if math.isinf(high):
        return f"≥ {number_text(low)}" if math.isfinite(low) else "any value"
    return f"≤ {number_text(high)}" if math.isinf(low) else f"{number_text(low)} to {number_text(high)}"


def outcome(comparison: Mapping[str, Any]) -> str:
    """What changed, in one sentence; judgements that only one report has are counted apart.

    Example:
        >>> outcome({"verdicts": [{"before": "", "after": "AGREES"}], "effects": [], "rows": 204, "checks": 965})
        '0 verdicts and 0 effects changed among 204 judgements and 965 checks that both reports have; 1 judgement is new.'
    """

    def count(number: int, word: str) -> str:
        return f"{number} {word}{'' if number == 1 else 's'}"

    new = sum(not change["before"] for change in comparison["verdicts"])
    gone = sum(not change["after"] for change in comparison["verdicts"])
    parts = [
        f"{count(number, 'judgement')} {'is' if number == 1 else 'are'} {word}" for number, word in ((new, "new"), (gone, "gone")) if number
    ]
    changes = f"{count(len(comparison['verdicts']) - new - gone, 'verdict')} and {count(len(comparison['effects']), 'effect')} changed"
    compared = f"{count(comparison['rows'], 'judgement')} and {count(comparison['checks'], 'check')} that both reports have"
    return "; ".join([f"{changes} among {compared}", *parts]) + "."


_SCRIPTS = r"(?:[_^](?:\((?:[^()]|\([^()]*\))*\)|\{[^{}]*\}|[A-Za-z0-9∞′−+]+))"
_ATOM = re.compile(rf"((?<![A-Za-z_])d?[^\W\d_][\u0302\u0304\u0307]?|[α-ωΑ-Ω∑∏∇)\]}}‖′])({_SCRIPTS}+)")
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
