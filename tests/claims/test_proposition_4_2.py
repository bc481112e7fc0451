"""Prop. 4.2 [A], Lemma 4.2 [B]: GD on D is GD on the true labels with η′ = η(1 − α)/(1 + α). The size is wrong: η′ = (1 − δ)(1 − α)η."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval
from reports.evidence import Agreement
from tests.support.histories import FULL, TRUTH, History
from tests.support.paired import label_draws, most_telling_time, paired
from tests.support.regimes import FIXED_KERNEL, TRAINED, Regime, regimes
from theory.alpha import alpha_recursion, effective_learning_rate, initial_alpha
from theory.dynamics import gradient_descent


@pytest.mark.claim("D4")
@pytest.mark.regime("fixed kernel", "collapsed class")
def test_step_size_in_the_exactly_solvable_model(agreement: Agreement) -> None:
    """One location, κ = 1, f_0 = ½: a step on D with η against a step on the true labels with η′, from the same logit."""
    n, steps, eta = 100, 10, 1.0
    for noise_level in (0.1, 0.3, 0.4):
        noisy = round(n * noise_level)
        labels, kernel = np.r_[np.zeros(noisy), np.ones(n - noisy)], np.ones((n, n))
        logits = np.asarray(gradient_descent(kernel, labels, learning_rate=eta, steps=steps, record=range(steps + 1)).logits)[:, 0]
        on_truth = [
            gradient_descent(kernel, np.ones(n), learning_rate=eta, steps=1, initial_logits=np.full(n, h)).logits for h in logits[:-1]
        ]
        factor = np.diff(logits) / (np.array([np.asarray(path)[-1, 0] for path in on_truth]) - logits[:-1])
        alpha = alpha_recursion(initial_alpha(noise_level), learning_rate=eta, kernel_scale=1.0, noise_level=noise_level, steps=steps - 1)
        forms = {form: effective_learning_rate(eta, alpha=alpha, noise_level=noise_level, form=form) for form in ("printed", "corrected")}
        # A step is a difference of logits below 6, each with n·steps roundings: absolute 6·n·steps·eps, over the smaller of the two steps.
        margin = {"rounding": 6 * n * steps * np.finfo(float).eps / np.abs(np.diff(logits)).min()}
        agreement.check(
            f"η′/η = (1 − α)/(1 + α), δ = {noise_level}, 10 steps",
            prediction=forms["printed"],
            estimate=exact(factor),
            margin=margin,
            expected="DISAGREES",
        )
        agreement.check(
            f"the same at t = 0, δ = {noise_level}",
            prediction=forms["printed"][0],
            estimate=exact(factor[0]),
            margin=margin,
            expected="AGREES",
        )
        agreement.correct(f"η′/η = (1 − δ)(1 − α), δ = {noise_level}", prediction=forms["corrected"], estimate=exact(factor), margin=margin)
        wrong = effective_learning_rate(eta, alpha=alpha, noise_level=noise_level + 0.01)
        agreement.control(f"δ taken as {noise_level + 0.01:.2f}", prediction=wrong, estimate=exact(factor), margin=margin)


def step_deviation(history: History) -> NDArray[np.float64]:
    """η′/η less the corrected form, with the share realised at t = 0 ``[R, T]``."""
    return history.step_factor - history.truth_share[:, :1] * (1 - history.alpha_along_truth)


@pytest.mark.claim("D4")
@regimes([*FIXED_KERNEL, *TRAINED])
def test_step_size_on_data(agreement: Agreement, regime: Regime) -> None:
    """The projection of ∇L(D) on ∇L(D̂), with α_t read along ∇L(D̂) and 1 − δ as each label draw realises it at t = 0."""
    history = regime.history(agreement)
    delta, alpha, share = history.noise_level, history.alpha_along_truth, history.truth_share[:, :1]
    measured, printed, corrected = history.step_factor, (1 - alpha) / (1 + alpha), share * (1 - alpha)
    # Memorisation lengthens Ĝ by δ·(its drift) relative to G_c, and lowers the projection by that share.
    own_label = np.abs(corrected * delta * history.own_label_drift).mean(axis=0)
    t = most_telling_time(printed.mean(axis=0), corrected.mean(axis=0), own_label)
    rounding = 2 * history.resolution
    when, rate = f"η·step = {history.times[t]:.3g}", agreement.error_rate
    # The share of a label draw moves as residuals grow unequal. For networks the infinite-width run of the same label draws foretells by
    # how much; for that run itself, at most by the spread x of the share at t = 0, and the step by (1 − α)x.
    foreseen = regime.foreseen(agreement)
    spread = (1 - alpha.mean(axis=0)) * history.share_sd[1] if foreseen is None else np.std(step_deviation(foreseen), axis=0)
    moved = spread * label_draws(1.0, replicates=len(measured), error_rate=rate)
    margin = {"memorised own label": own_label[t], "label draws": moved[t], "rounding": rounding}

    prediction, estimate = paired(measured[:, t], printed[:, t], error_rate=rate)
    agreement.check(f"η′/η against (1 − α)/(1 + α), {when}", prediction=prediction, estimate=estimate, margin=margin)
    prediction, estimate = paired(measured[:, t], corrected[:, t], error_rate=rate)
    agreement.correct(f"η′/η against (1 − δ)(1 − α), {when}", prediction=prediction, estimate=estimate, margin=margin)
    prediction, estimate = paired(share[:, 0], 1 - delta, error_rate=rate)
    draws = label_draws(history.share_sd[1], replicates=len(share), error_rate=rate)
    agreement.correct("share <G_c, Ĝ>/‖Ĝ‖² at t = 0 against 1 − δ", prediction=prediction, estimate=estimate, margin={"label draws": draws})
    swapped, estimate = paired(measured[:, t], share[:, 0] * (1 - 1 / alpha[:, t]), error_rate=rate)
    agreement.control("clean and noise exchanged in α", prediction=swapped, estimate=estimate, margin=margin)

    cosine = history.inner(FULL, TRUTH) / np.sqrt(history.inner(FULL, FULL) * history.inner(TRUTH, TRUTH))
    turn = int(np.argmin(history.early.all(axis=0))) or len(history.times) - 1
    agreement.note(
        f"cos∠(∇L(D), ∇L(D̂)), mean over replicates: {cosine[:, 0].mean():.3f} at t = 0, {cosine[:, t].mean():.3f} at {when}, "
        f"{cosine[:, turn].mean():.3f} where the first replicate's noisy loss turns: the direction is not that of the true labels there."
    )
    shown = slice(0, turn + 1)
    difference = mean_interval(measured - corrected, error_rate=rate)
    agreement.figure(
        "comparison",
        title="Effective learning rate on the true labels",
        caption=f"Projection of ∇L(D) on ∇L(D̂), mean over replicates, with (1 − δ)(1 − α_t) over it; intervals of the difference within a "
        f"replicate, time by time. The printed (1 − α_t)/(1 + α_t) is {(printed[:, t] / measured[:, t]).mean():.2f} of what is measured at "
        f"{when}, where it is judged.",
        arrays={
            "corrected/x": history.times[shown],
            "corrected/prediction": corrected.mean(axis=0)[shown],
            "corrected/measured": measured.mean(axis=0)[shown],
            "corrected/lower": (corrected.mean(axis=0) + difference.lower)[shown],
            "corrected/upper": (corrected.mean(axis=0) + difference.upper)[shown],
            "corrected/margin": (own_label + moved + rounding)[shown],
            "printed/x": history.times[shown],
            "printed/prediction": printed.mean(axis=0)[shown],
        },
        labels={"x": "time η·step", "y": "η′/η"},
    )
