"""Training of the linearised model in function space: full-batch gradient descent on a fixed kernel.

A model whose tangent kernel stays constant moves its logits by h ← h − (η/n) K r, with r the residual of the loss (claims §0): no parameter
is needed. Many label draws and initial logits are columns of one problem, so that one matrix product serves all of them.
The state is held transposed, ``[columns, n]``: the product of a few rows with a symmetric matrix is the fastest form of that product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory._validation import as_real_array, check_choice, check_integer, check_positive
from theory.losses import LOSSES, _residuals, check_labels
from theory.packed import PackedKernel, check_kernel_or_packed, multiply

__all__ = ["Trajectory", "gradient_descent"]

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Logits of a training run at the recorded times.

    Attributes:
        times: ``[T]`` training time η · step (gradient descent) or t (gradient flow).
        logits: ``[T, n]``, ``[T, n, draws]``, and for softmax ``[T, n, C]``, ``[T, n, C, draws]``.
        test_logits: the same with the test points in place of the n samples; None without a cross kernel.
        steps: ``[T]`` step numbers; None for gradient flow.
        kernel_products: products of the n × n kernel with the residuals that the run took.
    """

    times: FloatArray
    logits: FloatArray
    test_logits: FloatArray | None = None
    steps: IntArray | None = None
    kernel_products: int = 0


def gradient_descent(
    kernel: ArrayLike | PackedKernel,
    labels: ArrayLike,
    *,
    learning_rate: float,
    steps: int,
    loss: str = "logistic",
    initial_logits: ArrayLike | None = None,
    cross_kernel: ArrayLike | None = None,
    initial_test_logits: ArrayLike | None = None,
    record: int | Sequence[int] | IntArray | None = None,
) -> Trajectory:
    """Run gradient descent on the mean loss: h ← h − (η/n) K r, from ``initial_logits``.

    Args:
        kernel: ``[n, n]`` tangent kernel K, symmetric; an array, or a `PackedKernel` to save memory.
        labels: observed labels. Logistic: ``[n]`` or ``[n, draws]`` in [0, 1]. Softmax: one-hot ``[n, C]`` or ``[n, C, draws]``.
            Squared: ``[n]`` or ``[n, draws]``, any real targets.
        learning_rate: η > 0; the loss is the mean over the n samples.
        steps: number of steps, ≥ 0.
        loss: ``"logistic"``, ``"softmax"`` or ``"squared"`` (½(h − y)²).
        initial_logits: logits before the first step, the shape of ``labels`` with or without the axis of draws; zero by default.
            Labels without and initial logits with an axis of draws: the labels are shared by all draws.
        cross_kernel: ``[n_test, n]`` kernel between test points and training samples.
        initial_test_logits: test logits before the first step, the shape of ``initial_logits`` with n_test for n; zero by default, so that
            ``test_logits`` is then the change since initialisation.
        record: which steps to record: None for every step 0 … ``steps`` (mind the memory); an integer k ≥ 2 for at most k steps spaced
            evenly in log time, 0 and the last among them; or the step numbers themselves.

    Returns:
        The trajectory; times are η · step.

    Raises:
        ValueError: for inputs that do not fit, or when the squared loss diverges (η ≥ 2n/λ_max(K)).

    Source:
        §4 [A], §4 [B]; the linearised model of Remark 3.3 [A].

    Example:
        >>> run = gradient_descent([[1.0, 0.0], [0.0, 1.0]], [1, 0], learning_rate=2.0, steps=1)
        >>> run.times.tolist(), run.logits.tolist()
        ([0.0, 2.0], [[0.0, 0.0], [0.5, -0.5]])
    """
    problem = Problem.build(kernel, labels, loss, initial_logits, cross_kernel, initial_test_logits)
    eta = check_positive(learning_rate, "learning_rate")
    last = check_integer(steps, "steps", minimum=0)
    at = _recorded_steps(record, last)
    rate = problem.dtype.type(eta / problem.n)

    h = problem.start.copy()
    change = np.empty_like(h)
    r = np.empty_like(h)
    dual = np.zeros_like(h) if problem.cross is not None else None
    logits = np.empty((at.size, *h.shape), dtype=h.dtype)
    duals = np.empty_like(logits) if dual is not None else None
    next_record = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(last + 1):
            if next_record < at.size and step == at[next_record]:
                logits[next_record] = h
                if dual is not None and duals is not None:
                    duals[next_record] = dual
                next_record += 1
            if next_record == at.size:
                break
            problem.residual(h, r)
            multiply(r, problem.kernel, change)
            change *= rate
            h -= change
            if dual is not None:
                dual += r
    if not np.isfinite(logits).all():
        raise ValueError(
            f"learning_rate must be below 2n/lambda_max(K) for the squared loss to converge, got {eta} and a run that diverged"
        )
    test = None if duals is None else problem.test_logits(duals, rate)
    products = int(at[-1])
    return Trajectory(eta * at, problem.public(logits), test, at, products)


