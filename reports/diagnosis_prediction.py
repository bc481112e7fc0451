"""What the theory predicts for a network and data of one's own, from the tangent kernel of that network at initialisation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from empirical.initial_kernel import initial_kernel
from empirical.record import Trace
from reports.diagnosis_data import KernelPrediction
from theory.dynamics import gradient_descent
from theory.eigen_alignment import eigen_alignment, learning_time
from theory.existence import samples_for_clean_priority
from theory.initialization_multiclass import initial_residuals
from theory.segment_history import segment_history
from theory.segments import SegmentGeometry, Segments
from theory.step_size import max_learning_rate

__all__ = ["KERNEL_SAMPLES", "predict_from_kernel"]

KERNEL_SAMPLES = 800
"""Training samples, at most, for which the tangent kernel is computed unless asked otherwise."""
_MOST_STEPS = 5000  # of a predicted run


def predict_from_kernel(trace: Trace, *, samples: int = KERNEL_SAMPLES) -> KernelPrediction:
    """Say what the tangent kernel of the network at initialisation predicts for the data of a trace.

    Returns:
        the prediction, or why there is none (``reason``): no noise, or a layer whose gradients cannot be taken sample by sample.

    Source: §3 [A], §3 [B]; X4, X8, X9, R1.
    """
    if trace.sample.sizes[trace.n_classes :].sum() == 0:
        return KernelPrediction(of=len(trace.inputs), reason="there is no noise")
    try:
        at_start = initial_kernel(trace, samples=samples)
    except ValueError as error:
        return KernelPrediction(of=len(trace.inputs), reason=f"the tangent kernel cannot be taken: {' '.join(str(error).split())[:160]}")
    classes, kernel = trace.n_classes, at_start.kernel
    truth, observed = trace.truth.numpy()[at_start.rows], trace.observed.numpy()[at_start.rows]
    segments = Segments.from_labels(truth, observed, classes)
    geometry = _whole_set(kernel, segments, trace.sample.sizes)
    alignment = eigen_alignment(kernel, truth, observed, n_classes=classes)
    same, off = truth[:, None] == truth[None], ~np.eye(len(truth), dtype=bool)
    diagonal = float(np.mean(np.diag(kernel)))
    within = float(np.mean([kernel[same & off & (truth == c)[:, None]].mean() for c in range(classes) if (truth == c).sum() > 1]))
    between = float(np.mean(kernel[~same]))
    level = float(trace.sample.sizes[classes:].sum() / trace.sample.sizes.sum())
    one = at_start.logits.shape[1] == 1
    rate, steps = _descent(kernel, trace)
    start, test_start = (part if part is None or not one else part[:, 0] for part in (at_start.logits, at_start.test_logits))
    run = gradient_descent(
        kernel,
        observed.astype(np.float64) if one else np.eye(classes)[observed],
        learning_rate=rate,
        steps=steps,
        loss="logistic" if one else "softmax",
        initial_logits=start,
        cross_kernel=at_start.cross,
        initial_test_logits=test_start,
        record=60,
    )
    test_truth = None if trace.test is None else trace.test[1].numpy()[at_start.test_rows]
    history = segment_history(kernel, run.logits, segments, test_logits=run.test_logits, test_truth=test_truth)
    return KernelPrediction(
        samples=len(truth),
        of=len(trace.inputs),
        times=run.times.astype(np.float64),
        pooled_alpha=np.asarray(history.pooled_alpha, dtype=np.float64),
        pooled_rho=np.asarray(history.pooled_rho, dtype=np.float64),
        test_error=np.asarray(history.test_error, dtype=np.float64),
        noise_loss=np.asarray(history.noise_loss, dtype=np.float64),
        truth_time=learning_time(alignment, vector="truth"),
        flip_time=learning_time(alignment, vector="flips"),
        initial_alpha=float(geometry.pooled_alpha),
        initial_rho=float(geometry.pooled_rho),
        needed=samples_for_clean_priority(level, diagonal=diagonal, within=within, between=between, n_classes=classes),
        diagonal=diagonal,
        within=within,
        between=between,
    )


def _descent(kernel: NDArray[np.float64], trace: Trace) -> tuple[float, int]:
    """A stable step size and the number of steps to the end of the measured run, or as far as the permitted steps lead."""
    stable = max_learning_rate(kernel) / 4
    if trace.learning_rate is None:
        return stable, 1000
    horizon = trace.learning_rate * trace.steps[-1]
    rate = min(max(trace.learning_rate, horizon / _MOST_STEPS), stable)
    return rate, max(1, min(_MOST_STEPS, math.ceil(horizon / rate)))


def _whole_set(kernel: NDArray[np.float64], segments: Segments, sizes: NDArray[np.int64]) -> SegmentGeometry:
    """Geometry at f ≡ 1/C of the whole training set: sums over pairs and over samples with themselves, carried over apart."""
    residual = initial_residuals(segments.observed, n_classes=segments.n_classes)
    weights = residual @ residual.T * kernel if residual.ndim == 2 else np.outer(residual, residual) * kernel
    masks = [mask(c) for mask in (segments.clean, segments.noise) for c in range(segments.n_classes)]
    gram = np.zeros((len(masks), len(masks)))
    for a, left in enumerate(masks):
        for b, right in enumerate(masks[: a + 1]):
            m, k = int(left.sum()), int(right.sum())
            if m == 0 or k == 0:
                continue
            block = weights[np.ix_(left, right)]
            alone = float(np.trace(block)) if a == b else 0.0
            pairs = float(block.sum()) - alone
            size = float(sizes[a])
            scale = size * (size - 1) / max(m * (m - 1), 1) if a == b else size * float(sizes[b]) / (m * k)
            gram[a, b] = gram[b, a] = pairs * scale + alone * size / m
    return SegmentGeometry.from_gram(gram)
