"""The ratio α of noisy to clean segment gradient through training: recursion, flow, effective learning rate.

With one collapsed class (all samples share φ), two balanced symmetric clusters, or C balanced clusters under softmax, the whole of
training is one number z (the margin), and α_t = α_0 e^{z_t}. With noise level δ and effective kernel scale κ

    α_{t+1} = α_t exp( ηκ δ(1−δ)(1−α_t) / (δ+(1−δ)α_t) ),        dα/dt = κ δ(1−δ) α(1−α) / (δ+(1−δ)α).

κ = ‖φ‖² (one class), (k−k′)/2 (two clusters), (k−k′)/(C−1) (C clusters; k within a class, k′ between). Derivations: notes/alpha.md.
Time is η · step; the loss is the mean over all n samples.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import (
    LARGEST,
    as_real_array,
    check_choice,
    check_flag,
    check_integer,
    check_noise_level,
    check_number,
    check_positive,
)

__all__ = [
    "alpha_flow",
    "alpha_from_truth_residual",
    "alpha_recursion",
    "cluster_kernel_scale",
    "effective_learning_rate",
    "first_step_overshoot_rate",
    "initial_alpha",
    "local_stability_rate",
    "no_overshoot_rate",
    "noise_threshold",
    "step_factor_from_residual",
]

FloatArray = NDArray[np.floating[Any]]


def initial_alpha(noise_level: float, *, n_classes: int = 2) -> float:
    """Return α_0 = δ / ((C−1)(1−δ)), the gradient ratio at a network that outputs 1/C everywhere.

    Args:
        noise_level: δ in [0, 1).
        n_classes: C ≥ 2.

    Raises:
        ValueError: for a noise level outside [0, 1) or fewer than two classes.

    Source:
        Eq. (8), (14) [A], Eq. (5), (11) [B]; exact for collapsed classes (I5, M3).

    Example:
        >>> initial_alpha(0.5), round(1 / initial_alpha(0.3, n_classes=10), 12)
        (1.0, 21.0)
    """
    delta = check_noise_level(noise_level)
    return delta / ((check_integer(n_classes, "n_classes", minimum=2) - 1) * (1 - delta))


def noise_threshold(n_classes: int) -> float:
    """Return (C−1)/C, the noise level above which noise starts in front (α_0 > 1).

    Raises:
        ValueError: for fewer than two classes.

    Source:
        X9 (the papers state ½ for every C).

    Example:
        >>> noise_threshold(10)
        0.9
    """
    classes = check_integer(n_classes, "n_classes", minimum=2)
    return (classes - 1) / classes


def cluster_kernel_scale(within: float, between: float, *, n_classes: int = 2, loss: str = "logistic") -> float:
    """Return κ of balanced symmetric clusters: (k−k′)/2 for two classes with one logit, (k−k′)/(C−1) for C classes under softmax.

    Args:
        within: kernel k of two samples of the same cluster.
        between: kernel k′ < k of two samples of different clusters.
        n_classes: C; 2 for the logistic loss.
        loss: ``"logistic"`` or ``"softmax"``. With C = 2 the softmax has twice the κ of the logistic loss: its margin is a difference of
            two logits, each with the kernel k.

    Raises:
        ValueError: unless k > k′ and the class count fits the loss.

    Source:
        X1.

    Example:
        >>> cluster_kernel_scale(1.0, 0.5), cluster_kernel_scale(1.0, 0.5, n_classes=2, loss="softmax")
        (0.25, 0.5)
    """
    k, other = (check_number(value, name) for value, name in ((within, "within"), (between, "between")))
    classes = check_integer(n_classes, "n_classes", minimum=2)
    check_choice(loss, "loss", ("logistic", "softmax"))
    if not k > other:
        raise ValueError(f"within must exceed between = {other}, got {within}")
    if loss == "logistic":
        if classes != 2:
            raise ValueError(f"n_classes must be 2 for the logistic loss, got {n_classes}")
        return (k - other) / 2
    return (k - other) / (classes - 1)


def alpha_recursion(
    alpha0: ArrayLike, *, learning_rate: float, kernel_scale: float, noise_level: float, steps: int, complement: bool = False
) -> FloatArray:
    """Return α_0 … α_steps of gradient descent on collapsed classes.

    Args:
        alpha0: α_0 ≥ 0, scalar or ``[...]``.
        learning_rate: η > 0.
        kernel_scale: κ > 0.
        noise_level: δ in [0, 1).
        steps: number of steps, ≥ 0.
        complement: return 1 − α_t instead, without the cancellation near α = 1.

    Returns:
        ``[steps + 1, ...]``.

    Raises:
        ValueError: for a negative α_0 or arguments outside their range.

    Source:
        X1; Thm 4.5 [A, B] in its exactly solvable case.

    Example:
        >>> alpha_recursion(initial_alpha(0.4), learning_rate=1.0, kernel_scale=1.0, noise_level=0.4, steps=2).round(4).tolist()
        [0.6667, 0.7368, 0.7942]
    """
    start = _check_alpha(alpha0, "alpha0")
    speed = check_positive(learning_rate, "learning_rate") * check_positive(kernel_scale, "kernel_scale")
    delta = check_noise_level(noise_level)
    total = check_integer(steps, "steps", minimum=0)
    check_flag(complement, "complement")
    result = np.empty((total + 1, *start.shape), dtype=start.dtype)
    alpha, rest = start.astype(np.float64), 1 - start.astype(np.float64)
    result[0] = rest if complement else alpha
    for step in range(total):
        with np.errstate(divide="ignore", invalid="ignore"):
            move = np.where(alpha > 0, speed * delta * (1 - delta) * rest / (delta + (1 - delta) * alpha), 0)
        # 1 − α e^x = (1 − α) − α (e^x − 1): both terms are small near α = 1, none is a difference of numbers near one.
        growth = alpha * np.expm1(move)
        alpha, rest = alpha + growth, rest - growth
        result[step + 1] = rest if complement else alpha
    return result


def alpha_flow(times: ArrayLike, *, alpha0: ArrayLike, kernel_scale: float, noise_level: float, complement: bool = False) -> FloatArray:
    """Return α(t) of gradient flow on collapsed classes, by inverting its implicit solution.

    The solution δ ln α − ln|1−α| = κδ(1−δ)t + C_0 is solved for v, the growth of the margin, in the form (notes/alpha.md)

        δ v + (1−δ) ln(1 + α_0(e^v − 1)) = κδ(1−δ)t,    α = α_0 e^v / (1 + α_0(e^v − 1)),    1−α = (1−α_0) / (1 + α_0(e^v − 1)),

    whose terms are all positive: nothing cancels at t → 0, at t → ∞, or for α_0 > 1 (noise in front; α then falls to 1).

    Args:
        times: t ≥ 0, scalar or ``[...]``; broadcasts with ``alpha0``.
        alpha0: α(0) ≥ 0.
        kernel_scale: κ > 0.
        noise_level: δ in [0, 1).
        complement: return 1 − α(t) instead, with full relative accuracy: it decays like e^{−κδ(1−δ)t}.

    Returns:
        α(t), or 1 − α(t), of the broadcast shape.

    Raises:
        ValueError: for negative times or α_0, or arguments outside their range.

    Source:
        X2.

    Example:
        >>> alpha_flow([0.0, 10.0, 1e6], alpha0=initial_alpha(0.4), kernel_scale=1.0, noise_level=0.4).round(4).tolist()
        [0.6667, 0.9649, 1.0]
    """
    t = as_real_array(times, "times")
    if (t < 0).any():
        raise ValueError(f"times must be >= 0, got {t[t < 0].flat[0]}")
    start = _check_alpha(alpha0, "alpha0")
    delta = check_noise_level(noise_level)
    check_flag(complement, "complement")
    try:
        target, a = np.broadcast_arrays(check_positive(kernel_scale, "kernel_scale") * delta * (1 - delta) * t, start)
    except ValueError as error:
        if "broadcast" not in str(error):
            raise
        raise ValueError(f"times and alpha0 must have shapes that fit, got {list(t.shape)} and {list(start.shape)}") from None
    moves = a > 0  # α = 0 stays, and without noise the equation for its margin is 0 = 0
    v = _solve_margin_growth(np.where(moves, target, 0).astype(np.float64), np.where(moves, a, 1).astype(np.float64), delta)
    # Divided by e^v, which overflows first: 1 + a(e^v − 1) = e^v (e^{−v} + a(1 − e^{−v})).
    decay = np.exp(-v)
    denominator = decay - a * np.expm1(-v)
    return np.asarray((1 - a) * decay / denominator if complement else a / denominator).astype(t.dtype, copy=False)


def effective_learning_rate(learning_rate: float, *, alpha: ArrayLike, noise_level: float, form: str = "corrected") -> FloatArray:
    """Return η′_t, the rate at which descent on D follows the gradient of the noise-free loss L(D̂).

    Corrected: (1−δ)(1−α_t) η. Printed in both papers: (1−α_t)/(1+α_t) η, right only at t = 0 and C = 2, where both are (1−2δ) η.

    Args:
        learning_rate: η > 0.
        alpha: α_t ≥ 0, scalar or ``[...]``.
        noise_level: δ in [0, 1); the printed form does not use it.
        form: ``"corrected"`` or ``"printed"``.

    Returns:
        η′_t of the shape of ``alpha``; negative where α > 1.

    Raises:
        ValueError: for a negative α or arguments outside their range.

    Source:
        Prop 4.2 [A], Lemma 4.2 [B]; corrected in D4.

    Example:
        >>> float(effective_learning_rate(1.0, alpha=1.0, noise_level=0.3))
        0.0
    """
    eta = check_positive(learning_rate, "learning_rate")
    a = _check_alpha(alpha, "alpha")
    delta = check_noise_level(noise_level)
    if check_choice(form, "form", ("corrected", "printed")) == "printed":
        return np.asarray(eta * (1 - a) / (1 + a))
    return np.asarray(eta * (1 - delta) * (1 - a))


def alpha_from_truth_residual(residual: ArrayLike, *, noise_level: float) -> FloatArray:
    """Return α = δ(1−r) / ((1−δ) r) of collapsed classes whose mean residual to the *true* label is r.

    α reaches 1 exactly at r = δ (R2).

    Args:
        residual: r in (0, 1], the missing probability 1 − f of the true class.
        noise_level: δ in [0, 1).

    Raises:
        ValueError: for a residual outside (0, 1].

    Source:
        R2, R3.

    Example:
        >>> float(alpha_from_truth_residual(0.25, noise_level=0.25))
        1.0
    """
    r = _check_residual(residual)
    delta = check_noise_level(noise_level)
    return np.asarray(delta * (1 - r) / ((1 - delta) * r))


def step_factor_from_residual(residual: ArrayLike, *, noise_level: float) -> FloatArray:
    """Return 1 − δ/r with ∇L(D) = (1 − δ/r) ∇L(D̂), for a common mean residual r to the true label.

    Equal to (1−δ)(1−α_t) with α of :func:`alpha_from_truth_residual`.

    Args:
        residual: r in (0, 1].
        noise_level: δ in [0, 1).

    Raises:
        ValueError: for a residual outside (0, 1].

    Source:
        R3, the sharper form of Lemma 4.2 [B].

    Example:
        >>> float(step_factor_from_residual(0.5, noise_level=0.25))
        0.5
    """
    return np.asarray(1 - check_noise_level(noise_level) / _check_residual(residual))


def no_overshoot_rate(kernel_scale: float) -> float:
    """Return 4/κ: for η up to it the recursion never takes α from below to above 1, for any δ and any start.

    Raises:
        ValueError: for κ ≤ 0.

    Source:
        X3.

    Example:
        >>> no_overshoot_rate(0.5)
        8.0
    """
    return 4 / check_positive(kernel_scale, "kernel_scale")


def first_step_overshoot_rate(kernel_scale: float, noise_level: float) -> float:
    """Return ln((1−δ)/δ) / ((½−δ)κ): from f = ½ the first step overshoots α = 1 exactly for η above it.

    It falls to 4/κ as δ → ½ and grows without bound as δ → 0.

    Raises:
        ValueError: for κ ≤ 0, or δ outside (0, 1).

    Source:
        X3.

    Example:
        >>> first_step_overshoot_rate(1.0, 0.5)
        4.0
    """
    kappa = check_positive(kernel_scale, "kernel_scale")
    delta = _check_inner_noise_level(noise_level)
    # ln((1−δ)/δ) = 2 artanh(x), ½ − δ = x/2 with x = 1 − 2δ: the ratio 4 artanh(x)/x is smooth at x = 0.
    x = 1 - 2 * delta
    if delta < 0.25:  # x rounds to 1 long before the logarithm is lost
        return 2 * (math.log1p(-delta) - math.log(delta)) / (x * kappa)
    return 4 / kappa if x == 0 else 4 * float(np.arctanh(x)) / (x * kappa)


def local_stability_rate(kernel_scale: float, noise_level: float, *, monotone: bool = False) -> float:
    """Return the largest rate at which α = 1 attracts nearby α: 2/(κδ(1−δ)), or half of it for a monotone approach.

    Raises:
        ValueError: for κ ≤ 0, or δ outside (0, 1).

    Source:
        X3: the multiplier of 1 − α at α = 1 is 1 − ηκδ(1−δ).

    Example:
        >>> local_stability_rate(1.0, 0.5), local_stability_rate(1.0, 0.5, monotone=True)
        (8.0, 4.0)
    """
    delta = _check_inner_noise_level(noise_level)
    return (1 if check_flag(monotone, "monotone") else 2) / (check_positive(kernel_scale, "kernel_scale") * delta * (1 - delta))


def _solve_margin_growth(target: NDArray[np.float64], a: NDArray[np.float64], delta: float) -> NDArray[np.float64]:
    """Solve δ v + (1−δ) ln(1 + a(e^v − 1)) = target for v ≥ 0 by Newton's method.

    The left side increases in v; it is convex for a ≤ 1 and concave for a > 1, so Newton's method from the upper (lower) side converges
    monotonically from every start.
    """
    slope0 = delta + (1 - delta) * a
    with np.errstate(divide="ignore", invalid="ignore"):
        linear = np.where(target > 0, target / slope0, 0)
        # ln(1 + a(e^v − 1)) >= v + ln a for a <= 1: a second upper bound, sharp for late times.
        late = np.where(a > 0, target - (1 - delta) * np.log(np.minimum(a, 1)), np.inf)
    v = np.where(a <= 1, np.minimum(linear, late), linear)
    for _ in range(100):
        decay = np.exp(-v)
        scaled = decay - a * np.expm1(-v)  # e^{−v}(1 + a(e^v − 1))
        # Beyond it a e^v overflows, and ln(1 + a(e^v − 1)) = v + ln(scaled) has no small terms left to lose.
        small = v + np.log(np.maximum(a, 1)) < 700
        log_term = np.where(small, np.log1p(a * np.expm1(np.where(small, v, 0))), v + np.log(scaled))
        step = (delta * v + (1 - delta) * log_term - target) / (delta + (1 - delta) * a / scaled)
        new = np.maximum(v - step, 0)
        if (np.abs(new - v) <= 2 * np.finfo(np.float64).eps * v).all():
            return np.asarray(new)
        v = new
    return v


def _check_alpha(alpha: ArrayLike, name: str) -> FloatArray:
    values = as_real_array(alpha, name)
    if (values < 0).any():
        raise ValueError(f"{name} must be >= 0, got {values[values < 0].flat[0]}")
    return values


def _check_residual(residual: ArrayLike) -> FloatArray:
    r = as_real_array(residual, "residual")
    outside = (r < 1 / LARGEST) | (r > 1)
    if outside.any():
        raise ValueError(f"residual must lie in [{1 / LARGEST:g}, 1], got {r[outside].flat[0]}")
    return r


def _check_inner_noise_level(noise_level: float) -> float:
    delta = check_noise_level(noise_level)
    if delta == 0:
        raise ValueError(f"noise_level must lie in (0, 1), got {noise_level}")
    return delta
