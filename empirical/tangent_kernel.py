"""The empirical tangent kernel K(x, z) = ⟨∇h(x), ∇h(z)⟩ of a finite network, layer by layer, without ever holding n × p numbers.

A linear layer with activations a and signals δ = ∂h/∂z contributes ⟨a(x), a(z)⟩⟨δ(x), δ(z)⟩ by its weights and ⟨δ(x), δ(z)⟩ by its biases.
A layer of any other kind contributes inner products of its gradients, formed once per sample where they are fewer numbers than activations
and signals (a convolution's are), else of a few samples at a time. The kernel is made in tiles of samples × samples
(``empirical.kernel_plan``); of a symmetric one each pair of tiles is computed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from empirical._validation import as_real_array, check_flag, check_integer, check_integers
from empirical.batched import NetworkBatch
from empirical.devices import resolve_device
from empirical.kernel_plan import holds_gradients, plan_kernel
from empirical.layer_gradients import sample_gradients, samples_at_a_time
from empirical.layer_signals import Layer, as_inputs, forward_pass, trainable_layers
from empirical.memory_plan import OVERHEAD
from empirical.seed_batches import in_seed_batches

__all__ = ["empirical_ntk", "sample_tangent_kernels"]


def empirical_ntk(
    model: nn.Module,
    x: ArrayLike | Tensor,
    z: ArrayLike | Tensor | None = None,
    *,
    blocks: bool = False,
    chunk_size: int = 2048,
    memory_budget: int | None = None,
) -> NDArray[np.floating]:
    """Measure the empirical tangent kernel of a network at its present parameters.

    Args:
        model: network of rows ``[n, d]`` as for ``gradient_geometry``; output ``[n]`` or ``[n, C]``.
        x: inputs ``[n, d]``, converted to the network's type and device.
        z: inputs ``[n', d]``; ``x`` itself by default, and then the kernel is symmetric bit for bit.
        blocks: with C > 1 logits, return every block ⟨∇h_k(x), ∇h_l(z)⟩ in place of the mean of the diagonal blocks.
        chunk_size: samples of either side of a tile at most.
        memory_budget: bytes that the computation and its result may take beside the inputs; tiles are then as small as that asks.

    Returns:
        kernel ``[n, n']`` in the network's type, (1/C) Σ_k ⟨∇h_k(x), ∇h_k(z)⟩; with ``blocks`` ``[C, C, n, n']``.

    Raises:
        ValueError: if an input is not a finite ``[n, d]`` without zero rows, a layer is not supported, or the budget is too small; the line
            says what would do.

    Source: K_ij = ⟨∇h(x_i), ∇h(x_j)⟩, §3 [A], [B]; Jacot et al. (2018).

    Example:
        >>> from empirical.networks import FullyConnected
        >>> kernel = empirical_ntk(FullyConnected(2, 4096, 1), [[1.0, 0.0], [0.0, 1.0]])
        >>> bool(abs(kernel - [[2.0, 1 / np.pi], [1 / np.pi, 2.0]]).max() < 0.2)
        True
    """
    layers = trainable_layers(model)
    check_flag(blocks, "blocks")
    left = as_inputs(model, x, "x")
    right = left if z is None else as_inputs(model, z, "z")
    if right.shape[1] != left.shape[1]:
        raise ValueError(f"z must have {left.shape[1]} columns as x, got {right.shape[1]}")
    plan = plan_kernel(model, layers, left, right, blocks=blocks, chunk_size=chunk_size, memory_budget=memory_budget)
    logits = plan.logits
    result = left.new_empty(*((logits, logits) if blocks else ()), len(left), len(right))
    pairs = [(k, j) for k in range(logits) for j in (range(logits) if blocks else (k,))]
    for start in range(0, len(left), plan.tile):
        rows = slice(start, start + plan.tile)
        ours = _Factors.of(model, layers, left[rows], plan.evaluated)
        for first in range(0 if z is not None else start, len(right), plan.tile):
            columns = slice(first, first + plan.tile)
            diagonal = z is None and first == start
            theirs = ours if diagonal else _Factors.of(model, layers, right[columns], plan.evaluated)
            tile = result[..., rows, columns]
            for k, j in pairs:
                block = ours.block(theirs, k, j)
                if blocks:
                    tile[k, j] = block
                elif k == 0:
                    tile[:] = block / logits
                else:
                    tile += block / logits
            if diagonal:  # equal to its mirror image but for rounding
                tile.copy_((tile + _mirrored(tile)) / 2)
            elif z is None:
                result[..., columns, rows] = _mirrored(tile)
    array: NDArray[np.floating] = result.cpu().numpy()
    return array


def _mirrored(tile: Tensor) -> Tensor:
    """K(z, x) of a tile K(x, z): ``[…, n', n]``, the logits of blocks exchanged, too."""
    swapped = tile.transpose(-1, -2)
    return swapped if tile.ndim == 2 else swapped.transpose(0, 1)


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
        MemoryError: if a single network does not fit; larger batches are halved, with a warning.

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
    # Values and signals of every layer with what is made of them, and the products of two points in float64: 16 numbers a unit and point.
    per_seed = itemsize * (width * 2 + (depth - 1) * width * width + 16 * depth * width * len(points))
    chunk = max(1, int((memory_budget - OVERHEAD) // per_seed))

    def measured(part: slice) -> tuple[Tensor, Tensor, Tensor]:  # each batch is gone before the next is drawn
        return _kernels_of_networks(x, width, depth, seeds[part], activation, convention)

    results = in_seed_batches(measured, len(seeds), chunk, name=f"tangent kernels of width {width}, depth {depth}", device=x.device)
    xx, xz, zz = (torch.cat(part).cpu().numpy() for part in zip(*results, strict=True))
    return xx, xz, zz


@dataclass(frozen=True, eq=False)
class _Factors:
    """What the kernel needs of some samples.

    Attributes:
        layers: the network's layers with trainable parameters.
        activations: for each layer ``[n, …]``; None where its gradients are held.
        parts: for each layer and logit its signals ``[n, …]``, or its gradients, one array ``[n, numbers]`` per parameter.
    """

    layers: tuple[Layer, ...]
    activations: tuple[Tensor | None, ...]
    parts: tuple[tuple[tuple[Tensor, ...], ...], ...]

    @classmethod
    def of(cls, model: nn.Module, layers: tuple[Layer, ...], x: Tensor, evaluated: int) -> _Factors:
        """Evaluate so many samples at a time, each part into arrays that are there already: small ones in between would split the heap."""
        whole: _Factors | None = None
        for start in range(0, len(x), evaluated):
            piece = cls._evaluate(model, layers, x[start : start + evaluated])
            if len(x) <= evaluated:
                return piece
            whole = whole or piece._of_length(len(x))
            for target, values in zip(whole._arrays(), piece._arrays(), strict=True):
                target[start : start + evaluated] = values
        assert whole is not None
        return whole

    def _arrays(self) -> Iterator[Tensor]:
        yield from (activation for activation in self.activations if activation is not None)
        yield from (array for by_logit in self.parts for arrays in by_logit for array in arrays)

    def _of_length(self, n: int) -> _Factors:
        """Room for n samples."""

        def room(array: Tensor) -> Tensor:
            return array.new_empty(n, *array.shape[1:])

        activations = tuple(None if activation is None else room(activation) for activation in self.activations)
        return _Factors(self.layers, activations, tuple(tuple(tuple(map(room, part)) for part in parts) for parts in self.parts))

    @classmethod
    def _evaluate(cls, model: nn.Module, layers: tuple[Layer, ...], x: Tensor) -> _Factors:
        passed = forward_pass(model, layers, x)
        logits = passed.output.shape[1]
        held: list[bool] = []
        parts: list[list[tuple[Tensor, ...]]] = [[] for _ in layers]
        for k in range(logits):
            weights = torch.zeros_like(passed.output)
            weights[:, k] = 1
            signals = passed.signals(weights)
            held = held or [holds_gradients(*one, logits) for one in zip(layers, passed.inputs, signals, strict=True)]
            for index, (layer, activation, signal) in enumerate(zip(layers, passed.inputs, signals, strict=True)):
                parts[index].append(_gradients(layer, activation, signal) if held[index] else (signal,))
        activations = tuple(None if hold else activation for hold, activation in zip(held, passed.inputs, strict=True))
        return cls(layers, activations, tuple(tuple(part) for part in parts))

    def block(self, other: _Factors, k: int, j: int) -> Tensor:
        """⟨∇h_k(x), ∇h_j(z)⟩ ``[n, n']`` for these samples x and others z."""
        first = self.parts[0][0][0]
        total = first.new_zeros(len(first), len(other.parts[0][0][0]))
        for index, layer in enumerate(self.layers):
            ours, theirs = self.parts[index][k], other.parts[index][j]
            a, b = self.activations[index], other.activations[index]
            if a is None or b is None:
                for mine, yours in zip(ours, theirs, strict=True):
                    total.addmm_(mine, yours.T)
            elif layer.kind != "linear":
                _add_formed(total, layer, (a, ours[0]), (b, theirs[0]))
            else:
                overlap = ours[0] @ theirs[0].T
                if layer.trains_weight:
                    total.addcmul_(a @ b.T, overlap, value=layer.scale**2)
                if layer.trains_bias:
                    total += overlap
        return total


def _gradients(layer: Layer, activation: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
    """Gradients of all samples in one layer, for each trained parameter ``[n, numbers]``."""
    size = samples_at_a_time(layer, activation, signal)
    pieces = [sample_gradients(layer, *some) for some in zip(torch.split(activation, size), torch.split(signal, size), strict=True)]
    return pieces[0] if len(pieces) == 1 else tuple(torch.cat(arrays) for arrays in zip(*pieces, strict=True))


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


def _kernels_of_networks(
    x: Tensor, width: int, depth: int, seeds: Sequence[int], activation: str, convention: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw the networks and take their kernels; see `_paired_kernels`."""
    batch = NetworkBatch.draw(2, width, depth, seeds=seeds, activation=activation, convention=convention, dtype=x.dtype, device=x.device)
    return _paired_kernels(batch, x)


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
