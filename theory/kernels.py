"""Kernel matrices: the tangent kernel and the output covariance of Eq. (2) [B] and Eq. (6), (7) [A] at infinite width; two classical ones.

Inputs are rows ``[n, d]``; ``z=None`` means all pairs of ``x``, and the result is then symmetric bit for bit. Rows may have any norm
from 1e-150 to 1e150. Accuracy: 1e-13 relative to the exact kernel of the given floating-point rows, also for parallel, opposite, nearly
parallel and nearly opposite rows (where an inner product loses the angle, it is recovered from the rows themselves). The tangent kernel
of depth 1 changes sign at 113.22°, the linear kernels at 90°: next to those angles the bound is relative to |x||z|. float32 in gives
float32 out: computed in float64, rounded once (half an ulp of float32). Derivations and measurements: theory/notes/kernels.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._arc_cosine import Float64Array
from theory._pairwise import Transform, pairwise
from theory._profile import AngleProfile, gradient_profile, output_profile
from theory._rows import Rows, row_exponents, scale_rows
from theory._transforms import AngleTransform, DistanceTransform, ScaledProduct
from theory._validation import as_real_array, check_choice, check_depth, check_inputs, check_positive
from theory.packed import PackedKernel, pack

__all__ = ["gaussian_kernel", "laplacian_kernel", "nngp", "ntk"]

ACTIVATIONS = ("relu", "linear")
CONVENTIONS = ("eq2", "eq2-literal", "eq6", "eq7")

Checker = Callable[[ArrayLike, str], NDArray[np.floating]]


@overload
def ntk(
    x: ArrayLike,
    z: ArrayLike | None = None,
    *,
    depth: int = 1,
    activation: str = "relu",
    convention: str = "eq2",
    memory_budget: None = None,
) -> NDArray[np.floating]: ...


@overload
def ntk(
    x: ArrayLike, z: None = None, *, depth: int = 1, activation: str = "relu", convention: str = "eq2", memory_budget: int
) -> PackedKernel: ...


def ntk(
    x: ArrayLike,
    z: ArrayLike | None = None,
    *,
    depth: int = 1,
    activation: str = "relu",
    convention: str = "eq2",
    memory_budget: int | None = None,
) -> NDArray[np.floating] | PackedKernel:
    """Infinite-width tangent kernel K(x, z) = <∇h(w0; x), ∇h(w0; z)>, all L+1 weight matrices trained.

    ReLU: K = (L+1)|x||z| cos θ_h. Linear: K = (L+1) x·z, with the factor √(2/m) of Eq. (2), which makes up for the half that ReLU
    removes, replaced by √(1/m) as in Eq. (6).

    Args:
        x: rows ``[n, d]``, none of them zero.
        z: rows ``[n', d]``, or None for all pairs of ``x``.
        depth: number of hidden layers L ≥ 1.
        activation: "relu" or "linear".
        convention: scale of the network. "eq2": Eq. (2) [B], K(x, x) = (L+1)|x|². "eq7": Eq. (7) [A], ReLU of depth 1 with
            K(x, x) = |x|², half of "eq2". "eq6": Eq. (6) [A], linear of depth 1, K = 2 x·z. "eq2-literal": Eq. (2) [B] with the
            identity for σ and √(2/m) left as it is, K = 2^L (L+1) x·z for linear, as "eq2" for ReLU: the network
            ``empirical.FullyConnected(activation="linear", convention="eq2")``.
        memory_budget: bytes that the computation and its result may take beside ``x``. With it (and without ``z``) the result is a
            `PackedKernel`: half the matrix, in float64 where that fits, else in float32.

    Returns:
        ``[n, n']``, or ``[n, n]`` symmetric bit for bit; a `PackedKernel` with ``memory_budget``.

    Raises:
        ValueError: for zero rows, non-finite values, wrong shapes, unknown names, rows so long that the kernel overflows, or a budget that
            is too small.

    Source: Eq. (2) [B], Eq. (6), (7), (16) [A] (S4, G1, G2, G4).

    >>> ntk([[1.0, 0.0], [0.0, 2.0]]).round(4)  # off the diagonal 2·|x||z|/(2π)
    array([[2.    , 0.6366],
           [0.6366, 8.    ]])
    """
    depth, factor = _network(depth, activation, convention)
    if activation == "linear":
        return _linear(x, z, factor=(depth + 1) * factor, memory_budget=memory_budget)
    left, right = _pair(x, z)
    return _angular(left, right, gradient_profile(depth), factor, memory_budget)


@overload
def nngp(
    x: ArrayLike,
    z: ArrayLike | None = None,
    *,
    depth: int = 1,
    activation: str = "relu",
    convention: str = "eq2",
    memory_budget: None = None,
) -> NDArray[np.floating]: ...


@overload
def nngp(
    x: ArrayLike, z: None = None, *, depth: int = 1, activation: str = "relu", convention: str = "eq2", memory_budget: int
) -> PackedKernel: ...


def nngp(
    x: ArrayLike,
    z: ArrayLike | None = None,
    *,
    depth: int = 1,
    activation: str = "relu",
    convention: str = "eq2",
    memory_budget: int | None = None,
) -> NDArray[np.floating] | PackedKernel:
    """Infinite-width covariance of the output at initialisation, Cov(h(w0; x), h(w0; z)) = |x||z| cos θ_L (Eq. (2) [B]).

    Args:
        x: rows ``[n, d]``, none of them zero.
        z: rows ``[n', d]``, or None for all pairs of ``x``.
        depth: number of hidden layers L ≥ 1.
        activation: "relu" or "linear" (x·z).
        convention: "eq2" or, at depth 1, "eq7" (half of it) and "eq6" (linear, x·z); "eq2-literal": linear, 2^L x·z; see `ntk`.
        memory_budget: as `ntk`.

    Returns:
        ``[n, n']``, or ``[n, n]`` symmetric bit for bit; a `PackedKernel` with ``memory_budget``.

    Raises:
        ValueError: as `ntk`.

    Source: Eq. (2) [B], Eq. (6), (7) [A] (S6, G4).

    >>> nngp([[1.0, 0.0], [0.0, 2.0]]).round(4)  # off the diagonal |x||z|/π
    array([[1.    , 0.6366],
           [0.6366, 4.    ]])
    """
    depth, factor = _network(depth, activation, convention)
    if activation == "linear":
        return _linear(x, z, factor=factor, memory_budget=memory_budget)
    left, right = _pair(x, z)
    return _angular(left, right, output_profile(depth), factor, memory_budget)


@overload
def gaussian_kernel(x: ArrayLike, z: ArrayLike | None = None, *, bandwidth: float, memory_budget: None = None) -> NDArray[np.floating]: ...


@overload
def gaussian_kernel(x: ArrayLike, z: None = None, *, bandwidth: float, memory_budget: int) -> PackedKernel: ...


def gaussian_kernel(
    x: ArrayLike, z: ArrayLike | None = None, *, bandwidth: float, memory_budget: int | None = None
) -> NDArray[np.floating] | PackedKernel:
    """Gaussian kernel exp(−|x − z|²/(2 bandwidth²)): ``bandwidth`` is the standard deviation, a length in the units of ``x``.

    The relative error is 1e-13, or 4 ulp times the exponent where that is more (exponents above 110).

    Args:
        x: rows ``[n, d]``; rows may be zero.
        z: rows ``[n', d]``, or None for all pairs of ``x``.
        bandwidth: b > 0.
        memory_budget: as `ntk`.

    Returns:
        ``[n, n']``, or ``[n, n]`` symmetric bit for bit, with ones on the diagonal; a `PackedKernel` with ``memory_budget``.

    Raises:
        ValueError: for non-finite values, wrong shapes, or a bandwidth that is not positive.

    Source: the kernel machines of Figure 9 [A], whose bandwidth is not stated (F9).

    >>> float(gaussian_kernel([[0.0]], [[1.0]], bandwidth=1.0)[0, 0]) == float(np.exp(-0.5))
    True
    """
    return _distance_kernel(x, z, bandwidth=bandwidth, gaussian=True, memory_budget=memory_budget)


@overload
def laplacian_kernel(x: ArrayLike, z: ArrayLike | None = None, *, bandwidth: float, memory_budget: None = None) -> NDArray[np.floating]: ...


@overload
def laplacian_kernel(x: ArrayLike, z: None = None, *, bandwidth: float, memory_budget: int) -> PackedKernel: ...


def laplacian_kernel(
    x: ArrayLike, z: ArrayLike | None = None, *, bandwidth: float, memory_budget: int | None = None
) -> NDArray[np.floating] | PackedKernel:
    """Laplacian kernel exp(−|x − z|/bandwidth), with the Euclidean norm; ``bandwidth`` is a length in the units of ``x``.

    Arguments, result, accuracy and errors as `gaussian_kernel`.

    >>> float(laplacian_kernel([[0.0]], [[1.0]], bandwidth=1.0)[0, 0]) == float(np.exp(-1.0))
    True
    """
    return _distance_kernel(x, z, bandwidth=bandwidth, gaussian=False, memory_budget=memory_budget)


def _network(depth: int, activation: str, convention: str) -> tuple[int, float]:
    """Return the depth and the factor of the convention relative to Eq. (2) [B]."""
    depth = check_depth(depth)
    check_choice(activation, "activation", ACTIVATIONS)
    check_choice(convention, "convention", CONVENTIONS)
    if convention == "eq6" and (activation, depth) != ("linear", 1):
        raise ValueError(f"convention 'eq6' is the linear network of depth 1, got activation={activation!r}, depth={depth}")
    if convention == "eq7" and (activation, depth) != ("relu", 1):
        raise ValueError(f"convention 'eq7' is the ReLU network of depth 1, got activation={activation!r}, depth={depth}")
    if convention == "eq2-literal" and activation == "linear":
        return depth, 2.0**depth
    return depth, 0.5 if convention == "eq7" else 1.0


def _inputs(x: ArrayLike, z: ArrayLike | None, check: Checker) -> tuple[NDArray[np.floating], NDArray[np.floating] | None]:
    left = check(x, "x")
    if z is None:
        return left, None
    right = check(z, "z")
    if right.shape[1] != left.shape[1]:
        raise ValueError(f"z must have as many columns as x ({left.shape[1]}), got shape {list(right.shape)}")
    return left, right


def _pair(x: ArrayLike, z: ArrayLike | None) -> tuple[Rows, Rows | None]:
    left, right = _inputs(x, z, check_inputs)
    return Rows.of(left), None if right is None else Rows.of(right)


def _angular(
    left: Rows, right: Rows | None, profile: AngleProfile, factor: float, memory_budget: int | None
) -> NDArray[np.floating] | PackedKernel:
    other = left if right is None else right
    dtype = np.result_type(left.original, other.original)
    _check_overflow(left.norm, other.norm, factor * float(profile.table[0, 0]), dtype)
    transform = AngleTransform.of(left, other, profile, factor)
    return _evaluate(left.unit, None if right is None else right.unit, transform, dtype, memory_budget)


def _linear(x: ArrayLike, z: ArrayLike | None, *, factor: float, memory_budget: int | None) -> NDArray[np.floating] | PackedKernel:
    left, right = _inputs(x, z, check_inputs)
    left_exponent = row_exponents(left)
    right_exponent = left_exponent if right is None else row_exponents(right)
    scaled = scale_rows(left, -left_exponent)
    dtype = np.result_type(left, left if right is None else right)
    transform = ScaledProduct(np.ldexp(factor, left_exponent), np.ldexp(1.0, right_exponent))
    _check_overflow(transform.left_scale, transform.right_scale, factor * left.shape[1], dtype)
    return _evaluate(scaled, None if right is None else scale_rows(right, -right_exponent), transform, dtype, memory_budget)


def _distance_kernel(
    x: ArrayLike, z: ArrayLike | None, *, bandwidth: float, gaussian: bool, memory_budget: int | None
) -> NDArray[np.floating] | PackedKernel:
    bandwidth = check_positive(bandwidth, "bandwidth", smallest=5e-324, limit=np.inf)
    left, right = _inputs(x, z, _check_points)
    other = left if right is None else right
    # One power of two for all rows, and a common centre: distances do not change, and products of centred rows cancel less.
    exponent = int(np.frexp(max(float(np.abs(left).max()), float(np.abs(other).max())))[1])
    centred_left = np.ldexp(left.astype(np.float64, copy=False), -exponent)
    centre = centred_left.mean(axis=0)
    centred_left -= centre
    centred_right = None if right is None else np.ldexp(right.astype(np.float64, copy=False), -exponent) - centre
    left_square = np.einsum("nd,nd->n", centred_left, centred_left)
    transform = DistanceTransform(
        left=left,
        right=other,
        exponent=exponent,
        left_square=left_square,
        right_square=left_square if centred_right is None else np.einsum("nd,nd->n", centred_right, centred_right),
        # The limit keeps squares finite; it matters only to rows that differ by less than 2^-510 of the largest coordinate.
        inverse_bandwidth=math.ldexp(1.0 / math.frexp(bandwidth)[0], min(exponent - math.frexp(bandwidth)[1], 510)),
        gaussian=gaussian,
        symmetric=right is None,
    )
    return _evaluate(centred_left, centred_right, transform, np.result_type(left, other), memory_budget)


def _evaluate(
    left: Float64Array, right: Float64Array | None, transform: Transform, dtype: np.dtype[np.floating], memory_budget: int | None
) -> NDArray[np.floating] | PackedKernel:
    if memory_budget is None:
        return pairwise(left, right, transform, dtype)
    if right is not None:
        raise ValueError(
            "memory_budget must come without z: a kernel between two sets has no symmetry to save, take fewer rows of z at once"
        )
    return pack(left, transform, dtype, memory_budget)


def _check_points(x: ArrayLike, name: str) -> NDArray[np.floating]:
    array = as_real_array(x, name, limit=np.inf)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must have shape [n, d] with n, d >= 1, got shape {list(array.shape)}")
    return array


def _check_overflow(left: Float64Array, right: Float64Array, factor: float, dtype: np.dtype[np.floating]) -> None:
    largest = np.log10(left.max()) + np.log10(right.max()) + np.log10(factor)
    if largest > np.log10(np.finfo(dtype).max):
        raise ValueError(f"x and z must have rows whose kernel fits {dtype}, got rows with a kernel near 1e{largest:.0f}")
