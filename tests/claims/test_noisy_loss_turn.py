"""Beyond the papers (X4): whatever the data, the noisy loss rises at a step exactly while a = ‖G_n‖/‖G_c‖ < ρ = −cos∠(G_c, G_n)."""

from __future__ import annotations

import numpy as np
import pytest

from empirical.inference import exact, proportion
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.histories import FULL, NOISE, History
from tests.support.regimes import FIXED_KERNEL, TRAINED, Regime, regimes
from theory.dynamics import gradient_descent
from theory.kernels import ntk
from theory.segments import Segments, segment_geometry
from theory.step_size import clean_descent_rate

PROBLEMS = 300


@pytest.mark.claim("X4")
@pytest.mark.regime("fixed kernel", "random problems")
def test_signs_of_both_losses_in_random_problems(agreement: Agreement) -> None:
    """Random kernels, labels and logits; a step small enough for flow, and one of any size."""
    rng, wrong, rising, swapped = agreement.rng, np.zeros(3), 0, 0
    for _ in range(PROBLEMS):
        n = int(rng.integers(6, 30))
        kernel = ntk(rng.normal(size=(n, 3)), depth=int(rng.integers(1, 4)))
        truth = rng.integers(0, 2, n)
        observed = np.where(np.r_[True, False, rng.random(n - 2) < 0.4], 1 - truth, truth)
        segments, logits = Segments.from_labels(truth, observed), rng.normal(size=n)
        residual = 1 / (1 + np.exp(-logits)) - observed
        geometry = segment_geometry(kernel, residual, segments)
        a, rho = float(geometry.pooled_alpha), float(geometry.pooled_rho)
        # Flow: the sign of the directional derivative, −G_n·G and −G_c·G, in the direction of the whole gradient.
        slope = kernel @ residual
        wrong[0] += (-(residual * segments.noise()) @ slope > 0) != (a < rho)
        wrong[1] += (-(residual * segments.clean()) @ slope < 0) != (a * rho < 1)
        swapped += (-(residual * segments.noise()) @ slope > 0) != (a > rho)
        if a < rho:  # any step size at all
            eta = float(np.exp(rng.uniform(-3, 6)))
            after = np.asarray(gradient_descent(kernel, observed.astype(float), learning_rate=eta, steps=1, initial_logits=logits).logits)[
                -1
            ]
            noisy_loss = [np.logaddexp(0, np.where(observed == 1, -h, h))[segments.noise()].mean() for h in (logits, after)]
            wrong[2] += noisy_loss[1] <= noisy_loss[0]
            rising += 1
    for name, count in zip(("noisy loss, flow", "clean loss, flow", "noisy loss, any η"), wrong, strict=True):
        agreement.check(f"{name}: steps of the wrong sign", prediction=0, estimate=exact(count), margin={"none allowed": 0.0})
    agreement.check("problems with a < ρ", prediction=Range(lower=20), estimate=exact(rising), margin={"none": 0.0})
    agreement.control("the criterion reversed, a > ρ", prediction=0, estimate=exact(swapped), margin={"none allowed": 0.0})


def increments(history: History) -> tuple[np.ndarray, np.ndarray]:
    """Recorded intervals that begin and end with a < ρ, and whether the noisy loss rose over them."""
    early = history.early[:, :-1] & history.early[:, 1:]
    return early, np.diff(history.noise_loss, axis=1) > 0


