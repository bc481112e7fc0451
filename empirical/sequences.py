"""Confidence sequences: intervals for a mean that hold at every number of seeds at once, so that one may look, and stop, at any time.

``P(for some n the interval misses the mean) ≤ error_rate`` under the stated assumption. The seeds are axis 0 in the order drawn; further
axes are separate quantities, each with its own sequence at that error rate. With ``path=True`` the estimate holds the intervals for
1 … n seeds on axis 0, otherwise the last one.

Sources: Robbins (1970), Statistical methods related to the law of the iterated logarithm; Waudby-Smith and Ramdas (2024), Estimating means
of bounded random variables by betting, Thms 2 and 3; Wang and Ramdas (2023), Anytime-valid t-tests and confidence sequences for Gaussian
means with unknown variance; Waudby-Smith et al. (2024), Time-uniform central limit theory and asymptotic confidence sequences.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import as_real_array, check_flag, check_fraction, check_integer, check_positive, check_real
from empirical.estimates import Estimate, as_samples

__all__ = [
    "betting_sequence",
    "empirical_bernstein_sequence",
    "normal_mixture_radius",
    "normal_mixture_sequence",
    "t_mixture_sequence",
]

_BISECTIONS = 44  # halves [0, 1] to 6e-14; the outer end of the last bracket is reported, so rounding never shortens an interval
_BLOCK = 1 << 22  # numbers held at once by a path of the betting sequence


def betting_sequence(
    samples: ArrayLike,
    *,
    error_rate: float,
    lower_bound: float = 0.0,
    upper_bound: float = 1.0,
    path: bool = False,
    unit: str = "",
) -> Estimate:
    """Hedged betting sequence for the mean of bounded quantities: no assumption but the bounds and a common conditional mean.

    A gambler bets that the mean is above m, another that it is below; m stays in the interval while neither has multiplied the capital by
    2/error_rate. Bets are the predictable plug-in ones, cut at 3/4 of the largest allowed, so that the capital is monotone in m and the set
    is an interval, found by bisection rather than on a grid. The value is the sample mean, moved to the nearer end where it lies outside.

    Args:
        samples: ``[n, …]`` within the bounds.
        error_rate: probability of ever missing the mean.
        lower_bound: least possible value.
        upper_bound: largest possible value.
        path: give the intervals for 1 … n seeds.
        unit: unit of the samples.

    Raises:
        ValueError: if a sample is outside the bounds or not finite, or the error rate is not in (0, 1).

    Source: Waudby-Smith and Ramdas (2024), Thm 3.

    Example:
        >>> cosines = np.random.default_rng(0).uniform(-1, 1, size=200)
        >>> betting_sequence(cosines, error_rate=0.01, lower_bound=-1, upper_bound=1).contains(0.0)
        True
    """
    error_rate = check_fraction(error_rate, "error_rate")
    unit_samples, width = _to_unit_interval(samples, lower_bound, upper_bound)
    n = len(unit_samples)
    flat = unit_samples.reshape(n, -1)
    bets = _bets(flat, error_rate, cut=np.inf)
    looks = np.arange(1, n + 1) if check_flag(path, "path") else np.array([n])
    lower = _betting_lower(flat, bets, looks, error_rate)
    upper = 1 - _betting_lower(1 - flat, bets, looks, error_rate)
    mean = (np.cumsum(flat, axis=0) / np.arange(1, n + 1)[:, None])[looks - 1]
    # If both gamblers win everywhere the set is empty (the assumption fails, or the error happened); [upper, lower] is then reported.
    lower, upper = np.minimum(lower, upper), np.maximum(lower, upper)
    return _scaled(
        np.clip(mean, lower, upper),
        lower,
        upper,
        shape=unit_samples.shape[1:],
        path=path,
        offset=lower_bound,
        width=width,
        error_rate=error_rate,
        n_seeds=n,
        method=f"betting confidence sequence, values in [{lower_bound:g}, {upper_bound:g}]",
        unit=unit,
    )


def empirical_bernstein_sequence(
    samples: ArrayLike,
    *,
    error_rate: float,
    lower_bound: float = 0.0,
    upper_bound: float = 1.0,
    path: bool = False,
    unit: str = "",
) -> Estimate:
    """Empirical-Bernstein sequence for the mean of bounded quantities: closed form, a little wider than betting.

    The value is the centre of the sequence, the mean weighted by the predictable weights.

    Args:
        samples: ``[n, …]`` within the bounds.
        error_rate: probability of ever missing the mean.
        lower_bound: least possible value.
        upper_bound: largest possible value.
        path: give the intervals for 1 … n seeds.
        unit: unit of the samples.

    Raises:
        ValueError: if a sample is outside the bounds or not finite, or the error rate is not in (0, 1).

    Source: Waudby-Smith and Ramdas (2024), Thm 2.

    Example:
        >>> indicators = np.random.default_rng(0).integers(0, 2, size=400)
        >>> empirical_bernstein_sequence(indicators, error_rate=0.01).contains(0.5)
        True
    """
    error_rate = check_fraction(error_rate, "error_rate")
    unit_samples, width = _to_unit_interval(samples, lower_bound, upper_bound)
    n = len(unit_samples)
    flat = unit_samples.reshape(n, -1)
    weights = _bets(flat, error_rate, cut=0.5)
    earlier_mean, _ = _predictable_moments(flat)
    penalty = np.cumsum((flat - earlier_mean) ** 2 * (-np.log1p(-weights) - weights), axis=0)
    total = np.cumsum(weights, axis=0)
    centre = np.cumsum(weights * flat, axis=0) / total
    radius = (np.log(2 / error_rate) + penalty) / total
    lower, upper = np.maximum(centre - radius, 0.0), np.minimum(centre + radius, 1.0)
    if not check_flag(path, "path"):
        centre, lower, upper = centre[-1:], lower[-1:], upper[-1:]
    return _scaled(
        np.clip(centre, lower, upper),
        lower,
        upper,
        shape=unit_samples.shape[1:],
        path=path,
        offset=lower_bound,
        width=width,
        error_rate=error_rate,
        n_seeds=n,
        method=f"empirical-Bernstein confidence sequence, values in [{lower_bound:g}, {upper_bound:g}]",
        unit=unit,
    )


def normal_mixture_radius(n: ArrayLike, *, error_rate: float, tuned_at: int = 30) -> NDArray[np.float64]:
    """Half-width, in standard deviations, of the normal-mixture sequence after n seeds; for planning how many seeds suffice.

    ``√(2(nρ²+1)/(n²ρ²)·ln(√(nρ²+1)/α))`` with ρ² chosen so that it is least, among all ρ², at n = ``tuned_at``: ``√(w/n)`` there, with
    w − ln w = 1 + 2 ln(1/α).

    Args:
        n: numbers of seeds, at least 1.
        error_rate: α, the probability of ever missing.
        tuned_at: number of seeds for which the sequence is made as narrow as it can be; to be chosen before the data.

    Raises:
        ValueError: if n is below 1, the error rate is not in (0, 1), or ``tuned_at`` is not a positive integer.

    Source: Robbins (1970).

    Example:
        >>> normal_mixture_radius([10, 100], error_rate=0.05).round(3)
        array([0.999, 0.311])
    """
    error_rate = check_fraction(error_rate, "error_rate")
    counts = as_real_array(n, "n").astype(np.float64)
    if counts.size == 0 or not (counts >= 1).all():
        raise ValueError(f"n must be numbers of seeds >= 1, got {' '.join(repr(n).split())[:80]}")
    spread = _mixture_precision(error_rate, tuned_at)
    inner = counts * spread + 1
    radius: NDArray[np.float64] = np.sqrt(2 * inner / (counts**2 * spread) * (np.log(inner) / 2 - np.log(error_rate)))
    return radius


def normal_mixture_sequence(
    samples: ArrayLike,
    *,
    error_rate: float,
    sigma: ArrayLike | None = None,
    tuned_at: int = 30,
    path: bool = False,
    unit: str = "",
) -> Estimate:
    """Normal-mixture sequence for a mean: exact for sub-Gaussian samples with known ``sigma``, asymptotic without it.

    With ``sigma`` the assumption is that each sample minus the mean is sub-Gaussian with that standard deviation (normal with at most that
    variance, for one). Without it the sample standard deviation is put in its place, and coverage holds only in the limit of many seeds
    at the first look: too small below about 50 seeds; prefer ``t_mixture_sequence`` there.

    Args:
        samples: ``[n, …]``; n ≥ 2 without ``sigma``.
        error_rate: probability of ever missing the mean.
        sigma: known standard deviation, a positive number or an array ``[…]``; None for the plug-in.
        tuned_at: number of seeds for which the sequence is made as narrow as it can be; to be chosen before the data.
        path: give the intervals for 1 … n seeds.
        unit: unit of the samples.

    Raises:
        ValueError: if samples or ``sigma`` are not finite, ``sigma`` is not positive, or there are too few seeds.

    Source: Robbins (1970); without sigma Waudby-Smith et al. (2024), Thm 2.2.

    Example:
        >>> draws = np.random.default_rng(0).normal(size=100)
        >>> normal_mixture_sequence(draws, error_rate=0.01, sigma=1.0).contains(0.0)
        True
    """
    values = as_samples(samples, minimum=1 if sigma is not None else 2)
    n = len(values)
    counts = np.arange(1, n + 1).reshape(-1, *([1] * (values.ndim - 1)))
    mean, variance = _running_moments(values)
    if sigma is None:
        method = "normal-mixture confidence sequence, plug-in standard deviation (asymptotic)"
        scale = np.sqrt(variance)
        scale[0] = np.inf  # one sample says nothing about the spread
    else:
        known = as_real_array(sigma, "sigma").astype(np.float64)
        if not (known > 0).all():
            raise ValueError(f"sigma must be positive and finite, got {' '.join(repr(sigma).split())[:80]}")
        try:
            scale = np.broadcast_to(known, values.shape)
        except ValueError:
            raise ValueError(f"sigma must fit samples of shape {list(values.shape[1:])}, got shape {list(known.shape)}") from None
        method = "normal-mixture confidence sequence, sub-Gaussian samples with known standard deviation"
    radius = scale * normal_mixture_radius(counts, error_rate=error_rate, tuned_at=tuned_at)
    return _centred(mean, radius, path=path, error_rate=error_rate, method=method, unit=unit)


def t_mixture_sequence(samples: ArrayLike, *, error_rate: float, tuned_at: int = 30, path: bool = False, unit: str = "") -> Estimate:
    """Student-type sequence for the mean of normal samples with unknown variance: exact at every n, the sequential form of the t-interval.

    The effect size is mixed over N(0, 1/c²) in the scale-free likelihood ratio, which is 1 on average under the null:
    ``M_n(m) = √(c²/(n+c²))·(V/(V − S²/(n+c²)))^{n/2}`` with S = Σ(x−m), V = Σ(x−m)². Solving M_n(m) < 1/α gives
    ``|x̄−m| < s·√((A−1)/(1 − A c²/(n+c²)))`` with A = ((n+c²)/c²)^{1/n}·α^{−2/n} and s² the variance with divisor n; all of the line while
    A c² ≥ n + c², that is, for the first few seeds.

    Args:
        samples: ``[n, …]``, independent normal.
        error_rate: probability of ever missing the mean.
        tuned_at: number of seeds for which the sequence is made about as narrow as it can be; to be chosen before the data.
        path: give the intervals for 1 … n seeds.
        unit: unit of the samples.

    Raises:
        ValueError: if samples are not finite or the error rate is not in (0, 1).

    Source: Wang and Ramdas (2023), after Lai (1976).

    Example:
        >>> draws = np.random.default_rng(0).normal(3.0, 2.0, size=40)
        >>> t_mixture_sequence(draws, error_rate=0.01).contains(3.0)
        True
    """
    error_rate = check_fraction(error_rate, "error_rate")
    values = as_samples(samples, minimum=1)
    n = len(values)
    precision = 1 / _mixture_precision(error_rate, tuned_at)  # c²
    counts = np.arange(1, n + 1)
    log_a = (np.log1p(counts / precision) - 2 * np.log(error_rate)) / counts
    # With A = e^{log_a}: 1 − A c²/(n+c²), and A − 1, without overflow for the first seeds.
    denominator = -np.expm1(log_a - np.log1p(counts / precision))
    with np.errstate(over="ignore"):
        factor = np.sqrt(np.expm1(log_a) / np.where(denominator > 0, denominator, np.nan))
    factor = np.where(denominator > 0, factor, np.inf).reshape(-1, *([1] * (values.ndim - 1)))
    mean, variance = _running_moments(values)
    shape = [-1] + [1] * (values.ndim - 1)
    spread = np.sqrt(variance * ((counts - 1) / counts).reshape(shape))
    radius = np.full(values.shape, np.inf)
    finite = np.broadcast_to(np.isfinite(factor), values.shape)
    radius[finite] = (spread * np.where(np.isfinite(factor), factor, 0.0))[finite]
    method = "Student mixture confidence sequence, normal samples with unknown variance"
    return _centred(mean, radius, path=path, error_rate=error_rate, method=method, unit=unit)


def _mixture_precision(error_rate: float, tuned_at: int) -> float:
    """ρ² of the normal mixture that is narrowest at n = ``tuned_at``: nρ² + 1 = −W₋₁(−α²/e)."""
    from scipy.special import lambertw

    tuned_at = check_integer(tuned_at, "tuned_at", minimum=1)
    argument = -(error_rate**2) / np.e
    # Below 1e-300 the Lambert function's argument underflows; its expansion −W₋₁(−ε) ≈ L + ln L with L = −ln ε is then good to 1e-3.
    exponent = 1 - 2 * np.log(error_rate)
    solution = -float(lambertw(argument, -1).real) if argument < -1e-300 else exponent + np.log(exponent)
    return (solution - 1) / tuned_at


def _running_moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance (divisor k − 1, 0 for k = 1) of the first k samples, for every k; centred first against cancellation."""
    counts = np.arange(1, len(values) + 1, dtype=np.float64).reshape(-1, *([1] * (values.ndim - 1)))
    shift = values.mean(axis=0)
    centred = values - shift
    mean = np.cumsum(centred, axis=0) / counts
    squares = np.maximum(np.cumsum(centred**2, axis=0) - counts * mean**2, 0.0)
    return mean + shift, squares / np.maximum(counts - 1, 1)


