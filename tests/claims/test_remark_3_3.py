"""Remark 3.3, Sec. 4.1 [A], Sec. 4.1 [B]: ∇h is constant in training as m → ∞. With which exponent, and what follows for the logits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.experiments import experiment
from empirical.inference import rate_in_width, simultaneous_band
from empirical.linearized_experiments import members
from empirical.linearized_runs import LinearizedRun
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.drift import (
    BOTH_FAMILIES,
    HALF_WAY,
    NEXT_ORDER,
    SCATTER,
    SMOOTH,
    WidthFamily,
    against_width,
    exponent_design,
    limit_design,
    width_families,
    width_family,
)
from tests.support.kernel_data import class_ratio
from theory.dynamics import gradient_descent
from theory.finite_width_depth import DRIFT_EXPONENTS
from theory.kernels import ntk

Array = NDArray[np.float64]
HALF = {"half of the way to the neighbouring exponent": HALF_WAY}
NONE = {"none": 0.0}
FIELD = "drift-clusters-mean-field"
NAMES = {
    "gradient": "‖∇h(w_t) − ∇h(w_0)‖/‖∇h(w_0)‖",
    "kernel": "‖K_t − K_0‖_F/‖K_0‖_F",
    "distance": "rms |h − h_lin| on test samples",
    "weights": "‖W_t − W_0‖/‖W_0‖, first layer",
}
LEVEL = 0.2  # of the relative change of ∇h at m = 64 and time 8, at most: √(4/π √(2/64) E|s|), |s| < 0.18
EXPECTED = {"gradient": DRIFT_EXPONENTS["gradient-relu"].exponent, "kernel": -0.75, "weights": -0.5}  # notes/drift.md; n⁴ ≫ m


@pytest.mark.claim("G7")
@width_families("drift-{}-relu", BOTH_FAMILIES, model="trained ReLU networks of several widths, output 0 at first", beside=FIELD)
def test_relu_networks_at_a_fixed_time(agreement: Agreement, family: str) -> None:
    """η·step = 8. Exponents −1/4 (∇h), −3/4 (kernel), −1/2 (weights); in the mean-field scale ∇h moves as much at every width."""
    rate, found, field = agreement.error_rate, width_family(agreement, family), width_family(agreement, FIELD)
    rates = {}
    for quantity, exponent in EXPECTED.items():
        statistic = "rms" if quantity == "gradient" else "mean"
        planned = exponent_design(found.widths, found.networks, SCATTER[quantity], error_rate=rate, statistic=statistic)
        # Power: an interval that strays by its half-width is inside half of the way, and one about a neighbouring exponent outside.
        assert NEXT_ORDER + 2 * planned < HALF_WAY
        rates[quantity] = rate_in_width(found.widths, found.samples(quantity), error_rate=rate, statistic=statistic, limit_power=exponent)
        agreement.check(f"exponent of {NAMES[quantity]}", prediction=exponent, estimate=rates[quantity].exponent, margin=HALF)
        for wrong in (exponent - 0.25, exponent + 0.25):
            agreement.control(f"exponent {wrong:g} of {NAMES[quantity]}", prediction=wrong, estimate=rates[quantity].exponent, margin=HALF)

    # The limit: what the line in m^(−1/4) makes of m^(−1/4) with the smooth part of the square makes 0, and the networks drawn.
    widths = np.array(found.widths, float)
    shape = widths**-0.25 * np.sqrt(1 + SMOOTH * np.sqrt(64 / widths)) * (64**0.25 * LEVEL)
    bias, half_width = limit_design(widths, found.networks, shape, SCATTER["gradient"], power=-0.25, error_rate=rate)  # type: ignore[arg-type]
    margin = {"next order in the width": abs(bias), "networks": 2 * half_width}
    agreement.check(f"{NAMES['gradient']} at infinite width", prediction=0, estimate=rates["gradient"].limit, margin=margin)

    distance = rate_in_width(found.widths, found.samples("distance"), error_rate=rate, statistic="mean", limit_power=-0.75)
    between = Range(-1.0, -0.5)
    agreement.check(f"exponent of {NAMES['distance']}", prediction=between, estimate=distance.exponent, margin=NONE)

    still = rate_in_width(field.widths, field.samples("gradient"), error_rate=rate, statistic="rms", limit_power=-0.25)
    agreement.control("mean-field scale: exponent −1/4 of ∇h", prediction=-0.25, estimate=still.exponent, margin=HALF)
    agreement.control("mean-field scale: ∇h constant at infinite width", prediction=0, estimate=still.limit, margin=margin)
    far = rate_in_width(field.widths, field.samples("distance"), error_rate=rate, statistic="mean")
    agreement.control(f"mean-field scale: exponent of {NAMES['distance']}", prediction=between, estimate=far.exponent, margin=NONE)

    arrays: dict[str, Array] = {}
    shown = {"gradient": (rates["gradient"], -0.25), "kernel": (rates["kernel"], -0.75), "distance": (distance, -0.75)}
    for quantity, (fit, exponent) in shown.items():
        arrays |= against_width(quantity, widths, fit.values, exponent=exponent)
    levels = rate_in_width(field.widths, field.samples("kernel"), error_rate=rate, statistic="mean").values.value
    arrays |= {"kernel, mean-field scale/x": np.array(field.widths, float)}
    arrays |= {"kernel, mean-field scale/measured": np.array([part.mean() for part in field.samples("kernel")])}
    agreement.figure(
        "comparison",
        title="Tangent-kernel drift and distance from the linearisation against width",
        caption=(
            "ReLU networks at training time 8, one number per network, means with intervals: relative change of ∇h, of the tangent kernel, "
            "and distance of the test logits from the network's own linearisation. Lines have the slopes −1/4, −3/4 and −3/4 of theory. In "
            f"the mean-field scale the kernel moves by {levels[0]:.2f} of itself at m = {field.widths[0]}, by {levels[-1]:.2f} at "
            f"{field.widths[-1]}."
        ),
        arrays=arrays,
        labels={
            "x": "width m",
            "y": "relative drift; logits",
            "xscale": "log",
            "yscale": "log",
            "name:gradient": "∇h",
            "name:distance": "|h − h_lin|",
        },
    )
    drift, apart = (over_time(found, variable, rate) for variable in ("kernel_drift", "test_distance_rms"))
    agreement.figure(
        "comparison",
        title="Tangent-kernel drift over training",
        caption=f"‖K_t − K_0‖_F/‖K_0‖_F against training time: {ends(drift)}. Means over networks, with intervals for all times at once.",
        arrays=drift,
        labels={"x": "time η·step", "y": "‖K_t − K_0‖/‖K_0‖", "yscale": "log"},
    )
    agreement.figure(
        "comparison",
        title="Distance from the linearisation over training",
        caption=f"Root mean square of h − h_lin over the test samples against training time: {ends(apart)}. Means over networks.",
        arrays=apart,
        labels={"x": "time η·step", "y": "rms |h − h_lin|", "yscale": "log"},
    )
    agreement.note(
        "Exponents: "
        + ", ".join(f"{quantity} {float(fit.exponent.value):.3f}" for quantity, fit in {**rates, "distance": distance}.items())
        + f"; local slopes of ∇h {np.round(rates['gradient'].local_exponents.value, 3).tolist()}."
    )


def over_time(found: WidthFamily, variable: str, error_rate: float) -> dict[str, Array]:
    """Arrays of a figure: mean over networks and simultaneous band at the recorded times after 0, by width."""
    arrays: dict[str, Array] = {}
    for width, run in zip(found.widths, found.runs, strict=True):
        band = simultaneous_band(run[variable].values[:, 1:], error_rate=error_rate)
        columns = {"x": run["time"].values[1:], "measured": band.value, "lower": band.lower, "upper": band.upper}
        arrays |= {f"m = {width}/{column}": np.asarray(values, float) for column, values in columns.items()}
    return arrays


def ends(arrays: dict[str, Array]) -> str:
    """The last value of the first and of the last width, in words."""
    series = [name.removesuffix("/measured") for name in arrays if name.endswith("/measured")]
    return ", ".join(f"{arrays[f'{name}/measured'][-1]:.2g} in the end at {name}" for name in (series[0], series[-1]))


@pytest.mark.claim("G7")
@pytest.mark.regime("trained tanh networks of several widths, output 0 at first", "digits 7/9")
@pytest.mark.experiments(*members("drift-digits-7-9-tanh"))
def test_tanh_networks_at_a_fixed_time(agreement: Agreement) -> None:
    """A twice differentiable activation: exponents −1/2 (∇h), −1 (kernel and distance from the linearisation)."""
    rate, found = agreement.error_rate, width_family(agreement, "drift-digits-7-9-tanh")
    scatter = {"gradient": (0.16, 0.14, 0.12), "kernel": (0.5, 0.48, 0.38), "distance": (0.55, 0.5, 0.4)}
    # ∇h is told from ReLU's −1/4; the kernel, which scatters more, from −1/2. The next order is 1/m relative here, and negligible.
    table = {"gradient": (-0.5, -0.25), "kernel": (-1.0, -0.5), "distance": (-1.0, -0.5)}
    for quantity, (exponent, wrong) in table.items():
        planned = exponent_design(found.widths, found.networks, scatter[quantity], error_rate=rate)
        margin = {"half of the way to the other exponent": abs(exponent - wrong) / 2}
        assert 2 * planned < abs(exponent - wrong) / 2  # power, as above
        fit = rate_in_width(found.widths, found.samples(quantity), error_rate=rate, statistic="mean", limit_power=exponent)
        agreement.check(f"exponent of {NAMES[quantity]}", prediction=exponent, estimate=fit.exponent, margin=margin)
        agreement.control(f"exponent {wrong:g} of {NAMES[quantity]}", prediction=wrong, estimate=fit.exponent, margin=margin)


@pytest.mark.claim("G7")
@width_families(
    "conditioned-{}",
    {"digits-7-9": "digits 7/9", "mnist-7-9": "MNIST 7/9"},
    model="trained ReLU networks of several widths, random output at first",
)
def test_infinite_width_prediction_from_the_initial_output(agreement: Agreement, family: str) -> None:
    """A constant ∇h is a fixed kernel: from its own initial logits every network follows the infinite-width descent, up to m^(−1/2)."""
    rate, found = agreement.error_rate, width_family(agreement, family)
    specs = [experiment(member, tier=agreement.tier) for member in members(family)]
    assert isinstance(specs[0], LinearizedRun)
    data = specs[0].data
    samples = agreement.dataset(data.name, classes=data.classes, n_train=data.n_train, n_test=data.n_test)
    x, z = samples.train_inputs.astype(float), samples.test_inputs.astype(float)
    kernel, cross = ntk(x), ntk(z, x)
    deviations: dict[str, list[Array]] = {"conditioned": [], "unconditioned": [], "alpha": [], "error": []}
    moved: list[float] = []  # rms change of the test logits that the theory foresees
    apart: list[float] = []  # rms distance of the two predictions
    for run in found.runs:
        training = json.loads(run.attrs["specification"])["training"]
        start, test_start = (run[name].values[:, 0].T.astype(float) for name in ("train_logits", "test_logits"))
        y, ends = run["observed"].values.T, []
        last = int(run["step"].values[-1])
        for name, initial in (("conditioned", (start, test_start)), ("unconditioned", (None, None))):
            predicted = gradient_descent(
                kernel,
                y,
                learning_rate=training["learning_rate"],
                steps=last,
                initial_logits=initial[0],
                cross_kernel=cross,
                initial_test_logits=initial[1],
                record=[last],
            )
            assert predicted.test_logits is not None
            gap = run["test_logits"].values[:, -1].T - predicted.test_logits[0]
            deviations[name].append(np.sqrt(np.mean(gap**2, axis=0)))
            ends.append(predicted.test_logits[0])
            if name == "conditioned":
                wrong = ((predicted.test_logits[0] > 0) != samples.test_truth[:, None]).mean(axis=0)
                deviations["error"].append(run["test_error"].values[:, -1] - wrong)
                residual = 1 / (1 + np.exp(-np.asarray(predicted.logits[0]))) - y
                alpha = 1 / class_ratio(kernel, residual, samples.train_truth, y != samples.train_truth[:, None]).T
                deviations["alpha"].append(np.sqrt(np.mean(np.log(run["alpha"].values[:, -1] / alpha) ** 2, axis=1)))
        moved.append(float(np.sqrt(np.mean((ends[0] - test_start) ** 2))))
        apart.append(float(np.sqrt(np.mean((ends[0] - ends[1]) ** 2))))
    fits = {
        name: rate_in_width(found.widths, parts, error_rate=rate, statistic="rms", limit_power=-0.5) for name, parts in deviations.items()
    }

    # Entries of the kernel scatter by √(3/m) or so; the logits moved are a difference of two classes' pushes, which doubles that at most.
    # The deviation is then a line in m^(−1/2) through the origin, bent by its square in units of the move.
    widths = np.array(found.widths, float)
    level = 2 * np.sqrt(3 / widths) * max(moved)
    scatter = (0.45, 0.45, 0.45)  # of the deviation between networks (of its square, halved), at most: it has few directions
    _, half_width = limit_design(found.widths, found.networks, level.tolist(), scatter, power=-0.5, error_rate=rate)
    second, _ = limit_design(found.widths, found.networks, (level**2 / max(moved)).tolist(), scatter, power=-0.5, error_rate=rate)
    margin = {"next order in the width": abs(second), "networks": 2 * half_width}
    assert 2 * sum(margin.values()) < min(apart)  # power: the prediction that ignores h_0 is rejected
    for name, text in {"conditioned": "rms deviation of the test logits", "alpha": "rms deviation of log α^(c)"}.items():
        agreement.check(f"{text}, at infinite width", prediction=0, estimate=fits[name].limit, margin=margin)
    limit = fits["unconditioned"].limit
    agreement.control("rms deviation of the test logits from h_0 = 0, at infinite width", prediction=0, estimate=limit, margin=margin)
    planned = exponent_design(found.widths, found.networks, scatter, error_rate=rate, statistic="rms")
    if 2 * planned < 0.25:  # enough networks to tell −1/2 from 0: half of the way is −1/4
        falls = Range(-1.0, -0.25)
        text = "exponent of the rms deviation of the test logits"
        agreement.check(text, prediction=falls, estimate=fits["conditioned"].exponent, margin=NONE)
        agreement.control(f"{text} from h_0 = 0", prediction=falls, estimate=fits["unconditioned"].exponent, margin=NONE)
    else:
        agreement.note(f"Exponent not judged: {min(found.networks)} networks a width leave it open by {planned:.2f}.")
    agreement.note(
        f"Exponents: deviation of test logits {float(fits['conditioned'].exponent.value):.3f} (from h_0 = 0 "
        f"{float(fits['unconditioned'].exponent.value):.3f}), of log α {float(fits['alpha'].exponent.value):.3f}, of the test error "
        f"{float(fits['error'].exponent.value):.3f}; at m = {found.widths[-1]} the deviation is {fits['conditioned'].values.value[-1]:.3f}."
    )
    arrays: dict[str, Array] = {}
    for name, label in (("conditioned", "from its own h_0"), ("unconditioned", "from h_0 = 0"), ("alpha", "log α, from its own h_0")):
        arrays |= against_width(label, widths, fits[name].values, exponent=0.0 if name == "unconditioned" else -0.5)
    agreement.figure(
        "comparison",
        title="Deviation from the infinite-width prediction",
        caption=(
            "Root mean square over test samples of the network's logits less the infinite-width prediction: started from the network's own "
            f"initial logits it shrinks to {fits['conditioned'].values.value[-1]:.3f} at m = {found.widths[-1]}, started from 0 it stays "
            f"at {fits['unconditioned'].values.value[-1]:.2f}. Lines have the slopes −1/2 and 0."
        ),
        arrays=arrays,
        labels={"x": "width m", "y": "rms deviation", "xscale": "log", "yscale": "log"},
    )
