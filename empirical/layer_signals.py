"""What enters each layer of a network and what flows back to it: the two factors of every sample's gradient.

A linear layer z = s·W a + b gives sample i the weight gradient s·δ_i a_iᵀ and the bias gradient δ_i, where δ_i = ∂(Σ_k r_ik h_k)/∂z_i.
All that is ever asked of sample-wise gradients (norms, sums, inner products) follows from the activations a (``[n, fan_in]`` for a linear
layer, ``[n, channels, height, width]`` for a convolution) and the signals δ, shaped as the layer's output, so the n × p array of gradients
is never formed (``empirical.layer_gradients``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from empirical._validation import as_real_array
from empirical.networks import ScaledLinear

__all__ = ["ForwardPass", "Layer", "as_inputs", "forward_pass", "trainable_layers"]


@dataclass(frozen=True, eq=False)
class Layer:
    """A module with trainable parameters of its own.

    Attributes:
        module: the layer.
        label: its name and type, for messages.
        kind: ``"linear"``, ``"convolution"`` (two-dimensional, padded with zeros or not at all), ``"normalization"`` (of batches, in
            evaluation mode, or of groups) or ``"other"``.
        trained: names of its own trainable parameters.
    """

    module: nn.Module
    label: str
    kind: str
    trained: tuple[str, ...]

    @property
    def scale(self) -> float:
        """Factor on the weight."""
        return self.module.scale if isinstance(self.module, ScaledLinear) else 1.0

    @property
    def trains_weight(self) -> bool:
        """Whether the weight is trained."""
        return "weight" in self.trained

    @property
    def trains_bias(self) -> bool:
        """Whether the bias is trained."""
        return "bias" in self.trained

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Its own trainable parameters by name, detached."""
        return {name: self.module.get_parameter(name).detach() for name in self.trained}


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One evaluation of a network, kept until its signals have been asked for.

    Attributes:
        output: logits ``[n, K]`` (detached).
        inputs: for each trainable layer its activations ``[n, …]`` (detached; the layer's scale is not in them).
    """

    output: Tensor
    inputs: tuple[Tensor, ...]
    _graph_output: Tensor
    _graph_layers: tuple[Tensor, ...]

    @property
    def numbers_per_sample(self) -> int:
        """Activations and signals of one sample, over all layers."""
        return sum(part[0].numel() for part in (*self.inputs, *self._graph_layers))

    def signals(self, weights: Tensor) -> tuple[Tensor, ...]:
        """Send ``weights`` ``[n, K]`` back: for each trainable layer ∂(Σ_ik weights_ik h_ik)/∂z ``[n, …]``."""
        return torch.autograd.grad(self._graph_output, self._graph_layers, grad_outputs=weights, retain_graph=True)


def trainable_layers(model: nn.Module) -> tuple[Layer, ...]:
    """List the layers of a network that have trainable parameters of their own.

    Raises:
        ValueError: if a layer couples the samples of a batch or draws random numbers, two layers share parameters, or nothing is trainable.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.ReLU(), nn.Linear(3, 1))
        >>> [(layer.label, layer.kind) for layer in trainable_layers(network)]
        [("layer '0' (Linear)", 'linear'), ("layer '1' (LayerNorm)", 'other'), ("layer '3' (Linear)", 'linear')]
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    layers = []
    for name, module in model.named_modules():
        label = f"layer {name or 'model'!r} ({type(module).__name__})"
        if module.training and isinstance(module, (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)):
            raise ValueError(f"{label} has no gradient per sample in training mode: call model.eval() first")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise ValueError(f"{label} has no gradient per sample without running statistics: use track_running_stats=True")
        trained = tuple(key for key, parameter in module.named_parameters(recurse=False) if parameter.requires_grad)
        if trained:
            layers.append(Layer(module, label, _kind(module, trained), trained))
    if not layers:
        raise ValueError("model must have trainable parameters, got none")
    parameters = [id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)]
    if len(set(parameters)) != len(parameters):
        raise ValueError("model must not share parameters between layers, got a shared parameter")
    return tuple(layers)


def _kind(module: nn.Module, trained: tuple[str, ...]) -> str:
    """Which formulas serve a layer; by its exact type, for a subclass may compute anything."""
    if not set(trained) <= {"weight", "bias"}:
        return "other"
    if type(module) in (nn.Linear, ScaledLinear):
        return "linear"
    if type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
        return "convolution"
    if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm):
        return "normalization"
    return "other"


