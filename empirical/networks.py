"""The fully connected networks of the papers: parametrisation, initialisation, optional centred output.

Conventions (m = width, L = depth = number of hidden layers; [A] counts the output layer too, so its "2-layer" network has L = 1):

========== ============================================================== =====================================
name       h(x)                                                           parameters at initialisation
========== ============================================================== =====================================
"eq2"      W^{L+1} σ(√(2/m) W^L … σ(√(2/m) W^1 x)), Eq. (2) [B]           N(0, 1), no biases
"eq6"      m^{-1/2} vᵀ A x, Eq. (6) [A]; deeper: 1/√m per hidden layer    N(0, 1), no biases, activation "linear"
"eq7"      m^{-1/2} vᵀ σ(A x), Eq. (7) [A]; deeper: 1/√m per hidden layer N(0, 1), no biases
"pytorch"  v σ(… σ(A x + b) …) + c                                        U(±1/√fan_in), PyTorch's default, with biases
========== ============================================================== =====================================
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from empirical._validation import check_choice, check_flag, check_integer

__all__ = [
    "ACTIVATIONS",
    "CONVENTIONS",
    "FullyConnected",
    "ScaledLinear",
    "check_architecture",
    "draw_parameters",
    "layer_scales",
    "layer_shapes",
]

CONVENTIONS = ("eq2", "eq6", "eq7", "pytorch")
"""Names of the parametrisations."""

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({"relu": torch.relu, "linear": lambda z: z, "tanh": torch.tanh})
"""Activation functions by name."""


class ScaledLinear(nn.Linear):
    """Linear layer z = scale·W a + b whose scale is part of the network, not of the initialisation.

    Args:
        in_features: fan-in.
        out_features: fan-out.
        scale: factor on the weights.
        bias: whether there is a bias (which is not scaled).

    Example:
        >>> layer = ScaledLinear(2, 1, scale=0.5)
        >>> _ = nn.init.ones_(layer.weight)
        >>> layer(torch.tensor([[1.0, 3.0]])).item()
        2.0
    """

    def __init__(self, in_features: int, out_features: int, *, scale: float = 1.0, bias: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.scale = float(scale)

    def reset_parameters(self) -> None:
        """Set all parameters to zero: whoever owns the layer draws them, and no global generator is touched."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Return scale·W a + b ``[n, out_features]`` for a ``[n, in_features]``."""
        product = nn.functional.linear(input, self.weight)
        if self.scale != 1.0:
            product = product * self.scale
        return product if self.bias is None else product + self.bias


