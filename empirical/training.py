"""Training of many networks as one batch, with everything that the claims read recorded on the way.

Each seed has its own initialisation, its own label noise and, with mini-batches, its own order of the samples. Seeds are the leading
axis of every array; the numbers are those of one seed at a time up to the order of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from empirical._validation import check_integer
from empirical.batches import Batch, Evaluation, bytes_per_seed, draw_batch
from empirical.datasets import Dataset
from empirical.devices import policy
from empirical.keys import record_attributes
from empirical.losses import measure_labels, sample_errors, sample_losses
from empirical.noise import corrupt_labels_batch
from empirical.recorder import Segmentation, SegmentGrams
from empirical.seed_batches import in_seed_batches
from empirical.segment_gram import segment_names, summarize_gram

if TYPE_CHECKING:
    from empirical.measurements import Experiment

__all__ = ["DESCRIPTIONS", "Trajectory", "train"]

_STREAM = int.from_bytes(b"batches", "big")  # keeps the order of mini-batches independent of other draws with the same seed

DESCRIPTIONS: Mapping[str, str] = {
    "gram": "inner products of the segment gradients (sums over samples)",
    "own_gram": "inner products of the single-logit segment gradients, each class at its own logit (sums over samples)",
    "clean_loss": "mean loss over D_clean, observed labels",
    "noise_loss": "mean loss over D_noise, observed labels",
    "train_loss": "mean loss over D, observed labels",
    "truth_loss": "mean loss over all training samples, true labels, L(D̂)",
    "test_loss": "mean loss over the test set, true labels",
    "clean_error": "share of D_clean misclassified, against the observed label",
    "noise_error": "share of D_noise misclassified, against the observed label",
    "train_error": "share of D misclassified, against the observed label",
    "test_error": "share of the test set misclassified",
    "clean_residual": "mean |f − y| over D_clean",
    "noise_residual": "mean |f − y| over D_noise, observed labels",
    "train_residual": "mean |f − y| over D, observed labels",
    "truth_residual": "mean |f − y| over all training samples, true labels",
    "clean_residual_norm": "mean Euclidean norm of f − y over D_clean",
    "noise_residual_norm": "mean Euclidean norm of f − y over D_noise, observed labels",
    "mean_output": "mean logit over the samples of a ground-truth class (of logit c for several logits)",
    "alpha": "‖g_noise^(c)‖ / ‖g_clean^(c)‖",
    "rho": "−cos∠(g_clean^(c), g_noise^(c))",
    "own_alpha": "‖g_noise^(c)‖ / ‖g_clean^(c)‖ of the single-logit gradients at logit c",
    "own_rho": "−cos∠(g_clean^(c), g_noise^(c)) of the single-logit gradients at logit c",
    "pooled_alpha": "‖G_noise‖ / ‖G_clean‖",
    "pooled_rho": "−cos∠(G_clean, G_noise)",
    "cosine_with_truth": "cos∠(∇L(D), ∇L(D̂))",
    "clean_loss_change": "change of clean_loss in the step of gradient descent that follows",
    "noise_loss_change": "change of noise_loss in the step of gradient descent that follows",
    "train_logits": "logits of the training samples",
    "test_logits": "logits of the test samples",
    "observed": "observed training labels",
    "n_clean": "samples in D_clean^(c)",
    "n_noise": "samples in D_noise^(c)",
    "n_clean_recorded": "samples of D_clean^(c) in the segment gradients",
    "n_noise_recorded": "samples of D_noise^(c) in the segment gradients",
}


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What was recorded of a training run: a thin frozen wrapper around an xarray Dataset with named dimensions.

    Dimensions: seed, time (η·step), class_ (ground truth), segment and segment_ (clean^0…, noise^0…, relabelled^0…). Every variable is
    also an attribute that returns its NumPy array:

    * ``[seed, time, 3C, 3C]``: gram;
    * ``[seed, time]``: clean_loss, noise_loss, train_loss, truth_loss, test_loss; clean_error, noise_error, train_error, test_error;
      clean_residual, noise_residual, train_residual, truth_residual; pooled_alpha, pooled_rho, cosine_with_truth; and with full-batch
      steps clean_loss_change, noise_loss_change (change in the one step that follows the record);
    * ``[seed, time, C]``: alpha, rho, mean_output;
    * ``[seed, C]``: n_clean, n_noise; with ``record_samples`` also n_clean_recorded, n_noise_recorded, those that the segment gradients
      (gram and what follows from it) sum over;
    * for three classes or more: own_gram, own_alpha, own_rho, the same of the single-logit gradients r_ic ∇h_c of class c at its own
      logit c (§5 [A]), and clean_residual_norm, noise_residual_norm ``[seed, time]``;
    * with ``record_logits``: train_logits, test_logits ``[seed, time, sample, logit]``, observed ``[seed, sample]``.

    Means and ratios over an empty segment are nan; each variable says in its attributes what it is.

    Attributes:
        dataset: the records.
    """

    dataset: xr.Dataset

    @property
    def times(self) -> NDArray[np.float64]:
        """Recorded times η·step ``[T]``."""
        return self.dataset["time"].to_numpy()

    @property
    def steps(self) -> NDArray[np.int64]:
        """Recorded steps ``[T]``."""
        return self.dataset["step"].to_numpy()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(int(seed) for seed in self.dataset["seed"].to_numpy())

    def __getattr__(self, name: str) -> NDArray[np.generic]:
        if name != "dataset" and name in self.dataset.data_vars:
            array: NDArray[np.generic] = self.dataset[name].to_numpy()
            return array
        raise AttributeError(f"Trajectory has no variable {name!r}")

    def to_dataset(self) -> xr.Dataset:
        """Return the records as an xarray Dataset."""
        return self.dataset

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset) -> Trajectory:
        """Wrap stored records.

        Raises:
            ValueError: if it holds no trajectory.
        """
        missing = [name for name in ("gram", "time", "step", "clean_loss") if name not in dataset.variables]
        if missing:
            raise ValueError(f"dataset must hold a trajectory, got one without {', '.join(missing)}")
        return cls(dataset)


