"""Fig. 9 [A] and the exact U-curve behind it (X7): kernel descent with the squared loss under independent label flips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from empirical.inference import Estimate, exact, mean_interval
from reports.agreement import Range
from reports.evidence import Agreement
from tests.support.estimates import at_once, mean_design, means, relative_variances, variance_design
from tests.support.kernel_data import KernelProblem, Source, independent_flips, sources
from theory.dynamics import gradient_descent
from theory.early_stopping import EarlyStoppingCurve, early_stopping_curve
from theory.kernels import gaussian_kernel, laplacian_kernel, ntk

Array = NDArray[np.float64]
EPS = np.finfo(float).eps
NOISE_LEVEL = 0.4
DOUBLINGS = 16
DRAWS, PILOT = 400, 200
OUTPUT_DRAWS = 4000  # of single outputs, which are cheap; a variance needs more draws than a mean
NONE = {"none allowed": 0.0}
DATA = (
    Source("digits", (7, 9), None, None, NOISE_LEVEL, "kernel machine"),
    Source("mnist", (7, 9), 400, 500, NOISE_LEVEL, "kernel machine"),
)
SIZES = {"standard": (1500, 1000), "full": (None, None)}
"""Tier → training and test samples of MNIST in Fig. 9; all of them at the papers' scale."""
KERNELS: tuple[tuple[str, Callable[..., NDArray[np.floating]], dict[str, float]], ...] = (
    ("Gaussian", gaussian_kernel, {"bandwidth": 1.0}),
    ("Laplacian", laplacian_kernel, {"bandwidth": 1.0}),
    ("tangent", ntk, {"depth": 1}),
)


@dataclass(frozen=True, eq=False)
class Descent:
    """Descent steps composed: T steps from zero take labels y to the coefficients A_T y of the outputs k(x, X) A_T y.

    One step is c ← c + (η/n)(y − Kc), so that A_T = (η/n) Σ_(s<T) P^s with P = I − ηK/n, and 2T steps are T steps twice:
    A_2T = A_T + P^T A_T. No eigenvector, inverse or limit enters.

    Attributes:
        problem: kernel and labels.
        rate: η = n/λ_max.
        steps: ``[D + 1]`` T = 1, 2, 4, …
        coefficients: A_T, one matrix ``[n, n]`` per T.
    """

    problem: KernelProblem
    rate: float
    steps: NDArray[np.int64]
    coefficients: Sequence[Array]

    @classmethod
    def of(cls, problem: KernelProblem) -> Descent:
        """Compose `DOUBLINGS` doublings."""
        rate, n = problem.n / problem.top, problem.n
        power, total = np.eye(n) - rate / n * problem.kernel, rate / n * np.eye(n)
        found = [total]
        for _ in range(DOUBLINGS):
            total = total + power @ total
            power = power @ power
            found.append(total)
        return cls(problem, rate, 2 ** np.arange(DOUBLINGS + 1), found)

    def test_weights(self, index: int) -> Array:
        """W_T of every test point ``[n_test, n]``."""
        return self.problem.cross @ self.coefficients[index]

    def train_weights(self, index: int) -> Array:
        """W_T of every training point ``[n, n]``."""
        return self.problem.kernel @ self.coefficients[index]

    def curve(self, noise_level: float) -> EarlyStoppingCurve:
        """The closed form at the same steps."""
        p = self.problem
        return early_stopping_curve(
            p.kernel, p.truth, noise_level, learning_rate=self.rate, steps=self.steps, cross_kernel=p.cross, test_truth=p.test_truth
        )

    def test_errors(self, labels: Array) -> Array:
        """Share of test points with the wrong sign, by T and label draw ``[T, R]``; labels ±1 ``[n, R]``."""
        sign = self.problem.test_signs[:, None]
        return np.stack([(sign * (self.test_weights(i) @ labels) < 0).mean(axis=0) for i in range(len(self.steps))])


def signs(labels: NDArray[np.int64]) -> Array:
    """Labels ±1."""
    return np.where(labels == 1, 1.0, -1.0)


