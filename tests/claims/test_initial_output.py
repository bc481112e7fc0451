"""Eq. (8) [A], Eq. (5) [B], "E[f(w_0; x)] is 0.5 by random guess": true over w_0, not of one network; the exact law of the logit."""

from __future__ import annotations

from functools import partial
from math import comb

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from empirical.batched import NetworkBatch
from empirical.inference import exact, mean_interval
from reports.evidence import Agreement
from tests.support.estimates import at_once, joined, mean_design, means, relative_variances, variance_design
from theory.finite_width_depth import diagonal_moments
from theory.initialization_law import class_mean_logit_covariance
from theory.kernels import nngp

Array = NDArray[np.float64]
EPS = np.finfo(np.float64).eps
SEEDS, CHUNK = {"quick": 25_000, "standard": 80_000, "full": 320_000}, 5000
HEADS = 32  # logits on the same hidden layers; averaged within a network


@pytest.mark.claim("S6")
@pytest.mark.parametrize(
    ("name", "classes", "n_train"),
    [
        pytest.param("clusters", (0, 1), 100, id="clusters", marks=pytest.mark.regime("network at initialisation", "clusters")),
        pytest.param("digits", (7, 9), 100, id="digits-7-9", marks=pytest.mark.regime("network at initialisation", "digits 7/9")),
        pytest.param("mnist", (7, 9), 100, id="mnist-7-9", marks=pytest.mark.regime("network at initialisation", "MNIST 7/9")),
    ],
)
def test_mean_output_of_one_network_is_not_one_half(agreement: Agreement, name: str, classes: tuple[int, int], n_train: int) -> None:
    """Mean of f(w_0; x) over the samples of a class, for each of many random networks of Eq. (2) [B] with one hidden layer."""
    data, width, networks, rate = agreement.dataset(name, classes=classes, n_train=n_train), 32, 2500, agreement.error_rate
    x, truth = torch.tensor(data.train_inputs.astype(float)), data.train_truth
    drawn = agreement.drawn("S6", partial(class_means, x, truth, width=width, networks=networks), width=width, networks=networks)
    output, shifted, logit = drawn["output"], drawn["shifted"], drawn["logit"]
    guesses = np.bincount(truth)

    # As printed: ½ in every network, up to what guesses at random on the n_c samples of a class would give, 1/(4n_c) in the mean square.
    squares = (output - 0.5) ** 2
    agreement.check(
        "mean square of (mean output of a class − ½) over networks",
        prediction=np.zeros(2),
        estimate=at_once(mean_interval(squares, error_rate=rate / 2)),
        margin={"random guesses": 1 / (4 * guesses)},
    )
    # Over w_0 it is ½: σ is ¼-Lipschitz, so that the mean output varies at most a quarter as much as the mean logit, whose variance is
    # known (the output covariance of infinite width is exact at every width).
    variance = np.diag(class_mean_logit_covariance(nngp(x.numpy()), truth))
    sigma = np.sqrt(variance) / 4
    design = mean_design(sigma, n_seeds=networks, error_rate=rate)
    margin = {"sampling": design.margin}
    estimate = means(output, sigma=sigma, error_rate=rate)
    agreement.correct("mean over networks of the mean output of each class", prediction=np.full(2, 0.5), estimate=estimate, margin=margin)
    agreement.control(
        "a bias of 1 added to h", prediction=np.full(2, 0.5), estimate=means(shifted, sigma=sigma, error_rate=rate), margin=margin
    )
    # The mean logit is normal given the hidden layer; its kurtosis is at most that of one logit, 3(1 + 5/m).
    kurtosis = np.full(2, 15 / width)
    design = variance_design(kurtosis, n_seeds=networks, error_rate=rate)
    assert np.all(design.detectable() < 1)  # power: the scale of Eq. (7) [A] halves the variance
    ratio = relative_variances(logit, variance=variance, excess_kurtosis=kurtosis, error_rate=rate)
    agreement.correct(
        "variance of the mean logit of each class over the theory's",
        prediction=np.ones(2),
        estimate=ratio,
        margin={"sampling": design.margin},
    )
    far = (np.abs(output - 0.5) > 0.23).mean(axis=0)
    agreement.note(
        f"Share of networks whose mean output of a class leaves [0.27, 0.73]: {far.round(3)}; root mean square distance from ½: "
        f"{np.sqrt(squares.mean(axis=0)).round(3)}."
    )


