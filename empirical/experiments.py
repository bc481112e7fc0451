"""The experiments of the papers by name, at three scales: quick (CPU, seconds), standard (CPU, minutes), full (the papers' scale).

What the papers leave unstated is chosen here and stated:

* *Learning rate.* With unit inputs Eq. (2) [B] has K(x, x) = L + 1, so λ_max(K) ≤ (L + 1)n and 4n/λ_max(K), up to which full-batch
  descent approaches without overshoot, is at least 4/(L + 1) = 2 for one hidden layer. Clusters and digits use half of that, η = 1; MNIST
  7/9, where λ_max(K) is about n, uses η = 2. A test measures λ_max of the empirical kernels and checks the bound.
* *Initialisation.* Full-batch runs start from output 0 (``centred``), the hypothesis f(w_0; ·) = ½ of Eq. (8) [A]; the
  ``-initial-random`` and ``-initial-pytorch`` experiments measure what happens without it. Runs with mini-batches use PyTorch's default.
* *Mini-batches, pictures.* See ``empirical.network_experiments``.
* *Inputs.* Unit vectors; pixels in [0, 1] for PyTorch's parametrisation.
* *Seeds.* By rule, from the name of the experiment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from empirical._validation import check_choice
from empirical.linearized_experiments import LINEARIZED_EXPERIMENTS
from empirical.linearized_runs import LinearizedRun
from empirical.measurements import Experiment, GradientSample, TangentKernelSample
from empirical.network_experiments import NETWORK_EXPERIMENTS
from empirical.specifications import DataSpec, NetworkSpec, TrainingSpec, log_spaced_steps, seeds_by_rule

__all__ = [
    "EXPERIMENTS",
    "TIERS",
    "DataSpec",
    "Experiment",
    "GradientSample",
    "LinearizedRun",
    "NetworkSpec",
    "TangentKernelSample",
    "TrainingSpec",
    "experiment",
    "log_spaced_steps",
    "seeds_by_rule",
]

TIERS = ("quick", "standard", "full")
"""Scales of the experiments."""

_Value = TypeVar("_Value")
_Specification = Experiment | GradientSample | LinearizedRun | TangentKernelSample
_LAW_ANGLES = (0.0, 0.15, 0.6, 1.2, 2.2, 2.9, float(np.pi))
_SMALL_ANGLES = (0.003, 0.01, 0.03)


def experiment(name: str, *, tier: str = "quick") -> Experiment | GradientSample | LinearizedRun | TangentKernelSample:
    """Return the specification of a named experiment.

    Args:
        name: one of ``EXPERIMENTS``.
        tier: one of ``TIERS``.

    Raises:
        ValueError: if the name or the tier is unknown.

    Example:
        >>> specification = experiment("mnist-7-9")
        >>> specification.regime, len(specification.seeds)
        ('finite network · MNIST 7/9 · δ = 0.4', 32)
    """
    check_choice(name, "experiment", tuple(_BUILDERS))
    return _BUILDERS[name][1](check_choice(tier, "tier", TIERS))


def _pick(tier: str, quick: _Value, standard: _Value, full: _Value) -> _Value:
    return (quick, standard, full)[TIERS.index(tier)]


def _clusters(tier: str, counts: int | tuple[int, ...] | None = None) -> DataSpec:
    return DataSpec(name="clusters", n_train=counts or _pick(tier, 400, 800, 2000), n_test=400)


def _digits(classes: tuple[int, int], normalize: str = "unit") -> DataSpec:
    return DataSpec(name="digits", classes=classes, normalize=normalize)


def _mnist(tier: str, normalize: str = "unit") -> DataSpec:
    n_train, n_test = _pick(tier, 1000, 1500, None), _pick(tier, 1000, None, None)
    return DataSpec(name="mnist", classes=(7, 9), n_train=n_train, n_test=n_test, normalize=normalize)


def _descent(name: str, tier: str, data: DataSpec, noise_level: float, *, learning_rate: float, steps: int, width: int = 512) -> Experiment:
    """Full-batch gradient descent from output 0 on a wide network with one hidden layer: close to a fixed kernel."""
    return Experiment(
        name=name,
        data=data,
        noise_level=noise_level,
        network=NetworkSpec(width=_pick(tier, width, 2 * width, 4096), depth=1, centred=True),
        training=TrainingSpec(learning_rate=learning_rate, steps=steps * _pick(tier, 1, 2, 8), n_records=_pick(tier, 30, 40, 60)),
        seeds=seeds_by_rule(name, _pick(tier, 32, 32, 64)),
    )


def _other_noise(name: str, tier: str, noise_level: float) -> Experiment:
    """Negative controls: digits 7 and 9 by full-batch descent on narrower networks, with another share of wrong labels."""
    spec = _descent(name, "quick", _digits((7, 9)), noise_level, learning_rate=1.0, steps=400, width=128)
    return replace(spec, network=replace(spec.network, width=_pick(tier, 128, 256, 1024)))


def _stochastic(name: str, tier: str, data: DataSpec, steps: int, *, learning_rate: float, batch_size: int) -> Experiment:
    """The papers' setting: two hidden layers of 512, mini-batches, PyTorch's default initialisation."""
    return Experiment(
        name=name,
        data=data,
        noise_level=0.4,
        network=NetworkSpec(width=512, depth=2, convention="pytorch"),
        training=TrainingSpec(learning_rate=learning_rate, steps=steps, batch_size=batch_size, n_records=_pick(tier, 30, 40, 60)),
        seeds=seeds_by_rule(name, _pick(tier, 24, 24, 32)),
    )


def _initial(name: str, tier: str, data: DataSpec, noise_level: float, kind: str) -> Experiment:
    """Geometry at initialisation, no training: random output, output 0, or PyTorch's default."""
    network = NetworkSpec(
        width=512,
        depth=2 if kind == "pytorch" else 1,
        convention="pytorch" if kind == "pytorch" else "eq2",
        centred=kind == "centred",
    )
    count = _pick(tier, 128, 512, 2048) if kind == "random" else _pick(tier, 32, 64, 128)
    return Experiment(
        name=name,
        data=data,
        noise_level=noise_level,
        network=network,
        training=TrainingSpec(learning_rate=1.0, steps=0),
        seeds=seeds_by_rule(name, count),
    )


