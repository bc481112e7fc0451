"""The arc-cosine recursion that angles and kernels share, on float64 blocks: no validation, no loss of digits at 0 or at π.

One ReLU layer maps the angle θ to θ′ with cos θ′ = κ1(θ) = cos θ + (sin θ − θ cos θ)/π (Eq. (2) [B]). With s = sin(θ/2) this reads
s′ = s √(1 − q), q = (sin θ − θ cos θ)/(2π s²) ∈ [0, ½]: a product, so that every layer costs a relative error of an ulp or two however
small the angle is, while arccos(κ1(θ)) would lose all digits below θ = 1e-8. Derivation: theory/notes/angles.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["PI_LOW", "Float64Array", "gradient_gap", "gradient_gap_slope", "layers", "shallow_gradient_gap", "sine_minus", "supplement"]

Float64Array = NDArray[np.float64]

PI_LOW = 1.2246467991473532e-16
"""π minus the float64 number π: the second part of a two-part π."""

# Taylor coefficients of (sin θ − θ cos θ)/θ³ in θ²: (−1)^(k+1) 2k/(2k+1)!. The function is entire; after 17 terms the
# remainder at θ = π is below 34 π^33/35! < 1e-22 of a value of 1/π².
_SERIES = tuple((-1.0) ** (k + 1) * 2 * k / math.factorial(2 * k + 1) for k in range(1, 18))
_SMALLEST = float(np.finfo(np.float64).smallest_subnormal)


def supplement(theta: Float64Array) -> Float64Array:
    """Return π − θ for the real number π, to full relative precision at θ → π (never below zero)."""
    return np.maximum((np.pi - theta) + PI_LOW, 0.0)


def sine_minus(theta: Float64Array) -> Float64Array:
    """Return (sin θ − θ cos θ)/θ³ on [0, π] to a few ulp: ⅓ at 0, 1/π² at π."""
    square = theta * theta
    value = np.full_like(square, _SERIES[-1])
    for coefficient in _SERIES[-2::-1]:
        value *= square
        value += coefficient
    return value


def layers(theta: Float64Array, depth: int) -> Iterator[tuple[Float64Array, Float64Array, Float64Array]]:
    """Yield (θ_l, sin(θ_l/2), sin(θ_l/2)/sin(θ_{l−1}/2)) for l = 0 … depth; θ_l is the angle between the l-th hidden layers of Eq. (2) [B].

    l = 0 is the input angle, with a ratio of 1. The ratio √(1 − q) lies in [√½, 1] and is 1 at θ = 0.
    """
    half_sine = np.sin(0.5 * theta)
    yield theta, half_sine, np.ones_like(theta)
    for _ in range(depth):
        quotient = theta / np.maximum(half_sine, _SMALLEST)  # θ/s: 2 at small angles; 0 at θ = 0, where q = 0
        ratio = np.sqrt(1.0 - (theta * sine_minus(theta)) * (quotient * quotient) * (0.5 / np.pi))
        half_sine = half_sine * ratio
        theta = 2.0 * np.arcsin(half_sine)
        yield theta, half_sine, ratio


def gradient_gap(theta: Float64Array, depth: int) -> Float64Array:
    """Return D_L = (L+1)(1 − cos θ_h): D_0 = 1 − cos θ_0, D_l = (1 − cos θ_l) + l θ_{l−1}/π + κ0(θ_{l−1}) D_{l−1}; every term is ≥ 0."""
    recursion = layers(theta, depth)
    previous, half_sine, _ = next(recursion)
    gap = 2.0 * half_sine * half_sine
    for layer, (angle, half_sine, _) in enumerate(recursion, start=1):
        fraction = previous * (1.0 / np.pi)
        gap = 2.0 * half_sine * half_sine + layer * fraction + (1.0 - fraction) * gap
        previous = angle
    return gap


def shallow_gradient_gap(theta: Float64Array) -> Float64Array:
    """Return D_1 = 2(1 − cos θ_h) for one hidden layer in closed form, [2a + (θ(1 − a) − t)/π]/(1 + a)·2 with t = tan(θ/2), a = t²."""
    tangent = np.tan(0.5 * theta)
    square = tangent * tangent
    return 2.0 * (2.0 * square + (theta * (1.0 - square) - tangent) * (1.0 / np.pi)) / (1.0 + square)


def gradient_gap_slope(theta: Float64Array, depth: int) -> Float64Array:
    """Return dD_L/dθ = −(L+1) d cos θ_h/dθ.

    With v_l = dθ_l/dθ and p_l = −d cos θ_l/dθ = v_l sin θ_l: p_l = κ0(θ_{l−1}) p_{l−1} and
    v_l = κ0(θ_{l−1}) v_{l−1} sin θ_{l−1}/sin θ_l, where the quotient of sines is cos(θ_{l−1}/2)/cos(θ_l/2) over the ratio of the
    half sines, finite at θ = 0; D_l′ = p_l + (v_{l−1}/π)(l − D_{l−1}) + κ0(θ_{l−1}) D_{l−1}′.
    """
    recursion = layers(theta, depth)
    previous, half_sine, _ = next(recursion)
    gap = 2.0 * half_sine * half_sine
    half_cosine = np.cos(0.5 * theta)
    velocity = np.ones_like(theta)
    cosine_slope = 2.0 * half_sine * half_cosine
    slope = cosine_slope
    for layer, (angle, half_sine, ratio) in enumerate(recursion, start=1):
        fraction = previous * (1.0 / np.pi)
        cosine_slope = (1.0 - fraction) * cosine_slope
        slope = cosine_slope + velocity * (layer - gap) * (1.0 / np.pi) + (1.0 - fraction) * slope
        gap = 2.0 * half_sine * half_sine + layer * fraction + (1.0 - fraction) * gap
        next_half_cosine = np.cos(0.5 * angle)
        velocity = velocity * (1.0 - fraction) * half_cosine / (next_half_cosine * ratio)
        previous, half_cosine = angle, next_half_cosine
    return slope
