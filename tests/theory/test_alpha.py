"""The α recursion, its flow and effective rates, against n-dimensional descent and 50 digits.

Tolerances without a comment are rounding, 1.1e-16 at a time: 1e-12 for up to 40 steps of sums over up to 500 samples (√500 roundings of a
sum, 40 times: 1e-13 if nothing cancels), 1e-13 for a few hundred roundings in a formula, 1e-14 for a few dozen. 5e-4 is half of the last
digit printed; 1e-7 is one rounding to float32, 6e-8.
"""

from __future__ import annotations

import re

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.cases import balanced_clusters
from theory.alpha import (
    alpha_flow,
    alpha_from_truth_residual,
    alpha_recursion,
    cluster_kernel_scale,
    effective_learning_rate,
    first_step_overshoot_rate,
    initial_alpha,
    local_stability_rate,
    no_overshoot_rate,
    noise_threshold,
    step_factor_from_residual,
)
from theory.dynamics import gradient_descent
from theory.segment_history import segment_history
from theory.segments import Segments

EPS = np.finfo(np.float64).eps


# --- X1: the recursion


@pytest.mark.parametrize("noise_level", [0.1, 0.3, 0.45, 0.7])
@pytest.mark.parametrize("start", [0.0, -1.3, 0.8], ids=lambda value: f"h0={value}")
def test_single_collapsed_class(noise_level: float, start: float) -> None:
    """N samples with one feature, any initial logit: α_t of the definition, δ/(1−δ)e^{h}, and the recursion agree to 1e-12."""
    n, norm = 20, 2.5
    labels = (np.arange(n) >= round(noise_level * n)).astype(float)
    run = gradient_descent(np.full((n, n), norm), labels, learning_rate=0.7, steps=40, initial_logits=np.full(n, start))
    segments = Segments.from_labels(np.ones(n), labels)
    history = segment_history(np.full((n, n), norm), run.logits, segments)
    odds = noise_level / (1 - noise_level)
    recursion = alpha_recursion(odds * np.exp(start), learning_rate=0.7, kernel_scale=norm, noise_level=noise_level, steps=40)
    np.testing.assert_allclose(recursion, odds * np.exp(run.logits[:, 0]), rtol=1e-12)
    np.testing.assert_allclose(history.alpha[:, 1], recursion, rtol=1e-12)


@pytest.mark.parametrize(("n_classes", "size", "noise_level"), [(2, 10, 0.3), (3, 10, 0.4), (10, 50, 0.36), (10, 25, 0.72)])
def test_balanced_softmax_clusters(n_classes: int, size: int, noise_level: float) -> None:
    """C clusters: the full-gradient ratio of every class and the pooled one, and ‖∇L(D)‖ = (1−δ)(1−α) ‖∇L(D̂)‖ (M5)."""
    case = balanced_clusters(size, within=1.0, between=0.3, noise_level=noise_level, n_classes=n_classes)
    rate = 2.0
    run = gradient_descent(case.kernel, np.eye(n_classes)[case.observed], learning_rate=rate, steps=25, loss="softmax")
    history = segment_history(case.kernel, run.logits, case.segments)
    kappa = cluster_kernel_scale(1.0, 0.3, n_classes=n_classes, loss="softmax")
    start = initial_alpha(noise_level, n_classes=n_classes)
    recursion = alpha_recursion(start, learning_rate=rate, kernel_scale=kappa, noise_level=noise_level, steps=25)
    for column in (*history.alpha.T, history.pooled_alpha):
        np.testing.assert_allclose(column, recursion, rtol=1e-12)
    np.testing.assert_allclose(history.rho, 1, rtol=0, atol=1e-12)
    corrected = effective_learning_rate(1.0, alpha=recursion, noise_level=noise_level)
    np.testing.assert_allclose(history.step_factor, corrected, rtol=0, atol=1e-12)
    printed = effective_learning_rate(1.0, alpha=recursion, noise_level=noise_level, form="printed")
    assert np.abs(history.step_factor - printed)[5:].max() > 1e-3  # negative control: the printed form does not pass
    # At t = 0: 1 − δC/(C−1) (M5).
    assert float(history.step_factor[0]) == pytest.approx(1 - noise_level * n_classes / (n_classes - 1), abs=1e-12)


