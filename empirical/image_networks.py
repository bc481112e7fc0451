"""The convolutional networks of the papers' experiments: a small CNN and ResNet-9.

Inputs are rows ``[n, d]``, the channel-first flattening of pictures (see ``Dataset.image_shape``); the networks give them their shape back.
Parameters are drawn as PyTorch draws them by default, U(±1/√fan_in) for weights and biases, but by a local generator, in float64, and
rounded; normalisations start at γ = 1, β = 0. [A] states neither padding nor initialisation; what is chosen here is said in each class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from empirical._validation import check_choice, check_integer, check_positive

__all__ = ["CNN_CHANNELS", "ConvolutionalNetwork", "ResNet9"]

CNN_CHANNELS = (32, 64)
"""Channels of the CNN of Appendix B [A]."""

_POOLED = 8  # ResNet-9 halves height and width three times before its last pooling
_BLOCK_CHANNELS = {"usual": (64, 128, 256, 512), "footnote": (64, 128, 256, 256)}
_ACTIVATIONS = {"relu": nn.ReLU, "mish": nn.Mish}


class ConvolutionalNetwork(nn.Module):
    """Two 3 × 3 convolutions, max-pooling by 2, two fully connected layers; ReLU.

    Convolutions have stride 1 and no padding, so that of a 28 × 28 picture 64 channels of 12 × 12 reach the first fully connected layer:
    609,354 parameters with the default sizes.

    Args:
        image_shape: ``(height, width)`` or ``(channels, height, width)``, at least 6 × 6 pixels.
        n_outputs: number of logits; with one, the output has shape ``[n]``.
        channels: channels of the two convolutions.
        hidden: units of the first fully connected layer.
        seed: of the initialisation; ``reset`` draws another one.
        generator: draws the initialisation instead of ``seed``.
        dtype: ``torch.float32`` or ``torch.float64``; both hold the same network.

    Raises:
        ValueError: if a size is not a positive integer, pictures are too small, or the type is neither.

    Source: Appendix B [A] (which states neither padding, pooling size nor initialisation).

    Example:
        >>> network = ConvolutionalNetwork((28, 28))
        >>> network(torch.ones(5, 784)).shape, sum(p.numel() for p in network.parameters())
        (torch.Size([5, 10]), 609354)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_outputs: int = 10,
        *,
        channels: tuple[int, int] = CNN_CHANNELS,
        hidden: int = 64,
        seed: int = 0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.image_shape, self.n_outputs = _check_image_shape(image_shape), check_integer(n_outputs, "n_outputs")
        if not isinstance(channels, (tuple, list)) or len(channels) != 2:
            raise ValueError(f"channels must be two numbers of channels, got {channels!r}")
        first, second = (check_integer(count, "each of channels") for count in channels)
        check_integer(hidden, "hidden")
        depth, height, width = self.image_shape
        if min(height, width) < 6:
            raise ValueError(
                f"image_shape must have at least 6 x 6 pixels for two 3 x 3 convolutions and a pooling, got {list(image_shape)}"
            )
        features = second * ((height - 4) // 2) * ((width - 4) // 2)
        with torch.device("meta"):  # no draw from the global generator
            self.first, self.second = nn.Conv2d(depth, first, 3), nn.Conv2d(first, second, 3)
            self.hidden, self.last = nn.Linear(features, hidden), nn.Linear(hidden, self.n_outputs)
        _allocate(self, dtype)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the faster format for convolutions and pooling
        self.reset(seed, generator=generator)

    def reset(self, seed: int = 0, *, generator: torch.Generator | None = None) -> ConvolutionalNetwork:
        """Draw a new initialisation; returns the network itself."""
        _draw(self, seed, generator)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``[n]`` (one output) or ``[n, n_outputs]`` of rows ``[n, d]``."""
        maps = self.second(torch.relu(self.first(_pictures(x, self.image_shape))))
        features = torch.relu(nn.functional.max_pool2d(maps, 2)).flatten(1)  # the same as pooling after ReLU, on a quarter of the numbers
        output: Tensor = self.last(torch.relu(self.hidden(features)))
        return output.squeeze(-1) if self.n_outputs == 1 else output


class ResNet9(nn.Module):
    """The nine-layer residual network: eight 3 × 3 convolutions, each with normalisation and activation, and one linear layer.

    64, 128 (pool 2), residual of two 128, 256 (pool 2), then

    * ``"usual"``: 512 (pool 2), residual of two 512, global max-pooling, linear; 6.6 million parameters for ten classes;
    * ``"footnote"``: 256 (pool 2), residual of two 256, max-pooling by 2, linear on the rest (1024 features of a 32 × 32 picture), as in
      the code that footnote 4 of [A] points to, which has Mish and batch normalisation.

    **Sample-wise gradients.** In training mode a batch normalisation subtracts the batch's mean and divides by its standard deviation: the
    output for one sample then depends on all the others, the loss of the batch is no sum of functions of one sample each, and "the gradient
    of sample i" is not defined. In evaluation mode the running statistics are constants, the network is an ordinary function of one input,
    and its sample-wise gradients are those of this function with the statistics held fixed: what is measured then is not the gradient that
    training in training mode follows. Measuring instruments therefore refuse batch normalisation in training mode: call ``eval()`` (and
    ``calibrate`` on a fresh network, whose running statistics are still 0 and 1). Group normalisation acts within a sample and has no such
    modes.

    Args:
        image_shape: ``(height, width)`` or ``(channels, height, width)``; sizes from 8 (``"usual"``) or 16 (``"footnote"``) pixels.
        n_outputs: number of logits; with one, the output has shape ``[n]``.
        channels: factor on all numbers of channels; 0.25 for a quarter. Each product must be a whole number.
        variant: ``"usual"`` or ``"footnote"``.
        normalization: ``"batch"`` or ``"group"`` (groups of sixteen channels, one group where there are fewer).
        activation: ``"relu"`` or ``"mish"``.
        seed: of the initialisation; ``reset`` draws another one.
        generator: draws the initialisation instead of ``seed``.
        dtype: ``torch.float32`` or ``torch.float64``; both hold the same network.

    Raises:
        ValueError: if a size or name is not valid, or a number of channels is not whole.

    Source: Appendix B [A], footnote 4 [A].

    Example:
        >>> network = ResNet9((3, 32, 32), channels=0.25, normalization="group")
        >>> network(torch.ones(2, 3072)).shape, sum(p.numel() for p in network.parameters())
        (torch.Size([2, 10]), 413514)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_outputs: int = 10,
        *,
        channels: float = 1.0,
        variant: str = "usual",
        normalization: str = "batch",
        activation: str = "relu",
        seed: int = 0,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.image_shape, self.n_outputs = _check_image_shape(image_shape), check_integer(n_outputs, "n_outputs")
        check_choice(variant, "variant", tuple(_BLOCK_CHANNELS))
        check_choice(normalization, "normalization", ("batch", "group"))
        check_choice(activation, "activation", tuple(_ACTIVATIONS))
        factor = check_positive(channels, "channels")
        sizes = [factor * count for count in _BLOCK_CHANNELS[variant]]
        if any(size != round(size) for size in sizes):
            raise ValueError(f"channels must make {', '.join(map(str, _BLOCK_CHANNELS[variant]))} whole numbers, got the factor {channels}")
        one, two, three, four = (round(size) for size in sizes)
        depth, height, width = self.image_shape
        least = _POOLED if variant == "usual" else 2 * _POOLED
        if min(height, width) < least:
            raise ValueError(f"image_shape must have at least {least} x {least} pixels for variant {variant!r}, got {list(image_shape)}")
        self.variant, self.normalization, self.activation = variant, normalization, activation

        def block(fan_in: int, fan_out: int, pool: int = 1) -> nn.Sequential:
            layers = [nn.Conv2d(fan_in, fan_out, 3, padding=1), _normalization(normalization, fan_out), _ACTIVATIONS[activation]()]
            return nn.Sequential(*layers, *([nn.MaxPool2d(pool)] if pool > 1 else []))

        with torch.device("meta"):  # no draw from the global generator
            self.stem, self.widen = block(depth, one), block(one, two, pool=2)
            self.first_residual = nn.Sequential(block(two, two), block(two, two))
            self.deepen, self.top = block(two, three, pool=2), block(three, four, pool=2)
            self.second_residual = nn.Sequential(block(four, four), block(four, four))
            remaining = 1 if variant == "usual" else (height // least) * (width // least)
            self.last = nn.Linear(four * remaining, self.n_outputs)
        _allocate(self, dtype)
        self.reset(seed, generator=generator)

    def reset(self, seed: int = 0, *, generator: torch.Generator | None = None) -> ResNet9:
        """Draw a new initialisation, with the normalisations and their running statistics as new; returns the network itself."""
        _draw(self, seed, generator)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits ``[n]`` (one output) or ``[n, n_outputs]`` of rows ``[n, d]``."""
        maps = self.widen(self.stem(_pictures(x, self.image_shape)))
        maps = maps + self.first_residual(maps)
        maps = self.top(self.deepen(maps))
        maps = maps + self.second_residual(maps)
        features = maps.amax(dim=(2, 3)) if self.variant == "usual" else nn.functional.max_pool2d(maps, 2).flatten(1)
        output: Tensor = self.last(features)
        return output.squeeze(-1) if self.n_outputs == 1 else output

    @torch.no_grad()
    def calibrate(self, inputs: Tensor, *, chunk_size: int = 512) -> ResNet9:
        """Set the running statistics of batch normalisation to those of ``inputs``; returns the network itself, its mode as it was.

        They are averaged over chunks of equal weight, each normalised by its own statistics, as training mode does; nothing happens with
        group normalisation.

        Args:
            inputs: ``[n, d]``, at least two, of the network's type.
            chunk_size: samples per chunk, at least two; a last chunk of one sample is left out.

        Raises:
            ValueError: if there are fewer than two inputs or samples per chunk.
        """
        size = check_integer(chunk_size, "chunk_size", minimum=2)
        if len(inputs) < 2:
            raise ValueError(f"inputs must hold at least 2 samples for statistics of a batch, got {len(inputs)}")
        layers = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        was_training, momenta = self.training, [layer.momentum for layer in layers]
        self.train()
        try:
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # plain average over chunks
            if layers:
                for chunk in torch.split(inputs, size):
                    if len(chunk) > 1:
                        self(chunk)
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
            self.train(was_training)
        return self


@torch.no_grad()
def _draw(network: nn.Module, seed: int, generator: torch.Generator | None) -> None:
    """Draw all convolutions and linear layers, in the order of the layers, and make the normalisations new."""
    if generator is None:
        generator = torch.Generator().manual_seed(check_integer(seed, "seed", minimum=0))
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = 1 / math.sqrt(module.weight[0].numel())  # PyTorch's kaiming_uniform with a = √5
            for parameter in module.parameters():
                drawn = torch.empty(parameter.shape, dtype=torch.float64)
                parameter.copy_(drawn.uniform_(-bound, bound, generator=generator))
        elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            module.reset_parameters()


def _pictures(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Rows ``[n, d]`` (or pictures ``[n, …]``) as ``[n, channels, height, width]``."""
    if x.ndim < 2 or math.prod(x.shape[1:]) != math.prod(shape):
        raise ValueError(f"x must have shape [n, {math.prod(shape)}] for pictures {list(shape)}, got {list(x.shape)}")
    return x.reshape(len(x), *shape)


def _normalization(name: str, channels: int) -> nn.Module:
    """Batch normalisation, or group normalisation with the most groups of sixteen channels at least, one group where there are fewer.

    On a map of one place a group of two channels would keep nothing but which of them is larger.
    """
    if name == "batch":
        return nn.BatchNorm2d(channels)
    groups = max(g for g in range(1, max(1, channels // 16) + 1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def _check_image_shape(image_shape: Sequence[int]) -> tuple[int, int, int]:
    """``(channels, height, width)``; a grey picture has one channel."""
    if not isinstance(image_shape, (tuple, list)) or len(image_shape) not in (2, 3):
        raise ValueError(f"image_shape must be (height, width) or (channels, height, width), got {image_shape!r}")
    sizes = [check_integer(size, "each size of image_shape") for size in image_shape]
    channels, height, width = sizes if len(sizes) == 3 else [1, *sizes]
    return channels, height, width


def _allocate(network: nn.Module, dtype: torch.dtype) -> None:
    """Memory for the parameters of a network made without."""
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
    network.to_empty(device="cpu").to(dtype)
