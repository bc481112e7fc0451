"""Gradient flow: accuracy against a high-order solver, cost in kernel products, limits and symmetries.

Tolerances without a comment: ``rtol=`` of `gradient_flow` is what it promises, and what its result is then compared with; solvers of SciPy
used as references are asked for a thousandth of it or less; 1e-12 is rounding of a few thousand operations.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from tests.support.cases import Case, balanced_clusters, equicorrelated, random_case, two_arcs
from theory._chebyshev import coefficients, stages
from theory.alpha import alpha_flow, cluster_kernel_scale, initial_alpha
from theory.dynamics import Problem, gradient_descent
from theory.flow import _curvature_product, _Integrator, gradient_flow
from theory.losses import residuals, sigmoid
from theory.segment_history import segment_history
from theory.step_size import max_learning_rate


def reference(case: Case, times: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Logits ``[T, n]`` by an eighth-order explicit method at rtol 1e-12, atol 1e-14."""

    def slope(_: float, h: np.ndarray) -> np.ndarray:
        return -(case.kernel @ residuals(h, case.observed)) / case.n

    return solve_ivp(slope, (0, times[-1]), initial, method="DOP853", rtol=1e-12, atol=1e-14, t_eval=times).y.T


def implicit_reference(case: Case, times: np.ndarray) -> np.ndarray:
    """Logits ``[T, n]`` from zero by an implicit fifth-order method, for late times."""

    def slope(_: float, h: np.ndarray) -> np.ndarray:
        return -(case.kernel @ residuals(h, case.observed)) / case.n

    def jacobian(_: float, h: np.ndarray) -> np.ndarray:
        return -case.kernel * (sigmoid(h) * sigmoid(-h)) / case.n

    return solve_ivp(slope, (0, times[-1]), np.zeros(case.n), method="Radau", jac=jacobian, rtol=1e-8, atol=1e-10, t_eval=times).y.T


def worst_error(logits: np.ndarray, exact: np.ndarray) -> float:
    """Largest error relative to the largest |logit| so far: the quantity that rtol bounds."""
    largest = np.maximum.accumulate(np.abs(exact).max(axis=1))
    error = np.abs(logits - exact).max(axis=1)
    return float(np.max(error[largest > 0] / largest[largest > 0]))


def late_cases() -> Iterator[tuple[str, Case]]:
    """Kernels with fast, slow and no decay of eigenvalues."""
    rng = np.random.default_rng(1)
    yield "arcs", two_arcs(50, noise_level=0.4)
    yield "equicorrelated", equicorrelated(40, diagonal=1.0, within=0.7, between=0.4, noise_level=0.1)
    yield "random", random_case(rng, n=60)
    identity = random_case(rng, n=50)
    yield "identity", Case(np.eye(50), identity.truth, identity.observed, identity.initial_logits)


LATE = dict(late_cases())


@given(seed=st.integers(0, 2**32 - 1), rtol=st.sampled_from([1e-2, 1e-4, 1e-6]))
@settings(max_examples=12, deadline=None)
def test_keeps_its_tolerance_against_dop853(seed: int, rtol: float) -> None:
    rng = np.random.default_rng(seed)
    case = random_case(rng, initial_scale=rng.choice([0.0, 1.0]))
    times = np.concatenate([[0.0], np.geomspace(1e-6, 1, 12) * 50 * max_learning_rate(case.kernel)])
    exact = reference(case, times, case.initial_logits)
    flow = gradient_flow(
        case.kernel, case.observed, times=times, initial_logits=case.initial_logits, rtol=rtol, cross_kernel=case.kernel[:1]
    )
    assert worst_error(flow.logits, exact) <= rtol
    assert flow.test_logits is not None
    change = flow.logits[:, :1] - case.initial_logits[:1]
    np.testing.assert_allclose(flow.test_logits, change, rtol=0, atol=1e-12 * max(1, np.abs(flow.logits).max()))


