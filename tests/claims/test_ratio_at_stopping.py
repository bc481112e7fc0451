"""Sec. 4.2, Fig. 6 [A, B] at infinite width (D11): the ratio of clean to noisy gradient is not 1 where the test error is smallest."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.kernel_data import SOURCES, Source, early_curves, early_run, permuted, sources
from tests.support.replicates import RARELY, share_of_replicates

Array = NDArray[np.float64]


@pytest.mark.claim("D11")
@sources(SOURCES)
def test_ratio_at_the_smallest_test_error(agreement: Agreement, source: Source) -> None:
    """Fixed tangent kernel: the ratio at the minimum of the test error, and what does mark the turn of the noisy loss."""
    run, rate = early_curves(agreement, source), agreement.error_rate
    draws = run.ratio.shape[1]
    at_stop = mean_interval(run.ratio.mean(axis=0), error_rate=rate)
    about = {"about 1: a tenth": 0.1}
    agreement.check("ratio at the minimum of the test error, mean of both classes", prediction=1, estimate=at_stop, margin=about)

    a, rho = run.a, run.rho
    crossing = np.argmax(a >= rho, axis=0)
    turned = (a >= rho).any(axis=0) & (run.peak > 0)
    # Descent is recorded at every step: the last rise is the step before a reaches ρ, up to one step of the second order in η.
    apart = np.abs(run.peak - crossing)
    agreement.correct(
        "share of label draws whose noisy loss peaks more than a step from the first a ≥ ρ",
        prediction=RARELY,
        estimate=share_of_replicates(apart[turned] > 1, error_rate=rate),
        margin={"none": 0.0},
    )
    # The minimum of the expected test error: one time, found on half of the label draws and judged on the others.
    half = draws // 2
    best = 1 + int(np.argmin(run.test_error[1:, :half].mean(axis=1)))
    later = mean_interval((run.peak - best)[half:].astype(float), error_rate=rate)
    agreement.correct(
        "steps from the minimum of the expected test error to that peak", prediction=Range(lower=0), estimate=later, margin={"none": 0.0}
    )
    wrong = agreement.drawn("shuffled masks", partial(with_shuffled_masks, source, agreement.seed_salt))
    misplaced = np.abs(run.peak - np.argmax(wrong["a"] >= wrong["rho"], axis=0)).astype(float)
    agreement.control(
        "masks shuffled in a and ρ only: steps from the peak to a ≥ ρ",
        prediction=0,
        estimate=mean_interval(misplaced, error_rate=rate),
        margin={"one step": 1.0},
    )
    times = {name: np.median(run.times[at]) for name, at in (("smallest test error", run.stop), ("peak of the noisy loss", run.peak))}
    agreement.note(
        f"Medians of {draws} label draws, time η·step: {', '.join(f'{name} at {time:.3g}' for name, time in times.items())}; ratio of "
        f"norms {float(at_stop.value):.2f} at the former, {(1 / a[crossing, np.arange(draws)])[turned].mean():.2f} (pooled) at the latter."
    )


def with_shuffled_masks(source: Source, salt: str, rng: np.random.Generator) -> dict[str, Array]:
    """A and ρ ``[T, R]`` with masks of the same sizes that have nothing to do with the labels."""
    run = early_run(source, salt)
    masks = np.column_stack([permuted(rng, column.astype(np.int64), 1)[:, 0] for column in run.segments.noisy.T]).astype(bool)
    a, rho = replace(run.segments, noisy=masks).geometry(run.problem.kernel)
    return {"a": a, "rho": rho}
