"""Beyond the papers (X8, X9): the sample size, depth and noise level up to which clean priority exists at f ≡ 1/C."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import Estimate, exact, mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.cases import balanced_clusters
from tests.support.estimates import at_once
from tests.support.kernel_data import SOURCES, KernelProblem, Source, sources
from theory.alpha import alpha_recursion, cluster_kernel_scale, initial_alpha, noise_threshold
from theory.dynamics import gradient_descent
from theory.existence import critical_depth, noisy_sample_drift, samples_for_clean_priority
from theory.initialization import class_kernel_means
from theory.kernels import ntk
from theory.segments import Segments, segment_geometry

Array = NDArray[np.float64]
EPS = np.finfo(float).eps
DRAWS = 2000
NONE = {"none allowed": 0.0}


def first_step_push(rng: np.random.Generator, kernel: Array, truth: NDArray[np.int64], noise_level: float, *, n_classes: int = 2) -> Array:
    """Σ_j K_ij <r_i, r_j>·C, mean over noisy samples i, from one step of descent at f ≡ 1/C, by label draw ``[DRAWS]``.

    Labels are flipped independently. The step moves the logits by Δh = −(η/n)K r, so that the sum is −(n/η) <r_i, Δh_i>·C. Each sample is
    noisy with probability δ: its indicator over δ gives an unbiased mean although the number of noisy samples varies.
    """
    n = len(truth)
    flipped = rng.random((n, DRAWS)) < noise_level
    observed = np.where(flipped, (truth[:, None] + rng.integers(1, n_classes, (n, DRAWS))) % n_classes, truth[:, None])
    # One product per column: long batches go in pieces.
    pushes = []
    for part in np.array_split(np.arange(DRAWS), max(1, n * n_classes * DRAWS // 2_000_000)):
        labels = observed[:, part] if n_classes == 2 else np.moveaxis(np.eye(n_classes)[observed[:, part]], 2, 1)
        path = gradient_descent(kernel, labels, learning_rate=1.0, steps=1, loss="logistic" if n_classes == 2 else "softmax", record=[1])
        move = np.asarray(path.logits)[0]
        if n_classes == 2:
            # Two classes, one logit: r = f − y, and <r_i, r_j> of the two-component residuals is twice r_i r_j.
            product = 2 * (0.5 - labels) * move
        else:
            product = ((1 / n_classes - labels) * move).sum(axis=1)
        pushes.append((-n * n_classes * product * flipped[:, part] / noise_level).mean(axis=0))
    return np.concatenate(pushes)


def simplex(samples_per_class: int, *, depth: int, within: float, between: float, n_classes: int = 2) -> tuple[Array, NDArray[np.int64]]:
    """Tangent kernel of unit inputs at one angle within every class and one between classes (degrees), from the inputs themselves."""
    truth = np.repeat(np.arange(n_classes), samples_per_class)
    cosine = np.where(truth[:, None] == truth[None], math.cos(math.radians(within)), math.cos(math.radians(between)))
    np.fill_diagonal(cosine, 1.0)
    values, vectors = np.linalg.eigh(cosine)
    return np.asarray(ntk(vectors * np.sqrt(np.maximum(values, 0)), depth=depth), dtype=float), truth


def means_of(kernel: Array, truth: NDArray[np.int64]) -> dict[str, float]:
    """K_d, K_w, K_b of a kernel."""
    same = (truth[:, None] == truth[None]) & ~np.eye(len(truth), dtype=bool)
    other = truth[:, None] != truth[None]
    return {"diagonal": float(np.diag(kernel).mean()), "within": float(kernel[same].mean()), "between": float(kernel[other].mean())}


def joint(samples: list[Array], *, error_rate: float, scale: Array) -> Estimate:
    """Means over label draws in units of ``scale``, one interval for all together."""
    return at_once(mean_interval(np.stack(samples, axis=1) / scale, error_rate=error_rate / len(samples)))
