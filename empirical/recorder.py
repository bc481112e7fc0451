"""The Gram matrices of the segment gradients of a batch of networks, measured again and again in the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from empirical.batched import Job
from empirical.batches import Batch, Evaluation
from empirical.losses import label_residuals

__all__ = ["SegmentGrams", "Segmentation"]

_STREAM = int.from_bytes(b"record", "big")  # keeps the draw of recorded samples independent of other draws with the same seed


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
    def from_labels(cls, truth: Tensor, observed: Tensor, n_classes: int, *, chosen: Tensor | None = None) -> Segmentation:
        """Sort samples with labels ``truth`` ``[n]`` and ``observed`` ``[S, n]`` into segments; with ``chosen`` ``[S, n]`` only those."""
        noisy = observed != truth
        indices, weights, counts = [], [], []
        for is_noise in (False, True):
            for c in range(n_classes):
                member = (noisy == is_noise) & (truth == c)
                if chosen is not None:
                    member &= chosen
                count = member.sum(1)
                size = int(count.max())
                order = torch.argsort(member.to(torch.int8), dim=1, descending=True, stable=True)[:, :size]
                indices.append(order)
                weights.append(torch.arange(size, device=truth.device)[None] < count[:, None])
                counts.append(count.cpu().numpy())
        return cls(tuple(indices), tuple(weights), np.stack(counts, axis=1))

    @classmethod
    def drawn(cls, truth: Tensor, observed: Tensor, n_classes: int, *, seeds: Sequence[int], n_samples: int) -> Segmentation:
        """The same for about ``n_samples`` samples drawn by each seed: the same share of every segment, one sample of it at least."""
        whole = cls.from_labels(truth, observed, n_classes)
        share = min(1.0, n_samples / len(truth))
        chosen = torch.zeros_like(observed, dtype=torch.bool)
        for position, seed in enumerate(seeds):
            generator = np.random.default_rng([_STREAM, seed])
            for index, count in zip(whole.indices, whole.counts[position].tolist(), strict=True):
                members = index[position, generator.permutation(count)[: max(1, round(share * count))]]
                chosen[position, members] = True
        return cls.from_labels(truth, observed, n_classes, chosen=chosen)


@dataclass(frozen=True, eq=False)
class SegmentGrams:
    """Measures the Gram matrices of the segment gradients of a batch of networks, again and again in the same memory.

    Attributes:
        batch: S networks; their present parameters count.
        truth: ground-truth labels ``[n]``.
        observed: labels of each network ``[S, n]``.
        segments: of these labels.
    """

    batch: Batch
    truth: Tensor
    observed: Tensor
    segments: Segmentation
    _gradients: tuple[Tensor, ...]  # per block [G, 3C, p_block], for the largest group of networks
    _precise: Tensor  # [largest 3C·p_block] float64, one network at a time

    @classmethod
    def prepare(cls, batch: Batch, truth: Tensor, observed: Tensor, segments: Segmentation, *, dtype: torch.dtype) -> SegmentGrams:
        """Reserve the memory; segments without samples keep gradient 0."""
        rows, networks = 3 * len(segments.indices) // 2, max(group.stop - group.start for group in batch.groups)
        gradients = tuple(torch.zeros(networks, rows, size, dtype=dtype, device=truth.device) for size in batch.blocks)
        precise = torch.zeros(rows * max(batch.blocks), dtype=torch.float64, device=truth.device)
        return cls(batch, truth, observed, segments, gradients, precise)

    def measure(self, evaluation: Evaluation, logits: Tensor) -> dict[str, Tensor]:
        """Inner products of the 3C segment gradients (sums) of every network, ``[S, 3C, 3C]`` float64.

        One weighted backward pass per segment, on the segment's own samples, for all networks of a group at once.

        Args:
            evaluation: of the training inputs.
            logits: outputs that the loss sees ``[S, n, K]`` (centred or not).

        Returns:
            ``"gram"`` of the full gradients; for several logits also ``"own_gram"`` of the single-logit gradients r_ic ∇h_c, each sample's
            through the logit c of its own ground-truth class.
        """
        residual = label_residuals(logits, self.observed)
        true_residual = label_residuals(logits, self.truth.expand_as(self.observed))
        measured = {"gram": self._gram(evaluation, residual, true_residual)}
        if logits.shape[-1] > 1:
            own = torch.nn.functional.one_hot(self.truth, logits.shape[-1]).to(logits.dtype)
            measured["own_gram"] = self._gram(evaluation, residual * own, true_residual * own)
        return measured

    def _gram(self, evaluation: Evaluation, residual: Tensor, true_residual: Tensor) -> Tensor:
        rows = self._gradients[0].shape[1]
        total = torch.zeros(self.batch.n_seeds, rows, rows, dtype=torch.float64, device=residual.device)
        for group in self.batch.groups:
            held = [gradients[: group.stop - group.start] for gradients in self._gradients]
            self.batch.segment_gradients(evaluation, group, self._jobs(group, residual[group], true_residual[group]), held)
            for gradients in held:
                precise = self._precise[: gradients[0].numel()].view(gradients.shape[1:])
                for position, network in enumerate(range(group.start, group.stop)):
                    precise.copy_(gradients[position])
                    total[network].addmm_(precise, precise.T)
        return total

    def _jobs(self, group: slice, residual: Tensor, true_residual: Tensor) -> list[Job]:
        """What to sum for a group of networks, residuals ``[G, n, K]``; noisy samples once more with their true labels."""
        n_classes = len(self.segments.indices) // 2
        networks = torch.arange(group.stop - group.start, device=residual.device)[:, None]
        jobs = []
        for source, (indices, weights) in enumerate(zip(self.segments.indices, self.segments.weights, strict=True)):
            index, weight = indices[group], weights[group][..., None]
            if index.shape[1] > 0:
                jobs.append(Job(source, index, residual[networks, index] * weight))
                if source >= n_classes:
                    jobs.append(Job(source + n_classes, index, true_residual[networks, index] * weight))
        return jobs
