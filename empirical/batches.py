"""What training asks of a batch of networks, and which kind of batch serves a specification.

Training and its recorder (``empirical.training``, ``empirical.recorder``) know a batch by ``Batch`` alone: ``empirical.batched`` implements
it for fully connected networks, ``empirical.module_batch`` for networks for pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from empirical.batched import Job, NetworkBatch
from empirical.datasets import Dataset
from empirical.module_batch import ModuleBatch
from empirical.specifications import NetworkSpec

__all__ = ["Batch", "Evaluation", "bytes_per_seed", "draw_batch"]


class Evaluation(Protocol):
    """All networks at some inputs, with the parameters of that moment."""

    @property
    def logits(self) -> Tensor:
        """``[S, n, K]``; not centred."""
        ...


class Batch(Protocol):
    """S networks of one architecture, one per seed, whose parameters change in place."""

    @property
    def n_seeds(self) -> int:
        """Number of networks S."""
        ...

    @property
    def blocks(self) -> tuple[int, ...]:
        """Numbers of parameters of the blocks (layers or tensors) that a network consists of."""
        ...

    @property
    def groups(self) -> tuple[slice, ...]:
        """Networks whose segment gradients are held at the same time, group by group."""
        ...

    @property
    def descends_from_evaluation(self) -> bool:
        """Whether ``descend`` makes use of an evaluation."""
        ...

    def calibrate(self, inputs: Tensor) -> None:
        """Set running statistics to those of ``inputs`` ``[n, d]`` with the present parameters, before a measurement."""
        ...

    def evaluate(self, inputs: Tensor, *, reuse: bool = False) -> Any:
        """Evaluate all networks, as functions of one sample each (normalisations in evaluation mode), on ``[n, d]`` or ``[S, n, d]``.

        With ``reuse`` the next such call overwrites what this one returned.
        """
        ...

    def descend(self, inputs: Tensor, labels: Tensor, *, factor: float, offset: Tensor | None = None, evaluation: Any = None) -> None:
        """Add ``factor`` times the gradient of the summed loss on these samples to the parameters, in place.

        Args:
            inputs: ``[n, d]`` or ``[S, n, d]``.
            labels: ``[S, n]``.
            factor: −η/n for a step on the mean loss.
            offset: output to subtract before the loss ``[S, n, K]``.
            evaluation: what ``evaluate`` gave for these inputs and parameters, where it is there.
        """
        ...

    def segment_gradients(self, evaluation: Any, group: slice, jobs: Sequence[Job], out: Sequence[Tensor]) -> None:
        """Write the weighted sums of gradients that the jobs ask for, of the networks of a group.

        Args:
            evaluation: of the samples that the jobs choose from.
            group: one of ``groups``.
            jobs: what to sum.
            out: for each block ``[G, rows, p_block]``, of which the jobs' rows are overwritten.
        """
        ...


def draw_batch(
    network: NetworkSpec, dataset: Dataset, *, seeds: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Batch:
    """Draw the networks of a specification for all seeds: those of ``network.build``.

    Running statistics of batch normalisation are set to those of the training inputs at initialisation.

    Raises:
        ValueError: if there is no seed or the data do not fit the network.
    """
    if network.kind == "fully_connected":
        return NetworkBatch.draw(
            dataset.train_inputs.shape[1],
            network.width,
            network.depth,
            n_outputs=1 if dataset.n_classes == 2 else dataset.n_classes,
            seeds=seeds,
            activation=network.activation,
            convention=network.convention,
            dtype=dtype,
            device=device,
        )
    return ModuleBatch.draw(network, dataset, seeds=seeds, dtype=dtype, device=device)


def bytes_per_seed(network: NetworkSpec, dataset: Dataset, dtype: torch.dtype) -> int:
    """Upper estimate of the memory that one more seed takes in training."""
    size, classes = torch.empty(0, dtype=dtype).element_size(), dataset.n_classes
    n, d = (int(count) for count in dataset.train_inputs.shape)
    if network.kind != "fully_connected":
        parameters = sum(part.numel() for part in network.build(dataset, seed=0).parameters())
        return size * (4 * parameters + 8 * classes * (n + len(dataset.test_inputs)))
    layers = [d * network.width, *[network.width**2] * (network.depth - 1), network.width * (1 if classes == 2 else classes)]
    activations = (n * 3 + len(dataset.test_inputs)) * network.width * network.depth + 2 * n * d
    gradients = 3 * classes * sum(layers) + 3 * n * network.width
    return size * (2 * sum(layers) + activations + gradients)
