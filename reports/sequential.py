"""Draw seeds until a check is decided, or a cap is reached: looking after every block costs nothing, because the intervals allow for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical.inference import (
    Estimate,
    betting_e_value,
    betting_sequence,
    normal_mixture_e_value,
    normal_mixture_sequence,
    proportion,
    t_mixture_e_value,
    t_mixture_sequence,
)
from reports._validation import LARGEST, brief, check_count, check_number, check_numbers, check_text
from reports.agreement import AgreementRecord, Margin, Range, Role, Verdict, judge
from theory.claims import Claim

__all__ = ["Bounded", "Counted", "Draw", "KnownSpread", "Normal", "Sequence", "judge_sequentially"]

Draw = Callable[[int, int], ArrayLike]
"""Replicates first … first + count − 1 of the rule by which seeds are chosen → their values ``[count]``."""


@dataclass(frozen=True)
class Bounded:
    """Values within bounds: the betting sequence, which assumes nothing else. Indicators, shares, cosines.

    Args:
        lower: least possible value.
        upper: largest possible value.
    """

    lower: float = 0.0
    upper: float = 1.0

    def __post_init__(self) -> None:
        if check_number(self.lower, "lower") >= check_number(self.upper, "upper"):
            raise ValueError(f"lower must be less than upper, got {self.lower} and {self.upper}")

    def estimate(self, values: NDArray[np.float64], error_rate: float, unit: str) -> Estimate:
        """Confidence sequence after these values."""
        return betting_sequence(values, error_rate=error_rate, lower_bound=self.lower, upper_bound=self.upper, unit=unit)

    def e_value(self, values: NDArray[np.float64], region: tuple[float, float], error_rate: float) -> float:
        """Evidence against a mean in the region."""
        return betting_e_value(values, region=region, error_rate=error_rate, lower_bound=self.lower, upper_bound=self.upper)


@dataclass(frozen=True)
class KnownSpread:
    """Sub-Gaussian values with a known standard deviation: the normal mixture.

    Args:
        sigma: standard deviation of one value.
        tuned_at: number of seeds for which the sequence is narrowest; chosen before the data.
    """

    sigma: float
    tuned_at: int = 30

    def __post_init__(self) -> None:
        check_number(self.sigma, "sigma", above=0)
        check_count(self.tuned_at, "tuned_at")

    def estimate(self, values: NDArray[np.float64], error_rate: float, unit: str) -> Estimate:
        """Confidence sequence after these values."""
        return normal_mixture_sequence(values, error_rate=error_rate, sigma=self.sigma, tuned_at=self.tuned_at, unit=unit)

    def e_value(self, values: NDArray[np.float64], region: tuple[float, float], error_rate: float) -> float:
        """Evidence against a mean in the region."""
        return normal_mixture_e_value(values, region=region, error_rate=error_rate, sigma=self.sigma, tuned_at=self.tuned_at)


@dataclass(frozen=True)
class Normal:
    """Normal values with unknown variance: the Student mixture.

    Args:
        tuned_at: number of seeds for which the sequence is narrowest; chosen before the data.
    """

    tuned_at: int = 30

    def __post_init__(self) -> None:
        check_count(self.tuned_at, "tuned_at")

    def estimate(self, values: NDArray[np.float64], error_rate: float, unit: str) -> Estimate:
        """Confidence sequence after these values."""
        return t_mixture_sequence(values, error_rate=error_rate, tuned_at=self.tuned_at, unit=unit)

    def e_value(self, values: NDArray[np.float64], region: tuple[float, float], error_rate: float) -> float:
        """Evidence against a mean in the region."""
        return t_mixture_e_value(values, region=region, error_rate=error_rate, tuned_at=self.tuned_at)


@dataclass(frozen=True)
class Counted:
    """Independent indicators, looked at after ``start``, 2 ``start``, 4 ``start`` … replicates and never between: exact binomial intervals.

    The k-th look has the error rate α/2^k, all of them together α. At these few looks it is narrower than the betting sequence, which
    holds at every number: 24 of 24 tell "more than half" at 1e-6.

    Args:
        start: replicates at the first look, the check's own.

    Example:
        >>> Counted(24).estimate(np.ones(24), 1e-6, "").lower > 0.5, Bounded().estimate(np.ones(24), 1e-6, "").lower > 0.5
        (True, False)
    """

    start: int

    def __post_init__(self) -> None:
        check_count(self.start, "start")

    def estimate(self, values: NDArray[np.float64], error_rate: float, unit: str) -> Estimate:
        """Interval at this look."""
        if not np.isin(values, (0.0, 1.0)).all():
            raise ValueError("values of counted replicates must be 0 or 1, got others")
        looks = 1
        while self.start * 2 ** (looks - 1) < len(values):
            looks += 1
        found = proportion(int(values.sum()), len(values), error_rate=error_rate / 2**looks)
        return replace(found, confidence=1 - error_rate, unit=unit, method="Clopper-Pearson intervals, half the error rate at each look")

    def e_value(self, values: NDArray[np.float64], region: tuple[float, float], error_rate: float) -> float:
        """Evidence against a share in the region: 1/α where an interval has left it, else 0."""
        found = self.estimate(values, error_rate, "")
        return 1 / error_rate if found.lower > region[1] or found.upper < region[0] else 0.0


Sequence = Bounded | Counted | KnownSpread | Normal
"""What is assumed of one replicate's value, and with it the confidence sequence. No fixed-n interval is among them: stopping voids it."""


