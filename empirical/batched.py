"""Many networks of one architecture, one per seed, as a single batch of matrices.

Every operation is a batched matrix product over the leading seed axis, so that small networks fill the machine. The parameters are those of
``FullyConnected`` with the same seed; the numbers agree with one network at a time up to the order of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from empirical.losses import label_residuals
from empirical.networks import ACTIVATIONS, check_architecture, draw_parameters, layer_scales

__all__ = ["Job", "LayerValues", "NetworkBatch", "Workspace"]


class Workspace:
    """Memory that is used again from step to step: fresh memory costs more than the arithmetic on small networks.

    Arrays ``[S, n, fan_out]`` lie in memory as ``[n, S, fan_out]``, so that products with inputs that all networks share are one product.
    """

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, int, int], Tensor] = {}

    def take(self, name: tuple[str, int], n: int, weight: Tensor) -> Tensor:
        """The array of this name for ``n`` samples, ``[S, n, fan_out]``; its content is undefined."""
        key = (*name, n)
        if key not in self._arrays:
            seeds, fan_out, _ = weight.shape
            self._arrays[key] = torch.empty(n, seeds, fan_out, dtype=weight.dtype, device=weight.device).transpose(0, 1)
        return self._arrays[key]


@dataclass(frozen=True, eq=False)
class Job:
    """A weighted sum of gradients, Σ_ik weights_ik ∇h_k(x_i), over samples of each of G networks.

    Attributes:
        row: where the sum goes.
        index: samples ``[G, k]``.
        weights: of their logits ``[G, k, K]``.
    """

    row: int
    index: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class LayerValues:
    """What ``NetworkBatch.forward`` returned: the inputs of each layer, and last the logits."""

    values: list[Tensor]

    @property
    def logits(self) -> Tensor:
        """``[S, n, K]``."""
        return self.values[-1]


@dataclass(frozen=True, eq=False)
class NetworkBatch:
    """S networks of one architecture; ``step`` changes the parameters in place.

    Attributes:
        weights: for each layer ``[S, fan_out, fan_in]``.
        biases: for each layer ``[S, fan_out]``; empty without biases.
        scales: factor of each layer's weights.
        activation: name of the activation.

    Example:
        >>> batch = NetworkBatch.draw(2, 8, 1, seeds=(0, 1, 2))
        >>> activations = batch.forward(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        >>> [list(a.shape) for a in activations]
        [[2, 2], [3, 2, 8], [3, 2, 1]]
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    scales: tuple[float, ...]
    activation: str
    _steps: Workspace = field(default_factory=Workspace, repr=False)
    _segments: Workspace = field(default_factory=Workspace, repr=False)

    @classmethod
    def draw(
        cls,
        n_inputs: int,
        width: int,
        depth: int,
        *,
        seeds: Sequence[int],
        n_outputs: int = 1,
        activation: str = "relu",
        convention: str = "eq2",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> NetworkBatch:
        """Draw the initialisation of ``FullyConnected(…, seed=s)`` for every seed s."""
        check_architecture(activation, convention)
        if len(seeds) == 0:
            raise ValueError("seeds must hold at least one seed, got none")
        stacked: list[list[Tensor]] = []
        for position, seed in enumerate(seeds):
            drawn = draw_parameters(n_inputs, width, depth, n_outputs=n_outputs, convention=convention, seed=seed)
            if not stacked:
                stacked = [[torch.empty(len(seeds), *part.shape, dtype=dtype) for part in layer] for layer in drawn]
            for layer, target in zip(drawn, stacked, strict=True):
                for part, place in zip(layer, target, strict=True):
                    place[position] = part
        return cls(
            weights=tuple(layer[0].to(device) for layer in stacked),
            biases=tuple(layer[1].to(device) for layer in stacked) if convention == "pytorch" else (),
            scales=layer_scales(width, depth, convention=convention),
            activation=activation,
        )

    @property
    def n_seeds(self) -> int:
        """Number of networks S."""
        return self.weights[0].shape[0]

    @property
    def n_parameters(self) -> int:
        """Parameters p of one network."""
        return sum(part[0].numel() for part in (*self.weights, *self.biases))

    @property
    def blocks(self) -> tuple[int, ...]:
        """Parameters of each layer, weights and biases together."""
        return tuple(weight[0].numel() + (self.biases[layer].shape[1] if self.biases else 0) for layer, weight in enumerate(self.weights))

    @property
    def groups(self) -> tuple[slice, ...]:
        """All networks at once."""
        return (slice(0, self.n_seeds),)

    @property
    def descends_from_evaluation(self) -> bool:
        """Yes: a step takes the layers' values as they are."""
        return True

    def calibrate(self, inputs: Tensor) -> None:
        """There are no running statistics."""

    def evaluate(self, inputs: Tensor, *, reuse: bool = False) -> LayerValues:
        """Evaluate all networks on ``[n, d]`` or ``[S, n, d]``; with ``reuse`` the next such call overwrites the result."""
        return LayerValues(self.forward(inputs, workspace=self._steps if reuse else None))

    def descend(
        self, inputs: Tensor, labels: Tensor, *, factor: float, offset: Tensor | None = None, evaluation: LayerValues | None = None
    ) -> None:
        """Add ``factor`` times the gradient of the summed loss to the parameters, see ``empirical.batches.Batch``."""
        values = (self.evaluate(inputs, reuse=True) if evaluation is None else evaluation).values
        logits = values[-1] if offset is None else values[-1] - offset
        self.step(values, self.signals(values, label_residuals(logits, labels), workspace=self._steps), factor=factor)

    def segment_gradients(self, evaluation: LayerValues, group: slice, jobs: Sequence[Job], out: Sequence[Tensor]) -> None:
        """Write the weighted sums of gradients, see ``empirical.batches.Batch``: one backward pass per job, for all networks at once."""
        networks = torch.arange(self.n_seeds, device=out[0].device)[:, None]
        index, rows = None, []
        for job in jobs:
            if job.index is not index:
                index = job.index
                rows = [value[index] if value.ndim == 2 else value[networks, index] for value in evaluation.values[:-1]]
            signals = self.signals(rows, job.weights, workspace=self._segments)
            for layer, target in enumerate(out):
                self.write_gradients(target[:, job.row], rows, signals, layer)

    def forward(self, x: Tensor, *, workspace: Workspace | None = None) -> list[Tensor]:
        """Evaluate all networks.

        Args:
            x: inputs ``[n, d]`` shared by the networks, or ``[S, n, d]``.
            workspace: memory for the results, which the next call with the same workspace overwrites; new memory by default.

        Returns:
            the inputs of each layer, ``[S, n, fan_in]`` (the first is ``x`` itself), and last the logits ``[S, n, n_outputs]``.
        """
        room = Workspace() if workspace is None else workspace
        function = ACTIVATIONS[self.activation]
        values = [x]
        for index, (weight, scale) in enumerate(zip(self.weights, self.scales, strict=True)):
            seeds, fan_out, fan_in = weight.shape
            signal = room.take(("value", index), x.shape[-2], weight)
            if values[-1].ndim == 2:  # shared inputs: one product for all seeds
                flat = signal.transpose(0, 1).view(-1, seeds * fan_out)
                flat.addmm_(values[-1], weight.view(seeds * fan_out, fan_in).T, beta=0, alpha=scale)
            else:
                signal.baddbmm_(values[-1], weight.transpose(1, 2), beta=0, alpha=scale)
            if self.biases:
                signal.add_(self.biases[index][:, None, :])
            if index == len(self.weights) - 1:
                values.append(signal)
            else:
                values.append(signal.relu_() if self.activation == "relu" else function(signal))
        return values

    def signals(self, values: Sequence[Tensor], weights: Tensor, *, workspace: Workspace | None = None) -> list[Tensor]:
        """Send ``weights`` ``[S, n, n_outputs]`` back: ∂(Σ weights·h)/∂z for each layer ``[S, n, fan_out]``.

        Args:
            values: what ``forward`` returned (or rows of it).
            weights: weights of the logits, the residuals for the gradient of the loss.
            workspace: memory for the results, as in ``forward``.
        """
        room = Workspace() if workspace is None else workspace
        backward = [weights]
        for index in range(len(self.weights) - 1, 0, -1):
            weight, scale = self.weights[index], self.scales[index]
            signal = room.take(("signal", index - 1), weights.shape[1], self.weights[index - 1])
            if weight.shape[1] == 1:
                torch.mul(backward[0], weight if scale == 1.0 else weight * scale, out=signal)
            else:
                signal.baddbmm_(backward[0], weight, beta=0, alpha=scale)
            # σ'(z) from the activation a = σ(z) itself: 1{a>0} for ReLU, 1 − a² for tanh
            if self.activation == "relu":
                torch.ops.aten.threshold_backward.grad_input(signal, values[index], 0, grad_input=signal)
            elif self.activation == "tanh":
                torch.ops.aten.tanh_backward.grad_input(signal, values[index], grad_input=signal)
            backward.insert(0, signal)
        return backward

    def step(self, values: Sequence[Tensor], signals: Sequence[Tensor], *, factor: float) -> None:
        """Add ``factor`` times the gradient Σ_i δ_i a_iᵀ to the parameters, in place (gradient descent: factor = −η/n)."""
        for index, (weight, scale) in enumerate(zip(self.weights, self.scales, strict=True)):
            _add_outer(weight, signals[index], values[index], factor * scale)
            if self.biases:
                self.biases[index].add_(signals[index].sum(1), alpha=factor)

    def write_gradients(self, target: Tensor, values: Sequence[Tensor], signals: Sequence[Tensor], layer: int) -> None:
        """Write the gradient Σ_i δ_i a_iᵀ of one layer's parameters, weights then biases, into ``target`` ``[S, p_layer]``.

        Args:
            target: flat gradients, overwritten; may be a view with any stride between networks.
            values: inputs of each layer, here with a seed axis each ``[S, n, fan_in]``.
            signals: what ``signals`` returned for them.
            layer: index of the layer.
        """
        _, fan_out, fan_in = self.weights[layer].shape
        weights = target[:, : fan_out * fan_in].view(-1, fan_out, fan_in)
        weights.baddbmm_(signals[layer].transpose(1, 2), values[layer], beta=0, alpha=self.scales[layer])
        if self.biases:
            target[:, fan_out * fan_in :] = signals[layer].sum(1)


def _add_outer(target: Tensor, signal: Tensor, values: Tensor, factor: float) -> None:
    """Add factor·Σ_i δ_i a_iᵀ to ``target`` ``[S, fan_out, fan_in]``, in place; values ``[n, fan_in]`` are shared by the seeds."""
    if values.ndim == 3:
        target.baddbmm_(signal.transpose(1, 2), values, alpha=factor)
    else:
        seeds, fan_out, fan_in = target.shape
        side_by_side = signal.transpose(0, 1).reshape(len(values), seeds * fan_out)
        target.view(seeds * fan_out, fan_in).addmm_(side_by_side.T, values, alpha=factor)
