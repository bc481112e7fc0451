"""Constants of the drift of ReLU networks (X11): flipped gates, change of ∇h, variance of the kernel's drift, to leading order."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.experiments import experiment
from empirical.inference import mean_interval, rate_in_width
from empirical.linearized_experiments import members
from empirical.linearized_runs import LinearizedRun
from reports.evidence import Agreement
from tests.support.drift import BOTH_FAMILIES, SMOOTH, limit_design, width_families, width_family
from tests.support.estimates import joined
from theory.dynamics import gradient_descent
from theory.finite_width_drift import relu_drift
from theory.kernels import ntk

Array = NDArray[np.float64]
# Relative standard deviations between networks, at most, by rising width.
SCATTER = {
    "gates": (0.45, 0.30, 0.22, 0.16),
    "gradient": (0.68, 0.40, 0.28, 0.20),
    "kernel": (2.0, 1.1, 0.75, 0.45),
}
# A factor of the formula that is left out, and what the quotient would then be at infinite width.
CONTROLS = {"gates": ("those that close", 2.0), "gradient": ("the factor 2", 2.0), "kernel": ("1/π", np.pi)}
NAMES = {"gates": "flipped gates", "gradient": "‖∇h_t − ∇h_0‖²/‖∇h_0‖²", "kernel": "‖K_t − K_0‖²/‖K_0‖²"}


@pytest.mark.claim("X11")
@width_families("drift-{}-relu", BOTH_FAMILIES, model="trained ReLU networks of several widths, output 0 at first")
def test_drift_over_its_leading_order(agreement: Agreement, family: str) -> None:
    """Each network's drift at time 8 over that foreseen for its label draw; extrapolated to infinite width the quotient is 1."""
    rate, found = agreement.error_rate, width_family(agreement, family)
    spec = experiment(members(family)[0], tier=agreement.tier)
    assert isinstance(spec, LinearizedRun)
    data = agreement.dataset(spec.data.name, classes=spec.data.classes, n_train=spec.data.n_train, n_test=spec.data.n_test)
    x, z = data.train_inputs.astype(float), data.test_inputs.astype(float)
    if x.shape[1] == 2:  # equally spaced directions; offset, so that none is orthogonal to an input
        turn, average = 2 * np.pi * (np.arange(180) + 0.123) / 180, 0.0
        directions = np.sqrt(2) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    else:  # pairs ±a of draws; one pair scatters by a third about the average over points, five standard errors are allowed for
        half, average = agreement.rng.normal(size=(300, x.shape[1])), 5 * 0.35 / np.sqrt(300)
        directions = np.concatenate([half, -half])
    kernel = ntk(x)
    quotients: dict[str, list[Array]] = {name: [] for name in NAMES}
    levels: dict[str, list[float]] = {name: [] for name in NAMES}
    for width, run in zip(found.widths, found.runs, strict=True):
        last = int(run["step"].values[-1])
        descent = gradient_descent(
            kernel,
            run["observed"].values.T,
            learning_rate=spec.training.learning_rate,
            steps=last,
            cross_kernel=np.eye(len(x)),
            record=[last],
        )
        assert descent.test_logits is not None
        part, index = run["kernel_part"].values, run["kernel_index"].values
        test = part == "test"
        points = np.concatenate([x[index[~test]], z[index[test]]])
        law = relu_drift(points, x, descent.test_logits[0], width=width, directions=directions)
        if width == 64:
            assert law.smooth_change.mean() < SMOOTH * law.flip_change.mean()
        # Gates and gradients on test samples, which have no gate of their own among the training samples.
        foreseen = {
            "gates": law.flip_share[test].mean(axis=0),
            "gradient": law.squared_change[test].mean(axis=0),
            "kernel": law.kernel_variance.sum(axis=(0, 1)) / np.sum(ntk(points) ** 2),
        }
        measured = {
            "gates": run["pattern_change"].values[:, -1, test].mean(axis=1),
            "gradient": np.mean(run["gradient_change"].values[:, -1, test] ** 2, axis=1),
            "kernel": run["kernel_drift"].values[:, -1] ** 2,
        }
        for name in NAMES:
            quotients[name].append(measured[name] / foreseen[name])
            levels[name].append(float(np.mean(foreseen[name])))

    arrays: dict[str, Array] = {}
    widths = np.array(found.widths, float)
    for name, text in NAMES.items():
        fit = rate_in_width(found.widths, quotients[name], error_rate=rate, statistic="mean", limit_power=-0.5)
        # The line in m^(−1/2) takes up the next order; what is left, of order 1/m, is at most the square of its 0.25 at m = 64.
        ones = np.ones(len(widths))
        left, half_width = limit_design(widths, found.networks, ones, SCATTER[name], power=-0.5, error_rate=rate)  # type: ignore[arg-type]
        beyond, _ = limit_design(widths, found.networks, 0.25**2 * 64 / widths, SCATTER[name], power=-0.5, error_rate=rate)  # type: ignore[arg-type]
        margin = {"next order in the width": abs(beyond), "networks": 2 * half_width, "directions": average}
        assert abs(left - 1) < 1e-9
        agreement.check(f"{text} over theory, at infinite width", prediction=1, estimate=fit.limit, margin=margin)
        lost, factor = CONTROLS[name]
        assert sum(margin.values()) + 2 * half_width + average < factor - 1  # power
        agreement.control(f"{text}, {lost} lost", prediction=factor, estimate=fit.limit, margin=margin)
        ratio = joined([mean_interval(part, error_rate=rate / len(widths)) for part in quotients[name]])
        level = np.array(levels[name])
        columns = {
            "x": widths,
            "prediction": level,
            "measured": level * ratio.value,
            "lower": level * ratio.lower,
            "upper": level * ratio.upper,
        }
        arrays |= {f"{text}/{column}": np.asarray(values) for column, values in columns.items()}
        agreement.note(f"{text} over theory at m = {', '.join(map(str, found.widths))}: {np.round(ratio.value, 3).tolist()}.")
    agreement.figure(
        "comparison",
        title="Drift of ReLU networks against its leading order",
        caption=(
            "Share of hidden units whose gate has flipped by training time 8, squared relative change of ∇h and of the tangent kernel, "
            "against width: mean over networks with intervals, and theory without a fitted constant. Measured over theory at "
            f"m = {found.widths[-1]}: {', '.join(f'{text} {np.mean(quotients[name][-1]):.2f}' for name, text in NAMES.items())}."
        ),
        arrays=arrays,
        labels={"x": "width m", "y": "share; squared relative change", "xscale": "log", "yscale": "log"},
    )
