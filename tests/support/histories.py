"""Segment gradients along training, in one form for a fixed kernel and for trained networks, so that one test body judges both.

A `History` holds replicates (label draws for a fixed kernel; networks with their own initialisation and label draw for trained ones) along
its first axis. Everything is derived from the Gram matrix of the 3C segment gradients (sums): clean^(c), noise^(c) and relabelled^(c), the
noisy samples of class c with their true labels, so that ĝ^(c) = clean^(c) + relabelled^(c).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import expit

from empirical.datasets import Dataset
from empirical.experiments import Experiment, seeds_by_rule
from empirical.noise import corrupt_labels_batch
from empirical.specifications import DataSpec
from theory.dynamics import gradient_descent
from theory.kernels import ntk
from theory.step_size import max_learning_rate

__all__ = ["FixedKernelCase", "History", "Keep", "fixed_kernel_history", "own_kernel", "predicted_history"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """Segment quantities of R replicates at T recorded times, two classes, one logit.

    Attributes:
        times: ``[T]`` time η·step.
        gram: ``[R, T, 6, 6]`` inner products of (clean^0, clean^1, noise^0, noise^1, relabelled^0, relabelled^1), sums.
        clean_loss, noise_loss, clean_error, noise_error, clean_residual, noise_residual: ``[R, T]`` means over the segment.
        test_error: ``[R, T]``.
        clean_loss_change, noise_loss_change: ``[R, T]`` change of the loss over the one step that follows each recorded time.
        noise_level: δ.
        n: training samples.
        own_kernel: mean of K(x, x) less the mean of K(x, z) within a class, both of the infinite-width kernel on these samples.
        resolution: relative rounding of the segment gradients; two sizes that differ by less are a tie.
        share_sd: standard deviation over label draws of the clean gradient's share of ĝ, <g_clean, ĝ>/‖ĝ‖², at f = ½: for the mean over
            the two classes, and pooled.
    """

    times: Array
    gram: Array
    clean_loss: Array
    noise_loss: Array
    clean_error: Array
    noise_error: Array
    clean_residual: Array
    noise_residual: Array
    test_error: Array
    clean_loss_change: Array
    noise_loss_change: Array
    noise_level: float
    n: int
    own_kernel: float
    share_sd: tuple[float, float]
    resolution: float

    def inner(self, left: NDArray[np.float64], right: NDArray[np.float64]) -> Array:
        """Inner product ``[R, T]`` of two combinations of the six segment gradients."""
        return np.einsum("a,rtab,b->rt", left, self.gram, right)

    @cached_property
    def clean_norm(self) -> Array:
        """‖g_clean^(c)‖ ``[R, T, 2]``."""
        return np.sqrt(np.einsum("rtaa->rta", self.gram)[..., :2])

    @cached_property
    def noise_norm(self) -> Array:
        """‖g_noise^(c)‖ ``[R, T, 2]``."""
        return np.sqrt(np.einsum("rtaa->rta", self.gram)[..., 2:4])

    @cached_property
    def alpha(self) -> Array:
        """α^(c) ``[R, T, 2]``."""
        return self.noise_norm / self.clean_norm

    @cached_property
    def rho(self) -> Array:
        """−cos∠(g_clean^(c), g_noise^(c)) ``[R, T, 2]``."""
        cross = np.stack([self.gram[..., c, 2 + c] for c in (0, 1)], axis=-1)
        return -cross / (self.clean_norm * self.noise_norm)

    @cached_property
    def truth_ratio(self) -> Array:
        """‖ĝ^(c)‖ / ‖g_clean^(c)‖ ``[R, T, 2]``."""
        truth = np.stack([self.inner(unit(c, 4 + c), unit(c, 4 + c)) for c in (0, 1)], axis=-1)
        return np.sqrt(truth) / self.clean_norm

    @cached_property
    def pooled_alpha(self) -> Array:
        """‖G_n‖/‖G_c‖ ``[R, T]``."""
        return np.sqrt(self.inner(NOISE, NOISE) / self.inner(CLEAN, CLEAN))

    @cached_property
    def pooled_rho(self) -> Array:
        """−cos∠(G_c, G_n) ``[R, T]``."""
        return -self.inner(CLEAN, NOISE) / np.sqrt(self.inner(CLEAN, CLEAN) * self.inner(NOISE, NOISE))

    @cached_property
    def cosine_with_truth(self) -> Array:
        """cos∠(∇L(D), ∇L(D̂)) ``[R, T]``."""
        return self.inner(FULL, TRUTH) / np.sqrt(self.inner(FULL, FULL) * self.inner(TRUTH, TRUTH))

    @cached_property
    def step_factor(self) -> Array:
        """η′/η: the projection of ∇L(D) on ∇L(D̂) in units of the latter ``[R, T]``."""
        return self.inner(FULL, TRUTH) / self.inner(TRUTH, TRUTH)

    @cached_property
    def dominant(self) -> NDArray[np.bool_]:
        """Where clean gradients dominate, a < ρ ``[R, T]``."""
        return self.pooled_alpha < self.pooled_rho - self.resolution

    @cached_property
    def train_error(self) -> Array:
        """Of all samples against their observed labels ``[R, T]``, to within the rounding of δ to a share of n samples."""
        return (1 - self.noise_level) * self.clean_error + self.noise_level * self.noise_error

    @cached_property
    def early(self) -> NDArray[np.bool_]:
        """The early stage, until a first reaches ρ ``[R, T]``: the monitor that decides when the theorems of Section 4 are judged."""
        return np.logical_and.accumulate(self.dominant, axis=1)

    @cached_property
    def late(self) -> NDArray[np.bool_]:
        """Where they do not, a > ρ ``[R, T]``; times that rounding leaves undecided are neither."""
        return self.pooled_alpha > self.pooled_rho + self.resolution

    @cached_property
    def truth_share(self) -> Array:
        """Share of the noise-free gradient that the clean one carries, <G_c, Ĝ>/‖Ĝ‖² ``[R, T]``; 1 − δ on average at f = ½."""
        return self.inner(CLEAN, TRUTH) / self.inner(TRUTH, TRUTH)

    @cached_property
    def alpha_along_truth(self) -> Array:
        """α_t read along Ĝ, −<G_n, Ĝ>/<G_c, Ĝ> ``[R, T]``: any direction gives one α where G_n = −αG_c."""
        return -self.inner(NOISE, TRUTH) / self.inner(CLEAN, TRUTH)

    @property
    def truth_residual(self) -> Array:
        """Mean residual to the true label ``[R, T]``: r on clean samples, 1 − r on noisy ones."""
        return (1 - self.noise_level) * self.clean_residual + self.noise_level * (1 - self.noise_residual)

    @property
    def own_label_drift(self) -> Array:
        """Relative size, at most, by which memorisation separates noisy from clean residuals to the true label ``[R, T]``.

        A sample's own label, against that of a sample of its class, moves its logit by t·(K_d − K̄_w)/n, since residuals of opposite labels
        differ by one; σ′ ≤ 1/4 turns this into a residual, and the mean residual r̄ makes it relative. Taken twice: unequal residuals within
        the class, and in a network the fluctuation of its kernel, enter at the same order.
        """
        return 2 * self.times * self.own_kernel / (4 * self.n * self.truth_residual)

    @property
    def arrays(self) -> dict[str, Array]:
        """All that the history holds, as arrays by name."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Array]) -> History:
        """Rebuild a history from its `arrays`."""
        found: dict[str, Any] = {name: values.item() if values.ndim == 0 else values for name, values in arrays.items()}
        separate, pooled = found.pop("share_sd")
        return cls(share_sd=(float(separate), float(pooled)), **found)

    @classmethod
    def from_measurement(cls, run: xr.Dataset, *, noise_level: float, kernel: Array, truth: NDArray[np.int64], dtype: str) -> History:
        """Read the recorder's arrays of trained networks."""
        names = [f"{segment}_{what}" for segment in ("clean", "noise") for what in ("loss", "error", "residual", "loss_change")]
        return cls(
            times=np.asarray(run["time"].values, dtype=float),
            gram=np.asarray(run["gram"].values, dtype=float),
            **{name: np.asarray(run[name].values, dtype=float) for name in [*names, "test_error"]},
            noise_level=noise_level,
            n=len(truth),
            own_kernel=own_kernel(kernel, truth),
            share_sd=share_sd(kernel, truth, noise_level),
            # Sums of n terms in the precision of training, errors of random sign: √n·eps, ten times for cancellation between the classes.
            resolution=10 * float(np.sqrt(len(truth)) * np.finfo(dtype).eps),
        )


