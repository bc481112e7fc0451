"""Calibration of the verdicts: every decision rule run again and again on data that the theory itself makes, false alarms counted.

They run at an inflated error rate (5 %; power at 1 %), so that their errors can be counted: 1000 repetitions or more in the quick tier,
ten times as many with ``--tier=full``. A count fails the test when so many have a probability below 1e-6 at the nominal rate, which is
when the Clopper-Pearson interval at that level lies above it: each assertion raises a false alarm with probability at most 1e-6, all of
them together with less than 1e-4. Power at the stated detectable discrepancy is tested in the same way against 0.99.

Laws: K(x, x) of a ReLU network of width m is χ²_2N/m with N ~ Bin(m, ½) (G2); its mean is 1, its variance 3/m, its excess kurtosis 10/m
(one neuron has the moments 1, 4, 24, 192). The logit at initialisation is N(0, 1) in the limit of width, outputs at several inputs are
jointly normal with the NNGP covariance (S6). The log-ratio of the segment gradients is normal about ln((1 − δ)/δ) (I5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import expit

from empirical import inference
from empirical.inference import Estimate, exact, proportion
from reports import sequential
from reports.agreement import Verdict, judge
from tests.support import estimates, paired
from tests.support.coverage import FALSE_ALARM, rng
from theory.finite_width_laws import relu_ntk_diagonal_cdf
from theory.initialization_law import log_ratio_law
from theory.kernels import nngp

Array = NDArray[np.float64]
ALPHA, POWER_RATE, POWER, SHOWN = 0.05, 0.01, 0.99, 0.99
WIDTH = 64
LOG_RATIO = log_ratio_law(0.4, logit_deviation=1.0)
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the detectable discrepancy


@dataclass(frozen=True)
class Book:
    """Where a calibration is written down, and how often it repeats.

    Attributes:
        record: takes a row for the report.
        repetitions: of each rule.
        tier: scale of the run.
    """

    record: Callable[[str, dict[str, Any]], None]
    repetitions: int = 1000
    tier: str = "quick"

    def count(self, rule: str, law: str, measure: str, found: int, *, limit: float, at: float = 0.0, repetitions: int = 0) -> None:
        """Write down a count and fail if it is above what the limit allows."""
        total = repetitions or self.repetitions
        interval = proportion(found, total, error_rate=1 - SHOWN)
        row: dict[str, Any] = {"rule": rule, "law": law, "measure": measure, "at": at, "repetitions": total, "count": found}
        row |= {"rate": interval.value, "lower": interval.lower, "upper": interval.upper, "limit": limit, "confidence": SHOWN}
        self.record("calibration", row | {"tier": self.tier})
        assert stats.binom.sf(found - 1, total, limit) > FALSE_ALARM, f"{rule}: {found} of {total} {measure} at {at:g}, limit {limit}"

    def curve(self, rule: str, law: str, verdicts: Callable[[float], list[Verdict]]) -> None:
        """Shares of the three verdicts against the planted discrepancy; agreement at none and rejection at the detectable one."""
        for at in STEPS:
            found = verdicts(at)
            for verdict in (Verdict.AGREES, Verdict.INCONCLUSIVE, Verdict.DISAGREES):
                limit = {0.0: POWER_RATE, 1.0: 1 - POWER}.get(at, 1.0) if verdict is not _right(at) else 1.0
                self.count(rule, law, f"{verdict} with margin", found.count(verdict), at=at, limit=limit, repetitions=len(found))
            wrong = sum(verdict is not _right(at) for verdict in found)
            if at in (0.0, 1.0):
                limit = POWER_RATE if at == 0 else 1 - POWER
                assert stats.binom.sf(wrong - 1, len(found), limit) > FALSE_ALARM, f"{rule}: {wrong} wrong verdicts at {at:g}"


def _right(at: float) -> Verdict:
    return Verdict.AGREES if at == 0 else Verdict.DISAGREES


SILENT = Book(record=lambda name, row: None, repetitions=400)
"""For the kill matrix, which runs these tests as checks."""


@pytest.fixture
def book(request: pytest.FixtureRequest, trust_record: Callable[[str, dict[str, Any]], None]) -> Book:
    """The book of this run: ten times the repetitions in the full tier."""
    tier = request.config.getoption("--tier")
    return Book(trust_record, 10_000 if tier == "full" else 1000, tier)


def kernels(generator: np.random.Generator, *shape: int, width: int = WIDTH) -> Array:
    """K(x, x) of random ReLU networks by its law."""
    open_gates = generator.binomial(width, 0.5, size=shape)
    return generator.chisquare(np.maximum(2 * open_gates, 1e-300)) / width


def verdict(prediction: ArrayLike, estimate: Estimate, margin: float | Array = 0.0) -> Verdict:
    """What `judge` says."""
    return judge(prediction, estimate, margin={"design": margin}, claim="G2").verdict


def alarms(prediction: ArrayLike, found: list[Estimate]) -> int:
    """DISAGREES without any margin: the interval misses the truth."""
    return sum(verdict(prediction, estimate) is Verdict.DISAGREES for estimate in found)


def test_exact_comparisons(book: Book) -> None:
    """Inner products of 100 numbers against sums without rounding; the margin is n·eps·Σ|xy|."""
    generator = rng(90)
    draws = generator.normal(size=(book.repetitions, 2, 100))
    margin = 100 * np.finfo(float).eps * np.abs(draws[:, 0] * draws[:, 1]).sum(axis=1)
    # Products are split into parts without error by math.fma's means: long double carries 11 more bits than needed here.
    truth = (draws[:, 0].astype(np.longdouble) * draws[:, 1]).sum(axis=1).astype(float)

    def verdicts(at: float) -> list[Verdict]:
        measured = [float(x @ y) for x, y in draws]
        return [verdict(t, exact(m + at * 2 * tol), tol) for t, m, tol in zip(truth, measured, margin, strict=True)]

    book.curve("exact", "inner products in float64", verdicts)


def test_means(book: Book) -> None:
    """Student's interval where the law is normal, the interval with known σ where it is not, both for a number of seeds fixed before."""
    generator, count = rng(91), book.repetitions
    draws = LOG_RATIO.mean_log + LOG_RATIO.deviation * generator.standard_normal((count, 20))
    found = [inference.mean_interval(row, error_rate=ALPHA) for row in draws]
    book.count("mean_interval", "log-ratio at initialisation, n = 20", "false alarms", alarms(LOG_RATIO.mean_log, found), limit=ALPHA)
    sigma = np.sqrt(3 / WIDTH)
    found = [inference.known_sigma_mean(row, sigma=sigma, error_rate=ALPHA) for row in kernels(generator, count, 100)]
    book.count("known_sigma_mean", "K(x, x) at m = 64, n = 100", "false alarms", alarms(1.0, found), limit=ALPHA)

    design = estimates.mean_design(sigma, n_seeds=100, error_rate=POWER_RATE)
    margin, detectable = float(design.margin), float(design.detectable())

    def verdicts(at: float) -> list[Verdict]:
        shifted = kernels(generator, count, 100) + at * detectable
        return [verdict(1.0, estimates.means(row, sigma=sigma, error_rate=POWER_RATE), margin) for row in shifted]

    book.curve("mean design", "K(x, x) at m = 64, n = 100", verdicts)


