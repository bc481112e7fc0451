"""Draw seeds until a check is decided, or a cap is reached: looking after every block costs nothing, because the intervals allow for it."""

from __future__ import annotations

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
    t_mixture_e_value,
    t_mixture_sequence,
)
from reports.agreement import AgreementRecord, Margin, Range, Role, Verdict, judge
from theory.claims import Claim

__all__ = ["Bounded", "Draw", "KnownSpread", "Normal", "Sequence", "judge_sequentially"]

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

    def estimate(self, values: NDArray[np.float64], error_rate: float, unit: str) -> Estimate:
        """Confidence sequence after these values."""
        return t_mixture_sequence(values, error_rate=error_rate, tuned_at=self.tuned_at, unit=unit)

    def e_value(self, values: NDArray[np.float64], region: tuple[float, float], error_rate: float) -> float:
        """Evidence against a mean in the region."""
        return t_mixture_e_value(values, region=region, error_rate=error_rate, tuned_at=self.tuned_at)


Sequence = Bounded | KnownSpread | Normal
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
        ValueError: if start and cap are not 1 ≤ start ≤ cap, or a block does not have the length asked for.

    Example:
        >>> networks = np.random.default_rng(0).random(400) < 0.02  # an exception in one network of fifty
        >>> record = judge_sequentially(
        ...     Range(upper=0.1), lambda first, count: networks[first : first + count],
        ...     sequence=Bounded(), margin={"none": 0.0}, claim="D10", error_rate=1e-3, start=32, cap=400,
        ... )
        >>> str(record.verdict), record.seeds
        ('AGREES', 256)
    """
    if not 1 <= start <= cap:
        raise ValueError(f"start and cap must be numbers of replicates with 1 <= start <= cap, got {start} and {cap}")
    values, looks, count = np.empty(0), 0, start
    while True:
        block = np.asarray(draw(len(values), count), dtype=np.float64)
        if block.shape != (count,):
            raise ValueError(f"draw must give {count} values, one per replicate, got shape {list(block.shape)}")
        values, looks = np.concatenate([values, block]), looks + 1
        estimate = sequence.estimate(values, error_rate, unit)
        record = judge(prediction, estimate, margin=margin, claim=claim, name=name, role=role, expected=expected)
        if record.verdict is not Verdict.INCONCLUSIVE or len(values) >= cap:
            break
        count = min(len(values), cap - len(values))
    low, high = record.region
    evidence = sequence.e_value(values, (low - record.margin, high + record.margin), error_rate)
    how = f"{record.method}; {looks} look{'s' * (looks > 1)}, at most {cap} seeds"
    return replace(record, e_value=evidence, method=how)
