"""Sec. 5 [A], [B], Eq. (13), (14) [A]: C classes with a softmax. Single-logit gradients, outputs 1/C, and initial ratios."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from empirical.gradients import gradient_geometry
from empirical.inference import exact, mean_interval
from empirical.networks import FullyConnected
from empirical.noise import corrupt_labels, corrupt_labels_batch
from reports.evidence import Agreement
from tests.support.estimates import at_once, mean_design, means, relative_variances, variance_design
from tests.support.multiclass import gradient, softmax, uniform_noise
from tests.support.sampling import deep_relu_gradients
from theory.finite_width import cross_logit_variance, quadrant_moment
from theory.initialization import class_kernel_means, expected_segments
from theory.initialization_multiclass import initial_residuals, multiclass_segment_ratio
from theory.kernels import ntk
from theory.segments import Segments, segment_geometry

Array = NDArray[np.float64]
EPS = np.finfo(np.float64).eps
N_CLASSES, NOISE_LEVEL = 10, 0.3
NETWORKS = 30


@pytest.mark.claim("M1")
@pytest.mark.regime("random networks", "Gaussian inputs")
def test_gradient_is_the_sum_of_single_logit_gradients(agreement: Agreement) -> None:
    found = agreement.drawn("parts of the gradient", parts_of_the_gradient)
    errors, sigmoids, segment = (exact(found[name], n_seeds=NETWORKS) for name in ("softmax", "sigmoids", "recorded"))
    # Backpropagation loses 4·32^1.5·eps of each of 12 samples' terms.
    margin = {"rounding": 12 * 4 * 32**1.5 * EPS * found["cancellation"]}
    agreement.check("‖∇l − Σ_c (f_c − y_c)∇h_c‖ / ‖∇l‖", prediction=0, estimate=errors, margin=margin)
    squared = {"rounding": 144 * 4 * 32**1.5 * EPS}  # the Gram matrix holds squares of sums that cancel
    agreement.check("recorded over explicit ‖∇l_c‖", prediction=1, estimate=segment, margin=squared)
    agreement.control("C independent sigmoids", prediction=0, estimate=sigmoids, margin=margin)


def parts_of_the_gradient(rng: np.random.Generator) -> dict[str, list[float]]:
    """Of each network, relative to ‖∇l‖: what Σ_c (f_c − y_c)∇h_c lacks for f a softmax and sigmoids, Σ_c of its norms; ‖∇l_c‖ as recorded.

    The instrument's single-logit segment gradients, all samples taken as clean, have the norm of ∇l_c.
    """
    errors, sigmoids, cancellation, segment = [], [], [], []
    for _ in range(NETWORKS):
        n_classes, n = int(rng.integers(3, 11)), 12
        network = FullyConnected(5, 32, int(rng.integers(1, 4)), n_outputs=n_classes, seed=int(rng.integers(2**62)), dtype=torch.float64)
        x = torch.tensor(rng.normal(size=(n, 5)))
        labels = torch.tensor(rng.integers(0, n_classes, n))
        loss = gradient(network, F.cross_entropy(network(x), labels, reduction="sum"))
        y = F.one_hot(labels, n_classes).double()
        parts = []
        for outputs in (torch.softmax(network(x), dim=1), torch.sigmoid(network(x))):
            residual = (outputs - y).detach()
            parts.append(torch.stack([gradient(network, (residual[:, c] * network(x)[:, c]).sum()) for c in range(n_classes)]))
        size = float(loss.norm())
        errors.append(float((loss - parts[0].sum(dim=0)).norm()) / size)
        sigmoids.append(float((loss - parts[1].sum(dim=0)).norm()) / size)
        cancellation.append(float(parts[0].norm(dim=1).sum()) / size)
        c = int(rng.integers(n_classes))
        gram = gradient_geometry(network, x, labels.numpy(), truth=labels.numpy(), n_classes=n_classes, logit=c).gram[
            :n_classes, :n_classes
        ]
        segment.append(float(np.sqrt(gram.sum()) / parts[0][c].norm()))
    return {"softmax": errors, "sigmoids": sigmoids, "cancellation": cancellation, "recorded": segment}


@pytest.mark.claim("M1")
@pytest.mark.regime("network at initialisation, width 64", "unit pairs")
def test_derivatives_of_different_logits_are_nearly_orthogonal(agreement: Agreement) -> None:
    """<∇h_0(x), ∇h_1(z)> of explicit gradients: mean 0, variance (2/m)<x, z>²κ0(θ) in Eq. (2) [B] with L = 1."""
    theta, width, draws, rate = np.array([0.0, 0.6, 1.2, 2.2, 2.9]), 64, 3000, agreement.error_rate
    inputs = np.concatenate([[[1.0, 0.0]], np.stack([np.cos(theta), np.sin(theta)], axis=1)])

    def products(rng: np.random.Generator) -> dict[str, Array]:
        _, vectors = deep_relu_gradients(rng, inputs, width=width, depth=1, draws=draws, n_outputs=2)
        return {f"logit {c}": np.einsum("rp,rkp->rk", vectors[:, 0, 0], vectors[:, 1:, c]) for c in (0, 1)}

    same, cross = agreement.drawn("inner products with logit 0", products).values()
    variance = cross_logit_variance(theta, width=width)
    design = mean_design(np.sqrt(variance), n_seeds=draws, error_rate=rate)
    assert np.any(design.detectable() < 0.5)  # power: the diagonal blocks of K ⊗ I_C are of size 2 at θ = 0
    for judge_it, name, values in ((agreement.check, "different logits", cross), (agreement.control, "one logit", same)):
        estimate = means(values, sigma=np.sqrt(variance), error_rate=rate)
        judge_it(f"E<∇h_c(x), ∇h_c′(z)>, {name}", prediction=np.zeros(len(theta)), estimate=estimate, margin={"sampling": design.margin})
    # A sum of m products v v′ over open gates, which are open with probability M00: excess kurtosis (9/M00 − 3)/m.
    kurtosis = (9 / quadrant_moment(theta, 0, 0) - 3) / width
    design = variance_design(kurtosis, n_seeds=draws, error_rate=rate)
    assert np.any(design.detectable() < 1)
    ratio = relative_variances(cross, variance=variance, excess_kurtosis=kurtosis, error_rate=rate)
    agreement.check("its variance over the theory's", prediction=np.ones(len(theta)), estimate=ratio, margin={"sampling": design.margin})
    halved = relative_variances(cross, variance=variance / 2, excess_kurtosis=kurtosis, error_rate=rate)
    agreement.control("1/m in place of 2/m", prediction=np.ones(len(theta)), estimate=halved, margin={"sampling": design.margin})


@pytest.mark.claim("M2")
@pytest.mark.regime("network at initialisation, width 64", "one input")
def test_mean_outputs_are_equal(agreement: Agreement) -> None:
    rate, draws, width = agreement.error_rate, 10_000, 64
    for n_classes in (3, 10):
        f, unequal, label = agreement.drawn("outputs", partial(random_outputs, n_classes=n_classes, width=width, draws=draws)).values()
        # f_c ∈ (0, 1) with mean 1/C has at most the variance of an indicator.
        sd = np.full(n_classes, np.sqrt((1 - 1 / n_classes) / n_classes))
        design = mean_design(sd, n_seeds=draws, error_rate=rate)
        margin = {"sampling": design.margin}
        agreement.check(
            f"E f_c over w_0, C = {n_classes}",
            prediction=np.full(n_classes, 1 / n_classes),
            estimate=means(f, sigma=sd, error_rate=rate),
            margin=margin,
        )
        own = np.arange(n_classes) == label[:, None]
        residual = np.abs(f - own)
        both = np.stack([residual[own], (residual * ~own).sum(axis=1) / (n_classes - 1)], axis=1)
        design_both = mean_design(sd[:2], n_seeds=draws, error_rate=rate)
        agreement.check(
            f"E|f_c − y_c| for y_c = 1 and for y_c = 0, C = {n_classes}",
            prediction=np.array([1 - 1 / n_classes, 1 / n_classes]),
            estimate=means(both, sigma=sd[:2], error_rate=rate),
            margin={"sampling": design_both.margin},
        )
        assert np.all(design.detectable() < 0.45 - 1 / n_classes)  # power
        agreement.control(
            f"last-layer weights of logit 0 twenty times as large, C = {n_classes}",
            prediction=np.full(n_classes, 1 / n_classes),
            estimate=means(unequal, sigma=np.full(n_classes, 0.5), error_rate=rate),
            margin=margin,
        )
        agreement.note(
            f"C = {n_classes}: one network's f_c is off 1/C by {np.sqrt(((f - 1 / n_classes) ** 2).mean()):.2f} (root mean square)."
        )


def random_outputs(rng: np.random.Generator, *, n_classes: int, width: int, draws: int) -> dict[str, Array]:
    """Outputs ``[draws, C]`` at one input; with the weights of logit 0 twenty times as large, so that it decides; labels ``[draws]``."""
    hidden = np.sqrt(2 / width) * np.maximum(rng.standard_normal((draws, width)), 0)
    last = rng.standard_normal((draws, n_classes, width))
    equal = softmax(np.einsum("rcm,rm->rc", last, hidden))
    last[:, 0] *= 20
    return {"equal": equal, "unequal": softmax(np.einsum("rcm,rm->rc", last, hidden)), "label": rng.integers(0, n_classes, draws)}


@pytest.mark.claim("M3")
@pytest.mark.regime("algebra", "collapsed classes")
def test_initial_ratio_of_a_single_logit_by_counting(agreement: Agreement) -> None:
    """Every label written out: C classes at one input each, exactly uniform wrong labels, f ≡ 1/C."""
    for n_classes, noise_level in ((10, 0.3), (10, 0.4), (3, 0.4), (4, 0.15)):
        truth, observed = uniform_noise(n_classes, noise_level, members=20 * (n_classes - 1))
        residual = 1 / n_classes - (observed[:, None] == np.arange(n_classes))  # f − y, sample by sample
        own = [
            abs(sum(residual[(truth == c) & (observed == truth), c])) / abs(sum(residual[(truth == c) & (observed != truth), c]))
            for c in range(n_classes)
        ]
        # Samples of class 1 in logit 0, noisy where labelled 0.
        as_zero = (truth == 1) & (observed == 0)
        other = abs(sum(residual[(truth == 1) & ~as_zero, 0])) / abs(sum(residual[as_zero, 0]))
        name = f"C = {n_classes}, δ = {noise_level}"
        printed = (n_classes - 1) * (1 - noise_level) / noise_level
        rounding = {"rounding": 4 * len(truth) * EPS * printed}
        agreement.check(f"‖g_clean^(c)‖/‖g_noise^(c)‖ in logit c, {name}", prediction=printed, estimate=exact(own), margin=rounding)
        for reading, value in (("truth", own[0]), ("logit", other)):
            predicted = multiclass_segment_ratio(noise_level, n_classes=n_classes, reading=reading)
            agreement.check(
                f"the theory's ratio, reading {reading!r}, {name}", prediction=predicted, estimate=exact(value), margin=rounding
            )
        agreement.control(f"another logit: (C − 1 − δ)/((C − 1)δ), {name}", prediction=other, estimate=exact(own), margin=rounding)
        binary = (1 - noise_level) / noise_level
        agreement.control(f"the binary (1 − δ)/δ, {name}", prediction=binary, estimate=exact(own), margin=rounding)
        if (n_classes, noise_level) == (10, 0.3):
            agreement.check("21.0 and 3.22", prediction=[21.0, 3.22], estimate=exact([own[0], other]), margin={"last digit": [0.05, 0.005]})


@pytest.mark.claim("M3")
@pytest.mark.parametrize(
    ("name", "classes", "n_train"),
    [
        pytest.param("digits", tuple(range(10)), None, id="digits", marks=pytest.mark.regime("fixed kernel", "digits, 10 classes")),
        pytest.param("mnist", tuple(range(10)), 1200, id="mnist", marks=pytest.mark.regime("fixed kernel", "MNIST, 10 classes")),
    ],
)
def test_initial_ratio_on_data(agreement: Agreement, name: str, classes: tuple[int, ...], n_train: int | None) -> None:
    """Class by class in the infinite-width kernel, over random label draws: 21 up to the finite-sample terms of the class."""
    data, draws, rate = agreement.dataset(name, classes=classes, n_train=n_train), 200, agreement.error_rate
    truth, printed = data.train_truth, multiclass_segment_ratio(NOISE_LEVEL, n_classes=N_CLASSES)

    def ratios(rng: np.random.Generator) -> dict[str, list[Any]]:
        """Ratio over (C − 1)(1 − δ_c)/δ_c by class and label draw ``[C, draws]``; both of `finite_sample_terms` by class ``[C, 2]``."""
        seeds = rng.choice(2**31, size=draws, replace=False).tolist()
        noisy = corrupt_labels_batch(truth, NOISE_LEVEL, n_classes=N_CLASSES, seeds=seeds) != truth
        ratio, terms = [], []
        for c in range(N_CLASSES):
            members = truth == c
            block, wrong = ntk(data.train_inputs[members].astype(float)), noisy[:, members]
            norms = [np.sqrt(np.einsum("rn,rn->r", w @ block, w)) for w in ((1 - 1 / N_CLASSES) * ~wrong, 1 / N_CLASSES * wrong)]
            counts = int((~wrong[0]).sum()), int(wrong[0].sum())
            ratio.append(norms[0] / norms[1] / printed_with(counts))
            terms.append(finite_sample_terms(block, counts))
        return {"ratio": ratio, "terms": terms}

    ratio, terms = agreement.drawn("ratios", ratios).values()
    finite_sample, spread = terms.T
    # The ratio lies below 21 by the self-products ‖φ‖² in ‖g_noise‖² and moves with the label draw; second order in both.
    second = (spread + finite_sample) ** 2
    estimate = at_once(mean_interval(ratio.T, error_rate=rate / N_CLASSES))
    sampling = 2 * 5.8 * spread / np.sqrt(draws)
    margin = {"second order in 1/n_n": second, "label draws": sampling}
    agreement.check(
        "‖g_clean^(c)‖/‖g_noise^(c)‖ over 21, each class, up to finite-sample terms",
        prediction=np.ones(N_CLASSES),
        estimate=estimate,
        margin={"finite sample": finite_sample, **margin},
    )
    agreement.check("the same with finite-sample terms", prediction=1 - finite_sample, estimate=estimate, margin=margin)
    for text, wrong_value in (
        ("another logit, 3.22", multiclass_segment_ratio(NOISE_LEVEL, n_classes=N_CLASSES, reading="logit")),
        ("the binary (1 − δ)/δ, 2.33", (1 - NOISE_LEVEL) / NOISE_LEVEL),
    ):
        agreement.control(
            text, prediction=np.full(N_CLASSES, wrong_value / printed), estimate=estimate, margin={"finite sample": finite_sample, **margin}
        )
    agreement.figure(
        "comparison",
        title="Clean over noisy gradient of each class in its own logit, C = 10, δ = 0.3",
        caption=f"(C − 1)(1 − δ)/δ = {printed:.1f} with the finite-sample terms of each class; dots: means over {draws} label draws.",
        arrays={
            "ratio/x": np.arange(N_CLASSES, dtype=float),
            "ratio/prediction": printed * (1 - finite_sample),
            "ratio/measured": printed * np.asarray(estimate.value),
            "ratio/lower": printed * np.asarray(estimate.lower),
            "ratio/upper": printed * np.asarray(estimate.upper),
            "ratio/margin": printed * (second + sampling),
        },
        labels={"x": "class c", "y": "‖g_clean‖/‖g_noise‖ in logit c"},
    )
    agreement.note(
        f"Mean ratio over the classes: {printed * float(np.mean(estimate.value)):.2f}; finite-sample terms {finite_sample.mean():.3f}."
    )


def printed_with(counts: tuple[int, int]) -> float:
    """(C − 1)(1 − δ_c)/δ_c with the class's own noise level, which is a whole number of clean and noisy samples."""
    return (N_CLASSES - 1) * counts[0] / counts[1]


