"""Convolutions, normalisations and any other layer: the layer-wise instrument agrees with one autograd call per sample.

Tolerances of 1e-10 are rounding in float64: sums of fewer than 20,000 products that cancel to a thousandth at most.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from empirical import layer_gradients, memory_plan
from empirical.gradients import gradient_geometry
from empirical.image_networks import ConvolutionalNetwork, ResNet9
from empirical.layer_gradients import forms_gradients, sample_gradients
from empirical.layer_signals import Layer, trainable_layers
from empirical.tangent_kernel import empirical_ntk
from tests.empirical.test_gradients import LargestTensor, assert_agrees, problem
from tests.support.reference_gradients import derivative_matrix, loss_gradient_matrix, segment_gradient_matrix

F64 = torch.float64


class Tokens(nn.Module):
    """Rows of reals turned into token numbers, embedded and averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(4, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate."""
        return self.embedding((4 * torch.sigmoid(x)).long().clamp(max=3)).mean(1)


class Shift(nn.Module):
    """A module with parameters of its own around a trained layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.shift, self.factor = nn.Linear(36, 6), nn.Parameter(torch.ones(6)), nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate."""
        return self.factor * self.inner(x) + self.shift


def picture_layers(*layers: nn.Module, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Unflatten(1, (4, 3, 3)), *layers, nn.Tanh(), nn.Flatten(), nn.Linear(features, 3))


# Each takes rows of 36 numbers (4 channels of 3 × 3), ResNets rows of 256 or 512, and gives 3 logits.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "cnn": lambda: ConvolutionalNetwork((6, 6), 3, channels=(4, 6), hidden=5, dtype=F64),
    "resnet-batch": lambda: ResNet9((4, 8, 8), 3, channels=1 / 64, activation="mish", dtype=F64),
    "resnet-group": lambda: ResNet9((4, 8, 8), 3, channels=1 / 32, normalization="group", dtype=F64),
    "resnet-footnote": lambda: ResNet9((1, 16, 32), 3, channels=1 / 64, variant="footnote", activation="mish", dtype=F64),
    "convolution-with-everything": lambda: picture_layers(
        nn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=2), features=60
    ),
    "grouped-stride-1": lambda: picture_layers(nn.Conv2d(4, 6, (3, 2), padding=(0, 1), groups=2), features=24),
    "convolution-without-bias": lambda: picture_layers(nn.Conv2d(4, 5, 2, bias=False), features=20),
    "convolution-to-one-place": lambda: picture_layers(nn.Conv2d(4, 5, 3), features=5),
    "padded-same": lambda: picture_layers(nn.Conv2d(4, 2, 3, padding="same"), features=18),
    "padded-circularly": lambda: picture_layers(nn.Conv2d(4, 2, 3, padding=1, padding_mode="circular"), features=18),
    "transposed": lambda: picture_layers(nn.ConvTranspose2d(4, 2, 2), features=32),
    "layer-norm": lambda: picture_layers(nn.LayerNorm(3), features=36),
    "batch-norm": lambda: picture_layers(nn.BatchNorm2d(4), nn.PReLU(4), features=36),
    "instance-norm": lambda: picture_layers(nn.InstanceNorm2d(4, affine=True), features=36),
    "convolution-1d": lambda: nn.Sequential(nn.Unflatten(1, (4, 9)), nn.Conv1d(4, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(14, 3)),
    "embedding": lambda: nn.Sequential(Tokens(), nn.Linear(6, 3)),
    "own-parameters": lambda: nn.Sequential(Shift(), nn.Tanh(), nn.Linear(6, 3)),
    "bilinear-weight-norm": lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(36, 4)), nn.Linear(4, 3)),
}
FREE = [name for name in NETWORKS if name != "bilinear-weight-norm"]


def network(name: str) -> nn.Module:
    """A network in evaluation mode whose parameters and running statistics are all random."""
    model = NETWORKS[name]().to(F64).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=F64) + (0.5 if parameter.ndim < 2 else 0))
        for key, buffer in model.named_buffers():
            if buffer.ndim:
                buffer.copy_(torch.rand(buffer.shape, generator=generator, dtype=F64) + ("var" in key))
    return model


def width(name: str) -> int:
    return 512 if name == "resnet-footnote" else 256 if name.startswith("resnet") else 36


def reference(
    model: nn.Module, x: np.ndarray, observed: np.ndarray, truth: np.ndarray, logit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sample gradients under the observed labels, and segment gradients, of the batch-of-one loop."""
    ours, true = (loss_gradient_matrix(model, x, labels, logit=logit) for labels in (observed, truth))
    return ours, segment_gradient_matrix(ours, true, observed, truth, 3)


@pytest.mark.parametrize("chunk_size", [5, None], ids="chunk={}".format)
@pytest.mark.parametrize("name", FREE)
def test_agrees_with_one_autograd_call_per_sample(name: str, chunk_size: int | None) -> None:
    x, observed, truth = problem(18, width(name), 3, 1)
    model = network(name)
    gradients_of_samples, segments = reference(model, x, observed, truth)
    geometry = gradient_geometry(model, x, observed, truth=truth, n_classes=3, chunk_size=chunk_size)
    assert_agrees(geometry, gradients_of_samples, segments, truth)


@pytest.mark.parametrize("name", ["cnn", "resnet-batch", "layer-norm", "convolution-to-one-place"])
def test_agrees_when_nothing_is_kept_and_every_step_is_one_sample(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_plan, "_KEPT_ELEMENTS", 0)
    monkeypatch.setattr(memory_plan, "CHUNK_ELEMENTS", 2000)
    monkeypatch.setattr(layer_gradients, "FORMED_ELEMENTS", 1)
    x, observed, truth = problem(18, width(name), 3, 2)
    model = network(name)
    assert_agrees(gradient_geometry(model, x, observed, truth=truth, n_classes=3), *reference(model, x, observed, truth), truth)


@pytest.mark.parametrize("formed", [True, False], ids=["formed", "not formed"])
@pytest.mark.parametrize("name", ["cnn", "convolution-with-everything", "grouped-stride-1", "convolution-without-bias"])
def test_both_formulas_for_convolutions_agree_with_the_reference(name: str, formed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_gradients, "forms_gradients", lambda layer, signal, count: formed)
    x, observed, truth = problem(18, width(name), 3, 3)
    model = network(name)
    assert_agrees(gradient_geometry(model, x, observed, truth=truth, n_classes=3), *reference(model, x, observed, truth), truth)


def test_the_cheaper_formula_is_chosen_by_counting() -> None:
    """A map of one place: 64·32·9·(1 + 11) to form, 1·(288 + 64) + 10·64·288 not to; of 4 places and two classes: forming."""
    (layer,) = trainable_layers(nn.Conv2d(32, 64, 3))
    assert [forms_gradients(layer, torch.empty(1, 64, 1, size), 10) for size in (1, 2, 24)] == [False, True, True]
    # With a single class and 2 places: (2 + 2)·18432 to form against 4·352 + 2·18432.
    assert not forms_gradients(layer, torch.empty(1, 64, 1, 2), 1)


@pytest.mark.parametrize("name", ["cnn", "resnet-group"])
def test_one_logit(name: str) -> None:
    """The logistic loss: one backward pass, residuals as weights."""
    make: dict[str, Callable[[], nn.Module]] = {
        "cnn": lambda: ConvolutionalNetwork((6, 6), 1, channels=(4, 6), hidden=5, dtype=F64),
        "resnet-group": lambda: ResNet9((4, 8, 8), 1, channels=1 / 32, normalization="group", dtype=F64),
    }
    x, observed, truth = problem(18, width(name), 2, 4)
    model = make[name]()
    ours, true = (loss_gradient_matrix(model, x, labels) for labels in (observed, truth))
    segments = segment_gradient_matrix(ours, true, observed, truth, 2)
    for chunk_size in (5, None):
        assert_agrees(gradient_geometry(model, x, observed, truth=truth, chunk_size=chunk_size), ours, segments, truth)


@pytest.mark.parametrize("name", ["cnn", "layer-norm"])
def test_single_logit_gradients_of_every_class_at_once(name: str) -> None:
    """With ``logit="own"`` class c's segments are those of logit c, for every c, by one measurement."""
    x, observed, truth = problem(18, width(name), 3, 5)
    model = network(name)
    per_logit = [reference(model, x, observed, truth, logit=c) for c in range(3)]
    samples = np.stack([per_logit[c][0][i] for i, c in enumerate(truth)])
    segments = np.stack([per_logit[row % 3][1][row] for row in range(9)])
    geometry = gradient_geometry(model, x, observed, truth=truth, n_classes=3, logit="own")
    assert_agrees(geometry, samples, segments, truth)
    singles = [gradient_geometry(model, x, observed, truth=truth, n_classes=3, logit=c) for c in range(3)]
    np.testing.assert_allclose(geometry.alpha, [single.alpha[c] for c, single in enumerate(singles)], rtol=1e-10)
    np.testing.assert_allclose(geometry.residual, [singles[c].residual[i] for i, c in enumerate(truth)], rtol=1e-10)
    np.testing.assert_allclose(geometry.output, [singles[c].output[i] for i, c in enumerate(truth)], rtol=1e-10)


def test_the_network_is_evaluated_no_more_often_for_every_class_than_for_one() -> None:
    """Two passes over the data: forward evaluations do not grow with the number of classes."""

    class Counting(nn.Module):
        """Counts the samples that it sees."""

        def __init__(self, classes: int) -> None:
            super().__init__()
            self.last, self.seen = nn.Linear(6, classes), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Evaluate."""
            self.seen += len(x)
            return self.last(x)

    for classes in (3, 6):
        x, observed, truth = problem(24, 6, classes, 6)
        model = Counting(classes)
        gradient_geometry(model, x, observed, truth=truth, n_classes=classes, logit="own", chunk_size=4)
        assert model.seen <= 2 * len(x)


@pytest.mark.parametrize("name", ["cnn", "resnet-batch", "resnet-footnote", "convolution-with-everything", "layer-norm", "embedding"])
def test_tangent_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_gradients, "FORMED_ELEMENTS", 3000)  # several steps
    x, z = problem(9, width(name), 3, 7)[0], problem(7, width(name), 3, 8)[0]
    model = network(name)
    left, right = derivative_matrix(model, x), derivative_matrix(model, z)
    expected = np.einsum("kip,ljp->klij", left, right)
    # Rounding of sums of p ≤ 10⁴ products is about p·eps = 2e-12 relative to the largest entry.
    close = {"rtol": 0, "atol": 1e-10 * np.abs(expected).max()}
    np.testing.assert_allclose(empirical_ntk(model, x, z, blocks=True), expected, **close)
    np.testing.assert_allclose(empirical_ntk(model, x, z, chunk_size=4), np.einsum("kkij->ij", expected) / 3, **close)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConvolutionalNetwork((12, 12), 3, channels=(4, 8), hidden=40),
        lambda: ResNet9((1, 12, 12), 3, channels=1 / 16, normalization="group"),
    ],
    ids=["cnn", "resnet"],
)
def test_never_holds_n_times_p_numbers(make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    n = 400
    x, observed, truth = problem(n, 144, 3, 9)
    model = make()
    monkeypatch.setattr(layer_gradients, "FORMED_ELEMENTS", 2**14)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    per_layer = max(sum(value.numel() for value in layer.parameters.values()) for layer in trainable_layers(model))
    per_sample = max(4 * 16 * 144, 4 * 10 * 10 * 9)  # the largest map of a sample, or its unfolding
    with LargestTensor() as mode:
        gradient_geometry(model, x, observed, truth=truth, n_classes=3, chunk_size=20)
    # Allowed: the inputs, a chunk's maps, 3C segment gradients of a layer, and the arrays of one step.
    assert mode.largest <= max(n * 144, 20 * per_sample, 9 * per_layer, 2**14)
    assert mode.largest < n * parameters / 20


def test_float32_agrees_with_float64() -> None:
    x, observed, truth = problem(60, 144, 3, 10)
    single, double = (
        gradient_geometry(ConvolutionalNetwork((12, 12), 3, channels=(4, 8), hidden=10, dtype=t), x, observed, truth=truth, n_classes=3)
        for t in (torch.float32, F64)
    )
    # As for fully connected networks: sums of at most 100·20 terms, 2000·eps(float32)/2 = 1e-4 relative.
    np.testing.assert_allclose(single.alpha, double.alpha, rtol=1e-4)
    np.testing.assert_allclose(single.sample_cosines, double.sample_cosines, atol=1e-4)


class TwoInputs(nn.Module):
    """A layer with two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(36, 36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate."""
        return self.bilinear(x, x)


class Mixing(nn.Module):
    """Draws numbers, which no gradient per sample can be taken of."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(36))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate."""
        return x * self.factor * torch.rand(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ResNet9((4, 3 * 8, 8), 3, channels=1 / 64),
            "layer 'stem.1' (BatchNorm2d) has no gradient per sample in training mode: call",
        ),
        (lambda: picture_layers(nn.BatchNorm2d(4, track_running_stats=False), features=36).eval(), "without running statistics"),
        (lambda: picture_layers(nn.Conv2d(4, 4, 1), nn.ReLU(inplace=True), features=36), "use inplace=False"),
        (
            TwoInputs,
            "layer 'bilinear' (Bilinear) must be called once, on one array of 1 samples, and give one, got calls on ['2 arguments",
        ),
        (lambda: nn.Sequential(NETWORKS["bilinear-weight-norm"]()), "must be called once"),
        (
            lambda: nn.Sequential(Mixing(), nn.Linear(36, 3)),
            "layer '0' (Mixing) is not supported: torch.func.vmap cannot take its gradient",
        ),
    ],
    ids=["batch-norm", "no-statistics", "in-place", "two-inputs", "parametrized", "random"],
)
def test_unsupported_networks_are_refused_in_one_line(make: Callable[[], nn.Module], message: str) -> None:
    x, observed, truth = problem(12, 36, 3, 11)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        gradient_geometry(make(), x, observed, truth=truth, n_classes=3)
    assert "\n" not in str(error.value)


def test_sample_gradients_are_those_of_the_layer_alone() -> None:
    """The building block by itself: one row per sample, one array per parameter."""
    layer: Any = nn.Conv2d(2, 3, 2, dtype=F64)
    (described,) = trainable_layers(layer)
    assert isinstance(described, Layer)
    rng = np.random.default_rng(0)
    activation, signal = (torch.tensor(rng.standard_normal(shape)) for shape in ((4, 2, 5, 5), (4, 3, 4, 4)))
    weight, bias = sample_gradients(described, activation, signal)
    for i in range(4):
        expected = torch.autograd.grad(layer(activation[i : i + 1]), [layer.weight, layer.bias], grad_outputs=signal[i : i + 1])
        np.testing.assert_allclose(weight[i], expected[0].flatten(), rtol=1e-10)
        np.testing.assert_allclose(bias[i], expected[1], rtol=1e-10)