def test_joint_intervals_hold_at_once(book: Book) -> None:
    """Ten widths judged as one statement: a miss of any counts."""
    generator, count, components = rng(92), book.repetitions, 10
    widths = 16 * np.arange(1, components + 1)
    sigma = np.sqrt(3 / widths)
    found = []
    for _ in range(count):
        rows = np.stack([kernels(generator, 60, width=int(m)) for m in widths], axis=1)
        found.append(estimates.means(rows, sigma=sigma, error_rate=ALPHA))
    assert all(estimate.confidence == pytest.approx(1 - ALPHA, abs=1e-12) for estimate in found)
    singles = [inference.known_sigma_mean(np.zeros(4), sigma=1.0, error_rate=ALPHA / components) for _ in range(components)]
    assert estimates.joined(singles).confidence == pytest.approx(1 - ALPHA, abs=1e-12)
    book.count("joint means", "K(x, x) at ten widths, n = 60", "false alarms", alarms(np.ones(components), found), limit=ALPHA)


def test_variances(book: Book) -> None:
    """Bonett's interval with known kurtosis; asymptotic, within 1 % of its level at n = 1000."""
    generator, count = rng(93), book.repetitions
    options: dict[str, Any] = {"variance": 3 / WIDTH, "excess_kurtosis": 10 / WIDTH}
    found = [
        inference.variance_interval(row, error_rate=ALPHA, excess_kurtosis=10 / WIDTH)
        for block in range(count // 100)
        for row in kernels(generator, 100, 1000)
    ]
    book.count("variance_interval", "K(x, x) at m = 64, n = 1000", "false alarms", alarms(3 / WIDTH, found), limit=ALPHA + 0.01)
    design = estimates.variance_design(10 / WIDTH, n_seeds=1000, error_rate=POWER_RATE)
    margin, detectable = float(design.margin), float(design.detectable())

    def verdicts(at: float) -> list[Verdict]:
        found = []
        for row in kernels(generator, count, 1000):
            scaled = 1 + (row - 1) * np.sqrt(1 + at * detectable)
            found.append(verdict(1.0, estimates.relative_variances(scaled, error_rate=POWER_RATE, **options), margin))
        return found

    book.curve("variance design", "K(x, x) at m = 64, n = 1000", verdicts)


def test_proportions(book: Book) -> None:
    """Share of networks in which clean dominates one class, P = 0.657 at δ = 0.4."""
    truth = LOG_RATIO.probability_clean_dominates
    counts = rng(94).binomial(200, truth, size=book.repetitions)
    found = [proportion(int(k), 200, error_rate=ALPHA) for k in counts]
    book.count("proportion", "clean dominates, n = 200", "false alarms", alarms(truth, found), limit=ALPHA)


@pytest.mark.parametrize("method", ["bonferroni-t", "max-t"])
def test_bands(book: Book, method: str) -> None:
    """Outputs of one network at 24 inputs on a half-circle: jointly normal, strongly dependent. A miss anywhere counts."""
    angle = np.linspace(0, np.pi, 24)
    covariance = nngp(np.stack([np.cos(angle), np.sin(angle)], axis=1), depth=2)
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(24))
    draws = rng(95).standard_normal((book.repetitions, 20, 24)) @ root.T
    found = [inference.simultaneous_band(rows, error_rate=ALPHA, method=method, n_resamples=400, seed=k) for k, rows in enumerate(draws)]
    # Max-t takes its critical value from the seeds themselves; with 20 seeds the excess over the nominal rate is below 2 %.
    limit = ALPHA if method == "bonferroni-t" else ALPHA + 0.02
    book.count(f"simultaneous_band, {method}", "outputs at 24 inputs, n = 20", "false alarms", alarms(np.zeros(24), found), limit=limit)


