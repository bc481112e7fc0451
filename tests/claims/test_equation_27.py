"""Eq. (27) [A]: the derivative of cos θ_h in the input angle θ_d for one hidden ReLU layer, and its sign on [0, π/2]."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import Estimate, exact
from reports.agreement import Range
from reports.evidence import Agreement
from theory.angles import cos_gradient_angle_derivative, turning_point

Array = NDArray[np.float64]
NONE = {"none allowed": 0.0}
POINTS, GRID = 19, 2001


@pytest.mark.claim("G3")
@pytest.mark.regime("algebra", "input angles")
def test_derivative_and_its_sign(agreement: Agreement) -> None:
    theta = np.linspace(0, np.pi, POINTS)
    defined = np.array([derivative_of_the_expectation(angle) for angle in theta])
    # Both closed forms add two terms of size one; π − θ and the functions are rounded a few times.
    rounding = {"rounding": 8 * np.finfo(np.float64).eps}
    for name, formula in (("Eq. (27)", equation_27(theta)), ("the theory's derivative", cos_gradient_angle_derivative(theta))):
        agreement.check(
            f"{name} against the derivative of E 1(p>0)1(q>0)(pq + v² cos θ_d), 30 digits",
            prediction=formula,
            estimate=exact(defined),
            margin=rounding,
        )
    doubled = equation_27(theta) - np.cos(theta) / (2 * np.pi)
    agreement.control("1/π in place of 1/(2π)", prediction=doubled, estimate=exact(defined), margin=rounding)

    # Between grid points: the second derivative, 3 sin θ/(2π) − (1 − θ/π) cos θ, is at most 1 + 3/(2π) in size.
    grid = np.linspace(0, np.pi / 2, GRID)
    largest = float(np.max(cos_gradient_angle_derivative(grid)))
    between = (1 + 3 / (2 * np.pi)) * (grid[1] - grid[0]) / 2
    enclosed = Estimate(
        value=largest, lower=largest, upper=largest + between, confidence=1.0, n_seeds=1, method="grid, bound on the second derivative"
    )
    agreement.check("largest derivative on [0, π/2], all angles", prediction=Range(upper=0.0), estimate=enclosed, margin=NONE)
    agreement.check("largest derivative on [0, π/2]: at θ_d = 0", prediction=-1 / (2 * np.pi), estimate=exact(largest), margin=rounding)
    beyond = np.linspace(turning_point(), np.pi, 200)[1:]
    agreement.control(
        "no derivative above 0 on (142.57°, 180°]",
        prediction=Range(upper=0.0),
        estimate=exact([derivative_of_the_expectation(angle) for angle in beyond[::40]]),
        margin=NONE,
    )
    agreement.figure(
        "comparison",
        title="Derivative of cos θ_h in the input angle",
        caption="Eq. (27) over the derivative of the Gaussian expectation: negative up to 142.57°, positive beyond.",
        arrays={
            "d cos θ_h/dθ_d/x": np.degrees(theta),
            "d cos θ_h/dθ_d/prediction": equation_27(theta),
            "d cos θ_h/dθ_d/measured": defined,
        },
        labels={"x": "angle between the inputs, θ_d (degrees)", "y": "d cos θ_h/dθ_d", "mark:turn": f"{np.degrees(turning_point()):.6g}"},
    )


def equation_27(theta: Array) -> Array:
    """Right-hand side of Eq. (27) [A] as printed."""
    return -np.cos(theta) / (2 * np.pi) - (1 - theta / np.pi) * np.sin(theta)


def derivative_of_the_expectation(theta: float) -> float:
    """Derivative of cos θ_h at θ, from its definition as a Gaussian expectation, to 20 digits.

    In polar coordinates p = r cos φ, q = r cos(φ − θ) both gates are open for θ − π/2 < φ < π/2, with E r² = 2 and E v² = 1, and
    E 1(p>0) p² + E 1(p>0) v² = 1 normalises. The integral is differentiated numerically at 30 digits; nothing is integrated by hand.
    """
    with mpmath.workdps(30):

        def cosine(angle: mpmath.mpf) -> mpmath.mpf:
            def open_gates(phi: mpmath.mpf) -> mpmath.mpf:
                return 2 * mpmath.cos(phi) * mpmath.cos(phi - angle) + mpmath.cos(angle)

            # A polynomial of degree two in sin φ and cos φ on an interval of π at most: 24 Gauss nodes are exact to 50 digits.
            return mpmath.quad(open_gates, [angle - mpmath.pi / 2, mpmath.pi / 2], method="gauss-legendre", maxdegree=4) / (2 * mpmath.pi)

        return float(mpmath.diff(cosine, mpmath.mpf(theta), h=mpmath.mpf(10) ** -10))