class FullyConnected(nn.Module):
    """Fully connected network with one or more logits.

    Args:
        n_inputs: input dimension d.
        width: units m of every hidden layer.
        depth: number of hidden layers L.
        n_outputs: number of logits; with one, the output has shape ``[n]``.
        activation: ``"relu"``, ``"linear"`` or ``"tanh"``.
        convention: parametrisation, see the module's table.
        centred: subtract the output of a frozen copy at initialisation, h − h_0: the output starts at exactly 0, gradients are unchanged.
        seed: of the initialisation; ``reset`` draws another one.
        generator: draws the initialisation instead of ``seed``.
        dtype: ``torch.float32`` or ``torch.float64``. Parameters are drawn in float64 and rounded, so both types hold the same network.

    Raises:
        ValueError: if a size is not a positive integer, a name is unknown, or activation and convention do not go together.

    Source: Eq. (2) [B]; Eq. (6), (7) [A].

    Example:
        >>> network = FullyConnected(2, 64, 1, seed=3)
        >>> x = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> network(x).shape, bool(torch.allclose(network(5 * x), 5 * network(x)))
        (torch.Size([2]), True)
        >>> FullyConnected(2, 64, 1, centred=True)(x).tolist()
        [0.0, 0.0]
    """

    def __init__(
        self,
        n_inputs: int,
        width: int,
        depth: int,
        *,
        n_outputs: int = 1,
        activation: str = "relu",
        convention: str = "eq2",
        centred: bool = False,
        seed: int = 0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        shapes = layer_shapes(n_inputs, width, depth, n_outputs=n_outputs)
        check_architecture(activation, convention)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.n_inputs, self.width, self.depth, self.n_outputs = n_inputs, width, depth, n_outputs
        self.activation, self.convention, self.centred = activation, convention, check_flag(centred, "centred")
        scales = layer_scales(width, depth, convention=convention)
        bias = convention == "pytorch"
        self.layers = nn.ModuleList(ScaledLinear(shape[1], shape[0], scale=s, bias=bias) for shape, s in zip(shapes, scales, strict=True))
        self.to(dtype)
        if self.centred:
            for index, layer in enumerate(self.layers):
                for name, parameter in layer.named_parameters():
                    self.register_buffer(f"initial_{name}_{index}", torch.empty_like(parameter))
        self.reset(seed, generator=generator)

    @torch.no_grad()
    def reset(self, seed: int = 0, *, generator: torch.Generator | None = None) -> FullyConnected:
        """Draw a new initialisation (and freeze its copy if the output is centred); returns the network itself."""
        drawn = draw_parameters(
            self.n_inputs,
            self.width,
            self.depth,
            n_outputs=self.n_outputs,
            convention=self.convention,
            seed=seed,
            generator=generator,
        )
        for index, (layer, values) in enumerate(zip(self.layers, drawn, strict=True)):
            for (name, parameter), value in zip(layer.named_parameters(), values, strict=True):
                parameter.copy_(value)
                if self.centred:
                    self.get_buffer(f"initial_{name}_{index}").copy_(value)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``[n]`` (one output) or ``[n, n_outputs]`` of inputs ``[n, n_inputs]``.

        Raises:
            ValueError: if the inputs have another number of columns.
        """
        if x.shape[-1] != self.n_inputs:
            raise ValueError(f"inputs must have {self.n_inputs} columns, got shape {list(x.shape)}")
        activation = ACTIVATIONS[self.activation]
        signal = x
        for index, layer in enumerate(self.layers):
            signal = layer(signal)
            if index < self.depth:
                signal = activation(signal)
        if self.centred:
            signal = signal - self._initial_output(x)
        return signal.squeeze(-1) if self.n_outputs == 1 else signal

    def _initial_output(self, x: Tensor) -> Tensor:
        """The output of the frozen copy; the same operations as ``forward``, so that the difference at initialisation is exactly 0."""
        activation = ACTIVATIONS[self.activation]
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, ScaledLinear)
            x = nn.functional.linear(x, self.get_buffer(f"initial_weight_{index}"))
            if layer.scale != 1.0:
                x = x * layer.scale
            if layer.bias is not None:
                x = x + self.get_buffer(f"initial_bias_{index}")
            if index < self.depth:
                x = activation(x)
        return x


def check_architecture(activation: str, convention: str) -> None:
    """Check that an activation and a convention exist and go together.

    Raises:
        ValueError: if one is unknown; if ``"eq6"`` is not linear; if ``"eq2"``, which scales the pre-activation, has an activation that
            is not 1-homogeneous.
    """
    check_choice(activation, "activation", tuple(ACTIVATIONS))
    check_choice(convention, "convention", CONVENTIONS)
    if convention == "eq6" and activation != "linear":
        raise ValueError(f"convention 'eq6' is the linear network of Eq. (6) [A]: activation must be 'linear', got {activation!r}")
    if convention == "eq2" and activation == "tanh":
        raise ValueError("convention 'eq2' needs a 1-homogeneous activation ('relu' or 'linear'), got 'tanh'; use 'eq7' or 'pytorch'")


def layer_shapes(n_inputs: int, width: int, depth: int, *, n_outputs: int = 1) -> tuple[tuple[int, int], ...]:
    """Shapes ``(fan_out, fan_in)`` of the L + 1 weight matrices, first layer first.

    Raises:
        ValueError: if a size is not a positive integer.

    Example:
        >>> layer_shapes(784, 512, 2)
        ((512, 784), (512, 512), (1, 512))
    """
    hidden = [check_integer(width, "width")] * check_integer(depth, "depth")
    sizes = [check_integer(n_inputs, "n_inputs"), *hidden, check_integer(n_outputs, "n_outputs")]
    return tuple((fan_out, fan_in) for fan_in, fan_out in itertools.pairwise(sizes))


def layer_scales(width: int, depth: int, *, convention: str) -> tuple[float, ...]:
    """Factors on the L + 1 weight matrices, first layer first.

    Eq. (2) [B] scales the hidden pre-activations; Eq. (6), (7) [A] scale what leaves a hidden layer.

    Example:
        >>> layer_scales(50, 2, convention="eq2")
        (0.2, 0.2, 1.0)
        >>> layer_scales(100, 2, convention="eq7")
        (1.0, 0.1, 0.1)
    """
    depth = check_integer(depth, "depth", maximum=10**6)
    if check_choice(convention, "convention", CONVENTIONS) == "pytorch":
        return (1.0,) * (depth + 1)
    if convention == "eq2":
        return (math.sqrt(2 / width),) * depth + (1.0,)
    return (1.0,) + (1 / math.sqrt(width),) * depth


def draw_parameters(
    n_inputs: int,
    width: int,
    depth: int,
    *,
    n_outputs: int = 1,
    convention: str = "eq2",
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> list[tuple[Tensor, ...]]:
    """Draw an initialisation: for each layer ``(weight [fan_out, fan_in],)``, with ``bias [fan_out]`` in the "pytorch" convention; float64.

    Args:
        n_inputs: input dimension d.
        width: hidden units m.
        depth: hidden layers L.
        n_outputs: number of logits.
        convention: parametrisation, see the module's table.
        seed: non-negative seed of a local generator.
        generator: used instead of ``seed``.

    Raises:
        ValueError: if a size, the convention or the seed is not valid.
    """
    shapes = layer_shapes(n_inputs, width, depth, n_outputs=n_outputs)
    check_choice(convention, "convention", CONVENTIONS)
    if generator is None:
        generator = torch.Generator().manual_seed(check_integer(seed, "seed", minimum=0))
    layers: list[tuple[Tensor, ...]] = []
    for fan_out, fan_in in shapes:
        if convention == "pytorch":
            bound = 1 / math.sqrt(fan_in)  # nn.Linear.reset_parameters: kaiming_uniform with a = √5
            sizes: tuple[tuple[int, ...], ...] = ((fan_out, fan_in), (fan_out,))
            layers.append(tuple(torch.empty(s, dtype=torch.float64).uniform_(-bound, bound, generator=generator) for s in sizes))
        else:
            layers.append((torch.randn(fan_out, fan_in, dtype=torch.float64, generator=generator),))
    return layers
