"""P. 2 [A], Sec. 1 [B]: almost all clean sample-wise gradients agree with the update, almost all noisy ones are against it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr
from torch.nn import functional as F

from empirical.inference import exact, mean_interval
from empirical.networks import FullyConnected
from empirical.noise import corrupt_labels, corrupt_labels_batch
from empirical.tangent_kernel import empirical_ntk
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.regimes import FIXED_KERNEL, Regime, regimes
from theory.dynamics import gradient_descent
from theory.initialization import parzen_margin
from theory.kernels import ntk

Array = NDArray[np.float64]
NONE = {"none allowed": 0.0}
DRAWS = 200

# "Almost all" is read as nearer to all than to a direction that knows nothing, which agrees with half: above three quarters.
NEARLY_ALL = Range(lower=0.75)
NEARLY_NONE = Range(upper=0.25)

# Seven to two, as far as the data set reaches: with 700 and 200 samples of MNIST the register's own numbers.
IMBALANCED = {"clusters": (350, 100), "digits 0/1": (112, 32), "digits 7/9": (119, 34), "MNIST 7/9": (700, 200)}


@pytest.mark.claim("D9")
@pytest.mark.regime("random networks, output 0", "digits 7/9")
def test_agreement_is_the_kernel_mean_classifier(agreement: Agreement) -> None:
    """<∇l_i, ∇L> by automatic differentiation against the classifier sgn Σ_j K_ij(2y_j − 1) with the network's own kernel."""
    data, n = agreement.dataset("digits", classes=(7, 9)), 60

    def both_sides(rng: np.random.Generator) -> dict[str, list[Array]]:
        """<∇l_i, ∇L> and the classifier's margin of each sample of five networks ``[5, n]``."""
        projections, margins = [], []
        for _ in range(5):
            some = rng.choice(len(data.train_truth), size=n, replace=False)
            x, truth = torch.tensor(data.train_inputs[some].astype(float)), data.train_truth[some]
            observed = corrupt_labels(truth, 0.3, n_classes=2, seed=int(rng.integers(2**31))).observed
            network = FullyConnected(64, 64, int(rng.integers(1, 3)), centred=True, seed=int(rng.integers(2**62)), dtype=torch.float64)
            losses = F.binary_cross_entropy_with_logits(network(x), torch.tensor(observed.astype(float)), reduction="none")
            rows = [torch.autograd.grad(loss, list(network.parameters()), retain_graph=True) for loss in losses]
            vectors = np.array([torch.cat([part.reshape(-1) for part in row]).numpy() for row in rows])
            projections.append(vectors @ vectors.mean(axis=0))
            margins.append(parzen_margin(empirical_ntk(network, x), observed))
        return {"projection": projections, "margin": margins}

    projection, margin = agreement.drawn("both sides", both_sides).values()
    largest = np.abs(margin).max(axis=1, keepdims=True)
    off = np.abs(4 * projection - margin) / largest  # r_i = ∓½: the projection is a quarter of the margin
    decided = np.abs(margin) > 1e-10 * largest
    wrong, reversed_ = (int(((projection > 0) != predicted)[decided].sum()) for predicted in (margin > 0, margin < 0))
    agreement.check("samples that agree not iff the classifier predicts their label", prediction=0, estimate=exact(wrong), margin=NONE)
    # Gradients of p < 10⁴ numbers, three layers of width 64: 3·64^1.5·eps each, 60 of them summed.
    rounding = {"rounding": 60 * 3 * 64**1.5 * np.finfo(np.float64).eps}
    agreement.check("4<∇l_i, ∇L> against the classifier's margin", prediction=0, estimate=exact(off, n_seeds=5), margin=rounding)
    agreement.control("the classifier reversed", prediction=0, estimate=exact(reversed_), margin=NONE)
    agreement.note(f"{(~decided).sum()} margins were too close to 0 to have a sign.")


