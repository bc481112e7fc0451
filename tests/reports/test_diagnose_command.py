"""``clean-priority diagnose``: answers with exit code 0, and bad input with one line, exit code 2 and nothing written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from empirical.noise import corrupt_labels
from reports.__main__ import main
from reports.diagnosis_files import load_data, load_factory, read_labels, read_matrix

QUICK = ["--epochs", "6", "--seeds", "2", "--no-progress", "--device", "cpu", "--batch-size", "16"]

NETWORKS = """
import torch
from torch import nn


def small(n_inputs, n_outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(n_inputs, 16), nn.ReLU(), nn.Linear(16, n_outputs))


def ten(n_inputs):
    return nn.Linear(n_inputs, 10)


def broken():
    raise RuntimeError("no luck")


class Stubborn(nn.BatchNorm1d):
    def train(self, mode=True):
        return super().train(True)


def always_training(n_inputs):
    return nn.Sequential(nn.Linear(n_inputs, 8), Stubborn(8), nn.Linear(8, 1))


def no_statistics(n_inputs):
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 1))


def batch_norm(n_inputs):
    return nn.Sequential(nn.Linear(n_inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))


not_callable = 3
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a user's: a module with networks, and data with two separated classes."""
    rng = np.random.default_rng(0)
    (tmp_path / "nets.py").write_text(NETWORKS)
    (tmp_path / "unimportable.py").write_text("import does_not_exist_anywhere\n")
    truth = np.arange(80) % 2
    x = rng.normal(size=(80, 5)) + 2 * truth[:, None]
    data = {"train_inputs": x, "train_truth": truth, "test_inputs": x[:20], "test_truth": truth[:20]}

    def save(name: str, **changes: object) -> None:
        np.savez(tmp_path / name, **{key: value for key, value in {**data, **changes}.items() if value is not None})  # type: ignore[arg-type]

    save("good.npz")
    save("observed.npz", observed=corrupt_labels(truth, 0.3, n_classes=2, seed=0).observed)
    save("strings.npz", train_truth=truth.astype(str))
    save("objects.npz", train_truth=np.array([None] * 80, dtype=object))
    save("nan.npz", train_inputs=np.where(x > 2.5, np.nan, x))
    save("one-class.npz", train_truth=np.zeros(80, dtype=int))
    save("gap.npz", train_truth=2 * truth)
    save("short.npz", train_truth=truth[:70])
    save("tiny.npz", train_inputs=x[:5], train_truth=np.array([0, 0, 0, 0, 1]))
    save("no-labels.npz", train_truth=None)
    save("observed-short.npz", observed=truth[:10])
    (tmp_path / "not-an.npz").write_bytes(b"PK\x03\x04 cut short")
    (tmp_path / "text.txt").write_text("hello")
    np.save(tmp_path / "labels.npy", 1 - truth)
    np.save(tmp_path / "labels-short.npy", truth[:10])
    (tmp_path / "labels-words.txt").write_text("cat\ndog\n")
    (tmp_path / "labels.txt").write_text("\n".join(map(str, corrupt_labels(truth, 0.3, n_classes=2, seed=0).observed)) + "\n")
    corrupt_labels(truth, 0.3, n_classes=2, seed=0).save(tmp_path / "noise.json")
    corrupt_labels(1 - truth, 0.3, n_classes=2, seed=0).save(tmp_path / "noise-of-others.json")
    (tmp_path / "matrix.txt").write_text("# rows: true class\n0.7, 0.3\n0.2, 0.8\n")
    (tmp_path / "ragged.txt").write_text("0.7 0.3\n1\n")
    (tmp_path / "three.txt").write_text("1 0 0\n0 1 0\n0 0 1\n")
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "thesis.tex").write_text("years of work")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("nets", "unimportable"):
        sys.modules.pop(name, None)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["--data", "good.npz", "--noise", "0.3", "--network", "nets:small"],
        ["--data", "good.npz", "--noise", "0.3", "--network", "nets:batch_norm"],
        ["--data", "good.npz", "--observed-labels", "noise.json", "--network", "nets:small"],
        ["--data", "good.npz", "--observed-labels", "labels.txt", "--network", "nets:small"],
        ["--data", "good.npz", "--transition", "matrix.txt", "--network", "nets:small"],
        ["--data", "observed.npz", "--network", "nets:small", "--record-every", "5"],
        ["--data", "digits", "--classes", "0,1", "--n-train", "60", "--noise", "0.3", "--network", "nets:small"],
    ],
    ids=["npz", "batch-norm", "noise-file", "text-labels", "transition", "labels-in-npz", "digits"],
)
def test_answers(words: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", *words, *QUICK, "--out", "result"]) == 0
    printed = capsys.readouterr()
    assert "Is there clean priority?" in printed.out
    assert printed.err == ""
    document = json.loads((place / "result" / "report.json").read_text())
    assert document["provenance"]["command"].startswith("clean-priority diagnose --data")
    assert len(document["answers"]) == 10
    assert (place / "result" / "report.html").is_file()
    assert main(["render", "result"]) == 0


BAD = {
    "network-does-not-import": (["--network", "unimportable:net"], "unimportable does not import: ModuleNotFoundError"),
    "network-module-missing": (["--network", "nowhere.at.all:net"], "nowhere.at.all does not import"),
    "network-form": (["--network", "nets.small"], "must have the form package.module:factory"),
    "network-name-missing": (["--network", "nets:large"], "nets has no 'large'"),
    "network-not-callable": (["--network", "nets:not_callable"], "must be a function or class"),
    "network-fails": (["--network", "nets:broken"], "network factory 'broken' failed: RuntimeError: no luck"),
    "wrong-output-size": (["--network", "nets:ten"], "network output must have 1 or 2 logits for 2 classes, got 10"),
    "batch-norm-in-training-mode": (["--network", "nets:always_training"], "stays in training mode"),
    "batch-norm-without-statistics": (["--network", "nets:no_statistics"], "has no running statistics"),
    "labels-are-strings": (["--data", "strings.npz"], "train_truth must hold integer labels [n], got <U"),
    "labels-are-objects": (["--data", "objects.npz"], "cannot be read as an .npz file of numbers"),
    "nan": (["--data", "nan.npz"], "train_inputs must be finite, got nan"),
    "one-class": (["--data", "one-class.npz"], "at least two classes"),
    "class-without-samples": (["--data", "gap.npz"], "every class must have training samples, got none of class 1"),
    "labels-of-wrong-length": (["--data", "short.npz"], "one label per sample (80), got 70"),
    "too-small": (["--data", "tiny.npz"], "must have clean and noisy training samples"),
    "no-labels": (["--data", "no-labels.npz"], "holds no train_truth"),
    "observed-in-npz-of-wrong-length": (["--data", "observed-short.npz"], "observed must have one label per training sample (80), got 10"),
    "damaged": (["--data", "not-an.npz"], "cannot be read as an .npz file"),
    "not-data": (["--data", "text.txt"], "must be a folder, a .zip or an .npz file"),
    "missing-data": (["--data", "nowhere"], "or a folder, .zip or .npz file that exists, got 'nowhere'"),
    "unknown-class": (["--classes", "0,5"], "--classes must be at least two different ones of 0, 1"),
    "one-chosen-class": (["--classes", "1"], "--classes must be at least two different"),
    "noise-level": (["--noise", "1.5"], "noise_level must lie in [0, 1), got 1.5"),
    "no-noise-given": (["--no-noise"], "give one of --noise, --observed-labels and --transition, got none"),
    "observed-labels-of-wrong-length": (["--observed-labels", "labels-short.npy"], "one label per training sample (80)"),
    "observed-labels-all-wrong": (["--observed-labels", "labels.npy"], "must have clean and noisy training samples"),
    "observed-labels-are-words": (["--observed-labels", "labels-words.txt"], "cannot be read as observed labels"),
    "observed-labels-missing": (["--observed-labels", "nowhere.npy"], "cannot be read, expected observed labels"),
    "noise-file-of-other-labels": (["--observed-labels", "noise-of-others.json"], "noise-of-others.json"),
    "transition-ragged": (["--transition", "ragged.txt"], "rows of different length"),
    "transition-of-other-size": (["--transition", "three.txt"], "transition"),
    "epochs": (["--epochs", "0"], "epochs must be an integer >= 1"),
    "learning-rate": (["--learning-rate", "-1"], "learning_rate must be a positive"),
    "diverges": (["--learning-rate", "1e30"], "network output must be finite"),
    "seeds": (["--seeds", "0"], "seeds must be a positive number"),
    "batch-size": (["--batch-size", "-2"], "batch_size must be an integer >= 1"),
    "device": (["--device", "tpu"], "device must be"),
    "out-holds-other-things": (["--out", "busy"], "holds something else than a report"),
    "two-kinds-of-noise": (["--noise", "0.1", "--transition", "matrix.txt"], "not allowed with argument"),
    "not-a-number": (["--epochs", "many"], "invalid int value"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(case: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, message = BAD[case]
    words = ["diagnose", *QUICK]
    if "--data" not in changes:
        words += ["--data", "good.npz"]
    if not {"--noise", "--observed-labels", "--transition", "--no-noise"} & set(changes) and case != "observed-in-npz-of-wrong-length":
        words += ["--noise", "0.3"]
    if "--network" not in changes:
        words += ["--network", "nets:small"]
    if "--out" not in changes:
        words += ["--out", "result"]
    before = sorted(path for path in place.rglob("*") if "__pycache__" not in path.parts)
    assert main([*words, *(word for word in changes if word != "--no-noise")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert sorted(path for path in place.rglob("*") if "__pycache__" not in path.parts) == before


def test_pictures_in_a_folder_without_a_test_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for label, shade in (("dark", 60), ("light", 190)):
        (tmp_path / "pictures" / "train" / label).mkdir(parents=True)
        for index in range(24):
            picture = np.clip(rng.normal(shade, 30, (6, 6)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "pictures" / "train" / label / f"{index}.png")
    assert main(["diagnose", "--data", str(tmp_path / "pictures"), "--noise", "0.25", *QUICK, "--out", str(tmp_path / "out")]) == 0
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["task"]["classes"] == ["dark", "light"]
    assert document["task"]["n_test"] == 12
    assert "no test set" in document["notes"][0]
    assert "out/report.html" in capsys.readouterr().out


def test_help_says_what_is_imported(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "the only code that is imported" in text
    for option in (
        "--network",
        "--data",
        "--classes",
        "--noise",
        "--observed-labels",
        "--transition",
        "--epochs",
        "--seeds",
        "--out",
        "--device",
    ):
        assert option in text


def test_reading(place: Path) -> None:
    assert read_matrix(place / "matrix.txt").tolist() == [[0.7, 0.3], [0.2, 0.8]]
    assert read_labels(place / "labels.npy").shape == (80,)
    np.savez(
        place / "many.npz", x_train=np.arange(24).reshape(6, 4).astype(np.uint8), y_train=[0, 1, 2, 0, 1, 2], observed=[0, 2, 2, 2, 1, 0]
    )
    given = load_data("many.npz", classes=["2", "0"])
    assert given.dataset.train_truth.tolist() == [1, 0, 1, 0]
    assert given.observed is not None
    assert given.observed.tolist() == [1, 0, 0, 1]
    assert given.dataset.train_inputs.max() <= 1
    assert load_factory("nets:small").__name__ == "small"
