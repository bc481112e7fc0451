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

from theory._validation import as_real_array, check_choice, check_integer, check_kernel, check_noise_level
from theory.initialization import binary_signs
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
_RATE = {"logistic": 0.25, "squared": 1.0}  # second derivative of the loss at h = 0: modes relax at this times λ/n


@dataclass(frozen=True, eq=False)
class EigenAlignment:
    """Energy of the true labels and of the flips in each eigenspace of the kernel; eigenvalues in falling order, energies sum to 1.

    Attributes:
        n: number of samples.
        eigenvalues: ``[k]`` distinct eigenvalues λ.
        dimensions: ``[k]`` dimensions of the eigenspaces.
        truth_energy: ``[k]`` ‖P ŝ‖²/‖ŝ‖² of the true labels ŝ = ±1.
        flip_energy: ``[k]`` ‖P e‖²/‖e‖² of the flips e = s − ŝ (±2 on noisy samples, else 0); zeros without noise.
    """

    n: int
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


def eigen_alignment(kernel: ArrayLike, truth: ArrayLike, observed: ArrayLike, *, rtol: float = 1e-9) -> EigenAlignment:
    """Return the energies of the true labels and of the flips per eigenspace.

    Args:
        kernel: ``[n, n]`` positive semi-definite.
        truth: ``[n]`` true labels 0/1.
        observed: ``[n]`` observed labels 0/1.
        rtol: neighbouring eigenvalues that differ by at most rtol · λ_max are one eigenspace.

    Raises:
        ValueError: for labels other than 0 and 1, shapes that do not fit, or a kernel that is not positive semi-definite.

    Source:
        R1; notes/early_stopping.md §6.

    Example:
        >>> eigen_alignment(np.ones((4, 4)) + np.eye(4), [1, 1, 1, 1], [1, 1, 1, 0]).flip_energy.round(2).tolist()
        [0.25, 0.75]
    """
    k = check_kernel(kernel).astype(np.float64, copy=False)
    n = k.shape[0]
    true_signs = binary_signs(truth, n, "truth")
    flips = binary_signs(observed, n, "observed") - true_signs
    values, vectors = np.linalg.eigh((k + k.T) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    if values[0] <= 0 or values[-1] < -1e-8 * values[0]:
        raise ValueError(f"kernel must be positive semi-definite and not zero, got smallest eigenvalue {values[-1]:.3g}")
    values = np.maximum(values, 0.0)
    starts = np.flatnonzero(np.concatenate(([True], values[:-1] - values[1:] > rtol * values[0])))
    dimensions = np.diff(np.append(starts, n))
    noise = float(flips @ flips)
    return EigenAlignment(
        n=n,
        eigenvalues=np.add.reduceat(values, starts) / dimensions,
        dimensions=dimensions.astype(np.int64),
        truth_energy=np.add.reduceat((vectors.T @ true_signs) ** 2, starts) / n,
        flip_energy=np.add.reduceat((vectors.T @ flips) ** 2, starts) / noise if noise > 0 else np.zeros(starts.size),
    )


def expected_flip_energy(alignment: EigenAlignment, noise_level: float) -> FloatArray:
    """Return the flips' energy per eigenspace in expectation over independent flips, δ · truth_energy + (1 − δ) · dimension/n.

    Flips are not isotropic: E e = −2δ ŝ, so a fraction δ of their energy lies where the truth lies, with the opposite sign. (Ratio of
    expectations of ‖Pe‖² and ‖e‖².)

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
    delta = check_noise_level(noise_level)
    return np.asarray(delta * alignment.truth_energy + (1 - delta) * alignment.dimensions / alignment.n)


def learned_fraction(alignment: EigenAlignment, times: ArrayLike, *, vector: str = "truth", loss: str = "logistic") -> FloatArray:
    """Return Σ_k energy_k (1 − e^{−cλ_k t/n}), the fraction of a label vector that linearised gradient flow reproduces.

    Args:
        alignment: energies per eigenspace.
        times: η · step ≥ 0, any shape.
        vector: "truth" or "flips".
        loss: "logistic" (c = ¼, linearised at h = 0) or "squared" (c = 1, exact).

    Raises:
        ValueError: for negative times or unknown choices.

    Source:
        R1; notes/early_stopping.md §6.

    Example:
        >>> alignment = eigen_alignment(np.eye(2), [0, 1], [0, 0])
        >>> round(float(learned_fraction(alignment, 2.0, loss="squared")), 4)
        0.6321
    """
    t = as_real_array(times, "times").astype(np.float64)
    if (t < 0).any():
        raise ValueError(f"times must not be negative, got {t[t < 0].flat[0]}")
    energy = _energy(alignment, vector)
    rates = _RATE[check_choice(loss, "loss", tuple(_RATE))] * alignment.eigenvalues / alignment.n
    return np.asarray(-np.expm1(-t[..., None] * rates) @ energy)


def learning_time(alignment: EigenAlignment, *, fraction: float = 0.5, vector: str = "truth", loss: str = "logistic") -> float:
    """Return the time η·step at which `learned_fraction` reaches a fraction, to relative 1e-12.

    Returns:
        The time; inf if the vector has too much energy where the kernel is zero (or there are no flips).

    Raises:
        ValueError: for a fraction outside (0, 1) or unknown choices.

    Source:
        R1; notes/early_stopping.md §6.

    Example:
        >>> alignment = eigen_alignment(np.eye(2), [0, 1], [0, 0])
        >>> round(learning_time(alignment, loss="squared") / math.log(2), 9)
        2.0
    """
    if not 0 < float(as_real_array(fraction, "fraction")) < 1:
        raise ValueError(f"fraction must lie in (0, 1), got {fraction}")
    energy = _energy(alignment, vector)
    rates = _RATE[check_choice(loss, "loss", tuple(_RATE))] * alignment.eigenvalues / alignment.n
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
    kernel: ArrayLike, truth: ArrayLike, observed: ArrayLike, *, fraction: float = 0.5, loss: str = "logistic"
) -> RivalAccounts:
    """Return what the eigen account and the gradient account predict at f ≡ ½ for the same kernel and labels.

    Where they differ: (i) truth aligned with the top eigenvectors but few samples per class (X8): truth is learnt faster, yet the noisy loss
    falls from the start. (ii) K ∝ I: neither predicts priority. (iii) δ > ½: the flips carry most of the truth's direction, a > 1.

    Args:
        kernel: ``[n, n]`` positive semi-definite.
        truth: ``[n]`` true labels 0/1.
        observed: ``[n]`` observed labels 0/1, at least one clean and one noisy.
        fraction: fraction of a label vector that counts as learnt.
        loss: "logistic" or "squared"; it scales both times alike.

    Raises:
        ValueError: for labels without clean or without noisy samples, shapes that do not fit, or values out of range.

    Source:
        R1, X4; notes/early_stopping.md §6.

    Example:
        >>> accounts = rival_accounts(np.ones((4, 4)) + np.eye(4), [1, 1, 1, 1], [1, 1, 1, 0])
        >>> accounts.eigen_predicts, accounts.gradient_predicts
        (True, True)
    """
    alignment = eigen_alignment(kernel, truth, observed)
    signs = binary_signs(observed, alignment.n, "observed")
    segments = Segments.from_labels(truth, observed)
    n_noise = int(segments.noise().sum())
    if not 0 < n_noise < alignment.n:
        raise ValueError(f"observed must hold clean and noisy samples, got {n_noise} noisy of {check_integer(alignment.n, 'n')}")
    geometry = segment_geometry(kernel, -signs / 2, segments)
    truth_time = learning_time(alignment, fraction=fraction, vector="truth", loss=loss)
    flip_time = learning_time(alignment, fraction=fraction, vector="flips", loss=loss)
    a, rho = float(geometry.pooled_alpha), float(geometry.pooled_rho)
    return RivalAccounts(
        truth_time=truth_time,
        flip_time=flip_time,
        eigen_predicts=truth_time < flip_time,
        pooled_alpha=a,
        pooled_rho=rho,
        gradient_predicts=bool(noise_loss_rises(a, rho)),
    )


def _energy(alignment: EigenAlignment, vector: str) -> NDArray[np.floating[Any]]:
    return alignment.truth_energy if check_choice(vector, "vector", ("truth", "flips")) == "truth" else alignment.flip_energy
