"""Fig. 11, App. C.2 [A]: the loss on noisy samples rises first and falls later; under full-batch descent it turns where a reaches ρ."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from reports.agreement import Role
from reports.evidence import Agreement
from tests.support.figure_runs import (
    CNN,
    RESNET,
    RESNET_LATER,
    Drawing,
    afterwards,
    at,
    each_network,
    figure_regimes,
    left_out_stop,
)
from tests.support.frozen_kernel import frozen_caption
from tests.support.histories import History
from tests.support.regimes import FULL_BATCH, MINI_BATCHES, Regime
from tests.support.replicates import RARELY, share_of_replicates

Array = NDArray[np.float64]
NONE = {"none allowed": 0.0}


@pytest.mark.claim("F11")
@figure_regimes([*FULL_BATCH, *MINI_BATCHES, *CNN, *RESNET], later=RESNET_LATER)
def test_noisy_loss_rises_then_falls(agreement: Agreement, regime: Regime) -> None:
    figure = Drawing.of(agreement, regime, later=RESNET_LATER)
    run = figure.run
    loss = run["noise_loss"].values
    peak = left_out_stop(-loss)  # where the others' is: a loss that scatters about a plateau is not above itself there
    top = at(run, "noise_loss", peak)
    each_network(agreement, "rise of the noisy loss from the start to its peak", top - loss[:, 0])
    each_network(agreement, "its fall from the peak, from twice that time on", top - afterwards(run, "noise_loss", peak))
    clean = at(run, "clean_loss", peak) - run["clean_loss"].values[:, 0]
    each_network(agreement, "clean for noise: rise of the clean loss to that time", clean, role=Role.CONTROL)
    foreseen = None
    labels = {"y": "mean loss"}
    if regime in FULL_BATCH:
        foreseen, history = regime.foreseen(agreement), regime.history(agreement)
        coincidence(agreement, history)
        labels["mark:first a > ρ"] = f"{float(np.median(history.times[np.argmax(history.late, axis=1)])):.6g}"
    else:
        a, rho = (run[f"pooled_{name}"].values.mean(axis=0) for name in ("alpha", "rho"))
        agreement.note(
            f"Mean a and ρ of all samples together: {a[0]:.2f} and {rho[0]:.2f} at the start, {a[int(np.median(peak))]:.2f} and "
            f"{rho[int(np.median(peak))]:.2f} at the peak of the noisy loss. With mini-batches row X4 holds on average only."
        )
    arrays, course = dict[str, Array](), loss.mean(axis=0)
    for label in ("clean", "noise"):
        arrays |= figure.series(label, f"{label}_loss", None if foreseen is None else getattr(foreseen, f"{label}_loss").mean(axis=0))
    theory = (
        "Line: the infinite-width run of the same label draws."
        if foreseen is not None
        else frozen_caption(figure.theory, regime.experiment)
    )
    figure.draw(
        "figure_11",
        title="Fig. 11: loss on clean and noisy samples",
        caption=f"Means and middle 80 % of {len(loss)} networks. The mean noisy loss rises from {course[0]:.2f} to {course.max():.2f} at "
        f"η·step = {run['time'].values[int(np.argmax(course))]:.3g} and ends at {course[-1]:.2f}. {theory}",
        arrays=arrays,
        **labels,
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
