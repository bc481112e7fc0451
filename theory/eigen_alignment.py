"""The rival account: labels are learnt in the order of the kernel's eigenvalues, and random flips align with none (Arora et al. 2019).

Both accounts are computed from the same kernel and labels. The eigen account compares two speeds: the time in which linearised descent
reproduces a fraction of the true labels, and of the flips. The gradient account asks for a sign: whether the noisy loss rises at the start
(a < ρ). They can differ, because flips e = s − ŝ learnt more slowly than the truth may still be learnt from the start. Derivations:
notes/early_stopping.md §6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_choice, check_instance, check_kernel, check_noise_level, check_number
from theory.initialization_multiclass import initial_residuals
from theory.segments import Segments, segment_geometry
from theory.stopping_rules import noise_loss_rises

__all__ = [
    "EigenAlignment",
    "RivalAccounts",
    "eigen_alignment",
    "expected_flip_energy",
    "learned_fraction",
    "learning_time",
    "rival_accounts",
]

FloatArray = NDArray[np.float64]
_LOSSES = ("logistic", "softmax", "squared")


@dataclass(frozen=True, eq=False)
class EigenAlignment:
    """Energy of the true labels and of the flips in each eigenspace of the kernel; eigenvalues in falling order, energies sum to 1.

    Labels are centred one-hot rows ŷ − 1/C; for C = 2 the energies are those of signs ±1, truth ŝ and flips e = s − ŝ.

    Attributes:
        n: number of samples.
        n_classes: C.
        eigenvalues: ``[k]`` distinct eigenvalues λ.
        dimensions: ``[k]`` dimensions of the eigenspaces.
        truth_energy: ``[k]`` ‖P ŷ‖²/‖ŷ‖² of the true labels.
        flip_energy: ``[k]`` ‖P e‖²/‖e‖² of the flips e = y − ŷ (observed minus true labels); zeros without noise.
    """

    n: int
    n_classes: int
    eigenvalues: FloatArray
    dimensions: NDArray[np.int64]
    truth_energy: FloatArray
    flip_energy: FloatArray


@dataclass(frozen=True)
class RivalAccounts:
    """What the two accounts predict for one kernel and one set of labels, at f ≡ ½.

    Attributes:
        truth_time: time η·step in which linearised descent reproduces the fraction of the true labels; inf if never.
        flip_time: the same for the flips.
        eigen_predicts: truth_time < flip_time.
        pooled_alpha: a = ‖G_n‖/‖G_c‖.
        pooled_rho: ρ = −cos∠(G_c, G_n).
        gradient_predicts: a < ρ, the noisy loss rises at the start.
    """

    truth_time: float
    flip_time: float
    eigen_predicts: bool
    pooled_alpha: float
    pooled_rho: float
    gradient_predicts: bool


def eigen_alignment(kernel: ArrayLike, truth: ArrayLike, observed: ArrayLike, *, n_classes: int = 2, rtol: float = 1e-9) -> EigenAlignment:
    """Return the energies of the true labels and of the flips per eigenspace.

    Args:
        kernel: ``[n, n]`` positive semi-definite.
        truth: ``[n]`` true labels 0 … C−1.
        observed: ``[n]`` observed labels 0 … C−1.
        n_classes: C ≥ 2.
        rtol: neighbouring eigenvalues that differ by at most rtol · λ_max are one eigenspace.

    Raises:
        ValueError: for labels that are no classes, shapes that do not fit, or a kernel that is not positive semi-definite.

    Source:
        R1; notes/early_stopping.md §6.

    Example:
        >>> eigen_alignment(np.ones((4, 4)) + np.eye(4), [1, 1, 1, 1], [1, 1, 1, 0]).flip_energy.round(2).tolist()
        [0.25, 0.75]
    """
    k = check_kernel(kernel).astype(np.float64, copy=False)
    n = k.shape[0]
    tolerance = check_number(rtol, "rtol")
    if not 0 <= tolerance < 1:
        raise ValueError(f"rtol must lie in [0, 1), got {rtol}")
    segments = Segments.from_labels(truth, observed, n_classes)
    if segments.n != n:
        raise ValueError(f"truth must have shape [{n}] to match the kernel, got [{segments.n}]")
    centred = -initial_residuals(segments.truth, n_classes=n_classes)
    flips = -initial_residuals(segments.observed, n_classes=n_classes) - centred
    values, vectors = np.linalg.eigh((k + k.T) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    if values[0] <= 0 or values[-1] < -1e-8 * values[0]:
        raise ValueError(f"kernel must be positive semi-definite and not zero, got smallest eigenvalue {values[-1]:.3g}")
    values = np.maximum(values, 0.0)
    starts = np.flatnonzero(np.concatenate(([True], values[:-1] - values[1:] > tolerance * values[0])))
    dimensions = np.diff(np.append(starts, n))
    noise = float(np.sum(flips**2))
    truth_energy = np.sum((vectors.T @ centred) ** 2, axis=1) / np.sum(centred**2)
    flip_energy = np.sum((vectors.T @ flips) ** 2, axis=1) / noise if noise > 0 else np.zeros(n)
    return EigenAlignment(
        n=n,
        n_classes=n_classes,
        eigenvalues=np.add.reduceat(values, starts) / dimensions,
        dimensions=dimensions.astype(np.int64),
        truth_energy=np.add.reduceat(truth_energy, starts),
        flip_energy=np.add.reduceat(flip_energy, starts),
    )


def expected_flip_energy(alignment: EigenAlignment, noise_level: float) -> FloatArray:
    """Return the flips' energy per eigenspace over independent flips, ε · truth_energy + (1 − ε) · dimension/n with ε = δC/(2(C−1)).

    Flips are not isotropic: E e = −δC/(C−1) (ŷ − 1/C), so a fraction ε of their energy (δ for C = 2) lies where the truth lies, with the
    opposite sign. The result is the ratio of the expectations of ‖Pe‖² and ‖e‖².

    Args:
        alignment: the energies of the truth.
        noise_level: δ in [0, 1).

    Raises:
        ValueError: for a noise level outside [0, 1).

    Source:
        R1; notes/early_stopping.md §6.

    Example:
        >>> alignment = eigen_alignment(np.ones((4, 4)) + np.eye(4), [1, 1, 1, 1], [1, 1, 1, 0])
        >>> expected_flip_energy(alignment, 0.25).round(4).tolist()
        [0.4375, 0.5625]
    """
    check_instance(alignment, "alignment", EigenAlignment)
    along = check_noise_level(noise_level) * alignment.n_classes / (2 * (alignment.n_classes - 1))
    return np.asarray(along * alignment.truth_energy + (1 - along) * alignment.dimensions / alignment.n)


def learned_fraction(alignment: EigenAlignment, times: ArrayLike, *, vector: str = "truth", loss: str = "squared") -> FloatArray:
    """Return Σ_k energy_k (1 − e^{−cλ_k t/n}), the fraction of a label vector that linearised gradient flow reproduces.

    Args:
        alignment: energies per eigenspace.
        times: η · step ≥ 0, any shape.
        vector: "truth" or "flips".
        loss: "logistic" (C = 2, one logit: c = ¼, linearised at h = 0), "softmax" (c = 1/C, linearised) or "squared" (c = 1, exact).

    Raises:
        ValueError: for negative times or unknown choices.

    Source:
        R1; notes/early_stopping.md §6.

    Example:
        >>> alignment = eigen_alignment(np.eye(2), [0, 1], [0, 0])
        >>> round(float(learned_fraction(alignment, 2.0, loss="squared")), 4)
        0.6321
    """
    check_instance(alignment, "alignment", EigenAlignment)
    t = as_real_array(times, "times").astype(np.float64)
    if (t < 0).any():
        raise ValueError(f"times must not be negative, got {t[t < 0].flat[0]}")
    energy = _energy(alignment, vector)
    rates = _rates(alignment, loss)
    return np.asarray(-np.expm1(-t[..., None] * rates) @ energy)


def learning_time(alignment: EigenAlignment, *, fraction: float = 0.5, vector: str = "truth", loss: str = "squared") -> float:
    """Return the time η·step at which `learned_fraction` reaches a fraction, to relative 1e-12.

    Returns:
        The time; inf if the vector has too much energy where the kernel is zero (or there are no flips).

    Raises:
        ValueError: for a fraction outside [1e-12, 1) or unknown choices.

    Source:
        R1; notes/early_stopping.md §6.

    Example:
        >>> alignment = eigen_alignment(np.eye(2), [0, 1], [0, 0])
        >>> round(learning_time(alignment, loss="squared") / math.log(2), 9)
        2.0
    """
    check_instance(alignment, "alignment", EigenAlignment)
    if not 1e-12 <= check_number(fraction, "fraction") < 1:
        raise ValueError(f"fraction must lie in [1e-12, 1), got {fraction}")
    energy = _energy(alignment, vector)
    rates = _rates(alignment, loss)
    if energy[rates > 0].sum() <= fraction:
        return math.inf
    low = 0.0
    high = -math.log1p(-fraction) / float(rates[0])  # no vector is learnt faster than the top eigenvector
    while float(-np.expm1(-high * rates) @ energy) < fraction:
        low, high = high, 2 * high
        if math.isinf(high):
            return math.inf
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if float(-np.expm1(-middle * rates) @ energy) < fraction:
            low = middle
        else:
            high = middle
    return high


def rival_accounts(
    kernel: ArrayLike, truth: ArrayLike, observed: ArrayLike, *, n_classes: int = 2, fraction: float = 0.5, loss: str = "squared"
) -> RivalAccounts:
    """Return what the eigen account and the gradient account predict at f ≡ 1/C for the same kernel and labels.

    Where they differ: (i) truth aligned with the top eigenvectors but few samples per class (X8): truth is learnt faster, yet the noisy
    loss falls from the start. (ii) δ > (C−1)/C on clusters: the truth is the faster vector still, but it is learnt with the wrong sign.
    For K ∝ I neither predicts priority.

    Args:
        kernel: ``[n, n]`` positive semi-definite.
        truth: ``[n]`` true labels 0 … C−1.
        observed: ``[n]`` observed labels 0 … C−1, at least one clean and one noisy.
        n_classes: C ≥ 2.
        fraction: fraction of a label vector that counts as learnt.
        loss: "logistic", "softmax" or "squared"; it scales both times alike.

    Raises:
        ValueError: for labels without clean or without noisy samples, shapes that do not fit, or values out of range.

    Source:
        R1, X4; notes/early_stopping.md §6.

    Example:
        >>> accounts = rival_accounts(np.ones((4, 4)) + np.eye(4), [1, 1, 1, 1], [1, 1, 1, 0])
        >>> accounts.eigen_predicts, accounts.gradient_predicts
        (True, True)
    """
    alignment = eigen_alignment(kernel, truth, observed, n_classes=n_classes)
    segments = Segments.from_labels(truth, observed, n_classes)
    n_noise = int(segments.noise().sum())
    if not 0 < n_noise < alignment.n:
        raise ValueError(f"observed must hold clean and noisy samples, got {n_noise} noisy of {alignment.n}")
    geometry = segment_geometry(kernel, initial_residuals(segments.observed, n_classes=n_classes), segments)
    truth_time = learning_time(alignment, fraction=fraction, vector="truth", loss=loss)
    flip_time = learning_time(alignment, fraction=fraction, vector="flips", loss=loss)
    a, rho = float(geometry.pooled_alpha), float(geometry.pooled_rho)
    if math.isnan(a):
        raise ValueError("kernel must give clean and noisy samples a gradient, got a sum of length zero")
    return RivalAccounts(
        truth_time=truth_time,
        flip_time=flip_time,
        eigen_predicts=truth_time < flip_time,
        pooled_alpha=a,
        pooled_rho=rho,
        gradient_predicts=bool(noise_loss_rises(a, rho)),
    )


def _rates(alignment: EigenAlignment, loss: str) -> FloatArray:
    check_choice(loss, "loss", _LOSSES)
    if loss == "logistic" and alignment.n_classes != 2:
        raise ValueError(f"loss 'logistic' is for 2 classes, got n_classes = {alignment.n_classes}; use 'softmax'")
    curvature = {"logistic": 0.25, "softmax": 1 / alignment.n_classes, "squared": 1.0}[loss]
    return np.asarray(curvature * alignment.eigenvalues / alignment.n)


def _energy(alignment: EigenAlignment, vector: str) -> NDArray[np.floating[Any]]:
    return alignment.truth_energy if check_choice(vector, "vector", ("truth", "flips")) == "truth" else alignment.flip_energy
