"""The empirical tangent kernel K(x, z) = ⟨∇h(x), ∇h(z)⟩ of a finite network, layer by layer, without ever holding n × p numbers.

A linear layer with activations a and signals δ = ∂h/∂z contributes ⟨a(x), a(z)⟩⟨δ(x), δ(z)⟩ by its weights and ⟨δ(x), δ(z)⟩ by its biases;
for a layer of any other kind the gradients of a few samples in this layer are formed at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from empirical._validation import as_real_array, check_flag, check_integer, check_integers
from empirical.batched import NetworkBatch
from empirical.devices import resolve_device
from empirical.layer_gradients import sample_gradients, samples_at_a_time
from empirical.layer_signals import Layer, as_inputs, forward_pass, trainable_layers

__all__ = ["empirical_ntk", "sample_tangent_kernels"]


def empirical_ntk(
    model: nn.Module, x: ArrayLike | Tensor, z: ArrayLike | Tensor | None = None, *, blocks: bool = False, chunk_size: int = 2048
) -> NDArray[np.floating]:
    """Measure the empirical tangent kernel of a network at its present parameters.

    Args:
        model: network of rows ``[n, d]`` as for ``gradient_geometry``; output ``[n]`` or ``[n, C]``.
        x: inputs ``[n, d]``, converted to the network's type and device.
        z: inputs ``[n', d]``; ``x`` itself by default, and then the kernel is symmetric.
        blocks: with C > 1 logits, return every block ⟨∇h_k(x), ∇h_l(z)⟩ in place of the mean of the diagonal blocks.
        chunk_size: rows of the kernel computed at a time; memory is O((n + n')·width) beside the result.

    Returns:
        kernel ``[n, n']`` in the network's type, (1/C) Σ_k ⟨∇h_k(x), ∇h_k(z)⟩; with ``blocks`` ``[C, C, n, n']``.

    Raises:
        ValueError: if an input is not a finite ``[n, d]`` without zero rows, or a layer is not supported.

    Source: K_ij = ⟨∇h(x_i), ∇h(x_j)⟩, §3 [A], [B]; Jacot et al. (2018).

    Example:
        >>> from empirical.networks import FullyConnected
        >>> kernel = empirical_ntk(FullyConnected(2, 4096, 1), [[1.0, 0.0], [0.0, 1.0]])
        >>> bool(abs(kernel - [[2.0, 1 / np.pi], [1 / np.pi, 2.0]]).max() < 0.2)
        True
    """
    layers = trainable_layers(model)
    size = check_integer(chunk_size, "chunk_size")
    check_flag(blocks, "blocks")
    left = as_inputs(model, x, "x")
    right = left if z is None else as_inputs(model, z, "z")
    if right.shape[1] != left.shape[1]:
        raise ValueError(f"z must have {left.shape[1]} columns as x, got {right.shape[1]}")
    right_factors = _factors(model, layers, right)
    logits = len(right_factors[0][1])
    result = left.new_empty(*((logits, logits) if blocks else ()), len(left), len(right))
    for start in range(0, len(left), size):
        rows = slice(start, start + size)
        left_factors = right_factors if z is None and len(left) <= size else _factors(model, layers, left[rows])
        for k in range(logits):
            for j in range(logits) if blocks else (k,):
                block = _block(layers, left_factors, right_factors, k, j)
                if blocks:
                    result[k, j, rows] = block
                elif k == 0:
                    result[rows] = block / logits
                else:
                    result[rows] += block / logits
    if z is None:  # chunks of rows may differ from their mirror image by rounding
        mirror = result.transpose(-1, -2).transpose(0, 1) if blocks else result.T
        result = (result + mirror) / 2
    array: NDArray[np.floating] = result.cpu().numpy()
    if logits == 1 and blocks:
        return array.reshape(1, 1, *array.shape[-2:])
    return array


def sample_tangent_kernels(
    angles: ArrayLike,
    *,
    width: int,
    depth: int,
    seeds: Sequence[int],
    activation: str = "relu",
    convention: str = "eq2",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    memory_budget: int = 2**28,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Measure K(x, x), K(x, z), K(z, z) of many random networks for unit vectors at given angles, all networks as batches.

    x = (1, 0) and z = (cos θ, sin θ): weights are Gaussian, so that the law of the kernels depends on the angle alone (not in the
    "pytorch" convention). One network (seed) sees all angles: values at different angles are dependent, seeds are independent.

    Args:
        angles: input angles θ_d ``[k]``, radians.
        width: hidden units m.
        depth: hidden layers L.
        seeds: one network each.
        activation: see ``FullyConnected``.
        convention: see ``FullyConnected``.
        dtype: type of the computation.
        device: device of the computation.
        memory_budget: bytes that a batch of networks may take; seeds are split accordingly.

    Returns:
        K_xx, K_xz, K_zz, each ``[seeds, k]`` float64.

    Raises:
        ValueError: if angles are not finite numbers ``[k]`` with k ≥ 1, or a size or name is not valid.

    Source: Thm 3.1 [A], Thm 3.1 [B], Fig. 2 [A].

    Example:
        >>> xx, xz, zz = sample_tangent_kernels([0.0, 3.141592653589793], width=64, depth=1, seeds=range(4))
        >>> bool((xx[:, 0] == xz[:, 0]).all()), bool((abs(xz[:, 1]) < 1e-6).all())  # x and −x have disjoint masks
        (True, True)
    """
    theta = as_real_array(angles, "angles").astype(np.float64)
    if theta.ndim != 1 or theta.size == 0:
        raise ValueError(f"angles must have shape [k] with k >= 1, got shape {list(theta.shape)}")
    points = np.concatenate([[[1.0, 0.0]], np.stack([np.cos(theta), np.sin(theta)], axis=1)])
    points[1:][theta == 0] = points[0]
    x = torch.tensor(points, dtype=dtype, device=resolve_device(device))
    itemsize = x.element_size()
    width, depth, seeds = check_integer(width, "width"), check_integer(depth, "depth"), check_integers(seeds, "seeds")
    check_integer(memory_budget, "memory_budget")
    per_seed = itemsize * (width * 2 + (depth - 1) * width * width + 4 * depth * width * len(points))
    chunk = max(1, int(memory_budget // per_seed))
    results = []
    for start in range(0, len(seeds), chunk):
        batch = NetworkBatch.draw(
            2, width, depth, seeds=seeds[start : start + chunk], activation=activation, convention=convention, dtype=dtype, device=device
        )
        results.append(_paired_kernels(batch, x))
    xx, xz, zz = (torch.cat(part).cpu().numpy() for part in zip(*results, strict=True))
    return xx, xz, zz


def _factors(model: nn.Module, layers: tuple[Layer, ...], x: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
    """For each layer its activations ``[n, …]`` and the signals of each logit ``[n, …]``."""
    evaluated = forward_pass(model, layers, x)
    unit = torch.zeros_like(evaluated.output)
    per_logit = []
    for k in range(unit.shape[1]):
        weights = unit.clone()
        weights[:, k] = 1
        per_logit.append(evaluated.signals(weights))
    return [(activation, [signals[index] for signals in per_logit]) for index, activation in enumerate(evaluated.inputs)]


def _block(
    layers: tuple[Layer, ...],
    left: list[tuple[Tensor, list[Tensor]]],
    right: list[tuple[Tensor, list[Tensor]]],
    k: int,
    j: int,
) -> Tensor:
    """⟨∇h_k(x), ∇h_j(z)⟩ ``[n, n']``."""
    total = left[0][1][0].new_zeros(len(left[0][0]), len(right[0][0]))
    for layer, (a, signals_a), (b, signals_b) in zip(layers, left, right, strict=True):
        if layer.kind != "linear":
            _add_formed(total, layer, (a, signals_a[k]), (b, signals_b[j]))
            continue
        overlap = signals_a[k] @ signals_b[j].T
        if layer.trains_weight:
            total.addcmul_(a @ b.T, overlap, value=layer.scale**2)
        if layer.trains_bias:
            total += overlap
    return total


def _add_formed(total: Tensor, layer: Layer, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor]) -> None:
    """Add the kernel of one layer to ``total`` ``[n, n']``, forming gradients ``[b, p_layer]`` of a few samples of either side."""
    size = samples_at_a_time(layer, *left)
    for column in range(0, total.shape[1], size):
        columns = slice(column, column + size)
        right_gradients = sample_gradients(layer, right[0][columns], right[1][columns])
        for row in range(0, total.shape[0], size):
            rows = slice(row, row + size)
            for ours, theirs in zip(sample_gradients(layer, left[0][rows], left[1][rows]), right_gradients, strict=True):
                total[rows, columns] += ours @ theirs.T


def _paired_kernels(batch: NetworkBatch, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Kernels of the first input with all others, for each network: K_xx, K_xz, K_zz ``[S, k]`` float64."""
    values = batch.forward(x)
    signals = batch.signals(values, torch.ones_like(values[-1]))
    kernels = []
    for first, second in ((slice(0, 1), slice(0, 1)), (slice(0, 1), slice(1, None)), (slice(1, None), slice(1, None))):
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        for value, signal, scale in zip(values[:-1], signals, batch.scales, strict=True):
            # Sums over units are taken in float64: they are what the laws of G1, G2, G8 are about.
            inner_value = (value[..., first, :].double() * value[..., second, :].double()).sum(-1) * scale**2
            inner_signal = (signal[:, first].double() * signal[:, second].double()).sum(-1)
            total = total + inner_signal * (inner_value + (1 if batch.biases else 0))
        kernels.append(total)
    return kernels[0].expand_as(kernels[1]).contiguous(), kernels[1], kernels[2]
