"""Three lines in a training loop of one's own: what the segments' gradients, losses and errors do while any network is trained.

::

    with empirical.record(model, inputs, observed, truth=truth, n_classes=10) as trace:
        for batch in loader:
            ...  # any optimiser
            trace.step()
    trace.trajectory

Every measurement is made in evaluation mode and leaves nothing behind: modes of the modules, buffers (running statistics of a batch
normalisation), gradients and torch's random numbers are as before, so training gives the same bits with and without a recorder. Batch
normalisation is therefore measured with its running statistics, see ``ResNet9``; what training itself follows is coupled within a batch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from empirical._validation import as_real_array, check_integer, check_labels, check_positive, check_text
from empirical.general_segments import SegmentMeter, SegmentSample, evaluate
from empirical.losses import measure_labels, sample_errors, sample_losses
from empirical.recording_schedule import RecordingSchedule
from empirical.segment_gram import segment_names, summarize_gram
from empirical.training import DESCRIPTIONS, Trajectory
from empirical.undisturbed import check_layers, undisturbed

__all__ = ["Trace", "record"]

_OWN_DESCRIPTIONS = {
    "validation_loss": "mean loss over the validation set, its noisy labels",
    "validation_error": "share of the validation set misclassified, against its noisy labels",
    "class_clean_error": "share of D_clean^(c) misclassified, against the observed label",
    "class_noise_error": "share of D_noise^(c) misclassified, against the observed label",
}


def record(
    model: nn.Module,
    inputs: ArrayLike | Tensor,
    observed: ArrayLike | Tensor,
    *,
    truth: ArrayLike | Tensor,
    n_classes: int = 2,
    test_inputs: ArrayLike | Tensor | None = None,
    test_truth: ArrayLike | Tensor | None = None,
    noisy_validation: tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None = None,
    learning_rate: float | None = None,
    steps: int | None = None,
    every: str | int | Sequence[int] = "log",
    samples: int = 1024,
    evaluated: int = 4096,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    name: str = "own training",
) -> Trace:
    """Follow the training of a network on partly wrong labels: a context manager, with ``step()`` to be called after each step.

    Losses are those of the papers (logistic for one logit, cross-entropy otherwise), whatever the network is trained with.

    Args:
        model: any network that in evaluation mode treats every sample alone; output ``[n]`` or ``[n, 1]`` (two classes) or ``[n, C]``.
        inputs: training inputs ``[n, …]`` as the network takes them; integers stay integers (embeddings).
        observed: labels that training sees ``[n]``, integers 0 … C − 1.
        truth: ground-truth labels ``[n]``.
        n_classes: C.
        test_inputs: ``[n_test, …]``, with ``test_truth``.
        test_truth: ground-truth labels ``[n_test]``.
        noisy_validation: inputs and noisy labels of samples that are not trained on.
        learning_rate: η, so that time is η·step; without it time is the number of steps.
        steps: number of steps to come, if known. It lets the recorder plan: points from the first step on, spread evenly in log time.
            Without it, once half a second has been spent, each measurement waits until the run is long enough to pay for it.
        every: ``"log"``: steps about 1.25 times apart, thinned out so that measuring takes at most 25 % of the training time, or half a
            second in runs of less than two; or every k-th step; or the steps themselves. The last two are not thinned out.
        samples: training samples for the gradients; of a larger set that many are drawn once, from all segments alike, and the inner
            products of the whole set are estimated from them without bias (``empirical.general_segments``).
        evaluated: samples of the training, test and validation set, at most of each, whose losses and errors are measured; drawn once.
            In a run of few epochs fewer ``samples`` and ``evaluated`` buy more records.
        class_names: names of the C classes.
        seed: of the draw of samples, and the coordinate ``seed`` of the trajectory.
        name: a name for reports.

    Raises:
        ValueError: if shapes, labels or classes do not fit, a value is not finite, there is no noise or nothing clean to measure, or a
            layer couples the samples of a batch even in evaluation mode.

    Source: §4 [A], §4 [B]; Eq. (8), (13) [A].

    Example:
        >>> from empirical.networks import FullyConnected
        >>> x = torch.tensor([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [0.1, 1.0], [0.2, 1.0], [0.3, 1.0]])
        >>> truth, observed = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 1, 0])
        >>> model = FullyConnected(2, 64, 1, centred=True)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> with record(model, x, observed, truth=truth, every=5, learning_rate=0.5) as trace:
        ...     for _ in range(10):
        ...         optimizer.zero_grad()
        ...         torch.nn.functional.binary_cross_entropy_with_logits(model(x), observed.float()).backward()
        ...         optimizer.step()
        ...         trace.step()
        >>> trace.trajectory.steps.tolist(), trace.trajectory.pooled_alpha.shape
        ([0, 5, 10], (1, 3))
    """
    return Trace(
        model,
        inputs,
        observed,
        truth=truth,
        n_classes=n_classes,
        test=None if test_inputs is None and test_truth is None else (test_inputs, test_truth),
        validation=noisy_validation,
        learning_rate=learning_rate,
        schedule=RecordingSchedule(every, total_steps=steps),
        samples=samples,
        evaluated=evaluated,
        class_names=class_names,
        seed=seed,
        name=name,
    )


class Trace:
    """A recording of one training run, made by ``record``; read it during or after the run.

    Attributes:
        model: the network that is followed.
        inputs, observed, truth: the training set, tensors.
        test, validation: inputs and labels of the held-out sets, or None.
        n_classes, class_names, learning_rate, name, seed: as given.
        sample: the samples that stand for the segments.
        n_steps: steps taken so far.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: ArrayLike | Tensor,
        observed: ArrayLike | Tensor,
        *,
        truth: ArrayLike | Tensor,
        n_classes: int,
        test: tuple[ArrayLike | Tensor | None, ArrayLike | Tensor | None] | None,
        validation: tuple[ArrayLike | Tensor | None, ArrayLike | Tensor | None] | None,
        learning_rate: float | None,
        schedule: RecordingSchedule,
        samples: int,
        evaluated: int,
        class_names: Sequence[str] | None,
        seed: int,
        name: str,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        self.model, self.n_classes = model, check_integer(n_classes, "n_classes", minimum=2)
        self.inputs, self.observed = _labelled(inputs, observed, self.n_classes, "inputs", "observed")
        self.truth = _labelled(self.inputs, truth, self.n_classes, "inputs", "truth")[1]
        self.test = _held_out(test, self.n_classes, "test_inputs", "test_truth")
        self.validation = _held_out(validation, self.n_classes, "noisy_validation[0]", "noisy_validation[1]")
        self.learning_rate = None if learning_rate is None else check_positive(learning_rate, "learning_rate")
        self.seed, self.name = check_integer(seed, "seed", minimum=0), check_text(name, "name")
        self.class_names = tuple(str(c) for c in (range(self.n_classes) if class_names is None else class_names))
        if len(set(self.class_names)) != self.n_classes:
            raise ValueError(f"class_names must be {self.n_classes} different names, got {list(self.class_names)}")
        observed_rows, truth_rows = self.observed.numpy(), self.truth.numpy()
        self.sample = SegmentSample.draw(
            truth_rows, observed_rows, self.n_classes, limit=check_integer(samples, "samples", minimum=16), seed=self.seed
        )
        if self.sample.sizes[: self.n_classes].sum() == 0:
            raise ValueError("observed must agree with truth somewhere, got no clean sample")
        self._meter = SegmentMeter(self.sample)
        self._evaluated = check_integer(evaluated, "evaluated", minimum=16)
        self._forward_rows = self._some(len(self.inputs))
        check_layers(model)
        self.schedule = schedule
        self.n_steps = 0
        # On a processor, its own time: other programs that slow a measurement down must not count as its cost.
        on_cpu = next(model.parameters()).device.type == "cpu"
        self._clock: Callable[[], float] = time.process_time if on_cpu else time.perf_counter
        self._training_seconds = 0.0
        self._resumed: float | None = None
        self._records: list[dict[str, NDArray[np.float64]]] = []
        self._recorded_steps: list[int] = []
        self._initial_state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    def __enter__(self) -> Self:
        """Measure the network as it is, before the first step."""
        if self._resumed is not None or self._records:
            raise ValueError("a trace records one run, got a second one: call empirical.record again")
        began = self._clock()
        with undisturbed(self.model):  # memory and caches warm, so that the first measurement is not taken for dearer than it is
            SegmentMeter(self._warm_up_sample()).measure(self.model, self.inputs, self.observed, self.truth)
        self.schedule.preparation = self._clock() - began
        self._measure()
        self._resumed = self._clock()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Measure the network after the last step, unless the run broke off."""
        self._pause()
        if kind is None and self._recorded_steps[-1] != self.n_steps:
            self._measure()
        self._resumed = None

    def step(self) -> None:
        """Count one step of the optimiser, and measure if it is time.

        Raises:
            ValueError: outside the ``with`` block, or if the network's output is not finite.
        """
        if self._resumed is None:
            raise ValueError("step() must be called inside 'with empirical.record(...) as trace:', got a call outside")
        self.n_steps += 1
        if not self.schedule.is_candidate(self.n_steps):
            return
        self._pause()
        if self.schedule.affords(self.n_steps, training_seconds=self._training_seconds):
            self._measure()
        self._resumed = self._clock()

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps recorded so far."""
        return tuple(self._recorded_steps)

    @property
    def mean_residual(self) -> float:
        """Mean residual 1 − f to the *observed* labels (|f − y| for one logit), at the latest record; it needs no truth."""
        return float(self._records[-1]["train_residual"])

    @property
    def overhead(self) -> float:
        """Time spent on measuring so far in units of the training time; inf before the first step."""
        return self.schedule.seconds / self._training_seconds if self._training_seconds > 0 else float("inf")

    @property
    def trajectory(self) -> Trajectory:
        """What was recorded so far, as a Trajectory of one seed.

        Its variables are those of ``Trajectory`` and, for held-out noisy labels, validation_loss and validation_error; of each class
        class_clean_error and class_noise_error.
        """
        if not self._records:
            raise ValueError("a trace has a trajectory from the first record on, got none: use it as a context manager")
        arrays = {key: np.stack([one[key] for one in self._records])[None] for key in self._records[0]}
        return Trajectory(self._to_xarray(arrays))

    def initial_model(self) -> nn.Module:
        """A copy of the network as it was when the recording began."""
        try:
            model = copy.deepcopy(self.model)
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"the network cannot be copied: {' '.join(str(error).split())[:120]}") from None
        model.load_state_dict(self._initial_state)
        return model

    def _pause(self) -> None:
        """End a stretch of training."""
        if self._resumed is not None:
            device = next(self.model.parameters()).device
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            self._training_seconds += self._clock() - self._resumed
            self._resumed = None

    def _measure(self) -> None:
        began = self._clock()
        with undisturbed(self.model):
            record = self._record()
        self._records.append(record)
        self._recorded_steps.append(self.n_steps)
        self.schedule.costs.append(self._clock() - began)

    def _record(self) -> dict[str, NDArray[np.float64]]:
        rows = self._forward_rows
        try:
            logits = self._logits(self.inputs, rows)
            observed, truth = self.observed[rows], self.truth[rows]
            measured = measure_labels(logits[None], truth, observed[None], self.n_classes)
            record = {key: value[0].numpy() for key, value in measured.items()}
            wrong, noisy = sample_errors(logits[None], observed[None])[0], observed != truth
            for part, mask in (("clean", ~noisy), ("noise", noisy)):
                by_class = [wrong[mask & (truth == c)] for c in range(self.n_classes)]
                record[f"class_{part}_error"] = np.array([float(one.mean()) if len(one) else np.nan for one in by_class])
            for name, pair in (("test", self.test), ("validation", self.validation)):
                if pair is not None:
                    chosen = self._some(len(pair[0]))
                    held_out, labels = self._logits(pair[0], chosen), pair[1][chosen]
                    record[f"{name}_loss"] = sample_losses(held_out[None], labels[None]).mean(1)[0].numpy()
                    record[f"{name}_error"] = sample_errors(held_out[None], labels[None]).mean(1)[0].numpy()
            record["gram"] = self._meter.measure(self.model, self.inputs, self.observed, self.truth)
        except ValueError as error:
            raise ValueError(f"{error} (at step {self.n_steps})" if self.n_steps else str(error)) from None
        return record

    def _logits(self, inputs: Tensor, rows: Tensor) -> Tensor:
        """Logits in float64 on the CPU ``[n, K]``."""
        with torch.no_grad():
            parts = [evaluate(self.model, inputs[some], self.n_classes).to("cpu", torch.float64) for some in torch.split(rows, 1024)]
        return torch.cat(parts)

    def _some(self, size: int) -> Tensor:
        """All indices, or as many as are to be evaluated, always the same ones."""
        index = np.arange(size)
        if size > self._evaluated:
            index = np.sort(np.random.default_rng([1, self.seed]).permutation(index)[: self._evaluated])
        return torch.from_numpy(index)

    def _warm_up_sample(self) -> SegmentSample:
        few = tuple((first[:16], second[:16]) for first, second in self.sample.halves)
        return SegmentSample(few, np.array([sum(map(len, both)) for both in few]), self.n_classes)

    def _to_xarray(self, arrays: dict[str, NDArray[np.float64]]) -> xr.Dataset:
        summary = summarize_gram(arrays["gram"])
        for name in ("alpha", "rho", "pooled_alpha", "pooled_rho", "cosine_with_truth"):
            arrays[name] = getattr(summary, name)
        by_class = ("alpha", "rho", "mean_output", "class_clean_error", "class_noise_error")
        axes = {"gram": ("seed", "time", "segment", "segment_"), **dict.fromkeys(by_class, ("seed", "time", "class_"))}
        texts = {**DESCRIPTIONS, **_OWN_DESCRIPTIONS}
        variables: dict[str, tuple[tuple[str, ...], NDArray[np.generic], dict[str, str]]] = {
            key: (axes.get(key, ("seed", "time")), array, {"units": "1", "long_name": texts[key]}) for key, array in sorted(arrays.items())
        }
        for name, part in (("n_clean", self.sample.sizes[: self.n_classes]), ("n_noise", self.sample.sizes[self.n_classes :])):
            variables[name] = (("seed", "class_"), part[None], {"units": "1", "long_name": texts[name]})
        steps, names = np.array(self._recorded_steps, dtype=np.int64), list(segment_names(self.n_classes))
        unit = "steps" if self.learning_rate is None else "learning rate x step"
        coordinates = {
            "seed": np.array([self.seed], dtype=np.int64),
            "time": ("time", (self.learning_rate or 1.0) * steps, {"units": unit, "long_name": "training time"}),
            "step": ("time", steps, {"units": "steps"}),
            "class_": list(self.class_names),
            "segment": names,
            "segment_": names,
        }
        attributes = {
            "name": self.name,
            "regime": f"finite network · {self.name}",
            "samples": len(self.inputs),
            "samples_for_gradients": self.sample.used,
            "samples_evaluated": len(self._forward_rows),
            "overhead": min(self.overhead, 1e9),
        }
        return xr.Dataset(variables, coords=coordinates, attrs=attributes)


