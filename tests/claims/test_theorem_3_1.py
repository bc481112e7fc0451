"""Theorem 3.1 [A]: from the angle θ_d of two inputs to the angle θ_h of their gradients, θ_h = θ_d (linear), Eq. (16) (ReLU).

The theorem speaks of infinite width. At width m the kernel K(x, z) is a mean over m independent neurons, whose exact mean, variance and
law are judged at three widths; cos θ_h itself is judged by its rate of approach, m^(−1/2), and by its limit, extrapolated from the widths.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import comb, factorial, prod

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, rate_in_width
from reports.evidence import Agreement
from tests.support.estimates import (
    joined,
    law_design,
    law_distance,
    mean_design,
    means,
    points_over_curve,
    relative_variances,
    variance_design,
)
from theory.finite_width import NtkMoments, ntk_moments
from theory.finite_width_laws import linear_ntk_cdf, relu_ntk_diagonal_cdf

Array = NDArray[np.float64]
Relation = Callable[[Array], Array]
WIDTHS = (64, 256, 1024)

# Next order of the expansions in 1/m at 8° … 167°, from the cumulants up to the fourth of one neuron:
# |E cos θ̂_h − cos θ_h − b/m| ≤ 0.35/m² and E(cos θ̂_h − cos θ_h)² = (V/m)(1 + C/m) with |C| ≤ 4; excess kurtosis of cos θ̂_h ≤ 300/m.
SECOND_BIAS, SECOND_VARIANCE, COSINE_KURTOSIS = 0.35, 4.0, 300.0

# Distribution functions are interpolated between 401 points on at most 12 standard deviations: (12/400)²/8 · max|φ′| = 2.8e-5, a
# thousandth of what the number of networks resolves.
POINTS, INTERPOLATION = 401, 3e-5


@pytest.mark.claim("G1")
@pytest.mark.regime("network at initialisation", "unit pairs")
@pytest.mark.experiments(*(f"kernels-linear-depth-1-width-{m}" for m in WIDTHS))
def test_linear_network_keeps_angles(agreement: Agreement) -> None:
    kernels, rate = measured(agreement, "linear"), agreement.error_rate
    theta, K, n = kernels.theta, kernels.K, kernels.K.shape[1]
    moments = [ntk_moments(theta, width=m, activation="linear") for m in WIDTHS]
    judge_mean(agreement, K, moments, prediction=2 * np.cos(theta), name="E K(x, z)/(‖x‖‖z‖) against 2 cos θ_d, every width")

    judge_theory(agreement, moments, variance=1 + 3 * np.cos(theta) ** 2)
    # √m(K − E K) has variance 1 + 3c² and excess kurtosis 6/m at every width, so that the widths are pooled.
    pooled = pool(K, mean=2 * np.cos(theta))
    kurtosis = np.full(len(theta), np.mean([6 / m for m in WIDTHS]))
    design = variance_design(kurtosis, n_seeds=len(pooled), error_rate=rate)
    assert np.any(design.detectable() < 1 / 3)  # power: at θ_d = 0 and π, 4 is a third more than 3
    for judge_it, name, claimed in (
        (agreement.check, "m Var K(x, z) against 1 + 3cos²θ_d", 1 + 3 * np.cos(theta) ** 2),
        (agreement.control, "m Var K(x, z) against 1 + 2cos²θ_d", 1 + 2 * np.cos(theta) ** 2),
    ):
        estimate = relative_variances(pooled, variance=claimed, excess_kurtosis=kurtosis, error_rate=rate)
        judge_it(name, prediction=1.0, estimate=estimate, margin={"sampling": design.margin})

    # Put into its distribution function, K becomes uniform at every width: the widths are pooled again.
    for judge_it, name, convention in (
        (agreement.check, "distance of the law of m K from ½(1+c)χ²_m − ½(1−c)χ²_m′ + cχ²_m″", "eq7"),
        (agreement.control, "the same with the kernel in the scale of Eq. (2) [B]", "eq2-literal"),
    ):
        levels = agreement.kept(
            "levels in the linear network's law",
            partial(linear_levels, K, theta, convention=convention),
            values=hashlib.sha256(K.tobytes()).hexdigest(),
            angles=theta.tolist(),
            convention=convention,
        )["levels"]
        law = joined([law_distance(level, lambda u: u, error_rate=rate / len(levels)) for level in levels])
        sampling = law_design(n_seeds=3 * n, error_rate=rate / len(levels)).margin
        judge_it(name, prediction=0.0, estimate=law, margin={"sampling": sampling, "interpolation": INTERPOLATION})

    judge_angles(agreement, kernels, moments, printed=np.cos, wrong=equation_16, wrong_name="the ReLU relation (16)")
    # Identical and opposite inputs: ∇h is odd in x, so that θ_h is 0 and π in every network.
    agreement.check(
        "cos θ_h at θ_d = 0 and π, every network",
        prediction=np.array([1.0, -1.0]),
        estimate=exact(kernels.cosine[:, :, [0, -1]], n_seeds=3 * n),
        margin={"rounding": 4 * max(WIDTHS) * np.finfo(np.float64).eps},
    )


@pytest.mark.claim("G2")
@pytest.mark.regime("network at initialisation", "unit pairs")
@pytest.mark.experiments(*(f"kernels-relu-depth-1-width-{m}" for m in WIDTHS))
def test_relu_network_follows_equation_16(agreement: Agreement) -> None:
    kernels, rate = measured(agreement, "relu"), agreement.error_rate
    theta, K, n = kernels.theta, kernels.K, kernels.K.shape[1]
    moments = [ntk_moments(theta, width=m, activation="relu") for m in WIDTHS]
    printed, doubled = equation_16(theta), one_over_pi(theta)
    judge_mean(agreement, K, moments, prediction=printed, name="E K(x, z)/(‖x‖‖z‖) against Eq. (23), every width", wrong=doubled)

    # The excess kurtosis of a mean of m neurons is that of one neuron over m; θ_d = π is left out, where K = 0 in every network.
    inner = slice(0, -1)
    c, s, P = np.cos(theta), np.sin(theta), np.pi - theta
    kurtosis = neuron_kurtosis(theta[inner]) * np.mean([1 / m for m in WIDTHS])
    pooled = pool(K, mean=printed)[:, inner]
    design = variance_design(kurtosis, n_seeds=len(pooled), error_rate=rate)
    variance = ((5 * s * c + P * (1 + 7 * c**2)) / (2 * np.pi) - printed**2)[inner]
    linear = 1 + 3 * c[inner] ** 2
    judge_theory(agreement, moments, variance=np.append(variance, 0.0))
    assert np.any(design.detectable() < 1 - variance / linear)  # power
    for judge_it, name, claimed in (
        (agreement.check, "m Var K(x, z) against [5sc + P(1 + 7c²)]/(2π) − μ²", variance),
        (agreement.control, "m Var K(x, z) against the linear network's 1 + 3c²", linear),
    ):
        estimate = relative_variances(pooled, variance=claimed, excess_kurtosis=kurtosis, error_rate=rate)
        judge_it(name, prediction=1.0, estimate=estimate, margin={"sampling": design.margin})

    sampling = law_design(n_seeds=3 * n, error_rate=rate).margin
    for judge_it, name, convention in (
        (agreement.check, "distance of the law of m K(x, x) from χ²_2N, N ~ Bin(m, ½)", "eq7"),
        (agreement.control, "the same with the kernel in the scale of Eq. (2) [B]", "eq2"),
    ):
        levels = levels_of(kernels.diagonal, lambda k, m, convention=convention: relu_ntk_diagonal_cdf(k, width=m, convention=convention))
        judge_it(
            name,
            prediction=0.0,
            estimate=law_distance(levels, lambda u: u, error_rate=rate),
            margin={"sampling": sampling, "interpolation": INTERPOLATION},
        )

    judge_angles(agreement, kernels, moments, printed=equation_16, wrong=one_over_pi, wrong_name="1/π in place of 1/(2π)")
    # Opposite inputs open disjoint sets of gates: the gradients are orthogonal in every network.
    agreement.check(
        "cos θ_h at θ_d = 0 and π, every network",
        prediction=np.array([1.0, 0.0]),
        estimate=exact(kernels.cosine[:, :, [0, -1]], n_seeds=3 * n),
        margin={"rounding": 4 * max(WIDTHS) * np.finfo(np.float64).eps},
    )


def equation_16(theta: Array) -> Array:
    """Cosine of θ_h as printed in Eq. (16) [A]."""
    return (np.pi - theta) / np.pi * np.cos(theta) + np.sin(theta) / (2 * np.pi)


def one_over_pi(theta: Array) -> Array:
    """Eq. (16) [A] with 1/π in place of 1/(2π): the negative control."""
    return equation_16(theta) + np.sin(theta) / (2 * np.pi)


@dataclass(frozen=True)
class Kernels:
    """Tangent kernels of random networks at the widths `WIDTHS`, unit inputs, in the scale of Eq. (6), (7) [A].

    Attributes:
        theta: input angles θ_d ``[angle]``, the first 0 and the last π.
        K: K(x, z) ``[width, seed, angle]``.
        diagonal: K(x, x) ``[width, seed]``.
        cosine: cos θ_h ``[width, seed, angle]``.
    """

    theta: Array
    K: Array
    diagonal: Array
    cosine: Array


def measured(agreement: Agreement, activation: str) -> Kernels:
    """The stored samples of one activation; ReLU networks are those of Eq. (2) [B], which at L = 1 are √2 times Eq. (7) [A]."""
    samples = [agreement.measure(f"kernels-{activation}-depth-1-width-{m}") for m in WIDTHS]
    scale = 2.0 if activation == "relu" else 1.0
    xx, xz, zz = (np.stack([sample[f"kernel_{pair}"].values for sample in samples]) / scale for pair in ("xx", "xz", "zz"))
    return Kernels(theta=samples[0].angle.values, K=xz, diagonal=xx[:, :, 0], cosine=xz / np.sqrt(xx * zz))


def judge_theory(agreement: Agreement, moments: Sequence[NtkMoments], *, variance: Array) -> None:
    """The package's own moments are those of the formula that the networks are judged by: a dozen operations on numbers up to 4."""
    agreement.check(
        "m Var K(x, z) of the theory's moments against the same formula, every width",
        prediction=np.tile(variance, 3),
        estimate=exact(np.concatenate([m * moment.variance for m, moment in zip(WIDTHS, moments, strict=True)])),
        margin={"rounding": 12 * 4 * np.finfo(np.float64).eps},
    )


