"""Negative controls of every run (R4): without noise, without structure, above the noise threshold, with wrong masks: no clean priority."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import Estimate, exact, mean_interval, proportion
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.estimates import mean_design
from tests.support.kernel_data import SOURCES, KernelProblem, SegmentRun, Source, exact_flips, permuted, sources
from theory.dynamics import gradient_descent
from theory.step_size import max_learning_rate

Array = NDArray[np.float64]
DRAWS = 256
STEPS = 3
NONE = {"none allowed": 0.0}
# The two ends of a share: nearly always and nearly never would leave a typical run undecided, so a half divides them.
MOST, FEW = Range(lower=0.5), Range(upper=0.5)


@dataclass(frozen=True, eq=False)
class Report:
    """What a run says about clean priority after `STEPS` steps from output ½, for each label draw.

    Attributes:
        holds: the clean loss has fallen and the noisy loss has risen ``[R]``; False where a segment is empty.
        reversed: the clean loss has risen and the noisy loss has fallen ``[R]``.
        clean_loss, noise_loss: means over the segments ``[R]``; NaN for an empty segment.
    """

    holds: NDArray[np.bool_]
    reversed: NDArray[np.bool_]
    clean_loss: Array
    noise_loss: Array

    @classmethod
    def of(cls, problem: KernelProblem, observed: NDArray[np.int64], noisy: NDArray[np.bool_]) -> Report:
        """Train on observed labels ``[n, R]`` and read the segments that the masks name."""
        rate = 0.25 * max_learning_rate(problem.kernel)
        path = gradient_descent(problem.kernel, observed, learning_rate=rate, steps=STEPS, record=[STEPS])
        run = SegmentRun(np.asarray(path.logits), observed, noisy)
        sizes = [(mask.sum(axis=0), (run.losses[0] * mask).sum(axis=0)) for mask in (~noisy, noisy)]
        clean, noise = (np.divide(total, size, out=np.full(size.shape, np.nan), where=size > 0) for size, total in sizes)
        start = np.log(2)
        return cls((clean < start) & (noise > start), (clean > start) & (noise < start), clean, noise)

    @property
    def difference(self) -> Array:
        """Noisy less clean loss ``[R]``."""
        return self.noise_loss - self.clean_loss


@pytest.mark.claim("R4")
@sources(SOURCES)
def test_what_each_control_takes_away(agreement: Agreement, source: Source) -> None:
    problem, rng, rate = source.problem(agreement), agreement.rng, agreement.error_rate
    truth = problem.truth[:, None]
    observed = exact_flips(rng, problem.truth, source.noise_level, DRAWS)
    noisy = observed != truth

    def share(found: NDArray[np.bool_]) -> Estimate:
        return proportion(int(found.sum()), len(found), error_rate=rate)

    plain = Report.of(problem, observed, noisy)
    # δ = 0: there is one label vector, and nothing noisy in it.
    quiet = Report.of(problem, truth.copy(), np.zeros_like(truth, dtype=bool))
    agreement.check("δ = 0: runs that report clean priority", prediction=0, estimate=exact(quiet.holds.sum()), margin=NONE)
    agreement.check("δ = 0: runs with a noisy loss", prediction=0, estimate=exact(np.isfinite(quiet.noise_loss).sum()), margin=NONE)

    shuffled_truth = permuted(rng, problem.truth, DRAWS)
    structureless = Report.of(problem, np.where(noisy, 1 - shuffled_truth, shuffled_truth), noisy)
    agreement.check("permuted labels: share that reports clean priority", prediction=FEW, estimate=share(structureless.holds), margin=NONE)
    # 0.8 > (C − 1)/C = ½: most labels are wrong, and those are learnt.
    flipped = exact_flips(rng, problem.truth, 0.8, DRAWS)
    above = Report.of(problem, flipped, flipped != truth)
    agreement.check("δ = 0.8: share that reports clean priority", prediction=FEW, estimate=share(above.holds), margin=NONE)
    agreement.check("δ = 0.8: share with the roles reversed", prediction=MOST, estimate=share(above.reversed), margin=NONE)

    masks = rng.permuted(noisy, axis=0)
    mixed = Report.of(problem, observed, masks)
    separation = mean_interval(mixed.difference, error_rate=rate)
    # Segments drawn without regard to the labels differ by the draw only: its spread is that of other masks, and a quarter.
    pilot = Report.of(problem, observed, rng.permuted(noisy, axis=0)).difference
    margin = {"label draws": 1.25 * float(mean_design(pilot.std(), n_seeds=DRAWS, error_rate=rate).margin)}
    agreement.check("shuffled masks: noisy less clean loss", prediction=0, estimate=separation, margin=margin)
    agreement.check("shuffled masks: share that reports clean priority", prediction=FEW, estimate=share(mixed.holds), margin=NONE)

    unmodified = share(plain.holds)
    agreement.control("the unmodified run: rarely clean priority", prediction=FEW, estimate=unmodified, margin=NONE)
    agreement.control(
        "the unmodified run: no separation", prediction=0, estimate=mean_interval(plain.difference, error_rate=rate), margin=margin
    )
    shares = {
        "unmodified": plain.holds,
        "with permuted labels": structureless.holds,
        "at δ = 0.8": above.holds,
        "with shuffled masks": mixed.holds,
    }
    agreement.note(
        f"Share of {DRAWS} label draws with clean priority after {STEPS} steps: "
        + ", ".join(f"{holds.mean():.2f} {name}" for name, holds in shares.items())
        + f" (roles reversed in {above.reversed.mean():.2f} at δ = 0.8). Noisy less clean loss: {plain.difference.mean():.3f}, "
        f"{mixed.difference.mean():.3f} with shuffled masks."
    )
