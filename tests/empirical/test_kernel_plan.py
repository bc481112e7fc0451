"""A memory budget for the tangent kernel: the measured peak stays under it, and the numbers stay what they are."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from empirical.image_networks import ConvolutionalNetwork
from empirical.kernel_plan import KernelPlan, holds_gradients, plan_kernel
from empirical.layer_signals import forward_pass, trainable_layers
from empirical.networks import FullyConnected
from empirical.tangent_kernel import empirical_ntk
from tests.support.peak_memory import added_peak, on_linux

F64 = torch.float64
# Sums of some thousand products in another order: 1e3·eps = 2e-13 of the largest entry, of which 1e-11 leaves room.
AGREEMENT = 1e-11
NETWORKS: dict[str, nn.Module] = {
    "fully-connected": FullyConnected(144, 32, 2, dtype=F64),
    "convolutional": ConvolutionalNetwork([1, 12, 12], n_outputs=3, channels=(4, 6), hidden=8).to(F64),
    "few-places": nn.Sequential(
        nn.Unflatten(1, (1, 12, 12)), nn.Conv2d(1, 8, 12), nn.ReLU(), nn.Conv2d(8, 64, 1), nn.Flatten(), nn.Linear(64, 2)
    ).to(F64),
}


def points(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 144))


def plan(model: nn.Module, n: int, *, memory_budget: Any = None, chunk_size: Any = 2048) -> KernelPlan:
    x = torch.as_tensor(points(n))
    return plan_kernel(model, trainable_layers(model), x, x, blocks=False, chunk_size=chunk_size, memory_budget=memory_budget)


def least(model: nn.Module, *inputs: np.ndarray, blocks: bool = False) -> int:
    """The budget that the refusal of a smaller one asks for."""
    with pytest.raises(ValueError, match="memory_budget must be at least") as refusal:
        empirical_ntk(model, *inputs, blocks=blocks, memory_budget=1)
    return int(str(refusal.value).split("at least ")[1].split(" ")[0])


@pytest.mark.parametrize("blocks", [False, True], ids=["mean", "blocks"])
@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_the_numbers_do_not_depend_on_the_budget(model: nn.Module, blocks: bool) -> None:
    x, z = points(23), points(9, seed=1)
    for arguments in ((x,), (x, z)):
        whole = empirical_ntk(model, *arguments, blocks=blocks)
        # Room for no more than one sample: a tile is one entry, evaluated alone.
        tight = empirical_ntk(model, *arguments, blocks=blocks, memory_budget=least(model, *arguments, blocks=blocks))
        tiles = empirical_ntk(model, *arguments, blocks=blocks, chunk_size=5)
        for found in (tight, tiles):
            np.testing.assert_allclose(found, whole, rtol=0, atol=AGREEMENT * np.abs(whole).max())
        np.testing.assert_array_equal(empirical_ntk(model, *arguments, blocks=blocks, memory_budget=2**30), whole)


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_the_kernel_is_symmetric_bit_for_bit_in_tiles_of_any_size(model: nn.Module) -> None:
    for size in (1, 5, 64):
        kernel = empirical_ntk(model, points(23), chunk_size=size)
        np.testing.assert_array_equal(kernel, kernel.T)
        blocks = empirical_ntk(model, points(23), chunk_size=size, blocks=True)
        np.testing.assert_array_equal(blocks, blocks.transpose(1, 0, 3, 2))


def test_gradients_are_held_where_they_are_fewer_numbers_than_maps() -> None:
    held = {}
    for name, model in NETWORKS.items():
        layers = trainable_layers(model)
        passed = forward_pass(model, layers, torch.as_tensor(points(1)))
        logits = passed.output.shape[1]
        signals = passed.signals(torch.ones_like(passed.output))
        held[name] = [holds_gradients(*one, logits) for one in zip(layers, passed.inputs, signals, strict=True)]
    assert held == {"fully-connected": [False] * 3, "convolutional": [True, True, False, False], "few-places": [False] * 3}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_tiles_grow_with_the_budget(model: nn.Module) -> None:
    smallest = least(model, points(2000))
    steps = [plan(model, 2000, memory_budget=smallest + extra) for extra in (0, 10**6, 10**7, 10**8, 10**10)]
    assert steps[0] == KernelPlan(steps[0].logits, 1, 1)
    assert [step.tile for step in steps] == sorted(step.tile for step in steps)
    assert steps[-1] == plan(model, 2000)
    assert plan(model, 2000, memory_budget=10**10, chunk_size=7).tile == 7


@pytest.mark.parametrize("budget", [0, -1, 1.5, "512MB", [2**29], float("nan"), True, 10**30], ids=repr)
def test_bad_budgets_are_one_line(budget: Any) -> None:
    with pytest.raises(ValueError, match="memory_budget must be") as error:
        empirical_ntk(NETWORKS["fully-connected"], points(4), memory_budget=budget)
    assert "\n" not in str(error.value)


def test_a_budget_that_is_too_small_says_what_would_do() -> None:
    model = NETWORKS["convolutional"]
    smallest = least(model, points(12))
    with pytest.raises(
        ValueError, match=re.escape(f"memory_budget must be at least {smallest} bytes for 12 x 12 samples, got {smallest - 1}")
    ):
        empirical_ntk(model, points(12), memory_budget=smallest - 1)
    assert empirical_ntk(model, points(12), memory_budget=smallest).shape == (12, 12)


PREPARE = {
    "fully connected in float64": """
from empirical import FullyConnected, empirical_ntk
model, x = FullyConnected(784, 1024, 2, dtype=torch.float64), np.random.default_rng(0).standard_normal((3000, 784))
""",
    "convolutional": """
from empirical import ConvolutionalNetwork, empirical_ntk
model = ConvolutionalNetwork([1, 28, 28], n_outputs=10, channels=(8, 16), hidden=32)
x = np.random.default_rng(0).standard_normal((600, 784), dtype=np.float32)
""",
}


@on_linux
@pytest.mark.parametrize(("kind", "budget"), [("fully connected in float64", 200), ("convolutional", 100)], ids=str)
def test_the_peak_stays_under_the_budget(kind: str, budget: int) -> None:
    """MiB: the kernel of 3,000 samples in float64 alone is 69 of 200; without a budget it is more than that."""
    bound = budget * 2**20
    calls = (f"empirical_ntk(model, x, memory_budget={bound})", "empirical_ntk(model, x)")
    peak, control = (added_peak(PREPARE[kind], first="empirical_ntk(model, x[:16])", call=call) for call in calls)
    assert peak <= bound < control, f"peak of {peak / 2**20:.0f} MiB, {control / 2**20:.0f} MiB without a budget"
