"""The same questions put to a network, data and noise of one's own: is there clean priority, until when, and where should training stop?

``diagnose`` trains a network from several seeds and follows it; ``diagnose_trace`` takes what ``empirical.record`` saw of a training loop
of one's own. Both compute what the theory predicts for the same network and data from its tangent kernel at initialisation, and answer in
a ``Diagnosis``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from empirical._validation import check_noise_level
from empirical.devices import provenance
from empirical.monitor import EarlyStoppingMonitor
from empirical.noise_estimate import noise_residual
from empirical.noise_files import load_noise
from empirical.record import Trace
from empirical.task_data import as_dataset, split_task
from empirical.task_training import default_network, train_task
from reports._validation import brief, check_count, check_list, check_mapping, check_number, check_path, check_text
from reports.diagnosis import Diagnosis
from reports.diagnosis_data import SeedRun
from reports.diagnosis_files import is_noise_file, read_labels
from reports.diagnosis_prediction import KERNEL_SAMPLES, predict_from_kernel

__all__ = ["diagnose", "diagnose_trace", "observed_from_file"]

FEW_RECORDS = 12
"""Records below which the report says that its steps are coarse."""

MOST_SEEDS = 10_000
"""Seeds of one diagnosis at most."""

Progress = Callable[[int, int, str], None]


def diagnose(
    model_factory: Callable[..., nn.Module] | None,
    dataset: Any,
    *,
    noise_level: float | None = None,
    observed_labels: ArrayLike | None = None,
    transition: ArrayLike | None = None,
    epochs: int = 100,
    learning_rate: float = 0.1,
    batch_size: int | None = 64,
    seeds: int | Sequence[int] = 5,
    validation_share: float = 0.1,
    every: str | int | Sequence[int] = "log",
    kernel_samples: int = KERNEL_SAMPLES,
    device: str | torch.device = "auto",
    out: Path | str | None = None,
    command: str = "",
    on_progress: Progress | None = None,
) -> Diagnosis:
    """Train a network on noisy labels from several seeds, follow it, and answer in a report.

    Every seed has its own initialisation and order of samples, and, unless the labels are given, its own label noise.

    Args:
        model_factory: makes the network; it may name ``image_shape``, ``n_inputs``, ``n_outputs``, ``n_classes`` and ``seed`` and is given
            those. None: the default, see ``empirical.task_training.default_network``.
        dataset: an ``empirical.Dataset``; ``(train_inputs, train_truth)`` or with ``test_inputs, test_truth``, arrays; or one or two torch
            data sets of pairs. Without a test set a quarter of the samples is held out for it.
        noise_level: δ of symmetric noise, exact in every class.
        observed_labels: labels that training sees ``[n]``, in place of made noise.
        transition: matrix ``[C, C]``, P(observed j | true c) in row c, in place of ``noise_level``.
        epochs: passes over the training set.
        learning_rate: η of plain stochastic gradient descent.
        batch_size: samples of a mini-batch; None for full-batch descent.
        seeds: number of seeds (0, 1, …), or the seeds.
        validation_share: share of the training samples that is held out, with its noisy labels, as a validation set; 0 for none.
        every: when to measure, see ``empirical.record``; by default so that it takes at most 25 % of the training time of the first seed
            (or half a second), and at the same steps for the others.
        kernel_samples: training samples, at most, for which the tangent kernel is computed (fewer for large convolutions).
        device: see ``empirical.resolve_device``.
        out: folder for the report; nothing is written without it.
        command: the command line that asked, for the provenance.
        on_progress: called with work done, work in all, and what is being done.

    Raises:
        ValueError: in one line, if an argument, the data or the network does not fit, or training diverges.

    Source: §4 [A], §4 [B]; X4, X7, X8, X9, R1, R2.

    Example:
        >>> import empirical
        >>> data = empirical.load_dataset("clusters", n_train=200, n_test=100)
        >>> factory = lambda n_inputs, seed: empirical.FullyConnected(n_inputs, 64, 1, seed=seed, centred=True)
        >>> report = diagnose(factory, data, noise_level=0.3, epochs=60, learning_rate=1.0, batch_size=None, device="cpu")
        >>> report.verdicts["clean-priority"], report.verdicts["assumption-4-1"]
        ('yes', 'approximately')
    """
    given = [
        name
        for name, value in (("noise_level", noise_level), ("observed_labels", observed_labels), ("transition", transition))
        if value is not None
    ]
    if out is not None:
        check_path(out, "out")
    check_text(command, "command")
    if len(given) != 1:
        raise ValueError(f"give one of noise_level, observed_labels and transition, got {' and '.join(given) or 'none'}")
    data = as_dataset(dataset)
    factory = default_network if model_factory is None else model_factory
    numbers = _seeds(seeds)
    share = check_number(validation_share, "validation_share")
    if not 0 <= share < 1:
        raise ValueError(f"validation_share must lie in [0, 1), got {validation_share}")
    noise_level = None if noise_level is None else check_noise_level(noise_level)
    check_count(kernel_samples, "kernel_samples", minimum=16)
    seen_labels = None if observed_labels is None else data.labels_of_kept(observed_labels)
    parts = [split_task(data.dataset, noise_level, seen_labels, transition, share, seed) for seed in numbers]
    traces: list[Trace] = []
    for position, (seed, (training, seen, validation)) in enumerate(zip(numbers, parts, strict=True)):

        def on_step(done: int, total: int, at: int = position) -> None:
            if on_progress is not None:
                on_progress(at * total + done, len(numbers) * total, f"seed {at + 1} of {len(numbers)}")

        trace = train_task(
            factory,
            training,
            seen,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
            device=device,
            validation=validation,
            every=every,
            on_step=on_step,
        )
        traces.append(trace)
        every = trace.steps  # the same points for all seeds, so that curves can be averaged
    size = len(traces[0].inputs) if batch_size is None else min(batch_size, len(traces[0].inputs))
    facts: dict[str, Any] = {
        "data": data.dataset.name,
        "data_sha256": data.dataset.sha256,
        "noise_asked": noise_level,
        "noise": "observed labels" if observed_labels is not None else "transition matrix" if transition is not None else "symmetric",
        "training": {"optimiser": "SGD", "epochs": epochs, "learning_rate": learning_rate, "batch_size": size},
        "network": _network_name(factory, traces[0].model),
    }
    report = diagnose_trace(
        traces,
        kernel_samples=kernel_samples,
        steps_per_epoch=-(-len(traces[0].inputs) // size),
        device=device,
        facts=facts,
        notes=data.notes,
        command=command,
        on_progress=on_progress,
    )
    if out is not None:
        report.write(out)
    return report


def diagnose_trace(
    traces: Trace | Sequence[Trace],
    *,
    kernel_samples: int = KERNEL_SAMPLES,
    steps_per_epoch: float | None = None,
    device: str | torch.device = "cpu",
    out: Path | str | None = None,
    facts: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
    command: str = "",
    on_progress: Progress | None = None,
) -> Diagnosis:
    """Answer from what ``empirical.record`` saw of a training loop of one's own: one trace for each seed.

    Args:
        traces: finished traces, of the same task.
        kernel_samples: see ``diagnose``.
        steps_per_epoch: for answers in epochs.
        device: for the provenance.
        out: folder for the report; nothing is written without it.
        facts: further facts about the task, for the report.
        notes: further remarks, for the report.
        command: the command line that asked, for the provenance.
        on_progress: see ``diagnose``.

    Raises:
        ValueError: in one line, if an argument is of another kind, or the traces are of different tasks or hold fewer than two records.
    """
    listed = [traces] if isinstance(traces, Trace) else check_list(traces, "traces", Trace, "traces of empirical.record")
    if not listed:
        raise ValueError("traces must be a Trace of empirical.record, or several, got none")
    check_count(kernel_samples, "kernel_samples", minimum=16)
    if steps_per_epoch is not None:
        check_number(steps_per_epoch, "steps_per_epoch", above=0)
    if facts is not None:
        check_mapping(facts, "facts")
    notes = check_list(notes, "notes", str, "texts")
    check_text(command, "command")
    if out is not None:
        check_path(out, "out")
    first = listed[0]
    for trace in listed:
        if len(trace.steps) < 2:
            raise ValueError(f"a trace must hold at least 2 records, got {len(trace.steps)}")
        if trace.class_names != first.class_names or trace.learning_rate != first.learning_rate:
            raise ValueError("traces must be of one task, got different classes or learning rates")
    if len({trace.seed for trace in listed}) < len(listed):
        raise ValueError(f"traces must have different seeds, got {', '.join(str(trace.seed) for trace in listed)}")
    steps = min((trace.steps for trace in listed), key=len)
    last = min(trace.steps[-1] for trace in listed)
    grid = np.array([step for step in steps if step <= last], dtype=np.int64)
    runs = []
    for position, trace in enumerate(listed):
        if on_progress is not None:
            on_progress(position, len(listed), "tangent kernels")
        runs.append(_run(trace, grid, steps_per_epoch, kernel_samples))
    counts = first.sample.sizes.reshape(2, -1)
    task = {
        "data": first.name,
        "n_train": len(first.inputs),
        "n_test": 0 if first.test is None else len(first.test[0]),
        "n_validation": 0 if first.validation is None else len(first.validation[0]),
        "classes": list(first.class_names),
        "noise_level": float(np.mean([run.noise_level for run in runs])),
        "class_noise_level": (counts[1] / np.maximum(counts.sum(0), 1)).tolist(),
        "noise": "observed labels",
        "network": type(first.model).__name__,
        "parameters": sum(parameter.numel() for parameter in first.model.parameters() if parameter.requires_grad),
        "samples_for_gradients": first.sample.used,
        "seeds": [trace.seed for trace in listed],
        "training": {"learning_rate": first.learning_rate},
    } | (facts or {})
    remarks = [*notes, *_remarks(first)]
    report = Diagnosis.from_runs(runs, task=task, provenance={"command": command, **provenance(device)}, notes=remarks)
    if out is not None:
        report.write(out)
    return report


def observed_from_file(path: Path, truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Read observed labels from a noise file (see ``empirical.save_noise``), an .npy or .npz file, or text.

    Args:
        path: the file.
        truth: true labels of the training samples, for which a noise file must have been made.

    Raises:
        ValueError: in one line, if the file cannot be read or was made for other labels.
    """
    return load_noise(path, truth).observed if is_noise_file(path) else read_labels(path)


