"""How far training moves a wide ReLU network from its linearisation: gates that flip, and ∇h and the kernel with them, to leading order.

At fixed training time the neuron (a, v) of Eq. (2) [B] with one hidden layer moves by δa = √(2/m) v u(a), u(a) = Σ_i d_i 1{a·x_i > 0} x_i,
with d_i = −(η/n) Σ_t r_i the accumulated residuals. The gates of O(√m) neurons flip at any input, and these, not the smooth change
of the others, set the pace. Derivation: theory/notes/drift.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_inputs, check_integer

__all__ = ["ReluDrift", "relu_drift"]

Float64Array = NDArray[np.float64]

LONGEST = 1e20  # products of six lengths or weights stay finite


@dataclass(frozen=True, eq=False)
class ReluDrift:
    """Leading orders of what training does to the derivative ∇h of a ReLU network of one hidden layer, at k inputs.

    Attributes:
        width: m.
        flip_share: expected share of hidden neurons whose gate at x differs from initialisation ``[k]`` or ``[k, draws]``; order m^(−1/2).
        flip_change: what these gates contribute to ‖∇h_t − ∇h_0‖²/‖∇h_0‖², twice ``flip_share``; order m^(−1/2).
        smooth_change: what the other neurons contribute to it; order 1/m, as for a differentiable activation.
        kernel_variance: variance of K_t(x, z) − K_0(x, z) that the flips make, ``[k, k]`` or ``[k, k, draws]``, scale of Eq. (2) [B];
            order m^(−3/2).
    """

    width: int
    flip_share: Float64Array
    flip_change: Float64Array
    smooth_change: Float64Array
    kernel_variance: Float64Array

    @property
    def squared_change(self) -> Float64Array:
        """Expected ‖∇h(w_t; x) − ∇h(w_0; x)‖²/‖∇h(w_0; x)‖², flips and smooth part."""
        return self.flip_change + self.smooth_change


def relu_drift(x: ArrayLike, inputs: ArrayLike, accumulated: ArrayLike, *, width: int, directions: ArrayLike) -> ReluDrift:
    """Predict gate flips, change of ∇h and variance of the kernel's drift at inputs x, one hidden layer of ReLU, scale of Eq. (2) [B].

    With s(a) = u(a)·x for a weight vector a orthogonal to x, the flipped share is √(2/m) E|s|/(π|x|); the flipped gates
    change ∇h by ‖∇h_t − ∇h_0‖²/‖∇h_0‖² = 2 · share, so that the norm moves as m^(−1/4). Signs of the flips are random, hence the kernel
    moves by m^(−3/4): Var (K_t − K_0)(x, z) = (4/m) √(2/m) (8/π) (x·z)² {E[|s_x| 1{a·z>0}]/|x| + E[|s_z| 1{a·x>0}]/|z|}; on the
    diagonal the braces are E|s_x|/|x|. Next orders: m^(−1/2) relative.

    Args:
        x: inputs ``[k, d]`` at which ∇h is followed. Where one of them is also a training input, its own gate counts as half open: valid as
            long as its own accumulated residual is small against the sum.
        inputs: training inputs ``[n, d]``.
        accumulated: −(η/n) Σ_t r_i, ``[n]`` or ``[n, draws]``: the ``test_logits`` of ``gradient_descent`` with the identity as its
            ``cross_kernel``.
        width: hidden neurons m.
        directions: ``[q, d]`` weight vectors over which E averages: draws from N(0, I), or nodes of a cubature of it (in the plane,
            equally spaced directions of length √2). For the flips the component along x is projected out.

    Returns:
        ``ReluDrift`` with arrays ``[k]`` or ``[k, draws]``.

    Raises:
        ValueError: for rows longer than 1e20 or shorter than 1e-20, shapes that do not fit, non-finite values, or a width that is
            not a positive integer.

    Source:
        Remark 3.3 [A] (G7, X11); notes/drift.md.

    Example:
        >>> turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        >>> circle = np.sqrt(2) * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        >>> drift = relu_drift([[0.6, 0.8]], [[1.0, 0.0], [0.0, 1.0]], [0.5, -0.5], width=200, directions=circle)
        >>> drift.flip_share.round(5), bool((drift.flip_change == 2 * drift.flip_share).all())  # √(2/m) E|s|/π, s = 0.3 or −0.4
        (array([0.01114]), True)
    """
    points, samples, normal = check_inputs(x, "x"), check_inputs(inputs, "inputs"), check_inputs(directions, "directions")
    points, samples, normal = (part.astype(np.float64) for part in (points, samples, normal))
    for name, part in (("inputs", samples), ("directions", normal)):
        if part.shape[1] != points.shape[1]:
            raise ValueError(f"{name} must have {points.shape[1]} columns as x, got shape {list(part.shape)}")
    for name, part in (("x", points), ("inputs", samples), ("directions", normal)):
        size = np.abs(part).max(axis=1)
        if size.max() > LONGEST or size.min() < 1 / LONGEST:
            wrong = size.max() if size.max() > LONGEST else size.min()
            raise ValueError(f"{name} must have rows of a length between {1 / LONGEST:g} and {LONGEST:g}, got {wrong:g}")
    weights = as_real_array(accumulated, "accumulated", limit=LONGEST).astype(np.float64)
    if weights.ndim not in (1, 2) or len(weights) != len(samples) or weights.size == 0:
        raise ValueError(
            f"accumulated must have shape [n] or [n, draws] for the n = {len(samples)} rows of inputs, got {list(weights.shape)}"
        )
    m, columns = check_integer(width, "width"), weights.reshape(len(samples), -1)

    step = np.sqrt(2 / m)
    norms = np.linalg.norm(points, axis=1)
    share, smooth = np.empty((2, len(points), columns.shape[1]))
    one_sided = np.empty((len(points), *share.shape))  # [x, z, draws]: E[|s_x| 1{a·z > 0}]/|x|
    pushes = np.maximum(normal @ samples.T, 0) @ columns  # q(a) = Σ d_i σ(a·x_i), free of x
    for index, (point, norm) in enumerate(zip(points, norms, strict=True)):
        overlap = samples @ point
        fence = normal - np.outer(normal @ point / norm**2, point)
        force = np.abs((_gates(fence, samples) * overlap) @ columns) / norm
        share[index] = step / np.pi * force.mean(axis=0)
        one_sided[index] = _gates(fence, points).T @ force / len(normal)
        free = (_gates(normal, samples) * overlap) @ columns / norm
        smooth[index] = 2 / m * (_gates(normal, point[None]) * (pushes**2 + free**2)).mean(axis=0)
    both = one_sided + one_sided.transpose(1, 0, 2)
    diagonal = np.arange(len(points))
    both[diagonal, diagonal] = np.pi / step * share
    variance = 4 / m * step * 8 / np.pi * ((points @ points.T) ** 2)[:, :, None] * both
    shape = (len(points), *weights.shape[1:])
    share, smooth = share.reshape(shape), smooth.reshape(shape)
    return ReluDrift(
        width=m, flip_share=share, flip_change=2 * share, smooth_change=smooth, kernel_variance=variance.reshape(len(points), *shape)
    )


def _gates(a: Float64Array, x: Float64Array) -> NDArray[np.floating[Any]]:
    """1{a·x > 0} ``[q, n]``; ½ where a·x is 0 to rounding."""
    product = a @ x.T
    tie = 1e-12 * np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(x, axis=1)
    gates: NDArray[np.floating[Any]] = (product > tie) + 0.5 * (np.abs(product) <= tie)
    return gates
