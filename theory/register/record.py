"""The two record types of the register, and the vocabularies that they accept."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["AUDITS", "KINDS", "SLIP_KINDS", "SOURCE_FORM", "VERDICTS", "Claim", "Slip"]

KINDS = ("exact", "law", "rate", "conditional", "phenomenon")
"""How a claim is judged: identity, distribution, limit with its rate, theorem with hypotheses, shape and size of an effect."""

AUDITS = ("OK", "TYPO", "ERR", "HYP", "VAC", "EMP", "DEF")
"""What re-derivation found: correct, misprint, wrong as printed, missing hypothesis, generically vacuous, empirical, definition."""

VERDICTS = ("AGREES", "DISAGREES", "ASSUMPTION VIOLATED")
"""Verdicts that a statement can be expected to earn as printed."""

SLIP_KINDS = ("typo", "error", "missing hypothesis", "contradiction", "not stated")

SOURCE_FORM = re.compile(
    r"(?:"
    r"(?:Thm|Cor\.|Prop\.|Lemma|Remark|Assumption) [A-C3-5]\.\d+(?:\(\d\))?"
    r"|Eq\. \(\d+[ab]?\)|Fig\. \d+|App\. [A-C](?:\.\d)?|Sec\. \d(?:\.\d)?|Footnote \d|p\. \d+"
    r") \[[AB]\]"
)
"""The fixed form of a source: ``Thm 3.1 [A]``, ``Eq. (9) [B]``, ``Fig. 4 [A]``, ``App. A.5 [A]``, ``p. 3 [A]``."""

_ID_FORM = re.compile(r"[SGIDMFPXRU][1-9]\d?")
_LONGEST_TITLE = 48


def _require_choice(value: str, name: str, choices: tuple[str, ...], where: str) -> None:
    if value not in choices:
        raise ValueError(f"{where}: {name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of the papers, or one of this register's own, in the form in which a test can judge it.

    Attributes:
        id: catalogue letter and number, for example ``"D4"``; U and a number for claims of one's own, from files outside this register.
        title: short name for a table, at most 48 characters.
        sources: where the statement stands, in the form of ``SOURCE_FORM``; for X and R rows, whose statements are this
            register's own, the statements of the papers that they extend.
        quote: the paper's words; "" where the statement is this register's own.
        statement: the claim in precise mathematics (Unicode), in the conventions of ``theory/README.md``.
        formula: the statement's display equation in matplotlib's mathtext subset of LaTeX, without dollar signs; may be "".
        hypotheses: what must hold; hypotheses that the paper does not state start with ``"unstated: "``.
        kind: one of ``KINDS``.
        audit: one of ``AUDITS``.
        expected: the verdict that the statement earns as printed, one of ``VERDICTS``.
        reason: why that verdict is expected.
        correction: the statement that is true instead, "" where the printed one stands.
        correction_formula: its display equation, "" where there is none.
        control: the negative control: what must be rejected when the claim is judged.

    Raises:
        ValueError: if a field is outside its vocabulary, empty where it must not be, or a rejected claim has no correction.
    """

    id: str
    title: str
    sources: tuple[str, ...]
    quote: str
    statement: str
    formula: str
    hypotheses: tuple[str, ...]
    kind: str
    audit: str
    expected: str
    reason: str
    correction: str = ""
    correction_formula: str = ""
    control: str

    def __post_init__(self) -> None:
        where = f"claim {self.id!r}"
        if not _ID_FORM.fullmatch(self.id):
            raise ValueError(f"id must be one of the letters S G I D M F P X R U and a number, got {self.id!r}")
        if not 0 < len(self.title) <= _LONGEST_TITLE:
            raise ValueError(f"{where}: title must have 1 to {_LONGEST_TITLE} characters, got {len(self.title)}: {self.title!r}")
        for source in self.sources:
            if not SOURCE_FORM.fullmatch(source):
                raise ValueError(f"{where}: source must have a form such as 'Thm 3.1 [A]' or 'Eq. (9) [B]', got {source!r}")
        _require_choice(self.kind, "kind", KINDS, where)
        _require_choice(self.audit, "audit", AUDITS, where)
        _require_choice(self.expected, "expected", VERDICTS, where)
        for name in ("statement", "reason", "control"):
            if not getattr(self, name).strip():
                raise ValueError(f"{where}: {name} must not be empty")
        if self.expected == "DISAGREES" and not self.correction:
            raise ValueError(f"{where}: a claim expected to be rejected needs a correction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """A misprint, error, omission or contradiction in the papers, with what should stand there.

    Attributes:
        where: the place, in words.
        printed: the paper's words.
        correct: what should stand there, or what is missing.
        kind: one of ``SLIP_KINDS``.
        claim: id of the claim that judges it, "" where none does.

    Raises:
        ValueError: if a field is empty or ``kind`` is unknown.
    """

    where: str
    printed: str
    correct: str
    kind: str
    claim: str = ""

    def __post_init__(self) -> None:
        _require_choice(self.kind, "kind", SLIP_KINDS, f"slip at {self.where!r}")
        for name in ("where", "printed", "correct"):
            if not getattr(self, name).strip():
                raise ValueError(f"slip at {self.where!r}: {name} must not be empty")
