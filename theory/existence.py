"""When clean priority exists at all: how many samples per class, how much noise and how much depth it survives.

At f ≡ 1/C with independent noise and m samples per class, the first descent step moves a noisy sample away from its observed label, on
average over flips, exactly where (C−1)K_d < β[m(K_w − K_b) − K_w], β = 1 − δC/(C−1): its own term K_d pulls towards the wrong label, the
clean majority of its class pushes back. K_d, K_w, K_b are the mean kernel on the diagonal, within and between classes. Derivation:
notes/early_stopping.md §4.
"""

from __future__ import annotations

import math

import numpy as np

from theory._arc_cosine import layers
from theory._validation import check_angle, check_depth, check_integer, check_noise_level, check_number, check_positive

__all__ = ["critical_depth", "largest_noise_for_clean_priority", "noisy_sample_drift", "samples_for_clean_priority"]


def noisy_sample_drift(
    noise_level: float, *, samples_per_class: int, diagonal: float, within: float, between: float, n_classes: int = 2
) -> float:
    """Return Σ_j K_ij <r_i, r_j> · C in expectation for a noisy sample i at f ≡ 1/C: (C−1)K_d − β[(m−1)K_w − mK_b].

    Positive: the sample's loss falls from the first step (its wrong label is being learnt). Negative: clean priority. For C = 2 it is
    K_d − (1−2δ)[(m−1)K_w − mK_b], 2n times the drift y ḣ of the signed logit per unit time.

    Args:
        noise_level: δ in [0, 1), independent flips, uniform on the wrong classes.
        samples_per_class: m ≥ 1, balanced.
        diagonal: K_d > 0.
        within: K_w, mean kernel of two samples of one class.
        between: K_b, mean kernel of samples of two classes, the same for every pair of classes.
        n_classes: C ≥ 2.

    Raises:
        ValueError: for values out of range or not finite.

    Source:
        X8, X9; notes/early_stopping.md §4.

    Example:
        >>> round(noisy_sample_drift(0.25, samples_per_class=5, diagonal=2.0, within=1.0, between=0.5), 12)
        1.25
    """
    m = check_integer(samples_per_class, "samples_per_class")
    beta, classes = _beta(noise_level, n_classes)
    k_d, k_w, k_b = _kernel_means(diagonal, within, between)
    return (classes - 1) * k_d - beta * ((m - 1) * k_w - m * k_b)


def samples_for_clean_priority(noise_level: float, *, diagonal: float, within: float, between: float, n_classes: int = 2) -> float:
    """Return the threshold ((C−1)K_d/β + K_w)/(K_w − K_b): clean priority at the start iff there are more samples per class.

    Args:
        noise_level: δ in [0, 1), independent flips, uniform on the wrong classes.
        diagonal: K_d > 0.
        within: K_w, mean kernel of two samples of one class.
        between: K_b, mean kernel of samples of two classes.
        n_classes: C ≥ 2.

    Returns:
        The number of samples per class, a real number; inf where no number suffices: K_w ≤ K_b, or δ ≥ (C−1)/C.

    Raises:
        ValueError: for values out of range or not finite.

    Source:
        X8, X9; notes/early_stopping.md §4.

    Example:
        >>> samples_for_clean_priority(0.25, diagonal=2.0, within=1.0, between=0.5)
        10.0
    """
    beta, classes = _beta(noise_level, n_classes)
    k_d, k_w, k_b = _kernel_means(diagonal, within, between)
    return _threshold(beta, classes, k_d, k_w, k_w - k_b)


