"""Estimates with confidence sets over seeds: everything by which a measurement may be judged, under one name.

* Fixed number of seeds (this file): Student and known-σ means, variances, proportions, exact tests of a law.
* Any number of seeds, looked at as often as one likes: ``empirical.sequences``, and their e-values: ``empirical.e_values``.
* Trajectories, all times at once: ``empirical.bands``.
* Rates and limits in the width: ``empirical.rates``.

Each states its assumption in ``method``. None decides anything: whether an estimate agrees with a prediction is judged in ``reports``.
The seed is the unit: samples of one network are averaged before they come here.

A random assertion can be wrong in two ways, and both are bounded. Of a true statement the interval leaves the margin with probability at
most ``error_rate``. One that is off by more than the margin and the full width of the interval (``AgreementRecord.detectable``) is rejected
with probability at least 1 − ``error_rate``. In between nothing is promised, so a test is planned by its width before anything is drawn:

    >>> rng = np.random.default_rng(0)
    >>> def detectable(n_seeds, margin=0.01, sigma=0.1):
    ...     found = known_sigma_mean(rng.normal(0.0, sigma, n_seeds), sigma=sigma, error_rate=1e-6)
    ...     return margin + float(found.upper - found.lower)
    >>> [round(detectable(n), 3) for n in (100, 10000)]
    [0.108, 0.02]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import as_real_array, check_fraction, check_integer, check_real
from empirical.bands import SignFlipTest, sign_flip_test, simultaneous_band
from empirical.e_values import betting_e_value, normal_mixture_e_value, t_mixture_e_value
from empirical.estimates import Estimate, as_samples, exact
from empirical.rates import RateInWidth, rate_in_width
from empirical.sequences import (
    betting_sequence,
    empirical_bernstein_sequence,
    normal_mixture_radius,
    normal_mixture_sequence,
    t_mixture_sequence,
)

__all__ = [
    "Estimate",
    "RateInWidth",
    "SignFlipTest",
    "TestResult",
    "betting_e_value",
    "betting_sequence",
    "binomial_test",
    "empirical_bernstein_sequence",
    "exact",
    "hypergeometric_test",
    "known_sigma_mean",
    "ks_test",
    "mean_interval",
    "normal_mixture_e_value",
    "normal_mixture_radius",
    "normal_mixture_sequence",
    "proportion",
    "rate_in_width",
    "sign_flip_test",
    "simultaneous_band",
    "t_mixture_e_value",
    "t_mixture_sequence",
    "variance_interval",
]


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """A test of a law that is known exactly.

    Attributes:
        statistic: the test statistic.
        p_value: probability of a statistic at least as extreme under the law.
        n_seeds: number of independent replicas.
        method: name of the test with its assumption.
    """

    __test__ = False  # not a pytest class

    statistic: float
    p_value: float
    n_seeds: int
    method: str


def mean_interval(samples: ArrayLike, *, error_rate: float, unit: str = "") -> Estimate:
    """Student t interval for a mean, for a number of seeds fixed before the data.

    Assumes independent seeds whose mean is normal; stopping when the interval looks good voids it (use ``t_mixture_sequence``).

    Args:
        samples: ``[n, …]`` with n ≥ 2; further axes are separate quantities, each at ``error_rate``.
        error_rate: probability of missing the mean.
        unit: unit of the samples.

    Raises:
        ValueError: if samples are not finite or fewer than 2, or the error rate is not in (0, 1).

    Example:
        >>> estimate = mean_interval([1.0, 2.0, 3.0], error_rate=0.05)
        >>> round(estimate.lower, 4), round(estimate.upper, 4)
        (-0.4841, 4.4841)
    """
    from scipy.special import stdtrit

    error_rate = check_fraction(error_rate, "error_rate")
    values = as_samples(samples, minimum=2)
    n = len(values)
    radius = -stdtrit(n - 1, error_rate / 2) * values.std(axis=0, ddof=1) / np.sqrt(n)
    return _around(values.mean(axis=0), radius, error_rate, n, "Student t interval, normal mean, number of seeds fixed in advance", unit)


def known_sigma_mean(samples: ArrayLike, *, sigma: ArrayLike, error_rate: float, unit: str = "") -> Estimate:
    """Normal interval for a mean whose standard deviation per seed is known exactly, for a number of seeds fixed before the data.

    Assumes independent seeds whose mean is normal; for exact finite-width variances the central limit theorem is the only approximation.

    Args:
        samples: ``[n, …]``.
        sigma: exact standard deviation of one sample, positive, a number or an array ``[…]``.
        error_rate: probability of missing the mean.
        unit: unit of the samples.

    Raises:
        ValueError: if samples are not finite, ``sigma`` is not positive or does not fit, or the error rate is not in (0, 1).

    Example:
        >>> round(known_sigma_mean([0.0, 1.0, 2.0, 1.0], sigma=1.0, error_rate=0.05).half_width, 4)
        0.98
    """
    from scipy.special import ndtri

    error_rate = check_fraction(error_rate, "error_rate")
    values = as_samples(samples, minimum=1)
    known = as_real_array(sigma, "sigma").astype(np.float64)
    if not (known > 0).all():
        raise ValueError(f"sigma must be positive, got {known[known <= 0].flat[0]}")
    try:
        scale = np.broadcast_to(known, values.shape[1:])
    except ValueError:
        raise ValueError(f"sigma must fit samples of shape {list(values.shape[1:])}, got shape {list(known.shape)}") from None
    radius = -ndtri(error_rate / 2) * scale / np.sqrt(len(values))
    method = "normal interval with known standard deviation, number of seeds fixed in advance"
    return _around(values.mean(axis=0), radius, error_rate, len(values), method, unit)


def variance_interval(samples: ArrayLike, *, error_rate: float, excess_kurtosis: ArrayLike | None = None, unit: str = "") -> Estimate:
    """Interval for a variance that allows for the tails, for a number of seeds fixed before the data.

    ``ln s² ± z·se`` with ``se² = (γ4 − (n−3)/n)/(n−1)``, γ4 = 3 + excess kurtosis, and Bonett's small-sample factor n/(n−z). γ4 is
    estimated about a trimmed mean unless its exact value is given. Assumes a finite fourth moment and that ln s² is about normal, which is
    asymptotic: at a nominal 5 % it misses 6 % for a normal law at n = 20, and for an exponential one 13 % at n = 20, 9 % at 100, 5 % at
    1000. (The χ²-interval is right for a normal law alone, whatever n.)

    Args:
        samples: ``[n, …]`` with n ≥ 10, and more seeds than 2z.
        error_rate: probability of missing the variance.
        excess_kurtosis: exact excess kurtosis of one sample where it is known, > −2.
        unit: unit of the variance (the square of the samples' unit).

    Returns:
        Estimate of the variance (divisor n − 1).

    Raises:
        ValueError: if samples are not finite, too few or all equal, or a number is out of range.

    Source: Bonett (2006), Approximate confidence interval for standard deviation of nonnormal distributions.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=500)
        >>> variance_interval(draws, error_rate=0.01).contains(1.0)
        True
    """
    from scipy.special import ndtri
    from scipy.stats import trim_mean

    error_rate = check_fraction(error_rate, "error_rate")
    z = -float(ndtri(error_rate / 2))
    values = as_samples(samples, minimum=max(10, int(np.ceil(2 * z))))
    n = len(values)
    variance = values.var(axis=0, ddof=1)
    if not (variance > 0).all():
        raise ValueError("samples must not be all equal to have a variance on a log scale, got variance 0")
    if excess_kurtosis is None:
        centre = trim_mean(values, 1 / (2 * np.sqrt(n - 4)), axis=0)
        deviation = values - values.mean(axis=0)
        kurtosis = n * np.sum((values - centre) ** 4, axis=0) / np.sum(deviation**2, axis=0) ** 2
        method = "log-variance interval with estimated kurtosis (Bonett), asymptotic, number of seeds fixed in advance"
    else:
        kurtosis = 3 + as_real_array(excess_kurtosis, "excess_kurtosis").astype(np.float64)
        if kurtosis.shape not in ((), variance.shape):
            raise ValueError(f"excess_kurtosis must be one number or have shape {list(variance.shape)}, got {list(kurtosis.shape)}")
        if not (kurtosis <= 1e6).all():
            raise ValueError(f"excess_kurtosis must be at most 1e6, got {float(np.max(kurtosis)) - 3:g}")
        if not (kurtosis >= 1).all():
            raise ValueError(f"excess_kurtosis must be at least -2, got {float(np.min(kurtosis)) - 3:g}")
        method = "log-variance interval with known kurtosis, asymptotic, number of seeds fixed in advance"
    factor = n / (n - z)
    error = np.sqrt(np.maximum(kurtosis - (n - 3) / n, 0.0) / (n - 1))
    lower, upper = variance * factor * np.exp(-z * factor * error), variance * factor * np.exp(z * factor * error)
    return Estimate(
        value=variance,
        lower=np.minimum(lower, variance),
        upper=np.maximum(upper, variance),
        confidence=1 - error_rate,
        n_seeds=n,
        method=method,
        unit=unit,
    )


def proportion(successes: int, trials: int, *, error_rate: float) -> Estimate:
    """Clopper-Pearson interval for a probability: exact (conservative) for independent trials, their number fixed before the data.

    Args:
        successes: number of successes, 0 … trials.
        trials: number of independent trials.
        error_rate: probability, at most, of missing the probability.

    Raises:
        ValueError: if a count is not an integer in range or the error rate is not in (0, 1).

    Example:
        >>> estimate = proportion(0, 10, error_rate=0.05)
        >>> estimate.lower, round(estimate.upper, 4)
        (0.0, 0.3085)
    """
    from scipy.special import betaincinv

    error_rate = check_fraction(error_rate, "error_rate")
    trials = check_integer(trials, "trials", minimum=1, maximum=10**9)
    successes = _count(successes, "successes", trials)
    lower = float(betaincinv(successes, trials - successes + 1, error_rate / 2)) if successes else 0.0
    upper = float(betaincinv(successes + 1, trials - successes, 1 - error_rate / 2)) if successes < trials else 1.0
    return Estimate(
        value=successes / trials,
        lower=lower,
        upper=upper,
        confidence=1 - error_rate,
        n_seeds=trials,
        method="Clopper-Pearson interval, independent trials",
    )


def binomial_test(successes: int, trials: int, *, probability: float) -> TestResult:
    """Exact two-sided test that independent trials succeed with a given probability.

    Args:
        successes: number of successes.
        trials: number of independent trials.
        probability: the probability to be tested, in [0, 1].

    Raises:
        ValueError: if a count or the probability is out of range.

    Example:
        >>> round(binomial_test(9, 10, probability=0.5).p_value, 4)
        0.0215
    """
    from scipy.stats import binomtest

    trials = check_integer(trials, "trials", minimum=1, maximum=10**9)
    successes = _count(successes, "successes", trials)
    expected = check_real(probability, "probability")
    if not 0 <= expected <= 1:
        raise ValueError(f"probability must lie in [0, 1], got {probability}")
    p_value = float(binomtest(successes, trials, expected).pvalue)
    return TestResult(
        statistic=successes / trials, p_value=min(p_value, 1.0), n_seeds=trials, method="exact binomial test, independent trials"
    )


def hypergeometric_test(observed: int, *, population: int, marked: int, drawn: int) -> TestResult:
    """Exact two-sided test that ``drawn`` items were taken at random, without replacement, from a population with ``marked`` ones.

    The p-value sums the probabilities of all counts that are no more likely than the one observed.

    Args:
        observed: marked items among those drawn.
        population: number of items.
        marked: number of marked items.
        drawn: number of items drawn.

    Raises:
        ValueError: if a count is out of range.

    Example:
        >>> round(hypergeometric_test(4, population=20, marked=5, drawn=5).p_value, 5)
        0.0049
    """
    from scipy.stats import hypergeom

    population = check_integer(population, "population", minimum=1, maximum=10**9)
    marked, drawn = _count(marked, "marked", population), _count(drawn, "drawn", population)
    observed = _count(observed, "observed", min(marked, drawn))
    least = max(0, drawn + marked - population)
    if observed < least:
        raise ValueError(f"observed must be at least {least} for {marked} marked and {drawn} drawn of {population}, got {observed}")
    probabilities = hypergeom.pmf(np.arange(least, min(marked, drawn) + 1), population, marked, drawn)
    # Equally likely counts may differ by rounding: 1e-9 relative is far above it and far below any true difference of ratios of integers.
    as_extreme = probabilities <= probabilities[observed - least] * (1 + 1e-9)
    return TestResult(
        statistic=float(observed),
        p_value=min(1.0, float(probabilities[as_extreme].sum())),
        n_seeds=drawn,
        method="exact hypergeometric test, draws without replacement",
    )


def ks_test(samples: ArrayLike, cdf: Callable[[NDArray[np.float64]], ArrayLike]) -> TestResult:
    """Kolmogorov-Smirnov test of a law that is given completely, with the exact p-value; number of seeds fixed before the data.

    Exact for a continuous law, conservative where it has atoms.

    Args:
        samples: ``[n]`` independent values.
        cdf: distribution function of the law, vectorised; not fitted to these samples.

    Raises:
        ValueError: if samples are not finite, or ``cdf`` does not give values in [0, 1] that do not fall.

    Example:
        >>> draws = np.random.default_rng(0).uniform(size=200)
        >>> ks_test(draws, lambda x: np.clip(x, 0, 1)).p_value > 1e-3
        True
    """
    if not callable(cdf) or isinstance(cdf, type):
        raise ValueError(f"cdf must be a function of an array, got a value of type {type(cdf).__name__}")
    from scipy.stats import kstwo

    values = as_samples(samples, minimum=1)
    if values.ndim != 1:
        raise ValueError(f"samples must have shape [n] for a test of one law, got shape {list(values.shape)}")
    ordered = np.sort(values)
    n = len(ordered)
    levels = np.asarray(cdf(ordered), dtype=np.float64)
    if levels.shape != ordered.shape or not ((levels >= 0) & (levels <= 1)).all() or (np.diff(levels) < -1e-12).any():
        raise ValueError("cdf must give one value in [0, 1] per sample that does not fall with it, got something else")
    ranks = np.arange(1, n + 1)
    statistic = float(max(np.max(ranks / n - levels), np.max(levels - (ranks - 1) / n)))
    p_value = float(np.clip(kstwo.sf(statistic, n), 0.0, 1.0))
    return TestResult(statistic=statistic, p_value=p_value, n_seeds=n, method="Kolmogorov-Smirnov test, exact, law given completely")


def _around(centre: NDArray[np.float64], radius: NDArray[np.float64], error_rate: float, n_seeds: int, method: str, unit: str) -> Estimate:
    """Estimate of centre ± radius."""
    return Estimate(
        value=centre, lower=centre - radius, upper=centre + radius, confidence=1 - error_rate, n_seeds=n_seeds, method=method, unit=unit
    )


def _count(value: int, name: str, largest: int) -> int:
    """An integer in 0 … largest."""
    count = check_integer(value, name, minimum=0)
    if count > largest:
        raise ValueError(f"{name} must be an integer in 0..{largest}, got {value}")
    return count
