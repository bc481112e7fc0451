"""The obviously right instrument: one sample at a time, one autograd call each, all n × p numbers in memory."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["derivative_matrix", "loss_gradient_matrix", "segment_gradient_matrix"]


def loss_gradient_matrix(
    model: nn.Module, inputs: NDArray[np.floating], labels: NDArray[np.integer], *, logit: int | None = None
) -> NDArray[np.float64]:
    """Gradients ∇l_i of PyTorch's own loss functions by autograd, ``[n, p]``; with ``logit=k`` the part that flows through that logit."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = []
    for x, y in zip(inputs, labels, strict=True):
        output = model(torch.tensor(x[None], dtype=parameters[0].dtype)).reshape(-1)
        if logit is not None:
            output = torch.where(torch.arange(len(output)) == logit, output, output.detach())
        if len(output) == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(output, torch.tensor([float(y)], dtype=output.dtype))
        else:
            loss = nn.functional.cross_entropy(output[None], torch.tensor([int(y)]))
        rows.append(_flat(torch.autograd.grad(loss, parameters)))
    return np.stack(rows)


def derivative_matrix(model: nn.Module, inputs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Model derivatives ∇h_k(x_i) by autograd, ``[C, n, p]`` (C = 1 for one logit)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    columns = []
    for x in inputs:
        output = model(torch.tensor(x[None], dtype=parameters[0].dtype)).reshape(-1)
        columns.append(np.stack([_flat(torch.autograd.grad(h, parameters, retain_graph=True)) for h in output]))
    return np.stack(columns, axis=1)


def segment_gradient_matrix(
    observed_gradients: NDArray[np.float64],
    true_gradients: NDArray[np.float64],
    observed: NDArray[np.integer],
    truth: NDArray[np.integer],
    n_classes: int,
) -> NDArray[np.float64]:
    """Sums of sample gradients ``[3C, p]``: clean^0…, noise^0… (observed labels), relabelled^0… (noisy samples, true labels)."""
    noisy = observed != truth
    rows = [observed_gradients[~noisy & (truth == c)].sum(0) for c in range(n_classes)]
    rows += [observed_gradients[noisy & (truth == c)].sum(0) for c in range(n_classes)]
    rows += [true_gradients[noisy & (truth == c)].sum(0) for c in range(n_classes)]
    return np.stack(rows)


def _flat(parts: tuple[torch.Tensor, ...]) -> NDArray[np.float64]:
    return torch.cat([part.reshape(-1) for part in parts]).to(torch.float64).numpy()
