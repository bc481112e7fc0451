"""Drawing seeds until a check is decided: blocks, cap, what INCONCLUSIVE says, and that a fixed-n interval cannot be used."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from reports.agreement import AgreementRecord, Range, Role, Verdict
from reports.sequential import Bounded, Counted, KnownSpread, Normal, Sequence, judge_sequentially


class Supply:
    """Replicates by rule, and which blocks of them were asked for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.blocks = values, list[tuple[int, int]]()

    def __call__(self, first: int, count: int) -> np.ndarray:
        """The next block."""
        self.blocks.append((first, count))
        return self.values[first : first + count]


def judged(
    supply: Supply, *, sequence: Sequence | None = None, prediction: float | Range = 0.0, margin: float = 0.5, **options: int
) -> AgreementRecord:
    return judge_sequentially(
        prediction,
        supply,
        sequence=sequence or Normal(),
        margin=margin,
        claim="D10",
        error_rate=1e-3,
        **({"start": 16, "cap": 256} | options),
    )


def test_a_clear_case_is_decided_at_the_first_look() -> None:
    supply = Supply(0.01 * np.random.default_rng(1).normal(size=300))
    record = judged(supply)
    assert record.verdict is Verdict.AGREES
    assert supply.blocks == [(0, 16)]
    assert record.seeds == 16
    assert "1 look, at most 256 seeds" in record.method


def test_an_undecided_case_draws_consecutive_blocks_that_double_what_there_is() -> None:
    supply = Supply(np.random.default_rng(2).normal(size=300))  # mean 0 to within ½: some 60 seeds decide
    record = judged(supply)
    assert supply.blocks[:3] == [(0, 16), (16, 16), (32, 32)]
    assert [first for first, _ in supply.blocks] == [0, *np.cumsum([count for _, count in supply.blocks])[:-1]]
    assert record.verdict is Verdict.AGREES
    assert record.seeds == sum(count for _, count in supply.blocks)


def test_the_cap_is_kept_and_says_what_could_have_been_seen() -> None:
    supply = Supply(np.random.default_rng(3).normal(size=300) + 0.5)  # exactly on the edge of the margin: no number of seeds decides
    record = judged(supply, cap=200)
    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.seeds == 200
    assert supply.blocks[-1] == (128, 72)
    assert f"a discrepancy of {record.detectable:.3g} would have been seen" in record.describe()
    assert record.detectable == pytest.approx(0.5 + record.interval[1] - record.interval[0])
    assert not judged(supply, cap=200).ok or record.expected is None


def test_a_wrong_statement_is_rejected_with_evidence_to_match() -> None:
    for sequence in (Normal(), KnownSpread(sigma=1.0)):
        record = judged(Supply(np.random.default_rng(4).normal(size=300) + 2.0), sequence=sequence)
        assert record.verdict is Verdict.DISAGREES
        assert record.e_value is not None
        assert record.e_value >= 1000
    record = judged(
        Supply((np.random.default_rng(5).random(300) < 0.8).astype(float)), sequence=Bounded(), prediction=Range(upper=0.5), margin=0.0
    )
    assert record.verdict is Verdict.DISAGREES
    assert record.e_value is not None
    assert record.e_value >= 1000


def test_e_value_of_a_statement_that_holds_is_small() -> None:
    record = judged(Supply(np.random.default_rng(6).normal(size=300)))
    assert record.e_value is not None
    assert record.e_value < 1


def test_same_draws_same_record() -> None:
    values = np.random.default_rng(7).normal(size=300)
    assert judged(Supply(values)) == judged(Supply(values))


def test_role_and_expectation_reach_the_record() -> None:
    supply = Supply(np.random.default_rng(8).normal(size=300) + 3)
    record = judge_sequentially(
        0.0,
        supply,
        sequence=Normal(),
        margin=0.5,
        claim="D10",
        error_rate=1e-3,
        start=16,
        cap=64,
        role=Role.CONTROL,
        name="shifted",
        unit="s",
    )
    assert record.ok
    assert (record.role, record.name, record.unit) == (Role.CONTROL, "shifted", "s")


@pytest.mark.parametrize(
    ("options", "says"),
    [({"start": 0}, "start must be an integer from 1 to 2147483648, got 0"), ({"start": 300}, "got 300 and 256")],
)
def test_numbers_of_replicates_are_checked(options: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        judged(Supply(np.zeros(300)), **options)


def test_a_block_of_the_wrong_length_is_an_error_never_a_shorter_sample() -> None:
    with pytest.raises(ValueError, match=r"draw must give 32 values, one per replicate, got shape \[4\]"):
        judged(Supply(np.random.default_rng(9).normal(size=36)))
    with pytest.raises(ValueError, match=r"got shape \[16, 3\]"):
        judged(Supply(np.zeros((300, 3))))


def test_counted_looks_share_the_error_rate() -> None:
    """Over all sets of indicators with share ½ some look misses ½ with probability at most α: exact, by summing over every path."""
    start, cap, alpha = 4, 32, 0.1
    sequence = Counted(start)
    alive, missed, n = {0: 1.0}, 0.0, 0
    while n < cap:
        block = start if n == 0 else n
        chances = binom.pmf(np.arange(block + 1), block, 0.5)
        n += block
        after: dict[int, float] = {}
        for count, chance in alive.items():
            for more, share in enumerate(chances):
                after[count + more] = after.get(count + more, 0.0) + chance * share
        alive = {}
        for count, chance in after.items():
            found = sequence.estimate(np.repeat([1.0, 0.0], [count, n - count]), alpha, "")
            if found.lower > 0.5 or found.upper < 0.5:
                missed += chance
            else:
                alive[count] = chance
    assert 0 < missed <= alpha


def test_counted_indicators_draw_blocks_until_they_decide() -> None:
    supply = Supply(np.r_[np.ones(15), 0.0, np.ones(300)])
    record = judged(supply, sequence=Counted(16), prediction=Range(lower=0.75), margin=0.0)
    assert record.verdict is Verdict.AGREES
    assert supply.blocks == [(0, 16), (16, 16), (32, 32)]
    assert record.confidence == 1 - 1e-3
    assert record.e_value == 0
    wrong = judged(Supply(np.zeros(300)), sequence=Counted(16), prediction=Range(lower=0.75), margin=0.0)
    assert (wrong.verdict, wrong.e_value) == (Verdict.DISAGREES, 1000)


def test_counted_looks_are_those_of_the_check() -> None:
    with pytest.raises(ValueError, match="start must be that of the looks which share the error rate, 8, got 16"):
        judged(Supply(np.ones(300)), sequence=Counted(8))
    with pytest.raises(ValueError, match="values of counted replicates must be 0 or 1, got others"):
        judged(Supply(np.full(300, 0.5)), sequence=Counted(16))
