"""Sec. 6 [A] (P1): after the noise is fitted the test error is worse than at its best, and better than guessing."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.kernel_data import KernelProblem, Source, exact_flips, permuted, sources
from theory.flow import gradient_flow

DRAWS = 400
NONE = {"none allowed": 0.0}
TIMES = np.r_[np.geomspace(1, 1e4, 17), 1e8]
DATA = tuple(
    Source(name, classes, n_train, n_test, 0.4, "kernel machine")
    for name, classes, n_train, n_test in (("digits", (0, 1), None, None), ("digits", (7, 9), None, None), ("mnist", (7, 9), 400, 500))
)


@pytest.mark.claim("P1")
@sources(DATA)
def test_fitted_kernel_machine_is_better_than_guessing(agreement: Agreement, source: Source) -> None:
    """Gradient flow of the squared loss on the tangent kernel, past the time at which every label is fitted; beside it permuted labels."""
    problem, rate = source.problem(agreement), agreement.error_rate
    run = agreement.drawn("fitted", partial(fit, problem, source.noise_level), draws=DRAWS, level=source.noise_level)
    agreement.hypothesis(
        f"samples misfitted at t = {TIMES[-1]:g}", prediction=0, estimate=exact(run["misfits"].sum(), n_seeds=DRAWS), margin=NONE
    )
    errors = run["errors"]
    fitted, guessing = errors[:, :DRAWS], errors[-1, DRAWS:]
    # The minimum of the expected test error: one time, found on half of the label draws and judged on the others.
    half = DRAWS // 2
    best = int(np.argmin(fitted[:, :half].mean(axis=1)))
    rise = mean_interval((fitted[-1] - fitted[best])[half:], error_rate=rate)
    agreement.check("test error when fitted, less its minimum", prediction=Range(lower=0), estimate=rise, margin=NONE)
    # Not merely below ½ but clearly: half-way from the noise level to guessing, which labels without structure must miss.
    tempered = Range(upper=(source.noise_level + 0.5) / 2)
    end = mean_interval(fitted[-1], error_rate=rate)
    agreement.check("test error when fitted: nearer to the noise level than to ½", prediction=tempered, estimate=end, margin=NONE)
    unstructured = mean_interval(guessing, error_rate=rate)
    agreement.control("permuted labels: the same", prediction=tempered, estimate=unstructured, margin=NONE)
    agreement.note(
        f"Mean test error over {DRAWS} label draws: {fitted[best].mean():.3f} at t = {TIMES[best]:.3g}, {fitted[-1].mean():.3f} when "
        f"fitted, {guessing.mean():.3f} with permuted labels."
    )


def fit(problem: KernelProblem, noise_level: float, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Test errors ``[T, 2 DRAWS]`` along the flow, of true labels with noise and then of permuted ones, and misfits at its end."""
    truth = problem.truth[:, None]
    observed, unrelated = exact_flips(rng, problem.truth, noise_level, DRAWS), permuted(rng, problem.truth, DRAWS)
    labels = np.concatenate([observed, np.where(observed != truth, 1 - unrelated, unrelated)], axis=1)
    flow = gradient_flow(problem.kernel, 2 * labels - 1, times=TIMES, cross_kernel=problem.cross, loss="squared")
    margin = problem.test_signs[None, :, None] * np.asarray(flow.test_logits)
    misfits = ((np.asarray(flow.logits)[-1] > 0) != labels).sum(axis=0)
    return {"errors": np.where(margin == 0, 0.5, margin < 0).mean(axis=1), "misfits": misfits}
