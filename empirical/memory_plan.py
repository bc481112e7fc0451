"""How many samples ``gradient_geometry`` evaluates at a time, and whether it keeps their activations: from a memory budget.

What it takes beside the inputs that are handed to it, in bytes:

* *always*: the inputs in the network's type and their order by segment, 3C segment gradients of p numbers, the block of them that is
  turned to float64, the results, and ``OVERHEAD`` for what PyTorch and its libraries take themselves;
* *for each sample of a chunk*: what the graph of one evaluation saves, counted on one sample, and three times the inputs and outputs of
  the layers: these themselves, the signals under observed and under true labels, and the arrays from which signals are being made;
* *where it fits besides*: activations and signals of all samples, which else are computed twice.

The count leaves room: a test measures the peak of networks of several kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from empirical._validation import check_integer
from empirical.layer_gradients import FORMED_ELEMENTS, GRAM_BLOCK
from empirical.layer_signals import Layer, forward_pass

__all__ = ["CHUNK_ELEMENTS", "FORMED_ARRAYS", "OVERHEAD", "MemoryPlan", "bytes_per_sample", "plan_memory"]

OVERHEAD = 32 * 2**20
# Activations and signals are kept between the two passes up to this many numbers (256 MiB in float32), else recomputed.
_KEPT_ELEMENTS = 2**26
_CHUNK_SIZE = 512  # samples per chunk at most, where chunk_size is not given …
CHUNK_ELEMENTS = 2**24  # … and activations and signals of a chunk, unless all layers are linear
FORMED_ARRAYS = 4  # arrays of FORMED_ELEMENTS numbers at once, where gradients of a few samples are formed


@dataclass(frozen=True)
class MemoryPlan:
    """What ``gradient_geometry`` may hold at once.

    Attributes:
        chunk_size: samples evaluated at a time.
        kept_numbers: activations and signals of all samples are kept between the two passes if they are no more numbers than this.
    """

    chunk_size: int
    kept_numbers: int


def plan_memory(
    model: nn.Module, layers: tuple[Layer, ...], x: Tensor, n_classes: int, *, chunk_size: int | None, memory_budget: int | None
) -> MemoryPlan:
    """Plan a measurement of n samples; without a budget the plan depends on the network alone.

    Args:
        model: the network.
        layers: its layers with trainable parameters.
        x: inputs ``[n, d]`` in the network's type.
        n_classes: C.
        chunk_size: samples at a time at most; None for 512, less where the activations of a sample are many.
        memory_budget: bytes that the measurement and its result may take beside the inputs, or None.

    Raises:
        ValueError: if ``chunk_size`` or ``memory_budget`` is not an integer ≥ 1, or the budget does not do for one sample at a time; the
            line says how much would.

    Example:
        >>> from empirical.layer_signals import trainable_layers
        >>> network = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 1))
        >>> plan = {"model": network, "layers": trainable_layers(network), "x": torch.ones(12000, 784), "n_classes": 2, "chunk_size": None}
        >>> plan_memory(**plan, memory_budget=None), plan_memory(**plan, memory_budget=150_000_000)
        (MemoryPlan(chunk_size=512, kept_numbers=67108864), MemoryPlan(chunk_size=131, kept_numbers=6548))
    """
    dense = all(layer.kind == "linear" for layer in layers)
    if chunk_size is not None:
        size = check_integer(chunk_size, "chunk_size")
    else:
        size = _CHUNK_SIZE if dense else min(_CHUNK_SIZE, max(1, CHUNK_ELEMENTS // forward_pass(model, layers, x[:1]).numbers_per_sample))
    if memory_budget is None:
        return MemoryPlan(size, _KEPT_ELEMENTS)
    budget, bytes_each = check_integer(memory_budget, "memory_budget"), x.element_size()
    fixed, per_sample = _fixed_bytes(layers, x, n_classes, dense=dense), bytes_per_sample(model, layers, x)
    if fixed + per_sample > budget:
        parameters = sum(value.numel() for layer in layers for value in layer.parameters.values())
        raise ValueError(
            f"memory_budget must be at least {fixed + per_sample} bytes for {len(x)} samples and {parameters} parameters, got {budget}"
        )
    size = min(size, (budget - fixed) // per_sample)
    return MemoryPlan(size, min(_KEPT_ELEMENTS, (budget - fixed - min(size, len(x)) * per_sample) // bytes_each))


def _fixed_bytes(layers: tuple[Layer, ...], x: Tensor, n_classes: int, *, dense: bool) -> int:
    """Bytes taken whatever the chunk size: those for preparing the inputs, or those of the passes, whichever are more."""
    n, rows, bytes_each = len(x), 3 * n_classes, x.element_size()
    parameters = sum(value.numel() for layer in layers for value in layer.parameters.values())
    largest = max(value.numel() for layer in layers for value in layer.parameters.values())
    preparing = x.numel() * (8 + bytes_each)  # numbers of any other type become float64 first; then the order by segment
    results = 8 * n * 7 * n_classes  # norms, inner products, cosines, residuals, logits: at most 7C numbers of float64, twice over
    formed = 0 if dense else FORMED_ARRAYS * bytes_each * max(FORMED_ELEMENTS, largest)
    passes = x.numel() * bytes_each + rows * (parameters * bytes_each + 2 * 8 * min(GRAM_BLOCK, largest)) + results + formed
    return OVERHEAD + max(preparing, passes)


def bytes_per_sample(model: nn.Module, layers: tuple[Layer, ...], x: Tensor) -> int:
    """Bytes that each sample of a chunk takes while it is evaluated; see the module."""
    own = {value.untyped_storage().data_ptr() for value in model.state_dict(keep_vars=True).values() if isinstance(value, Tensor)}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        evaluated = forward_pass(model, layers, x[:1].clone())
    return sum(saved.values()) + 3 * x.element_size() * evaluated.numbers_per_sample
