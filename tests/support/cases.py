"""Fixed-kernel problems in which a theorem's hypotheses hold exactly, or fail exactly as intended."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.dynamics import gradient_descent
from theory.segment_history import segment_history
from theory.segments import Segments

__all__ = [
    "Case",
    "accuracy_counterexample",
    "alpha_by_descent",
    "balanced_clusters",
    "equicorrelated",
    "random_case",
    "symmetric_locations",
    "two_arcs",
]


@dataclass(frozen=True, eq=False)
class Case:
    """A kernel with ground-truth and observed labels.

    Attributes:
        kernel: ``[n, n]``.
        truth: ``[n]`` classes.
        observed: ``[n]`` classes.
        initial_logits: ``[n]``; zero unless the case needs others.
        n_classes: C.
    """

    kernel: NDArray[np.float64]
    truth: NDArray[np.int64]
    observed: NDArray[np.int64]
    initial_logits: NDArray[np.float64]
    n_classes: int = 2

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.truth.size)

    @property
    def segments(self) -> Segments:
        """Clean and noisy segments."""
        return Segments.from_labels(self.truth, self.observed, self.n_classes)


def symmetric_locations(n_locations: int = 16, per_location: int = 10, noise_level: float = 0.3) -> Case:
    """Assumption 4.1 holds exactly at all times although the classes are not collapsed (D1).

    Half of the locations form a ring about one pole of the sphere (class 1), the other half its mirror image (class 0), with a Gaussian
    kernel: rotations and the reflection make all row sums within a class equal, and all row sums between the classes. Each location holds
    the same share of noisy samples. The kernel has rank ``n_locations``.
    """
    half = n_locations // 2
    noisy = round(noise_level * per_location)
    assert n_locations == 2 * half, "the classes must be of equal size"
    assert np.isclose(noisy, noise_level * per_location), "the shares must be whole numbers of samples"
    angle = 2 * np.pi * np.arange(half) / half
    ring = np.stack([np.sin(0.6) * np.cos(angle), np.sin(0.6) * np.sin(angle), np.full(half, np.cos(0.6))], axis=1)
    points = np.repeat(np.concatenate([ring * [1, 1, -1], ring]), per_location, axis=0)
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=-1))
    truth = np.repeat([0, 1], half * per_location)
    is_noisy = np.tile(np.arange(per_location) < noisy, n_locations)
    return Case((kernel + kernel.T) / 2, truth, np.where(is_noisy, 1 - truth, truth), np.zeros(truth.size))


def balanced_clusters(class_size: int, *, within: float, between: float, noise_level: float, n_classes: int = 2) -> Case:
    """Collapsed classes of equal size; the noisy samples of a class are spread evenly over the wrong labels (X1)."""
    return _blocks(class_size, within, within, between, noise_level, n_classes)


def equicorrelated(class_size: int, *, diagonal: float, within: float, between: float, noise_level: float) -> Case:
    """Kernel a on the diagonal, b within a class, b′ between the classes (X5)."""
    return _blocks(class_size, diagonal, within, between, noise_level, 2)


def accuracy_counterexample() -> tuple[Case, float]:
    """Assumption 4.1 holds exactly at t and t+1, the clean loss falls, and the clean accuracy falls from 2/3 to 1/3 (D7).

    One scalar feature φ and weight w = −0.01; class 1 has clean φ = 3, −1, −1 and noisy φ = 0.5; class 0 is its mirror image. Returns the
    case and its learning rate η = 1.1.
    """
    feature = np.array([3.0, -1.0, -1.0, 0.5])
    phi = np.concatenate([feature, -feature])
    truth = np.repeat([1, 0], 4)
    observed = truth.copy()
    observed[[3, 7]] = 1 - observed[[3, 7]]
    return Case(np.outer(phi, phi), truth, observed, -0.01 * phi), 1.1


def two_arcs(per_class: int = 200, *, noise_level: float = 0.3, seed: int = 0) -> Case:
    """Two arcs of 60° on the unit circle, 120° apart, normalised one-hidden-layer ReLU kernel, independent label flips (R3)."""
    angle = np.deg2rad(np.concatenate([np.linspace(120, 180, per_class), np.linspace(0, 60, per_class)]))
    gap = np.abs(angle[:, None] - angle[None])
    kernel = (1 - gap / np.pi) * np.cos(gap) + np.sin(gap) / (2 * np.pi)
    truth = np.repeat([0, 1], per_class)
    flipped = np.random.default_rng(seed).random(truth.size) < noise_level
    return Case(kernel, truth, np.where(flipped, 1 - truth, truth), np.zeros(truth.size))


def alpha_by_descent(case: Case, *, learning_rate: float, steps: int) -> NDArray[np.float64]:
    """Return α^(c) along descent on all samples from the case's logits, from the segment gradients' own norms ``[steps + 1, C]``."""
    path = gradient_descent(case.kernel, case.observed, learning_rate=learning_rate, steps=steps, initial_logits=case.initial_logits)
    return np.asarray(segment_history(case.kernel, path.logits, case.segments).alpha)


def random_case(rng: np.random.Generator, *, n: int | None = None, initial_scale: float = 0.0) -> Case:
    """A random positive semi-definite kernel of random rank and spectrum, both segments non-empty, no structure at all."""
    n = int(rng.integers(4, 25)) if n is None else n
    features = rng.normal(size=(n, int(rng.integers(2, 2 * n)))) * np.exp(rng.normal(scale=rng.uniform(0, 1), size=(n, 1)))
    features += rng.normal(scale=rng.uniform(0, 2), size=features.shape[1])
    truth = rng.integers(0, 2, n)
    flipped = rng.random(n) < rng.uniform(0.05, 0.6)
    flipped[:2] = True, False
    kernel = features @ features.T
    return Case((kernel + kernel.T) / 2, truth, np.where(flipped, 1 - truth, truth), initial_scale * rng.normal(size=n))


def _blocks(class_size: int, diagonal: float, within: float, between: float, noise_level: float, n_classes: int) -> Case:
    noisy = round(noise_level * class_size)
    assert np.isclose(noisy, noise_level * class_size), "the noise level must be a whole number of samples"
    assert noisy % (n_classes - 1) == 0, "the noise must spread evenly over the wrong labels"
    truth = np.repeat(np.arange(n_classes), class_size)
    kernel = np.where(truth[:, None] == truth[None], within, between).astype(np.float64)
    np.fill_diagonal(kernel, diagonal)
    place = np.tile(np.arange(class_size), n_classes)
    shift = np.where(place < noisy, 1 + place % (n_classes - 1), 0)
    return Case(kernel, truth, (truth + shift) % n_classes, np.zeros(truth.size), n_classes)
