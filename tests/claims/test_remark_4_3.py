"""Remark 4.3 [A], [B]: mini-batches drawn independently of the label noise keep a clean majority, and the direction of the update."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from empirical.inference import exact, mean_interval, proportion
from empirical.noise import corrupt_labels_batch
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.estimates import joined
from theory.kernels import ntk
from theory.minibatch import (
    batch_alpha_deviation,
    batch_noise_probabilities,
    class_noise_majority_probability,
    noise_majority_probability,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
EPS = np.finfo(np.float64).eps
NONE = {"none allowed": 0.0}

# The papers' binary setting: about 12 000 digits, δ = 0.4, batches of 256. "≪ 1" is read as below one in twenty.
N, NOISE_LEVEL, BATCH, RARE = 12_000, 0.4, 256, 0.05


@pytest.mark.claim("D5")
@pytest.mark.regime("algebra", "n = 12 000, δ = 0.4, B = 256")
def test_clean_samples_are_the_majority_of_a_batch(agreement: Agreement) -> None:
    """The theory's probabilities against sums of ratios of whole numbers."""
    noisy, size = round(NOISE_LEVEL * N), N // 2
    whole, single = counted(N, noisy, BATCH), counted_per_class(N, size, noisy // 2, BATCH)
    # gammaln of numbers up to N log N carries eps·N log N, relative.
    rounding = 8 * N * np.log(N) * EPS
    agreement.check(
        "P(at least half of a batch is noisy)",
        prediction=noise_majority_probability(N, noisy, batch_size=BATCH),
        estimate=exact(whole),
        margin={"rounding": rounding * whole},
    )
    agreement.check(
        "P(at least half of a class is noisy)",
        prediction=class_noise_majority_probability(N, size, noisy // 2, batch_size=BATCH),
        estimate=exact(single),
        margin={"rounding": rounding * single},
    )
    agreement.check("6.7e-4 for the batch", prediction=6.7e-4, estimate=exact(whole), margin={"last digit given": 0.05e-4})
    agreement.check("0.0119 for a class", prediction=0.0119, estimate=exact(single), margin={"last digit given": 0.5e-4})
    agreement.check("both ≪ 1", prediction=Range(upper=RARE), estimate=exact([whole, single]), margin=NONE)
    agreement.control("batches of 4", prediction=Range(upper=RARE), estimate=exact(counted(N, noisy, 4)), margin=NONE)
    binomial = sum(comb(BATCH, k) * NOISE_LEVEL**k * (1 - NOISE_LEVEL) ** (BATCH - k) for k in range(BATCH // 2, BATCH + 1))
    agreement.control("draws with replacement", prediction=float(binomial), estimate=exact(whole), margin={"rounding": rounding * whole})


@pytest.mark.claim("D5")
@pytest.mark.regime("batches of random permutations", "n = 1200, δ = 0.4, B = 64")
def test_noisy_count_is_hypergeometric(agreement: Agreement) -> None:
    """Batches as stochastic gradient descent takes them: the first 64 of a random order, whatever the labels."""
    rate, n, batch, draws = agreement.error_rate, 1200, 64, 12_000

    def batches(rng: np.random.Generator) -> dict[str, ArrayLike]:
        """Noisy samples per class, and in each batch; whether class 1 has a noisy half there; the count where noisy samples go first."""
        truth = np.repeat([0, 1], n // 2)
        noise = corrupt_labels_batch(truth, NOISE_LEVEL, n_classes=2, seeds=[int(rng.integers(2**31))])[0] != truth
        chosen = np.array([rng.permutation(n)[:batch] for _ in range(draws)])
        one = truth[chosen] == 1
        # Not independent of the noise: noisy samples are a fifth more likely to be drawn first.
        keys = rng.random((2000, n)) * np.where(noise, 0.8, 1.0)
        return {
            "noisy": [noise[truth == c].sum() for c in (0, 1)],
            "counts": noise[chosen].sum(axis=1),
            "noisy half": (2 * (noise[chosen] & one).sum(axis=1) >= np.maximum(1, one.sum(axis=1)))[:4000],
            "first": noise[np.argpartition(keys, batch, axis=1)[:, :batch]].sum(axis=1),
        }

    noisy, counts, noisy_half, first = agreement.drawn("batches", batches).values()
    law = batch_noise_probabilities(n, int(noisy.sum()), batch_size=batch)
    # P(count ≥ k) at five levels; Clopper and Pearson's interval is at most 2.4 normal quantiles of the widest binomial either way here.
    levels = (20, 23, 26, 29, 32)
    tails = np.array([law[k:].sum() for k in levels])
    planned = 2 * (5.1 * np.sqrt(tails * (1 - tails) / draws) + 30 / draws)
    measured = joined([proportion(int((counts >= k).sum()), draws, error_rate=rate / len(levels)) for k in levels])
    margin = {"sampling": planned}
    agreement.check("P(noisy ≥ 20, 23, 26, 29, 32 of 64)", prediction=tails, estimate=measured, margin=margin)
    single = class_noise_majority_probability(n, n // 2, int(noisy[1]), batch_size=batch)
    agreement.check(
        "P(at least half of one class is noisy), class 1",
        prediction=single,
        estimate=proportion(int(noisy_half.sum()), 4000, error_rate=rate),
        margin={"sampling": 2 * (4.9 * np.sqrt(single * (1 - single) / 4000) + 30 / 4000)},
    )
    measured = joined([proportion(int((first >= k).sum()), 2000, error_rate=rate / len(levels)) for k in levels])
    agreement.control("noisy samples first", prediction=tails, estimate=measured, margin=margin)

    # Later, with α_t = 0.98 over all samples, a batch has α̂ = α_t·(noisy/clean)/(δ/(1 − δ)): the sign of 1 − α̂ is a matter of chance.
    late = proportion(int((0.98 * counts * (1 - NOISE_LEVEL) > (batch - counts) * NOISE_LEVEL).sum()), draws, error_rate=rate)
    agreement.control("batches with α̂ > 1 once α_t = 0.98", prediction=Range(upper=RARE), estimate=late, margin=NONE)

    # The share of noise in a batch moves the batch's α: sd(α̂) = α√(f/(Bδ(1 − δ))) to first order; the next is of relative order 1/(Bδ).
    share = counts / (batch - counts) * (1 - NOISE_LEVEL) / NOISE_LEVEL
    deviation = batch_alpha_deviation(1.0, noise_level=NOISE_LEVEL, batch_size=batch, n_samples=n)
    squares = mean_interval((share - share.mean()) ** 2, error_rate=rate)
    agreement.check(
        "variance of α̂/α over batches",
        prediction=deviation**2,
        estimate=squares,
        margin={
            "second order in 1/(Bδ)": 8 * deviation**2 / (batch * NOISE_LEVEL),
            "sampling": 2 * 4.9 * deviation**2 * np.sqrt(3 / draws),
        },
    )


@pytest.mark.claim("D5")
@pytest.mark.parametrize(
    ("name", "classes", "n_train", "noise_level", "batch"),
    [
        pytest.param("clusters", (0, 1), 400, 0.3, 64, id="clusters", marks=pytest.mark.regime("fixed kernel", "clusters")),
        pytest.param("digits", (7, 9), None, 0.3, 128, id="digits-7-9", marks=pytest.mark.regime("fixed kernel", "digits 7/9")),
        pytest.param("mnist", (7, 9), 1000, 0.4, 256, id="mnist-7-9", marks=pytest.mark.regime("fixed kernel", "MNIST 7/9")),
    ],
)
def test_batch_gradients_keep_their_direction(
    agreement: Agreement, name: str, classes: tuple[int, int], n_train: int | None, noise_level: float, batch: int
) -> None:
    """At f = ½: the batch's gradient against that of the same batch with true labels."""
    data = agreement.dataset(name, classes=classes, n_train=n_train)
    truth, draws = data.train_truth, 2000

    def batches(rng: np.random.Generator) -> dict[str, int]:
        """How many batches lack a clean majority; how many turn: of the size stated, of 4, and filled with noisy samples first."""
        kernel = ntk(data.train_inputs.astype(float))
        seeds = rng.choice(2**31, size=draws, replace=False).tolist()
        wrong = corrupt_labels_batch(truth, noise_level, n_classes=2, seeds=seeds) != truth
        chosen = np.argpartition(rng.random((draws, len(truth))), batch, axis=1)[:, :batch]
        masks = np.take_along_axis(wrong, chosen, axis=1)
        noisy_first = np.argsort(~wrong, axis=1, kind="stable")[:, :batch]
        return {
            "minority": sum(lacks_clean_majority(truth[c], f) for c, f in zip(chosen, masks, strict=True)),
            **{
                name: turns_against(kernel, truth, wrong, which)
                for name, which in (("against", chosen), ("small", chosen[:, :4]), ("noisy", noisy_first))
            },
        }

    minority, against, small, noisy = map(int, agreement.drawn("batches", batches).values())
    # One batch in ten without a clean majority in some class still leaves the remark its meaning; such a batch need not turn.
    agreement.hypothesis(
        f"batches of {batch} without a clean majority in each class",
        prediction=Range(upper=0.1),
        estimate=proportion(minority, draws, error_rate=agreement.error_rate),
        margin=NONE,
    )
    agreement.check(
        f"batches of {batch} at an obtuse angle to the gradient with true labels",
        prediction=Range(upper=RARE),
        estimate=proportion(against, draws, error_rate=agreement.error_rate),
        margin=NONE,
    )
    for text, count in (("batches of 4", small), ("noisy samples drawn first", noisy)):
        estimate = proportion(count, draws, error_rate=agreement.error_rate)
        agreement.control(f"{text}: obtuse angles", prediction=Range(upper=RARE), estimate=estimate, margin=NONE)
    agreement.note(f"{against} of {draws} batches of {batch} turn against their true gradient, {small} of as many batches of 4.")


def lacks_clean_majority(truth: NDArray[np.int64], noisy: Mask) -> bool:
    """Whether at least half of the samples of some class are noisy."""
    return any((truth == c).any() and 2 * noisy[truth == c].sum() >= (truth == c).sum() for c in (0, 1))


def turns_against(kernel: Array, truth: NDArray[np.int64], wrong: Mask, chosen: NDArray[np.int64]) -> int:
    """Number of batches ``[draws, B]`` with <∇L(B), ∇L(B̂)> ≤ 0 at f = ½, where residuals are −½ and ½."""
    sign, member = np.where(truth == 1, 1.0, -1.0), np.zeros(wrong.shape)
    np.put_along_axis(member, chosen, 1.0, axis=1)
    clean_labels = member * sign
    return int((np.einsum("bi,bi->b", np.where(wrong, -clean_labels, clean_labels) @ kernel, clean_labels) <= 0).sum())


def counted(n: int, noisy: int, batch: int) -> float:
    """P(at least half of a batch is noisy) as a ratio of whole numbers."""
    ways = sum(comb(noisy, k) * comb(n - noisy, batch - k) for k in range((batch + 1) // 2, batch + 1))
    return float(Fraction(ways, comb(n, batch)))


def counted_per_class(n: int, size: int, noisy: int, batch: int) -> float:
    """P(at least half of a class's samples in a batch are noisy, and there is one): all batches, counted by (noisy, clean, others)."""
    others = [comb(n - size, k) for k in range(batch + 1)]
    dirty = [comb(noisy, k) for k in range(batch + 1)]
    clean = [comb(size - noisy, k) for k in range(batch + 1)]
    ways = 0
    for k in range(1, batch + 1):
        ways += dirty[k] * sum(clean[j] * others[batch - k - j] for j in range(min(k, batch - k) + 1))
    return float(Fraction(ways, comb(n, batch)))
