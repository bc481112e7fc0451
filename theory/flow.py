"""Gradient flow of the linearised model: dh/dt = −(1/n) K r(h), the limit of gradient descent at small learning rates.

Logistic and softmax loss are integrated by a stabilised explicit method (Runge-Kutta-Chebyshev, ``theory/_chebyshev.py``), whose cost grows
like the square root of the time, where that of gradient descent grows like the time. The squared loss is solved in closed form. Error
control, interpolation and the choice of the inner tolerance: notes/dynamics.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._chebyshev import coefficients, stages
from theory._validation import as_real_array, check_positive
from theory.dynamics import Problem, Trajectory
from theory.losses import _residuals
from theory.packed import PackedKernel, check_kernel_or_packed, multiply
from theory.step_size import lanczos_top_pair

__all__ = ["gradient_flow"]

FloatArray = NDArray[np.float64]

# N ∝ tol^{−1/3} steps with local error tol add up to a global error ∝ tol^{2/3}: a step may err by 8 rtol^{3/2} (s/10)^{0.7} with s
# stages. Long steps are expensive, and the errors of early, short steps persist; the constants are calibrated (notes/dynamics.md).
_INNER_TOLERANCE = 8.0
_GROWTH = 0.7
_SAFETY = 0.9
_LOOSEST, _TIGHTEST = 1e-1, 1e-10
# The largest second derivative of the loss per sample bounds the Jacobian at all times.
_CURVATURE = {"logistic": 0.25, "softmax": 0.5}


def gradient_flow(
    kernel: ArrayLike | PackedKernel,
    labels: ArrayLike,
    *,
    times: ArrayLike,
    loss: str = "logistic",
    initial_logits: ArrayLike | None = None,
    cross_kernel: ArrayLike | None = None,
    initial_test_logits: ArrayLike | None = None,
    rtol: float = 1e-6,
) -> Trajectory:
    """Integrate dh/dt = −(1/n) K r(h) and return the logits at ``times``.

    Args:
        kernel: ``[n, n]`` tangent kernel, symmetric and positive semi-definite. Arithmetic is float64; float32 in, float32 out. Or a
            `PackedKernel` to save memory, with float64 out (not for the squared loss, which needs the whole matrix).
        labels: as in :func:`theory.dynamics.gradient_descent`.
        times: ``[T]`` times t ≥ 0 in increasing order; one gradient step of rate η is t = η.
        loss: ``"logistic"``, ``"softmax"`` or ``"squared"``.
        initial_logits: logits at t = 0; zero by default.
        cross_kernel: ``[n_test, n]``.
        initial_test_logits: test logits at t = 0; zero by default.
        rtol: error of the logits of a draw at any time, relative to the largest |logit| that this draw has had; in [1e-10, 0.1].
            The squared loss is exact to rounding.

    Returns:
        The trajectory; ``kernel_products`` counts every product with the n × n kernel, the estimates of its spectral radius included
        (0 for the squared loss, which takes one eigenvalue decomposition).

    Raises:
        ValueError: for inputs that do not fit, negative or decreasing times, or a tolerance out of range.

    Source:
        X2, X4; the gradient flow of §4 [A, B].

    Example:
        >>> flow = gradient_flow([[4.0]], [1], times=[0.0, 1.0], loss="squared")
        >>> bool(np.isclose(flow.logits[1, 0], 1 - np.exp(-4.0)))
        True
    """
    given = check_kernel_or_packed(kernel)
    whole = given if isinstance(given, PackedKernel) else given.astype(np.float64, copy=False)
    problem = Problem.build(whole, labels, loss, initial_logits, cross_kernel, initial_test_logits)
    t = as_real_array(times, "times").astype(np.float64)
    if t.ndim != 1 or t.size == 0 or (t < 0).any() or (np.diff(t) < 0).any():
        raise ValueError(f"times must be [T] increasing numbers >= 0, got {t.tolist() if t.size <= 8 else f'shape {list(t.shape)}'}")
    tolerance = check_positive(rtol, "rtol")
    if not _TIGHTEST <= tolerance <= _LOOSEST:
        raise ValueError(f"rtol must lie in [{_TIGHTEST}, {_LOOSEST}], got {rtol}")
    if loss == "squared":
        logits, duals, products = _closed_form(problem, t)
    else:
        with np.errstate(over="ignore"):  # σ of a logit below −709 is 0
            logits, duals, products = _Integrator(problem, tolerance).run(t)
    public = problem.public(logits)
    test = None if problem.cross is None else problem.test_logits(duals, 1 / problem.n)
    out = problem.dtype if isinstance(given, PackedKernel) else given.dtype
    return Trajectory(
        t.astype(out, copy=False), public.astype(out, copy=False), None if test is None else test.astype(out, copy=False), None, products
    )


def _closed_form(problem: Problem, t: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Solve the squared loss: in the eigenbasis each residual decays like exp(−λt/n)."""
    if isinstance(problem.kernel, PackedKernel):
        raise ValueError("kernel must be an array for the squared loss, which needs its eigenvectors, got a PackedKernel")
    values, vectors = np.linalg.eigh(problem.kernel)
    start = (problem.start - problem.labels) @ vectors
    x = np.maximum(values, 0)[None, :] * t[:, None] / problem.n
    decayed = -np.expm1(-x)
    # ∫ exp(−λs/n) ds over [0, t] = t (1 − e^{−x})/x, and t where λ = 0.
    integral = t[:, None] * np.divide(decayed, x, out=np.ones_like(x), where=x > 0)
    logits = problem.start - np.einsum("mk,tk,ik->tmi", start, decayed, vectors, optimize=True)
    return logits, np.einsum("mk,tk,ik->tmi", start, integral, vectors, optimize=True), 0


