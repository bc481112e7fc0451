"""Beyond the papers (R2): α_t = 1 shows in the residual to the observed labels, 2δ(1 − δ), without any true label."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq

from empirical.inference import exact, mean_interval
from empirical.monitor import EarlyStoppingMonitor
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.cases import balanced_clusters
from tests.support.kernel_data import SOURCES, Source, early_curves, early_key, early_run, exact_flips, sources
from theory.dynamics import gradient_descent
from theory.segment_history import segment_history
from theory.segments import segment_geometry
from theory.stopping_rules import label_free_residual, label_free_stopping_time

Array = NDArray[np.float64]
EPS = np.finfo(float).eps
LEVELS = (0.1, 0.2, 0.3, 0.4)


@pytest.mark.claim("R2")
@pytest.mark.regime("fixed kernel", "collapsed classes")
def test_residuals_where_alpha_is_one(agreement: Agreement) -> None:
    """The margin at which the segment gradients are equally long, found by bisection, and the residuals there; then a whole run."""
    size, steps, rate = 50, 300, 2.0
    to_truth, to_observed, wrong, judged, above = [], [], 0, 0, []
    for level in LEVELS:
        case = balanced_clusters(size, within=1.0, between=0.2, noise_level=level)

        def residuals(margin: float) -> tuple[Array, Array]:
            probability = 1 / (1 + np.exp(-np.where(case.truth == 1, margin, -margin)))  # noqa: B023
            return probability - case.truth, probability - case.observed  # noqa: B023

        def log_alpha(margin: float) -> float:
            return float(np.log(segment_geometry(case.kernel, residuals(margin)[1], case.segments).alpha[1]))  # noqa: B023

        equal = [float(np.abs(part).mean()) for part in residuals(brentq(log_alpha, -5, 5, xtol=1e-14, rtol=1e-14))]
        to_truth.append(equal[0])
        to_observed.append(equal[1])
        logits = np.asarray(gradient_descent(case.kernel, case.observed, learning_rate=rate, steps=steps).logits)
        observed = 1 / (1 + np.exp(-logits)) - case.observed
        alpha = np.asarray(segment_history(case.kernel, logits, case.segments).alpha)[:, 1]
        beyond = np.abs(observed).mean(axis=1) - label_free_residual(level)
        # Where both are at their limit up to rounding there is no order to judge.
        clear = np.abs(beyond) > 2 * steps * size * EPS
        wrong += int(((alpha < 1) != (beyond > 0))[clear].sum())
        judged += int(clear.sum())
        above.append(beyond[-1])
    # n terms in each norm and mean; the root of ln α, of slope one, is as exact as they are.
    rounding = {"rounding": 4 * 2 * size * EPS}
    found = exact(np.array(to_truth))
    agreement.check("mean residual to the true label where α = 1", prediction=np.array(LEVELS), estimate=found, margin=rounding)
    target = np.array([label_free_residual(level) for level in LEVELS])
    seen = exact(np.array(to_observed))
    agreement.check("mean residual to the observed label there, 2δ(1 − δ)", prediction=target, estimate=seen, margin=rounding)
    agreement.check(
        f"steps of descent with α < 1 and a residual below 2δ(1 − δ), or the reverse, of {judged}",
        prediction=0,
        estimate=exact(wrong),
        margin={"none allowed": 0.0},
    )
    # 1 − α decays at the rate ηκδ(1 − δ) per step, κ = 0.4, at first no slower than that of the flow; twice its starting size for safety.
    decay = [np.exp(-steps * rate * 0.4 * level * (1 - level)) for level in LEVELS]
    agreement.check(
        f"residual less 2δ(1 − δ) after {steps} steps: approached, not crossed",
        prediction=Range(lower=0),
        estimate=exact(np.array(above)),
        margin={"rounding": 2 * steps * size * EPS},
    )
    agreement.check(
        "its size there",
        prediction=0,
        estimate=exact(np.array(above)),
        margin={"still to come, e^(−ηκδ(1 − δ)t)": np.array(decay), "rounding": 2 * steps * size * EPS},
    )
    agreement.control("δ for 2δ(1 − δ)", prediction=np.array(LEVELS), estimate=seen, margin=rounding)
    wrong_level = np.array([label_free_residual(level + 0.01) for level in LEVELS])
    agreement.control("δ off by 0.01 in the rule", prediction=wrong_level, estimate=seen, margin=rounding)


@pytest.mark.claim(
    "R2",
    expected="ASSUMPTION VIOLATED",
    reason="the classes are spread out: residuals differ between samples, and single noisy labels fitted early lower their mean",
)
@sources(SOURCES)
def test_rule_on_spread_classes(agreement: Agreement, source: Source) -> None:
    """When the rule stops, beside the turn of the noisy loss, the smallest test error, and a validation set with noisy labels."""
    run, rate = early_curves(agreement, source), agreement.error_rate
    mean = run.residual
    draws = mean.shape[1]

    def stops(level: float) -> Array:
        return np.array([label_free_stopping_time(run.times, mean[:, r], level, interpolate=False) for r in range(draws)])

    rule = stops(source.noise_level)
    reached = np.isfinite(rule)
    assert reached.sum() > draws // 2, "the run must be long enough for the rule"
    monitor = partial(monitored_stops, source, agreement.seed_salt)
    monitored = agreement.kept(f"monitor, {source.data}", monitor, **early_key(agreement, source))["stops"]
    agreement.check(
        f"draws of {draws} in which the monitor, step by step, stops elsewhere than the rule on the whole record",
        prediction=0,
        estimate=exact(int((monitored != rule).sum())),
        margin={"none allowed": 0.0},
    )
    at = np.searchsorted(run.times, rule[reached])
    # Coefficient of variation of the residual to the true label at that time; a common residual gives zero, up to n·eps of its mean.
    agreement.hypothesis(
        "spread of the residuals to the true label over their mean, where the rule stops",
        prediction=0,
        estimate=mean_interval(run.spread[at, np.flatnonzero(reached)], error_rate=rate),
        margin={"rounding": 1000 * EPS},  # n < 1000
    )
    ratio = rule[reached] / run.times[run.peak[reached]]
    agreement.check(
        "time of the rule over the turn of the noisy loss",
        prediction=1,
        estimate=mean_interval(ratio, error_rate=rate),
        margin={"one step": float(run.rate / run.times[run.peak].min())},
    )
    off = stops(source.noise_level - 0.05)
    moved = np.where(np.isfinite(off), off, run.times[-1])[reached] - rule[reached]
    agreement.control(
        "δ less by 0.05 in the rule: the same time",
        prediction=0,
        estimate=mean_interval(moved / run.rate, error_rate=rate),
        margin={"one step": 1.0},
    )
    # A validation set: every other test point, with labels as noisy as the training set's; test errors are over all points.
    at_validation = agreement.drawn("validation", partial(validated_stops, source, agreement.seed_salt))["stops"]
    columns = np.arange(draws)
    test = {
        "rule": run.test_error[np.searchsorted(run.times, rule[reached]), columns[reached]].mean(),
        "turn of the noisy loss": run.test_error[run.peak, columns].mean(),
        "smallest": run.test_error[1:].min(axis=0).mean(),
        "noisy validation set": run.test_error[at_validation, columns].mean(),
        "end of the run": run.test_error[-1].mean(),
    }
    times = {
        "rule": rule[reached],
        "noisy-loss turn": run.times[run.peak],
        "smallest test error": run.times[run.stop],
        "noisy validation set": run.times[at_validation],
    }
    agreement.note(
        f"Median times: {', '.join(f'{name} {np.median(values):.3g}' for name, values in times.items())}. "
        f"Mean test error: {', '.join(f'{name} {value:.3f}' for name, value in test.items())}. The rule never stops within "
        f"t = {run.times[-1]:.3g} in {draws - reached.sum()} of {draws} draws, with δ − 0.05 in {draws - np.isfinite(off).sum()}."
    )
    shown = slice(1, None)
    agreement.figure(
        "comparison",
        title="Where the label-free rule stops",
        caption=f"{source.data}, n = {source.n_train or 'all'}, δ = {source.noise_level:g}: mean over {draws} label draws of the test "
        f"error and of the residual to the observed labels. Where that falls to 2δ(1 − δ) (median marked) the rule stops, at a test error "
        f"of {test['rule']:.3f}; the smallest of a draw is {test['smallest']:.3f} on average.",
        arrays={
            "test error/x": run.times[shown],
            "test error/measured": run.test_error[shown].mean(axis=1),
            "observed residual/x": run.times[shown],
            "observed residual/measured": mean[shown].mean(axis=1),
            "level 2δ(1 − δ)/x": run.times[shown],
            "level 2δ(1 − δ)/prediction": np.full(len(run.times) - 1, label_free_residual(source.noise_level)),
        },
        labels={
            "x": "time η·step",
            "y": "error, residual",
            "xscale": "log",
            "mark:rule": f"{np.median(rule[reached]):.6g}",
            "mark:noisy-loss turn": f"{np.median(run.times[run.peak]):.6g}",
        },
    )


def monitored_stops(source: Source, salt: str) -> dict[str, Array]:
    """Time ``[R]`` at which `EarlyStoppingMonitor` stops, fed with logits and observed labels step by step; inf if it does not."""
    run, stops = early_run(source, salt), []
    for draw in range(run.segments.observed.shape[1]):
        monitor = EarlyStoppingMonitor(source.noise_level)
        for time, logits in zip(run.times, run.segments.logits[:, :, draw], strict=True):
            if monitor.update_from_logits(logits, run.segments.observed[:, draw], step=float(time)):
                break
        stops.append(np.inf if monitor.stopped_at is None else float(monitor.stopped_at))
    return {"stops": np.array(stops)}


def validated_stops(source: Source, salt: str, rng: np.random.Generator) -> dict[str, NDArray[np.intp]]:
    """Index ``[R]`` of the smallest error on held-out points with noisy labels."""
    run = early_run(source, salt)
    flips = exact_flips(rng, run.problem.test_truth, source.noise_level, run.test_error.shape[1])
    margin = np.where(flips == 1, 1.0, -1.0)[None] * run.test_logits
    return {"stops": 1 + np.argmin((margin[1:, ::2] < 0).mean(axis=1), axis=0)}
