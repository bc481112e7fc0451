"""The register and the claim tests speak of the same claims."""

from __future__ import annotations

import ast
from pathlib import Path

from theory.claims import CLAIMS

CLAIM_TESTS = Path(__file__).resolve().parents[1] / "claims"

# Judged since version 0.1; a claim may be added to this list, never taken off.
JUDGED = set("S1 S4 G1 G2 G4 G5 G6 I1 I3 I4 I5 D1 D2 D4 D6 D7 D10 X1 X2 X4 F2 F3 F4 F5 F6".split())


def claim_marks() -> dict[str, list[str]]:
    """Claim id → names of the test functions that judge it, read from the source."""
    found: dict[str, list[str]] = {}
    for path in sorted(CLAIM_TESTS.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                for decorator in node.decorator_list:
                    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.claim":
                        found.setdefault(ast.literal_eval(decorator.args[0]), []).append(f"{path.name}::{node.name}")
    return found


def test_every_mark_names_a_claim_of_the_register() -> None:
    assert not set(claim_marks()) - set(CLAIMS)


def test_every_claim_of_this_version_is_judged() -> None:
    assert not JUDGED - set(claim_marks())


def test_every_test_in_the_claims_folder_judges_a_claim() -> None:
    marked = {name for names in claim_marks().values() for name in names}
    tests = {
        f"{path.name}::{node.name}"
        for path in CLAIM_TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    assert tests == marked