def unit(*segments: int) -> Array:
    """Weights that add up the named ones of the six segments."""
    weights = np.zeros(6)
    weights[list(segments)] = 1.0
    return weights


CLEAN, NOISE, FULL, TRUTH = unit(0, 1), unit(2, 3), unit(0, 1, 2, 3), unit(0, 1, 4, 5)


@dataclass(frozen=True)
class FixedKernelCase:
    """Linearised logistic training of the infinitely wide network on one data set, several label draws as columns of one problem.

    Attributes:
        dataset: name for `load_dataset`.
        classes: its two classes.
        n_train: samples in all, or one count per class; None takes all.
        noise_level: δ.
        steps: gradient steps, all recorded.
        depth: hidden layers.
        rate: learning rate in units of the largest stable one, 8n/λ_max.
        draws: label draws.
    """

    dataset: str
    classes: tuple[int, int]
    n_train: int | tuple[int, int] | None
    noise_level: float
    steps: int
    depth: int = 1
    rate: float = 0.25
    draws: int = 64

    @property
    def name(self) -> str:
        """Content-built name, from which the seeds of the label draws follow."""
        pair = "-".join(map(str, self.classes))
        return f"fixed-kernel-{self.dataset}-{pair}-n={self.n_train}-noise={self.noise_level}-depth={self.depth}"


