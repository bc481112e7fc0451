"""A memory budget for the gradient geometry: the measured peak stays under it, and the numbers stay what they are."""

from __future__ import annotations

import re
import subprocess
import sys
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


# A process of its own each: what one call leaves behind in the heap would count for the next. The peak is reset by Linux alone.
MEASURED = """
import sys
from pathlib import Path
import numpy as np, torch
from empirical import ConvolutionalNetwork, FullyConnected, gradient_geometry
status = lambda: dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = lambda: int(status()["VmHWM"].split()[0]) * 1024
kind, n, budget = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) or None
torch.set_num_threads(1)
if kind == "convolutional":
    model, n_classes, dtype = ConvolutionalNetwork([1, 28, 28], n_outputs=10), 10, np.float32
else:
    model, n_classes, dtype = FullyConnected(784, 1024, 2, dtype=torch.float64), 2, np.float64
x, truth = np.random.default_rng(0).standard_normal((n, 784), dtype=dtype), np.arange(n) % n_classes
observed = np.where(np.arange(n) // n_classes % 3 == 0, (truth + 1) % n_classes, truth)
gradient_geometry(model, x[:16], observed[:16], truth=truth[:16], n_classes=n_classes)  # loads what PyTorch loads at first use
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is resident now
before = peak()
gradient_geometry(model, x, observed, truth=truth, n_classes=n_classes, memory_budget=budget)
print(peak() - before)
"""


def measured_peak(kind: str, n: int, budget: int) -> int:
    """Bytes that one call adds at most."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, kind, str(n), str(budget)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("kind", "n", "budget"),
    [("fully-connected 784-1024-1024-1 in float64", 12_000, 512), ("convolutional", 500, 200)],
    ids=["fully-connected", "convolutional"],
)
def test_the_peak_stays_under_the_budget(kind: str, n: int, budget: int) -> None:
    """512 MiB do for 12,000 samples and 1.9 million parameters in float64, whose gradients are 178 GB; without a budget it is more."""
    bound = budget * 2**20
    peak, control = measured_peak(kind, n, bound), measured_peak(kind, n, 0)
    assert peak <= bound < control, f"peak of {peak / 2**20:.0f} MiB, {control / 2**20:.0f} MiB without a budget"
