"""Thm 4.5 [A, B]: under Assumption 4.1 with one α for both classes, α_t increases. Class by class, under imbalance, it need not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.cases import symmetric_locations
from tests.support.histories import FixedKernelCase, History, fixed_kernel_history
from tests.support.problems import AssumptionProblem, problems_under_assumption_4_1
from tests.support.regimes import FIXED_KERNEL, TRAINED, Regime, regimes
from tests.support.replicates import RARELY, USUALLY, judge_exceptions, share_of_replicates
from theory.dynamics import gradient_descent
from theory.segments import segment_geometry
from theory.step_size import max_learning_rate

NONE = {"none allowed": 0.0}


def gradient_norms(problem: AssumptionProblem, weights: NDArray[np.float64]) -> tuple[float, float]:
    """‖G_c‖ and ‖G_n‖ at some weights."""
    clean, noise = (sum(problem.segment_gradient(weights, c, noisy=noisy) for c in (0, 1)) for noisy in (False, True))
    return float(np.linalg.norm(clean)), float(np.linalg.norm(noise))


@pytest.mark.claim("D10")
@pytest.mark.regime("fixed kernel", "random problems under Assumption 4.1")
def test_norms_of_the_segment_gradients(agreement: Agreement) -> None:
    """‖∇L(D_clean)‖ falls at η(1 − α) < 8n/λ_max(K_cc) and ‖∇L(D_noise)‖ rises at every η: the two halves of the proof."""
    falls, rises, exchanged, far_beyond = 0, 0, 0, 0
    for problem in problems_under_assumption_4_1(agreement.rng, count=500):
        clean, noise = gradient_norms(problem, problem.weights)
        after = {scale: gradient_norms(problem, problem.after(scale * problem.largest_rate)) for scale in (0.999, 4, 100)}
        falls += after[0.999][0] >= clean
        rises += (after[0.999][1] <= noise) + (after[100][1] <= noise)
        exchanged += after[0.999][1] >= noise
        far_beyond += after[4][0] >= clean
    agreement.check("‖∇L(D_clean)‖ does not fall, η at 0.999 of the bound", prediction=0, estimate=exact(falls), margin=NONE)
    agreement.check("‖∇L(D_noise)‖ does not rise, η at 0.999 and 100 of the bound", prediction=0, estimate=exact(rises), margin=NONE)
    agreement.control("the segments exchanged: ‖∇L(D_noise)‖ falls", prediction=0, estimate=exact(exchanged), margin=NONE)
    agreement.control("η at four times the bound: ‖∇L(D_clean)‖ always falls", prediction=0, estimate=exact(far_beyond), margin=NONE)


@pytest.mark.claim("D10")
@pytest.mark.regime("fixed kernel", "symmetric rings")
def test_alpha_increases_to_one_where_the_assumption_is_exact(agreement: Agreement) -> None:
    """Assumption 4.1 holds at every t: α_t increases at every step and tends to 1, never beyond."""
    case = symmetric_locations()
    kernel, observed = case.kernel, case.observed
    path = gradient_descent(kernel, observed, learning_rate=0.5 * max_learning_rate(kernel), steps=300, record=range(301))
    logits = np.asarray(path.logits)
    alpha = np.array([segment_geometry(kernel, 1 / (1 + np.exp(-h)) - observed, case.segments).pooled_alpha for h in logits])
    # α is a ratio of square roots of sums of n² products, each of relative rounding n·eps; near 1 its steps sink below that.
    rounding = {"rounding": case.n * np.finfo(float).eps}
    agreement.check(
        "smallest step α_(t+1) − α_t, 300 steps", prediction=Range(lower=0), estimate=exact(np.diff(alpha).min()), margin=rounding
    )
    agreement.check("α_300 has reached 1", prediction=1, estimate=exact(alpha[-1]), margin={"left over": 1e-3, **rounding})
    agreement.check("α_0 = δ/(1 − δ)", prediction=0.3 / 0.7, estimate=exact(alpha[0]), margin=rounding)
    agreement.control("1/α for α", prediction=Range(lower=0), estimate=exact(np.diff(1 / alpha).min()), margin=rounding)


@pytest.mark.claim("D10")
@regimes([*FIXED_KERNEL, *TRAINED])
def test_alpha_increases_in_the_early_stage(agreement: Agreement, regime: Regime) -> None:
    """Pooled α at recorded times with a < ρ; both classes are balanced and share α within the monitor's bounds.

    Where 1 − α is no larger than ‖G_n + αG_c‖/‖G_c‖, the distance from the assumption, nothing forbids a fall: α ≈ 1 moves up and down.
    How many networks show that is random. The statement is judged as one on a typical network.
    """
    history = regime.history(agreement)
    early, judged = monitored(history)
    agreement.hypothesis(
        "share of replicates in which the classes' α differ by less than 0.1 for most of the early stage",
        prediction=USUALLY,
        estimate=share_of_replicates(judged.sum(axis=1) > 0.5 * early.sum(axis=1), error_rate=agreement.error_rate),
        margin=NONE,
    )
    judge_exceptions(agreement, regime, "a fall of α in the early stage", falls_of_alpha)
    rises = (np.diff(history.pooled_alpha, axis=1) > history.resolution) & judged
    agreement.control(
        "share of replicates with a fall of 1/α",
        prediction=RARELY,
        estimate=share_of_replicates(rises, error_rate=agreement.error_rate),
        margin=NONE,
    )
    falls = falls_of_alpha(history)
    distance = history.pooled_alpha * np.sqrt(2 * np.maximum(1 - history.pooled_rho, 0))  # ‖G_n + αG_c‖/‖G_c‖
    near = (distance < 1 - history.pooled_alpha)[:, :-1]
    apart = (early & ~judged).any(axis=0)
    agreement.note(
        f"α falls in {falls.sum()} of {judged.sum()} recorded intervals of the early stage, in {(falls & near).sum()} of them while the "
        "distance from the assumption ‖G_n + αG_c‖/‖G_c‖ is below 1 − α; the classes' α differ by "
        + (f"more than 0.1 first at η·step = {history.times[np.argmax(apart)]:.3g}" if apart.any() else "less than 0.1 throughout")
        + f", by {np.ptp(history.alpha, axis=2)[:, :-1][early].max():.3f} at most."
    )


def monitored(history: History) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Recorded intervals of the early stage, and those of them in which the classes' α are equal within 0.1 ``[R, T − 1]``."""
    early = history.early[:, :-1] & history.early[:, 1:]
    return early, early & (np.ptp(history.alpha, axis=2) <= 0.1)[:, :-1]


