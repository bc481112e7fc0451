"""How fast and how small: gradient_geometry beside what one would write with torch.func, on 784-512-512-1 with n = 2000.

Run with ``pytest tests/benchmarks --benchmark-only``. The baseline computes the same numbers (sample norms, segment gradients, cosines with the
segment gradients) from per-sample gradients in chunks: one pass for the sums, one for the inner products.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from empirical.gradients import gradient_geometry
from empirical.networks import FullyConnected

N, D, WIDTH, DEPTH, CHUNK = 2000, 784, 512, 2, 128


def problem() -> tuple[FullyConnected, torch.Tensor, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, D)).astype(np.float32)
    truth = np.arange(N) % 2
    observed = np.where(rng.random(N) < 0.4, 1 - truth, truth)
    model = FullyConnected(D, WIDTH, DEPTH, centred=False)
    return model, torch.tensor(x / np.linalg.norm(x, axis=1, keepdims=True)), observed, truth


def layerwise() -> dict[str, np.ndarray]:
    model, x, observed, truth = problem()
    geometry = gradient_geometry(model, x, observed, truth=truth)
    return {"norm": geometry.sample_norm, "cosine": geometry.sample_cosine, "gram": geometry.gram}


def per_sample(chunk: int = CHUNK) -> dict[str, np.ndarray]:
    """The usual way: chunked ``torch.func.vmap(grad)``."""
    model, x, observed, truth = problem()
    parameters = {name: value.detach() for name, value in model.named_parameters()}

    def loss(values: dict[str, torch.Tensor], sample: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.binary_cross_entropy_with_logits(torch.func.functional_call(model, values, (sample[None],))[0], label)

    gradients: Callable[..., dict[str, torch.Tensor]] = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    y, z = torch.tensor(observed, dtype=torch.float32), torch.tensor(truth, dtype=torch.float32)
    noisy = observed != truth
    masks = np.stack([kind & (truth == c) for kind in (~noisy, noisy, noisy) for c in (0, 1)]).astype(np.float32)
    weights = torch.tensor(masks)
    sums = {name: torch.zeros(6, value.numel()) for name, value in parameters.items()}
    norms = torch.zeros(N)
    for start in range(0, N, chunk):
        rows = slice(start, start + chunk)
        for labels, places in ((y, slice(0, 4)), (z, slice(4, 6))):
            for name, part in gradients(parameters, x[rows], labels[rows]).items():
                flat = part.flatten(1)
                sums[name][places] += weights[places, rows] @ flat
                if labels is y:
                    norms[rows] += flat.square().sum(1)
    inner = torch.zeros(N, 2)
    for start in range(0, N, chunk):
        rows = slice(start, start + chunk)
        for name, part in gradients(parameters, x[rows], y[rows]).items():
            inner[rows] += part.flatten(1) @ sums[name][:2].T
    gram = sum(value @ value.T for value in sums.values())
    assert isinstance(gram, torch.Tensor)
    cosines = inner / norms.sqrt()[:, None] / gram.diagonal()[:2].sqrt()
    return {"norm": norms.sqrt().numpy(), "cosine": cosines[torch.arange(N), torch.tensor(truth)].numpy(), "gram": gram.numpy()}


def seconds(function: Callable[[], Any], rounds: int) -> float:
    """Shortest of several runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def extra_memory(function: str) -> float:
    """Peak resident memory in MB that one call adds, in a process of its own, after a small call has loaded everything."""
    script = f"""
import resource
import torch
from tests.benchmarks import test_benchmark_gradients as benchmark
n = benchmark.N
benchmark.N = 16
benchmark.{function}()
benchmark.N = n
model, x, observed, truth = benchmark.problem()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
benchmark.{function}()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.benchmark(group="gradient geometry 784-512-512-1, n = 2000")
def test_layerwise(benchmark: Any) -> None:
    benchmark.pedantic(layerwise, rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="gradient geometry 784-512-512-1, n = 2000")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside torch.func
def test_chunked_vmap_of_grad(benchmark: Any) -> None:
    """At least 40 times slower than the layer-wise instrument and the same numbers, within the rounding of float32."""
    expected, got = benchmark.pedantic(per_sample, rounds=1), layerwise()
    # Sums of up to 2000 terms in float32: relative rounding of at most 2000·eps = 2e-4.
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=0, atol=2e-4 * np.abs(values).max())
    ratio = seconds(per_sample, 2) / seconds(layerwise, 5)
    benchmark.extra_info["times slower"] = ratio
    assert ratio >= 40


@pytest.mark.benchmark(group="gradient geometry, peak memory")
def test_memory_is_a_tenth(benchmark: Any) -> None:
    ours, theirs = benchmark.pedantic(lambda: (extra_memory("layerwise"), extra_memory("per_sample")), rounds=1)
    benchmark.extra_info["MB layerwise, vmap"] = (ours, theirs)
    assert ours <= theirs / 10


@pytest.mark.benchmark(group="gradient geometry, growth")
def test_cost_is_linear_in_n(benchmark: Any) -> None:
    """Doubling n at most doubles the time, up to 30 % for timing noise."""
    model, x, observed, truth = problem()

    def measure(n: int) -> float:
        return seconds(lambda: gradient_geometry(model, x[:n], observed[:n], truth=truth[:n]), 5)

    measure(500)
    half, whole = benchmark.pedantic(lambda: (measure(N // 2), measure(N)), rounds=1)
    benchmark.extra_info["time ratio for twice n"] = whole / half
    assert whole <= 2 * 1.3 * half
