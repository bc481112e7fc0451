"""The tangent kernel of a traced network as it was before training, on a part of its samples: what the linearised model starts from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from empirical._validation import check_integer
from empirical.layer_signals import trainable_layers
from empirical.record import Trace
from empirical.tangent_kernel import empirical_ntk

__all__ = ["InitialKernel", "initial_kernel"]

_WORK = 1e9  # m² times the parameters of layers whose gradients must be formed, anew for every block of the kernel
_LEAST = 32  # samples below which a kernel says nothing
_LOGITS = 2  # logits over which the kernel of a network with more of them is averaged: at initialisation they have one law


@dataclass(frozen=True, kw_only=True, eq=False)
class InitialKernel:
    """Kernel and outputs of a network before training.

    Attributes:
        rows: training samples ``[m]``, in order.
        test_rows: test samples ``[k]``; none without a test set.
        kernel: ``[m, m]`` float64.
        cross: ``[k, m]``, test by training samples; None without a test set.
        logits: outputs of the training samples ``[m, K]``.
        test_logits: ``[k, K]`` or None.
    """

    rows: NDArray[np.int64]
    test_rows: NDArray[np.int64]
    kernel: NDArray[np.float64]
    cross: NDArray[np.float64] | None
    logits: NDArray[np.float64]
    test_logits: NDArray[np.float64] | None


def initial_kernel(trace: Trace, *, samples: int = 800) -> InitialKernel:
    """Measure the tangent kernel of a traced network with its parameters of before the first step.

    Args:
        trace: a trace, begun.
        samples: training samples at most, of every segment the same share (one at least); fewer where convolutions and the like make the
            kernel dear. Inputs that are 0 everywhere are left out.

    Raises:
        ValueError: if the network cannot be copied or is too large, inputs are integers, or a layer's gradients cannot be taken sample by
            sample.

    Source: K_ij = ⟨∇h(x_i), ∇h(x_j)⟩, §3 [A], [B].

    Example:
        >>> from empirical.networks import FullyConnected
        >>> from empirical.record import record
        >>> x = np.eye(4)
        >>> with record(FullyConnected(4, 32, 1), x, [0, 1, 1, 0], truth=[0, 0, 1, 1]) as trace:
        ...     trace.step()
        >>> initial_kernel(trace).kernel.shape
        (4, 4)
    """
    samples = check_integer(samples, "samples", minimum=4)
    if not trace.inputs.is_floating_point():
        raise ValueError("inputs are integers, which have no angle")
    model = trace.initial_model().eval().double()  # float32 would leave eigenvalues below zero
    try:
        rows = _choose(trace, _affordable(model, samples))
        left = _flat(trace.inputs, rows)
        test_rows = np.arange(0 if trace.test is None else min(len(trace.test[0]), 2 * len(rows)))
        right = None if trace.test is None else _flat(trace.test[0], test_rows)
        shape = tuple(trace.inputs.shape[1:])
        logits = _outputs(model, left, shape)
        kernel, cross = np.zeros((len(rows), len(rows))), None if right is None else np.zeros((len(right), len(rows)))
        count = min(logits.shape[1], _LOGITS)
        for logit in range(count):
            one = _OneLogit(model, shape, logit)
            kernel += empirical_ntk(one, left) / count
            if right is not None and cross is not None:
                keep = (right != 0).any(dim=1)
                cross[keep.numpy()] += empirical_ntk(one, right[keep], left) / count
        return InitialKernel(
            rows=rows,
            test_rows=test_rows,
            kernel=kernel,
            cross=cross,
            logits=logits,
            test_logits=None if right is None else _outputs(model, right, shape),
        )
    except (RuntimeError, NotImplementedError) as error:  # of a layer for which torch has no rule
        raise ValueError(" ".join(str(error).split())[:160]) from None


class _OneLogit(nn.Module):
    """A network that takes rows, whatever shape it takes itself, and gives one of its logits."""

    def __init__(self, model: nn.Module, shape: tuple[int, ...], logit: int) -> None:
        super().__init__()
        self.model, self.shape, self.logit = model, shape, logit

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``[n]``."""
        output: Tensor = self.model(rows.reshape(len(rows), *self.shape))
        return output.reshape(len(rows), -1)[:, self.logit]


def _choose(trace: Trace, limit: int) -> NDArray[np.int64]:
    usable = (trace.inputs.reshape(len(trace.inputs), -1) != 0).any(dim=1).numpy()
    generator = np.random.default_rng([int.from_bytes(b"kernel", "big"), trace.seed])
    truth, noisy = trace.truth.numpy(), (trace.observed != trace.truth).numpy()
    chosen = []
    for kind in (False, True):
        for c in range(trace.n_classes):
            index = np.flatnonzero((noisy == kind) & (truth == c) & usable)
            size = len(index) if usable.sum() <= limit else min(len(index), max(1, round(limit * len(index) / usable.sum())))
            chosen.append(index if size == len(index) else generator.permutation(index)[:size])
    return np.sort(np.concatenate(chosen))


def _affordable(model: nn.Module, samples: int) -> int:
    """Samples for which the cost, quadratic in them where a layer's gradients must be formed, stays within bounds."""
    formed = sum(value.numel() for layer in trainable_layers(model) if layer.kind != "linear" for value in layer.parameters.values())
    affordable = samples if formed == 0 else min(samples, int(math.sqrt(_WORK / formed)))
    if affordable < min(samples, _LEAST):
        raise ValueError(f"layers other than linear ones have {formed} parameters, too many for the kernel of {_LEAST} samples")
    return affordable


def _flat(inputs: Tensor, rows: NDArray[np.int64]) -> Tensor:
    return inputs[torch.from_numpy(rows)].reshape(len(rows), -1).cpu()


def _outputs(model: nn.Module, rows: Tensor, shape: tuple[int, ...]) -> NDArray[np.float64]:
    parameter = next(model.parameters())
    with torch.no_grad():
        output = model(rows.to(parameter.device, parameter.dtype).reshape(len(rows), *shape))
    return np.asarray(output.reshape(len(rows), -1).cpu().to(torch.float64), dtype=np.float64)
