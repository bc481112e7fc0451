"""Many networks beside their linearisations: the numbers of one network at a time, by independent means."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from empirical.batch_kernel import batch_kernel
from empirical.batched import NetworkBatch
from empirical.linearize import train_with_linearization
from empirical.linearized_runs import LinearizedRun
from empirical.networks import FullyConnected
from empirical.noise import corrupt_labels
from empirical.specifications import DataSpec, NetworkSpec, TrainingSpec
from empirical.tangent_kernel import empirical_ntk
from tests.support.reference_gradients import derivative_matrix, loss_gradient_matrix, segment_gradient_matrix

F64 = torch.float64
# Sums of a few thousand products over eight steps in float64: 1e-10 leaves room and is far below any real difference.
AGREEMENT = 1e-10
STEPS, ETA = 8, 0.8


def run(**changes: Any) -> LinearizedRun:
    network = {"width": 12, "depth": 1} | changes.pop("network", {})
    fields: dict[str, Any] = {
        "name": "test",
        "data": DataSpec(name="clusters", n_train=20, n_test=8),
        "noise_level": 0.3,
        "network": NetworkSpec(**network),
        "training": TrainingSpec(learning_rate=ETA, steps=STEPS, n_records=3, record_logits=True),
        "seeds": (3, 5),
        "n_kernel": 4,
    }
    return LinearizedRun(**{**fields, **changes})


@pytest.mark.parametrize(
    "network",
    [{}, {"centred": True}, {"depth": 2}, {"activation": "tanh", "convention": "eq7"}, {"convention": "pytorch", "depth": 2}],
    ids=lambda changes: "-".join(map(str, changes.values())) or "relu",
)
def test_numbers_of_one_network_at_a_time(network: dict[str, Any]) -> None:
    spec = run(network=network)
    measured, data = spec.measure(device="cpu"), spec.data.load()
    for position, seed in enumerate(spec.seeds):
        labels = corrupt_labels(data.train_truth, 0.3, n_classes=2, seed=seed).observed
        one = measured.isel(seed=position)
        np.testing.assert_array_equal(one["observed"], labels)
        net = spec.network
        options: dict[str, Any] = {"activation": net.activation, "convention": net.convention, "centred": net.centred}
        model = FullyConnected(2, net.width, net.depth, seed=seed, dtype=F64, **options)
        x, test = data.train_inputs.astype(float), data.test_inputs.astype(float)
        single = train_with_linearization(model, x, labels, learning_rate=ETA, steps=STEPS, test_inputs=test, record=[0, 2, STEPS])
        assert measured["step"].values.tolist() == single.steps.tolist()
        ours = [one[name].values for name in ("train_logits", "linear_train_logits", "test_logits", "linear_test_logits")]
        theirs = [single.logits, single.linear_logits, single.test_logits, single.linear_test_logits]
        for left, right in zip(ours, theirs, strict=True):
            assert right is not None
            np.testing.assert_allclose(left, right, rtol=0, atol=AGREEMENT)
        for part in ("train", "test"):
            for kind in ("max", "rms"):
                np.testing.assert_allclose(one[f"{part}_distance_{kind}"], single.distance(part, kind=kind), rtol=0, atol=AGREEMENT)

        # The network at the end, by torch's own optimiser; then every drift from its dense derivatives.
        parts = {name: one.kernel_index.values[one.kernel_part.values == name] for name in ("train", "test")}
        watched = np.concatenate([x[parts["train"]], test[parts["test"]]])
        before, weights = derivative_matrix(model, watched)[0], [layer.weight.detach().clone() for layer in model.layers]
        gates = [gate_patterns(model, watched)]
        start = derivative_matrix(model, x)[0]
        optimizer = torch.optim.SGD(model.parameters(), lr=ETA)
        target = torch.tensor(labels, dtype=F64)
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(model(torch.tensor(x)), target).backward()
            optimizer.step()
        after = derivative_matrix(model, watched)[0]
        gates.append(gate_patterns(model, watched))
        k0, kt = before @ before.T, after @ after.T
        assert one.sizes["kernel_sample"] == 8
        np.testing.assert_allclose(one["kernel_drift"][-1], np.linalg.norm(kt - k0) / np.linalg.norm(k0), rtol=AGREEMENT)
        change = np.linalg.norm(after - before, axis=1) / np.linalg.norm(before, axis=1)
        np.testing.assert_allclose(one["gradient_change"][-1], change, rtol=1e-8)
        np.testing.assert_array_equal(one["pattern_change"][-1], (gates[0] != gates[1]).mean(axis=1))
        drifts = [float((layer.weight.detach() - w).norm() / w.norm()) for layer, w in zip(model.layers, weights, strict=True)]
        np.testing.assert_allclose(one["parameter_drift"][-1], drifts, rtol=AGREEMENT)

        segments = segment_gradient_matrix(
            loss_gradient_matrix(model, x, labels), loss_gradient_matrix(model, x, data.train_truth), labels, data.train_truth, 2
        )
        scale = AGREEMENT * float(one["gram"][-1].max())
        np.testing.assert_allclose(one["gram"][-1], segments @ segments.T, rtol=0, atol=scale)
        f = 1 / (1 + np.exp(-single.linear_logits[-1]))
        linear = segment_gradient_matrix(
            (f - labels)[:, None] * start, (f - data.train_truth)[:, None] * start, labels, data.train_truth, 2
        )
        np.testing.assert_allclose(one["linear_gram"][-1], linear @ linear.T, rtol=0, atol=scale)
        clean, noise = linear[:2], linear[2:4]
        np.testing.assert_allclose(one["linear_alpha"][-1], np.linalg.norm(noise, axis=1) / np.linalg.norm(clean, axis=1), rtol=1e-8)
        for name, logits in (("test_error", single.test_logits), ("linear_test_error", single.linear_test_logits)):
            assert logits is not None
            wrong = np.where(logits == 0, 0.5, (logits > 0) != data.test_truth)
            np.testing.assert_allclose(one[name], wrong.mean(axis=1), rtol=AGREEMENT)


def gate_patterns(model: FullyConnected, x: np.ndarray) -> np.ndarray:
    """Which hidden units are on, all layers side by side ``[k, units]``."""
    signal, found = torch.tensor(x), []
    for layer in list(model.layers)[:-1]:
        signal = torch.relu(layer(signal)) if model.activation == "relu" else torch.tanh(layer(signal))
        found.append((signal > 0).numpy())
    return np.concatenate(found, axis=1)


def test_kernels_of_a_batch_are_those_of_single_networks() -> None:
    x, z = np.random.default_rng(0).normal(size=(2, 5, 4))
    for convention in ("eq2", "pytorch"):
        batch = NetworkBatch.draw(4, 7, 2, seeds=(1, 2), convention=convention, dtype=F64)
        kernels = batch_kernel(batch, torch.tensor(x), torch.tensor(z))
        for seed, kernel in zip((1, 2), kernels, strict=True):
            one = empirical_ntk(FullyConnected(4, 7, 2, convention=convention, seed=seed, dtype=F64), x, z)
            np.testing.assert_allclose(kernel, one, rtol=0, atol=AGREEMENT * np.abs(one).max())
    with pytest.raises(ValueError, match="batch must have networks with one logit, got 3"):
        batch_kernel(NetworkBatch.draw(4, 7, 1, n_outputs=3, seeds=(1,)), torch.ones(1, 4))


def test_nothing_has_moved_at_the_start_and_all_has_later() -> None:
    measured = run().measure(device="cpu")
    for name in ("kernel_drift", "gradient_change", "pattern_change", "parameter_drift", "train_distance_max", "test_distance_rms"):
        assert float(np.abs(measured[name][:, 0]).max()) <= AGREEMENT, name
        assert float(measured[name][:, -1].max()) > 1e-4, name


def test_mean_field_scale_moves_the_logits_alike_and_the_gradients_more() -> None:
    """The first step moves the logits by −(η/n) K r in both scales; gradients change less in a wider network only in the kernel scale."""
    short = TrainingSpec(learning_rate=1e-4, steps=1, record_logits=True)
    kernel, field = (
        run(training=short, scale=scale, network={"centred": True}).measure(device="cpu") for scale in ("kernel", "mean field")
    )
    # A step moves the weights by at most η √K in the kernel scale, by η m √K in the mean-field scale; a second-order term is a first-order
    # one times that and √K again. Inputs of norm 1 have K(x, x) = 2: 12 · 1e-4 · 2 = 2.4e-3 of the largest move, the logits starting at 0.
    one, other = (measured["train_logits"].values[:, 1] for measured in (kernel, field))
    second_order = 12 * short.learning_rate * 2
    np.testing.assert_allclose(one, other, rtol=0, atol=second_order * np.abs(one).max())

    def drift(scale: str, width: int) -> float:
        spec = run(scale=scale, network={"width": width, "centred": True}, seeds=tuple(range(16)))
        return float(np.sqrt(np.mean(spec.measure(device="cpu")["gradient_change"][:, -1] ** 2)))

    # From m = 64 to 4096 by m^(−1/4) to 0.35, and by m^0 to 1; one network scatters by a third.
    assert drift("kernel", 4096) < 0.6 * drift("kernel", 64)
    assert drift("mean field", 4096) > 0.6 * drift("mean field", 64)


def test_splitting_the_seeds_changes_nothing(batch_sizes: list[int]) -> None:
    together, apart = run().measure(device="cpu"), run().measure(device="cpu", memory_budget=1)
    assert batch_sizes == [2, 1, 1]  # both seeds at once; no room for one, so one by one
    for name in together.data_vars:
        np.testing.assert_allclose(together[name], apart[name], rtol=0, atol=1e-9 * max(1.0, float(np.abs(together[name]).max())))


def test_every_field_that_counts_enters_the_key() -> None:
    spec = run()
    changed = [
        replace(spec, data=DataSpec(name="clusters", n_train=22, n_test=8)),
        replace(spec, noise_level=0.1),
        replace(spec, network=NetworkSpec(width=13, depth=1)),
        replace(spec, training=TrainingSpec(learning_rate=ETA, steps=STEPS, n_records=4, record_logits=True)),
        replace(spec, seeds=(3, 6)),
        replace(spec, n_kernel=5),
        replace(spec, scale="mean field"),
        replace(spec, dtype="float32"),
    ]
    assert len({spec.key(), *(other.key() for other in changed)}) == 9
    assert replace(spec, name="other").key() == spec.key()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": TrainingSpec(learning_rate=1.0, steps=1, batch_size=4)}, "training must be full-batch beside a linearisation"),
        ({"scale": "other"}, "scale must be"),
        ({"scale": "mean field", "network": {"depth": 2}}, "scale 'mean field' needs one hidden layer without biases"),
        ({"network": {"kind": "cnn", "depth": 0, "width": 8, "convention": "pytorch"}}, "network must be fully connected"),
        ({"n_kernel": 0}, "n_kernel must be an integer >= 1"),
        ({"seeds": ()}, "seeds must be at least one integer"),
    ],
)
def test_bad_specifications_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": DataSpec(name="digits", classes=(0, 1, 2))}, "data must have two classes and test samples, got 3 classes"),
        ({"training": TrainingSpec(learning_rate=1e90, steps=8)}, "training must stay finite, got a non-finite logit at step"),
    ],
)
def test_what_cannot_be_measured_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        run(**changes).measure(device="cpu")
