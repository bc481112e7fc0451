"""The regimes in which the dynamics of Section 4 are judged: the fixed infinite-width kernel and trained networks, on each data set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pytest
import xarray as xr

from empirical.experiments import experiment, seeds_by_rule
from reports.evidence import Agreement
from tests.support.histories import FixedKernelCase, History, fixed_kernel_history, predicted_history
from theory.kernels import ntk

__all__ = ["FIXED_KERNEL", "FULL_BATCH", "MINI_BATCHES", "TRAINED", "Regime", "regimes"]


@dataclass(frozen=True)
class Regime:
    """One row of the report: what is examined, and on which data.

    Attributes:
        model: "fixed kernel" or "trained network".
        data: as the report names it.
        case: the fixed-kernel run, or None.
        experiment: name of the trained networks' experiment, or "".
    """

    model: str
    data: str
    case: FixedKernelCase | None = None
    experiment: str = ""

    @property
    def id(self) -> str:
        """Content-built id of the test case."""
        return re.sub(r"[^a-zA-Z0-9]+", "-", f"{self.model}-{self.data}")

    def replicates(self, agreement: Agreement) -> int:
        """Label draws or networks of one measurement: the first block of a check that may draw more."""
        return self.case.draws if self.case is not None else len(experiment(self.experiment, tier=agreement.tier).seeds)

    def history(self, agreement: Agreement, first: int = 0) -> History:
        """The regime's segment gradients along training, measured once for all claims that read them.

        Args:
            agreement: the notebook of the test.
            first: number of the first replicate: 0, or further blocks of the rule by which seeds are chosen, each as large as all before.
        """
        if self.case is not None:
            agreement.dataset(self.case.dataset, classes=self.case.classes, n_train=self.case.n_train)
            return fixed_kernel_history(self.case, agreement.seed_salt, first, keep=agreement.kept)
        count = first or self.replicates(agreement)
        run = agreement.replicates(self.experiment, first, count) if first else agreement.measure(self.experiment)
        spec = experiment(self.experiment, tier=agreement.tier)
        data = agreement.dataset(
            spec.data.name, classes=spec.data.classes, n_train=spec.data.n_train, n_test=spec.data.n_test, seed=spec.data.seed
        )
        name, held = f"{self.experiment} {first}", _read()
        if name not in held or held[name][0] is not run:  # several claims read one measurement
            kernel = ntk(data.train_inputs.astype(float), depth=spec.network.depth)
            history = History.from_measurement(run, noise_level=spec.noise_level, kernel=kernel, truth=data.train_truth, dtype=spec.dtype)
            held[name] = run, history
        return held[name][1]

    def foreseen(self, agreement: Agreement) -> History | None:
        """The infinite-width theory's run of the trained networks' own label draws; None where the regime is that theory itself."""
        if self.case is not None:
            return None
        spec = experiment(self.experiment, tier=agreement.tier)
        if agreement.seed_salt:
            spec = replace(spec, seeds=seeds_by_rule(self.experiment, len(spec.seeds), salt=agreement.seed_salt))
        return predicted_history(spec, keep=agreement.kept)


@lru_cache(maxsize=1)
def _read() -> dict[str, tuple[xr.Dataset, History]]:
    """Histories of this process with the measurements behind them; a cache, so that a planted fault starts with an empty one."""
    return {}


FIXED_KERNEL = (
    Regime("fixed kernel", "clusters", FixedKernelCase("clusters", (0, 1), 200, noise_level=0.3, steps=60)),
    Regime("fixed kernel", "digits 0/1", FixedKernelCase("digits", (0, 1), None, noise_level=0.3, steps=120)),
    Regime("fixed kernel", "digits 7/9", FixedKernelCase("digits", (7, 9), None, noise_level=0.4, steps=120)),
    Regime("fixed kernel", "MNIST 7/9", FixedKernelCase("mnist", (7, 9), 1000, noise_level=0.4, steps=200, draws=128)),
)

TRAINED = (
    Regime("trained network", "clusters", experiment="clusters"),
    Regime("trained network", "digits 1/7", experiment="digits-1-7"),
    Regime("trained network", "digits 7/9", experiment="digits-7-9"),
    Regime("trained network", "MNIST 7/9", experiment="mnist-7-9"),
)


# Fig. 5, 6, 11: the papers' setting, and beside it networks whose infinite-width limit is known.
FULL_BATCH = tuple(regime for regime in TRAINED if "7/9" in regime.data)
MINI_BATCHES = (
    Regime("trained network, mini-batches", "digits 7/9", experiment="digits-7-9-sgd"),
    Regime("trained network, mini-batches", "MNIST 7/9", experiment="mnist-7-9-sgd"),
)


def regimes(chosen: Sequence[Regime]) -> pytest.MarkDecorator:
    """Parametrise a claim test over regimes: its marks, its id and the experiments that it needs."""
    return pytest.mark.parametrize(
        "regime",
        [
            pytest.param(
                regime,
                id=regime.id,
                marks=[
                    pytest.mark.regime(regime.model, regime.data),
                    *([pytest.mark.experiments(regime.experiment)] if regime.experiment else []),
                ],
            )
            for regime in chosen
        ],
    )
