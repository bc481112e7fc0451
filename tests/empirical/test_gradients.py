"""The layer-wise instrument agrees with one autograd call per sample, and never holds n × p numbers."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from empirical.gradients import GradientGeometry, gradient_geometry
from empirical.networks import FullyConnected
from tests.support.reference_gradients import derivative_matrix, loss_gradient_matrix, segment_gradient_matrix

F64 = torch.float64
# Rounding of sums of p ≈ 100 products in float64 is about 100·eps = 2e-14 relative; 1e-10 leaves room for bad conditioning and is far below
# any real difference.
AGREEMENT = 1e-10

ARCHITECTURES = [("eq2", "relu", False), ("eq2", "relu", True), ("eq6", "linear", False), ("eq7", "tanh", False), ("pytorch", "relu", True)]


def problem(n: int, d: int, n_classes: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Inputs, observed and true labels; every class has clean and noisy samples."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % n_classes
    shift = rng.integers(1, n_classes, n)
    observed = np.where(np.arange(n) // n_classes % 3 == 1, (truth + shift) % n_classes, truth)
    order = rng.permutation(n)
    return rng.standard_normal((n, d)), observed[order], truth[order]


def assert_agrees(
    geometry: GradientGeometry, observed_gradients: NDArray[np.float64], segments: NDArray[np.float64], truth: NDArray[np.int64]
) -> None:
    """Every field against the n × p arrays of the reference."""
    n_classes = len(segments) // 3
    norms, segment_norms = np.linalg.norm(observed_gradients, axis=1), np.linalg.norm(segments, axis=1)
    clean, noise, relabelled = np.split(segments, 3)
    np.testing.assert_allclose(geometry.gram, segments @ segments.T, rtol=0, atol=AGREEMENT * segment_norms.max() ** 2)
    np.testing.assert_allclose(geometry.sample_norm, norms, rtol=AGREEMENT)
    np.testing.assert_allclose(geometry.clean_norm, segment_norms[:n_classes], rtol=AGREEMENT)
    np.testing.assert_allclose(geometry.noise_norm, segment_norms[n_classes : 2 * n_classes], rtol=AGREEMENT)
    np.testing.assert_allclose(geometry.alpha, geometry.noise_norm / geometry.clean_norm, rtol=AGREEMENT)
    np.testing.assert_allclose(geometry.rho, [-cosine(c, n) for c, n in zip(clean, noise, strict=True)], atol=AGREEMENT)
    pooled_clean, pooled_noise = clean.sum(0), noise.sum(0)
    assert geometry.pooled_alpha == pytest.approx(np.linalg.norm(pooled_noise) / np.linalg.norm(pooled_clean), rel=AGREEMENT)
    assert geometry.pooled_rho == pytest.approx(-cosine(pooled_clean, pooled_noise), abs=AGREEMENT)
    with_truth = cosine(pooled_clean + pooled_noise, pooled_clean + relabelled.sum(0))
    assert float(geometry.summary.cosine_with_truth) == pytest.approx(with_truth, abs=AGREEMENT)
    cosines = observed_gradients @ clean.T / np.outer(norms, segment_norms[:n_classes])
    np.testing.assert_allclose(geometry.sample_cosines, cosines, atol=AGREEMENT)
    np.testing.assert_allclose(geometry.sample_cosine, cosines[np.arange(len(truth)), truth], atol=AGREEMENT)


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("chunk_size", [5, 64], ids="chunk={}".format)
@pytest.mark.parametrize("n_classes", [2, 3], ids="classes={}".format)
@pytest.mark.parametrize("depth", [1, 2], ids="depth={}".format)
@pytest.mark.parametrize(("convention", "activation", "centred"), ARCHITECTURES, ids=lambda value: str(value))
def test_agrees_with_one_autograd_call_per_sample(
    convention: str, activation: str, centred: bool, depth: int, n_classes: int, chunk_size: int
) -> None:
    x, observed, truth = problem(24, 5, n_classes, depth)
    outputs = 1 if n_classes == 2 else n_classes
    options: dict[str, Any] = {"n_outputs": outputs, "convention": convention, "activation": activation, "centred": centred}
    model = FullyConnected(5, 9, depth, seed=3, dtype=F64, **options)
    if centred:  # away from h = 0
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1)
    gradients, true_gradients = loss_gradient_matrix(model, x, observed), loss_gradient_matrix(model, x, truth)
    segments = segment_gradient_matrix(gradients, true_gradients, observed, truth, n_classes)
    geometry = gradient_geometry(model, x, observed, truth=truth, n_classes=n_classes, chunk_size=chunk_size)
    assert_agrees(geometry, gradients, segments, truth)
    np.testing.assert_array_equal(geometry.n_clean, [np.sum((truth == c) & (observed == c)) for c in range(n_classes)])
    np.testing.assert_array_equal(geometry.n_noise, [np.sum((truth == c) & (observed != c)) for c in range(n_classes)])


@pytest.mark.parametrize("logit", [0, 1, 2], ids="logit={}".format)
def test_single_logit_gradients_agree_with_one_autograd_call_per_sample(logit: int) -> None:
    x, observed, truth = problem(24, 5, 3, 4)
    model = FullyConnected(5, 9, 2, n_outputs=3, seed=3, dtype=F64)
    gradients, true_gradients = (loss_gradient_matrix(model, x, labels, logit=logit) for labels in (observed, truth))
    segments = segment_gradient_matrix(gradients, true_gradients, observed, truth, 3)
    assert_agrees(gradient_geometry(model, x, observed, truth=truth, n_classes=3, logit=logit), gradients, segments, truth)


def test_two_logits_for_two_classes_are_the_softmax_problem() -> None:
    x, observed, truth = problem(24, 5, 2, 5)
    model = FullyConnected(5, 9, 1, n_outputs=2, seed=3, dtype=F64)
    gradients, true_gradients = (loss_gradient_matrix(model, x, labels) for labels in (observed, truth))
    segments = segment_gradient_matrix(gradients, true_gradients, observed, truth, 2)
    assert_agrees(gradient_geometry(model, x, observed, truth=truth, n_classes=2), gradients, segments, truth)


def test_any_network_of_linear_layers_will_do_and_frozen_parameters_do_not_count() -> None:
    class Residual(nn.Module):
        """A skip connection, a frozen bias, a frozen layer and a normalisation without parameters."""

        def __init__(self) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.first, self.middle, self.frozen, self.last = nn.Linear(5, 9), nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 1)
            for parameter in self.parameters():
                nn.init.normal_(parameter, generator=generator)
            self.middle.bias.requires_grad_(False)
            self.last.weight.requires_grad_(False)
            self.frozen.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(self.first(x))
            return self.last(nn.functional.layer_norm(hidden + torch.tanh(self.middle(hidden)) + self.frozen(hidden), (9,)))

    x, observed, truth = problem(24, 5, 2, 6)
    model = Residual().to(F64)
    gradients, true_gradients = (loss_gradient_matrix(model, x, labels) for labels in (observed, truth))
    segments = segment_gradient_matrix(gradients, true_gradients, observed, truth, 2)
    assert_agrees(gradient_geometry(model, x, observed, truth=truth, chunk_size=7), gradients, segments, truth)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # raised inside torch.func.jvp
def test_inner_products_are_the_forward_mode_derivative_along_a_segment_gradient() -> None:
    x, observed, truth = problem(24, 5, 2, 7)
    model = FullyConnected(5, 9, 2, seed=3, dtype=F64)
    geometry = gradient_geometry(model, x, observed, truth=truth)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    clean_zero = (truth == 0) & (observed == 0)
    loss = nn.functional.binary_cross_entropy_with_logits
    total = loss(model(torch.tensor(x[clean_zero])), torch.tensor(observed[clean_zero], dtype=F64), reduction="sum")
    direction = dict(zip(parameters, torch.autograd.grad(total, list(model.parameters())), strict=True))
    _, moved = torch.func.jvp(lambda p: torch.func.functional_call(model, p, (torch.tensor(x),)), (parameters,), (direction,))
    inner = geometry.sample_cosines[:, 0] * geometry.sample_norm * geometry.clean_norm[0]
    np.testing.assert_allclose(inner, geometry.residual * moved.detach().numpy(), rtol=0, atol=AGREEMENT * np.abs(inner).max())


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 8),
    d=st.integers(1, 6),
    width=st.integers(1, 12),
    depth=st.integers(1, 3),
    n_classes=st.sampled_from([2, 3]),
    seed=st.integers(0, 2**31),
)
def test_sample_gradients_are_residual_times_derivative(n: int, d: int, width: int, depth: int, n_classes: int, seed: int) -> None:
    """S1: ∇l_i = Σ_k (f − y)_ik ∇h_k(x_i), against autograd of PyTorch's own losses; the squared loss on f is not of that form."""
    rng = np.random.default_rng(seed)
    x, labels = rng.standard_normal((n, d)), rng.integers(0, n_classes, n)
    model = FullyConnected(d, width, depth, n_outputs=1 if n_classes == 2 else n_classes, convention="pytorch", seed=seed, dtype=F64)
    gradients, derivatives = loss_gradient_matrix(model, x, labels), derivative_matrix(model, x)
    residual = gradient_geometry(model, x, labels, truth=labels, n_classes=n_classes).residual.reshape(n, -1)
    product = np.einsum("ik,kip->ip", residual, derivatives)
    np.testing.assert_allclose(product, gradients, rtol=0, atol=AGREEMENT * np.abs(gradients).max())
    if n_classes == 2:
        output = model(torch.tensor(x))
        squared = torch.autograd.grad(((torch.sigmoid(output) - torch.tensor(labels)) ** 2 / 2).sum(), list(model.parameters()))
        flat = torch.cat([part.flatten() for part in squared]).numpy()
        assert not np.allclose(flat, product.sum(0), rtol=1e-3, atol=1e-12)  # control: off by the factor f(1 − f) ≤ 1/4


