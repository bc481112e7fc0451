"""What random initialisation does to the clean/noise ratio: its law, and how often clean samples really dominate.

For one collapsed class with label 1 the two segment gradients are exactly opposite, with norms n_c(1−f) and n_n f, so that

    log(‖g_clean‖/‖g_noise‖) = log((1−δ)/δ) − h_0,    h_0 the logit at initialisation (+h_0 for label 0),

and h_0 is Gaussian at infinite width. (1−δ)/δ, the value of Eq. (8) [A], is the median, not the mean. In a class with spread the logits
are the class mean h̄ plus a deviation of variance τ², and f is replaced by its class average F(h̄) = E σ(h̄ + τz), z standard normal: the
spread pulls the average towards ½ and narrows the law. Derivations: notes/initialization.md §5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import LARGEST, as_real_array, check_choice, check_kernel, check_noise_level, check_number, check_positive
from theory.initialization import binary_signs

__all__ = [
    "LogRatioLaw",
    "class_logit_spread",
    "class_mean_logit_covariance",
    "collapsed_logit_deviation",
    "log_ratio_law",
    "probability_clean_dominates_both",
]

_CHUNK = 2048  # logits averaged at once: bounds the memory


@dataclass(frozen=True)
class LogRatioLaw:
    """Law of R = ‖g_clean‖/‖g_noise‖ = 1/α_0 of one class over initialisations: log R = mean_log − log(F(h̄)/(1 − F(h̄))), h̄ normal.

    Attributes:
        mean_log: log((1−δ)/δ).
        deviation: standard deviation of the class-mean logit h̄.
        spread: τ, standard deviation of the logits of one class around their mean; 0 for a collapsed class, where log R is normal.
    """

    mean_log: float
    deviation: float
    spread: float = 0.0

    @property
    def median(self) -> float:
        """(1−δ)/δ, what Eq. (8) [A] states as an equality; the same for every spread."""
        return math.exp(self.mean_log)

    @property
    def mean(self) -> float:
        """E R; (1−δ)/δ · exp(Var h̄/2) for a collapsed class, always above the median."""
        if self.spread == 0:
            return math.exp(self.mean_log + self.deviation**2 / 2)
        # The integrand peaks within z ∈ [−deviation, 0] of the normal density times e^{−deviation·z}.
        z = np.linspace(-self.deviation - 9, 9, 2001)
        logs = self.mean_log - _average_logit(self.deviation * z, self.spread) - z**2 / 2
        return float(np.exp(logs).sum() * (z[1] - z[0]) / math.sqrt(2 * math.pi))

    @property
    def probability_clean_dominates(self) -> float:
        """P(R > 1) = P(α_0 < 1); Φ(log((1−δ)/δ)/deviation) for a collapsed class."""
        return float(self.cdf(1.0, upper=True))

    def cdf(self, ratio: ArrayLike, *, upper: bool = False) -> NDArray[np.float64]:
        """Return P(R ≤ ratio), or P(R > ratio) with ``upper``.

        Raises:
            ValueError: for a ratio that is not positive and finite.
        """
        from scipy.special import ndtr  # on first use: `import theory` stays light

        values = as_real_array(ratio, "ratio").astype(np.float64)
        if (values <= 0).any():
            raise ValueError(f"ratio must be positive, got {values[values <= 0].flat[0]}")
        gap = _mean_logit(np.log(values) - self.mean_log, self.spread)
        return np.asarray(ndtr((-gap if upper else gap) / self.deviation))

    def quantile(self, probability: ArrayLike) -> NDArray[np.float64]:
        """Return the ratio below which R falls with the given probability.

        Raises:
            ValueError: for a probability outside (0, 1).
        """
        from scipy.special import ndtri  # on first use: `import theory` stays light

        p = as_real_array(probability, "probability").astype(np.float64)
        if ((p <= 0) | (p >= 1)).any():
            raise ValueError(f"probability must lie in (0, 1), got {p[(p <= 0) | (p >= 1)].flat[0]}")
        return np.asarray(np.exp(self.mean_log + _average_logit(self.deviation * ndtri(p), self.spread)))


def collapsed_logit_deviation(input_norm: float, *, convention: str = "eq2") -> float:
    """Return the standard deviation over w_0 of h(w_0; x), exact at every width.

    Args:
        input_norm: ‖x‖ > 0.
        convention: "eq2" (Eq. (2) [B], any depth) and "eq6" (Eq. (6) [A], linear): ‖x‖; "eq7" (Eq. (7) [A], ReLU): ‖x‖/√2.

    Raises:
        ValueError: for a norm that is not positive, or an unknown convention.

    Source:
        S6; notes/finite_width.md §4.

    Example:
        >>> collapsed_logit_deviation(2.0)
        2.0
    """
    norm = check_positive(input_norm, "input_norm")
    return norm / math.sqrt(2) if check_choice(convention, "convention", ("eq2", "eq6", "eq7")) == "eq7" else norm


def log_ratio_law(noise_level: float, *, logit_deviation: float, spread: float = 0.0) -> LogRatioLaw:
    """Return the law of ‖g_clean‖/‖g_noise‖ of one class over random initialisations.

    Exact at infinite width for a collapsed class with noise level δ. With spread it treats the deviations within the class as normal and
    unrelated to the gradients' directions, for large segments: an approximation, right to second order in the logits if the class means
    are weighted by the kernel. A centred output (h_0 = 0) is the limit of zero deviation: the ratio is then (1−δ)/δ in every draw.

    Args:
        noise_level: δ of the class, in (0, 1).
        logit_deviation: standard deviation of the class-mean logit, > 0: `collapsed_logit_deviation`, or the square root of a diagonal
            entry of `class_mean_logit_covariance`.
        spread: τ ≥ 0, `class_logit_spread`.

    Raises:
        ValueError: for a noise level outside (0, 1), a deviation that is not positive, or a negative spread.

    Source:
        Eq. (8) [A], Eq. (5) [B] as a law rather than an equality (I5); notes/initialization.md §5.

    Example:
        >>> law = log_ratio_law(0.4, logit_deviation=1.0)
        >>> round(law.median, 12), round(law.probability_clean_dominates, 3)
        (1.5, 0.657)
    """
    delta = check_noise_level(noise_level)
    if delta < 1 / LARGEST:
        raise ValueError(f"noise_level must lie in (0, 1), at least {1 / LARGEST:g}, for a ratio to exist, got {noise_level}")
    deviation = check_positive(logit_deviation, "logit_deviation")
    return LogRatioLaw(mean_log=math.log((1 - delta) / delta), deviation=deviation, spread=_spread(spread, "spread"))


def class_mean_logit_covariance(covariance: ArrayLike, truth: ArrayLike, *, kernel: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return the covariance ``[2, 2]`` of the mean logits of class 0 and class 1 over initialisations.

    Args:
        covariance: ``[n, n]`` covariance of the logits, `theory.nngp` of the inputs.
        truth: ``[n]`` classes 0/1, both present.
        kernel: ``[n, n]`` tangent kernel; with it sample i of a class counts by its kernel row sum over the class, which is the mean that
            the segment ratio sees to second order in the logits. None: equal weights.

    Raises:
        ValueError: for shapes that do not fit, labels other than 0 and 1, an absent class, or kernel row sums of total zero.

    Source:
        I5; notes/initialization.md §5.

    Example:
        >>> class_mean_logit_covariance(np.eye(4), [0, 0, 1, 1]).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    k, averages = _class_averages(covariance, truth, kernel)
    return np.asarray(averages @ k @ averages.T)


def class_logit_spread(covariance: ArrayLike, truth: ArrayLike, *, kernel: ArrayLike | None = None) -> NDArray[np.float64]:
    """Return τ ``[2]``, the root mean square over initialisations and samples of the logits around their class mean.

    Args:
        covariance: ``[n, n]`` covariance of the logits, `theory.nngp` of the inputs.
        truth: ``[n]`` classes 0/1, both present.
        kernel: ``[n, n]`` tangent kernel for weights, as in `class_mean_logit_covariance`.

    Raises:
        ValueError: for shapes that do not fit, labels other than 0 and 1, an absent class, or kernel row sums of total zero.

    Source:
        I5; notes/initialization.md §5.

    Example:
        >>> class_logit_spread(np.eye(4), [0, 0, 1, 1]).round(4).tolist()
        [0.7071, 0.7071]
    """
    k, averages = _class_averages(covariance, truth, kernel)
    variance = averages @ np.diag(k) - np.sum((averages @ k) * averages, axis=1)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def probability_clean_dominates_both(noise_level: float, *, covariance: ArrayLike, spread: ArrayLike = 0.0) -> float:
    """Return the probability over initialisations that clean dominates noise in both classes (α_0 < 1 twice).

    The class-mean logits (h̄_0, h̄_1) are jointly normal, and the event is h̄_1 < t_1, h̄_0 > −t_0 with F(t) = 1 − δ (t = log((1−δ)/δ) without
    spread): a positive correlation of the two means (all inputs in one cone) works against it.

    Args:
        noise_level: δ of both classes, in (0, 1).
        covariance: ``[2, 2]`` of `class_mean_logit_covariance`, positive diagonal.
        spread: τ of both classes, or of each ``[2]`` (`class_logit_spread`); 0 for collapsed classes.

    Raises:
        ValueError: for a noise level outside (0, 1), a matrix that is no covariance of two variables, or a negative spread.

    Source:
        Eq. (9) [A], Eq. (6) [B] at random initialisation (I5); notes/initialization.md §5.

    Example:
        >>> round(probability_clean_dominates_both(0.5, covariance=[[1.0, 0.0], [0.0, 1.0]]), 12)
        0.25
    """
    law = log_ratio_law(noise_level, logit_deviation=1.0)
    c = check_kernel(covariance, "covariance", n=2).astype(np.float64)
    if min(c[0, 0], c[1, 1]) < 1 / LARGEST:
        raise ValueError(f"covariance must have a positive diagonal, at least {1 / LARGEST:g}, got {c[0, 0]} and {c[1, 1]}")
    correlation = float(c[0, 1] / math.sqrt(c[0, 0] * c[1, 1]))
    if abs(correlation) > 1 + 1e-9:
        raise ValueError(f"covariance must have a correlation in [-1, 1], got {correlation}")
    taus = as_real_array(spread, "spread").astype(np.float64)
    if taus.shape not in ((), (2,)):
        raise ValueError(f"spread must be one number or have shape [2], got {list(taus.shape)}")
    edges = [float(_mean_logit(np.array(law.mean_log), _spread(float(tau), "spread"))) for tau in np.broadcast_to(taus, 2)]
    return _normal_orthant(edges[0] / math.sqrt(c[0, 0]), edges[1] / math.sqrt(c[1, 1]), -min(max(correlation, -1.0), 1.0))


def _class_averages(covariance: ArrayLike, truth: ArrayLike, kernel: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the covariance and the weights ``[2, n]`` of the two class means."""
    k = check_kernel(covariance, "covariance").astype(np.float64, copy=False)
    signs = binary_signs(truth, k.shape[0], "truth")
    masks = (signs < 0, signs > 0)
    for c, mask in enumerate(masks):
        if not mask.any():
            raise ValueError(f"truth must hold both classes, got no sample of class {c}")
    tangent = np.ones_like(k) if kernel is None else check_kernel(kernel, n=k.shape[0]).astype(np.float64, copy=False)
    weights = [mask * (tangent @ mask) for mask in masks]
    for c, weight in enumerate(weights):
        if not weight.sum() > 0:
            raise ValueError(f"kernel must have a positive sum over class {c}, got {weight.sum():g}")
    return k, np.stack([weight / weight.sum() for weight in weights])


