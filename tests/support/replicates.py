"""Statements about every time and sample of random networks, judged with the replicate as the unit.

"It never happens" cannot be read off a count over the samples and times of random networks: the count is a random number whose law is not
known, and with enough networks it is not zero. What a check with a stated error rate can judge is the share of networks (or label draws) in
which it happens at all, or the mean over networks of the most unfavourable value within each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical.inference import Estimate, proportion
from reports.agreement import AgreementRecord, Range, Role
from reports.evidence import Agreement
from reports.sequential import Bounded
from tests.support.histories import History
from tests.support.regimes import Regime

__all__ = ["RARELY", "USUALLY", "judge_exceptions", "share_of_replicates"]

RARELY = Range(upper=0.5)
"""A typical replicate, more than half of them, shows no exception."""

USUALLY = Range(lower=0.5)
"""A typical replicate shows it: the negative control of `RARELY`."""


def share_of_replicates(found: ArrayLike, *, error_rate: float) -> Estimate:
    """Probability that a replicate shows something anywhere, with the exact interval for independent replicates.

    Args:
        found: truth values ``[R, …]``, replicates on axis 0.
        error_rate: probability of missing the share.

    >>> share_of_replicates(np.zeros((32, 10), dtype=bool), error_rate=1e-6).upper < 0.5
    True
    """
    anywhere = np.asarray(found, dtype=bool).reshape(len(np.asarray(found)), -1).any(axis=1)
    return proportion(int(anywhere.sum()), len(anywhere), error_rate=error_rate)


def judge_exceptions(
    agreement: Agreement, regime: Regime, name: str, found: Callable[[History], ArrayLike], *, role: Role = Role.STATEMENT
) -> AgreementRecord:
    """Judge that a typical replicate of a regime shows no exception; up to eight times its replicates are drawn while that is undecided.

    Args:
        agreement: the notebook of the test.
        regime: fixed kernel or trained networks on a data set.
        name: what the exceptions are.
        found: truth values ``[R, …]`` of a history, replicates on axis 0.
        role: of the check.
    """
    start = regime.replicates(agreement)

    def draw(first: int, count: int) -> NDArray[np.bool_]:
        exceptions = np.asarray(found(regime.history(agreement, first)), dtype=bool)
        return exceptions.reshape(len(exceptions), -1).any(axis=1)

    return agreement.sequential(
        f"share of replicates with {name}",
        prediction=RARELY,
        draw=draw,
        sequence=Bounded(),
        margin={"none": 0.0},
        start=start,
        cap=8 * start,
        role=role,
    )
