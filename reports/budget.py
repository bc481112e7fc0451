"""Error budget of a run: how often the suite may raise a false alarm, shared out over its random checks, and the evidence of all together.

One run of the suite has a false-alarm probability of at most `FALSE_ALARM_BUDGET` by construction: a union bound over at most
`MAX_RANDOM_CHECKS` random checks, each decided at `PER_CHECK_ERROR_RATE`. Exact comparisons spend nothing.

The union bound looks at each check by itself. Beside it every random check that ought to hold yields an e-value against its statement:
that of its confidence sequence where seeds are drawn one block after another, and 1/error rate or 0 (rejected or not) where their number
is fixed; both have expectation at most 1 if the statement holds. Their average is an e-value against the whole run, "some of these
statements is wrong", to which sequential checks contribute that are each short of their own threshold. `adjusted_e_values` is Holm's
procedure for them: which check it is. Both are valid whatever the dependence, and alarm at 1/budget. A fixed check that is rejected among
at most `MAX_RANDOM_CHECKS` ones always reaches it, so nothing is lost against the union bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from reports.agreement import AgreementRecord, ClaimResult, Role, Verdict

__all__ = [
    "FALSE_ALARM_BUDGET",
    "MAX_RANDOM_CHECKS",
    "PER_CHECK_ERROR_RATE",
    "adjusted_e_values",
    "e_value",
    "evidence_against",
    "ought_to_hold",
    "spent",
]

FALSE_ALARM_BUDGET = 1e-3
MAX_RANDOM_CHECKS = 1000
PER_CHECK_ERROR_RATE = FALSE_ALARM_BUDGET / MAX_RANDOM_CHECKS


def spent(results: Iterable[ClaimResult]) -> dict[str, float | int]:
    """Add up the false-alarm probability that a run's random checks spent (union bound), and their evidence against what ought to hold.

    Args:
        results: the rows of a run.

    Returns:
        ``random_checks``, ``exact_checks``, ``false_alarm_bound`` (sum of 1 − confidence over the random checks), ``budget``, and those of
        `evidence_against`.
    """
    rows = list(results)
    records: list[AgreementRecord] = [record for result in rows for record in result.records]
    random = [record for record in records if record.confidence < 1]
    return {
        "random_checks": len(random),
        "exact_checks": len(records) - len(random),
        "false_alarm_bound": float(sum(1 - record.confidence for record in random)),
        "budget": FALSE_ALARM_BUDGET,
        **evidence_against(rows),
    }


def e_value(record: AgreementRecord) -> float:
    """Evidence of a random check against its statement: expectation at most 1 if the statement holds.

    Args:
        record: a check with confidence below 1.

    Raises:
        ValueError: for an exact comparison, which has no error rate.
    """
    if record.confidence >= 1:
        raise ValueError(f"record must be of a random check, got the exact comparison {record.name!r}")
    if record.e_value is not None:
        return record.e_value
    return 1 / (1 - record.confidence) if record.verdict is Verdict.DISAGREES else 0.0


def ought_to_hold(result: ClaimResult, record: AgreementRecord) -> bool:
    """Whether a random check of a row is expected to agree: then, and only then, its rejection would be an alarm."""
    if record.confidence >= 1 or record.verdict is Verdict.ERROR:
        return False
    if record.expected is not None:
        return record.expected is Verdict.AGREES
    return record.role is Role.CORRECTION or (result.expected is Verdict.AGREES and record.role in (Role.STATEMENT, Role.HYPOTHESIS))


def evidence_against(results: Iterable[ClaimResult]) -> dict[str, float | int]:
    """What the random checks that ought to hold say together.

    Args:
        results: the rows of a run.

    Returns:
        ``tested`` (how many such checks), ``sequential`` (how many of them drew seeds until they were decided), ``run_e_value`` (the
        average e-value: evidence that any of them is wrong), ``rejected`` (how many have an adjusted e-value of at least 1/budget: the
        alarms of the run at its own level) and ``largest_e_value`` (the largest adjusted one).
    """
    records = [record for result in results for record in result.records if ought_to_hold(result, record)]
    values = np.array([e_value(record) for record in records])
    adjusted = adjusted_e_values(values)
    return {
        "tested": len(records),
        "sequential": sum(record.e_value is not None for record in records),
        "run_e_value": float(values.mean()) if records else 0.0,
        # 1/(1 − confidence) is exact to the rounding of 1 − confidence, 1e-10 relative at 1e-6.
        "rejected": int(np.sum(adjusted >= (1 - 1e-9) / FALSE_ALARM_BUDGET)),
        "largest_e_value": float(adjusted.max(initial=0.0)),
    }


def adjusted_e_values(e_values: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Holm's procedure for e-values: the k-th is multiplied down for having been picked among K, by closed testing with averages.

    ``e*_k = min over i of (e_k + the i smallest of those not above it, added up)/(i + 1)``: the least average of a set of hypotheses that
    holds k. Rejecting where e* ≥ 1/α makes any false rejection with probability at most α, whatever the dependence.

    Args:
        e_values: ``[K]``, each ≥ 0 and finite.

    Returns:
        ``[K]``, in the order given.

    Raises:
        ValueError: if a value is negative or not finite.

    Source: Vovk and Wang (2021), E-values: calibration, combination and applications, Algorithm 1.

    Example:
        >>> adjusted_e_values([2000.0, 0.0, 2.0, 0.0]).tolist()
        [500.5, 0.0, 0.6666666666666666, 0.0]
    """
    values = np.asarray(e_values, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"e_values must be finite numbers >= 0 in one row, got {' '.join(repr(e_values).split())[:80]}")
    order = np.argsort(values, kind="stable")
    rising = values[order]
    sums = np.concatenate([[0.0], np.cumsum(rising)])
    adjusted = np.empty_like(values)
    for rank, place in enumerate(order):
        sizes = np.arange(1, rank + 2)  # k alone, with the smallest, with the two smallest …
        adjusted[place] = float(np.min((rising[rank] + sums[: rank + 1]) / sizes))
    return adjusted