def falls_of_alpha(history: History) -> NDArray[np.bool_]:
    """Intervals of the monitored early stage in which the pooled α falls by more than rounding ``[R, T − 1]``."""
    return (np.diff(history.pooled_alpha, axis=1) < -history.resolution) & monitored(history)[1]


@pytest.mark.claim(
    "D10",
    expected="ASSUMPTION VIOLATED",
    reason="with 20 of one class and 120 of the other the two α differ, and class by class the theorem is false: n_0 k_00 < n_1 k_10",
)
@pytest.mark.regime("fixed kernel", "digits 7/9, imbalanced")
def test_minority_alpha_falls_under_imbalance(agreement: Agreement) -> None:
    history = fixed_kernel_history(
        FixedKernelCase("digits", (7, 9), (20, 110), noise_level=0.3, steps=40), agreement.seed_salt, keep=agreement.kept
    )
    agreement.dataset("digits", classes=(7, 9), n_train=(20, 110))
    gap, rate = np.ptp(history.alpha, axis=2), agreement.error_rate
    agreement.hypothesis(
        "largest difference of the classes' α",
        prediction=Range(upper=0.1),
        estimate=mean_interval(gap.max(axis=1), error_rate=rate),
        margin=NONE,
    )
    beyond = gap.mean(axis=0) > 0.1
    agreement.note(
        f"The classes' α differ by more than 0.1 from step {np.argmax(beyond)} on, by {gap.mean(axis=0)[0]:.3f} at t = 0 (means)."
    )
    minority, majority = (mean_interval(step, error_rate=rate) for step in (history.alpha[:, 1] - history.alpha[:, 0]).T)
    agreement.correct("first step of the minority's α is down", prediction=Range(upper=0), estimate=minority, margin=NONE)
    agreement.correct("first step of the majority's α is up", prediction=Range(lower=0), estimate=majority, margin=NONE)
    agreement.control("class by class, α increases", prediction=Range(lower=0), estimate=minority, margin=NONE)