@dataclass(frozen=True, eq=False)
class Problem:
    """A validated training problem in the internal layout: states ``[m, n]`` with m = draws, or C · draws for softmax."""

    kernel: FloatArray | PackedKernel
    labels: FloatArray
    start: FloatArray
    loss: str
    shape: tuple[int, ...]
    cross: FloatArray | None
    test_start: FloatArray | None
    residual: Callable[[FloatArray, FloatArray], None]

    @property
    def n(self) -> int:
        """Number of training samples."""
        return int(self.kernel.shape[0])

    @property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """Precision of the states."""
        return self.start.dtype

    @classmethod
    def build(
        cls,
        kernel: ArrayLike | PackedKernel,
        labels: ArrayLike,
        loss: str,
        initial_logits: ArrayLike | None,
        cross_kernel: ArrayLike | None,
        initial_test_logits: ArrayLike | None,
    ) -> Problem:
        """Check the arguments that all integrators share and bring them to the internal layout."""
        check_choice(loss, "loss", LOSSES)
        k = check_kernel_or_packed(kernel)
        n = k.shape[0]
        dtype = np.dtype(np.float64) if isinstance(k, PackedKernel) else k.dtype
        y = check_labels(labels, loss=loss, axis=1).astype(dtype, copy=False)
        base = 2 if loss == "softmax" else 1
        if y.ndim not in (base, base + 1) or y.shape[0] != n or y.size == 0:
            form = f"[{n}, C] or [{n}, C, draws]" if base == 2 else f"[{n}] or [{n}, draws]"
            raise ValueError(f"labels must have shape {form} to match the kernel, got {list(y.shape)}")
        start = None if initial_logits is None else as_real_array(initial_logits, "initial_logits")
        shape = _common_shape(y.shape, None if start is None else start.shape, base)
        cross, test_start = None, None
        if cross_kernel is not None:
            cross = as_real_array(cross_kernel, "cross_kernel").astype(dtype, copy=False)
            if cross.ndim != 2 or cross.shape[1] != n or cross.size == 0:
                raise ValueError(f"cross_kernel must have shape [n_test, {n}], got {list(cross.shape)}")
        if initial_test_logits is not None:
            if cross is None:
                raise ValueError("initial_test_logits must come with a cross_kernel, got none")
            given = as_real_array(initial_test_logits, "initial_test_logits")
            expected = (cross.shape[0], *shape[1:])
            if given.shape not in (expected, expected[:base]):
                raise ValueError(f"initial_test_logits must have shape {list(expected)}, got {list(given.shape)}")
            test_start = _to_rows(given.astype(dtype, copy=False), expected)
        y_rows = _to_rows(y, shape)
        h_rows = np.zeros_like(y_rows) if start is None else _to_rows(start.astype(dtype, copy=False), shape)
        return cls(k, y_rows, h_rows, loss, shape, cross, test_start, _residual_writer(y_rows, loss, shape))

    def public(self, states: FloatArray) -> FloatArray:
        """Bring states ``[T, m, n]`` to the public layout ``[T, n(, C)(, draws)]``."""
        times, _, points = states.shape
        return np.ascontiguousarray(np.moveaxis(states, 2, 1)).reshape(times, points, *self.shape[1:])

    def test_logits(self, duals: FloatArray, rate: float | np.floating[Any]) -> FloatArray:
        """Test logits of the accumulated residuals ``[T, m, n]``: h_0 − rate · K_test Σ r, one product for all recorded times."""
        assert self.cross is not None
        times, rows, n = duals.shape
        change = (duals.reshape(times * rows, n) @ self.cross.T).reshape(times, rows, -1)
        change *= -rate
        if self.test_start is not None:
            change += self.test_start
        return self.public(change)


