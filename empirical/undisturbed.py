"""Measuring a network in the middle of its training without a trace: what is as it was, and what is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["check_layers", "undisturbed"]


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a measurement; afterwards modes, buffers and torch's random numbers are as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, key, buffer, buffer.detach().clone(), buffer._version)
        for module in model.modules()
        for key, buffer in module._buffers.items()
        if buffer is not None
    ]
    device = next(model.parameters()).device
    try:
        model.eval()
        check_layers(model)
        generators = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(generators), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for module, key, buffer, before, version in buffers:
            if buffer._version != version:
                with torch.no_grad():
                    buffer.copy_(before)
            module._buffers[key] = buffer


def check_layers(model: nn.Module) -> None:
    """Refuse what couples the samples of a batch even in evaluation mode."""
    if next(model.parameters(), None) is None:
        raise ValueError("model must have trainable parameters, got none")
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        for key, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
                reason = "has no running statistics" if module.running_mean is None else "stays in training mode after model.eval()"
                raise ValueError(
                    f"layer {key or 'model'!r} ({type(module).__name__}) {reason}: it couples the samples of a batch, "
                    f"so that a sample has no "
                    "gradient of its own"
                )
    finally:
        for module, mode in modes:
            module.training = mode
