"""Sample-wise and segment gradients of a network: norms, inner products, angles, α and ρ, without ever holding n × p numbers.

With activations a and backpropagated signals δ (``empirical.layer_signals``) of n samples, for linear layers:

* a segment gradient is one weighted sum Σ_i δ_i a_iᵀ per layer (what one weighted backward pass gives);
* the inner products of all samples with a segment gradient G are Σ_layers δ_iᵀ (G a_i), the forward-mode derivative of the logits along G,
  contracted with the residuals;
* a sample's squared norm is Σ_layers ‖a_i‖²‖δ_i‖².

For convolutions and layers of any other kind see ``empirical.layer_gradients``. The data are passed twice: once for the segment gradients,
once for each sample's norm and inner products with them. Memory is O(n·width + C·p), time O(C·n·p).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from empirical._validation import check_integer, check_labels
from empirical.layer_gradients import LayerSums, layer_sums
from empirical.layer_signals import Layer, as_inputs, forward_pass, trainable_layers
from empirical.memory_plan import plan_memory
from empirical.segment_gram import SegmentSummary, summarize_gram

__all__ = ["GradientGeometry", "gradient_geometry"]


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientGeometry:
    """Geometry of the gradients of n labelled samples at one point w in parameter space.

    Gradients are of the logistic loss (one logit) or the cross-entropy (C logits), ∇l_i = Σ_k r_ik ∇h_k(x_i); with ``logit=k`` only the
    k-th term, with ``logit="own"`` the term of the sample's own ground-truth class. Segments are by ground-truth class; segment gradients
    are sums. Ratios and cosines of a segment or sample without gradient are nan.

    Attributes:
        summary: norms, α, ρ of the segments, see ``SegmentSummary``; its main fields are attributes here too.
        gram: inner products of the segment gradients ``[3C, 3C]``: clean^0…, noise^0…, relabelled^0… (see ``empirical.segment_gram``).
        n_clean: samples in D_clean^(c) ``[C]``.
        n_noise: samples in D_noise^(c) ``[C]``.
        sample_norm: ‖∇l_i‖ ``[n]``.
        sample_cosine: cos∠(∇l_i, g_clean^(c)) with c the sample's own ground-truth class ``[n]``.
        sample_cosines: cos∠(∇l_i, g_clean^(c)) for every class c ``[n, C]``.
        residual: f_i − y_i, ``[n]`` for one logit (or with ``logit``), else ``[n, C]``.
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
    logit: int | Literal["own"] | None = None,
    chunk_size: int | None = None,
    memory_budget: int | None = None,
) -> GradientGeometry:
    """Measure the geometry of sample-wise and segment gradients of a network on partly wrong labels.

    Two classes and one logit: logistic loss, label 1 is the positive class. C logits: cross-entropy. The loss is that of the papers
    whatever the network was trained with.

    Args:
        model: network of rows ``[n, d]`` that treats every sample alone; each layer with parameters is called once. Output ``[n]``,
            ``[n, 1]`` or ``[n, C]``. Linear layers and convolutions are fast, any other layer is slower. Batch normalisation must be in
            evaluation mode: in training mode there is no gradient per sample.
        inputs: ``[n, d]``, converted to the network's type and device.
        labels: observed labels ``[n]``, integers 0 … C − 1.
        truth: ground-truth labels ``[n]``.
        n_classes: C.
        logit: measure single-logit gradients r_ik ∇h_k of this logit k (of C) in place of full gradients, in the segments of all classes.
            ``"own"``: each sample's through the logit of its own ground-truth class, so that the segment gradients are the g_k^(c) of logit
            c for every c at once. The classes' segments are disjoint, so one weighted backward pass per chunk, with the residual r_ic in
            column c of a sample of class c and 0 elsewhere, serves all of them: the cost is that of one call, two passes over the data,
            not that of C calls. (Cosines between different classes are then between gradients of different logits.)
        chunk_size: samples evaluated at a time at most; by default 512, less where the activations of a sample are many.
        memory_budget: bytes that the measurement and its result may take beside ``inputs``, on the network's device; fewer samples are
            evaluated at a time where it asks for that. By default activations and signals of up to 2²⁶ numbers (256 MiB in float32)
            are kept between the two passes. Numbers may change in their last digits, as with any other ``chunk_size``.

    Returns:
        GradientGeometry in float64 (computed in the network's type; the Gram matrix is accumulated in float64).

    Raises:
        ValueError: if shapes, labels or classes do not fit, a value is not finite, an input is zero, a layer is not supported, or the
            budget is too small; the line says how much would do.

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
    layers = trainable_layers(model)
    x = as_inputs(model, inputs, "inputs")
    observed, true = check_labels(labels, n_classes, "labels"), check_labels(truth, n_classes, "truth")
    for name, array in (("labels", observed), ("truth", true)):
        if len(array) != len(x):
            raise ValueError(f"{name} must have one entry per input ({len(x)}), got {len(array)}")
    if logit is not None and logit != "own" and not 0 <= check_integer(logit, "logit", minimum=0) < n_classes:
        raise ValueError(f"logit must lie in 0..{n_classes - 1}, got {logit}")
    dense = all(layer.kind == "linear" for layer in layers)
    # Segments become slices: clean^0, noise^0, clean^1, …; with convolutions all clean ones come first, for their chunks need no backward
    # pass with true labels.
    order = np.argsort(2 * true + (observed != true) if dense else true + n_classes * (observed != true), kind="stable")
    x = x[order]
    plan = plan_memory(model, layers, x, n_classes, chunk_size=chunk_size, memory_budget=memory_budget)
    with torch.no_grad():
        sums = tuple(layer_sums(layer, 3 * n_classes, x) for layer in layers)
        task = _Task(model, layers, sums, x, observed[order], true[order], n_classes, logit, plan.chunk_size)
        kept: list[_Chunk] | None = []
        for chunk in task.chunks(relabel=True):
            chunk.add_to(task)
            if kept is not None and len(x) * chunk.numbers_per_sample <= plan.kept_numbers:
                kept.append(replace(chunk, activations=(), relabelled=()))
            else:
                kept = None
            del chunk  # while the next one is evaluated
        gram = np.sum([layer_sum.gram() for layer_sum in sums], axis=0)
        measured: tuple[NDArray[np.float64], ...] = ()
        for chunk in kept if kept is not None else task.chunks(relabel=False):
            parts = chunk.measure(task)
            measured = measured or tuple(np.empty((len(x), *part.shape[1:])) for part in parts)
            for whole, part in zip(measured, parts, strict=True):
                whole[order[chunk.rows]] = part
            del chunk, parts, part  # while the next one is evaluated
    norm, inner, residual, output = measured
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
    layers: tuple[Layer, ...]
    sums: tuple[LayerSums, ...]
    inputs: Tensor
    observed: NDArray[np.int64]
    truth: NDArray[np.int64]
    n_classes: int
    logit: int | Literal["own"] | None
    chunk_size: int

    def chunks(self, *, relabel: bool) -> Iterator[_Chunk]:
        """Evaluate the samples chunk by chunk; ``relabel``: with the signals of the noisy samples under their true labels."""
        for start in range(0, len(self.inputs), self.chunk_size):
            rows = slice(start, start + self.chunk_size)
            yield _Chunk.evaluate(self, rows, relabel=relabel)

    def columns(self, rows: slice, device: torch.device) -> Tensor:
        """The logit of each sample that single-logit gradients go through ``[n, 1]``."""
        assert self.logit is not None
        truth = self.truth[rows]
        return torch.as_tensor(truth if self.logit == "own" else np.full_like(truth, self.logit), device=device)[:, None]

    def residual(self, output: Tensor, labels: NDArray[np.int64], rows: slice) -> Tensor:
        """Residuals f − y ``[n, K]``; with ``logit`` all columns but one are zero."""
        index = torch.as_tensor(labels, device=output.device)
        if output.shape[1] == 1:
            return torch.sigmoid(output) - index[:, None].to(output.dtype)
        residual = torch.softmax(output, dim=1)
        residual[torch.arange(len(index), device=output.device), index] -= 1
        if self.logit is not None:
            columns = self.columns(rows, output.device)
            return torch.zeros_like(residual).scatter(1, columns, residual.gather(1, columns))
        return residual


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Activations and signals of some consecutive samples.

    One logit: signals are those of the logit itself, with the residuals as weights. Several: signals are those of the loss, without.
    """

    factors: tuple[tuple[Tensor, ...], ...]  # of each layer, see LayerSums
    weight: Tensor | None  # [n, 1]
    activations: tuple[Tensor, ...]
    relabelled: tuple[Tensor, ...]  # signals under the true labels, of several logits, where asked for and needed
    relabelled_weight: Tensor | None
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
        residual = task.residual(output, observed, rows)
        true_residual = task.residual(output, truth, rows)
        weight: Tensor | None = None
        relabelled_weight: Tensor | None = None
        relabelled: tuple[Tensor, ...] = ()
        if output.shape[1] == 1:  # one backward pass serves both labels
            weight, relabelled_weight = residual, true_residual
            signals = evaluated.signals(torch.ones_like(residual))
        else:
            signals = evaluated.signals(residual)
            if relabel and (observed != truth).any():
                relabelled = evaluated.signals(true_residual)
        factors = tuple(
            layer_sum.factors(activation, signal)
            for layer_sum, activation, signal in zip(task.sums, evaluated.inputs, signals, strict=True)
        )
        if task.logit is not None:
            columns = task.columns(rows, output.device)
            residual, output = residual.gather(1, columns), output.gather(1, columns)
        return cls(factors, weight, evaluated.inputs, relabelled, relabelled_weight, residual, output, rows)

    @property
    def numbers_per_sample(self) -> int:
        """Numbers kept of one sample."""
        return sum(factor[0].numel() for factors in self.factors for factor in factors)

    def add_to(self, task: _Task) -> None:
        """Add the samples of this chunk to the sums of their segments."""
        observed, truth, n_classes = task.observed[self.rows], task.truth[self.rows], task.n_classes
        for c in range(n_classes):
            for kind, members in enumerate((observed == truth, observed != truth)):
                index = np.flatnonzero(members & (truth == c))
                if len(index) == 0:
                    continue
                rows, relabelled_row = slice(index[0], index[-1] + 1), 2 * n_classes + c
                for k, (layer_sum, all_factors) in enumerate(zip(task.sums, self.factors, strict=True)):
                    factors = tuple(factor[rows] for factor in all_factors)
                    layer_sum.add(kind * n_classes + c, factors, None if self.weight is None else self.weight[rows])
                    if kind == 1 and self.relabelled_weight is not None:
                        layer_sum.add(relabelled_row, factors, self.relabelled_weight[rows])
                    elif kind == 1:
                        layer_sum.add_signals(relabelled_row, self.activations[k][rows], self.relabelled[k][rows])

    def measure(self, task: _Task) -> tuple[NDArray[np.float64], ...]:
        """Sample norms ``[n]``, inner products with the clean segment gradients ``[n, C]``, residuals and outputs ``[n, K]``."""
        squared = torch.zeros(len(self.output), dtype=torch.float64, device=self.output.device)
        inner = torch.zeros(len(self.output), task.n_classes, dtype=torch.float64, device=self.output.device)
        for layer_sum, factors in zip(task.sums, self.factors, strict=True):
            layer_squared, layer_inner = layer_sum.measure(task.n_classes, factors)
            squared += layer_squared
            inner += layer_inner
        norm = squared.sqrt()
        if self.weight is not None:
            norm, inner = self.weight.abs()[:, 0] * norm, self.weight * inner
        return tuple(array.to(torch.float64).cpu().numpy() for array in (norm, inner, self.residual, self.output))