def test_distance_of_laws(book: Book) -> None:
    """The law of K(x, x) at m = 16 against itself, and with a share of draws moved above all others, which is the distance."""
    generator, n = rng(96), 300
    points = np.linspace(0, 12, 6001)
    levels = relu_ntk_diagonal_cdf(points, width=16)  # interpolated: (12/6000)²/8·max|φ′| < 1e-6, far below the radius 0.08

    def draws() -> Array:
        return np.interp(kernels(generator, book.repetitions, n, width=16), points, levels)

    found = [estimates.law_distance(row, lambda u: u, error_rate=ALPHA) for row in draws()]
    book.count("law_distance", "law of K(x, x) at m = 16, n = 300", "false alarms", alarms(0.0, found), limit=ALPHA)
    design = estimates.law_design(n_seeds=n, error_rate=POWER_RATE)
    margin, detectable = float(design.margin), float(design.detectable())

    def verdicts(at: float) -> list[Verdict]:
        moved = np.where(generator.random((book.repetitions, n)) < at * detectable, 1.0, draws())
        return [verdict(0.0, estimates.law_distance(row, lambda u: u, error_rate=POWER_RATE), margin) for row in moved]

    book.curve("law design", "law of K(x, x) at m = 16, n = 300", verdicts)


def test_rates_in_width(book: Book) -> None:
    """Sd K(x, x) ∝ m^−½ exactly, and E K(x, x) = 1: exponent and limit from 100 networks at each of four widths."""
    generator, widths = rng(97), (16, 64, 256, 1024)
    exponents, limits = [], []
    for _ in range(book.repetitions):
        rate = inference.rate_in_width(widths, [kernels(generator, 100, width=m) for m in widths], error_rate=ALPHA)
        exponents.append(rate.exponent)
        limits.append(rate.limit)
    # Student's quantile for errors on a log scale costs up to 2 % of coverage at 100 replicates (heavy tails at m = 16).
    book.count("rate_in_width, exponent", "sd K(x, x), n = 100", "false alarms", alarms(-0.5, exponents), limit=ALPHA + 0.02)
    book.count("rate_in_width, limit", "E K(x, x), n = 100", "false alarms", alarms(1.0, limits), limit=ALPHA + 0.02)
    excluded = sum(verdict(-0.25, estimate) is Verdict.DISAGREES for estimate in exponents)
    book.count("rate_in_width, exponent", "−1/4 for −1/2", "not DISAGREES", book.repetitions - excluded, limit=1 - POWER, at=1.0)


