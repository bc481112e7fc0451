"""The papers' figures from trained networks: regimes, the stopping point of each network, and curves with their bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from empirical.experiments import experiment
from empirical.inference import exact, mean_interval
from reports.agreement import Range, Role
from reports.evidence import Agreement
from tests.support.frozen_kernel import FrozenRun, frozen, kernel_of
from tests.support.regimes import Regime

__all__ = [
    "CNN",
    "NOT_QUICK",
    "RESNET",
    "RESNET_LATER",
    "TWO_CLASS_PANELS",
    "Drawing",
    "afterwards",
    "at",
    "course",
    "each_network",
    "figure_regimes",
    "kernel_marks",
    "left_out_stop",
    "measured",
    "se_of_test_error",
    "stop_mark",
    "two_class_dynamics",
]

Array = NDArray[np.float64]
Index = NDArray[np.intp]
NONE = {"none allowed": 0.0}
TWO_CLASS_PANELS = (
    ("Clean error", "clean_error"),
    ("Clean mean residual", "clean_residual"),
    ("Test error", "test_error"),
    ("Noisy error", "noise_error"),
    ("Noisy mean residual", "noise_residual"),
    ("Training error", "train_error"),
)
MANY = 21  # networks from which on a mean is judged with an interval: Student's at 1e-6 is then below 1.5 standard deviations wide

CNN = (
    Regime("trained CNN", "digits, 10 classes", experiment="digits-cnn"),
    Regime("trained CNN", "MNIST, 10 classes", experiment="mnist-cnn"),
)
RESNET = (Regime("trained ResNet-9", "CIFAR-10", experiment="cifar10-resnet9"),)
NOT_QUICK = ("standard", "full")
Later = Mapping[str, tuple[tuple[str, ...], str]]
FITS_FIRST = "needs the standard tier: ResNet-9 fits the noise of a few hundred pictures of CIFAR-10 before its test error turns"
RESNET_LATER: Later = {"cifar10-resnet9": (NOT_QUICK, FITS_FIRST)}


def figure_regimes(chosen: Sequence[Regime], *, later: Later | None = None) -> pytest.MarkDecorator:
    """Parametrise over regimes.

    Args:
        chosen: the regimes.
        later: experiment → the only tiers in which it is measured and judged, and why; in others `measured` says so in the report.
    """
    return pytest.mark.parametrize(
        "regime",
        [
            pytest.param(
                regime,
                id=regime.id,
                marks=[
                    pytest.mark.regime(regime.model, regime.data),
                    *kernel_marks(regime.experiment),
                    pytest.mark.experiments(
                        regime.experiment, **({"tiers": later[regime.experiment][0]} if later and regime.experiment in later else {})
                    ),
                ],
            )
            for regime in chosen
        ],
    )


def kernel_marks(*names: str) -> list[pytest.MarkDecorator]:
    """Marks that have the kernels measured on which `frozen` draws the theory of these experiments."""
    found = {found for found in map(kernel_of, names) if found is not None}
    return [pytest.mark.experiments(kernel, tiers=tiers) for kernel, tiers in found]


def measured(agreement: Agreement, regime: Regime, *, later: Later | None = None) -> xr.Dataset:
    """The regime's trained networks; outside the tiers of ``later`` the row is NOT RUN, with its reason."""
    if later and regime.experiment in later:
        tiers, reason = later[regime.experiment]
        if agreement.tier not in tiers:
            pytest.skip(reason)
    return agreement.measure(regime.experiment)


def each_network(
    agreement: Agreement,
    text: str,
    values: NDArray[np.floating],
    *,
    above: float = 0.0,
    role: Role = Role.STATEMENT,
    expected: str | None = None,
) -> None:
    """Judge that a quantity of each network ``[R]`` exceeds ``above``.

    From `MANY` networks on: their mean, with an interval at the error rate. Of fewer networks no interval at such a rate is short enough,
    and the statement is of these networks alone, each of them: an exact count, which says nothing of others. A control is rejected only
    if no more than half of them show it.
    """
    n = len(values)
    judge = partial(agreement.check, margin=NONE, role=role, expected=expected)
    if n >= MANY:
        estimate = mean_interval(values, error_rate=agreement.error_rate)
        judge(f"{text}, mean", prediction=Range(lower=above), estimate=estimate)
    else:
        share = float((np.asarray(values) > above).mean())
        wanted = Range(lower=np.nextafter(0.5, 1)) if role is Role.CONTROL else 1.0
        judge(f"{text}, share of these {n} networks", prediction=wanted, estimate=exact(share, n_seeds=n))


def two_class_dynamics(agreement: Agreement, run: xr.Dataset, text: str, *, random_output: bool = False) -> None:
    """Row F5 of some networks: to the stopping point clean error falls and the noisy ones rise; from their peak on they fall.

    The stopping point is one: the test error rises after it. Random output of order one has to be unlearnt first, and the noisy error of
    such networks may have fallen to about its start when the test error is smallest: it is judged at its peak.
    """
    stop = left_out_stop(run["test_error"].values)
    rise = (afterwards(run, "test_error", stop) - at(run, "test_error", stop)).mean()
    agreement.check(
        f"{text}mean test error of these networks, from twice the time of the stopping point on, less that at it",
        prediction=Range(lower=0),
        estimate=exact(float(rise), n_seeds=len(stop)),
        margin=NONE,
    )
    for what, quantity, sign in (
        ("fall of the clean error", "clean_error", -1),
        ("fall of the clean residual", "clean_residual", -1),
        ("rise of the noisy error", "noise_error", 1),
        ("rise of the noisy residual", "noise_residual", 1),
    ):
        change, until = sign * (at(run, quantity, stop) - run[quantity].values[:, 0]), "the stopping point"
        if random_output and quantity == "noise_error":
            agreement.note(
                f"{text}the noisy error is above its start at the stopping point in {(change > 0).sum()} of {len(change)} networks."
            )
            values = run[quantity].values
            change, until = at(run, quantity, left_out_stop(-values)) - values[:, 0], "its peak"
        each_network(agreement, f"{text}{what} to {until}", change)
    for what, quantity in (("error", "noise_error"), ("residual", "noise_residual")):
        values = run[quantity].values
        each_network(agreement, f"{text}later fall of the noisy {what}", at(run, quantity, left_out_stop(-values)) - values[:, -1])
    fall = run["noise_residual"].values[:, 0] - at(run, "noise_residual", stop)
    each_network(agreement, f"{text}clean and noise exchanged: fall of the noisy residual", fall, role=Role.CONTROL)


