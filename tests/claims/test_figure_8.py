"""Fig. 8 [A], [B]: single-logit ratio of clean to noisy gradient of networks with ten classes; it starts at (C − 1)(1 − δ)/δ and falls."""

from __future__ import annotations

import numpy as np
import pytest

from empirical.experiments import experiment
from empirical.inference import mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.figure_runs import (
    CNN,
    RESNET,
    RESNET_LATER,
    at,
    course,
    each_network,
    figure_regimes,
    frozen,
    frozen_caption,
    left_out_stop,
    measured,
    stop_mark,
)
from tests.support.regimes import Regime
from theory.initialization_multiclass import multiclass_segment_ratio

NONE = {"none allowed": 0.0}
# "Starts near": PyTorch's small random outputs move it by a few per cent (row I5), the norms of a finite segment by as much (row M3).
NEAR = np.log(1.2)
LATER = {"cifar10-resnet9": RESNET_LATER}


@pytest.mark.claim("F8")
@figure_regimes([*CNN, *RESNET], later=LATER)
def test_single_logit_ratio(agreement: Agreement, regime: Regime) -> None:
    run, rate = measured(agreement, regime, later=LATER), agreement.error_rate
    level = experiment(regime.experiment, tier=agreement.tier).noise_level
    ratio = -np.log(run["own_alpha"].values)  # [R, T, C]
    mean = ratio.mean(axis=2)
    printed = np.log(multiclass_segment_ratio(level, n_classes=10))
    start = mean_interval(mean[:, 0], error_rate=rate)
    near = Range(printed - NEAR, printed + NEAR)
    agreement.check(f"log-ratio at the start: log {np.exp(printed):.1f} to within a fifth", prediction=near, estimate=start, margin=NONE)
    for text, other in (
        ("another logit", multiclass_segment_ratio(level, n_classes=10, reading="logit")),
        ("the binary (1 − δ)/δ", (1 - level) / level),
    ):
        wrong = Range(np.log(other) - NEAR, np.log(other) + NEAR)
        agreement.control(f"log-ratio at the start: that of {text}, log {other:.2f}", prediction=wrong, estimate=start, margin=NONE)
    stop = left_out_stop(run["test_error"].values)
    fall = mean[:, 0] - mean[np.arange(len(stop)), stop]
    each_network(agreement.check, "fall of the log-ratio to the stopping point", fall, error_rate=rate)
    each_network(agreement.control, "clean and noise exchanged: fall of the log-ratio to the stopping point", -fall, error_rate=rate)
    rises = np.diff(mean.mean(axis=0))[: int(np.median(stop))]
    agreement.note(
        f"Geometric mean of the ratio: {np.exp(mean[:, 0].mean()):.1f} at the start, "
        f"{np.exp(mean[np.arange(len(stop)), stop].mean()):.2f} at the minimum of the test error, "
        f"{np.exp(mean[:, -1].mean()):.2f} at the end; from record to record it rises {int((rises > 0).sum())} times of {len(rises)} "
        f"before the stopping point. −cos∠(g_clean, g_noise) there: {at(run, 'own_rho', stop).mean():.3f}."
    )
    shown = run["time"].values > 0
    time, arrays = run["time"].values[shown], {}
    for c in (0, 4, 9):
        one = course(f"class {run['class_'].values[c]}", time, np.exp(ratio[:, shown, c]), log=True)
        arrays |= {name: part for name, part in one.items() if not name.endswith(("lower", "upper"))}
    theirs = frozen(agreement, regime, run)
    arrays |= course("all classes", time, np.exp(mean[:, shown]), None if theirs is None else np.exp(theirs.ratio[shown]), log=True)
    agreement.figure(
        "figure_8",
        id=f"figure-8-{regime.id}".lower(),
        title=f"Fig. 8: clean over noisy gradient at a class's own logit, {regime.data}, δ = {level:g}",
        caption=f"Geometric means of {len(stop)} networks, for the mean of all classes with its range. At the start the theory has "
        f"(C − 1)(1 − δ)/δ = {np.exp(printed):.1f}. {frozen_caption(theirs)}",
        arrays=arrays,
        labels={"x": "time η·step", "reference:(C − 1)(1 − δ)/δ": f"{np.exp(printed):.6g}", **stop_mark(run)},
    )
