"""Leading order of the drift of ReLU networks against its definition: many single neurons, moved and counted.

A tolerance of 1e-12 is rounding: sums over fewer than a thousand samples, 1.1e-16 each.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from theory.finite_width_drift import relu_drift

Array = NDArray[np.float64]


def circle(count: int) -> Array:
    """Equally spaced directions of length √2 (E aaᵀ = I), none of them orthogonal to a multiple of 0.1 rad."""
    turn = 2 * np.pi * (np.arange(count) + 0.1234) / count
    return np.sqrt(2) * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def test_single_neurons_moved_and_counted() -> None:
    """Three million neurons with the displacement of width m; their own terms of ‖∇h_t − ∇h_0‖² and of K_t − K_0, before and after."""
    rng, m, draws = np.random.default_rng(3), 40_000, 3_000_000
    inputs = np.array([[1.0, 0.0], [0.6, 0.8], [-0.8, 0.6], [0.0, -1.0]])
    d = np.array([0.9, -0.4, 0.7, -0.5])
    x, z = np.array([0.28, 0.96]), np.array([1.2, 0.9])
    a, v = rng.normal(size=(draws, 2)), rng.normal(size=draws)
    on = (a @ inputs.T > 0).astype(float)
    moved_a = a + np.sqrt(2 / m) * v[:, None] * ((on * d) @ inputs)
    moved_v = v + np.sqrt(2 / m) * (np.maximum(a @ inputs.T, 0) @ d)

    def terms(a: Array, v: Array, x: Array) -> tuple[Array, Array]:
        """Gradient of one neuron with respect to (a, v) without √(2/m), the first as a multiple of x."""
        return v * (a @ x > 0), np.maximum(a @ x, 0)

    law = relu_drift([x, z], inputs, d, width=m, directions=circle(20_000))
    kernel = []
    for index, point in enumerate((x, z)):
        (first, second), (p, q) = terms(a, v, point), terms(moved_a, moved_v, point)
        norm = point @ point
        flips = (first == 0) != (p == 0)
        # Counts of about 5000 flips: 1.4 % each; five of these, and the next order, m^(−1/2) relative, a few times 1/200.
        share = flips.mean()
        assert law.flip_share[index] == pytest.approx(share, rel=5 / np.sqrt(flips.sum()) + 0.02)
        change = ((p - first) ** 2 * norm + (q - second) ** 2) / norm  # ‖∇h_0‖² = 2|x|² and the factor 2 of (2/m) cancel
        # Squares of normal numbers |v|³-weighted scatter twice as much as counts.
        assert law.squared_change[index] == pytest.approx(change.mean(), rel=10 / np.sqrt(flips.sum()) + 0.02)
        smooth = change[~flips]
        assert law.smooth_change[index] == pytest.approx(smooth.mean(), rel=0.05)
        kernel.append((first, p))
    for i, j, overlap in ((0, 0, 1.0), (0, 1, float(x @ z)), (1, 1, float(z @ z))):
        # Var(K_t − K_0) = (4/m) Var of one neuron's term; fourth powers of v: the flips' mean of v⁴ scatters by √(E v^9/E²v^5/n) = 3/√n.
        difference = overlap * (kernel[i][1] * kernel[j][1] - kernel[i][0] * kernel[j][0])
        gates = [(kernel[i][k] != 0) & (kernel[j][k] != 0) for k in (0, 1)]
        flipped = difference[gates[0] != gates[1]]
        assert law.kernel_variance[i, j] == pytest.approx(4 / m * np.sum(flipped**2) / draws, rel=0.3)
        assert law.kernel_variance[i, j] == law.kernel_variance[j, i]


def test_worked_example_and_powers_of_the_width() -> None:
    """One training input e_1, d = 0.5, x at the angle θ: s is ½ cos θ for one of the two directions orthogonal to x, 0 for the other."""
    theta = 0.7
    laws = [relu_drift([[np.cos(theta), np.sin(theta)]], [[1.0, 0.0]], [0.5], width=m, directions=circle(1000)) for m in (100, 400)]
    share = np.sqrt(2 / 100) / np.pi * 0.25 * np.cos(theta)
    np.testing.assert_allclose(laws[0].flip_share, share, rtol=1e-12)
    np.testing.assert_array_equal(laws[0].flip_change, 2 * laws[0].flip_share)
    np.testing.assert_allclose(laws[0].kernel_variance, 4 / 100 * 8 * share, rtol=1e-12)
    # E[1{a·x>0}(q² + s²)], q = ½σ(a_1), s = ½1{a_1>0}cos θ: ¼ (E[σ(a_1)² 1{a·x>0}] + cos²θ P(both)).
    both = (np.pi - theta) / (2 * np.pi)
    square = (np.pi - theta + np.sin(theta) * np.cos(theta)) / (2 * np.pi)
    np.testing.assert_allclose(laws[0].smooth_change, 2 / 100 * 0.25 * (square + np.cos(theta) ** 2 * both), rtol=5e-3)  # 1000 nodes
    for name, power in (("flip_share", -0.5), ("smooth_change", -1), ("kernel_variance", -1.5)):
        np.testing.assert_allclose(getattr(laws[1], name), 4.0**power * getattr(laws[0], name), rtol=1e-12)


def test_draws_are_columns_and_lengths_scale_as_the_network() -> None:
    rng = np.random.default_rng(0)
    x, inputs, d = rng.normal(size=(3, 5)), rng.normal(size=(7, 5)), rng.normal(size=(7, 2))
    directions = rng.normal(size=(50, 5))
    both = relu_drift(x, inputs, d, width=64, directions=directions)
    assert both.kernel_variance.shape == (3, 3, 2)
    for draw in (0, 1):
        one = relu_drift(x, inputs, d[:, draw], width=64, directions=directions)
        for name in ("flip_share", "flip_change", "smooth_change", "kernel_variance", "squared_change"):
            np.testing.assert_allclose(getattr(both, name)[..., draw], getattr(one, name), rtol=1e-12)
    # x → 3x moves the pre-activation and its spread alike: gates and relative changes stay, the kernel K(x, x') scales by 3 for each 3x.
    scaled = relu_drift(3 * x, inputs, d, width=64, directions=directions)
    np.testing.assert_allclose(scaled.squared_change, both.squared_change, rtol=1e-12)
    np.testing.assert_allclose(scaled.kernel_variance, 81 * both.kernel_variance, rtol=1e-12)


def test_own_gate_of_a_training_input_is_half_open() -> None:
    """One training input, followed itself: |s| = ½ · d in every direction orthogonal to it, d with the gate open, 0 with it closed."""
    own = relu_drift([[1.0, 0.0]], [[1.0, 0.0]], [0.6], width=64, directions=circle(100))
    np.testing.assert_allclose(own.flip_share, np.sqrt(2 / 64) / np.pi * 0.5 * 0.6, rtol=1e-12)


def test_short_rows_are_taken_down_to_their_limit() -> None:
    unit, short = (relu_drift([[size, 0.0]], [[0.6, 0.8]], [0.5], width=64, directions=circle(100)) for size in (1.0, 1.5e-20))
    np.testing.assert_allclose(short.flip_share, unit.flip_share, rtol=1e-12)


X, D = [[1.0, 0.0]], [0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relu_drift([[0.0, 0.0]], X, D, width=4, directions=X), "x must"),
        (lambda: relu_drift(X, [[1.0]], D, width=4, directions=X), "inputs must have 2 columns as x, got shape [1, 1]"),
        (lambda: relu_drift(X, X, D, width=4, directions=[[1.0]]), "directions must have 2 columns as x, got shape [1, 1]"),
        (
            lambda: relu_drift(X, X, [0.5, 1.0], width=4, directions=X),
            "accumulated must have shape [n] or [n, draws] for the n = 1 rows of inputs, got [2]",
        ),
        (lambda: relu_drift([[1e21, 0.0]], X, D, width=4, directions=X), "x must have rows of a length between 1e-20 and 1e+20, got 1e+21"),
        (
            lambda: relu_drift(X, X, D, width=4, directions=[[9e-21, 0.0]]),
            "directions must have rows of a length between 1e-20 and 1e+20, got",
        ),
        (lambda: relu_drift(X, X, [np.nan], width=4, directions=X), "accumulated must"),
        (lambda: relu_drift(X, X, D, width=0, directions=X), "width must be an integer >= 1, got 0"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        call()
    assert "\n" not in str(error.value)
