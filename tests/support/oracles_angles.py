"""High-precision references for angles and kernels: Gaussian expectations by quadrature, the layer recursion at 50 digits and more.

Nothing here is shared with the package: the recursion is the textbook one in cosines, with arccos, carried out with so many digits
that its cancellation near 0 and near π does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import mpmath as mp
import numpy as np

DIGITS = 50


def working_digits(theta: float) -> int:
    """Digits that leave ``DIGITS`` correct ones of 1 − cos θ and of κ1(θ), after their cancellation at θ → 0 and at θ → π."""
    distance = min(abs(theta), abs(math.pi - theta) + 1e-16)
    return DIGITS + 20 + (0 if distance == 0 else int(-3 * min(0.0, math.log10(distance))))


def expected_gates(theta: Any) -> Any:
    """2 E[1{p > 0} 1{q > 0}] for standard normal p, q with correlation cos θ: κ0 by its definition.

    In polar coordinates p = r cos ψ, q = r cos(ψ − θ): the gates are open for ψ in (θ − π/2, π/2), and ψ is uniform on a circle.
    """
    return 2 * mp.quad(lambda psi: 1 / (2 * mp.pi), [theta - mp.pi / 2, mp.pi / 2])


def expected_relu_product(theta: Any) -> Any:
    """2 E[σ(p) σ(q)] = 2 E[r²] ∫ cos ψ cos(ψ − θ) dψ/(2π) over the open gates, E[r²] = 2: κ1 by its definition, quadrature over ψ."""
    integral = mp.quad(lambda psi: mp.cos(psi) * mp.cos(psi - theta), [theta - mp.pi / 2, 0, theta / 2, mp.pi / 2])
    return 2 * 2 * integral / (2 * mp.pi)


def plane_expectation(theta: float, power: int) -> float:
    """2 E[1{p > 0} 1{q > 0} (p q)^power] by float64 quadrature of the Gaussian density over the plane (no polar coordinates)."""
    node, weight = np.polynomial.legendre.leggauss(200)
    cosine, sine = math.cos(theta), math.sin(theta)
    p, p_weight = 6.0 * (node + 1.0), 6.0 * weight
    # q = p cos θ + s sin θ with s standard normal; q > 0 for s > −p cot θ.
    lower = np.clip(-p * cosine / sine, -12.0, 12.0)[:, None]
    s, s_weight = lower + 0.5 * (12.0 - lower) * (node + 1.0), 0.5 * (12.0 - lower) * weight
    density = np.exp(-0.5 * (p[:, None] ** 2 + s**2)) / (2.0 * np.pi)
    integrand = (p[:, None] * (p[:, None] * cosine + s * sine)) ** power * density
    return float(2.0 * np.einsum("p,ps,ps->", p_weight, s_weight, integrand))


def kappa0(theta: Any) -> Any:
    """κ0 in closed form; `expected_gates` is its definition."""
    return 1 - theta / mp.pi


def kappa1(theta: Any) -> Any:
    """κ1 in closed form; `expected_relu_product` is its definition."""
    return ((mp.pi - theta) * mp.cos(theta) + mp.sin(theta)) / mp.pi


def hidden_and_gradient(theta: Any, depth: int, *, by_quadrature: bool = False) -> tuple[Any, Any]:
    """Return (cos θ_L, cos θ_h) by the recursion of Eq. (2) [B]: Θ_l = cos θ_l + κ0(θ_{l−1}) Θ_{l−1}, cos θ_h = Θ_L/(L+1)."""
    gates, products = (expected_gates, expected_relu_product) if by_quadrature else (kappa0, kappa1)
    cosine = total = mp.cos(theta)
    for _ in range(depth):
        angle = theta
        cosine = products(angle)
        total = cosine + gates(angle) * total
        theta = mp.acos(cosine)
    return cosine, total / (depth + 1)


def reference_angles(theta: float, depth: int) -> tuple[Any, Any]:
    """Exact (θ_L, θ_h) at the floating-point number ``theta``."""
    with mp.workdps(working_digits(theta)):
        cosine, gradient_cosine = hidden_and_gradient(mp.mpf(theta), depth)
        return mp.acos(cosine), mp.acos(gradient_cosine)


def ulps(got: float, exact: Any, dtype: type[np.floating] = np.float64) -> float:
    """Error of ``got`` in units of the last digit of ``exact`` in ``dtype``."""
    nearest = abs(dtype(float(exact)))
    with mp.workdps(60):
        return float(abs(mp.mpf(float(got)) - exact) / mp.mpf(float(np.spacing(nearest))))


def angle_between(x: Sequence[float], z: Sequence[float]) -> tuple[Any, Any, Any]:
    """Exact (θ, |x|, |z|) of two floating-point vectors; call inside ``mp.workdps(120)``."""
    x_exact, z_exact = [mp.mpf(float(v)) for v in x], [mp.mpf(float(v)) for v in z]
    x_norm, z_norm = (mp.sqrt(mp.fsum(v * v for v in row)) for row in (x_exact, z_exact))
    difference = mp.sqrt(mp.fsum((a / x_norm - b / z_norm) ** 2 for a, b in zip(x_exact, z_exact, strict=True)))
    total = mp.sqrt(mp.fsum((a / x_norm + b / z_norm) ** 2 for a, b in zip(x_exact, z_exact, strict=True)))
    return 2 * mp.atan2(difference, total), x_norm, z_norm


def reference_kernels(x: np.ndarray, z: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact tangent kernel and output covariance of Eq. (2) [B] for all pairs of rows, rounded to float64."""
    tangent, output = np.empty((len(x), len(z))), np.empty((len(x), len(z)))
    with mp.workdps(120):
        for i, row in enumerate(x):
            for j, other in enumerate(z):
                theta, x_norm, z_norm = angle_between(row, other)
                cosine, gradient_cosine = hidden_and_gradient(theta, depth)
                # Exactly opposite rows: zero, but for the 120th digit.
                output[i, j] = float(x_norm * z_norm * mp.chop(cosine, tol=mp.mpf(10) ** -110))
                tangent[i, j] = float((depth + 1) * x_norm * z_norm * mp.chop(gradient_cosine, tol=mp.mpf(10) ** -110))
    return tangent, output


def reference_distance_kernels(x: np.ndarray, z: np.ndarray, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact Gaussian and Laplacian kernels for all pairs of rows, rounded to float64."""
    gaussian, laplacian = np.empty((len(x), len(z))), np.empty((len(x), len(z)))
    with mp.workdps(60):
        for i, row in enumerate(x):
            for j, other in enumerate(z):
                distance = mp.sqrt(mp.fsum((mp.mpf(float(a)) - mp.mpf(float(b))) ** 2 for a, b in zip(row, other, strict=True)))
                ratio = distance / mp.mpf(bandwidth)
                gaussian[i, j], laplacian[i, j] = float(mp.exp(-ratio * ratio / 2)), float(mp.exp(-ratio))
    return gaussian, laplacian
