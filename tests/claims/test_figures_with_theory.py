"""R6: the papers' thirteen figures are drawn from measurements, and the theory over them is that of the same data's kernel."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr

from empirical.experiments import DataSpec, Experiment, experiment, seeds_by_rule
from empirical.inference import exact
from reports.evidence import Agreement
from tests.support.histories import History, predicted_history
from tests.support.regimes import TRAINED, Regime, regimes

NONE = {"none allowed": 0.0}
QUANTITIES = ("clean_error", "noise_error", "clean_residual", "noise_residual", "clean_loss", "noise_loss", "alpha")
OTHER_DATA = DataSpec(name="digits", classes=(0, 1))
FIGURES = [f"figure_{number}" for number in range(1, 14)]


@pytest.mark.claim("R6")
@pytest.mark.regime("claim tests", "figures 1 to 13")
def test_every_figure_is_drawn(agreement: Agreement) -> None:
    """Some claim test hands over each figure; a kind that no paper has is not among them."""
    calls = [
        node
        for path in sorted(Path(__file__).parent.glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("agreement.figure", "figure.draw")
    ]
    kinds = {node.args[0].value for node in calls if node.args and isinstance(node.args[0], ast.Constant)}
    drawn = exact(float(sum(name in kinds for name in FIGURES)))
    agreement.check("figures of [A] that a claim test draws", prediction=13, estimate=drawn, margin=NONE)
    without = exact(float(sum(name in kinds - {"figure_9"} for name in FIGURES)))
    agreement.control("the same without Fig. 9", prediction=13, estimate=without, margin=NONE)


@pytest.mark.claim("R6")
@regimes([regime for regime in TRAINED if "7/9" in regime.data])
def test_theory_of_the_same_data_lies_in_the_band(agreement: Agreement, regime: Regime) -> None:
    """Fig. 5, 6, 11: every curve of the infinite-width run within the range of the networks, at every recorded time."""
    run, spec = agreement.measure(regime.experiment), experiment(regime.experiment, tier=agreement.tier)
    assert isinstance(spec, Experiment)
    if agreement.seed_salt:
        spec = replace(spec, seeds=seeds_by_rule(regime.experiment, len(spec.seeds), salt=agreement.seed_salt))
    points = (len(QUANTITIES) + 1) * (run.sizes["time"] - 1)  # α of two classes; the start, output 0, is the same by construction
    n = run.sizes["seed"]
    few = {"one value in a hundred": 0.01}
    share = exact(outside(run, predicted_history(spec, keep=agreement.kept)) / points, n_seeds=n)
    agreement.check(f"share of {points} predicted values outside the range of {n} networks", prediction=0, estimate=share, margin=few)
    other = outside(run, predicted_history(replace(spec, data=OTHER_DATA), keep=agreement.kept))
    agreement.control("the same, predicted from digits 0/1", prediction=0, estimate=exact(other / points, n_seeds=n), margin=few)
    agreement.note(f"Predicted from digits 0/1, {other} of {points} values lie outside the range of the networks.")


def outside(run: xr.Dataset, foreseen: History) -> int:
    """Predicted means over the label draws that lie outside the range of the networks, after the start."""
    count = 0
    for name in QUANTITIES:
        values, predicted = run[name].values[:, 1:], getattr(foreseen, name).mean(axis=0)[1:]
        count += int(((predicted < values.min(axis=0)) | (predicted > values.max(axis=0))).sum())
    return count
