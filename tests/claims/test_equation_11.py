"""Eq. (11) [A], Eq. (8) [B]: ∇L(D) against the sum of the segment gradients; by the papers' definitions a factor 1/n is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from empirical.gradients import gradient_geometry
from empirical.inference import exact
from empirical.networks import FullyConnected
from reports.evidence import Agreement
from tests.support.problems import problems_under_assumption_4_1

EPS = np.finfo(np.float64).eps
NETWORKS, PROBLEMS, N_INPUTS, WIDTH = 40, 100, 5, 32


@pytest.mark.claim("D3")
@pytest.mark.regime("random networks", "Gaussian inputs")
def test_full_gradient_is_the_mean_of_the_sample_gradients(agreement: Agreement) -> None:
    found = agreement.drawn("both sides", both_sides)
    n, plain, cancellation = (found[name] for name in ("n", "plain", "cancellation"))
    # Backpropagation loses (layers)·width^1.5·eps of each term, and the n terms may cancel in their sum.
    margin = {"rounding": 4 * WIDTH**1.5 * EPS * cancellation}
    printed, corrected, off_by_one, instrument = (
        exact(found[name], n_seeds=NETWORKS) for name in ("printed", "corrected", "off by one", "instrument")
    )
    agreement.check("‖∇L(D) − Σ_c (g_clean + g_noise)‖ / ‖Σ‖", prediction=0, estimate=printed, margin=margin)
    agreement.correct("‖n∇L(D) − Σ_c (g_clean + g_noise)‖ / ‖Σ‖", prediction=0, estimate=corrected, margin=margin)
    factor = exact(plain / n, n_seeds=NETWORKS)
    agreement.correct("‖Σ_c (g_clean + g_noise)‖ / ‖∇L(D)‖ over n", prediction=1, estimate=factor, margin=margin)
    # The instrument's Gram matrix of the segment gradients holds squares: the cancellation enters twice.
    squares = {"rounding": 8 * WIDTH**1.5 * EPS * cancellation**2}
    agreement.correct("‖Σ‖ from the recorded Gram matrix", prediction=1, estimate=instrument, margin=squares)
    agreement.control("n − 1 in place of n", prediction=0, estimate=off_by_one, margin=margin)
    ratio = exact(plain, n_seeds=NETWORKS)
    agreement.control("the printed form, without 1/n: ‖Σ_c (g_clean + g_noise)‖ / ‖∇L(D)‖", prediction=1, estimate=ratio, margin=margin)


def both_sides(rng: np.random.Generator) -> dict[str, list[float]]:
    """Of each network: n, distances of three multiples of ∇L(D) from Σ, ‖Σ‖/‖∇L(D)‖, what cancels in Σ, ‖Σ‖ as recorded over ‖Σ‖."""
    found: list[dict[str, float]] = []
    for _ in range(NETWORKS):
        n, depth, seed = int(rng.integers(5, 30)), int(rng.integers(1, 4)), int(rng.integers(2**62))
        network = FullyConnected(N_INPUTS, WIDTH, depth, seed=seed, dtype=torch.float64)
        x, truth = torch.tensor(rng.normal(size=(n, N_INPUTS))), rng.integers(0, 2, size=n)
        observed = np.where(rng.random(n) < 0.3, 1 - truth, truth)
        y = torch.tensor(observed.astype(float))
        # Left side: the loss of Eq. (2) [A], a mean. Right side: segments from their definition, one sample after another, Σ (f − y)∇h.
        full = gradient(network, F.binary_cross_entropy_with_logits(network(x), y))
        segments = {(c, noisy): torch.zeros_like(full) for c in (0, 1) for noisy in (False, True)}
        terms = 0.0
        for i in range(n):
            h = network(x[i : i + 1]).squeeze()
            term = (torch.sigmoid(h).detach() - y[i]) * gradient(network, h)
            segments[int(truth[i]), bool(observed[i] != truth[i])] += term
            terms += float(term.norm())
        total = torch.stack(list(segments.values())).sum(dim=0)
        size = float(total.norm())
        clean_and_noise = gradient_geometry(network, x, observed, truth=truth).gram[:4, :4]
        found.append(
            {
                "n": n,
                "printed": float((full - total).norm()) / size,
                "corrected": float((n * full - total).norm()) / size,
                "off by one": float(((n - 1) * full - total).norm()) / size,
                "plain": size / float(full.norm()),
                "cancellation": terms / size,
                "instrument": float(np.sqrt(clean_and_noise.sum())) / size,
            }
        )
    return {name: [row[name] for row in found] for name in found[0]}


@pytest.mark.claim("D3")
@pytest.mark.regime("algebra", "problems under Assumption 4.1")
def test_gradients_of_both_subsets(agreement: Agreement) -> None:
    """∇L(D_noise) = −α(n_c/n_n)∇L(D_clean), means over the subsets, by automatic differentiation of each subset's mean loss."""
    printed, corrected, full, rounding, ones = [], [], [], [], []
    for problem in problems_under_assumption_4_1(agreement.rng, count=PROBLEMS):
        weights = torch.tensor(problem.weights, requires_grad=True)
        features, labels = torch.tensor(problem.features), torch.tensor(problem.observed.astype(float))

        def subset_gradient(mask: np.ndarray, w: Tensor = weights, phi: Tensor = features, y: Tensor = labels) -> np.ndarray:
            loss = F.binary_cross_entropy_with_logits(phi[mask] @ w, y[mask])
            return np.asarray(torch.autograd.grad(loss, w)[0])

        clean, noise = subset_gradient(~problem.noisy), subset_gradient(problem.noisy)
        counts, n = (int((~problem.noisy).sum()), int(problem.noisy.sum())), len(problem.noisy)
        size = float(np.linalg.norm(noise))
        printed.append(float(np.linalg.norm(noise + problem.alpha * clean)) / size)
        corrected.append(float(np.linalg.norm(noise + problem.alpha * counts[0] / counts[1] * clean)) / size)
        whole = subset_gradient(np.ones(n, dtype=bool))
        full.append(float(np.linalg.norm(n * whole - counts[0] * clean - counts[1] * noise) / (counts[1] * size)))
        ones.append(float(np.linalg.norm(whole - counts[0] * clean - counts[1] * noise) / (counts[1] * size)))
        # The closing feature solves its equation to n·p·eps of the gradient's largest terms; its residual may be as small as 1e-3 of them.
        scale = float(np.abs(problem.features).sum()) / (counts[1] * size)
        rounding.append(4 * n * EPS * scale * (1 + float(np.abs(problem.features @ problem.weights).max())))
    margin, seeds = {"rounding": np.array(rounding)}, {"n_seeds": PROBLEMS}
    agreement.check("‖∇L(D_noise) + α∇L(D_clean)‖ / ‖∇L(D_noise)‖, App. A.5", prediction=0, estimate=exact(printed, **seeds), margin=margin)
    agreement.correct(
        "‖∇L(D_noise) + α(n_c/n_n)∇L(D_clean)‖ / ‖∇L(D_noise)‖", prediction=0, estimate=exact(corrected, **seeds), margin=margin
    )
    agreement.correct("n∇L(D) − n_c∇L(D_clean) − n_n∇L(D_noise)", prediction=0, estimate=exact(full, **seeds), margin=margin)
    agreement.control("∇L(D) − n_c∇L(D_clean) − n_n∇L(D_noise)", prediction=0, estimate=exact(ones, **seeds), margin=margin)


def gradient(network: FullyConnected, scalar: Tensor) -> Tensor:
    """Gradient ``[p]`` with respect to all parameters, by automatic differentiation."""
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(scalar, list(network.parameters()))])