def stopped(path: Estimate, prediction: float, margin: float) -> list[Verdict]:
    """Optional stopping: look after every seed, stop at the first look that agrees or disagrees; INCONCLUSIVE at the cap."""
    lower, upper = np.asarray(path.lower), np.asarray(path.upper)
    outside = (lower > prediction + margin) | (upper < prediction - margin)
    inside = (lower >= prediction - margin) & (upper <= prediction + margin)
    decided = outside | inside
    first = np.argmax(decided, axis=0)
    columns = np.arange(lower.shape[1])
    said = np.where(outside[first, columns], Verdict.DISAGREES, Verdict.AGREES)
    return [Verdict(v) for v in np.where(decided.any(axis=0), said, Verdict.INCONCLUSIVE)]


def test_stopping_decides_as_judge_does() -> None:
    draws = rng(98).normal(0.3, 1.0, size=(30, 40))
    path = inference.t_mixture_sequence(draws, error_rate=ALPHA, path=True)
    for column, said in enumerate(stopped(path, 0.0, 0.2)):
        seen = Verdict.INCONCLUSIVE
        for look in range(30):
            ends = (float(np.asarray(end)[look, column]) for end in (path.value, path.lower, path.upper))
            value, lower, upper = ends
            seen = verdict(0.0, Estimate(value=value, lower=lower, upper=upper, confidence=0.95, n_seeds=look + 1, method="t"), 0.2)
            if seen is not Verdict.INCONCLUSIVE:
                break
        assert seen is said