def finite_sample_terms(block: Array, counts: tuple[int, int]) -> tuple[float, float]:
    """What the ratio of a class lacks on (C − 1)(1 − δ_c)/δ_c, relative, and its relative spread over label draws.

    The first comes from the self-products ‖φ‖² in both norms. For the second, the norms move with the row sums of K over the class,
    averaged over n_c clean and n_n noisy samples.
    """
    own, other = 1 - 1 / N_CLASSES, 1 / N_CLASSES
    expected = expected_segments(*class_kernel_means(block), n_clean=counts[0], n_noise=counts[1], clean_residual=own, noise_residual=other)
    rows = block.sum(axis=1)
    return 1 - expected.norm_ratio / printed_with(counts), float(rows.std() / rows.mean() * np.sqrt(1 / counts[0] + 1 / counts[1]))


@pytest.mark.claim("M3")
@pytest.mark.regime("networks at initialisation, output 0", "digits, 10 classes")
def test_initial_ratio_in_networks(agreement: Agreement) -> None:
    """Single-logit segment gradients of networks of width 128, recorded layer by layer, against the fixed kernel on the same labels."""
    data = agreement.dataset("digits")
    truth, ratio, limit, finite, spread, draw = data.train_truth, [], [], [], [], []
    for c in range(N_CLASSES):
        observed = corrupt_labels(truth, NOISE_LEVEL, n_classes=N_CLASSES, seed=int(agreement.rng.integers(2**31))).observed
        network = FullyConnected(
            64, 128, 1, n_outputs=N_CLASSES, centred=True, seed=int(agreement.rng.integers(2**62)), dtype=torch.float64
        )
        own = truth == c
        measured = gradient_geometry(network, data.train_inputs[own], observed[own], truth=truth[own], n_classes=N_CLASSES, logit=c)
        kernel = ntk(data.train_inputs[own].astype(float))
        residual = initial_residuals(observed[own], n_classes=N_CLASSES)[:, c]
        theirs = segment_geometry(kernel, residual, Segments.from_labels(truth[own], observed[own], N_CLASSES))
        counts = int(measured.n_clean[c]), int(measured.n_noise[c])
        ratio.append(1 / measured.alpha[c] / printed_with(counts))
        limit.append(1 / theirs.alpha[c] / printed_with(counts))
        terms = finite_sample_terms(kernel, counts)
        finite.append(terms[0])
        spread.append(terms[1])
        draw.append(np.sqrt(1 / counts[0] + 1 / counts[1]))
    # Both norms are of one network. Of its kernel's fluctuations, of relative size √(3/m) at most (G2), those common to the class cancel;
    # what differs from sample to sample enters like the label draw, with √(3/m) for the spread of the row sums, and in the finite-sample
    # terms. One network and one label draw per class: six deviations.
    once = {"label draw": 6 * np.array(spread), "finite sample": np.array(finite)}
    width = {"finite width": 6 * np.sqrt(3 / 128) * (np.array(draw) + np.array(finite))}
    estimate = replace(
        exact(ratio, n_seeds=N_CLASSES), confidence=1 - agreement.error_rate, method="one network per class; its scatter is in the margin"
    )
    agreement.check("‖g_clean^(c)‖/‖g_noise^(c)‖ over that of the fixed kernel", prediction=limit, estimate=estimate, margin=width)
    agreement.check("‖g_clean^(c)‖/‖g_noise^(c)‖ over (C − 1)(1 − δ)/δ", prediction=1.0, estimate=estimate, margin={**width, **once})
    other = multiclass_segment_ratio(NOISE_LEVEL, n_classes=N_CLASSES, reading="logit") / 21
    agreement.control("another logit, 3.22", prediction=other, estimate=estimate, margin={**width, **once})
    agreement.control("the binary 2.33", prediction=1 / 9, estimate=estimate, margin={**width, **once})
