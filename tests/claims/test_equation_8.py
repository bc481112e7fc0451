"""Eq. (8), (9) [A], Eq. (5), (6) [B]: ‖g_clean‖/‖g_noise‖ = (1 − δ)/δ at w_0. The median at random output; exact for output 0."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from empirical.inference import mean_interval, proportion
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.estimates import law_design, law_distance, relative_variances, variance_design
from tests.support.histories import share_sd
from tests.support.initial import CENTRED, PYTORCH, RANDOM, InitialRegime, initial_regimes
from tests.support.paired import label_draws
from theory.initialization import class_kernel_means, expected_segments
from theory.initialization_law import class_mean_logit_covariance, log_ratio_law, probability_clean_dominates_both
from theory.kernels import nngp, ntk

Array = NDArray[np.float64]


def log_ratios(alpha: Array) -> Array:
    """log(‖g_clean^(c)‖/‖g_noise^(c)‖) ``[seed, 2]``, the sign turned so that the class-mean logit enters both with a plus."""
    return -np.log(np.asarray(alpha, dtype=float).reshape(len(alpha), -1, 2)[:, 0])


@pytest.mark.claim("I5")
@initial_regimes(RANDOM)
def test_ratio_at_random_output(agreement: Agreement, regime: InitialRegime) -> None:
    """Eq. (2) [B], unit inputs: the logarithm of the ratio is log((1 − δ)/δ) less (label 1) or plus (label 0) a normal class-mean logit."""
    data, run, rate = regime.data(agreement), agreement.measure(regime.experiment), agreement.error_rate
    noise_level = float(run.attrs["noise_level"]) if "noise_level" in run.attrs else NOISE_LEVEL[regime.label]
    inputs, truth = data.train_inputs.astype(float), data.train_truth
    covariance = class_mean_logit_covariance(nngp(inputs), truth, kernel=ntk(inputs))
    measured, seeds = log_ratios(run["alpha"].values), run.sizes["seed"]
    odds = np.log((1 - noise_level) / noise_level)

    # Printed: every network has the ratio (1 − δ)/δ. A tenth either way is generous to it: finite samples move it by 2 % at most.
    near = int((np.abs(measured - odds).max(axis=1) <= np.log(1.1)).sum())
    agreement.check(
        "share of networks whose two ratios are (1 − δ)/δ to within a tenth",
        prediction=1,
        estimate=proportion(near, seeds, error_rate=rate),
        margin={"finite samples": 0.05},
    )

    # Corrected: the law. Logits spread within a class by v; that shifts the logarithm by at most v/2 (second order of log-odds of a mean).
    deviation = np.sqrt(np.diag(covariance))
    spread = float(max(np.trace(nngp(inputs[truth == c])) / (truth == c).sum() - covariance[c, c] for c in (0, 1)))
    flip = np.array([1.0, -1.0])  # label 0 adds its logit, label 1 subtracts it
    planned = variance_design(np.zeros(2), n_seeds=seeds, error_rate=rate).margin
    agreement.correct(
        "variance of the log-ratio over that of the class-mean logit",
        prediction=np.ones(2),
        estimate=relative_variances(measured, variance=deviation**2, excess_kurtosis=np.zeros(2), error_rate=rate),
        margin={"logits unequal within a class": spread, "sampling": planned},
    )
    standard = ((measured - odds) * flip / deviation)[:, 0]
    distance = law_distance(standard, normal_cdf, error_rate=rate)
    agreement.correct(
        "Kolmogorov distance of the log-ratio (class 0) from its normal law",
        prediction=0,
        estimate=distance,
        # Moving a normal variable by v/2 deviations changes its distribution function by v/2·φ(0) < v/5 per deviation.
        margin={
            "logits unequal within a class": spread / deviation[0] / 5,
            "sampling": float(law_design(n_seeds=seeds, error_rate=rate).margin),
        },
    )
    both = int((measured > 0).all(axis=1).sum())
    probability = probability_clean_dominates_both(noise_level, covariance=covariance)
    half = proportion(both, seeds, error_rate=rate)
    # Twice the half-width planned from the predicted probability: normal quantile, and 10/n for the tails of the exact interval.
    planned_share = 2 * (-ndtri(rate / 2) * np.sqrt(probability * (1 - probability) / seeds) + 10 / seeds)
    agreement.correct(
        "share of networks in which clean dominates in both classes",
        prediction=probability,
        estimate=half,
        margin={"logits unequal within a class": spread / 2, "sampling": planned_share},
    )
    agreement.control("clean dominates in every network", prediction=1, estimate=half, margin={"finite samples": 0.05})
    law = log_ratio_law(noise_level, logit_deviation=float(deviation[0]))
    quantiles = np.quantile(np.exp(measured[:, 0]), [0.05, 0.5, 0.95])
    agreement.note(
        f"Ratio of class 0 at 5, 50, 95 %: measured {', '.join(f'{q:.2f}' for q in quantiles)}; "
        f"law {', '.join(f'{q:.2f}' for q in law.quantile([0.05, 0.5, 0.95]))}; printed {np.exp(odds):.2f}."
    )
    probabilities = (np.arange(seeds) + 0.5) / seeds
    agreement.figure(
        "comparison",
        title="Ratio of clean to noisy gradient over random initialisations",
        caption="Sorted ratios of class 0 over networks, and the log-normal law: (1 − δ)/δ is their median, not their value.",
        arrays={
            "law/x": probabilities,
            "law/prediction": np.log(law.quantile(probabilities)),
            "law/measured": np.sort(measured[:, 0]),
            "printed/x": probabilities,
            "printed/prediction": np.full(seeds, odds),
        },
        labels={"x": "share of networks below", "y": "log(‖g_clean‖/‖g_noise‖)"},
    )


@pytest.mark.claim(
    "I5", expected="AGREES", reason="with output 0 the missing hypothesis f(w0; ·) = ½ holds, and the finite-sample term is known"
)
@initial_regimes(CENTRED, model="network at initialisation, output 0")
def test_ratio_at_output_zero(agreement: Agreement, regime: InitialRegime) -> None:
    data, run, rate = regime.data(agreement), agreement.measure(regime.experiment), agreement.error_rate
    noise_level, truth = NOISE_LEVEL[regime.label], data.train_truth
    measured = np.exp(log_ratios(run["alpha"].values)).mean(axis=1)
    expected = []
    for c in (0, 1):
        block = ntk(data.train_inputs[truth == c].astype(float))
        n_noise = round(noise_level * len(block))
        expected.append(expected_segments(*class_kernel_means(block), n_clean=len(block) - n_noise, n_noise=n_noise).norm_ratio)
    estimate = mean_interval(measured, error_rate=rate)
    prediction = float(np.mean(expected))
    # The mean of a ratio is above the ratio of means by its squared relative spread; rounding of δn_c to whole samples is in n_noise.
    spread = float(np.var(measured) / np.mean(measured))
    # 1/α = (1 − δ)/δ · (1 + x/(δ(1 − δ))) for a label draw whose clean share of ĝ is 1 − δ + x; the spread of x is known from the kernel.
    kernel = ntk(data.train_inputs.astype(float))
    draws = label_draws(share_sd(kernel, truth, noise_level)[0] / noise_level**2, replicates=len(measured), error_rate=rate)
    margin = {"ratio of means for mean of ratios": spread, "sampling": draws}
    agreement.check("‖g_clean‖/‖g_noise‖, mean of both classes", prediction=prediction, estimate=estimate, margin=margin)
    agreement.control("clean and noise exchanged, δ/(1 − δ)", prediction=1 / prediction, estimate=estimate, margin=margin)
    agreement.note(
        f"(1 − δ)/δ = {(1 - noise_level) / noise_level:.3f}; with the finite-sample term {prediction:.3f}; measured {measured.mean():.3f}."
    )


@pytest.mark.claim(
    "I5", expected="AGREES", reason="PyTorch's default initialisation has small outputs, so that (8) holds to within a tenth"
)
@initial_regimes(PYTORCH, model="network at PyTorch's initialisation")
def test_ratio_at_pytorch_initialisation(agreement: Agreement, regime: InitialRegime) -> None:
    regime.data(agreement)
    run, noise_level = agreement.measure(regime.experiment), NOISE_LEVEL[regime.label]
    ratio = np.exp(log_ratios(run["alpha"].values).mean(axis=1))  # geometric mean of the classes: their offsets are reciprocal
    odds = (1 - noise_level) / noise_level
    estimate = mean_interval(ratio, error_rate=agreement.error_rate)
    agreement.check(
        "‖g_clean‖/‖g_noise‖, geometric mean of the classes",
        prediction=Range(0.9 * odds, 1.1 * odds),
        estimate=estimate,
        margin={"none": 0.0},
    )
    agreement.control("clean and noise exchanged", prediction=Range(0.9 / odds, 1.1 / odds), estimate=estimate, margin={"none": 0.0})


NOISE_LEVEL = {"clusters": 0.3, "digits 7/9": 0.4, "MNIST 7/9": 0.4}


def normal_cdf(x: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(x))
