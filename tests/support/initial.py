"""Regimes at initialisation: networks of the figures on each data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from empirical.datasets import Dataset
from empirical.experiments import experiment
from reports.evidence import Agreement

__all__ = ["CENTRED", "FIGURE_4", "PYTORCH", "RANDOM", "InitialRegime", "initial_regimes"]


@dataclass(frozen=True)
class InitialRegime:
    """Networks at initialisation on one data set.

    Attributes:
        label: the data set as the report names it.
        experiment: name of the measurement.
    """

    label: str
    experiment: str

    def data(self, agreement: Agreement) -> Dataset:
        """The samples that the experiment measures."""
        spec = experiment(self.experiment, tier=agreement.tier).data
        return agreement.dataset(
            spec.name, classes=spec.classes, n_train=spec.n_train, n_test=spec.n_test, seed=spec.seed, normalize=spec.normalize
        )


FIGURE_4 = (
    InitialRegime("clusters", "figure-4-clusters"),
    InitialRegime("digits 0/1", "figure-4-digits-0-1"),
    InitialRegime("MNIST 0/1", "figure-4-mnist-0-1"),
)


def _initial(kind: str) -> tuple[InitialRegime, ...]:
    sources = {"clusters": "clusters", "digits-7-9": "digits 7/9", "mnist-7-9": "MNIST 7/9"}
    return tuple(InitialRegime(label, f"{source}-initial-{kind}") for source, label in sources.items())


RANDOM, CENTRED, PYTORCH = _initial("random"), _initial("centred"), _initial("pytorch")


def initial_regimes(chosen: Sequence[InitialRegime], *, model: str = "network at initialisation") -> pytest.MarkDecorator:
    """Parametrise a claim test over data sets; a fixed kernel needs the data but no measurement."""
    return pytest.mark.parametrize(
        "regime",
        [
            pytest.param(
                regime,
                id=re.sub(r"[^a-zA-Z0-9]+", "-", f"{model}-{regime.label}"),
                marks=[
                    pytest.mark.regime(model, regime.label),
                    *([] if model == "fixed kernel" else [pytest.mark.experiments(regime.experiment)]),
                ],
            )
            for regime in chosen
        ],
    )
