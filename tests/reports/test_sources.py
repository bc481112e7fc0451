"""Where a claim's formulas stand: found in the syntax of the claim tests, and true to the files."""

from __future__ import annotations

from pathlib import Path

from reports.sources import claim_places, formula_sources
from theory.claims import CLAIMS

ROOT = Path(__file__).resolve().parents[2]


def test_lines_are_those_of_the_definitions() -> None:
    for sources in formula_sources().values():
        for source in sources:
            lines = (ROOT / source.file).read_text(encoding="utf-8").splitlines()
            assert lines[source.line - 1].startswith((f"def {source.name}(", f"class {source.name}")), source.id
            assert source.text.splitlines()[0] == lines[source.line - 1]


def test_formulas_are_those_that_the_tests_call() -> None:
    found = formula_sources()
    assert set(found) <= set(CLAIMS)
    assert "effective_learning_rate" in {source.name for source in found["D4"]}
    assert "alpha_recursion" in {source.name for source in found["X1"]}
    assert len({source.id for sources in found.values() for source in sources}) == len(
        {source for sources in found.values() for source in sources}
    )


def test_every_claim_has_its_place_in_the_register() -> None:
    places = claim_places()
    assert set(places) == set(CLAIMS)
    for id, found in places.items():
        file, _, line = found[0].partition(":")
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        assert "Claim(" in lines[int(line) - 1]
        assert f'id="{id}"' in "\n".join(lines[int(line) - 1 : int(line) + 2])
        assert all((ROOT / place.partition(":")[0]).is_file() for place in found)


def test_an_installation_without_tests_finds_nothing(tmp_path: Path) -> None:
    assert formula_sources(tmp_path) == {}
    assert claim_places(tmp_path) == {}


def test_helpers_of_the_same_file_are_followed(tmp_path: Path) -> None:
    (tmp_path / "theory").mkdir()
    (tmp_path / "theory" / "kernels.py").write_text("def ntk(x):\n    return x\n\n\nclass _Hidden:\n    pass\n")
    (tmp_path / "tests" / "claims").mkdir(parents=True)
    (tmp_path / "tests" / "claims" / "test_x.py").write_text(
        "import theory\nimport pytest\n\n\ndef helper():\n    return theory.ntk(1)\n\n\n"
        '@pytest.mark.claim("G1")\ndef test_it():\n    helper()\n\n\n@pytest.mark.claim("G2")\ndef test_other():\n    pass\n'
    )
    found = formula_sources(tmp_path)
    assert [(source.name, source.file, source.line) for source in found["G1"]] == [("ntk", "theory/kernels.py", 1)]
    assert found["G2"] == []
    assert claim_places(tmp_path) == {"G1": ["tests/claims/test_x.py:10"], "G2": ["tests/claims/test_x.py:15"]}
