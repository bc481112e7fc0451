"""Exactly solvable cases beyond one collapsed class: equicorrelated kernels (two unknowns) and two unequal clusters (a 2 × 2 map).

* X5: all samples of a class have the same overlap, but each keeps a private part; clean and noisy logits then move as two numbers, and
  noise is fitted in the end. X6 gives the ratio at which the noisy loss turns.
* X10: two collapsed clusters of any sizes and noise levels: α^(0) and α^(1) need not agree (D1).

Derivations: notes/alpha.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import LARGEST, as_real_array, check_integer, check_noise_level, check_positive
from theory.alpha import initial_alpha
from theory.losses import _sigmoid

__all__ = [
    "EquicorrelatedRun",
    "cosine_from_alpha_gap",
    "equicorrelated_coupling",
    "equicorrelated_descent",
    "equicorrelated_flow",
    "same_alpha_imbalance",
    "turning_alpha",
    "turning_time",
    "two_cluster_alpha",
]

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class EquicorrelatedRun:
    """Clean and noisy margins of the two-dimensional reduction (X5).

    Attributes:
        times: ``[T]`` s = (a−b) t/n.
        clean_margin: ``[T]`` z_c, the logit of a clean sample towards its true label.
        noise_margin: ``[T]`` z_n, the logit of a noisy sample towards its true label.
        alpha: ``[T]`` δσ(z_n) / ((1−δ)(1−σ(z_c))), the ratio of summed residuals.
    """

    times: FloatArray
    clean_margin: FloatArray
    noise_margin: FloatArray
    alpha: FloatArray


def equicorrelated_coupling(diagonal: float, within: float, between: float, *, class_size: int) -> float:
    """Return q = N(b−b′)/(a−b), the weight of what a class shares against what each sample has for itself.

    Args:
        diagonal: a, kernel of a sample with itself.
        within: b < a, kernel of two samples of one class.
        between: b′ < b, kernel of two samples of different classes.
        class_size: N, samples per class (both classes alike).

    Raises:
        ValueError: unless a > b > b′.

    Source:
        X5.

    Example:
        >>> equicorrelated_coupling(1.0, 0.5, 0.25, class_size=100)
        50.0
    """
    a, b, other = (_number(value, name) for value, name in ((diagonal, "diagonal"), (within, "within"), (between, "between")))
    if not a > b > other:
        raise ValueError(f"diagonal > within > between must hold, got {a:g}, {b:g}, {other:g}")
    return check_integer(class_size, "class_size") * (b - other) / (a - b)


def equicorrelated_descent(coupling: float, *, noise_level: float, step: float, steps: int) -> EquicorrelatedRun:
    """Run gradient descent on the equicorrelated problem from zero logits, as the exact map of two numbers.

    Args:
        coupling: q > 0 of :func:`equicorrelated_coupling`.
        noise_level: δ in [0, 1), the same in both classes.
        step: Δs = η(a−b)/n per step, n the total number of samples.
        steps: number of steps, ≥ 0.

    Returns:
        The run at steps 0 … ``steps``.

    Raises:
        ValueError: for arguments outside their range.

    Source:
        X5.

    Example:
        >>> run = equicorrelated_descent(50.0, noise_level=0.25, step=0.01, steps=1)
        >>> run.clean_margin.round(3).tolist(), run.noise_margin.round(3).tolist()
        ([0.0, 0.13], [0.0, 0.12])
    """
    q, delta = check_positive(coupling, "coupling"), check_noise_level(noise_level)
    ds, total = check_positive(step, "step"), check_integer(steps, "steps", minimum=0)
    z = np.zeros((total + 1, 2))
    for k in range(total):
        z[k + 1] = z[k] + ds * _equicorrelated_slope(z[k], q, delta)
    return _equicorrelated_run(ds * np.arange(total + 1), z, delta)


def equicorrelated_flow(times: ArrayLike, *, coupling: float, noise_level: float) -> EquicorrelatedRun:
    """Integrate ż_c = (1−σ(z_c)) + qG, ż_n = −σ(z_n) + qG, G = (1−δ)(1−σ(z_c)) − δσ(z_n), from zero.

    Args:
        times: ``[T]`` increasing s ≥ 0, s = (a−b) t/n.
        coupling: q > 0.
        noise_level: δ in [0, 1).

    Returns:
        The run at the given times, to a relative 1e-10 (an implicit method: large q makes the system stiff).

    Raises:
        ValueError: for arguments outside their range, or times that decrease.

    Source:
        X5.

    Example:
        >>> late = equicorrelated_flow([0.0, 100.0], coupling=50.0, noise_level=0.25)
        >>> bool(late.noise_margin[1] < 0)  # the noise is fitted in the end
        True
    """
    from scipy.integrate import solve_ivp  # heavy: loaded on use

    q, delta = check_positive(coupling, "coupling"), check_noise_level(noise_level)
    s = as_real_array(times, "times").astype(np.float64)
    if s.ndim != 1 or s.size == 0 or (s < 0).any() or (np.diff(s) < 0).any():
        raise ValueError(f"times must be [T] increasing numbers >= 0, got {s.tolist() if s.size <= 8 else f'shape {list(s.shape)}'}")

    def slope(_: float, z: NDArray[np.float64]) -> NDArray[np.float64]:
        return _equicorrelated_slope(z, q, delta)

    def jacobian(_: float, z: NDArray[np.float64]) -> NDArray[np.float64]:
        d = _sigmoid(z) * _sigmoid(-z)
        shared = -q * np.array([(1 - delta) * d[0], delta * d[1]])
        return np.asarray(np.stack([shared, shared]) - np.diag(d))

    end = float(s[-1])
    if end * (1 + q) < 1 / LARGEST:  # nothing has moved
        return _equicorrelated_run(s, np.zeros((s.size, 2)), delta)
    first = 1e-3 * min(end, 1 / (1 + q))
    solution = solve_ivp(slope, (0, end), np.zeros(2), method="Radau", jac=jacobian, t_eval=s, rtol=1e-10, atol=1e-12, first_step=first)

    return _equicorrelated_run(s, solution.y.T, delta)


def turning_alpha(coupling: float, noise_level: float) -> float:
    """Return α* = qδ/(1+qδ), the ratio at which the noisy loss of the equicorrelated problem stops rising.

    Args:
        coupling: q of :func:`equicorrelated_coupling`.
        noise_level: δ in [0, ½).

    Raises:
        ValueError: unless q > 1/(1−2δ): below it the noisy loss falls from the start, and nothing turns.

    Source:
        X6.

    Example:
        >>> turning_alpha(10.0, 0.1)
        0.5
    """
    q, delta = check_positive(coupling, "coupling"), check_noise_level(noise_level)
    if q * (1 - 2 * delta) <= 1:
        raise ValueError(f"coupling must exceed 1/(1 - 2 noise_level) for the noisy loss to rise at first, got {coupling} at {noise_level}")
    return q * delta / (1 + q * delta)


def turning_time(coupling: float, noise_level: float) -> float:
    """Return s* ≈ [ln(1+qδ) + δ ln α* − C_0] / (qδ(1−δ)), the time of the turn for large q (within 5 % from q = 10 on).

    C_0 = δ ln α_0 − ln(1−α_0) with α_0 = δ/(1−δ): the collapsed flow (X2) is followed up to α*.

    Args:
        coupling: q of :func:`equicorrelated_coupling`.
        noise_level: δ in (0, ½).

    Raises:
        ValueError: as :func:`turning_alpha`, or for δ = 0.

    Source:
        X6; time s = (a−b) t/n.

    Example:
        >>> round(turning_time(100.0, 0.3), 4)
        0.1485
    """
    top = turning_alpha(coupling, noise_level)
    if noise_level == 0:
        raise ValueError(f"noise_level must lie in (0, 0.5) for a noisy loss to turn, got {noise_level}")
    delta, start = float(noise_level), initial_alpha(noise_level)
    rise = np.log1p(coupling * delta) + np.log1p(-start) + delta * np.log(top / start)
    return float(rise / (coupling * delta * (1 - delta)))


def two_cluster_alpha(
    kernel: ArrayLike,
    *,
    sizes: ArrayLike,
    noise_levels: ArrayLike,
    learning_rate: float,
    steps: int,
    initial_logits: ArrayLike = (0.0, 0.0),
) -> FloatArray:
    """Return α^(0), α^(1) of two collapsed clusters of any size and noise level under gradient descent: a map of two logits.

    Args:
        kernel: ``[2, 2]`` kernel between the clusters, (k_00, k_01; k_10, k_11).
        sizes: ``[2]`` samples n_0, n_1.
        noise_levels: ``[2]`` δ_0, δ_1 in [0, 1).
        learning_rate: η > 0, for the mean loss over n_0 + n_1.
        steps: number of steps, ≥ 0.
        initial_logits: ``[2]`` h of class 0 and class 1.

    Returns:
        ``[steps + 1, 2]``.

    Raises:
        ValueError: for shapes or values out of range.

    Source:
        X10; the counterexample to one α for both classes (D1) and to the class-wise reading of Thm 4.5 (D10).

    Example:
        >>> alpha = two_cluster_alpha([[1, 0.5], [0.5, 1]], sizes=[20, 80], noise_levels=[0.3, 0.3], learning_rate=1.0, steps=1)
        >>> bool(alpha[1, 0] < alpha[0, 0])  # the minority's ratio falls at first: n_0 k_00 < n_1 k_10
        True
    """
    k, n, delta, h = _two_clusters(kernel, sizes, noise_levels, initial_logits)
    rate = check_positive(learning_rate, "learning_rate") / n.sum()
    odds = delta / (1 - delta)
    sign = np.array([-1.0, 1.0])
    result = np.empty((check_integer(steps, "steps", minimum=0) + 1, 2))
    for step in range(result.shape[0]):
        if step:
            # Mean residual of a cluster: f − (1−δ_1) in class 1, f − δ_0 in class 0; written with 1−f_true to stay accurate.
            missing = _sigmoid(-sign * h)
            residual = -sign * ((1 - delta) * missing - delta * _sigmoid(sign * h))
            h = h - rate * (k @ (n * residual))
        result[step] = odds * np.exp(sign * h)
    return result


def same_alpha_imbalance(kernel: ArrayLike, *, sizes: ArrayLike) -> float:
    """Return [n_1(k_11+k_10) − n_0(k_00+k_01)] / n; zero exactly when one α serves both classes at all times.

    The identity needs equal noise levels and opposite initial logits besides.

    Args:
        kernel: ``[2, 2]``.
        sizes: ``[2]`` n_0, n_1.

    Raises:
        ValueError: for shapes or values out of range.

    Source:
        D1.

    Example:
        >>> same_alpha_imbalance([[1, 0.5], [0.5, 1]], sizes=[50, 50])
        0.0
    """
    k, n, _, _ = _two_clusters(kernel, sizes, (0.0, 0.0), (0.0, 0.0))
    return float((n[1] * (k[1, 1] + k[1, 0]) - n[0] * (k[0, 0] + k[0, 1])) / n.sum())


def cosine_from_alpha_gap(alpha: ArrayLike, *, within: float, between: float) -> FloatArray:
    """Return cos∠(∇L(D), ∇L(D̂)) = [1 + (Δα/(2(1−ᾱ)))² (K_w+K_b)/(K_w−K_b)]^{−1/2} when only the classes' α differ.

    Exact for collapsed classes with ‖g_clean^(0)‖ = ‖g_clean^(1)‖ and one noise level: a small gap is amplified as ᾱ → 1.

    Args:
        alpha: ``[..., 2]`` α^(0), α^(1).
        within: K_w, kernel inside a class (both alike).
        between: K_b < K_w, kernel between the classes.

    Returns:
        ``[...]``; negative where ᾱ > 1, zero where ᾱ = 1 and the two differ, NaN where both are exactly 1 (no gradient).

    Raises:
        ValueError: unless K_w > |K_b|, or for negative ratios.

    Source:
        D1.

    Example:
        >>> float(cosine_from_alpha_gap([0.5, 0.5], within=1.0, between=0.5))
        1.0
    """
    a = as_real_array(alpha, "alpha")
    if a.ndim == 0 or a.shape[-1] != 2 or (a < 0).any():
        raise ValueError(f"alpha must hold pairs [..., 2] of numbers >= 0, got {a.tolist() if a.size <= 4 else f'shape {list(a.shape)}'}")
    w, b = _number(within, "within"), _number(between, "between")
    if not w > abs(b):
        raise ValueError(f"within must exceed |between| = {abs(b):g}, got {within}")
    mean_rest, half_gap = 1 - a.mean(axis=-1), (a[..., 0] - a[..., 1]) / 2
    # The cosine is that of a right triangle with legs 1−ᾱ and (Δα/2) √((K_w+K_b)/(K_w−K_b)).
    length = np.hypot(mean_rest, half_gap * np.sqrt((w + b) / (w - b)))
    return np.asarray(np.divide(mean_rest, length, out=np.full(length.shape, np.nan), where=length > 0))


def _equicorrelated_slope(z: NDArray[np.float64], q: float, delta: float) -> NDArray[np.float64]:
    missing, fitted = _sigmoid(-z[0]), _sigmoid(z[1])
    shared = q * ((1 - delta) * missing - delta * fitted)
    return np.array([missing + shared, -fitted + shared], dtype=np.float64)


def _equicorrelated_run(times: FloatArray, z: NDArray[np.float64], delta: float) -> EquicorrelatedRun:
    alpha = delta * _sigmoid(z[:, 1]) / ((1 - delta) * _sigmoid(-z[:, 0]))
    return EquicorrelatedRun(times, z[:, 0], z[:, 1], alpha)


def _two_clusters(
    kernel: ArrayLike, sizes: ArrayLike, noise_levels: ArrayLike, initial_logits: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    k = as_real_array(kernel, "kernel")
    if k.shape != (2, 2) or k[0, 1] != k[1, 0]:
        raise ValueError(f"kernel must be a symmetric [2, 2] array, got {k.tolist() if k.size <= 9 else f'shape {list(k.shape)}'}")
    named = (("sizes", sizes), ("noise_levels", noise_levels), ("initial_logits", initial_logits))
    pairs = [as_real_array(values, name) for name, values in named]
    for (name, _), values in zip(named, pairs, strict=True):
        if values.shape != (2,):
            raise ValueError(f"{name} must hold two numbers, got shape {list(values.shape)}")
    n, delta, h = pairs
    if (n < 1e-50).any():
        raise ValueError(f"sizes must be at least 1e-50, got {n.tolist()}")
    if (delta < 0).any() or (delta >= 1).any():
        raise ValueError(f"noise_levels must lie in [0, 1), got {delta.tolist()}")
    return k, n, delta, h


def _number(value: float, name: str) -> float:
    array = as_real_array(value, name)
    if array.ndim != 0:
        raise ValueError(f"{name} must be a number, got shape {list(array.shape)}")
    return float(array)