def test_shuffled_masks_and_flipped_labels_are_noticed() -> None:
    x, observed, truth = problem(24, 5, 2, 8)
    model = FullyConnected(5, 9, 1, seed=3, dtype=F64)
    right = gradient_geometry(model, x, observed, truth=truth)
    shuffled = gradient_geometry(model, x, observed, truth=np.random.default_rng(0).permutation(truth))
    flipped = gradient_geometry(model, x, 1 - observed, truth=truth)  # exchanges clean and noisy samples of each class
    assert not np.allclose(right.alpha, shuffled.alpha, rtol=1e-2)
    assert not np.allclose(right.alpha, flipped.alpha, rtol=1e-2)


def test_float32_loses_only_rounding() -> None:
    x, observed, truth = problem(200, 20, 2, 9)
    single = gradient_geometry(FullyConnected(20, 64, 2, seed=1), x, observed, truth=truth)
    double = gradient_geometry(FullyConnected(20, 64, 2, seed=1, dtype=F64), x, observed, truth=truth)
    # Sums of at most 200 terms, ten layers of operations: 2000·eps(float32)/2 = 1e-4 is an upper bound on the relative error.
    np.testing.assert_allclose(single.alpha, double.alpha, rtol=1e-4)
    np.testing.assert_allclose(single.sample_cosines, double.sample_cosines, atol=1e-4)