class _Integrator:
    """Second-order Runge-Kutta-Chebyshev integration of states ``[m, n]``, all draws with one step length.

    The integral of the residuals, ``[m, n]``, obeys the same linear recurrences as the logits, and so comes without further products.
    """

    def __init__(self, problem: Problem, rtol: float) -> None:
        self.problem = problem
        self.tolerance = _INNER_TOLERANCE * rtol**1.5
        self.track = problem.cross is not None
        top, vector, self.products = lanczos_top_pair(problem.kernel)
        self.radius_bound = _CURVATURE[problem.loss] * max(top, np.finfo(np.float64).tiny) / problem.n
        self.radius, self.radius_time = self.radius_bound, 0.0
        self.direction = np.broadcast_to(vector, problem.start.shape).copy()

    def run(self, t: FloatArray) -> tuple[FloatArray, FloatArray, int]:
        """Return states and integrated residuals ``[T, m, n]`` at the times t, and the number of kernel products."""
        state = np.stack([self.problem.start, np.zeros_like(self.problem.start)])[: 2 if self.track else 1]
        slope = self._slope(state[0])
        result = np.empty((state.shape[0], t.size, *state.shape[1:]))
        done = int(np.searchsorted(t, 0.0, side="right"))
        result[:, :done] = state[:, None]
        now, tau, largest = 0.0, float(np.sqrt(self.tolerance)) / self.radius_bound, np.abs(state[0]).max(axis=1)
        last_tau, last_error = tau, 0.0
        while done < t.size:
            tau = min(tau, float(t[-1]) - now)
            # A step may end a rounding error before the last time.
            reached_end = now + tau >= float(t[-1]) * (1 - 4 * np.finfo(np.float64).eps)
            self._update_radius(state[0], now, tau)
            s = stages(tau * self.radius)
            new = self._step(state, slope, tau, s)
            new_slope = self._slope(new[0])
            scale = np.maximum(largest, np.abs(new[0]).max(axis=1))
            error = self._error(state[0], new[0], slope[0], new_slope[0], tau, s, scale)
            if error > 1:
                tau *= max(0.1, _SAFETY * error ** (-1 / 3))
                continue
            end = float(t[-1]) if reached_end else now + tau
            upto = int(np.searchsorted(t, end, side="right"))
            if upto > done:
                result[:, done:upto] = _hermite((t[done:upto] - now) / tau, state, new, slope, new_slope, tau)
            # Predictive controller: the error of the next step is extrapolated from the last two.
            factor = _SAFETY * error ** (-1 / 3) if error > 0 else 10.0
            if last_error > 0 and error > 0:
                factor = min(factor, factor * (tau / last_tau) * (last_error / error) ** (1 / 3))
            last_tau, last_error = tau, error
            state, slope, now, done, largest = new, new_slope, end, upto, scale
            tau *= min(10.0, max(0.1, factor))
        return result[0], result[-1], self.products

    def _slope(self, h: FloatArray) -> FloatArray:
        """Return the time derivative of the state: −K r/n, and r for the integral of the residuals."""
        slope = np.empty((2 if self.track else 1, *h.shape))
        r = slope[1] if self.track else np.empty_like(h)
        self.problem.residual(h, r)
        multiply(r, self.problem.kernel, slope[0])
        slope[0] *= -1 / self.problem.n
        self.products += 1
        return slope

    def _step(self, state: FloatArray, slope: FloatArray, tau: float, s: int) -> FloatArray:
        c = coefficients(s)
        before, now = state, state + c.first * tau * slope
        for mu, nu, mu_tilde, gamma_tilde in zip(c.mu, c.nu, c.mu_tilde, c.gamma_tilde, strict=True):
            inner = self._slope(now[0])
            new = (1 - mu - nu) * state + mu * now + nu * before + tau * (mu_tilde * inner + gamma_tilde * slope)
            before, now = now, new
        return now

    def _error(
        self, old: FloatArray, new: FloatArray, old_slope: FloatArray, new_slope: FloatArray, tau: float, s: int, scale: FloatArray
    ) -> float:
        """Return the estimated local error over its allowance, the worst over draws."""
        estimate = np.abs(0.8 * (old - new) + 0.4 * tau * (old_slope + new_slope)).max(axis=1)
        allowance = self.tolerance * (s / 10) ** _GROWTH * scale
        return float(np.max(np.divide(estimate, allowance, out=np.zeros_like(estimate), where=estimate > 0)))

    def _update_radius(self, h: FloatArray, now: float, tau: float) -> None:
        """Re-estimate the spectral radius of K D/n, D = diag(f(1−f)): it falls as samples are fitted. One product."""
        if now <= 1.25 * self.radius_time or tau * self.radius < 20:
            return
        v = self.direction
        weighted = _curvature_product(self.problem, h, v)
        image = weighted @ self.problem.kernel
        self.products += 1
        weight = (v * weighted).sum(axis=1)
        if (weight > 0).all():
            # K D is symmetric in the inner product <u, v>_D: Rayleigh quotient plus residual norm covers the eigenvalue next to it.
            quotient = (weighted * image).sum(axis=1) / weight
            rest = image - quotient[:, None] * v
            spread = np.sqrt(np.maximum((rest * _curvature_product(self.problem, h, rest)).sum(axis=1), 0) / weight)
            self.radius = min(self.radius_bound, 1.05 * float((quotient + spread).max()) / self.problem.n)
            self.direction = image / np.linalg.norm(image, axis=1, keepdims=True)
        self.radius_time = now


