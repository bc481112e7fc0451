"""Rates in the width: the exponent of an approach, with an interval from replicates, and the limit that is approached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import check_choice, check_fraction, check_positive, check_real, check_reals
from empirical.estimates import Estimate, as_samples

__all__ = ["RateInWidth", "rate_in_width"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RateInWidth:
    """A power law in the width.

    Attributes:
        exponent: estimate of β in |statistic| ∝ width^β.
        limit: estimate of the mean at infinite width, extrapolated by a stated power.
        local_exponents: slopes between neighbouring widths, estimate of shape ``[k − 1]``: a drift shows that the rate is not yet reached.
        exponent_fit: p-value of the lack of fit of the power law; small where the points do not lie on a line. 1 for two widths.
        limit_fit: p-value of the lack of fit of the extrapolation. 1 for two widths.
        widths: the widths ``[k]``.
        values: the statistic at each width, estimate of shape ``[k]``.
    """

    exponent: Estimate
    limit: Estimate
    local_exponents: Estimate
    exponent_fit: float
    limit_fit: float
    widths: tuple[float, ...]
    values: Estimate


def rate_in_width(
    widths: Sequence[float],
    samples: Sequence[ArrayLike],
    *,
    error_rate: float,
    statistic: str = "sd",
    target: float = 0.0,
    limit_power: float = -1.0,
    unit: str = "",
) -> RateInWidth:
    """Exponent and limit of an approach in the width, from independent replicates at each width.

    The exponent is the slope of the weighted least-squares line of ln(statistic) against ln(width); a mean is weighted by the inverse
    variance that its replicates give, a standard deviation or root mean square by the number of replicates alone (its measured kurtosis is
    correlated with its value and would bias the line), and the standard error is that of the replicates in both cases. The limit is the
    intercept of the weighted line of the mean against width^``limit_power``. Intervals use Student's t with as many degrees of freedom as
    the smallest number of replicates less 1. Assumes independent networks at different widths, and replicates enough for the statistic to
    be about normal: with 20 normal replicates a nominal 5 % misses 5 to 7 %; heavy tails need hundreds. The interval covers the exponent of
    *these widths*; where it drifts towards its limit, ``local_exponents`` and ``exponent_fit`` show it.

    Args:
        widths: k ≥ 2 different widths.
        samples: for each width its replicates ``[n_k]``, n_k ≥ 8.
        error_rate: probability of missing, for each of exponent and limit; each local exponent and value is at this rate by itself.
        statistic: ``"sd"`` (standard deviation), ``"mean"`` (|mean − target|) or ``"rms"`` (root mean square about ``target``).
        target: the limit about which ``"mean"`` and ``"rms"`` are taken; must not be an estimate from these samples.
        limit_power: power of the width by which the mean approaches its limit, negative (−1: the usual bias of order 1/m).
        unit: unit of the samples.

    Raises:
        ValueError: if the widths are fewer than two, not positive or repeated, a sample is not finite, replicates are too few, the
            statistic is zero, or for ``"mean"`` not distinguishable from ``target`` at all (below one standard error).

    Source: rates of G1, G2, G7 (statistics.md rule 7 asks for exponent and limit).

    Example:
        >>> generator = np.random.default_rng(0)
        >>> widths = (64, 256, 1024)
        >>> rate = rate_in_width(widths, [1 + generator.normal(size=400) / np.sqrt(m) for m in widths], error_rate=0.01)
        >>> rate.exponent.contains(-0.5), rate.exponent.contains(-0.25), rate.limit.contains(1.0)
        (True, False, True)
    """
    error_rate = check_fraction(error_rate, "error_rate")
    check_choice(statistic, "statistic", ("sd", "mean", "rms"))
    target = check_real(target, "target")
    if check_real(limit_power, "limit_power") >= 0:
        raise ValueError(f"limit_power must be negative, got {limit_power}")
    sizes = np.array([check_positive(width, "each of widths") for width in check_reals(widths, "widths")])
    if len(sizes) < 2 or len(set(sizes.tolist())) != len(sizes):
        raise ValueError(f"widths must be at least two different numbers, got {' '.join(map(str, widths))[:80] or 'none'}")
    if not isinstance(samples, (Sequence, np.ndarray)):
        raise ValueError(f"samples must be a sequence of replicates, one set for each width, got {type(samples).__name__}")
    if len(samples) != len(sizes):
        raise ValueError(f"samples must be one set of replicates for each of {len(sizes)} widths, got {len(samples)}")
    replicates = [_replicates(part, width) for part, width in zip(samples, sizes, strict=True)]
    order = np.argsort(sizes)
    sizes, replicates = sizes[order], [replicates[i] for i in order]

    logs, log_errors = np.array([_log_statistic(part, statistic, target, width) for part, width in zip(replicates, sizes, strict=True)]).T
    means = np.array([part.mean() for part in replicates])
    mean_errors = np.array([part.std(ddof=1) / np.sqrt(len(part)) for part in replicates])
    if not (mean_errors > 0).all():
        raise ValueError(f"samples must vary between replicates, got equal ones at width {sizes[np.argmin(mean_errors)]:g}")
    n_seeds = min(len(part) for part in replicates)
    critical = _t_quantile(n_seeds - 1, error_rate)

    def estimate(value: ArrayLike, error: ArrayLike, method: str, unit: str = "") -> Estimate:
        centre, radius = np.asarray(value), critical * np.asarray(error)
        return Estimate(
            value=centre, lower=centre - radius, upper=centre + radius, confidence=1 - error_rate, n_seeds=n_seeds, method=method, unit=unit
        )

    weights = log_errors**-2.0 if statistic == "mean" else np.array([float(len(part)) for part in replicates])
    slope, slope_error = _weighted_line(np.log(sizes), logs, log_errors, weights)[:2]
    intercept, intercept_error = _weighted_line(sizes**limit_power, means, mean_errors, mean_errors**-2.0)[2:]
    steps = np.diff(np.log(sizes))
    centre, radius = np.exp(logs), critical * log_errors
    return RateInWidth(
        exponent=estimate(slope, slope_error, f"log-log slope of the {statistic} in width, weighted by replicates, Student t"),
        limit=estimate(intercept, intercept_error, f"mean extrapolated in width^{limit_power:g}, weighted by replicates, Student t", unit),
        local_exponents=estimate(
            np.diff(logs) / steps,
            np.hypot(log_errors[1:], log_errors[:-1]) / steps,
            f"slope of the {statistic} between neighbouring widths",
        ),
        exponent_fit=_lack_of_fit(np.log(sizes), logs, log_errors),
        limit_fit=_lack_of_fit(sizes**limit_power, means, mean_errors),
        widths=tuple(sizes.tolist()),
        values=Estimate(
            value=centre,
            lower=centre * np.exp(-radius),
            upper=centre * np.exp(radius),
            confidence=1 - error_rate,
            n_seeds=n_seeds,
            method=f"{statistic} of the replicates, interval on the log scale",
            unit=unit,
        ),
    )


def _replicates(samples: ArrayLike, width: float) -> NDArray[np.float64]:
    """Replicates ``[n]`` at one width, at least 8."""
    values = as_samples(samples, minimum=1)
    if values.ndim != 1 or len(values) < 8:
        raise ValueError(f"samples at width {width:g} must be [n] with n >= 8 replicates, got shape {list(values.shape)}")
    return values


def _log_statistic(values: NDArray[np.float64], statistic: str, target: float, width: float) -> tuple[float, float]:
    """Logarithm of the statistic, corrected for its bias to first order, and its standard error."""
    n = len(values)
    if statistic == "mean":
        centre, error = abs(values.mean() - target), values.std(ddof=1) / np.sqrt(n)
        if centre <= error:
            raise ValueError(
                f"the mean at width {width:g} must differ from {target:g} by more than its standard error {error:.3g}, got {centre:.3g}"
            )
        relative = error / centre
        return float(np.log(centre) + relative**2 / 2), float(relative)
    deviation = values - (values.mean() if statistic == "sd" else target)
    squares = np.sum(deviation**2) / (n - 1 if statistic == "sd" else n)
    if squares <= 0:
        raise ValueError(f"the {statistic} at width {width:g} must be positive, got 0")
    # Var of a mean square relative to its square: (γ4 − (n−3)/(n−1))/n for a variance, (γ4 − 1)/n about a given target. γ4 is estimated by
    # the ratio of moments, at least that of the flattest law that leaves room for error.
    fourth = max(float(np.mean(deviation**4) / np.mean(deviation**2) ** 2), 1.0)
    relative = (fourth - (n - 3) / (n - 1 if statistic == "sd" else n)) / n
    return float((np.log(squares) + relative / 2) / 2), float(np.sqrt(relative) / 2)


def _weighted_line(
    x: NDArray[np.float64], y: NDArray[np.float64], error: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[float, float, float, float]:
    """Slope and its standard error, intercept and its standard error, of the line with the given weights and independent errors."""
    weight = weight / np.sum(weight)
    centre = np.sum(weight * x)
    to_slope = weight * (x - centre) / np.sum(weight * (x - centre) ** 2)  # slope = Σ to_slope·y
    to_intercept = weight - centre * to_slope
    return (
        float(to_slope @ y),
        float(np.linalg.norm(to_slope * error)),
        float(to_intercept @ y),
        float(np.linalg.norm(to_intercept * error)),
    )


def _lack_of_fit(x: NDArray[np.float64], y: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """p-value of the χ² of the points about their best line (k − 2 degrees of freedom); 1 for two points."""
    from scipy.special import chdtrc

    if len(x) == 2:
        return 1.0
    slope, _, intercept, _ = _weighted_line(x, y, error, error**-2.0)
    return float(chdtrc(len(x) - 2, float(np.sum(((y - intercept - slope * x) / error) ** 2))))


def _t_quantile(degrees: int, error_rate: float) -> float:
    """Two-sided Student quantile."""
    from scipy.special import stdtrit

    return -float(stdtrit(degrees, error_rate / 2))
