"""Beyond the papers (X1, X2): in collapsed classes α_t obeys a closed recursion, and in continuous time an implicit equation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact
from reports.evidence import Agreement
from tests.support.cases import alpha_by_descent, balanced_clusters
from theory.alpha import alpha_flow, alpha_recursion, cluster_kernel_scale, initial_alpha

Array = NDArray[np.float64]
EPS = np.finfo(float).eps
STEPS = 60


@pytest.mark.claim("X1")
@pytest.mark.regime("fixed kernel", "collapsed classes")
def test_recursion_against_descent_on_all_samples(agreement: Agreement) -> None:
    measured, predicted, printed, off = [], [], [], []
    for noise_level in (0.1, 0.2, 0.3, 0.4):
        for within, between, rate in ((1.0, 0.2, 2.0), (2.0, 0.9, 1.5), (2.0, -0.3, 0.5)):
            case = balanced_clusters(50, within=within, between=between, noise_level=noise_level)
            kappa = cluster_kernel_scale(within, between)
            measured.append(alpha_by_descent(case, learning_rate=rate, steps=STEPS)[:, 1])
            arguments = {"learning_rate": rate, "noise_level": noise_level, "steps": STEPS}
            start = initial_alpha(noise_level)
            predicted.append(alpha_recursion(start, kernel_scale=kappa, **arguments))
            off.append(alpha_recursion(start, kernel_scale=2 * kappa, **arguments))
            printed.append(np.full(STEPS + 1, start))
    # Each step adds n = 100 products: STEPS·n·eps in the logit, and as much again in the ratio of norms.
    margin = {"rounding": 2 * STEPS * 100 * EPS}
    agreement.check("α_t, 60 steps, 12 problems", prediction=np.array(predicted), estimate=exact(np.array(measured)), margin=margin)
    agreement.control("κ = k − k′ for (k − k′)/2", prediction=np.array(off), estimate=exact(np.array(measured)), margin=margin)
    agreement.control("α_t constant", prediction=np.array(printed), estimate=exact(np.array(measured)), margin=margin)
    time = np.arange(STEPS + 1)
    agreement.figure(
        "comparison",
        title="Recursion of α_t against descent on all samples",
        caption="Descent on 100 samples under the lines of the recursion. Their difference is rounding.",
        arrays={
            f"δ = {level}/{column}": values
            for i, level in zip((0, 3, 6, 9), (0.1, 0.2, 0.3, 0.4), strict=True)
            for column, values in (("x", time * 2.0), ("prediction", predicted[i]), ("measured", measured[i]))
        },
        labels={"x": "time η·step", "y": "α_t"},
    )


@pytest.mark.claim("X2")
@pytest.mark.regime("fixed kernel", "collapsed classes")
def test_flow_is_the_limit_of_small_steps(agreement: Agreement) -> None:
    """Descent at η and η/2, extrapolated to η → 0 (its error is linear in η), against the implicit solution."""
    noise_level, within, between, horizon = 0.3, 1.0, 0.2, 20.0
    case = balanced_clusters(50, within=within, between=between, noise_level=noise_level)
    kappa, checked = cluster_kernel_scale(within, between), np.arange(1, 11) / 10

    def descent(steps: int) -> Array:
        path = alpha_by_descent(case, learning_rate=horizon / steps, steps=steps)[:, 1]
        return path[np.rint(checked * steps).astype(int)]

    coarse, middle, fine = (descent(steps) for steps in (500, 1000, 2000))
    first, second = 2 * middle - coarse, 2 * fine - middle
    extrapolated = (4 * second - first) / 3  # removes the terms in η and η²
    predicted = alpha_flow(checked * horizon, alpha0=initial_alpha(noise_level), kernel_scale=kappa, noise_level=noise_level)
    # What is left is of order η³: the last correction, divided by the next power of the step ratio, 7, times a factor 2 for safety;
    # rounding of 2000 steps on 100 samples is amplified by the extrapolation's weights, 8 at most.
    margin = {"step size, next order": 2 * np.abs(second - first).max() / 7, "rounding": 8 * 2000 * 100 * EPS}
    agreement.check("α(t) at ten times", prediction=np.asarray(predicted), estimate=exact(extrapolated), margin=margin)
    wrong = alpha_flow(checked * horizon, alpha0=initial_alpha(noise_level), kernel_scale=kappa, noise_level=noise_level + 0.01)
    agreement.control("δ off by 0.01", prediction=np.asarray(wrong), estimate=exact(extrapolated), margin=margin)
    agreement.control("descent at η taken for flow", prediction=np.asarray(predicted), estimate=exact(coarse), margin=margin)