def _circle(name: str, tier: str, activation: str, depth: int) -> TangentKernelSample:
    """Fig. 2 [A]: width 512, angles from 0 to π; [A] counts the output layer, so its 2, 3, 5 layers are 1, 2, 4 hidden ones."""
    return TangentKernelSample(
        name=name,
        network=NetworkSpec(width=512, depth=depth, activation=activation, convention="eq6" if activation == "linear" else "eq2"),
        angles=tuple(np.linspace(0, np.pi, 37).tolist()),
        # Deep ReLU curves lie close together: 256 networks tell L = 4 from L = 5, 64 the others (tests/claims/test_figure_2.py).
        seeds=seeds_by_rule(name, _pick(tier, 256 if (activation, depth) == ("relu", 4) else 64, 512, 1024)),
    )


def _law(name: str, tier: str, activation: str, depth: int, width: int, *, angles: tuple[float, ...] = _LAW_ANGLES) -> TangentKernelSample:
    """Tangent kernels of many networks at a few angles: means, variances and laws at finite width."""
    quick = 4096 if depth == 1 else max(256, 2**17 // width)
    return TangentKernelSample(
        name=name,
        network=NetworkSpec(width=width, depth=depth, activation=activation, convention="eq6" if activation == "linear" else "eq2"),
        angles=angles,
        seeds=seeds_by_rule(name, quick * _pick(tier, 1, 2, 8)),
        dtype="float64",
    )


def _directions(name: str, tier: str, data: DataSpec, *, depth: int = 1, kernel: bool = False) -> GradientSample:
    """Fig. 3, 4 [A]: width 512, δ = 0.3."""
    return GradientSample(
        name=name,
        data=data,
        noise_level=0.3,
        network=NetworkSpec(width=512, depth=depth, centred=True),
        # Angles of pairs are judged by their mean over networks (tests/claims/test_figure_3.py), which takes more of them.
        seeds=seeds_by_rule(name, _pick(tier, 64, 128, 256) if kernel else _pick(tier, 32, 64, 128)),
        kernel=kernel,
    )


def _pairs(name: str, tier: str, data: DataSpec) -> GradientSample:
    """Tangent kernels of wide networks on all pairs of samples: row G9."""
    return GradientSample(
        name=name,
        data=data,
        noise_level=0.0,
        network=NetworkSpec(width=_pick(tier, 1024, 2048, 8192), depth=1),
        seeds=seeds_by_rule(name, _pick(tier, 40, 80, 96)),
        kernel=True,
    )


def _build() -> dict[str, tuple[str, Callable[[str], _Specification]]]:
    """Name → description and builder (tier → specification)."""
    table: dict[str, tuple[str, Callable[[str], _Specification]]] = {}

    def add(name: str, description: str, builder: Callable[..., _Specification], *arguments: object, **options: object) -> None:
        table[name] = (description, lambda tier: builder(name, tier, *[a(tier) if callable(a) else a for a in arguments], **options))

    descent = "full-batch gradient descent, one hidden layer, centred output"
    add("clusters", f"two clusters, δ = 0.3: {descent}", _descent, _clusters, 0.3, learning_rate=1.0, steps=400)
    add(
        "clusters-imbalanced",
        f"two clusters of 320 and 80, δ = 0.3: {descent}",
        _descent,
        lambda tier: _clusters(tier, (320, 80)),
        0.3,
        learning_rate=1.0,
        steps=200,
    )
    add("digits-1-7", f"digits 1 and 7, δ = 0.3: {descent}", _descent, lambda tier: _digits((1, 7)), 0.3, learning_rate=1.0, steps=400)
    add("digits-7-9", f"digits 7 and 9, δ = 0.4: {descent}", _descent, lambda tier: _digits((7, 9)), 0.4, learning_rate=1.0, steps=400)
    for level in (0.0, 0.4, 0.5, 0.6):
        text = f"negative controls: digits 7 and 9, δ = {level:g}, width 128: {descent}"
        add(f"digits-7-9-noise-{level:g}", text, _other_noise, level)
    add(
        "digits-7-9-imbalanced",
        f"100 digits 7 and 25 digits 9, δ = 0.3: {descent}",
        _descent,
        DataSpec(name="digits", classes=(7, 9), n_train=(100, 25)),
        0.3,
        learning_rate=1.0,
        steps=500,
    )
    add("mnist-7-9", f"MNIST 7 and 9, δ = 0.4: {descent}", _descent, _mnist, 0.4, learning_rate=2.0, steps=300, width=256)
    add(
        "mnist-7-9-imbalanced",
        f"MNIST, 467 sevens and 133 nines (7 to 2), δ = 0.3: {descent}",
        _descent,
        DataSpec(name="mnist", classes=(7, 9), n_train=(467, 133), n_test=1000),
        0.3,
        learning_rate=2.0,
        steps=100,
        width=256,
    )

    stochastic = "two hidden layers of 512, mini-batches, PyTorch's default initialisation, δ = 0.4"
    add(
        "mnist-7-9-sgd",
        f"Fig. 5, 6: MNIST 7 and 9, {stochastic}",
        _stochastic,
        lambda tier: DataSpec(
            name="mnist", classes=(7, 9), n_train=_pick(tier, 1000, 2000, None), n_test=_pick(tier, 500, None, None), normalize="pixel"
        ),
        lambda tier: _pick(tier, 400, 640, 2880),  # 100 epochs of 1000 samples, 80 of 2000, 60 of all 12,214
        learning_rate=0.15,
        batch_size=256,
    )
    add(
        "digits-7-9-sgd",
        f"Fig. 5, 6 on embedded data: digits 7 and 9, {stochastic}",
        _stochastic,
        lambda tier: _digits((7, 9), normalize="pixel"),
        400,  # 100 epochs of 239 samples
        learning_rate=0.2,
        batch_size=64,
    )

    sources: tuple[tuple[str, Callable[[str], DataSpec], Callable[[str], DataSpec], float], ...] = (
        ("clusters", _clusters, _clusters, 0.3),
        ("digits-7-9", lambda tier: _digits((7, 9)), lambda tier: _digits((7, 9), normalize="pixel"), 0.4),
        ("mnist-7-9", _mnist, lambda tier: _mnist(tier, normalize="pixel"), 0.4),
    )
    for source, unit, pixel, level in sources:
        add(
            f"{source}-initial-random",
            f"{source} at a random initialisation of Eq. (2) [B], δ = {level:g}",
            _initial,
            unit,
            level,
            "random",
        )
        add(f"{source}-initial-centred", f"{source} at initialisation with output 0, δ = {level:g}", _initial, unit, level, "centred")
        add(f"{source}-initial-pytorch", f"{source} at PyTorch's default initialisation, δ = {level:g}", _initial, pixel, level, "pytorch")

    for activation in ("linear", "relu"):
        for depth in (1, 2, 4):
            text = f"Fig. 2: θ_h against θ_d on the circle, {activation}, {depth} hidden layers of 512"
            add(f"figure-2-{activation}-depth-{depth}", text, _circle, activation, depth)
    figure_3 = "Fig. 3: θ_h within and between two clusters, two hidden layers of 512"
    add("figure-3", figure_3, _directions, DataSpec(name="clusters", n_train=200, n_test=0), depth=2, kernel=True)
    for source, zero_one in (
        ("clusters", DataSpec(name="clusters", n_train=400, n_test=0)),
        ("digits-0-1", DataSpec(name="digits", classes=(0, 1))),
        ("mnist-0-1", DataSpec(name="mnist", classes=(0, 1), n_train=600, n_test=0)),
    ):
        add(f"figure-4-{source}", f"Fig. 4: directions of sample-wise gradients, {source}, δ = 0.3", _directions, zero_one)

    for source in ("digits", "mnist"):
        for classes in ((0, 1), (7, 9)):
            label = f"{source}-{classes[0]}-{classes[1]}"
            pairs_of = DataSpec(name=source, classes=classes, n_train=100, n_test=0)
            add(f"pairs-{label}", f"tangent kernels of all pairs, {label}, one hidden layer of 1024", _pairs, pairs_of)

    widths = {("linear", 1): (64, 256, 1024), ("relu", 1): (64, 256, 1024), ("relu", 2): (64, 128, 256), ("relu", 3): (64, 128, 256)}
    for (activation, depth), some in widths.items():
        for width in some:
            text = f"tangent kernels at initialisation, {activation}, {depth} hidden layers of {width}"
            add(f"kernels-{activation}-depth-{depth}-width-{width}", text, _law, activation, depth, width)
    for activation in ("linear", "relu"):
        text = f"tangent kernels at small angles, {activation}, one hidden layer of 1024"
        add(f"kernels-{activation}-small-angles", text, _law, activation, 1, 1024, angles=_SMALL_ANGLES)
    table.update(LINEARIZED_EXPERIMENTS)
    table.update(NETWORK_EXPERIMENTS)
    return table


_BUILDERS = _build()

EXPERIMENTS: Mapping[str, str] = MappingProxyType({name: description for name, (description, _) in _BUILDERS.items()})
"""Names that ``experiment`` takes, with a description."""
