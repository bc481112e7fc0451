"""Fig. 5, 6 [A], [B]: learning dynamics, and the ratio of clean to noisy gradient, with the infinite-width prediction drawn over them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from empirical.experiments import experiment
from empirical.inference import Estimate, mean_interval, proportion, simultaneous_band
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.histories import History
from tests.support.paired import label_draws
from tests.support.regimes import TRAINED, Regime, regimes

Array = NDArray[np.float64]
WIDE = [regime for regime in TRAINED if "7/9" in regime.data]
PAPERS = [
    Regime("trained network, mini-batches", "digits 7/9", experiment="digits-7-9-sgd"),
    Regime("trained network, mini-batches", "MNIST 7/9", experiment="mnist-7-9-sgd"),
]
NONE = {"none allowed": 0.0}
MOST = Range(lower=0.5)  # of the networks: a typical one behaves so


def stopping_point(test_error: Array) -> NDArray[np.intp]:
    """Index of the first minimum of the test error of each replicate, not before the first recorded step ``[R]``."""
    return 1 + np.argmin(test_error[:, 1:], axis=1)


def changes(run: xr.Dataset) -> dict[str, Array]:
    """Net change of each quantity from the start to the stopping point, and of the noisy ones from their peak to the end ``[R]``."""
    stop = stopping_point(run["test_error"].values)
    rows = np.arange(len(stop))
    found = {name: (series := run[name].values)[rows, stop] - series[:, 0] for name in QUANTITIES}
    for name in ("noise_error", "noise_residual", "noise_loss"):
        found[f"{name} later"] = run[name].values[:, -1] - run[name].values.max(axis=1)
    return found


QUANTITIES = ("clean_error", "clean_residual", "noise_error", "noise_residual")


@pytest.mark.claim("F5")
@regimes([*WIDE, *PAPERS])
def test_learning_dynamics(agreement: Agreement, regime: Regime) -> None:
    """To the stopping point clean error and residual fall and noisy ones rise; "later" the noisy ones fall, from peak to end."""
    run = agreement.measure(regime.experiment)
    found, rate = changes(run), agreement.error_rate

    def share(name: str, sign: int) -> Estimate:
        """Share of networks whose net change has this sign; skewed changes make a mean a poor summary."""
        return proportion(int((sign * found[name] > 0).sum()), len(found[name]), error_rate=rate)

    signs = {"clean_error": -1, "clean_residual": -1, "noise_error": 1, "noise_residual": 1}
    signs |= {"noise_error later": -1, "noise_residual later": -1}
    for name, sign in signs.items():
        agreement.check(
            f"share of networks in which the {name.replace('_', ' ')} {'rises' if sign > 0 else 'falls'}",
            prediction=MOST,
            estimate=share(name, sign),
            margin=NONE,
        )
    agreement.control(
        "clean and noise exchanged: the noisy residual falls at first", prediction=MOST, estimate=share("noise_residual", -1), margin=NONE
    )
    figure_5(agreement, regime, run)


@pytest.mark.claim("F6")
@regimes([*WIDE, *PAPERS])
def test_ratio_of_gradients_falls(agreement: Agreement, regime: Regime) -> None:
    """log(‖g_clean‖/‖g_noise‖), mean of both classes: starts at log((1 − δ)/δ), falls to the stopping point, in every network."""
    run, rate = agreement.measure(regime.experiment), agreement.error_rate
    ratio = -np.log(run["alpha"].values).mean(axis=2)
    stop = stopping_point(run["test_error"].values)
    start = mean_interval(ratio[:, 0], error_rate=rate)
    # A tenth either way: finite samples and small random outputs (row I5) move the start by a few per cent.
    agreement.check(
        "log-ratio at the start: log 1.5 to within a tenth", prediction=Range(np.log(1.35), np.log(1.65)), estimate=start, margin=NONE
    )
    fall = ratio[:, 0] - ratio[np.arange(len(stop)), stop]
    falls = proportion(int((fall > 0).sum()), len(fall), error_rate=rate)
    agreement.check("share of networks in which it falls to the stopping point", prediction=MOST, estimate=falls, margin=NONE)
    rises = proportion(int((fall < 0).sum()), len(fall), error_rate=rate)
    agreement.control("clean and noise exchanged: it rises", prediction=MOST, estimate=rises, margin=NONE)
    at_stop = np.exp(ratio[np.arange(len(stop)), stop])
    agreement.note(f"Ratio at the minimum of the test error: {at_stop.mean():.2f} on average, {at_stop.min():.2f} to {at_stop.max():.2f}.")
    foreseen = regime.foreseen(agreement) if regime in WIDE else None
    if foreseen is not None:
        compare_with_theory(agreement, regime, run, foreseen)
    figure_6(agreement, regime, run, foreseen)


def compare_with_theory(agreement: Agreement, regime: Regime, run: xr.Dataset, foreseen: History) -> None:
    """The whole curve of α against the infinite-width run of the same label draws, until a reaches ρ there; everything planned from theory.

    A network's kernel differs from its limit by √(3/m) of itself at most (G2), and stays so while it trains. What is common to all
    samples rescales time, t → (1 + ε)t, and moves log α by ε·d log α/d log t, which the predicted curve gives. What is common to one class
    cancels in the ratio of its segments; what differs from sample to sample enters it as the label draw does, ε·√(1/n_c + 1/n_n). Averaged
    over networks the first order vanishes and its square, 3/m, is left.
    """
    shown, rate = foreseen.early.all(axis=0), agreement.error_rate
    measured, predicted = (np.log(alpha).mean(axis=2)[:, shown] for alpha in (run["alpha"].values, foreseen.alpha))
    course = predicted.mean(axis=0)
    speed = np.abs(np.gradient(course, np.log1p(foreseen.times[shown])))  # log(1 + t): t = 0 is finite there, and moves nothing
    draw = np.sqrt(float((1 / run["n_clean"].values[0] + 1 / run["n_noise"].values[0]).sum())) / 2  # mean of two classes
    epsilon = np.sqrt(3 / experiment(regime.experiment, tier=agreement.tier).network.width)
    planned = label_draws(1.0, replicates=len(measured), error_rate=rate / shown.sum()) * epsilon * (speed + draw)
    margin = {"finite width, 3/m": epsilon**2, "sampling": planned}
    difference = simultaneous_band(measured - predicted, error_rate=rate)
    estimate = replace(
        difference,
        **{end: course + getattr(difference, end) for end in ("value", "lower", "upper")},
        method=f"{difference.method}, paired with the prediction",
    )
    assert np.any(course - course[0] > epsilon**2 + 2 * planned)  # power: an α that stays where it starts
    agreement.check(
        f"log α, mean of both classes, at {shown.sum()} times of the early stage", prediction=course, estimate=estimate, margin=margin
    )
    agreement.control("log α stays where it starts", prediction=np.full(len(course), course[0]), estimate=estimate, margin=margin)


def figure_5(agreement: Agreement, regime: Regime, run: xr.Dataset) -> None:
    """Three panels as in the papers; the theory's curves where the parametrisation fixes the time scale."""
    foreseen = regime.foreseen(agreement) if regime in WIDE else None
    time = run["time"].values
    shown = time > 0
    arrays: dict[str, Array] = {}
    panels = {
        "Error by segment": (("clean", "clean_error"), ("noise", "noise_error")),
        "Mean residual by segment": (("clean", "clean_residual"), ("noise", "noise_residual")),
        "Total error": (("test", "test_error"), ("train", "train_error")),
    }
    for panel, series in panels.items():
        for label, name in series:
            values = run[name].values[:, shown]
            arrays[f"{panel}|{label}/x"] = time[shown]
            arrays[f"{panel}|{label}/measured"] = values.mean(axis=0)
            arrays[f"{panel}|{label}/lower"], arrays[f"{panel}|{label}/upper"] = values.min(axis=0), values.max(axis=0)
            if foreseen is not None and hasattr(foreseen, name):
                arrays[f"{panel}|{label}/prediction"] = getattr(foreseen, name).mean(axis=0)[shown]
    stop = float(np.median(time[stopping_point(run["test_error"].values)]))
    theory = ", with the infinite-width run of the same label draws" if foreseen is not None else ""
    agreement.figure(
        "figure_5",
        id=f"figure-5-{regime.id}".lower(),
        title=f"Fig. 5: learning dynamics, {regime.data}, δ = 0.4",
        caption=f"Mean and range over {len(run['seed'])} networks{theory}. Test error is smallest at η·step = {stop:.3g} (median).",
        arrays=arrays,
        labels={"x": "time η·step", "mark:early stopping": f"{stop:.6g}"},
    )


