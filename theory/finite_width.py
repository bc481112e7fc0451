"""Exact moments of the tangent kernel of two-layer networks of finite width at random initialisation.

Both networks have one hidden layer of m neurons and standard normal weights. For unit inputs x, z at angle θ_d, with p, q the
pre-activations of one neuron and v its output weight, the kernel is a mean of m independent terms,

    K(x, z) = (1/m) Σ_k T_k,    T = pq + v² cosθ_d (linear),    T = 1{p>0}1{q>0} (pq + v² cosθ_d) (ReLU, Eq. (7) [A]),

so that every mean and covariance below is exact at every width, and the bias and variance of the gradient angle follow to first
order in 1/m (delta method). Laws are in `theory.finite_width_laws`, depth in `theory.finite_width_depth`; derivations in
notes/finite_width.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import check_angle, check_choice, check_integer

__all__ = ["NtkMoments", "cross_logit_variance", "ntk_moments", "quadrant_moment"]

_PI_TAIL = 1.2246467991473532e-16  # π minus the double nearest to it
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)  # exact to rounding for trigonometric polynomials of degree 8 on [0, π]
_RADIAL_MOMENT = {0: 1.0, 2: 2.0, 4: 8.0}  # E r^k of the length r of a planar standard normal vector


@dataclass(frozen=True)
class NtkMoments:
    """Moments of the tangent kernel of unit inputs at angle θ_d, and of the gradient angle θ_h; arrays have the shape of ``theta``.

    Attributes:
        width: m, number of hidden neurons.
        activation: "relu" or "linear".
        convention: "eq7", "eq6" (scale of Eqs. (6), (7) [A]), "eq2" (K(x, x) = 2 on average) or "eq2-literal"; see `ntk_moments`.
        mean: E K(x, z), exact.
        variance: Var K(x, z), exact.
        diagonal_mean: E K(x, x) = E K(z, z), exact.
        diagonal_variance: Var K(x, x) = Var K(z, z), exact.
        diagonal_covariance: Cov(K(x, x), K(z, z)), exact.
        cross_covariance: Cov(K(x, z), K(x, x)), exact.
        cosine: the limit of cos θ_h as m → ∞.
        cosine_bias: E cos θ̂_h − cos θ_h to first order in 1/m; the error is O(1/m²) at fixed θ_d.
        cosine_variance: Var cos θ̂_h to first order in 1/m.
        angle_bias: E θ̂_h − θ_h to first order in 1/m, radians.
        angle_variance: Var θ̂_h to first order in 1/m, radians².
    """

    width: int
    activation: str
    convention: str
    mean: NDArray[np.floating]
    variance: NDArray[np.floating]
    diagonal_mean: float
    diagonal_variance: float
    diagonal_covariance: NDArray[np.floating]
    cross_covariance: NDArray[np.floating]
    cosine: NDArray[np.floating]
    cosine_bias: NDArray[np.floating]
    cosine_variance: NDArray[np.floating]
    angle_bias: NDArray[np.floating]
    angle_variance: NDArray[np.floating]


def quadrant_moment(theta: ArrayLike, first: int, second: int) -> NDArray[np.floating]:
    """Return M_ab = E[1{p>0} 1{q>0} p^a q^b] for standard normal p, q with correlation cosθ.

    In polar coordinates M_ab = E[r^{a+b}]/(2π) ∫_0^{π−θ} sin^a ψ sin^b(π−θ−ψ) dψ with a positive integrand: the relative accuracy is
    a few ulp of θ and of π − θ on all of [0, π], where the closed forms cancel as θ → π (M_22 to the fifth order).

    Args:
        theta: angle between the two Gaussian directions, radians, any shape.
        first: power a.
        second: power b; a + b must be 0, 2 or 4.

    Raises:
        ValueError: if an angle lies outside [0, π], or the powers are not non-negative integers with a + b in {0, 2, 4}.

    Source:
        quadrant moments of Thm 3.1 [A], notes/finite_width.md §1.

    Example:
        >>> round(float(quadrant_moment(0.0, 2, 2)), 12)
        1.5
    """
    angle = check_angle(theta)
    a = check_integer(first, "first", minimum=0)
    b = check_integer(second, "second", minimum=0)
    if a + b not in _RADIAL_MOMENT:
        raise ValueError(f"first + second must be 0, 2 or 4, got {a + b}")
    opening = _opening(angle)
    psi, weights = _wedge(opening)
    values = np.sum(weights * np.sin(psi) ** a * np.sin(opening[..., None] - psi) ** b, axis=-1)
    return _like(_RADIAL_MOMENT[a + b] / (2 * np.pi) * values, angle)


def ntk_moments(theta: ArrayLike, *, width: int, activation: str = "relu", convention: str = "eq7") -> NtkMoments:
    """Return exact moments of K(x, z) for unit inputs and first-order moments of the gradient angle.

    Scale K(x, z) by ‖x‖‖z‖ (variances and covariances by the matching powers) for other inputs; angles do not change. The first-order
    moments of θ̂_h describe a smooth function of a mean of m terms: for ReLU they need many neurons whose gate separates x from z,
    m θ_d/π ≫ 1. At θ_d = 0 (both activations) and θ_d = π (ReLU: disjoint gates) θ̂_h is constant and bias and variance are 0.

    Args:
        theta: input angle θ_d, radians, any shape.
        width: number of hidden neurons m.
        activation: "relu" (Eq. (7) [A], or Eq. (2) [B] with L = 1) or "linear" (Eq. (6) [A]).
        convention: as `theory.ntk` at depth 1. "eq7" and, for the linear network, "eq6": factor 1/√m of Eqs. (6), (7) [A], for which
            E K(x, x) is 1 (ReLU) and 2 (linear). "eq2": E K(x, x) = 2 for both, √(2/m) of Eq. (2) [B] for ReLU and √(1/m) for linear.
            "eq2-literal": √(2/m) for both, so that E K(x, x) = 4 for linear.

    Raises:
        ValueError: if an angle lies outside [0, π], the width is not a positive integer, or a choice is unknown.

    Source:
        Thm 3.1, Eqs. (16)-(24) [A]; notes/finite_width.md §2-3.

    Example:
        >>> moments = ntk_moments(0.6, width=64)
        >>> print(f"{moments.mean:.4f} {moments.variance:.4f} {64 * moments.cosine_bias:.4f}")
        0.7576 0.0333 -0.1559
    """
    angle = check_angle(theta)
    m = check_integer(width, "width")
    check_choice(activation, "activation", ("relu", "linear"))
    check_choice(convention, "convention", ("eq2", "eq2-literal", "eq6", "eq7"))
    if convention == "eq6" and activation != "linear":
        raise ValueError(f"convention 'eq6' is the linear network of Eq. (6) [A]: activation must be 'linear', got {activation!r}")
    scale = 2.0 if convention == "eq2-literal" or (convention == "eq2" and activation == "relu") else 1.0
    exact = np.minimum(angle.astype(np.float64), np.pi)
    terms = _relu_terms(exact) if activation == "relu" else _linear_terms(exact)
    sine_squared = terms["sine_squared"]
    with np.errstate(divide="ignore", invalid="ignore"):
        degenerate = (sine_squared <= 0) | (terms["cosine_variance"] <= 0)
        sine = np.sqrt(sine_squared)
        angle_variance = np.where(degenerate, 0.0, terms["cosine_variance"] / sine_squared)
        angle_bias = np.where(degenerate, 0.0, -terms["cosine_bias"] / sine - 0.5 * terms["cosine"] * angle_variance / sine)
    return NtkMoments(
        width=m,
        activation=activation,
        convention=convention,
        mean=_like(scale * terms["mean"], angle),
        variance=_like(scale**2 * terms["variance"] / m, angle),
        diagonal_mean=scale * terms["diagonal_mean"],
        diagonal_variance=scale**2 * terms["diagonal_variance"] / m,
        diagonal_covariance=_like(scale**2 * terms["diagonal_covariance"] / m, angle),
        cross_covariance=_like(scale**2 * terms["cross_covariance"] / m, angle),
        cosine=_like(terms["cosine"], angle),
        cosine_bias=_like(terms["cosine_bias"] / m, angle),
        cosine_variance=_like(terms["cosine_variance"] / m, angle),
        angle_bias=_like(angle_bias / m, angle),
        angle_variance=_like(angle_variance / m, angle),
    )


def cross_logit_variance(theta: ArrayLike, *, width: int, convention: str = "eq2") -> NDArray[np.floating]:
    """Return the variance of <∇h_c(x), ∇h_c'(z)>, c ≠ c', for unit inputs: (2/m) cos²θ κ0(θ) in the scale of Eq. (2) [B], L = 1.

    Its mean is 0 at every width. Only the first layer is shared between two logits, and there the output weights v_c v_c' average out;
    this is why the multi-class kernel tends to K ⊗ I_C.

    Raises:
        ValueError: if an angle lies outside [0, π], the width is not a positive integer, or the convention is unknown.

    Source:
        Eq. (13) [A], Eq. (10) [B]; notes/finite_width.md §5.

    Example:
        >>> round(float(cross_logit_variance(0.0, width=100)), 12)
        0.02
    """
    angle = check_angle(theta)
    m = check_integer(width, "width")
    check_choice(convention, "convention", ("eq7", "eq2"))
    scale = 4.0 if convention == "eq2" else 1.0
    return _like(scale / m * np.cos(angle.astype(np.float64)) ** 2 * _opening(angle) / (2 * np.pi), angle)


def _linear_terms(angle: NDArray[np.float64]) -> dict[str, Any]:
    """Moments of one linear neuron, Eq. (6) [A]: those of K times m."""
    c, s = np.cos(angle), np.sin(angle)
    return {
        "mean": 2 * c,
        "variance": 1 + 3 * c**2,
        "diagonal_mean": 2.0,
        "diagonal_variance": 4.0,
        "diagonal_covariance": 2 + 2 * c**2,
        "cross_covariance": 4 * c,
        "cosine": c,
        "cosine_bias": -c * s**2 / 8,
        "cosine_variance": s**4 / 4,
        "sine_squared": s**2,
    }


def _relu_terms(angle: NDArray[np.float64]) -> dict[str, Any]:
    """Moments of one ReLU neuron, Eq. (7) [A]: those of K times m.

    The delta method is evaluated on influence functions that are small where θ is small (notes/finite_width.md §3): with
    U = T_xz − μ(T_xx + T_zz)/2 and D = (T_xx + T_zz)/2,   m Var cosθ̂ = E U²,   m bias = −E[U D] + (μ/8) E(T_xx − T_zz)².
    """
    c, s = np.cos(angle), np.sin(angle)
    m00, m11 = quadrant_moment(angle, 0, 0), quadrant_moment(angle, 1, 1)
    m20, m22, m31 = quadrant_moment(angle, 2, 0), quadrant_moment(angle, 2, 2), quadrant_moment(angle, 3, 1)
    mean = m11 + c * m00
    gap = (angle * c - s / 2) / np.pi  # c − μ, without cancellation at small θ
    one_minus_mean = 2 * np.sin(angle / 2) ** 2 + gap

    # Both gates open: p = r sinψ, q = r sin(P−ψ), P = π−θ; U = r² A + v² B, D = r² S + v², T_xx − T_zz = r² sinP sin(2ψ−P).
    opening = _opening(angle)
    psi, weights = _wedge(opening)
    wide = opening[..., None]
    product = np.sin(psi) * np.sin(wide - psi)
    half_square = 2 * np.sin(angle / 2)[..., None] ** 2 * np.sin(psi - wide / 2) ** 2  # (p − q)²/(2r²)
    A = one_minus_mean[..., None] * product - mean[..., None] * half_square
    B = gap[..., None]
    S = (np.sin(psi) ** 2 + np.sin(wide - psi) ** 2) / 2
    difference = np.sin(wide) * np.sin(2 * psi - wide)
    both_uu = np.sum(weights * (8 * A**2 + 4 * A * B + 3 * B**2), axis=-1) / (2 * np.pi)
    both_ud = np.sum(weights * (8 * A * S + 2 * A + 2 * B * S + 3 * B), axis=-1) / (2 * np.pi)
    both_difference = np.sum(weights * 8 * difference**2, axis=-1) / (2 * np.pi)
    # One gate open: E[1{p>0, q≤0} (p² + v²)²] = W; twice by symmetry.
    one = (8 * angle - 3 * np.sin(2 * angle) + np.sin(4 * angle) / 4) / (2 * np.pi)
    uu = both_uu + mean**2 * one / 2
    ud = both_ud - mean * one / 2
    return {
        "mean": mean,
        "variance": m22 + 2 * c * m11 + 3 * c**2 * m00 - mean**2,
        "diagonal_mean": 1.0,
        "diagonal_variance": 3.0,
        "diagonal_covariance": m22 + 2 * m20 + 3 * m00 - 1,
        "cross_covariance": m31 + m11 + c * m20 + 3 * c * m00 - mean,
        "cosine": mean,
        "cosine_bias": -ud + mean * (both_difference + 2 * one) / 8,
        "cosine_variance": uu,
        "sine_squared": one_minus_mean * (1 + mean),
    }


def _opening(angle: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return π − θ, to full relative precision near θ = π."""
    return np.maximum((np.pi - angle.astype(np.float64)) + _PI_TAIL, 0.0)


def _wedge(opening: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Gauss-Legendre nodes and weights on [0, opening], shape [..., 24]."""
    half = opening[..., None] / 2
    return half * (_NODES + 1), half * _WEIGHTS


def _like(values: NDArray[np.floating], template: NDArray[np.floating]) -> NDArray[np.floating]:
    result: NDArray[np.floating] = np.asarray(values, dtype=template.dtype)[()]  # a scalar in gives a scalar out
    return result