SEQUENCES = ("betting_sequence", "empirical_bernstein_sequence", "normal_mixture_sequence", "t_mixture_sequence")


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_under_optional_stopping(book: Book, name: str) -> None:
    """Outputs f(w0; x) = σ(h), mean ½ (bounded), or logits h ~ N(0, 1): a miss at any of 40 looks counts; then a discrepancy, stopping."""
    generator, looks = rng(99, SEQUENCES.index(name)), 40
    bounded = name in SEQUENCES[:2]
    options: dict[str, Any] = {"sigma": 1.0} if name == "normal_mixture_sequence" else {}

    def path(shift: float, error_rate: float, length: int) -> Estimate:
        logits = generator.standard_normal((length, book.repetitions))
        # A shift of the mean output: a share of the networks gives 1 instead.
        draws = np.where(generator.random(logits.shape) < 2 * shift, 1.0, expit(logits)) if bounded else logits + shift
        return getattr(inference, name)(draws, error_rate=error_rate, path=True, **options)  # type: ignore[no-any-return]

    truth = 0.5 if bounded else 0.0
    law = "outputs at initialisation" if bounded else "logits at initialisation"
    lower, upper = (np.asarray(end) for end in (lambda p: (p.lower, p.upper))(path(0.0, ALPHA, looks)))
    missed = int(((lower > truth) | (upper < truth)).any(axis=0).sum())
    book.count(name, f"{law}, {looks} looks", "false alarms at any look", missed, limit=ALPHA)
    if name == "betting_sequence":
        return  # a path of 150 looks costs a minute; its power curve is that of test_drawing_seeds_until_decided
    # Half-width h at the cap (bounded: of a law with this variance), margin 2h, detectable 4h, as for a fixed number of seeds.
    length = 150
    half = 1.2 * float(np.median(np.asarray(path(0.0, POWER_RATE, length).half_width)[-1]))

    def verdicts(at: float) -> list[Verdict]:
        return stopped(path(at * 4 * half, POWER_RATE, length), truth, 2 * half)

    book.curve(f"{name}, stopping", f"{law}, cap {length}", verdicts)


BLOCKS = (32, 64, 128, 256)  # numbers of seeds at the looks of a check that starts with 32 and may draw up to 256
KINDS: dict[str, sequential.Sequence] = {
    "betting": sequential.Bounded(),
    "counted": sequential.Counted(BLOCKS[0]),
    "normal mixture": sequential.KnownSpread(sigma=1.0),
    "Student mixture": sequential.Normal(),
}


SHARES = ("betting", "counted")  # kinds that judge a probability; the others judge the mean of a normal law


def seeds_for(kind: str, generator: np.random.Generator, repetitions: int, shift: float) -> Array:
    """``[256, repetitions]``: whether clean dominates a class (P = 0.657 at δ = 0.4), or logits at initialisation, of shifted mean."""
    shape = (BLOCKS[-1], repetitions)
    if kind in SHARES:
        return (generator.random(shape) < LOG_RATIO.probability_clean_dominates + shift).astype(float)
    return generator.standard_normal(shape) + shift


def looks_of(kind: str, draws: Array, error_rate: float) -> Estimate:
    """The intervals at the four looks, for all repetitions at once ``[4, repetitions]``."""
    estimator: Callable[..., Estimate] = {
        "betting": inference.betting_sequence,
        "counted": counted_intervals,
        "normal mixture": lambda x, error_rate: inference.normal_mixture_sequence(x, error_rate=error_rate, sigma=1.0),
        "Student mixture": inference.t_mixture_sequence,
    }[kind]
    found = [estimator(draws[:n], error_rate=error_rate) for n in BLOCKS]
    ends = {name: np.stack([getattr(one, name) for one in found]) for name in ("value", "lower", "upper")}
    return Estimate(**ends, confidence=1 - error_rate, n_seeds=BLOCKS[-1], method=kind)


def counted_intervals(draws: Array, *, error_rate: float) -> Estimate:
    """`Counted` at one look, all repetitions at once: its interval for each number of ones that there can be."""
    rule, n = sequential.Counted(BLOCKS[0]), len(draws)
    table = [rule.estimate((np.arange(n) < ones).astype(float), error_rate, "") for ones in range(n + 1)]
    ends = {name: np.array([getattr(one, name) for one in table])[draws.sum(axis=0).astype(int)] for name in ("value", "lower", "upper")}
    return Estimate(**ends, confidence=1 - error_rate, n_seeds=n, method="counted")


