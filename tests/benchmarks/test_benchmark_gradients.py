"""How fast and how small: gradient_geometry beside what one would write with torch.func, on 784-512-512-1 with n = 2000.

Run with ``pytest tests/benchmarks --benchmark-only``. The baseline computes the same numbers (sample norms, Gram matrix of the segment
gradients, cosines with the clean segment gradients) from per-sample gradients in chunks.
"""

from __future__ import annotations

import functools
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

N, D, WIDTH, DEPTH, CHUNK = 2000, 784, 512, 2, 256


@functools.lru_cache
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
    """The usual way: chunked ``torch.func.vmap(grad)`` of the logit, times the residuals; a pass for the sums, one for inner products."""
    model, x, observed, truth = problem()
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    derivative: Callable[..., dict[str, torch.Tensor]] = torch.func.vmap(
        torch.func.grad(lambda values, sample: torch.func.functional_call(model, values, (sample[None],))[0]), in_dims=(None, 0)
    )
    with torch.no_grad():
        f = torch.sigmoid(model(x))
    residual, true_residual = f - torch.tensor(observed, dtype=f.dtype), f - torch.tensor(truth, dtype=f.dtype)
    noisy = observed != truth
    masks = torch.tensor(np.stack([kind & (truth == c) for kind in (~noisy, noisy, noisy) for c in (0, 1)]), dtype=f.dtype)
    weights = masks * torch.stack([residual] * 4 + [true_residual] * 2)
    sums = {name: torch.zeros(6, value.numel()) for name, value in parameters.items()}
    squared, inner = torch.zeros(N), torch.zeros(N, 2)
    for start in range(0, N, chunk):
        rows = slice(start, start + chunk)
        for name, part in derivative(parameters, x[rows]).items():
            flat = part.flatten(1)
            sums[name] += weights[:, rows] @ flat
            squared[rows] += torch.linalg.vector_norm(flat, dim=1).square()
    for start in range(0, N, chunk):
        rows = slice(start, start + chunk)
        for name, part in derivative(parameters, x[rows]).items():
            inner[rows] += part.flatten(1) @ sums[name][:2].T
    gram = torch.stack([value @ value.T for value in sums.values()]).sum(0)
    norm = residual.abs() * squared.sqrt()
    cosines = inner * residual[:, None] / norm[:, None] / gram.diagonal()[:2].sqrt()
    return {"norm": norm.numpy(), "cosine": cosines[torch.arange(N), torch.tensor(truth)].numpy(), "gram": gram.numpy()}


def seconds(function: Callable[[], Any], rounds: int) -> float:
    """Least processor time of several runs in one thread: what the work costs, whoever else uses the machine."""
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for _ in range(rounds):
            start = time.process_time()
            function()
            times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return min(times)


def extra_memory(function: str) -> float:
    """Peak resident memory in MB that one call adds, in a process of its own, after a small call has loaded everything (Linux)."""
    script = f"""
from pathlib import Path
from tests.benchmarks import test_benchmark_gradients as benchmark
model, x, observed, truth = benchmark.problem()
benchmark.problem = lambda: (model, x[:16], observed[:16], truth[:16])
benchmark.N = 16
benchmark.{function}()
benchmark.problem = lambda: (model, x, observed, truth)
benchmark.N = len(x)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is resident now
status = lambda: dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
before = int(status()["VmHWM"].split()[0])
benchmark.{function}()
print((int(status()["VmHWM"].split()[0]) - before) / 1024)
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.benchmark(group="gradient geometry 784-512-512-1, n = 2000")
def test_layerwise(benchmark: Any) -> None:
    benchmark.pedantic(layerwise, rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="gradient geometry 784-512-512-1, n = 2000")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # raised inside torch.func
def test_chunked_vmap_of_grad(benchmark: Any) -> None:
    """At least 40 times the processor time of the layer-wise instrument for the same numbers, within the rounding of float32."""
    expected, got = benchmark.pedantic(per_sample, rounds=1), layerwise()
    # Sums of up to 2000 terms in float32: relative rounding of at most 2000·eps = 2e-4.
    for name, values in expected.items():
        np.testing.assert_allclose(got[name], values, rtol=0, atol=2e-4 * np.abs(values).max())
    ratio = seconds(per_sample, 1) / seconds(layerwise, 5)
    benchmark.extra_info["times slower"] = ratio
    assert ratio >= 40


@pytest.mark.benchmark(group="gradient geometry, peak memory")
def test_memory_is_a_tenth(benchmark: Any) -> None:
    ours, theirs = benchmark.pedantic(lambda: (extra_memory("layerwise"), extra_memory("per_sample")), rounds=1)
    benchmark.extra_info["MB layerwise, vmap"] = (ours, theirs)
    assert ours <= theirs / 10


@pytest.mark.benchmark(group="gradient geometry, growth")
def test_cost_is_linear_in_n(benchmark: Any) -> None:
    """Doubling n at most doubles the processor time, up to 30 % for timing noise."""
    model, x, observed, truth = problem()

    def measure(n: int) -> float:
        return seconds(lambda: gradient_geometry(model, x[:n], observed[:n], truth=truth[:n]), 5)

    measure(500)
    half, whole = benchmark.pedantic(lambda: (measure(N // 2), measure(N)), rounds=1)
    benchmark.extra_info["time ratio for twice n"] = whole / half
    assert whole <= 2 * 1.3 * half
