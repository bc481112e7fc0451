"""The unfolded activations of a two-dimensional convolution, in which its sample-wise gradients are products of matrices.

U_i ``[K, T]`` holds for each of T output positions the K activations that its kernel sees; with the signals Δ_i ``[O, T]`` of O output
channels the gradient of sample i is Δ_i U_iᵀ.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from empirical.layer_signals import Layer

__all__ = ["convolution_gradients", "unfold", "unfolded_size"]


def convolution_gradients(layer: Layer, activation: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
    """Δ_i U_iᵀ and Σ_t Δ_it."""
    parts = []
    for name in layer.trained:
        if name == "weight":
            unfolded, signals = unfold(layer, activation, signal)
            parts.append(torch.bmm(signals.flatten(0, 1), unfolded.flatten(0, 1).mT).view(len(signal), -1))
        else:
            parts.append(signal.sum((2, 3)))
    return tuple(parts)


def unfold(layer: Layer, activation: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """U ``[n, groups, K, T]`` and Δ ``[n, groups, channels out per group, T]``."""
    convolution = cast(nn.Conv2d, layer.module)
    n, groups = len(signal), convolution.groups
    if convolution.stride == (1, 1) and convolution.dilation == (1, 1) and convolution.weight[0].numel() * groups > signal.shape[1]:
        return _unfold_by_runs(convolution, activation, signal)
    unfolded = nn.functional.unfold(
        activation,
        cast(tuple[int, int], convolution.kernel_size),
        cast(tuple[int, int], convolution.dilation),
        cast(tuple[int, int], convolution.padding),
        cast(tuple[int, int], convolution.stride),
    )
    return unfolded.view(n, groups, -1, unfolded.shape[2]), signal.reshape(n, groups, -1, unfolded.shape[2])


def unfolded_size(layer: Layer, signal: Tensor) -> int:
    """Numbers of the unfolded activations of one sample."""
    convolution = cast(nn.Conv2d, layer.module)
    return convolution.groups * convolution.weight[0].numel() * signal[0, 0].numel()


def _unfold_by_runs(convolution: nn.Conv2d, activation: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Stride 1: for each place in the kernel one contiguous run through the picture; signals are 0 where a run passes a row's end.

    Positions are then height × (padded width) less the last row's end, a few more than the outputs, and the copies are long runs:
    faster than PyTorch's ``unfold`` where the unfolded activations are more numbers than the signals, which are copied too.
    """
    n, groups = len(signal), convolution.groups
    vertical, horizontal = cast(tuple[int, int], convolution.padding)
    padded = nn.functional.pad(activation, (horizontal, horizontal, vertical, vertical)) if horizontal or vertical else activation
    padded = padded.contiguous()
    _, channels, _, width = padded.shape
    rows, columns = convolution.kernel_size
    positions = signal.shape[2] * width - columns + 1
    strides = (padded.stride(0), padded.stride(1), width, 1, 1)
    unfolded = padded.as_strided((n, channels, rows, columns, positions), strides).reshape(n, groups, -1, positions)
    signals = nn.functional.pad(signal, (0, columns - 1))
    if groups == 1:  # a view in either memory format
        return unfolded, signals.permute(0, 2, 3, 1).flatten(1, 2)[:, :positions].mT.unsqueeze(1)
    return unfolded, signals.flatten(2)[..., :positions].reshape(n, groups, -1, positions)
