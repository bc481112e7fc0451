"""Rows are recalled only where nothing that they depend on has changed, and come back as they were."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import reports.judgements
from empirical.inference import exact
from reports.agreement import ClaimResult, Range, Verdict, judge
from reports.figure_data import FigureData
from reports.judgements import Judgements, code_digest, folder_digest

RECORDS = (
    judge(1.0, exact(1.0), margin={"rounding": 1e-12}, claim="G2", name="one"),
    judge(Range(lower=0.5), exact(0.1), margin={"none": 0.0}, claim="G2", name="two", role="control"),
)
ROW = ClaimResult(claim="G2", model="algebra", data="any", expected=Verdict.AGREES, expected_reason="why", records=RECORDS, notes=("seen",))
FIGURE = FigureData(
    "g2", "comparison", "title", "caption", "G2", {"a/x": np.array([0.1, math.pi]), "a/name": np.array(["x", "y"])}, {"x": "t"}
)


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = Judgements(tmp_path / "rows", ("code", "quick"))
    assert kept.recall("test", ("key",)) is None
    kept.keep("test", ("key",), ROW, [FIGURE], {"digits": "abc"})
    found = Judgements(tmp_path / "rows", ("code", "quick")).recall("test", ("key",))
    assert found is not None
    row, (figure,), data = found
    assert row == ROW
    assert row.verdict is Verdict.AGREES
    assert not row.failures()
    assert data == {"digits": "abc"}
    assert figure.labels == FIGURE.labels
    assert all((figure.arrays[name] == array).all() and figure.arrays[name].dtype == array.dtype for name, array in FIGURE.arrays.items())


@pytest.mark.parametrize(
    ("context", "test", "records"),
    [(("other code", "quick"), "test", ("key",)), (("code", "full"), "test", ("key",)), (("code", "quick"), "test", ("other",))],
)
def test_a_change_of_code_tier_or_record_judges_again(
    tmp_path: Path, context: tuple[str, ...], test: str, records: tuple[str, ...]
) -> None:
    Judgements(tmp_path, ("code", "quick")).keep("test", ("key",), ROW, [FIGURE], {})
    assert Judgements(tmp_path, context).recall(test, records) is None


def test_a_damaged_row_is_judged_again(tmp_path: Path) -> None:
    kept = Judgements(tmp_path, ("code",))
    kept.keep("test", (), ROW, [], {})
    (file,) = tmp_path.glob("*.json")
    file.write_text(file.read_text()[:-20])
    assert kept.recall("test", ()) is None


def test_a_row_that_is_cut_short_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between writing and naming: nothing is there that could be recalled."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reports.judgements.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Judgements(tmp_path, ("code",)).keep("test", ("key",), ROW, [], {})
    assert list(tmp_path.glob("*.json")) == []


def test_digests_follow_their_files(tmp_path: Path) -> None:
    for room in ("theory", "tests/claims"):
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "a.py").write_text("x = 1\n")
    before = code_digest(tmp_path), folder_digest(tmp_path)
    assert (code_digest(tmp_path), folder_digest(tmp_path)) == before
    (tmp_path / "tests/claims/a.py").write_text("x = 22\n")
    assert code_digest(tmp_path) != before[0]
    (tmp_path / "extra.bin").write_bytes(b"0")
    assert folder_digest(tmp_path) != before[1]
    assert folder_digest(None) == folder_digest(tmp_path / "absent") == ""
