"""Many classes at initialisation: ratios, angles and the noise-free gradient, by counting and enumeration (M2-M5).

Tolerances without a comment are rounding, 1.1e-16 at a time: 1e-10 for sums over 900 samples and 10 logits that cancel to a hundredth,
1e-12 for averages over a thousand draws, 1e-14 and 1e-15 for single formulas; 5e-3 is half of the last digit printed.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from theory.initialization import (
    class_kernel_means,
    expected_segments,
)
from theory.initialization_multiclass import (
    full_gradient_cosine,
    initial_residuals,
    multiclass_segment_ratio,
    noise_free_gradient_factor,
    opposed_residual_cosine,
)
from theory.segments import Segments, segment_geometry

Array = NDArray[np.float64]


def collapsed_classes(n_classes: int, per_class: int, delta: float) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Exact proportions: in each class a fraction δ, spread evenly over the wrong labels; one feature direction per class."""
    wrong = round(per_class * delta / (n_classes - 1))
    truth, observed = [], []
    for c in range(n_classes):
        others = [k for k in range(n_classes) if k != c]
        labels = [c] * (per_class - wrong * len(others)) + [k for k in others for _ in range(wrong)]
        truth += [c] * per_class
        observed += labels
    truth_array = np.array(truth)
    return np.eye(n_classes)[truth_array] + 0.3, truth_array, np.array(observed)


@pytest.mark.parametrize(("n_classes", "per_class", "delta"), [(10, 90, 0.3), (10, 90, 0.4), (4, 30, 0.6), (2, 10, 0.3)])
def test_multiclass_ratios_by_counting(n_classes: int, per_class: int, delta: float) -> None:
    phi, truth, observed = collapsed_classes(n_classes, per_class, delta)
    residuals = initial_residuals(observed, n_classes=n_classes)
    segments = Segments.from_labels(truth, observed, n_classes)
    geometry = segment_geometry(phi @ phi.T, residuals, segments)
    by_truth = multiclass_segment_ratio(delta, n_classes=n_classes)
    np.testing.assert_allclose(1 / geometry.alpha, by_truth, rtol=1e-10)  # full vector gradient, every class
    np.testing.assert_allclose(geometry.rho, 1, rtol=1e-10)  # segments are exactly opposite although sample pairs are not (M4)
    for c in range(n_classes):  # single logit c
        one = segment_geometry(phi @ phi.T, residuals[:, c], segments)
        assert 1 / one.alpha[c] == pytest.approx(by_truth, rel=1e-10)
    # Reading by logit: class c' = 0 in logit c = 1, noisy where mislabelled as 1.
    rows, noisy = truth == 0, (truth == 0) & (observed == 1)
    ratio = abs(residuals[rows & ~noisy, 1].sum() / residuals[noisy, 1].sum())
    assert ratio == pytest.approx(multiclass_segment_ratio(delta, n_classes=n_classes, reading="logit"), rel=1e-10)
    # The full gradient is one multiple of the noise-free gradient in every (class, logit) block (M5).
    clean_residuals = initial_residuals(truth, n_classes=n_classes)
    factor = noise_free_gradient_factor(delta, n_classes=n_classes)
    for c in range(n_classes):
        mine = truth == c
        np.testing.assert_allclose(residuals[mine].sum(axis=0), factor * clean_residuals[mine].sum(axis=0), rtol=0, atol=1e-11 * per_class)


@pytest.mark.parametrize(("n_classes", "n_noise"), [(2, 2), (3, 1), (3, 2), (4, 2)])
def test_full_gradient_cosine_by_enumeration(n_classes: int, n_noise: int) -> None:
    """All noisy subsets of a class of five samples and all their wrong labels, one after the other."""
    rng = np.random.default_rng(0)
    phi = rng.normal(size=(5, 3)) + 2
    kernel, moments = phi @ phi.T, np.zeros(3)
    for noisy in itertools.combinations(range(5), n_noise):
        for labels in itertools.product(range(1, n_classes), repeat=n_noise):
            observed = np.zeros(5, dtype=int)
            observed[list(noisy)] = labels
            r = initial_residuals(observed, n_classes=n_classes)
            clean, noise = (np.where(mask[:, None], r, 0) for mask in (observed == 0, observed != 0))
            moments += [np.sum(left * (kernel @ right)) for left, right in ((clean, noise), (clean, clean), (noise, noise))]
    means = class_kernel_means(kernel)
    found = full_gradient_cosine(*means, n_clean=5 - n_noise, n_noise=n_noise, n_classes=n_classes)
    assert found == pytest.approx(moments[0] / math.sqrt(moments[1] * moments[2]), rel=1e-12)
    if n_classes == 2:
        two = expected_segments(*means, n_clean=5 - n_noise, n_noise=n_noise)
        assert found == pytest.approx(math.cos(two.angle), rel=1e-12)
    # Many noisy samples make the segments opposite; a single pair at one input has the cosine of its residuals.
    assert full_gradient_cosine(*means, n_clean=10**9, n_noise=10**9, n_classes=n_classes) == pytest.approx(-1, abs=1e-6)
    assert full_gradient_cosine(1, 1, n_clean=1, n_noise=1, n_classes=n_classes) == pytest.approx(-1 / (n_classes - 1), rel=1e-15)


def test_multiclass_worked_values() -> None:
    assert multiclass_segment_ratio(0.3, n_classes=10) == pytest.approx(21.0, rel=1e-14)
    assert multiclass_segment_ratio(0.4, n_classes=10) == pytest.approx(13.5, rel=1e-14)
    assert multiclass_segment_ratio(0.3, n_classes=10, reading="logit") == pytest.approx(3.22, abs=5e-3)
    assert multiclass_segment_ratio(0.4, n_classes=10, reading="logit") == pytest.approx(2.39, abs=5e-3)
    assert multiclass_segment_ratio(0.4, n_classes=2) == pytest.approx(1.5, rel=1e-15)
    assert opposed_residual_cosine(2) == -1
    residuals = initial_residuals([0, 3], n_classes=5)
    cosine = residuals[0] @ residuals[1] / (residuals[0] @ residuals[0])
    assert cosine == pytest.approx(opposed_residual_cosine(5), abs=1e-15)
    assert noise_free_gradient_factor(0.95, n_classes=10) < 0 < noise_free_gradient_factor(0.72, n_classes=10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: multiclass_segment_ratio(0.4, n_classes=1), "n_classes must be an integer >= 2, got 1"),
        (
            lambda: full_gradient_cosine(1, 2, n_clean=1, n_noise=1, n_classes=3),
            "mean_off_diagonal must be at most mean_diagonal = 1, got 2",
        ),
        (lambda: full_gradient_cosine(1, 1, n_clean=1, n_noise=1, n_classes=1), "n_classes must be an integer >= 2, got 1"),
        (lambda: multiclass_segment_ratio(0.4, n_classes=3, reading="both"), "reading must be one of"),
        (lambda: initial_residuals([3], n_classes=3), "classes 0 ... 2, got 3"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
