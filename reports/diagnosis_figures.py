"""The figures of a diagnosis: what was measured over the seeds, with the tangent kernel's prediction over it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empirical.inference import mean_interval
from reports.diagnosis_data import SeedRun
from reports.figure_data import FigureData

__all__ = ["diagnosis_figures"]

FloatArray = NDArray[np.float64]
MOST_CLASSES = 6
"""Classes drawn as curves of their own; of more, the smallest, the median and the largest ratio are drawn."""


def diagnosis_figures(runs: Sequence[SeedRun], answers: Mapping[str, Mapping[str, Any]], *, error_rate: float) -> list[FigureData]:
    """Draw up the figures, and leave out those for which there is nothing to draw."""
    noise = runs[0].noise_level > 0
    figures = [_turn(runs, answers, error_rate)] if noise else []
    figures += [_classes(runs, answers, error_rate)] if noise else []
    figures += [_errors(runs, answers, error_rate), _losses(runs, answers, error_rate)]
    return figures


def _turn(runs: Sequence[SeedRun], answers: Mapping[str, Mapping[str, Any]], error_rate: float) -> FigureData:
    arrays = {**_curve(runs, "a", "pooled_alpha", error_rate), **_curve(runs, "ρ", "pooled_rho", error_rate)}
    predicted = _predicted(runs, ("pooled_alpha", "pooled_rho"))
    for name, curve in zip(("a", "ρ"), predicted[1:], strict=False):
        arrays |= {f"{name}@kernel/x": predicted[0], f"{name}@kernel/prediction": curve}
    caption = "Clean priority lasts while a = ‖G_noise‖/‖G_clean‖ is below ρ = −cos∠(G_clean, G_noise), all classes pooled"
    caption += "; lines: the tangent kernel at initialisation." if predicted else "."
    return FigureData(
        "turn",
        "comparison",
        "When the noisy gradients catch up",
        f"{caption} {answers['until-when']['sentence']}",
        "",
        arrays,
        {**_axis("a, ρ"), "ylim": "-0.4,2", "reference:equal lengths": "1", **_mark(answers, "until-when", "a ≥ ρ")},
    )


def _classes(runs: Sequence[SeedRun], answers: Mapping[str, Mapping[str, Any]], error_rate: float) -> FigureData:
    arrays: dict[str, FloatArray] = {}
    names = runs[0].class_names
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.stack([1 / run.values["alpha"] for run in runs])  # [S, T, C]
    if len(names) <= MOST_CLASSES:
        curves = {f"class {name}": ratios[..., c] for c, name in enumerate(names)}
    else:
        curves = {"largest of the classes": _over(np.nanmax, ratios), "median class": _over(np.nanmedian, ratios)}
        curves["smallest of the classes"] = _over(np.nanmin, ratios)
    for name, values in curves.items():
        arrays |= _series(name, runs[0].steps, values, error_rate, log=True)
    if not arrays:
        arrays = _curve(runs, "a", "pooled_alpha", error_rate)
    return FigureData(
        "classes",
        "figure_6",
        "Dominance of the clean gradients, class by class",
        f"‖g_clean‖/‖g_noise‖ of each class; below 1 the noisy gradient is the longer one. {answers['dominance']['sentence']}",
        "",
        arrays,
        {**_axis("‖g_clean‖ / ‖g_noise‖"), "yscale": "log"},
    )


def _errors(runs: Sequence[SeedRun], answers: Mapping[str, Mapping[str, Any]], error_rate: float) -> FigureData:
    arrays: dict[str, FloatArray] = {}
    for name, variable in (
        ("test", "test_error"),
        ("clean", "clean_error"),
        ("held out", "validation_error"),
        ("noisy", "noise_error"),
    ):
        arrays |= _curve(runs, name, variable, error_rate)
    predicted = _predicted(runs, ("test_error",))
    if predicted and np.isfinite(predicted[1]).all():
        arrays |= {"test@kernel/x": predicted[0], "test@kernel/prediction": predicted[1]}
    labels = {**_axis("share misclassified"), "ylim": "0,1.02"}
    for id, text in (
        ("test-error-minimum", "smallest test error"),
        ("label-free-rule", "label-free rule"),
        ("noisy-validation", "noisy validation"),
    ):
        labels |= _mark(answers, id, text)
    return FigureData(
        "errors",
        "comparison",
        "Errors, and where each rule stops",
        "Test error against the true labels, clean and noisy training samples against the observed ones"
        + ("; line: test error that the tangent kernel predicts. " if "test@kernel/x" in arrays else ". ")
        + answers["test-error-minimum"]["sentence"],
        "",
        arrays,
        labels,
    )


def _losses(runs: Sequence[SeedRun], answers: Mapping[str, Mapping[str, Any]], error_rate: float) -> FigureData:
    arrays: dict[str, FloatArray] = {}
    for name, variable in (("clean loss", "clean_loss"), ("noisy loss", "noise_loss"), ("residual to observed labels", "train_residual")):
        arrays |= _curve(runs, name, variable, error_rate)
    labels = _axis("mean over samples")
    loss = [run.values["noise_loss"] for run in runs]
    highest = max([float(np.nanmax(run.values["clean_loss"][: max(1, len(run.steps) // 2)])) for run in runs], default=1.0)
    if np.isfinite(loss).any():
        highest = max(highest, float(np.nanmax(loss)))
    labels["ylim"] = f"0,{1.05 * highest:.4g}"
    if math.isfinite(runs[0].rule_target):
        labels["reference:what the noise explains"] = f"{runs[0].rule_target:.6g}"
    return FigureData(
        "losses",
        "comparison",
        "Losses, and the residual that the label-free rule reads",
        f"The loss of the wrong labels rises while the clean ones are learnt, if there is clean priority. "
        f"{answers['label-free-rule']['sentence']}",
        "",
        arrays,
        {**labels, **_mark(answers, "label-free-rule", "label-free rule")},
    )


def _axis(y: str) -> dict[str, str]:
    return {"x": "step (the first one at the left is step 0)", "y": y, "xscale": "log"}


def _mark(answers: Mapping[str, Mapping[str, Any]], id: str, text: str) -> dict[str, str]:
    """A vertical line at the first number of an answer that counts steps."""
    found = next((one for one in answers[id]["numbers"] if one["unit"] == "steps"), None)
    usable = found is not None and isinstance(found["value"], float | int) and 2 * found["missing"] <= len(found["per_seed"])
    return {f"mark:{text}": f"{max(float(found['value']), 0.5):.6g}"} if usable and found is not None else {}


def _curve(runs: Sequence[SeedRun], name: str, variable: str, error_rate: float) -> dict[str, FloatArray]:
    """Mean over seeds with its interval at each step; nothing where the variable was not recorded."""
    if not all(run.has(variable) for run in runs):
        return {}
    return _series(name, runs[0].steps, np.stack([run.values[variable] for run in runs]), error_rate)


def _series(name: str, steps: NDArray[np.int64], values: FloatArray, error_rate: float, *, log: bool = False) -> dict[str, FloatArray]:
    """Columns of a series from values ``[S, T]``; step 0 stands at one half, where a logarithmic axis can show it."""
    x = np.maximum(steps.astype(np.float64), 0.5)
    keep = np.isfinite(values).all(axis=0) & ((values > 0).all(axis=0) if log else True)
    if not keep.any():
        return {}
    shown = np.log(values[:, keep]) if log else values[:, keep]
    columns = {"measured": shown.mean(axis=0)}
    if len(values) > 1:
        estimate = mean_interval(shown, error_rate=error_rate)
        # Beyond a factor of e³ an interval on a logarithmic axis says that nothing is known.
        columns |= {"lower": np.asarray(estimate.lower), "upper": np.asarray(estimate.upper)}
        if log:
            columns = {key: np.clip(part, columns["measured"] - 3, columns["measured"] + 3) for key, part in columns.items()}
    return {f"{name}/x": x[keep]} | {f"{name}/{key}": np.exp(part) if log else part for key, part in columns.items()}


def _over(function: Any, ratios: FloatArray) -> FloatArray:
    """A statistic over classes; nan where no class has a value."""
    empty = np.asarray(~np.isfinite(ratios).any(axis=2))
    return np.where(empty, np.nan, function(np.where(empty[..., None], 0.0, ratios), axis=2))


def _predicted(runs: Sequence[SeedRun], names: Sequence[str]) -> list[FloatArray]:
    """Steps and mean predicted curves, on the steps of the first seed's prediction; empty where there is none or time has no unit."""
    known = [run for run in runs if len(run.prediction.times) and run.learning_rate]
    if not known:
        return []
    steps = [run.prediction.times / (run.learning_rate or 1.0) for run in known]
    grid = steps[0][steps[0] <= min(part[-1] for part in steps)]
    curves = [
        np.mean([np.interp(grid, part, getattr(run.prediction, name)) for run, part in zip(known, steps, strict=True)], axis=0)
        for name in names
    ]
    return [np.maximum(grid, 0.5), *curves]