def pool(K: Array, *, mean: Array) -> Array:
    """The deviations √m(K − E K) of all widths together ``[width · seed, angle]``."""
    scaled = np.sqrt(np.array(WIDTHS))[:, None, None] * (K - mean)
    return scaled.reshape(-1, K.shape[-1])


def linear_levels(K: Array, theta: Array, *, convention: str) -> dict[str, list[Array]]:
    """K ``[width, seed, angle]`` in the distribution functions of a linear network ``[angle, width · seed]``."""
    laws = [partial(linear_ntk_cdf, theta=angle, convention=convention) for angle in theta]
    return {"levels": [levels_of(K[:, :, a], lambda k, m, law=law: law(k, width=m)) for a, law in enumerate(laws)]}


def levels_of(values: Array, law: Callable[[Array, int], Array]) -> Array:
    """Values ``[width, seed]`` in the distribution functions of their widths, flat; by linear interpolation between `POINTS` points."""
    levels = []
    for row, m in zip(values, WIDTHS, strict=True):
        points = np.linspace(row.min(), row.max(), POINTS)
        levels.append(np.interp(row, points, law(points, m)))
    return np.clip(np.concatenate(levels), 0.0, 1.0)


def neuron_kurtosis(theta: Array) -> Array:
    """Excess kurtosis ``[k]`` of one neuron's term T = 1{p>0}1{q>0}(pq + v²c) in K(x, z).

    In polar coordinates pq = r² sinψ sin(P − ψ) on the wedge 0 < ψ < P = π − θ of probability P/2π, with E r^{2j} = 2^j j! and
    E v^{2i} = (2i − 1)!!; the integrals over ψ of trigonometric polynomials of degree 16 at most by 24 Gauss-Legendre nodes.
    """
    nodes, weights = np.polynomial.legendre.leggauss(24)
    P = np.pi - theta
    psi = P[:, None] / 2 * (nodes + 1)
    product, c = np.sin(psi) * np.sin(P[:, None] - psi), np.cos(theta)[:, None]
    moments = [
        P
        / (4 * np.pi)
        * (
            weights
            * sum(comb(k, j) * 2**j * factorial(j) * product**j * prod(range(1, 2 * (k - j), 2)) * c ** (k - j) for j in range(k + 1))
        ).sum(1)
        for k in range(1, 5)
    ]
    first, second, third, fourth = moments
    central = fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4
    return central / (second - first**2) ** 2 - 3


