"""Segment gradients of any network, and their Gram matrix from a part of the samples.

The gradient of a segment is that of Σ_i r_i·h_i with the residuals r held fixed: one weighted backward pass, whatever the layers. Nothing
is asked of the network but that in evaluation mode it treats every sample alone. Where each layer is called once
(``empirical.layer_signals``) one pass serves all segments, and only the sums over a segment's samples are taken apart. Memory is
O(C·p), never n × p.

*From a part of the samples.* A sum over m of N samples of a segment does not scale like one over all: the inner product of a sample with
itself enters N times, that of two samples N(N−1) times. Both are estimated apart, from the sums A, B over two halves of the m samples:
o = ⟨A, B⟩/(m_A m_B) for a pair, d = (‖A‖² + ‖B‖² − (m_A(m_A−1) + m_B(m_B−1))·o)/m for a sample with itself, and ‖G‖² = N·d + N(N−1)·o.
The result is unbiased for samples drawn at random, and exact for m = N.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from empirical.layer_gradients import layer_sums
from empirical.layer_signals import forward_pass, trainable_layers
from empirical.losses import label_residuals

__all__ = ["SegmentMeter", "SegmentSample", "evaluate", "segment_gram"]

_SMALLEST = 32  # samples kept of a segment at least, where it has as many
_CHUNK, _DENSE_CHUNK = 128, 1024  # samples evaluated at a time; where all layers are linear
_GRAM_BLOCK = 2**13  # parameters in one product


@dataclass(frozen=True, eq=False)
class SegmentSample:
    """The samples that stand for the 2C segments clean^0 … clean^{C−1}, noise^0 … noise^{C−1}, in two halves each.

    Attributes:
        halves: for each segment the indices of its first and second half; the second is empty where the segment is measured whole.
        sizes: samples N of each segment in the whole training set ``[2C]``.
        n_classes: C.
    """

    halves: tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]
    sizes: NDArray[np.int64]
    n_classes: int

    @classmethod
    def draw(cls, truth: NDArray[np.int64], observed: NDArray[np.int64], n_classes: int, *, limit: int, seed: int = 0) -> SegmentSample:
        """Take all samples, or about ``limit`` of them: of each segment the same share, at random, but 32 at least.

        Example:
            >>> truth = np.repeat([0, 1], 1000)
            >>> sample = SegmentSample.draw(truth, np.where(np.arange(2000) % 10 < 3, 1 - truth, truth), 2, limit=200)
            >>> sample.sizes.tolist(), sample.used
            ([700, 700, 300, 300], 204)
        """
        generator = np.random.default_rng([int.from_bytes(b"segments", "big"), seed])
        noisy = observed != truth
        halves: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        members = [np.flatnonzero((noisy == kind) & (truth == c)) for kind in (False, True) for c in range(n_classes)]
        for index in members:
            size = len(index) if len(truth) <= limit else min(len(index), max(_SMALLEST, limit * len(index) // len(truth)))
            if size < len(index):
                index = generator.permutation(index)[:size]
            cut = len(index) if size == len(members[len(halves)]) else size // 2
            halves.append((np.sort(index[:cut]), np.sort(index[cut:])))
        return cls(tuple(halves), np.array([len(index) for index in members]), n_classes)

    @property
    def used(self) -> int:
        """Samples in use."""
        return sum(len(part) for both in self.halves for part in both)


def evaluate(model: nn.Module, inputs: Tensor, n_classes: int) -> Tensor:
    """Logits ``[n, K]`` of inputs ``[n, …]``, brought to the network's device and, if they are floating-point, to its type.

    Raises:
        ValueError: if the output is not a finite ``[n]``, ``[n, 1]`` (two classes) or ``[n, C]``.
    """
    parameter = next(model.parameters())
    moved = inputs.to(parameter.device, parameter.dtype) if inputs.is_floating_point() else inputs.to(parameter.device)
    output = model(moved)
    n = len(inputs)
    if not isinstance(output, Tensor) or output.ndim not in (1, 2) or len(output) != n:
        got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"network output must have shape [{n}, {n_classes}] for {n} samples of {n_classes} classes, got {got}")
    output = output.reshape(n, -1)
    if output.shape[1] not in ({1, 2} if n_classes == 2 else {n_classes}):
        expected = "1 or 2 logits for 2 classes" if n_classes == 2 else f"{n_classes} logits for {n_classes} classes"
        raise ValueError(f"network output must have {expected}, got {output.shape[1]}")
    if not torch.isfinite(output).all():
        raise ValueError(f"network output must be finite, got {output.detach()[~torch.isfinite(output)][0].item()}")
    return output


def segment_gram(
    model: nn.Module, inputs: Tensor, observed: Tensor, truth: Tensor, sample: SegmentSample, *, chunk_size: int = _CHUNK
) -> NDArray[np.float64]:
    """Gram matrix ``[3C, 3C]`` of the segment gradients (sums) of the whole training set, in the order of ``empirical.segment_gram``.

    Args:
        model: any network, in evaluation mode; parameters that require no gradient do not count.
        inputs: ``[n, …]``.
        observed: labels that training sees ``[n]``, int64.
        truth: ground-truth labels ``[n]``.
        sample: which samples stand for the segments.
        chunk_size: samples evaluated at a time.

    Raises:
        ValueError: if the output does not fit, or nothing is trainable.

    Source: Eq. (4), (5), (8) [B]; Eq. (5), (8), (13) [A].
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("model must have trainable parameters, got none")
    sums = _Sums(model, parameters, inputs, observed, truth, sample.n_classes, chunk_size)
    n_classes = sample.n_classes
    rows: list[Tensor] = []  # sums over a half, one vector of p numbers each
    place: dict[tuple[int, int], int] = {}  # (segment of 3C, half) → row
    for segment, halves in enumerate(sample.halves):
        for half, index in enumerate(halves):
            for kind, vector in enumerate(sums.of(index, relabelled=segment >= n_classes)):
                place[segment + n_classes * kind, half] = len(rows)
                rows.append(vector)
    return _combine(_inner_products([torch.stack(rows)]), place, sample)


