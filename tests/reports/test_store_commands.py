"""``clean-priority store``: what each action prints, its exit code, and one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from empirical.devices import POLICY
from empirical.store import STORE_VARIABLE, Store
from reports.__main__ import main

KEYS = ("a" * 64, "b" * 64)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two records, the second made in four threads."""
    store = Store(tmp_path / "store")
    for key, threads in zip(KEYS, (1, 4), strict=True):
        data = xr.Dataset({"loss": ("time", np.arange(3.0))}, attrs={"name": f"threads-{threads}"})
        store.put(key, data, provenance={**POLICY, "device": "cpu", "threads": threads})
    return store


def test_ls(store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["store", "ls", "--store", str(store.path)]) == 0
    out = capsys.readouterr().out
    for part in ("2 records", "aaaaaaaaaaaa", "threads-1", "threads 4, expected 1", "1 made under another policy"):
        assert part in out
    monkeypatch.setenv(STORE_VARIABLE, str(store.path))
    assert main(["store", "ls", "--json"]) == 0
    assert [row["key"] for row in json.loads(capsys.readouterr().out)] == list(KEYS)


def test_verify_tells_by_its_exit_code(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "verify", "--store", str(store.path)]) == 0
    assert "2 of 2 records sound" in capsys.readouterr().out
    (store.path / f"{KEYS[0]}.nc").write_bytes(b"damaged")
    assert main(["store", "verify", "--store", str(store.path)]) == 1
    out = capsys.readouterr().out
    assert "1 of 2 records sound" in out
    assert "is set aside as set-aside/" in out


def test_gc(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (store.path / f".{KEYS[0]}.0badc0de-1-{'0' * 32}.tmp").write_text("unfinished")
    assert main(["store", "gc", "--store", str(store.path)]) == 0
    assert "0 unfinished and 0 set-aside files removed, 0 records set aside" in capsys.readouterr().out
    assert main(["store", "gc", "--older", "0", "--other-policy", "--dry-run", "--store", str(store.path)]) == 0
    assert "1 unfinished and 0 set-aside files would be removed, 1 records would be set aside" in capsys.readouterr().out
    assert len(list(store.keys())) == 2
    assert main(["store", "gc", "--older", "0", "--other-policy", "--store", str(store.path)]) == 0
    assert "1 unfinished and 0 set-aside files removed, 1 records set aside" in capsys.readouterr().out
    assert list(store.keys()) == [KEYS[0]]
    assert main(["store", "gc", "--older", "0", "--set-aside", "--store", str(store.path)]) == 0
    assert "0 unfinished and 1 set-aside files removed" in capsys.readouterr().out


def test_export(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "export", str(tmp_path / "out.zip"), "--store", str(store.path)]) == 0
    assert "2 records with index.csv and index.json in" in capsys.readouterr().out
    assert main(["store", "export", str(tmp_path / "one"), "bbb", "--store", str(store.path)]) == 0
    assert list(Store(tmp_path / "one").keys()) == [KEYS[1]]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["store"], "ls|verify|gc|export"),
        (["store", "dance"], "'dance'"),
        (["store", "ls", "--store", "no/such/store"], "no/such/store"),
        (["store", "gc", "--older", "-1"], "-1"),
        (["store", "gc", "--older", "soon"], "'soon'"),
        (["store", "export"], "DIR|FILE.zip"),
        (["store", "export", "new", "zz"], "'zz'"),
        (["store", "export", "new"], "must hold records"),
        (["report", "--cluster", "nowhere"], "'nowhere'"),
        (["fetch", "imagenet", "data"], "'imagenet'"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "empty"))
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert named in err
    assert out == ""
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
