"""Eq. (5) [A], Eq. (4) [B]: the gradient of one sample's loss is its residual times the gradient of the logit, ∇l_i = (f_i − y_i)∇h_i."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from empirical.inference import exact
from empirical.networks import FullyConnected
from reports.evidence import Agreement

Errors = dict[str, ArrayLike]
NETWORKS = 150
ARCHITECTURES = (
    ("eq2", "relu"),
    ("eq2", "linear"),
    ("eq6", "linear"),
    ("eq7", "relu"),
    ("eq7", "tanh"),
    ("pytorch", "relu"),
    ("pytorch", "tanh"),
)
N_INPUTS, WIDTHS, DEPTHS = 6, (1, 7, 64), (1, 2, 4)

# Both sides are one backward pass through the same weights, started at r and at 1. A rounded sum of k ≤ 64 products is off by at most
# k·eps·Σ|terms|, and Σ|terms| ≤ √k times its norm; over at most 5 layers that is 5·64·√64·eps = 6e-13 of the norm of the gradient.
BACKPROPAGATION = (max(DEPTHS) + 1) * max(WIDTHS) ** 1.5 * np.finfo(np.float64).eps


@pytest.mark.claim("S1")
@pytest.mark.regime("random networks, one logit", "Gaussian inputs")
def test_logistic_loss_of_a_sigmoid(agreement: Agreement) -> None:
    errors, squared, rounding, dead = agreement.drawn("errors", logistic_errors).values()
    # f − y cancels where the network is sure of the right label: its relative error is eps/|f − y|.
    margin = {"backpropagation": BACKPROPAGATION, "cancellation in f − y": rounding}
    agreement.check(
        "‖∇l − (f − y)∇h‖ / ‖∇l‖, worst of random networks", prediction=0.0, estimate=exact(errors, n_seeds=NETWORKS), margin=margin
    )
    agreement.control(
        "the same product for the squared loss ½(f − y)²", prediction=0.0, estimate=exact(squared, n_seeds=NETWORKS), margin=margin
    )
    agreement.note(f"{NETWORKS} networks judged; {dead} more were dead at their input and were drawn again.")


def logistic_errors(rng: np.random.Generator) -> Errors:
    """Distance of (f − y)∇h from the gradient of the logistic and of the squared loss, and eps/|f − y| ``[networks]`` each."""
    errors, squared, rounding, dead = [], [], [], 0
    for network, x, drawn in random_networks(rng, n_outputs=1):
        dead += drawn
        y = torch.tensor([float(rng.integers(2))], dtype=torch.float64)
        f = torch.sigmoid(network(x)).detach()
        product = (f - y) * gradient(network, lambda h: h.sum(), x)
        errors.append(relative_error(gradient(network, lambda h, y=y: F.binary_cross_entropy_with_logits(h, y), x), product))
        squared.append(relative_error(gradient(network, lambda h, y=y: 0.5 * ((torch.sigmoid(h) - y) ** 2).sum(), x), product))
        rounding.append(np.finfo(np.float64).eps / float((f - y).abs()))
    return {"errors": errors, "squared": squared, "rounding": rounding, "dead": dead}


@pytest.mark.claim("S1")
@pytest.mark.regime("random networks, C logits", "Gaussian inputs")
def test_cross_entropy_of_a_softmax(agreement: Agreement) -> None:
    errors, squared, single, rounding, dead = agreement.drawn("errors", softmax_errors).values()
    margin = {"backpropagation and cancellation": rounding}
    agreement.check(
        "‖∇l − Σ_c (f_c − y_c)∇h_c‖ / ‖∇l‖, worst of random networks",
        prediction=0.0,
        estimate=exact(errors, n_seeds=NETWORKS),
        margin=margin,
    )
    agreement.control(
        "the same product for the squared loss ½‖f − y‖²", prediction=0.0, estimate=exact(squared, n_seeds=NETWORKS), margin=margin
    )
    agreement.control("only the logit of the label", prediction=0.0, estimate=exact(single, n_seeds=NETWORKS), margin=margin)
    agreement.note(f"{NETWORKS} networks judged; {dead} more were dead at their input and were drawn again.")


def softmax_errors(rng: np.random.Generator) -> Errors:
    """Distance of Σ_c (f_c − y_c)∇h_c, and of its term of the label, from the gradient of the loss; what rounding allows ``[networks]``."""
    errors, squared, single, rounding, dead = [], [], [], [], 0
    for network, x, drawn in random_networks(rng, n_outputs=5):
        dead += drawn
        label = torch.tensor([int(rng.integers(5))])
        f = torch.softmax(network(x), dim=1).detach()[0]
        y = F.one_hot(label, 5)[0].to(torch.float64)
        logit_gradients = torch.stack([gradient(network, lambda h, c=c: h[:, c].sum(), x) for c in range(5)])
        product = torch.einsum("c,cp->p", f - y, logit_gradients)
        loss_gradient = gradient(network, lambda h, label=label: F.cross_entropy(h, label), x)
        errors.append(relative_error(loss_gradient, product))
        squared.append(relative_error(gradient(network, lambda h, y=y: 0.5 * ((torch.softmax(h, dim=1) - y) ** 2).sum(), x), product))
        single.append(relative_error(loss_gradient, (f - y)[label] * logit_gradients[label[0]]))
        # Σ_c (f_c − y_c)∇h_c may cancel: each term carries its own rounding.
        terms = torch.linalg.norm((f - y)[:, None] * logit_gradients, dim=1).sum() / torch.linalg.norm(loss_gradient)
        rounding.append(float(terms) * (BACKPROPAGATION + np.finfo(np.float64).eps / float((f - y).abs().max())))
    return {"errors": errors, "squared": squared, "single": single, "rounding": rounding, "dead": dead}


def random_networks(rng: np.random.Generator, *, n_outputs: int) -> Iterator[tuple[FullyConnected, Tensor, int]]:
    """Random architecture, initialisation and input, in float64, with logits of size up to 10 (beyond, 1 − f loses its digits).

    A narrow ReLU network may be dead at an input: ∇h = 0, both sides vanish and there is no ratio. It is drawn again; with each network
    comes the number of those before it.
    """
    found, dead = 0, 0
    while found < NETWORKS:
        convention, activation = ARCHITECTURES[rng.integers(len(ARCHITECTURES))]
        network = FullyConnected(
            N_INPUTS,
            int(rng.choice(WIDTHS)),
            int(rng.choice(DEPTHS)),
            n_outputs=n_outputs,
            activation=activation,
            convention=convention,
            seed=int(rng.integers(2**62)),
            dtype=torch.float64,
        )
        x = torch.tensor(rng.normal(size=(1, N_INPUTS))) * 10 ** rng.uniform(-1, 1)
        largest = float(network(x).detach().abs().max())
        if largest == 0:
            dead += 1
            continue
        found += 1
        yield network, x * min(1.0, 10 / largest), dead
        dead = 0


def gradient(network: FullyConnected, scalar: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Gradient ``[p]`` of a function of the network's output with respect to all parameters, by automatic differentiation."""
    parts = torch.autograd.grad(scalar(network(x)), list(network.parameters()))
    return torch.cat([part.reshape(-1) for part in parts])


def relative_error(measured: Tensor, predicted: Tensor) -> float:
    """‖measured − predicted‖/‖measured‖."""
    return float(torch.linalg.norm(measured - predicted) / torch.linalg.norm(measured))