@pytest.mark.claim("S6")
@pytest.mark.regime("network at initialisation", "one input")
def test_law_of_the_logit(agreement: Agreement) -> None:
    """‖x‖ = 1: mean output, variance and kurtosis of h at finite width; flipping the last layer takes f to 1 − f."""
    seeds, rate, rng = SEEDS[agreement.tier], agreement.error_rate, agreement.rng
    cases = ((1, 16), (2, 32))
    fourth, designs, wanted, outputs, sides = [], [], [], [], []
    for depth, width in cases:
        drawn = agreement.drawn(
            f"logits, L = {depth}", partial(sample_logits, depth=depth, width=width, seeds=seeds), width=width, seeds=seeds
        )
        h, flipped = drawn["logits"], drawn["flipped"]
        exact_moments = diagonal_moments(depth=depth, width=width)
        sd, kurtosis = spread_of_fourth_moment(depth=depth, width=width)
        fourth.append(means((h**4).mean(axis=1), sigma=sd, error_rate=rate / len(cases)))
        designs.append(float(mean_design(sd, n_seeds=seeds, error_rate=rate / len(cases)).margin))
        wanted.append(exact_moments.logit_kurtosis * exact_moments.logit_variance**2)
        outputs.append(1 / (1 + np.exp(-h[:, 0])))
        sides.append(np.abs(outputs[-1] + 1 / (1 + np.exp(-flipped)) - 1).max())
        design = variance_design(kurtosis, n_seeds=seeds, error_rate=rate)
        ratio = relative_variances(h[:, 0], variance=exact_moments.logit_variance, excess_kurtosis=kurtosis, error_rate=rate)
        name = f"Var h over ‖x‖², L = {depth}, m = {width}"
        agreement.correct(name, prediction=1.0, estimate=ratio, margin={"sampling": design.margin})
    squares = at_once(mean_interval(np.stack([(f - 0.5) ** 2 for f in outputs], axis=1), error_rate=rate / len(cases)))
    rounding = {"rounding": 4 * EPS}
    agreement.check("mean square of f(w_0; x) − ½ over networks", prediction=np.zeros(len(cases)), estimate=squares, margin=rounding)
    agreement.correct("f(w_0; x) + f(w_0 with v → −v; x)", prediction=0.0, estimate=exact(sides, n_seeds=seeds), margin=rounding)
    design = mean_design(np.full(len(cases), 0.25), n_seeds=seeds, error_rate=rate)  # sd f ≤ sd h/4 = 1/4
    half = means(np.stack(outputs, axis=1), sigma=np.full(len(cases), 0.25), error_rate=rate)
    agreement.correct("E f over w_0", prediction=np.full(len(cases), 0.5), estimate=half, margin={"sampling": design.margin})
    estimate = joined(fourth)
    assert np.all(np.array(wanted) - 3 > 2 * np.array(designs))  # power: 4h tells the kurtosis from that of a normal logit
    margin = {"sampling": np.array(designs)}
    agreement.correct("kurtosis of h against 3(1 + 5/m)^L", prediction=wanted, estimate=estimate, margin=margin)
    agreement.control("kurtosis 3, a normal logit", prediction=np.full(len(cases), 3.0), estimate=estimate, margin=margin)
    shifted = np.stack([1 / (1 + (1 / f - 1) * np.exp(-1)) for f in outputs], axis=1)
    agreement.control(
        "a bias of 1 added to h",
        prediction=np.full(len(cases), 0.5),
        estimate=means(shifted, sigma=np.full(len(cases), 0.25), error_rate=rate),
        margin={"sampling": design.margin},
    )
    # Eq. (7) [A] has half the variance of Eq. (2) [B], Eq. (6) [A] the same; kurtosis 3(1 + 5/m) and 3(1 + 2/m).
    for convention, activation, variance, kurtosis in (("eq6", "linear", 1.0, 6 / 64), ("eq7", "relu", 0.5, 15 / 64)):
        some = rng.choice(2**31, size=seeds // 10, replace=False).tolist()
        batch = NetworkBatch.draw(1, 64, 1, seeds=some, convention=convention, activation=activation, dtype=torch.float64)
        logits = batch.forward(torch.ones(1, 1, dtype=torch.float64))[-1][:, 0, 0].numpy()
        design = variance_design(kurtosis, n_seeds=len(some), error_rate=rate)
        assert design.detectable() < 1  # power: a factor 2
        ratio = relative_variances(logits, variance=variance, excess_kurtosis=kurtosis, error_rate=rate)
        name = f"Var h over that of Eq. ({convention[-1]}) [A]"
        agreement.correct(name, prediction=1.0, estimate=ratio, margin={"sampling": design.margin})


def class_means(x: torch.Tensor, truth: NDArray[np.int64], rng: np.random.Generator, *, width: int, networks: int) -> dict[str, Array]:
    """Mean output of each class, the same with a bias of 1 added to h, and mean logit, of random networks ``[networks, 2]``."""
    seeds = rng.choice(2**31, size=networks, replace=False).tolist()
    h = NetworkBatch.draw(x.shape[1], width, 1, seeds=seeds, dtype=torch.float64).forward(x)[-1][:, :, 0]
    values = {"output": torch.sigmoid(h), "shifted": torch.sigmoid(h + 1), "logit": h}
    return {name: np.stack([part.numpy()[:, truth == c].mean(axis=1) for c in (0, 1)], axis=1) for name, part in values.items()}


def sample_logits(rng: np.random.Generator, *, depth: int, width: int, seeds: int) -> dict[str, Array]:
    """Logits ``[seeds, HEADS]`` at x = 1 of networks of Eq. (2) [B], written out, and the first one after v → −v ``[seeds]``."""
    if seeds > CHUNK:
        parts = [sample_logits(rng, depth=depth, width=width, seeds=CHUNK) for _ in range(seeds // CHUNK)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    signal = np.ones((seeds, 1))
    for _ in range(depth):
        weights = rng.standard_normal((seeds, width, signal.shape[1]))
        signal = np.sqrt(2 / width) * np.maximum(np.matmul(weights, signal[:, :, None])[:, :, 0], 0)
    last = rng.standard_normal((seeds, HEADS, width))
    return {"logits": np.matmul(last, signal[:, :, None])[:, :, 0], "flipped": np.einsum("sm,sm->s", -last[:, 0], signal)}


def spread_of_fourth_moment(*, depth: int, width: int) -> tuple[float, float]:
    """Standard deviation over networks of the mean of h⁴ over `HEADS` logits, and the excess kurtosis of one logit.

    Given the hidden layers the logits are independent and normal with variance S = ‖α^L‖², a product of L independent factors
    ξ = (2/m)χ²_N, N ~ Bin(m, ½): Var = E S⁴(9(1 − 1/k) + 105/k) − 9(E S²)². One tenth more is allowed for the skewness of h⁴, by which the
    normal interval misses more often on one side.
    """
    open_gates = np.arange(width + 1)
    binomial = np.array([comb(width, int(k)) for k in open_gates]) / 2.0**width
    second, fourth = (
        float(np.sum(binomial * np.prod([open_gates + 2 * j for j in range(power)], axis=0))) * (2 / width) ** power for power in (2, 4)
    )
    variance = fourth**depth * (9 * (1 - 1 / HEADS) + 105 / HEADS) - 9 * second ** (2 * depth)
    return 1.1 * float(np.sqrt(variance)), 3 * second**depth - 3
