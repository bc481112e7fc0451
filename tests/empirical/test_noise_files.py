"""Noise files: what is written is read back, by any program; anything that does not fit is refused in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empirical import noise_files
from empirical.noise import NoisyLabels, corrupt_labels
from empirical.noise_files import load_noise, save_noise


def same(one: NoisyLabels, other: NoisyLabels) -> bool:
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("observed", "truth", "is_noisy"))
    fields = all(getattr(one, name) == getattr(other, name) for name in ("noise_level", "n_classes", "seed"))
    return arrays and fields and np.array_equal(one.transition, other.transition)  # type: ignore[arg-type]


@given(
    counts=st.lists(st.integers(0, 30), min_size=2, max_size=5).filter(any),
    percent=st.integers(0, 99),
    by_matrix=st.booleans(),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, counts: list[int], percent: int, by_matrix: bool, seed: int):
    """Reading gives back the same object to the last bit, also for empty classes, δ = 0 and a transition matrix."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    options = {"transition": rng.dirichlet(np.ones(len(counts)), size=len(counts))} if by_matrix else {"noise_level": percent / 100}
    noisy = corrupt_labels(truth, n_classes=len(counts), seed=seed, **options)
    file = tmp_path_factory.mktemp("noise") / "noise.json"
    noisy.save(file)
    first = file.read_bytes()
    again = load_noise(file, truth)
    assert same(again, noisy)
    save_noise(again, file)
    assert file.read_bytes() == first
    assert not again.observed.flags.writeable


@pytest.fixture
def file(tmp_path: Path) -> Path:
    corrupt_labels(TRUTH, 0.4, n_classes=3, seed=7).save(tmp_path / "noise.json")
    return tmp_path / "noise.json"


TRUTH = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2])


def test_the_format_is_what_the_module_says(file: Path):
    """Another program needs the JSON and the definition of the hash alone."""
    content = json.loads(file.read_text())
    observed = TRUTH.copy()
    observed[content["index"]] = content["new"]
    assert np.array_equal(observed, corrupt_labels(TRUTH, 0.4, n_classes=3, seed=7).observed)
    assert content["old"] == TRUTH[content["index"]].tolist()
    assert content["class_noise_level"] == [0.4, 0.4, 0.4]
    little_endian = b"".join(int(label).to_bytes(8, "little") for label in TRUTH)
    assert content["truth_sha256"] == hashlib.sha256(little_endian).hexdigest()
    assert not list(file.parent.glob(".*")), "no temporary file stays behind"


def test_noise_of_unknown_seed_is_read(file: Path):
    content = json.loads(file.read_text()) | {"seed": None}
    file.write_text(json.dumps(content))
    assert load_noise(file, TRUTH).seed is None


def changed(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda content: content | fields


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (changed(format="noise"), "expected a noise file with format"),
        (changed(version=2), "has version 2 of the noise format, this program reads 1"),
        (lambda content: {key: value for key, value in content.items() if key != "new"}, "'new' is missing"),
        (changed(n=14), "made for 14 samples, got 15"),
        (changed(n=True), "n must be an integer >= 1, got True"),
        (changed(n_classes=1), "n_classes must be an integer >= 2, got 1"),
        (changed(n_classes=2), r"truth must lie in 0..1"),
        (changed(truth_sha256="0" * 64), "made for other true labels"),
        (lambda c: c | {"index": c["index"][:-1]}, "index, old and new must have one length, got 5, 6 and 6"),
        (lambda c: c | {"index": c["index"][::-1]}, r"index must increase within 0..14"),
        (lambda c: c | {"index": [*c["index"][:-1], 15]}, r"index must increase within 0..14"),
        (lambda c: c | {"index": [-1, *c["index"][1:]]}, r"index must increase within 0..14"),
        (lambda c: c | {"index": [0.5] * 6}, "index must be a list of integers"),
        (lambda c: c | {"index": [2**70] * 6}, "index must be a list of integers"),
        (lambda c: c | {"old": [2, *c["old"][1:]]}, "old must hold the true labels"),
        (lambda c: c | {"new": [3, *c["new"][1:]]}, r"new must lie in 0..2, got 3"),
        (lambda c: c | {"new": [c["old"][0], *c["new"][1:]]}, "new must differ from old"),
        (lambda c: c | {"new": [3 - c["old"][0] - c["new"][0], *c["new"][1:]]}, "changed after it was written"),
        (lambda c: c | {name: c[name][1:] for name in ("index", "old", "new")}, "changed after it was written"),
        (changed(noise_level=1.5), r"noise_level must lie in \[0, 1\], got 1.5"),
        (changed(noise_level=None), r"noise_level must lie in \[0, 1\], got None"),
        (changed(seed=-1), "seed must be an integer >= 0, got -1"),
        (changed(transition=[[1, 0], [0, 1]]), r"transition must have shape \[3, 3\]"),
        (changed(transition="uniform"), "transition must hold real numbers"),
        (changed(class_counts=[5, 5, 4]), "class_counts is"),
        (changed(class_noise_level=[0.4, 0.4, 0.2]), "class_noise_level is"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(file: Path, edit: Callable[[dict[str, Any]], dict[str, Any]], message: str):
    file.write_text(json.dumps(edit(json.loads(file.read_text()))))
    with pytest.raises(ValueError, match=message) as caught:
        load_noise(file, TRUTH)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"index,old,new\n1,0,1\n", b"\xff\xfe\x00", b'{"format": NaN}', b"[" * 100_000], ids=lambda c: repr(c[:8])
)
def test_other_files_are_refused(tmp_path: Path, content: bytes):
    (tmp_path / "noise.json").write_bytes(content)
    with pytest.raises(ValueError, match="expected a noise file") as caught:
        load_noise(tmp_path / "noise.json", [0, 1])
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_refused_at_every_length(file: Path):
    whole = file.read_bytes()
    for length in range(0, len(whole) - 2, 7):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="noise file"):
            load_noise(file, TRUTH)


def test_labels_in_another_order_are_noticed(file: Path):
    with pytest.raises(ValueError, match="another order"):
        load_noise(file, TRUTH[::-1])


def test_what_cannot_be_opened_or_written(tmp_path: Path):
    with pytest.raises(ValueError, match="cannot be read"):
        load_noise(tmp_path / "none.json", [0, 1])
    noisy = corrupt_labels([0, 1], 0.0, n_classes=2, seed=0)
    with pytest.raises(ValueError, match="cannot be written"):
        noisy.save(tmp_path / "no" / "folder.json")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ValueError, match="cannot be written"):
        noisy.save(tmp_path / "taken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_a_file_that_is_cut_short_leaves_the_one_before(file: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed between writing and naming: under the name lies what lay there."""
    before = file.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(noise_files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        corrupt_labels([0, 1], 0.0, n_classes=2, seed=0).save(file)
    assert file.read_bytes() == before
