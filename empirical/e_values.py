"""Evidence against a mean, as a number that may be looked at after every seed: e-values that belong to the confidence sequences.

An e-value has expectation at most 1, at every stopping time, if the mean lies in the region that is tested; it is at least 1/error_rate
whenever the sequence of ``empirical.sequences`` lies outside the region. Unlike p-values, e-values of any number of checks, however they
depend on each other, may be averaged, and the average is an e-value again.

Sources: Robbins (1970); Waudby-Smith and Ramdas (2024), Thm 3; Wang and Ramdas (2023); Vovk and Wang (2021), E-values: calibration,
combination and applications.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import check_fraction, check_positive, check_real
from empirical.estimates import as_samples
from empirical.sequences import _bets, _mixture_precision, _to_unit_interval

__all__ = ["betting_e_value", "normal_mixture_e_value", "t_mixture_e_value"]

LARGEST = 700.0  # logarithm: beyond it float64 overflows


def betting_e_value(
    samples: ArrayLike, *, region: tuple[float, float], error_rate: float, lower_bound: float = 0.0, upper_bound: float = 1.0
) -> float:
    """Evidence against a mean in ``region``, of bounded quantities: half the sum of the two gamblers' capitals at its nearer ends.

    The capital of the bet "the mean is above m" falls in m, that of the other rises; within the region the former is least at its upper end
    and the latter at its lower end.

    Args:
        samples: ``[n]`` within the bounds, in the order drawn.
        region: (lower, upper) end of the tested means; infinite on an open side.
        error_rate: for which the bets are tuned; that of the sequence.
        lower_bound: least possible value.
        upper_bound: largest possible value.

    Raises:
        ValueError: if a sample is outside the bounds or not finite, the region is empty, or the error rate is not in (0, 1).

    Source: Waudby-Smith and Ramdas (2024), Thm 3.

    Example:
        >>> coins = np.random.default_rng(0).integers(0, 2, size=200)
        >>> betting_e_value(coins, region=(0.4, 0.6), error_rate=0.01) < 1 < betting_e_value(coins, region=(0.9, 1.0), error_rate=0.01)
        True
    """
    error_rate = check_fraction(error_rate, "error_rate")
    low, high = _region(region)
    unit_samples, width = _to_unit_interval(samples, lower_bound, upper_bound)
    if unit_samples.ndim != 1:
        raise ValueError(f"samples must have shape [n], got {list(unit_samples.shape)}")
    bets = _bets(unit_samples[:, None], error_rate, cut=np.inf)[:, 0]
    mirrored = _bets(1 - unit_samples[:, None], error_rate, cut=np.inf)[:, 0]

    def capital(values: NDArray[np.float64], stakes: NDArray[np.float64], m: float) -> float:
        if m >= 1:  # the mean cannot lie beyond
            return 0.0
        m = max(m, 0.0)
        stake = np.minimum(stakes, 0.75 / m) if m > 0 else stakes
        return float(np.exp(min(LARGEST, float(np.sum(np.log1p(stake * (values - m)))))))

    above = capital(unit_samples, bets, (high - lower_bound) / width)
    below = capital(1 - unit_samples, mirrored, 1 - (low - lower_bound) / width)
    return (above + below) / 2


def normal_mixture_e_value(
    samples: ArrayLike, *, region: tuple[float, float], error_rate: float, sigma: float, tuned_at: int = 30
) -> float:
    """Evidence against a mean in ``region``, of sub-Gaussian quantities with known standard deviation.

    ``(nρ² + 1)^{−½} exp(ρ²S²/(2σ²(nρ² + 1)))`` with S = Σ(x − m), at the m of the region nearest to the mean of the samples.

    Args:
        samples: ``[n]`` in the order drawn.
        region: (lower, upper) end of the tested means; infinite on an open side.
        error_rate: for which ρ² is tuned; that of the sequence.
        sigma: known standard deviation.
        tuned_at: number of seeds for which ρ² is tuned.

    Raises:
        ValueError: if samples are not finite, the region is empty, or a number is out of range.

    Source: Robbins (1970).

    Example:
        >>> draws = np.random.default_rng(0).normal(size=50)
        >>> normal_mixture_e_value(draws, region=(-0.5, 0.5), error_rate=0.01, sigma=1.0) < 1
        True
    """
    error_rate, sigma = check_fraction(error_rate, "error_rate"), check_positive(sigma, "sigma")
    values = _flat(samples)
    n, spread = len(values), _mixture_precision(error_rate, tuned_at)
    total = n * (float(values.mean()) - _nearest(values, region))
    exponent = spread * total**2 / (2 * sigma**2 * (n * spread + 1)) - np.log1p(n * spread) / 2
    return float(np.exp(min(LARGEST, exponent)))


def t_mixture_e_value(samples: ArrayLike, *, region: tuple[float, float], error_rate: float, tuned_at: int = 30) -> float:
    """Evidence against a mean in ``region``, of normal quantities with unknown variance.

    ``√(c²/(n + c²))·(V/(V − S²/(n + c²)))^{n/2}`` with S = Σ(x − m), V = Σ(x − m)², at the m of the region nearest to the mean.

    Args:
        samples: ``[n]`` in the order drawn.
        region: (lower, upper) end of the tested means; infinite on an open side.
        error_rate: for which c² is tuned; that of the sequence.
        tuned_at: number of seeds for which c² is tuned.

    Raises:
        ValueError: if samples are not finite, the region is empty, or a number is out of range.

    Source: Wang and Ramdas (2023), after Lai (1976).

    Example:
        >>> draws = np.random.default_rng(0).normal(3.0, 2.0, size=50)
        >>> t_mixture_e_value(draws, region=(-1.0, 1.0), error_rate=0.01) > 100
        True
    """
    error_rate = check_fraction(error_rate, "error_rate")
    values = _flat(samples)
    n, precision = len(values), 1 / _mixture_precision(error_rate, tuned_at)
    deviation = values - _nearest(values, region)
    squares, total = float(np.sum(deviation**2)), float(np.sum(deviation))
    start = np.log(precision / (n + precision)) / 2
    if squares == 0:
        return float(np.exp(start))
    # S² ≤ nV, so that the ratio is at most n/(n + c²) < 1.
    return float(np.exp(min(LARGEST, start - n / 2 * np.log1p(-(total**2) / (squares * (n + precision))))))


def _flat(samples: ArrayLike) -> NDArray[np.float64]:
    values = as_samples(samples, minimum=1)
    if values.ndim != 1:
        raise ValueError(f"samples must have shape [n], got {list(values.shape)}")
    return values


def _region(region: tuple[float, float]) -> tuple[float, float]:
    low, high = (float(end) if np.isinf(end) else check_real(end, "region") for end in region)
    if not low <= high:
        raise ValueError(f"region must be (lower, upper) with lower <= upper, got ({low:g}, {high:g})")
    return low, high


def _nearest(values: NDArray[np.float64], region: tuple[float, float]) -> float:
    low, high = _region(region)
    return float(np.clip(values.mean(), low, high))
