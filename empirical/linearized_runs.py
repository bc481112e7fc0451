"""Networks trained beside their own linearisation: how far the tangent kernel, the gradients and the logits move away from it.

The first-order model around w_0 has the logits h_lin = h_0 − K_0 Σ (η/n) r, with K_0 the network's own tangent kernel at initialisation; it
is trained in function space with the same steps. Everything is measured for many seeds as one batch, two classes, one logit, full batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from empirical._validation import check_choice, check_instance, check_integer
from empirical.batch_kernel import Features, features_kernel
from empirical.batched import NetworkBatch, Workspace
from empirical.datasets import Dataset
from empirical.devices import policy
from empirical.keys import canonical_form, key_of, record_attributes
from empirical.losses import label_residuals, sample_errors
from empirical.noise import corrupt_labels_batch
from empirical.seed_batches import in_seed_batches
from empirical.segment_gram import segment_names, summarize_gram
from empirical.specifications import DataSpec, NetworkSpec, TrainingSpec, check_common, check_seeds

__all__ = ["SCALES", "LinearizedRun"]

SCALES = ("kernel", "mean field")
"""Scales of the output: that of the network's convention, or 1/√m times it with η m in place of η."""

_DESCRIPTIONS: Mapping[str, str] = {
    "kernel_drift": "‖K_t − K_0‖_F / ‖K_0‖_F on the kernel samples",
    "gradient_change": "‖∇h(w_t; x) − ∇h(w_0; x)‖ / ‖∇h(w_0; x)‖",
    "pattern_change": "share of hidden units that are on at w_t and off at w_0 or the other way round",
    "parameter_drift": "‖W_t − W_0‖_F / ‖W_0‖_F of each layer's weights",
    "train_distance_max": "max |h − h_lin| over the training samples",
    "train_distance_rms": "root mean square of h − h_lin over the training samples",
    "test_distance_max": "max |h − h_lin| over the test samples",
    "test_distance_rms": "root mean square of h − h_lin over the test samples",
    "gram": "inner products of the segment gradients (sums over samples)",
    "linear_gram": "inner products of the segment gradients of the linearisation (sums over samples)",
    "test_error": "share of the test set misclassified",
    "linear_test_error": "share of the test set misclassified by the linearisation",
    "train_logits": "logits of the training samples",
    "test_logits": "logits of the test samples",
    "linear_train_logits": "logits of the training samples, linearisation",
    "linear_test_logits": "logits of the test samples, linearisation",
    "observed": "observed training labels",
    "alpha": "‖g_noise^(c)‖ / ‖g_clean^(c)‖",
    "rho": "−cos∠(g_clean^(c), g_noise^(c))",
    "pooled_alpha": "‖G_noise‖ / ‖G_clean‖",
    "pooled_rho": "−cos∠(G_clean, G_noise)",
    "linear_alpha": "‖g_noise^(c)‖ / ‖g_clean^(c)‖ of the linearisation",
    "linear_rho": "−cos∠(g_clean^(c), g_noise^(c)) of the linearisation",
    "linear_pooled_alpha": "‖G_noise‖ / ‖G_clean‖ of the linearisation",
    "linear_pooled_rho": "−cos∠(G_clean, G_noise) of the linearisation",
}

_AXES: Mapping[str, tuple[str, ...]] = {
    "gradient_change": ("seed", "time", "kernel_sample"),
    "pattern_change": ("seed", "time", "kernel_sample"),
    "parameter_drift": ("seed", "time", "layer"),
    "observed": ("seed", "sample"),
    **{f"{kind}gram": ("seed", "time", "segment", "segment_") for kind in ("", "linear_")},
    **{f"{kind}{name}": ("seed", "time", "class_") for kind in ("", "linear_") for name in ("alpha", "rho")},
    **{f"{kind}train_logits": ("seed", "time", "sample") for kind in ("", "linear_")},
    **{f"{kind}test_logits": ("seed", "time", "test_sample") for kind in ("", "linear_")},
}