@pytest.mark.parametrize("kind", KINDS)
def test_drawing_seeds_until_decided(book: Book, kind: str) -> None:
    """What `judge_sequentially` does: 32 seeds, then as many again while the verdict is open, 256 at most."""
    generator, count = rng(101, sorted(KINDS).index(kind)), book.repetitions
    truth = LOG_RATIO.probability_clean_dominates if kind in SHARES else 0.0
    law = "clean dominates" if kind in SHARES else "logits at initialisation"
    without_margin = stopped(looks_of(kind, seeds_for(kind, generator, count, 0.0), ALPHA), truth, 0.0)
    book.count(
        f"judge_sequentially, {kind}", f"{law}, 32 to 256 seeds", "false alarms", without_margin.count(Verdict.DISAGREES), limit=ALPHA
    )
    # Half-width h at the cap, margin 2h, detectable 4h, as for a fixed number of seeds.
    half = 1.1 * float(np.median(np.asarray(looks_of(kind, seeds_for(kind, generator, count, 0.0), POWER_RATE).half_width)[-1]))
    assert kind not in SHARES or truth - 4 * half > 0

    def verdicts(at: float) -> list[Verdict]:
        return stopped(looks_of(kind, seeds_for(kind, generator, count, -at * 4 * half), POWER_RATE), truth, 2 * half)

    book.curve(f"judge_sequentially, {kind}", f"{law}, 32 to 256 seeds", verdicts)


@pytest.mark.parametrize("kind", KINDS)
def test_looks_decide_as_judge_sequentially_does(kind: str) -> None:
    generator = rng(102, sorted(KINDS).index(kind))
    draws = np.concatenate([seeds_for(kind, generator, 8, shift) for shift in (0.0, -0.2, -0.45)], axis=1)
    truth = LOG_RATIO.probability_clean_dominates if kind in SHARES else 0.0
    said = stopped(looks_of(kind, draws, ALPHA), truth, 0.2)
    assert len(set(said)) > 1
    for column, wanted in zip(draws.T, said, strict=True):
        record = sequential.judge_sequentially(
            truth,
            lambda first, count, column=column: column[first : first + count],  # type: ignore[misc]
            sequence=KINDS[kind],
            margin=0.2,
            claim="I5",
            error_rate=ALPHA,
            start=BLOCKS[0],
            cap=BLOCKS[-1],
        )
        assert record.verdict is wanted


def test_paired_intervals(book: Book) -> None:
    """Replicates that share a label draw with their prediction: predictions scatter ten times as much as differences do."""
    generator, count, n, spread = rng(100), book.repetitions, 32, 0.1
    predictions = LOG_RATIO.mean_log + LOG_RATIO.deviation * generator.standard_normal((count, n))
    noise = spread * generator.standard_normal((count, n))
    pairs = [paired.paired(p + e, p, error_rate=ALPHA) for p, e in zip(predictions, noise, strict=True)]
    missed = sum(verdict(target, estimate) is Verdict.DISAGREES for target, estimate in pairs)
    book.count("paired", "log-ratio against its own prediction, n = 32", "false alarms", missed, limit=ALPHA)
    # Two half-widths as planned and two more; the spread of the replicates makes half-widths vary by 1/√(2·31) = 13 %.
    margin = paired.label_draws(spread, replicates=n, error_rate=POWER_RATE)
    detectable = 2 * 1.4 * margin

    def verdicts(at: float) -> list[Verdict]:
        pairs = [paired.paired(p + e + at * detectable, p, error_rate=POWER_RATE) for p, e in zip(predictions, noise, strict=True)]
        return [verdict(target, estimate, margin) for target, estimate in pairs]

    book.curve("paired", "log-ratio against its own prediction, n = 32", verdicts)
