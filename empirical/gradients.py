"""Sample-wise and segment gradients of a network: norms, inner products, angles, α and ρ, without ever holding n × p numbers.

With activations a and backpropagated signals δ (``empirical.layer_signals``) of n samples:

* a segment gradient is one weighted sum Σ_i δ_i a_iᵀ per layer (what one weighted backward pass gives);
* the inner products of all samples with a segment gradient G are Σ_layers δ_iᵀ (G a_i), the forward-mode derivative of the logits along G,
  contracted with the residuals;
* a sample's squared norm is Σ_layers ‖a_i‖²‖δ_i‖².

Memory is O(n·width + C·p), time O(C·n·p).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from empirical._validation import check_integer, check_labels
from empirical.layer_signals import LinearLayer, as_inputs, forward_pass, linear_layers
from empirical.segment_gram import SegmentSummary, summarize_gram

__all__ = ["GradientGeometry", "gradient_geometry"]

# Activations and signals are kept between the two passes up to this many numbers (128 MiB in float32), else recomputed.
_KEPT_ELEMENTS = 2**25
_GRAM_BLOCK = 2**16  # parameters turned to float64 at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientGeometry:
    """Geometry of the gradients of n labelled samples at one point w in parameter space.

    Gradients are of the logistic loss (one logit) or the cross-entropy (C logits), ∇l_i = Σ_k r_ik ∇h_k(x_i); with ``logit=k``
    only the k-th term. Segments are by ground-truth class; segment gradients are sums. Ratios and cosines of a segment or sample without
    gradient are nan.

    Attributes:
        summary: norms, α, ρ of the segments, see ``SegmentSummary``; its main fields are attributes here too.
        gram: inner products of the segment gradients ``[3C, 3C]``: clean^0…, noise^0…, relabelled^0… (see ``empirical.segment_gram``).
        n_clean: samples in D_clean^(c) ``[C]``.
        n_noise: samples in D_noise^(c) ``[C]``.
        sample_norm: ‖∇l_i‖ ``[n]``.
        sample_cosine: cos∠(∇l_i, g_clean^(c)) with c the sample's own ground-truth class ``[n]``.
        sample_cosines: cos∠(∇l_i, g_clean^(c)) for every class c ``[n, C]``.
        residual: f_i − y_i, ``[n]`` for one logit (or ``logit=k``), else ``[n, C]``.
        output: logits h_i, shaped as ``residual``.
    """

    summary: SegmentSummary
    gram: NDArray[np.float64]
    n_clean: NDArray[np.int64]
    n_noise: NDArray[np.int64]
    sample_norm: NDArray[np.float64]
    sample_cosine: NDArray[np.float64]
    sample_cosines: NDArray[np.float64]
    residual: NDArray[np.float64]
    output: NDArray[np.float64]

    @property
    def alpha(self) -> NDArray[np.float64]:
        """α^(c) = ‖g_noise^(c)‖/‖g_clean^(c)‖ ``[C]``."""
        return self.summary.alpha

    @property
    def rho(self) -> NDArray[np.float64]:
        """ρ^(c) = −cos∠(g_clean^(c), g_noise^(c)) ``[C]``."""
        return self.summary.rho

    @property
    def clean_norm(self) -> NDArray[np.float64]:
        """‖g_clean^(c)‖ ``[C]``."""
        return self.summary.clean_norm

    @property
    def noise_norm(self) -> NDArray[np.float64]:
        """‖g_noise^(c)‖ ``[C]``."""
        return self.summary.noise_norm

    @property
    def pooled_alpha(self) -> float:
        """The ratio a = ‖G_n‖/‖G_c‖ of the gradients summed over classes."""
        return float(self.summary.pooled_alpha)

    @property
    def pooled_rho(self) -> float:
        """The ρ = −cos∠(G_c, G_n) of the gradients summed over classes."""
        return float(self.summary.pooled_rho)


def gradient_geometry(
    model: nn.Module,
    inputs: ArrayLike | Tensor,
    labels: ArrayLike,
    *,
    truth: ArrayLike,
    n_classes: int = 2,
    logit: int | None = None,
    chunk_size: int = 512,
) -> GradientGeometry:
    """Measure the geometry of sample-wise and segment gradients of a network on partly wrong labels.

    Two classes and one logit: logistic loss, label 1 is the positive class. C logits: cross-entropy. The loss is that of the papers
    whatever the network was trained with.

    Args:
        model: network of linear layers and functions without parameters; output ``[n]``, ``[n, 1]`` or ``[n, C]``.
        inputs: ``[n, d]``, converted to the network's type and device.
        labels: observed labels ``[n]``, integers 0 … C − 1.
        truth: ground-truth labels ``[n]``.
        n_classes: C.
        logit: measure single-logit gradients r_ik ∇h_k of this logit k (of C) in place of full gradients, in the segments of all classes.
        chunk_size: samples evaluated at a time.

    Returns:
        GradientGeometry in float64 (computed in the network's type; the Gram matrix is accumulated in float64).

    Raises:
        ValueError: if shapes, labels or classes do not fit, a value is not finite, an input is zero, or a layer is not supported.

    Source: Eq. (4), (5), (8) [B]; Eq. (5), (8), (13), (14) [A].

    Example:
        >>> from empirical.networks import FullyConnected
        >>> x = np.array([[1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [0.1, 1.0], [0.2, 1.0], [0.3, 1.0]])
        >>> network = FullyConnected(2, 64, 1, centred=True, dtype=torch.float64)
        >>> geometry = gradient_geometry(network, x, [0, 0, 1, 1, 1, 0], truth=[0, 0, 0, 1, 1, 1])
        >>> geometry.alpha.round(2).tolist(), geometry.sample_cosine.round(1).tolist()
        ([0.52, 0.5], [1.0, 1.0, -1.0, 1.0, 1.0, -1.0])
    """
    n_classes = check_integer(n_classes, "n_classes", minimum=2)
    layers = linear_layers(model)
    x = as_inputs(model, inputs, "inputs")
    observed, true = check_labels(labels, n_classes, "labels"), check_labels(truth, n_classes, "truth")
    for name, array in (("labels", observed), ("truth", true)):
        if len(array) != len(x):
            raise ValueError(f"{name} must have one entry per input ({len(x)}), got {len(array)}")
    if logit is not None and not 0 <= check_integer(logit, "logit", minimum=0) < n_classes:
        raise ValueError(f"logit must lie in 0..{n_classes - 1}, got {logit}")
    order = np.argsort(2 * true + (observed != true), kind="stable")  # segments become slices: clean^0, noise^0, clean^1, …
    x = x[order]
    task = _Task(model, layers, x, observed[order], true[order], n_classes, logit, check_integer(chunk_size, "chunk_size"))

    with torch.no_grad():
        sums = [_LayerSums.zeros(layer, 3 * n_classes, x) for layer in layers]
        numbers = sum(layer.module.in_features + layer.module.out_features for layer in layers)
        kept: list[_Chunk] | None = [] if len(x) * numbers <= _KEPT_ELEMENTS else None
        for chunk in task.chunks(relabel=True):
            for segment, rows, signals in chunk.segments(task):
                for layer_sum, activation, signal in zip(sums, chunk.activations, signals, strict=True):
                    layer_sum.add(segment, activation[rows], signal)
            if kept is not None:
                kept.append(chunk)

        gram = np.sum([layer_sum.gram() for layer_sum in sums], axis=0)
        parts = [chunk.measure(sums, n_classes) for chunk in (kept if kept is not None else task.chunks(relabel=False))]
    back = np.argsort(order)
    norm, inner, residual, output = (np.concatenate([part[k] for part in parts])[back] for k in range(4))
    scale = norm[:, None] * np.sqrt(np.diag(gram)[:n_classes])
    cosines = np.full(scale.shape, np.nan)
    np.divide(inner, scale, out=cosines, where=scale > 0)
    cosines = np.clip(cosines, -1.0, 1.0)
    noisy = observed != true
    single = residual.shape[1] == 1
    return GradientGeometry(
        summary=summarize_gram(gram),
        gram=gram,
        n_clean=np.bincount(true[~noisy], minlength=n_classes),
        n_noise=np.bincount(true[noisy], minlength=n_classes),
        sample_norm=norm,
        sample_cosine=cosines[np.arange(len(true)), true],
        sample_cosines=cosines,
        residual=residual[:, 0] if single else residual,
        output=output[:, 0] if single else output,
    )


@dataclass(frozen=True, eq=False)
class _Task:
    """The checked arguments of one measurement, samples sorted by segment."""

    model: nn.Module
    layers: tuple[LinearLayer, ...]
    inputs: Tensor
    observed: NDArray[np.int64]
    truth: NDArray[np.int64]
    n_classes: int
    logit: int | None
    chunk_size: int

    def chunks(self, *, relabel: bool) -> Iterator[_Chunk]:
        """Evaluate the samples chunk by chunk; ``relabel``: with the signals of the noisy samples under their true labels."""
        for start in range(0, len(self.inputs), self.chunk_size):
            rows = slice(start, start + self.chunk_size)
            yield _Chunk.evaluate(self, rows, relabel=relabel)

    def residual(self, output: Tensor, labels: NDArray[np.int64]) -> Tensor:
        """Residuals f − y ``[n, K]``; with ``logit=k`` all columns but the k-th are zero."""
        index = torch.as_tensor(labels, device=output.device)
        if output.shape[1] == 1:
            return torch.sigmoid(output) - index[:, None].to(output.dtype)
        residual = torch.softmax(output, dim=1)
        residual[torch.arange(len(index), device=output.device), index] -= 1
        if self.logit is not None:
            only = torch.zeros_like(residual)
            only[:, self.logit] = residual[:, self.logit]
            return only
        return residual


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Activations and signals of some consecutive samples.

    One logit: signals are those of the logit itself, and factors the residuals. Several: signals are those of the loss, factors are 1.
    """

    activations: tuple[Tensor, ...]
    signals: tuple[Tensor, ...]
    factor: Tensor  # [n, 1]
    relabelled: tuple[Tensor, ...]  # signals under the true labels (empty if not asked for); read for noisy samples only
    relabelled_factor: Tensor
    residual: Tensor
    output: Tensor
    rows: slice

    @classmethod
    def evaluate(cls, task: _Task, rows: slice, *, relabel: bool) -> _Chunk:
        evaluated = forward_pass(task.model, task.layers, task.inputs[rows])
        output = evaluated.output
        if output.shape[1] not in ({1, 2} if task.n_classes == 2 else {task.n_classes}):
            expected = "1 or 2 logits" if task.n_classes == 2 else f"{task.n_classes} logits"
            raise ValueError(f"model output must have {expected} for n_classes={task.n_classes}, got {output.shape[1]}")
        if task.logit is not None and output.shape[1] == 1:
            raise ValueError(f"logit must be None for a network with one logit, got {task.logit}")
        observed, truth = task.observed[rows], task.truth[rows]
        residual = task.residual(output, observed)
        true_residual = task.residual(output, truth)
        if output.shape[1] == 1:  # one backward pass serves both labels
            factor, relabelled_factor = residual, true_residual
            signals = relabelled = evaluated.signals(torch.ones_like(residual))
        else:
            factor = relabelled_factor = torch.ones_like(output[:, :1])
            signals = evaluated.signals(residual)
            relabelled = evaluated.signals(true_residual) if relabel else ()
        if task.logit is not None:
            residual, output = residual[:, task.logit, None], output[:, task.logit, None]
        return cls(evaluated.inputs, signals, factor, relabelled, relabelled_factor, residual, output, rows)

    def segments(self, task: _Task) -> Iterator[tuple[int, slice, tuple[Tensor, ...]]]:
        """The segments in this chunk: place in the Gram matrix, rows within the chunk, signals of those rows."""
        observed, truth = task.observed[self.rows], task.truth[self.rows]
        for c in range(task.n_classes):
            for kind, members in enumerate((observed == truth, observed != truth)):
                index = np.flatnonzero(members & (truth == c))
                if len(index):
                    rows = slice(index[0], index[-1] + 1)
                    yield kind * task.n_classes + c, rows, tuple(signal[rows] * self.factor[rows] for signal in self.signals)
                    if kind == 1:
                        relabelled = tuple(signal[rows] * self.relabelled_factor[rows] for signal in self.relabelled)
                        yield 2 * task.n_classes + c, rows, relabelled

    def measure(self, sums: list[_LayerSums], n_classes: int) -> tuple[NDArray[np.float64], ...]:
        """Sample norms ``[n]``, inner products with the clean segment gradients ``[n, C]``, residuals and outputs ``[n, K]``."""
        squared = torch.zeros(len(self.output), dtype=torch.float64, device=self.output.device)
        inner = torch.zeros(len(self.output), n_classes, dtype=torch.float64, device=self.output.device)
        for layer_sum, activation, signal in zip(sums, self.activations, self.signals, strict=True):
            squared += layer_sum.squared_norms(activation, signal)
            for c in range(n_classes):
                inner[:, c] += layer_sum.inner(c, activation, signal)
        arrays = (self.factor.abs()[:, 0] * squared.sqrt(), self.factor * inner, self.residual, self.output)
        return tuple(array.to(torch.float64).cpu().numpy() for array in arrays)


@dataclass(frozen=True, eq=False)
class _LayerSums:
    """The part of k segment gradients in one layer: weight ``[k, fan_out, fan_in]``, bias ``[k, fan_out]``; None where not trained."""

    weight: Tensor | None
    bias: Tensor | None
    scale: float

    @classmethod
    def zeros(cls, layer: LinearLayer, count: int, like: Tensor) -> _LayerSums:
        fan_out, fan_in = layer.module.out_features, layer.module.in_features
        weight = like.new_zeros(count, fan_out, fan_in) if layer.trains_weight else None
        return cls(weight, like.new_zeros(count, fan_out) if layer.trains_bias else None, layer.scale)

    def add(self, row: int, activation: Tensor, signal: Tensor) -> None:
        """Add s·Σ_i δ_i a_iᵀ and Σ_i δ_i to the segment ``row``."""
        if self.weight is not None:
            self.weight[row].addmm_(signal.T, activation, alpha=self.scale)
        if self.bias is not None:
            self.bias[row] += signal.sum(0)

    def gram(self) -> NDArray[np.float64]:
        """Inner products ``[k, k]``, summed in float64, a block of parameters at a time."""
        parts = [part.flatten(1) for part in (self.weight, self.bias) if part is not None]
        blocks = (block.to(torch.float64) for part in parts for block in torch.split(part, _GRAM_BLOCK, dim=1))
        return np.asarray(sum((block @ block.T).cpu().numpy() for block in blocks))

    def squared_norms(self, activation: Tensor, signal: Tensor) -> Tensor:
        """‖δ_i‖²(s²‖a_i‖² [weight] + 1 [bias])."""
        factor = torch.zeros_like(signal[:, 0])
        if self.weight is not None:
            factor = factor + self.scale**2 * torch.linalg.vector_norm(activation, dim=1).square()
        if self.bias is not None:
            factor = factor + 1
        return torch.mul(torch.linalg.vector_norm(signal, dim=1).square(), factor)

    def inner(self, row: int, activation: Tensor, signal: Tensor) -> Tensor:
        """δ_iᵀ(s·G a_i + g), the derivative along the segment gradient (G, g)."""
        weight, bias = self.weight, self.bias
        if weight is None:
            assert bias is not None
            return torch.mv(signal, bias[row])
        moved = activation @ weight[row].T
        if self.scale != 1.0:
            moved.mul_(self.scale)
        if bias is not None:
            moved.add_(bias[row])
        return torch.sum(moved.mul_(signal), dim=1)
