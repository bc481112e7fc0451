"""Corollary 3.2 [A] (Theorem 3.1 [B]): θ_h grows with θ_d on [0, π/2], and small θ_d gives small θ_h — like a square root."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from empirical.inference import Estimate, exact
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.estimates import mean_design, means, points_over_curve
from theory.angles import (
    cos_gradient_angle,
    gradient_angle,
    gradient_gap_bound,
    one_minus_cos_gradient_angle,
    orthogonal_angle,
    small_angle_law,
    turning_point,
)
from theory.finite_width import ntk_moments

EPS = np.finfo(np.float64).eps
DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100, 200)
ACTIVATIONS = ("linear", "relu")
# gradient_angle is right to 8 + 2·depth ulp.
ROUNDING = np.array([(8 + 2 * depth) * EPS for depth in DEPTHS])


@pytest.mark.claim("G4")
@pytest.mark.regime("infinite width", "all angles")
def test_gradient_angle_is_monotone_at_infinite_width(agreement: Agreement) -> None:
    theta = np.linspace(0, np.pi / 2, 20_001)
    for activation in ACTIVATIONS:
        angles = np.array([gradient_angle(theta, depth=depth, activation=activation) for depth in DEPTHS])
        margin = {"rounding": ROUNDING * np.pi}
        steps = exact(np.diff(angles, axis=1).min(axis=1), n_seeds=1)
        agreement.check(f"{activation}: smallest step of θ_h on [0, π/2]", prediction=Range(lower=0.0), estimate=steps, margin=margin)
        for end, values in (("smallest", angles.min(axis=1)), ("largest", angles.max(axis=1))):
            agreement.check(f"{activation}: {end} θ_h on [0, π/2]", prediction=Range(0.0, np.pi / 2), estimate=exact(values), margin=margin)
    beyond = np.linspace(0, np.pi, 20_001)
    angles = np.array([gradient_angle(beyond, depth=depth) for depth in DEPTHS])
    steps, margin = exact(np.diff(angles, axis=1).min(axis=1)), {"rounding": ROUNDING * np.pi}
    agreement.control("ReLU: smallest step of θ_h on [0, π]", prediction=Range(lower=0.0), estimate=steps, margin=margin)
    agreement.control("ReLU: largest θ_h on [0, π]", prediction=Range(0.0, np.pi / 2), estimate=exact(angles.max(axis=1)), margin=margin)
    agreement.note(
        f"With one hidden layer θ_h turns back at θ_d = {np.degrees(turning_point()):.2f}° and exceeds 90° from "
        f"θ_d = {np.degrees(orthogonal_angle()):.2f}°; inputs whose mean was subtracted reach such angles."
    )


@pytest.mark.claim("G4")
@pytest.mark.regime("network at initialisation, width 1024", "unit pairs")
@pytest.mark.experiments(*(f"kernels-{activation}-depth-1-width-1024" for activation in ACTIVATIONS))
def test_gradient_angle_is_monotone_in_networks(agreement: Agreement) -> None:
    for activation in ACTIVATIONS:
        sample = agreement.measure(f"kernels-{activation}-depth-1-width-1024")
        theta = sample.angle.values
        cosine = (sample.kernel_xz / np.sqrt(sample.kernel_xx * sample.kernel_zz)).values
        drops, predicted = -np.diff(cosine, axis=1), -np.diff(cos_gradient_angle(theta, activation=activation))
        # The standard deviation of a difference is at most the sum of two (delta method); a bias is at most 0.16/m.
        sd = np.sqrt(ntk_moments(theta, width=1024, activation=activation).cosine_variance)
        sigma, bias = sd[1:] + sd[:-1], 2 * 0.16 / 1024
        acute, obtuse = theta[1:] <= np.pi / 2, theta[:-1] >= 2.2
        for judge_it, name, chosen, region in (
            (agreement.check, "fall of cos θ_h between neighbouring θ_d on [0, π/2]", acute, Range(lower=0.0)),
            (agreement.check, "the same against its limit, on [0, π]", theta[1:] > 0, predicted),
            (agreement.control, "fall of cos θ_h beyond 2.2, where the ReLU network's rises", obtuse, Range(lower=0.0)),
        ):
            if judge_it == agreement.control and activation == "linear":
                continue
            design = mean_design(sigma[chosen], n_seeds=len(drops), error_rate=agreement.error_rate)
            assert np.all(np.abs(predicted[chosen]) > design.detectable(bias=bias))  # power: a step of the wrong sign is seen everywhere
            estimate = means(drops[:, chosen], sigma=sigma[chosen], error_rate=agreement.error_rate)
            margin = {"finite width": bias, "sampling": design.margin}
            judge_it(f"{activation}: {name}", prediction=region, estimate=estimate, margin=margin)


@pytest.mark.claim("G5")
@pytest.mark.regime("infinite width", "small angles")
def test_small_angles_give_small_gradient_angles_at_infinite_width(agreement: Agreement) -> None:
    depths = np.array(DEPTHS)
    # 1 − cos θ_h = (Lθ/2π)(1 + e) with |e| ≤ (π + L)θ: above by the bound Lθ/(2π) + θ²/2, below because a product of L factors 1 − θ_l/π
    # is at most 1 − S + S²/2, S ≤ Lθ/π, and θ_l ≥ θ − lθ²/(2π). The arccosine adds less than Lθ/24, so that θ_h has |e| ≤ (π + L)θ too.
    near, far = 1e-8 / depths, 1e-4 / depths
    curvature = (np.pi + depths) * far
    small, large = (np.array([float(gradient_angle(t, depth=depth)) for t, depth in zip(at, DEPTHS, strict=True)]) for at in (near, far))
    slope, coefficient = (
        np.log(large / small) / np.log(far / near),
        large / [float(small_angle_law(t, depth=depth)) for t, depth in zip(far, DEPTHS, strict=True)],
    )
    margin = {"curvature": curvature / np.log(1e4), "rounding": ROUNDING}
    agreement.check("ReLU: exponent of θ_h in θ_d at small angles, L = 1…200", prediction=0.5, estimate=exact(slope), margin=margin)
    agreement.control("ReLU: exponent 1", prediction=1.0, estimate=exact(slope), margin=margin)
    margin = {"curvature": curvature, "rounding": ROUNDING}
    agreement.check("ReLU: θ_h/√(Lθ_d/π) at small angles", prediction=1.0, estimate=exact(coefficient), margin=margin)
    agreement.control(
        "ReLU: θ_h/√(θ_d/π), whatever the depth", prediction=1.0, estimate=exact(coefficient * np.sqrt(depths)), margin=margin
    )
    linear = gradient_angle(far, activation="linear") / far
    agreement.check("linear: θ_h/θ_d at small angles", prediction=1.0, estimate=exact(linear), margin={"rounding": ROUNDING})

    theta = np.linspace(0, np.pi / 2, 2001)
    excess = [(one_minus_cos_gradient_angle(theta, depth=depth) - gradient_gap_bound(theta, depth=depth)).max() for depth in DEPTHS]
    agreement.check(
        "1 − cos θ_h − (Lθ_d/2π + θ_d²/2), largest on [0, π/2]",
        prediction=Range(upper=0.0),
        estimate=exact(excess),
        margin={"rounding": ROUNDING},
    )
    # Not uniform in depth: at θ_d = 0.01 the angle is 3.2° for one hidden layer, but tends to arccos(1/4) = 75.5° with the depth.
    deep = np.degrees([float(gradient_angle(0.01, depth=depth)) for depth in (1, 100, 10_000)])
    agreement.control(
        "θ_h at θ_d = 0.01 is below 10° at L = 1, 100, 10 000",
        prediction=Range(0.0, 10.0),
        estimate=exact(deep, unit="°"),
        margin={"none": 0.0},
    )


@pytest.mark.claim("G5")
@pytest.mark.regime("network at initialisation, width 1024", "pairs at 0.003 to 0.03 rad")
@pytest.mark.experiments(*(f"kernels-{activation}-small-angles" for activation in ACTIVATIONS))
def test_small_angles_give_small_gradient_angles_in_networks(agreement: Agreement) -> None:
    exponents, arrays = {"linear": 1.0, "relu": 0.5}, {}
    for activation, exponent in exponents.items():
        sample = agreement.measure(f"kernels-{activation}-small-angles")
        theta, rate = sample.angle.values, agreement.error_rate
        # 1 − cos θ_h = θ_h²/2 up to θ_h²/24, without the cancellation of arccos at small angles.
        gap = 1 - (sample.kernel_xz / np.sqrt(sample.kernel_xx * sample.kernel_zz)).values
        limit = one_minus_cos_gradient_angle(theta, activation=activation)
        moments = ntk_moments(theta, width=1024, activation=activation)
        # A tenth more than the exact standard deviation: about one neuron per network separates the nearest pair, so that the skewness of
        # the mean, about 3/√n, makes the normal tail at five standard deviations too thin by as much.
        sigma = 1.1 * np.sqrt(moments.cosine_variance)
        design = mean_design(sigma, n_seeds=len(gap), error_rate=rate)
        bias = 2 * np.abs(moments.cosine_bias)  # the term of order 1/m, twice for what follows it
        estimate = means(gap, sigma=sigma, error_rate=rate)
        law = small_angle_law(theta) ** 2 / 2 if activation == "relu" else theta**2 / 2
        curvature = (np.pi + 1) * theta * law if activation == "relu" else theta**4 / 24
        margin = {"curvature": curvature, "finite width": bias, "sampling": design.margin}
        name = "1 − cos θ_h against θ_d/(2π)" if activation == "relu" else "1 − cos θ_h against θ_d²/2"
        agreement.check(f"{activation}: {name}", prediction=law, estimate=estimate, margin=margin)

        # Slope of ln θ_h = ½ ln(1 − cos θ_h) + const between the outer angles. One angle's relative error is e = σ/(gap √n); the two come
        # from the same networks, so that their errors add up at most; a third of e is allowed for ln(1 + e) − e.
        relative = (sigma / limit)[[0, -1]]
        span = 2 * np.log(theta[-1] / theta[0])
        spread = mean_design(1.33 * relative.sum() / span, n_seeds=len(gap), error_rate=rate)
        slope = np.log(estimate.value[-1] / estimate.value[0]) / span
        interval = Estimate(
            value=slope,
            lower=slope - float(spread.half_width),
            upper=slope + float(spread.half_width),
            confidence=1 - rate,
            n_seeds=len(gap),
            method="slope between two angles, normal interval from the exact standard deviations",
        )
        terms = {"curvature": float((curvature / law)[-1] / span), "finite width": float((bias / limit)[[0, -1]].sum() / span)}
        assert np.all(spread.detectable(rest=sum(terms.values())) < 0.5)  # power: exponent 1 for ½
        margin = terms | {"sampling": spread.margin}
        agreement.check(f"{activation}: exponent of θ_h in θ_d", prediction=exponent, estimate=interval, margin=margin)
        wrong = 1.5 - exponent
        agreement.control(f"{activation}: exponent {wrong:g}", prediction=wrong, estimate=interval, margin=margin)
        arrays |= points_over_curve(
            "ReLU" if activation == "relu" else activation,
            np.degrees(theta),
            in_degrees(estimate),
            0.0,
            lambda x, activation=activation: np.degrees(gradient_angle(np.radians(x), activation=activation)),
            np.geomspace(0.1, 90, 30),
        )
    agreement.figure(
        "comparison",
        title="Small angles: θ_h ∝ √θ_d for ReLU, θ_h = θ_d for linear networks",
        caption=f"Means over {sample.sizes['seed']} networks of width 1024; lines: infinite width, one hidden layer.",
        arrays={name: values for name, values in arrays.items() if not name.endswith("/margin")},
        labels={"x": "angle between the inputs, θ_d (degrees)", "y": "θ_h (degrees)", "xscale": "log", "yscale": "log"},
    )


def in_degrees(gap: Estimate) -> Estimate:
    """The angle θ_h in degrees, from an estimate of 1 − cos θ_h = 2 sin²(θ_h/2)."""
    value, lower, upper = (np.degrees(2 * np.arcsin(np.sqrt(np.asarray(part) / 2))) for part in (gap.value, gap.lower, gap.upper))
    return replace(gap, value=value, lower=lower, upper=upper, unit="°")
