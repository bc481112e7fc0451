"""Deep ReLU networks of finite width: exact moments of K(x, x) and of the logit, and how fast the kernel freezes with width.

For the network of Eq. (2) [B] the pair (K(x, x), h(x)) obeys a linear random recursion over layers whose coefficients are independent,
so all its moments are exact at every width and depth (notes/finite_width.md §4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from theory._validation import check_depth, check_integer

__all__ = ["DRIFT_EXPONENTS", "DiagonalMoments", "DriftExponent", "diagonal_moments"]


@dataclass(frozen=True)
class DiagonalMoments:
    """Exact moments of K(x, x) and h(x) for ‖x‖ = 1 in the scale of Eq. (2) [B]; K scales with ‖x‖², h with ‖x‖.

    Attributes:
        depth: L, number of hidden layers.
        width: m.
        mean: E K = L + 1, at every width.
        variance: Var K.
        relative_variance: Var K/(E K)², whose leading term is `relative_variance_limit`/m.
        relative_variance_limit: lim m Var K/(E K)² = L(11L + 7)/(3(L + 1)).
        logit_variance: Var h = 1, at every width.
        logit_kurtosis: E h⁴/(E h²)² = 3(1 + 5/m)^L; 3 is Gaussian.
        logit_kernel_covariance: Cov(h², K) = (L + 1)((1 + 5/m)^L − 1) > 0: large logits come with large kernels.
    """

    depth: int
    width: int
    mean: float
    variance: float
    relative_variance: float
    relative_variance_limit: float
    logit_variance: float
    logit_kurtosis: float
    logit_kernel_covariance: float


@dataclass(frozen=True)
class DriftExponent:
    """How a quantity scales with width m at fixed training time: quantity ∝ m^exponent.

    Attributes:
        quantity: what is measured.
        activation: "relu" or "tanh".
        exponent: the asymptotic exponent.
        basis: "theorem", "heuristic" (an argument in notes/finite_width.md §6) or "measured".
        hypotheses: what the exponent needs.
    """

    quantity: str
    activation: str
    exponent: float
    basis: str
    hypotheses: tuple[str, ...]


def diagonal_moments(*, depth: int, width: int) -> DiagonalMoments:
    """Return the exact moments of K(x, x) and h(x) for a ReLU network with L hidden layers of width m.

    With q = 1 + 5/m, the second moments U_k, V_k, W_k of the recursion obey V_k = (k + 1) q^k,
    U_{k+1} = q^{k+1} + (1 − 1/m) U_k + (2/m) V_k,   W_{k+1} = q W_k + 2 U_{k+1} − q^{k+1},   U_0 = W_0 = 1,   and E K² = W_L.

    Args:
        depth: L, number of hidden layers.
        width: m, the same for every hidden layer.

    Raises:
        ValueError: if depth or width is not a positive integer.

    Source:
        Eq. (2) [B]; notes/finite_width.md §4.

    Example:
        >>> round(diagonal_moments(depth=1, width=100).relative_variance, 12)
        0.03
        >>> round(diagonal_moments(depth=2, width=64).logit_kurtosis, 2)
        3.49
    """
    L = check_depth(depth)
    m = check_integer(width, "width")
    # Excesses over the infinite-width values are carried (u = U − (k+1), w = W − (k+1)²): no cancellation when m is large.
    power = 0.0  # q^k − 1
    u = w = 0.0
    for k in range(L):
        v = (k + 1) * power
        power = power + 5 / m * (1 + power)
        u_next = power + u + ((k + 1) - u + 2 * v) / m
        w = w + 5 / m * ((k + 1) ** 2 + w) + 2 * u_next - power
        u = u_next
    mean = float(L + 1)
    return DiagonalMoments(
        depth=L,
        width=m,
        mean=mean,
        variance=w,
        relative_variance=w / mean**2,
        relative_variance_limit=L * (11 * L + 7) / (3 * (L + 1)),
        logit_variance=1.0,
        logit_kurtosis=3 * (1 + power),
        logit_kernel_covariance=mean * power,
    )


_FIXED_TIME = ("time η·step fixed while the width grows", "output centred at its initial value", "one hidden layer")

_OWN_GATES = "m ≫ n⁴ (notes/drift.md): below it the fluctuating part m^(-3/4) dominates, the part of one sign being O(1/n) of it"

DRIFT_EXPONENTS: Mapping[str, DriftExponent] = MappingProxyType(
    {
        "gradient-relu": DriftExponent("‖∇h_t − ∇h_0‖/‖∇h_0‖", "relu", -1 / 4, "heuristic", _FIXED_TIME),
        "gradient-tanh": DriftExponent("‖∇h_t − ∇h_0‖/‖∇h_0‖", "tanh", -1 / 2, "theorem", _FIXED_TIME),
        "kernel-relu": DriftExponent(
            "|K_t − K_0|/|K_0|",
            "relu",
            -1 / 2,
            "heuristic",
            (*_FIXED_TIME, _OWN_GATES),
        ),
        "kernel-tanh": DriftExponent("|K_t − K_0|/|K_0|", "tanh", -1.0, "measured", _FIXED_TIME),
        "linearisation-relu": DriftExponent("|h_t − h_t^lin|", "relu", -1 / 2, "heuristic", (*_FIXED_TIME, _OWN_GATES)),
        "linearisation-tanh": DriftExponent("|h_t − h_t^lin|", "tanh", -1.0, "measured", _FIXED_TIME),
        "weights": DriftExponent("‖w_t − w_0‖", "relu", 0.0, "theorem", _FIXED_TIME),
    }
)
