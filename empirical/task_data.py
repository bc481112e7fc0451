"""The data of a task of the user's own: bring what a user has into one form, and hold out what is needed to judge and to validate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical.datasets import Dataset
from empirical.noise import NoisyLabels, corrupt_labels

__all__ = ["TEST_SHARE", "Task", "as_dataset", "hold_out", "split_task", "subset"]

TEST_SHARE = 0.25
"""Share of each class that is held out as the test set where there is none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """Data ready for a diagnosis.

    Attributes:
        dataset: with a test set.
        kept: indices of its training samples among those that were given; None where all were kept.
        given: number of training samples that were given.
        notes: remarks for the report.
    """

    dataset: Dataset
    kept: NDArray[np.int64] | None
    given: int
    notes: tuple[str, ...] = ()

    def labels_of_kept(self, observed: ArrayLike) -> NDArray[np.int64]:
        """Observed labels of the training samples, from those of all that were given.

        Raises:
            ValueError: if there is not one integer label in range for each sample.
        """
        try:
            labels = np.asarray(observed)
        except ValueError:
            raise ValueError("observed labels must be an array of integers, got a ragged sequence") from None
        if labels.ndim != 1 or len(labels) != self.given:
            raise ValueError(f"observed labels must have one label per training sample ({self.given}), got shape {list(labels.shape)}")
        if labels.dtype.kind not in "iu":
            raise ValueError(f"observed labels must hold integers, got dtype {labels.dtype}")
        classes = self.dataset.n_classes
        outside = (labels < 0) | (labels >= classes)
        if outside.any():
            index = int(np.argmax(outside))
            raise ValueError(f"observed labels must lie in 0..{classes - 1} ({classes} classes), got {labels[index]} at index {index}")
        return np.asarray(labels.astype(np.int64) if self.kept is None else labels[self.kept].astype(np.int64))


def as_dataset(data: Any) -> Task:
    """Bring a data set into one form, with a test set.

    Args:
        data: a ``Dataset``; two or four arrays (training inputs and true labels, test inputs and labels); one or two torch data sets of
            pairs (input, label).

    Raises:
        ValueError: in one line, if it is none of these, a value or label does not fit, or a class has no samples.

    Example:
        >>> task = as_dataset((np.eye(8), [0, 1] * 4))
        >>> len(task.dataset.train_inputs), len(task.dataset.test_inputs), task.kept.tolist()
        (6, 2, [0, 1, 2, 3, 4, 5])
    """
    dataset = data if isinstance(data, Dataset) else _from_parts(data)
    counts = np.bincount(dataset.train_truth, minlength=dataset.n_classes)
    if (counts > 0).sum() < 2:
        raise ValueError(f"data must have at least two classes, got training samples of {dataset.class_names[int(np.argmax(counts))]} only")
    if (counts == 0).any():
        raise ValueError(f"every class must have training samples, got none of class {dataset.class_names[int(np.argmin(counts))]}")
    given = len(dataset.train_inputs)
    if len(dataset.test_inputs):
        return Task(dataset=dataset, kept=None, given=given)
    if counts.min() < 2:
        raise ValueError(
            f"class {dataset.class_names[int(np.argmin(counts))]} must have at least 2 samples to hold out one, got {counts.min()}"
        )
    held = _stratified(dataset.train_truth, TEST_SHARE, last=True)
    kept = np.setdiff1d(np.arange(given), held)
    note = f"There was no test set: {len(held)} of the {given} samples were held out for it."
    return Task(dataset=subset(dataset, kept, test=held), kept=kept, given=given, notes=(note,))


