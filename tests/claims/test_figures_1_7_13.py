"""Fig. 1, 7, 13 [A], Fig. 1, 7 [B]: networks with ten classes. U-shaped test error; the segments' errors and residuals over training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from reports.agreement import Role
from reports.evidence import Agreement
from tests.support.figure_runs import (
    CNN,
    NOT_QUICK,
    RESNET,
    RESNET_LATER,
    Drawing,
    at,
    course,
    each_network,
    figure_regimes,
    kernel_marks,
    left_out_stop,
    se_of_test_error,
)
from tests.support.frozen_kernel import frozen, frozen_caption, frozen_test_error
from tests.support.regimes import Regime

Array = NDArray[np.float64]
GUESSING = 0.9  # error of a guess among ten classes
FEW_PICTURES = "needs the standard tier: with the 400 pictures of the quick one the CNN's test error stays near the noise level"
LATER = {"mnist-cnn": (NOT_QUICK, FEW_PICTURES), **RESNET_LATER}
NOISE_LEVELS = (0.1, 0.2, 0.3, 0.4)
PANELS = {
    "Error by segment": (("clean", "clean_error"), ("noise", "noise_error")),
    "Mean residual ‖f − y‖": (("clean", "clean_residual_norm"), ("noise", "noise_residual_norm")),
    "Total error": (("test", "test_error"), ("train", "train_error")),
}


def u_shape(agreement: Agreement, run: xr.Dataset, *, noise_level: float, two_se: float, text: str = "", stated: str | None = None) -> None:
    """Test error at the stopping point below the start and below δ, by more than two standard errors of a test error, and below the end.

    The rise is a difference on the same test samples, most of which change nothing: there the interval over networks is the whole error.
    """
    error = run["test_error"].values
    best = at(run, "test_error", left_out_stop(error))
    for name, values, above in (
        ("start less test error at the stopping point", error[:, 0] - best, two_se),
        ("noise level less test error at the stopping point", noise_level - best, two_se),
        ("end less test error at the stopping point", error[:, -1] - best, 0.0),
    ):
        each_network(agreement, text + name, values, above=above, expected=stated)


def segments_part(agreement: Agreement, run: xr.Dataset, text: str = "", *, stated: str | None = None, early_peak: bool = False) -> None:
    """To the stopping point clean error and residual fall, the noisy ones rise, above guessing; later the noisy ones fall.

    With ``early_peak`` the noisy error has its peak too, but so early that at the stopping point some network is below guessing.
    ``stated`` is the verdict expected of the rest, where it is not the row's.
    """
    stop = left_out_stop(run["test_error"].values)

    def change(name: str) -> Array:
        return at(run, name, stop) - run[name].values[:, 0]

    for what, values in (
        ("fall of the clean error to the stopping point", -change("clean_error")),
        ("fall of the clean residual", -change("clean_residual_norm")),
        ("rise of the noisy residual", change("noise_residual_norm")),
        ("later fall of the noisy residual", at(run, "noise_residual_norm", stop) - run["noise_residual_norm"].values[:, -1]),
    ):
        each_network(agreement, text + what, values, expected=stated)
    # A network that guesses has noisy error (C − 1)/C: one tenth is all that it can rise. Its peak is taken where the others' is.
    error = run["noise_error"].values
    if agreement.tier in NOT_QUICK:  # 24 networks of the quick tier do not always tell its 0.945 from 0.9
        above = at(run, "noise_error", stop) - GUESSING
        verdict = "DISAGREES" if early_peak else stated
        each_network(agreement, f"{text}noisy error at the stopping point, above guessing", above, expected=verdict)
    peak = at(run, "noise_error", left_out_stop(-error))
    role, verdict = (Role.CORRECTION, None) if early_peak else (Role.STATEMENT, stated)
    each_network(agreement, f"{text}noisy error at its peak, above guessing", peak - GUESSING, role=role, expected=verdict)
    each_network(agreement, f"{text}later fall of the noisy error", peak - error[:, -1], expected=stated)
    clean = change("clean_residual_norm")
    each_network(agreement, f"{text}clean and noise exchanged: rise of the clean residual", clean, role=Role.CONTROL)


@pytest.mark.claim("F1")
@figure_regimes(CNN, later=LATER)
def test_u_shaped_test_error(agreement: Agreement, regime: Regime) -> None:
    figure = Drawing.of(agreement, regime, later=LATER)
    run, level = figure.run, figure.level
    two_se = 2 * se_of_test_error(regime.experiment, agreement.tier)
    u_shape(agreement, run, noise_level=level, two_se=two_se)
    # Against observed labels the error of the noisy samples has its maximum there: it must not pass for a U.
    stop = left_out_stop(run["test_error"].values)
    rise = run["noise_error"].values[:, -1] - at(run, "noise_error", stop)
    each_network(agreement, "noisy error for test error: end less stopping point", rise, role=Role.CONTROL)
    error = run["test_error"].values
    figure.draw(
        "figure_1",
        title="Fig. 1: training and test error of a CNN",
        caption=f"Means and middle 80 % of {len(stop)} networks. Mean test error {error.mean(axis=0)[stop[0]]:.3f} at the early stopping "
        f"point, {error[:, -1].mean():.3f} at the end. {frozen_caption(figure.theory, regime.experiment)}"
        f"{frozen_test_error(figure.theory, figure.run)}",
        arrays=figure.series("test", "test_error") | figure.series("train", "train_error"),
        **{"y": "error", "reference:noise level": f"{level:g}"},
    )


@pytest.mark.claim("F7")
@figure_regimes(CNN, later=LATER)
def test_learning_dynamics_with_ten_classes(agreement: Agreement, regime: Regime) -> None:
    figure = Drawing.of(agreement, regime, later=LATER)
    segments_part(agreement, figure.run)
    figure_7(agreement, figure)


@pytest.mark.claim(
    "F7",
    expected="DISAGREES",
    reason="the noisy error has risen and fallen again, to below that of guessing, when the test error is smallest",
)
@figure_regimes(RESNET, later=LATER)
def test_learning_dynamics_of_resnet(agreement: Agreement, regime: Regime) -> None:
    figure = Drawing.of(agreement, regime, later=LATER)
    segments_part(agreement, figure.run, stated="AGREES", early_peak=True)
    figure_7(agreement, figure)


def figure_7(agreement: Agreement, figure: Drawing) -> None:
    """Three panels as in the papers."""
    run = figure.run
    agreement.note(describe(run))
    arrays: dict[str, Array] = {}
    for panel, series in PANELS.items():
        for label, name in series:
            arrays |= figure.series(f"{panel}|{label}", name)
    figure.draw(
        "figure_7",
        title="Fig. 7: learning dynamics with ten classes",
        caption=f"Means and middle 80 % of {len(run['seed'])} networks. The noisy error starts at the {GUESSING} of guessing. "
        f"{frozen_caption(figure.theory, figure.regime.experiment)}",
        arrays=arrays,
    )


def describe(run: xr.Dataset) -> str:
    """Means at start, stopping point and end."""
    stop = left_out_stop(run["test_error"].values)
    parts = [
        f"{text} {run[name].values[:, 0].mean():.3f}, {at(run, name, stop).mean():.3f}, {run[name].values[:, -1].mean():.3f}"
        for text, name in (("noisy error", "noise_error"), ("|f − y| of the noisy label", "noise_residual"), ("noisy loss", "noise_loss"))
    ]
    return f"Means at start, stopping point and end: {'; '.join(parts)}."


# A reading, stated in the register: "below δ" can be asked of data that reach an error below δ without any noise. On 600 digits the
# smallest test error is 0.1 to 0.2 whatever δ, on 1,500 pictures about 0.1, on 60,000 below 0.05: the U-shape is judged from δ = 0.3, 0.2
# and 0.1 on. The segments' curves, which do not compare with δ, are judged at every level. A minimum less than two standard errors below δ
# is rejected.
@dataclass(frozen=True)
class Sweep:
    """One CNN at several noise levels.

    Attributes:
        data: as the report names them.
        stem: experiment at δ = 0.3.
        levels: noise levels.
        clear: tier → level from which on the U-shape is judged.
        early: levels at which the noisy error peaks so early that at the stopping point some network is below guessing.
    """

    data: str
    stem: str
    levels: tuple[float, ...]
    clear: Mapping[str, float]
    early: tuple[float, ...] = ()


DIGITS = Sweep("digits, 10 classes", "digits-cnn", (0.2, 0.3, 0.4), dict.fromkeys(("quick", *NOT_QUICK), 0.3))
MNIST = Sweep("MNIST, 10 classes", "mnist-cnn", NOISE_LEVELS, {"standard": 0.2, "full": 0.1}, early=(0.1, 0.2))


def noise_sweep(sweep: Sweep) -> pytest.MarkDecorator:
    """The one case of a test, with its regime and experiments."""
    marks = [
        pytest.mark.regime("trained CNN, noise sweep", sweep.data),
        pytest.mark.experiments(*(named(sweep.stem, level) for level in sweep.levels), tiers=tuple(sweep.clear)),
        *kernel_marks(sweep.stem),
    ]
    return pytest.mark.parametrize(
        "sweep", [pytest.param(sweep, id=re.sub(r"[^a-zA-Z0-9]+", "-", f"trained CNN {sweep.data}"), marks=marks)]
    )


def named(stem: str, level: float) -> str:
    """Name of the experiment at one noise level."""
    return stem if level == 0.3 else f"{stem}-noise-{level}"


@pytest.mark.claim("F13")
@noise_sweep(DIGITS)
def test_every_noise_level(agreement: Agreement, sweep: Sweep) -> None:
    judge_sweep(agreement, sweep)


@pytest.mark.claim(
    "F13",
    expected="DISAGREES",
    reason="at δ = 0.1 and 0.2 the noisy error has fallen below that of guessing when the test error is smallest",
)
@noise_sweep(MNIST)
def test_small_noise_is_learnt_before_the_stopping_point(agreement: Agreement, sweep: Sweep) -> None:
    judge_sweep(agreement, sweep)


def judge_sweep(agreement: Agreement, sweep: Sweep) -> None:
    """The segments' curves at each noise level; the U-shape from the level on that these data can clearly undercut."""
    if agreement.tier not in sweep.clear:
        pytest.skip(FEW_PICTURES)
    stated = "AGREES" if sweep.early else None
    arrays: dict[str, Array] = {}
    stops = []
    for level in sweep.levels:
        name = named(sweep.stem, level)
        run = agreement.measure(name)
        theory = frozen(agreement, name, run)
        text = f"δ = {level:g}: "
        if level >= sweep.clear[agreement.tier]:
            two_se = 2 * se_of_test_error(name, agreement.tier)
            u_shape(agreement, run, noise_level=level, two_se=two_se, text=text, stated=stated)
        segments_part(agreement, run, text, stated=stated, early_peak=level in sweep.early)
        time = run["time"].values
        shown = time > 0
        stops.append(f"{time[int(np.median(left_out_stop(run['test_error'].values)))]:.3g} at δ = {level:g}")
        for panel, quantity in (
            ("Clean error", "clean_error"),
            ("Clean mean residual ‖f − y‖", "clean_residual_norm"),
            ("Test error", "test_error"),
            ("Noisy error", "noise_error"),
            ("Noisy mean residual ‖f − y‖", "noise_residual_norm"),
            ("Training error", "train_error"),
        ):
            line = None if theory is None or quantity not in theory.series else theory.series[quantity][shown]
            arrays |= course(f"{panel}|δ = {level:g}", time[shown], run[quantity].values[:, shown], line)
    agreement.note(f"Early stopping point, time η·step: {', '.join(stops)}.")
    agreement.figure(
        "figure_13",
        id=f"figure-13-{sweep.data.split(',')[0]}".lower(),
        title=f"Fig. 13: learning dynamics of a CNN at several noise levels, {sweep.data}",
        caption=f"Means and middle 80 % of networks. Early stopping points at η·step = {', '.join(stops)}. "
        f"{frozen_caption(theory, sweep.stem)}",
        arrays=arrays,
        labels={"x": "time η·step"},
    )
