"""Negative controls of every run (R4): without noise, without structure, above the noise threshold, with wrong masks: no clean priority."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from empirical.inference import Estimate, exact, mean_interval, proportion
from reports.agreement import Range, Role
from reports.evidence import Agreement
from reports.sequential import Counted
from tests.support.estimates import mean_design
from tests.support.figure_runs import at, left_out_stop, se_of_test_error
from tests.support.kernel_data import SOURCES, KernelProblem, SegmentRun, Source, exact_flips, permuted, sources
from tests.support.paired import label_draws
from tests.support.regimes import Regime
from tests.support.replicates import TOLD, told_from_half
from theory.dynamics import gradient_descent
from theory.step_size import max_learning_rate

Array = NDArray[np.float64]
DRAWS = 256
STEPS = 3
NONE = {"none allowed": 0.0}
# The two ends of a share: nearly always and nearly never would leave a typical run undecided, so a half divides them.
MOST, FEW = Range(lower=0.5), Range(upper=0.5)
SEGMENTS = ("clean", "noise")
UNMODIFIED = "digits-7-9-noise-0.4"  # trained networks; "digits-7-9-noise-0", "…-0.5" and "…-0.6" differ from it in δ alone


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


@pytest.mark.claim("R4")
@pytest.mark.regime("trained network", "digits 7/9, δ = 0")
@pytest.mark.experiments("digits-7-9-noise-0", UNMODIFIED)
def test_networks_without_noise(agreement: Agreement) -> None:
    """Nothing noisy to report, and no turn of the test error: what it rises by after its minimum is less than its resolution."""
    run = agreement.measure("digits-7-9-noise-0")
    seeds = len(run["seed"])
    stop = int(np.median(left_out_stop(agreement.measure(UNMODIFIED)["test_error"].values)))
    reported, noisy = exact(priority(run, stop).sum(), n_seeds=seeds), exact(np.isfinite(run["noise_loss"].values).sum(), n_seeds=seeds)
    agreement.check("networks that report clean priority", prediction=0, estimate=reported, margin=NONE)
    agreement.check("records with a noisy loss", prediction=0, estimate=noisy, margin=NONE)
    # One standard error, at δ = 0.4, of an error measured on these test samples.
    resolution = se_of_test_error(UNMODIFIED, agreement.tier)
    later = "the test error ends a standard error above its minimum"
    share_of_networks(agreement, "digits-7-9-noise-0", later, FEW, lambda run: rise_of_test_error(run) > resolution)
    share_of_networks(agreement, "digits-7-9-noise-0", "the clean error falls below 1/4", MOST, lambda run: last(run, "clean_error") < 0.25)
    share_of_networks(agreement, UNMODIFIED, f"at δ = 0.4 {later}", FEW, lambda run: rise_of_test_error(run) > resolution, Role.CONTROL)
    agreement.note(
        f"Mean test error at its minimum and at the end: {at_minimum(run):.3f} and {last(run, 'test_error').mean():.3f}; at δ = 0.4 "
        f"{at_minimum(agreement.measure(UNMODIFIED)):.3f} and {last(agreement.measure(UNMODIFIED), 'test_error').mean():.3f}."
    )


@pytest.mark.claim("R4")
@pytest.mark.regime("trained network", "digits 7/9, δ = 0.5")
@pytest.mark.experiments("digits-7-9-noise-0.5", UNMODIFIED)
def test_networks_on_labels_that_say_nothing(agreement: Agreement) -> None:
    """δ = ½: the labels are independent of the classes. To exchange clean and noise changes nothing: α = 1, and both are learnt alike."""
    name, rate = "digits-7-9-noise-0.5", agreement.error_rate
    run, plain = agreement.measure(name), agreement.measure(UNMODIFIED)
    stop = int(np.median(left_out_stop(plain["test_error"].values)))
    theirs, others = (Regime("trained network", "digits 7/9", experiment=one).foreseen(agreement) for one in (name, UNMODIFIED))
    assert theirs is not None
    assert others is not None
    # A class of an odd number has one noisy sample more: 1 − 2δ is −1/n, where it is 1/5 in the unmodified run.
    odd = 5 / theirs.n
    compared: tuple[tuple[str, Callable[[xr.Dataset], Array], Array, Array], ...] = (
        (
            "log(‖G_noise‖/‖G_clean‖) at the start",
            lambda run: np.asarray(np.log(run["pooled_alpha"].values[:, 0])),
            np.log(theirs.pooled_alpha[:, 0]),
            np.log(others.pooled_alpha[:, 0]),
        ),
        (
            "noisy less clean loss",
            lambda run: apart(run, stop),
            (theirs.noise_loss - theirs.clean_loss)[:, stop],
            (others.noise_loss - others.clean_loss)[:, stop],
        ),
    )
    for text, of, foreseen, signal in compared:
        distance = float(np.abs(signal.mean()))
        # The spread over label draws is that of the infinite-width run of the same draws.
        margin = {
            "label draws": label_draws(foreseen.std(ddof=1), replicates=len(foreseen), error_rate=rate),
            "odd class": odd * distance,
        }
        assert 2 * sum(margin.values()) < distance  # power: the unmodified run
        agreement.check(f"{text}, mean", prediction=0, estimate=mean_interval(of(run), error_rate=rate), margin=margin)
        unmodified = mean_interval(of(plain), error_rate=rate)
        agreement.control(f"at δ = 0.4 {text}, mean", prediction=0, estimate=unmodified, margin=margin)
    share_of_networks(agreement, name, "both losses have fallen at the end", MOST, both_fallen)
    share_of_networks(agreement, name, "clean priority is reported at the end", FEW, lambda run: priority(run, -1))
    share_of_networks(agreement, UNMODIFIED, "at δ = 0.4 both losses have fallen at the end", MOST, both_fallen, Role.CONTROL)
    shares = [(one["pooled_alpha"].values < one["pooled_rho"].values)[:, 0].mean() for one in (run, plain)]
    reported = [priority(run, stop, *roles).mean() for roles in (SEGMENTS, SEGMENTS[::-1])]
    agreement.note(
        f"Clean gradients dominate at the start, a < ρ, in {shares[0]:.2f} of the networks, {shares[1]:.2f} at δ = 0.4. After "
        f"η·step = {float(run['time'].values[stop]):.3g} clean priority is reported in {reported[0]:.2f}, its reverse in "
        f"{reported[1]:.2f}: chance decides between equals."
    )


@pytest.mark.claim("R4")
@pytest.mark.regime("trained network", "digits 7/9, δ = 0.6")
@pytest.mark.experiments("digits-7-9-noise-0.6", UNMODIFIED)
def test_networks_above_the_noise_threshold(agreement: Agreement) -> None:
    """δ = 0.6 > (C − 1)/C = ½: the wrong labels are the majority, and are learnt first."""
    name = "digits-7-9-noise-0.6"
    stop = int(np.median(left_out_stop(agreement.measure(UNMODIFIED)["test_error"].values)))
    share_of_networks(agreement, name, "the noisy gradient is the larger one at the start", MOST, noise_dominates)
    share_of_networks(agreement, name, "the roles are reversed", MOST, lambda run: priority(run, stop, "noise", "clean"))
    share_of_networks(agreement, name, "clean priority is reported", FEW, lambda run: priority(run, stop))
    share_of_networks(agreement, name, "the test error ends above ½", MOST, lambda run: last(run, "test_error") > 0.5)
    plain = "at δ = 0.4 the roles are reversed"
    share_of_networks(agreement, UNMODIFIED, plain, MOST, lambda run: priority(run, stop, "noise", "clean"), Role.CONTROL)
    share_of_networks(agreement, UNMODIFIED, "at δ = 0.4 clean priority is reported", FEW, lambda run: priority(run, stop), Role.CONTROL)


def share_of_networks(
    agreement: Agreement,
    name: str,
    what: str,
    prediction: Range,
    found: Callable[[xr.Dataset], NDArray[np.bool_]],
    role: Role = Role.STATEMENT,
) -> None:
    """Judge the share of networks of an experiment that show something; more of them are trained while it is undecided."""
    start = len(agreement.measure(name)["seed"])
    assert told_from_half(0.5 + TOLD, start=start, cap=8 * start, error_rate=agreement.error_rate) >= 0.99
    agreement.sequential(
        f"share of networks in which {what}",
        prediction=prediction,
        draw=lambda first, count: found(agreement.replicates(name, first, count)),
        sequence=Counted(start),
        margin=NONE,
        start=start,
        cap=8 * start,
        role=role,
    )


def priority(run: xr.Dataset, index: int, learnt: str = "clean", other: str = "noise") -> NDArray[np.bool_]:
    """Whether one loss has fallen and the other has risen since the start, at a record ``[R]``; False where a segment is empty."""
    falls, rises = (run[f"{segment}_loss"].values for segment in (learnt, other))
    return np.asarray((falls[:, index] < falls[:, 0]) & (rises[:, index] > rises[:, 0]))


def both_fallen(run: xr.Dataset) -> NDArray[np.bool_]:
    """Whether both losses are smaller at the last record than at the start ``[R]``."""
    return np.asarray(np.logical_and.reduce([run[f"{part}_loss"].values[:, -1] < run[f"{part}_loss"].values[:, 0] for part in SEGMENTS]))


def noise_dominates(run: xr.Dataset) -> NDArray[np.bool_]:
    """‖G_noise‖ > ‖G_clean‖ at the start ``[R]``."""
    return np.asarray(run["pooled_alpha"].values[:, 0] > 1)


def apart(run: xr.Dataset, index: int) -> Array:
    """Noisy less clean loss at a record ``[R]``."""
    return np.asarray((run["noise_loss"].values - run["clean_loss"].values)[:, index])


def last(run: xr.Dataset, name: str) -> Array:
    """A quantity at the last record ``[R]``."""
    return np.asarray(run[name].values[:, -1])


def rise_of_test_error(run: xr.Dataset) -> Array:
    """Test error at the last record less that at the minimum of the other networks' mean ``[R]``."""
    return last(run, "test_error") - at(run, "test_error", left_out_stop(run["test_error"].values))


def at_minimum(run: xr.Dataset) -> float:
    """Mean test error there."""
    return float(at(run, "test_error", left_out_stop(run["test_error"].values)).mean())