@pytest.mark.claim("D9")
@regimes(FIXED_KERNEL)
def test_shares_of_agreeing_samples(agreement: Agreement, regime: Regime) -> None:
    """Measured by one small step of gradient descent from f = ½: a sample agrees if its loss falls."""
    case, rate = regime.case, agreement.error_rate
    assert case is not None
    data = agreement.dataset(case.dataset, classes=case.classes, n_train=case.n_train)
    draw = partial(one_step, data.train_inputs.astype(float), data.train_truth, noise_level=case.noise_level)
    found = agreement.drawn("one step", draw)
    agreement.check(
        "samples whose loss falls in one step not iff the kernel-mean classifier predicts their label",
        prediction=0,
        estimate=exact(found["against the classifier"], n_seeds=20),
        margin=NONE,
    )
    shares = found["shares"]
    clean, noise = (mean_interval(shares[:, k], error_rate=rate / 2) for k in (0, 1))
    agreement.check("share of clean samples that agree", prediction=NEARLY_ALL, estimate=clean, margin=NONE)
    agreement.check("share of noisy samples that agree", prediction=NEARLY_NONE, estimate=noise, margin=NONE)

    predicted, spread = judge_against_the_law(agreement, "share", found)

    # The condition of balanced classes: at seven to two the same law foretells other shares, and the minority is misdirected.
    few = agreement.dataset(case.dataset, classes=case.classes, n_train=IMBALANCED[regime.data])
    draw = partial(one_step, few.train_inputs.astype(float), few.train_truth, noise_level=case.noise_level)
    uneven = agreement.drawn("one step at seven to two", draw)
    parted = uneven["shares"]
    judge_against_the_law(agreement, "seven to two: share", uneven)
    estimate = mean_interval(uneven["clean of class 1"], error_rate=rate)
    agreement.control("seven to two: clean samples of the minority that agree", prediction=NEARLY_ALL, estimate=estimate, margin=NONE)
    # Labels without any relation to the inputs.
    agreement.control(
        "permuted truth: clean and noisy samples differ by a half or more",
        prediction=Range(lower=0.5),
        estimate=mean_interval(-np.diff(found["shares of permuted truth"], axis=1)[:, 0], error_rate=rate),
        margin=NONE,
    )
    agreement.note(f"Spread of the shares over label draws: {shares.std(axis=0).round(4)}, foreseen {spread.round(4)}.")
    agreement.note(
        f"Agreeing: {100 * shares[:, 0].mean():.1f} % of clean and {100 * shares[:, 1].mean():.1f} % of noisy samples (law: "
        f"{100 * predicted[0]:.1f} % and {100 * predicted[1]:.1f} %). Seven to two: {100 * parted[:, 0].mean():.1f} % and "
        f"{100 * parted[:, 1].mean():.1f} %, of the minority's clean samples {100 * float(estimate.value):.1f} %."
    )


