"""Tangent kernels of a batch of fully connected networks, from the inputs and the unit signals of each layer: no gradient is formed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from empirical.batched import NetworkBatch

__all__ = ["Features", "batch_kernel", "features_kernel"]


@dataclass(frozen=True, eq=False)
class Features:
    """What the tangent kernel of S networks is made of, for n samples.

    Attributes:
        values: inputs of each layer ``[S, n, fan_in]``, of the first ``[n, d]``.
        signals: derivatives of the logit by each layer's outputs ``[S, n, fan_out]``.
    """

    values: tuple[Tensor, ...]
    signals: tuple[Tensor, ...]

    @classmethod
    def at(cls, batch: NetworkBatch, values: list[Tensor]) -> Features:
        """Features of the samples whose forward pass gave ``values``."""
        return cls(tuple(values[:-1]), tuple(batch.signals(values, torch.ones_like(values[-1]))))

    def rows(self, index: Tensor | slice) -> Features:
        """Features of some of the samples."""
        return Features(tuple(v[..., index, :] for v in self.values), tuple(s[..., index, :] for s in self.signals))


def features_kernel(batch: NetworkBatch, left: Features, right: Features) -> Tensor:
    """Tangent kernels ``[S, n, n']`` between two sets of samples: a sum over layers of ⟨input, input⟩ times ⟨signal, signal⟩."""
    total: Tensor | float = 0.0
    for a, b, p, q, scale in zip(left.values, right.values, left.signals, right.signals, batch.scales, strict=True):
        inner = a @ b.transpose(-1, -2) * scale**2
        total = total + (inner + 1 if batch.biases else inner) * (p @ q.transpose(-1, -2))
    assert isinstance(total, Tensor)
    return total


def batch_kernel(batch: NetworkBatch, x: Tensor, z: Tensor | None = None) -> Tensor:
    """Tangent kernels ⟨∇h(x), ∇h(z)⟩ of all networks of a batch with one logit, ``[S, n, n']``.

    Args:
        batch: S networks.
        x: inputs ``[n, d]``.
        z: inputs ``[n', d]``; ``x`` itself by default.

    Raises:
        ValueError: if the networks have several logits.

    Source: K_ij = ⟨∇h(x_i), ∇h(x_j)⟩, §3 [A], [B].

    Example:
        >>> batch = NetworkBatch.draw(2, 4096, 1, seeds=(0, 1))
        >>> batch_kernel(batch, torch.tensor([[1.0, 0.0]])).shape  # each about L + 1 = 2
        torch.Size([2, 1, 1])
    """
    if batch.weights[-1].shape[1] != 1:
        raise ValueError(f"batch must have networks with one logit, got {batch.weights[-1].shape[1]}")
    left = Features.at(batch, batch.forward(x))
    return features_kernel(batch, left, left if z is None else Features.at(batch, batch.forward(z)))
