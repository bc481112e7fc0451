"""The empirical tangent kernel against autograd, and its exact laws at initialisation."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from empirical.memory_plan import OVERHEAD
from empirical.networks import FullyConnected
from empirical.tangent_kernel import empirical_ntk, sample_tangent_kernels
from tests.support.reference_gradients import derivative_matrix

F64 = torch.float64
# Rounding of sums of p ≈ 100 products in float64 is about 100·eps = 2e-14 relative; 1e-10 leaves room and is far below any real difference.
AGREEMENT = 1e-10
ARCHITECTURES = [("eq2", "relu"), ("eq6", "linear"), ("eq7", "tanh"), ("pytorch", "relu")]


def points(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize("chunk_size", [4, 64], ids="chunk={}".format)
@pytest.mark.parametrize("outputs", [1, 3], ids="logits={}".format)
@pytest.mark.parametrize(("convention", "activation"), ARCHITECTURES, ids=lambda value: value)
def test_agrees_with_one_autograd_call_per_sample(convention: str, activation: str, outputs: int, chunk_size: int) -> None:
    x, z = points(11, 5, 0), points(6, 5, 1)
    model = FullyConnected(5, 9, 2, n_outputs=outputs, convention=convention, activation=activation, seed=2, dtype=F64)
    left, right = derivative_matrix(model, x), derivative_matrix(model, z)
    blocks = np.einsum("kip,ljp->klij", left, right)
    mean = np.einsum("kkij->ij", blocks) / outputs
    scale = AGREEMENT * np.abs(blocks).max()
    np.testing.assert_allclose(empirical_ntk(model, x, z, chunk_size=chunk_size), mean, rtol=0, atol=scale)
    np.testing.assert_allclose(empirical_ntk(model, x, z, blocks=True, chunk_size=chunk_size), blocks, rtol=0, atol=scale)
    own = np.einsum("kip,ljp->klij", left, left)
    np.testing.assert_allclose(empirical_ntk(model, x, blocks=True, chunk_size=chunk_size), own, rtol=0, atol=AGREEMENT * np.abs(own).max())
    kernel = empirical_ntk(model, x, chunk_size=chunk_size)
    np.testing.assert_array_equal(kernel, kernel.T)


def test_frozen_and_unbiased_layers_count_for_what_is_trained() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 7, bias=False), nn.Tanh(), nn.Linear(7, 1)).to(F64)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    model[0].weight.requires_grad_(False)
    x = points(8, 5, 3)
    gradients = derivative_matrix(model, x)[0]
    np.testing.assert_allclose(empirical_ntk(model, x), gradients @ gradients.T, rtol=AGREEMENT)


def test_conventions_differ_by_the_factor_two_per_hidden_layer() -> None:
    x = points(8, 5, 4)
    ours = empirical_ntk(FullyConnected(5, 9, 2, convention="eq2", seed=2, dtype=F64), x)
    theirs = empirical_ntk(FullyConnected(5, 9, 2, convention="eq7", seed=2, dtype=F64), x)
    np.testing.assert_allclose(ours, 4 * theirs, rtol=AGREEMENT)


@pytest.mark.parametrize(("convention", "activation"), ARCHITECTURES, ids=lambda value: value)
def test_a_sample_holds_the_kernels_of_single_networks(convention: str, activation: str) -> None:
    angles = np.array([0.0, 0.3, 2.0, np.pi])
    options: dict[str, Any] = {"convention": convention, "activation": activation, "dtype": F64}
    # A budget of one byte puts every network in a batch of its own.
    sample = sample_tangent_kernels(angles, width=9, depth=2, seeds=(3, 8), **options)
    split = sample_tangent_kernels(angles, width=9, depth=2, seeds=(3, 8), memory_budget=1, **options)
    unit = np.concatenate([[[1.0, 0.0]], np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    for position, seed in enumerate((3, 8)):
        kernel = empirical_ntk(FullyConnected(2, 9, 2, seed=seed, **options), unit)
        for parts, expected in zip(zip(sample, split, strict=True), (kernel[[0] * 4, 0], kernel[0, 1:], np.diag(kernel)[1:]), strict=True):
            for part in parts:
                np.testing.assert_allclose(part[position], expected, rtol=AGREEMENT, atol=AGREEMENT)


def test_a_memory_budget_splits_the_networks(batch_sizes: list[int]) -> None:
    """No room for one is one by one, room for all is one batch; between them the weights alone, 8(2m + m² + m) bytes each, must fit."""
    weights = 8 * (2 * 9 + 9**2 + 9)
    for budget, most in ((1, 1), (OVERHEAD + 20 * weights, 20), (2**28, 40)):
        batch_sizes.clear()
        sample_tangent_kernels([1.0], width=9, depth=2, seeds=range(40), dtype=F64, memory_budget=budget)
        assert sum(batch_sizes) == 40
        assert max(batch_sizes) <= most
        assert (len(batch_sizes) == 1) == (most == 40)


@pytest.mark.parametrize("depth", [1, 2, 3], ids="depth={}".format)
def test_mean_diagonal_is_the_number_of_layers(depth: int) -> None:
    """S4: E K(x, x) = (L + 1)‖x‖² at every width, here m = 16."""
    count = 4000
    xx, _, zz = sample_tangent_kernels([1.0], width=16, depth=depth, seeds=range(count), dtype=F64)
    # Level 1e-6 two-sided (|z| < 4.9) for six means: 6e-6 false alarms per run for random seeds. The relative variance of K(x, x) is about
    # L(11L + 7)/(3(L + 1)m) ≤ 0.63, one standard error at most 1.3 %: a mean off by 10 % is caught with probability above 0.99.
    limit = stats.norm.isf(0.5e-6)
    for diagonal in (xx[:, 0], zz[:, 0]):
        z = (diagonal.mean() - (depth + 1)) / (diagonal.std(ddof=1) / np.sqrt(count))
        assert abs(z) < limit
        wrong = (diagonal.mean() - 2 * (depth + 1)) / (diagonal.std(ddof=1) / np.sqrt(count))
        assert abs(wrong) > limit  # control: √2 forgotten in one layer


def test_diagonal_follows_its_exact_law_at_one_hidden_layer() -> None:
    """Given N ~ Bin(m, ½) active units, m K(x, x)/2 is χ² with 2N degrees of freedom, for ‖x‖ = 1 (Eq. (2) [B], L = 1)."""
    width, count = 8, 4000
    xx, _, _ = sample_tangent_kernels([1.0], width=width, depth=1, seeds=range(count), dtype=F64)
    active = np.arange(width + 1)
    weights = stats.binom(width, 0.5).pmf(active)

    def cdf(values: np.ndarray) -> np.ndarray:
        scaled = np.asarray(values)[:, None] * width / 2
        return np.where(active == 0, 1.0, stats.chi2.cdf(scaled, 2 * np.maximum(active, 1))) @ weights

    positive = xx[:, 0] > 0  # N = 0 has probability 2⁻⁸ and gives exactly 0
    conditional = (cdf(xx[positive, 0]) - weights[0]) / (1 - weights[0])
    assert stats.kstest(conditional, stats.uniform().cdf).pvalue > 1e-6  # false alarm 1e-6 per run for random seeds
    assert stats.kstest(conditional**1.2, stats.uniform().cdf).pvalue < 1e-6  # control: distance 0.07


def test_opposite_inputs_have_orthogonal_gradients() -> None:
    kernel = empirical_ntk(FullyConnected(3, 50, 1, dtype=F64), [[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]])
    assert kernel[0, 1] == 0
    assert kernel[0, 0] > 0


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((np.zeros((2, 3)),), {}, "x must have no zero rows"),
        ((np.full((2, 3), np.inf),), {}, "x must be finite, got inf at index [0, 0]"),
        ((np.ones(3),), {}, "x must have shape [n, d] with n, d >= 1, got shape [3]"),
        ((np.ones((2, 3)), np.ones((2, 4))), {}, "z must have 3 columns as x, got 4"),
        ((np.ones((2, 3)), [["a", "b", "c"]]), {}, "z must hold real numbers"),
        ((np.ones((2, 3)),), {"chunk_size": 0}, "chunk_size must be an integer >= 1, got 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_kernel_inputs_are_refused_in_one_line(arguments: tuple, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        empirical_ntk(FullyConnected(3, 4, 1), *arguments, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("angles", "options", "message"),
    [
        ([], {}, "angles must have shape [k] with k >= 1, got shape [0]"),
        ([np.nan], {}, "angles must be finite, got nan"),
        ([1.0], {"seeds": ()}, "seeds must be at least one integer, got none"),
        ([1.0], {"width": 0}, "width must be an integer >= 1, got 0"),
        ([1.0], {"depth": 1.5}, "depth must be an integer >= 1, got 1.5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_samples_are_refused_in_one_line(angles: list[float], options: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"width": 4, "depth": 1, "seeds": (0,)} | options
    with pytest.raises(ValueError, match=re.escape(message)):
        sample_tangent_kernels(angles, **arguments)
