"""Fig. 2 [A], [B] and p. 4 [A]: deep networks follow the limit curve of their depth; K(x, x) has exact moments at every width."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import stdtrit

from empirical.inference import exact, mean_interval, rate_in_width, variance_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.estimates import at_once, joined, mean_design, means, variance_design
from theory.angles import cos_gradient_angle
from theory.finite_width import ntk_moments
from theory.finite_width_depth import diagonal_moments

Array = NDArray[np.float64]

# Position of a network's curve cos θ_h on the way from the limit of its own depth (0) to that of the next depth (1). Its standard deviation
# in one ReLU network of width 512, at most; half of the way is allowed, and finite width takes a few hundredths of it (its bias is O(L/m)).
SCATTER, HALF_WAY = {1: 0.1, 2: 0.2, 3: 0.4, 4: 0.65}, 0.5
SHOWN = (1, 2, 4)  # hidden layers of Fig. 2; the papers' 2, 3 and 5 layers
WIDTHS = (64, 128, 256)

# Bias of cos θ_h of second order at L = 1, 0.35/m² (tests/claims/test_theorem_3_1.py); with L layers in a row it grows as L².
SECOND_BIAS = 0.35

# Networks whose diagonal kernel is sampled: narrow, so that the terms beyond the leading one count.
NARROW, CHUNK = 32, 4000
DRAWS = {"quick": 24_000, "standard": 96_000, "full": 384_000}


@pytest.mark.claim("G8")
@pytest.mark.regime("networks at initialisation, width 512", "unit circle")
@pytest.mark.experiments(*(f"figure-2-relu-depth-{depth}" for depth in SHOWN))
def test_curves_of_figure_2(agreement: Agreement) -> None:
    """Each curve is that of its own depth, and its scatter over networks is of the order m^(−1/2) that row G2 has at one hidden layer.

    "Of order one", said of sd(cos θ_h)·√m, is read off the neighbouring exponents −1/4 and −1: on a logarithmic scale no further from its
    value than half of the way to the nearer one, a factor m^(1/8) = 2.2 of the standard deviation at m = 512. Its value is known at L = 1;
    L layers in a row scatter like L of them at most, and that is taken for L = 2 and 4. A scatter 5 times larger or smaller is rejected.
    """
    rate, m, spreads = agreement.error_rate, 512, []
    for depth in SHOWN:
        sample = agreement.measure(f"figure-2-relu-depth-{depth}")
        theta, n = sample.angle.values, sample.sizes["seed"]
        cosine = np.asarray((sample.kernel_xz / np.sqrt(sample.kernel_xx * sample.kernel_zz)).values)
        position = mean_interval(on_the_way(theta, cosine, depth), error_rate=rate)
        half_width = -stdtrit(n - 1, rate / 2) * SCATTER[depth] / np.sqrt(n)
        assert HALF_WAY + 2 * half_width < 1  # power: the curve of the next depth is rejected
        margin = {"half of the way": HALF_WAY}
        agreement.check(f"curve of L = {depth} (0) or of L = {depth + 1} (1)", prediction=0, estimate=position, margin=margin)
        agreement.control(f"L = {depth} taken for L = {depth + 1}", prediction=1, estimate=position, margin=margin)
        spreads.append(variance_interval(np.sqrt(m) * cosine[:, np.argmin(np.abs(theta - 1))], error_rate=rate / len(SHOWN)))
    shown = theta[np.argmin(np.abs(theta - 1))]
    level = m * float(ntk_moments(np.array([shown]), width=m).cosine_variance[0]) * np.array(SHOWN, dtype=float)
    order_one = Range(level * m**-0.25, level * m**0.25)  # of a variance: the square of m^(1/8)
    estimate, none = joined(spreads), {"none": 0.0}
    agreement.check(f"m Var cos θ_h at θ_d = {shown:.2f}, L = 1, 2, 4: of order one", prediction=order_one, estimate=estimate, margin=none)
    for text, power in (("√m Var cos θ_h", -0.5), ("m² Var cos θ_h", 1.0)):
        other = replace(estimate, **{end: m**power * getattr(estimate, end) for end in ("value", "lower", "upper")})
        agreement.control(f"{text}: of order one", prediction=order_one, estimate=other, margin=none)


@pytest.mark.claim("G8")
@pytest.mark.regime("network at initialisation", "unit pairs")
@pytest.mark.experiments(*(f"kernels-relu-depth-{depth}-width-{m}" for depth in (2, 3) for m in WIDTHS))
def test_deep_curves_are_approached_as_the_width_grows(agreement: Agreement) -> None:
    """The bias of order L/m is removed by extrapolation; what is left is the recursion with L, not with L + 1."""
    rate, widths = agreement.error_rate, np.array(WIDTHS, dtype=float)
    for depth in (2, 3):
        samples = [agreement.measure(f"kernels-relu-depth-{depth}-width-{m}") for m in WIDTHS]
        theta = samples[0].angle.values[1:-1]
        cosines = [np.asarray((s.kernel_xz / np.sqrt(s.kernel_xx * s.kernel_zz)).values)[:, 1:-1] for s in samples]
        way = way_to_next(theta, depth)
        approach = rate_in_width(WIDTHS, [on_the_way(theta, c, depth) for c in cosines], statistic="sd", error_rate=rate)

        # Numbers of networks halve from width to width and so do their variances: the three means have about one standard error.
        counts = np.array([len(c) for c in cosines], dtype=float)
        centred = 1 / widths - np.mean(1 / widths)
        intercept = 1 / 3 - np.mean(1 / widths) * centred / np.sum(centred**2)
        scatter = SCATTER[depth] * np.sqrt(512 / widths)
        half_width = 4.75 * float(np.sqrt(np.sum(intercept**2 * scatter**2 / counts)))
        finite = float(np.sum(np.abs(intercept) * SECOND_BIAS * depth**2 / widths**2) * np.sum(np.abs(way)) / np.sum(way**2))
        assert 4 * half_width + finite < 1
        margin = {"second order in 1/m": finite, "sampling": 2 * half_width}
        name = f"limit curve: L = {depth} (0) or L = {depth + 1} (1)"
        agreement.check(name, prediction=0, estimate=approach.limit, margin=margin)
        agreement.control(f"{name}, taken for the latter", prediction=1, estimate=approach.limit, margin=margin)


@pytest.mark.claim("G8")
@pytest.mark.regime("network at initialisation, width 32", "one input")
def test_moments_of_the_diagonal_kernel(agreement: Agreement) -> None:
    depths, draws, rate = (1, 2, 3), DRAWS[agreement.tier], agreement.error_rate
    K = agreement.drawn("diagonal kernels", partial(diagonal_kernels_of_depths, depths, draws), draws=draws)["kernels"]
    theirs = [diagonal_moments(depth=depth, width=NARROW) for depth in (*depths, 4)]
    variance, relative = np.array([[one.variance, one.relative_variance] for one in theirs]).T
    design = mean_design(np.sqrt(variance[:-1]), n_seeds=draws, error_rate=rate)
    agreement.check(
        "E K(x, x) against L + 1, L = 1, 2, 3",
        prediction=np.array(depths) + 1.0,
        estimate=means(K, sigma=np.sqrt(variance[:-1]), error_rate=rate),
        margin={"sampling": design.margin},
    )
    # Planned with two thirds of the excess kurtosis of a log-normal variable of the same relative variance; K is lighter-tailed.
    s = np.log1p(relative[:-1])
    kurtosis = (np.exp(4 * s) + 2 * np.exp(3 * s) + 3 * np.exp(2 * s) - 6) * 2 / 3
    design = variance_design(kurtosis, n_seeds=draws, error_rate=rate)
    estimate = at_once(variance_interval(np.sqrt(NARROW) * K / (np.array(depths) + 1.0), error_rate=rate / len(depths)))
    prediction, wrong = NARROW * relative[:-1], NARROW * relative[1:]
    assert np.any(design.detectable() * prediction < wrong - prediction)  # power: the law of the next depth
    margin = {"sampling": design.margin * prediction}
    agreement.check("m Var K(x, x)/(E K)², exact at m = 32", prediction=prediction, estimate=estimate, margin=margin)
    agreement.control("the same with L + 1 in place of L", prediction=wrong, estimate=estimate, margin=margin)

    # The leading term, and the pairs of layers l, l′ from which it comes: E K² = Σ_{l,l′} [1 + (5(L − |l − l′|) + |l − l′|)/m] + O(1/m²).
    every = np.arange(1, 13)
    printed = every * (11 * every + 7) / (3 * (every + 1))
    pairs = [sum(5 * (L - abs(i - j)) + abs(i - j) for i in range(L + 1) for j in range(L + 1)) / (L + 1) ** 2 for L in every.tolist()]
    rounding = 1e-14 * printed
    agreement.check(
        "L(11L + 7)/(3(L + 1)) against its sum over pairs of layers", prediction=printed, estimate=exact(pairs), margin=rounding
    )
    wide, wider = (np.array([m * diagonal_moments(depth=L, width=m).relative_variance for L in every.tolist()]) for m in (10_000, 20_000))
    # 2f(2m) − f(m) removes the term of order 1/m; what is left is of the order of its square.
    agreement.check(
        "lim m Var K/(E K)² of the exact moments, L = 1 … 12",
        prediction=printed,
        estimate=exact(2 * wider - wide),
        margin={"second order": 4 * (wide - wider) ** 2 / printed, "rounding": rounding},
    )
    agreement.control(
        "11L − 7 in place of 11L + 7", prediction=printed - 14 * every / (3 * (every + 1)), estimate=exact(pairs), margin=rounding
    )
    agreement.figure(
        "comparison",
        title="Relative variance of K(x, x) by depth, width 32",
        caption="m Var K/(E K)² of sampled networks over the exact moments at m = 32; the leading term lies below them at L = 2 and 3.",
        arrays={
            "exact, m = 32/x": np.array(depths, dtype=float),
            "exact, m = 32/prediction": prediction,
            "exact, m = 32/measured": np.asarray(estimate.value),
            "exact, m = 32/lower": np.asarray(estimate.lower),
            "exact, m = 32/upper": np.asarray(estimate.upper),
            "exact, m = 32/margin": margin["sampling"],
            "leading term/x": every[: len(depths)].astype(float),
            "leading term/prediction": printed[: len(depths)],
        },
        labels={"x": "hidden layers L", "y": "m Var K/(E K)²"},
    )


def way_to_next(theta: Array, depth: int) -> Array:
    """From the limit curve of L hidden layers to that of L + 1 ``[angle]``."""
    return np.asarray(cos_gradient_angle(theta, depth=depth + 1) - cos_gradient_angle(theta, depth=depth))


def on_the_way(theta: Array, cosine: Array, depth: int) -> Array:
    """Position ``[seed]`` of measured curves ``[seed, angle]``: 0 on the limit of their depth, 1 on that of the next."""
    way = way_to_next(theta, depth)
    return np.asarray((cosine - cos_gradient_angle(theta, depth=depth)) @ way / (way @ way))


def diagonal_kernels_of_depths(depths: tuple[int, ...], draws: int, rng: np.random.Generator) -> dict[str, Array]:
    """K(x, x) of networks of each depth ``[draws, depth]``."""
    return {"kernels": np.stack([diagonal_kernels(rng, depth=depth, width=NARROW, draws=draws) for depth in depths], axis=1)}


def diagonal_kernels(rng: np.random.Generator, *, depth: int, width: int, draws: int) -> Array:
    """K(x, x) of networks of Eq. (2) [B] at one unit input ``[draws]``, written out: Σ_l ‖α^{l−1}‖²‖∂h/∂(W^l α^{l−1})‖²."""
    if draws > CHUNK:
        return np.concatenate([diagonal_kernels(rng, depth=depth, width=width, draws=CHUNK) for _ in range(draws // CHUNK)])
    activations, weights, factor = [np.ones((draws, 1))], [], np.sqrt(2 / width)
    for _ in range(depth):
        weights.append(rng.standard_normal((draws, width, activations[-1].shape[1])))
        activations.append(factor * np.maximum(np.matmul(weights[-1], activations[-1][:, :, None])[:, :, 0], 0))
    signal = rng.standard_normal((draws, width))  # the last matrix is ∂h/∂α^L
    total = (activations[-1] ** 2).sum(axis=1)
    for level in range(depth - 1, -1, -1):
        signal = factor * signal * (activations[level + 1] > 0)
        total += (activations[level] ** 2).sum(axis=1) * (signal**2).sum(axis=1)
        signal = np.matmul(signal[:, None, :], weights[level])[:, 0]
    return np.asarray(total)
