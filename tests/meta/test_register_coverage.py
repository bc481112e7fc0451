"""The register and the claim tests speak of the same claims."""

from __future__ import annotations

import ast
from pathlib import Path

from theory.claims import CLAIMS

CLAIM_TESTS = Path(__file__).resolve().parents[1] / "claims"


def trees() -> dict[str, ast.Module]:
    """Syntax tree of every file of claim tests."""
    return {path.name: ast.parse(path.read_text()) for path in sorted(CLAIM_TESTS.glob("test_*.py"))}


def marked_claims() -> set[str]:
    """Claims that some mark names, whether on a test or on one of its parameters."""
    calls = [node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {ast.literal_eval(call.args[0]) for call in calls if ast.unparse(call.func) == "pytest.mark.claim"}


def test_register_and_tests_have_the_same_claims() -> None:
    """No test judges what is not in the register, and no row of it goes unjudged."""
    assert not marked_claims() - set(CLAIMS)
    assert not set(CLAIMS) - marked_claims()


def test_every_test_in_the_claims_folder_judges() -> None:
    """It takes the agreement fixture; the harness then insists on a claim, a regime, a check and a control."""
    idle = [
        f"{name}::{node.name}"
        for name, tree in trees().items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and "agreement" not in {arg.arg for arg in node.args.args}
    ]
    assert not idle
