"""Beyond the papers (X3): the step sizes at which α_t stays below 1, and at which α = 1 attracts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq

from empirical.inference import exact
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.cases import alpha_by_descent, balanced_clusters
from theory.alpha import cluster_kernel_scale, first_step_overshoot_rate, local_stability_rate, no_overshoot_rate

Array = NDArray[np.float64]
EPS = np.finfo(float).eps
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.48)
# k′ ≤ 0: beside the recursion's direction, with (k − k′)/2, descent has the common one, h_0 + h_1, with (k + k′)/2. For k′ > 0 that is the
# first to become unstable, at η(k + k′)δ(1 − δ)/2 > 2, and rounding then leaves the symmetric solution that the recursion describes.
KERNELS = ((1.0, -0.2), (2.0, -0.9), (2.0, 0.0))
SIZE = 50  # samples per class


def log_alpha(noise_level: float, within: float, between: float, *, rate: float, steps: int, margin: float = 0.0) -> Array:
    """Return ln α_t of class 1 by descent on all samples from logits ±margin, from the segment gradients' own norms ``[steps + 1]``."""
    case = balanced_clusters(SIZE, within=within, between=between, noise_level=noise_level)
    case = replace(case, initial_logits=np.where(case.truth == 1, margin, -margin))
    return np.log(alpha_by_descent(case, learning_rate=rate, steps=steps)[:, 1])


def first_log_alpha(problem: tuple[float, float, float], rate: float) -> float:
    """Return ln α_1 after one step from f = ½."""
    return float(log_alpha(*problem, rate=rate, steps=1)[1])


@pytest.mark.claim("X3")
@pytest.mark.regime("fixed kernel", "collapsed classes")
def test_no_step_beyond_one(agreement: Agreement) -> None:
    """η ≤ 4/κ keeps α below 1 from any start; from f = ½ the first step overshoots exactly above its own bound."""
    steps = 30
    problems = [(noise_level, *kernel) for noise_level in LEVELS for kernel in KERNELS]
    predicted = [first_step_overshoot_rate(cluster_kernel_scale(*kernel), level) for level, *kernel in problems]

    def descents() -> dict[str, list[float]]:
        """Largest ln α_t from three starts at three rates; rate whose first step ends at α = 1; ln α_1 one per cent above the bound."""
        largest, threshold, just_above = [], [], []
        for problem, bound in zip(problems, predicted, strict=True):
            noise_level, *kernel = problem
            top = np.log((1 - noise_level) / noise_level)  # margin at which α = 1
            for share in (0.25, 0.9, 1.0):
                for start in (0.0, -2.0, 0.9 * top):
                    rate = share * no_overshoot_rate(cluster_kernel_scale(*kernel))
                    largest.append(log_alpha(*problem, rate=rate, steps=steps, margin=start).max())
            first = partial(first_log_alpha, problem)
            threshold.append(brentq(first, 0.5 * bound, 2 * bound, xtol=1e-13))
            just_above.append(first(1.01 * bound))
        return {"largest": largest, "threshold": threshold, "just above": just_above}

    largest, threshold, just_above = agreement.kept("descents about the bounds", descents, steps=steps, problems=problems).values()
    # Each step adds n = 100 products, and the ratio of norms as many: 2·n·eps per step, in ln α.
    rounding = {"rounding": 2 * 2 * SIZE * steps * EPS}
    agreement.check(
        f"largest ln α_t at η ≤ 4/κ, {len(largest)} runs from three starts",
        prediction=Range(upper=0),
        estimate=exact(largest),
        margin=rounding,
    )
    # The root in η: rounding of ln α over its slope in η, which is ln α_0 over the root; the ratio removes the slope but for 1/|ln α_0|.
    conditioned = 2 * 2 * SIZE * EPS / abs(np.log(0.48 / 0.52)) + 1e-13 / min(predicted)
    agreement.check(
        "smallest η whose first step overshoots, over ln((1 − δ)/δ)/((½ − δ)κ)",
        prediction=1,
        estimate=exact(np.array(threshold) / np.array(predicted)),
        margin={"rounding": 8 * conditioned},
    )
    agreement.control("one per cent above that bound: no overshoot", prediction=Range(upper=0), estimate=exact(just_above), margin=rounding)
    # 4/κ is sharp: near δ = ½ one per cent more suffices to overshoot (the first step's bound at δ = 0.48 is 4.0021/κ).
    beyond = [log_alpha(0.48, *pair, rate=1.01 * no_overshoot_rate(cluster_kernel_scale(*pair)), steps=1)[1] for pair in KERNELS]
    agreement.control(
        "one per cent above 4/κ at δ = 0.48: no overshoot", prediction=Range(upper=0), estimate=exact(np.array(beyond)), margin=rounding
    )
    agreement.control(
        "4/κ for that bound at every δ",
        prediction=np.array([no_overshoot_rate(cluster_kernel_scale(*pair)) for _ in LEVELS for pair in KERNELS]) / np.array(predicted),
        estimate=exact(np.array(threshold) / np.array(predicted)),
        margin={"rounding": 8 * conditioned},
    )


