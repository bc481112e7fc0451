"""Many networks for pictures, one per seed: parameters stacked over a leading seed axis, evaluated through ``torch.func``.

Where a picture is small, or on a GPU, all networks are evaluated at once (``torch.func.vmap`` over the stacked parameters, which turns
convolutions into grouped ones); for larger pictures on a CPU one network fills the machine, grouped convolutions take two to four times as
long, and the networks are evaluated in turn. The numbers are the same up to the order of floating-point sums.

Segment gradients are weighted backward passes over a few samples at a time, in evaluation mode, and never n × p numbers. Before a
measurement the running statistics of batch normalisation are set to those of the training inputs with the present parameters: after a few
steps the averages that training keeps lag so far behind the parameters that the network would not be the one that is trained.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from empirical.batched import Job
from empirical.datasets import Dataset
from empirical.image_networks import ResNet9
from empirical.layer_gradients import segment_sums
from empirical.layer_signals import forward_pass, trainable_layers
from empirical.losses import label_residuals
from empirical.specifications import NetworkSpec

__all__ = ["ModuleBatch", "ModuleValues"]

_CHUNK_ELEMENTS = 2**23  # outputs of all layers that one chunk of samples may hold, 32 MiB in float32
_SMALL_PICTURE = 100  # pixels up to which a CPU is faster with all networks at once (measured with 8 × 8 and 28 × 28 pixels)


@dataclass(frozen=True, eq=False)
class ModuleValues:
    """Inputs ``[n, d]`` or ``[S, n, d]`` and the logits ``[S, n, K]`` that the networks gave for them."""

    inputs: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class ModuleBatch:
    """S networks of one architecture; ``descend`` changes parameters and running statistics in place.

    Attributes:
        template: a network of this architecture that lends its structure; its own parameters have no meaning.
        parameters: by name ``[S, …]``.
        buffers: running statistics by name ``[S, …]``.
        together: whether all networks are evaluated at once.
        chunk_size: samples of one network evaluated at a time.
        couples_samples: whether the samples of a training batch act on one another (batch normalisation): it is then never cut.

    Example:
        >>> from empirical.specifications import DataSpec
        >>> data = DataSpec(name="digits", n_train=20, normalize="pixel").load()
        >>> network = NetworkSpec(kind="cnn", width=8, channels=0.125, convention="pytorch")
        >>> batch = ModuleBatch.draw(network, data, seeds=(0, 1, 2))
        >>> batch.evaluate(torch.tensor(data.train_inputs)).logits.shape
        torch.Size([3, 20, 10])
    """

    template: nn.Module
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]
    together: bool
    chunk_size: int
    couples_samples: bool

    @classmethod
    def draw(
        cls,
        network: NetworkSpec,
        dataset: Dataset,
        *,
        seeds: Sequence[int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        together: bool | None = None,
    ) -> ModuleBatch:
        """Draw ``network.build(dataset, seed=s)`` for every seed s, batch normalisation calibrated on the training inputs.

        Args:
            network: architecture.
            dataset: pictures.
            seeds: at least one.
            dtype: of the parameters.
            device: where they lie.
            together: evaluate all networks at once; None decides by the device and the size of the pictures.

        Raises:
            ValueError: if there is no seed or the data do not fit the network.
        """
        if len(seeds) == 0:
            raise ValueError("seeds must hold at least one seed, got none")
        inputs = torch.tensor(dataset.train_inputs, dtype=dtype, device=device)
        networks = []
        for seed in seeds:
            built = network.build(dataset, seed=seed, dtype=dtype).to(device)
            networks.append(built.calibrate(inputs) if isinstance(built, ResNet9) else built)
        with torch.no_grad():
            parameters = {
                name: torch.stack([dict(one.named_parameters())[name] for one in networks]) for name, _ in built.named_parameters()
            }
            buffers = {name: torch.stack([dict(one.named_buffers())[name] for one in networks]) for name, _ in built.named_buffers()}
        pixels = inputs.shape[1] if dataset.image_shape is None else dataset.image_shape[-1] * dataset.image_shape[-2]
        return cls(
            template=built.eval(),
            parameters=parameters,
            buffers=buffers,
            together=inputs.device.type != "cpu" or pixels <= _SMALL_PICTURE if together is None else together,
            chunk_size=max(1, _CHUNK_ELEMENTS // _outputs_per_sample(network.build(dataset, seed=0), inputs.shape[1])),
            couples_samples=network.couples_samples,
        )

    @property
    def n_seeds(self) -> int:
        """Number of networks S."""
        return len(next(iter(self.parameters.values())))

    @property
    def n_parameters(self) -> int:
        """Parameters p of one network."""
        return sum(self.blocks)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Numbers in each parameter."""
        return tuple(part[0].numel() for part in self.parameters.values())

    @property
    def groups(self) -> tuple[slice, ...]:
        """Each network alone: segment gradients of one at a time are held in memory."""
        return tuple(slice(s, s + 1) for s in range(self.n_seeds))

    @property
    def _parts(self) -> tuple[slice, ...]:
        """Networks that are evaluated at once."""
        return (slice(0, self.n_seeds),) if self.together else self.groups

    @property
    def descends_from_evaluation(self) -> bool:
        """No: a step is in training mode and keeps a graph."""
        return False

    def calibrate(self, inputs: Tensor) -> None:
        """Set the running statistics of batch normalisation to those of ``inputs`` ``[n, d]`` with the present parameters."""
        if not self.couples_samples:
            return
        for position in range(self.n_seeds):
            self._lend(position)
            assert isinstance(self.template, ResNet9)
            self.template.calibrate(inputs, chunk_size=max(2, self.chunk_size))

    def evaluate(self, inputs: Tensor, *, reuse: bool = False) -> ModuleValues:
        """Evaluate all networks in evaluation mode on ``[n, d]`` or ``[S, n, d]``."""
        with self._mode(training=False), torch.no_grad():
            logits = [
                torch.cat([self._logits(group, rows) for rows in self._chunks(self._of(inputs, group))], dim=1) for group in self._parts
            ]
        return ModuleValues(inputs, torch.cat(logits))

    def descend(
        self, inputs: Tensor, labels: Tensor, *, factor: float, offset: Tensor | None = None, evaluation: ModuleValues | None = None
    ) -> None:
        """Add ``factor`` times the gradient of the summed loss to the parameters, in training mode, see ``empirical.batches.Batch``."""
        for group in self._parts:
            rows = self._of(inputs, group)
            size = rows.shape[1] if self.couples_samples else self.chunk_size
            starts = range(0, rows.shape[1], size)
            gradients: list[Tensor] = []
            with self._mode(training=True):
                for start in starts:
                    part = slice(start, start + size)
                    parameters = self._leaves(group)
                    logits = self._logits(group, rows[:, part], parameters)
                    shifted = logits.detach() if offset is None else logits.detach() - offset[group, part]
                    found = torch.autograd.grad(logits, parameters, label_residuals(shifted, labels[group, part]))
                    gradients = list(found) if not gradients else [a.add_(b) for a, b in zip(gradients, found, strict=True)]
            with torch.no_grad():
                for parameter, gradient in zip(self.parameters.values(), gradients, strict=True):
                    parameter[group].add_(gradient, alpha=factor)

    def segment_gradients(self, evaluation: ModuleValues, group: slice, jobs: Sequence[Job], out: Sequence[Tensor]) -> None:
        """Write the weighted sums of gradients, see ``empirical.batches.Batch``, of one network in evaluation mode.

        A few samples at a time, one forward and one backward pass give activations and signals of every layer, and then each job's samples
        their part of its sum, layer by layer.
        """
        places = [job.row for job in jobs]
        for block in out:
            block[:, places] = 0
        self._lend(group.start)
        layers = trainable_layers(self.template)
        inputs = evaluation.inputs if evaluation.inputs.ndim == 2 else evaluation.inputs[group.start]
        index, weights = torch.cat([job.index[0] for job in jobs]), torch.cat([job.weights[0] for job in jobs])
        owner = torch.repeat_interleave(torch.tensor([job.index.shape[1] for job in jobs], device=index.device))
        for start in range(0, len(index), self.chunk_size):
            rows = slice(start, start + self.chunk_size)
            evaluated = forward_pass(self.template, layers, inputs[index[rows]])
            blocks = iter(out)
            for layer, activation, signal in zip(layers, evaluated.inputs, evaluated.signals(weights[rows]), strict=True):
                sums = segment_sums(layer, activation, signal, owner[rows], len(jobs))
                for part in sums:
                    next(blocks)[0].index_add_(0, torch.tensor(places, device=index.device), part)

    def _lend(self, position: int) -> None:
        """Give the template the parameters and running statistics of one network; they share memory."""
        for name, parameter in self.template.named_parameters():
            parameter.data = self.parameters[name][position]
        for name, buffer in self.template.named_buffers():
            buffer.data = self.buffers[name][position]

    def _of(self, inputs: Tensor, group: slice) -> Tensor:
        """Inputs of the networks of a group ``[G, n, d]``."""
        return inputs.expand(group.stop - group.start, -1, -1) if inputs.ndim == 2 else inputs[group]

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Samples a few at a time, ``[G, …]`` each."""
        return torch.split(rows, max(1, self.chunk_size // len(rows)), dim=1)

    def _leaves(self, group: slice) -> list[Tensor]:
        """Parameters of a group that gradients may be taken of."""
        return [parameter[group].detach().requires_grad_() for parameter in self.parameters.values()]

    def _logits(self, group: slice, inputs: Tensor, parameters: Sequence[Tensor] | None = None) -> Tensor:
        """Logits ``[G, n, K]`` of the networks of a group, each on its own inputs ``[G, n, d]``."""
        values = dict(zip(self.parameters, self._leaves(group) if parameters is None else parameters, strict=True))
        buffers = {name: buffer[group] for name, buffer in self.buffers.items()}

        def evaluate(parameters: dict[str, Tensor], buffers: dict[str, Tensor], rows: Tensor) -> Tensor:
            output: Tensor = torch.func.functional_call(self.template, (parameters, buffers), (rows,))
            return output[:, None] if output.ndim == 1 else output

        if group.stop - group.start == 1:  # running statistics are views of the stacked ones, and change there
            first = [{name: value[0] for name, value in part.items()} for part in (values, buffers)]
            return evaluate(first[0], first[1], inputs[0])[None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, raised inside torch.func
            logits: Tensor = torch.func.vmap(evaluate)(values, buffers, inputs)
        return logits

    @contextmanager
    def _mode(self, *, training: bool) -> Iterator[None]:
        """Training or evaluation mode; outside it is always evaluation."""
        self.template.train(training)
        try:
            yield
        finally:
            self.template.eval()


def _outputs_per_sample(network: nn.Module, n_inputs: int) -> int:
    """Numbers that all layers of a network give for one sample."""
    counts: list[int] = []
    handles = [
        module.register_forward_hook(lambda module, inputs, output: counts.append(output.numel()))
        for module in network.modules()
        if not any(True for _ in module.children())
    ]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, n_inputs, dtype=next(itertools.chain(network.parameters())).dtype))
    finally:
        for handle in handles:
            handle.remove()
    return max(1, sum(counts))
