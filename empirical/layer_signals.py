"""What enters each layer of a network and what flows back to it: the two factors of every sample's gradient.

A linear layer z = s·W a + b gives sample i the weight gradient s·δ_i a_iᵀ and the bias gradient δ_i, where δ_i = ∂(Σ_k r_ik h_k)/∂z_i.
All that is ever asked of sample-wise gradients (norms, sums, inner products) follows from the ``[n, fan_in]`` activations a and the
``[n, fan_out]`` signals δ, so the n × p array of gradients is never formed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from empirical._validation import as_real_array
from empirical.networks import ScaledLinear

__all__ = ["ForwardPass", "LinearLayer", "as_inputs", "forward_pass", "linear_layers"]


@dataclass(frozen=True, eq=False)
class LinearLayer:
    """A linear layer with trainable parameters: which of weight and bias are trained, and the factor on the weight."""

    module: nn.Linear
    scale: float
    trains_weight: bool
    trains_bias: bool


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """One evaluation of a network, kept until its signals have been asked for.

    Attributes:
        output: logits ``[n, K]`` (detached).
        inputs: for each trainable layer its activations ``[n, fan_in]`` (detached; the layer's scale is not in them).
    """

    output: Tensor
    inputs: tuple[Tensor, ...]
    _graph_output: Tensor
    _graph_layers: tuple[Tensor, ...]

    def signals(self, weights: Tensor) -> tuple[Tensor, ...]:
        """Send ``weights`` ``[n, K]`` back: for each trainable layer ∂(Σ_ik weights_ik h_ik)/∂z ``[n, fan_out]``."""
        return torch.autograd.grad(self._graph_output, self._graph_layers, grad_outputs=weights, retain_graph=True)


def linear_layers(model: nn.Module) -> tuple[LinearLayer, ...]:
    """List the trainable layers of a network that consists of linear layers and functions without parameters.

    Raises:
        ValueError: if a layer of another kind has trainable parameters, a layer couples the samples of a batch or draws random numbers,
            two layers share parameters, or nothing is trainable.

    Example:
        >>> [layer.scale for layer in linear_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))]
        [1.0, 1.0]
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    layers = []
    for name, module in model.named_modules():
        label = f"layer {name or 'model'!r} ({type(module).__name__})"
        if module.training and isinstance(module, (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)):
            raise ValueError(f"{label} has no gradient per sample in training mode: call model.eval() first")
        trained = {key for key, parameter in module.named_parameters(recurse=False) if parameter.requires_grad}
        if not trained:
            continue
        if type(module) is ScaledLinear:
            scale = module.scale
        elif type(module) is nn.Linear:
            scale = 1.0
        else:
            raise ValueError(
                f"{label} is not supported: trainable parameters must belong to linear layers, got {', '.join(sorted(trained))}"
            )
        layers.append(LinearLayer(module, scale, "weight" in trained, "bias" in trained))
    if not layers:
        raise ValueError("model must have trainable parameters, got none")
    parameters = [id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)]
    if len(set(parameters)) != len(parameters):
        raise ValueError("model must not share parameters between layers, got a shared parameter")
    return tuple(layers)


def forward_pass(model: nn.Module, layers: tuple[LinearLayer, ...], inputs: Tensor) -> ForwardPass:
    """Evaluate the network on ``inputs`` ``[n, d]`` and keep each layer's activations.

    Raises:
        ValueError: if a layer is not called exactly once on an ``[n, fan_in]`` array, or the output is not a finite ``[n]`` or ``[n, K]``.
    """
    n = len(inputs)
    with torch.enable_grad(), _record(layers) as calls:
        output = model(inputs)
        if not isinstance(output, Tensor) or output.ndim not in (1, 2) or len(output) != n:
            shape = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"model output must have shape [{n}] or [{n}, n_outputs], got {shape}")
        output = output.reshape(n, -1)
    for layer, called in zip(layers, calls, strict=True):
        if len(called) != 1 or called[0].activation.ndim != 2 or len(called[0].activation) != n:
            shapes = [list(call.activation.shape) for call in called]
            raise ValueError(f"each linear layer must be called once on an array [{n}, {layer.module.in_features}], got calls on {shapes}")
        if called[0].was_overwritten():
            raise ValueError("what a linear layer takes or gives must not be changed in place, got an in-place function: use inplace=False")
    if not torch.isfinite(output).all():
        raise ValueError(f"model output must be finite, got {output.detach()[~torch.isfinite(output)][0].item()}")
    recorded = [called[0] for called in calls]
    return ForwardPass(output.detach(), tuple(call.activation for call in recorded), output, tuple(call.output for call in recorded))


def as_inputs(model: nn.Module, inputs: ArrayLike | Tensor, name: str) -> Tensor:
    """Return inputs as a tensor ``[n, d]`` of the network's type on its device.

    Raises:
        ValueError: if they are not finite real numbers ``[n, d]`` with n, d ≥ 1, or a row is zero (a zero vector has no angle).
    """
    array = as_real_array(inputs.detach().cpu().numpy() if isinstance(inputs, Tensor) else inputs, name)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must have shape [n, d] with n, d >= 1, got shape {list(array.shape)}")
    zero = ~array.any(axis=1)
    if zero.any():
        raise ValueError(f"{name} must have no zero rows (a zero vector has no angle), got a zero vector at row {int(np.argmax(zero))}")
    parameter = next(model.parameters())
    return torch.tensor(array, dtype=parameter.dtype, device=parameter.device)


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a layer, with PyTorch's counters of in-place changes at that moment."""

    activation: Tensor
    output: Tensor
    versions: tuple[int, int]

    def was_overwritten(self) -> bool:
        return (self.activation._version, self.output._version) != self.versions


@contextmanager
def _record(layers: tuple[LinearLayer, ...]) -> Iterator[list[list[_Call]]]:
    """Collect every call of the given layers."""
    calls: list[list[_Call]] = [[] for _ in layers]

    def hook_into(bucket: list[_Call]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            activation = arguments[0].detach()  # shares memory and version counter with what the layer saw
            bucket.append(_Call(activation, output, (activation._version, output._version)))

        return hook

    handles = [layer.module.register_forward_hook(hook_into(bucket)) for layer, bucket in zip(layers, calls, strict=True)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