@pytest.mark.claim("X3")
@pytest.mark.regime("fixed kernel", "collapsed classes near α = 1")
def test_multiplier_at_the_fixed_point(agreement: Agreement) -> None:
    """Near α = 1, ln α is multiplied by 1 − ηκδ(1 − δ) in every step: monotone to 1/(κδ(1 − δ)), stable to twice that."""
    offset = 1e-4
    measured, predicted, curvature, global_rate, grown, diverged, alternating = [], [], [], [], [], [], []
    within, between = KERNELS[1]
    kappa = cluster_kernel_scale(within, between)
    for noise_level in LEVELS:
        start = np.log((1 - noise_level) / noise_level) - offset
        stable = local_stability_rate(kappa, noise_level)
        for share in (0.1, 0.45, 0.55, 0.98):
            rate = share * stable
            path = log_alpha(noise_level, within, between, rate=rate, steps=1, margin=start)
            measured.append(path[1] / path[0])
            predicted.append(1 - rate * kappa * noise_level * (1 - noise_level))
            global_rate.append(1 - rate * kappa / 4)
            curvature.append(rate * kappa)
        monotone = log_alpha(
            noise_level, within, between, rate=0.99 * local_stability_rate(kappa, noise_level, monotone=True), steps=20, margin=start
        )
        alternating.append(monotone.max())
        for share, into in ((0.98, grown), (1.02, diverged)):
            path = log_alpha(noise_level, within, between, rate=share * stable, steps=60, margin=start)
            into.append(abs(path[-1] / path[0]))
    # Second order of σ: ηκ|σ″|/2 · offset with |σ″| ≤ 1/(6√3); rounding n·eps in ln α over the offset, once for each of two times.
    margin = {
        "second order": np.array(curvature) * offset / (12 * np.sqrt(3)),
        "rounding": 2 * 2 * 2 * SIZE * EPS / offset,
    }
    agreement.check("ln α_1/ln α_0 near α = 1", prediction=np.array(predicted), estimate=exact(np.array(measured)), margin=margin)
    rounding = {"rounding": 2 * 2 * SIZE * 60 * EPS}
    agreement.check(
        "largest ln α_t at 0.99 of the monotone bound", prediction=Range(upper=0), estimate=exact(np.array(alternating)), margin=rounding
    )
    attracted = Range(upper=1)
    agreement.check("|ln α_60/ln α_0| at 0.98 of 2/(κδ(1 − δ))", prediction=attracted, estimate=exact(np.array(grown)), margin=rounding)
    agreement.control("the same at 1.02 of it", prediction=attracted, estimate=exact(np.array(diverged)), margin=rounding)
    leaving = log_alpha(0.4, 2.0, 0.9, rate=0.98 * local_stability_rate(0.55, 0.4), steps=60, margin=np.log(1.5) - offset)
    agreement.note(
        "For two clusters with k′ > 0 the bound of the common logit, 4/((k + k′)δ(1 − δ)), is met first: at k = 2, k′ = 0.9, δ = 0.4, "
        f"0.98 of the recursion's bound, rounding has multiplied |ln α| by {abs(leaving[-1] / leaving[0]):.2g} after 60 steps."
    )
    agreement.control("1 − ηκ/4 for the multiplier", prediction=np.array(global_rate), estimate=exact(np.array(measured)), margin=margin)
