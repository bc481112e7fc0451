"""What the experiments of [A] and [B] leave unstated, varied: learning rate and initialisation of the networks of Fig. 5."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.experiments import Experiment, experiment
from reports.evidence import Agreement
from tests.support.figure_runs import NOT_QUICK, TWO_CLASS_PANELS, course, left_out_stop, two_class_dynamics

CHOICES = {
    "η = 0.05": "mnist-7-9-rate-0.05",
    "η = 0.5": "mnist-7-9-rate-0.5",
    "h₀ drawn": "mnist-7-9-initial-random-sgd",
    "h₀ = 0": "mnist-7-9-initial-centred-sgd",
}


@pytest.mark.claim("F5")
@pytest.mark.regime("trained networks, other learning rates and initialisations, mini-batches", "MNIST 7/9")
@pytest.mark.experiments(*CHOICES.values(), tiers=NOT_QUICK)
def test_other_learning_rates_and_initialisations(agreement: Agreement) -> None:
    """The dynamics of Fig. 5 with a third and three times its learning rate, and from the networks of Eq. (2) [B] at its scale of rates."""
    if agreement.tier not in NOT_QUICK:
        pytest.skip("needs the standard tier: four choices on a thousand samples")
    arrays: dict[str, NDArray[np.float64]] = {}
    stops = []
    for label, name in CHOICES.items():
        run, spec = agreement.measure(name), experiment(name, tier=agreement.tier)
        assert isinstance(spec, Experiment)
        two_class_dynamics(agreement, run, f"{label}: ", random_output=not spec.network.centred and spec.network.convention == "eq2")
        step = int(run["step"].values[int(np.median(left_out_stop(run["test_error"].values)))])
        stops.append(f"step {step} at {label} (rate {spec.training.learning_rate:g})")
        shown = run["step"].values > 0
        for panel, quantity in TWO_CLASS_PANELS:
            arrays |= course(f"{panel}|{label}", run["step"].values[shown].astype(float), run[quantity].values[:, shown])
    agreement.note(f"Early stopping point: {'; '.join(stops)}.")
    agreement.figure(
        "figure_5",
        id="figure-5-choices-mnist-7-9",
        title="Fig. 5: learning dynamics at other learning rates and initialisations, MNIST 7/9, δ = 0.4",
        caption="Means and range of the networks of each choice; h₀ is the output at the start of the network of Eq. (2) [B]. Early "
        f"stopping point: {'; '.join(stops)}. How fast it all goes depends on the choice.",
        arrays=arrays,
        labels={"x": "steps"},
    )
