"""The networks are those of the papers' equations, drawn reproducibly and independently of any global state."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from empirical.batched import NetworkBatch
from empirical.networks import FullyConnected, draw_parameters

F64 = torch.float64


def weights_of(network: FullyConnected) -> list[np.ndarray]:
    return [layer.weight.detach().numpy() for layer in network.layers]


def points(n: int, d: int, seed: int) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, d)))


# Rounding: a few hundred operations on numbers of size about 1 in float64 stay far below 1e-12 relative.
ROUNDING = {"rtol": 1e-12, "atol": 1e-13}


def test_eq2_is_equation_2_of_b_written_out() -> None:
    x = points(6, 5, 0)
    network = FullyConnected(5, 8, 2, seed=1, dtype=F64)
    w1, w2, w3 = weights_of(network)
    factor = np.sqrt(2 / 8)
    expected = np.maximum(factor * np.maximum(factor * x.numpy() @ w1.T, 0) @ w2.T, 0) @ w3.T
    np.testing.assert_allclose(network(x).detach(), expected[:, 0], **ROUNDING)


def test_eq6_and_eq7_are_equations_6_and_7_of_a_written_out() -> None:
    x = points(6, 5, 1)
    linear = FullyConnected(5, 8, 1, activation="linear", convention="eq6", seed=1, dtype=F64)
    relu = FullyConnected(5, 8, 1, convention="eq7", seed=1, dtype=F64)
    a, v = weights_of(linear)
    np.testing.assert_allclose(linear(x).detach(), (x.numpy() @ a.T @ v.T)[:, 0] / np.sqrt(8), **ROUNDING)
    np.testing.assert_allclose(relu(x).detach(), (np.maximum(x.numpy() @ a.T, 0) @ v.T)[:, 0] / np.sqrt(8), **ROUNDING)


def test_pytorch_convention_is_an_ordinary_sequential_network() -> None:
    x = points(6, 5, 2)
    network = FullyConnected(5, 8, 2, n_outputs=3, convention="pytorch", seed=1, dtype=F64)
    same = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).to(F64)
    with torch.no_grad():
        for ours, theirs in zip(network.parameters(), same.parameters(), strict=True):
            theirs.copy_(ours)
    np.testing.assert_allclose(network(x).detach(), same(x).detach(), **ROUNDING)


@pytest.mark.parametrize("depth", [1, 2, 3], ids="depth={}".format)
def test_eq2_is_root_two_per_hidden_layer_times_eq7(depth: int) -> None:
    x = points(6, 5, 3)
    ours = FullyConnected(5, 8, depth, convention="eq2", seed=4, dtype=F64)
    theirs = FullyConnected(5, 8, depth, convention="eq7", seed=4, dtype=F64)
    np.testing.assert_allclose(ours(x).detach(), math.sqrt(2) ** depth * theirs(x).detach(), **ROUNDING)


@pytest.mark.parametrize("convention", ["eq2", "eq7"])
def test_networks_without_biases_are_1_homogeneous(convention: str) -> None:
    x = points(6, 5, 4)
    network = FullyConnected(5, 8, 3, convention=convention, dtype=F64)
    np.testing.assert_allclose(network(7 * x).detach(), 7 * network(x).detach(), **ROUNDING)
    biased = FullyConnected(5, 8, 3, convention="pytorch", dtype=F64)
    assert not np.allclose(biased(7 * x).detach(), 7 * biased(x).detach(), rtol=1e-3)  # control: biases break it


def test_centred_output_is_exactly_zero_and_leaves_derivatives_alone() -> None:
    x = points(6, 5, 5)
    for convention in ("eq2", "eq7", "pytorch"):
        plain = FullyConnected(5, 8, 2, convention=convention, seed=2, dtype=F64)
        centred = FullyConnected(5, 8, 2, convention=convention, seed=2, dtype=F64, centred=True)
        assert (centred(x) == 0).all()
        for ours, theirs in zip(
            torch.autograd.grad(centred(x).sum(), list(centred.parameters())),
            torch.autograd.grad(plain(x).sum(), list(plain.parameters())),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, theirs)
        before = plain(x).detach()
        with torch.no_grad():
            for network in (plain, centred):
                for parameter in network.parameters():
                    parameter.add_(0.1)
        np.testing.assert_allclose(centred(x).detach(), plain(x).detach() - before, **ROUNDING)
        assert (centred.reset(9)(x) == 0).all()


def test_shapes_of_one_and_of_several_logits() -> None:
    x = points(6, 5, 6)
    assert FullyConnected(5, 8, 1, dtype=F64)(x).shape == (6,)
    assert FullyConnected(5, 8, 1, n_outputs=3, dtype=F64)(x).shape == (6, 3)


def test_a_seed_names_one_network_and_global_state_plays_no_part() -> None:
    before = torch.random.get_rng_state()
    first, again, other = FullyConnected(3, 4, 2, seed=5), FullyConnected(3, 4, 2, seed=0).reset(5), FullyConnected(3, 4, 2, seed=6)
    by_generator = FullyConnected(3, 4, 2, generator=torch.Generator().manual_seed(5))
    assert torch.equal(before, torch.random.get_rng_state())
    for a, b, c, d in zip(first.parameters(), again.parameters(), by_generator.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
        assert not torch.equal(a, d)


def test_float32_and_float64_hold_the_same_network() -> None:
    for single, double in zip(FullyConnected(3, 4, 2).parameters(), FullyConnected(3, 4, 2, dtype=F64).parameters(), strict=True):
        assert torch.equal(single, double.float())


def test_parameters_have_the_stated_laws() -> None:
    # Kolmogorov-Smirnov at level 1e-6 for each of three samples of 20 000: false alarms 3e-6 per run for random seeds. With that size and
    # level the critical distance is about 0.019; a standard deviation wrong by 1/√2 (distance 0.08) or a bound wrong by √3 is caught.
    normal = draw_parameters(100, 200, 1, seed=7)[0][0].flatten().numpy()
    weight, bias = draw_parameters(100, 20_000, 1, convention="pytorch", seed=8)[0]
    samples = ((normal, stats.norm()), (weight[:200].flatten().numpy(), stats.uniform(-0.1, 0.2)), (bias.numpy(), stats.uniform(-0.1, 0.2)))
    for sample, law in samples:
        assert len(sample) == 20_000
        assert stats.kstest(sample, law.cdf).pvalue > 1e-6
    assert stats.kstest(normal, stats.norm(scale=math.sqrt(0.5)).cdf).pvalue < 1e-6  # control


@pytest.mark.parametrize(
    ("convention", "activation"), [("eq2", "relu"), ("eq6", "linear"), ("eq7", "tanh"), ("pytorch", "relu")], ids=lambda value: value
)
def test_a_batch_holds_the_same_networks(convention: str, activation: str) -> None:
    x = points(6, 5, 9)
    batch = NetworkBatch.draw(5, 8, 2, seeds=(3, 7), n_outputs=2, activation=activation, convention=convention, dtype=F64)
    for position, seed in enumerate((3, 7)):
        network = FullyConnected(5, 8, 2, n_outputs=2, activation=activation, convention=convention, seed=seed, dtype=F64)
        np.testing.assert_allclose(batch.forward(x)[-1][position], network(x).detach(), **ROUNDING)
        np.testing.assert_allclose(batch.forward(x.expand(2, -1, -1))[-1][position], network(x).detach(), **ROUNDING)
    assert batch.n_parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 4, 1), {}, "n_inputs must be an integer >= 1, got 0"),
        ((2, 4.0, 1), {}, "width must be an integer >= 1, got 4.0"),
        ((2, 4, 0), {}, "depth must be an integer >= 1, got 0"),
        ((2, 4, 1), {"n_outputs": 0}, "n_outputs must be an integer >= 1, got 0"),
        ((2, 4, 1), {"activation": "sin"}, "activation must be one of 'relu', 'linear', 'tanh', got 'sin'"),
        ((2, 4, 1), {"convention": "eq3"}, "convention must be one of"),
        ((2, 4, 1), {"convention": "eq6"}, "activation must be 'linear', got 'relu'"),
        ((2, 4, 1), {"activation": "tanh"}, "convention 'eq2' needs a 1-homogeneous activation"),
        ((2, 4, 1), {"seed": -1}, "seed must be an integer >= 0, got -1"),
        ((2, 4, 1), {"dtype": torch.float16}, "dtype must be torch.float32 or torch.float64, got torch.float16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_architectures_are_refused_in_one_line(arguments: tuple, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        FullyConnected(*arguments, **options)
    assert "\n" not in str(error.value)