def _labelled(inputs: ArrayLike | Tensor, labels: ArrayLike | Tensor, n_classes: int, name: str, label_name: str) -> tuple[Tensor, Tensor]:
    """Finite inputs ``[n, …]`` and int64 labels ``[n]``, both on the CPU, shared with the caller's where possible."""
    if isinstance(inputs, Tensor):
        x = inputs.detach()
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise ValueError(f"{name} must be finite, got {x[~torch.isfinite(x)][0].item()}")
    else:
        array = inputs if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "iu" else as_real_array(inputs, name)
        # torch warns of memory that it might not write to, and has no negative strides
        shared = array.flags.writeable and min(array.strides, default=0) >= 0
        x = torch.from_numpy(array if shared else array.copy())
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"{name} must have shape [n, ...], none of them 0, got {list(x.shape)}")
    given = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else labels
    y = torch.from_numpy(check_labels(given, n_classes, label_name))
    if len(y) != len(x):
        raise ValueError(f"{label_name} must have one label per row of {name} ({len(x)}), got {len(y)}")
    return x, y


def _held_out(
    pair: tuple[ArrayLike | Tensor | None, ArrayLike | Tensor | None] | None, n_classes: int, name: str, label_name: str
) -> tuple[Tensor, Tensor] | None:
    if pair is None:
        return None
    inputs, labels = pair
    if inputs is None or labels is None:
        raise ValueError(f"{name} and {label_name} must be given together, got one without the other")
    return _labelled(inputs, labels, n_classes, name, label_name)
