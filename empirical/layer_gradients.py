"""The gradients of one layer, sample by sample and summed over segments, without ever holding n × p numbers.

For a layer with activations a_i and signals δ_i (``empirical.layer_signals``), four kinds:

* **linear**: G_i = s·δ_i a_iᵀ. Norm ‖G_i‖² = s²‖a_i‖²‖δ_i‖², inner product ⟨G_i, G⟩ = s·δ_iᵀ G a_i: nothing is formed.
* **convolution**: G_i = Δ_i U_iᵀ, with the unfolded activations U_i ``[K, T]`` (K = channels per group × kernel, T = output positions)
  and the signals Δ_i ``[O, T]`` of O output channels. Either *formed*, a few samples at a time: O·K·T multiplications for G_i and
  (C + 1)·O·K for its norm and C inner products. Or *not formed*: ‖G_i‖² = ⟨U_iᵀU_i, Δ_iᵀΔ_i⟩ costs T²·(K + O), and the forward-mode
  derivative along each of C segment gradients is a convolution of O·K·T. The cheaper one by this count is taken: forming wins unless the
  maps are small.
* **normalisation** (batch normalisation in evaluation mode, group normalisation) z = γ·x̂ + β: G_i = (Σ_t δ_it x̂_it, Σ_t δ_it), formed.
* **other** (layer normalisation, embeddings, …): G_i by ``torch.func.vmap`` of the layer's vector-Jacobian product, a few
  samples at a time.

"A few samples": as many as keep the arrays of a step below a fixed number of elements, one at least.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

from empirical.convolutions import convolution_gradients, unfold, unfolded_size
from empirical.layer_signals import Layer

__all__ = [
    "FORMED_ELEMENTS",
    "GRAM_BLOCK",
    "LayerSums",
    "forms_gradients",
    "layer_sums",
    "sample_gradients",
    "samples_at_a_time",
    "segment_sums",
]

GRAM_BLOCK = 2**16  # parameters turned to float64 at a time
FORMED_ELEMENTS = 2**21  # numbers of the arrays of one step, 8 MiB in float32
_SMALL_LAYER, _SMALL_MAP = 2**16, 150  # parameters and places of a layer up to which segment_sums forms the samples' gradients


class LayerSums(Protocol):
    """The part of k segment gradients that lies in one layer, and what it needs of the samples."""

    def factors(self, activation: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
        """What to keep of samples, each ``[n, …]``: activations and signals, or the formed gradients where these are fewer numbers."""

    def add(self, row: int, factors: tuple[Tensor, ...], weights: Tensor | None) -> None:
        """Add the gradients of the given samples, times their weights ``[n, 1]``, to the segment ``row``."""

    def add_signals(self, row: int, activation: Tensor, signal: Tensor) -> None:
        """Add the gradients of samples of which only the sum is needed."""

    def rows(self) -> list[Tensor]:
        """The segments' gradients, for each trained parameter ``[k, numbers]``."""

    def gram(self) -> NDArray[np.float64]:
        """Inner products of the segments ``[k, k]``, summed in float64."""

    def measure(self, count: int, factors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Squared norms ``[n]`` of the samples' gradients, and their inner products with the first ``count`` segments ``[n, count]``."""


def layer_sums(layer: Layer, count: int, like: Tensor) -> LayerSums:
    """``count`` = 3C segments without samples, of the type and on the device of ``like``."""
    if layer.kind == "linear":
        return _LinearSums.zeros(layer, count, like)
    return _Sums(layer, count // 3, tuple(like.new_zeros(count, value.numel()) for value in layer.parameters.values()))


def sample_gradients(layer: Layer, activation: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
    """Gradients of every sample, for each trained parameter ``[n, numbers]``: for a few samples (see ``samples_at_a_time``).

    Raises:
        ValueError: if the layer's vector-Jacobian product cannot be taken sample by sample.
    """
    if layer.kind == "convolution":
        return convolution_gradients(layer, activation, signal)
    if layer.kind == "normalization":
        return _normalization_gradients(layer, activation, signal)
    parameters, function = layer.parameters, _function_of(layer)

    def pull_back(sample: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
        pull = torch.func.vjp(lambda values: function(values, sample[None]), parameters)[1]
        return tuple(pull(weights[None])[0].values())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, raised inside torch.func
        try:
            gradients = torch.func.vmap(pull_back)(_plain(activation), _plain(signal))
        except (RuntimeError, NotImplementedError, ValueError) as error:
            reason = " ".join(str(error).split())[:120]
            raise ValueError(f"{layer.label} is not supported: torch.func.vmap cannot take its gradient per sample ({reason})") from None
    return tuple(gradient.reshape(len(signal), -1) for gradient in gradients)


def segment_sums(layer: Layer, activation: Tensor, signal: Tensor, segment: Tensor, count: int) -> tuple[Tensor, ...]:
    """Σ_i G_i over the samples of each of ``count`` segments, for each trained parameter ``[count, numbers]``.

    Where a sample's gradient and its maps are small it is formed, and one product with the members of the segments sums it; else segment by
    segment, by one backward pass through the layer each.

    Args:
        layer: the layer.
        activation: of n samples.
        signal: of n samples.
        segment: number of the segment of each sample ``[n]``, not decreasing.
        count: number of segments.
    """
    sizes = [value.numel() for value in layer.parameters.values()]
    sums = tuple(signal.new_zeros(count, size) for size in sizes)
    small = layer.kind == "convolution" and sum(sizes) <= _SMALL_LAYER and signal[0, 0].numel() <= _SMALL_MAP
    if small or layer.kind == "normalization":
        step = samples_at_a_time(layer, activation, signal)
        for start in range(0, len(signal), step):
            rows = slice(start, start + step)
            members = (segment[rows] == torch.arange(count, device=segment.device)[:, None]).to(signal.dtype)
            for total, gradients in zip(sums, sample_gradients(layer, activation[rows], signal[rows]), strict=True):
                total.addmm_(members, gradients)
        return sums
    ends = torch.searchsorted(segment, torch.arange(count + 1, device=segment.device)).tolist()
    for row, (first, last) in enumerate(itertools.pairwise(ends)):
        if first < last:
            for total, gradient in zip(sums, _summed_gradient(layer, activation[first:last], signal[first:last]), strict=True):
                total[row] = gradient.flatten()
    return sums


def _summed_gradient(layer: Layer, activation: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
    """Σ_i G_i for each trained parameter, by one backward pass through the layer, ``activation`` and ``signal`` of all samples."""
    if layer.kind == "linear":
        by_name: dict[str, Callable[[], Tensor]] = {
            "weight": lambda: signal.T @ activation if layer.scale == 1.0 else (signal.T @ activation).mul_(layer.scale),
            "bias": lambda: signal.sum(0),
        }
        return tuple(by_name[name]() for name in layer.trained)
    if layer.kind == "convolution":
        convolution = cast(nn.Conv2d, layer.module)
        by_name = {
            "weight": lambda: conv2d_weight(  # type: ignore[no-untyped-call]
                activation,
                list(convolution.weight.shape),
                signal,
                convolution.stride,
                cast(tuple[int, int], convolution.padding),
                convolution.dilation,
                convolution.groups,
            ),
            "bias": lambda: signal.sum((0, 2, 3)),
        }
        return tuple(by_name[name]() for name in layer.trained)
    if layer.kind == "normalization":
        return tuple(part.sum(0) for part in _normalization_gradients(layer, activation, signal))
    values = {name: value.requires_grad_() for name, value in layer.parameters.items()}
    with torch.enable_grad():
        output = _function_of(layer)(values, _plain(activation))
    return torch.autograd.grad(output, list(values.values()), grad_outputs=_plain(signal))


def samples_at_a_time(layer: Layer, activation: Tensor, signal: Tensor) -> int:
    """How many samples' gradients may be formed together."""
    numbers = sum(value.numel() for value in layer.parameters.values())
    if layer.kind == "convolution":
        numbers += unfolded_size(layer, signal)
    else:
        numbers += 4 * (activation[0].numel() + signal[0].numel())
    return max(1, FORMED_ELEMENTS // numbers)


def forms_gradients(layer: Layer, signal: Tensor, count: int) -> bool:
    """Whether forming a sample's gradient is the cheaper way to its norm and ``count`` inner products; True for kinds without another.

    Example:
        >>> from empirical.layer_signals import trainable_layers
        >>> (layer,) = trainable_layers(nn.Conv2d(32, 64, 3))
        >>> [forms_gradients(layer, torch.empty(1, 64, size, size), 10) for size in (24, 1)]
        [True, False]
    """
    if layer.kind != "convolution":
        return True
    convolution = cast(nn.Conv2d, layer.module)
    kernel, positions, channels = convolution.weight[0].numel(), signal[0, 0].numel(), signal.shape[1]
    formed = channels * kernel * positions + (count + 1) * channels * kernel
    implicit = positions**2 * (kernel * convolution.groups + channels) + count * channels * kernel * positions
    return formed <= implicit


@dataclass(frozen=True, eq=False)
class _LinearSums:
    """A linear layer: weight ``[k, fan_out, fan_in]``, bias ``[k, fan_out]``; None where not trained."""

    weight: Tensor | None
    bias: Tensor | None
    scale: float

    @classmethod
    def zeros(cls, layer: Layer, count: int, like: Tensor) -> _LinearSums:
        fan_out, fan_in = cast(Tensor, layer.module.weight).shape
        weight = like.new_zeros(count, fan_out, fan_in) if layer.trains_weight else None
        return cls(weight, like.new_zeros(count, fan_out) if layer.trains_bias else None, layer.scale)

    def factors(self, activation: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
        """Activations and signals."""
        return activation, signal

    def add(self, row: int, factors: tuple[Tensor, ...], weights: Tensor | None) -> None:
        """Add s·Σ_i δ_i a_iᵀ and Σ_i δ_i."""
        activation, signal = factors
        self.add_signals(row, activation, signal if weights is None else signal * weights)

    def add_signals(self, row: int, activation: Tensor, signal: Tensor) -> None:
        """The same with weight 1."""
        if self.weight is not None:
            self.weight[row].addmm_(signal.T, activation, alpha=self.scale)
        if self.bias is not None:
            self.bias[row] += signal.sum(0)

    def rows(self) -> list[Tensor]:
        """Weight and bias, as far as they are trained."""
        return [part.flatten(1) for part in (self.weight, self.bias) if part is not None]

    def gram(self) -> NDArray[np.float64]:
        """Inner products of the segments."""
        return _gram(self.rows())

    def measure(self, count: int, factors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """‖δ_i‖²(s²‖a_i‖² [weight] + 1 [bias]), and inner products."""
        activation, signal = factors
        factor = torch.zeros_like(signal[:, 0])
        if self.weight is not None:
            factor = factor + self.scale**2 * torch.linalg.vector_norm(activation, dim=1).square()
        if self.bias is not None:
            factor = factor + 1
        squared = torch.mul(torch.linalg.vector_norm(signal, dim=1).square(), factor)
        return squared, torch.stack([self._inner(row, activation, signal) for row in range(count)], dim=1)

    def _inner(self, row: int, activation: Tensor, signal: Tensor) -> Tensor:
        """δ_iᵀ(s·G a_i + g), the derivative along the segment gradient (G, g)."""
        weight, bias = self.weight, self.bias
        if weight is None:
            assert bias is not None
            return torch.mv(signal, bias[row])
        moved = activation @ weight[row].T
        if self.scale != 1.0:
            moved.mul_(self.scale)
        if bias is not None:
            moved.add_(bias[row])
        return torch.sum(moved.mul_(signal), dim=1)


@dataclass(frozen=True, eq=False)
class _Sums:
    """A layer of another kind: for each trained parameter ``[k, numbers]``.

    Its factors are the formed gradients if they are formed anyway and hold no more numbers than activations and signals do.
    """

    layer: Layer
    count: int
    parts: tuple[Tensor, ...]

    def factors(self, activation: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
        """The formed gradients, or activations and signals."""
        numbers = sum(part.shape[1] for part in self.parts)
        if not forms_gradients(self.layer, signal, self.count) or numbers > activation[0].numel() + signal[0].numel():
            return activation, signal
        size = samples_at_a_time(self.layer, activation, signal)
        gradients = tuple(signal.new_empty(len(signal), part.shape[1]) for part in self.parts)
        for start in range(0, len(signal), size):
            rows = slice(start, start + size)
            for target, values in zip(gradients, sample_gradients(self.layer, activation[rows], signal[rows]), strict=True):
                target[rows] = values
        return gradients

    def _are_formed(self, factors: tuple[Tensor, ...]) -> bool:
        """Activations and signals have other shapes than gradients: theirs is one array ``[n, numbers]`` per parameter."""
        return [tuple(factor.shape[1:]) for factor in factors] == [tuple(part.shape[1:]) for part in self.parts]

    def add(self, row: int, factors: tuple[Tensor, ...], weights: Tensor | None) -> None:
        """Add formed gradients, or the gradient of the sum over samples by one backward pass through the layer."""
        if self._are_formed(factors):
            for part, factor in zip(self.parts, factors, strict=True):
                part[row] += factor.sum(0) if weights is None else weights[:, 0] @ factor
        else:
            activation, signal = factors
            self.add_signals(row, activation, signal if weights is None else signal * weights.view(-1, *(1,) * (signal.ndim - 1)))

    def add_signals(self, row: int, activation: Tensor, signal: Tensor) -> None:
        """Add by one backward pass through the layer."""
        for part, gradient in zip(self.parts, _summed_gradient(self.layer, activation, signal), strict=True):
            part[row] += gradient.flatten()

    def rows(self) -> list[Tensor]:
        """All trained parameters."""
        return list(self.parts)

    def gram(self) -> NDArray[np.float64]:
        """Inner products of the segments."""
        return _gram(self.rows())

    def measure(self, count: int, factors: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Squared norms and inner products, a few samples at a time unless the gradients are there."""
        if self._are_formed(factors):
            return self._measure_gradients(count, factors)
        activation, signal = factors
        formed = forms_gradients(self.layer, signal, self.count)
        size = samples_at_a_time(self.layer, activation, signal)
        results = []
        for some_activation, some_signal in zip(torch.split(activation, size), torch.split(signal, size), strict=True):
            if formed:
                results.append(self._measure_gradients(count, sample_gradients(self.layer, some_activation, some_signal)))
            else:
                results.append(self._implicit(count, some_activation, some_signal))
        squared, inner = zip(*results, strict=True)
        return torch.cat(squared), torch.cat(inner)

    def _measure_gradients(self, count: int, gradients: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        like = gradients[0]
        squared, inner = like.new_zeros(len(like)), like.new_zeros(len(like), count)
        for part, values in zip(self.parts, gradients, strict=True):
            squared += torch.linalg.vector_norm(values, dim=1).square()
            inner.addmm_(values, part[:count].T)
        return squared, inner

    def _implicit(self, count: int, activation: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
        """A convolution by the Gram matrices over positions, and by forward-mode derivatives."""
        squared, inner = signal.new_zeros(len(signal)), signal.new_zeros(len(signal), count)
        for name, part in zip(self.layer.trained, self.parts, strict=True):
            if name == "bias":
                total = signal.sum((2, 3))
                squared += torch.linalg.vector_norm(total, dim=1).square()
                inner.addmm_(total, part[:count].T)
                continue
            unfolded, signals = unfold(self.layer, activation, signal)
            squared += ((unfolded.mT @ unfolded) * (signals.mT @ signals)).sum((1, 2, 3))
            convolution = cast(nn.Conv2d, self.layer.module)
            for c in range(count):
                along = {"weight": part[c].view_as(convolution.weight)}
                if convolution.bias is not None:
                    along["bias"] = torch.zeros_like(convolution.bias)
                moved = torch.func.functional_call(convolution, along, (activation,))
                inner[:, c] += (moved * signal).sum((1, 2, 3))
        return squared, inner


def _gram(parts: list[Tensor]) -> NDArray[np.float64]:
    """Inner products ``[k, k]``, summed in float64, a block of parameters at a time."""
    blocks = (block.to(torch.float64) for part in parts for block in torch.split(part, GRAM_BLOCK, dim=1))
    return np.asarray(sum((block @ block.T).cpu().numpy() for block in blocks))


def _plain(array: Tensor) -> Tensor:
    """A copy with channels first: some layers' derivatives cannot be taken, or fail, on maps with channels last."""
    return array.clone(memory_format=torch.contiguous_format)


def _function_of(layer: Layer) -> Callable[[dict[str, Tensor], Tensor], Tensor]:
    """The layer as a function of its trained parameters and its input."""
    return lambda values, activation: cast(Tensor, torch.func.functional_call(layer.module, values, (activation,)))


def _normalization_gradients(layer: Layer, activation: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
    """Σ_t δ_it x̂_it and Σ_t δ_it, with x̂ from the layer itself for γ = 1, β = 0."""
    axes = tuple(range(2, signal.ndim))
    parts = []
    for name in layer.trained:
        if name == "weight":
            weight, bias = (cast(Tensor | None, getattr(layer.module, key)) for key in ("weight", "bias"))
            assert weight is not None
            unit = {"weight": torch.ones_like(weight)} | ({} if bias is None else {"bias": torch.zeros_like(bias)})
            normalized: Tensor = torch.func.functional_call(layer.module, unit, (_plain(activation),))
            parts.append((signal * normalized).sum(axes) if axes else signal * normalized)
        else:
            parts.append(signal.sum(axes) if axes else signal)
    return tuple(parts)