def _predictable_moments(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Regularised mean and variance of the samples *before* each one, from the prior guesses 1/2 and 1/4."""
    counts = np.arange(1, len(values) + 1, dtype=np.float64)[:, None]
    mean = (0.5 + np.cumsum(values, axis=0)) / (counts + 1)
    variance = (0.25 + np.cumsum((values - mean) ** 2, axis=0)) / (counts + 1)
    first = np.ones((1, values.shape[1]))
    return np.concatenate([first / 2, mean[:-1]]), np.concatenate([first / 4, variance[:-1]])


def _bets(values: NDArray[np.float64], error_rate: float, *, cut: float) -> NDArray[np.float64]:
    """Predictable plug-in weights ``√(2 ln(2/α)/(σ̂²_{t−1} t ln(1+t)))``, at most ``cut``."""
    t = np.arange(1, len(values) + 1, dtype=np.float64)[:, None]
    _, variance = _predictable_moments(values)
    bets: NDArray[np.float64] = np.minimum(np.sqrt(2 * np.log(2 / error_rate) / (variance * t * np.log1p(t))), cut)
    return bets


def _betting_lower(
    values: NDArray[np.float64], bets: NDArray[np.float64], looks: NDArray[np.int64], error_rate: float
) -> NDArray[np.float64]:
    """Largest m in [0, 1] that the bet "the mean is above m" excludes after each number of looks, ``[looks, k]``.

    The log capital Σ ln(1 + min(λ_t, 3/(4m))(x_t − m)) falls in m, so the excluded values are those below its crossing of ln(2/α).
    """
    target = np.log(2 / error_rate)
    result = np.empty((len(looks), values.shape[1]))
    block = max(1, _BLOCK // (len(values) * values.shape[1]))
    for start in range(0, len(looks), block):
        some = looks[start : start + block]
        longest = int(some[-1])
        x, bet = values[None, :longest], bets[None, :longest]
        counted = (np.arange(1, longest + 1)[None, :] <= some[:, None])[:, :, None]
        low, high = np.zeros((len(some), values.shape[1])), np.ones((len(some), values.shape[1]))
        for _ in range(_BISECTIONS):
            m = (low + high) / 2
            m3 = m[:, None, :]
            gain = np.log1p(np.minimum(bet, 0.75 / m3) * (x - m3))
            excluded = np.einsum("ltk,lt->lk", gain, counted[:, :, 0].astype(np.float64)) >= target
            low, high = np.where(excluded, m, low), np.where(excluded, high, m)
        result[start : start + block] = low
    return result


def _to_unit_interval(samples: ArrayLike, lower_bound: float, upper_bound: float) -> tuple[NDArray[np.float64], float]:
    """Samples scaled to [0, 1], and the distance of the bounds."""
    low, high = check_real(lower_bound, "lower_bound"), check_real(upper_bound, "upper_bound")
    if not low < high:
        raise ValueError(f"lower_bound must be below upper_bound, got [{low:g}, {high:g}]")
    values = as_samples(samples, minimum=1)
    outside = (values < low) | (values > high)
    if outside.any():
        raise ValueError(
            f"samples must lie between lower_bound and upper_bound, in [{low:g}, {high:g}], got {values[outside].flat[0]:.17g}"
        )
    width = check_positive(high - low, "upper_bound - lower_bound")
    return (values - low) / width, width


def _centred(mean: NDArray[np.float64], radius: NDArray[np.float64], *, path: bool, error_rate: float, method: str, unit: str) -> Estimate:
    """Estimate of mean ± radius: all of the path, or its end."""
    n_seeds = len(mean)
    if not check_flag(path, "path"):
        mean, radius = mean[-1], radius[-1]
    return Estimate(
        value=mean,
        lower=mean - radius,
        upper=mean + radius,
        confidence=1 - error_rate,
        n_seeds=n_seeds,
        method=method,
        unit=unit,
    )


def _scaled(
    value: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    *,
    shape: tuple[int, ...],
    path: bool,
    offset: float,
    width: float,
    error_rate: float,
    n_seeds: int,
    method: str,
    unit: str,
) -> Estimate:
    """Estimate scaled back from [0, 1], ``[looks, k]`` to ``[looks, …]`` or ``[…]``."""
    out = [offset + width * part.reshape((len(part), *shape) if path else shape) for part in (value, lower, upper)]
    return Estimate(
        value=np.clip(out[0], out[1], out[2]),
        lower=out[1],
        upper=out[2],
        confidence=1 - error_rate,
        n_seeds=n_seeds,
        method=method,
        unit=unit,
    )
