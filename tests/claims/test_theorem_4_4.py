"""Thm 4.4 [A, B]: under Assumption 4.1 the clean loss falls and the noisy loss rises. Its clause on accuracies does not follow."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.histories import History
from tests.support.problems import problems_under_assumption_4_1
from tests.support.regimes import FIXED_KERNEL, TRAINED, Regime, regimes
from tests.support.replicates import RARELY, USUALLY, judge_exceptions, share_of_replicates

Array = NDArray[np.float64]
NONE = {"none allowed": 0.0}


@pytest.mark.claim("D6")
@pytest.mark.regime("fixed kernel", "random problems under Assumption 4.1")
def test_losses_under_the_assumption(agreement: Agreement) -> None:
    """Problems built so that g_noise^(c) = −α g_clean^(c) holds at t to rounding, at the explicit bound on η."""
    clean_rises, noisy_falls, reversed_falls, far_beyond, tried = 0, 0, 0, 0, 0
    for problem in problems_under_assumption_4_1(agreement.rng, count=500):
        clean, noisy = problem.loss_changes(0.999 * problem.largest_rate)
        clean_rises += clean >= 0
        noisy_falls += noisy <= 0
        noisy_falls += problem.loss_changes(100 * problem.largest_rate)[1] <= 0  # every η
        reversed_falls += noisy >= 0
        far_beyond += problem.loss_changes(10 * problem.largest_rate)[0] >= 0
        tried += 1
    agreement.check(
        "rises of the clean loss, η at 0.999 of 8n/((1 − α)λ_max(K_cc))", prediction=0, estimate=exact(clean_rises), margin=NONE
    )
    agreement.check(
        "falls of the noisy loss, η at 0.999 and at 100 times the bound", prediction=0, estimate=exact(noisy_falls), margin=NONE
    )
    agreement.control("the two segments exchanged: the noisy loss falls", prediction=0, estimate=exact(reversed_falls), margin=NONE)
    agreement.control("η at ten times the bound: the clean loss never rises", prediction=0, estimate=exact(far_beyond), margin=NONE)
    agreement.note(f"{tried} random problems.")


@pytest.mark.claim("D6")
@regimes([*FIXED_KERNEL, *TRAINED])
def test_losses_in_the_early_stage(agreement: Agreement, regime: Regime) -> None:
    """Judged where the monitor allows: classes collinear and of equal α within stated bounds, and pooled a < ρ."""
    history = regime.history(agreement)
    judged, (clean_rises, noisy_falls, swapped) = monitored(history), against_the_theorem(history)
    agreement.hypothesis(
        "share of replicates in which the monitor of Assumption 4.1 allows a judgement for most of the early stage",
        prediction=USUALLY,
        estimate=share_of_replicates(judged.sum(axis=1) > 0.5 * history.early.sum(axis=1), error_rate=agreement.error_rate),
        margin=NONE,
    )
    steps = f"{int(judged.sum())} steps"
    if regime.case is not None:  # a fixed kernel below its bound on η: the theorem allows no exception in any label draw (row X4)
        agreement.check(f"rises of the clean loss in {steps}", prediction=0, estimate=exact(clean_rises.sum()), margin=NONE)
        agreement.check(f"falls of the noisy loss in {steps}", prediction=0, estimate=exact(noisy_falls.sum()), margin=NONE)
    else:  # in a network the second order in η and the moving kernel may make one: judged for a typical network
        judge_exceptions(agreement, regime, "a rise of the clean loss", lambda history: against_the_theorem(history)[0])
        judge_exceptions(agreement, regime, "a fall of the noisy loss", lambda history: against_the_theorem(history)[1])
        agreement.note(f"{clean_rises.sum()} rises of the clean and {noisy_falls.sum()} falls of the noisy loss in {steps}.")
    agreement.control(
        "the two segments exchanged: share of replicates with a fall of the clean loss",
        prediction=RARELY,
        estimate=share_of_replicates(swapped, error_rate=agreement.error_rate),
        margin=NONE,
    )
    violated = (history.early & ~judged).any(axis=0)
    agreement.note(
        "Within the early stage the monitor forbids a judgement "
        + (f"first at η·step = {history.times[np.argmax(violated)]:.3g}" if violated.any() else "nowhere")
        + f"; smallest −cos∠ of a class there {history.rho.min(axis=2)[history.early].min():.4f}, largest difference of the classes' α "
        f"{np.ptp(history.alpha, axis=2)[history.early].max():.3f}."
    )
    agreement.figure(
        "comparison",
        title="Loss on clean and noisy samples",
        caption=_caption(history, regime),
        arrays=_losses(history),
        labels=LOSS_LABELS,
    )


def monitored(history: History) -> NDArray[np.bool_]:
    """Where the theorem is judged ``[R, T]``.

    Exact equality never holds on such data (row D1): both classes must be opposite to within 12° and their α differ by less than 0.1, so
    that ∇L(D) still points along −∇L(D_noise).
    """
    assumption = (history.rho.min(axis=2) >= np.cos(np.deg2rad(12))) & (np.ptp(history.alpha, axis=2) <= 0.1)
    return history.early & assumption


def against_the_theorem(history: History) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Monitored steps in which the clean loss rises, the noisy loss falls, the clean loss falls ``[R, T]`` each.

    A change of loss below the rounding of the two losses has no sign; below it a step counts neither for nor against.
    """
    tie, judged = history.resolution * history.noise_loss, monitored(history)
    return (
        (history.clean_loss_change > tie) & judged,
        (history.noise_loss_change < -tie) & judged,
        (history.clean_loss_change < -tie) & judged,
    )


