"""What is kept beside the measurements: recalled only for the same name, key and code, computed again whenever anything is amiss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import reports.kept
from reports.evidence import Agreement
from reports.kept import Kept
from reports.session import AgreementSession
from theory.claims import claim


class Counted:
    """A computation that counts how often it runs."""

    def __init__(self) -> None:
        self.runs = 0

    def compute(self) -> dict[str, object]:
        """Run once more."""
        self.runs += 1
        return {"number": 0.1, "mask": np.array([True, False]), "matrix": np.arange(6.0).reshape(2, 3)}


@pytest.fixture
def counted() -> Counted:
    return Counted()


def file_of(folder: Path) -> Path:
    (file,) = folder.glob("*.npz")
    return file


def test_the_second_time_nothing_is_computed(tmp_path: Path, counted: Counted) -> None:
    first, second = (Kept(tmp_path)("run", counted.compute, n=3) for _ in range(2))
    assert counted.runs == 1
    assert set(first) == set(second) == {"number", "mask", "matrix"}
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
        assert values.dtype == second[name].dtype


def test_name_and_key_tell_computations_apart(tmp_path: Path, counted: Counted) -> None:
    keep = Kept(tmp_path)
    for name, key in (("run", {"n": 3}), ("run", {"n": 4}), ("walk", {"n": 3}), ("run", {"n": 3})):
        keep(name, counted.compute, **key)
    assert counted.runs == 3


def test_other_code_replaces_the_numbers(tmp_path: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    Kept(tmp_path)("run", counted.compute)
    monkeypatch.setattr(reports.kept, "_code", lambda file: "of another commit")
    for _ in range(2):
        Kept(tmp_path)("run", counted.compute)
    assert counted.runs == 2
    assert len(list(tmp_path.iterdir())) == 1  # and the folder does not grow


def test_the_digest_is_of_every_room_and_of_the_computation_s_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (*reports.kept.ROOMS, "tests/claims"):
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "module.py").write_text("one = 1\n")
    own = tmp_path / "own.py"
    own.write_text("one = 1\n")
    monkeypatch.setattr(reports.kept, "ROOT", tmp_path)
    digest = reports.kept._code.__wrapped__
    seen = {digest(str(own))}
    for changed in (*(tmp_path / room / "module.py" for room in reports.kept.ROOMS), own):
        changed.write_text("two = 2\n")
        seen.add(digest(str(own)))
    assert len(seen) == 2 + len(reports.kept.ROOMS)
    (tmp_path / "tests/claims/module.py").write_text("two = 2\n")  # another claim's margins
    assert digest(str(own)) in seen


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut short", None])
def test_a_damaged_file_is_computed_again(tmp_path: Path, counted: Counted, damage: bytes | None) -> None:
    keep = Kept(tmp_path)
    keep("run", counted.compute)
    file = file_of(tmp_path)
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :] if damage is None else damage)
    np.testing.assert_array_equal(keep("run", counted.compute)["matrix"], np.arange(6.0).reshape(2, 3))
    if damage is not None:  # a flipped bit may lie in the padding between two arrays, where nothing is read
        assert counted.runs == 2


def test_what_is_cut_short_has_no_name(tmp_path: Path, counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between writing and naming: nothing is there that could be recalled."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reports.kept.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Kept(tmp_path)("run", counted.compute)
    assert list(tmp_path.glob("*.npz")) == []


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path, counted: Counted) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert Kept(tmp_path / "file" / "kept")("run", counted.compute)["number"] == 0.1
    assert counted.runs == 2


@pytest.mark.parametrize(
    ("key", "result", "message"),
    [
        ({"n": object()}, {}, "key of 'run' must hold JSON values only"),
        ({}, {"text": np.array(["a"])}, "'run' must give arrays of numbers, got dtype <U1 in 'text'"),
        ({}, {"object": np.array([None])}, "'run' must give arrays of numbers, got dtype object in 'object'"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_one_line(
    tmp_path: Path, key: dict[str, object], result: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Kept(tmp_path)("run", lambda: result, **key)
    assert "\n" not in str(caught.value)


def notebook(folder: Path | None, *, salt: str = "", regime: str = "clusters") -> Agreement:
    """A notebook as the harness opens it."""
    rng = AgreementSession.generator(type("Rule", (), {"seed_salt": salt})(), "D1", "fixed kernel", regime)  # type: ignore[arg-type]
    return Agreement(
        claim("D1"),
        model="fixed kernel",
        data=regime,
        expected="AGREES",  # type: ignore[arg-type]
        expected_reason="",
        command="",
        tier="quick",
        rng=rng,
        seed_salt=salt,
        measure=lambda name: None,  # type: ignore[arg-type, return-value]
        replicates=lambda name, first, count: None,  # type: ignore[arg-type, return-value]
        load=lambda name: None,  # type: ignore[arg-type, return-value]
        keep=None if folder is None else Kept(folder),
    )


def test_draws_are_the_same_kept_or_not_and_follow_seeds_and_regime(tmp_path: Path) -> None:
    def draw(rng: np.random.Generator) -> dict[str, object]:
        return {"draws": rng.normal(size=4)}

    def drawn(**options: str) -> list[list[float]]:
        ways = (notebook(folder, **options).drawn("normal", draw)["draws"].tolist() for folder in (None, tmp_path, tmp_path))
        plain, first, second = ways
        assert plain == first == second
        return plain

    assert len({tuple(map(str, drawn(**options))) for options in ({}, {"salt": "1"}, {"regime": "digits"})}) == 3
    one = notebook(tmp_path)
    assert one.drawn("normal", draw)["draws"].tolist() != one.drawn("normal", draw)["draws"].tolist()  # asked twice: two draws