def test_empty_segments_give_nan_and_nothing_else_does() -> None:
    x, observed, truth = problem(24, 5, 2, 10)
    observed = np.where(truth == 1, 1, observed)  # no noise in class 1
    geometry = gradient_geometry(FullyConnected(5, 9, 1, dtype=F64), x, observed, truth=truth)
    assert np.isnan(geometry.alpha).tolist() == [False, True]
    assert np.isnan(geometry.rho).tolist() == [False, True]
    assert geometry.noise_norm[1] == 0
    assert np.isfinite([geometry.pooled_alpha, geometry.pooled_rho]).all()
    assert np.isfinite(geometry.sample_cosines).all()
    one_class = gradient_geometry(FullyConnected(5, 9, 1, dtype=F64), x, np.zeros_like(truth), truth=np.zeros_like(truth))
    assert np.isnan(one_class.sample_cosines[:, 1]).all()
    assert np.isfinite(one_class.sample_cosines[:, 0]).all()


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor that any operation makes."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.largest = max(self.largest, leaf.numel())
        return result


@pytest.mark.parametrize("outputs", [1, 3], ids="logits={}".format)
def test_never_holds_n_times_p_numbers(outputs: int) -> None:
    n, d, width, n_classes = 500, 100, 40, max(outputs, 2)
    x, observed, truth = problem(n, d, n_classes, 11)
    model = FullyConnected(d, width, 2, n_outputs=outputs)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with LargestTensor() as mode:
        gradient_geometry(model, x, observed, truth=truth, n_classes=n_classes, chunk_size=100)
    # Two things are allowed: O(n·width), the inputs n·d, and O(C·p), the 3C segment gradients of a layer.
    assert mode.largest <= max(n * d, 3 * n_classes * d * width)
    assert mode.largest < n * parameters / 50
    with LargestTensor() as control:
        per_sample = torch.func.vmap(torch.func.grad(lambda p, x: torch.func.functional_call(model, p, (x[None],)).sum()), (None, 0))
        per_sample({name: value.detach() for name, value in model.named_parameters()}, torch.tensor(x, dtype=torch.float32))
    assert control.largest >= n * d * width  # control: the usual way does