def one_step(inputs: Array, truth: NDArray[np.int64], rng: np.random.Generator, *, noise_level: float) -> dict[str, ArrayLike]:
    """Shares (clean, noisy) of samples that agree, by label draw ``[draws, 2]``, of those of true class 1 too, and with permuted truth.

    With them what the kernel alone foretells, and how many samples in 20 draws the classifier calls the other way.
    """
    kernel = ntk(inputs)
    observed = corrupt_labels_batch(truth, noise_level, n_classes=2, seeds=rng.choice(2**31, size=DRAWS, replace=False).tolist())
    agrees, noisy = loss_falls(kernel, observed), observed != truth
    margins = np.array([parzen_margin(kernel, labels) for labels in observed[:20]])
    one = ~noisy & (truth == 1)
    permuted, mask = rng.permuted(np.tile(truth, (DRAWS // 2, 1)), axis=1), noisy[: DRAWS // 2]
    predicted, spread, skewness = predicted_shares(kernel, truth, noise_level)
    return {
        "shares": agreeing(agrees, noisy),
        "clean of class 1": (agrees & one).sum(axis=1) / one.sum(axis=1),
        "shares of permuted truth": agreeing(loss_falls(kernel, np.where(mask, 1 - permuted, permuted)), mask),
        "against the classifier": (agrees[:20] != (margins > 0)).sum(),
        "predicted": predicted,
        "spread": spread,
        "skewness": skewness,
    }


def agreeing(agrees: NDArray[np.bool_], noisy: NDArray[np.bool_]) -> Array:
    """Share of clean and of noisy samples that agree, by label draw ``[draws, 2]``."""
    return np.stack([(agrees & mask).sum(axis=1) / mask.sum(axis=1) for mask in (~noisy, noisy)], axis=1)


def judge_against_the_law(agreement: Agreement, text: str, found: Mapping[str, Array]) -> tuple[Array, Array]:
    """Both shares from the kernel alone, as `one_step` gives them; returns those predicted and their spread over label draws.

    s_i(Ks)_i is a sum over randomly chosen noisy samples, of known mean and covariance, about normal. Half a per cent is allowed for that
    (row X7), and the first term of its expansion, skewness·φ(0)/6, sample by sample. The spread over label draws is to second order in the
    correlations, a fifth more for the rest; Student's quantile for 200 draws is 5.1.
    """
    shares, predicted, spread, skewness = (found[name] for name in ("shares", "predicted", "spread", "skewness"))
    for k, name in enumerate(("clean", "noisy")):
        agreement.check(
            f"{text} of {name} samples against the law of the margin",
            prediction=predicted[k],
            estimate=mean_interval(shares[:, k], error_rate=agreement.error_rate / 2),
            margin={"normal law": 0.005 + skewness[k], "label draws": 2 * 5.1 * 1.2 * spread[k] / np.sqrt(len(shares))},
        )
    return predicted, spread


def loss_falls(kernel: Array, observed: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each sample's loss is lower after a small step from f = ½ ``[draws, n]``."""
    run = gradient_descent(kernel, observed.T.astype(float), learning_rate=1e-3, steps=1)
    after = np.asarray(run.logits)[-1].T
    return np.where(observed == 1, after, -after) > 0


def predicted_shares(kernel: Array, truth: NDArray[np.int64], noise_level: float) -> tuple[Array, Array, Array]:
    """Expected shares (clean, noisy) with s_i(Ks)_i > 0, their spread over label draws, and the mean size of skewness·φ(0)/6.

    With true signs ŝ and k of the N samples of a class flipped at random, Σ_j K_ij s_j over the class is ŝ(ΣK − 2Σ_flipped K): mean
    (1 − 2k/N)ŝΣK and covariance 4k(N − k)/(N(N − 1)) Σ(K_i − K̄_i)(K_j − K̄_j). In sample i's own class the draw is among the others, with k
    of them flipped if i is clean and k − 1 if it is noisy, and K_ii itself is added; for the spread this difference is left out. For normal
    margins with standardised means a_i and correlations ρ_ij, P(both > 0) is the product plus φ(a_i)φ(a_j)(ρ_ij + ½a_i a_j ρ_ij²) + ….
    """
    n, sign = len(truth), np.where(truth == 1, 1.0, -1.0)
    shares, spreads, tails = [], [], []
    for own in (1.0, -1.0):  # clean, noisy: s_i = own·ŝ_i
        mean, variance, third, covariance = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((n, n))
        for c, s in ((0, -1.0), (1, 1.0)):
            members = truth == c
            size, flipped = int(members.sum()), round(noise_level * float(members.sum()))
            total, squares, cubes = (np.sum(kernel[:, members] ** power, axis=1) for power in (1, 2, 3))
            itself = np.where(members, np.diag(kernel), 0.0)
            count = size - members  # the others of the class
            k = flipped - (members & (own < 0))
            first, second, cube = ((part - itself**power) / count for power, part in ((1, total), (2, squares), (3, cubes)))
            share = k / count
            mean += (1 - 2 * share) * s * first * count
            variance += 4 * share * (1 - share) * count**2 / (count - 1) * (second - first**2)
            third += 8 * share * (1 - share) * np.abs(1 - 2 * share) * count * np.abs(cube - 3 * first * second + 2 * first**3)
            centred = kernel[:, members] - kernel[:, members].mean(axis=1, keepdims=True)
            covariance += 4 * flipped * (size - flipped) / (size * (size - 1)) * centred @ centred.T
        a = (np.diag(kernel) + own * sign * mean) / np.sqrt(variance)
        density = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
        correlation = covariance * np.outer(sign, sign) / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
        joint = correlation + 0.5 * np.outer(a, a) * correlation**2
        share = float(np.mean(ndtr(a)))
        members_drawn = n * (noise_level if own < 0 else 1 - noise_level)
        shares.append(share)
        spreads.append(float(np.sqrt(max(density @ joint @ density / n**2, 0.0) + share * (1 - share) / members_drawn)))
        tails.append(float(np.mean(third / variance**1.5)) / (6 * np.sqrt(2 * np.pi)))
    return np.array(shares), np.array(spreads), np.array(tails)
