"""Largest eigenvalue of a kernel with a certificate, and the step sizes that the theorems need, made explicit.

The papers ask for a "sufficiently small" learning rate; here each bound is a number (D6, D10, X4). All rates are for the mean loss over
n samples, step h ← h − (η/n) K r. Derivations: notes/dynamics.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_choice, check_flag, check_instance, check_kernel, check_number
from theory.losses import LOSSES
from theory.packed import PackedKernel, check_kernel_or_packed
from theory.segments import Segments

__all__ = ["clean_descent_rate", "clean_priority_rate", "largest_eigenvalue", "max_learning_rate"]

FloatArray = NDArray[np.floating[Any]]

# Up to this side a full eigenvalue decomposition is as quick as the iteration and its certificate.
_DENSE = 300
# Relative width of the certificate; rounding of the Cholesky factorisation is about n·eps, 1e-12 at n = 10^4.
_CERTIFICATE = 1e-10

# No overshoot of convex GD: η < 2n/(c λ_max), with c the largest second derivative of the loss per sample.
_CURVATURE = {"logistic": 0.25, "softmax": 0.5, "squared": 1.0}


def largest_eigenvalue(kernel: ArrayLike | PackedKernel, *, certified: bool = True) -> float:
    """Return λ_max(K), certified from above to a relative 1e-10.

    Lanczos iteration gives a lower bound that has converged to rounding; a Cholesky factorisation of (1 + 1e-10) λ I − K then proves that
    no eigenvalue lies above it. Sides up to 300 use a full decomposition. Without the certificate only the iteration runs.

    Args:
        kernel: ``[n, n]``, symmetric; of a `PackedKernel` the iteration alone gives the value (a factorisation would unpack it).
        certified: whether to prove the upper bound (n³/3 flops).

    Raises:
        ValueError: for a matrix that is not square, symmetric and finite.

    Example:
        >>> largest_eigenvalue([[2.0, 1.0], [1.0, 2.0]])
        3.0
    """
    check_flag(certified, "certified")
    given = check_kernel_or_packed(kernel)
    if isinstance(given, PackedKernel):
        return lanczos_top_pair(given)[0]
    k = given.astype(np.float64, copy=False)
    if k.shape[0] <= _DENSE:
        return float(np.linalg.eigvalsh(k)[-1])
    value = lanczos_top_pair(k)[0]
    if certified:
        shifted = -k
        shifted.flat[:: k.shape[0] + 1] += value + _CERTIFICATE * abs(value)
        try:
            np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            # The starting vector was orthogonal to the top eigenvector: rare, and then the slow way is the right one.
            value = float(np.linalg.eigvalsh(k)[-1])
    return value


def max_learning_rate(kernel: ArrayLike | PackedKernel, *, loss: str = "logistic") -> float:
    """Return the rate below which full-batch gradient descent on a fixed kernel never overshoots: every step lowers the loss.

    Logistic 8n/λ_max(K); softmax 4n/λ_max(K) (the Hessian diag(f) − ff^T is at most ½); squared loss 2n/λ_max(K).

    Args:
        kernel: ``[n, n]``, positive semi-definite and not zero.
        loss: ``"logistic"``, ``"softmax"`` or ``"squared"``.

    Returns:
        The rate, accurate to a relative 1e-10 (see :func:`largest_eigenvalue`).

    Raises:
        ValueError: for a kernel without a positive eigenvalue, or a matrix that is no kernel.

    Source:
        D6, D12; "sufficiently small learning rate" of Thm 4.4, 4.5 [A, B].

    Example:
        >>> max_learning_rate([[1.0, 0.0], [0.0, 0.5]])
        16.0
    """
    curvature = _CURVATURE[check_choice(loss, "loss", LOSSES)]
    k = check_kernel_or_packed(kernel)
    return float(2 * k.shape[0] / (curvature * _positive_top(k)))


def clean_priority_rate(kernel: ArrayLike, segments: Segments, *, alpha: float = 0.0) -> float:
    """Return 8n / ((1−α_t) λ_max(K_cc)), below which one step under Assumption 4.1 lowers the clean loss and raises α.

    One number serves Thm 4.4 and Thm 4.5: below it the clean loss falls (descent lemma) and ‖∇L_clean‖ falls (co-coercivity); the noisy
    loss and ‖∇L_noise‖ rise for every rate (convexity). α = 0 gives the bound that is valid at all times.

    Args:
        kernel: ``[n, n]``.
        segments: the split; K_cc is the block of the clean samples.
        alpha: α_t in [0, 1).

    Raises:
        ValueError: for α outside [0, 1), no clean samples, or a kernel that does not fit.

    Source:
        D6, D10; Thm 4.4, 4.5 [A, B].

    Example:
        >>> clean_priority_rate([[1.0, 0.5], [0.5, 1.0]], Segments.from_labels([0, 1], [0, 0]), alpha=0.5)
        32.0
    """
    check_instance(segments, "segments", Segments)
    a = check_number(alpha, "alpha")
    if not 0 <= a < 1:
        raise ValueError(f"alpha must lie in [0, 1), got {alpha}")
    return 8 * segments.n / ((1 - a) * _clean_top(check_kernel(kernel, n=segments.n), segments))


def clean_descent_rate(kernel: ArrayLike, residuals: ArrayLike, segments: Segments) -> float:
    """Return 8n <G_c, G> / (λ_max(K_cc) ‖G‖²), below which the next step lowers the clean loss, whatever the segments do.

    No assumption on directions: G = G_c + G_n is what descent follows. Zero or negative where <G_c, G> ≤ 0 (aρ ≥ 1): then the clean loss
    rises to first order at every rate. Infinite where G = 0 (nothing moves).

    Args:
        kernel: ``[n, n]``.
        residuals: ``[n]`` f − y towards the observed labels.
        segments: the split.

    Raises:
        ValueError: for shapes that do not fit, or no clean samples.

    Source:
        X4.

    Example:
        >>> clean_descent_rate([[1.0, 0.0], [0.0, 1.0]], [-0.5, 0.5], Segments.from_labels([1, 0], [1, 0]))
        16.0
    """
    check_instance(segments, "segments", Segments)
    k = check_kernel(kernel, n=segments.n)
    r = as_real_array(residuals, "residuals")
    if r.shape != (segments.n,):
        raise ValueError(f"residuals must have shape [{segments.n}] to match the segments, got {list(r.shape)}")
    top = _clean_top(k, segments)
    movement = k @ r
    along, total = float(r[segments.clean()] @ movement[segments.clean()]), float(r @ movement)
    return 8 * segments.n * along / (top * total) if total > 0 else float("inf")


def lanczos_top_pair(
    k: FloatArray | PackedKernel, *, tolerance: float = 1e-8, max_iterations: int = 120
) -> tuple[float, NDArray[np.float64], int]:
    """Return the largest Ritz value of a symmetric matrix, its vector ``[n]`` and the number of products, once the residual is small.

    "Small" is ``tolerance`` relative; the error of the value is at most the square of the residual over the gap. Full reorthogonalisation.
    """
    n = k.shape[0]
    # A fixed start that has no symmetry in common with a data set: the constant vector plus an irrational rotation.
    q = 1 + np.cos(np.sqrt(2) * np.arange(n, dtype=np.float64) ** 2 + 1)
    q /= np.linalg.norm(q)
    basis = np.empty((min(max_iterations, n), n))
    diagonal: list[float] = []
    off: list[float] = []
    value, combination = 0.0, np.ones(1)
    for j in range(basis.shape[0]):
        basis[j] = q
        w = k @ q
        diagonal.append(float(q @ w))
        for _ in range(2):
            w -= basis[: j + 1].T @ (basis[: j + 1] @ w)
        norm = float(np.linalg.norm(w))
        ritz, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
        value, combination = float(ritz[-1]), vectors[:, -1]
        if norm * abs(float(combination[-1])) <= tolerance * abs(value):
            break
        off.append(norm)
        q = w / norm
    return value, combination @ basis[: combination.size], combination.size


def _positive_top(k: FloatArray | PackedKernel) -> float:
    top = largest_eigenvalue(k)
    if not top > 0:
        raise ValueError(f"kernel must have a positive eigenvalue, got a largest eigenvalue of {top:g}")
    return top


def _clean_top(k: FloatArray, segments: Segments) -> float:
    clean = segments.clean()
    if not clean.any():
        raise ValueError("segments must have clean samples, got none")
    return _positive_top(k[np.ix_(clean, clean)])
