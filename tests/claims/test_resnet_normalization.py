"""Footnote 4, App. B [A] (R5): the linked ResNet-9 couples the samples of a batch, so that in training mode a sample has no gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from empirical.gradients import gradient_geometry
from empirical.image_networks import ResNet9
from empirical.inference import exact
from empirical.noise import corrupt_labels
from reports.agreement import Range
from reports.evidence import Agreement

Array = NDArray[np.float64]
NONE = {"none allowed": 0.0}
EPS = np.finfo(np.float64).eps
NETWORKS, BATCH, SHAPE = 3, 8, (3, 16, 16)
# Eight convolutions and normalisations deep, backpropagation in float64 loses a few thousand eps; a coupling is of order one.
ROUNDING = 1e5 * EPS
COUPLED = Range(lower=1e6 * ROUNDING)


def linked(shape: tuple[int, int, int], *, seed: int, channels: float = 0.125, **options: str) -> ResNet9:
    """The network behind the link of footnote 4, with fewer channels, in training mode."""
    return ResNet9(shape, channels=channels, variant="footnote", activation="mish", dtype=torch.float64, seed=seed, **options)


def settings(network: ResNet9, x: Tensor) -> dict[str, ResNet9]:
    """The same parameters in training mode, and in evaluation mode with the statistics of ``x``."""
    frozen = linked(network.image_shape, seed=0, channels=0.125).to(x.dtype)
    frozen.load_state_dict(network.state_dict())
    return {"training mode": network.train(), "evaluation mode": frozen.calibrate(x).eval()}


def gradient(network: nn.Module, loss: Tensor) -> Tensor:
    """Gradient of a scalar with respect to all parameters ``[p]``."""
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, list(network.parameters()))])


def coupling(network: nn.Module, x: Tensor) -> tuple[float, float]:
    """Largest ‖∂h(x_i)/∂x_j‖ over j ≠ i relative to i = j, and the change of h(x_0) when all other samples are replaced."""
    inputs = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(network(inputs)[0].sum(), inputs)
    size = slope.norm(dim=1)
    with torch.no_grad():
        before, after = network(x)[0], network(torch.cat([x[:1], x[1:].flip(1)]))[0]
    return float(size[1:].max() / size[0]), float((after - before).norm() / before.norm())


def sum_of_samples(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Distance of the sum of gradients of batches of one from the gradient of the batch, relative to the latter."""
    whole = gradient(network, F.cross_entropy(network(x), labels, reduction="sum"))
    single = sum(gradient(network, F.cross_entropy(network(x[i : i + 1]), labels[i : i + 1])) for i in range(len(x)))
    return float((whole - single).norm() / whole.norm())


@pytest.mark.claim("R5")
@pytest.mark.regime("ResNet-9 at initialisation", "random pictures")
def test_batch_normalization_couples_the_samples(agreement: Agreement) -> None:
    found = agreement.drawn("coupling of the samples", couplings)
    network = linked(SHAPE, seed=0)
    kinds = [type(module) for module in network.modules()]
    counted = exact([kinds.count(nn.Mish), kinds.count(nn.BatchNorm2d), kinds.count(nn.ReLU)])
    agreement.check("Mish, BatchNorm and ReLU layers among eight blocks", prediction=[8, 8, 0], estimate=counted, margin=NONE)
    texts = (
        "‖∂h(x_i)/∂x_j‖ for j ≠ i over that for j = i",
        "relative change of h(x_i) when the other samples change",
        "sum of gradients of batches of one against the batch's, relative distance",
    )
    for k, text in enumerate(texts):
        training, evaluation, group = (found[name][:, k] for name in ("training mode", "evaluation mode", "group normalisation"))
        agreement.check(f"training mode: {text}", prediction=COUPLED, estimate=exact(training), margin=NONE)
        for name, values in (("evaluation mode", evaluation), ("group normalisation", group)):
            agreement.check(f"{name}: {text}", prediction=0, estimate=exact(values), margin={"rounding": ROUNDING})
            agreement.control(f"{name} taken for training mode: {text}", prediction=COUPLED, estimate=exact(values), margin=NONE)
    x, labels = np.zeros((BATCH, 768)), np.arange(BATCH)
    with pytest.raises(ValueError, match="training mode"):
        gradient_geometry(network.train(), x, labels, truth=labels, n_classes=10)


def couplings(rng: np.random.Generator) -> dict[str, list[tuple[float, float, float]]]:
    """Of `NETWORKS` networks in each setting: both numbers of `coupling`, and `sum_of_samples` ``[networks, 3]``."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(NETWORKS):
        x = torch.tensor(rng.random((BATCH, 768)))
        labels = torch.tensor(rng.integers(0, 10, BATCH))
        network = linked(SHAPE, seed=int(rng.integers(2**31)))
        grouped = linked(SHAPE, seed=int(rng.integers(2**31)), channels=0.25, normalization="group")
        for name, one in {**settings(network, x), "group normalisation": grouped}.items():
            found.setdefault(name, []).append((*coupling(one, x), sum_of_samples(one, x, labels)))
    return found


@pytest.mark.claim("R5")
@pytest.mark.regime("ResNet-9 at initialisation", "CIFAR-10")
def test_what_evaluation_mode_measures_instead(agreement: Agreement) -> None:
    """Frozen statistics of the training pictures: sample-wise gradients add up, to another vector than the one that training follows."""
    data = agreement.dataset("cifar10", n_train=60, n_test=10, normalize="pixel")
    x, truth = torch.tensor(data.train_inputs).double(), data.train_truth
    assert data.image_shape is not None
    shape = (3, data.image_shape[-2], data.image_shape[-1])

    def both_gradients(rng: np.random.Generator) -> dict[str, float]:
        """Squared norm of the sum of all segment gradients; squared norms and inner product of the loss gradients of both modes."""
        observed = corrupt_labels(truth, 0.4, n_classes=10, seed=int(rng.integers(2**31))).observed
        modes = settings(linked(shape, seed=int(rng.integers(2**31))), x)
        followed, frozen = (gradient(one, F.cross_entropy(one(x), torch.tensor(observed), reduction="sum")) for one in modes.values())
        geometry = gradient_geometry(modes["evaluation mode"], x.numpy(), observed, truth=truth, n_classes=10)
        return {
            "segments": geometry.gram[:20, :20].sum(),  # ‖Σ_c g_clean^(c) + g_noise^(c)‖²
            "followed": float(followed.square().sum()),
            "frozen": float(frozen.square().sum()),
            "apart": float((followed - frozen).square().sum()),
            "inner": float(followed @ frozen),
        }

    total, followed, frozen, apart, inner = agreement.drawn("gradients in both modes", both_gradients).values()
    agreement.check(
        "evaluation mode: segment gradients add up to the gradient of the loss, squared norms",
        prediction=1,
        estimate=exact(float(total / frozen)),
        margin={"rounding": ROUNDING},
    )
    distance = exact(float(np.sqrt(apart / followed)))
    agreement.check("distance of that gradient from the one in training mode, relative", prediction=COUPLED, estimate=distance, margin=NONE)
    agreement.control(
        "training mode taken for evaluation mode: segment gradients add up",
        prediction=1,
        estimate=exact(float(total / followed)),
        margin={"rounding": ROUNDING},
    )
    agreement.note(
        "60 pictures in one batch, δ = 0.4, an eighth of the channels, fresh network: the two gradients make "
        f"{np.degrees(np.arccos(inner / np.sqrt(followed * frozen))):.1f}°, with lengths in the ratio {np.sqrt(frozen / followed):.3f}. "
        "Segment geometry is measured with frozen statistics, or with group normalisation."
    )