class Keep(Protocol):
    """``agreement.kept``: the arrays of a computation, from the store where they are there."""

    def __call__(self, name: str, compute: Callable[[], Mapping[str, Any]], **key: object) -> dict[str, Array]:
        """See `reports.evidence.Agreement.kept`."""


def fixed_kernel_history(case: FixedKernelCase, salt: str, first: int = 0, *, keep: Keep | None = None) -> History:
    """Run the case and record every step; kept, because several claims read one trajectory.

    Args:
        case: the run.
        salt: of the seeds.
        first: 0 for the case's own label draws; otherwise the number of those drawn before, and as many again are made.
        keep: ``agreement.kept``; None keeps it in memory only.
    """
    data = DataSpec(name=case.dataset, classes=case.classes, n_train=case.n_train).load()
    compute = partial(_fixed_kernel_history, case, salt, first)
    return _held(
        f"{case.name}-rate={case.rate}-draws={case.draws}", compute, keep, salt=salt, first=first, data=data.sha256, steps=case.steps
    )


def predicted_history(spec: Experiment, *, keep: Keep | None = None) -> History:
    """What the infinite-width theory predicts for an experiment with centred output: same samples, label draws, rate and recorded times."""
    return _held(f"predicted-{spec.name}", partial(_predicted_history, spec), keep, specification=spec.key())


@lru_cache(maxsize=1)
def _in_memory() -> dict[str, History]:
    """Histories of this process by what was asked for; a cache, so that a planted fault starts with an empty one."""
    return {}


def _held(name: str, compute: Callable[[], History], keep: Keep | None, **key: object) -> History:
    """A history from memory, else from the store, else computed."""
    asked, held = f"{name} {sorted(key.items())}", _in_memory()
    if asked not in held:
        if keep is None:
            held[asked] = compute()
        else:
            held[asked] = History.of_arrays(keep(name, lambda: compute().arrays, **key))
        while len(held) > 12:
            held.pop(next(iter(held)))
    return held[asked]


def _fixed_kernel_history(case: FixedKernelCase, salt: str, first: int) -> History:
    data = DataSpec(name=case.dataset, classes=case.classes, n_train=case.n_train).load()
    kernel = ntk(data.train_inputs.astype(float), depth=case.depth)
    return _kernel_history(
        data,
        depth=case.depth,
        noise_level=case.noise_level,
        seeds=seeds_by_rule(case.name, 2 * first or case.draws, salt=salt)[first:],
        learning_rate=case.rate * max_learning_rate(kernel),
        record=tuple(range(case.steps + 1)),
    )


def _predicted_history(spec: Experiment) -> History:
    return _kernel_history(
        spec.data.load(),
        depth=spec.network.depth,
        noise_level=spec.noise_level,
        seeds=spec.seeds,
        learning_rate=spec.training.learning_rate,
        record=spec.training.record_steps,
    )


