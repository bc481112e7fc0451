"""Runge-Kutta-Chebyshev method of order two with error control, for gradient flow on a kernel.

An explicit method with s stages whose stability interval on the negative real axis grows like 0.65 s²: a step of length τ costs about
√(1.54 ρτ) products with the kernel, ρ the spectral radius of the Jacobian, against ρτ/2 for forward Euler. The Jacobian −K D/n (D positive
semi-definite, the derivative of the residuals) has a real, non-positive spectrum, which is what the method needs.
Coefficients: Sommeijer, Shampine and Verwer, J. Comput. Appl. Math. 88 (1998) 315-326.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Coefficients", "coefficients", "stages"]

_DAMPING = 2 / 13


class Coefficients(NamedTuple):
    """Coefficients of one s-stage step: Y_j = (1−μ_j−ν_j) Y_0 + μ_j Y_{j−1} + ν_j Y_{j−2} + τ(μ̃_j F_{j−1} + γ̃_j F_0), j = 2 … s."""

    first: float
    mu: NDArray[np.float64]
    nu: NDArray[np.float64]
    mu_tilde: NDArray[np.float64]
    gamma_tilde: NDArray[np.float64]


def stages(z: float) -> int:
    """Return the least number of stages that is stable for a step with z = τρ; at least 2."""
    return max(2, 1 + int(np.sqrt(1 + 1.54 * z)))


@lru_cache(maxsize=512)
def coefficients(s: int) -> Coefficients:
    """Return the coefficients of the s-stage method."""
    w0 = 1 + _DAMPING / s**2
    t, dt, d2t = _chebyshev_values(s, w0)
    w1 = dt[s] / d2t[s]
    b = np.empty(s + 1)
    b[2:] = d2t[2:] / dt[2:] ** 2
    b[:2] = b[2]
    a = 1 - b * t
    j = np.arange(2, s + 1)
    mu, nu = 2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2]
    mu_tilde = 2 * b[j] * w1 / b[j - 1]
    return Coefficients(float(b[1] * w1), mu, nu, mu_tilde, -a[j - 1] * mu_tilde)


def _chebyshev_values(s: int, w: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return T_j(w), T′_j(w), T″_j(w) for j = 0 … s, w > 1, by the three-term recurrences."""
    t, dt, d2t = np.zeros((3, s + 1))
    t[0], t[1], dt[1] = 1, w, 1
    for j in range(2, s + 1):
        t[j] = 2 * w * t[j - 1] - t[j - 2]
        dt[j] = 2 * w * dt[j - 1] - dt[j - 2] + 2 * t[j - 1]
        d2t[j] = 2 * w * d2t[j - 1] - d2t[j - 2] + 4 * dt[j - 1]
    return t, dt, d2t