def train(experiment: Experiment, *, device: str | torch.device = "auto", memory_budget: int = 2**29) -> Trajectory:
    """Train all seeds of an experiment as one batch and record the trajectory.

    Gradient descent on the mean loss of the observed labels: w ← w − (η/n) Σ_i r_i ∇h_i; time is η·step.

    Args:
        experiment: what to train.
        device: "auto", "cpu", "cuda" or a torch device.
        memory_budget: bytes that a batch of seeds may take; more seeds are trained in several batches (the numbers do not change).

    Returns:
        Trajectory; see there.

    Raises:
        ValueError: if this is no experiment, or training diverges.
        MemoryError: if a single seed does not fit; larger batches are halved, with a warning.
        DatasetNotFound: if the data is not there.

    Source: Eq. (3), (4) [B]; Eq. (4), (5) [A].

    Example:
        >>> from empirical.experiments import DataSpec, Experiment, NetworkSpec, TrainingSpec
        >>> specification = Experiment(
        ...     name="example",
        ...     data=DataSpec(name="clusters", n_train=40, n_test=20),
        ...     noise_level=0.3,
        ...     network=NetworkSpec(width=64, depth=1, centred=True),
        ...     training=TrainingSpec(learning_rate=1.0, steps=20, n_records=5),
        ...     seeds=(1, 2, 3),
        ... )
        >>> trajectory = train(specification, device="cpu")
        >>> trajectory.alpha.shape, trajectory.alpha[:, 0].round(1).tolist()  # starts at about δ/(1−δ) = 0.43
        ((3, 5, 2), [[0.4, 0.4], [0.4, 0.4], [0.4, 0.4]])
        >>> bool((trajectory.noise_loss[:, -1] > trajectory.noise_loss[:, 0]).all())  # clean samples come first
        True
    """
    from empirical.measurements import Experiment as _Experiment  # measurements imports this module

    if not isinstance(experiment, _Experiment):
        raise ValueError(f"experiment must be an Experiment, such as experiment('clusters'), got {experiment!r}")
    dataset = experiment.data.load()
    labels = corrupt_labels_batch(dataset.train_truth, experiment.noise_level, n_classes=dataset.n_classes, seeds=experiment.seeds)
    size = max(
        1, check_integer(memory_budget, "memory_budget") // bytes_per_seed(experiment.network, dataset, getattr(torch, experiment.dtype))
    )
    with policy(device) as place:

        def trained(part: slice) -> dict[str, NDArray[np.generic]]:
            return _Run.start(experiment, dataset, experiment.seeds[part], labels[part], place).records()

        parts = in_seed_batches(trained, len(labels), size, name=experiment.name, device=place)
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Trajectory(_to_xarray(experiment, dataset, arrays))