@pytest.mark.claim("X4")
@regimes([*FIXED_KERNEL, *TRAINED])
def test_turn_of_the_noisy_loss_on_data(agreement: Agreement, regime: Regime) -> None:
    """No exception on any replicate at any recorded time, and the peak of the noisy loss where a crosses ρ."""
    history = regime.history(agreement)
    early, rose = increments(history)
    agreement.check(
        f"falls of the noisy loss while a < ρ, out of {early.sum()} recorded intervals",
        prediction=0,
        estimate=exact(float((early & ~rose).sum()), n_seeds=len(early)),
        margin={"none allowed": 0.0},
    )
    slope = -history.inner(NOISE, FULL)  # dL_noise/dt up to the factor n·n_n
    disagree = ((slope > 0) != history.early).sum()
    agreement.check(
        "times at which a < ρ and the sign of −G_n·G differ", prediction=0, estimate=exact(float(disagree)), margin={"none allowed": 0.0}
    )
    turned = ~history.early.all(axis=1)
    crossing = np.where(turned, np.argmin(history.early, axis=1), -1)
    peak = np.argmax(history.noise_loss, axis=1)
    late = turned & (crossing > 0)
    if late.any():
        # A crossing between two recorded times puts the peak at either end: one recorded interval.
        worst = float(np.abs(peak - crossing)[late].max())
        agreement.check(
            "peak of the noisy loss against first a ≥ ρ, in recorded intervals",
            prediction=0,
            estimate=exact(worst, n_seeds=int(late.sum())),
            margin={"recording interval": 1.0},
        )
    if late.any():
        there = history.pooled_alpha[late, crossing[late]].mean()
        agreement.note(f"The noisy loss turned in {int(late.sum())} of {len(early)} replicates, where a = {there:.3f} on average.")
    agreement.control(
        "a > ρ read as the condition for a rise (criterion reversed)",
        prediction=0,
        estimate=exact(float(((slope > 0) != ~history.early).sum())),
        margin={"none allowed": 0.0},
    )
    shown = history.times > 0
    agreement.figure(
        "comparison",
        title="Where the noisy loss turns",
        caption="Ratio a = ‖G_n‖/‖G_c‖ (points: mean over replicates) against its threshold ρ; the noisy loss peaks where they meet.",
        arrays={
            "threshold ρ/x": history.times[shown],
            "threshold ρ/prediction": history.pooled_rho.mean(axis=0)[shown],
            "ratio a/x": history.times[shown],
            "ratio a/measured": history.pooled_alpha.mean(axis=0)[shown],
            "ratio a/lower": history.pooled_alpha.min(axis=0)[shown],
            "ratio a/upper": history.pooled_alpha.max(axis=0)[shown],
        },
        labels={
            "x": "time η·step",
            "y": "ratio of norms",
            "xscale": "log",
            **({"mark:peak of noisy loss": f"{float(np.median(history.times[peak[late]])):.6g}"} if late.any() else {}),
        },
    )


@pytest.mark.claim("X4")
@pytest.mark.regime("fixed kernel", "step-size bound")
def test_clean_loss_falls_below_its_rate(agreement: Agreement) -> None:
    """η < 8n<G_c,G>/(λ_max(K_cc)‖G‖²) lowers the clean loss; at ten times the rate it need not."""
    rng, wrong, control = agreement.rng, 0, 0
    for _ in range(PROBLEMS):
        n = int(rng.integers(6, 24))
        kernel = ntk(rng.normal(size=(n, 3)))
        truth = rng.integers(0, 2, n)
        observed = np.where(np.r_[True, False, rng.random(n - 2) < 0.4], 1 - truth, truth)
        segments, logits = Segments.from_labels(truth, observed), rng.normal(size=n)
        residual = 1 / (1 + np.exp(-logits)) - observed
        if (residual * segments.clean()) @ kernel @ residual <= 0:
            continue
        bound = clean_descent_rate(kernel, residual, segments)

        def clean_loss(rate: float) -> float:
            step = gradient_descent(kernel, observed.astype(float), learning_rate=rate, steps=1, initial_logits=logits)  # noqa: B023
            h = np.asarray(step.logits)[-1]
            return float(np.logaddexp(0, np.where(observed == 1, -h, h))[segments.clean()].mean())  # noqa: B023

        start = float(np.logaddexp(0, np.where(observed == 1, -logits, logits))[segments.clean()].mean())
        wrong += clean_loss(0.999 * bound) >= start
        control += clean_loss(10 * bound) >= start
    agreement.check("rises of the clean loss below the rate", prediction=0, estimate=exact(float(wrong)), margin={"none allowed": 0.0})
    agreement.control(
        "share of rises at ten times the rate, read as none",
        prediction=0,
        estimate=proportion(control, PROBLEMS, error_rate=agreement.error_rate),
        margin={"none allowed": 0.0},
    )
