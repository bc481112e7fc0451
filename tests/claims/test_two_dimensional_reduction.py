"""Beyond the papers (X5, X6): an equicorrelated kernel leaves two logits, and its noisy loss turns at α* = qδ/(1 + qδ)."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.cases import Case, equicorrelated
from tests.support.kernel_data import SegmentRun
from theory.dynamics import gradient_descent
from theory.flow import gradient_flow
from theory.reductions import equicorrelated_coupling, equicorrelated_descent, equicorrelated_flow, turning_alpha, turning_time

Array = NDArray[np.float64]
EPS = np.finfo(float).eps
SIZE = 50  # samples per class
LEVELS = (0.1, 0.2, 0.3, 0.4)


def margins(case: Case, logits: Array) -> tuple[Array, Array, float]:
    """Logits towards the true label of clean and of noisy samples ``[T]`` each, and the largest spread within either."""
    towards = np.where(case.truth == 1, logits, -logits)
    noisy = case.segments.noise()
    spread = max(float(np.ptp(towards[:, mask], axis=1).max()) for mask in (noisy, ~noisy))
    return towards[:, ~noisy].mean(axis=1), towards[:, noisy].mean(axis=1), spread


def summed_residual_ratio(case: Case, logits: Array) -> Array:
    """n_n r_n/(n_c |r_c|): the α of this model, from all samples' residuals ``[T]``."""
    residual, noisy = np.abs(1 / (1 + np.exp(-logits)) - case.observed), case.segments.noise()
    return residual[:, noisy].sum(axis=1) / residual[:, ~noisy].sum(axis=1)


def with_coupling(q: float, noise_level: float) -> Case:
    """A kernel with a = 1, b′ = 0 and q = N b/(1 − b)."""
    return equicorrelated(SIZE, diagonal=1.0, within=q / (SIZE + q), between=0.0, noise_level=noise_level)


@pytest.mark.claim("X5")
@pytest.mark.regime("fixed kernel", "equicorrelated classes")
def test_two_logits_for_all_samples(agreement: Agreement) -> None:
    steps, kernels = 200, ((1.0, 0.5, 0.25), (2.0, 1.5, -0.2), (1.0, 0.2, 0.15))
    problems = [(noise_level, *angles) for noise_level in LEVELS for angles in kernels]

    def descent() -> dict[str, list[Array]]:
        """Clean and noisy logit of all samples ``[problems, T]``, and the largest spread within a segment ``[problems]``."""
        found: dict[str, list[Array]] = {"clean": [], "noise": [], "spread": []}
        for noise_level, a, b, other in problems:
            case = equicorrelated(SIZE, diagonal=a, within=b, between=other, noise_level=noise_level)
            path = gradient_descent(case.kernel, case.observed, learning_rate=2.0, steps=steps)
            for values, one in zip(found.values(), margins(case, np.asarray(path.logits)), strict=True):
                values.append(one)
        return found

    clean, noise, spreads = agreement.kept("descent of equicorrelated classes", descent, steps=steps, problems=problems).values()
    measured = np.stack([clean, noise], axis=1)
    predicted, swapped = [], []
    for noise_level, a, b, other in problems:
        step = (a - b) / SIZE  # η = 2, n = 2N
        for coupling, into in (
            (equicorrelated_coupling(a, b, other, class_size=SIZE), predicted),
            (SIZE * (b + other) / (a - b), swapped),
        ):
            run = equicorrelated_descent(coupling, noise_level=noise_level, step=step, steps=steps)
            into.append([run.clean_margin, run.noise_margin])
    # n products per step and logit, of size up to η·λ_max/n < 4, over all steps; descent is stable here and damps what came before.
    rounding = {"rounding": 4 * steps * 2 * SIZE * EPS}
    agreement.check(
        f"clean and noisy logit, {steps} steps, {len(measured)} problems",
        prediction=np.array(predicted),
        estimate=exact(np.array(measured)),
        margin=rounding,
    )
    agreement.check("largest spread of logits within a segment", prediction=0, estimate=exact(spreads.max()), margin=rounding)
    agreement.control("b + b′ for b − b′ in q", prediction=np.array(swapped), estimate=exact(np.array(measured)), margin=rounding)

    a, b, other, noise_level = 1.0, 0.5, 0.25, 0.3
    case = equicorrelated(SIZE, diagonal=a, within=b, between=other, noise_level=noise_level)
    times = np.geomspace(1, 1e4, 25)
    rtol = 1e-8

    def flow() -> dict[str, Array]:
        return {"logits": np.asarray(gradient_flow(case.kernel, case.observed, times=times, rtol=rtol).logits)}

    logits = agreement.kept("flow of equicorrelated classes", flow, a=a, b=b, other=other, noise_level=noise_level, rtol=rtol)["logits"]
    clean, noise, _ = margins(case, logits)
    coupling = equicorrelated_coupling(a, b, other, class_size=SIZE)
    foreseen = equicorrelated_flow((a - b) * times / case.n, coupling=coupling, noise_level=noise_level)
    # Stated errors of the two integrators, relative to the largest logit, ten times the reduction's 1e-10 for its step control.
    integration = {"integration": (rtol + 1e-9) * float(np.abs(logits).max())}
    both = np.array([foreseen.clean_margin, foreseen.noise_margin])
    agreement.check(
        "the same under gradient flow, t = 1 … 1e4", prediction=both, estimate=exact(np.array([clean, noise])), margin=integration
    )
    by_step = equicorrelated_flow(times / case.n, coupling=coupling, noise_level=noise_level)
    agreement.control(
        "time t/n for (a − b)t/n",
        prediction=np.array([by_step.clean_margin, by_step.noise_margin]),
        estimate=exact(np.array([clean, noise])),
        margin=integration,
    )
    agreement.figure(
        "comparison",
        title="Clean and noisy logit of an equicorrelated kernel",
        caption="Logit towards the true label. Dots: gradient flow of all 100 samples; lines: two differential equations. δ = 0.3, q = 25.",
        arrays={
            "clean/x": times,
            "clean/prediction": foreseen.clean_margin,
            "clean/measured": clean,
            "noise/x": times,
            "noise/prediction": foreseen.noise_margin,
            "noise/measured": noise,
        },
        labels={"x": "time t", "y": "logit", "xscale": "log"},
    )


