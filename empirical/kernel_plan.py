"""How many samples ``empirical_ntk`` takes to a side of a tile, and how many it evaluates at a time: from a memory budget.

What it takes beside the inputs that are handed to it, in bytes:

* *always*: the inputs in float64 and in the network's type, the kernel itself, and what PyTorch and its libraries take themselves;
* *for each sample of the two sides of a tile*: activations and signals of every logit, or the gradients that are held in their place;
* *for each sample that is evaluated*: the same once more, and what the graph of one evaluation saves (``empirical.memory_plan``);
* *for each entry of a tile*: the product of a layer, its factors, and the mean with the mirror image.

The count leaves room: a test measures the peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor, nn

from empirical._validation import check_integer
from empirical.layer_gradients import FORMED_ELEMENTS
from empirical.layer_signals import Layer, forward_pass
from empirical.memory_plan import CHUNK_ELEMENTS, FORMED_ARRAYS, OVERHEAD, bytes_per_sample

__all__ = ["KernelPlan", "holds_gradients", "plan_kernel"]


@dataclass(frozen=True)
class KernelPlan:
    """What ``empirical_ntk`` may hold at once.

    Attributes:
        logits: C of the network.
        tile: samples of either side of a tile.
        evaluated: samples evaluated at a time.
    """

    logits: int
    tile: int
    evaluated: int


def plan_kernel(
    model: nn.Module,
    layers: tuple[Layer, ...],
    left: Tensor,
    right: Tensor,
    *,
    blocks: bool,
    chunk_size: int,
    memory_budget: int | None,
) -> KernelPlan:
    """Plan a kernel of n × n' samples; without a budget the plan depends on the network alone.

    Args:
        model: the network.
        layers: its layers with trainable parameters.
        left: inputs ``[n, d]`` in the network's type.
        right: inputs ``[n', d]``, or the same tensor.
        blocks: whether the result holds every pair of logits.
        chunk_size: samples of either side of a tile at most.
        memory_budget: bytes, or None.

    Raises:
        ValueError: if ``chunk_size`` or ``memory_budget`` is not an integer ≥ 1, or the budget does not do for one sample at a time; the
            line says how much would.

    Example:
        >>> from empirical.layer_signals import trainable_layers
        >>> network, x = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 1)), torch.ones(4000, 784)
        >>> some = (network, trainable_layers(network), x, x)
        >>> [plan_kernel(*some, blocks=False, chunk_size=2048, memory_budget=budget) for budget in (None, 150_000_000)]
        [KernelPlan(logits=1, tile=2048, evaluated=2048), KernelPlan(logits=1, tile=496, evaluated=108)]
    """
    size = check_integer(chunk_size, "chunk_size")
    passed = forward_pass(model, layers, left[:1])
    logits, dense = passed.output.shape[1], all(layer.kind == "linear" for layer in layers)
    evaluated = size if dense else min(size, max(1, CHUNK_ELEMENTS // passed.numbers_per_sample))
    if memory_budget is None:
        return KernelPlan(logits, size, evaluated)
    budget, bytes_each, each = check_integer(memory_budget, "memory_budget"), left.element_size(), bytes_per_sample(model, layers, left)
    inputs = left.numel() + (0 if right is left else right.numel())
    entries = len(left) * len(right) * (logits**2 if blocks else 1)
    largest = max(value.numel() for layer in layers for value in layer.parameters.values())
    formed = 0 if dense else FORMED_ARRAYS * max(FORMED_ELEMENTS, largest)
    fixed = OVERHEAD + 8 * inputs + bytes_each * (inputs + entries + formed)
    signals = passed.signals(torch.ones_like(passed.output))
    held = sum(
        logits * sum(value.numel() for value in layer.parameters.values())
        if holds_gradients(layer, activation, signal, logits)
        else activation[0].numel() + logits * signal[0].numel()
        for layer, activation, signal in zip(layers, passed.inputs, signals, strict=True)
    )
    each = (1 if dense else 2) * each + bytes_each * held  # of maps the backward pass makes new ones, logit by logit
    per_side, per_entry = 2 * bytes_each * held, bytes_each * (4 + (2 * logits**2 if blocks else 0))
    smallest = fixed + per_side + per_entry + each
    if smallest > budget:
        raise ValueError(f"memory_budget must be at least {smallest} bytes for {len(left)} x {len(right)} samples, got {budget}")
    evaluated = min(evaluated, max(1, (budget - fixed) // 4 // each))
    left_over = budget - fixed - evaluated * each
    tile = min(size, max(1, (isqrt(per_side**2 + 4 * per_entry * left_over) - per_side) // (2 * per_entry)))
    return KernelPlan(logits, tile, min(evaluated, tile))


def holds_gradients(layer: Layer, activation: Tensor, signal: Tensor, logits: int) -> bool:
    """Whether a sample's gradients for every logit, once formed, are no more numbers than its activations and signals."""
    if layer.kind == "linear":
        return False
    numbers = sum(value.numel() for value in layer.parameters.values())
    return logits * numbers <= activation[0].numel() + logits * signal[0].numel()