def test_balanced_logistic_clusters() -> None:
    case = balanced_clusters(10, within=1.0, between=0.25, noise_level=0.3)
    run = gradient_descent(case.kernel, case.observed, learning_rate=3.0, steps=30)
    history = segment_history(case.kernel, run.logits, case.segments)
    kappa = cluster_kernel_scale(1.0, 0.25)
    recursion = alpha_recursion(initial_alpha(0.3), learning_rate=3.0, kernel_scale=kappa, noise_level=0.3, steps=30)
    np.testing.assert_allclose(history.alpha, np.stack([recursion, recursion], axis=1), rtol=1e-12)
    wrong = alpha_recursion(initial_alpha(0.3), learning_rate=3.0, kernel_scale=2 * kappa, noise_level=0.3, steps=30)
    assert not np.allclose(history.alpha[:, 0], wrong, rtol=1e-2)  # negative control: κ = k−k′


@given(
    alpha0=st.floats(1e-6, 5),
    noise_level=st.floats(0.01, 0.95),
    speed=st.floats(0.01, 20),
    steps=st.integers(0, 30),
)
@settings(max_examples=60, deadline=None)
def test_recursion_at_forty_digits(alpha0: float, noise_level: float, speed: float, steps: int) -> None:
    got = alpha_recursion(alpha0, learning_rate=speed, kernel_scale=1.0, noise_level=noise_level, steps=steps)
    rest = alpha_recursion(alpha0, learning_rate=speed, kernel_scale=1.0, noise_level=noise_level, steps=steps, complement=True)
    with mpmath.workdps(60):
        a, d = mpmath.mpf(alpha0), mpmath.mpf(noise_level)
        slope = mpmath.mpf(1)  # derivative of α_t in ln α_0, over α_t: the amplification of rounding errors
        worst = mpmath.mpf(1)
        for _ in range(steps):
            move = mpmath.mpf(speed) * d * (1 - d) * (1 - a) / (d + (1 - d) * a)
            slope *= 1 - mpmath.mpf(speed) * d * (1 - d) * a / (d + (1 - d) * a) ** 2
            worst = max(worst, abs(slope))
            a *= mpmath.exp(move)
        # Each step adds a few ulp (and the exponent's own rounding), amplified at most by the largest slope met on the way.
        budget = float(worst) ** 2 * (steps + 1) * 60 * EPS * (1 + speed)
        assert abs(float(got[-1] / a - 1)) <= budget
        assert abs(float(rest[-1] - (1 - a))) <= budget * max(1.0, float(a))


def test_complement_keeps_its_digits() -> None:
    """1 − α decays by 1 − ηκδ(1−δ) per step near the end, at full relative accuracy where 1 − α_t itself has none left."""
    rest = alpha_recursion(initial_alpha(0.4), learning_rate=1.0, kernel_scale=2.0, noise_level=0.4, steps=400, complement=True)
    assert 0 < rest[-1] < 1e-60
    np.testing.assert_allclose(rest[301:] / rest[300:-1], 1 - 2.0 * 0.4 * 0.6, rtol=1e-13)


# --- X2: the flow


@given(
    t=st.floats(0, 2000),
    alpha0=st.floats(1e-9, 100).filter(lambda a: a != 1),
    noise_level=st.floats(1e-4, 0.99),
)
@settings(max_examples=150, deadline=None)
def test_flow_at_fifty_digits(t: float, alpha0: float, noise_level: float) -> None:
    """α and 1 − α to 4 ulp and the conditioning of the equation in its own data."""
    got = float(alpha_flow(t, alpha0=alpha0, kernel_scale=1.0, noise_level=noise_level))
    rest = float(alpha_flow(t, alpha0=alpha0, kernel_scale=1.0, noise_level=noise_level, complement=True))
    with mpmath.workdps(80):
        a, d, tau = mpmath.mpf(alpha0), mpmath.mpf(noise_level), mpmath.mpf(t) * mpmath.mpf(noise_level) * (1 - mpmath.mpf(noise_level))
        constant = d * mpmath.log(a) - mpmath.log(abs(1 - a))
        # Newton's method for s = ln|α/(1−α)| in the printed implicit equation, not in the form that the code solves.
        start = mpmath.log(a / abs(1 - a))
        low = mpmath.log(mpmath.mpf(got) / abs(mpmath.mpf(rest)))
        for _ in range(7):
            alpha = 1 / (1 + mpmath.exp(-low)) if a < 1 else 1 / (1 - mpmath.exp(-low))
            gap = alpha * mpmath.exp(-low)
            error = d * mpmath.log(alpha) - mpmath.log(gap) - constant - tau
            low -= error / (d + (1 - d) * alpha)
        assert abs(error) < 1e-60
        growth = mpmath.exp(low)
        exact = growth / (1 + growth) if a < 1 else 1 / (1 - 1 / growth)
        left = 1 / (1 + growth) if a < 1 else -(1 / growth) / (1 - 1 / growth)
        # Relative change of α and of 1−α when τ changes by one ulp, and when v = ln growth does.
        steep = float(tau / (d + (1 - d) * exact))
        moved = float(low - start)
    assert abs(got / exact - 1) <= (6 + (steep + moved) * abs(1 - float(exact)) * 2) * EPS
    assert abs(rest / left - 1) <= (6 + (steep + moved) * float(exact) * 2) * EPS