def _run(trace: Trace, grid: NDArray[np.int64], steps_per_epoch: float | None, kernel_samples: int) -> SeedRun:
    """One trace on the common steps."""
    trajectory = trace.trajectory
    own = trajectory.steps
    values = {}
    for name, variable in trajectory.dataset.data_vars.items():
        if "time" in variable.dims and name != "gram":
            array = np.asarray(variable.to_numpy()[0], dtype=np.float64)
            columns = array.reshape(len(own), -1)
            values[str(name)] = np.stack([np.interp(grid, own, column) for column in columns.T], axis=1).reshape(
                len(grid), *array.shape[1:]
            )
    classes = trace.n_classes
    rule_step, target = _rule(trace, grid, values["train_residual"])
    return SeedRun(
        seed=trace.seed,
        steps=grid,
        learning_rate=trace.learning_rate,
        values=values,
        n_clean=trace.sample.sizes[:classes],
        n_noise=trace.sample.sizes[classes:],
        n_classes=classes,
        class_names=trace.class_names,
        steps_per_epoch=steps_per_epoch,
        rule_step=rule_step,
        rule_target=target,
        overhead=trace.overhead,
        prediction=predict_from_kernel(trace, samples=kernel_samples),
    )


def _rule(trace: Trace, grid: NDArray[np.int64], residual: NDArray[np.float64]) -> tuple[float, float]:
    """Step at which the monitor reaches what the noise explains: nan where the noise is none or no minority, inf if it never does."""
    classes, truth, observed = trace.n_classes, trace.truth.numpy(), trace.observed.numpy()
    level = float(np.mean(truth != observed))
    if level == 0 or level >= (classes - 1) / classes - min(0.5 * classes / len(truth), 0.01):
        return math.nan, math.nan
    counts = np.zeros((classes, classes))
    np.add.at(counts, (truth, observed), 1)
    spread = counts.sum(1) > 0
    counts[~spread] = np.eye(classes)[~spread]
    target = noise_residual(transition=counts / counts.sum(1, keepdims=True), class_shares=np.bincount(truth, minlength=classes))
    monitor = EarlyStoppingMonitor(target=target, n_classes=classes)
    for step, value in zip(grid, residual, strict=True):
        monitor.update(float(value), step=float(step))
    return (math.inf if monitor.crossing is None else float(monitor.crossing)), target


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    try:
        if isinstance(seeds, Sequence) and not isinstance(seeds, (str, bytes)):
            listed = tuple(check_count(seed, "seed", minimum=0, maximum=2**31) for seed in seeds)
        else:
            listed = tuple(range(check_count(seeds, "seeds", maximum=MOST_SEEDS)))
    except ValueError:
        listed = ()
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"seeds must be a positive number of seeds or different non-negative integers, got {brief(seeds)}")
    return listed


