"""R6: the papers' thirteen figures are drawn from measurements, and the theory over them is that of the same data's kernel."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr

from empirical.experiments import DataSpec, Experiment, experiment, seeds_by_rule
from empirical.inference import exact
from reports.evidence import Agreement
from reports.figure_data import FigureData
from tests.support.drawn_figures import BAND, THEORY, Row, Untold, claims_of, drawn, experiment_marks, series_of, series_without, stripped
from tests.support.histories import History, predicted_history
from tests.support.regimes import TRAINED, Regime, regimes

NONE = {"none allowed": 0.0}
QUANTITIES = ("clean_error", "noise_error", "clean_residual", "noise_residual", "clean_loss", "noise_loss", "alpha")
OTHER_DATA = DataSpec(name="digits", classes=(0, 1))
FIGURES = [f"figure_{number}" for number in range(1, 14)]


def figure_tests() -> tuple[Callable[..., None], ...]:
    """The claim tests of rows F1 to F13, all that stand in this folder."""
    here = Path(__file__)
    files = [path for path in sorted(here.parent.glob("test_*.py")) if path != here and re.search(r'claim\(\s*"F\d', path.read_text())]
    functions = [one for path in files for one in vars(importlib.import_module(f"tests.claims.{path.stem}")).values()]
    return tuple(one for one in functions if any(re.fullmatch(r"F\d+", claim) for claim in claims_of(one)))


DRAWN_BY = figure_tests()
# The only series without theory. All that a figure loses beyond these turns the row red; so does an entry here that has come to have one.
WITHOUT_THEORY = (
    *(
        Untold(kinds=kinds, model=model, reason="at a fixed learning rate PyTorch's parametrisation has no limit of infinite width")
        for kinds, model in (
            (("figure_5", "figure_6", "figure_11"), "trained network, mini-batches"),
            (("figure_12",), "trained networks of several widths, mini-batches"),
        )
    ),
    Untold(
        kinds=("figure_5",),
        model="trained networks, other learning rates and initialisations, mini-batches",
        reason="the same, and for the choices of Eq. (2) [B] the limit is drawn over the full batch, not over mini-batches",
    ),
    Untold(
        kinds=("figure_7", "figure_8", "figure_11"),
        model="trained ResNet-9",
        reason="batch normalisation couples the samples of a mini-batch, and such training has no kernel between samples",
    ),
    *(
        Untold(
            kinds=("figure_10",),
            series=f"*|{name}",
            reason="a CNN's kernel has no closed form; on its own kernel only noisy samples follow from clean ones",
        )
        for name in ("clean", "other")
    ),
    Untold(
        kinds=("figure_1", "figure_7", "figure_8", "figure_11", "figure_13"),
        model="trained CNN*",
        data="MNIST, 10 classes",
        tiers=("full",),
        reason="the tangent kernel of 60,000 pictures has 3.6e9 entries and is not measured",
    ),
)


@pytest.mark.claim("R6")
@pytest.mark.parametrize(
    "tests",
    [pytest.param(DRAWN_BY, id="1-to-13", marks=[pytest.mark.regime("claim tests", "figures 1 to 13"), *experiment_marks(DRAWN_BY)])],
)
def test_every_figure_is_drawn_with_band_and_theory(
    agreement: Agreement, notebook_of: Callable[[str, str, str], Agreement], tests: tuple[Callable[..., None], ...]
) -> None:
    """What the claim tests hand over, series by series; each is run for its figures in a notebook whose row counts nowhere."""
    handed = [(row, figure) for row, figure in drawn(tests, notebook_of) if figure.kind in FIGURES]

    def listed(row: Row, figure: FigureData, series: str) -> bool:
        return any(one.holds(row, figure.kind, series, agreement.tier) for one in WITHOUT_THEORY)

    def missing(row: Row, figure: FigureData, columns: tuple[str, ...]) -> list[str]:
        """Series that should have a band, or a theory, and have none."""
        return [one for one in series_without(figure, columns) if columns == BAND or not listed(row, figure, one)]

    kinds = exact(float(len({figure.kind for _, figure in handed})))
    agreement.check("figures of [A] that claim tests draw", prediction=len(FIGURES), estimate=kinds, margin=NONE)
    for what, columns in (("a band", BAND), ("a theory, and no reason listed", THEORY)):
        lacking = {f"{figure.id}: {one}": 1 for row, figure in handed for one in missing(row, figure, columns)}
        agreement.check(f"their series without {what}", prediction=0, estimate=exact(float(len(lacking))), margin=NONE)
        if lacking:
            agreement.note(f"Without {what}: {', '.join(sorted(lacking)[:8])}.")
        # Each figure in turn loses it: of the thirteen, the one in which the fewest series are then noticed. None must pass unseen.
        noticed = dict.fromkeys(FIGURES, 0)
        for row, figure in handed:
            noticed[figure.kind] += len(missing(row, stripped(figure, columns), columns)) - len(missing(row, figure, columns))
        agreement.control(
            f"series without {what}, taken out of one figure", prediction=0, estimate=exact(float(min(noticed.values()))), margin=NONE
        )
    stale = sum(listed(row, figure, one) for row, figure in handed for one in set(series_of(figure)) - set(series_without(figure, THEORY)))
    agreement.check("series listed as without theory that have one", prediction=0, estimate=exact(float(stale)), margin=NONE)
    series = [(row, figure, one) for row, figure in handed for one in series_of(figure)]
    agreement.note(
        f"{len(handed)} drawings of the thirteen figures with {len(series)} series; {sum(listed(*one) for one in series)} of these are "
        f"listed as without theory: {'; '.join(dict.fromkeys(one.reason for one in WITHOUT_THEORY))}."
    )


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