def _kernel_history(
    data: Dataset, *, depth: int, noise_level: float, seeds: Sequence[int], learning_rate: float, record: Sequence[int]
) -> History:
    inputs, truth = data.train_inputs.astype(float), data.train_truth
    kernel = ntk(inputs, depth=depth)
    observed = corrupt_labels_batch(truth, noise_level, n_classes=2, seeds=seeds)  # [R, n]
    run = gradient_descent(
        kernel,
        observed.T,
        learning_rate=learning_rate,
        steps=max(record),
        cross_kernel=ntk(data.test_inputs.astype(float), inputs, depth=depth),
        record=record,
    )
    logits, tests = (np.moveaxis(np.asarray(part), 2, 0) for part in (run.logits, run.test_logits))  # [R, T, n]
    parts = [_segment_quantities(kernel, h, truth, labels, learning_rate) for h, labels in zip(logits, observed, strict=True)]
    return History(
        times=np.asarray(run.times),
        test_error=((tests > 0) != data.test_truth).mean(axis=2),
        noise_level=noise_level,
        n=len(truth),
        own_kernel=own_kernel(kernel, truth),
        share_sd=share_sd(kernel, truth, noise_level),
        resolution=10 * float(np.sqrt(len(truth)) * np.finfo(float).eps),
        **{name: np.stack([part[name] for part in parts]) for name in parts[0]},
    )


def own_kernel(kernel: Array, truth: NDArray[np.int64]) -> float:
    """Mean diagonal of a kernel less its mean within a class, off the diagonal."""
    within = (truth[:, None] == truth[None, :]) & ~np.eye(len(truth), dtype=bool)
    return float(np.mean(np.diag(kernel)) - np.mean(kernel[within]))


def share_sd(kernel: Array, truth: NDArray[np.int64], noise_level: float) -> tuple[float, float]:
    """Standard deviation over label draws of <g_clean, ĝ>/‖ĝ‖² at f = ½: of the mean over the two classes, and for the pooled gradients.

    With signs s of the true labels and m = s∘(Ks) the share is 1 − Σ_noise m_i/Σ m_i; a fixed number δn_c of noisy samples, drawn without
    replacement in each class, gives the variance Σ_c δ(1 − δ) n_c²/(n_c − 1) Var_c(m)/(Σ m)².
    """
    sign = np.where(truth == 1, 1.0, -1.0)

    def variance(members: NDArray[np.bool_], margins: Array) -> float:
        n = members.sum()
        return float(noise_level * (1 - noise_level) * n**2 / (n - 1) * margins[members].var())

    classes = [truth == c for c in (0, 1)]
    single = [(sign * (kernel @ (sign * members))) for members in classes]
    separate = sum(variance(members, m) / m[members].sum() ** 2 for members, m in zip(classes, single, strict=True)) / 4
    pooled = sign * (kernel @ sign)
    return float(np.sqrt(separate)), float(np.sqrt(sum(variance(members, pooled) for members in classes)) / abs(pooled.sum()))


def _segment_quantities(
    kernel: Array, logits: Array, truth: NDArray[np.int64], observed: NDArray[np.int64], learning_rate: float
) -> dict[str, Array]:
    """Gram matrix and segment means of one label draw, straight from the definitions; logits ``[T, n]``.

    The clean and noisy segments of both classes part the samples, so that each product with the kernel takes only the segment's own rows;
    relabelled residuals differ from noisy ones by a sign that does not change in time.
    """
    probability = expit(logits)
    wrong = truth != observed
    masks = [~wrong & (truth == c) for c in (0, 1)] + [wrong & (truth == c) for c in (0, 1)]
    weights = [(probability - observed) * mask for mask in masks]
    products = [weight[:, mask] @ kernel[mask] for weight, mask in zip(weights, masks, strict=True)]
    for c in (0, 1):
        change = (observed - truth) * masks[2 + c]
        weights.append(weights[2 + c] + change)
        products.append(products[2 + c] + change @ kernel)
    stacked, moved = np.stack(weights), np.stack(products)  # [6, T, n]
    after = logits - learning_rate / len(truth) * moved[:4].sum(axis=0)

    def loss(h: Array) -> Array:
        return np.logaddexp(0, np.where(observed == 1, -h, h))

    values = {
        "loss": loss(logits),
        "error": ((logits > 0) != observed).astype(float),
        "residual": np.abs(probability - observed),
        "loss_change": loss(after) - loss(logits),
    }
    means = {
        f"{segment}_{quantity}": value[:, mask].mean(axis=1)
        for segment, mask in (("clean", ~wrong), ("noise", wrong))
        for quantity, value in values.items()
    }
    return {"gram": np.matmul(moved.transpose(1, 0, 2), stacked.transpose(1, 2, 0)), **means}