def _curvature_product(problem: Problem, h: FloatArray, v: FloatArray) -> FloatArray:
    """Return D v with D the derivative of the residual: f(1−f), or diag(f) − ff^T over the classes."""
    if problem.loss == "logistic":
        f = _residuals(h, np.zeros_like(h), "logistic", 0)
        return np.asarray(f * _residuals(-h, np.zeros_like(h), "logistic", 0) * v)
    classes = (problem.shape[1], -1, problem.n)
    f = _residuals(h.reshape(classes), np.zeros((classes[0], 1, 1)), "softmax", 0)
    w = v.reshape(classes)
    return np.asarray((f * (w - (f * w).sum(axis=0))).reshape(v.shape))


def _hermite(x: FloatArray, old: FloatArray, new: FloatArray, old_slope: FloatArray, new_slope: FloatArray, tau: float) -> FloatArray:
    """Interpolate a step at fractions x ``[k]`` by the cubic that matches values and slopes: ``[..., k, m, n]``."""
    x = x[:, None, None]
    rise = (new - old)[:, None]
    d0, d1 = tau * old_slope[:, None], tau * new_slope[:, None]
    return np.asarray(old[:, None] + x * (d0 + x * (3 * rise - 2 * d0 - d1 + x * (d0 + d1 - 2 * rise))))
