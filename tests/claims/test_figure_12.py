"""Fig. 12, App. C.3 [A]: the same dynamics at every width, and their limit where the infinite width is known."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from empirical.experiments import Experiment, experiment, seeds_by_rule
from empirical.inference import mean_interval, rate_in_width
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.figure_runs import NOT_QUICK, TWO_CLASS_PANELS, course, left_out_stop, two_class_dynamics
from tests.support.histories import History, predicted_history
from tests.support.paired import label_draws

Array = NDArray[np.float64]
NONE = {"none allowed": 0.0}
# Mini-batches; 24 networks of every width on digits. The width 512 is that of Fig. 5.
DIGITS = {32: "digits-7-9-width-32", 128: "digits-7-9-width-128", 512: "digits-7-9-sgd"}
MNIST = {width: f"mnist-7-9-width-{width}" for width in (32, 128, 512, 2048)}
LATER = "needs the standard tier: every width from 32 to 2048 on a thousand samples"
LIMIT = ("digits-7-9-limit-width-16", "digits-7-9-limit-width-32", "digits-7-9-limit-width-128", "digits-7-9")


@pytest.mark.claim("F12")
@pytest.mark.parametrize(
    ("data", "widths", "tiers"),
    [
        pytest.param(
            data,
            widths,
            tiers,
            id=re.sub(r"[^a-zA-Z0-9]+", "-", data),
            marks=[
                pytest.mark.regime("trained networks of several widths, mini-batches", data),
                pytest.mark.experiments(*widths.values(), tiers=tiers),
            ],
        )
        for data, widths, tiers in (("digits 7/9", DIGITS, ("quick", *NOT_QUICK)), ("MNIST 7/9", MNIST, NOT_QUICK))
    ],
)
def test_every_width(agreement: Agreement, data: str, widths: dict[int, str], tiers: tuple[str, ...]) -> None:
    """Row F5 at each width: to the stopping point clean error falls and the noisy ones rise; from their peak on they fall."""
    if agreement.tier not in tiers:
        pytest.skip(LATER)
    arrays, stops, peaks, effects = {}, dict[int, float](), dict[int, float](), []
    for width, name in widths.items():
        run = agreement.measure(name)
        stop = left_out_stop(run["test_error"].values)
        two_class_dynamics(agreement, run, f"m = {width}: ")
        time = run["time"].values
        shown = time > 0
        stops[width] = float(time[int(np.median(stop))])
        peaks[width] = float(time[int(np.argmax(run["noise_loss"].values.mean(axis=0)))])
        effects.append(f"{run['noise_loss'].values.max(axis=1).mean() - run['noise_loss'].values[:, 0].mean():.3f}")
        for panel, quantity in TWO_CLASS_PANELS:
            arrays |= course(f"{panel}|m = {width}", time[shown], run[quantity].values[:, shown])
    agreement.note(
        f"Early stopping point, time η·step: {by_width(stops)}. Peak of the mean noisy loss: {by_width(peaks)}. Its rise to there: "
        f"{', '.join(effects)}."
    )
    agreement.figure(
        "figure_12",
        id=f"figure-12-{data.replace('/', '-').replace(' ', '-')}".lower(),
        title=f"Fig. 12: learning dynamics at several widths, {data}, δ = 0.4, mini-batches",
        caption=f"Means and middle 80 % of networks with two hidden layers. Early stopping points at η·step = {by_width(stops)}. "
        "PyTorch's parametrisation has no limit at a fixed learning rate; the limit is drawn in the figure of one hidden layer.",
        arrays=arrays,
        labels={"x": "time η·step"},
    )


def by_width(times: dict[int, float]) -> str:
    """Times by width in increasing order of the widths, and whether they fall."""
    change = np.diff(list(times.values()))
    order = (
        "earlier at every larger width" if (change < 0).all() else "never later at a larger width" if (change <= 0).all() else "in no order"
    )
    return f"{', '.join(f'{time:.3g} at m = {width}' for width, time in times.items())} ({order})"


@pytest.mark.claim("F12")
@pytest.mark.regime("trained networks of several widths, full batch", "digits 7/9")
@pytest.mark.experiments(*LIMIT)
def test_effect_tends_to_its_infinite_width_value(agreement: Agreement) -> None:
    """Height of the noisy loss's peak above log 2, against the infinite-width run of the same label draws, network by network."""
    rate, curves, arrays = agreement.error_rate, {}, {}
    widths, difference, heights = [], [], []
    for name in LIMIT:
        run, spec = agreement.measure(name), specification(agreement, name)
        foreseen, width = predicted_history(spec, keep=agreement.kept), spec.network.width
        height, theirs = effect(run["noise_loss"].values), effect(foreseen.noise_loss)
        widths.append(width)
        difference.append(height - theirs)
        expected = float(theirs.mean())
        heights.append((width, expected, height))
        # The kernel is off by √(3/m) of itself at most (G2), the size of what it causes by no more; averaged over networks by its square.
        epsilon = np.sqrt(3 / width)
        margin = {
            "finite width, 3/m": epsilon**2 * expected,
            "sampling": label_draws(epsilon * expected, replicates=len(height), error_rate=rate),
        }
        estimate = mean_interval(height - theirs, error_rate=rate)
        estimate = replace(estimate, **{end: expected + getattr(estimate, end) for end in ("value", "lower", "upper")})
        agreement.check(f"m = {width}: height of the peak of the noisy loss", prediction=expected, estimate=estimate, margin=margin)
        if width >= 128:  # power: below, the margin of a single width covers the whole effect
            agreement.control(f"m = {width}: no peak", prediction=0.0, estimate=estimate, margin=margin)
        if width != 32:  # close to its neighbours
            curves |= against_limit(run, foreseen, width, last=name == LIMIT[-1])
    found = rate_in_width(widths, difference, error_rate=rate, statistic="sd")
    # −1/2 for the kernel's fluctuation at the start, −1/4 for the gates that flip on the way (row G7): in between, and neither 0 nor −1.
    agreement.check(
        "exponent of the difference from infinite width, in the width",
        prediction=Range(-1.0, 0.0),
        estimate=found.exponent,
        margin=NONE,
    )
    for wrong in (0.0, -1.0):
        agreement.control(f"exponent {wrong:g}", prediction=wrong, estimate=found.exponent, margin=NONE)
    exponent = found.exponent
    agreement.note(
        f"Standard deviation of a network's difference from its infinite-width run: "
        f"{', '.join(f'{np.std(values, ddof=1):.4f} at m = {width}' for width, values in zip(widths, difference, strict=True))}; exponent "
        f"{float(exponent.value):.2f}, local ones {np.round(found.local_exponents.value, 2)}."
    )
    arrays = {
        "height of the peak/x": np.array([float(width) for width, _, _ in heights]),
        "height of the peak/prediction": np.array([expected for _, expected, _ in heights]),
        "height of the peak/measured": np.array([height.mean() for _, _, height in heights]),
        "height of the peak/lower": np.array([np.quantile(height, 0.1) for _, _, height in heights]),
        "height of the peak/upper": np.array([np.quantile(height, 0.9) for _, _, height in heights]),
    }
    agreement.figure(
        "figure_12",
        id="figure-12-limit",
        title="Fig. 12: learning dynamics at several widths and their limit, digits 7/9, δ = 0.4, full batch",
        caption=f"Means and middle 80 % of networks with one hidden layer and output 0 at the start; line: the infinite-width run of the "
        f"same label draws. A network's deviation from it shrinks as m to the power {f'{float(exponent.value):.2f}'.replace('-', '−')}.",
        arrays=curves,
        labels={"x": "time η·step"},
    )
    agreement.figure(
        "comparison",
        title="Height of the noisy loss's peak above its start, against the width",
        caption=f"Mean and middle 80 % of networks, with the infinite-width runs of their label draws: {heights[0][2].mean():.3f} over "
        f"{heights[0][1]:.3f} at m = {heights[0][0]}, {heights[-1][2].mean():.3f} over {heights[-1][1]:.3f} at m = {heights[-1][0]}.",
        arrays=arrays,
        labels={"x": "width m", "xscale": "log", "y": "max L_noise − log 2"},
    )


