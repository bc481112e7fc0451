"""The parts of an answer, and its numbers: mean over seeds with its interval, and how they are written in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical.inference import mean_interval
from reports.diagnosis_data import SeedRun
from reports.document import number
from reports.wording import number_text

__all__ = [
    "CONFIDENCE",
    "QUESTIONS",
    "answer",
    "ends",
    "epochs",
    "finite_mean",
    "in_epochs",
    "or_never",
    "percent",
    "points_with_interval",
    "range_text",
    "short",
    "summarize",
    "with_interval",
]

QUESTIONS = {
    "clean-priority": "Is there clean priority?",
    "until-when": "Until when?",
    "dominance": "How large is the dominance of clean gradients?",
    "assumption-4-1": "Does Assumption 4.1 hold?",
    "test-error-minimum": "Where is the test-error minimum?",
    "label-free-rule": "Where would the label-free rule have stopped?",
    "noisy-validation": "Where would a noisy validation set have stopped?",
    "explanation": "Which explanation fits?",
    "tangent-kernel": "What does the tangent kernel at initialisation predict?",
    "existence": "Are there enough samples for clean priority?",
}
"""Id → question, in the order of the report."""

CONFIDENCE = 0.95
"""Of the intervals over seeds: Student t of the mean; for steps, of the geometric mean."""


def summarize(name: str, values: ArrayLike, *, unit: str = "", log: bool = False) -> dict[str, Any]:
    """One number of an answer: mean over seeds with its interval, and each seed's value.

    Seeds without a finite value are counted in ``missing``; the value is then the median of the others, without an interval.

    Args:
        name: what it is.
        values: one per seed; nan or inf where there is none.
        unit: unit.
        log: geometric mean, for steps.

    Example:
        >>> summarize("steps", [10.0, 1000.0], log=True)["value"]
        100.0
    """
    each = np.asarray(values, dtype=np.float64)
    finite = each[np.isfinite(each)]
    logarithmic = log and bool((finite > 0).all())
    value = lower = upper = math.nan
    if len(finite) and len(finite) < len(each):
        value = float(np.median(finite))
    elif len(finite) == 1:
        value = float(finite[0])
    elif log and len(finite) and not logarithmic:  # a step 0 has no logarithm
        value = float(np.median(finite))
    elif len(finite):
        scale = np.log(finite) if logarithmic else finite
        estimate = mean_interval(scale, error_rate=1 - CONFIDENCE)
        ends = (float(estimate.value), float(estimate.lower), float(estimate.upper))
        value, lower, upper = (min(math.exp(min(end, 700.0)), 1e300) if logarithmic else end for end in ends)
    return {
        "name": name,
        "value": number(round(value, 10) if logarithmic else value),
        "lower": number(lower),
        "upper": number(upper),
        "unit": unit,
        "per_seed": [number(one) for one in each],
        "missing": int(len(each) - len(finite)),
    }


def ends(one: dict[str, Any]) -> tuple[float, float, float]:
    """Mean and ends of the interval; a single seed has none beyond its value."""
    mean = math.nan if one["value"] is None else float(one["value"])
    return mean, mean if one["lower"] is None else float(one["lower"]), mean if one["upper"] is None else float(one["upper"])


def finite_mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean of the finite values; nan where there is none."""
    finite = np.isfinite(values)
    total, count = np.where(finite, values, 0.0).sum(axis), finite.sum(axis)
    return np.asarray(np.divide(total, count, out=np.full(np.shape(total), np.nan), where=count > 0))


def in_epochs(numbers: Sequence[dict[str, Any]]) -> str:
    """The first number in epochs, as a phrase to be appended; empty where there is none."""
    found = next((one for one in numbers if one["unit"] == "epochs"), None)
    return "" if found is None or found["value"] is None else f", epoch {number_text(found['value'], digits=3)}"


def short(value: float) -> str:
    """A number with two digits."""
    return number_text(float(f"{value:.2g}") if math.isfinite(value) else value, digits=3)


def percent(value: float) -> str:
    """A share in per cent."""
    return f"{number_text(100 * value, digits=3)} %"


def range_text(low: float, high: float) -> str:
    """The ends of an interval in words."""
    return f"{number_text(low, digits=3)} to {number_text(high, digits=3)}"


def with_interval(one: dict[str, Any]) -> str:
    """A number with its interval."""
    if one["value"] is None:
        return "–"
    text = number_text(one["value"], digits=3)
    return (
        text if one["lower"] is None or one["lower"] == one["upper"] else f"{text} ({range_text(float(one['lower']), float(one['upper']))})"
    )


def points_with_interval(one: dict[str, Any]) -> str:
    """A difference of shares and its interval in percentage points."""
    scaled = {key: None if one[key] is None else 100 * float(one[key]) for key in ("value", "lower", "upper")}
    return f"{with_interval(scaled)} percentage points"


def or_never(one: dict[str, Any]) -> str:
    """A step with its interval, or the end of the run where most seeds have none."""
    return "the end of the run" if 2 * one["missing"] > len(one["per_seed"]) else with_interval(one)


def answer(id: str, verdict: str, sentence: str, numbers: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """An answer of one of ``QUESTIONS``; figures are added later."""
    return {"id": id, "question": QUESTIONS[id], "verdict": verdict, "sentence": sentence, "numbers": list(numbers), "figures": []}


def epochs(runs: Sequence[SeedRun], steps: dict[str, Any]) -> list[dict[str, Any]]:
    """The same number in epochs, where a step is known to be a part of one."""
    per_epoch = runs[0].steps_per_epoch
    if per_epoch is None:
        return []

    def scaled(value: Any) -> Any:
        return value / per_epoch if isinstance(value, float | int) else value

    fields = {key: scaled(steps[key]) for key in ("value", "lower", "upper")}
    return [
        {**steps, **fields, "name": f"{steps['name']}, in epochs", "unit": "epochs", "per_seed": [scaled(one) for one in steps["per_seed"]]}
    ]
