"""Fig. 4, 10 [A]: the angle of every sample-wise gradient to the clean segment gradient, in closed form at infinite width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch.nn import functional as F

from empirical.inference import exact, simultaneous_band
from empirical.networks import FullyConnected
from empirical.tangent_kernel import empirical_ntk
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.initial import FIGURE_4, InitialRegime, initial_regimes
from theory.finite_width import ntk_moments
from theory.initialization import class_kernel_means, sample_segment_cosine
from theory.kernels import ntk

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
WIDTH, NETWORKS, N_SAMPLES = 512, 12, 24
EPS = np.finfo(np.float64).eps
NONE = {"none allowed": 0.0}


@pytest.mark.claim("I2")
@pytest.mark.regime("random networks", "Gaussian inputs")
def test_closed_form_is_exact_in_the_networks_own_kernel(agreement: Agreement) -> None:
    """Explicit gradients by automatic differentiation against sgn(r_i)(K r_S)_i/√(K_ii r_SᵀK r_S), any outputs f."""
    rng, measured, closed, unsigned, shuffled = agreement.rng, [], [], [], []
    for _ in range(NETWORKS):
        network = FullyConnected(5, 32, int(rng.integers(1, 4)), seed=int(rng.integers(2**62)), dtype=torch.float64)
        x = torch.tensor(rng.normal(size=(N_SAMPLES, 5)))
        observed, members = rng.integers(0, 2, N_SAMPLES), np.arange(N_SAMPLES) < 8
        losses = F.binary_cross_entropy_with_logits(network(x), torch.tensor(observed.astype(float)), reduction="none")
        rows = [torch.autograd.grad(loss, list(network.parameters()), retain_graph=True) for loss in losses]
        vectors = np.array([torch.cat([part.reshape(-1) for part in row]).numpy() for row in rows])
        segment = vectors[members].sum(axis=0)
        measured.append(vectors @ segment / np.linalg.norm(vectors, axis=1) / np.linalg.norm(segment))
        kernel = np.asarray(empirical_ntk(network, x))
        residual = torch.sigmoid(network(x)).detach().numpy() - observed
        closed.append(sample_segment_cosine(kernel, residual, members))
        unsigned.append(closed[-1] * np.sign(residual))
        shuffled.append(sample_segment_cosine(kernel, residual, rng.permutation(members)))
    # Gradients of up to 4 layers of width 32 lose 4·32^1.5·eps each, the sum over 8 members may cancel to a hundredth of its terms.
    rounding, estimate = {"rounding": 100 * 8 * 4 * 32**1.5 * EPS}, exact(measured, n_seeds=NETWORKS)
    agreement.check("cos∠(∇l_i, g_S), every sample", prediction=closed, estimate=estimate, margin=rounding)
    agreement.control("sgn(r_i) left out", prediction=unsigned, estimate=estimate, margin=rounding)
    agreement.control("shuffled segment masks", prediction=shuffled, estimate=estimate, margin=rounding)


@pytest.mark.claim("I2")
@initial_regimes(FIGURE_4)
def test_angles_in_wide_networks(agreement: Agreement, regime: InitialRegime) -> None:
    data, run = regime.data(agreement), agreement.measure(regime.experiment)
    kernel, truth = ntk(data.train_inputs.astype(float)), data.train_truth
    observed = np.asarray(run["observed"])
    measured = np.asarray(run["sample_cosines"], dtype=float)[:, :, 1]
    members = [(truth == 1) & (labels == 1) for labels in observed]
    residuals = [np.where(labels == 1, -0.5, 0.5) for labels in observed]
    closed = np.array([sample_segment_cosine(kernel, r, mask) for r, mask in zip(residuals, members, strict=True)])

    # One sample in one network: its cosine is that of pairs averaged over a segment, and scatters at most as that of a single pair (G2).
    # The largest of all (networks × samples) normal deviations; the bias is O(1/m), twice its largest value for pairs.
    moments = ntk_moments(np.linspace(0.05, 3.0, 60), width=WIDTH)
    sd, bias = float(np.sqrt(moments.cosine_variance.max())), 2 * float(np.abs(moments.cosine_bias).max())
    every = {"finite width": bias, "scatter of one network": -float(ndtri(agreement.error_rate / 2 / measured.size)) * sd}
    estimate = replace(
        exact(measured, n_seeds=len(measured)), confidence=1 - agreement.error_rate, method="every value; its scatter is in the margin"
    )
    agreement.check("cos∠(∇l_i, g_clean), every sample of every network", prediction=closed, estimate=estimate, margin=every)
    signs = np.array([np.sign(r) for r in residuals])
    agreement.control("sgn(r_i) left out", prediction=closed * signs, estimate=estimate, margin=every)
    random = [agreement.rng.permutation(mask) for mask in members]
    wrong = np.array([sample_segment_cosine(kernel, r, mask) for r, mask in zip(residuals, random, strict=True)])
    agreement.control("shuffled segment masks", prediction=wrong, estimate=estimate, margin=every)

    # Segment by segment, averaged over each network's samples: the scatter of the networks' mean is √seeds smaller.
    masks = [[(truth == c) & (y == label) for y in observed] for c, label in ((1, 1), (1, 0), (0, 0))]  # clean, noisy, other
    own, wanted = (
        np.array([[row[mask].mean() for row, mask in zip(values, some, strict=True)] for some in masks]).T for values in (measured, closed)
    )
    difference = simultaneous_band(own - wanted, error_rate=agreement.error_rate)
    # Student's quantile for 32 networks at a third of the error rate is 6.2.
    agreement.check(
        "mean cosine of clean, noisy and other samples less the closed form",
        prediction=np.zeros(3),
        estimate=difference,
        margin={"finite width": bias, "sampling": 2 * 6.2 * sd / np.sqrt(len(own))},
    )

    # Mirror image: a clean and a noisy sample of the class differ in sign, and in that the clean one is itself part of the segment.
    own_share = self_products(kernel[np.ix_(truth == 1, truth == 1)], n_clean=int(members[0].sum()))
    mirror = simultaneous_band((own[:, 0] + own[:, 1])[:, None], error_rate=agreement.error_rate)
    # Which samples are noisy is random: the mean over n_n of them, of spread at most that of the cosines within the class.
    spread = float(np.std(closed[0][members[0]])) * np.sqrt(1 / members[0].sum() + 1 / masks[1][0].sum())
    agreement.check(
        "mean cosine of clean plus that of noisy samples: their own share",
        prediction=np.array([own_share]),
        estimate=mirror,
        margin={"label draws and networks": 2 * 6.2 * np.hypot(spread, sd) / np.sqrt(len(own)), "finite width": bias},
    )
    angles = np.degrees(np.arccos(np.clip(measured, -1, 1)))
    averages = np.array([[row[mask].mean() for row, mask in zip(angles, some, strict=True)] for some in masks]).T
    means = averages.mean(axis=0)
    agreement.check(
        "mean angle of clean samples below 90°, of noisy and other ones above",
        prediction=Range(lower=np.zeros(3)),
        estimate=simultaneous_band((averages - 90) * [-1, 1, 1], error_rate=agreement.error_rate, unit="°"),
        margin=NONE,
    )
    agreement.note(
        f"Mean angles: clean {means[0]:.1f}°, noise {means[1]:.1f}°, other {means[2]:.1f}°; largest deviation of a cosine from the closed "
        f"form {np.abs(measured - closed).max():.3f}."
    )


def self_products(block: Array, *, n_clean: int) -> float:
    """Excess of the mean cosine of clean samples over that of −noisy ones at f = ½, from the kernel of the class.

    Over random subsets, <∇l_i, g_clean> is ¼[K_ii + (n_c − 1)K̄_i] for a clean and −¼ n_c K̄_i for a noisy sample i, K̄_i its mean kernel with
    the others; both are divided by √K_ii and by ½√(r_SᵀK r_S) with r_SᵀK r_S = ¼[n_c K̄_d + n_c(n_c − 1)K̄_o].
    """
    diagonal, off = class_kernel_means(block)
    others = (block.sum(axis=1) - np.diag(block)) / (len(block) - 1)
    length = np.sqrt(n_clean * diagonal + n_clean * (n_clean - 1) * off)
    return float(np.mean((np.diag(block) - others) / np.sqrt(np.diag(block))) / length)
