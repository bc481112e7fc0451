"""Eq. (10) [A], Eq. (7) [B]: g_clean^(c) = ĝ^(c)/(1 + α_t). Wrong for t > 0; the factor is 1 − δ at every t."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval
from reports.evidence import Agreement
from tests.support.cases import Case, balanced_clusters, symmetric_locations
from tests.support.paired import label_draws, most_telling_time, paired
from tests.support.regimes import FIXED_KERNEL, TRAINED, Regime, regimes
from theory.alpha import alpha_recursion, initial_alpha
from theory.dynamics import gradient_descent
from theory.step_size import max_learning_rate
from theory.truth_gradient import TruthGeometry, truth_gram

Array = NDArray[np.float64]
EPS = np.finfo(float).eps


@pytest.mark.claim("D2")
@pytest.mark.regime("algebra", "random features")
def test_relabelling_is_not_a_change_of_sign(agreement: Agreement) -> None:
    """The identity ĝ = g_clean − g_noise + Σ_noise (2f − 1)φ holds for any features and logits; Eq. (10) is it without its last term."""
    identity, printed = [], []
    n, p = 40, 60
    for _ in range(500):
        features, logits = agreement.rng.normal(size=(n, p)), 2 * agreement.rng.normal(size=n)
        truth = agreement.rng.integers(0, 2)
        noisy = np.arange(n) < agreement.rng.integers(1, n)
        f = 1 / (1 + np.exp(-logits))
        observed = np.where(noisy, 1 - truth, truth)
        clean, noise = ((f - observed) * ~noisy) @ features, ((f - observed) * noisy) @ features
        relabelled, extra = (f - truth) @ features, ((2 * f - 1) * noisy) @ features
        size = np.linalg.norm(relabelled)
        identity.append(np.linalg.norm(relabelled - (clean - noise + extra)) / size)
        printed.append(np.linalg.norm(relabelled - (clean - noise)) / size)
    # Sums of n products in p coordinates, each of relative rounding n·eps; cancellation costs less than a factor 100.
    margin = {"rounding": 100 * n * EPS}
    agreement.check("largest ‖ĝ − (g_clean − g_noise)‖/‖ĝ‖", prediction=0, estimate=exact(max(printed)), margin=margin)
    agreement.correct("largest ‖ĝ − (g_clean − g_noise + Σ(2f − 1)φ)‖/‖ĝ‖", prediction=0, estimate=exact(max(identity)), margin=margin)
    agreement.control("the identity with its last term dropped", prediction=0, estimate=exact(min(printed)), margin=margin)


@pytest.mark.claim("D2")
@pytest.mark.regime("fixed kernel", "symmetric rings")
def test_factor_where_the_assumption_is_exact(agreement: Agreement) -> None:
    """Two rings of locations with the share δ = 0.3 of flips at each: Assumption 4.1 holds at all times though no class is collapsed (D1).

    Nothing in the kernel forces relabelled samples to move like clean ones: one location without noise is enough to part them.
    """
    case, noise_level, steps = symmetric_locations(noise_level=0.3), 0.3, 200
    share, cosine, alpha = along_descent(case, steps)
    # A step adds n products, an inner product n² of them, each of relative rounding eps.
    margin = {"rounding": 2 * case.n * steps * EPS}
    printed = 1 / (1 + alpha)
    agreement.check(
        f"‖g_clean‖/‖ĝ‖ against 1/(1 + α_t), {steps} steps",
        prediction=printed[-1],
        estimate=exact(share[-1]),
        margin=margin,
        expected="DISAGREES",
    )
    agreement.check("the same at t = 0", prediction=printed[0], estimate=exact(share[0]), margin=margin, expected="AGREES")
    agreement.correct(f"‖g_clean‖/‖ĝ‖ against 1 − δ, {steps} steps", prediction=1 - noise_level, estimate=exact(share), margin=margin)
    agreement.correct("cos∠(g_clean, ĝ)", prediction=1.0, estimate=exact(cosine), margin=margin)
    agreement.control("δ off by one sample in a hundred", prediction=1 - 0.31, estimate=exact(share), margin=margin)
    uneven = replace(case, observed=np.r_[case.truth[:10], case.observed[10:]])
    realised = [1 - uneven.segments.noise(c).sum() / (case.n / 2) for c in (0, 1)]
    parted = exact(along_descent(uneven, steps)[0])
    agreement.control("one location without noise: 1 − δ of the class", prediction=realised, estimate=parted, margin=margin)

    # A class at one location, ηκ = 1: α_t from the recursion of row X1, the lengths from the kernel and the descent.
    one = balanced_clusters(100, within=1.0, between=0.0, noise_level=noise_level)
    share, _, _ = along_descent(one, 10, rate=2.0)
    end = alpha_recursion(initial_alpha(noise_level), learning_rate=1.0, kernel_scale=1.0, noise_level=noise_level, steps=10)[-1]
    margin = {"rounding": 2 * one.n * 10 * EPS}
    agreement.correct("collapsed class: 1 − δ", prediction=1 - noise_level, estimate=exact(share[-1]), margin=margin)
    agreement.control(f"collapsed class: 1/(1 + α_t), α_10 = {end:.3f}", prediction=1 / (1 + end), estimate=exact(share[-1]), margin=margin)


def along_descent(case: Case, steps: int, *, rate: float | None = None) -> tuple[Array, Array, Array]:
    """‖g_clean^(c)‖/‖ĝ^(c)‖, cos∠(g_clean^(c), ĝ^(c)) and α^(c) of both classes along descent ``[T, 2]`` each."""
    eta = 0.25 * max_learning_rate(case.kernel) if rate is None else rate
    path = gradient_descent(case.kernel, case.observed, learning_rate=eta, steps=steps)
    gram = truth_gram(case.kernel, path.logits, case.segments)
    geometry, squares = TruthGeometry.from_gram(gram), np.einsum("taa->ta", gram)
    return np.asarray(geometry.clean_share), np.asarray(geometry.clean_cosine), np.sqrt(squares[:, 2:4] / squares[:, :2])


@pytest.mark.claim("D2")
@regimes([*FIXED_KERNEL, *TRAINED])
def test_factor_on_data(agreement: Agreement, regime: Regime) -> None:
    """‖ĝ^(c)‖/‖g_clean^(c)‖, mean over the two classes, where printed and corrected form differ most for their margin."""
    history, rate = regime.history(agreement), agreement.error_rate
    noise_level = history.noise_level
    measured = history.truth_ratio.mean(axis=2)
    printed = 1 + history.alpha.mean(axis=2)
    corrected = measured[:, :1]  # 1/(1 − δ) as each label draw realises it; judged against 1/(1 − δ) itself below
    # ĝ = g_clean + g_relabelled; memorisation makes ĝ longer, relative to g_clean, by δ·(its drift).
    own_label = corrected.mean() * noise_level * history.own_label_drift.mean(axis=0)
    rounding = 2 * history.resolution * corrected.mean()
    t = most_telling_time(printed.mean(axis=0), np.full_like(own_label, corrected.mean()), own_label + rounding)
    # The ratio of a label draw is an inverse share, of known spread at t = 0. It moves as residuals grow unequal: for networks by what the
    # infinite-width run of the same label draws foretells, for that run itself at most by the spread at t = 0.
    foreseen, spread = regime.foreseen(agreement), history.share_sd[0] / (1 - noise_level) ** 2
    ratio = None if foreseen is None else foreseen.truth_ratio.mean(axis=2)
    moved = np.full_like(own_label, spread) if ratio is None else np.std(ratio - ratio[:, :1], axis=0)
    draws, later = (sd * label_draws(1.0, replicates=len(measured), error_rate=rate) for sd in (spread, moved))
    margin, when = {"memorised own label": own_label[t], "label draws": later[t], "rounding": rounding}, f"η·step = {history.times[t]:.3g}"

    prediction, estimate = paired(measured[:, t], printed[:, t], error_rate=rate)
    agreement.check(f"‖ĝ‖/‖g_clean‖ against 1 + α_t, {when}", prediction=prediction, estimate=estimate, margin=margin)
    prediction, estimate = paired(measured[:, t], corrected[:, 0], error_rate=rate)
    agreement.correct(f"‖ĝ‖/‖g_clean‖, {when}, against its value at t = 0", prediction=prediction, estimate=estimate, margin=margin)
    prediction, estimate = paired(corrected[:, 0], 1 / (1 - noise_level), error_rate=rate)
    # Its mean is raised by the self-products ‖φ‖² in ‖g‖², by at most 1 − ρ.
    self_products = float(1 - history.rho[:, 0].mean()) / (1 - noise_level)
    start = {"label draws": draws, "self-products": self_products}
    agreement.correct("‖ĝ‖/‖g_clean‖ at t = 0 against 1/(1 − δ)", prediction=prediction, estimate=estimate, margin=start)
    agreement.control("clean and noise exchanged: 1/δ", prediction=1 / noise_level, estimate=estimate, margin=start)

    shown = slice(0, int(np.argmin(history.early.all(axis=0))) or None)
    difference = mean_interval(measured - corrected, error_rate=rate)
    agreement.figure(
        "comparison",
        title="Gradient with true labels over clean gradient",
        caption=f"The ratio stays near 1/(1 − δ) = {1 / (1 - noise_level):.3f} while the printed 1 + α_t rises. Means over replicates, "
        "with intervals of the difference from the replicate's own value at t = 0, time by time.",
        arrays={
            "corrected 1/(1 − δ)/x": history.times[shown],
            "corrected 1/(1 − δ)/prediction": np.full_like(history.times[shown], corrected.mean()),
            "corrected 1/(1 − δ)/measured": measured.mean(axis=0)[shown],
            "corrected 1/(1 − δ)/lower": (corrected.mean() + difference.lower)[shown],
            "corrected 1/(1 − δ)/upper": (corrected.mean() + difference.upper)[shown],
            "corrected 1/(1 − δ)/margin": (own_label + later + rounding)[shown],
            "printed 1 + α_t/x": history.times[shown],
            "printed 1 + α_t/prediction": printed.mean(axis=0)[shown],
        },
        labels={"x": "time η·step", "y": "‖ĝ‖/‖g_clean‖"},
    )
