"""The CNN and ResNet-9: the layers of Appendix B [A], local initialisation, pictures as rows, batch statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from empirical.image_networks import ConvolutionalNetwork, ResNet9

F64 = torch.float64
# Rounding: a few thousand operations on numbers of size about 1 in float64 stay far below 1e-12 relative.
ROUNDING = {"rtol": 1e-12, "atol": 1e-13}

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "cnn": lambda **options: ConvolutionalNetwork((8, 8), channels=(4, 6), hidden=5, **options),
    "resnet-batch": lambda **options: ResNet9((3, 8, 8), channels=1 / 32, **options),
    "resnet-group-mish": lambda **options: ResNet9((3, 16, 16), channels=1 / 32, normalization="group", activation="mish", **options),
    "resnet-footnote": lambda **options: ResNet9((3, 16, 16), channels=1 / 32, variant="footnote", **options),
}


def rows(network: Any, n: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, math.prod(network.image_shape))))


def test_the_cnn_is_that_of_appendix_b() -> None:
    network = ConvolutionalNetwork((28, 28), seed=1, dtype=F64)
    layers = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    same = nn.Sequential(nn.Unflatten(1, (1, 28, 28)), *layers, nn.Linear(9216, 64), nn.ReLU(), nn.Linear(64, 10)).to(F64)
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), same.parameters(), strict=True):
            theirs.copy_(ours)
    x = rows(network, 3)
    np.testing.assert_allclose(network(x).detach(), same(x).detach(), **ROUNDING)


@pytest.mark.parametrize("variant", ["usual", "footnote"])
def test_resnet_9_has_eight_convolutions_and_one_linear_layer(variant: str) -> None:
    network = ResNet9((3, 32, 32), variant=variant, activation="mish")
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    top = 512 if variant == "usual" else 256
    shapes = [(3, 64), (64, 128), (128, 128), (128, 128), (128, 256), (256, top), (top, top), (top, top)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == shapes
    assert {(c.kernel_size, c.stride, c.padding) for c in convolutions} == {((3, 3), (1, 1), (1, 1))}
    assert network.last.weight.shape == (10, 512 if variant == "usual" else 1024)
    assert sum(isinstance(module, nn.Mish) for module in network.modules()) == 8
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 8


def test_residuals_are_added() -> None:
    """Written out with functions, for tiny channels in evaluation mode with statistics that are not 0 and 1."""
    network = ResNet9((3, 16, 16), channels=1 / 32, seed=2, dtype=F64)
    network.calibrate(rows(network, 20, 1)).eval()
    functional = nn.functional

    def block(layers: nn.Sequential, maps: torch.Tensor, pool: int = 1) -> torch.Tensor:
        convolution, norm = layers[0], layers[1]
        z = functional.conv2d(maps, convolution.weight, convolution.bias, padding=1)
        mean, deviation = norm.running_mean[:, None, None], (norm.running_var[:, None, None] + norm.eps).sqrt()
        z = norm.weight[:, None, None] * (z - mean) / deviation + norm.bias[:, None, None]
        return functional.max_pool2d(torch.relu(z), pool)

    x = rows(network, 3)
    maps = block(network.widen, block(network.stem, x.reshape(3, 3, 16, 16)), 2)
    maps = maps + block(network.first_residual[1], block(network.first_residual[0], maps))
    maps = block(network.top, block(network.deepen, maps, 2), 2)
    maps = maps + block(network.second_residual[1], block(network.second_residual[0], maps))
    expected = maps.flatten(2).max(2).values @ network.last.weight.T + network.last.bias
    np.testing.assert_allclose(network(x).detach(), expected.detach(), **ROUNDING)


@pytest.mark.parametrize("name", NETWORKS)
def test_initialisation_is_drawn_by_the_seed_alone(name: str) -> None:
    make = NETWORKS[name]
    state = torch.get_rng_state()
    network = make(seed=3)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not touched
    twin, other = make(generator=torch.Generator().manual_seed(3)), make(seed=4)
    for value, same, different in zip(network.state_dict().values(), twin.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(value, same)
        assert torch.isfinite(value).all()
        assert value.ndim < 2 or not torch.equal(value, different)
    double = make(seed=3, dtype=F64)
    for value, wide in zip(network.parameters(), double.parameters(), strict=True):
        assert torch.equal(value, wide.float())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.reset(3)
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), other.state_dict().values(), strict=True))


def test_weights_fill_the_interval_of_pytorchs_default() -> None:
    """U(±1/√fan_in): the largest of n ≥ 9216 draws is below 0.99 of the bound with probability 0.99^9216 < 1e-40."""
    network = ResNet9((3, 8, 8), channels=0.25)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() >= 9216:
            bound = 1 / math.sqrt(9 * module.in_channels)
            assert 0.99 * bound < module.weight.abs().max() <= bound


def test_batch_normalisation_couples_the_samples_in_training_mode_only() -> None:
    """The reason why sample-wise gradients are measured in evaluation mode (R5)."""
    for normalization, coupled in (("batch", True), ("group", False)):
        network = ResNet9((3, 8, 8), channels=1 / 32, normalization=normalization, dtype=F64)
        x = rows(network, 6)
        together, alone = network.train()(x)[:3].detach(), network(x[:3]).detach()
        assert np.allclose(together, alone, **ROUNDING) != coupled
        network.eval()
        np.testing.assert_allclose(network(x)[:3].detach(), network(x[:3]).detach(), **ROUNDING)


def test_calibrated_statistics_are_those_of_training_mode() -> None:
    """One chunk, with the unbiased variance that PyTorch keeps: evaluation differs from training mode by the factor n/(n − 1) alone."""
    network = ResNet9((3, 8, 8), channels=1 / 32, dtype=F64).eval()
    x = rows(network, 7)
    assert network.calibrate(x) is network
    assert not network.training
    first, norm = network.stem[0], network.stem[1]
    values = first(x.reshape(-1, 3, 8, 8)).detach().transpose(0, 1).flatten(1).numpy()
    np.testing.assert_allclose(norm.running_mean, values.mean(1), **ROUNDING)
    np.testing.assert_allclose(norm.running_var, values.var(1, ddof=1), **ROUNDING)
    assert norm.momentum == 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_one_logit_is_a_vector(name: str) -> None:
    network = NETWORKS[name](n_outputs=1).eval()
    assert network(rows(network, 3).float()).shape == (3,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvolutionalNetwork((784,)), "image_shape must be (height, width) or (channels, height, width), got (784,)"),
        (lambda: ConvolutionalNetwork(None), "image_shape must be (height, width) or (channels, height, width), got None"),
        (lambda: ConvolutionalNetwork((28, 0)), "each size of image_shape must be an integer >= 1, got 0"),
        (lambda: ConvolutionalNetwork((5, 28)), "image_shape must have at least 6 x 6 pixels"),
        (lambda: ConvolutionalNetwork((28, 28), 0), "n_outputs must be an integer >= 1, got 0"),
        (lambda: ConvolutionalNetwork((28, 28), channels=32), "channels must be two numbers of channels, got 32"),
        (lambda: ConvolutionalNetwork((28, 28), channels=(32, 0)), "each of channels must be an integer >= 1, got 0"),
        (lambda: ConvolutionalNetwork((28, 28), hidden=1.5), "hidden must be an integer >= 1, got 1.5"),
        (lambda: ConvolutionalNetwork((28, 28), seed=-1), "seed must be an integer >= 0, got -1"),
        (lambda: ConvolutionalNetwork((28, 28), dtype=torch.float16), "dtype must be torch.float32 or torch.float64, got torch.float16"),
        (lambda: ConvolutionalNetwork((8, 8))(torch.ones(2, 63)), "x must have shape [n, 64] for pictures [1, 8, 8], got [2, 63]"),
        (lambda: ResNet9((3, 7, 8)), "image_shape must have at least 8 x 8 pixels for variant 'usual', got [3, 7, 8]"),
        (lambda: ResNet9((3, 8, 8), variant="footnote"), "image_shape must have at least 16 x 16 pixels for variant 'footnote'"),
        (lambda: ResNet9((3, 32, 32), channels=0.01), "channels must make 64, 128, 256, 512 whole numbers, got the factor 0.01"),
        (lambda: ResNet9((3, 32, 32), channels=0), "channels must be a positive finite number, got 0"),
        (lambda: ResNet9((3, 32, 32), variant="other"), "variant must be one of 'usual', 'footnote', got 'other'"),
        (lambda: ResNet9((3, 32, 32), normalization="layer"), "normalization must be one of 'batch', 'group', got 'layer'"),
        (lambda: ResNet9((3, 32, 32), activation="tanh"), "activation must be one of 'relu', 'mish', got 'tanh'"),
        (lambda: ResNet9((3, 8, 8), channels=1 / 32).calibrate(torch.ones(1, 192)), "inputs must hold at least 2 samples"),
    ],
)
def test_bad_input_is_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        make()
    assert "\n" not in str(error.value)