class SegmentMeter:
    """Measures the Gram matrix of one network's segments again and again: layer by layer where its layers allow, else by ``segment_gram``.

    Attributes:
        sample: which samples stand for the segments.
        layerwise: whether layer by layer; False for good after a layer did not allow it.
    """

    def __init__(self, sample: SegmentSample) -> None:
        self.sample, self.layerwise = sample, True

    def measure(self, model: nn.Module, inputs: Tensor, observed: Tensor, truth: Tensor) -> NDArray[np.float64]:
        """Gram matrix ``[3C, 3C]``; arguments and result as ``segment_gram``."""
        if self.layerwise:
            try:
                return _layerwise_gram(model, inputs, observed, truth, self.sample)
            except (ValueError, RuntimeError, NotImplementedError):  # a layer called twice, shared parameters, no rule in torch, …
                self.layerwise = False
        return segment_gram(model, inputs, observed, truth, self.sample)


def _layerwise_gram(model: nn.Module, inputs: Tensor, observed: Tensor, truth: Tensor, sample: SegmentSample) -> NDArray[np.float64]:
    """As ``segment_gram``: one forward and one backward pass for all segments (two where labels are wrong and logits several)."""
    layers = trainable_layers(model)
    n_classes, parameter = sample.n_classes, next(model.parameters())
    place: dict[tuple[int, int], int] = {}
    parts: list[tuple[int, NDArray[np.int64]]] = []  # (first row, its samples); noisy ones have the row of their true labels next to it
    for segment, halves in enumerate(sample.halves):
        for half, index in enumerate(halves):
            if len(index):
                parts.append((len(place), index))
                for kind in range(1 + (segment >= n_classes)):
                    place[segment + n_classes * kind, half] = len(place)
    like = torch.empty(0, dtype=parameter.dtype, device=parameter.device)
    sums = [layer_sums(layer, len(place), like) for layer in layers]
    size = _DENSE_CHUNK if all(layer.kind == "linear" for layer in layers) else _CHUNK
    noisy_rows = {row for (segment, half), row in place.items() if (segment + n_classes, half) in place and segment >= n_classes}
    for relabelled in (False, True):
        members = [(row, index) for row, index in parts if (row in noisy_rows) == relabelled]
        rows = np.concatenate([np.full(len(index), row) for row, index in members]) if members else np.empty(0, dtype=np.int64)
        order = np.concatenate([index for _, index in members]) if members else np.empty(0, dtype=np.int64)
        for start in range(0, len(order), size):
            some, targets = torch.from_numpy(order[start : start + size]), rows[start : start + size]
            moved = inputs[some].to(parameter.device, parameter.dtype if inputs.is_floating_point() else inputs.dtype)
            evaluated = forward_pass(model, layers, moved)
            one = evaluated.output.shape[1] == 1
            shared = evaluated.signals(torch.ones_like(evaluated.output)) if one else ()
            for kind, labels in enumerate((observed, truth) if relabelled else (observed,)):
                residual = label_residuals(evaluated.output[None], labels[some].to(moved.device)[None])[0]
                signals = shared if one else evaluated.signals(residual)
                for layer_sum, activation, signal in zip(sums, evaluated.inputs, signals, strict=True):
                    weighted = signal * residual.view(-1, *(1,) * (signal.ndim - 1)) if one else signal
                    for target in np.unique(targets):
                        found = np.flatnonzero(targets == target)
                        own = slice(found[0], found[-1] + 1)
                        layer_sum.add_signals(int(target) + kind, activation[own], weighted[own])
    return _combine(_inner_products([part for layer_sum in sums for part in layer_sum.rows()]), place, sample)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Weighted backward passes over some samples."""

    model: nn.Module
    parameters: list[nn.Parameter]
    inputs: Tensor
    observed: Tensor
    truth: Tensor
    n_classes: int
    chunk_size: int

    def of(self, index: NDArray[np.int64], *, relabelled: bool) -> Iterator[Tensor]:
        """Sum of the gradients of these samples as one vector, and with ``relabelled`` also under their true labels."""
        if len(index) == 0:
            return
        labels = (self.observed, self.truth) if relabelled else (self.observed,)
        vectors = [torch.cat([torch.zeros_like(parameter).flatten() for parameter in self.parameters]) for _ in labels]
        for start in range(0, len(index), self.chunk_size):
            rows = torch.from_numpy(index[start : start + self.chunk_size])
            logits = evaluate(self.model, self.inputs[rows], self.n_classes)
            for kind, label in enumerate(labels):
                with torch.no_grad():
                    residual = label_residuals(logits[None], label[rows].to(logits.device)[None])[0]
                gradients = torch.autograd.grad(
                    logits, self.parameters, grad_outputs=residual, retain_graph=kind + 1 < len(labels), allow_unused=True
                )
                offset = 0
                for parameter, gradient in zip(self.parameters, gradients, strict=True):
                    if gradient is not None:
                        vectors[kind][offset : offset + parameter.numel()] += gradient.detach().flatten()
                    offset += parameter.numel()
        yield from vectors


def _inner_products(parts: list[Tensor]) -> NDArray[np.float64]:
    """Inner products of rows that are given in parts ``[k, numbers]``: products of blocks in the network's type, their sum in float64.

    In float32 a block's product is off by 1e-5 of the norms at most; that is far below what the draw of samples and labels leaves open.
    """
    total = torch.zeros(len(parts[0]), len(parts[0]), dtype=torch.float64)
    for part in parts:
        for block in torch.split(part, _GRAM_BLOCK, dim=1):
            total += (block @ block.T).to("cpu", torch.float64)
    return total.numpy()


def _combine(products: NDArray[np.float64], place: dict[tuple[int, int], int], sample: SegmentSample) -> NDArray[np.float64]:
    """From inner products of half sums to those of whole segments; see the module."""
    n_classes = sample.n_classes
    gram = np.zeros((3 * n_classes, 3 * n_classes))

    def product(a: int, half_a: int, b: int, half_b: int) -> float:
        left, right = place.get((a, half_a)), place.get((b, half_b))
        return 0.0 if left is None or right is None else float(products[left, right])

    for a in range(3 * n_classes):
        for b in range(a + 1):
            source_a, source_b = (s if s < 2 * n_classes else s - n_classes for s in (a, b))
            (first, second), size = (len(part) for part in sample.halves[source_a]), int(sample.sizes[source_a])
            same = product(a, 0, b, 0) + product(a, 1, b, 1)
            across = product(a, 0, b, 1) + product(a, 1, b, 0)
            used, used_b = first + second, sum(len(part) for part in sample.halves[source_b])
            if used == 0 or used_b == 0:
                continue
            if source_a == source_b and used < size and first * second:
                pair = across / (2 * first * second)
                alone = (same - (first * (first - 1) + second * (second - 1)) * pair) / used
                value = size * alone + size * (size - 1) * pair
            else:
                value = (same + across) * size / used * int(sample.sizes[source_b]) / used_b
            gram[a, b] = gram[b, a] = value
    return gram