def test_takes_numpy_and_torch_and_leaves_the_model_as_it_was() -> None:
    x, observed, truth = problem(24, 5, 2, 12)
    model = FullyConnected(5, 9, 1, dtype=F64)
    with torch.inference_mode(False), torch.no_grad():
        from_torch = gradient_geometry(model, torch.tensor(x, dtype=torch.float32), torch.tensor(observed), truth=torch.tensor(truth))
    from_numpy = gradient_geometry(model, x.astype(np.float32), observed, truth=truth)
    np.testing.assert_array_equal(from_torch.gram, from_numpy.gram)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(not layer._forward_hooks for layer in model.layers)


class CallsTwice(nn.Module):
    """One layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last = nn.Linear(5, 5), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate."""
        return self.last(self.hidden(torch.relu(self.hidden(x))))


class SharesWeights(nn.Module):
    """Two layers with one weight matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 1)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Evaluate."""
        return self.last(self.second(torch.relu(self.first(x))))


def unsupported(kind: str) -> nn.Module:
    inner: dict[str, nn.Module] = {
        "batch-norm": nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
        "dropout": nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 1)),
        "in-place": nn.Sequential(nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 1)),
        "nothing-trainable": nn.Sequential(nn.Linear(5, 1)).requires_grad_(False),
        "called-twice": CallsTwice(),
        "shared": SharesWeights(),
        "wrong-output": nn.Sequential(nn.Linear(5, 3)),
        "infinite": nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 1), nn.Threshold(1e30, float("inf"))),
    }
    return inner[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("batch-norm", "call model.eval() first"),
        ("dropout", "call model.eval() first"),
        ("in-place", "use inplace=False"),
        ("nothing-trainable", "model must have trainable parameters, got none"),
        ("called-twice", "each linear layer must be called once"),
        ("shared", "model must not share parameters between layers"),
        ("wrong-output", "model output must have 1 or 2 logits for n_classes=2, got 3"),
        ("infinite", "model output must be finite, got inf"),
    ],
    ids=lambda value: value if " " not in value else "",
)
def test_unsupported_networks_are_refused_in_one_line(kind: str, message: str) -> None:
    x, observed, truth = problem(12, 5, 2, 13)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        gradient_geometry(unsupported(kind), x, observed, truth=truth)
    assert "\n" not in str(error.value)


X, OBSERVED, TRUTH = problem(12, 5, 2, 14)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": X[:, 0]}, "inputs must have shape [n, d] with n, d >= 1, got shape [12]"),
        ({"inputs": np.where(np.arange(12)[:, None] == 3, np.nan, X)}, "inputs must be finite, got nan at index [3, 0]"),
        ({"inputs": X * (np.arange(12) != 4)[:, None]}, "got a zero vector at row 4"),
        ({"inputs": X.astype(complex)}, "inputs must hold real numbers, got dtype complex128"),
        ({"labels": OBSERVED[:-1]}, "labels must have one entry per input (12), got 11"),
        ({"labels": OBSERVED + 1}, "labels must lie in 0..1 (2 classes), got 2"),
        ({"labels": OBSERVED.astype(float)}, "labels must hold integers, got dtype float64"),
        ({"truth": TRUTH[:5]}, "truth must have one entry per input (12), got 5"),
        ({"n_classes": 1}, "n_classes must be an integer >= 2, got 1"),
        ({"n_classes": 3}, "model output must have 3 logits for n_classes=3, got 1"),
        ({"logit": 0}, "logit must be None for a network with one logit, got 0"),
        ({"logit": 2}, "logit must lie in 0..1, got 2"),
        ({"chunk_size": 0}, "chunk_size must be an integer >= 1, got 0"),
        ({"model": "network"}, "model must be a torch.nn.Module, got str"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"model": FullyConnected(5, 9, 1), "inputs": X, "labels": OBSERVED, "truth": TRUTH, "n_classes": 2} | change
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        gradient_geometry(arguments.pop("model"), arguments.pop("inputs"), arguments.pop("labels"), **arguments)
    assert "\n" not in str(error.value)