def left_out_stop(test_error: Array) -> Index:
    """Early stopping point of each network as the minimum of the *other* networks' mean test error ``[R]``, not before the first record.

    So found, it has not seen the network's own test error, whose minimum would be too low and its rise from there too large.
    """
    total = test_error[:, 1:].sum(axis=0)
    return np.array([1 + int(np.argmin(total - one)) for one in test_error[:, 1:]])


def at(run: xr.Dataset, name: str, index: Index | int) -> Array:
    """A quantity of each network at its own recorded index ``[R, …]``."""
    values = np.asarray(run[name].values, dtype=float)
    return np.asarray(values[np.arange(len(values)), index])


def afterwards(run: xr.Dataset, name: str, index: Index) -> Array:
    """A quantity of each network from twice the time of its index on ``[R]``: the mean of what is recorded there, the end at least.

    "Later" is a factor away, whatever the scale of time, and not a step: single steps on mini-batches scatter.
    """
    times, values = run["time"].values, run[name].values
    return np.array([row[times >= min(2 * times[k], times[-1])].mean() for row, k in zip(values, index, strict=True)])


def se_of_test_error(name: str, tier: str) -> float:
    """Standard error, at most, of a test error of δ or less on the experiment's test samples."""
    spec: Any = experiment(name, tier=tier)
    level = min(spec.noise_level, 0.5)
    return float(np.sqrt(level * (1 - level) / len(spec.data.load().test_truth)))


def course(name: str, times: Array, values: Array, prediction: Array | None = None, *, log: bool = False) -> dict[str, Array]:
    """Arrays of one series: mean over networks and the middle 80 % of them (all, below ten), and the prediction if there is one.

    Args:
        name: ``series`` or ``panel|series``.
        times: ``[T]``, positive.
        values: ``[R, T]``.
        prediction: ``[T]``.
        log: take the geometric mean.
    """
    ends = (0.0, 1.0) if len(values) < 10 else (0.1, 0.9)
    mean = np.exp(np.log(values).mean(axis=0)) if log else values.mean(axis=0)
    low, high = np.quantile(values, ends, axis=0)
    arrays = {f"{name}/x": times, f"{name}/measured": mean, f"{name}/lower": np.minimum(low, mean), f"{name}/upper": np.maximum(high, mean)}
    return arrays if prediction is None else {**arrays, f"{name}/prediction": prediction}


@dataclass(frozen=True, eq=False)
class Drawing:
    """One figure of the papers: the networks of a regime, the theory where it is known, and how both are drawn.

    Attributes:
        agreement: the notebook of the test.
        regime: of the networks.
        run: their measurement.
        theory: see `frozen`; None where nothing is known.
    """

    agreement: Agreement
    regime: Regime
    run: xr.Dataset
    theory: FrozenRun | None

    @classmethod
    def of(cls, agreement: Agreement, regime: Regime, *, later: Later | None = None) -> Drawing:
        """Measure the regime's networks; outside the tiers of ``later`` the row is NOT RUN, with its reason."""
        run = measured(agreement, regime, later=later)
        return cls(agreement, regime, run, frozen(agreement, regime.experiment, run))

    @property
    def level(self) -> float:
        """δ."""
        spec: Any = experiment(self.regime.experiment, tier=self.agreement.tier)
        return float(spec.noise_level)

    @property
    def time(self) -> Array:
        """Recorded times η·step after the start ``[T]``."""
        return np.asarray(self.run["time"].values[self.shown])

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Records after the start."""
        return np.asarray(self.run["time"].values > 0)

    def series(self, label: str, quantity: str, prediction: Array | None = None) -> dict[str, Array]:
        """Arrays of one recorded quantity, with the theory's curve (at all recorded times) or else that of ``prediction``."""
        if self.theory is not None and quantity in self.theory.series:
            prediction = self.theory.series[quantity]
        return course(label, self.time, self.run[quantity].values[:, self.shown], None if prediction is None else prediction[self.shown])

    def draw(self, kind: str, *, title: str, caption: str, arrays: Mapping[str, Array], **labels: str) -> None:
        """Hand the figure over: over time, with the stopping point marked."""
        self.agreement.figure(
            kind,
            id=f"{kind.replace('_', '-')}-{self.regime.id}".lower(),
            title=f"{title}, {self.regime.data}, δ = {self.level:g}{', mini-batches' if 'mini-batches' in self.regime.model else ''}",
            caption=caption,
            arrays=arrays,
            labels={"x": "time η·step", **labels, **stop_mark(self.run)},
        )


def stop_mark(run: xr.Dataset) -> dict[str, str]:
    """The vertical line of the papers' figures: the minimum of the mean test error."""
    return {"mark:early stopping": f"{float(run['time'].values[1 + int(np.argmin(run['test_error'].values[:, 1:].mean(axis=0)))]):.6g}"}
