"""The claim register: complete, in order, inside its vocabularies, and typeset without error."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
from matplotlib.mathtext import MathTextParser

from theory.claims import AUDITS, CLAIMS, KINDS, SLIP_KINDS, SLIPS, SOURCE_FORM, VERDICTS, Claim, Slip, claim

CATALOGUE = (("S", 7), ("G", 9), ("I", 5), ("D", 13), ("M", 5), ("F", 13), ("P", 1), ("X", 11), ("R", 6))
IDS = [f"{letter}{number}" for letter, count in CATALOGUE for number in range(1, count + 1)]

every_claim = pytest.mark.parametrize("row", CLAIMS.values(), ids=CLAIMS)
every_slip = pytest.mark.parametrize("slip", SLIPS, ids=[f"{slip.where}: {slip.printed[:30]}" for slip in SLIPS])


def valid_fields(**changes: object) -> dict[str, object]:
    """Return the fields of a row that is accepted, with some of them replaced."""
    fields: dict[str, object] = {
        "id": "D2",
        "title": "t",
        "sources": ("Eq. (10) [A]",),
        "quote": "q",
        "statement": "s",
        "formula": "",
        "hypotheses": (),
        "kind": "exact",
        "audit": "ERR",
        "expected": "DISAGREES",
        "reason": "r",
        "correction": "c",
        "control": "n",
    }
    return fields | changes


def test_no_claim_of_the_catalogue_is_lost_and_sections_count_up():
    """A new claim goes on from the last number of its section; only one that leaves the register must be taken off the list here."""
    assert [id for id in CLAIMS if id in set(IDS)] == IDS
    for letter, count in CATALOGUE:
        numbers = [int(id[1:]) for id in CLAIMS if id[0] == letter]
        assert numbers == list(range(1, max(count, len(numbers)) + 1)), letter
    assert all(key == row.id for key, row in CLAIMS.items())


def test_register_cannot_be_changed():
    with pytest.raises(TypeError):
        CLAIMS["S1"] = CLAIMS["S2"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        CLAIMS["S1"].expected = "DISAGREES"


@every_claim
def test_fields_are_inside_their_vocabularies(row: Claim):
    assert row.kind in KINDS
    assert row.audit in AUDITS
    assert row.expected in VERDICTS
    assert row.sources
    assert all(SOURCE_FORM.fullmatch(source) for source in row.sources)


@every_claim
def test_texts_are_present_and_tidy(row: Claim):
    texts = [row.title, row.quote, row.statement, row.reason, row.correction, row.control, *row.hypotheses]
    assert row.hypotheses, "every row states what must hold"
    assert all(text == text.strip() and "  " not in text and "\n" not in text for text in texts)
    assert all(text.endswith((".", "?")) for text in (row.statement, row.reason, row.control)), "whole sentences"


@every_claim
def test_rejected_statement_has_a_correction_that_differs(row: Claim):
    # A printed form that is rejected is replaced; one that stands is not "corrected".
    if row.expected == "DISAGREES":
        assert row.correction
        assert row.correction_formula
        assert row.correction != row.statement
        assert row.correction_formula != row.formula
    if row.expected == "AGREES":
        assert not row.correction
        assert not row.correction_formula


@every_claim
def test_audit_and_verdict_are_consistent(row: Claim):
    # An error makes the printed form fail; "correct" and "definition" never do; vacuous means that its hypothesis fails.
    if row.audit == "ERR":
        assert row.expected == "DISAGREES"
    if row.audit in {"OK", "DEF"}:
        assert row.expected == "AGREES"
    assert (row.audit == "VAC") == (row.expected == "ASSUMPTION VIOLATED")


@every_claim
def test_quote_is_given_exactly_where_the_words_are_the_papers(row: Claim):
    ours = row.id[0] == "X" or row.id in {"R1", "R2", "R3", "R4", "R6"}
    assert bool(row.quote) == (not ours)


@every_claim
def test_unstated_hypotheses_carry_the_fixed_prefix(row: Claim):
    assert all(text.startswith("unstated: ") for text in row.hypotheses if "unstated" in text.lower())
    if row.audit in {"HYP", "VAC"} and row.quote:
        assert any(text.startswith("unstated: ") for text in row.hypotheses) or row.expected == "DISAGREES" or row.id == "R5"


@every_claim
def test_formulas_are_typeset_by_mathtext(row: Claim):
    parser = MathTextParser("path")
    for formula in (row.formula, row.correction_formula):
        if formula:
            assert "$" not in formula
            width, height, *_ = parser.parse(f"${formula}$")
            assert width > 0
            assert height > 0


def test_printed_errors_of_the_audit_are_expected_to_be_rejected():
    assert {row.id for row in CLAIMS.values() if row.expected == "DISAGREES"} == {
        "S6", "G6", "I5", "D2", "D3", "D4", "D7", "D8", "D11", "M4", "F10",
    }  # fmt: skip
    assert CLAIMS["D1"].expected == "ASSUMPTION VIOLATED"


@every_slip
def test_slips_name_a_claim_of_the_register(slip: Slip):
    assert slip.kind in SLIP_KINDS
    assert slip.claim == "" or slip.claim in CLAIMS
    assert slip.printed != slip.correct


def test_every_claim_with_a_misprint_or_error_is_among_the_slips():
    # M4 and S6-like hypotheses are matters of the claim itself; misprints and errors are shown in the report's list of slips.
    listed = {slip.claim for slip in SLIPS}
    assert {row.id for row in CLAIMS.values() if row.audit in {"TYPO", "ERR"}} - {"M4"} <= listed
    assert {slip.kind for slip in SLIPS} == set(SLIP_KINDS)


def test_slips_are_distinct():
    assert len({(slip.where, slip.printed) for slip in SLIPS}) == len(SLIPS)


def test_lookup_returns_the_row():
    assert claim("D4") is CLAIMS["D4"]


@pytest.mark.parametrize(
    ("unknown", "hint"),
    [
        pytest.param("d4", "did you mean D4?", id="lower-case"),
        pytest.param(" G2 ", "did you mean G2?", id="spaces"),
        pytest.param("D99", "did you mean", id="no-such-number"),
        pytest.param("theorem", "known ids run from S1 to R6", id="nothing-close"),
        pytest.param("", "known ids run from S1 to R6", id="empty"),
        pytest.param(4, "unknown claim id 4", id="integer"),
        pytest.param(["D4"], "unknown claim id ['D4']", id="unhashable"),
    ],
)
def test_unknown_id_is_named_with_close_matches(unknown: object, hint: str):
    with pytest.raises(ValueError, match="unknown claim id") as caught:
        claim(unknown)
    assert repr(unknown) in str(caught.value)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"id": "Q1"}, "got 'Q1'", id="unknown-letter"),
        pytest.param({"id": "D0"}, "got 'D0'", id="zero"),
        pytest.param({"title": "x" * 49}, "got 49", id="long-title"),
        pytest.param({"title": ""}, "got 0", id="no-title"),
        pytest.param({"sources": ("Theorem 3.1 [A]",)}, "got 'Theorem 3.1 \\[A\\]'", id="source-form"),
        pytest.param({"sources": ("Thm 3.1 [C]",)}, "got 'Thm 3.1 \\[C\\]'", id="third-paper"),
        pytest.param({"kind": "theorem"}, "got 'theorem'", id="kind"),
        pytest.param({"audit": "GOOD"}, "got 'GOOD'", id="audit"),
        pytest.param({"expected": "NOT RUN"}, "got 'NOT RUN'", id="verdict"),
        pytest.param({"correction": ""}, "needs a correction", id="no-correction"),
        pytest.param({"control": " "}, "control must not be empty", id="no-control"),
        pytest.param({"statement": ""}, "statement must not be empty", id="no-statement"),
    ],
)
def test_bad_row_is_refused(changes: dict[str, object], message: str):
    Claim(**valid_fields())
    with pytest.raises(ValueError, match=message):
        Claim(**valid_fields(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"kind": "misprint"}, "got 'misprint'", id="kind"),
        pytest.param({"printed": ""}, "printed must not be empty", id="no-words"),
        pytest.param({"correct": " "}, "correct must not be empty", id="no-correction"),
    ],
)
def test_bad_slip_is_refused(changes: dict[str, str], message: str):
    fields = {"where": "Eq. (29) [A]", "printed": "p", "correct": "c", "kind": "error", "claim": "G6"}
    Slip(**fields)
    with pytest.raises(ValueError, match=message):
        Slip(**fields | changes)


def test_register_needs_neither_torch_nor_matplotlib():
    # A fresh interpreter: this one has imported both.
    command = "import sys, theory.claims; print(sorted({'torch', 'matplotlib', 'xarray', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
