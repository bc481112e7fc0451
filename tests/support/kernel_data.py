"""Small real problems on a fixed kernel, many label draws at once, and segment quantities straight from their definitions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from empirical.experiments import seeds_by_rule
from empirical.noise import corrupt_labels_batch
from empirical.specifications import DataSpec
from reports.evidence import Agreement
from theory.dynamics import gradient_descent
from theory.kernels import ntk
from theory.step_size import max_learning_rate

__all__ = [
    "SOURCES",
    "EarlyCurves",
    "EarlyRun",
    "KernelProblem",
    "SegmentRun",
    "Source",
    "class_ratio",
    "early_curves",
    "early_key",
    "early_run",
    "exact_flips",
    "independent_flips",
    "permuted",
    "sources",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Source:
    """A data set of at most a few hundred samples, and its noise level.

    Attributes:
        dataset: name for `load_dataset`.
        classes: its two classes.
        n_train: samples in all; None takes all.
        n_test: test samples; None takes all.
        noise_level: δ.
        model: first half of the regime.
    """

    dataset: str
    classes: tuple[int, int]
    n_train: int | None
    n_test: int | None
    noise_level: float
    model: str = "fixed kernel"

    @property
    def data(self) -> str:
        """As the report names it."""
        names = {"clusters": "clusters", "digits": "digits {}/{}", "mnist": "MNIST {}/{}"}
        return names[self.dataset].format(*self.classes)

    def told(self, agreement: Agreement) -> None:
        """Load the data through the harness, which notes their hash; a missing set ends the test as NOT RUN."""
        agreement.dataset(self.dataset, classes=self.classes, n_train=self.n_train, n_test=self.n_test)

    def problem(self, agreement: Agreement, kernel: Callable[..., NDArray[np.floating]] = ntk, **options: float) -> KernelProblem:
        """Load the data through the harness and evaluate a kernel on them."""
        self.told(agreement)
        return self.evaluated(kernel, **options)

    def evaluated(self, kernel: Callable[..., NDArray[np.floating]] = ntk, **options: float) -> KernelProblem:
        """The same without the harness, which `problem` has told of the data."""
        data = DataSpec(name=self.dataset, classes=self.classes, n_train=self.n_train, n_test=self.n_test).load()
        train, test = data.train_inputs.astype(float), data.test_inputs.astype(float)
        return KernelProblem(
            kernel=np.asarray(kernel(train, **options), dtype=float),
            cross=np.asarray(kernel(test, train, **options), dtype=float),
            truth=np.asarray(data.train_truth),
            test_truth=np.asarray(data.test_truth),
        )


SOURCES = (
    Source("clusters", (0, 1), 200, 100, 0.3),
    Source("digits", (0, 1), None, None, 0.3),
    Source("digits", (7, 9), None, None, 0.4),
    Source("mnist", (7, 9), 400, 500, 0.4),
)


def sources(chosen: Sequence[Source]) -> pytest.MarkDecorator:
    """Parametrise a claim test over data sets: its regime and its id."""
    return pytest.mark.parametrize(
        "source",
        [
            pytest.param(one, id=re.sub(r"[^a-zA-Z0-9]+", "-", f"{one.model}-{one.data}"), marks=[pytest.mark.regime(one.model, one.data)])
            for one in chosen
        ],
    )


@dataclass(frozen=True, eq=False)
class KernelProblem:
    """A kernel on training samples, and between test and training samples.

    Attributes:
        kernel: ``[n, n]``.
        cross: ``[n_test, n]``.
        truth: ``[n]``.
        test_truth: ``[n_test]``.
    """

    kernel: Array
    cross: Array
    truth: NDArray[np.int64]
    test_truth: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Training samples."""
        return len(self.truth)

    @property
    def signs(self) -> Array:
        """True labels ±1 ``[n]``."""
        return np.where(self.truth == 1, 1.0, -1.0)

    @property
    def test_signs(self) -> Array:
        """True labels ±1 of the test points ``[n_test]``."""
        return np.where(self.test_truth == 1, 1.0, -1.0)

    @property
    def top(self) -> float:
        """λ_max(K)."""
        return float(np.linalg.eigvalsh(self.kernel)[-1])


