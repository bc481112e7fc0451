"""Cost of training on a fixed kernel, each beside what a user would write instead, in the same run.

Run: ``OMP_NUM_THREADS=2 python -m pytest tests/benchmarks/test_benchmark_dynamics.py --benchmark-only``. Ratios count, not seconds; they
stand in ``extra_info`` of ``--benchmark-json FILE``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from theory.dynamics import gradient_descent
from theory.flow import gradient_flow
from theory.segment_history import segment_history
from theory.segments import Segments, block_gram, segment_parts
from theory.step_size import max_learning_rate

N = 6000
DRAWS = 32


def seconds(call: Callable[[], Any], *, repeats: int) -> float:
    """Return the shortest of some runs: other programs can only add time."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def problem(n: int) -> tuple[np.ndarray, np.ndarray]:
    """One-hidden-layer tangent kernel ``[n, n]`` of two clusters in 20 dimensions, and their classes ``[n]``."""
    rng = np.random.default_rng(0)
    truth = np.arange(n) % 2
    x = rng.normal(size=(n, 20)) + 2 * (2 * truth[:, None] - 1) * np.eye(20)[0]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cosine = np.clip(x @ x.T, -1, 1)
    angle = np.arccos(cosine)
    kernel = (1 - angle / np.pi) * cosine + np.sin(angle) / (2 * np.pi)
    return (kernel + kernel.T) / 2, truth


@pytest.fixture(scope="module")
def large() -> tuple[np.ndarray, np.ndarray]:
    """The problem at n = 6000."""
    return problem(N)


def noisy(truth: np.ndarray, draws: int) -> np.ndarray:
    """Observed labels ``[n, draws]`` at δ = 0.3."""
    flips = np.random.default_rng(1).random((truth.size, draws)) < 0.3
    return np.where(flips, 1 - truth[:, None], truth[:, None]).astype(float)


def test_32_label_draws_against_32_single_runs(benchmark: Any, large: tuple[np.ndarray, np.ndarray]) -> None:
    """At most 1/10 of the time, n = 6000: one product of the kernel with 32 columns against 32 with one."""
    kernel, truth = large
    labels = noisy(truth, DRAWS)
    options = {"learning_rate": 1.0, "steps": 30, "record": 2}
    benchmark.pedantic(lambda: gradient_descent(kernel, labels, **options), rounds=3, iterations=1)
    together = benchmark.stats.stats.min
    # Single runs cost the same whatever their labels: four of them, times eight.
    alone = 8 * seconds(lambda: [gradient_descent(kernel, labels[:, d], **options) for d in range(4)], repeats=2)
    benchmark.extra_info["ratio_single_to_batched"] = alone / together
    assert alone / together >= 10


def test_32_label_draws_against_a_loop_in_numpy(benchmark: Any, large: tuple[np.ndarray, np.ndarray]) -> None:
    """The same against bare NumPy loops without any checks of the input; both per step, checks subtracted."""
    kernel, truth = large
    labels = noisy(truth, DRAWS)
    short, long = {"learning_rate": 1.0, "steps": 0, "record": [0]}, {"learning_rate": 1.0, "steps": 30, "record": 2}
    benchmark.pedantic(lambda: gradient_descent(kernel, labels, **long), rounds=3, iterations=1)
    stepping = benchmark.stats.stats.min - seconds(lambda: gradient_descent(kernel, labels, **short), repeats=2)

    def loop() -> np.ndarray:
        h, y = np.zeros(N), labels[:, 0]
        for _ in range(30):
            h = h - 1.0 / N * (kernel @ (1 / (1 + np.exp(-h)) - y))
        return h

    ratio = DRAWS * seconds(loop, repeats=3) / stepping
    benchmark.extra_info["ratio_numpy_loop_to_batched"] = ratio
    # A product with one column is bound by memory, one with 32 by arithmetic: 11-13 on a quiet machine, less beside programs that
    # take the cores and leave the memory. The batch must win in any case.
    assert ratio >= 2


def test_gradient_flow_against_30000_gradient_steps(benchmark: Any) -> None:
    """To the time of 30,000 steps at half the largest stable rate, rtol 1e-4: at most 1/12 of the kernel products."""
    kernel, truth = problem(1500)
    labels = noisy(truth, 1)[:, 0]
    rate = max_learning_rate(kernel) / 2
    flow = benchmark.pedantic(
        lambda: gradient_flow(kernel, labels, times=np.geomspace(1e-4, 1, 40) * 30_000 * rate, rtol=1e-4), rounds=1, iterations=1
    )
    # 1 % of the steps, times one hundred.
    descent = 100 * seconds(lambda: gradient_descent(kernel, labels, learning_rate=rate, steps=300, record=2), repeats=2)
    benchmark.extra_info["kernel_products"] = flow.kernel_products
    benchmark.extra_info["ratio_products"] = 30_000 / flow.kernel_products
    benchmark.extra_info["ratio_time"] = descent / benchmark.stats.stats.min
    assert flow.kernel_products <= 30_000 / 12


def test_segment_gram_against_masked_quadratic_forms(benchmark: Any, large: tuple[np.ndarray, np.ndarray]) -> None:
    """All inner products of four segments for one pass over the kernel, against a quadratic form for each of the ten pairs."""
    kernel, truth = large
    observed = noisy(truth, 1)[:, 0].astype(int)
    segments = Segments.from_labels(truth, observed)
    residual = 0.5 - observed
    parts = segment_parts(segments, residual.reshape(1, N, 1))
    gram = benchmark.pedantic(lambda: block_gram(kernel, parts), rounds=5, iterations=1)[0]
    masked = [residual * mask(c) for mask in (segments.clean, segments.noise) for c in (0, 1)]
    slow = seconds(lambda: [a @ kernel @ b for i, a in enumerate(masked) for b in masked[: i + 1]], repeats=3)
    benchmark.extra_info["ratio_pairs_to_segments"] = slow / benchmark.stats.stats.min
    np.testing.assert_allclose(gram[0, 2], masked[0] @ kernel @ masked[2], rtol=1e-10)


def test_segment_history_against_a_loop_over_times(benchmark: Any) -> None:
    """Two hundred times at once against one call for each."""
    kernel, truth = problem(1500)
    observed = noisy(truth, 1)[:, 0].astype(int)
    segments = Segments.from_labels(truth, observed)
    run = gradient_descent(kernel, observed, learning_rate=1.0, steps=199)
    history = benchmark.pedantic(lambda: segment_history(kernel, run.logits, segments), rounds=3, iterations=1)
    slow = 10 * seconds(lambda: [segment_history(kernel, h[None], segments) for h in run.logits[::10]], repeats=2)
    benchmark.extra_info["ratio_loop_to_batched"] = slow / benchmark.stats.stats.min
    assert history.alpha.shape == (200, 2)
    assert slow / benchmark.stats.stats.min >= 3
