"""Assumption 4.1 [A, B]: g_noise^(c)(w_t) = −α_t g_clean^(c)(w_t) for both classes. Vacuous on generic data, exact on symmetric data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval, simultaneous_band
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.cases import Case, symmetric_locations
from tests.support.regimes import FIXED_KERNEL, TRAINED, Regime, regimes
from theory.dynamics import gradient_descent
from theory.segments import Segments
from theory.step_size import max_learning_rate

Array = NDArray[np.float64]
EPS = np.finfo(float).eps


def distances(kernel: Array, logits: Array, segments: Segments) -> tuple[Array, Array]:
    """min_α ‖g_noise^(c) + αg_clean^(c)‖/‖g_noise^(c)‖ ``[T, 2]``, from the vector itself, and α^(c) ``[T, 2]``.

    The distance is taken from the residual of the projection, not from 1 − cos², which would lose half of the digits.
    """
    residual = 1 / (1 + np.exp(-logits)) - segments.observed
    size, alpha = np.empty((len(logits), 2)), np.empty((len(logits), 2))
    for c in (0, 1):
        clean, noise = residual * segments.clean(c), residual * segments.noise(c)
        moved = clean @ kernel
        factor = -np.einsum("tn,tn->t", noise, moved) / np.einsum("tn,tn->t", clean, moved)
        rest = noise + factor[:, None] * clean
        norm = np.einsum("tn,tn->t", noise @ kernel, noise)
        size[:, c] = np.sqrt(np.maximum(np.einsum("tn,tn->t", rest @ kernel, rest), 0) / norm)
        alpha[:, c] = np.sqrt(norm / np.einsum("tn,tn->t", moved, clean))
    return size, alpha


def run(case: Case, *, members: NDArray[np.intp] | None = None, steps: int = 200) -> tuple[Array, Array]:
    """Distances and α along a run from f = ½ at a quarter of the largest stable rate, on all samples or on some."""
    some = np.arange(case.n) if members is None else members
    kernel, truth, observed = case.kernel[np.ix_(some, some)], case.truth[some], case.observed[some]
    path = gradient_descent(kernel, observed, learning_rate=0.25 * max_learning_rate(kernel), steps=steps, record=range(steps + 1))
    return distances(kernel, np.asarray(path.logits), Segments.from_labels(truth, observed))


@pytest.mark.claim(
    "D1", expected="AGREES", reason="two rings of locations with a share δ of flips at each meet the hypotheses of the exact case"
)
@pytest.mark.regime("fixed kernel", "symmetric rings")
def test_exact_on_symmetric_data(agreement: Agreement) -> None:
    case = symmetric_locations()
    distance, alpha = run(case)
    # ‖rest‖² is a sum of n² products of relative rounding n·eps, taken out of a square root; 200 steps add their own roundings.
    margin = {"rounding": np.sqrt(case.n * EPS)}
    agreement.check("largest ‖g_noise + αg_clean‖/‖g_noise‖, 200 steps", prediction=0, estimate=exact(distance.max()), margin=margin)
    agreement.check("largest difference of the classes' α", prediction=0, estimate=exact(np.ptp(alpha, axis=1).max()), margin=margin)
    agreement.check("largest α_t: below 1, up to rounding", prediction=Range(lower=0, upper=1), estimate=exact(alpha.max()), margin=margin)

    uneven = replace(case, observed=np.r_[case.truth[:10], case.observed[10:]])  # one location without noise
    agreement.control("noise fraction 0 at one location", prediction=0, estimate=exact(run(uneven)[0].max()), margin=margin)
    agreement.control(
        "80 samples of one class, 20 of the other: difference of the classes' α",
        prediction=0,
        estimate=exact(np.ptp(run(case, members=np.arange(100))[1], axis=1).max()),
        margin=margin,
    )


@pytest.mark.claim("D1")
@regimes([*FIXED_KERNEL, *TRAINED])
def test_monitor_on_data(agreement: Agreement, regime: Regime) -> None:
    """sin∠(g_noise^(c), −g_clean^(c)) is not 0 all the time; and being close to it does not tell the early stage from the late one."""
    history = regime.history(agreement)
    sine = np.sqrt(np.maximum(1 - history.rho**2, 0))
    # 1 − ρ² carries twice the rounding of ρ.
    rounding = float(np.sqrt(2 * history.resolution))
    band = simultaneous_band(sine, error_rate=agreement.error_rate)
    agreement.hypothesis(
        f"sin∠(g_noise, −g_clean) of both classes at {len(history.times)} recorded times",
        prediction=0,
        estimate=band,
        margin={"rounding": rounding},
    )
    excluded = (np.asarray(band.lower) > rounding).all(axis=1)
    agreement.note(
        f"Assumption 4.1 is excluded at {excluded.sum()} of {excluded.size} recorded times, first at η·step = "
        f"{history.times[np.argmax(excluded)]:.3g} with sin∠ = {sine.mean(axis=(0, 2))[np.argmax(excluded)]:.4f} on average; least over "
        f"time and classes is {sine.min(axis=(1, 2)).mean():.4f}."
    )
    late = history.late
    if late.any():
        difference = history.rho.min(axis=2)
        agreement.note(
            f"−cos∠ is at least {difference[history.early].min():.4f} while a < ρ and at least {difference[late].min():.4f} after: "
            "collinearity does not mark the end of the early stage."
        )
    first = float(np.abs(np.diff(history.alpha[:, 0], axis=1)).mean())
    later = np.ptp(history.alpha, axis=2).mean(axis=0).max()
    agreement.note(f"|α^(1) − α^(0)|: {first:.4f} at t = 0, at most {later:.4f} later (means over replicates).")
    agreement.correct(
        "−cos∠(g_noise, g_clean) at t = 0: opposite to within 20°",
        prediction=Range(lower=np.cos(np.deg2rad(20))),
        estimate=mean_interval(history.rho[:, 0].min(axis=1), error_rate=agreement.error_rate),
        margin={"none": 0.0},
    )
    agreement.control(
        "clean and noise exchanged: α stays in (0, 1)",
        prediction=Range(lower=0, upper=1),
        estimate=mean_interval(1 / history.alpha[:, 0].mean(axis=1), error_rate=agreement.error_rate),
        margin={"none": 0.0},
    )
