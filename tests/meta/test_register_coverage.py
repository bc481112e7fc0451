"""The register and the claim tests speak of the same claims."""

from __future__ import annotations

import ast
from pathlib import Path

from theory.claims import CLAIMS

CLAIM_TESTS = Path(__file__).resolve().parents[1] / "claims"

# Judged since version 0.1; a claim may be added to this list, never taken off.
JUDGED = (
    "S1 S2 S3 S4 S5 S6 S7 G1 G2 G3 G4 G5 G6 G7 G8 G9 I1 I2 I3 I4 I5 D1 D2 D3 D4 D5 D6 D7 D8 D9 D10 D11 D12 D13 M1 M2 M3 M4 M5 "
    "F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 F13 P1 X1 X2 X3 X4 X5 X6 X7 X8 X9 X10 X11 R1 R2 R3 R4 R5 R6"
)


def trees() -> dict[str, ast.Module]:
    """Syntax tree of every file of claim tests."""
    return {path.name: ast.parse(path.read_text()) for path in sorted(CLAIM_TESTS.glob("test_*.py"))}


def marked_claims() -> set[str]:
    """Claims that some mark names, whether on a test or on one of its parameters."""
    calls = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "pytest.mark.claim"}


def test_every_mark_names_a_claim_of_the_register() -> None:
    assert not marked_claims() - set(CLAIMS)


def test_every_claim_of_this_version_is_judged() -> None:
    assert not set(JUDGED.split()) - marked_claims()


def test_every_test_in_the_claims_folder_judges() -> None:
    """It takes the agreement fixture; the harness then insists on a claim, a regime, a check and a control."""
    idle = [
        f"{name}::{node.name}"
        for name, tree in trees().items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and "agreement" not in {arg.arg for arg in node.args.args}
    ]
    assert not idle