@dataclass(frozen=True, kw_only=True)
class LinearizedRun:
    """Networks trained by full-batch gradient descent, each beside its own linearisation; each seed draws its own network and label noise.

    Measured at log-spaced steps: ``kernel_drift``, ``train_distance_max``, ``train_distance_rms``, ``test_distance_max``,
    ``test_distance_rms``, ``test_error``, ``linear_test_error`` ``[seed, time]``; ``gradient_change``, ``pattern_change``
    ``[seed, time, kernel_sample]``; ``parameter_drift`` ``[seed, time, layer]``; ``gram`` and ``linear_gram`` ``[seed, time, 6, 6]`` with
    what follows from them (``alpha``, ``rho``, ``pooled_alpha``, ``pooled_rho`` and the same with ``linear_``); ``observed``
    ``[seed, sample]``; with ``record_logits`` also ``train_logits``, ``test_logits``, ``linear_train_logits``, ``linear_test_logits``.

    Attributes:
        name: in the registry and in reports; not part of the key.
        data: training and test samples, two classes.
        noise_level: δ in [0, 1), exact in every class.
        network: architecture.
        training: full-batch gradient descent (``batch_size`` None).
        seeds: one network each.
        n_kernel: so many training and so many test samples, evenly spaced in their order, on which the kernel, the gradients and the gates
            are followed (coordinates ``kernel_part`` and ``kernel_index`` say which); None for all.
        scale: ``"kernel"``: the output as the network's convention scales it. ``"mean field"`` (one hidden layer): the output times 1/√m
            and the learning rate times m, which moves the logits of the first steps in the same way, but each hidden unit by O(1).
        dtype: ``"float32"`` or ``"float64"``; changes of order 1/m need the latter.

    Source: Remark 3.3 [A]; §4.1 [A], [B].

    Example:
        >>> run = LinearizedRun(
        ...     name="example",
        ...     data=DataSpec(name="clusters", n_train=20, n_test=10),
        ...     noise_level=0.3,
        ...     network=NetworkSpec(width=256, depth=1, centred=True),
        ...     training=TrainingSpec(learning_rate=1.0, steps=8, n_records=3),
        ...     seeds=(1, 2),
        ... ).measure(device="cpu")
        >>> run["kernel_drift"].dims, float(run["kernel_drift"][:, 0].max()), bool((run["kernel_drift"][:, -1] > 0).all())
        (('seed', 'time'), 0.0, True)
    """

    name: str
    data: DataSpec
    noise_level: float
    network: NetworkSpec
    training: TrainingSpec
    seeds: tuple[int, ...]
    n_kernel: int | None = None
    scale: str = "kernel"
    dtype: str = "float64"

    def __post_init__(self) -> None:
        check_common(self.name, self.noise_level, self.dtype)
        check_instance(self.data, "data", DataSpec)
        check_instance(self.network, "network", NetworkSpec)
        check_instance(self.training, "training", TrainingSpec)
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        check_choice(self.scale, "scale", SCALES)
        if self.training.batch_size is not None:
            raise ValueError(f"training must be full-batch beside a linearisation, got batch_size {self.training.batch_size}")
        if self.network.kind != "fully_connected":
            raise ValueError(f"network must be fully connected to be trained beside its linearisation, got {self.network.kind!r}")
        if self.scale == "mean field" and (self.network.depth != 1 or self.network.convention == "pytorch"):
            raise ValueError(f"scale 'mean field' needs one hidden layer without biases, got {self.network}")
        if self.n_kernel is not None:
            check_integer(self.n_kernel, "n_kernel")

    @property
    def regime(self) -> str:
        """Short text for people."""
        return f"finite network and its linearisation · {self.data.label} · δ = {self.noise_level:g}"

    def canonical(self) -> dict[str, Any]:
        """JSON-able form of all that determines the measurement, but for the data themselves."""
        return canonical_form("linearized run", self)

    def key(self) -> str:
        """SHA-256 of canonical form, data and version of the instruments."""
        return key_of(self.canonical(), self.data.load().sha256)

    def measure(self, *, device: str | torch.device = "auto", memory_budget: int = 2**29) -> xr.Dataset:
        """Train every seed beside its linearisation.

        Args:
            device: "auto", "cpu", "cuda" or a torch device.
            memory_budget: bytes that a batch of seeds may take; more seeds are trained in several batches (the numbers do not change).

        Raises:
            ValueError: if the data has more than two classes or no test samples, or training diverges.
            MemoryError: if a single seed does not fit; larger batches are halved, with a warning.
            DatasetNotFound: if the data is not there.
        """
        data = self.data.load()
        if data.n_classes != 2 or len(data.test_truth) == 0:
            raise ValueError(f"data must have two classes and test samples, got {data.n_classes} classes, {len(data.test_truth)} samples")
        labels = corrupt_labels_batch(data.train_truth, self.noise_level, n_classes=2, seeds=self.seeds)
        size = max(1, int(memory_budget // _bytes_per_seed(self, data)))
        with policy(device) as place:

            def trained(part: slice) -> dict[str, NDArray[np.generic]]:
                return _Run.start(self, data, self.seeds[part], labels[part], place).records()

            parts = in_seed_batches(trained, len(self.seeds), size, name=self.name, device=place)
        return _to_xarray(self, data, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


@dataclass(frozen=True, eq=False)
class _Run:
    """A batch of seeds in training, and the linearisations beside it."""

    spec: LinearizedRun
    batch: NetworkBatch
    inputs: Tensor
    test_inputs: Tensor
    truth: Tensor
    test_truth: Tensor
    observed: Tensor
    watched: Tensor  # indices of the kernel samples among training and test samples
    rate: float
    output: Tensor  # output at initialisation [S, n + n_test]
    offset: Tensor  # what is subtracted from outputs to give logits [S, n + n_test]
    first: Features  # of the kernel samples at initialisation
    first_kernel: Tensor  # [S, k, k]
    linear_kernel: Tensor  # [S, n + n_test, n]
    first_weights: tuple[Tensor, ...]

    @classmethod
    def start(cls, spec: LinearizedRun, data: Dataset, seeds: Sequence[int], labels: NDArray[np.int64], device: torch.device) -> _Run:
        dtype = getattr(torch, spec.dtype)
        inputs, test_inputs = (torch.tensor(part, dtype=dtype, device=device) for part in (data.train_inputs, data.test_inputs))
        truth, test_truth, observed = (torch.tensor(part, device=device) for part in (data.train_truth, data.test_truth, labels))
        net = spec.network
        batch = NetworkBatch.draw(
            inputs.shape[1],
            net.width,
            net.depth,
            seeds=seeds,
            activation=net.activation,
            convention=net.convention,
            dtype=dtype,
            device=device,
        )
        rate = spec.training.learning_rate
        if spec.scale == "mean field":
            batch = replace(batch, scales=(*batch.scales[:-1], batch.scales[-1] / np.sqrt(net.width)))
            rate *= net.width
        n = len(inputs)
        watched = torch.tensor(np.concatenate(_watched(spec, data)), device=device)
        everything = Features.at(batch, batch.forward(torch.cat([inputs, test_inputs])))
        training = everything.rows(slice(0, n))
        # Training and test samples apart, as in training: a centred output is then 0 to the last bit at the start.
        output = torch.cat([batch.forward(part)[-1][..., 0] for part in (inputs, test_inputs)], dim=1)
        first = everything.rows(watched)
        return cls(
            spec,
            batch,
            inputs,
            test_inputs,
            truth,
            test_truth,
            observed,
            watched,
            rate,
            output,
            output if net.centred else torch.zeros_like(output),
            first,
            features_kernel(batch, first, first),
            features_kernel(batch, everything, training),
            tuple(weight.clone() for weight in batch.weights),
        )

    def records(self) -> dict[str, NDArray[np.generic]]:
        """Train to the end; every recorded variable as ``[S, T, …]``."""
        training, n = self.spec.training, len(self.inputs)
        due, room = set(training.record_steps), Workspace()
        linear = self.output - self.offset
        recorded: list[dict[str, Tensor]] = []
        for step in range(training.steps + 1):
            values = self.batch.forward(self.inputs, workspace=room)
            logits = values[-1] - self.offset[:, :n, None]
            if step in due:
                recorded.append(self._record(step, values, logits, linear))
            if step == training.steps:
                break
            signals = self.batch.signals(values, label_residuals(logits, self.observed), workspace=room)
            self.batch.step(values, signals, factor=-self.rate / n)
            residual = label_residuals(linear[:, :n, None], self.observed)
            linear = linear - (self.rate / n) * torch.bmm(self.linear_kernel, residual)[..., 0]
        arrays = {name: torch.stack([record[name] for record in recorded], dim=1).cpu().numpy() for name in recorded[0]}
        arrays["observed"] = self.observed.cpu().numpy()
        return arrays

    def _record(self, step: int, values: list[Tensor], logits: Tensor, linear: Tensor) -> dict[str, Tensor]:
        n = len(self.inputs)
        if not (torch.isfinite(logits).all() and torch.isfinite(linear).all()):
            raise ValueError(f"training must stay finite, got a non-finite logit at step {step}: learning_rate {self.rate:g} is too large")
        test_values = self.batch.forward(self.test_inputs)
        test_logits = test_values[-1][..., 0] - self.offset[:, n:]
        record = self._moved([torch.cat(pair, dim=-2)[..., self.watched, :] for pair in zip(values, test_values, strict=True)])
        pairs = {"train": (logits[..., 0], linear[:, :n]), "test": (test_logits, linear[:, n:])}
        for part, (ours, theirs) in pairs.items():
            distance = (ours - theirs).to(torch.float64)
            record[f"{part}_distance_max"] = distance.abs().amax(1)
            record[f"{part}_distance_rms"] = distance.square().mean(1).sqrt()
        trained = Features.at(self.batch, values)
        record["gram"] = self._gram(features_kernel(self.batch, trained, trained), logits)
        record["linear_gram"] = self._gram(self.linear_kernel[:, :n], linear[:, :n, None])
        labels = self.test_truth.expand(len(test_logits), -1)
        record["test_error"] = sample_errors(test_logits[..., None].to(torch.float64), labels).mean(1)
        record["linear_test_error"] = sample_errors(linear[:, n:, None].to(torch.float64), labels).mean(1)
        if self.spec.training.record_logits:
            for part, (ours, theirs) in pairs.items():
                record[f"{part}_logits"], record[f"linear_{part}_logits"] = ours.clone(), theirs.clone()
        return record

    def _moved(self, values: list[Tensor]) -> dict[str, Tensor]:
        """Kernel drift, change of gradients and gates of the kernel samples, drift of the weights."""
        now = Features.at(self.batch, values)
        change = features_kernel(self.batch, now, now) - self.first_kernel
        units = 0
        moved = flipped = torch.zeros((), dtype=torch.float64, device=self.inputs.device)
        for layer, scale in enumerate(self.batch.scales):
            a, b = now.values[layer].double(), self.first.values[layer].double()
            p, q = now.signals[layer].double(), self.first.signals[layer].double()
            # ‖p⊗a − q⊗b‖² in a form without cancellation: p⊗a − q⊗b = (p − q)⊗a + q⊗(a − b)
            d, e = p - q, a - b
            square = _square(d) * _square(a) + _square(q) * _square(e) + 2 * (d * q).sum(-1) * (a * e).sum(-1)
            moved = moved + scale**2 * square
            if self.batch.biases:
                moved = moved + _square(d)
            if layer > 0:
                flipped = flipped + ((a > 0) != (b > 0)).double().sum(-1)
                units += a.shape[-1]
        drifts = [_norm(w - w0) / _norm(w0) for w, w0 in zip(self.batch.weights, self.first_weights, strict=True)]
        size = torch.diagonal(self.first_kernel, dim1=1, dim2=2).double()
        return {
            "kernel_drift": _norm(change) / _norm(self.first_kernel),
            "gradient_change": (moved.clamp(min=0) / size).sqrt(),
            "pattern_change": flipped / units,
            "parameter_drift": torch.stack(drifts, dim=1),
        }

    def _gram(self, kernel: Tensor, logits: Tensor) -> Tensor:
        """Inner products of the segment gradients (sums) ``[S, 6, 6]``, from a tangent kernel ``[S, n, n]`` and logits ``[S, n, 1]``."""
        truth = self.truth.expand_as(self.observed)
        residual, true_residual = (label_residuals(logits, y)[..., 0].to(torch.float64) for y in (self.observed, truth))
        noisy = self.observed != truth
        segments = [residual * (~noisy & (truth == c)) for c in (0, 1)]
        segments += [residual * (noisy & (truth == c)) for c in (0, 1)]
        segments += [true_residual * (noisy & (truth == c)) for c in (0, 1)]
        weights = torch.stack(segments, dim=1)
        return weights @ kernel.to(torch.float64) @ weights.transpose(1, 2)


def _square(values: Tensor) -> Tensor:
    return values.square().sum(-1)


def _norm(matrices: Tensor) -> Tensor:
    """Frobenius norms ``[S]``, float64."""
    return matrices.double().square().sum((1, 2)).sqrt()


def _watched(spec: LinearizedRun, data: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the kernel samples, training and test, among training and test samples in a row."""
    n, n_test = len(data.train_truth), len(data.test_truth)
    chosen = [np.unique(np.rint(np.linspace(0, k - 1, min(spec.n_kernel or k, k))).astype(np.int64)) for k in (n, n_test)]
    return chosen[0], n + chosen[1]


def _bytes_per_seed(spec: LinearizedRun, data: Dataset) -> int:
    """Upper estimate of the memory that one more seed takes."""
    net, n, all_samples = spec.network, len(data.train_truth), len(data.train_truth) + len(data.test_truth)
    d = data.train_inputs.shape[1]
    parameters = d * net.width + net.width**2 * (net.depth - 1) + net.width
    numbers = 8 * parameters + 3 * all_samples * n + (3 * all_samples + 8 * n) * net.width * net.depth
    return int((4 if spec.dtype == "float32" else 8) * numbers)


def _to_xarray(spec: LinearizedRun, data: Dataset, arrays: dict[str, NDArray[np.generic]]) -> xr.Dataset:
    for kind in ("", "linear_"):
        summary = summarize_gram(arrays[f"{kind}gram"].astype(np.float64))
        for name in ("alpha", "rho", "pooled_alpha", "pooled_rho"):
            arrays[f"{kind}{name}"] = getattr(summary, name)
    steps, names = np.array(spec.training.record_steps, dtype=np.int64), list(segment_names(2))
    variables = {
        name: (_AXES.get(name, ("seed", "time")), array, {"units": "1", "long_name": _DESCRIPTIONS[name]})
        for name, array in sorted(arrays.items())
    }
    watched = _watched(spec, data)
    coordinates: dict[str, Any] = {
        "seed": np.array(spec.seeds, dtype=np.int64),
        "time": ("time", spec.training.learning_rate * steps, {"units": "learning rate x step", "long_name": "training time"}),
        "step": ("time", steps, {"units": "steps"}),
        "class_": list(data.class_names),
        "segment": names,
        "segment_": names,
        "kernel_part": ("kernel_sample", ["train"] * len(watched[0]) + ["test"] * len(watched[1])),
        "kernel_index": ("kernel_sample", np.concatenate([watched[0], watched[1] - len(data.train_truth)])),
    }
    return xr.Dataset(variables, coords=coordinates, attrs={**record_attributes(spec), "data_sha256": data.sha256})