def specification(agreement: Agreement, name: str) -> Experiment:
    """The specification that was measured, with the seeds of this run."""
    spec = experiment(name, tier=agreement.tier)
    assert isinstance(spec, Experiment)
    return replace(spec, seeds=seeds_by_rule(name, len(spec.seeds), salt=agreement.seed_salt)) if agreement.seed_salt else spec


def effect(noise_loss: Array) -> Array:
    """Height of the peak above the start, log 2 at output 0 ``[R]``."""
    return np.asarray(noise_loss.max(axis=1) - np.log(2))


def against_limit(run: xr.Dataset, foreseen: History, width: int, *, last: bool) -> dict[str, Array]:
    """One width's curves to time 120; of the last width, also those of its infinite-width runs."""
    time = run["time"].values
    shown = (time > 0) & (time <= 120)
    arrays: dict[str, Array] = {}
    for panel, quantity in TWO_CLASS_PANELS:
        if hasattr(foreseen, quantity):
            arrays |= course(f"{panel}|m = {width}", time[shown], run[quantity].values[:, shown])
            if last:
                arrays[f"{panel}|m = ∞/x"] = time[shown]
                arrays[f"{panel}|m = ∞/prediction"] = getattr(foreseen, quantity).mean(axis=0)[shown]
    return arrays