@pytest.mark.claim("D7")
@pytest.mark.regime("algebra", "scalar counterexample")
def test_accuracy_does_not_follow_from_loss(agreement: Agreement) -> None:
    """Class 1: clean φ = 3 once and −1 twice, noisy φ = 0.5; class 0 mirrored; w = −0.01, η = 1.1. Assumption 4.1 holds at t and t + 1."""
    clean, noisy = np.array([3.0, -1.0, -1.0]), np.array([0.5])

    def state(w: float) -> dict[str, float]:
        """α, clean loss and clean accuracy of class 1; class 0 is its mirror image, with the same numbers."""
        pull, push = (clean / (1 + np.exp(clean * w))).sum(), (noisy / (1 + np.exp(-noisy * w))).sum()
        return {
            "alpha": push / pull,
            "loss": float(np.log1p(np.exp(-clean * w)).mean()),
            "accuracy": float((clean * w > 0).mean()),
            "gradient": 2 * (push - pull) / 8,
        }

    before = state(-0.01)
    after = state(-0.01 - 1.1 * before["gradient"])
    for name, moment in (("t", before), ("t + 1", after)):
        agreement.hypothesis(
            f"α at {name} lies in (0, 1)", prediction=Range(lower=0, upper=1), estimate=exact(moment["alpha"]), margin=NONE
        )
    agreement.hypothesis("the clean loss falls", prediction=Range(upper=0), estimate=exact(after["loss"] - before["loss"]), margin=NONE)
    # One sample in three is the smallest change of this accuracy: half of it separates "not lower" from "lower".
    change = exact(after["accuracy"] - before["accuracy"])
    agreement.check(
        "change of the clean accuracy is not negative", prediction=Range(lower=0), estimate=change, margin={"half a sample": 1 / 6}
    )
    collapsed = [np.sign(h) for h in (-0.01, 0.2)]  # one location per class: accuracy is the sign of one logit, loss is monotone in it
    agreement.correct(
        "change of the clean accuracy where a class is one location",
        prediction=Range(lower=0),
        estimate=exact(np.diff(collapsed)[0]),
        margin=NONE,
    )
    agreement.control(
        "the fall of the accuracy is that of the loss", prediction=after["loss"] - before["loss"], estimate=change, margin=NONE
    )
    agreement.note(f"α {before['alpha']:.3f} → {after['alpha']:.3f}, clean loss {before['loss']:.4f} → {after['loss']:.4f}, "
                   f"clean accuracy {before['accuracy']:.3f} → {after['accuracy']:.3f}.")  # fmt: skip


@pytest.mark.claim("D7")
@regimes([regime for regime in FIXED_KERNEL if regime.data in ("digits 7/9", "MNIST 7/9")])
def test_noisy_accuracy_rises_while_noisy_loss_rises(agreement: Agreement, regime: Regime) -> None:
    """On data: steps at which the noisy loss still rises and the noisy accuracy rises too."""
    history = regime.history(agreement)
    rising = history.noise_loss_change[:, :-1] > 0
    against = (np.diff(history.noise_error, axis=1) < 0) & rising
    agreement.check(
        "rises of the noisy accuracy at steps that raise the noisy loss", prediction=0, estimate=exact(against.sum()), margin=NONE
    )
    early = (np.diff(history.noise_residual, axis=1) > 0) & rising
    agreement.correct(
        "share of such steps at which the mean noisy residual rises (loss and residual part only near the turn)",
        prediction=Range(lower=0.5),
        estimate=mean_interval(early.sum(axis=1) / rising.sum(axis=1), error_rate=agreement.error_rate),
        margin=NONE,
    )
    agreement.control("the same steps counted as none of them raising the loss", prediction=0, estimate=exact(rising.sum()), margin=NONE)
    peaks = [float(np.median(history.times[np.argmax(series, axis=1)])) for series in (history.noise_error, history.noise_loss)]
    agreement.note(f"Median peak of the noisy error at η·step = {peaks[0]:.3g}, of the noisy loss at {peaks[1]:.3g}.")


LOSS_LABELS = {"x": "time η·step", "y": "mean loss", "xscale": "log"}


def _losses(history: History) -> dict[str, Array]:
    shown = history.times > 0
    arrays: dict[str, Array] = {}
    for name, series in (("clean", history.clean_loss), ("noise", history.noise_loss)):
        arrays[f"{name}/x"] = history.times[shown]
        arrays[f"{name}/measured"] = series.mean(axis=0)[shown]
        arrays[f"{name}/lower"], arrays[f"{name}/upper"] = series.min(axis=0)[shown], series.max(axis=0)[shown]
    return arrays


def _caption(history: History, regime: Regime) -> str:
    turn = np.median(history.times[np.argmax(history.noise_loss, axis=1)])
    return f"{regime.model}, {regime.data}: the noisy loss peaks at η·step = {turn:.3g}, then falls. Mean and range over replicates."
