"""A network's own first-order model, h_lin(w) = h(w_0) + J (w − w_0), and its distance from the network in training.

The Jacobian J is never formed: products with it are forward- and backward-mode derivatives (``torch.func.jvp``, ``vjp``) over some samples
at a time. Where the samples are few, training needs no parameters at all: logits move by −(η/n) K r with K = J Jᵀ (function space, exact).
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from empirical._validation import check_choice, check_integer, check_integers, check_labels, check_positive
from empirical.layer_signals import as_inputs, trainable_layers
from empirical.losses import label_residuals
from empirical.tangent_kernel import empirical_ntk

__all__ = ["Linearization", "LinearizedTrajectory", "linearize", "train_with_linearization"]

Parameters = Mapping[str, Tensor]
METHODS = ("auto", "function", "parameter")


@dataclass(frozen=True, eq=False)
class Linearization:
    """The first-order model of a network around the parameters w_0 that it had when ``linearize`` was called.

    Attributes:
        parameters: w_0, the trainable parameters by name.
        chunk_size: samples that one derivative takes at a time; memory is O(p + chunk_size · activations), never n × p.
    """

    parameters: Parameters
    chunk_size: int
    _model: nn.Module
    _frozen: Parameters

    def displacement(self, model: nn.Module) -> dict[str, Tensor]:
        """Return w − w_0 for a network of the same architecture, by name of the parameter.

        Raises:
            ValueError: if its trainable parameters have other names or shapes.
        """
        found = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
        shapes, expected = ({name: tuple(part.shape) for name, part in parts.items()} for parts in (found, self.parameters))
        if shapes != expected:
            raise ValueError(f"model must have the parameters that were linearised, {expected}, got {shapes}")
        return {name: part - self.parameters[name] for name, part in found.items()}

    def outputs(self, inputs: ArrayLike | Tensor, displacement: Parameters) -> Tensor:
        """Return the linear model's logits h(w_0; x) + J(x)·displacement, ``[n]`` or ``[n, K]`` as the network's.

        Args:
            inputs: rows ``[n, d]``.
            displacement: w − w_0 by name, as from ``displacement``.

        Raises:
            ValueError: if inputs are not finite ``[n, d]``, or the displacement is not one of these parameters.
        """
        if {name: part.shape for name, part in displacement.items()} != {name: part.shape for name, part in self.parameters.items()}:
            raise ValueError(f"displacement must have the parameters {', '.join(self.parameters)}, got {', '.join(displacement)}")
        return self._outputs(as_inputs(self._model, inputs, "inputs"), displacement)

    def gradient(self, inputs: ArrayLike | Tensor, weights: ArrayLike | Tensor) -> dict[str, Tensor]:
        """Return Jᵀ·weights = Σ_ik weights_ik ∇h_k(w_0; x_i) (a sum over samples) by name of the parameter.

        Args:
            inputs: rows ``[n, d]``.
            weights: one per logit, ``[n]`` or ``[n, K]`` as the network's output: residuals, for the gradient of the linear model's loss.

        Raises:
            ValueError: if inputs are not finite ``[n, d]``, or the weights have another shape than the logits.
        """
        x = as_inputs(self._model, inputs, "inputs")
        return self._gradient(self.parameters, x, torch.as_tensor(weights, dtype=x.dtype, device=x.device))

    def _evaluate(self, parameters: Parameters, x: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(self._model, ({**self._frozen, **parameters},), (x,))
        return result

    @torch.no_grad()
    def _network(self, parameters: Parameters, x: Tensor) -> Tensor:
        return torch.cat([self._evaluate(parameters, part) for part in torch.split(x, self.chunk_size)])

    def _outputs(self, x: Tensor, displacement: Parameters) -> Tensor:
        _prepare_forward_mode()
        pieces = []
        for part in torch.split(x, self.chunk_size):

            def logits(parameters: Parameters, part: Tensor = part) -> Tensor:
                return self._evaluate(parameters, part)

            value, change = torch.func.jvp(  # type: ignore[misc]
                logits, (dict(self.parameters),), (dict(displacement),)
            )
            pieces.append((value + change).detach())
        return torch.cat(pieces)

    def _gradient(self, parameters: Parameters, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for part, weight in zip(torch.split(x, self.chunk_size), torch.split(weights, self.chunk_size), strict=True):

            def logits(parameters: Parameters, part: Tensor = part) -> Tensor:
                return self._evaluate(parameters, part)

            value, pull = torch.func.vjp(  # type: ignore[misc]
                logits, dict(parameters)
            )
            if value.shape != weight.shape:
                raise ValueError(
                    f"weights must have the shape of the logits, {list(value.shape[1:])} per sample, got {list(weight.shape[1:])}"
                )
            (piece,) = pull(weight)
            total = {name: gradient.detach() + total.get(name, 0) for name, gradient in piece.items()}
        return total


def linearize(model: nn.Module, *, chunk_size: int = 1024) -> Linearization:
    """Return a network's first-order model around its present parameters; the network may be trained afterwards without changing it.

    Args:
        model: network of rows ``[n, d]`` with output ``[n]`` or ``[n, K]``; normalisations and dropout in evaluation mode.
        chunk_size: samples that one derivative takes at a time.

    Raises:
        ValueError: if nothing is trainable, a layer couples the samples of a batch, or the chunk is not a positive integer.

    Source: Remark 3.3 [A], §4.1 [B] (row G7).

    Example:
        >>> from empirical.networks import FullyConnected
        >>> network = FullyConnected(2, 512, 1, seed=1)
        >>> linear, x = linearize(network), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> with torch.no_grad():
        ...     _ = network.layers[1].weight.add_(0.1)  # the output is linear in the last layer
        >>> bool(torch.allclose(linear.outputs(x, linear.displacement(network)), network(x), rtol=1e-4))
        True
    """
    trainable_layers(model)
    size, own = check_integer(chunk_size, "chunk_size"), copy.deepcopy(model)
    trained = {name: part.detach() for name, part in own.named_parameters() if part.requires_grad}
    frozen = {name: part.detach() for name, part in own.named_parameters() if not part.requires_grad}
    return Linearization(trained, size, own, frozen)


@dataclass(frozen=True, eq=False)
class LinearizedTrajectory:
    """A network and its own linearisation in training, at the recorded steps.

    Attributes:
        times: η·step ``[T]``.
        steps: ``[T]``.
        logits, linear_logits: of the training samples ``[T, n]`` or ``[T, n, K]``.
        test_logits, linear_test_logits: of the test samples; None without them.
        method: ``"function"`` or ``"parameter"``.
    """

    times: NDArray[np.floating]
    steps: NDArray[np.int64]
    logits: NDArray[np.floating]
    linear_logits: NDArray[np.floating]
    test_logits: NDArray[np.floating] | None
    linear_test_logits: NDArray[np.floating] | None
    method: str

    def distance(self, part: str = "train", *, kind: str = "max") -> NDArray[np.float64]:
        """Return the distance from the linearisation, max or root mean square of |h − h_lin| over samples and logits ``[T]``.

        Args:
            part: ``"train"`` or ``"test"``.
            kind: ``"max"`` or ``"rms"``.

        Raises:
            ValueError: if a name is unknown, or there are no test samples.
        """
        check_choice(kind, "kind", ("max", "rms"))
        ours, theirs = self.logits, self.linear_logits
        if check_choice(part, "part", ("train", "test")) == "test":
            if self.test_logits is None or self.linear_test_logits is None:
                raise ValueError("part must be 'train' where there are no test samples, got 'test'")
            ours, theirs = self.test_logits, self.linear_test_logits
        gap = np.abs(ours.astype(np.float64) - theirs).reshape(len(ours), -1)
        result: NDArray[np.float64] = gap.max(axis=1) if kind == "max" else np.sqrt(np.mean(gap**2, axis=1))
        return result


def train_with_linearization(
    model: nn.Module,
    inputs: ArrayLike | Tensor,
    labels: ArrayLike,
    *,
    learning_rate: float,
    steps: int,
    test_inputs: ArrayLike | Tensor | None = None,
    batches: Sequence[ArrayLike] | None = None,
    record: Sequence[int] | None = None,
    method: str = "auto",
    memory_budget: int = 2**28,
    chunk_size: int = 1024,
) -> LinearizedTrajectory:
    """Train a network and its own linearisation side by side, with the same steps on the same samples; the given network is left alone.

    Gradient descent on the mean logistic loss (one logit) or cross-entropy: w ← w − (η/b) Σ_i r_i ∇h_i over the b samples of the step.

    Args:
        model: as for ``linearize``; its present parameters are w_0.
        inputs: training samples ``[n, d]``.
        labels: observed labels ``[n]``, 0/1 for one logit, 0 … K − 1 for K.
        learning_rate: η, of the mean loss.
        steps: number of steps.
        test_inputs: ``[n_test, d]``.
        batches: indices of the samples of every step, ``steps`` of them; the whole set by default.
        record: increasing steps at which logits are recorded; all by default.
        method: of the linear model. ``"function"``: by its kernel between all samples and the training samples, exact and fast;
            ``"parameter"``: by jvp and vjp, memory O(p). ``"auto"``: the first where that kernel fits the memory budget.
        memory_budget: bytes that the kernel may take.
        chunk_size: samples that one derivative takes at a time.

    Raises:
        ValueError: for arguments that do not fit, or training that diverges.

    Source: Remark 3.3 [A]; §4.1 [A], [B] (row G7).

    Example:
        >>> from empirical.networks import FullyConnected
        >>> x, y = [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [1, 0, 0]
        >>> run = train_with_linearization(FullyConnected(2, 4096, 1), x, y, learning_rate=1.0, steps=10, record=[0, 10])
        >>> run.times.tolist(), run.method, run.distance().round(1).tolist()
        ([0.0, 10.0], 'function', [0.0, 0.0])
    """
    linear = linearize(model, chunk_size=chunk_size)
    x = as_inputs(model, inputs, "inputs")
    n = len(x)
    everything = x if test_inputs is None else torch.cat([x, as_inputs(model, test_inputs, "test_inputs")])
    eta, last = check_positive(learning_rate, "learning_rate"), check_integer(steps, "steps", minimum=0)
    start = linear._network(linear.parameters, everything)
    logits = start.reshape(len(start), -1).shape[1]
    target = torch.as_tensor(check_labels(labels, 2 if logits == 1 else logits), device=x.device)
    if len(target) != n:
        raise ValueError(f"labels must have one entry for each of {n} samples, got {len(target)}")
    check_integer(memory_budget, "memory_budget")
    due, parts = _recorded(record, last), _batches(batches, last, n, x.device)
    size = len(everything) * n * logits**2 * x.element_size()
    if check_choice(method, "method", METHODS) == "auto":
        method = "function" if size <= memory_budget else "parameter"

    def residual(h: Tensor, y: Tensor) -> Tensor:
        return label_residuals(h.reshape(1, len(y), logits), y[None]).reshape(h.shape)

    kernel = torch.as_tensor(empirical_ntk(linear._model, everything, x, blocks=True), device=x.device) if method == "function" else None
    network, moved, straight = dict(linear.parameters), {name: torch.zeros_like(part) for name, part in linear.parameters.items()}, start
    found: list[tuple[Tensor, Tensor]] = []
    for step in range(last + 1):
        if step in due:
            if kernel is None:
                straight = linear._outputs(everything, moved)
            found.append((linear._network(network, everything), straight))
            if not all(torch.isfinite(part).all() for part in found[-1]):
                raise ValueError(f"training must stay finite, got a non-finite logit at step {step}: learning_rate {eta} is too large")
        if step == last:
            break
        index = parts[step] if parts is not None else slice(None)
        batch, y = x[index], target[index]
        rate = eta / len(y)
        gradient = linear._gradient(network, batch, residual(linear._network(network, batch), y))
        network = {name: part - rate * gradient[name] for name, part in network.items()}
        if kernel is None:
            gradient = linear._gradient(linear.parameters, batch, residual(linear._outputs(batch, moved), y))
            moved = {name: part - rate * gradient[name] for name, part in moved.items()}
        else:
            r = residual(straight[:n][index], y).reshape(len(y), logits)
            straight = straight - rate * torch.einsum("klij,jl->ik", kernel[..., index], r).reshape(straight.shape)
    ours, theirs = (torch.stack(part).cpu().numpy() for part in zip(*found, strict=True))
    test = (None, None) if test_inputs is None else (ours[:, n:], theirs[:, n:])
    at = np.array(sorted(due), dtype=np.int64)
    return LinearizedTrajectory(eta * at, at, ours[:, :n], theirs[:, :n], test[0], test[1], method)


@functools.cache
def _prepare_forward_mode() -> None:
    """Let torch load its forward-mode derivatives, which its first use does through a deprecated interface of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`?torch\.jit", category=DeprecationWarning)
        torch.func.jvp(torch.neg, (torch.zeros(1),), (torch.zeros(1),))


def _recorded(record: Sequence[int] | None, last: int) -> set[int]:
    if record is None:
        return set(range(last + 1))
    at = list(check_integers(record, "record"))
    if at != sorted(set(at)) or at[-1] > last:
        raise ValueError(f"record must hold increasing step numbers in [0, {last}], got {at}")
    return set(at)


def _batches(batches: Sequence[ArrayLike] | None, last: int, n: int, device: torch.device) -> list[Tensor] | None:
    if batches is None:
        return None
    if len(batches) != last:
        raise ValueError(f"batches must hold the indices of {last} steps, got {len(batches)}")
    checked = []
    for step, part in enumerate(batches):
        index = np.asarray(part)
        if index.ndim != 1 or index.size == 0 or index.dtype.kind not in "iu" or index.min() < 0 or index.max() >= n:
            raise ValueError(
                f"batches must hold indices from 0 to {n - 1}, at least one for every step, got {str(part)[:60]} at step {step}"
            )
        checked.append(torch.as_tensor(index.astype(np.int64), device=device))
    return checked
