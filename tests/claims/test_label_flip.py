"""Sec. 3.2 [A], Sec. 3 [B]: flipping a label turns the sample-wise gradient round, ∇l(x, 1 − y) = −λ∇l(x, y) with λ > 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from empirical.inference import exact
from empirical.networks import FullyConnected
from reports.agreement import Range
from reports.evidence import Agreement

NETWORKS, SAMPLES = 60, 8
ARCHITECTURES = (("eq2", "relu"), ("eq7", "relu"), ("eq6", "linear"), ("eq7", "tanh"), ("pytorch", "relu"))
N_INPUTS, WIDTH, DEPTHS = 6, 64, (1, 2, 4)
EPS = np.finfo(np.float64).eps

# A cosine of two computed gradients of p numbers: rounding of each gradient relative to its norm, as in test_sample_gradient.py
# (layers · width^1.5 · eps), twice, and p·eps for the inner product; p < 15 000.
ROUNDING = (2 * (max(DEPTHS) + 1) * WIDTH**1.5 + 15_000) * EPS

Loss = Callable[[Tensor, Tensor], Tensor]


def logistic(h: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(h, y, reduction="none")


def squared(h: Tensor, y: Tensor) -> Tensor:
    """Squared loss of a linear output: h may lie beyond both labels, and then both residuals have one sign."""
    return 0.5 * (h - y) ** 2


@pytest.mark.claim("I1")
@pytest.mark.regime("random networks", "Gaussian inputs")
def test_flip_of_a_label_reverses_the_gradient(agreement: Agreement) -> None:
    found = agreement.drawn("gradients of both labels", gradients_of_both_labels)
    cosine, factor, predicted_factor, smaller, angle, model_angle, agree, control = found.values()

    n = {"n_seeds": NETWORKS}
    rounding = {"rounding": ROUNDING}
    agreement.hypothesis("min(f, 1 − f)", prediction=Range(lower=np.exp(-11.0)), estimate=exact(smaller, **n), margin={"none": 0.0})
    agreement.check("cos∠(∇l(x, y), ∇l(x, 1 − y))", prediction=-1.0, estimate=exact(cosine, **n), margin=rounding)
    # f is rounded to about 4 ulp, and f − y keeps that absolute error where it is as small as 1 − f.
    agreement.check(
        "λ = ‖∇l(x, 1 − y)‖/‖∇l(x, y)‖ over |f − (1 − y)|/|f − y|",
        prediction=1.0,
        estimate=exact(factor / predicted_factor, **n),
        margin=rounding | {"cancellation in f − y": 4 * EPS / smaller},
    )
    # θ_g of two samples is θ_h if their labels agree and π − θ_h if not.
    agreement.check("cos θ_g against ±cos θ_h", prediction=agree * model_angle, estimate=exact(angle, **n), margin=rounding)
    agreement.control("cos θ_g against cos θ_h whatever the labels", prediction=model_angle, estimate=exact(angle, **n), margin=rounding)
    agreement.control(
        "the reversal for the squared loss of a linear output", prediction=-1.0, estimate=exact(control, **n), margin=rounding
    )


def gradients_of_both_labels(rng: np.random.Generator) -> dict[str, list[NDArray[np.float64]]]:
    """Of each network, sample by sample or pair by pair: angles and lengths of gradients for both labels, and what is predicted."""
    names = ("cosine", "factor", "predicted factor", "smaller", "angle", "model angle", "agree", "control")
    cosine, factor, predicted_factor, smaller, angle, model_angle, agree, control = found = tuple([] for _ in names)
    for _ in range(NETWORKS):
        network, x, y = random_task(rng)
        h = network(x).detach().numpy()
        model, straight, flipped = (
            sample_gradients(network, loss, x, y) for loss, y in ((lambda h, _: h, y), (logistic, y), (logistic, 1 - y))
        )
        cosine.append(np.diag(cosines(straight, flipped)))
        factor.append(np.linalg.norm(flipped, axis=1) / np.linalg.norm(straight, axis=1))
        # |f − (1 − y)|/|f − y| = e^{h} for label 1 and e^{−h} for label 0: no cancellation on the side of the prediction.
        predicted_factor.append(np.exp((2 * y.numpy() - 1) * h))
        smaller.append(1 / (1 + np.exp(np.abs(h))))  # the smaller of f and 1 − f
        angle.append(cosines(straight, straight))
        model_angle.append(cosines(model, model))
        agree.append(np.where(y.numpy()[:, None] == y.numpy(), 1.0, -1.0))
        linear = [sample_gradients(network, squared, x, labels) for labels in (y, 1 - y)]
        control.append(np.diag(cosines(*linear)))
    return dict(zip(names, found, strict=True))


def random_task(rng: np.random.Generator) -> tuple[FullyConnected, Tensor, Tensor]:
    """Random network in float64, `SAMPLES` inputs, logits of size up to 10 (beyond, 1 − f loses its digits) and random labels."""
    convention, activation = ARCHITECTURES[rng.integers(len(ARCHITECTURES))]
    depth, seed = int(rng.choice(DEPTHS)), int(rng.integers(2**62))
    network = FullyConnected(N_INPUTS, WIDTH, depth, activation=activation, convention=convention, seed=seed, dtype=torch.float64)
    x = torch.tensor(rng.normal(size=(SAMPLES, N_INPUTS)) * 10 ** rng.uniform(-1, 0.7, size=(SAMPLES, 1)))
    x = x * torch.clamp(10 / network(x).detach().abs(), max=1.0)[:, None]
    return network, x, torch.tensor(rng.integers(0, 2, size=SAMPLES).astype(float))


def sample_gradients(network: FullyConnected, loss: Loss, x: Tensor, y: Tensor) -> NDArray[np.float64]:
    """Gradients ``[n, p]`` of the loss of each sample by itself, by automatic differentiation."""
    losses = loss(network(x), y)
    rows = [torch.autograd.grad(one, list(network.parameters()), retain_graph=True) for one in losses]
    return np.array([torch.cat([part.reshape(-1) for part in row]).numpy() for row in rows])


def cosines(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines ``[n, n]`` between rows."""
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (left, right)]
    return unit[0] @ unit[1].T
