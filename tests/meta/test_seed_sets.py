"""The seed contract: claim tests pass whatever the seeds. Light: fresh seeds for the rows that need no networks. Full: ``--seed-sets N``.

The full run measures and judges all claim tests with the sets 1 … N, each in a store of its own (some two minutes of one core without
MNIST), as many at a time as ``--jobs`` says, and writes the ledger with ``--trust-record DIR``. It goes on after the sets that the ledger
there holds of the same code. A red row stays in the ledger, with the numbers of its sets, so that ``pytest tests/claims --seeds k`` shows
it again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reports.trust import read_trust, write_trust
from tests.support import seed_sets
from tests.support.seed_sets import SeedSet, code_hash, further_sets, ledger, merged, run_set

# Random problems, label draws and Monte-Carlo integrals on small kernels: seconds for all of them.
CHEAP = (
    "tests/claims/test_theorem_4_5.py",
    "tests/claims/test_theorem_4_4.py",
    "tests/claims/test_segment_gradients.py",
    "tests/claims/test_negative_controls.py",
    "tests/claims/test_remark_4_3.py",
    "tests/claims/test_sample_gradient.py",
    "tests/claims/test_label_flip.py",
)
WITHOUT_NETWORKS = ("-k", "not trained and not network-at and not MNIST")


def test_fresh_seeds_light() -> None:
    """A fresh set for rows that need no measurement; the number repeats it. Red by chance with probability 1e-6 per random check."""
    number = secrets.randbelow(10**9)
    found = run_set(number, CHEAP, options=WITHOUT_NETWORKS)
    assert len(found.rows) >= 15
    assert not found.red, f"pytest --seeds {number}: {found.red}\n{found.output}"


def test_all_claims_with_many_seed_sets(request: pytest.FixtureRequest, trust_record: Callable[[str, dict[str, Any]], None]) -> None:
    total = request.config.getoption("--seed-sets")
    if not total:
        pytest.skip("a run of hours: pass --seed-sets 100")
    folder = request.config.getoption("--trust-record")
    code = code_hash()
    stored = read_trust(Path(folder))["seed_sets"] if folder else []
    sets: list[SeedSet] = []
    jobs = request.config.getoption("--jobs")
    with ThreadPoolExecutor(jobs if jobs > 0 else os.cpu_count()) as workers:
        for found in workers.map(run_set, further_sets(stored, total=total, code=code)):
            sets.append(found)
            if code_hash() != code:
                workers.shutdown(wait=False, cancel_futures=True)
                pytest.fail("the code changed while the sets ran")
            if folder:  # after every set, red ones too: a run that is cut short keeps what it has
                write_trust(Path(folder), {"seed_sets": merged(stored, ledger(sets, code=code))})
    red = {one.number: one.red for one in sets if one.red}
    assert not red, red


def example(number: int, **failed: str) -> SeedSet:
    return SeedSet(number, {("D10", "a"): (), ("D1", "b"): ()} | {(claim, "b"): (why,) for claim, why in failed.items()})


def test_ledger_counts_sets_passes_and_failures() -> None:
    rows = {(row["claim"], row["regime"]): row for row in ledger([example(3), example(1), example(2, D1="why")], code="c")}
    assert rows["D10", "a"] == {"claim": "D10", "regime": "a", "code": "c", "sets": 3, "passed": 3, "failed": [], "first": 1, "last": 3}
    assert (rows["D1", "b"]["passed"], rows["D1", "b"]["failed"]) == (2, [2])


def test_ledgers_of_one_code_add_up_and_of_another_are_dropped() -> None:
    earlier = ledger([example(1), example(2, D1="why")], code="c")
    (first, second) = merged(earlier, ledger([example(3)], code="c"))
    assert (first["sets"], first["first"], first["last"], second["failed"]) == (3, 1, 3, [2])
    assert [row["sets"] for row in merged(earlier, ledger([example(3)], code="d"))] == [1, 1]
    assert list(further_sets(earlier, total=4, code="c")) == [3, 4]
    assert list(further_sets(earlier, total=2, code="d")) == [1, 2]


def test_the_hash_follows_the_code_and_not_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    for name in seed_sets.JUDGING:
        write(f"reports/{name}.py", "")
    write("tests/claims/test_one.py", "from theory import angles\n")
    write("theory/angles.py", '"""Words."""\nimport theory.kernels\nHALF = 1 / 2\n')
    write("theory/kernels.py", "def kernel():\n    return 1\n")
    write("theory/dynamics.py", "STEPS = 10\n")
    monkeypatch.setattr(seed_sets, "ROOT", tmp_path)
    first = code_hash()
    write("theory/angles.py", '"""Other words."""\nimport theory.kernels\nHALF = 1 / 2  # why\n')
    write("theory/dynamics.py", "STEPS = 11\n")  # no claim imports it
    write("theory/kernels.py", 'def kernel():\n    """Words."""\n    return 1\n')
    assert code_hash() == first
    write("theory/kernels.py", "def kernel():\n    return 2\n")
    assert code_hash() != first


def test_a_row_that_fails_for_some_seeds_is_caught(tmp_path: Path) -> None:
    """Made to happen: an exact count of a random event, the very mistake that this contract is for."""
    body = """
import pytest
from empirical.inference import exact

@pytest.mark.claim("G2")
@pytest.mark.regime("algebra", "made up")
def test_it(agreement):
    hits = int((agreement.rng.random(20) < 0.02).sum())
    agreement.check("events in 20 networks", prediction=0, estimate=exact(hits), margin={"none": 0.0})
    agreement.control("one", prediction=0, estimate=exact(1.0), margin={"none": 0.0})
"""
    path = tmp_path / "test_made_up.py"
    path.write_text(body)
    # P(no event) = 0.98^20 = 0.67 for each set: all of 40 sets are green with probability 1e-7. They are run until one is red.
    red = next((number for number in range(40) if run_set(number, [str(path)]).red), None)
    assert red is not None
