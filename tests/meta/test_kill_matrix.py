"""Every planted fault is caught by the checks that its entry names, and the same checks are green without it.

Sixty and more mistakes in theory, instruments and judging, one at a time (tests/support/faults*.py). What catches what is written down by
``--trust-record DIR`` for the report's page "How far to trust this". Claim tests run here with the seeds of their rule, so that the outcome
does not depend on chance; without a fault a random check is wrong with probability at most 2e-6 by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reports.trust import read_trust
from tests.support.checks import CHECKS, failure
from tests.support.faults import FAULTS
from tests.support.planting import ROOMS, Fault, edited, plant

ROOT = Path(__file__).resolve().parents[2]

NAMED = sorted({name for fault in FAULTS for name in fault.caught_by})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.room}: {fault.name}")
def test_fault_is_caught(fault: Fault, trust_record: Callable[[str, dict[str, Any]], None]) -> None:
    for name in fault.caught_by:
        with pytest.MonkeyPatch.context() as monkeypatch:
            plant(fault, monkeypatch)
            found = failure(CHECKS[name], fresh_measurements=fault.room == "instrument")
        assert found, f"{fault.name} ({fault.description}) is not caught by {name}"
        row = {"fault": fault.name, "room": fault.room, "description": fault.description, "target": fault.target}
        trust_record(
            "kill_matrix",
            row | {"check": name, "claim": CHECKS[name].claim, "test": CHECKS[name].test, "says": found.replace(f"{ROOT}/", "")},
        )


@pytest.mark.parametrize("name", NAMED)
def test_check_is_green_without_a_fault(name: str) -> None:
    assert failure(CHECKS[name], fresh_measurements=False) == ""


def test_matrix_covers_every_room_and_enough_faults() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60
    counts = {room: sum(fault.room == room for fault in FAULTS) for room in ROOMS}
    assert sum(counts.values()) == len(FAULTS)
    assert min(counts.values()) >= 20, counts
    assert not set(NAMED) - set(CHECKS)
    assert not set(CHECKS) - set(NAMED), "a check that no fault names proves nothing here"
    assert all(fault.caught_by for fault in FAULTS)


def test_stored_matrix_is_that_of_the_registry() -> None:
    """What the report shows is of these faults and these checks: after a change, record again (reports/trust.py)."""
    stored = {(row["fault"], row["check"]) for row in read_trust()["kill_matrix"]}
    assert stored == {(fault.name, name) for fault in FAULTS for name in fault.caught_by}


def test_claims_take_part() -> None:
    claims = {CHECKS[name].claim for name in NAMED} - {""}
    assert len(claims) >= 25, sorted(claims)


def test_a_fault_leaves_no_trace() -> None:
    import tests.claims.test_rank_one_recursion as claim_test
    import theory
    import theory.alpha

    before = theory.alpha.initial_alpha
    fault = next(fault for fault in FAULTS if fault.name == "δ for δ/(1−δ)")
    with pytest.MonkeyPatch.context() as monkeypatch:
        plant(fault, monkeypatch)
        # Imported names are replaced with the home: theory's public face, and every test that took the function from there.
        assert theory.initial_alpha is theory.alpha.initial_alpha is claim_test.initial_alpha is not before
        assert theory.initial_alpha(0.25) == 0.25
    assert theory.initial_alpha is theory.alpha.initial_alpha is claim_test.initial_alpha is before
    assert theory.initial_alpha(0.2) == pytest.approx(0.25, rel=1e-15)


def test_a_fault_whose_place_has_changed_is_an_error() -> None:
    fault = Fault("gone", "no such text", "theory", "theory.alpha:initial_alpha", edited("delta / 0", "delta"), ("X1",))
    with pytest.MonkeyPatch.context() as monkeypatch, pytest.raises(LookupError, match="must hold 'delta / 0' 1 times"):
        plant(fault, monkeypatch)
