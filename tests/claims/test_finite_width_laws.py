"""Finite-width laws in one place (X11): spread of the kernel, tails of the output, and their growth with depth, in plain random networks.

Rows G1, G2, G8, S6 judge the same laws on the package's own networks; here the networks are a few lines of NumPy.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval, rate_in_width, variance_interval
from reports.evidence import Agreement
from tests.support.estimates import at_once, joined, mean_design, variance_design
from theory.finite_width import ntk_moments
from theory.finite_width_depth import diagonal_moments

Array = NDArray[np.float64]
WIDTHS = (16, 64, 256)
THETA = 1.0
DRAWS = 6000
# Excess kurtosis of K(x, z), a mean of m terms whose own is below 128: at most 8 at m ≥ 16.
KURTOSIS = 8.0


def shallow_kernels(rng: np.random.Generator, width: int, *, linear: bool) -> Array:
    """K(x, z) of networks of Eqs. (6), (7) [A], one hidden layer, unit inputs at the angle `THETA` ``[DRAWS]``."""
    x, z = np.array([1.0, 0.0]), np.array([np.cos(THETA), np.sin(THETA)])
    first, last = rng.normal(size=(DRAWS, width, 2)), rng.normal(size=(DRAWS, width))
    p, q = first @ x, first @ z
    if linear:
        return (p * q + last**2 * (x @ z)).mean(axis=1)
    return ((p > 0) * (q > 0) * (p * q + last**2 * (x @ z))).mean(axis=1)


def deep_kernels(rng: np.random.Generator, depth: int, width: int, draws: int) -> Array:
    """K(x, x) of networks of Eq. (2) [B] by forward and backward pass, unit input ``[draws]``."""
    found = []
    for _ in range(draws // 250):
        weights = [rng.normal(size=(250, width, width)) for _ in range(depth - 1)]
        # The first layer on a unit input is a vector of independent normal numbers.
        before = rng.normal(size=(250, width))
        outputs, gates = [np.ones((250, 1))], []
        for layer in range(depth):
            if layer:
                before = np.einsum("rij,rj->ri", weights[layer - 1], outputs[-1])
            gates.append(before > 0)
            outputs.append(np.sqrt(2 / width) * np.maximum(before, 0))
        kernel = (outputs[-1] ** 2).sum(axis=1)
        signal = rng.normal(size=(250, width))
        for layer in reversed(range(depth)):
            signal = signal * gates[layer] * np.sqrt(2 / width)
            kernel = kernel + (signal**2).sum(axis=1) * (outputs[layer] ** 2).sum(axis=1)
            if layer:
                signal = np.einsum("rij,ri->rj", weights[layer - 1], signal)
        found.append(kernel)
    return np.concatenate(found)


def squared_output_norms(rng: np.random.Generator, depth: int, width: int, draws: int) -> Array:
    """‖α^L‖² of Eq. (2) [B], unit input ``[draws]``: rows of W^l are normal, so that W^l α is ‖α‖ times independent normal numbers."""
    square = np.ones(draws)
    for _ in range(depth):
        square = square * 2 / width * (np.maximum(rng.normal(size=(draws, width)), 0) ** 2).sum(axis=1)
    return square


def log_normal_kurtosis(relative_variance: float) -> float:
    """Excess kurtosis of a log-normal number, to which a product of many layers' factors tends: e^(4s) + 2e^(3s) + 3e^(2s) − 6."""
    q = 1 + relative_variance
    return q**4 + 2 * q**3 + 3 * q**2 - 6