def _spread(value: float, name: str) -> float:
    tau = check_number(value, name)
    if tau < 0:
        raise ValueError(f"{name} must not be negative, got {value}")
    return tau


def _average_logit(h: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """Return log(F/(1 − F)), F = E σ(h + τz); odd and increasing in h. Trapezoidal rule: the poles of σ are π/τ off the real axis."""
    if tau == 0:
        return np.asarray(h)
    z = np.linspace(-9, 9, 401 + 2 * math.ceil(30 * tau))
    weights = np.exp(-(z**2) / 2)
    flat = np.ravel(h)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):
        logits = flat[start : start + _CHUNK, None] + tau * z
        # F and 1 − F are both sums of positive terms, as σ(x) and σ(−x) without cancellation.
        small = np.exp(-np.abs(logits))
        larger, smaller = 1 / (1 + small), small / (1 + small)
        positive = logits >= 0
        right, wrong = np.where(positive, larger, smaller) @ weights, np.where(positive, smaller, larger) @ weights
        out[start : start + _CHUNK] = np.log(right) - np.log(wrong)
    return out.reshape(np.shape(h))


def _mean_logit(average: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """Invert `_average_logit` by bisection: |h| ≥ |average|, and at most √(1 + τ²) times it plus a margin, doubled until it suffices."""
    if tau == 0:
        return np.asarray(average)
    size = np.abs(average)
    low, high = size.copy(), (1 + tau) * size + 1e-300
    while (short := _average_logit(high, tau) < size).any():
        high = np.where(short, 2 * high + 1, high)
    for _ in range(60):
        middle = (low + high) / 2
        below = _average_logit(middle, tau) < size
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(np.copysign((low + high) / 2, average))


def _normal_orthant(h: float, k: float, rho: float) -> float:
    """P(X < h, Y < k) for standard normal X, Y with correlation rho; by Owen's T function."""
    from scipy.special import ndtr, owens_t  # on first use: `import theory` stays light

    if rho == 1:
        return float(ndtr(min(h, k)))
    if rho == -1:
        return float(max(ndtr(h) - ndtr(-k), 0.0))
    if h == 0 and k == 0:
        return 0.25 + math.asin(rho) / (2 * math.pi)
    root = math.sqrt((1 - rho) * (1 + rho))

    def slope(a: float, b: float) -> float:
        return math.copysign(math.inf, b) if a == 0 else (b - rho * a) / (a * root)

    both = (float(ndtr(h)) + float(ndtr(k))) / 2 - float(owens_t(h, slope(h, k))) - float(owens_t(k, slope(k, h)))
    apart = h * k < 0 or (h * k == 0 and h + k < 0)
    return both - (0.5 if apart else 0.0)