@dataclass(frozen=True, eq=False)
class _Run:
    """A batch of seeds in training."""

    experiment: Experiment
    seeds: tuple[int, ...]
    n_classes: int
    batch: Batch
    inputs: Tensor
    truth: Tensor
    observed: Tensor
    test_inputs: Tensor
    test_truth: Tensor
    initial: Tensor | None  # output at initialisation, subtracted where the network is centred
    initial_test: Tensor | None
    whole: Segmentation
    grams: SegmentGrams

    @classmethod
    def start(
        cls, experiment: Experiment, dataset: Dataset, seeds: tuple[int, ...], labels: NDArray[np.int64], device: torch.device
    ) -> _Run:
        dtype, classes = getattr(torch, experiment.dtype), dataset.n_classes
        inputs, test_inputs = (torch.tensor(part, dtype=dtype, device=device) for part in (dataset.train_inputs, dataset.test_inputs))
        truth, test_truth, observed = (torch.tensor(part, device=device) for part in (dataset.train_truth, dataset.test_truth, labels))
        batch = draw_batch(experiment.network, dataset, seeds=seeds, dtype=dtype, device=device)
        centred = experiment.network.centred
        whole = Segmentation.from_labels(truth, observed, classes)
        n_samples = experiment.training.record_samples
        recorded = whole if n_samples is None else Segmentation.drawn(truth, observed, classes, seeds=seeds, n_samples=n_samples)
        return cls(
            experiment,
            seeds,
            classes,
            batch,
            inputs,
            truth,
            observed,
            test_inputs,
            test_truth,
            initial=batch.evaluate(inputs).logits if centred else None,
            initial_test=batch.evaluate(test_inputs).logits if centred and len(test_inputs) else None,
            whole=whole,
            grams=SegmentGrams.prepare(batch, truth, observed, recorded, dtype=dtype),
        )

    def records(self) -> dict[str, NDArray[np.generic]]:
        """Train to the end; every recorded variable as ``[S, T, …]``, counts as ``[S, C]``."""
        training = self.experiment.training
        recorded: list[dict[str, Tensor]] = []
        due = set(training.record_steps)
        full_batch = training.batch_size is None
        batches = None if full_batch else self._batches()
        for step in range(training.steps + 1):
            evaluation: Evaluation | None = None
            if step in due or (full_batch and (step - 1 in due or self.batch.descends_from_evaluation)):
                self.batch.calibrate(self.inputs)
                evaluation = self.batch.evaluate(self.inputs, reuse=True)
                logits = evaluation.logits if self.initial is None else evaluation.logits - self.initial
                if full_batch and step - 1 in due:
                    self._add_change(recorded[-1], logits)
                if step in due:
                    recorded.append(self._record(step, evaluation, logits))
            if full_batch:
                self._descend(self.inputs, self.observed, self.initial, evaluation)
            elif step < training.steps:
                assert batches is not None
                self._descend_on(next(batches))
        if full_batch:  # the step after the last record, so that every record has its change
            self._add_change(recorded[-1], self._logits())
        arrays = {name: torch.stack([record[name] for record in recorded], dim=1).cpu().numpy() for name in recorded[0]}
        counts = {"": self.whole.counts}
        if training.record_samples is not None:
            counts["_recorded"] = self.grams.segments.counts
        for suffix, count in counts.items():
            arrays[f"n_clean{suffix}"], arrays[f"n_noise{suffix}"] = count[:, : self.n_classes], count[:, self.n_classes :]
        if training.record_logits:
            arrays["observed"] = self.observed.cpu().numpy()
        return arrays

    def _logits(self) -> Tensor:
        self.batch.calibrate(self.inputs)
        output: Tensor = self.batch.evaluate(self.inputs, reuse=True).logits
        return output if self.initial is None else output - self.initial

    def _descend(self, inputs: Tensor, labels: Tensor, offset: Tensor | None, evaluation: Evaluation | None = None) -> None:
        factor = -self.experiment.training.learning_rate / labels.shape[1]
        self.batch.descend(inputs, labels, factor=factor, offset=offset, evaluation=evaluation)

    def _descend_on(self, index: Tensor) -> None:
        """One step on the samples ``index`` ``[S, b]``."""
        initial = self.initial
        offset = None if initial is None else initial.gather(1, index[..., None].expand(-1, -1, initial.shape[2]))
        self._descend(self.inputs[index], self.observed.gather(1, index), offset)

    def _batches(self) -> Iterator[Tensor]:
        """Mini-batches ``[S, b]``: each seed's own permutation of the samples every epoch; the last batch of an epoch may be smaller."""
        generators = [np.random.default_rng([_STREAM, seed]) for seed in self.seeds]
        size = self.experiment.training.batch_size
        assert size is not None
        while True:
            order = np.stack([generator.permutation(len(self.inputs)) for generator in generators])
            for start in range(0, len(self.inputs), size):
                yield torch.tensor(order[:, start : start + size], device=self.inputs.device)

    def _record(self, step: int, evaluation: Evaluation, logits: Tensor) -> dict[str, Tensor]:
        if not torch.isfinite(logits).all():
            rate = self.experiment.training.learning_rate
            raise ValueError(f"training must stay finite, got a non-finite logit at step {step}: learning_rate {rate} is too large")
        record = measure_labels(logits, self.truth, self.observed, self.n_classes)
        record |= self.grams.measure(evaluation, logits)
        test_labels = self.test_truth.expand(len(self.seeds), -1)
        test_logits = self.batch.evaluate(self.test_inputs).logits if len(self.test_inputs) else logits[:, :0]
        if self.initial_test is not None:
            test_logits = test_logits - self.initial_test
        record["test_loss"] = sample_losses(test_logits.to(torch.float64), test_labels).mean(1)
        record["test_error"] = sample_errors(test_logits.to(torch.float64), test_labels).mean(1)
        if self.experiment.training.record_logits:
            record["train_logits"], record["test_logits"] = logits.clone(), test_logits.clone()
        return record

    def _add_change(self, record: dict[str, Tensor], logits: Tensor) -> None:
        after = measure_labels(logits, self.truth, self.observed, self.n_classes)
        for part in ("clean_loss", "noise_loss"):
            record[f"{part}_change"] = after[part] - record[part]