def independent_flips(rng: np.random.Generator, truth: NDArray[np.int64], noise_level: float, draws: int) -> NDArray[np.int64]:
    """Observed labels ``[n, draws]``, every label of two classes flipped on its own with probability δ."""
    return np.where(rng.random((len(truth), draws)) < noise_level, 1 - truth[:, None], truth[:, None])


def exact_flips(rng: np.random.Generator, truth: NDArray[np.int64], noise_level: float, draws: int) -> NDArray[np.int64]:
    """Observed labels ``[n, draws]`` with the same number of flips, round(δ n_c), in every class c of every draw."""
    seeds = rng.choice(2**31, size=draws, replace=False)
    return corrupt_labels_batch(truth, noise_level, n_classes=2, seeds=[int(seed) for seed in seeds]).T


def permuted(rng: np.random.Generator, labels: NDArray[np.int64], draws: int) -> NDArray[np.int64]:
    """Each column a permutation of the labels ``[n, draws]``: the class sizes stay, the relation to the inputs goes."""
    return rng.permuted(np.repeat(labels[:, None], draws, axis=1), axis=0)


def class_ratio(kernel: Array, residual: Array, truth: NDArray[np.int64], noisy: Mask) -> Array:
    """‖g_clean^(c)‖/‖g_noise^(c)‖ of both classes ``[2, R]`` from residuals and masks ``[n, R]`` and the kernel, by definition."""
    found = []
    for c in (0, 1):
        own = truth == c
        block = kernel[np.ix_(own, own)]
        parts = [np.where(mask[own], residual[own], 0.0) for mask in (~noisy, noisy)]
        clean, noise = (np.einsum("ir,ir->r", part, block @ part) for part in parts)
        found.append(np.sqrt(clean / noise))
    return np.array(found)


@dataclass(frozen=True, eq=False)
class SegmentRun:
    """Logits of R label draws, read by segment; the samples' loss is logistic.

    Attributes:
        logits: ``[T, n, R]``.
        observed: labels that were trained on ``[n, R]``.
        noisy: which samples count as noisy ``[n, R]``; another mask than the true one is a negative control.
    """

    logits: Array
    observed: NDArray[np.int64]
    noisy: Mask

    def mean(self, values: Array, mask: Mask) -> Array:
        """Mean of ``[T, n, R]`` over a mask: ``[T, R]``."""
        return np.einsum("tnr,nr->tr", values, mask) / mask.sum(axis=0)

    @property
    def losses(self) -> Array:
        """Loss of each sample against its observed label ``[T, n, R]``."""
        return np.logaddexp(0, np.where(self.observed == 1, -self.logits, self.logits))

    @property
    def wrong(self) -> Array:
        """1 where the output has the sign of the other label, ½ for a tie at zero ``[T, n, R]``."""
        margin = np.where(self.observed == 1, self.logits, -self.logits)
        return np.where(margin == 0, 0.5, margin < 0)

    @property
    def residuals(self) -> Array:
        """Residual f − y towards the observed label ``[T, n, R]``."""
        return expit(self.logits) - self.observed

    def geometry(self, kernel: Array) -> tuple[Array, Array]:
        """Pooled a = ‖G_n‖/‖G_c‖ and ρ = −cos∠(G_c, G_n), each ``[T, R]``."""
        residuals = self.residuals
        clean, noise = residuals * ~self.noisy, residuals * self.noisy
        moved = np.einsum("ij,tjr->tir", kernel, np.concatenate([clean, noise]), optimize=True)
        moved_clean, moved_noise = np.split(moved, 2)
        square_clean, square_noise = (np.einsum("tir,tir->tr", one, two) for one, two in ((clean, moved_clean), (noise, moved_noise)))
        across = np.einsum("tir,tir->tr", clean, moved_noise)
        return np.sqrt(square_noise / square_clean), -across / np.sqrt(square_noise * square_clean)


@dataclass(frozen=True, eq=False)
class EarlyRun:
    """Descent with the logistic loss on the tangent kernel, `DRAWS` label draws, every step recorded.

    Attributes:
        problem: kernel and true labels.
        rate: η, a quarter of the largest stable rate.
        segments: logits, labels and true masks.
        times: ``[T]`` η·step.
        test_logits: ``[T, n_test, R]``.
    """

    problem: KernelProblem
    rate: float
    segments: SegmentRun
    times: Array
    test_logits: Array

    @cached_property
    def test_error(self) -> Array:
        """Against the true labels ``[T, R]``; a tie at zero counts ½."""
        margin = self.problem.test_signs[None, :, None] * self.test_logits
        return np.asarray(np.where(margin == 0, 0.5, margin < 0).mean(axis=1))