def forward_pass(model: nn.Module, layers: tuple[Layer, ...], inputs: Tensor) -> ForwardPass:
    """Evaluate the network on ``inputs`` ``[n, d]`` and keep each layer's activations.

    Raises:
        ValueError: if a layer is not called exactly once, with one array of n samples (``[n, fan_in]`` for a linear layer), or does not
            give one, or the output is not a finite ``[n]`` or ``[n, K]``.
    """
    n = len(inputs)
    with torch.enable_grad(), _record(layers) as calls:
        output = model(inputs)
        if not isinstance(output, Tensor) or output.ndim not in (1, 2) or len(output) != n:
            shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"model output must have shape [{n}] or [{n}, n_outputs], got {shape}")
        output = output.reshape(n, -1)
    recorded = [_single_call(layer, called, n) for layer, called in zip(layers, calls, strict=True)]
    if not torch.isfinite(output).all():
        raise ValueError(f"model output must be finite, got {output.detach()[~torch.isfinite(output)][0].item()}")
    return ForwardPass(output.detach(), tuple(call.activation for call in recorded), output, tuple(call.output for call in recorded))


def as_inputs(model: nn.Module, inputs: ArrayLike | Tensor, name: str) -> Tensor:
    """Return inputs as a tensor ``[n, d]`` of the network's type on its device.

    Raises:
        ValueError: if they are not finite real numbers ``[n, d]`` with n, d ≥ 1, or a row is zero (a zero vector has no angle).
    """
    array = as_real_array(inputs.detach().cpu().numpy() if isinstance(inputs, Tensor) else inputs, name)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must have shape [n, d] with n, d >= 1, got shape {list(array.shape)}")
    parameter = next(model.parameters())
    rows = torch.tensor(np.ascontiguousarray(array), dtype=parameter.dtype, device=parameter.device)
    zero = ~rows.any(dim=1).cpu().numpy()
    if zero.any():
        raise ValueError(f"{name} must have no zero rows (a zero vector has no angle), got a zero vector at row {int(np.argmax(zero))}")
    return rows


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a layer, with PyTorch's counters of in-place changes at that moment."""

    activation: Tensor
    output: Tensor
    versions: tuple[int, int]

    def was_overwritten(self) -> bool:
        return (self.activation._version, self.output._version) != self.versions


def _single_call(layer: Layer, called: list[_Call | str], n: int) -> _Call:
    """The one call of a layer, if it was one and of the right shape."""
    call = called[0] if len(called) == 1 else None
    if isinstance(call, _Call):
        dimensions = {"linear": 2, "convolution": 4}.get(layer.kind, max(call.activation.ndim, 1))
        fits = call.activation.ndim == dimensions and len(call.activation) == n and call.output.ndim > 0 and len(call.output) == n
        if fits and call.was_overwritten():
            raise ValueError(f"what {layer.label} takes or gives must not be changed in place, got an in-place function: use inplace=False")
        if fits:
            return call
    shapes = [list(call.activation.shape) if isinstance(call, _Call) else call for call in called]
    if layer.kind == "linear":
        raise ValueError(f"each linear layer must be called once on an array [{n}, {layer.module.in_features}], got calls on {shapes}")
    raise ValueError(f"{layer.label} must be called once, on one array of {n} samples, and give one, got calls on {shapes}")


@contextmanager
def _record(layers: tuple[Layer, ...]) -> Iterator[list[list[_Call | str]]]:
    """Collect every call of the given layers: a call from one array to one array, or in words what it was."""
    calls: list[list[_Call | str]] = [[] for _ in layers]

    def hook_into(bucket: list[_Call | str]) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
            if len(arguments) != 1 or named or not isinstance(arguments[0], Tensor) or not isinstance(output, Tensor):
                bucket.append(f"{len(arguments) + len(named)} arguments that gave {type(output).__name__}")
                return
            activation = arguments[0].detach()  # shares memory and version counter with what the layer saw
            bucket.append(_Call(activation, output, (activation._version, output._version)))

        return hook

    handles = [layer.module.register_forward_hook(hook_into(bucket), with_kwargs=True) for layer, bucket in zip(layers, calls, strict=True)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
