"""Multi-class problems written out: collapsed classes with exactly uniform wrong labels; softmax and gradients from their definitions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from empirical.networks import FullyConnected

__all__ = ["gradient", "softmax", "uniform_noise"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


def gradient(network: FullyConnected, scalar: Tensor) -> Tensor:
    """Gradient ``[p]`` with respect to all parameters, by automatic differentiation."""
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(scalar, list(network.parameters()))])


def softmax(logits: Array) -> Array:
    """Softmax over the last axis, from its definition."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def uniform_noise(n_classes: int, noise_level: float, *, members: int) -> tuple[Labels, Labels]:
    """True and observed labels of ``members`` samples per class, each wrong label equally often: δ·members/(C − 1) times."""
    each = noise_level * members / (n_classes - 1)
    if abs(each - round(each)) > 1e-9:
        raise ValueError(f"members·noise_level must be a multiple of C − 1, got {members}·{noise_level} for C = {n_classes}")
    truth = np.repeat(np.arange(n_classes), members)
    observed = truth.copy()
    for c in range(n_classes):
        wrong = np.repeat([k for k in range(n_classes) if k != c], round(each))
        observed[np.flatnonzero(truth == c)[: len(wrong)]] = wrong
    return truth, observed
