"""Fig. 11, App. C.2 [A]: the loss on noisy samples rises first and falls later; under full-batch descent it turns where a reaches ρ."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.experiments import experiment
from reports.evidence import Agreement
from tests.support.figure_runs import (
    CNN,
    MANY,
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
from tests.support.histories import History
from tests.support.regimes import TRAINED, Regime
from tests.support.replicates import RARELY, share_of_replicates

Array = NDArray[np.float64]
NONE = {"none allowed": 0.0}
FULL_BATCH = [regime for regime in TRAINED if "7/9" in regime.data]
MINI_BATCHES = [
    Regime("trained network, mini-batches", "digits 7/9", experiment="digits-7-9-sgd"),
    Regime("trained network, mini-batches", "MNIST 7/9", experiment="mnist-7-9-sgd"),
]
LATER = {"cifar10-resnet9": RESNET_LATER}


@pytest.mark.claim("F11")
@figure_regimes([*FULL_BATCH, *MINI_BATCHES, *CNN, *RESNET], later=LATER)
def test_noisy_loss_rises_then_falls(agreement: Agreement, regime: Regime) -> None:
    run, rate = measured(agreement, regime, later=LATER), agreement.error_rate
    loss = run["noise_loss"].values
    # Where the others' peak is; of a few networks, whose statement is about themselves, where their own is.
    peak = left_out_stop(-loss) if len(loss) >= MANY else 1 + np.argmax(loss[:, 1:], axis=1)
    top = at(run, "noise_loss", peak)
    each_network(agreement.check, "rise of the noisy loss from the start to its peak", top - loss[:, 0], error_rate=rate)
    # Single steps on mini-batches scatter: the mean of what is recorded from twice the peak's time on.
    times = run["time"].values
    later = [row[times >= min(2 * times[k], times[-1])].mean() for row, k in zip(loss, peak, strict=True)]
    each_network(agreement.check, "its fall from the peak, from twice that time on", top - np.array(later), error_rate=rate)
    clean = at(run, "clean_loss", peak) - run["clean_loss"].values[:, 0]
    each_network(agreement.control, "clean for noise: rise of the clean loss to that time", clean, error_rate=rate)
    foreseen = None
    labels = {"x": "time η·step", "y": "mean loss", **stop_mark(run)}
    if regime in FULL_BATCH:
        foreseen, history = regime.foreseen(agreement), regime.history(agreement)
        coincidence(agreement, history)
        labels["mark:a = ρ"] = f"{float(np.median(history.times[np.argmax(history.late, axis=1)])):.6g}"
    else:
        a, rho = (run[f"pooled_{name}"].values.mean(axis=0) for name in ("alpha", "rho"))
        agreement.note(
            f"Mean a and ρ of all samples together: {a[0]:.2f} and {rho[0]:.2f} at the start, {a[int(np.median(peak))]:.2f} and "
            f"{rho[int(np.median(peak))]:.2f} at the peak of the noisy loss. With mini-batches row X4 holds on average only."
        )
    time = run["time"].values
    shown = time > 0
    arrays: dict[str, Array] = {}
    theirs = frozen(agreement, regime, run)
    for label in ("clean", "noise"):
        prediction = None if foreseen is None else getattr(foreseen, f"{label}_loss").mean(axis=0)[shown]
        if theirs is not None:
            prediction = theirs.series[f"{label}_loss"][shown]
        arrays |= course(label, time[shown], run[f"{label}_loss"].values[:, shown], prediction)
    level = experiment(regime.experiment, tier=agreement.tier).noise_level
    theory = "Line: the infinite-width run of the same label draws." if foreseen is not None else frozen_caption(theirs)
    agreement.figure(
        "figure_11",
        id=f"figure-11-{regime.id}".lower(),
        title=f"Fig. 11: loss on clean and noisy samples, {regime.data}, δ = {level:g}",
        caption=f"Means and middle 80 % of {len(loss)} networks. The noisy loss rises from {loss[:, 0].mean():.2f} to {top.mean():.2f} at "
        f"η·step = {float(np.median(time[peak])):.3g} and ends at {loss[:, -1].mean():.2f}. {theory}",
        arrays=arrays,
        labels=labels,
    )


def coincidence(agreement: Agreement, history: History) -> None:
    """The peak lies between the two records around the first a > ρ; not where the sizes become equal, a = 1."""
    peak = np.argmax(history.noise_loss, axis=1)
    decided = history.dominant | history.late
    crossing = np.argmax(history.late, axis=1)
    ties = np.array([(~row[:end]).sum() for row, end in zip(decided, crossing, strict=True)])
    equal = history.pooled_alpha >= 1
    reached = np.where(equal.any(axis=1), np.argmax(equal, axis=1), equal.shape[1] - 1)
    for judge, text, apart in (
        (agreement.check, "first a > ρ", np.maximum(np.abs(peak - crossing) - ties, 0)),
        (agreement.control, "a = 1", np.abs(peak - reached)),
    ):
        share = share_of_replicates(apart > 1, error_rate=agreement.error_rate)
        judge(f"share of networks whose noisy loss peaks away from {text}", prediction=RARELY, estimate=share, margin=NONE)
