"""From the runs of several seeds to answers: a verdict, one plain sentence, and numbers with their uncertainty over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.diagnosis_data import SeedRun, longest_phase
from reports.diagnosis_numbers import (
    answer,
    ends,
    epochs,
    finite_mean,
    in_epochs,
    or_never,
    percent,
    range_text,
    short,
    summarize,
    with_interval,
)
from reports.diagnosis_stopping import answer_minimum, answer_rule, answer_validation
from reports.wording import number_text

__all__ = ["answer_all"]

ENOUGH, NO_STRUCTURE = 0.25, 20.0
"""There is clean priority if the noisy loss rises by at least a quarter of the full rise. Labels are said to have no structure if the
kernel at initialisation asks for more than twenty times as many samples as there are."""

COLLINEAR, ALIKE = 0.2, 0.1
"""Assumption 4.1 is called approximately true if sin∠(g_clean, −g_noise) of every class is at most 0.2 (12°) and the classes' α differ by
at most 10 % of their mean: the thresholds under which the suite judges Theorems 4.4 and 4.5."""


Answer = dict[str, Any]


def answer_all(runs: Sequence[SeedRun]) -> list[Answer]:
    """All answers, in the order of ``diagnosis_numbers.QUESTIONS``."""
    first = _clean_priority(runs)
    rest = [
        _until_when(runs, first),
        _dominance(runs),
        _assumption(runs, first),
        answer_minimum(runs),
        answer_rule(runs),
        answer_validation(runs),
        _explanation(runs, first),
        _tangent_kernel(runs, first),
        _existence(runs),
    ]
    return [first, *rest]


def _clean_priority(runs: Sequence[SeedRun]) -> Answer:
    level, threshold = float(np.mean([run.noise_level for run in runs])), runs[0].threshold
    beyond = runs[0].beyond_threshold
    if level == 0:
        return answer("clean-priority", "no noise", "There is no noise: all labels are the true ones, so there is nothing to prioritise.")
    rise = np.array([np.nanmax(run.values["noise_loss"]) - run.values["noise_loss"][0] for run in runs])
    by_class = np.array([run.separation()[run.informative()] for run in runs])
    separation = summarize(
        "separation: overruled noisy less overruled clean labels, where the test error is farthest from chance", finite_mean(by_class, 1)
    )
    relative = summarize(
        "rise of the noisy loss, in units of that at which labels are known only up to their noise",
        np.full(len(runs), np.nan) if beyond else rise / runs[0].full_rise,
    )
    numbers = [
        separation,
        relative,
        summarize("rise of the noisy loss above its start", rise),
        summarize("a = ‖G_noise‖/‖G_clean‖ at the start", [run.values["pooled_alpha"][0] for run in runs]),
        summarize("ρ = −cos∠(G_clean, G_noise) at the start", [run.values["pooled_rho"][0] for run in runs]),
        *(summarize(f"separation, class {name}", by_class[:, c]) for c, name in enumerate(runs[0].class_names)),
    ]
    mean, low, high = ends(separation)
    points = f"{number_text(100 * mean, digits=2)} percentage points"
    if beyond and high < 0:
        text = (
            f"No, the roles are reversed: with δ = {short(level)} ≥ {short(threshold)} wrong labels are no minority, "
            f"and they are the ones that are "
            f"learnt; right labels are overruled more often than wrong ones by {number_text(-100 * mean, digits=2)} percentage points."
        )
        return answer("clean-priority", "reversed", text, numbers)
    if beyond:
        text = (
            f"No: with δ = {short(level)} ≥ {short(threshold)} the labels do not favour the true class, so nothing "
            f"tells clean from noisy samples."
        )
        return answer("clean-priority", "no", text, numbers)
    share, least, _ = ends(relative)
    if share < ENOUGH:
        return answer("clean-priority", "no", f"No: {_why_not(runs)}", numbers)
    if least > 0 and low > 0:
        text = (
            f"Yes: while the clean labels are learnt, the loss of the wrong ones rises by {with_interval(numbers[2])} "
            f"before it falls; at its best, the "
            f"network overrules wrong labels more often than right ones by {points}."
        )
        return answer("clean-priority", "yes", text, numbers)
    text = (
        f"Unclear: the loss of the wrong labels rises by {with_interval(numbers[2])}, and wrong labels are overruled "
        f"more often than right ones by "
        f"{points} ({range_text(100 * low, 100 * high)}); the seeds differ too much, more of them or more samples would tell."
    )
    return answer("clean-priority", "unclear", text, numbers)


def _why_not(runs: Sequence[SeedRun]) -> str:
    """The reason, as far as the kernel at initialisation tells."""
    known = [run.prediction for run in runs if not run.prediction.reason]
    have = _per_class(runs[0])
    measured = "the loss of the wrong labels does not rise noticeably, they are learnt along with the right ones from the start"
    if not known:
        return f"{measured}."
    needed = float(np.median([one.needed for one in known]))
    if needed > NO_STRUCTURE * have:
        ratios = [short(float(np.mean([getattr(one, name) / one.diagonal for one in known]))) for name in ("within", "between")]
        return (
            f"{measured}, and the true labels have no structure that this network sees: at initialisation, two samples "
            f"of a class are no more alike "
            f"than two of different classes (kernel {ratios[0]} and {ratios[1]} of that of a sample with itself)."
        )
    if needed > have:
        return (
            f"{measured}. There are too few samples: the smallest class has {have}, and the kernel at initialisation "
            f"asks for more than {short(needed)} "
            "per class at this noise level."
        )
    return (
        f"{measured}, although {have} samples of the smallest class are more than the {short(needed)} that the kernel "
        f"at initialisation asks for."
    )


def _until_when(runs: Sequence[SeedRun], priority: Answer) -> Answer:
    if priority["verdict"] not in ("yes", "unclear"):
        return answer("until-when", "not applicable", "There is no phase of clean priority that could end.")
    ends = np.array([run.phase()[1] for run in runs])
    numbers = [summarize("first step with α ≥ ρ, all classes pooled", ends, unit="steps", log=True)]
    numbers += epochs(runs, numbers[0])
    peaks = [float(run.steps[int(np.nanargmax(run.values["noise_loss"]))]) for run in runs]
    peak = summarize("step at which the noisy loss peaks", peaks, unit="steps", log=True)
    by_class = []
    for c, name in enumerate(runs[0].class_names):
        one = [run.phase(run.values["alpha"][:, c], run.values["rho"][:, c])[1] for run in runs]
        by_class.append(summarize(f"first step with α ≥ ρ, class {name}", one, unit="steps", log=True))
    numbers += [peak, *by_class]
    reached = int(np.isfinite(ends).sum())
    last = int(runs[0].steps[-1])
    classes = _list_classes(runs[0].class_names, by_class, last)
    if reached == 0:
        text = f"Not within the {last} steps of this run: by the pooled gradients the clean samples dominate to the end{classes}."
        return answer("until-when", "not reached", text, numbers)
    some = "" if reached == len(runs) else f" in {reached} of {len(runs)} seeds, not within the run in the others"
    text = (
        f"By the pooled gradients (first α ≥ ρ) until step {with_interval(numbers[0])}{in_epochs(numbers)}{some}{classes}; "
        f"the loss of the wrong labels "
        f"peaks at step {with_interval(peak)}."
    )
    return answer("until-when", "reached", text, numbers)


def _list_classes(names: Sequence[str], numbers: Sequence[dict[str, Any]], last: int) -> str:
    texts = []
    for name, one in zip(names, numbers, strict=True):
        seeds = len(one["per_seed"])
        texts.append(f"{name}: {'not within ' + str(last) if 2 * one['missing'] > seeds else number_text(one['value'], digits=3)}")
    return f" (class by class, in steps: {', '.join(texts)})" if len(texts) <= 10 else ""


def _dominance(runs: Sequence[SeedRun]) -> Answer:
    if runs[0].noise_level == 0:
        return answer("dominance", "not applicable", "Without noise there are no noisy gradients to dominate.")
    level, classes = float(np.mean([run.noise_level for run in runs])), runs[0].n_classes
    numbers = [summarize("‖G_clean‖/‖G_noise‖ at the start, pooled", [1 / run.values["pooled_alpha"][0] for run in runs], log=True)]
    ratios = []
    for c, name in enumerate(runs[0].class_names):
        ratios.append(summarize(f"class {name}, at the start", [1 / run.values["alpha"][0, c] for run in runs], log=True))
    best = [run.best() for run in runs]
    if all(index is not None for index in best):
        at_best = [1 / run.values["pooled_alpha"][index] for run, index in zip(runs, best, strict=True)]
        numbers.append(summarize("pooled, at the smallest test error", at_best, log=True))
        for c, name in enumerate(runs[0].class_names):
            ratios.append(
                summarize(
                    f"class {name}, at the smallest test error",
                    [1 / run.values["alpha"][index, c] for run, index in zip(runs, best, strict=True)],
                    log=True,
                )
            )
    law = (classes - 1) * (1 - level) / level
    values = [float(one["value"]) for one in ratios[:classes] if one["value"] is not None]
    spread = f"{short(min(values))} to {short(max(values))} in the classes" if len(values) > 1 else "undefined in single classes"
    text = (
        f"At the start the clean gradient is {with_interval(numbers[0])} times as long as the noisy one ({spread}; many "
        f"samples of equal classes "
        f"would give {short(law)})"
    )
    text += f"; at the smallest test error {with_interval(numbers[1])} times." if len(numbers) > 1 else "."
    return answer("dominance", "measured", text, [*numbers, *ratios])


def _assumption(runs: Sequence[SeedRun], priority: Answer) -> Answer:
    if priority["verdict"] not in ("yes", "unclear"):
        return answer("assumption-4-1", "not applicable", "The assumption is about the phase of clean priority, and there is none.")
    sines, spreads = [], []
    for run in runs:
        begin, end = run.phase()
        inside = (run.steps >= begin) & (run.steps < end) & np.isfinite(run.values["rho"]).all(axis=1)
        rho, alpha = run.values["rho"][inside], run.values["alpha"][inside]
        # ρ < 0, gradients in one direction, is no less a violation than a right angle.
        sines.append(np.median(np.where(rho > 0, np.sqrt(1 - rho**2), 1.0).max(axis=1)) if inside.any() else np.nan)
        spreads.append(np.median((alpha.max(axis=1) - alpha.min(axis=1)) / alpha.mean(axis=1)) if inside.any() else np.nan)
    sine = summarize("sin∠(g_clean, −g_noise) of the worst class, median over the phase", sines)
    gap = summarize("spread of α over the classes in units of its mean, median over the phase", spreads)
    if sine["value"] is None or gap["value"] is None:
        return answer("assumption-4-1", "not applicable", "Not every class has clean and noisy samples, so that there is no α to compare.")
    collinear, alike = float(sine["value"]) <= COLLINEAR, float(gap["value"]) <= ALIKE
    opposite = f"within a class the two gradients are opposite up to sin∠ = {with_interval(sine)}"
    equal = f"α differs between classes by {percent(float(gap['value']))} of its mean"
    if collinear and alike:
        return answer("assumption-4-1", "approximately", f"Approximately: {opposite}, and {equal}.", [sine, gap])
    what = (
        "neither part holds"
        if not collinear and not alike
        else ("the classes' α differ" if collinear else "the gradients are not collinear")
    )
    text = f"No, {what}: {opposite}, and {equal}. The pooled criterion α ≥ ρ, which is used here, needs no such assumption."
    return answer("assumption-4-1", "violated", text, [sine, gap])


def _explanation(runs: Sequence[SeedRun], priority: Answer) -> Answer:
    known = [run.prediction for run in runs if not run.prediction.reason]
    if priority["verdict"] in ("no noise", "unclear") or not known:
        reason = runs[0].prediction.reason if not known and priority["verdict"] != "no noise" else "what was measured is not clear-cut"
        text = "Not asked: there is no noise." if priority["verdict"] == "no noise" else f"Not told: {reason}."
        return answer("explanation", "not applicable", text)
    eigen = float(np.mean([one.eigen_predicts for one in known]))
    rise = summarize(
        "predicted rise of the noisy loss, in units of the full one",
        [0.0 if run.beyond_threshold else run.prediction.rise / run.full_rise for run in runs if not run.prediction.reason],
    )
    gradient = float(rise["value"] if rise["value"] is not None else 0) >= ENOUGH
    numbers = [
        rise,
        summarize("a at f = 1/C for the kernel at initialisation", [one.initial_alpha for one in known]),
        summarize("ρ at f = 1/C for the kernel at initialisation", [one.initial_rho for one in known]),
        summarize("time in which half of the truth is learnt, linearised", [one.truth_time for one in known], unit="η·step", log=True),
        summarize("time in which half of the flips is learnt, linearised", [one.flip_time for one in known], unit="η·step", log=True),
    ]
    there = priority["verdict"] == "yes"
    right = {"gradient cancellation": gradient == there, "eigen-alignment": (eigen > 0.5) == there}
    g = (
        f"gradient cancellation says {'yes' if gradient else 'no'} (the kernel's noisy loss rises by "
        f"{percent(float(rise['value'] or 0))} of the full rise)"
    )
    times = [number_text(one["value"], digits=3) for one in numbers[3:]]
    e = (
        f"eigen-alignment says {'yes' if eigen > 0.5 else 'no'} (half of the truth is learnt in η·step = {times[0]}, "
        f"half of the flips in {times[1]})"
    )
    if all(right.values()):
        verdict, head = "both", "Both accounts predict what was measured, so this task does not tell them apart"
    elif not any(right.values()):
        verdict, head = "neither", "Neither account predicts what was measured"
    else:
        verdict = next(name for name, fits in right.items() if fits)
        head = f"{verdict.capitalize()} predicts what was measured, the other account does not"
    return answer("explanation", verdict, f"{head}: {g}; {e}.", numbers)


def _tangent_kernel(runs: Sequence[SeedRun], priority: Answer) -> Answer:
    known = [(run, run.prediction) for run in runs if len(run.prediction.times)]
    if not known or priority["verdict"] == "no noise":
        reason = "there is no noise" if priority["verdict"] == "no noise" else runs[0].prediction.reason or "no run could be predicted"
        return answer("tangent-kernel", "not applicable", f"No prediction is made: {reason}.")
    turns, bests, errors = [], [], []
    for run, one in known:
        rate = run.learning_rate or 1.0
        turns.append(
            longest_phase(one.times, one.pooled_alpha, one.pooled_rho)[1] / rate
            if not run.beyond_threshold and one.rise >= ENOUGH * run.full_rise
            else np.nan
        )
        if np.isfinite(one.test_error).all():
            bests.append(one.times[int(np.argmin(one.test_error))] / rate)
            errors.append(one.test_error.min())
    unit = "steps" if known[0][0].learning_rate else "η·step"
    numbers = [summarize("predicted first step with a ≥ ρ", turns, unit=unit, log=True)]
    measured = summarize("measured", [run.phase()[1] for run, _ in known], unit="steps", log=True)
    text = (
        f"It predicts that the clean gradients dominate until {unit.removesuffix('s') if unit == 'steps' else 'time'} "
        f"{or_never(numbers[0])}"
    )
    if np.isnan(turns).sum() * 2 > len(turns):
        text = "It predicts no clean priority: the noisy loss would not rise noticeably"
    if unit == "steps" and priority["verdict"] in ("yes", "unclear"):
        numbers.append(measured)
        text += f" (measured: {or_never(measured)})"
    if bests:
        numbers += [
            summarize("predicted step of the smallest test error", bests, unit=unit, log=True),
            summarize("predicted smallest test error", errors),
        ]
        text += f", and a smallest test error of {percent(float(numbers[-1]['value']))}"
        actual = [run.values["test_error"].min() for run, _ in known if run.has("test_error")]
        text += f" (measured: {percent(float(np.mean(actual)))})" if actual else ""
    samples, of = known[0][1].samples, known[0][1].of
    if samples < of:
        text += f"; computed for {samples} of the {of} samples, and fewer samples mean that noise is fitted earlier"
    return answer("tangent-kernel", "predicted", text + ".", numbers)


def _existence(runs: Sequence[SeedRun]) -> Answer:
    known = [run.prediction for run in runs if not run.prediction.reason]
    if not known or runs[0].noise_level == 0:
        reason = "there is no noise" if runs[0].noise_level == 0 else runs[0].prediction.reason
        return answer("existence", "not applicable", f"Not computed: {reason}.")
    have, needed = _per_class(runs[0]), [one.needed for one in known]
    numbers = [
        summarize("samples per class needed", needed),
        summarize("samples of the smallest class", [float(have)]),
        summarize("kernel of two samples of a class, over that of a sample with itself", [one.within / one.diagonal for one in known]),
        summarize("kernel of two samples of different classes, over the same", [one.between / one.diagonal for one in known]),
    ]
    if not np.isfinite(np.median(needed)):
        why = "at this noise level no number suffices" if runs[0].beyond_threshold else "classes do not differ for this kernel"
        return answer("existence", "no", f"No number of samples would do: {why}.", numbers)
    enough = bool(np.median(needed) < have)
    middle = number_text(float(np.median(needed)), digits=3)
    text = (
        f"For the first step {'yes' if enough else 'no'}: at initialisation the kernel asks for more than {middle} "
        f"samples per class at this noise level, "
        f"for noisy labels to be overruled from the start; the smallest class has {have}."
    )
    return answer("existence", "yes" if enough else "no", text, numbers)


def _per_class(run: SeedRun) -> int:
    return int((run.n_clean + run.n_noise).min())
