"""Sec. 5 [A], [B]: the full gradient of C classes. Its segments are opposite without singling out a logit, and it has one factor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from empirical.inference import exact, mean_interval
from empirical.networks import FullyConnected
from empirical.noise import corrupt_labels_batch
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.estimates import at_once
from tests.support.multiclass import gradient, softmax, uniform_noise
from theory.alpha import alpha_recursion, cluster_kernel_scale
from theory.dynamics import gradient_descent
from theory.initialization import class_kernel_means
from theory.initialization_multiclass import (
    full_gradient_cosine,
    initial_residuals,
    multiclass_segment_ratio,
    noise_free_gradient_factor,
    opposed_residual_cosine,
)
from theory.kernels import ntk
from theory.segments import Segments, segment_geometry

Array = NDArray[np.float64]
EPS = np.finfo(np.float64).eps
NONE = {"none allowed": 0.0}
N_CLASSES, NOISE_LEVEL = 10, 0.3
FEW = (0, 1, 4)  # three digits


@pytest.mark.claim("M4")
@pytest.mark.regime("fixed kernel", "collapsed classes")
def test_full_segment_gradients_are_opposite_in_the_collapsed_model(agreement: Agreement) -> None:
    """C = 5 classes at one input each, δ = 0.4, exactly uniform wrong labels: the full vector gradient, at every recorded time."""
    n_classes, noise_level, rate = 5, 0.4, 4.0
    truth, observed = uniform_noise(n_classes, noise_level, members=20)
    kernel = np.where(truth[:, None] == truth, 2.0, 0.5)
    segments = Segments.from_labels(truth, observed, n_classes)
    labels = np.eye(n_classes)[observed]
    run = gradient_descent(kernel, labels, learning_rate=rate, steps=40, loss="softmax", record=8)
    h = np.asarray(run.logits)
    geometry = [segment_geometry(kernel, softmax(logits) - labels, segments) for logits in h]
    cosine = np.array([-one.rho for one in geometry])
    # Sums over n samples, cancelling to a tenth of their terms; the cosine is 1 − O(eps) squared away.
    rounding = {"rounding": 100 * len(truth) * EPS}
    pair = opposed_residual_cosine(n_classes)
    clean, noise = (np.flatnonzero(mask)[0] for mask in (segments.clean(0), segments.noise(0)))
    start = softmax(h[0]) - labels
    of_pair = start[clean] @ start[noise] / np.linalg.norm(start[clean]) / np.linalg.norm(start[noise])
    agreement.check(
        "a clean and a noisy sample at one input, t = 0", prediction=pair, estimate=exact(of_pair), margin=rounding, expected="AGREES"
    )
    agreement.check(
        "segments are no more opposite than their samples: cos ≥ −1/(C − 1)",
        prediction=Range(lower=pair),
        estimate=exact(cosine),
        margin=rounding,
        expected="DISAGREES",
    )
    agreement.correct(
        "cos∠(g_clean^(c), g_noise^(c)), full gradient, every c and t", prediction=-1, estimate=exact(cosine), margin=rounding
    )
    ratio = 1 / multiclass_segment_ratio(noise_level, n_classes=n_classes)
    agreement.correct("α_0 of the full gradient: δ/((C − 1)(1 − δ))", prediction=ratio, estimate=exact(geometry[0].alpha), margin=rounding)
    kappa = cluster_kernel_scale(2.0, 0.5, n_classes=n_classes, loss="softmax")
    alpha = alpha_recursion(alpha0=ratio, learning_rate=rate, kernel_scale=kappa, noise_level=noise_level, steps=40)
    steps = np.asarray(run.steps)
    agreement.correct(
        "α_t of the full gradient against the recursion of row X1",
        prediction=np.asarray(alpha)[steps][:, None] * np.ones(n_classes),
        estimate=exact([one.alpha for one in geometry]),
        margin={"rounding": 100 * len(truth) * 40 * EPS},
    )
    # All noise of a class to the next class.
    paired = np.where(observed != truth, (truth + 1) % n_classes, truth)
    one_way = segment_geometry(kernel, initial_residuals(paired, n_classes=n_classes), Segments.from_labels(truth, paired, n_classes))
    agreement.control("noise to one wrong class: cos = −1", prediction=-1, estimate=exact(-one_way.rho), margin=rounding)
    agreement.check(
        "noise to one wrong class: cos = −1/(C − 1)", prediction=pair, estimate=exact(-one_way.rho), margin=rounding, expected="AGREES"
    )


@pytest.mark.claim("M4")
@pytest.mark.parametrize(
    ("name", "classes", "n_train"),
    [
        pytest.param("digits", FEW, None, id="digits-0-1-4", marks=pytest.mark.regime("fixed kernel", "digits 0/1/4")),
        pytest.param("digits", tuple(range(10)), None, id="digits", marks=pytest.mark.regime("fixed kernel", "digits, 10 classes")),
        pytest.param("mnist", FEW, 900, id="mnist-0-1-4", marks=pytest.mark.regime("fixed kernel", "MNIST 0/1/4")),
    ],
)
def test_full_segment_gradients_on_data(agreement: Agreement, name: str, classes: tuple[int, ...], n_train: int | None) -> None:
    """At f ≡ 1/C, random wrong labels: opposite up to finite-sample terms, larger than for one logit by the C − 1 kinds of noise."""
    data, draws, n_classes = agreement.dataset(name, classes=classes, n_train=n_train), 200, len(classes)
    truth = data.train_truth
    seeds = agreement.rng.choice(2**31, size=draws, replace=False).tolist()
    observed = corrupt_labels_batch(truth, NOISE_LEVEL, n_classes=n_classes, seeds=seeds)
    cosines, predicted = [], []
    for c in range(n_classes):
        members = truth == c
        block, labels = ntk(data.train_inputs[members].astype(float)), observed[:, members]
        residual = 1 / n_classes - (labels[:, :, None] == np.arange(n_classes))
        clean, noise = residual * (labels == c)[:, :, None], residual * (labels != c)[:, :, None]
        moved = np.einsum("rnk,nm->rmk", noise, block, optimize=True)
        length = np.sqrt(np.einsum("rnk,nm,rmk->r", clean, block, clean, optimize=True) * np.einsum("rnk,rnk->r", noise, moved))
        cosines.append(np.einsum("rnk,rnk->r", clean, moved) / length)
        counts = int((labels[0] == c).sum()), int((labels[0] != c).sum())
        predicted.append(full_gradient_cosine(*class_kernel_means(block), n_clean=counts[0], n_noise=counts[1], n_classes=n_classes))
    estimate = at_once(mean_interval(np.stack(cosines, axis=1), error_rate=agreement.error_rate / n_classes))
    # cos = −(1 + e/x)^−½ with e the self-products of the noisy gradient, x the rest: over label draws e scatters at most like a χ²_{C−2},
    # the imbalance of the C − 1 wrong labels along one direction of the kernel. First and second derivative of cos in e, with s = sin²:
    s, cosine = 1 - np.square(predicted), np.abs(predicted)
    margin = {
        "expected ratio": 0.75 * cosine * s**2 / (n_classes - 2),
        "label draws": 2 * 5.8 * cosine * s / np.sqrt(2 * (n_classes - 2)) / np.sqrt(draws),
    }
    pair = np.full(n_classes, opposed_residual_cosine(n_classes))
    agreement.check(
        "segments are no more opposite than their samples: cos ≥ −1/(C − 1)",
        prediction=Range(lower=pair, upper=np.ones(n_classes)),
        estimate=estimate,
        margin=margin,
    )
    agreement.correct("cos∠(g_clean^(c), g_noise^(c)), full gradient", prediction=predicted, estimate=estimate, margin=margin)
    agreement.control("−1/(C − 1), the cosine of samples", prediction=pair, estimate=estimate, margin=margin)
    agreement.note(
        f"Cosines of the full segment gradients: {np.asarray(estimate.value).round(3)}; finite-sample theory {np.round(predicted, 3)}."
    )


@pytest.mark.claim("M5")
@pytest.mark.regime("networks at initialisation, output 0", "collapsed classes")
def test_factor_of_the_full_gradient(agreement: Agreement) -> None:
    """Gradients on noisy and on true labels by automatic differentiation, in every block (class, logit)."""
    rng, blocks, predicted, whole, binary = agreement.rng, [], [], [], []
    cases = ((3, 0.4), (4, 0.15), (6, 0.5), (10, 0.3))
    for n_classes, noise_level in cases:
        truth, observed = uniform_noise(n_classes, noise_level, members=20 * (n_classes - 1))
        network = FullyConnected(6, 32, 2, n_outputs=n_classes, centred=True, seed=int(rng.integers(2**62)), dtype=torch.float64)
        x = torch.tensor(rng.normal(size=(n_classes, 6)))[torch.tensor(truth)]
        on_noisy, on_truth = (gradient(network, F.cross_entropy(network(x), torch.tensor(y))) for y in (observed, truth))
        factor = noise_free_gradient_factor(noise_level, n_classes=n_classes)
        whole.append(float((on_noisy - factor * on_truth).norm() / on_truth.norm()))
        binary.append(float((on_noisy - (1 - 2 * noise_level) * on_truth).norm() / on_truth.norm()))
        f = torch.softmax(network(x), dim=1).detach().numpy()
        for c in range(n_classes):  # residual sums are the weights of ∇h_k at the one input of class c
            own = f[truth == c]
            sums = [(own - np.eye(n_classes)[y[truth == c]]).sum(axis=0) for y in (observed, truth)]
            blocks += (sums[0] / sums[1]).tolist()
            predicted += [factor] * n_classes
    # Sums of n ≤ 1800 residuals, whose two signs cancel to a few tenths.
    rounding = {"rounding": 10 * 1800 * EPS}
    backpropagation = {"rounding": 10 * 1800 * EPS + 3 * 32**1.5 * EPS * 100}
    agreement.check("factor in every block (class, logit)", prediction=predicted, estimate=exact(blocks), margin=rounding)
    agreement.check("‖∇L(D) − factor·∇L(D̂)‖/‖∇L(D̂)‖", prediction=0, estimate=exact(whole, n_seeds=len(cases)), margin=backpropagation)
    agreement.control("the binary factor 1 − 2δ", prediction=0, estimate=exact(binary, n_seeds=len(cases)), margin=backpropagation)
    truth, observed = uniform_noise(10, 0.95, members=180)
    above = (0.1 - np.eye(10)[observed])[truth == 0].sum(axis=0) / (0.1 - np.eye(10)[truth])[truth == 0].sum(axis=0)
    agreement.control("δ = 0.95 with C = 10: the factor is positive", prediction=Range(lower=0), estimate=exact(above), margin=NONE)

    # Later, in the fixed kernel: (1 − δ)(1 − α_t), α_t by the recursion of row X1.
    n_classes, noise_level, rate, steps = 5, 0.4, 4.0, 40
    truth, observed = uniform_noise(n_classes, noise_level, members=20)
    kernel = np.where(truth[:, None] == truth, 2.0, 0.5)
    labels, true = np.eye(n_classes)[observed], np.eye(n_classes)[truth]
    run = gradient_descent(kernel, labels, learning_rate=rate, steps=steps, loss="softmax", record=8)
    kappa = cluster_kernel_scale(2.0, 0.5, n_classes=n_classes, loss="softmax")
    start = 1 / multiclass_segment_ratio(noise_level, n_classes=n_classes)
    alpha = np.asarray(alpha_recursion(alpha0=start, learning_rate=rate, kernel_scale=kappa, noise_level=noise_level, steps=steps))
    factor = [
        [(f - labels)[truth == c].sum(axis=0) / (f - true)[truth == c].sum(axis=0) for c in range(n_classes)]
        for f in (softmax(h) for h in np.asarray(run.logits))
    ]
    later = (1 - noise_level) * (1 - alpha[np.asarray(run.steps)])[:, None, None]
    agreement.check(
        "factor in every block at 8 times, against (1 − δ)(1 − α_t)",
        prediction=np.broadcast_to(later, np.shape(factor)),
        estimate=exact(factor),
        margin={"rounding": 100 * len(truth) * steps * EPS},
    )
    agreement.control(
        "1 − δC/(C − 1) at all times",
        prediction=noise_free_gradient_factor(noise_level, n_classes=n_classes),
        estimate=exact(factor),
        margin={"rounding": 100 * len(truth) * steps * EPS},
    )


@pytest.mark.claim("M5")
@pytest.mark.parametrize(
    ("name", "classes", "n_train"),
    [
        pytest.param("digits", tuple(range(10)), 600, id="digits", marks=pytest.mark.regime("fixed kernel", "digits, 10 classes")),
        pytest.param("mnist", tuple(range(10)), 600, id="mnist", marks=pytest.mark.regime("fixed kernel", "MNIST, 10 classes")),
    ],
)
def test_factor_on_data(agreement: Agreement, name: str, classes: tuple[int, ...], n_train: int | None) -> None:
    """Projection of ∇L(D) on ∇L(D̂) at f ≡ 1/C: linear in the labels, its expectation over label draws is the factor exactly."""
    data, draws, level = agreement.dataset(name, classes=classes, n_train=n_train), 300, 0.4
    truth, kernel = data.train_truth, ntk(data.train_inputs.astype(float))
    seeds = agreement.rng.choice(2**31, size=draws, replace=False).tolist()
    observed = corrupt_labels_batch(truth, level, n_classes=N_CLASSES, seeds=seeds)
    true = initial_residuals(truth, n_classes=N_CLASSES)
    moved = kernel @ true
    noise_free = float(np.sum(true * moved))
    projection = np.array([np.sum(initial_residuals(y, n_classes=N_CLASSES) * moved) for y in observed]) / noise_free
    counts = np.bincount(truth, minlength=N_CLASSES)
    reached = np.bincount(truth[observed[0] != truth], minlength=N_CLASSES) / counts
    # A class whose δn_c is no whole number moves the mean by at most C/(C − 1) times the largest rounding.
    whole = N_CLASSES / (N_CLASSES - 1) * float(np.abs(reached - level).max())
    # The terms of one sample: label y adds −(K r̂)_{iy}. Spread over the choice of noisy samples and of their labels, as if independent.
    gain = moved[np.arange(len(truth)), truth][:, None] - moved
    variance = level * np.sum(gain**2) / (N_CLASSES - 1)
    estimate = mean_interval(projection, error_rate=agreement.error_rate)
    margin = {"whole samples": whole, "label draws": 2 * 5.0 * np.sqrt(variance) / abs(noise_free) / np.sqrt(draws)}
    factor = noise_free_gradient_factor(level, n_classes=N_CLASSES)
    agreement.check("<∇L(D), ∇L(D̂)>/‖∇L(D̂)‖²", prediction=factor, estimate=estimate, margin=margin)
    assert sum(margin.values()) < factor - (1 - 2 * level)  # power
    agreement.control("the binary factor 1 − 2δ", prediction=1 - 2 * level, estimate=estimate, margin=margin)