def _network_name(factory: Callable[..., nn.Module], model: nn.Module) -> str:
    return f"{type(model).__name__} (default)" if factory is default_network else type(model).__name__


def _remarks(trace: Trace) -> list[str]:
    """What a reader must know to read the numbers."""
    notes = []
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in trace.model.modules()):
        notes.append(
            "The network has batch normalisation. Gradients are measured in evaluation mode, with its running "
            "statistics held fixed (0 and 1 before "
            "the first step); the gradient that training follows couples the samples of a batch and has no part that belongs to one sample."
        )
    if trace.sample.used < trace.sample.sizes.sum():
        notes.append(
            f"Gradients are measured on {trace.sample.used} of the {trace.sample.sizes.sum()} training samples, drawn "
            f"once; the inner products of the "
            "whole set are estimated from them without bias."
        )
    if len(trace.steps) < FEW_RECORDS:
        notes.append(
            f"Only {len(trace.steps)} records were made, because training is short beside one measurement: steps are "
            f"coarse, and measuring every few "
            "steps (--record-every, every=) would say more."
        )
    if trace.learning_rate is None:
        notes.append("The learning rate is not known, so time is counted in steps, and predicted times stand on their own.")
    return notes


class _Callable(ModuleType):
    """``reports.diagnose`` is this module once anything has imported it, and the function before: both can be called."""

    def __call__(self, *arguments: Any, **options: Any) -> Diagnosis:
        return diagnose(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
