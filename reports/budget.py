"""Error budget of a run: how often the suite may raise a false alarm, shared out over its random checks.

One run of the suite has a false-alarm probability of at most `FALSE_ALARM_BUDGET` by construction: a union bound over at most
`MAX_RANDOM_CHECKS` random checks, each decided at `PER_CHECK_ERROR_RATE`. Exact comparisons spend nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from reports.agreement import AgreementRecord, ClaimResult

__all__ = ["FALSE_ALARM_BUDGET", "MAX_RANDOM_CHECKS", "PER_CHECK_ERROR_RATE", "spent"]

FALSE_ALARM_BUDGET = 1e-3
MAX_RANDOM_CHECKS = 1000
PER_CHECK_ERROR_RATE = FALSE_ALARM_BUDGET / MAX_RANDOM_CHECKS


def spent(results: Iterable[ClaimResult]) -> dict[str, float | int]:
    """Add up the false-alarm probability that a run's random checks spent (union bound).

    Args:
        results: the rows of a run.

    Returns:
        ``random_checks``, ``exact_checks``, ``false_alarm_bound`` (sum of 1 − confidence over the random checks) and ``budget``.
    """
    records: list[AgreementRecord] = [record for result in results for record in result.records]
    random = [record for record in records if record.confidence < 1]
    return {
        "random_checks": len(random),
        "exact_checks": len(records) - len(random),
        "false_alarm_bound": float(sum(1 - record.confidence for record in random)),
        "budget": FALSE_ALARM_BUDGET,
    }
