"""Exact laws at finite width: the tangent kernel of two-layer networks and the entries of a Gaussian Gram matrix.

Every law here is a weighted sum of independent χ² variables or a binomial mixture of χ². Its distribution function is evaluated without
sampling, on a contour through the saddle point of the moment generating function (notes/finite_width.md §7).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import LARGEST, as_real_array, check_angle, check_choice, check_flag, check_integer, check_positive

__all__ = [
    "chi2_combination_cdf",
    "gram_chebyshev_bound",
    "gram_deviation_probability",
    "gram_entry_variance",
    "gram_frobenius_moment",
    "linear_ntk_cdf",
    "relu_ntk_diagonal_cdf",
]

_CHUNK = 4096  # values per block: bounds the memory of the contour sums
_BLOCK = 64  # contour nodes per block
_NEGLIGIBLE = -60.0  # logarithm of an integrand that adds nothing


def chi2_combination_cdf(values: ArrayLike, *, weights: ArrayLike, degrees: ArrayLike) -> NDArray[np.float64]:
    """Return P(Σ_j λ_j χ²_{d_j} ≤ value) for independent χ² variables and weights of either sign.

    The smaller of the two tails is the integral (1/2πi)∫ e^{κ(s)−sv} ds/s, κ(s) = −½ Σ d_j log(1 − 2λ_j s), along a hyperbola through
    the saddle point, by the trapezoidal rule, which converges geometrically. Accuracy: 1e-13 absolute; the smaller tail also to about
    1e-11 relative down to 1e-280 for Σ d_j up to 1e5.

    Args:
        values: points, any shape.
        weights: λ_j ``[k]``; zero weights are allowed and contribute nothing.
        degrees: d_j > 0 ``[k]`` degrees of freedom, not necessarily integers.

    Raises:
        ValueError: if the shapes differ, a value is not finite, a degree is not positive, or all weights are zero.

    Source:
        notes/finite_width.md §7.

    Example:
        >>> print(f"{chi2_combination_cdf(0.0, weights=[0.5, -0.5], degrees=[7, 7]):.12f}")
        0.500000000000
    """
    v = as_real_array(values, "values").astype(np.float64)
    lam = as_real_array(weights, "weights").astype(np.float64)
    dof = as_real_array(degrees, "degrees").astype(np.float64)
    if lam.ndim != 1 or lam.shape != dof.shape:
        raise ValueError(f"weights and degrees must both have shape [k], got {list(lam.shape)} and {list(dof.shape)}")
    if (dof < 1 / LARGEST).any():
        raise ValueError(f"degrees must be at least {1 / LARGEST:g}, got {dof[dof < 1 / LARGEST][0]}")
    if not np.max(np.abs(lam), initial=0) >= 1 / LARGEST:
        raise ValueError(
            f"weights must not all be zero: one must be at least {1 / LARGEST:g} in size, got {np.max(np.abs(lam), initial=0):g}"
        )
    scale = np.max(np.abs(lam))
    keep = np.abs(lam) > 1e-300 * scale
    lam, dof = lam[keep] / scale, dof[keep]
    flat = v.ravel() / scale
    flat[np.abs(flat) < 1e-280] = 0.0  # beyond what the smaller tail resolves
    out = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):
        out[start : start + _CHUNK] = _contour_cdf(flat[start : start + _CHUNK], lam, dof)
    result: NDArray[np.float64] = out.reshape(v.shape)[()]  # a scalar in gives a scalar out
    return result


def linear_ntk_cdf(values: ArrayLike, theta: float, *, width: int, convention: str = "eq6") -> NDArray[np.float64]:
    """Return P(K(x, z) ≤ value) for the linear two-layer network, unit inputs at angle θ, exactly at every width.

    m K = (1+c)/2 χ²_m − (1−c)/2 χ²'_m + c χ²''_m with c = cosθ and independent terms, in the scale of Eq. (6) [A].

    Args:
        values: kernel values, any shape.
        theta: input angle, radians, one number.
        width: number of hidden neurons m.
        convention: "eq6", "eq7" or "eq2": K(x, x) = 2 on average, as `theory.ntk`; "eq2-literal": twice that, √(2/m) left in place.

    Raises:
        ValueError: if theta is not one angle in [0, π], the width is not a positive integer, or the convention is unknown.

    Source:
        Thm 3.1(1) [A]; notes/finite_width.md §2.

    Example:
        >>> from math import pi
        >>> print(f"{linear_ntk_cdf(0.0, pi / 2, width=5):.12f}")
        0.500000000000
    """
    angle = check_angle(theta)
    if angle.ndim != 0:
        raise ValueError(f"theta must be one angle, got shape {list(angle.shape)}")
    m = check_integer(width, "width")
    scale = _scale(convention, "eq2-literal")
    c = math.cos(float(angle))
    weights = np.array([math.cos(float(angle) / 2) ** 2, -(math.sin(float(angle) / 2) ** 2), c])
    return chi2_combination_cdf(as_real_array(values, "values") * (m / scale), weights=weights, degrees=[m, m, m])


def relu_ntk_diagonal_cdf(values: ArrayLike, *, width: int, convention: str = "eq7") -> NDArray[np.float64]:
    """Return P(K(x, x) ≤ value) for the two-layer ReLU network and ‖x‖ = 1, exactly at every width.

    With N ~ Bin(m, ½) active neurons, m K given N is χ²_{2N} in the scale of Eq. (7) [A]; there is an atom 2^{-m} at 0. Terms of the
    binomial below 1e-30 in total are left out.

    Args:
        values: kernel values, any shape.
        width: number of hidden neurons m.
        convention: "eq7": scale of Eq. (7) [A]; "eq2" or "eq2-literal": twice that.

    Raises:
        ValueError: if a value is not finite, the width is not a positive integer, or the convention is unknown.

    Source:
        Thm 3.1(2) [A]; notes/finite_width.md §2.

    Example:
        >>> float(relu_ntk_diagonal_cdf(0.0, width=3))
        0.125
    """
    from scipy.special import gammainc, gammaln  # on first use: `import theory` stays light

    y = as_real_array(values, "values").astype(np.float64)
    m = check_integer(width, "width")
    x = y * (m / (2 * _scale(convention, "eq2", "eq2-literal")))
    reach = math.ceil(6 * math.sqrt(m))  # Hoeffding: P(|N − m/2| > 6√m) ≤ 2 e^{-72}
    active = np.arange(max(0, m // 2 - reach), min(m, (m + 1) // 2 + reach) + 1, dtype=np.float64)
    if m <= 1000:  # exact integers rather than differences of large logarithms
        probability = np.array([math.comb(m, int(n)) / 2**m for n in active])
    else:
        probability = np.exp(gammaln(m + 1) - gammaln(active + 1) - gammaln(m - active + 1) - m * math.log(2))
        probability /= probability.sum()  # rounding of the logarithms, about m·eps
    flat = np.maximum(x.ravel(), 0.0)
    out = np.empty_like(flat)
    for start in range(0, flat.size, _CHUNK):
        block = flat[start : start + _CHUNK, None]
        # gammainc(0, ·) = 1: the atom of N = 0.
        conditional = np.where(active > 0, gammainc(np.maximum(active, 1.0), block), 1.0)
        out[start : start + _CHUNK] = conditional @ probability
    result: NDArray[np.float64] = np.where(y < 0, 0.0, np.minimum(out.reshape(y.shape), 1.0))[()]
    return result


def gram_entry_variance(width: int, *, diagonal: bool) -> float:
    """Return the variance of one entry of AᵀA/m, A ``[m, d]`` standard normal: 2/m on the diagonal, 1/m off it.

    Raises:
        ValueError: if the width is not a positive integer.

    Source:
        Lemma A.2, Eq. (28) [A].

    Example:
        >>> gram_entry_variance(100, diagonal=True)
        0.02
    """
    return (2.0 if check_flag(diagonal, "diagonal") else 1.0) / check_integer(width, "width")


def gram_frobenius_moment(width: int, *, n_inputs: int) -> float:
    """Return E‖AᵀA/m − I‖_F² = d(d+1)/m exactly, A ``[m, d]``: the whole matrix converges only if d²/m → 0.

    Raises:
        ValueError: if the width or the number of inputs is not a positive integer.

    Source:
        Lemma A.2 [A], repaired; notes/finite_width.md §8.

    Example:
        >>> gram_frobenius_moment(600, n_inputs=2)
        0.01
    """
    d = check_integer(n_inputs, "n_inputs")
    return d * (d + 1) / check_integer(width, "width")


def gram_chebyshev_bound(epsilon: float, *, width: int, diagonal: bool, form: str = "corrected") -> float:
    """Return the bound on P(|entry of AᵀA/m − I| ≥ ε): Var/ε² (corrected) or Var/ε as printed in Eq. (29) [A], which is false.

    Values above 1 are returned as they are.

    Args:
        epsilon: ε > 0.
        width: m.
        diagonal: a diagonal entry (variance 2/m) or an off-diagonal one (1/m).
        form: "corrected" or "printed".

    Raises:
        ValueError: if ε is not positive, the width is not a positive integer, or the form is unknown.

    Source:
        Eq. (29) [A]; notes/finite_width.md §8.

    Example:
        >>> round(gram_chebyshev_bound(0.1, width=100, diagonal=False, form="printed"), 12)  # the probability is 0.315
        0.1
    """
    e = check_positive(epsilon, "epsilon")
    power = 2 if check_choice(form, "form", ("corrected", "printed")) == "corrected" else 1
    return gram_entry_variance(width, diagonal=diagonal) / e**power


def gram_deviation_probability(epsilon: ArrayLike, *, width: int, diagonal: bool) -> NDArray[np.float64]:
    """Return P(|entry of AᵀA/m − I| ≥ ε) exactly: χ²_m/m − 1 on the diagonal, (χ²_m − χ²'_m)/(2m) off it.

    Args:
        epsilon: deviations ε ≥ 0, any shape.
        width: m.
        diagonal: a diagonal entry or an off-diagonal one.

    Raises:
        ValueError: if a deviation is negative or not finite, or the width is not a positive integer.

    Source:
        Lemma A.2 [A]; notes/finite_width.md §8.

    Example:
        >>> print(f"{gram_deviation_probability(0.1, width=100, diagonal=False):.4f}")
        0.3149
    """
    from scipy.special import gammainc, gammaincc  # on first use: `import theory` stays light

    e = as_real_array(epsilon, "epsilon").astype(np.float64)
    if (e < 0).any():
        raise ValueError(f"epsilon must not be negative, got {e[e < 0].flat[0]}")
    m = check_integer(width, "width")
    if check_flag(diagonal, "diagonal"):
        tails: NDArray[np.float64] = gammaincc(m / 2, m * (1 + e) / 2) + gammainc(m / 2, m * np.maximum(1 - e, 0.0) / 2)
        return tails
    return 2 * chi2_combination_cdf(-e * m, weights=[0.5, -0.5], degrees=[m, m])


def _scale(convention: str, *doubled: str) -> float:
    return 2.0 if check_choice(convention, "convention", ("eq2", "eq2-literal", "eq6", "eq7")) in doubled else 1.0


def _contour_cdf(values: NDArray[np.float64], lam: NDArray[np.float64], dof: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distribution function of Σ λ_j χ²_{d_j} at values ``[n]``, max |λ_j| = 1."""
    mean, deviation = float(dof @ lam), math.sqrt(2 * float(dof @ lam**2))
    right = 0.5 / lam.max() if lam.max() > 0 else math.inf  # the nearest singularities of κ on the real axis
    left = 0.5 / lam.min() if lam.min() < 0 else -math.inf
    result = np.empty_like(values)
    below, above = values <= 0, values >= 0
    decided = (below & (left == -math.inf)) | (above & (right == math.inf))
    result[decided] = np.where(left == -math.inf, 0.0, 1.0)
    for upper in (False, True):
        chosen = ~decided & ((values > mean) == upper)
        if chosen.any():
            tail = _tail(values[chosen], lam, dof, right if upper else left, left if upper else right, deviation)
            result[chosen] = 1 - tail if upper else tail
    return result


def _tail(
    values: NDArray[np.float64], lam: NDArray[np.float64], dof: NDArray[np.float64], near: float, far: float, deviation: float
) -> NDArray[np.float64]:
    """Probability beyond ``values`` on the side of the singularity ``near`` (positive: upper tail; negative: lower tail)."""
    side = 1.0 if near > 0 else -1.0
    # Saddle point κ'(s) = value by bisection in t, s = near·e^t/(1 + e^t) (or ±e^t when there is no singularity on this side).
    low, high = np.full_like(values, -690.0), np.full_like(values, 690.0 if math.isinf(near) else 34.0)

    def point(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return side * np.exp(t) if math.isinf(near) else near / (1 + np.exp(-t))

    for _ in range(64):
        middle = (low + high) / 2
        slope = np.sum(dof * lam / (1 - 2 * lam * point(middle)[:, None]), axis=1)
        beyond = side * (slope - values) > 0
        high, low = np.where(beyond, middle, high), np.where(beyond, low, middle)
    s0 = point(low)
    # The integrand has a pole at 0: stay a standard deviation away, and no nearer to the singularity than half way for its sake.
    floor = min(1 / deviation, abs(near) / 2)
    s0 = side * np.maximum(side * s0, floor)
    size = np.minimum(np.abs(near - s0), np.abs(s0 - far))
    spread = np.sqrt(np.sum(2 * dof * (lam * (size / (1 - 2 * lam * s0[:, None]).T).T) ** 2, axis=1))  # size · √κ''(s0)
    step = np.minimum(np.minimum(0.1, 0.08 / spread), 0.15 * np.abs(s0) / size)
    reference = -0.5 * np.sum(dof * np.log1p(-2 * lam * s0[:, None]), axis=1) - s0 * values
    bend = _bend(values, lam, dof, s0, size, reference)

    total = np.zeros_like(values)
    active = np.arange(values.size)
    for start in range(0, 64 * _BLOCK, _BLOCK):
        w = (np.arange(start, start + _BLOCK) + 0.5)[None, :] * step[active, None]  # midpoints: symmetric about the real axis
        b, z = bend[active, None], size[active, None]
        s = s0[active, None] + z * (1j * np.sinh(w) + b * (np.cosh(w) - 1))
        ds = z * (1j * np.cosh(w) + b * np.sinh(w))
        exponent = -s * values[active, None] - reference[active, None]
        for weight, degrees in zip(lam, dof, strict=True):
            exponent = exponent - 0.5 * degrees * np.log(1 - 2 * weight * s)
        ended = np.logical_or.accumulate(exponent.real < _NEGLIGIBLE, axis=1)  # beyond it the integrand may grow again
        term = np.exp(np.where(ended, 2 * _NEGLIGIBLE, exponent)) * ds / s
        total[active] += step[active] * term.imag.sum(axis=1) / np.pi
        size_of_term = np.abs(term[:, -1]) * step[active]
        active = active[~ended[:, -1] & (size_of_term > 1e-18 * np.abs(total[active]))]
        if active.size == 0:
            break
    return np.asarray(np.clip(side * total * np.exp(reference), 0.0, 1.0))


def _bend(
    values: NDArray[np.float64],
    lam: NDArray[np.float64],
    dof: NDArray[np.float64],
    s0: NDArray[np.float64],
    size: NDArray[np.float64],
    reference: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Bend b of each value's contour s0 + size·(i sinh w + b(cosh w − 1)) ``[n]``: one along which the integrand stays small.

    e^{−sv} decays to the side of the value's sign, and that bend is taken unless the integrand grows there: where many small weights
    act as a shift, by their mean, the value's sign is not that of what is left of it. Then the straight line or the other side is taken,
    whichever grows least before the integrand is negligible. The integral is the same; the trapezoidal rule converges as fast as the
    contour may be tilted to either side without growth, so that the neighbours of a bend count as much as the bend.
    """
    w = np.linspace(0, 12, 121)
    across, along = np.sinh(w), np.cosh(w) - 1
    outward = np.where(values >= 0, 0.5, -0.5)
    best, lowest = outward.copy(), np.full(values.shape, np.inf)
    for factor in (1.0, 0.0, -1.0):
        undecided = np.flatnonzero(lowest > 1.0)
        bend, peak = factor * outward[undecided], np.full(undecided.size, -np.inf)
        for tilt in (-0.35, 0.0, 0.35):
            s = s0[undecided, None] + size[undecided, None] * (1j * across + (bend[:, None] + tilt) * along)
            height = -s.real * values[undecided, None] - reference[undecided, None]
            for weight, degrees in zip(lam, dof, strict=True):
                height = height - 0.5 * degrees * np.log(np.abs(1 - 2 * weight * s))
            ended = np.logical_or.accumulate(height < _NEGLIGIBLE, axis=1)
            peak = np.maximum(peak, np.where(ended, -np.inf, height).max(axis=1))
        better = peak < lowest[undecided]
        best[undecided[better]], lowest[undecided[better]] = bend[better], peak[better]
    return best