def figure_6(agreement: Agreement, regime: Regime, run: xr.Dataset, foreseen: History | None) -> None:
    """The ratio of both classes over time."""
    time = run["time"].values
    shown = time > 0
    arrays: dict[str, Array] = {}
    for c, label in enumerate(("class 7", "class 9")):
        values = -np.log(run["alpha"].values[:, shown, c])
        arrays[f"{label}/x"] = time[shown]
        arrays[f"{label}/measured"] = np.exp(values.mean(axis=0))
        arrays[f"{label}/lower"], arrays[f"{label}/upper"] = np.exp(np.quantile(values, [0.1, 0.9], axis=0))
        if foreseen is not None:
            arrays[f"{label}/prediction"] = np.exp(-np.log(foreseen.alpha[:, shown, c]).mean(axis=0))
    stop = float(np.median(time[stopping_point(run["test_error"].values)]))
    agreement.figure(
        "figure_6",
        id=f"figure-6-{regime.id}".lower(),
        title=f"Fig. 6: clean over noisy gradient, {regime.data}, δ = 0.4",
        caption=f"Geometric mean and middle 80 % of {len(run['seed'])} networks; starts near 1.5. Stopping point at η·step = {stop:.3g}.",
        arrays=arrays,
        labels={"x": "time η·step", "mark:early stopping": f"{stop:.6g}"},
    )