@pytest.mark.claim("X11")
@pytest.mark.regime("network at initialisation", "one hidden layer, unit pairs")
def test_spread_of_the_kernel_over_widths(agreement: Agreement) -> None:
    """Exponent and constant of sd K(x, z) at m = 16, 64, 256, linear and ReLU."""
    rate = agreement.error_rate
    logs = np.log(WIDTHS)
    # ln sd has standard error ½√((2 + excess kurtosis)/n); the slope divides by the spread of ln m.
    error = 0.5 * np.sqrt((2 + KURTOSIS) / DRAWS) / np.sqrt(((logs - logs.mean()) ** 2).sum())
    half_width = float(mean_design(error, n_seeds=1, error_rate=rate).half_width)
    margin = {"networks": 2 * half_width}
    assert 4 * half_width < 0.25, "the design must tell −½ from −¼"
    for name, linear in (("linear", True), ("ReLU", False)):
        samples = [shallow_kernels(agreement.rng, width, linear=linear) for width in WIDTHS]
        exponent = rate_in_width(WIDTHS, samples, error_rate=rate).exponent
        agreement.check(f"{name}: exponent of sd K(x, z) in the width", prediction=-0.5, estimate=exponent, margin=margin)
        for wrong in (-0.25, -1.0):
            agreement.control(f"{name}: exponent {wrong:g}", prediction=wrong, estimate=exponent, margin=margin)
        activation = "linear" if linear else "relu"
        variance = [
            ntk_moments(THETA, width=width, activation=activation, convention="eq6" if linear else "eq7").variance for width in WIDTHS
        ]
        ratios = joined(
            [
                variance_interval(part / np.sqrt(claimed), error_rate=rate / len(WIDTHS))
                for part, claimed in zip(samples, variance, strict=True)
            ]
        )
        law = {"networks": variance_design(np.full(len(WIDTHS), KURTOSIS), n_seeds=DRAWS, error_rate=rate).margin}
        agreement.check(f"{name}: Var K(x, z) over its exact value", prediction=1, estimate=ratios, margin=law)
        agreement.control(f"{name}: a dropped √2 in each layer, 4 Var K", prediction=0.25, estimate=ratios, margin=law)


@pytest.mark.claim("X11")
@pytest.mark.regime("network at initialisation", "several hidden layers")
def test_tails_of_the_output_and_spread_over_depth(agreement: Agreement) -> None:
    """Tails kurt h = 3(1 + 5/m)^L and spread Var K(x, x)/E²K = L(11L + 7)/(3(L + 1)m) at m = 64."""
    rate, width, draws, pilots = agreement.error_rate, 64, 40_000, 4_000
    depths = (1, 2, 3)

    # E[h⁴ | α^L] = 3‖α^L‖⁴ for a normal last layer, and E‖α^L‖² = 1: the mean of 3‖α^L‖⁴ is the kurtosis of h.
    def fourth_powers(rng: np.random.Generator) -> dict[str, Array]:
        return {"norms": np.stack([3 * squared_output_norms(rng, depth, width, draws + pilots) ** 2 for depth in depths], axis=1)}

    norms = agreement.drawn("fourth powers", fourth_powers, draws=draws + pilots)["norms"]
    pilot, judged = norms[draws:], norms[:draws]
    estimate = at_once(mean_interval(judged, error_rate=rate / len(depths)))
    margin = {"networks": 1.25 * mean_design(pilot.std(axis=0), n_seeds=draws, error_rate=rate).margin}
    kurtosis = np.array([3 * (1 + 5 / width) ** depth for depth in depths])
    stated = np.array([diagonal_moments(depth=depth, width=width).logit_kurtosis for depth in depths])
    agreement.check(
        "3(1 + 5/m)^L against the moments' recursion",
        prediction=kurtosis,
        estimate=exact(stated),
        margin={"rounding": 1e2 * np.finfo(float).eps},
    )
    agreement.check(f"kurtosis of h at m = {width}, L = 1, 2, 3", prediction=kurtosis, estimate=estimate, margin=margin)
    agreement.control("kurtosis 3: a normal output", prediction=3, estimate=estimate, margin=margin)

    number = 6000
    ratios, further, tails = [], [], []
    for depth in depths[1:]:
        moments = diagonal_moments(depth=depth, width=width)
        claimed = moments.relative_variance_limit / width

        def kernels(rng: np.random.Generator, depth: int = depth) -> dict[str, Array]:
            return {"kernels": deep_kernels(rng, depth, width, number)}

        samples = agreement.drawn(f"kernels, L = {depth}", kernels, draws=number)["kernels"]
        ratios.append(variance_interval(samples / moments.mean / np.sqrt(claimed), error_rate=rate / 2))
        # Second order in 1/m, from the exact recursion.
        further.append(abs(moments.relative_variance / claimed - 1))
        tails.append(log_normal_kurtosis(moments.relative_variance))
    law = variance_design(np.array(tails), n_seeds=number, error_rate=rate).margin
    terms = {"second order in 1/m": np.array(further), "networks": law}
    together = joined(ratios)
    agreement.check(f"Var K(x, x)/E²K at m = {width}, L = 2, 3, over its law", prediction=1, estimate=together, margin=terms)
    # 3/m at every depth, in units of the law: 3·3(L + 1)/(L(11L + 7)).
    flat = np.array([9 * (depth + 1) / (depth * (11 * depth + 7)) for depth in depths[1:]])
    agreement.control("3/m at every depth", prediction=flat, estimate=together, margin=terms)
    agreement.control("1/m² for 1/m", prediction=1 / width, estimate=together, margin=terms)