def judge_mean(
    agreement: Agreement, K: Array, moments: Sequence[NtkMoments], *, prediction: Array, name: str, wrong: Array | None = None
) -> None:
    """The mean of K(x, z) at every width and angle, with the exact standard deviation of each; angles where K is constant are left out."""
    varies = moments[0].variance > 1e-12
    samples = np.concatenate([K[w][:, varies] for w in range(len(WIDTHS))], axis=1)
    sigma = np.sqrt(np.concatenate([moment.variance[varies] for moment in moments]))
    design = mean_design(sigma, n_seeds=len(samples), error_rate=agreement.error_rate)
    estimate = means(samples, sigma=sigma, error_rate=agreement.error_rate)
    agreement.check(name, prediction=np.tile(prediction[varies], 3), estimate=estimate, margin={"sampling": design.margin})
    if wrong is not None:
        assert np.any(design.detectable() < np.abs(np.tile((prediction - wrong)[varies], 3)))
        agreement.control(
            f"{name}, 1/π in place of 1/(2π)", prediction=np.tile(wrong[varies], 3), estimate=estimate, margin={"sampling": design.margin}
        )


def judge_angles(
    agreement: Agreement, kernels: Kernels, moments: Sequence[NtkMoments], *, printed: Relation, wrong: Relation, wrong_name: str
) -> None:
    """The rate at which cos θ_h approaches the printed value, and the value that it approaches, at the angles between 0 and π."""
    theta = kernels.theta[1:-1]
    cosines, limit = kernels.cosine[:, :, 1:-1], printed(theta)
    k, n, widths = len(limit), cosines.shape[1], np.array(WIDTHS, dtype=float)
    rates = [
        rate_in_width(WIDTHS, list(cosines[:, :, a]), statistic="rms", target=float(limit[a]), error_rate=agreement.error_rate / k)
        for a in range(k)
    ]

    # Exponent −½. ln rms has standard error ½√((2 + excess kurtosis)/n), and C/m in the mean square shifts it by C/2m.
    error = np.sqrt((2 + COSINE_KURTOSIS / widths) / n) / 2
    slope, _ = line_coefficients(np.log(widths), error)
    design = mean_design(np.full(k, np.sqrt(n) * np.sqrt((slope**2 * error**2).sum())), n_seeds=n, error_rate=agreement.error_rate)
    finite = (np.abs(slope) * SECOND_VARIANCE / (2 * widths)).sum()
    assert np.all(design.detectable(finite=finite) < 0.25)  # power: the neighbouring exponents are −1/4 and −1
    exponent = joined([one.exponent for one in rates])
    margin = {"finite width": finite, "sampling": design.margin}
    agreement.check("exponent of the approach of cos θ_h in the width", prediction=-0.5, estimate=exponent, margin=margin)
    agreement.control("exponent −1/4", prediction=-0.25, estimate=exponent, margin=margin)
    agreement.control("exponent −1", prediction=-1.0, estimate=exponent, margin=margin)

    # Limit: the bias b/m is removed by the line in 1/m, what is left of order 1/m² is a term of the margin.
    error = np.sqrt(np.array([moment.cosine_variance[1:-1] for moment in moments]) / n)
    _, intercept = line_coefficients(1 / widths, error[:, 0] / error[0, 0])
    design = mean_design(np.sqrt(n) * np.sqrt((intercept[:, None] ** 2 * error**2).sum(axis=0)), n_seeds=n, error_rate=agreement.error_rate)
    finite = (np.abs(intercept) * SECOND_BIAS / widths**2).sum()
    assert np.any(design.detectable(finite=finite) < np.abs(wrong(theta) - limit))
    margin = {"second order in 1/m": finite, "sampling": design.margin}
    estimate = joined([one.limit for one in rates])
    agreement.check("limit of cos θ_h as the width grows", prediction=limit, estimate=estimate, margin=margin)
    agreement.control(f"limit of cos θ_h against {wrong_name}", prediction=wrong(theta), estimate=estimate, margin=margin)
    agreement.figure(
        "comparison",
        title=f"{agreement.claim.title}: cosine of the angle between gradients",
        caption=f"Means of {n} networks at each width ({', '.join(map(str, WIDTHS))}), extrapolated, over the printed relation.",
        arrays=points_over_curve(
            "cos θ_h", np.degrees(theta), estimate, finite + design.margin, lambda x: printed(np.radians(x)), np.linspace(0, 180, 31)
        ),
        labels={"x": "angle between the inputs, θ_d (degrees)", "y": "cos θ_h"},
    )


def line_coefficients(x: Array, error: Array) -> tuple[Array, Array]:
    """Coefficients ``[k]`` of the observations in slope and intercept of the weighted least-squares line."""
    weight = error**-2.0
    centre = (weight * x).sum() / weight.sum()
    slope = weight * (x - centre) / (weight * (x - centre) ** 2).sum()
    return slope, weight / weight.sum() - slope * centre