@pytest.mark.parametrize("name", LATE)
def test_late_times_cost_a_twelfth_of_gradient_descent(name: str) -> None:
    """To the time of 30,000 steps at half the largest stable rate, rtol 1e-4: accurate, with at most 2,500 products."""
    case = LATE[name]
    end = 30_000 * max_learning_rate(case.kernel) / 2
    times = np.concatenate([[0.0], np.geomspace(1e-6, 1, 60) * end])
    flow = gradient_flow(case.kernel, case.observed, times=times, rtol=1e-4)
    assert worst_error(flow.logits, implicit_reference(case, times)) <= 1e-4
    assert flow.kernel_products <= 30_000 / 12


@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_error_follows_the_tolerance(rtol: float) -> None:
    """The error is below rtol, and not idly so: the method must not take a hundred times the accuracy it was asked for."""
    case = LATE["arcs"]
    times = np.geomspace(1, 1000, 20)
    error = worst_error(gradient_flow(case.kernel, case.observed, times=times, rtol=rtol).logits, implicit_reference(case, times))
    assert 0.01 * rtol < error <= rtol


def test_softmax_flow() -> None:
    rng = np.random.default_rng(2)
    case = random_case(rng, n=12)
    labels = np.eye(3)[rng.integers(0, 3, 12)]
    times = np.array([0.0, 1e-3, 0.3, 20.0])

    def slope(_: float, h: np.ndarray) -> np.ndarray:
        return -(case.kernel @ residuals(h.reshape(12, 3), labels, loss="softmax")).ravel() / 12

    exact = solve_ivp(slope, (0, times[-1]), np.zeros(36), method="DOP853", rtol=1e-12, atol=1e-14, t_eval=times).y.T.reshape(4, 12, 3)
    for rtol in (1e-3, 1e-6):
        flow = gradient_flow(case.kernel, labels, times=times, loss="softmax", rtol=rtol)
        assert worst_error(flow.logits.reshape(4, -1), exact.reshape(4, -1)) <= rtol


def test_curvature_product_is_the_derivative_of_the_residual() -> None:
    """D v = (diag f − f fᵀ) v over the classes of each draw and sample; f (1 − f) v for two classes in one logit."""
    rng = np.random.default_rng(6)
    h, v = rng.normal(size=(2, 3, 2, 4))  # classes, draws, samples
    labels = np.moveaxis(np.eye(3)[rng.integers(0, 3, (2, 4))], (0, 1, 2), (2, 0, 1))
    problem = Problem.build(np.eye(4), labels, "softmax", None, None, None)
    f = np.exp(h) / np.exp(h).sum(axis=0)
    exact = np.einsum("cdn,cdn->cdn", f, v) - np.einsum("cdn,kdn,kdn->cdn", f, f, v)
    np.testing.assert_allclose(_curvature_product(problem, h.reshape(6, 4), v.reshape(6, 4)), exact.reshape(6, 4), rtol=0, atol=1e-12)
    logistic = Problem.build(np.eye(4), labels[:, 0], "logistic", None, None, None)
    np.testing.assert_allclose(_curvature_product(logistic, h[0], v[0]), sigmoid(h[0]) * sigmoid(-h[0]) * v[0], rtol=1e-12)


def test_step_beyond_its_allowance_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found, starts = _Integrator._error, []

    def error(self: _Integrator, old: np.ndarray, *rest: Any) -> float:
        starts.append(old.copy())
        return (0.5, 1.5)[len(starts) - 1] if len(starts) < 3 else found(self, old, *rest)

    monkeypatch.setattr(_Integrator, "_error", error)
    gradient_flow(np.eye(2), [0, 1], times=[1.0])
    same = [bool(np.array_equal(left, right)) for left, right in itertools.pairwise(starts)]
    assert same[:2] == [False, True]


def test_two_class_softmax_is_logistic_with_twice_the_kernel() -> None:
    case = LATE["arcs"]
    times = np.array([0.1, 5.0, 300.0])
    softmax = gradient_flow(case.kernel, np.eye(2)[case.observed], times=times, loss="softmax", rtol=1e-5)
    logistic = gradient_flow(2 * case.kernel, case.observed, times=times, rtol=1e-5)
    difference = softmax.logits[..., 1] - softmax.logits[..., 0]
    assert worst_error(difference, logistic.logits) <= 2e-5  # each side is allowed one rtol


