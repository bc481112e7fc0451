"""Segment gradients from their definition, a loop over samples with explicit features; random problems to compare on."""

from __future__ import annotations

import numpy as np

from theory.segments import Segments

__all__ = ["explicit_sums", "random_problem"]


def explicit_sums(features: np.ndarray, residual: np.ndarray, segments: Segments) -> list[np.ndarray]:
    """Segment gradients from the definition: a loop over samples, features ``[n, p]``, residual ``[n, m]``; each ``[m, p]``."""
    sums = []
    for mask in (segments.clean, segments.noise):
        for c in range(segments.n_classes):
            total = np.zeros((residual.shape[1], features.shape[1]))
            for i in np.flatnonzero(mask(c)):
                total += np.outer(residual[i], features[i])
            sums.append(total)
    return sums


def random_problem(seed: int, n_classes: int) -> tuple[np.ndarray, np.ndarray, Segments]:
    """Features ``[n, p]``, logits ``[n]`` or ``[n, C]`` and segments, each class with clean and noisy samples."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4 * n_classes, 40))
    truth = np.concatenate([np.tile(np.arange(n_classes), 2), rng.integers(0, n_classes, n - 2 * n_classes)])
    shift = rng.integers(0, n_classes, n)
    shift[:n_classes], shift[n_classes : 2 * n_classes] = 0, 1
    features = rng.normal(size=(n, int(rng.integers(2, 60)))) + rng.normal()
    logits = rng.normal(size=n if n_classes == 2 else (n, n_classes))
    return features, logits, Segments.from_labels(truth, (truth + shift) % n_classes, n_classes)
