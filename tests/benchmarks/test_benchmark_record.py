"""What following a training costs: at most 25 % of its time at the default recording points, and memory that does not grow with n × p."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from empirical.image_networks import ConvolutionalNetwork
from empirical.record import record

N = 2000


def problem() -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.arange(N) % 10
    observed = np.where(rng.random(N) < 0.3, (truth + rng.integers(1, 10, N)) % 10, truth)
    return torch.tensor(rng.random((N, 784)), dtype=torch.float32), torch.tensor(observed), truth


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def small_cnn() -> nn.Module:
    return ConvolutionalNetwork((28, 28), channels=(8, 16), hidden=32)


def train(make: Callable[[], nn.Module], epochs: int, *, followed: bool) -> tuple[float, float, int]:
    """Processor seconds of the whole loop, the recorder's own account, and the number of records."""
    x, y, truth = problem()
    torch.manual_seed(0)
    network = make()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    steps = epochs * -(-N // 64)

    def loop(after: Callable[[], None]) -> None:
        for _ in range(epochs):
            for index in torch.split(torch.randperm(N), 64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x[index]), y[index]).backward()
                optimizer.step()
                after()

    start = time.process_time()
    if not followed:
        loop(lambda: None)
        return time.process_time() - start, 0.0, 0
    test = {"test_inputs": x[:500], "test_truth": truth[:500]}
    with record(network, x, y, truth=truth, n_classes=10, steps=steps, samples=512, evaluated=1024, **test) as trace:
        loop(trace.step)
    return time.process_time() - start, trace.overhead, len(trace.steps)


@pytest.mark.benchmark(group="following a training, n = 2000, ten classes")
@pytest.mark.parametrize(("make", "epochs"), [(dense, 120), (small_cnn, 25)], ids=["784-256-256-10", "cnn"])
def test_following_adds_at_most_a_quarter(benchmark: Any, make: Callable[[], nn.Module], epochs: int) -> None:
    """At the default points, 512 samples each: by the recorder and by two whole loops at most 25 %, up to 10 points of timing noise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        plain = min(train(make, epochs, followed=False)[0] for _ in range(2))
        followed = [benchmark.pedantic(train, (make, epochs), {"followed": True}, rounds=1), train(make, epochs, followed=True)]
    finally:
        torch.set_num_threads(threads)
    extra = min(seconds for seconds, _, _ in followed) / plain - 1
    benchmark.extra_info.update(extra=extra, own_account=followed[0][1], records=followed[0][2], seconds=plain)
    assert plain > 2, "half a second of grace must not be what decides"
    assert min(share for _, share, _ in followed) <= 0.25
    assert extra <= 0.35
    assert followed[0][2] >= 4


def extra_memory(n: int) -> float:
    """Peak memory in MB that one record of n samples adds, in a process of its own (Linux)."""
    script = f"""
from pathlib import Path
import numpy as np, torch
from torch import nn
from empirical.record import record
model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 1))
x, truth = torch.rand({n}, 784), np.arange({n}) % 2
observed = np.where(np.arange({n}) % 10 < 3, 1 - truth, truth)
def measure(k):
    with record(model, x[:k], observed[:k], truth=truth[:k], samples=10**6):
        pass
measure(64)
Path("/proc/self/clear_refs").write_text("5")
status = lambda: dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
before = int(status()["VmHWM"].split()[0])
measure({n})
print((int(status()["VmHWM"].split()[0]) - before) / 1024)
"""
    return float(subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, capture_output=True, text=True).stdout)


@pytest.mark.benchmark(group="following a training, peak memory")
def test_memory_is_far_below_n_times_p(benchmark: Any) -> None:
    """8000 samples of 660,000 parameters would be 21 GB; 4 times the samples may add no more than their activations."""
    small, large = benchmark.pedantic(lambda: (extra_memory(2000), extra_memory(8000)), rounds=1)
    benchmark.extra_info["MB for 2000, 8000"] = (small, large)
    assert large <= 200
    assert large - small <= 100
