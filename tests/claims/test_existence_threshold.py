"""Beyond the papers (X8, X9): the sample size, depth and noise level up to which clean priority exists at f ≡ 1/C."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from empirical.inference import exact, mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.cases import balanced_clusters
from tests.support.estimates import at_once, mean_design, means
from tests.support.kernel_data import Source, sources
from theory.alpha import alpha_recursion, cluster_kernel_scale, initial_alpha, noise_threshold
from theory.dynamics import gradient_descent
from theory.existence import critical_depth, noisy_sample_drift, samples_for_clean_priority
from theory.kernels import ntk
from theory.segments import segment_geometry

Array = NDArray[np.float64]
EPS = np.finfo(float).eps
DRAWS = 2000
NONE = {"none allowed": 0.0}


def first_step_push(
    rng: np.random.Generator, kernel: Array, truth: NDArray[np.int64], noise_level: float, *, n_classes: int = 2, draws: int = DRAWS
) -> Array:
    """Σ_j K_ij <r_i, r_j>·C, mean over noisy samples i, from one step of descent at f ≡ 1/C, by label draw ``[draws]``.

    Labels are flipped independently. The step moves the logits by Δh = −(η/n)K r, so that the sum is −(n/η) <r_i, Δh_i>·C. Each sample is
    noisy with probability δ: its indicator over δ gives an unbiased mean although the number of noisy samples varies.
    """
    n = len(truth)
    flipped = rng.random((n, draws)) < noise_level
    observed = np.where(flipped, (truth[:, None] + rng.integers(1, n_classes, (n, draws))) % n_classes, truth[:, None])
    # One product per column: long batches go in pieces.
    pushes = []
    for part in np.array_split(np.arange(draws), max(1, n * n_classes * draws // 2_000_000)):
        labels = observed[:, part] if n_classes == 2 else np.moveaxis(np.eye(n_classes)[observed[:, part]], 2, 1)
        path = gradient_descent(kernel, labels, learning_rate=1.0, steps=1, loss="logistic" if n_classes == 2 else "softmax", record=[1])
        move = np.asarray(path.logits)[0]
        # Two classes, one logit: r = f − y, and <r_i, r_j> of the two-component residuals is twice r_i r_j.
        product = 2 * (0.5 - labels) * move if n_classes == 2 else ((1 / n_classes - labels) * move).sum(axis=1)
        pushes.append((-n * n_classes * product * flipped[:, part] / noise_level).mean(axis=0))
    return np.concatenate(pushes)


def simplex(samples_per_class: int, *, depth: int, within: float, between: float, n_classes: int = 2) -> tuple[Array, NDArray[np.int64]]:
    """Tangent kernel of unit inputs at one angle within every class and one between classes (degrees), from the inputs themselves."""
    truth = np.repeat(np.arange(n_classes), samples_per_class)
    cosine = np.where(truth[:, None] == truth[None], math.cos(math.radians(within)), math.cos(math.radians(between)))
    np.fill_diagonal(cosine, 1.0)
    values, vectors = np.linalg.eigh(cosine)
    return np.asarray(ntk(vectors * np.sqrt(np.maximum(values, 0)), depth=depth), dtype=float), truth


def means_of(kernel: Array, truth: NDArray[np.int64]) -> dict[str, float]:
    """K_d, K_w, K_b of a kernel."""
    same = (truth[:, None] == truth[None]) & ~np.eye(len(truth), dtype=bool)
    other = truth[:, None] != truth[None]
    return {"diagonal": float(np.diag(kernel).mean()), "within": float(kernel[same].mean()), "between": float(kernel[other].mean())}


def push_deviation(kernel: Array, truth: NDArray[np.int64], noise_level: float) -> float:
    """Exact standard deviation of `first_step_push` of one label draw, two classes.

    With flips b_i, M = ŷKŷ less its diagonal and m = M1 it is (nδ)⁻¹[Σ b_i(K_ii − m_i) + 2 bᵀMb]; b = δ + ξ has the linear coefficients
    c_i = K_ii − (1 − 4δ)m_i, and linear and quadratic part are uncorrelated: δ(1 − δ)Σc² + 8δ²(1 − δ)²ΣM_ij².
    """
    sign = np.where(truth == 1, 1.0, -1.0)
    signed = sign[:, None] * kernel * sign
    np.fill_diagonal(signed, 0.0)
    linear = np.diag(kernel) - (1 - 4 * noise_level) * signed.sum(axis=1)
    spread = noise_level * (1 - noise_level)
    return float(np.sqrt(spread * (linear**2).sum() + 8 * spread**2 * (signed**2).sum()) / (len(truth) * noise_level))


def expected_push(kernel: Array, truth: NDArray[np.int64], noise_level: float) -> float:
    """Mean over i of E Σ_j K_ij s_i s_j given that i is noisy: K_ii from its own label, −(1 − 2δ)ŷ_iŷ_jK_ij from the others."""
    sign = np.where(truth == 1, 1.0, -1.0)
    signed = sign[:, None] * kernel * sign
    own = np.diag(kernel)
    return float((own - (1 - 2 * noise_level) * (signed.sum(axis=1) - own)).mean())


def judge_pushes(agreement: Agreement, settings: list[tuple[Array, NDArray[np.int64], float]]) -> None:
    """Measured and predicted push of several two-class settings, and its sign against the threshold where the design can tell it."""
    rate = agreement.error_rate
    scale = np.array([np.diag(kernel).mean() for kernel, _, _ in settings])
    sizes = [len(truth) // 2 for _, truth, _ in settings]
    kernel_means = [means_of(kernel, truth) for kernel, truth, _ in settings]
    levels = [level for _, _, level in settings]
    options = list(zip(levels, sizes, kernel_means, strict=True))
    predicted = np.array([noisy_sample_drift(level, samples_per_class=m, **k) for level, m, k in options]) / scale
    enough = np.array([m > samples_for_clean_priority(level, **k) for level, m, k in options])
    sigma = np.array([push_deviation(*setting) for setting in settings]) / scale
    design = mean_design(sigma, n_seeds=DRAWS, error_rate=rate)

    def push_all(rng: np.random.Generator) -> dict[str, Array]:
        return {"pushes": np.stack([first_step_push(rng, *setting) for setting in settings], axis=1)}

    pushes = agreement.drawn("pushes", push_all, draws=DRAWS)["pushes"] / scale
    estimate = means(pushes, sigma=sigma, error_rate=rate)
    margin = {"label draws": design.margin}
    agreement.check("mean push on noisy samples, in units of K_d", prediction=predicted, estimate=estimate, margin=margin)
    # Settings whose distance from zero the design resolves; the sign of the others is not judged.
    told = np.abs(predicted) > design.detectable()
    for name, chosen, side in (
        ("m above the threshold: noisy samples are pushed to the truth", enough & told, Range(upper=0)),
        ("m below it: to their own label", ~enough & told, Range(lower=0)),
    ):
        assert chosen.any(), f"no setting resolves: {name}"
        part = means(pushes[:, chosen], sigma=sigma[chosen], error_rate=rate)
        agreement.check(f"{name}, {chosen.sum()} settings", prediction=side, estimate=part, margin=NONE)
        if side.upper == 0:
            continue
        agreement.control("the same with m below the threshold taken for enough", prediction=Range(upper=0), estimate=part, margin=NONE)
    agreement.note(
        "m and threshold: "
        + "; ".join(f"{m} / {samples_for_clean_priority(level, **k):.1f} (δ = {level:g})" for level, m, k in options)
        + "."
    )


@pytest.mark.claim("X8")
@pytest.mark.regime("fixed kernel", "equal angles")
def test_sample_size_and_depth(agreement: Agreement) -> None:
    """20° within and 80° between classes: sample sizes about the threshold, and depths about the critical one."""
    settings = []
    for level in (0.2, 0.4):
        kernel, truth = simplex(40, depth=2, within=20, between=80)
        threshold = samples_for_clean_priority(level, **means_of(kernel, truth))
        for share in (0.4, 2.0, 4.0):
            settings.append((*simplex(max(2, round(share * threshold)), depth=2, within=20, between=80), level))
    angles = {"within_angle": math.radians(20), "between_angle": math.radians(80)}
    for level in (0.3, 0.4):
        last = critical_depth(level, samples_per_class=20, **angles)
        agreement.note(f"20 samples per class, δ = {level:g}: the last depth with clean priority is {last}.")
        settings += [(*simplex(20, depth=depth, within=20, between=80), level) for depth in (max(1, last // 3), 3 * last)]
    judge_pushes(agreement, settings)
    # At equal angles the expected push is linear in m. Its root, from two sizes, is the threshold. Kernels of n = 80 inputs have a relative
    # error of about n·eps; the root divides by the slope, which is at least a tenth of the kernel, and multiplies by sizes up to 40.
    levels, few, many = np.array([0.1, 0.2, 0.4]), 10, 40
    ends = np.array([[expected_push(*simplex(m, depth=2, within=20, between=80), level) for m in (few, many)] for level in levels])
    root = few + (many - few) * ends[:, 0] / (ends[:, 0] - ends[:, 1])
    predicted = [samples_for_clean_priority(level, **means_of(*simplex(few, depth=2, within=20, between=80))) for level in levels]
    rounding = {"rounding": 10 * many * 2 * 80 * EPS}
    agreement.check("samples per class at which the expected push vanishes", prediction=predicted, estimate=exact(root), margin=rounding)
    agreement.control(
        "the same without the noise's 1/(1 − 2δ)",
        prediction=[samples_for_clean_priority(0.0, **means_of(*simplex(few, depth=2, within=20, between=80)))] * len(levels),
        estimate=exact(root),
        margin=rounding,
    )
    # Contrast ∝ 1/L: local exponent between L and 2L, from kernels of the inputs; the next order is ln L/L.
    depth = 256

    def contrasts() -> dict[str, list[float]]:
        found = [means_of(*simplex(2, depth=scale * depth, within=20, between=80)) for scale in (1, 2)]
        return {"contrast": [(k["within"] - k["between"]) / k["diagonal"] for k in found]}

    shallow, deep = agreement.kept("contrast at two depths", contrasts, depth=depth)["contrast"]
    slope = np.log2(deep / shallow)
    margin = {"next order, ln L/L": math.log(depth) / depth}
    agreement.check("exponent of the contrast in the depth", prediction=-1, estimate=exact(float(slope)), margin=margin)
    agreement.control("exponent −½", prediction=-0.5, estimate=exact(float(slope)), margin=margin)


DATA = (
    Source("clusters", (0, 1), 100, 0, 0.4),
    Source("digits", (7, 9), 200, 0, 0.4),
    Source("mnist", (7, 9), 300, 0, 0.4),
)


@pytest.mark.claim("X8")
@sources(DATA)
def test_sample_size_on_data(agreement: Agreement, source: Source) -> None:
    """Small and large subsets of the data, each with the means of its own kernel: balanced, so that the expectation is exact."""
    data = agreement.dataset(source.dataset, classes=source.classes, n_train=source.n_train)
    inputs, truth = data.train_inputs.astype(float), np.asarray(data.train_truth)
    settings = []
    for per_class in (3, source.n_train // 8, source.n_train // 2):
        members = np.concatenate([np.flatnonzero(truth == c)[:per_class] for c in (0, 1)])
        settings += [(np.asarray(ntk(inputs[members], depth=1)), truth[members], level) for level in (0.1, source.noise_level)]
    judge_pushes(agreement, settings)


@pytest.mark.claim("X9")
@pytest.mark.regime("fixed kernel", "collapsed classes, C = 10")
def test_noise_threshold_of_ten_classes(agreement: Agreement) -> None:
    """Descent with the softmax loss on all samples, noise spread evenly over nine wrong classes."""
    size, steps, within, between = 100, 40, 1.0, 0.2
    levels = [0.36, 0.72, 0.81, 0.99]

    def descents() -> dict[str, list[float]]:
        """α_0, α at the end, and the change of the mean noisy loss, by noise level."""
        start, end, change = [], [], []
        for level in levels:
            case = balanced_clusters(size, within=within, between=between, noise_level=level, n_classes=10)
            path = gradient_descent(case.kernel, np.eye(10)[case.observed], learning_rate=5.0, steps=steps, loss="softmax")
            logits = np.asarray(path.logits)[[0, -1]]
            probability = np.exp(logits - logits.max(axis=2, keepdims=True))
            probability /= probability.sum(axis=2, keepdims=True)
            residual = probability - np.eye(10)[case.observed]
            first, last = (float(segment_geometry(case.kernel, r, case.segments).pooled_alpha) for r in residual)
            loss = -np.log(np.take_along_axis(probability, case.observed[None, :, None], axis=2))[..., 0][:, case.segments.noise()]
            for values, value in ((start, first), (end, last), (change, float(loss[1].mean() - loss[0].mean()))):
                values.append(value)
        return {"start": start, "end": end, "change": change}

    found = agreement.kept("descents of ten classes", descents, levels=levels, steps=steps, size=size, kernel=[within, between])
    start, end, losses = (dict(zip(levels, values.tolist(), strict=True)) for values in found.values())
    kappa = cluster_kernel_scale(within, between, n_classes=10, loss="softmax")
    path_of = {"learning_rate": 5.0, "kernel_scale": kappa, "steps": steps}
    reference = {level: alpha_recursion(initial_alpha(level, n_classes=10), noise_level=level, **path_of) for level in levels}
    # n products in every step, in each norm and in the softmax's sums, relative to α.
    rounding = {"rounding": 4 * steps * 10 * size * EPS * np.array([reference[level].max() for level in levels])}
    for name, when, found in (("α_0", 0, start), (f"α_{steps}", -1, end)):
        agreement.check(
            f"{name} at δ = {', '.join(map(str, levels))}",
            prediction=np.array([reference[level][when] for level in levels]),
            estimate=exact(np.array([found[level] for level in levels])),
            margin=rounding,
        )
    below = [level for level in levels if level < noise_threshold(10)]
    agreement.check("α_0 below (C − 1)/C", prediction=Range(upper=1), estimate=exact(np.array([start[x] for x in below])), margin=NONE)
    agreement.check(
        "rise of α, and of the noisy loss, there",
        prediction=Range(lower=0),
        estimate=exact(np.array([[end[x] - start[x], losses[x]] for x in below])),
        margin=NONE,
    )
    reversed_ = exact(np.array([start[0.99] - end[0.99], -losses[0.99]]))
    agreement.check("δ = 0.99: fall of α, and of the noisy loss", prediction=Range(lower=0), estimate=reversed_, margin=NONE)
    agreement.control("δ = 0.99 taken for clean priority: α_0 < 1", prediction=Range(upper=1), estimate=exact(start[0.99]), margin=NONE)
    agreement.control("the bound ½: α_0 > 1 at δ = 0.72", prediction=Range(lower=1), estimate=exact(start[0.72]), margin=NONE)


@pytest.mark.claim("X9")
@pytest.mark.regime("fixed kernel", "equal angles, C = 3, 5")
def test_sample_size_of_several_classes(agreement: Agreement) -> None:
    """Independent noise, uniform over the wrong classes: the mean push in the first softmax step, and its sign about the threshold."""
    rate = agreement.error_rate
    predicted, wrong_beta, pushes, pilots, enough, text = [], [], [], [], [], []
    for n_classes, level in ((3, 0.3), (3, 0.55), (5, 0.3), (5, 0.6)):
        kernel, truth = simplex(4, depth=1, within=20, between=80, n_classes=n_classes)
        k = means_of(kernel, truth)
        threshold = samples_for_clean_priority(level, n_classes=n_classes, **k)
        for share in (0.3, 2.5):
            m = max(1, round(share * threshold))
            kernel, truth = simplex(m, depth=1, within=20, between=80, n_classes=n_classes)
            kernel = kernel / k["diagonal"]
            unit = {name: value / k["diagonal"] for name, value in k.items()}
            predicted.append(noisy_sample_drift(level, samples_per_class=m, n_classes=n_classes, **unit))
            # β of two classes, 1 − 2δ, in place of 1 − δC/(C − 1).
            wrong_beta.append((n_classes - 1) * 1 - (1 - 2 * level) * ((m - 1) * unit["within"] - m * unit["between"]))

            def push(
                rng: np.random.Generator, kernel: Array = kernel, truth: NDArray[np.int64] = truth, level: float = level, c: int = n_classes
            ) -> dict[str, Array]:
                draws = {"pilot": 400, "judged": DRAWS}
                return {name: first_step_push(rng, kernel, truth, level, n_classes=c, draws=count) for name, count in draws.items()}

            drawn = agreement.drawn(f"C = {n_classes}, δ = {level}, m = {m}", push, draws=DRAWS)
            pilots.append(drawn["pilot"].std())
            pushes.append(drawn["judged"])
            enough.append(m > threshold)
            text.append(f"{m} / {threshold:.1f} (C = {n_classes}, δ = {level:g})")
    samples, above = np.stack(pushes, axis=1), np.array(enough)
    estimate = at_once(mean_interval(samples, error_rate=rate / len(predicted)))
    # Twice the half-width foreseen from 400 other draws, a quarter more because 400 draws do not fix a spread.
    margin = {"label draws": 1.25 * mean_design(np.array(pilots), n_seeds=DRAWS, error_rate=rate).margin}
    assert (np.abs(predicted) > 2 * margin["label draws"]).all(), "the design must tell the sign in every setting"
    agreement.check("mean push on noisy samples, in units of K_d", prediction=np.array(predicted), estimate=estimate, margin=margin)
    agreement.control("β = 1 − 2δ", prediction=np.array(wrong_beta), estimate=estimate, margin=margin)
    for name, chosen, side in (("above", above, Range(upper=0)), ("below", ~above, Range(lower=0))):
        part = at_once(mean_interval(samples[:, chosen], error_rate=rate / chosen.sum()))
        agreement.check(f"its sign, m {name} the threshold", prediction=side, estimate=part, margin=NONE)
    agreement.note(f"m and threshold: {'; '.join(text)}.")
