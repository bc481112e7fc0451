"""Designs of random checks, fixed before the data, and confidence sets that hold for all components of a check at once.

Where a law is known its standard deviation fixes the half-width h of the interval before a network is drawn. A margin of 2h on top of the
theory's own terms then makes both error rates explicit: a statement that holds AGREES unless the estimate misses the truth by more than h
(probability ``error_rate``), and a discrepancy beyond ``detectable`` = 4h plus those terms ends as DISAGREES except with that probability.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from empirical.inference import Estimate, known_sigma_mean, ks_test, variance_interval

__all__ = [
    "Design",
    "at_once",
    "joined",
    "law_design",
    "law_distance",
    "mean_design",
    "means",
    "points_over_curve",
    "relative_variances",
    "variance_design",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """What a check with a fixed number of seeds can resolve.

    Attributes:
        half_width: h, half of the interval's length, ``[k]``.
        resolved: smallest discrepancy that is rejected where the margin has no other terms; 4h unless the interval's length depends on it.
    """

    half_width: Array
    resolved: Array | None = None

    @property
    def margin(self) -> Array:
        """The term "sampling" of the margin: 2h."""
        return 2 * self.half_width

    def detectable(self, **terms: ArrayLike) -> Array:
        """Smallest discrepancy that is rejected with probability ≥ 1 − error_rate: margin + 2h, or `resolved`, and the other terms.

        Args:
            terms: the margin's other terms.
        """
        alone = 2 * self.half_width + self.margin if self.resolved is None else self.resolved
        return alone + sum((np.asarray(term, float) for term in terms.values()), np.zeros(()))


def at_once(estimate: Estimate) -> Estimate:
    """The same intervals as one joint statement on their k components: the error rate is k times that of one (Bonferroni)."""
    k = np.size(estimate.value)
    return replace(estimate, confidence=1 - k * (1 - estimate.confidence), method=f"{estimate.method}, Bonferroni over {k}")


def joined(estimates: Sequence[Estimate]) -> Estimate:
    """Estimates of single quantities as one joint statement on all of them, for the sum of their error rates."""
    ends = {name: np.array([getattr(one, name) for one in estimates]) for name in ("value", "lower", "upper")}
    return at_once(replace(min(estimates, key=lambda one: one.n_seeds), **ends))


def mean_design(sigma: ArrayLike, *, n_seeds: int, error_rate: float) -> Design:
    """Design of means whose standard deviation per seed is known, all components at once.

    >>> mean_design([1.0, 2.0], n_seeds=400, error_rate=0.1).half_width.round(3).tolist()
    [0.098, 0.196]
    """
    sd = np.asarray(sigma, dtype=float)
    return Design(half_width=-ndtri(error_rate / sd.size / 2) * sd / np.sqrt(n_seeds))


def means(samples: ArrayLike, *, sigma: ArrayLike, error_rate: float, unit: str = "") -> Estimate:
    """Means over the seeds (axis 0), with the intervals that `mean_design` foresees."""
    values = np.asarray(samples)
    sd = np.broadcast_to(np.asarray(sigma, dtype=float), values.shape[1:])
    return at_once(known_sigma_mean(values, sigma=sd, error_rate=error_rate / sd.size, unit=unit))


def variance_design(excess_kurtosis: ArrayLike, *, n_seeds: int, error_rate: float) -> Design:
    """Design of the ratio of a sample variance to the true one, from the exact excess kurtosis of one seed.

    ln(s²/σ²) has standard error e = √((2 + excess kurtosis)/n) to leading order. With s²/σ² in e^{±ze} the interval ends inside e^{±2ze},
    that is inside 1 ± 2h for h = (e^{2ze} − 1)/2. The length grows with the variance: what is rejected is e^{4ze} − 1, above 4h, since
    s²/σ² is then above e^{3ze} and the interval's lower end above e^{2ze}.
    """
    kurtosis = np.asarray(excess_kurtosis, dtype=float)
    z = -ndtri(error_rate / kurtosis.size / 2)
    # Bonett's factor n/(n − z), on the exponent and on the variance, as in `variance_interval`.
    factor = n_seeds / (n_seeds - z)
    logarithm = 2 * z * factor * np.sqrt((2 + kurtosis + 3 / n_seeds) / (n_seeds - 1)) + 2 * np.log(factor)
    return Design(half_width=np.expm1(logarithm) / 2, resolved=np.expm1(2 * logarithm))


def relative_variances(samples: ArrayLike, *, variance: ArrayLike, excess_kurtosis: ArrayLike, error_rate: float) -> Estimate:
    """Sample variances over the seeds (axis 0) in units of the predicted ones, with the intervals that `variance_design` foresees."""
    scaled = np.asarray(samples) / np.sqrt(variance)
    return at_once(variance_interval(scaled, error_rate=error_rate / scaled[0].size, excess_kurtosis=excess_kurtosis))


def points_over_curve(
    name: str, x: Array, estimate: Estimate, margin: ArrayLike, curve: Callable[[Array], Array], grid: Array
) -> dict[str, Array]:
    """Arrays of a "comparison" figure: a smooth prediction, and measurements at some of its points (nan elsewhere: nothing is drawn there).

    Args:
        name: of the series.
        x: where it was measured ``[k]``.
        estimate: what was measured there ``[k]``.
        margin: its margin.
        curve: the prediction as a function of x.
        grid: further points at which the prediction is drawn.
    """
    every = np.union1d(grid, x)
    where = np.searchsorted(every, x)
    columns = {"measured": estimate.value, "lower": estimate.lower, "upper": estimate.upper, "margin": np.broadcast_to(margin, x.shape)}
    arrays = {f"{name}/x": every, f"{name}/prediction": np.asarray(curve(every), dtype=float)}
    for column, values in columns.items():
        arrays[f"{name}/{column}"] = np.full(len(every), np.nan)
        arrays[f"{name}/{column}"][where] = values
    return arrays


def law_distance(samples: ArrayLike, cdf: Callable[[Array], ArrayLike], *, error_rate: float) -> Estimate:
    """Distance sup|F − F₀| between the law F of one seed and a law F₀ that is given completely.

    The empirical law is within ε = √(ln(2/error_rate)/(2n)) of F, whatever F is (Dvoretzky, Kiefer and Wolfowitz, with Massart's
    constant), so that the interval D ± ε about the Kolmogorov-Smirnov statistic D is exact at every n.

    >>> distance = law_distance(np.random.default_rng(0).uniform(size=4000), lambda x: x, error_rate=0.01)
    >>> distance.lower, round(distance.upper - distance.value, 4)
    (0.0, 0.0257)
    """
    test = ks_test(samples, cdf)
    epsilon = float(law_design(n_seeds=test.n_seeds, error_rate=error_rate).half_width)
    return Estimate(
        value=test.statistic,
        lower=max(0.0, test.statistic - epsilon),
        upper=test.statistic + epsilon,
        confidence=1 - error_rate,
        n_seeds=test.n_seeds,
        method="Kolmogorov-Smirnov distance, Dvoretzky-Kiefer-Wolfowitz-Massart interval",
    )


def law_design(*, n_seeds: int, error_rate: float) -> Design:
    """Design of `law_distance`: half-width ε."""
    return Design(half_width=np.asarray(np.sqrt(np.log(2 / error_rate) / (2 * n_seeds))))
