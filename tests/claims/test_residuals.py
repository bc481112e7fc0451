"""Sec. 4.1 [A], [B], "Residual magnitude": |f − y| need not decrease on the clean samples because their mean loss does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from empirical.inference import exact, mean_interval
from empirical.noise import corrupt_labels_batch
from empirical.specifications import seeds_by_rule
from reports.agreement import Range, Role
from reports.evidence import Agreement
from tests.support.figure_runs import CNN, each_network
from tests.support.regimes import FIXED_KERNEL, FULL_BATCH, MINI_BATCHES, Regime, regimes
from tests.support.replicates import RARELY, judge_networks, share_of_replicates
from theory.dynamics import gradient_descent
from theory.kernels import ntk
from theory.step_size import max_learning_rate

Array = NDArray[np.float64]
EPS = np.finfo(np.float64).eps
NONE = {"none allowed": 0.0}
PROBLEMS = 150
DRAWS = 64


@pytest.mark.claim("D8")
@pytest.mark.regime("algebra", "two clean samples, one weight")
def test_mean_residual_may_rise_while_the_mean_loss_falls(agreement: Agreement) -> None:
    """Losses log(1 + e^−w) and log(1 + e^0.1w) at w = −5: features 1 and 0.1, labels 1 and 0, all clean."""
    features, labels = torch.tensor([[1.0], [0.1]], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64)
    loss, residual, steps = descend(features, labels, torch.tensor([-5.0], dtype=torch.float64), rate=0.01, steps=100)
    agreement.hypothesis(
        "change of the mean loss in each of 100 steps", prediction=Range(upper=0), estimate=exact(np.diff(loss)), margin=NONE
    )
    agreement.check("change of the mean |f − y|", prediction=Range(upper=0), estimate=exact(np.diff(residual)), margin=NONE)
    slope = float((residual[1] - residual[0]) / (steps[1] - steps[0]))
    # The slope over one step of length s differs from the derivative by s/2 times the second derivative, at most 0.1.
    agreement.correct(
        "slope of the mean |f − y| in w: +0.0084",
        prediction=0.0084,
        estimate=exact(slope),
        margin={"last digit given": 5e-5, "step": 0.05 * abs(float(steps[1] - steps[0]))},
    )
    agreement.figure(
        "comparison",
        title="The mean loss falls while the mean |f − y| rises",
        caption="Two clean samples, one weight, gradient descent from w = −5: changes since the start, in units of the final ones.",
        arrays={
            "mean loss/x": np.arange(101.0),
            "mean loss/measured": (loss - loss[0]) / abs(loss[-1] - loss[0]),
            "mean residual/x": np.arange(101.0),
            "mean residual/measured": (residual - residual[0]) / abs(residual[-1] - residual[0]),
        },
        labels={"x": "step", "y": "change since the start"},
    )
    # Both samples at one logit: the second feature is 1 and its label 1.
    shared = torch.ones_like(features)
    _, together, _ = descend(shared, torch.ones_like(labels), torch.tensor([-5.0], dtype=torch.float64), rate=0.01, steps=100)
    agreement.control("a shared logit: |f − y| rises", prediction=Range(lower=0), estimate=exact(np.diff(together)), margin=NONE)


def descend(features: Tensor, labels: Tensor, weights: Tensor, *, rate: float, steps: int) -> tuple[Array, Array, Array]:
    """Mean loss, mean |f − y| and the first weight along gradient descent on the mean loss, by automatic differentiation."""
    record = []
    for _ in range(steps + 1):
        weights = weights.detach().requires_grad_()
        loss = F.binary_cross_entropy_with_logits(features @ weights, labels)
        record.append((loss.item(), (torch.sigmoid(features @ weights) - labels).abs().mean().item(), weights[0].item()))
        weights = weights - rate * torch.autograd.grad(loss, weights)[0]
    loss_, residual, first = np.array(record).T
    return loss_, residual, first


@pytest.mark.claim("D8")
@pytest.mark.regime("algebra", "random features")
def test_which_samples_improve(agreement: Agreement) -> None:
    """Derivative of each |f_i − y_i| along descent, by automatic differentiation, against the sign of r_i(K r)_i."""
    rng, worse, disagree, reverse, close, shared = agreement.rng, 0, 0, 0, 0, []
    for _ in range(PROBLEMS):
        n, p = int(rng.integers(4, 20)), int(rng.integers(2, 30))
        features, weights = torch.tensor(rng.normal(size=(n, p))), torch.tensor(rng.normal(size=p))
        labels = torch.tensor(rng.integers(0, 2, n).astype(float))
        clean = torch.tensor(rng.random(n) < 0.7)
        clean[0] = True
        variable = weights.clone().requires_grad_()
        descent = -torch.autograd.grad(F.binary_cross_entropy_with_logits(features @ variable, labels), variable)[0]

        def rates(phi: Tensor, y: Tensor, w: Tensor = weights, direction: Tensor = descent) -> tuple[Tensor, Tensor]:
            change = [
                torch.autograd.functional.jvp(function, w, direction)[1]
                for function in (
                    lambda v: F.binary_cross_entropy_with_logits(phi @ v, y, reduction="none"),
                    lambda v: (torch.sigmoid(phi @ v) - y).abs(),
                )
            ]
            return change[0], change[1]

        loss_rate, residual_rate = rates(features, labels)
        r = (torch.sigmoid(features @ weights) - labels).numpy()
        K = features.numpy() @ features.numpy().T
        product = r * (K @ r)
        # Sums of n products of sums of p: undecided where the products cancel to rounding.
        decided = np.abs(product) > 4 * (n + p) * EPS * np.abs(r) * (np.sqrt(np.outer(np.diag(K), np.diag(K))) @ np.abs(r))
        close += int((~decided).sum())
        improves = residual_rate.numpy() < 0
        disagree += int((improves != (product > 0))[decided].sum())
        reverse += int((improves != (product < 0))[decided].sum())
        if float(loss_rate[clean].mean()) < 0:
            worse += int((residual_rate[clean] > 0).sum())
        # The clean samples at one input with one label: their residual falls exactly when their loss does.
        one = features[:1].expand(int(clean.sum()), -1)
        losses, residuals = rates(one, labels[:1].expand(len(one)))
        shared.append(float(torch.sign(losses.mean()) * torch.sign(residuals.mean())))
    agreement.check("clean samples whose |f − y| rises while the mean clean loss falls", prediction=0, estimate=exact(worse), margin=NONE)
    agreement.correct("samples with d|r_i|/dt < 0 not iff r_i(K r)_i > 0", prediction=0, estimate=exact(disagree), margin=NONE)
    agreement.control("the criterion reversed", prediction=0, estimate=exact(reverse), margin=NONE)
    agreement.control("a shared logit: loss and residual move apart", prediction=-1, estimate=exact(shared), margin={"rounding": 0.5})
    agreement.note(f"{close} products r_i(K r)_i were too close to 0 to have a sign.")


@pytest.mark.claim("D8")
@regimes(FIXED_KERNEL)
def test_residuals_on_data(agreement: Agreement, regime: Regime) -> None:
    """Early stage only: from f = ½ until the noisy loss turns. Sample by sample the statement fails; in the mean it holds here."""
    case = regime.case
    assert case is not None
    data = agreement.dataset(case.dataset, classes=case.classes, n_train=case.n_train)
    kernel, truth = ntk(data.train_inputs.astype(float)), data.train_truth
    draws = DRAWS if len(truth) < 500 else 24
    seeds = seeds_by_rule(case.name, draws, salt=agreement.seed_salt)
    observed = corrupt_labels_batch(truth, case.noise_level, n_classes=2, seeds=seeds).T  # [n, draws]
    clean = observed == truth[:, None]
    steps, rate = case.steps * 3 // 4, case.rate * max_learning_rate(kernel)
    run = gradient_descent(kernel, observed.astype(float), learning_rate=rate, steps=steps)
    h = np.asarray(run.logits)  # [T, n, draws]
    residual = np.abs(1 / (1 + np.exp(-h)) - observed)
    loss = np.logaddexp(0, np.where(observed == 1, -h, h))
    clean_loss, noise_loss = (mean_over(loss, mask) for mask in (clean, ~clean))
    clean_residual, noise_residual = (mean_over(residual, mask) for mask in (clean, ~clean))
    turn = np.argmax(noise_loss, axis=0)
    early = (np.arange(steps)[:, None] < turn) & (np.diff(clean_loss, axis=0) < 0)

    rising = (np.diff(residual, axis=0) > 0) & clean & early[:, None, :]
    counts = rising.sum(axis=1)
    agreement.check(
        "clean samples whose |f − y| rises in a step that lowers the clean loss, most at once",
        prediction=0,
        estimate=exact(counts.max(), n_seeds=draws),
        margin=NONE,
        expected="DISAGREES",
    )
    agreement.check(
        "share of label draws with such a step in which the mean clean |f − y| rises",
        prediction=RARELY,
        estimate=share_of_replicates((early & (np.diff(clean_residual, axis=0) > 0)).T, error_rate=agreement.error_rate),
        margin=NONE,
        expected="AGREES",
    )
    # σ is monotone: in a fixed kernel the sign of r_i(K r)_i decides at any step size, unless rounding hides the product.
    times = np.arange(0, steps, 10)
    signed = 1 / (1 + np.exp(-h[times])) - observed
    product = signed * np.matmul(kernel, signed)
    decided = np.abs(product) > 4 * len(truth) ** 1.5 * EPS * np.diag(kernel).max() * np.abs(signed)
    falls = residual[times + 1] < residual[times]
    for judge_it, name, wrong in (
        (agreement.correct, "steps of samples in which |r_i| falls not iff r_i(K r)_i > 0", falls != (product > 0)),
        (agreement.control, "the same for r_i(K r)_i < 0", falls != (product < 0)),
    ):
        judge_it(name, prediction=0, estimate=exact(int((wrong & decided).sum()), n_seeds=draws), margin=NONE)
    peak = np.argmax(noise_residual, axis=0)
    lead = mean_interval((turn - peak) / turn.mean(), error_rate=agreement.error_rate)
    if regime.data != "clusters":  # where the samples of a class share nearly one logit, both turn together
        agreement.correct(
            "the mean noisy residual turns before the noisy loss, by a quarter of its time at most",
            prediction=Range(0.0, 0.25),
            estimate=lead,
            margin=NONE,
        )
    agreement.note(
        f"Up to {counts.max()} of {clean.sum() // draws} clean samples get worse in one early step. Noisy residual and loss turn at steps "
        f"{peak.mean():.1f} and {turn.mean():.1f}."
    )


def mean_over(values: Array, mask: NDArray[np.bool_]) -> Array:
    """Mean over the masked samples ``[T, draws]`` of values ``[T, n, draws]``."""
    return np.asarray((values * mask).sum(axis=1) / mask.sum(axis=0))


@pytest.mark.claim(
    "D8",
    expected="AGREES",
    reason="records hold means over segments: the mean residual falls where the mean loss does, as on fixed kernels",
)
@regimes([*FULL_BATCH, *MINI_BATCHES, CNN[0]])
def test_mean_residuals_of_networks(agreement: Agreement, regime: Regime) -> None:
    """From the start to the peak of the noisy loss: no rise of the mean clean |f − y| where the clean loss falls, and a fall in all.

    Nothing forces it (the two samples above); it is what a typical network does. Sample by sample nothing is recorded. From record to
    record it is judged in full batches: between two records of mini-batches the loss goes up and down, and its fall in all says little
    of a step. The note counts what happens there.
    """
    run = agreement.measure(regime.experiment)
    if regime in FULL_BATCH:
        judge_networks(agreement, regime, "the mean clean |f − y| falls whenever the mean clean loss does", residual_follows_loss)
    each_network(agreement, "fall of the mean clean |f − y| to the peak of the noisy loss", fall(run, "clean"))
    wrong = "no priority: fall of the mean noisy |f − y| to that peak less that of the clean one"
    each_network(agreement, wrong, fall(run, "noise") - fall(run, "clean"), role=Role.CONTROL)
    lower, exceptions = falls(run, "clean"), falls(run, "clean") & ~residual_falls(run)
    agreement.note(
        f"The mean clean |f − y| rises in {exceptions.sum()} of {lower.sum()} recorded intervals in which the mean clean loss falls before "
        f"the noisy loss peaks, in {exceptions.any(axis=1).sum()} of {len(lower)} networks."
    )


def falls(run: xr.Dataset, segment: str) -> NDArray[np.bool_]:
    """Recorded intervals before the peak of the noisy loss in which the segment's mean loss falls ``[R, T - 1]``."""
    loss, peak = run[f"{segment}_loss"].values, np.argmax(run["noise_loss"].values, axis=1)
    return np.asarray((np.diff(loss) < 0) & (np.arange(loss.shape[1] - 1) < peak[:, None]))


def residual_falls(run: xr.Dataset) -> NDArray[np.bool_]:
    """Recorded intervals in which the mean clean |f − y| does not rise ``[R, T - 1]``."""
    return np.asarray(np.diff(run["clean_residual"].values) <= 0)


def residual_follows_loss(run: xr.Dataset) -> NDArray[np.bool_]:
    """Whether it rises in none of those in which the clean loss falls ``[R]``."""
    return np.asarray((residual_falls(run) | ~falls(run, "clean")).all(axis=1))


def fall(run: xr.Dataset, segment: str) -> Array:
    """Fall of the segment's mean |f − y| from the start to the peak of the noisy loss ``[R]``."""
    residual, peak = run[f"{segment}_residual"].values, np.argmax(run["noise_loss"].values, axis=1)
    return np.asarray(residual[:, 0] - residual[np.arange(len(peak)), peak])
