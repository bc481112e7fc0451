"""The only place where a prediction meets a measurement.

`judge` compares one predicted number (or array, or range) with one estimate and its confidence set, and returns an `AgreementRecord`.
The decision is an equivalence decision: the confidence set lies inside the margin → AGREES; it lies outside → DISAGREES; it straddles the
edge → INCONCLUSIVE. "Not significantly different" is never read as agreement. `ClaimResult` gathers the records of one claim in one regime.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical.inference import Estimate
from reports._validation import brief, check_member, check_numbers, check_text
from theory.claims import CLAIMS, Claim
from theory.claims import claim as claim_by_id

__all__ = ["AgreementRecord", "ClaimResult", "Margin", "Range", "Role", "Verdict", "judge"]


class Verdict(StrEnum):
    """How a claim ends; exactly one."""

    AGREES = "AGREES"
    DISAGREES = "DISAGREES"
    INCONCLUSIVE = "INCONCLUSIVE"
    ASSUMPTION_VIOLATED = "ASSUMPTION VIOLATED"
    NOT_RUN = "NOT RUN"
    ERROR = "ERROR"


class Role(StrEnum):
    """What a check is for: the printed statement, its hypotheses, the corrected statement, or a negative control that must be rejected."""

    STATEMENT = "statement"
    HYPOTHESIS = "hypothesis"
    CORRECTION = "correction"
    CONTROL = "control"


@dataclass(frozen=True)
class Margin:
    """A tolerance fixed before the data: a sum of named terms (rounding, finite width, sampling, modelling …).

    Args:
        terms: name → size, each ≥ 0; scalars, or arrays that broadcast to the prediction's shape. In the units of the prediction.

    Raises:
        ValueError: if there is no term, or a term is negative or not finite.
    """

    terms: Mapping[str, float | NDArray[np.floating]]

    def __post_init__(self) -> None:
        if not isinstance(self.terms, Mapping):
            raise ValueError(f"margin must be terms by name, got {brief(self.terms)}")
        if not self.terms:
            raise ValueError("margin must name at least one term, got none")
        for name, size in self.terms.items():
            numbers = check_numbers(size, f"margin term {brief(name)}")
            if not np.all(np.isfinite(numbers)) or np.any(numbers < 0):
                raise ValueError(f"margin term {name!r} must be finite and >= 0, got {size}")

    @property
    def total(self) -> NDArray[np.floating]:
        """Sum of the terms, broadcast together."""
        return np.asarray(sum(np.asarray(size, dtype=float) for size in self.terms.values()), dtype=float)


@dataclass(frozen=True)
class Range:
    """A prediction that is an inequality: the true value lies in [lower, upper] (either side may be infinite).

    Raises:
        ValueError: if a side does not hold real numbers; NaN is one, of which `judge` makes the verdict ERROR.
    """

    lower: float | NDArray[np.floating] = -math.inf
    upper: float | NDArray[np.floating] = math.inf

    def __post_init__(self) -> None:
        check_numbers(self.lower, "lower")
        check_numbers(self.upper, "upper")


@dataclass(frozen=True)
class AgreementRecord:
    """One comparison and its verdict.

    The scalar fields describe the component that decided: the one deepest outside its margin, or closest to its edge. ``deviation`` is
    that component's distance from the predicted value (or range) in units of the margin, so 1 is the edge.

    Attributes:
        claim: id in the register.
        name: what was compared, in words.
        role: statement, hypothesis, correction or control.
        verdict: AGREES, DISAGREES, INCONCLUSIVE or ERROR.
        expected: the verdict that the test states for this check, or None where only the claim's own expectation binds.
        prediction: predicted value of the deciding component (the nearer end, for a range).
        region: predicted values (lower, upper) of the deciding component; equal for a number, infinite on an open side.
        estimate: measured value of the deciding component.
        interval: confidence interval (lower, upper) of the deciding component.
        margin: margin of the deciding component.
        margin_terms: its named terms.
        deviation: |estimate − prediction| / margin (infinite for a zero margin that is missed).
        detectable: smallest discrepancy from the prediction that this check is sure to reject (margin + full width of the interval).
        seeds: replicates behind the estimate.
        confidence: confidence level of the interval (1 for exact comparisons).
        method: how the interval was made.
        unit: unit of the numbers, "" if none.
        components: how many components were compared at once.
        e_value: evidence against the statement at the moment of stopping (`judge_sequentially`); None where the number of seeds was fixed.
    """

    claim: str
    name: str
    role: Role
    verdict: Verdict
    expected: Verdict | None
    prediction: float
    region: tuple[float, float]
    estimate: float
    interval: tuple[float, float]
    margin: float
    margin_terms: Mapping[str, float]
    deviation: float
    detectable: float
    seeds: int
    confidence: float
    method: str
    unit: str = ""
    components: int = 1
    e_value: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the verdict is the one that this check's role or its own expectation demands."""
        if self.verdict is Verdict.ERROR:
            return False
        if self.expected is not None:
            return self.verdict is self.expected
        if self.role is Role.CONTROL:
            return self.verdict is Verdict.DISAGREES
        if self.role is Role.CORRECTION:
            return self.verdict is Verdict.AGREES
        return True

    def describe(self) -> str:
        """Failure text that needs no debugger: got, expected, interval, margin by terms, seeds."""
        terms = " + ".join(f"{name} {size:.3g}" for name, size in self.margin_terms.items())
        wanted = self.expected or {Role.CONTROL: Verdict.DISAGREES, Role.CORRECTION: Verdict.AGREES}.get(self.role)
        lower, upper = self.interval
        return (
            f"[{self.role}] {self.name}: {self.verdict}{f' (expected {wanted})' if wanted else ''}\n"
            f"    predicted {self.prediction:.10g}, measured {self.estimate:.10g} {self.unit} in [{lower:.10g}, {upper:.10g}]"
            f" ({self.method}, confidence {self.confidence:.7g}, {self.seeds} seeds, worst of {self.components})\n"
            f"    margin {self.margin:.3g} = {terms}; deviation {self.deviation:.3g} margins"
            + (f"; undecided: a discrepancy of {self.detectable:.3g} would have been seen" if self.verdict is Verdict.INCONCLUSIVE else "")
        )


