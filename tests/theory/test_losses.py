"""Residuals, losses and errors, at 50 digits and on ties.

A tolerance of 1e-15 is a few roundings.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.losses import errors, loss_values, residuals, sigmoid

EPS = np.finfo(np.float64).eps


@given(h=st.floats(-700, 700), y=st.sampled_from([0.0, 1.0]))
@settings(max_examples=200, deadline=None)
def test_logistic_to_a_few_ulp(h: float, y: float) -> None:
    with mpmath.workdps(50):
        f = 1 / (1 + mpmath.exp(-mpmath.mpf(h)))
        r = f if y == 0 else -mpmath.exp(-mpmath.mpf(h)) * f
        loss = mpmath.log1p(mpmath.exp(mpmath.mpf(h if y == 0 else -h)))
        # mpmath's exp and 50 digits make both exact here; 1 exp, 1 sum, 1 quotient in float64: 4 ulp, exp itself below 1.
        assert abs(float(residuals([h], [y])[0]) / r - 1) < 4 * EPS
        assert abs(float(loss_values([h], [y])[0]) / loss - 1) < 4 * EPS


@given(h=st.lists(st.floats(-300, 300), min_size=2, max_size=6), label=st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_softmax_to_a_few_ulp(h: list[float], label: int) -> None:
    label %= len(h)
    one_hot = np.eye(len(h))[label]
    got, loss = residuals([h], [one_hot], loss="softmax")[0], float(loss_values([h], [one_hot], loss="softmax")[0])
    with mpmath.workdps(320):
        e = [mpmath.exp(mpmath.mpf(value)) for value in h]
        total = mpmath.fsum(e)
        for c, value in enumerate(e):
            exact = value / total if c != label else -(mpmath.fsum(e) - value) / total
            # The shifts h − max h are rounded at a relative eps of at most 600: eps · 600 in the exponent.
            if abs(exact) > 1e-290:
                assert abs(float(got[c]) / exact - 1) < 650 * EPS
        exact = -mpmath.log(e[label] / total)
        assert exact < 1e-290 or abs(loss / exact - 1) < 650 * EPS


def test_ties_cost_their_chance() -> None:
    assert errors([0.0], [1]).tolist() == [0.5]
    assert errors([[0.0, 0.0, 0.0]], [[0, 1, 0]], loss="softmax")[0] == pytest.approx(2 / 3, rel=1e-15)
    assert errors([0.2, -0.2], [1, -1], loss="squared").tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="labels must take at most two values for the error of the squared loss, got 3 values"):
        errors([0.0, 0.0, 0.0], [1, 2, 3], loss="squared")


def test_sigmoid_far_out() -> None:
    assert sigmoid([-745.0, 800.0, -800.0]).tolist() == [np.exp(-745.0), 1.0, 0.0]


def test_squared_loss_is_half_the_square() -> None:
    assert loss_values([3.0, -1.0], [1.0, 1.0], loss="squared").tolist() == [2.0, 2.0]


def test_classes_may_run_along_any_axis() -> None:
    h, y = np.array([[0.0, 1.0, 3.0], [2.0, 0.0, 1.0]]), np.eye(3)[[0, 2]]
    expected = loss_values(h, y, loss="softmax")
    assert loss_values(h, y, loss="softmax", axis=1).tolist() == expected.tolist()
    np.testing.assert_allclose(loss_values(h.T, y.T, loss="softmax", axis=0), expected, rtol=1e-15)
    with pytest.raises(ValueError, match="axis must be an integer <= 0, got 1"):
        residuals([0.0], [1], axis=1)


@pytest.mark.parametrize("label", [1.5, -0.5])
def test_labels_outside_the_unit_interval_are_named(label: float) -> None:
    with pytest.raises(ValueError, match=rf"labels must lie in \[0, 1\] for the logistic loss, got {label}"):
        residuals([0.0], [label])


def test_residual_convention() -> None:
    """The ratio uses sums of residuals towards the observed label: a guard on the sign convention of all brute force here."""
    assert residuals([0.0], [1]).tolist() == [-0.5]
