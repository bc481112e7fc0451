"""What is recorded of a batch of networks at one moment: losses, errors, residuals, and the Gram matrix of the segment gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from empirical.batched import NetworkBatch, Workspace

__all__ = ["SegmentGrams", "Segmentation", "label_residuals", "measure_labels", "sample_errors", "sample_losses"]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Samples of each segment for S label draws at once: index ``[S, k]`` and weight ``[S, k]`` (0 for padding) for each of 2C segments.

    Segments come in the order clean^0 … clean^{C−1}, noise^0 … noise^{C−1}, by ground-truth class; k is the largest size over the draws
    (all draws have the same sizes when the noise has exact counts per class).
    """

    indices: tuple[Tensor, ...]
    weights: tuple[Tensor, ...]
    counts: NDArray[np.int64]  # [S, 2C]

    @classmethod
    def from_labels(cls, truth: Tensor, observed: Tensor, n_classes: int) -> Segmentation:
        """Sort the samples of labels ``truth`` ``[n]`` and ``observed`` ``[S, n]`` into segments."""
        noisy = observed != truth
        indices, weights, counts = [], [], []
        for is_noise in (False, True):
            for c in range(n_classes):
                member = (noisy == is_noise) & (truth == c)
                count = member.sum(1)
                size = int(count.max())
                order = torch.argsort(member.to(torch.int8), dim=1, descending=True, stable=True)[:, :size]
                indices.append(order)
                weights.append(torch.arange(size, device=truth.device)[None] < count[:, None])
                counts.append(count.cpu().numpy())
        return cls(tuple(indices), tuple(weights), np.stack(counts, axis=1))


def sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Logistic loss (one logit) or cross-entropy ``[S, n]`` of logits ``[S, n, K]`` for labels ``[S, n]``; no overflow."""
    if logits.shape[-1] == 1:
        h = logits[..., 0]
        return torch.nn.functional.softplus(torch.where(labels == 1, -h, h))
    return torch.logsumexp(logits, dim=-1) - _at(logits, labels)


def sample_errors(logits: Tensor, labels: Tensor) -> Tensor:
    """Classification errors ``[S, n]``: 0 or 1; a tie among k largest logits that holds the label counts 1 − 1/k (½ at h = 0)."""
    if logits.shape[-1] == 1:
        signed = torch.where(labels == 1, logits[..., 0], -logits[..., 0])
        return (signed < 0).to(logits.dtype) + (signed == 0).to(logits.dtype) / 2
    best = logits.max(dim=-1, keepdim=True).values
    tied = logits == best
    return 1 - _at(tied.to(logits.dtype), labels) / tied.sum(-1)


def label_residuals(logits: Tensor, labels: Tensor) -> Tensor:
    """Residuals f − y ``[S, n, K]`` of logits ``[S, n, K]`` for labels ``[S, n]`` (one-hot for K > 1)."""
    if logits.shape[-1] == 1:
        return torch.sigmoid(logits) - labels[..., None].to(logits.dtype)
    return torch.softmax(logits, dim=-1) - torch.nn.functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)


def measure_labels(logits: Tensor, truth: Tensor, observed: Tensor, n_classes: int) -> dict[str, Tensor]:
    """Means over the training samples and over their clean and noisy parts, ``[S]`` each, and the mean logit of each class.

    Args:
        logits: ``[S, n, K]``.
        truth: ``[n]``.
        observed: ``[S, n]``.
        n_classes: C.

    Returns:
        losses, errors and residuals |f − y| (1 − f_y for K > 1) by name; means in float64; nan over an empty part.
    """
    logits = logits.to(torch.float64)
    true_labels = truth.expand_as(observed)
    noisy = observed != truth
    parts = {"train": torch.ones_like(noisy), "clean": ~noisy, "noise": noisy}
    losses, errors = sample_losses(logits, observed), sample_errors(logits, observed)
    residuals = _absolute_residual(logits, observed)
    measured = {}
    for part, mask in parts.items():
        measured[f"{part}_loss"] = _mean(losses, mask)
        measured[f"{part}_error"] = _mean(errors, mask)
        measured[f"{part}_residual"] = _mean(residuals, mask)
    measured["truth_loss"] = sample_losses(logits, true_labels).mean(1)
    measured["truth_residual"] = _absolute_residual(logits, true_labels).mean(1)
    by_class = [_mean(logits[..., 0 if logits.shape[-1] == 1 else c], (true_labels == c)) for c in range(n_classes)]
    measured["mean_output"] = torch.stack(by_class, dim=1)
    return measured


@dataclass(frozen=True, eq=False)
class SegmentGrams:
    """Measures the Gram matrices of the segment gradients of a batch of networks, again and again in the same memory.

    Attributes:
        batch: S networks; their present parameters count.
        truth: ground-truth labels ``[n]``.
        observed: labels of each network ``[S, n]``.
        segments: of these labels.
    """

    batch: NetworkBatch
    truth: Tensor
    observed: Tensor
    segments: Segmentation
    _gradients: tuple[Tensor, ...]  # per layer [S, 3C, p_layer]
    _workspace: Workspace
    _precise: Tensor  # [largest 3C·p_layer] float64, one network at a time

    @classmethod
    def prepare(cls, batch: NetworkBatch, truth: Tensor, observed: Tensor, n_classes: int) -> SegmentGrams:
        """Sort the labels into segments and reserve the memory; segments without samples keep gradient 0."""
        sizes = [weight[0].numel() + (batch.biases[layer].shape[1] if batch.biases else 0) for layer, weight in enumerate(batch.weights)]
        gradients = tuple(batch.weights[0].new_zeros(batch.n_seeds, 3 * n_classes, size) for size in sizes)
        precise = torch.zeros(3 * n_classes * max(sizes), dtype=torch.float64, device=truth.device)
        return cls(batch, truth, observed, Segmentation.from_labels(truth, observed, n_classes), gradients, Workspace(), precise)

    def measure(self, values: Sequence[Tensor], logits: Tensor) -> Tensor:
        """Inner products of the 3C segment gradients (sums) of every network, ``[S, 3C, 3C]`` float64.

        One weighted backward pass per segment, on the segment's own samples, for all networks at once.

        Args:
            values: what ``batch.forward`` returned for the training inputs.
            logits: outputs that the loss sees ``[S, n, K]`` (centred or not).
        """
        n_classes = len(self.segments.indices) // 2
        seeds = torch.arange(self.batch.n_seeds, device=logits.device)[:, None]
        residual = label_residuals(logits, self.observed)
        true_residual = label_residuals(logits, self.truth.expand_as(self.observed))
        for source, (index, weight) in enumerate(zip(self.segments.indices, self.segments.weights, strict=True)):
            if index.shape[1] == 0:
                continue
            rows = [value[index] if value.ndim == 2 else value[seeds, index] for value in values[:-1]]
            self._write(source, rows, residual[seeds, index] * weight[..., None])
            if source >= n_classes:
                self._write(source + n_classes, rows, true_residual[seeds, index] * weight[..., None])
        total = torch.zeros(self.batch.n_seeds, 3 * n_classes, 3 * n_classes, dtype=torch.float64, device=logits.device)
        for gradients in self._gradients:
            precise = self._precise[: gradients[0].numel()].view(gradients.shape[1:])
            for seed in range(self.batch.n_seeds):
                precise.copy_(gradients[seed])
                total[seed].addmm_(precise, precise.T)
        return total

    def _write(self, place: int, rows: list[Tensor], weighted_residual: Tensor) -> None:
        signals = self.batch.signals(rows, weighted_residual, workspace=self._workspace)
        for layer, gradients in enumerate(self._gradients):
            self.batch.write_gradients(gradients[:, place], rows, signals, layer)


def _absolute_residual(logits: Tensor, labels: Tensor) -> Tensor:
    """|f − y| of one logit; 1 − f_y of several: the same number for two classes."""
    return -torch.expm1(-sample_losses(logits, labels))


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the masked samples of each row; nan for an empty row."""
    return torch.where(mask, values, 0).sum(1) / mask.sum(1)


def _at(values: Tensor, labels: Tensor) -> Tensor:
    """``values[s, i, labels[s, i]]``."""
    return values.gather(-1, labels[..., None])[..., 0]