def judge(
    prediction: ArrayLike | Range,
    estimate: Estimate,
    *,
    margin: float | Margin | Mapping[str, float | NDArray[np.floating]],
    claim: str | Claim,
    name: str = "",
    role: Role | str = Role.STATEMENT,
    expected: Verdict | str | None = None,
) -> AgreementRecord:
    """Decide whether an estimate agrees with a prediction to within a margin.

    Args:
        prediction: predicted value, scalar or array ``[k]``, or a `Range` for an inequality.
        estimate: measured value with a confidence set, of a shape that broadcasts with the prediction. For arrays the confidence set must
            be simultaneous: the check agrees if every component lies inside its margin, disagrees if one lies outside.
        margin: tolerance in the units of the prediction: a `Margin`, a mapping of named terms, or one number (a term called "margin").
        claim: the claim, or its id in the register.
        name: what is compared, in words.
        role: see `Role`.
        expected: verdict that this check must reach, where that is known in advance.

    Returns:
        The record; its verdict is ERROR if the estimate or the prediction is NaN.

    Raises:
        ValueError: if an argument is of another kind, the claim is unknown, the margin is negative or empty, or shapes do not broadcast.

    Example:
        >>> from empirical.inference import Estimate
        >>> measured = Estimate(value=0.501, lower=0.499, upper=0.503, confidence=0.999, n_seeds=200, method="known-sigma z")
        >>> judge(0.5, measured, margin={"finite width": 0.004}, claim="G2").verdict
        <Verdict.AGREES: 'AGREES'>
        >>> judge(0.51, measured, margin={"finite width": 0.004}, claim="G2").verdict
        <Verdict.DISAGREES: 'DISAGREES'>
    """
    if not isinstance(claim, (str, Claim)):
        raise ValueError(f"claim must be a Claim or its id, got {brief(claim)}")
    claim_id = (claim_by_id(claim) if isinstance(claim, str) else claim).id
    if not isinstance(estimate, Estimate):
        raise ValueError(f"estimate must be an Estimate, got {brief(estimate)}")
    role, name = check_member(role, "role", Role), check_text(name, "name")
    expected = None if expected is None else check_member(expected, "expected", Verdict)
    tolerance = margin if isinstance(margin, Margin) else Margin(margin if isinstance(margin, Mapping) else {"margin": margin})
    if isinstance(prediction, Range):
        region = prediction
    else:
        predicted = check_numbers(prediction, "prediction")
        region = Range(predicted, predicted)
    try:
        arrays = np.broadcast_arrays(region.lower, region.upper, estimate.value, estimate.lower, estimate.upper, tolerance.total)
    except ValueError:
        raise ValueError(
            f"prediction {np.shape(region.lower)}, estimate {np.shape(estimate.value)} and margin {tolerance.total.shape} do not broadcast"
        ) from None
    shape = arrays[0].shape
    if arrays[0].size > max(np.size(part) for part in (region.lower, region.upper, estimate.value, tolerance.total)):
        raise ValueError(
            f"prediction {np.shape(region.lower)}, estimate {np.shape(estimate.value)} and margin {tolerance.total.shape} must be compared "
            "one by one, got shapes that pair every one with every other"
        )
    low, high, value, lower, upper, size = (np.ravel(np.asarray(array, dtype=float)) for array in arrays)
    missing = np.isnan(low) | np.isnan(high) | np.isnan(value) | np.isnan(lower) | np.isnan(upper)
    outside = (lower > high + size) | (upper < low - size)
    inside = (lower >= low - size) & (upper <= high + size)
    # Distance of the far end of the interval from the predicted region decides which component is worst.
    reach = np.maximum(np.maximum(upper - high, low - lower), 0.0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        strain = np.where(reach > 0, reach / size, 0.0)
    if missing.any():
        verdict, worst = Verdict.ERROR, int(np.argmax(missing))
    elif outside.any():
        verdict, worst = Verdict.DISAGREES, int(np.argmax(np.where(outside, strain, -1.0)))
    elif inside.all():
        verdict, worst = Verdict.AGREES, int(np.argmax(strain))
    else:
        verdict, worst = Verdict.INCONCLUSIVE, int(np.argmax(np.where(inside, -1.0, strain)))
    nearest = float(np.clip(value[worst], low[worst], high[worst])) if not missing[worst] else float(low[worst])
    gap = abs(float(value[worst]) - nearest)
    return AgreementRecord(
        claim=claim_id,
        name=name,
        role=role,
        verdict=verdict,
        expected=expected,
        prediction=nearest,
        region=(float(low[worst]), float(high[worst])),
        estimate=float(value[worst]),
        interval=(float(lower[worst]), float(upper[worst])),
        margin=float(size[worst]),
        margin_terms={term: float(np.ravel(np.broadcast_to(part, shape))[worst]) for term, part in tolerance.terms.items()},
        deviation=gap / float(size[worst]) if size[worst] > 0 else (math.inf if gap > 0 else 0.0),
        detectable=float(size[worst] + upper[worst] - lower[worst]),
        seeds=int(estimate.n_seeds),
        confidence=float(estimate.confidence),
        method=estimate.method,
        unit=estimate.unit,
        components=int(value.size),
    )


@dataclass(frozen=True)
class ClaimResult:
    """What became of one claim in one regime: a row of the report.

    Attributes:
        claim: id in the register.
        model: what was examined: "algebra", "fixed kernel", "network at initialisation", "trained network" …
        data: on which data: "any", "digits 7/9", "MNIST 7/9" …
        expected: verdict that the statement as printed must reach here.
        expected_reason: why, in one sentence.
        records: every check that ran.
        command: shell command that reproduces the row.
        figures: ids of its figures.
        seconds: wall time of the judgement, measurement excluded.
        not_run: reason why the claim did not run, "" if it did.
        error: one line on the exception that ended it, "" if none did.
        notes: sentences of plain observation.
        has_correction: whether the register holds a corrected statement; None looks it up in the papers' register.
    """

    claim: str
    model: str
    data: str
    expected: Verdict
    expected_reason: str
    records: Sequence[AgreementRecord] = ()
    command: str = ""
    figures: Sequence[str] = ()
    seconds: float = 0.0
    not_run: str = ""
    error: str = ""
    notes: Sequence[str] = field(default=())
    has_correction: bool | None = None

    @property
    def regime(self) -> str:
        """Model and data in one phrase."""
        return f"{self.model} · {self.data}"

    def with_role(self, role: Role) -> list[AgreementRecord]:
        """The records of one role, in the order in which they ran."""
        return [record for record in self.records if record.role is role]

    @property
    def verdict(self) -> Verdict:
        """Verdict on the statement as printed; corrections and controls do not enter it."""
        if self.error:
            return Verdict.ERROR
        if self.not_run:
            return Verdict.NOT_RUN
        verdicts = {record.verdict for record in self.with_role(Role.STATEMENT)}
        hypotheses = {record.verdict for record in self.with_role(Role.HYPOTHESIS)}
        if Verdict.ERROR in verdicts | hypotheses or not verdicts | hypotheses:
            return Verdict.ERROR
        if Verdict.DISAGREES in hypotheses:
            return Verdict.ASSUMPTION_VIOLATED
        for verdict in (Verdict.DISAGREES, Verdict.INCONCLUSIVE):
            if verdict in verdicts | (hypotheses if verdict is Verdict.INCONCLUSIVE else set()):
                return verdict
        return Verdict.AGREES if verdicts else Verdict.ERROR

    @property
    def headline(self) -> AgreementRecord | None:
        """The check that decided the verdict: the most strained one among those that carry it."""
        role = Role.HYPOTHESIS if self.verdict is Verdict.ASSUMPTION_VIOLATED else Role.STATEMENT
        candidates = self.with_role(role) or list(self.records)
        deciding = [r for r in candidates if r.verdict is self.verdict or self.verdict is Verdict.ASSUMPTION_VIOLATED] or candidates
        return max(deciding, key=lambda record: record.deviation, default=None)

    def failures(self) -> list[str]:
        """Every reason why this row is red; an empty list means green. A row that did not run is neither."""
        if self.not_run:
            return []
        if self.error:
            return [self.error]
        found = [f"check not as expected: {record.describe()}" for record in self.records if not record.ok]
        if not self.records:
            found.append("no check was executed")
        elif not self.with_role(Role.CONTROL):
            found.append("no negative control was executed")
        if self.verdict is not self.expected:
            found.append(f"verdict {self.verdict}, expected {self.expected}: {self.expected_reason}")
            if self.headline is not None:
                found.append(self.headline.describe())
        corrected = bool(CLAIMS[self.claim].correction) if self.has_correction is None else self.has_correction
        if corrected and self.expected is Verdict.DISAGREES and not self.with_role(Role.CORRECTION):
            found.append("the printed form is rejected, but its correction was not judged beside it")
        statements = self.with_role(Role.STATEMENT)
        unstated = [record.name for record in statements if record.expected is None]
        if self.expected is Verdict.DISAGREES and len(statements) > 1 and unstated:
            found.append(f"several statements of which some must disagree, and the test does not say which: {'; '.join(unstated)}")
        return found

    @property
    def ok(self) -> bool:
        """Whether the row ran and came out as the register expects."""
        return not self.not_run and not self.failures()
