"""Networks beside their linearisation at several widths, by name: ``drift-…`` from output 0, ``conditioned-…`` from a random output.

A family of widths is four (or three) experiments ``NAME-1``, ``NAME-2``, …, each four times as wide as the one before; the widths start
at 64 in the quick tier, 128 in the standard and 256 in the full tier (up to 4096, 8192, 16384). Training time is short, η·step = 8, so
that the widths are already in the regime in which the moved gates are few; with longer times it begins at larger widths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from empirical._validation import check_choice
from empirical.linearized_runs import LinearizedRun
from empirical.specifications import DataSpec, NetworkSpec, TrainingSpec, seeds_by_rule

__all__ = ["FAMILIES", "LINEARIZED_EXPERIMENTS", "Family", "members"]

TIERS = ("quick", "standard", "full")
_FIRST_WIDTH = (64, 128, 256)

_CLUSTERS = DataSpec(name="clusters", n_train=64, n_test=48)
_DIGITS = DataSpec(name="digits", classes=(7, 9), n_train=64, n_test=60)
_MNIST = DataSpec(name="mnist", classes=(7, 9), n_train=64, n_test=64)


@dataclass(frozen=True)
class Family:
    """One network and data set at several widths.

    Attributes:
        data: training and test samples.
        networks: networks at each width in the quick tier; twice and four times as many in the others.
        learning_rate: η.
        steps: of gradient descent.
        activation: of the network, one hidden layer.
        convention: of the network.
        scale: of the output, see ``LinearizedRun``.
        centred: whether training starts from output 0; otherwise the logits are recorded.
        dtype: float32 only where deviations far above its rounding, 1e-6 of a logit, are measured.
    """

    data: DataSpec
    networks: tuple[int, ...]
    learning_rate: float = 1.0
    steps: int = 8
    activation: str = "relu"
    convention: str = "eq2"
    scale: str = "kernel"
    centred: bool = True
    dtype: str = "float64"


# Narrow networks scatter more and cost less, so there are more of them.
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "drift-clusters-relu": Family(_CLUSTERS, (256, 160, 80, 64)),
        "drift-digits-7-9-relu": Family(_DIGITS, (256, 160, 80, 64)),
        "drift-digits-7-9-tanh": Family(_DIGITS, (192, 128, 80), activation="tanh", convention="eq7"),
        "drift-clusters-mean-field": Family(_CLUSTERS, (64, 64, 48), scale="mean field"),
        "conditioned-digits-7-9": Family(_DIGITS, (96, 96, 64), steps=16, centred=False),
        "conditioned-mnist-7-9": Family(_MNIST, (48, 32, 24), learning_rate=2.0, centred=False, dtype="float32"),
    }
)
"""Families of widths by name."""


def members(family: str) -> tuple[str, ...]:
    """Names of the experiments of a family, by rising width.

    Raises:
        ValueError: if the family is unknown.

    Example:
        >>> members("drift-digits-7-9-tanh")
        ('drift-digits-7-9-tanh-1', 'drift-digits-7-9-tanh-2', 'drift-digits-7-9-tanh-3')
    """
    check_choice(family, "family", tuple(FAMILIES))
    return tuple(f"{family}-{position + 1}" for position in range(len(FAMILIES[family].networks)))


def _build(name: str, family: Family, position: int, tier: str) -> LinearizedRun:
    level = TIERS.index(tier)
    network = NetworkSpec(
        width=_FIRST_WIDTH[level] * 4**position,
        depth=1,
        activation=family.activation,
        convention=family.convention,
        centred=family.centred,
    )
    return LinearizedRun(
        name=name,
        data=family.data,
        noise_level=0.3,
        network=network,
        training=TrainingSpec(learning_rate=family.learning_rate, steps=family.steps, n_records=4, record_logits=not family.centred),
        seeds=seeds_by_rule(name, family.networks[position] * 2**level),
        n_kernel=16,
        scale=family.scale,
        dtype=family.dtype,
    )


def _table() -> dict[str, tuple[str, Callable[[str], LinearizedRun]]]:
    table: dict[str, tuple[str, Callable[[str], LinearizedRun]]] = {}
    for name, family in FAMILIES.items():
        start = "output 0" if family.centred else "a random output"
        text = f"{family.data.label}, δ = 0.3: {family.activation} networks beside their linearisation, {family.scale} scale, from {start}"
        for position, member in enumerate(members(name)):
            builder = functools.partial(_build, member, family, position)
            table[member] = (f"{text}, width {_FIRST_WIDTH[0] * 4**position} and more", builder)
    return table


LINEARIZED_EXPERIMENTS = _table()
"""Name → description and builder (tier → specification)."""