def test_draws_share_the_products_and_keep_the_tolerance() -> None:
    case = two_arcs(40)
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((case.n, 5)) < 0.3, 1 - case.truth[:, None], case.truth[:, None])
    initial = rng.normal(size=labels.shape) * [0, 1, 0.1, 3, 0]
    times = np.geomspace(0.1, 1000, 8)
    flow = gradient_flow(case.kernel, labels, times=times, initial_logits=initial, rtol=1e-4)
    most = 0
    for d in range(5):
        alone = Case(case.kernel, case.truth, labels[:, d], initial[:, d])
        assert worst_error(flow.logits[..., d], reference(alone, times, initial[:, d])) <= 1e-4
        most = max(most, gradient_flow(case.kernel, labels[:, d], times=times, initial_logits=initial[:, d], rtol=1e-4).kernel_products)
    # The steps are those of the most demanding draw at each time: a little more than the worst alone, not five times.
    assert flow.kernel_products < 1.5 * most


def test_squared_loss_in_closed_form() -> None:
    case = random_case(np.random.default_rng(4), n=10)
    start = np.random.default_rng(5).normal(size=10)
    times = np.array([0.0, 1e-12, 0.1, 3.0, 1e12])
    flow = gradient_flow(
        case.kernel, case.observed, times=times, loss="squared", initial_logits=start, cross_kernel=case.kernel, initial_test_logits=start
    )
    values, vectors = np.linalg.eigh(case.kernel)
    values = np.maximum(values, 0)
    expected = np.stack([case.observed + vectors @ (np.exp(-values * t / 10) * (vectors.T @ (start - case.observed))) for t in times])
    np.testing.assert_allclose(flow.logits, expected, rtol=0, atol=1e-12)
    # The integral of the residuals reaches 1e12 in null directions, which K_test maps to zero up to rounding.
    np.testing.assert_allclose(flow.test_logits[:4], flow.logits[:4], rtol=0, atol=1e-11)
    assert flow.kernel_products == 0
    tiny = gradient_flow(np.eye(1), [1.0], times=[1e-14], loss="squared")
    assert float(tiny.logits[0, 0]) == pytest.approx(1e-14, rel=1e-13)


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.01, 0.99))
@settings(max_examples=8, deadline=None)
def test_time_composition(seed: int, share: float) -> None:
    """Run to t1, then on: the same logits, within the two tolerances and the growth of the first one's error (the flow contracts)."""
    case = random_case(np.random.default_rng(seed))
    end = 50 * max_learning_rate(case.kernel)
    whole = gradient_flow(case.kernel, case.observed, times=[share * end, end], rtol=1e-5)
    rest = gradient_flow(case.kernel, case.observed, times=[(1 - share) * end], initial_logits=whole.logits[0], rtol=1e-5)
    # The flow contracts in the norm of K⁻¹, not entry by entry: 10 rtol covers the ratio of the norms.
    assert np.abs(rest.logits[0] - whole.logits[1]).max() <= 1e-4 * np.abs(whole.logits).max()


def test_limits_in_time() -> None:
    case = random_case(np.random.default_rng(8), n=6)
    kernel = case.kernel + np.eye(6)
    # t → 0: h = h_0 − (t/n) K r_0 up to t².
    early = gradient_flow(kernel, case.observed, times=[0.0, 1e-9], rtol=1e-6)
    assert not early.logits[0].any()
    np.testing.assert_allclose(early.logits[1], -1e-9 / 6 * kernel @ (0.5 - case.observed), rtol=1e-6)
    # t → ∞, K ≻ 0: every observed label is fitted (D12), logits grow like ln t.
    late = gradient_flow(kernel, case.observed, times=[1e6, 1e8], rtol=1e-3)
    margins = (2 * case.observed - 1) * late.logits
    assert (margins > 0).all()
    assert (np.diff(margins, axis=0) > 0).all()
    np.testing.assert_allclose(np.diff(margins.min(axis=1)), np.log(100), rtol=0.1)


def test_saturated_logits_do_not_overflow() -> None:
    """At |h| = 800 the residuals are 0 and ±1 to rounding: the wrong side moves by −tK r/n, the right side rests."""
    flow = gradient_flow(np.eye(2), [1, 1], times=[0.0, 4.0], initial_logits=[800.0, -800.0])
    np.testing.assert_allclose(flow.logits[1], [800.0, -798.0], rtol=1e-12)


