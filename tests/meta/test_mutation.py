"""Mutants of theory: no number in a formula can be changed without a test of the theory noticing. A sample; all with ``--mutants all``.

The full run (an hour of one core) traces which theory tests run which line, changes every numeric constant of the package by one, runs the
tests of its line, and writes with ``--trust-record DIR`` how many were killed, every survivor with the reason why it survives, and a sample
of the killed with their killers; it goes on after the modules that the record there holds of the same code, and where only the tests have
changed it judges again the survivors that are not equivalent. The sample runs again here: the same mutants against the same tests.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reports.trust import read_trust, write_trust
from tests.support.mutation import Mutant, apply, code_of, cover, find_again, judge_mutant, mutants_of, recorded, survivors_again
from tests.support.mutation_survivors import OPEN, UNCHANGED

ROOT = Path(__file__).resolve().parents[2]
THEORY = sorted(path for path in (ROOT / "theory").glob("*.py") if path.name not in ("__init__.py", "claims.py"))
SAMPLE = 12
WANTED = 0.95

pytestmark = pytest.mark.skipif(not hasattr(sys, "addaudithook") or sys.platform == "win32", reason="mutants live in forks")


def stored_sample() -> list[tuple[Mutant, str]]:
    """Mutants of the stored record whose place is still there, with the test that killed them; the same ones every time."""
    found = [
        (mutant, entry["killed_by"])
        for row in read_trust()["mutants"]
        for entry in row["sample"]
        if (mutant := find_again(ROOT / row["module"], entry)) is not None
    ]
    return sorted(found, key=lambda one: hashlib.sha256(f"{one[0].path}{one[0].code}{one[0].occurrence}".encode()).hexdigest())[:SAMPLE]


def test_sampled_mutants_are_killed() -> None:
    """One may live: a mutant that leaves memory unset is killed or not by what lay there before."""
    alive = [
        f"{mutant.code}: {mutant.old} → {mutant.new}, {test}"
        for mutant, test in stored_sample()
        if judge_mutant(mutant, [test])[0] != "killed"
    ]
    assert len(alive) <= 1, alive


def test_sample_is_large_enough() -> None:
    assert len(stored_sample()) >= SAMPLE // 2, "the code has moved on: record again with --mutants all"


def test_nearly_all_mutants_were_killed() -> None:
    rows = read_trust()["mutants"]
    survivors = [survivor for row in rows for survivor in row["survivors"]]
    judged, killed = sum(row["judged"] for row in rows), sum(row["killed"] for row in rows)
    assert judged == killed + len(survivors)
    assert all(survivor["why"] for survivor in survivors), "every survivor is explained"
    assert killed >= WANTED * (judged - sum(survivor["equivalent"] for survivor in survivors))


def test_all_mutants(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--mutants") != "all":
        pytest.skip("a run of an hour: pass --mutants all")
    folder = request.config.getoption("--trust-record")
    modules = {str(path.relative_to(ROOT)): path for path in THEORY}
    codes = {name: code_of(path) for name, path in modules.items()}
    stored = {row["module"]: row for row in (read_trust(Path(folder))["mutants"] if folder else [])}
    stored = {name: row for name, row in stored.items() if name in codes and row["code"].split("-")[0] == codes[name].split("-")[0]}
    rows = {name: row for name, row in stored.items() if row["code"] == codes[name]}
    coverage = cover(["tests/theory", "theory"]) if len(rows) < len(modules) else None
    for name, path in modules.items():
        if name in rows or coverage is None:
            continue
        assert not coverage.failed, f"green without a mutant: {sorted(coverage.failed)[:3]}"

        def judge(mutant: Mutant, killers: Callable[[Mutant], list[str]] = coverage.killers) -> tuple[str, str]:
            return judge_mutant(mutant, killers(mutant))

        if name in stored:
            rows[name] = survivors_again(path, stored[name], judge)
        else:
            rows[name] = recorded(path, [(mutant, *judge(mutant)) for mutant in mutants_of(path)])
        if folder:  # after every module: a run that is cut short keeps what it has
            write_trust(Path(folder), {"mutants": [rows.get(one, stored.get(one)) for one in modules if one in rows or one in stored]})
    survivors = [survivor for row in rows.values() for survivor in row["survivors"]]
    unexplained = [f"{row['module']}:{one['line']} {one['code']}" for row in rows.values() for one in row["survivors"] if not one["why"]]
    assert not unexplained
    judged, equivalent = sum(row["judged"] for row in rows.values()), sum(one["equivalent"] for one in survivors)
    assert judged - len(survivors) >= WANTED * (judged - equivalent)


TOY = '''"""A docstring with 7 numbers, 1.5 of them real."""

from math import sqrt

SCALE = 2 / 3
FLAG = True


def area(side: float, times: int = 1) -> float:
    """Area of 4 squares."""
    return SCALE * side**2 + times * 0.5
'''


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr("tests.support.mutation.ROOT", tmp_path)
    (tmp_path / "toy.py").write_text(TOY)
    return tmp_path / "toy.py"


def test_numbers_in_code_are_mutated_and_texts_are_not(toy: Path) -> None:
    found = mutants_of(toy)
    assert [(mutant.old, mutant.new) for mutant in found] == [("2", "3"), ("3", "4"), ("1", "2"), ("2", "3"), ("0.5", "1.5")]
    assert found[3].code == "return SCALE * side**2 + times * 0.5"
    assert "side**3 + times * 0.5" in apply(found[3], toy.read_bytes()).decode()
    for mutant in found:
        changed = apply(mutant, toy.read_bytes()).decode()
        assert sum(one != other for one, other in zip(changed.splitlines(), TOY.splitlines(), strict=True)) == 1


def test_operators_change_places(toy: Path) -> None:
    found = [mutant for mutant in mutants_of(toy, operators=True) if mutant.kind == "operator"]
    assert [(mutant.old, mutant.new) for mutant in found] == [("/", "*"), ("*", "/"), ("**", "*"), ("+", "-"), ("*", "/")]
    for mutant in found:
        compile(apply(mutant, toy.read_bytes()), "toy", "exec")


def test_a_place_that_has_changed_is_an_error_and_a_moved_one_is_found(toy: Path) -> None:
    mutant = mutants_of(toy)[3]
    moved = ("\n" + TOY).encode()
    with pytest.raises(LookupError, match="must hold '2'"):
        apply(mutant, moved)
    toy.write_bytes(moved)
    entry = {"code": mutant.code, "old": mutant.old, "new": mutant.new, "occurrence": mutant.occurrence}
    again = find_again(toy, entry)
    assert again == replace(mutant, line=mutant.line + 1)
    assert find_again(toy, entry | {"code": "gone"}) is None


def alpha_0() -> Mutant:
    """1 − δ in α_0 = δ/((C − 1)(1 − δ))."""
    return next(m for m in mutants_of(ROOT / "theory" / "alpha.py") if "- 1) * (1 - delta)" in m.code and (m.old, m.occurrence) == ("1", 1))


def test_killed_and_survived_are_told_apart() -> None:
    """A wrong α_0 is noticed by its own doctest; the docstring of another function has nothing to say about it."""
    place = alpha_0()
    assert judge_mutant(place, ["theory/alpha.py::theory.alpha.initial_alpha"]) == ("killed", "theory/alpha.py::theory.alpha.initial_alpha")
    assert judge_mutant(place, ["theory/angles.py::theory.angles.gradient_angle"]) == ("survived", "")
    assert judge_mutant(place, []) == ("survived", "")
    # The machinery itself kills nothing.
    assert judge_mutant(replace(place, new=place.old), ["theory/alpha.py::theory.alpha.initial_alpha"]) == ("survived", "")


def test_a_mutant_that_never_ends_is_killed() -> None:
    endless = replace(alpha_0(), new="([0 for _ in iter(int, 1)] or 1)")
    assert judge_mutant(endless, ["theory/alpha.py::theory.alpha.initial_alpha"], limit=1.0)[0] == "killed"


def test_where_only_tests_have_changed_survivors_are_judged_again(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toy.parent / "tests" / "theory").mkdir(parents=True)
    monkeypatch.setattr("tests.support.mutation.reason", lambda mutant: ("", False))
    row = recorded(toy, [(mutant, *(("survived", "") if mutant.old == "2" else ("killed", "a::b"))) for mutant in mutants_of(toy)])
    assert (row["judged"], row["killed"]) == (5, 3)
    asked: list[str] = []

    def judge(mutant: Mutant) -> tuple[str, str]:
        asked.append(mutant.code)
        return ("killed", "a::c") if "side" in mutant.code else ("survived", "")

    again = survivors_again(toy, row, judge)
    assert len(asked) == 2
    assert (again["judged"], again["killed"], again["sample"]) == (5, 4, row["sample"])
    asked.clear()
    monkeypatch.setattr("tests.support.mutation.reason", lambda mutant: ("no test can see it", True))
    assert survivors_again(toy, row, judge)["killed"] == 3
    assert not asked
    before = code_of(toy)
    (toy.parent / "tests" / "theory" / "test_toy.py").write_text("")
    assert code_of(toy).split("-")[0] == before.split("-")[0]
    assert code_of(toy) != before


def test_of_two_equal_numbers_on_a_line_the_one_that_was_killed_stays_so(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toy.parent / "tests" / "theory").mkdir(parents=True)
    monkeypatch.setattr("tests.support.mutation.reason", lambda mutant: ("", False))
    toy.write_text("NINE = 3 * 3\n")
    first, second = mutants_of(toy)
    row = recorded(toy, [(first, "killed", "a::b"), (second, "survived", "")])
    asked: list[int] = []

    def judge(mutant: Mutant) -> tuple[str, str]:
        asked.append(mutant.occurrence)
        return "survived", ""

    assert survivors_again(toy, row, judge)["killed"] == 1
    assert asked == [1]


def test_reasons_name_places_that_exist() -> None:
    """A reason for code that is gone is stale; a few may wait for the next full run."""
    stale = [
        f"{module}: {code}"
        for (module, code), (old, _) in (UNCHANGED | OPEN).items()
        if not [m for m in mutants_of(ROOT / module) if code in m.code and old in ("*", m.old)]
    ]
    assert len(stale) <= 0.1 * len(UNCHANGED | OPEN), stale
