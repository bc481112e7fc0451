"""How many samples, how little noise and what depth clean priority needs, against enumeration of all label draws (X8, X9).

Where two numbers agree to 1e-9 of their terms their order is left to rounding and not judged.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.angles import cos_gradient_angle
from theory.existence import critical_depth, largest_noise_for_clean_priority, noisy_sample_drift, samples_for_clean_priority
from theory.initialization_multiclass import initial_residuals


@pytest.mark.parametrize(("n_classes", "per_class", "delta"), [(2, 3, 0.2), (2, 3, 0.45), (3, 2, 0.3), (3, 2, 0.8)])
def test_drift_of_a_noisy_sample_by_enumeration(n_classes: int, per_class: int, delta: float) -> None:
    truth = np.repeat(np.arange(n_classes), per_class)
    n = truth.size
    diagonal, within, between = 2.0, 1.1, 0.4
    kernel = np.where(truth[:, None] == truth[None], within, between) + (diagonal - within) * np.eye(n)
    chance = np.full((n_classes, n_classes), delta / (n_classes - 1))
    np.fill_diagonal(chance, 1 - delta)
    total = mass = 0.0
    for labels in itertools.product(range(n_classes), repeat=n):
        if labels[0] == truth[0]:
            continue  # sample 0 is the noisy one
        weight = math.prod(chance[c, y] for c, y in zip(truth, labels, strict=True))
        r = initial_residuals(labels, n_classes=n_classes)
        total += weight * float(kernel[0] @ (r @ r[0]))
        mass += weight
    exact = noisy_sample_drift(delta, samples_per_class=per_class, diagonal=diagonal, within=within, between=between, n_classes=n_classes)
    assert n_classes * total / mass == pytest.approx(exact, abs=1e-12)


@given(st.integers(2, 12), st.floats(0.0, 0.95), st.floats(0.5, 5), st.floats(0.05, 0.95), st.floats(0.0, 0.9), st.integers(1, 2000))
@settings(max_examples=200, deadline=None)
def test_threshold_is_where_the_drift_changes_sign(
    n_classes: int, delta: float, diagonal: float, within: float, between: float, samples: int
) -> None:
    means = {"diagonal": diagonal, "within": within * diagonal, "between": between * within * diagonal}
    threshold = samples_for_clean_priority(delta, n_classes=n_classes, **means)
    drift = noisy_sample_drift(delta, samples_per_class=samples, n_classes=n_classes, **means)
    if abs(drift) > 1e-9 * diagonal * samples:
        assert (samples > threshold) == (drift < 0)
    largest = largest_noise_for_clean_priority(samples_per_class=samples, n_classes=n_classes, **means)
    assert 0 <= largest < (n_classes - 1) / n_classes
    if abs(delta - largest) > 1e-9 and delta < (n_classes - 1) / n_classes:
        assert (delta < largest) == (samples > threshold)


def test_no_number_of_samples_suffices() -> None:
    assert samples_for_clean_priority(0.3, diagonal=1.0, within=0.4, between=0.4) == math.inf  # no contrast
    assert samples_for_clean_priority(0.5, diagonal=1.0, within=0.9, between=0.1) == math.inf  # δ ≥ (C−1)/C
    assert samples_for_clean_priority(0.72, diagonal=1.0, within=0.9, between=0.1, n_classes=10) < math.inf


def test_depth_ends_clean_priority() -> None:
    within, between = math.radians(20), math.radians(80)
    depths = [critical_depth(delta, samples_per_class=20, within_angle=within, between_angle=between) for delta in (0.1, 0.2, 0.3, 0.4)]
    assert depths == sorted(depths, reverse=True)
    assert depths[2:] == [26, 11]
    # Contrast ~ 1/L: the critical depth grows in proportion to the samples (up to the slow logarithm of the contrast).
    many = critical_depth(0.4, samples_per_class=200, within_angle=within, between_angle=between)
    more = critical_depth(0.4, samples_per_class=400, within_angle=within, between_angle=between)
    assert 1.7 < more / many < 2.3
    assert critical_depth(0.4, samples_per_class=2, within_angle=within, between_angle=between) == 0
    assert critical_depth(0.1, samples_per_class=20, within_angle=within, between_angle=between, max_depth=5) == 5


@pytest.mark.parametrize("delta", [0.3, 0.48])
def test_first_depth_has_priority_from_the_threshold_of_its_kernel(delta: float) -> None:
    """With the kernel cos θ_h of one hidden layer the last sample below the threshold is not enough, the next one is."""
    within, between = math.radians(20), math.radians(80)
    near, far = (float(cos_gradient_angle(angle)) for angle in (within, between))
    enough = math.ceil(samples_for_clean_priority(delta, diagonal=1.0, within=near, between=far))
    depths = [
        critical_depth(delta, samples_per_class=samples, within_angle=within, between_angle=between, max_depth=1)
        for samples in (enough - 1, enough)
    ]
    assert depths == [0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: samples_for_clean_priority(0.3, diagonal=0.0, within=1.0, between=0.5), "diagonal must be a positive"),
        (
            lambda: critical_depth(0.3, samples_per_class=0, within_angle=0.1, between_angle=1.0),
            "samples_per_class must be an integer >= 1",
        ),
        (lambda: critical_depth(0.3, samples_per_class=3, within_angle=-0.1, between_angle=1.0), r"within_angle must lie in \[0, pi\]"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
