"""Data of a user's own task: every form becomes the same data set, splits keep classes and exact noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from empirical.datasets import Dataset, load_dataset
from empirical.task_data import as_dataset, hold_out, split_task

RNG = np.random.default_rng(0)
X, Y = RNG.random((40, 2, 3)), np.arange(40) % 2


class Pairs(torch.utils.data.Dataset[Any]):
    """A torch data set of pairs."""

    def __init__(self, inputs: np.ndarray, labels: np.ndarray) -> None:
        self.inputs, self.labels = inputs, labels

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor(self.inputs[index]), int(self.labels[index])


@pytest.mark.parametrize(
    "data",
    [
        (X, Y, X[:10], Y[:10]),
        [torch.tensor(X), torch.tensor(Y), X[:10], Y[:10]],
        (Pairs(X, Y), Pairs(X[:10], Y[:10])),
        (torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), Pairs(X[:10], Y[:10])),
        Dataset.from_arrays(X, Y, X[:10], Y[:10], image_shape=(2, 3)),
    ],
    ids=["arrays", "tensors", "torch", "tensor-dataset", "dataset"],
)
def test_every_form_is_the_same_data(data: Any) -> None:
    task = as_dataset(data)
    np.testing.assert_array_equal(task.dataset.train_inputs, X.reshape(40, 6).astype(np.float32))
    np.testing.assert_array_equal(task.dataset.train_truth, Y)
    assert task.dataset.image_shape == (2, 3)
    assert len(task.dataset.test_inputs) == 10
    assert task.kept is None


def test_a_quarter_of_every_class_is_held_out_where_there_is_no_test_set() -> None:
    task = as_dataset((X, Y))
    assert np.bincount(task.dataset.train_truth).tolist() == [15, 15]
    assert np.bincount(task.dataset.test_truth).tolist() == [5, 5]
    assert task.kept is not None
    np.testing.assert_array_equal(task.dataset.train_inputs, X.reshape(40, 6)[task.kept].astype(np.float32))
    np.testing.assert_array_equal(task.labels_of_kept(1 - Y), 1 - Y[task.kept])
    assert "10 of the 40 samples" in task.notes[0]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_made_noise_is_exact_in_training_and_validation_set(share: float, seed: int) -> None:
    data = load_dataset("digits", classes=(7, 9), n_train=200)
    training, noisy, validation = split_task(data, 0.4, None, None, share, seed)
    assert len(training.train_inputs) == 200 - 2 * int(100 * share)
    np.testing.assert_allclose(noisy.class_noise_level, 0.4, atol=0.5 / 70)  # counts are rounded: half a sample of 70 or more
    if share == 0:
        assert validation is None
        return
    assert validation is not None
    assert len(validation[0]) == 2 * int(100 * share)
    rows = {row.tobytes() for row in training.train_inputs}
    assert not rows & {row.tobytes() for row in validation[0]}


def test_given_labels_are_kept() -> None:
    data = load_dataset("digits", classes=(7, 9), n_train=100)
    observed = np.where(np.arange(100) % 4 == 0, 1 - data.train_truth, data.train_truth)
    training, noisy, validation = split_task(data, None, observed, None, 0.2, 0)
    kept, held = hold_out(data, 0.2, 0, is_noisy=observed != data.train_truth)
    np.testing.assert_array_equal(noisy.observed, observed[kept])
    assert validation is not None
    np.testing.assert_array_equal(validation[1], observed[held])
    # A fifth of each of four groups (class, noisy or not), each rounded by half a sample at most: one noisy sample and two of all 80.
    assert abs(noisy.is_noisy.mean() - (observed != data.train_truth).mean()) <= (1 + 0.25 * 2) / (80 - 2)
    assert len(training.train_inputs) == len(kept)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X,), "data must be a Dataset, 2 or 4 arrays"),
        ((X, Y.astype(str)), "train_truth must hold integers"),
        ((X, Y[:5]), r"one label per row of train_inputs \(40\), got 5"),
        ((np.where(X > 0.5, np.nan, X), Y), "train_inputs must be finite, got nan"),
        ((X, np.zeros(40, dtype=int)), "at least two classes, got training samples of 0 only"),
        ((X, 2 * Y), "every class must have training samples, got none of class 1"),
        ((X[:3], np.array([0, 0, 1])), "class 1 must have at least 2 samples to hold out one, got 1"),
        ([Pairs(X, Y), Pairs(X[:, :1], Y)], "test_inputs must have 6 columns"),
    ],
)
def test_bad_data_is_one_line(data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        as_dataset(data)
    assert "\n" not in str(caught.value)


def test_segments_that_would_be_empty_are_refused() -> None:
    data = Dataset.from_arrays(X, Y, X[:4], Y[:4])
    with pytest.raises(ValueError, match=r"class 0 must have clean and noisy training samples .* got 20 clean and 0 noisy"):
        split_task(data, 0.01, None, None, 0.0, 0)
    with pytest.raises(ValueError, match=r"class 1 must have clean"):
        split_task(data, None, np.zeros(40, dtype=np.int64), None, 0.0, 0)
    assert split_task(data, 0.0, None, None, 0.0, 0)[1].noise_level == 0
    with pytest.raises(ValueError, match=r"one label per training sample \(40\)"):
        as_dataset(data).labels_of_kept([0, 1])
    with pytest.raises(ValueError, match=r"observed labels must lie in 0..1"):
        as_dataset(data).labels_of_kept(Y + 1)
    with pytest.raises(ValueError, match=r"observed labels must hold integers"):
        as_dataset(data).labels_of_kept(Y.astype(str))
