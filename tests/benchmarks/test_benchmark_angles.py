"""`gradient_angle` on 10⁷ angles beside one `np.arccos` of them; README.md holds the table."""

from __future__ import annotations

import numpy as np
import pytest

import theory
from tests.support.timing import compare


@pytest.mark.parametrize(("depth", "limit"), [(1, 8.0), (3, 30.0)], ids=["depth=1", "depth=3"])
def test_gradient_angle_beside_arccos(benchmark, depth: int, limit: float) -> None:
    # Angles in [0, 1], so that their arccos is defined.
    theta = np.random.default_rng(0).random(10**7)
    timing = compare(lambda: theory.gradient_angle(theta, depth=depth), lambda: np.arccos(theta), rounds=5)
    benchmark.extra_info["ratio to np.arccos"] = round(timing.ratio, 2)
    benchmark.pedantic(theory.gradient_angle, args=(theta,), kwargs={"depth": depth}, rounds=3)
    assert timing.ratio <= limit, f"{timing.seconds:.3f} s against {timing.baseline:.3f} s: ratio {timing.ratio:.2f}, at most {limit}"
