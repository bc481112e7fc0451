"""Beyond the papers (R3): with a common residual r to the true label, descent on D is descent on D̂ times 1 − δ/r = (1 − δ)(1 − α_t)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.cases import balanced_clusters, two_arcs
from tests.support.kernel_data import exact_flips
from theory.alpha import alpha_recursion, cluster_kernel_scale, effective_learning_rate, initial_alpha, step_factor_from_residual
from theory.dynamics import gradient_descent
from theory.segments import SegmentGeometry, Segments
from theory.truth_gradient import TruthGeometry, truth_gram

Array = NDArray[np.float64]
EPS = np.finfo(float).eps


@pytest.mark.claim("R3")
@pytest.mark.regime("fixed kernel", "collapsed classes")
def test_factor_in_collapsed_classes(agreement: Agreement) -> None:
    """Gradients of all samples on observed and on true labels against the factor that the recursion of α foretells."""
    size, steps, rate = 50, 40, 1.0
    measured, lengths, residuals, from_residual, from_alpha, printed, left = [], [], [], [], [], [], []
    for level in (0.1, 0.2, 0.3, 0.4):
        for within, between in ((1.0, 0.2), (2.0, 0.9), (2.0, -0.3)):
            case = balanced_clusters(size, within=within, between=between, noise_level=level)
            logits = np.asarray(gradient_descent(case.kernel, case.observed, learning_rate=rate, steps=steps).logits)
            probability = 1 / (1 + np.exp(-logits))
            noisy, clear = probability - case.observed, probability - case.truth
            moved = noisy @ case.kernel, clear @ case.kernel
            # ∇L(D) = s∇L(D̂) means that both move every logit in the ratio s; samples of class 1 are shown.
            measured.append((moved[0] / moved[1])[:, -1])
            lengths.append((moved[0] / moved[1])[:, 0])
            residuals.append(np.abs(clear).mean(axis=1))
            kappa = cluster_kernel_scale(within, between)
            alpha = alpha_recursion(initial_alpha(level), learning_rate=rate, kernel_scale=kappa, noise_level=level, steps=steps)
            r = level / (level + (1 - level) * alpha)
            from_residual.append(step_factor_from_residual(r, noise_level=level))
            from_alpha.append(effective_learning_rate(1.0, alpha=alpha, noise_level=level))
            printed.append(effective_learning_rate(1.0, alpha=alpha, noise_level=level, form="printed"))
            left.append(r)
    # n products in each step, and in each of the two movements, whose ratio is at most one; r ≥ δ ≥ 0.1 divides once.
    rounding = {"rounding": 10 * steps * 2 * size * EPS}
    both = exact(np.array([measured, lengths]))
    agreement.check(
        "movement of the logits under D over that under D̂, against 1 − δ/r",
        prediction=np.array(from_residual),
        estimate=both,
        margin=rounding,
    )
    agreement.check("the same against (1 − δ)(1 − α_t)", prediction=np.array(from_alpha), estimate=both, margin=rounding)
    agreement.check("mean residual to the true label", prediction=np.array(left), estimate=exact(np.array(residuals)), margin=rounding)
    agreement.check(
        "1 − δ/r with the residual as measured",
        prediction=1 - np.repeat([0.1, 0.2, 0.3, 0.4], 3)[:, None] / np.array(residuals),
        estimate=both,
        margin=rounding,
    )
    agreement.control("the printed (1 − α_t)/(1 + α_t)", prediction=np.array(printed), estimate=both, margin=rounding)


@pytest.mark.claim("R3")
@pytest.mark.regime("fixed kernel", "two arcs")
def test_factor_of_spread_classes(agreement: Agreement) -> None:
    """The worked example: arcs of 60°, δ = 0.3, η = 0.5. The corrected factor is nearer than the printed one; the direction is lost."""
    level, draws, rate = 0.3, 24, agreement.error_rate
    case = two_arcs(100, noise_level=level)
    observed = exact_flips(agreement.rng, case.truth, level, draws)
    recorded = [0, 20, 50, 100]
    path = gradient_descent(case.kernel, observed, learning_rate=0.5, steps=100, record=recorded)
    grams = np.stack(
        [
            truth_gram(case.kernel, np.asarray(path.logits)[..., draw], Segments.from_labels(case.truth, observed[:, draw]))
            for draw in range(draws)
        ]
    )
    geometry = TruthGeometry.from_gram(grams)
    alpha = SegmentGeometry.from_gram(grams[..., :4, :4]).pooled_alpha
    corrected = effective_learning_rate(1.0, alpha=alpha, noise_level=level)
    printed = effective_learning_rate(1.0, alpha=alpha, noise_level=level, form="printed")
    true = geometry.step_factor
    nearer = np.abs(true - printed) - np.abs(true - corrected)
    none = {"none allowed": 0.0}
    for index in (1, 2):
        gain = mean_interval(nearer[:, index], error_rate=rate)
        name = f"t = {recorded[index]}: distance of the printed factor from the true one, less that of the corrected"
        agreement.check(name, prediction=Range(lower=0), estimate=gain, margin=none)
        agreement.control(f"{name}, exchanged", prediction=Range(upper=0), estimate=gain, margin=none)
    at_start = mean_interval(true[:, 0], error_rate=rate)
    agreement.check("first factor", prediction=1 - 2 * level, estimate=at_start, margin={"resolution asked for": 0.05})
    drop = mean_interval(geometry.cosine_with_truth[:, 0] - geometry.cosine_with_truth[:, 3], error_rate=rate)
    agreement.check(
        "fall of cos∠(∇L(D), ∇L(D̂)) from t = 0 to 100: at least a half", prediction=Range(lower=0.5), estimate=drop, margin=none
    )
    shown = "; ".join(
        f"t = {t}: {true[:, i].mean():.3f} ± {true[:, i].std():.3f} true, {printed[:, i].mean():.3f} printed, {corrected[:, i].mean():.3f} "
        f"corrected, cos {geometry.cosine_with_truth[:, i].mean():.3f} ± {geometry.cosine_with_truth[:, i].std():.3f}"
        for i, t in enumerate(recorded)
    )
    agreement.note(f"Mean ± standard deviation of {draws} label draws of 200 samples. {shown}.")
