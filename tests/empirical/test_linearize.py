"""The first-order model against its dense Jacobian, in function and in parameter space, for every kind of network.

Tolerances of 1e-12 are means and largest values of fewer than a hundred numbers that both sides have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit, softmax
from torch import nn

from empirical.image_networks import ConvolutionalNetwork, ResNet9
from empirical.linearize import linearize, train_with_linearization
from empirical.networks import FullyConnected
from tests.support.reference_gradients import derivative_matrix

F64 = torch.float64
# Sums of p ≤ 20,000 products over at most 12 steps in float64: 1e-10 leaves room and is far below any real difference.
AGREEMENT = 1e-10
ETA = 0.7

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "relu": (lambda: FullyConnected(5, 9, 2, seed=1, dtype=F64), 5),
    "centred": (lambda: FullyConnected(5, 9, 1, centred=True, seed=2, dtype=F64), 5),
    "tanh-biases-three-logits": (lambda: FullyConnected(5, 9, 1, n_outputs=3, convention="pytorch", activation="tanh", dtype=F64), 5),
    "cnn": (lambda: ConvolutionalNetwork((8, 8), channels=(3, 4), hidden=5, n_outputs=3, seed=3, dtype=F64), 64),
    "resnet": (lambda: ResNet9((3, 8, 8), channels=1 / 32, n_outputs=2, seed=4, dtype=F64).eval(), 192),
    "norm": (lambda: nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 1)).to(F64), 5),
}


def problem(d: int, logits: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(7)
    return rng.normal(size=(10, d)), rng.normal(size=(4, d)), rng.integers(0, max(logits, 2), 10)


def outputs(model: nn.Module, x: NDArray[np.float64]) -> NDArray[np.float64]:
    with torch.no_grad():
        return model(torch.tensor(x)).reshape(len(x), -1).numpy()


def dense(model: nn.Module, x: Any, test: Any, y: Any, index: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Logits ``[T, n + n_test, K]`` of the linear model by an explicit Jacobian and parameter vector."""
    everything = np.concatenate([x, test])
    jacobian, h0 = derivative_matrix(model, everything), outputs(model, everything)
    logits, w = h0.shape[1], np.zeros(jacobian.shape[2])
    found = []
    for step in range(len(index) + 1):
        h = h0 + np.einsum("kip,p->ik", jacobian, w)
        found.append(h)
        if step < len(index):
            part = index[step]
            f, target = (expit(h), y[:, None]) if logits == 1 else (softmax(h, axis=1), np.eye(logits)[y])
            w = w - ETA / len(part) * np.einsum("ik,kip->p", f[part] - target[part], jacobian[:, part])
    return np.array(found)


