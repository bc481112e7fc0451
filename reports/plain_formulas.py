r"""The register's formulas in plain signs, for a terminal: ``\dfrac{1-\delta}{\delta}`` becomes ``(1 − δ)/δ``.

Only what the register uses is known: Greek letters, fractions, roots, accents, indices, relations. An unknown command is an error, so that
no formula is shown half-translated.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["plain_formula"]

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.")
_GREEK = {
    name: unicodedata.lookup(f"GREEK SMALL LETTER {'LAMDA' if name == 'lambda' else name.upper()}")
    for name in ("alpha", "beta", "delta", "epsilon", "eta", "theta", "kappa", "lambda", "pi", "rho", "sigma")
}
_SIGNS = {
    **_GREEK,
    "Theta": "Θ",
    "Phi": "Φ",
    "nabla": "∇",
    "partial": "∂",
    "sum": "Σ",
    "prod": "Π",
    "infty": "∞",
    "Vert": "‖",
    "angle": "∠",
    "forall": "∀ ",
    "ldots": "…",
    "top": "ᵀ",
    "{": "{",
    "}": "}",
}
_RELATIONS = {
    "leq": "≤",
    "geq": "≥",
    "neq": "≠",
    "approx": "≈",
    "sim": "~",
    "ll": "≪",
    "in": "∈",
    "to": "→",
    "propto": "∝",
    "Rightarrow": "⇒",
    "Leftrightarrow": "⇔",
    "downarrow": "↓",
    "uparrow": "↑",
}
_WORDS = ("cos", "sin", "arccos", "arg", "exp", "ln", "log", "max", "min")
_SPACES = {",": " ", ";": " ", " ": " ", "quad": "   "}
_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "overline": "\u0304", "dot": "\u0307"}
_IGNORED = ("left", "right")
_STYLES = ("mathrm", "mathcal", "mathbb")
_RAISED = dict(zip("0123456789+−*ᵀ", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻*ᵀ", strict=True))
_BARS = re.compile(r"‖[^‖]*‖|\|[^|]*\|")
# What may stand below a fraction bar without parentheses: a number, one letter or differential with its indices, a root, bars.
_ATOM = re.compile(r"\d+|√?[^\W\d_]\w?[\u0302\u0304]?(_\w+|_\([^()]*\))?(\([^()]*\))?[⁰-⁹¹²³]?|\x00(_\w+)?[⁰-⁹¹²³]?")


def plain_formula(latex: str) -> str:
    r"""Return a formula of the register in Unicode signs.

    Args:
        latex: what ``Claim.formula`` holds.

    Raises:
        ValueError: if it uses a command that is not known, or braces do not match.

    Example:
        >>> print(plain_formula(r"\eta_t' = \dfrac{1-\alpha_t}{1+\alpha_t}\, \eta, \quad \theta_h \approx \sqrt{L\,\theta_d / \pi}"))
        η_t′ = (1 − α_t)/(1 + α_t) η,   θ_h ≈ √(L θ_d / π)
    """
    tokens = iter(_TOKEN.findall(latex))
    return _tidy(_sequence(tokens, closing=False))


def _sequence(tokens: Iterator[str], *, closing: bool) -> str:
    """Everything up to the closing brace, or to the end."""
    found = ""
    for token in tokens:
        if token == "}":
            if not closing:
                raise ValueError("formula must have matching braces, got a '}' too many")
            return found
        found += _one(token, tokens, found)
    if closing:
        raise ValueError("formula must have matching braces, got a '{' too many")
    return found


def _tidy(text: str) -> str:
    """Spaces as one would write them."""
    text = re.sub(r"(?<=\S) {1,2}(?=\S)", " ", text)
    text = re.sub(r"‖ *([^‖]*?) *‖", r"‖\1‖", text)
    text = re.sub(r"(?<=[∇∂(]) +| +(?=[_²),])", "", text)
    return re.sub(r" {4,}", "   ", text).strip()


def _argument(tokens: Iterator[str]) -> str:
    """The next group or sign."""
    for token in tokens:
        if not token.isspace():
            return _tidy(_sequence(tokens, closing=True) if token == "{" else _one(token, tokens, ""))
    raise ValueError("formula must not end in a command that lacks its argument")


def _one(token: str, tokens: Iterator[str], before: str) -> str:
    """What one token says, with the arguments that it takes."""
    if not token.startswith("\\"):
        return _plain_token(token, tokens, before)
    name = token[1:]
    if name in ("dfrac", "frac"):
        above, below = _argument(tokens), _argument(tokens)
        whole = f"{_numerator(above)}/{_denominator(below)}"
        return f"({whole})" if before.endswith(tuple(f"{word} " for word in _WORDS)) else whole
    if name == "sqrt":
        inside = _argument(tokens)
        return "√" + (inside if len(inside) == 1 else f"({inside})")
    if name in _ACCENTS:
        inside = _argument(tokens)
        return f"mean({inside})" if len(inside) > 1 else unicodedata.normalize("NFC", inside + _ACCENTS[name])
    if name in _STYLES:
        return _argument(tokens)
    if name in _RELATIONS:
        return f" {_RELATIONS[name]} "
    if name in _WORDS:
        return f"{' ' if before[-1:].isalnum() or before.endswith(')') else ''}{name} "
    if name in _SIGNS:
        return _SIGNS[name]
    if name in _SPACES:
        return _SPACES[name]
    if name in _IGNORED:
        return ""
    raise ValueError(f"formula must use known commands only, got {token!r}")


def _plain_token(token: str, tokens: Iterator[str], before: str) -> str:
    if token == "{":
        return _sequence(tokens, closing=True)
    if token == "_":
        inside = _argument(tokens)
        return "_" + (inside if re.fullmatch(r"[^\W_]+", inside) else f"({inside})")
    if token == "^":
        inside = _argument(tokens)
        if set(inside) <= set(_RAISED):
            return "".join(_RAISED[sign] for sign in inside)
        return "^" + (inside if re.fullmatch(r"\w|\(.*\)", inside) else f"({inside})")
    if token in "=<>":
        return f" {token} "
    if token in "+-":
        sign = "−" if token == "-" else "+"
        unary = before.rstrip()[-1:] in ("", *"(=<>≤≥≈,~→⇔⇒{∠")
        return sign if unary and token == "-" else f" {sign} "
    return "′" if token == "'" else " " if token.isspace() else token


def _outside(text: str) -> str:
    """What stands outside of a text's own parentheses and bars; each pair of bars as one sign."""
    text, depth, found = _BARS.sub("\x00", text), 0, ""
    for sign in text:
        depth -= sign in ")}"
        found += sign if depth == 0 else ""
        depth += sign in "({"
    return found


def _numerator(text: str) -> str:
    """In parentheses if it is a sum."""
    return f"({text})" if re.search(r"[+−]", _outside(text)) else text


def _denominator(text: str) -> str:
    """In parentheses unless it is one thing."""
    alone = _ATOM.fullmatch(_BARS.sub("\x00", text)) or _outside(text) == "()"
    return text if alone else f"({text})"