def hold_out(
    dataset: Dataset, share: float, seed: int, *, is_noisy: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose a share of the training samples for a validation set with noisy labels, of every class alike.

    Args:
        dataset: the data.
        share: in [0, 1); a class with few samples gives none.
        seed: of the draw.
        is_noisy: where labels are given, which are wrong ``[n]``: clean and noisy samples of a class then give the same share each.

    Returns:
        Indices of the training samples that stay, and of the validation set.

    Example:
        >>> kept, held = hold_out(Dataset.from_arrays(np.eye(20), [0, 1] * 10), 0.2, seed=0)
        >>> len(kept), len(held)
        (16, 4)
    """
    strata = dataset.train_truth if is_noisy is None else dataset.train_truth + dataset.n_classes * is_noisy
    held = _stratified(strata, share, generator=np.random.default_rng([int.from_bytes(b"validation", "big"), seed]))
    return np.setdiff1d(np.arange(len(strata)), held), held


def subset(dataset: Dataset, kept: NDArray[np.int64], *, test: NDArray[np.int64] | None = None) -> Dataset:
    """The kept training samples, with the test set as it was, or with the training samples ``test`` as the test set."""
    return Dataset.from_arrays(
        dataset.train_inputs[kept],
        dataset.train_truth[kept],
        dataset.test_inputs if test is None else dataset.train_inputs[test],
        dataset.test_truth if test is None else dataset.train_truth[test],
        name=dataset.name,
        class_names=dataset.class_names,
        image_shape=dataset.image_shape,
    )


def split_task(
    data: Dataset, level: float | None, observed: NDArray[np.int64] | None, transition: ArrayLike | None, share: float, seed: int
) -> tuple[Dataset, NoisyLabels, tuple[NDArray[np.float32], NDArray[np.int64]] | None]:
    """Training set, the labels that it sees, and a validation set with labels as noisy: made noise is exact in both."""

    def noise(part: Dataset, rows: NDArray[np.int64]) -> NoisyLabels:
        if observed is None:
            return corrupt_labels(part.train_truth, level, n_classes=data.n_classes, seed=seed, transition=transition)
        seen, truth = observed[rows], part.train_truth
        wrong = seen != truth
        return NoisyLabels(observed=seen, truth=truth, is_noisy=wrong, noise_level=float(wrong.mean()), n_classes=data.n_classes, seed=None)

    kept, held = hold_out(data, share, seed, is_noisy=None if observed is None else observed != data.train_truth)
    training = subset(data, kept) if len(held) else data
    seen = noise(training, kept)
    _check_segments(training, seen)
    if len(held) == 0:
        return training, seen, None
    validation = subset(data, held)
    return training, seen, (validation.train_inputs, noise(validation, held).observed)


def _check_segments(data: Dataset, noisy: NoisyLabels) -> None:
    """Every class must have clean samples, and noisy ones where symmetric noise was asked for."""
    counts = np.bincount(data.train_truth, minlength=data.n_classes)
    wrong = np.bincount(data.train_truth[noisy.is_noisy], minlength=data.n_classes)
    for c, name in enumerate(data.class_names):
        asked = noisy.noise_level > 0 and noisy.seed is not None and noisy.transition is None
        if counts[c] == 0 or counts[c] == wrong[c] or (asked and wrong[c] == 0):
            raise ValueError(
                f"class {name} must have clean and noisy training samples for its segments, got {counts[c] - wrong[c]} "
                f"clean and {wrong[c]} noisy "
                f"at noise level {noisy.noise_level:.3g}: more samples are needed"
            )
    if noisy.noise_level > 0 and not noisy.is_noisy.any():
        raise ValueError(
            f"at least one label must be wrong at noise level {noisy.noise_level:.3g}, got {len(counts)} classes of "
            f"{counts.tolist()} samples"
        )


def _stratified(
    strata: NDArray[np.integer], share: float, *, generator: np.random.Generator | None = None, last: bool = False
) -> NDArray[np.int64]:
    """Indices of the share of every stratum: drawn, or its last ones (and then one at least)."""
    chosen = []
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        size = max(1, int(share * len(members))) if last else int(share * len(members))
        order = members if generator is None else generator.permutation(members)
        chosen.append(order[len(order) - size :])
    return np.sort(np.concatenate(chosen))


def _from_parts(data: Any) -> Dataset:
    parts = list(data) if isinstance(data, tuple | list) else [data]
    if parts and all(_is_torch_dataset(part) for part in parts) and len(parts) <= 2:
        parts = [array for part in parts for array in _arrays_of(part)]
    if len(parts) not in (2, 4):
        raise ValueError(
            f"data must be a Dataset, 2 or 4 arrays (train_inputs, train_truth, test_inputs, test_truth) or 1 or 2 "
            f"torch data sets, got {type(data).__name__}"
        )
    arrays = [np.asarray(part.detach().cpu() if hasattr(part, "detach") else part) for part in parts]
    shape = arrays[0].shape[1:]
    picture = shape if len(shape) in (2, 3) else None
    names = None if arrays[1].dtype.kind not in "iu" or arrays[1].size == 0 else _names(arrays[1::2])
    return Dataset.from_arrays(*arrays, image_shape=picture, class_names=names)


def _names(labels: Sequence[NDArray[np.generic]]) -> tuple[str, ...]:
    return tuple(str(c) for c in range(max(2, 1 + max(int(part.max()) for part in labels if part.size))))


def _is_torch_dataset(part: Any) -> bool:
    return (
        hasattr(part, "__getitem__")
        and hasattr(part, "__len__")
        and not hasattr(part, "shape")
        and not isinstance(part, list | tuple | str | dict)
    )


def _arrays_of(part: Any) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Inputs and labels of a torch data set of pairs."""
    inputs, labels = [], []
    for position in range(len(part)):
        item = part[position]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ValueError(f"a torch data set must give pairs (input, label), got {type(item).__name__} at index {position}")
        inputs.append(np.asarray(item[0]))
        labels.append(np.asarray(item[1]))
    if not inputs or len({array.shape for array in inputs}) > 1:
        raise ValueError(f"a torch data set must hold samples of one shape, got {len({array.shape for array in inputs})} shapes")
    return np.stack(inputs), np.stack(labels)
