"""Moments at any depth and width, against networks of one neuron per layer and sampled ones.

Random assertions use |z| < 6: 2e-9 each by the normal law of the mean of 1e5 draws, 1e-6 allowing for the heavy tails of h⁴.

Tolerances without a comment: 5e-3 is half of the last digit printed, 1e-14 and 1e-15 are roundings.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.support.sampling import deep_relu_gradients
from theory.finite_width_depth import DRIFT_EXPONENTS, diagonal_moments

Z = 6.0


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
def test_one_neuron_per_layer_is_a_product(depth: int) -> None:
    # m = 1: with all gates open (probability 2^-L) K = 2^L e_L(g_0² … g_L²), e_L the elementary symmetric function of L+1 squares:
    # E K² = 2^L [(L+1) 3^L + L(L+1) 3^(L−1)].
    exact = 2**depth * 3 ** (depth - 1) * (depth + 1) * (depth + 3)
    moments = diagonal_moments(depth=depth, width=1)
    assert moments.variance + moments.mean**2 == pytest.approx(exact, rel=1e-14)


@pytest.mark.parametrize(("depth", "width"), [(1, 4), (2, 6), (3, 12)])
def test_depth_moments_hold_in_networks(depth: int, width: int) -> None:
    draws, blocks = 10_000, 10
    rng = np.random.default_rng(depth)
    kernels, logits = [], []
    for _ in range(blocks):
        h, gradients = deep_relu_gradients(rng, np.array([[1.0, 0.0]]), width=width, depth=depth, draws=draws)
        kernels.append(np.sum(gradients[:, 0, 0] ** 2, axis=1))
        logits.append(h[:, 0, 0])
    kernel, h = np.concatenate(kernels), np.concatenate(logits)
    moments = diagonal_moments(depth=depth, width=width)
    assert abs(kernel.mean() - moments.mean) / math.sqrt(moments.variance / kernel.size) < Z
    for sample, exact in [
        (kernel**2, moments.variance + moments.mean**2),
        (h**4, moments.logit_kurtosis),
        (h**2 * kernel, moments.logit_kernel_covariance + moments.mean),
    ]:
        assert abs(sample.mean() - exact) / (sample.std() / math.sqrt(sample.size)) < Z
    # Controls: Gaussian kurtosis 3 and an uncorrelated kernel are rejected.
    assert abs(np.mean(h**4) - 3) / (np.std(h**4) / math.sqrt(h.size)) > Z
    assert abs(np.mean(h**2 * kernel) - moments.mean) / (np.std(h**2 * kernel) / math.sqrt(h.size)) > Z


@pytest.mark.parametrize("depth", [1, 2, 5, 8, 40])
def test_relative_variance_tends_to_its_leading_term(depth: int) -> None:
    wide = diagonal_moments(depth=depth, width=10**12)
    # Next term O(L⁴/m²)/L = 1e-6 at L = 40; no digits are lost to the subtraction of (L+1)².
    assert 10**12 * wide.relative_variance == pytest.approx(wide.relative_variance_limit, rel=1e-6)
    assert diagonal_moments(depth=1, width=7).relative_variance == pytest.approx(3 / 7, rel=1e-15)


def test_kurtosis_has_the_worked_values() -> None:
    got = [diagonal_moments(depth=d, width=m).logit_kurtosis for d, m in [(2, 64), (5, 384), (8, 128)]]
    np.testing.assert_allclose(got, [3.49, 3.20, 4.08], atol=5e-3)


def test_drift_exponents_say_what_they_need() -> None:
    # notes/finite_width.md and notes/drift.md: flipped gates in ReLU, smooth changes alone in tanh.
    assert {name: record.exponent for name, record in DRIFT_EXPONENTS.items()} == {
        "gradient-relu": -0.25,
        "gradient-tanh": -0.5,
        "kernel-relu": -0.5,
        "kernel-tanh": -1.0,
        "linearisation-relu": -0.5,
        "linearisation-tanh": -1.0,
        "weights": 0.0,
    }
    for record in DRIFT_EXPONENTS.values():
        assert record.basis in {"theorem", "heuristic", "measured"}
        assert any("time" in hypothesis for hypothesis in record.hypotheses)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: diagonal_moments(depth=0, width=3), "depth must be an integer >= 1, got 0"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