def beyond_normal(margin: Array, weights: Array, noise_level: float) -> float:
    """What the central limit theorem leaves out of an error rate, mean over points: Edgeworth's terms in 1/√n and 1/n, doubled.

    Args:
        margin: mean of ŷ(x) h over its standard deviation ``[k]``.
        weights: ŷ(x) W_j ŷ_j of the labels that vary ``[k, n]``.
        noise_level: δ.

    With skewness g₃ and excess kurtosis g₄ of the output, from those of one flip, the correction is at most
    φ(z)(|g₃ (z² − 1)|/6 + |g₄ (z³ − 3z)|/24 + g₃² |z⁵ − 10z³ + 15z|/72); the rest is of the next order, and the factor 2 covers it.
    """
    spread = noise_level * (1 - noise_level)
    square = (weights**2).sum(axis=1)
    skewness = -(1 - 2 * noise_level) / np.sqrt(spread) * (weights**3).sum(axis=1) / square**1.5
    kurtosis = (1 / spread - 6) * (weights**4).sum(axis=1) / square**2
    z, density = margin, np.exp(-(margin**2) / 2) / np.sqrt(2 * np.pi)
    terms = (
        np.abs(skewness * (z**2 - 1)) / 6 + np.abs(kurtosis * (z**3 - 3 * z)) / 24 + skewness**2 * np.abs(z**5 - 10 * z**3 + 15 * z) / 72
    )
    return float(2 * (density * terms).mean())


def beyond_normal_trained(problem: KernelProblem, weight: Array) -> tuple[float, float]:
    """The same of clean and of noisy training samples, whose own label is held fixed; W_T of the training points ``[n, n]``."""
    own, others = np.diag(weight), problem.signs[:, None] * weight * problem.signs
    np.fill_diagonal(others, 0.0)
    deviation = np.sqrt(4 * NOISE_LEVEL * (1 - NOISE_LEVEL) * (others**2).sum(axis=1))
    shift = (1 - 2 * NOISE_LEVEL) * others.sum(axis=1)
    clean, noise = (beyond_normal((own + side * shift) / deviation, others, NOISE_LEVEL) for side in (1, -1))
    return clean, noise


def joint(samples: Array, *, error_rate: float) -> Estimate:
    """Mean over label draws of ``[T, R]``, one interval for all T."""
    return at_once(mean_interval(samples.T, error_rate=error_rate / len(samples)))


def sampling(pilot: Array, *, error_rate: float) -> Array:
    """Margin term for label draws ``[T]``, fixed by `PILOT` others: twice the half-width foreseen, and a quarter."""
    return 1.25 * mean_design(pilot.std(axis=1) + 1e-12, n_seeds=DRAWS, error_rate=error_rate).margin


@pytest.mark.claim("X7")
@sources(DATA)
def test_mean_variance_and_error_of_the_output(agreement: Agreement, source: Source) -> None:
    """T = 1 … 65536: outputs at single points against their exact mean and variance, error rates against the normal law."""
    rate, chosen = agreement.error_rate, [0, 4, 8, DOUBLINGS]
    for name, kernel, options in KERNELS if source.dataset == "digits" else KERNELS[2:]:
        problem = source.problem(agreement, kernel, **options)
        run = agreement.drawn(
            f"{name} kernel, outputs and errors", partial(single_points, problem, chosen), draws=OUTPUT_DRAWS + DRAWS + PILOT
        )
        # n products a step, each of relative rounding eps, on outputs of size one; P is a contraction and amplifies none.
        margin = {"rounding": 256 * problem.n * EPS}
        off = exact(float(run["composed"]))
        agreement.check(f"{name}: composed steps against descent, T = 16, 256", prediction=0, estimate=off, margin=margin)

        # Outputs at every tenth test point and four T, in units of their claimed standard deviation.
        scaled, kurtosis = run["scaled"], run["kurtosis"]
        size = len(kurtosis)
        design = mean_design(np.ones(size), n_seeds=OUTPUT_DRAWS, error_rate=rate)
        centre = means(scaled, sigma=np.ones(size), error_rate=rate)
        agreement.check(
            f"{name}: (output − (1 − 2δ)F_T)/sd, {size} points", prediction=0, estimate=centre, margin={"label draws": design.margin}
        )
        law = variance_design(kurtosis, n_seeds=OUTPUT_DRAWS, error_rate=rate)
        ratio = relative_variances(scaled, variance=np.ones(size), excess_kurtosis=kurtosis, error_rate=rate)
        margin = {"label draws": law.margin}
        agreement.check(f"{name}: variance over 4δ(1 − δ)ΣW²", prediction=1, estimate=ratio, margin=margin)
        agreement.control(f"{name}: variance δ(1 − δ)ΣW² (labels 0/1)", prediction=0.25, estimate=ratio, margin=margin)

        # Error rates: test points, and clean and noisy training samples (each weighted by its indicator over its probability).
        for key in ("test error", "clean error", "noise error"):
            prediction = run[f"{key} predicted"]
            # Rarer errors than one in a hundred are too few in 400 draws for a Student interval.
            told = (prediction > 0.01) & (prediction < 0.99)
            values = run[key][told]
            margin = {"beyond the normal law": run[f"{key} normal"][told], "label draws": sampling(values[:, DRAWS:], error_rate=rate)}
            estimate = joint(values[:, :DRAWS], error_rate=rate)
            agreement.check(f"{name}: {key}, {told.sum()} values of T", prediction=prediction[told], estimate=estimate, margin=margin)
            if key == "test error":
                halved = run["halved"][told]
                agreement.control(f"{name}: the same with that variance", prediction=halved, estimate=estimate, margin=margin)