def test_is_the_limit_of_gradient_descent() -> None:
    """First order in η: halving the rate halves the distance from the flow."""
    case = LATE["arcs"]
    end = 20.0
    exact = gradient_flow(case.kernel, case.observed, times=[end], rtol=1e-6).logits[0]
    gaps = []
    for steps in (40, 80, 160):
        run = gradient_descent(case.kernel, case.observed, learning_rate=end / steps, steps=steps, record=[steps])
        gaps.append(np.abs(run.logits[0] - exact).max())
    # The next order changes the ratio by O(1/steps).
    np.testing.assert_allclose([gaps[0] / gaps[1], gaps[1] / gaps[2]], 2, rtol=0.05)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_collapsed_clusters_follow_the_alpha_flow(n_classes: int) -> None:
    case = balanced_clusters(20, within=1.0, between=0.2, noise_level=0.3, n_classes=n_classes)
    times = np.geomspace(0.1, 100, 9)
    flow = gradient_flow(case.kernel, np.eye(n_classes)[case.observed], times=times, loss="softmax", rtol=1e-6)
    kappa = cluster_kernel_scale(1.0, 0.2, n_classes=n_classes, loss="softmax")
    expected = alpha_flow(times, alpha0=initial_alpha(0.3, n_classes=n_classes), kernel_scale=kappa, noise_level=0.3)
    history = segment_history(case.kernel, flow.logits, case.segments)
    # α = α_0 e^z: its relative error is the absolute error of z, at most two logits below 2: 4 rtol.
    for c in range(n_classes):
        np.testing.assert_allclose(history.alpha[:, c], expected, rtol=4e-6)


@pytest.mark.parametrize("s", [2, 3, 10, 60, 250])
def test_stability_interval(s: int) -> None:
    """On y' = λy the s-stage step stays within 1 for all −λτ up to the longest step for which s stages are chosen."""
    z = np.linspace(0, 1.01 * (((s - 1) ** 2 - 1) / 1.54 + 1e-9), 2000)
    c = coefficients(s)
    before, now = np.ones_like(z), 1 - c.first * z
    for mu, nu, mu_tilde, gamma_tilde in zip(c.mu, c.nu, c.mu_tilde, c.gamma_tilde, strict=True):
        before, now = now, (1 - mu - nu) + mu * now + nu * before - z * (mu_tilde * now + gamma_tilde)
    assert np.abs(now).max() <= 1 + 1e-12
    # Order two: the polynomial matches e^{−z} through z².
    small = 1e-3
    before, now = 1.0, 1 - c.first * small
    for mu, nu, mu_tilde, gamma_tilde in zip(c.mu, c.nu, c.mu_tilde, c.gamma_tilde, strict=True):
        before, now = now, (1 - mu - nu) + mu * now + nu * before - small * (mu_tilde * now + gamma_tilde)
    assert abs(now - np.exp(-small)) < 0.2 * small**3
    assert stages(z[-1] / 1.01 - 1e-6) <= s or s == 2


def test_float32_in_float32_out() -> None:
    flow = gradient_flow(np.eye(2, dtype=np.float32), [0, 1], times=[1.0], cross_kernel=np.eye(2, dtype=np.float32))
    assert flow.logits.dtype == flow.test_logits.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [1.0, 0.5]}, "times must be [T] increasing numbers >= 0, got [1.0, 0.5]"),
        ({"times": [0.0] * 8 + [-1.0]}, "times must be [T] increasing numbers >= 0, got shape [9]"),
        ({"times": [-1.0]}, "times must be [T] increasing numbers >= 0, got [-1.0]"),
        ({"times": []}, "times must be [T] increasing numbers >= 0, got []"),
        ({"times": [np.inf]}, "times must be finite, got inf at index (0,)"),
        ({"rtol": 0.5}, "rtol must lie in [1e-10, 0.1], got 0.5"),
        ({"rtol": 0.0}, "rtol must be a positive finite number, got 0.0"),
        ({"loss": "exponential"}, "loss must be one of 'logistic', 'softmax', 'squared', got 'exponential'"),
    ],
    ids=["decreasing", "long", "negative", "empty", "infinite", "loose", "zero", "loss"],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        gradient_flow(np.eye(2), [0, 1], **({"times": [1.0]} | change))