@given(alpha0=st.floats(0.01, 3), noise_level=st.floats(0.05, 0.9), t=st.floats(0, 100), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_flow_composes_and_approaches_one_monotonically(alpha0: float, noise_level: float, t: float, share: float) -> None:
    options = {"kernel_scale": 1.3, "noise_level": noise_level}
    half = alpha_flow(share * t, alpha0=alpha0, **options)
    whole = alpha_flow(t, alpha0=alpha0, **options)
    # Rounding of the intermediate α, amplified at most by 1/δ per unit of ln α.
    np.testing.assert_allclose(alpha_flow((1 - share) * t, alpha0=half, **options), whole, rtol=20 * EPS * (1 + 1.3 * t) / noise_level)
    assert abs(whole - 1) <= abs(half - 1) * (1 + 8 * EPS) + 8 * EPS
    assert (half - 1) * (alpha0 - 1) >= 0


def test_flow_limits() -> None:
    flow = alpha_flow([0.0, 1e-12, 1e9], alpha0=0.5, kernel_scale=1.0, noise_level=0.3)
    assert flow.tolist()[0] == 0.5
    # dα/dt at t = 0: κδ(1−δ)α(1−α)/(δ+(1−δ)α).
    assert (flow[1] - 0.5) / 1e-12 == pytest.approx(0.3 * 0.7 * 0.25 / (0.3 + 0.35), rel=1e-3)
    assert flow[2] == 1.0
    # Approach at rate κδ(1−δ).
    rest = alpha_flow([900.0, 1000.0, 1e9], alpha0=0.5, kernel_scale=1.0, noise_level=0.3, complement=True)
    assert np.log(rest[0] / rest[1]) == pytest.approx(100 * 0.21, rel=1e-12)
    assert rest[2] == 0.0
    assert alpha_flow(5.0, alpha0=1.0, kernel_scale=1.0, noise_level=0.3) == 1.0
    assert alpha_flow(5.0, alpha0=0.0, kernel_scale=1.0, noise_level=0.3) == 0.0
    np.testing.assert_array_equal(alpha_flow([0.0, 1.0, 1e9], alpha0=0.0, kernel_scale=1.0, noise_level=0.0), 0.0)  # no noise at all
    assert alpha_flow(1e9, alpha0=0.2, kernel_scale=1.0, noise_level=0.0) == pytest.approx(0.2, rel=4 * EPS)


def test_recursion_tends_to_the_flow() -> None:
    gaps = []
    for steps in (100, 200, 400):
        path = alpha_recursion(0.25, learning_rate=20 / steps, kernel_scale=1.0, noise_level=0.2, steps=steps)
        gaps.append(abs(float(path[-1] - alpha_flow(20.0, alpha0=0.25, kernel_scale=1.0, noise_level=0.2))))
    np.testing.assert_allclose([gaps[0] / gaps[1], gaps[1] / gaps[2]], 2, rtol=0.05)  # first order


def test_constant_from_half_output() -> None:
    """C_0 = δ ln(δ/(1−δ)) − ln((1−2δ)/(1−δ)) from f = ½ (X2)."""
    delta, t = 0.35, 7.0
    alpha = float(alpha_flow(t, alpha0=initial_alpha(delta), kernel_scale=1.0, noise_level=delta))
    constant = delta * np.log(delta / (1 - delta)) - np.log((1 - 2 * delta) / (1 - delta))
    assert delta * np.log(alpha) - np.log(1 - alpha) == pytest.approx(delta * (1 - delta) * t + constant, rel=1e-13)


# --- X3, X9: step sizes and thresholds


@given(speed=st.floats(0.01, 4), noise_level=st.floats(0.01, 0.95), alpha0=st.floats(1e-3, 0.999))
@example(speed=4.0, noise_level=0.5, alpha0=0.2695991019383005)
@settings(max_examples=150, deadline=None)
def test_no_overshoot_up_to_four(speed: float, noise_level: float, alpha0: float) -> None:
    """At 4 and δ = ½ the step cancels 1 − α to third order, and what is left is the rounding of the step, 4 ulp of 1 − α at most."""
    rest = alpha_recursion(alpha0, learning_rate=speed, kernel_scale=1.0, noise_level=noise_level, steps=50, complement=True)
    assert (rest[1:] >= -4 * EPS * np.abs(rest[:-1])).all()
    assert no_overshoot_rate(speed) * speed == pytest.approx(4)


def test_four_is_sharp() -> None:
    """Slightly above ηκ = 4 a start below 1 overshoots, at δ near ½ where the map is steepest."""
    rate = 4.05 * no_overshoot_rate(1.0) / 4
    assert (alpha_recursion(0.999, learning_rate=rate, kernel_scale=1.0, noise_level=0.5, steps=1)[1]) > 1


@pytest.mark.parametrize("noise_level", [0.05, 0.2, 0.4, 0.499, 0.5])
def test_first_step_overshoot(noise_level: float) -> None:
    limit = first_step_overshoot_rate(2.0, noise_level)
    if noise_level == 0.5:  # α_0 = 1: nothing moves, and the bound is the limit 4/κ
        assert limit == 2.0
        return
    assert limit == pytest.approx(np.log((1 - noise_level) / noise_level) / (0.5 - noise_level) / 2.0, rel=1e-10)
    for part, overshoots in ((1 - 1e-9, False), (1 + 1e-9, True)):
        path = alpha_recursion(
            initial_alpha(noise_level), learning_rate=part * limit, kernel_scale=2.0, noise_level=noise_level, steps=1, complement=True
        )
        assert bool(path[1] < 0) is overshoots


def test_local_stability() -> None:
    delta = 0.3
    for part, attracted in ((0.99, True), (1.01, False)):
        rate = part * local_stability_rate(1.0, delta)
        path = alpha_recursion(1 - 1e-9, learning_rate=rate, kernel_scale=1.0, noise_level=delta, steps=50, complement=True)
        assert bool(abs(path[-1]) < abs(path[0])) is attracted
    for part, alternates in ((0.99, False), (1.01, True)):
        rate = part * local_stability_rate(1.0, delta, monotone=True)
        path = alpha_recursion(1 - 1e-9, learning_rate=rate, kernel_scale=1.0, noise_level=delta, steps=3, complement=True)
        assert bool(path[1] < 0) is alternates


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_threshold_of_the_noise_level(n_classes: int) -> None:
    threshold = noise_threshold(n_classes)
    assert initial_alpha(threshold - 1e-9, n_classes=n_classes) < 1 < initial_alpha(threshold + 1e-9, n_classes=n_classes)
    below, above = 0.8 * threshold, min(1.1 * threshold, 0.99)
    for level, rises in ((below, True), (above, False)):
        start = initial_alpha(level, n_classes=n_classes)
        path = alpha_recursion(start, learning_rate=1.0, kernel_scale=1.0, noise_level=level, steps=100)
        assert bool((np.diff(path) > 0).all()) is rises
        assert bool((np.diff(path) < 0).all()) is not rises
    if n_classes == 10:
        assert initial_alpha(0.72, n_classes=10) < 1 < initial_alpha(0.99, n_classes=10)  # the catalogue's two cases


def test_effective_rate_forms() -> None:
    assert float(effective_learning_rate(2.0, alpha=initial_alpha(0.3), noise_level=0.3)) == pytest.approx(2 * 0.4, rel=1e-14)
    assert float(effective_learning_rate(2.0, alpha=initial_alpha(0.3), noise_level=0.3, form="printed")) == pytest.approx(0.8, rel=1e-14)
    # Elsewhere they differ: α = .7455 at δ = .3 gives .178 against .146 (R3), α = .9368 gives .044 against .033.
    for alpha, corrected, printed in ((0.7455, 0.178, 0.146), (0.9368, 0.044, 0.033)):
        assert float(effective_learning_rate(1.0, alpha=alpha, noise_level=0.3)) == pytest.approx(corrected, abs=5e-4)
        assert float(effective_learning_rate(1.0, alpha=alpha, noise_level=0.3, form="printed")) == pytest.approx(printed, abs=5e-4)


@given(residual=st.floats(0.01, 1), noise_level=st.floats(0, 0.9))
@settings(max_examples=60, deadline=None)
def test_residual_and_alpha_forms_agree(residual: float, noise_level: float) -> None:
    """R3: 1 − δ/r = (1−δ)(1−α); R2: α = 1 exactly at r = δ."""
    alpha = alpha_from_truth_residual(residual, noise_level=noise_level)
    corrected = effective_learning_rate(1.0, alpha=alpha, noise_level=noise_level)
    assert float(step_factor_from_residual(residual, noise_level=noise_level)) == pytest.approx(float(corrected), abs=1e-13 / residual)
    if noise_level > 0.01:
        assert float(alpha_from_truth_residual(noise_level, noise_level=noise_level)) == pytest.approx(1, rel=4 * EPS)


def test_smallest_residual_and_smallest_scale_are_legal() -> None:
    assert float(alpha_from_truth_residual(1e-100, noise_level=0.5)) == pytest.approx(1e100, rel=4 * EPS)
    assert no_overshoot_rate(1e-100) == pytest.approx(4e100, rel=4 * EPS)


# --- D1, X10: two unequal clusters


def test_float32_in_float32_out() -> None:
    times = np.float32([0.0, 1.0, 10.0])
    flow = alpha_flow(times, alpha0=0.5, kernel_scale=1.0, noise_level=0.3)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, alpha_flow(times.astype(float), alpha0=0.5, kernel_scale=1.0, noise_level=0.3), rtol=1e-7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: initial_alpha(1.2), "noise_level must lie in [0, 1), got 1.2"),
        (lambda: initial_alpha(0.3, n_classes=1), "n_classes must be an integer >= 2, got 1"),
        (lambda: initial_alpha(0.3, n_classes=2**63), "n_classes must be an integer <= 9223372036854775807, got 9223372036854775808"),
        (lambda: noise_threshold(2.5), "n_classes must be an integer >= 2, got 2.5"),
        (lambda: cluster_kernel_scale(0.5, 0.5), "within must exceed between = 0.5, got 0.5"),
        (lambda: cluster_kernel_scale(1.0, 0.5, n_classes=3), "n_classes must be 2 for the logistic loss, got 3"),
        (lambda: alpha_recursion(-0.1, learning_rate=1, kernel_scale=1, noise_level=0.3, steps=1), "alpha0 must be >= 0, got -0.1"),
        (
            lambda: alpha_recursion(0.1, learning_rate=0, kernel_scale=1, noise_level=0.3, steps=1),
            "learning_rate must be a positive finite",
        ),
        (lambda: alpha_flow(1.0, alpha0=[0.5, -0.1], kernel_scale=1, noise_level=0.3), "alpha0 must be >= 0, got -0.1"),
        (lambda: alpha_flow(-1.0, alpha0=0.5, kernel_scale=1, noise_level=0.3), "times must be >= 0, got -1.0"),
        (lambda: alpha_flow(1.0, alpha0=np.nan, kernel_scale=1, noise_level=0.3), "alpha0 must be finite, got nan"),
        (
            lambda: effective_learning_rate(1.0, alpha=0.5, noise_level=0.3, form="paper"),
            "form must be one of 'corrected', 'printed', got 'paper'",
        ),
        (lambda: step_factor_from_residual(0.0, noise_level=0.3), "residual must lie in [1e-100, 1], got 0.0"),
        (lambda: step_factor_from_residual([1.0, 1.5], noise_level=0.3), "residual must lie in [1e-100, 1], got 1.5"),
        (lambda: no_overshoot_rate(9e-101), "kernel_scale must be at least 1e-100, got 9e-101"),
        (lambda: first_step_overshoot_rate(1.0, 0.0), "noise_level must lie in (0, 1), got 0.0"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