def single_points(problem: KernelProblem, chosen: Sequence[int], rng: np.random.Generator) -> dict[str, Array]:
    """What `test_mean_variance_and_error_of_the_output` judges of one kernel: label draws, and the closed form at the same steps."""
    descent = Descent.of(problem)
    curve = descent.curve(NOISE_LEVEL)
    observed = independent_flips(rng, problem.truth, NOISE_LEVEL, DRAWS + PILOT)
    labels, clean = signs(observed), observed == problem.truth[:, None]
    points = np.arange(0, len(problem.test_truth), max(1, len(problem.test_truth) // 10))
    many = signs(independent_flips(rng, problem.truth, NOISE_LEVEL, OUTPUT_DRAWS))
    outputs = [problem.test_signs[points, None] * (descent.test_weights(i)[points] @ many) for i in chosen]
    sd = np.sqrt(curve.test_variance[np.ix_(chosen, points)])
    weights = np.concatenate([descent.test_weights(i)[points] for i in chosen])
    spread = NOISE_LEVEL * (1 - NOISE_LEVEL)
    errors: dict[str, list[Array]] = {"clean error": [], "noise error": []}
    normal: dict[str, list[float]] = {key: [] for key in ("test error", *errors)}
    for i in range(len(descent.steps)):
        weight = descent.train_weights(i)
        wrong = labels * (weight @ labels) < 0
        errors["clean error"].append((wrong * clean).mean(axis=0) / (1 - NOISE_LEVEL))
        errors["noise error"].append((wrong * ~clean).mean(axis=0) / NOISE_LEVEL)
        test = problem.test_signs[:, None] * descent.test_weights(i) * problem.signs
        normal["test error"].append(beyond_normal(curve.test_mean[i] / np.sqrt(curve.test_variance[i]), test, NOISE_LEVEL))
        for key, rest in zip(("clean error", "noise error"), beyond_normal_trained(problem, weight), strict=True):
            normal[key].append(rest)
    return {
        "composed": composed_steps(descent, labels[:, :8]),
        "scaled": (np.stack(outputs) - curve.test_mean[np.ix_(chosen, points)][..., None]).reshape(-1, OUTPUT_DRAWS).T / sd.ravel(),
        "kurtosis": (1 / spread - 6) * (weights**4).sum(axis=1) / (weights**2).sum(axis=1) ** 2,
        "halved": ndtr(-2 * curve.test_mean / np.sqrt(curve.test_variance)).mean(axis=1),
        "test error": descent.test_errors(labels),
        **{key: np.asarray(values) for key, values in errors.items()},
        **{f"{key} normal": np.asarray(values) for key, values in normal.items()},
        **{f"{key} predicted": getattr(curve, key.replace(" ", "_")) for key in normal},
    }


def composed_steps(descent: Descent, labels: Array) -> Array:
    """The composed steps are descent: largest difference to T = 256, for eight label draws."""
    path = gradient_descent(descent.problem.kernel, labels, learning_rate=descent.rate, steps=256, loss="squared", record=[16, 256])
    composed = np.stack([descent.train_weights(i) @ labels for i in (4, 8)])
    return np.asarray(np.abs(composed - np.asarray(path.logits)).max())


@pytest.mark.claim("F9")
@sources(DATA)
def test_u_curve_of_kernel_machines(agreement: Agreement, source: Source) -> None:
    """Gaussian and Laplacian kernel, δ = 0.4: the test error of 400 label draws falls below δ, and rises again, along the closed form."""
    rate, arrays, lowest = agreement.error_rate, {}, []
    if source.dataset == "mnist" and agreement.tier in SIZES:
        source = replace(source, n_train=SIZES[agreement.tier][0], n_test=SIZES[agreement.tier][1])
    for name, kernel, options in KERNELS[:2]:
        problem = source.problem(agreement, kernel, **options)
        run = agreement.drawn(f"{name} kernel, curve", partial(whole_curve, problem), draws=DRAWS + PILOT)
        steps, predicted, z, pilot, errors = run["steps"], run["predicted"], run["z"], run["test"][:, DRAWS:], run["test"][:, :DRAWS]
        margin = {"beyond the normal law": run["normal"], "label draws": sampling(pilot, error_rate=rate)}
        estimate = joint(errors, error_rate=rate)
        agreement.check(f"{name}: whole curve against row X7", prediction=predicted, estimate=estimate, margin=margin)
        # Rarer errors than one in a hundred are too few in 400 draws for a Student interval.
        foreseen, train = run["train predicted"], run["train"]
        told = (foreseen > 0.01) & (foreseen < 0.99)
        train_margin = {"beyond the normal law": run["train normal"][told], "label draws": sampling(train[told, DRAWS:], error_rate=rate)}
        found = joint(train[told, :DRAWS], error_rate=rate)
        agreement.check(f"{name}: training error, {told.sum()} values of T", prediction=foreseen[told], estimate=found, margin=train_margin)
        swapped = run["train exchanged"][told]
        agreement.control(f"{name}: δ·clean + (1 − δ)·noise", prediction=swapped, estimate=found, margin=train_margin)
        # The stopping point is that of the closed form: no draw has chosen it.
        best = int(np.argmin(predicted))
        at_best, fall, rise = (
            mean_interval(values, error_rate=rate) for values in (errors[best], errors[0] - errors[best], errors[-1] - errors[best])
        )
        when = f"T = {steps[best]}"
        agreement.check(f"{name}: test error at {when} is below δ", prediction=Range(upper=NOISE_LEVEL), estimate=at_best, margin=NONE)
        agreement.check(f"{name}: fall from T = 1 to {when}", prediction=Range(lower=0), estimate=fall, margin=NONE)
        agreement.check(f"{name}: rise from {when} to T = {steps[-1]}", prediction=Range(lower=0), estimate=rise, margin=NONE)
        agreement.control(
            f"{name}: δ = 0, the same rise",
            prediction=Range(lower=0),
            estimate=exact(float(run["clean"][-1] - run["clean"][best])),
            margin=NONE,
        )
        wrong = ndtr(-z * (1 - NOISE_LEVEL) / (1 - 2 * NOISE_LEVEL)).mean(axis=1)
        agreement.control(f"{name}: 1 − δ for 1 − 2δ", prediction=wrong, estimate=estimate, margin=margin)
        lowest.append(f"{name} {predicted[best]:.3f} at T = {steps[best]}")
        for label, values, prediction in (("test", errors, predicted), ("train", train[:, :DRAWS], foreseen)):
            low, high = np.quantile(values, [0.1, 0.9], axis=1)
            series = f"{name} kernel|{label}"
            arrays |= {
                f"{series}/x": steps,
                f"{series}/measured": values.mean(axis=1),
                f"{series}/lower": low,
                f"{series}/upper": high,
                f"{series}/prediction": prediction,
            }
    agreement.figure(
        "figure_9",
        id=f"figure-9-{source.data}".lower().replace(" ", "-").replace("/", "-"),
        title=f"Fig. 9: errors of kernel machines, {source.data}, δ = 0.4",
        caption=f"Lines: closed form of row X7, for the training error (1 − δ)·clean + δ·noise. Points: mean of {DRAWS} label "
        f"draws, bars to the 10th and 90th percentile of the draws. Squared loss, bandwidth 1, {problem.n} inputs "
        f"of norm 1. Lowest: {'; '.join(lowest)}.",
        arrays=arrays,
        labels={"x": "steps T at η = n/λ_max", "y": "error", "reference:δ": f"{NOISE_LEVEL:g}"},
    )


def whole_curve(problem: KernelProblem, rng: np.random.Generator) -> dict[str, Array]:
    """What `test_u_curve_of_kernel_machines` judges of one kernel: errors of label draws by T ``[T, R]``, and the closed form."""
    descent = Descent.of(problem)
    curve, every = descent.curve(NOISE_LEVEL), range(len(descent.steps))
    draws = signs(independent_flips(rng, problem.truth, NOISE_LEVEL, DRAWS + PILOT))
    z = curve.test_mean / np.sqrt(curve.test_variance)
    weights = [problem.test_signs[:, None] * descent.test_weights(i) * problem.signs for i in every]
    clean, noise = np.transpose([beyond_normal_trained(problem, descent.train_weights(i)) for i in every])
    return {
        "steps": descent.steps,
        "predicted": curve.test_error,
        "train predicted": curve.train_error,
        "train exchanged": NOISE_LEVEL * curve.clean_error + (1 - NOISE_LEVEL) * curve.noise_error,
        "train normal": (1 - NOISE_LEVEL) * clean + NOISE_LEVEL * noise,
        "z": z,
        "normal": np.array([beyond_normal(z[i], weight, NOISE_LEVEL) for i, weight in enumerate(weights)]),
        "test": descent.test_errors(draws),
        "train": np.stack([(draws * (descent.train_weights(i) @ draws) < 0).mean(axis=0) for i in every]),
        "clean": descent.test_errors(problem.signs[:, None])[:, 0],
    }