@pytest.mark.parametrize("method", ["function", "parameter"])
@pytest.mark.parametrize("batches", [False, True], ids=["full-batch", "mini-batches"])
@pytest.mark.parametrize("name", NETWORKS)
def test_both_methods_follow_the_dense_jacobian(name: str, batches: bool, method: str) -> None:
    build, d = NETWORKS[name]
    model = build()
    logits = outputs(model, np.ones((1, d))).shape[1]
    x, test, y = problem(d, logits)
    rng = np.random.default_rng(8)
    index = [rng.choice(10, size=4, replace=False) if batches else np.arange(10) for _ in range(3)]
    expected = dense(model, x, test, y, index)
    run = train_with_linearization(
        model, x, y, learning_rate=ETA, steps=3, test_inputs=test, batches=index if batches else None, method=method, chunk_size=3
    )
    scale = AGREEMENT * np.abs(expected).max()
    assert run.method == method
    assert run.test_logits is not None
    assert run.linear_test_logits is not None
    np.testing.assert_allclose(run.linear_logits.reshape(4, 10, -1), expected[:, :10], rtol=0, atol=scale)
    np.testing.assert_allclose(run.linear_test_logits.reshape(4, 4, -1), expected[:, 10:], rtol=0, atol=scale)

    # The network beside it, by torch's own optimiser and losses; the network that was given is as before.
    before = outputs(model, x)
    optimizer = torch.optim.SGD([part for part in model.parameters() if part.requires_grad], lr=ETA)
    target = torch.tensor(y)
    for step in range(3):
        np.testing.assert_allclose(run.logits[step].reshape(10, -1), outputs(model, x), rtol=0, atol=scale)
        h = model(torch.tensor(x[index[step]])).reshape(len(index[step]), -1)
        part = target[torch.tensor(index[step])]
        loss = (
            nn.functional.binary_cross_entropy_with_logits(h[:, 0], part.to(F64)) if logits == 1 else nn.functional.cross_entropy(h, part)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(run.logits[3].reshape(10, -1), outputs(model, x), rtol=0, atol=scale)
    assert np.abs(outputs(model, x) - before).max() > 1e3 * scale
    assert (run.distance()[1:] > 1e3 * scale).all()
    assert run.distance("test")[0] <= scale


def test_products_with_the_jacobian() -> None:
    model = FullyConnected(5, 9, 2, n_outputs=3, seed=1, dtype=F64)
    linear, (x, _, _) = linearize(model, chunk_size=4), problem(5, 3)
    jacobian, before = derivative_matrix(model, x), outputs(model, x)
    weights = np.random.default_rng(0).normal(size=(10, 3))
    pulled = torch.cat([part.reshape(-1) for part in linear.gradient(x, weights).values()]).numpy()
    np.testing.assert_allclose(pulled, np.einsum("ik,kip->p", weights, jacobian), rtol=0, atol=AGREEMENT * np.abs(pulled).max())
    with torch.no_grad():
        for number, part in enumerate(model.parameters()):
            part.add_(0.1 * torch.sin(torch.arange(part.numel(), dtype=F64) + number).reshape(part.shape))
    moved = linear.displacement(model)
    expected = before + np.einsum("kip,p->ik", jacobian, torch.cat([part.reshape(-1) for part in moved.values()]).numpy())
    np.testing.assert_allclose(linear.outputs(x, moved), expected, rtol=0, atol=AGREEMENT * np.abs(expected).max())
    assert np.abs(outputs(model, x) - expected).max() > 1e-3


def test_frozen_parameters_do_not_move() -> None:
    model = FullyConnected(5, 9, 1, seed=1, dtype=F64)
    model.layers[0].weight.requires_grad_(False)
    x, _, y = problem(5, 1)
    run = train_with_linearization(model, x, y, learning_rate=ETA, steps=4)
    # With the first layer frozen the network is linear in what is trained.
    assert run.distance().max() <= AGREEMENT * np.abs(run.logits).max()


def test_distance_falls_with_the_width() -> None:
    """Distance m^(−3/4) or so: a factor of 8 from m = 64 to m = 1024; 3 leaves room for one network's scatter (a few tenths)."""
    x, _, y = problem(5, 1)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    narrow, wide = (
        np.mean(
            [
                train_with_linearization(FullyConnected(5, m, 1, seed=s, dtype=F64), x, y, learning_rate=1, steps=8).distance()[-1]
                for s in range(8)
            ]
        )
        for m in (64, 1024)
    )
    assert narrow > 3 * wide


def test_recorded_steps_and_distances() -> None:
    model, (x, test, y) = FullyConnected(5, 9, 1, dtype=F64), problem(5, 1)
    every = train_with_linearization(model, x, y, learning_rate=ETA, steps=5, test_inputs=test)
    some = train_with_linearization(model, x, y, learning_rate=ETA, steps=5, test_inputs=test, record=[2, 5])
    assert some.times.tolist() == [2 * ETA, 5 * ETA]
    np.testing.assert_array_equal(some.logits, every.logits[[2, 5]])
    np.testing.assert_array_equal(some.distance("test", kind="rms"), every.distance("test", kind="rms")[[2, 5]])
    gap = every.logits - every.linear_logits
    np.testing.assert_allclose(every.distance(kind="rms"), np.sqrt((gap**2).mean(1)), rtol=1e-12)
    np.testing.assert_allclose(every.distance(kind="max"), np.abs(gap).max(1), rtol=1e-12)


def test_the_kernel_is_used_where_it_fits() -> None:
    model, (x, _, y) = FullyConnected(5, 9, 1, dtype=F64), problem(5, 1)
    assert train_with_linearization(model, x, y, learning_rate=ETA, steps=1, memory_budget=800).method == "function"
    assert train_with_linearization(model, x, y, learning_rate=ETA, steps=1, memory_budget=799).method == "parameter"


def run_with(**changes: Any) -> Any:
    x, test, y = problem(5, 1)
    arguments: dict[str, Any] = {"learning_rate": 1.0, "steps": 2, "test_inputs": test} | changes
    return train_with_linearization(FullyConnected(5, 9, 1, dtype=F64), arguments.pop("inputs", x), arguments.pop("labels", y), **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run_with(learning_rate=0), "learning_rate must be"),
        (lambda: run_with(learning_rate=1e90, steps=8, record=None), "training must stay finite, got a non-finite logit at step"),
        (lambda: run_with(steps=-1), "steps must be an integer >= 0"),
        (lambda: run_with(labels=[0, 1]), "labels must have one entry for each of 10 samples, got 2"),
        (lambda: run_with(labels=[2] * 10), "labels must"),
        (lambda: run_with(inputs=np.full((10, 5), np.nan)), "inputs must be finite"),
        (lambda: run_with(record=[2, 1]), "record must hold increasing step numbers in [0, 2], got [2, 1]"),
        (lambda: run_with(record=[3]), "record must hold increasing step numbers in [0, 2], got [3]"),
        (lambda: run_with(batches=[[0]]), "batches must hold the indices of 2 steps, got 1"),
        (lambda: run_with(batches=[[0], [10]]), "batches must hold indices from 0 to 9, at least one for every step, got [10] at step 1"),
        (lambda: run_with(method="other"), "method must be"),
        (lambda: run_with(test_inputs=None).distance("test"), "part must be 'train' where there are no test samples, got 'test'"),
        (lambda: run_with().distance(kind="mean"), "kind must be"),
        (lambda: linearize(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))), "call model.eval() first"),
        (lambda: linearize(nn.ReLU()), "model must have trainable parameters, got none"),
        (lambda: linearize(FullyConnected(5, 9, 1)).displacement(FullyConnected(5, 8, 1)), "model must have the parameters"),
        (lambda: linearize(FullyConnected(5, 9, 1)).outputs([[1.0] * 5], {}), "displacement must have the parameters layers.0.weight"),
        (lambda: linearize(FullyConnected(5, 9, 1)).gradient([[1.0] * 5], [[1.0]]), "weights must have the shape of the logits"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        call()
    assert "\n" not in str(error.value)