def _residual_writer(y: FloatArray, loss: str, shape: tuple[int, ...]) -> Callable[[FloatArray, FloatArray], None]:
    """Return a function that writes the residual of states ``[m, n]`` in place."""
    if loss == "squared":

        def squared(h: FloatArray, out: FloatArray) -> None:
            np.subtract(h, y, out=out)

        return squared
    if loss == "logistic" and bool(np.all((y == 0) | (y == 1))):
        # Hard labels: σ(h) − y = s σ(s h) with s = 1 − 2y, accurate to a few ulp also where it is tiny (exp overflows to a residual of 0).
        sign = 1 - 2 * y

        def hard(h: FloatArray, out: FloatArray) -> None:
            np.multiply(sign, h, out=out)
            np.negative(out, out=out)
            np.exp(out, out=out)
            out += 1
            np.divide(sign, out, out=out)

        return hard
    classes = (shape[1], -1, shape[0]) if loss == "softmax" else y.shape

    def general(h: FloatArray, out: FloatArray) -> None:
        out[...] = _residuals(h.reshape(classes), y.reshape(classes), loss, 0).reshape(out.shape)

    return general


def _common_shape(labels: tuple[int, ...], initial: tuple[int, ...] | None, base: int) -> tuple[int, ...]:
    if initial is None or initial == labels:
        return labels
    same_problem = initial[:base] == labels[:base] and 0 not in initial and len(initial) in (base, base + 1)
    if not same_problem or (len(initial) == len(labels) and initial != labels):
        raise ValueError(f"initial_logits must have shape {list(labels[:base])} or that with an axis of draws, got {list(initial)}")
    return initial if len(initial) > len(labels) else labels


def _to_rows(values: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Broadcast ``[n(, C)]`` or ``[n(, C), draws]`` to ``shape`` and lay it out as ``[m, n]``."""
    full = np.broadcast_to(values[..., None] if values.ndim < len(shape) else values, shape)
    return np.ascontiguousarray(full.reshape(shape[0], -1).T)


def _recorded_steps(record: int | Sequence[int] | IntArray | None, last: int) -> IntArray:
    if record is None:
        return np.arange(last + 1)
    if not isinstance(record, (Sequence, np.ndarray)):
        count = check_integer(record, "record", minimum=2)
        if last == 0:
            return np.zeros(1, dtype=np.int64)
        spaced = np.rint(np.geomspace(1, last, count - 1)).astype(np.int64) if count > 2 else np.array([last])
        return np.unique(np.concatenate([[0], spaced]))
    try:
        at = np.asarray(record)
    except ValueError:
        raise ValueError("record must be None, an integer or a sequence of step numbers, got a ragged sequence") from None
    if at.ndim != 1 or at.size == 0 or at.dtype.kind not in "iu":
        raise ValueError(f"record must be None, an integer or a sequence of step numbers, got {record!r}")
    if (np.diff(at) <= 0).any() or at[0] < 0 or at[-1] > last:
        raise ValueError(f"record must hold increasing step numbers in [0, {last}], got {at.tolist()}")
    return at.astype(np.int64)
