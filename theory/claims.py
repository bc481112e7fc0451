"""The claim register: every statement of the two papers, and what goes beyond them, as data.

Sources: [A] Liu, Abedsoltan, Belkin, "On Emergence of Clean-Priority Learning in Early Stopped Neural Networks" (arXiv 2306.02533);
[B] "Mechanism of Clean-Priority Learning in Early Stopped Neural Networks of Infinite Width" (anonymous submission under review).
Quotes keep the papers' words, their slips included; line breaks and the notation are set in readable Unicode.

The first letter of an id names the section: S set-up, G geometry of ∇h, I sample-wise gradients at initialisation, D dynamics,
M several classes, F figures, P discussion, X results beyond the papers, R further rows. ``expected`` is the verdict on the
statement *as printed*: where the printed form is wrong the suite is green when it rejects it and confirms ``correction``.
A misprint that leaves one reading open (a wrong subscript, two names exchanged) does not count against a claim; a wrong factor does.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping
from types import MappingProxyType

from theory.register import beyond, dynamics, figures, further, geometry, multiclass, sample_gradients, setup
from theory.register.record import AUDITS, KINDS, SLIP_KINDS, SOURCE_FORM, VERDICTS, Claim, Slip
from theory.register.slips import SLIPS

__all__ = ["AUDITS", "CLAIMS", "KINDS", "SLIPS", "SLIP_KINDS", "SOURCE_FORM", "VERDICTS", "Claim", "Slip", "claim"]

CLAIMS: Mapping[str, Claim] = MappingProxyType(
    {row.id: row for section in (setup, geometry, sample_gradients, dynamics, multiclass, figures, beyond, further) for row in section.ROWS}
)
"""The register, id → Claim, in catalogue order."""


def claim(id: str, register: Mapping[str, Claim] = CLAIMS) -> Claim:
    """Return the claim with this id; ``register`` is another one than the papers', for example with claims of one's own.

    >>> claim("D4").expected
    'DISAGREES'

    Raises:
        ValueError: if the register has no such id; the message names it and the closest ids.
    """
    try:
        return register[id]
    except (KeyError, TypeError):
        pass
    folded = str(id).strip().upper()
    close = [folded] if folded in register else difflib.get_close_matches(folded, register, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known ids run from {next(iter(register))} to {tuple(register)[-1]}"
    raise ValueError(f"unknown claim id {reprlib.repr(id)}: {hint}")
