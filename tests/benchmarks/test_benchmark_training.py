"""How fast: one launch of 32 seeds beside 32 launches of one seed, on digits.

Run with ``pytest tests/benchmarks --benchmark-only``.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

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


def speed_up(specification: Experiment, rounds: int) -> tuple[float, float]:
    """Seconds of the launches one by one and of one launch, each the shortest of several rounds, taken in turns."""
    apart, together = [], []
    train(replace(specification, seeds=specification.seeds[:1]), device="cpu")
    for _ in range(rounds):
        start = time.perf_counter()
        for seed in specification.seeds:
            train(replace(specification, seeds=(seed,)), device="cpu")
        middle = time.perf_counter()
        train(specification, device="cpu")
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
