"""Trajectories over seeds: bands that hold at all times at once, and an exact test of a predicted trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from empirical._validation import as_real_array, check_choice, check_fraction, check_integer
from empirical.estimates import Estimate, as_samples

__all__ = ["SignFlipTest", "sign_flip_test", "simultaneous_band"]

_BLOCK = 1 << 22  # numbers held at once by the resampling


@dataclass(frozen=True, kw_only=True)
class SignFlipTest:
    """Test that the mean trajectory is the predicted one.

    Attributes:
        statistic: largest |t| over the trajectory.
        p_value: share of sign flips with a statistic at least as large, the data's own among them.
        where: flat index of the largest |t|.
        n_seeds: number of seeds.
        method: name of the test with its assumption.
    """

    statistic: float
    p_value: float
    where: int
    n_seeds: int
    method: str


def simultaneous_band(
    trajectories: ArrayLike,
    *,
    error_rate: float,
    method: str = "bonferroni-t",
    seed: int = 0,
    n_resamples: int = 2000,
    unit: str = "",
) -> Estimate:
    """Band that holds the mean trajectory at all its points at once, for a number of seeds fixed before the data.

    * ``"bonferroni-t"``: Student t at ``error_rate``/T for each of T points. Holds for any dependence in time; assumes normal means.
    * ``"max-t"``: the critical value is the quantile of the largest |t| when the seeds' deviations change sign at random, never above the
      Bonferroni one. Narrower for smooth trajectories; asymptotic in the number of seeds, assumes symmetric deviations for few of them,
      and refuses error rates that its resamples cannot resolve.

    Args:
        trajectories: ``[n, T, …]``, seeds on axis 0, n ≥ 2; all further axes are covered jointly.
        error_rate: probability of missing the mean anywhere.
        method: ``"bonferroni-t"`` or ``"max-t"``.
        seed: of the sign flips of ``"max-t"``.
        n_resamples: number of sign flips.
        unit: unit of the samples.

    Raises:
        ValueError: if samples are not finite or fewer than 2 seeds, or the error rate is not in (0, 1) or too small for ``"max-t"``.

    Source: Efron (1969), Student's t-test under symmetry conditions; Chernozhukov et al. (2013), Gaussian multiplier bootstrap for maxima.

    Example:
        >>> walks = np.cumsum(np.random.default_rng(0).normal(size=(40, 25)), axis=1)
        >>> band = simultaneous_band(walks, error_rate=0.05, method="max-t")
        >>> band.value.shape, band.contains(0.0)
        ((25,), True)
    """
    from scipy.special import stdtrit

    error_rate = check_fraction(error_rate, "error_rate")
    check_choice(method, "method", ("bonferroni-t", "max-t"))
    check_integer(seed, "seed", minimum=0)
    check_integer(n_resamples, "n_resamples", minimum=100)
    values = as_samples(trajectories, minimum=2, name="trajectories")
    n = len(values)
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(n)
    critical = -float(stdtrit(n - 1, error_rate / (2 * mean.size)))
    described = f"Student t band, Bonferroni over {mean.size} points, normal means"
    if method == "max-t":
        _check_resolution(error_rate, n, n_resamples)
        largest = _flipped_maxima((values - mean).reshape(n, -1), seed=seed, n_resamples=n_resamples)
        # The k-th largest of B with k = floor(α(B+1)): the level of a Monte-Carlo test of size α.
        rank = int(np.floor(error_rate * (n_resamples + 1)))
        critical = min(critical, float(np.sort(largest)[-rank]))
        described = f"max-t band by {n_resamples} sign flips over {mean.size} points, symmetric deviations, asymptotic"
    return Estimate(
        value=mean,
        lower=mean - critical * error,
        upper=mean + critical * error,
        confidence=1 - error_rate,
        n_seeds=n,
        method=described + ", number of seeds fixed in advance",
        unit=unit,
    )


def sign_flip_test(trajectories: ArrayLike, prediction: ArrayLike, *, seed: int = 0, n_resamples: int = 2000) -> SignFlipTest:
    """Exact test that seeds scatter symmetrically about a predicted trajectory, with the largest |t| over it as statistic.

    Under the hypothesis every seed's deviation from the prediction may change its sign as a whole without changing the law, so that the
    share of random flips with a statistic at least as large (the identity counted) is a valid p-value for any number of seeds and any
    dependence in time. The least p-value is 1/(n_resamples + 1), and about 2^{1−n} for few seeds.

    Args:
        trajectories: ``[n, T, …]``, seeds on axis 0, n ≥ 2.
        prediction: predicted trajectory, broadcasts against ``[T, …]``.
        seed: of the sign flips.
        n_resamples: number of sign flips.

    Raises:
        ValueError: if a number is not finite, a shape does not fit, or there are fewer than 2 seeds.

    Example:
        >>> walks = np.cumsum(np.random.default_rng(0).normal(size=(30, 20)), axis=1)
        >>> sign_flip_test(walks, 0.0).p_value > 0.01, sign_flip_test(walks, 3.0).p_value < 0.01
        (True, True)
    """
    values = as_samples(trajectories, minimum=2, name="trajectories")
    expected = as_real_array(prediction, "prediction").astype(np.float64)
    try:
        expected = np.broadcast_to(expected, values.shape[1:])
    except ValueError:
        raise ValueError(f"prediction must fit trajectories of shape {list(values.shape[1:])}, got shape {list(expected.shape)}") from None
    deviations = np.asarray(values - expected, dtype=np.float64).reshape(len(values), -1)
    observed = _largest_t(deviations, np.ones((1, len(values)), dtype=np.float64))
    maxima = _flipped_maxima(deviations, seed=seed, n_resamples=n_resamples)
    # Flips that reproduce the data up to rounding count as ties: 1e-9 relative is far above the rounding of sums of n terms.
    as_large = int(np.sum(maxima >= observed[0] * (1 - 1e-9)))
    spread = deviations.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(deviations.mean(axis=0)) / spread
    return SignFlipTest(
        statistic=float(observed[0]),
        p_value=(1 + as_large) / (n_resamples + 1),
        where=int(np.argmax(np.nan_to_num(t, nan=0.0))),
        n_seeds=len(values),
        method=f"largest |t| over {deviations.shape[1]} points by {n_resamples} sign flips, symmetric deviations",
    )


def _check_resolution(error_rate: float, n: int, n_resamples: int) -> None:
    """Refuse error rates below what the sign flips of n seeds, or their number, can resolve."""
    check_integer(n_resamples, "n_resamples", minimum=100)
    if error_rate * (n_resamples + 1) < 10:
        raise ValueError(f"error_rate must be at least 10/(n_resamples + 1) = {10 / (n_resamples + 1):.2g} for max-t, got {error_rate:g}")
    if error_rate * 2.0 ** (n - 1) < 10:
        raise ValueError(
            f"error_rate must be at least {10 / 2.0 ** (n - 1):.2g} for max-t with {n} seeds (2^(n-1) sign flips), got {error_rate:g}"
        )


def _flipped_maxima(deviations: NDArray[np.float64], *, seed: int, n_resamples: int) -> NDArray[np.float64]:
    """Largest |t| over the points for each of ``n_resamples`` random sign flips of whole seeds."""
    generator = np.random.default_rng(check_integer(seed, "seed", minimum=0))
    n_resamples = check_integer(n_resamples, "n_resamples", minimum=100)
    n, points = deviations.shape
    signs = (2 * generator.integers(0, 2, size=(n_resamples, n)) - 1).astype(np.float64)
    block = max(1, _BLOCK // points)
    return np.concatenate([_largest_t(deviations, signs[start : start + block]) for start in range(0, n_resamples, block)])


def _largest_t(deviations: NDArray[np.float64], signs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest |t| over the points of ``signs · deviations``, one per row of signs; the sum of squares does not change under flips."""
    n = len(deviations)
    scale = np.sqrt(np.sum(deviations**2, axis=0))
    unit: NDArray[np.float64] = np.divide(deviations, scale, out=np.zeros_like(deviations), where=scale > 0)
    # With e scaled to Σe² = 1 and q = Σ ε e: t² = (n−1) q²/(n − q²), which rises in |q|, and q² ≤ n.
    largest = np.max(np.abs(signs @ unit), axis=1)
    t: NDArray[np.float64] = largest * np.sqrt((n - 1) / np.maximum(n - largest**2, np.finfo(np.float64).tiny))
    return t
