"""Statements about every time and sample of random networks, judged with the replicate as the unit.

"It never happens" cannot be read off a count over the samples and times of random networks: the count is a random number whose law is not
known, and with enough networks it is not zero. What a check with a stated error rate can judge is the share of networks (or label draws) in
which it happens at all, or the mean over networks of the most unfavourable value within each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from empirical.inference import Estimate, proportion
from reports.agreement import AgreementRecord, Range, Role
from reports.evidence import Agreement
from reports.sequential import Bounded, Counted
from tests.support.histories import History
from tests.support.regimes import Regime

__all__ = ["RARELY", "TOLD", "USUALLY", "judge_exceptions", "judge_networks", "share_of_replicates", "told_from_half"]

RARELY = Range(upper=0.5)
"""A typical replicate, more than half of them, shows no exception."""

USUALLY = Range(lower=0.5)
"""A typical replicate shows it: the negative control of `RARELY`."""


TOLD = 0.27
"""Distance from ½ at which the share of networks is told from it with probability 0.99 or more; `judge_networks` asserts it."""


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
    agreement: Agreement,
    regime: Regime,
    name: str,
    found: Callable[[History], ArrayLike],
    *,
    role: Role = Role.STATEMENT,
    expected: str | None = None,
) -> AgreementRecord:
    """Judge that a typical replicate of a regime shows no exception; up to eight times its replicates are drawn while that is undecided.

    Args:
        agreement: the notebook of the test.
        regime: fixed kernel or trained networks on a data set.
        name: what the exceptions are.
        found: truth values ``[R, …]`` of a history, replicates on axis 0.
        role: of the check.
        expected: verdict, where it is not that of the claim.
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
        expected=expected,
    )


def judge_networks(
    agreement: Agreement, regime: Regime, name: str, found: Callable[[xr.Dataset], ArrayLike], *, role: Role = Role.STATEMENT
) -> AgreementRecord:
    """Judge that a typical network, more than half of them, shows something; more networks are trained while that is undecided.

    The unit is the network, and its sign the number judged: no assumption on the law of what is measured in it. Up to eight times the
    experiment's own networks are drawn; at the cap a share `TOLD` away from ½ is told from it with probability 0.99 at least.

    Args:
        agreement: the notebook of the test.
        regime: trained networks.
        name: what they show.
        found: truth value of each network ``[R]`` of a measurement.
        role: of the check.
    """
    start = regime.replicates(agreement)
    assert told_from_half(0.5 + TOLD, start=start, cap=8 * start, error_rate=agreement.error_rate) >= 0.99
    return agreement.sequential(
        f"share of networks in which {name}",
        prediction=USUALLY,
        draw=lambda first, count: found(agreement.replicates(regime.experiment, first, count)),
        sequence=Counted(start),
        margin={"none": 0.0},
        start=start,
        cap=8 * start,
        role=role,
    )


def told_from_half(share: float, *, start: int, cap: int, error_rate: float) -> float:
    """Power of a `Counted` check: probability, at least, that its look at the cap tells a share above ½ from ½.

    >>> round(told_from_half(0.77, start=24, cap=192, error_rate=1e-6), 3)
    0.992
    """
    looks = 1 + int(np.ceil(np.log2(cap / start)))
    fewest = next(k for k in range(cap // 2, cap + 1) if proportion(k, cap, error_rate=error_rate / 2**looks).lower > 0.5)
    return float(binom.sf(fewest - 1, cap, share))
