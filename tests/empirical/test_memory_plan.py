"""A memory budget for the gradient geometry: the measured peak stays under it, and the numbers stay what they are."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from empirical.gradients import GradientGeometry, gradient_geometry
from empirical.image_networks import ConvolutionalNetwork
from empirical.layer_signals import trainable_layers
from empirical.memory_plan import MemoryPlan, plan_memory
from empirical.networks import FullyConnected
from tests.support.peak_memory import added_peak, on_linux

FIELDS = ("gram", "sample_norm", "sample_cosines", "residual", "output")


def problem(n: int, d: int, n_classes: int) -> dict[str, Any]:
    """Inputs, observed and true labels."""
    generator = np.random.default_rng(n)
    truth = np.arange(n) % n_classes
    observed = np.where(generator.random(n) < 0.4, (truth + 1) % n_classes, truth)
    return {"inputs": generator.standard_normal((n, d)), "labels": observed, "truth": truth, "n_classes": n_classes}


def plan(model: nn.Module, n: int, *, n_classes: int = 2, memory_budget: object = None, chunk_size: object = None) -> MemoryPlan:
    x = torch.ones(n, 784, dtype=next(model.parameters()).dtype)
    return plan_memory(model, trainable_layers(model), x, n_classes, chunk_size=chunk_size, memory_budget=memory_budget)


def least(model: nn.Module, n: int, n_classes: int = 2) -> int:
    """The budget that the refusal of a smaller one asks for."""
    with pytest.raises(ValueError, match="memory_budget must be at least") as refusal:
        plan(model, n, n_classes=n_classes, memory_budget=1)
    return int(str(refusal.value).split("at least ")[1].split(" ")[0])


NETWORKS = {
    "fully-connected": (FullyConnected(784, 64, 2), 2),
    "convolutional": (ConvolutionalNetwork([1, 28, 28], n_outputs=3, channels=(4, 6), hidden=8), 3),
}


@pytest.mark.parametrize(("model", "n_classes"), NETWORKS.values(), ids=NETWORKS)
def test_the_numbers_do_not_depend_on_the_budget(model: nn.Module, n_classes: int) -> None:
    data = problem(60, 784, n_classes)
    model = model.to(torch.float64)
    whole = gradient_geometry(model, **data)
    tight = gradient_geometry(model, **data, memory_budget=least(model, 60, n_classes))  # one sample at a time, twice
    ample = gradient_geometry(model, **data, memory_budget=2**30)
    model.to(torch.float32)
    for field in FIELDS:
        expected = getattr(whole, field)
        np.testing.assert_array_equal(getattr(ample, field), expected)
        # Sums of 784 products and of 60 samples in another order: 1e3·eps = 2e-13 of the largest number, of which 1e-11 leaves room.
        np.testing.assert_allclose(getattr(tight, field), expected, rtol=0, atol=1e-11 * np.abs(expected).max())


@pytest.mark.parametrize(("model", "n_classes"), NETWORKS.values(), ids=NETWORKS)
def test_chunks_grow_with_the_budget_and_activations_are_kept_last(model: nn.Module, n_classes: int) -> None:
    usual, smallest = plan(model, 2000, n_classes=n_classes), least(model, 2000, n_classes)
    steps = [plan(model, 2000, n_classes=n_classes, memory_budget=smallest + extra) for extra in (0, 10**6, 10**7, 10**8, 10**10)]
    sizes = [step.chunk_size for step in steps]
    assert sizes[0] == 1
    assert sizes == sorted(sizes)
    assert steps[0].kept_numbers == 0
    assert steps[-1] == usual
    assert plan(model, 2000, n_classes=n_classes, memory_budget=10**10, chunk_size=7).chunk_size == 7
    assert plan(model, 2000, n_classes=n_classes, memory_budget=smallest, chunk_size=7).chunk_size == 1


def test_functions_without_parameters_count() -> None:
    """What a network saves between its layers for the backward pass is not seen from the layers."""
    plain = nn.Sequential(nn.Linear(784, 8), nn.Linear(8, 1))
    long = nn.Sequential(nn.Linear(784, 8), *(nn.Sequential(nn.Tanh(), nn.Sigmoid()) for _ in range(1000)), nn.Linear(8, 1))
    # The outputs of all but the last: that one is what the second layer saves, as it saves the first layer's output in the plain network.
    assert least(long, 10) - least(plain, 10) == 1999 * 8 * 4


@pytest.mark.parametrize("budget", [0, -1, 1.5, "512MB", [2**29], float("nan"), True, 10**30], ids=repr)
def test_bad_budgets_are_one_line(budget: object) -> None:
    model = FullyConnected(5, 9, 1)
    with pytest.raises(ValueError, match="memory_budget must be") as error:
        gradient_geometry(model, **problem(12, 5, 2), memory_budget=budget)
    assert "\n" not in str(error.value)


def test_a_budget_that_is_too_small_says_what_would_do() -> None:
    model = FullyConnected(784, 64, 2)
    smallest, parameters = least(model, 12), sum(value.numel() for value in model.parameters())
    message = f"memory_budget must be at least {smallest} bytes for 12 samples and {parameters} parameters, got {smallest - 1}"
    with pytest.raises(ValueError, match=re.escape(message)):
        gradient_geometry(model, **problem(12, 784, 2), memory_budget=smallest - 1)
    assert isinstance(gradient_geometry(model, **problem(12, 784, 2), memory_budget=smallest), GradientGeometry)


COMMON = """
from empirical import ConvolutionalNetwork, FullyConnected, gradient_geometry
truth = np.arange(n) % n_classes
observed = np.where(np.arange(n) // n_classes % 3 == 0, (truth + 1) % n_classes, truth)
x = np.random.default_rng(0).standard_normal((n, 784), dtype=dtype)
def measure(some, budget):
    rows = slice(0, some)
    gradient_geometry(model, x[rows], observed[rows], truth=truth[rows], n_classes=n_classes, memory_budget=budget)
"""
PREPARE = {
    "fully connected 784-1024-1024-1 in float64": f"n, n_classes, dtype = 12_000, 2, np.float64{COMMON}"
    "model = FullyConnected(784, 1024, 2, dtype=torch.float64)",
    "convolutional": f"n, n_classes, dtype = 500, 10, np.float32{COMMON}model = ConvolutionalNetwork([1, 28, 28], n_outputs=10)",
}


@on_linux
@pytest.mark.parametrize(("kind", "budget"), [("fully connected 784-1024-1024-1 in float64", 512), ("convolutional", 200)], ids=str)
def test_the_peak_stays_under_the_budget(kind: str, budget: int) -> None:
    """512 MiB do for 12,000 samples and 1.9 million parameters in float64, whose gradients are 178 GB; without a budget it is more."""
    bound = budget * 2**20
    peak, control = (added_peak(PREPARE[kind], first="measure(16, None)", call=f"measure(n, {given})") for given in (bound, None))
    assert peak <= bound < control, f"peak of {peak / 2**20:.0f} MiB, {control / 2**20:.0f} MiB without a budget"
