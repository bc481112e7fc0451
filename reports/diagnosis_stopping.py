"""Answers about stopping: the test-error minimum, the label-free rule, a validation set with noisy labels, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.diagnosis_data import SeedRun
from reports.diagnosis_numbers import answer, epochs, in_epochs, percent, points_with_interval, summarize, with_interval
from reports.wording import number_text

__all__ = ["answer_minimum", "answer_rule", "answer_validation"]

Answer = dict[str, Any]


def answer_minimum(runs: Sequence[SeedRun]) -> Answer:
    """Where the test error is smallest, and whether it grows again."""
    best = [run.best() for run in runs]
    if any(index is None for index in best):
        return answer("test-error-minimum", "not measured", "There is no test set.")
    at = [float(run.steps[index]) for run, index in zip(runs, best, strict=True) if index is not None]
    steps = summarize("step of the smallest test error", at, unit="steps", log=True)
    smallest = summarize("smallest test error", [run.values["test_error"].min() for run in runs])
    final = summarize("test error at the end", [run.values["test_error"][-1] for run in runs])
    gain = summarize(
        "test error at the end less the smallest", [run.values["test_error"][-1] - run.values["test_error"].min() for run in runs]
    )
    numbers = [steps, *epochs(runs, steps), smallest, final, gain]
    early = gain["lower"] is not None and float(gain["lower"]) > 0
    text = (
        f"At step {with_interval(steps)}{in_epochs(numbers)} with a test error of {percent(float(smallest['value']))}; "
        f"at the end of the run it is "
        f"{percent(float(final['value']))}"
    )
    text += ", so stopping early pays." if early else ", so stopping early makes no clear difference within this run."
    return answer("test-error-minimum", "interior" if early else "no clear difference", text, numbers)


def _stop(runs: Sequence[SeedRun], id: str, name: str, at: Sequence[float], extra: Sequence[dict[str, Any]] = ()) -> Answer:
    """Where something would have stopped, and what that costs in test error."""
    steps = summarize(f"step at which {name} stops", at, unit="steps", log=True)
    numbers = [*extra, steps, *epochs(runs, steps)]
    reached = int(np.isfinite(at).sum())
    if reached == 0:
        return answer(id, "not reached", f"It would not have stopped within the {int(runs[0].steps[-1])} steps of this run.", numbers)
    some = "" if reached == len(runs) else f", in {reached} of {len(runs)} seeds,"
    text = f"At step {with_interval(steps)}{in_epochs(numbers)}{some}"
    if all(run.has("test_error") for run in runs):
        there = [run.at_step("test_error", step) for run, step in zip(runs, at, strict=True)]
        cost = [error - run.values["test_error"].min() for run, error in zip(runs, there, strict=True)]
        numbers += [summarize("test error there", there), summarize("test error there less the smallest", cost)]
        late = [run.values["test_error"][-1] for run in runs]
        saved = float(np.nanmean(np.array(late) - np.array(there)))
        text += f" with a test error of {percent(float(numbers[-2]['value']))}, {points_with_interval(numbers[-1])} above the smallest"
        text += f" and {number_text(100 * abs(saved), digits=3)} {'below' if saved >= 0 else 'above'} the end of the run"
    return answer(id, "reached", text + ".", numbers)


def answer_rule(runs: Sequence[SeedRun]) -> Answer:
    """Where the mean residual to the observed labels says stop."""
    at = [run.rule_step for run in runs]
    if np.isnan(at).any():
        text = "The rule does not apply: it stops where the mean residual to the observed labels is what their noise explains, and "
        text += "there is no noise." if runs[0].noise_level == 0 else "at this noise level the labels do not favour the true class."
        return answer("label-free-rule", "not applicable", text)
    target = summarize("mean residual to the observed labels at which the rule stops", [run.rule_target for run in runs])
    return _stop(runs, "label-free-rule", "the label-free rule", at, [target])


def answer_validation(runs: Sequence[SeedRun]) -> Answer:
    """Where held-out noisy labels say stop."""
    best = [run.best("validation_error") for run in runs]
    if any(index is None for index in best):
        return answer("noisy-validation", "not measured", "No samples with noisy labels were held out.")
    at = [float(run.steps[index]) for run, index in zip(runs, best, strict=True) if index is not None]
    return _stop(runs, "noisy-validation", "the smallest error on held-out noisy labels", at)
