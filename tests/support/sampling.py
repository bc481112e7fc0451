"""Brute-force random networks in NumPy: explicit gradients by hand-written backpropagation, nothing taken from theory.

Oracles for the laws of theory.finite_width and theory.initialization: slow, memory-hungry and obviously right.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["deep_relu_gradients", "ks_radius", "two_layer_gradients", "unit_pair", "variance_z"]

Array = NDArray[np.float64]


def two_layer_gradients(rng: np.random.Generator, inputs: Array, *, width: int, draws: int, activation: str) -> tuple[Array, Array]:
    """Sample h = m^{-1/2} vᵀσ(Ax), Eq. (6) and (7) of [A]: logits ``[draws, k]`` and flat gradients ``[draws, k, m·d + m]``."""
    n_inputs = inputs.shape[1]
    first = rng.standard_normal((draws, width, n_inputs))
    second = rng.standard_normal((draws, width))
    before = np.einsum("rmd,kd->rkm", first, inputs)
    gate = np.ones_like(before) if activation == "linear" else (before > 0).astype(np.float64)
    hidden = before * gate
    logits = np.einsum("rm,rkm->rk", second, hidden) / math.sqrt(width)
    first_gradient = np.einsum("rm,rkm,kd->rkmd", second, gate, inputs) / math.sqrt(width)
    second_gradient = hidden / math.sqrt(width)
    flat = first_gradient.reshape(draws, len(inputs), -1)
    return logits, np.concatenate([flat, second_gradient], axis=2)


def deep_relu_gradients(
    rng: np.random.Generator, inputs: Array, *, width: int, depth: int, draws: int, n_outputs: int = 1
) -> tuple[Array, Array]:
    """Sample Eq. (2) of [B]: logits ``[draws, k, C]`` and flat gradients ``[draws, k, C, p]`` of each logit."""
    sizes = [inputs.shape[1], *[width] * depth]
    weights = [rng.standard_normal((draws, out, fan_in)) for fan_in, out in pairwise(sizes)]
    last = rng.standard_normal((draws, n_outputs, width))
    factor = math.sqrt(2 / width)
    activations = [np.broadcast_to(inputs, (draws, *inputs.shape))]
    gates = []
    for weight in weights:
        before = np.einsum("roi,rki->rko", weight, activations[-1])
        gates.append((before > 0).astype(np.float64))
        activations.append(factor * before * gates[-1])
    logits = np.einsum("rcm,rkm->rkc", last, activations[-1])
    k = len(inputs)
    blocks = [np.einsum("ce,rkm->rkcem", np.eye(n_outputs), activations[-1]).reshape(draws, k, n_outputs, -1)]
    signal = np.broadcast_to(last[:, None], (draws, k, n_outputs, width))  # dh_c/d(last hidden activation)
    for level in range(depth - 1, -1, -1):
        signal = factor * signal * gates[level][:, :, None, :]
        blocks.append(np.einsum("rkco,rki->rkcoi", signal, activations[level]).reshape(draws, k, n_outputs, -1))
        signal = np.einsum("rkco,roi->rkci", signal, weights[level])
    return logits, np.concatenate(blocks, axis=3)


def unit_pair(theta: float) -> Array:
    """Two unit inputs at angle θ in the plane, ``[2, 2]``."""
    return np.array([[1.0, 0.0], [math.cos(theta), math.sin(theta)]])


def variance_z(sample: Array, variance: float) -> float:
    """Return (observed − stated variance) in standard errors, the standard error from the sample's own fourth moment."""
    deviations = sample - sample.mean()
    second, fourth = np.mean(deviations**2), np.mean(deviations**4)
    return float((second - variance) / math.sqrt((fourth - second**2) / sample.size))


def ks_radius(n: int, error_rate: float) -> float:
    """Half-width of the Dvoretzky-Kiefer-Wolfowitz band: P(sup |F_n − F| > radius) ≤ error_rate for every law and every n."""
    return math.sqrt(math.log(2 / error_rate) / (2 * n))