@pytest.mark.claim("X6")
@pytest.mark.regime("fixed kernel", "equicorrelated classes")
def test_turning_point_of_the_noisy_loss(agreement: Agreement) -> None:
    """Descent on all samples: the step at which the noisy loss turns, and α there; below q = 1/(1 − 2δ) no rise at any step."""
    steps, wrong, judged, at_turn, predicted, width, ratios, tolerance = 1500, 0, 0, [], [], [], [], []
    problems = [(q, noise_level) for q in (6.0, 10.0, 30.0, 100.0) for noise_level in LEVELS]
    descents = agreement.kept("descents to twice the turning time", partial(paths_about_the_turn, problems, steps=steps), steps=steps)
    for (q, noise_level), loss, alpha in zip(problems, descents["loss"], descents["alpha"], strict=True):
        change, target = np.diff(loss), turning_alpha(q, noise_level)
        # Ties: a change of the loss below n·eps has no sign.
        sure = np.abs(change) > 2 * SIZE * EPS
        wrong += int((((change > 0) != (alpha[:-1] < target)) & sure).sum())
        judged += int(sure.sum())
        peak = int(np.argmax(loss))
        at_turn.append(alpha[peak])
        predicted.append(target)
        width.append(alpha[peak + 1] - alpha[peak - 1])
        if q >= 10:
            ratios.append(2 * peak / steps)  # the run ends at twice s*
            tolerance.append(2 / peak)
    none = {"none allowed": 0.0}
    agreement.check(
        f"steps at which the noisy loss rises and α ≥ α*, or the reverse, of {judged}", prediction=0, estimate=exact(wrong), margin=none
    )
    margin = {"steps beside the peak": np.array(width)}
    agreement.check("α at the peak of the noisy loss", prediction=np.array(predicted), estimate=exact(np.array(at_turn)), margin=margin)
    agreement.control("α* = 1", prediction=np.ones(len(at_turn)), estimate=exact(np.array(at_turn)), margin=margin)
    time = {"asymptotic, q ≥ 10": 0.05, "one step": np.array(tolerance)}
    agreement.check("time of the peak over s*", prediction=1, estimate=exact(np.array(ratios)), margin=time)
    agreement.control("2s* for s*", prediction=2, estimate=exact(np.array(ratios)), margin=time)

    rises = {share: [first_and_later_rise(share, noise_level) for noise_level in LEVELS] for share in (0.98, 1.02)}
    agreement.check(
        "first change of the noisy loss, q 2 % above 1/(1 − 2δ)",
        prediction=Range(lower=0),
        estimate=exact(np.array([first for first, _ in rises[1.02]])),
        margin=none,
    )
    below = exact(np.array([later for _, later in rises[0.98]]))
    agreement.check("largest change in any step, q 2 % below", prediction=Range(upper=0), estimate=below, margin=none)
    agreement.control("q 2 % below 1/(1 − 2δ) taken for enough", prediction=Range(lower=0), estimate=below, margin=none)


def paths_about_the_turn(problems: list[tuple[float, float]], *, steps: int) -> dict[str, list[Array]]:
    """Mean noisy loss and α of descent on all samples, from the start to twice the turning time s* ``[problems, steps + 1]`` each."""
    found: dict[str, list[Array]] = {"loss": [], "alpha": []}
    for q, noise_level in problems:
        case = with_coupling(q, noise_level)
        rate = 2 * turning_time(q, noise_level) * case.n / (1 - q / (SIZE + q)) / steps
        logits = np.asarray(gradient_descent(case.kernel, case.observed, learning_rate=rate, steps=steps).logits)
        found["loss"].append(noisy_loss(case, logits))
        found["alpha"].append(summed_residual_ratio(case, logits))
    return found


def noisy_loss(case: Case, logits: Array) -> Array:
    """Mean loss of the noisy samples against their observed labels ``[T]``."""
    run = SegmentRun(logits[:, :, None], case.observed[:, None], case.segments.noise()[:, None])
    return run.mean(run.losses, run.noisy)[:, 0]


def first_and_later_rise(share: float, noise_level: float) -> tuple[float, float]:
    """Change of the noisy loss in the first of 200 short steps, and the largest change in any of them, at q = share/(1 − 2δ)."""
    case = with_coupling(share / (1 - 2 * noise_level), noise_level)
    logits = np.asarray(gradient_descent(case.kernel, case.observed, learning_rate=0.1, steps=200).logits)
    change = np.diff(noisy_loss(case, logits))
    return float(change[0]), float(change.max())
