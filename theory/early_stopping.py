"""Exact U-curve of kernel machines under label noise: test and training errors at every step of gradient descent, without training.

Squared loss, labels ±1 flipped independently with probability δ. After T steps the output is linear in the labels, h_T(x) = W_T y with
W_T = k(x, X) K^{-1} [I − (I − ηK/n)^T], so its mean and variance over flips are exact, and an error is the normal probability of a wrong
sign (central limit theorem over the training labels). One eigendecomposition serves every T. Derivations: notes/early_stopping.md §1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_integer, check_kernel, check_noise_level, check_positive

__all__ = ["EarlyStoppingCurve", "early_stopping_curve"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EarlyStoppingCurve:
    """Expected error rates over independent label flips, one entry per requested step.

    Attributes:
        steps: ``[T]`` numbers of steps.
        times: ``[T]`` η · step.
        test_error: ``[T]`` against the true label on the test points; None without test points.
        clean_error: ``[T]`` of training samples with the right label, against that label.
        noise_error: ``[T]`` of training samples with a flipped label, against the observed (flipped) label.
        train_error: ``[T]`` against the observed label, (1−δ) clean_error + δ noise_error.
        truth_error: ``[T]`` of training samples against the true label, (1−δ) clean_error + δ (1 − noise_error).
        test_mean: ``[T, n_test]`` exact mean of ŷ(x) h_T(x); None without test points.
        test_variance: ``[T, n_test]`` exact variance of h_T(x); None without test points.
    """

    steps: NDArray[np.int64]
    times: FloatArray
    test_error: FloatArray | None
    clean_error: FloatArray
    noise_error: FloatArray
    train_error: FloatArray
    truth_error: FloatArray
    test_mean: FloatArray | None
    test_variance: FloatArray | None

    @property
    def best_step(self) -> int:
        """Step of the smallest test error, or of the smallest `truth_error` without test points; the first of several."""
        error = self.truth_error if self.test_error is None else self.test_error
        return int(self.steps[int(np.argmin(error))])


def early_stopping_curve(
    kernel: ArrayLike,
    truth: ArrayLike,
    noise_level: float,
    *,
    learning_rate: float,
    steps: int | Sequence[int] | NDArray[np.integer[Any]],
    cross_kernel: ArrayLike | None = None,
    test_truth: ArrayLike | None = None,
) -> EarlyStoppingCurve:
    """Return the expected errors of kernel gradient descent from h = 0 on the squared loss ½(h − y)², mean over n samples.

    P(wrong at x) = Φ(−(1−2δ) ŷ F/√(4δ(1−δ) ΣW²)) with F = W_T ŷ. For a training sample its own label is held fixed: margin
    w_ii + (1−2δ)m_i for a clean and w_ii − (1−2δ)m_i for a noisy one, m_i = ŷ_i Σ_{j≠i} w_ij ŷ_j, variance 4δ(1−δ) Σ_{j≠i} w_ij².
    A tie (margin 0, no variance: step 0) counts ½.

    Args:
        kernel: ``[n, n]`` positive semi-definite.
        truth: ``[n]`` true labels, 0/1 or −1/+1.
        noise_level: δ in [0, 1), probability of a flip.
        learning_rate: η, below 2n/λ_max(K).
        steps: step counts T ≥ 0 ``[T]`` in any order; an integer s stands for 0, 1, …, s.
        cross_kernel: ``[n_test, n]`` kernel between test points and training samples.
        test_truth: ``[n_test]`` true labels of the test points; needed with ``cross_kernel``.

    Returns:
        The curve. Cost: one eigendecomposition, then n (n + n_test) multiplications per step count.

    Raises:
        ValueError: for shapes that do not fit, labels other than two classes, a kernel that is not positive semi-definite, or a learning
            rate at which descent diverges.

    Source:
        Figure 9 [A] (X7); notes/early_stopping.md §1.

    Example:
        >>> curve = early_stopping_curve(np.eye(2) + 1, [0, 1], 0.25, learning_rate=1.0, steps=[0, 1])
        >>> curve.truth_error.round(3).tolist()
        [0.5, 0.281]
    """
    k = check_kernel(kernel).astype(np.float64, copy=False)
    n = k.shape[0]
    signs = _signs(truth, n, "truth")
    delta = check_noise_level(noise_level)
    eta = check_positive(learning_rate, "learning_rate")
    counts = _step_counts(steps)
    if (cross_kernel is None) != (test_truth is None):
        raise ValueError("cross_kernel and test_truth must be given together, got only one of them")

    eigenvalues, vectors = np.linalg.eigh((k + k.T) / 2)
    largest = float(eigenvalues[-1])
    if eigenvalues[0] < -1e-8 * max(largest, 0.0) or largest <= 0:
        raise ValueError(f"kernel must be positive semi-definite and not zero, got smallest eigenvalue {eigenvalues[0]:.3g}")
    eigenvalues = np.maximum(eigenvalues, 0.0)
    if eta * largest >= 2 * n:
        raise ValueError(f"learning_rate must be below 2n/lambda_max(K) = {2 * n / largest:.6g}, got {learning_rate}")

    filters = _filter(eigenvalues, eta / n, counts)  # g_T(λ) = (1 − (1−ηλ/n)^T)/λ, [T, n]
    coefficients = vectors.T @ signs
    kept, spread = 1 - 2 * delta, 4 * delta * (1 - delta)

    fitted = filters * eigenvalues
    own = fitted @ (vectors**2).T  # w_ii, [T, n]
    others = (fitted * coefficients) @ vectors.T * signs - own  # m_i
    variance = spread * np.maximum(fitted**2 @ (vectors**2).T - own**2, 0.0)
    clean_error = _error(own + kept * others, variance).mean(axis=1)
    noise_error = _error(own - kept * others, variance).mean(axis=1)

    test_error = test_mean = test_variance = None
    if cross_kernel is not None and test_truth is not None:
        cross = as_real_array(cross_kernel, "cross_kernel").astype(np.float64, copy=False)
        if cross.ndim != 2 or cross.shape[1] != n or cross.shape[0] == 0:
            raise ValueError(f"cross_kernel must have shape [n_test, {n}], got {list(cross.shape)}")
        test_signs = _signs(test_truth, cross.shape[0], "test_truth")
        rotated = cross @ vectors
        test_mean = kept * ((filters * coefficients) @ rotated.T) * test_signs
        test_variance = spread * (filters**2 @ (rotated**2).T)
        test_error = _error(test_mean, test_variance).mean(axis=1)
    return EarlyStoppingCurve(
        steps=counts,
        times=np.asarray(eta * counts, dtype=np.float64),
        test_error=test_error,
        clean_error=clean_error,
        noise_error=noise_error,
        train_error=(1 - delta) * clean_error + delta * noise_error,
        truth_error=(1 - delta) * clean_error + delta * (1 - noise_error),
        test_mean=test_mean,
        test_variance=test_variance,
    )


def _filter(eigenvalues: FloatArray, rate: float, counts: NDArray[np.int64]) -> FloatArray:
    """Return (1 − (1−ηλ/n)^T)/λ ``[T, n]``, without cancellation for small ηλT/n; its limit ηT/n at λ = 0."""
    x = rate * eigenvalues
    steps = counts[:, None].astype(np.float64)
    with np.errstate(divide="ignore"):
        magnitude = np.where(x < 1, np.log1p(-np.minimum(x, 1.0)), np.log(np.abs(1 - x)))  # log |1 − x|; −inf at x = 1
    exponent = np.where(steps == 0, 0.0, steps * np.where(steps == 0, 0.0, magnitude))
    odd_negative = (x > 1) & (counts[:, None] % 2 == 1)
    learned = np.where(odd_negative, 1 + np.exp(exponent), -np.expm1(exponent))
    tiny = x < 1e-300
    return np.where(tiny, rate * steps, learned / np.where(tiny, 1.0, eigenvalues))


def _error(margin: FloatArray, variance: FloatArray) -> FloatArray:
    from scipy.special import ndtr  # on first use: `import theory` stays light

    with np.errstate(divide="ignore", invalid="ignore"):
        normal = ndtr(-margin / np.sqrt(variance))
    certain = np.where(margin > 0, 0.0, np.where(margin < 0, 1.0, 0.5))
    return np.asarray(np.where(variance > 0, normal, certain))


def _signs(labels: ArrayLike, n: int, name: str) -> FloatArray:
    values = as_real_array(labels, name).astype(np.float64)
    if values.shape != (n,):
        raise ValueError(f"{name} must have shape [{n}], got {list(values.shape)}")
    wrong = ~np.isin(values, (-1.0, 0.0, 1.0))
    if wrong.any():
        raise ValueError(f"{name} must hold labels 0 and 1, or -1 and +1, got {values[wrong][0]:g}")
    if (values == 0).any() and (values == -1).any():
        raise ValueError(f"{name} must hold labels 0 and 1, or -1 and +1, got both 0 and -1")
    return np.where(values > 0, 1.0, -1.0)


def _step_counts(steps: int | Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    if np.ndim(steps) == 0:
        return np.arange(check_integer(steps, "steps", minimum=0) + 1)  # type: ignore[arg-type]
    counts = np.asarray(steps)
    if counts.ndim != 1 or counts.size == 0 or counts.dtype.kind not in "iu":
        raise ValueError(f"steps must be an integer or a list of integers, got shape {list(counts.shape)} and dtype {counts.dtype}")
    if (counts < 0).any():
        raise ValueError(f"steps must not be negative, got {counts.min()}")
    return counts.astype(np.int64)
