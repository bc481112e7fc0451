"""How fast: 32 seeds in one call beside 32 calls of one seed, and in one process beside 32 processes, two at a time, on digits.

Run with ``pytest tests/benchmarks --benchmark-only``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from empirical.experiments import DataSpec, Experiment, NetworkSpec, TrainingSpec, seeds_by_rule
from empirical.training import train

DIGITS = Experiment(
    name="benchmark",
    data=DataSpec(name="digits", classes=(7, 9)),
    noise_level=0.4,
    network=NetworkSpec(width=64, depth=1, centred=True),
    training=TrainingSpec(learning_rate=0.5, steps=200),
    seeds=seeds_by_rule("benchmark", 32),
)


def speed_up(specification: Experiment, rounds: int, device: str = "cpu") -> tuple[float, float]:
    """Seconds of the launches one by one and of one launch, each the shortest of several rounds, taken in turns.

    Records are in the memory of the CPU when a launch ends, so that nothing is still running on a GPU then.
    """
    apart, together = [], []
    for seeds in (specification.seeds[:1], specification.seeds):  # what is loaded and chosen once for each shape
        train(replace(specification, seeds=seeds), device=device)
    for _ in range(rounds):
        start = time.perf_counter()
        for seed in specification.seeds:
            train(replace(specification, seeds=(seed,)), device=device)
        middle = time.perf_counter()
        train(specification, device=device)
        apart.append(middle - start)
        together.append(time.perf_counter() - middle)
    return min(apart), min(together)


@pytest.mark.benchmark(group="32 seeds on digits")
@pytest.mark.parametrize(("width", "at_least"), [(64, 3.0), (512, 0.9)], ids=["width=64", "width=512"])
def test_one_launch_of_32_seeds(benchmark: Any, width: int, at_least: float) -> None:
    """Several times faster where networks are small, and not slower (10 % for timing noise) where they fill the machine alone."""
    steps = 200 if width == 64 else 20
    specification = replace(
        DIGITS, network=replace(DIGITS.network, width=width), training=replace(DIGITS.training, steps=steps, n_records=10)
    )
    apart, together = benchmark.pedantic(lambda: speed_up(specification, 3), rounds=1)
    benchmark.extra_info["seconds apart, together"] = (apart, together)
    assert apart / together >= at_least


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.benchmark(group="32 seeds on digits")
def test_one_launch_of_32_seeds_on_a_gpu(benchmark: Any) -> None:
    """At least 10 times faster at width 512: one network of that size leaves most of a GPU idle."""
    specification = replace(DIGITS, network=replace(DIGITS.network, width=512), training=replace(DIGITS.training, steps=200, n_records=10))
    apart, together = benchmark.pedantic(lambda: speed_up(specification, 3, device="cuda"), rounds=1)
    benchmark.extra_info["seconds apart, together"] = (apart, together)
    assert apart / together >= 10


def launch(specification: Experiment) -> None:
    """Train in a process of its own, as a job script does."""
    names = "DataSpec, Experiment, NetworkSpec, TrainingSpec"
    program = f"from empirical.experiments import {names}\nfrom empirical.training import train\ntrain({specification!r}, device='cpu')"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.benchmark(group="32 seeds on digits")
def test_one_process_of_32_seeds(benchmark: Any) -> None:
    """At least 4 times faster than a process per seed, two at a time on two cores, each importing what it needs."""
    specification = replace(DIGITS, training=replace(DIGITS.training, n_records=10))

    def compare() -> tuple[float, float]:
        start = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(launch, (replace(specification, seeds=(seed,)) for seed in specification.seeds)))
        middle = time.perf_counter()
        launch(specification)
        return middle - start, time.perf_counter() - middle

    apart, together = benchmark.pedantic(compare, rounds=1)
    benchmark.extra_info["seconds apart, together"] = (apart, together)
    assert apart / together >= 4.0
