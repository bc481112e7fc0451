"""The seed contract: claim tests pass whatever the seeds. Light: fresh seeds for the rows that need no networks. Full: ``--seed-sets N``.

The full run measures and judges all claim tests with the sets 1 … N, each in a store of its own (some three minutes of one core without
MNIST), as many at a time as ``--jobs`` says, and writes the ledger with ``--trust-record DIR``. For each file of tests it goes on after the
sets that the ledger there holds of the same code: where one file has changed, only its tests run again. A red row stays in the ledger, with
the numbers of its sets, so that ``pytest tests/claims --seeds k`` shows it again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reports.claim_code import JUDGING, claim_code
from reports.trust import read_trust, write_trust
from tests.support.seed_sets import Row, SeedSet, further_sets, ledger, merged, run_set

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
    code = claim_code()
    stored = read_trust(Path(folder))["seed_sets"] if folder else []
    sets: list[SeedSet] = []
    jobs = request.config.getoption("--jobs")
    with ThreadPoolExecutor(jobs if jobs > 0 else os.cpu_count()) as workers:
        lacking = further_sets(stored, total=total, code=code)
        for found in workers.map(run_set, lacking, lacking.values()):
            sets.append(found)
            if claim_code() != code:
                workers.shutdown(wait=False, cancel_futures=True)
                pytest.fail("the code changed while the sets ran")
            if folder:  # after every set, red ones too: a run that is cut short keeps what it has
                write_trust(Path(folder), {"seed_sets": merged(stored, ledger(sets, code=code))})
    red = {one.number: one.red for one in sets if one.red}
    assert not red, red


ONE, OTHER = Row("one.py", "D10", "a"), Row("other.py", "D1", "b")


def example(number: int, *failed: Row) -> SeedSet:
    return SeedSet(number, {ONE: (), OTHER: ()} | dict.fromkeys(failed, ("why",)))


def by_row(entries: list[dict[str, Any]]) -> dict[Row, dict[str, Any]]:
    return {Row(entry["test"], entry["claim"], entry["regime"]): entry for entry in entries}


CODE = {"one.py": "c", "other.py": "d"}


def test_ledger_counts_sets_passes_and_failures() -> None:
    rows = by_row(ledger([example(3), example(1), example(2, OTHER)], code=CODE))
    assert rows[ONE] == ONE._asdict() | {"code": "c", "sets": 3, "passed": 3, "failed": [], "first": 1, "last": 3}
    assert (rows[OTHER]["passed"], rows[OTHER]["failed"]) == (2, [2])


def test_a_row_that_did_not_run_is_no_pass_and_does_not_wait_for_a_set() -> None:
    stored = ledger([SeedSet(number, {ONE: None}) for number in (1, 2)], code=CODE)
    assert (stored[0]["sets"], stored[0]["passed"], stored[0]["last"]) == (0, 0, 2)
    assert further_sets(stored, total=2, code={"one.py": "c"}) == {}


def test_ledgers_of_one_code_add_up() -> None:
    earlier = ledger([example(1), example(2, OTHER)], code=CODE)
    rows = by_row(merged(earlier, ledger([example(3)], code=CODE)))
    assert (rows[ONE]["sets"], rows[ONE]["first"], rows[ONE]["last"], rows[OTHER]["failed"]) == (3, 1, 3, [2])


def test_only_the_tests_whose_code_changed_run_again() -> None:
    stored = ledger([example(1), example(2)], code=CODE)
    assert further_sets(stored, total=3, code=CODE) == {3: ["one.py", "other.py"]}
    assert further_sets(stored, total=2, code=CODE) == {}
    changed = CODE | {"other.py": "e"}
    assert further_sets(stored, total=3, code=changed) == {1: ["other.py"], 2: ["other.py"], 3: ["one.py", "other.py"]}


def test_sets_of_earlier_code_stay_until_there_are_as_many_of_the_new() -> None:
    stored, changed = ledger([example(1), example(2)], code=CODE), CODE | {"other.py": "e"}
    again = [SeedSet(number, {OTHER: ()}) for number in (1, 2)]
    first = merged(stored, ledger(again[:1], code=changed))
    assert sorted((entry["test"], entry["code"], entry["sets"]) for entry in first) == [
        ("one.py", "c", 2),
        ("other.py", "d", 2),
        ("other.py", "e", 1),
    ]
    second = merged(first, ledger(again[1:], code=changed))
    assert sorted((entry["test"], entry["code"], entry["sets"]) for entry in second) == [("one.py", "c", 2), ("other.py", "e", 2)]
    renamed = ledger([SeedSet(1, {OTHER._replace(regime="new"): ()})], code=changed)
    assert [entry["regime"] for entry in merged(stored, renamed)] == ["new", "a"]


def test_the_hash_follows_the_code_and_not_its_words(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def changed(since: dict[str, str]) -> set[str]:
        return {Path(test).stem for test, code in claim_code(tmp_path).items() if since[test] != code}

    for name in JUDGING:
        write(f"reports/{name}.py", "")
    write("tests/claims/test_one.py", "from theory import angles\n")
    write("tests/claims/test_other.py", "import theory.dynamics\n")
    write("theory/angles.py", '"""Words."""\nimport theory.kernels\nHALF = 1 / 2\n')
    write("theory/kernels.py", "def kernel():\n    return 1\n")
    write("theory/dynamics.py", "STEPS = 10\n")
    write("theory/alone.py", "STEPS = 10\n")
    first = claim_code(tmp_path)
    assert len(first) == len(set(first.values())) == 2
    write("theory/angles.py", '"""Other words."""\nimport theory.kernels\nHALF = 1 / 2  # why\n')
    write("theory/alone.py", "STEPS = 11\n")  # no claim imports it
    write("theory/kernels.py", 'def kernel():\n    """Words."""\n    return 1\n')
    assert changed(first) == set()
    write("theory/kernels.py", "def kernel():\n    return 2\n")
    assert changed(first) == {"test_one"}
    write("reports/budget.py", "SHARE = 1\n")
    assert changed(first) == {"test_one", "test_other"}
    assert claim_code(tmp_path / "theory") == {}, "an installed package has no claim tests"


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
