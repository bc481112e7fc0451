"""Frozen specifications: which data, which network, how trained, which seeds. What is measured depends on nothing else.

A specification has a canonical form, and with the hash of its data and the version of the instruments a key (`keys.py`): the address of
its measurement in the store.
"""

from __future__ import annotations

import functools
import hashlib
import os
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import nn

from empirical._validation import check_choice, check_flag, check_integer, check_integers, check_noise_level, check_positive, check_text
from empirical.datasets import DATA_ROOT_VARIABLE, Dataset, load_dataset
from empirical.image_networks import CNN_CHANNELS, ConvolutionalNetwork, ResNet9
from empirical.networks import FullyConnected, check_architecture

__all__ = [
    "MEASUREMENT_VERSION",
    "NETWORK_KINDS",
    "DataSpec",
    "NetworkSpec",
    "TrainingSpec",
    "check_common",
    "check_seeds",
    "log_spaced_steps",
    "seeds_by_rule",
]

MEASUREMENT_VERSION = 1
"""To be raised whenever an instrument changes what it measures: records of an older version are then measured afresh."""

NETWORK_KINDS = ("fully_connected", "cnn", "resnet9")
"""Kinds of networks."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Arguments of ``load_dataset``.

    Attributes:
        name: data set.
        classes: the classes kept, label k is the k-th; all by default.
        n_train: training samples in total or per class; everything by default.
        n_test: test samples in total or per class.
        seed: of the draw of samples.
        normalize: ``"unit"`` or ``"pixel"``.
        root: folder of the files; not part of the canonical form (the hash of the data is).
    """

    name: str
    classes: tuple[int | str, ...] | None = None
    n_train: int | tuple[int, ...] | None = None
    n_test: int | tuple[int, ...] | None = None
    seed: int = 0
    normalize: str = "unit"
    root: str | None = None

    def __post_init__(self) -> None:
        check_text(self.name, "name")
        check_text(self.normalize, "normalize")
        check_integer(self.seed, "seed", minimum=0)
        if self.classes is not None and not (
            isinstance(self.classes, (tuple, list)) and self.classes and all(isinstance(c, (int, np.integer, str)) for c in self.classes)
        ):
            raise ValueError(f"classes must be a tuple of names or numbers, got {self.classes!r:.60}")
        for name in ("classes", "n_train", "n_test"):  # a list is taken as a tuple: a specification can be looked up
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("n_train", "n_test"):
            size = getattr(self, name)
            if isinstance(size, tuple):
                check_integers(size, name)
            elif size is not None:
                check_integer(size, name, minimum=0)

    def load(self) -> Dataset:
        """Load the data, once per process.

        Raises:
            DatasetNotFound: if the files are not there.
            ValueError: if a name, class or size is not available.
        """
        return _load_once(self, os.environ.get(DATA_ROOT_VARIABLE))

    def canonical(self) -> dict[str, Any]:
        """JSON-able form, without the folder."""
        return {
            "name": self.name,
            "classes": None if self.classes is None else [str(c) for c in self.classes],
            "n_train": list(self.n_train) if isinstance(self.n_train, tuple) else self.n_train,
            "n_test": list(self.n_test) if isinstance(self.n_test, tuple) else self.n_test,
            "seed": self.seed,
            "normalize": self.normalize,
        }

    @property
    def label(self) -> str:
        """Short name for people: ``MNIST 7/9``."""
        name = {"mnist": "MNIST", "cifar10": "CIFAR-10"}.get(self.name, self.name)
        if self.classes is None or self.name == "clusters":
            return name
        return f"{name} {'/'.join(str(c) for c in self.classes)}"


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network; input dimension, shape of pictures and number of logits come from the data.

    Attributes:
        kind: ``"fully_connected"``, ``"cnn"`` or ``"resnet9"``.
        width: units m of every hidden layer of a fully connected network; of a CNN, units of its first fully connected layer (64 in [A]).
        depth: hidden layers L of a fully connected network; 0 for the others.
        activation: see ``FullyConnected``; for ResNet-9 ``"relu"`` or ``"mish"``.
        convention: see ``FullyConnected``; networks for pictures always start as PyTorch draws them and have ``"pytorch"``.
        centred: subtract the output at initialisation, so that training starts from output 0. Not with batch normalisation, where the
            output for one sample depends on the others.
        channels: factor on the channels of a CNN (32 and 64) or of ResNet-9.
        normalization: of ResNet-9, ``"batch"`` or ``"group"``.
        variant: of ResNet-9, ``"usual"`` or ``"footnote"``, see ``ResNet9``.
        zero_output: of a network for pictures, its last layer is 0 at initialisation: it starts from 1/C for every class, which random
            weights after batch normalisation do not, and may be trained on mini-batches as any other.

    Example:
        >>> NetworkSpec(width=512, depth=2, convention="pytorch").label
        'L = 2 · m = 512'
        >>> NetworkSpec(kind="cnn", width=64, channels=0.5, convention="pytorch").label
        'CNN · channels × 0.5'
    """

    kind: str = "fully_connected"
    width: int = 0
    depth: int = 0
    activation: str = "relu"
    convention: str = "eq2"
    centred: bool = False
    channels: float = 1.0
    normalization: str = "batch"
    variant: str = "usual"
    zero_output: bool = False

    def __post_init__(self) -> None:
        check_choice(self.kind, "kind", NETWORK_KINDS)
        check_flag(self.centred, "centred")
        check_flag(self.zero_output, "zero_output")
        if self.kind == "fully_connected":
            check_integer(self.width, "width")
            check_integer(self.depth, "depth")
            check_architecture(self.activation, self.convention)
        else:
            check_integer(self.width, "width", minimum=1 if self.kind == "cnn" else 0)
            check_positive(self.channels, "channels")
            check_choice(self.normalization, "normalization", ("batch", "group"))
            check_choice(self.variant, "variant", ("usual", "footnote"))
            check_choice(self.convention, f"convention of kind {self.kind!r}", ("pytorch",))
            check_choice(self.activation, f"activation of kind {self.kind!r}", ("relu",) if self.kind == "cnn" else ("relu", "mish"))
        if self.centred and self.couples_samples:
            raise ValueError("centred must be False with batch normalisation (no output of one sample alone in training), got True")
        for name in self._unused:
            if getattr(self, name) != _NETWORK_DEFAULTS[name]:
                raise ValueError(f"{name} must be left out for kind {self.kind!r}, got {getattr(self, name)!r}")

    @property
    def couples_samples(self) -> bool:
        """Whether the samples of a batch act on one another in training: batch normalisation."""
        return self.kind == "resnet9" and self.normalization == "batch"

    @property
    def label(self) -> str:
        """Short name for people."""
        if self.kind == "fully_connected":
            return f"L = {self.depth} · m = {self.width}"
        name = "CNN" if self.kind == "cnn" else f"ResNet-9 ({self.normalization} normalisation)"
        return name if self.channels == 1 else f"{name} · channels × {self.channels:g}"

    @property
    def _unused(self) -> tuple[str, ...]:
        """Fields without meaning for this kind."""
        return {
            "fully_connected": ("channels", "normalization", "variant", "zero_output"),
            "cnn": ("depth", "normalization", "variant"),
            "resnet9": ("width", "depth"),
        }[self.kind]

    def build(self, dataset: Dataset, *, seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
        """Return one network for the data, on the CPU, with the initialisation of ``seed``; one logit for two classes, else C.

        A network for pictures is in training mode, and batch normalisation as new (see ``ResNet9.calibrate``); its output is not centred.

        Raises:
            ValueError: if the data are no pictures and the network is for pictures, or too small ones.

        Example:
            >>> data = DataSpec(name="digits").load()
            >>> type(NetworkSpec(kind="cnn", width=8, channels=0.125, convention="pytorch").build(data, seed=0)).__name__
            'ConvolutionalNetwork'
        """
        n_outputs = 1 if dataset.n_classes == 2 else dataset.n_classes
        if self.kind == "fully_connected":
            return FullyConnected(
                dataset.train_inputs.shape[1],
                self.width,
                self.depth,
                n_outputs=n_outputs,
                activation=self.activation,
                convention=self.convention,
                centred=self.centred,
                seed=seed,
                dtype=dtype,
            )
        if dataset.image_shape is None:
            raise ValueError(f"data must be pictures for a network of kind {self.kind!r}, got {dataset.name!r}")
        if self.kind == "cnn":
            counts = [self.channels * count for count in CNN_CHANNELS]
            if any(count != round(count) for count in counts):
                raise ValueError(f"channels must make {', '.join(map(str, CNN_CHANNELS))} whole numbers, got the factor {self.channels}")
            first, second = (round(count) for count in counts)
            network: ConvolutionalNetwork | ResNet9 = ConvolutionalNetwork(
                dataset.image_shape, n_outputs, channels=(first, second), hidden=self.width, seed=seed, dtype=dtype
            )
        else:
            network = ResNet9(
                dataset.image_shape,
                n_outputs,
                channels=self.channels,
                variant=self.variant,
                normalization=self.normalization,
                activation=self.activation,
                seed=seed,
                dtype=dtype,
            )
        if self.zero_output:
            for parameter in network.last.parameters():
                nn.init.zeros_(parameter)
        return network

    def canonical(self) -> dict[str, Any]:
        """JSON-able form: what has a meaning for the kind; the kind itself unless fully connected, ``zero_output`` only where set."""
        unused = {*self._unused, *([] if self.zero_output else ["zero_output"])}
        names = [name for name in _NETWORK_DEFAULTS if name not in unused]
        return {name: getattr(self, name) for name in names if (name, self.kind) != ("kind", "fully_connected")}


_NETWORK_DEFAULTS = {item.name: item.default for item in fields(NetworkSpec)}


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """Gradient descent on the mean logistic or cross-entropy loss.

    Attributes:
        learning_rate: η, per step on the mean loss.
        steps: number of steps; 0 measures the initialisation.
        batch_size: samples per step of stochastic gradient descent, drawn without replacement within an epoch; None for the whole set.
        n_records: number of steps at which everything is recorded, spaced logarithmically from 0 to ``steps``.
        record_logits: also keep the logits of training and test samples at these steps.
        record_samples: about how many training samples the segment gradients are summed over, drawn by each seed at the start, the same
            share of every segment and one sample of it at least; None for all. Losses and errors always count all samples.
    """

    learning_rate: float
    steps: int
    batch_size: int | None = None
    n_records: int = 30
    record_logits: bool = False
    record_samples: int | None = None

    def __post_init__(self) -> None:
        check_positive(self.learning_rate, "learning_rate")
        check_integer(self.steps, "steps", minimum=0)
        check_integer(self.n_records, "n_records")
        check_flag(self.record_logits, "record_logits")
        if self.batch_size is not None:
            check_integer(self.batch_size, "batch_size")
        if self.record_samples is not None:
            check_integer(self.record_samples, "record_samples")

    @property
    def record_steps(self) -> tuple[int, ...]:
        """Steps at which everything is recorded."""
        return log_spaced_steps(self.steps, self.n_records)

    def canonical(self) -> dict[str, Any]:
        """JSON-able form."""
        subset = {} if self.record_samples is None else {"record_samples": self.record_samples}
        return subset | {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "n_records": self.n_records,
            "record_logits": self.record_logits,
        }


def log_spaced_steps(steps: int, count: int) -> tuple[int, ...]:
    """At most ``count`` different integers from 0 to ``steps``, both included, spaced as evenly as possible in log(1 + step).

    Example:
        >>> log_spaced_steps(100, 8)
        (0, 1, 3, 6, 13, 26, 51, 100)
        >>> log_spaced_steps(0, 8)
        (0,)
    """
    steps, count = check_integer(steps, "steps", minimum=0), check_integer(count, "count")
    if count >= steps + 1:
        return tuple(range(steps + 1))
    if count == 1:
        return (steps,)
    # Early points collide on integers; ask for more points until ``count`` different ones result.
    best: tuple[int, ...] = (0, steps)
    for asked in range(count, 20 * count):
        candidate = tuple(int(step) for step in np.unique(np.rint(np.expm1(np.linspace(0, np.log1p(steps), asked))).astype(np.int64)))
        if len(candidate) > count:
            break
        best = candidate
    return best


def seeds_by_rule(name: str, count: int, *, salt: str = "") -> tuple[int, ...]:
    """Seeds of an experiment: the first ``count`` different 31-bit numbers of a hash of its name, never chosen by looking.

    Args:
        name: of the experiment.
        count: how many; more seeds extend fewer.
        salt: text that makes other seeds by the same rule.

    Example:
        >>> seeds_by_rule("clusters", 3) == seeds_by_rule("clusters", 5)[:3]
        True
    """
    check_text(name, "name")
    check_text(salt, "salt")
    check_integer(count, "count", maximum=10**6)
    seeds: dict[int, None] = {}
    index = 0
    while len(seeds) < count:
        digest = hashlib.sha256(f"{name}\0{salt}\0{index}".encode()).digest()
        seeds[int.from_bytes(digest[:4], "big") >> 1] = None
        index += 1
    return tuple(seeds)


def check_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Return seeds as a tuple of different non-negative integers, at least one.

    Raises:
        ValueError: otherwise.
    """
    checked = check_integers(seeds, "seeds")
    if len(set(checked)) != len(checked):
        raise ValueError(f"seeds must be at least one integer, all different, got {' '.join(map(str, checked))[:80] or 'none'}")
    return checked


def check_common(name: str, noise_level: float, dtype: str) -> None:
    """Check what the specifications have in common.

    Raises:
        ValueError: if the name is empty, δ is outside [0, 1), or dtype is not "float32" or "float64".
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be a non-empty string, got {name!r:.60}")
    check_noise_level(noise_level)
    check_choice(dtype, "dtype", ("float32", "float64"))


@functools.lru_cache(maxsize=64)
def _load_once(spec: DataSpec, root_variable: str | None) -> Dataset:
    """``load_dataset``, cached by specification and by the environment variable that names the folder."""
    return load_dataset(
        spec.name,
        classes=spec.classes,
        n_train=spec.n_train,
        n_test=spec.n_test,
        root=spec.root,
        seed=spec.seed,
        normalize=spec.normalize,
    )