@dataclass(frozen=True, eq=False)
class EarlyCurves:
    """What is judged of an `EarlyRun`: one number per time and label draw, ``[T, R]`` where nothing else is said.

    Attributes:
        times: ``[T]`` η·step.
        rate: η.
        residual: mean |f − y| towards the observed labels.
        spread: standard deviation of the residuals to the true labels over their mean, over all samples.
        noise_loss, noise_error: means over the noisy samples, against their observed labels.
        right: share of the noisy samples whose output has the sign of the true label.
        test_error: against the true labels.
        a, rho: pooled ‖G_n‖/‖G_c‖ and −cos∠(G_c, G_n).
        ratio: ``[2, R]`` ‖g_clean^(c)‖/‖g_noise^(c)‖ at `stop`.
    """

    times: Array
    rate: float
    residual: Array
    spread: Array
    noise_loss: Array
    noise_error: Array
    right: Array
    test_error: Array
    a: Array
    rho: Array
    ratio: Array

    @property
    def stop(self) -> NDArray[np.intp]:
        """Index of the first minimum of the test error after the start ``[R]``."""
        return 1 + np.argmin(self.test_error[1:], axis=0)

    @property
    def peak(self) -> NDArray[np.intp]:
        """Index of the largest noisy loss ``[R]``."""
        return np.argmax(self.noise_loss, axis=0)

    @classmethod
    def of(cls, run: EarlyRun) -> EarlyCurves:
        """Read them off the logits."""
        segments, kernel, truth = run.segments, run.problem.kernel, run.problem.truth
        residual, draws = segments.residuals, np.arange(segments.observed.shape[1])
        to_truth = np.where(segments.noisy, 1 - np.abs(residual), np.abs(residual))
        a, rho = segments.geometry(kernel)
        stop = 1 + np.argmin(run.test_error[1:], axis=0)
        return cls(
            times=run.times,
            rate=run.rate,
            residual=np.abs(residual).mean(axis=1),
            spread=to_truth.std(axis=1) / to_truth.mean(axis=1),
            noise_loss=segments.mean(segments.losses, segments.noisy),
            noise_error=segments.mean(segments.wrong, segments.noisy),
            right=segments.mean(((segments.logits > 0) == (truth == 1)[:, None]).astype(float), segments.noisy),
            test_error=run.test_error,
            a=a,
            rho=rho,
            ratio=class_ratio(kernel, residual[stop, :, draws].T, truth, segments.noisy),
        )


STEPS, DRAWS = 250, 48


@lru_cache(maxsize=6)
def early_run(source: Source, salt: str) -> EarlyRun:
    """Run a source to well past the turn of the noisy loss; cached, because several claims read one run."""
    problem = source.evaluated()
    rate = 0.25 * max_learning_rate(problem.kernel)
    seeds = seeds_by_rule(f"early-run-{source.dataset}-{source.classes}-{source.n_train}", DRAWS, salt=salt)
    observed = corrupt_labels_batch(problem.truth, source.noise_level, n_classes=2, seeds=seeds).T
    path = gradient_descent(problem.kernel, observed, learning_rate=rate, steps=STEPS, cross_kernel=problem.cross)
    return EarlyRun(
        problem=problem,
        rate=rate,
        segments=SegmentRun(np.asarray(path.logits), observed, observed != problem.truth[:, None]),
        times=np.asarray(path.times),
        test_logits=np.asarray(path.test_logits),
    )


def early_curves(agreement: Agreement, source: Source) -> EarlyCurves:
    """The curves of `early_run`, kept; the logits, a hundred times as many numbers, are not."""
    source.told(agreement)
    found = agreement.kept(
        f"early run, {source.data}",
        lambda: vars(EarlyCurves.of(early_run(source, agreement.seed_salt))),
        **early_key(agreement, source),
    )
    return EarlyCurves(**{**found, "rate": float(found["rate"])})  # type: ignore[arg-type]


def early_key(agreement: Agreement, source: Source) -> dict[str, object]:
    """All that an early run depends on."""
    return {"source": [*map(str, vars(source).values())], "salt": agreement.seed_salt, "hashes": sorted(agreement.data_hashes.items())}