def largest_noise_for_clean_priority(
    *, samples_per_class: int, diagonal: float, within: float, between: float, n_classes: int = 2
) -> float:
    """Return the noise level below which m samples per class show clean priority.

    It is (C−1)/C · (1 − (C−1)K_d/(m(K_w − K_b) − K_w)).

    Args:
        samples_per_class: m ≥ 1.
        diagonal: K_d > 0.
        within: K_w.
        between: K_b.
        n_classes: C ≥ 2.

    Returns:
        A noise level below (C−1)/C; 0 where even noise in the limit δ → 0 is fitted from the start.

    Raises:
        ValueError: for values out of range or not finite.

    Source:
        X8, X9; notes/early_stopping.md §4.

    Example:
        >>> largest_noise_for_clean_priority(samples_per_class=10, diagonal=2.0, within=1.0, between=0.5)
        0.25
    """
    m = check_integer(samples_per_class, "samples_per_class")
    classes = check_integer(n_classes, "n_classes", minimum=2)
    k_d, k_w, k_b = _kernel_means(diagonal, within, between)
    push = m * (k_w - k_b) - k_w
    if push <= (classes - 1) * k_d:
        return 0.0
    return (classes - 1) / classes * (1 - (classes - 1) * k_d / push)


def critical_depth(
    noise_level: float,
    *,
    samples_per_class: int,
    within_angle: float,
    between_angle: float,
    n_classes: int = 2,
    max_depth: int = 1000,
) -> int:
    """Return the largest depth up to which the tangent kernel of Eq. (2) [B] keeps clean priority at the start.

    Unit inputs, angle θ_w between samples of a class and θ_b between classes. The contrast K_w − K_b vanishes like 1/L: every finite
    sample loses clean priority at some depth.

    Args:
        noise_level: δ in [0, 1).
        samples_per_class: m ≥ 1.
        within_angle: θ_w, radians.
        between_angle: θ_b, radians.
        n_classes: C ≥ 2.
        max_depth: where the search ends.

    Returns:
        The last depth L ≥ 1 in the first run of depths with clean priority; 0 if no depth up to ``max_depth`` has it, and ``max_depth`` if
        the run has not ended there.

    Raises:
        ValueError: for values out of range.

    Source:
        X8; notes/early_stopping.md §4.

    Example:
        >>> critical_depth(0.4, samples_per_class=20, within_angle=math.radians(20), between_angle=math.radians(80))
        11
    """
    m = check_integer(samples_per_class, "samples_per_class")
    beta, classes = _beta(noise_level, n_classes)
    angles = np.array([_one_angle(within_angle, "within_angle"), _one_angle(between_angle, "between_angle")])
    recursion = layers(angles, check_depth(max_depth, "max_depth"))
    previous, half_sine, _ = next(recursion)
    gap = 2 * half_sine**2  # (L+1)(1 − cos θ_h), layer by layer as in theory._arc_cosine.gradient_gap
    found = 0
    for depth, (angle, half_sine, _) in enumerate(recursion, start=1):
        gap = 2 * half_sine**2 + depth * previous / np.pi + (1 - previous / np.pi) * gap
        previous = angle
        within_gap, between_gap = (float(g) / (depth + 1) for g in gap)
        if m > _threshold(beta, classes, 1.0, 1.0 - within_gap, between_gap - within_gap):
            found = depth
        elif found:
            break
    return found


def _threshold(beta: float, classes: int, diagonal: float, within: float, contrast: float) -> float:
    if contrast <= 0 or beta <= 0:
        return math.inf
    return ((classes - 1) * diagonal / beta + within) / contrast


def _beta(noise_level: float, n_classes: int) -> tuple[float, int]:
    classes = check_integer(n_classes, "n_classes", minimum=2)
    return 1 - check_noise_level(noise_level) * classes / (classes - 1), classes


def _kernel_means(diagonal: float, within: float, between: float) -> tuple[float, float, float]:
    return check_positive(diagonal, "diagonal"), check_number(within, "within"), check_number(between, "between")


def _one_angle(angle: float, name: str) -> float:
    value = check_angle(angle, name)
    if value.ndim != 0:
        raise ValueError(f"{name} must be one angle, got shape {list(value.shape)}")
    return float(value)
