"""Training with ten classes on the tangent kernel that a network has before training: the theory in the figures of the CNN.

No closed form of a convolutional network's tangent kernel with max-pooling is known. What can be had is the kernel of a few networks,
measured on the same samples before training, and from them to the test samples; gradient descent on it, every logit alike, is what training
would be if the kernel stayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from empirical.experiments import experiment
from empirical.noise import corrupt_labels_batch
from reports.evidence import Agreement
from tests.support.multiclass import softmax
from theory.dynamics import gradient_descent

__all__ = ["FrozenRun", "frozen", "frozen_caption", "frozen_test_error", "kernel_of"]

Array = NDArray[np.float64]
CLASSES = 10

# Networks' experiments, by their names before "-noise-…" → the experiment that measures their kernels, and in which tiers: the papers'
# 60,000 pictures have a kernel of 3.6e9 entries.
KERNELS = {"digits-cnn": ("digits-cnn-kernel", ("quick", "standard", "full")), "mnist-cnn": ("mnist-cnn-kernel", ("quick", "standard"))}


@dataclass(frozen=True)
class FrozenRun:
    """Softmax training on a fixed kernel, every logit alike (K ⊗ I_C): segment means ``[T]`` by the names of the recorder, and the ratios.

    Attributes:
        series: name → ``[T]``.
        ratios: log(‖g_clean^(c)‖/‖g_noise^(c)‖) of each class c at its own logit ``[T, C]``.
    """

    series: Mapping[str, Array]
    ratios: Array


def kernel_of(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The experiment that measures the kernels of these networks before training, and the tiers in which it is measured; None for none."""
    return KERNELS.get(name.split("-noise-")[0])


def frozen(agreement: Agreement, name: str, run: xr.Dataset) -> FrozenRun | None:
    """What the training of an experiment would be on the kernel before training; None where that is not measured.

    The kernel is the mean over a few networks, on the same samples; the labels are those of the first network of the run.
    """
    found = kernel_of(name)
    if found is None or agreement.tier not in found[1]:
        return None
    spec: Any = experiment(name, tier=agreement.tier)
    sample = agreement.measure(found[0])
    assert sample.attrs["data_sha256"] == run.attrs["data_sha256"]
    data, seed = spec.data.load(), int(run["seed"].values[0])
    truth = data.train_truth
    observed = corrupt_labels_batch(truth, spec.noise_level, n_classes=CLASSES, seeds=[seed])[0]
    steps, rate = run["step"].values.tolist(), spec.training.learning_rate

    def train() -> dict[str, Array]:
        kernel, cross = (np.asarray(sample[name].values, dtype=float).mean(axis=0) for name in ("kernel", "kernel_test"))
        return frozen_run(kernel, truth, observed, rate=rate, steps=steps, cross=cross, test_truth=data.test_truth)

    measured = {"sample": sample.attrs["measurement_sha256"], "seed": seed, "noise_level": spec.noise_level}
    arrays = agreement.kept("training on the kernel before training", train, steps=steps, rate=rate, **measured)
    return FrozenRun({key: values for key, values in arrays.items() if key != "ratios"}, arrays["ratios"])


def frozen_run(
    kernel: Array,
    truth: NDArray[np.int64],
    observed: NDArray[np.int64],
    *,
    rate: float,
    steps: Sequence[int],
    cross: Array | None = None,
    test_truth: NDArray[np.int64] | None = None,
) -> dict[str, Array]:
    """Full-batch descent from output 0: the series of `FrozenRun`, and its ``ratios``.

    With ``cross`` ``[n_test, n]``, the kernel between test samples and samples, also ``test_error`` against their true labels.
    """
    labels, noisy = np.eye(CLASSES)[observed], observed != truth
    path = gradient_descent(kernel, labels, learning_rate=rate, steps=max(steps), loss="softmax", record=list(steps), cross_kernel=cross)
    f = softmax(np.asarray(path.logits))  # [T, n, C]
    own = np.take_along_axis(f, observed[None, :, None], axis=2)[..., 0]
    values = {"error": errors(f, observed), "residual_norm": np.linalg.norm(f - labels, axis=2), "loss": -np.log(own)}
    series = {
        f"{segment}_{name}": value[:, mask].mean(axis=1)
        for segment, mask in (("clean", ~noisy), ("noise", noisy), ("train", noisy | ~noisy))
        for name, value in values.items()
    }
    if path.test_logits is not None and test_truth is not None:
        series["test_error"] = errors(np.asarray(path.test_logits), test_truth).mean(axis=1)
    ratios = []
    for c in range(CLASSES):
        members = truth == c
        part, block = (f - labels)[:, members, c], kernel[np.ix_(members, members)]
        square = [np.einsum("ti,ij,tj->t", part * mask, block, part * mask, optimize=True) for mask in (~noisy[members], noisy[members])]
        ratios.append(np.log(square[0] / square[1]) / 2)
    return {**series, "ratios": np.stack(ratios, axis=1)}


def errors(logits: Array, labels: NDArray[np.int64]) -> Array:
    """Whether the largest of the logits ``[T, n, C]`` is not at the label ``[T, n]``; a tie among all, at the start, counts as a guess."""
    return np.where(np.ptp(logits, axis=2) == 0, 1 - 1 / CLASSES, logits.argmax(axis=2) != labels)


def frozen_caption(theirs: FrozenRun | None, name: str) -> str:
    """What the captions of an experiment's figures say of the theory in them."""
    if theirs is not None:
        return (
            "Line: one label draw, from output 0, on the network's tangent kernel as it is before training; the networks' residuals move "
            "faster, because their kernel moves."
        )
    if "resnet" in name:
        return (
            "No theory is drawn: batch normalisation couples the samples of a mini-batch, and such training has no kernel between samples."
        )
    if kernel_of(name) is None:
        return "No theory is drawn: at a fixed learning rate PyTorch's parametrisation has no limit of infinite width."
    return "No theory is drawn: the tangent kernel of so many pictures is not measured."


def frozen_test_error(theirs: FrozenRun | None, run: xr.Dataset) -> str:
    """Where the test error on that kernel is smallest, as a sentence; nothing where it is not known."""
    if theirs is None or "test_error" not in theirs.series:
        return ""
    error = theirs.series["test_error"]
    best = int(np.argmin(error))
    when = "at the end, still falling" if best == len(error) - 1 else f"at η·step = {float(run['time'].values[best]):.3g}"
    return f" Its test error is smallest {when}: {error[best]:.3f}."
