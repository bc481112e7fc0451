"""Networks of the user's own: how factories are called, which shape they take, and that training is plain descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from empirical.datasets import Dataset
from empirical.image_networks import ConvolutionalNetwork
from empirical.initial_kernel import initial_kernel
from empirical.networks import FullyConnected
from empirical.noise import corrupt_labels
from empirical.record import record
from empirical.tangent_kernel import empirical_ntk
from empirical.task_training import build_network, default_network, network_inputs, train_task

RNG = np.random.default_rng(0)
ROWS = Dataset.from_arrays(RNG.random((24, 6)), np.arange(24) % 2, RNG.random((8, 6)), np.arange(8) % 2)
PICTURES = Dataset.from_arrays(RNG.random((24, 4, 4)), np.arange(24) % 3, image_shape=(4, 4))
TOKENS = Dataset.from_arrays(RNG.integers(0, 5, (24, 6)).astype(float), np.arange(24) % 2)


def test_a_factory_gets_what_it_names() -> None:
    seen: dict[str, Any] = {}

    def factory(n_inputs: int, n_outputs: int, n_classes: int, image_shape: object, seed: int, hidden: int = 3) -> nn.Module:
        seen.update(n_inputs=n_inputs, n_outputs=n_outputs, n_classes=n_classes, image_shape=image_shape, seed=seed, hidden=hidden)
        return nn.Linear(n_inputs, n_outputs)

    build_network(factory, PICTURES, seed=7)
    assert seen == {"n_inputs": 16, "n_outputs": 3, "n_classes": 3, "image_shape": (4, 4), "seed": 7, "hidden": 3}


def test_seeds_reach_factories_that_do_not_name_them_and_leave_no_trace() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    weights = [build_network(lambda: nn.Linear(6, 1), ROWS, seed=seed).weight for seed in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def wants_more(width: int) -> nn.Module:
    return nn.Linear(width, 1)


def fails() -> nn.Module:
    raise RuntimeError("no\nluck")


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (nn.Linear(6, 1), "network must be a function or class that makes a torch.nn.Module, got Linear"),
        (wants_more, "network factory 'wants_more' asks for 'width', expected none but image_shape, n_inputs"),
        (fails, "network factory 'fails' failed: RuntimeError: no luck"),
        (lambda: 3, "must give a torch.nn.Module, got int"),
        (nn.ReLU, "without trainable parameters"),
    ],
)
def test_bad_factories_are_one_line(factory: Callable[..., nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_network(factory, ROWS, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "dataset", "expected"),
    [
        (nn.Linear(6, 1), ROWS, ((6,), torch.float32)),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)), PICTURES, ((1, 4, 4), torch.float32)),
        (nn.Linear(16, 3), PICTURES, ((16,), torch.float32)),
        (nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(18, 2)), TOKENS, ((6,), torch.int64)),
        (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), ROWS, ((6,), torch.float32)),
    ],
    ids=["rows", "pictures", "flattened-pictures", "tokens", "batch-norm"],
)
def test_the_shape_that_a_network_takes_is_found(network: nn.Module, dataset: Dataset, expected: tuple[Any, Any]) -> None:
    assert network_inputs(network, dataset) == expected
    assert all(module.training for module in network.modules())


def test_a_network_that_does_not_fit_is_one_line() -> None:
    with pytest.raises(ValueError, match="network does not fit the data: network output must have 3 logits for 3 classes, got 10"):
        network_inputs(nn.Linear(16, 10), PICTURES)
    with pytest.raises(ValueError, match="network does not fit the data: it fails on samples of shape"):
        network_inputs(nn.Linear(5, 2), ROWS)


def test_the_default_network() -> None:
    assert isinstance(default_network((28, 28), 784, 1, 0), ConvolutionalNetwork)
    assert isinstance(default_network((3, 32, 32), 3072, 10, 0), ConvolutionalNetwork)
    assert isinstance(default_network((8, 8), 64, 1, 0), FullyConnected)
    assert isinstance(default_network(None, 5, 3, 0), FullyConnected)


def test_training_is_gradient_descent_on_the_papers_loss() -> None:
    """Three full-batch steps beside the same steps by hand, in float32: three roundings of a gradient of order one."""
    noisy = corrupt_labels(ROWS.train_truth, 0.25, n_classes=2, seed=0)
    trace = train_task(lambda: nn.Linear(6, 1), ROWS, noisy, epochs=3, learning_rate=0.5, batch_size=None, seed=4, device="cpu")
    model = build_network(lambda: nn.Linear(6, 1), ROWS, seed=4)
    x, y = torch.tensor(ROWS.train_inputs), torch.tensor(noisy.observed, dtype=torch.float32)
    for _ in range(3):
        residual = torch.sigmoid(model(x)[:, 0]) - y
        with torch.no_grad():
            model.weight -= 0.5 * (residual @ x / len(x))[None]
            model.bias -= 0.5 * residual.mean()
    torch.testing.assert_close(trace.model.weight, model.weight, rtol=0, atol=1e-6)
    assert trace.trajectory.steps.tolist() == [0, 1, 2, 3]


def test_two_trainings_from_one_seed_are_the_same() -> None:
    noisy = corrupt_labels(ROWS.train_truth, 0.25, n_classes=2, seed=0)
    runs = [
        train_task(
            lambda: nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.2), nn.Linear(9, 2)),
            ROWS,
            noisy,
            epochs=4,
            learning_rate=0.1,
            batch_size=5,
            seed=2,
            device="cpu",
            every=every,
        )
        for every in (1, 100)
    ]
    assert all(torch.equal(a, b) for a, b in zip(runs[0].model.state_dict().values(), runs[1].model.state_dict().values(), strict=True))
    assert len(runs[0].steps) > len(runs[1].steps)


def test_the_kernel_is_that_before_training() -> None:
    noisy = corrupt_labels(ROWS.train_truth, 0.25, n_classes=2, seed=0)

    def factory(seed: int) -> nn.Module:
        return FullyConnected(6, 32, 1, seed=seed)

    trace = train_task(factory, ROWS, noisy, epochs=20, learning_rate=1.0, batch_size=None, seed=3, device="cpu", every=10)
    found = initial_kernel(trace)
    expected = empirical_ntk(FullyConnected(6, 32, 1, seed=3, dtype=torch.float64), ROWS.train_inputs)
    # The initialisation is kept in float32: relative rounding 6e-8 of each of 32·7 parameters.
    np.testing.assert_allclose(found.kernel, expected, rtol=0, atol=1e-5 * expected.max())
    assert found.cross is not None
    assert found.cross.shape == (8, 24)
    after = empirical_ntk(trace.model, ROWS.train_inputs)
    assert np.abs(after - expected).max() > 1e-3 * expected.max()


def test_a_part_of_the_samples_keeps_the_shares_of_the_segments() -> None:
    truth = np.arange(200) % 2
    observed = np.where(np.arange(200) % 10 < 4, 1 - truth, truth)
    with record(nn.Linear(3, 1), np.random.default_rng(0).random((200, 3)), observed, truth=truth) as trace:
        pass
    rows = initial_kernel(trace, samples=50).rows
    assert len(rows) == 50
    assert np.mean(observed[rows] != truth[rows]) == pytest.approx(0.4)


def test_kernel_of_inputs_without_a_direction() -> None:
    with record(
        nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(18, 2)),
        TOKENS.train_inputs.astype(np.int64),
        1 - TOKENS.train_truth * 0,
        truth=TOKENS.train_truth,
    ) as trace:
        pass
    with pytest.raises(ValueError, match="inputs are integers"):
        initial_kernel(trace)


def test_divergence_is_one_line() -> None:
    noisy = corrupt_labels(ROWS.train_truth, 0.25, n_classes=2, seed=0)

    def deep() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 1))

    with pytest.raises(ValueError, match="network output must be finite") as caught:
        train_task(deep, ROWS, noisy, epochs=60, learning_rate=1e8, batch_size=None, seed=0, device="cpu", every=1)
    assert "\n" not in str(caught.value)


def test_a_kernel_that_would_take_too_long_is_refused_in_one_line() -> None:
    large = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 1024, 2), nn.Conv2d(1024, 1024, 2), nn.Flatten(), nn.Linear(4096, 3))
    with record(large, PICTURES.train_inputs, PICTURES.train_truth, truth=PICTURES.train_truth, n_classes=3, samples=16) as trace:
        pass
    with pytest.raises(ValueError, match="layers other than linear ones have 4200448 parameters, too many for the kernel of 32 samples"):
        initial_kernel(trace, samples=100)