def _to_xarray(experiment: Experiment, dataset: Dataset, arrays: dict[str, NDArray[np.generic]]) -> xr.Dataset:
    training = experiment.training
    summary = summarize_gram(arrays["gram"].astype(np.float64))
    for name in ("alpha", "rho", "pooled_alpha", "pooled_rho", "cosine_with_truth"):
        arrays[name] = getattr(summary, name)
    if "own_gram" in arrays:
        own = summarize_gram(arrays["own_gram"].astype(np.float64))
        arrays["own_alpha"], arrays["own_rho"] = own.alpha, own.rho
    axes = {
        **dict.fromkeys(("gram", "own_gram"), ("seed", "time", "segment", "segment_")),
        "train_logits": ("seed", "time", "sample", "logit"),
        "test_logits": ("seed", "time", "test_sample", "logit"),
        "observed": ("seed", "sample"),
        **dict.fromkeys(("alpha", "rho", "own_alpha", "own_rho", "mean_output"), ("seed", "time", "class_")),
        **dict.fromkeys(("n_clean", "n_noise", "n_clean_recorded", "n_noise_recorded"), ("seed", "class_")),
    }
    steps = np.array(training.record_steps, dtype=np.int64)
    names = list(segment_names(dataset.n_classes))
    variables = {
        name: (axes.get(name, ("seed", "time")), array, {"units": "1", "long_name": DESCRIPTIONS[name]})
        for name, array in sorted(arrays.items())
    }
    coordinates = {
        "seed": np.array(experiment.seeds, dtype=np.int64),
        "time": ("time", training.learning_rate * steps, {"units": "learning rate x step", "long_name": "training time"}),
        "step": ("time", steps, {"units": "steps"}),
        "class_": list(dataset.class_names),
        "segment": names,
        "segment_": names,
    }
    if training.record_logits:
        coordinates["truth"] = ("sample", dataset.train_truth)
        coordinates["test_truth"] = ("test_sample", dataset.test_truth)
    return xr.Dataset(variables, coords=coordinates, attrs={**record_attributes(experiment), "data_sha256": dataset.sha256})