def judge_sequentially(
    prediction: float | Range,
    draw: Draw,
    *,
    sequence: Sequence,
    margin: float | Margin | Mapping[str, float | NDArray[np.floating]],
    claim: str | Claim,
    error_rate: float,
    start: int,
    cap: int,
    name: str = "",
    role: Role | str = Role.STATEMENT,
    expected: Verdict | str | None = None,
    unit: str = "",
) -> AgreementRecord:
    """Judge a mean over replicates; while the confidence sequence leaves it open, draw as many replicates again, up to a cap.

    The probability of a wrong verdict is at most ``error_rate`` however often the data are looked at. At the cap the verdict is
    INCONCLUSIVE, and the record's ``detectable`` says which discrepancy would have been seen.

    Args:
        prediction: predicted mean, or range.
        draw: (first, count) → values ``[count]`` of the next replicates; called with consecutive blocks.
        sequence: what is assumed of a value.
        margin: tolerance, as in `judge`.
        claim: the claim, or its id.
        error_rate: probability of a wrong verdict.
        start: replicates before the first look.
        cap: replicates at most.
        name: what is compared, in words.
        role: see `Role`.
        expected: verdict that this check must reach, where that is known.
        unit: unit of the values.

    Returns:
        The record at the look that decided, with its e-value against the statement and, in ``method``, the number of looks.

    Raises:
        ValueError: if an argument is of another kind or not finite, start and cap are not 1 ≤ start ≤ cap, or a block does not have the
            length asked for.

    Example:
        >>> networks = np.random.default_rng(0).random(400) < 0.02  # an exception in one network of fifty
        >>> record = judge_sequentially(
        ...     Range(upper=0.1), lambda first, count: networks[first : first + count],
        ...     sequence=Bounded(), margin={"none": 0.0}, claim="D10", error_rate=1e-3, start=32, cap=400,
        ... )
        >>> str(record.verdict), record.seeds
        ('AGREES', 256)
    """
    if not isinstance(sequence, Sequence):
        raise ValueError(f"sequence must be Bounded, Counted, KnownSpread or Normal, got {brief(sequence)}")
    if not callable(draw) or isinstance(draw, type):
        raise ValueError(f"draw must be a function (first, count) -> values, got {brief(draw)}")
    tolerance = margin if isinstance(margin, Margin) else Margin(margin if isinstance(margin, Mapping) else {"margin": margin})
    check_number(tolerance.total, "margin")
    if isinstance(prediction, Range):
        ends = [check_numbers(end, "prediction") for end in (prediction.lower, prediction.upper)]
        if any(end.ndim or np.isnan(end) or LARGEST < abs(float(end)) < math.inf for end in ends):
            raise ValueError(f"prediction must be a range of two numbers, finite or infinite, got {brief(prediction)}")
    else:
        check_number(prediction, "prediction")
    check_text(unit, "unit")
    start, cap = check_count(start, "start"), check_count(cap, "cap")
    if start > cap:
        raise ValueError(f"start and cap must be numbers of replicates with 1 <= start <= cap, got {start} and {cap}")
    if isinstance(sequence, Counted) and sequence.start != start:
        raise ValueError(f"start must be that of the looks which share the error rate, {sequence.start}, got {start}")
    values, looks, count = np.empty(0), 0, start
    while True:
        block = np.asarray(draw(len(values), count), dtype=np.float64)
        if block.shape != (count,):
            raise ValueError(f"draw must give {count} values, one per replicate, got shape {list(block.shape)}")
        values, looks = np.concatenate([values, block]), looks + 1
        estimate = sequence.estimate(values, error_rate, unit)
        record = judge(prediction, estimate, margin=tolerance, claim=claim, name=name, role=role, expected=expected)
        if record.verdict is not Verdict.INCONCLUSIVE or len(values) >= cap:
            break
        count = min(len(values), cap - len(values))
    low, high = record.region
    evidence = sequence.e_value(values, (low - record.margin, high + record.margin), error_rate)
    how = f"{record.method}; {looks} look{'s' * (looks > 1)}, at most {cap} seeds"
    return replace(record, e_value=evidence, method=how)
