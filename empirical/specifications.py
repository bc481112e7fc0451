"""Frozen specifications: which data, which network, how trained, which seeds. What is measured depends on nothing else.

A specification has a canonical form, and with the hash of its data and the version of the instruments a key: the address of its
measurement in the store.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from empirical._validation import check_choice, check_integer, check_noise_level, check_positive
from empirical.datasets import DATA_ROOT_VARIABLE, Dataset, load_dataset
from empirical.networks import check_architecture

__all__ = [
    "MEASUREMENT_VERSION",
    "DataSpec",
    "NetworkSpec",
    "TrainingSpec",
    "check_common",
    "check_seeds",
    "key_of",
    "log_spaced_steps",
    "seeds_by_rule",
]

MEASUREMENT_VERSION = 1
"""To be raised whenever an instrument changes what it measures: records of an older version are then measured afresh."""


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
        name = {"mnist": "MNIST", "digits": "digits", "clusters": "clusters"}.get(self.name, self.name)
        if self.classes is None or self.name == "clusters":
            return name
        return f"{name} {'/'.join(str(c) for c in self.classes)}"


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A fully connected network; input dimension and number of logits come from the data.

    Attributes:
        width: units m of every hidden layer.
        depth: hidden layers L.
        activation: see ``FullyConnected``.
        convention: see ``FullyConnected``.
        centred: see ``FullyConnected``.
    """

    width: int
    depth: int
    activation: str = "relu"
    convention: str = "eq2"
    centred: bool = False

    def __post_init__(self) -> None:
        check_integer(self.width, "width")
        check_integer(self.depth, "depth")
        check_architecture(self.activation, self.convention)

    def canonical(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "width": self.width,
            "depth": self.depth,
            "activation": self.activation,
            "convention": self.convention,
            "centred": self.centred,
        }


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """Gradient descent on the mean logistic or cross-entropy loss.

    Attributes:
        learning_rate: η, per step on the mean loss.
        steps: number of steps; 0 measures the initialisation.
        batch_size: samples per step of stochastic gradient descent, drawn without replacement within an epoch; None for the whole set.
        n_records: number of steps at which everything is recorded, spaced logarithmically from 0 to ``steps``.
        record_logits: also keep the logits of training and test samples at these steps.
    """

    learning_rate: float
    steps: int
    batch_size: int | None = None
    n_records: int = 30
    record_logits: bool = False

    def __post_init__(self) -> None:
        check_positive(self.learning_rate, "learning_rate")
        check_integer(self.steps, "steps", minimum=0)
        check_integer(self.n_records, "n_records")
        if self.batch_size is not None:
            check_integer(self.batch_size, "batch_size")

    @property
    def record_steps(self) -> tuple[int, ...]:
        """Steps at which everything is recorded."""
        return log_spaced_steps(self.steps, self.n_records)

    def canonical(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
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
    check_integer(count, "count")
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
    checked = tuple(check_integer(seed, "each of seeds", minimum=0) for seed in seeds)
    if not checked or len(set(checked)) != len(checked):
        raise ValueError(f"seeds must be at least one integer, all different, got {' '.join(map(str, checked))[:80] or 'none'}")
    return checked


def check_common(name: str, noise_level: float, dtype: str) -> None:
    """Check what the specifications have in common.

    Raises:
        ValueError: if the name is empty, δ is outside [0, 1), or dtype is not "float32" or "float64".
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be a non-empty string, got {name!r}")
    check_noise_level(noise_level)
    check_choice(dtype, "dtype", ("float32", "float64"))


def key_of(canonical: dict[str, Any], data_sha256: str) -> str:
    """Hash of a canonical form, the data and the version of the instruments: sha256, hexadecimal."""
    content = {"specification": canonical, "data": data_sha256, "measurement_version": MEASUREMENT_VERSION}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


@functools.lru_cache(maxsize=16)
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
