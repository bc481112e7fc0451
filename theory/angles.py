"""From the angle between two inputs to the angle between their gradients, for any number of hidden layers (Thm 3.1 [A], Thm 3.1 [B]).

Conventions: θ (``theta``) is the angle θ_d between two inputs, in radians, 0 ≤ θ ≤ π; ``depth`` is the number L of hidden layers of
Eq. (2) [B]; [A]'s "two-layer" networks have depth 1. θ_l is the angle between the l-th hidden layers and θ_h the angle between the
gradients ∇h, at infinite width. Every function takes arrays of any shape; a scalar gives a NumPy scalar; float32 in gives float32 out
(computed in float64, rounded once).
Derivations, error analysis and worked numbers: theory/notes/angles.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._arc_cosine import Float64Array, gradient_gap, gradient_gap_slope, layers, shallow_gradient_gap, sine_minus, supplement
from theory._parallel import blockwise
from theory._validation import check_angle, check_choice, check_depth

__all__ = [
    "INFINITE_DEPTH_COSINE",
    "cos_gradient_angle",
    "cos_gradient_angle_derivative",
    "gradient_angle",
    "gradient_angle_derivative",
    "gradient_gap_bound",
    "hidden_angle",
    "inverse_gradient_angle",
    "kappa0",
    "kappa1",
    "max_gradient_angle",
    "one_minus_cos_gradient_angle",
    "orthogonal_angle",
    "small_angle_law",
    "spreading_threshold",
    "turning_point",
]

ACTIVATIONS = ("relu", "linear")

INFINITE_DEPTH_COSINE = 0.25
"""Limit of cos θ_h for depth → ∞ at every fixed θ in (0, π] (75.52°); the error decays like log(L)/L (G5)."""


def gradient_angle(theta: ArrayLike, *, depth: int = 1, activation: str = "relu") -> NDArray[np.floating]:
    """Angle θ_h between the gradients of two inputs at angle θ, at infinite width.

    ReLU, depth 1: cos θ_h = (1 − θ/π) cos θ + sin θ/(2π). Linear: θ_h = θ. The relative error is at most 8 ulp at depth 1 and
    8 + 2·depth ulp at depths 2 … 64, on the whole of [1e-300, π].

    Args:
        theta: angles between inputs, radians, in [0, π], any shape.
        depth: number of hidden layers L ≥ 1.
        activation: "relu" or "linear".

    Returns:
        θ_h in radians, in the shape of ``theta``.

    Raises:
        ValueError: if an angle lies outside [0, π] or is not finite, if ``depth`` < 1, or the activation is unknown.

    Source: Thm 3.1 [A], Eq. (16) [A]; depth L from Eq. (2) [B] (G2, G4).

    >>> round(float(np.degrees(gradient_angle(np.pi / 2))), 2)
    80.84
    """
    angle, depth = _checked(theta, depth)
    if check_choice(activation, "activation", ACTIVATIONS) == "linear":
        return blockwise(lambda block: block.copy(), angle)
    return blockwise(lambda block: _relu_gradient_angle(block, depth), angle)


def hidden_angle(theta: ArrayLike, *, depth: int = 1) -> NDArray[np.floating]:
    """Angle θ_L between the ``depth``-th hidden layers of two inputs at angle θ: cos θ_l = κ1(θ_{l−1}), at infinite width.

    Same accuracy as `gradient_angle`. θ_L ≤ θ: hidden layers draw all inputs together, θ_l ≈ 3π/l for large l.

    Args:
        theta: angles between inputs, radians, in [0, π], any shape.
        depth: number of hidden layers L ≥ 1.

    Returns:
        θ_L in radians, in the shape of ``theta``.

    Raises:
        ValueError: if an angle lies outside [0, π] or is not finite, or ``depth`` < 1.

    Source: Eq. (2) [B] (G4).

    >>> round(float(np.cos(hidden_angle(np.pi / 2))), 6)  # κ1(π/2) = 1/π
    0.31831
    """
    angle, depth = _checked(theta, depth)
    return blockwise(lambda block: _last_layer(block, depth), angle)


def cos_gradient_angle(theta: ArrayLike, *, depth: int = 1, activation: str = "relu") -> NDArray[np.floating]:
    """Cosine of θ_h, to a few units of the last digit of 1; see `one_minus_cos_gradient_angle` for small angles.

    >>> round(float(cos_gradient_angle(np.pi / 2)), 6)  # 1/(2π)
    0.159155
    """
    return 1.0 - one_minus_cos_gradient_angle(theta, depth=depth, activation=activation)


def one_minus_cos_gradient_angle(theta: ArrayLike, *, depth: int = 1, activation: str = "relu") -> NDArray[np.floating]:
    """1 − cos θ_h with full relative precision: the gap D_L/(L+1), which is Lθ/(2π) + O(θ²) at small angles (G5).

    Raises:
        ValueError: as `gradient_angle`.

    >>> float(one_minus_cos_gradient_angle(2e-200 * np.pi))
    1e-200
    """
    angle, depth = _checked(theta, depth)
    if check_choice(activation, "activation", ACTIVATIONS) == "linear":
        return blockwise(lambda block: 2.0 * np.sin(0.5 * block) ** 2, angle)
    return blockwise(lambda block: _relu_gap(block, depth) / (depth + 1), angle)


def cos_gradient_angle_derivative(theta: ArrayLike, *, depth: int = 1) -> NDArray[np.floating]:
    """Derivative d cos θ_h/dθ (ReLU); at depth 1, −cos θ/(2π) − (1 − θ/π) sin θ.

    Negative up to `turning_point`, positive beyond. At θ = 0 it is −L/(2π).

    Raises:
        ValueError: as `gradient_angle`.

    Source: Eq. (27) [A] (G3); any depth in theory/notes/angles.md.

    >>> round(float(cos_gradient_angle_derivative(np.pi / 2)), 12)  # −1/2
    -0.5
    """
    angle, depth = _checked(theta, depth)
    return blockwise(lambda block: -gradient_gap_slope(block, depth) / (depth + 1), angle)


def gradient_angle_derivative(theta: ArrayLike, *, depth: int = 1, activation: str = "relu") -> NDArray[np.floating]:
    """dθ_h/dθ = −(d cos θ_h/dθ)/sin θ_h; 1 for the linear network. For ReLU it is ½√(L/(πθ)) at small θ, and inf at θ = 0.

    Raises:
        ValueError: as `gradient_angle`.

    Source: Eq. (27) [A] (G3).

    >>> round(float(gradient_angle_derivative(1.0)), 6)
    0.762801
    """
    angle, depth = _checked(theta, depth)
    if check_choice(activation, "activation", ACTIVATIONS) == "linear":
        return blockwise(np.ones_like, angle)

    def derivative(block: Float64Array) -> Float64Array:
        angle_h = _relu_gradient_angle(block, depth)
        with np.errstate(divide="ignore"):
            return np.asarray(gradient_gap_slope(block, depth) / ((depth + 1) * np.sin(angle_h)))

    return blockwise(derivative, angle)


def inverse_gradient_angle(theta_h: ArrayLike, *, depth: int = 1, activation: str = "relu") -> NDArray[np.floating]:
    """Input angle θ in [0, `turning_point`] whose gradient angle is θ_h: the inverse of `gradient_angle` where that is increasing.

    Safeguarded Newton iteration on 1 − cos θ_h. The relative error is a few ulp times the condition number
    θ_h/(θ · dθ_h/dθ), which is 2 at small angles and grows without bound at the turning point.

    Args:
        theta_h: gradient angles, radians, in [0, gradient_angle(turning_point(depth))].
        depth: number of hidden layers L ≥ 1.
        activation: "relu" or "linear".

    Raises:
        ValueError: if an angle lies outside the attained range.

    Source: Cor 3.2 [A], Thm 3.1(2) [B] (G4).

    >>> round(float(np.degrees(inverse_gradient_angle(np.pi / 2))), 2)
    113.22
    """
    depth = check_depth(depth)
    if check_choice(activation, "activation", ACTIVATIONS) == "linear":
        return blockwise(lambda block: block.copy(), check_angle(theta_h, "theta_h"))
    angle = check_angle(theta_h, "theta_h")
    turn = turning_point(depth)
    largest = float(gradient_angle(turn, depth=depth))
    if angle.size and float(angle.max()) > largest * (1.0 + 4.0 * float(np.finfo(angle.dtype).eps)):
        raise ValueError(f"theta_h must lie in [0, {largest:.6g}], the gradient angles attained at depth {depth}, got {float(angle.max())}")
    return blockwise(lambda block: _invert(block, depth, turn), angle)


def turning_point(depth: int = 1) -> float:
    """Input angle at which θ_h is largest, in radians: 142.57° at depth 1, where φ tan φ = ½ for φ = π − θ; → π with growing depth.

    Monotonicity of θ_h in θ (Cor 3.2 [A]) holds up to this angle and fails beyond it (G4).

    >>> [round(float(np.degrees(turning_point(depth))), 1) for depth in (1, 2, 3)]
    [142.6, 148.3, 152.7]
    """
    return _turning_point(check_depth(depth))


def max_gradient_angle(depth: int = 1) -> float:
    """Largest gradient angle over input angles in [0, π/2], attained at π/2: 80.84° at depth 1, smaller at greater depth (G4).

    >>> [round(float(np.degrees(max_gradient_angle(depth))), 2) for depth in (1, 2, 5, 10)]
    [80.84, 76.79, 72.62, 71.56]
    """
    return float(gradient_angle(0.5 * math.pi, depth=depth))


def orthogonal_angle() -> float:
    """Input angle above which gradients make an obtuse angle at depth 1: θ_h ≤ 90° iff θ ≤ 113.22° (G4).

    It solves tan φ = 2φ for φ = π − θ. At depth ≥ 2 gradients never make an obtuse angle.

    >>> round(float(np.degrees(orthogonal_angle())), 2)
    113.22
    """
    return _root(lambda theta: 2.0 - shallow_gradient_gap(theta), 0.5 * math.pi, turning_point(1))


def spreading_threshold(depth: int = 1) -> float:
    """Input angle below which ReLU spreads inputs (θ_h > θ) and above which it contracts them: 66.78° at depth 1 (tan θ = 2θ) (G4).

    >>> round(float(np.degrees(spreading_threshold())), 2)
    66.78
    """
    return _spreading_threshold(check_depth(depth))


def small_angle_law(theta: ArrayLike, *, depth: int = 1) -> NDArray[np.floating]:
    """Leading term √(Lθ/π) of θ_h at small θ: a square root, not uniform in depth (it needs θ ≪ 1/L).

    Source: Cor A.3 [A], Thm 3.1(1) [B], made quantitative (G5).

    >>> round(float(np.degrees(small_angle_law(np.radians(1.0)))), 2)  # 1° between inputs is 4.3° √L between gradients
    4.27
    """
    angle, depth = _checked(theta, depth)
    return blockwise(lambda block: np.sqrt(block * (depth / np.pi)), angle)


def gradient_gap_bound(theta: ArrayLike, *, depth: int = 1) -> NDArray[np.floating]:
    """Rigorous upper bound Lθ/(2π) + θ²/2 of 1 − cos θ_h on [0, π/2], any depth (G5; proof in theory/notes/angles.md).

    Raises:
        ValueError: if an angle lies outside [0, π/2].

    >>> float(gradient_gap_bound(0.01)) >= float(one_minus_cos_gradient_angle(0.01))
    True
    """
    angle, depth = _checked(theta, depth)
    limit = np.nextafter(angle.dtype.type(0.5 * np.pi), angle.dtype.type(4))
    if (angle > limit).any():
        raise ValueError(f"theta must lie in [0, pi/2] for this bound, got {float(angle.max())}")
    return blockwise(lambda block: block * (depth / (2.0 * np.pi)) + 0.5 * block * block, angle)


def kappa0(theta: ArrayLike) -> NDArray[np.floating]:
    """Arc-cosine kernel of order 0, κ0(θ) = 1 − θ/π, to a few ulp relative on [0, π], at θ → π too.

    >>> round(float(kappa0(np.pi / 2)), 12)
    0.5
    """
    return blockwise(lambda block: supplement(block) / np.pi, check_angle(theta, "theta"))


def kappa1(theta: ArrayLike) -> NDArray[np.floating]:
    """Arc-cosine kernel of order 1, κ1(θ) = [(π − θ) cos θ + sin θ]/π, to a few ulp relative on [0, π]: φ³/(3π) at φ = π − θ → 0.

    >>> round(float(kappa1(np.pi / 2) * np.pi), 12)
    1.0
    """

    def value(block: Float64Array) -> Float64Array:
        angle = supplement(block)
        return angle**3 * sine_minus(angle) / np.pi

    return blockwise(value, check_angle(theta, "theta"))


@lru_cache(maxsize=256)
def _turning_point(depth: int) -> float:
    return _root(lambda theta: gradient_gap_slope(theta, depth), 0.5 * math.pi, math.pi)


@lru_cache(maxsize=256)
def _spreading_threshold(depth: int) -> float:
    return _root(lambda theta: gradient_gap(theta, depth) / (depth + 1) - 2.0 * np.sin(0.5 * theta) ** 2, 0.5, 0.5 * math.pi)


def _checked(theta: ArrayLike, depth: int) -> tuple[NDArray[np.floating], int]:
    return check_angle(theta, "theta"), check_depth(depth)


def _relu_gap(theta: Float64Array, depth: int) -> Float64Array:
    return shallow_gradient_gap(theta) if depth == 1 else gradient_gap(theta, depth)


def _relu_gradient_angle(theta: Float64Array, depth: int) -> Float64Array:
    # D_L = (L+1)(1 − cos θ_h) = 2(L+1) sin²(θ_h/2); θ_h/2 stays below 47°, where arcsin is well conditioned.
    return np.asarray(2.0 * np.arcsin(np.sqrt(_relu_gap(theta, depth) * (0.5 / (depth + 1)))))


def _last_layer(theta: Float64Array, depth: int) -> Float64Array:
    for angle, _, _ in layers(theta, depth):  # noqa: B007 - only the last layer is wanted
        pass
    return angle


def _invert(theta_h: Float64Array, depth: int, turn: float) -> Float64Array:
    target = 2.0 * np.sin(0.5 * theta_h) ** 2
    # Start at the root of the upper bound Lθ/(2π) + θ²/2 of the gap (G5), which lies below the solution.
    linear = depth / (2.0 * np.pi)
    theta = np.minimum(2.0 * target / (linear + np.sqrt(linear * linear + 2.0 * target)), turn)
    low, high = np.zeros_like(theta), np.full_like(theta, turn)
    for _ in range(100):
        residual = _relu_gap(theta, depth) / (depth + 1) - target
        low, high = np.where(residual < 0, theta, low), np.where(residual < 0, high, theta)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = theta - residual * (depth + 1) / gradient_gap_slope(theta, depth)
        update = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
        settled = np.abs(update - theta) <= 2.0 * np.finfo(np.float64).eps * update
        theta = update
        if settled.all():
            break
    return theta


def _root(function: Callable[[Float64Array], Float64Array], low: float, high: float) -> float:
    """Root of a function that is positive at ``low`` and not positive at ``high``: each round narrows the bracket 64-fold."""
    while True:
        grid = np.linspace(low, high, 65)
        index = int(np.argmax(function(grid[1:]) <= 0.0))
        if (low, high) == (grid[index], grid[index + 1]) or grid[index + 1] - grid[index] <= 2.0 * np.spacing(high):
            return float(0.5 * (grid[index] + grid[index + 1]))
        low, high = float(grid[index]), float(grid[index + 1])
