"""Eq. (2) [B]: the scale √(2/m) preserves norms at every layer, and E K(x, x) = (L + 1)‖x‖² at every width."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from empirical.batched import NetworkBatch
from empirical.inference import exact
from empirical.networks import FullyConnected
from empirical.tangent_kernel import empirical_ntk
from reports.evidence import Agreement
from tests.support.estimates import mean_design, means
from theory.finite_width_depth import diagonal_moments

N_INPUTS, WIDTH = 5, 64
CHUNK = 2000  # networks at a time: 130 MB at depth 3
SEEDS = {"quick": 4400, "standard": 16000, "full": 64000}


@pytest.mark.claim("S4")
@pytest.mark.regime("network at initialisation, width 64", "one input")
def test_norms_and_kernel_are_preserved_in_expectation(agreement: Agreement) -> None:
    seeds, rate = SEEDS[agreement.tier], agreement.error_rate
    x = agreement.rng.normal(size=N_INPUTS)
    x *= 3 / np.linalg.norm(x)
    for depth in (1, 3):
        networks = agreement.drawn(f"S4, L = {depth}", partial(sampled, x, depth=depth, seeds=seeds), x=x.tolist(), networks=seeds)
        norms, parts = networks["norms"], networks["parts"]
        # In units of ‖x‖²: ‖α^l‖² is a product of l independent factors (2/m)Σ σ(g)² of variance 5/m, exactly. The part of K that belongs
        # to one matrix is a product of L such factors up to O(1/m²) (its gates are shared between the way there and back), so that the
        # variance may be off by a few 1/m of itself: a tenth more is allowed for the standard deviation.
        norm_sd = np.sqrt((1 + 5 / WIDTH) ** np.arange(1, depth + 1) - 1)
        part_sd = 1.1 * np.sqrt((1 + 5 / WIDTH) ** depth - 1) * np.ones(depth + 1)
        kernel_sd = np.sqrt(diagonal_moments(depth=depth, width=WIDTH).variance)
        for name, samples, sigma, prediction in (
            (f"‖α^l‖²/‖x‖², l = 1…{depth}", norms, norm_sd, np.ones(depth)),
            (f"part of each of {depth + 1} matrices in K(x, x)/‖x‖²", parts, part_sd, np.ones(depth + 1)),
            (f"K(x, x)/‖x‖² at L = {depth}", parts.sum(axis=1), kernel_sd, depth + 1.0),
        ):
            design = mean_design(sigma, n_seeds=seeds, error_rate=rate)
            # Power: a dropped √2 halves a part at least, and takes (L + 1)(1 − 2^−L) ≥ 1 from the kernel.
            assert np.all(design.detectable() < 0.5)
            agreement.check(
                name, prediction=prediction, estimate=means(samples, sigma=sigma, error_rate=rate), margin={"sampling": design.margin}
            )
        few = seeds // 4  # a factor two is seen by fewer networks too
        design = mean_design(part_sd, n_seeds=few, error_rate=rate)
        assert np.all(design.detectable() < 0.5)
        fan_in, halved = (2 / N_INPUTS) ** 0.5, (1 / WIDTH) ** 0.5
        for name, changed in (("√(2/d) in the first layer", {0: fan_in}), ("√2 dropped in the last hidden layer", {depth - 1: halved})):
            draw_wrong = partial(sampled, x, depth=depth, seeds=few, scales=changed)
            wrong = agreement.drawn(f"S4, L = {depth}, {name}", draw_wrong, x=x.tolist(), networks=few)["parts"]
            agreement.control(
                f"{name}, L = {depth}: part of each matrix in K(x, x)/‖x‖²",
                prediction=np.ones(depth + 1),
                estimate=means(wrong, sigma=part_sd, error_rate=rate),
                margin={"sampling": design.margin},
            )


@pytest.mark.claim("S4")
@pytest.mark.regime("random networks", "pairs of any length")
def test_angles_of_gradients_do_not_depend_on_the_lengths_of_inputs(agreement: Agreement) -> None:
    rng, networks = agreement.rng, 50
    unit_kernel, scaled_kernel, biased = [], [], []
    for _ in range(networks):
        x, lengths = rng.normal(size=(6, N_INPUTS)), 10 ** rng.uniform(-2, 2, size=(6, 1))
        for kernels, convention in ((scaled_kernel, "eq2"), (biased, "pytorch")):
            depth, seed = int(rng.integers(1, 5)), int(rng.integers(2**62))
            network = FullyConnected(N_INPUTS, WIDTH, depth, convention=convention, seed=seed, dtype=torch.float64)
            kernels.append(normalized(empirical_ntk(network, lengths * x)))
            if convention == "eq2":
                unit_kernel.append(normalized(empirical_ntk(network, x)))
    # The cosine sums 5 layers of products of two inner products of up to 64 terms; each sum of k rounded terms errs by at most k·eps of
    # Σ|terms| ≤ √k times its norm, and the backpropagated signals by as much per layer.
    rounding = {"rounding": 5 * 4 * WIDTH**1.5 * np.finfo(np.float64).eps}
    agreement.check(
        "cos∠(∇h(sx), ∇h(tz)) against cos∠(∇h(x), ∇h(z))",
        prediction=unit_kernel,
        estimate=exact(scaled_kernel, n_seeds=networks),
        margin=rounding,
    )
    agreement.control("the same with biases", prediction=unit_kernel, estimate=exact(biased, n_seeds=networks), margin=rounding)


def sampled(
    x: NDArray[np.float64], rng: np.random.Generator, *, depth: int, seeds: int, scales: dict[int, float] | None = None
) -> dict[str, NDArray[np.float64]]:
    """`draw` with seeds of this generator, by name."""
    norms, parts = draw(x, depth=depth, seeds=rng.integers(2**62, size=seeds), scales=scales)
    return {"norms": norms, "parts": parts}


def draw(
    x: NDArray[np.float64], *, depth: int, seeds: NDArray[np.int64], scales: dict[int, float] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """‖α^l‖² ``[seeds, L]`` and ‖∂h/∂W^l‖² ``[seeds, L + 1]`` of networks of Eq. (2) [B], in units of ‖x‖².

    Args:
        x: input ``[d]``.
        depth: L.
        seeds: one network each.
        scales: factors that replace √(2/m) in some layers (negative control).
    """
    if len(seeds) > CHUNK:
        chunks = [draw(x, depth=depth, seeds=seeds[start : start + CHUNK], scales=scales) for start in range(0, len(seeds), CHUNK)]
        return np.concatenate([norms for norms, _ in chunks]), np.concatenate([parts for _, parts in chunks])
    batch = NetworkBatch.draw(N_INPUTS, WIDTH, depth, seeds=seeds.tolist(), dtype=torch.float64)
    batch = replace(batch, scales=tuple((scales or {}).get(layer, scale) for layer, scale in enumerate(batch.scales)))
    values = batch.forward(torch.tensor(x)[None])
    signals = batch.signals(values, torch.ones_like(values[-1]))
    squares = [np.broadcast_to((value.numpy() ** 2).sum(axis=(-2, -1)), len(seeds)) / (x @ x) for value in values[:-1]]
    parts = [
        scale**2 * square * (signal.numpy() ** 2).sum(axis=(-2, -1))
        for square, signal, scale in zip(squares, signals, batch.scales, strict=True)
    ]
    return np.stack(squares[1:], axis=1), np.stack(parts, axis=1)


def normalized(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines of the gradients whose inner products are the kernel."""
    length = np.sqrt(np.diag(kernel))
    return kernel / np.outer(length, length)
