"""A batch of networks for pictures is its networks one by one: outputs, steps, running statistics and segment gradients."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from empirical import module_batch
from empirical.batched import Job
from empirical.batches import draw_batch
from empirical.datasets import Dataset
from empirical.gradients import gradient_geometry
from empirical.image_networks import ResNet9
from empirical.module_batch import ModuleBatch
from empirical.noise import corrupt_labels_batch
from empirical.recorder import Segmentation, SegmentGrams
from empirical.specifications import DataSpec, NetworkSpec

F64 = torch.float64
SEEDS = (5, 6, 7)
# A few thousand operations on numbers of size about 1 in float64 stay below 1e-12 relative; five steps multiply that by less than 100.
SAME = {"rtol": 0, "atol": 1e-10}

NETWORKS = {
    "cnn": NetworkSpec(kind="cnn", width=5, channels=1 / 16, convention="pytorch"),
    "resnet-batch": NetworkSpec(kind="resnet9", channels=1 / 64, convention="pytorch", activation="mish"),
    "resnet-group": NetworkSpec(kind="resnet9", channels=1 / 32, convention="pytorch", normalization="group"),
    "resnet-footnote": NetworkSpec(kind="resnet9", channels=1 / 64, convention="pytorch", activation="mish", variant="footnote"),
}


def pictures(classes: int = 3, n: int = 24, normalize: str = "pixel", name: str = "") -> Dataset:
    """Random pictures: no two places of one are equal, so that rounding never decides which of them max-pooling takes.

    For the network of a name the smallest that leave more than one place after its last pooling, if it takes no smaller ones.
    """
    rng = np.random.default_rng(3)
    shape = (1, 16, 32) if name == "resnet-footnote" else (2, 8, 8)
    d = int(np.prod(shape))
    return Dataset.from_arrays(
        rng.random((n, d)), np.arange(n) % classes, rng.random((6, d)), np.arange(6) % classes, image_shape=shape, normalize=normalize
    )


def single(network: NetworkSpec, data: Dataset, seed: int) -> nn.Module:
    """The network of one seed as the batch should hold it: calibrated, in evaluation mode."""
    model = network.build(data, seed=seed, dtype=F64)
    if isinstance(model, ResNet9):
        model.calibrate(torch.tensor(data.train_inputs, dtype=F64))
    return model.eval()


def trained(network: NetworkSpec, data: Dataset, together: bool, steps: int = 5) -> tuple[ModuleBatch, list[nn.Module]]:
    """A batch and single networks after a few steps on mini-batches of their own."""
    batch = ModuleBatch.draw(network, data, seeds=SEEDS, dtype=F64, together=together)
    models = [single(network, data, seed) for seed in SEEDS]
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in models]
    inputs, truth, rng = torch.tensor(data.train_inputs, dtype=F64), torch.tensor(data.train_truth), np.random.default_rng(1)
    for _ in range(steps):
        index = torch.tensor(np.stack([rng.permutation(len(inputs))[:10] for _ in SEEDS]))
        batch.descend(inputs[index], truth[index], factor=-0.1 / 10)
        for model, optimizer, rows in zip(models, optimizers, index, strict=True):
            optimizer.zero_grad()
            output = model.train()(inputs[rows])
            if output.ndim == 1:
                loss = nn.functional.binary_cross_entropy_with_logits(output, truth[rows].to(F64))
            else:
                loss = nn.functional.cross_entropy(output, truth[rows])
            loss.backward()
            optimizer.step()
            model.eval()
    return batch, models


@pytest.mark.parametrize("together", [True, False], ids=["together", "in-turn"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_steps_and_running_statistics_are_those_of_single_networks(name: str, classes: int, together: bool) -> None:
    """An independent trainer (the module itself, torch.optim.SGD) ends at the same parameters, running statistics and outputs."""
    data = pictures(classes, name=name)
    batch, models = trained(NETWORKS[name], data, together)
    inputs = torch.tensor(data.train_inputs, dtype=F64)
    logits = batch.evaluate(inputs).logits
    assert logits.shape == (3, 24, 1 if classes == 2 else classes)
    for position, model in enumerate(models):
        for key, value in model.state_dict().items():
            ours = (batch.parameters | batch.buffers)[key][position]
            np.testing.assert_allclose(ours, value, **SAME, err_msg=key)
        np.testing.assert_allclose(logits[position], model(inputs).detach().reshape(24, -1), **SAME)
    own = torch.stack([inputs[:7], inputs[7:14], inputs[14:21]])  # inputs of each network's own
    for position, model in enumerate(models):
        np.testing.assert_allclose(batch.evaluate(own).logits[position], model(own[position]).detach().reshape(7, -1), **SAME)


@pytest.mark.parametrize("name", NETWORKS)
def test_measuring_changes_nothing(name: str) -> None:
    """Control for evaluation mode: a measurement in training mode would move the running statistics."""
    data = pictures(name=name)
    batch, _ = trained(NETWORKS[name], data, together=False)
    before = {key: value.clone() for key, value in (batch.parameters | batch.buffers).items()}
    grams, evaluation = prepared(batch, data)
    grams.measure(evaluation, evaluation.logits)
    for key, value in (batch.parameters | batch.buffers).items():
        assert torch.equal(value, before[key]), key


def prepared(batch: ModuleBatch, data: Dataset) -> tuple[SegmentGrams, Any]:
    truth = torch.tensor(data.train_truth)
    observed = torch.tensor(corrupt_labels_batch(data.train_truth, 0.3, n_classes=data.n_classes, seeds=SEEDS))
    segments = Segmentation.from_labels(truth, observed, data.n_classes)
    grams = SegmentGrams.prepare(batch, truth, observed, segments, dtype=F64)
    return grams, batch.evaluate(torch.tensor(data.train_inputs, dtype=F64))


@pytest.mark.parametrize("chunk_size", [5, 1000], ids="chunk={}".format)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_segment_gradients_are_those_of_the_instrument_for_one_network(name: str, classes: int, chunk_size: int) -> None:
    """``gradient_geometry``, which agrees with the batch-of-one loop, on trained networks; full and single-logit gradients."""
    data = pictures(classes, name=name)
    batch, models = trained(NETWORKS[name], data, together=False)
    grams, evaluation = prepared(replace(batch, chunk_size=chunk_size), data)
    measured = grams.measure(evaluation, evaluation.logits)
    assert set(measured) == ({"gram"} if classes == 2 else {"gram", "own_gram"})
    for position, model in enumerate(models):
        labels, truth = grams.observed[position].numpy(), data.train_truth
        for key, logit in (("gram", None), ("own_gram", "own")):
            if key in measured:
                expected = gradient_geometry(model, data.train_inputs, labels, truth=truth, n_classes=classes, logit=logit).gram
                scale = np.abs(expected).max()
                np.testing.assert_allclose(measured[key][position], expected, rtol=0, atol=1e-10 * scale, err_msg=key)


def test_own_weights_reach_the_rows_that_a_job_names() -> None:
    data = pictures()
    batch = ModuleBatch.draw(NETWORKS["cnn"], data, seeds=SEEDS, dtype=F64)
    evaluation = batch.evaluate(torch.tensor(data.train_inputs, dtype=F64))
    out = [torch.full((1, 3, size), 7.0, dtype=F64) for size in batch.blocks]
    index, weights = torch.tensor([[2, 3]]), torch.eye(3, dtype=F64)[None, :2]
    batch.segment_gradients(evaluation, slice(1, 2), [Job(2, index, weights), Job(0, index[:, :1], weights[:, :1])], out)
    model = single(NETWORKS["cnn"], data, SEEDS[1])
    output = model(torch.tensor(data.train_inputs, dtype=F64))
    for value, row in ((output[2, 0] + output[3, 1], 2), (output[2, 0], 0)):
        expected = torch.autograd.grad(value, list(model.parameters()), retain_graph=True)
        for block, part in zip(out, expected, strict=True):
            np.testing.assert_allclose(block[0, row], part.flatten(), **SAME)
    assert all((block[0, 1] == 7.0).all() for block in out)  # a row that no job names is left alone


@pytest.mark.parametrize("name", ["cnn", "resnet-group"])
def test_whole_batches_are_cut_into_chunks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step on all samples is the sum over chunks; batch normalisation, which couples the samples, is never cut."""
    data = pictures()
    inputs, labels = torch.tensor(data.train_inputs, dtype=F64), torch.tensor(data.train_truth).expand(3, -1)
    whole = ModuleBatch.draw(NETWORKS[name], data, seeds=SEEDS, dtype=F64)
    cut = replace(ModuleBatch.draw(NETWORKS[name], data, seeds=SEEDS, dtype=F64), chunk_size=5)
    for batch in (whole, cut):
        batch.descend(inputs, labels, factor=-0.01)
    for key, value in whole.parameters.items():
        np.testing.assert_allclose(cut.parameters[key], value, **SAME, err_msg=key)
    coupled = [replace(ModuleBatch.draw(NETWORKS["resnet-batch"], data, seeds=SEEDS, dtype=F64), chunk_size=size) for size in (5, 1000)]
    for batch in coupled:
        batch.descend(inputs, labels, factor=-0.01)
    for key, value in coupled[0].parameters.items():
        np.testing.assert_allclose(coupled[1].parameters[key], value, **SAME, err_msg=key)


def test_an_offset_is_subtracted_before_the_loss() -> None:
    data = pictures()
    inputs, labels = torch.tensor(data.train_inputs, dtype=F64), torch.tensor(data.train_truth).expand(3, -1)
    batch = ModuleBatch.draw(NETWORKS["cnn"], data, seeds=SEEDS, dtype=F64)
    offset = batch.evaluate(inputs).logits
    batch.descend(inputs, labels, factor=-0.01, offset=offset)
    for position, seed in enumerate(SEEDS):
        model = single(NETWORKS["cnn"], data, seed)
        loss = nn.functional.cross_entropy(model(inputs) - offset[position], labels[position], reduction="sum")
        for (key, parameter), part in zip(model.named_parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
            np.testing.assert_allclose(batch.parameters[key][position], (parameter - 0.01 * part).detach(), **SAME)


def test_networks_are_evaluated_together_where_pictures_are_small() -> None:
    small, large = pictures(), Dataset.from_arrays(np.random.default_rng(0).random((4, 256)), [0, 1, 2, 0], image_shape=(16, 16))
    network = NETWORKS["cnn"]
    assert ModuleBatch.draw(network, small, seeds=SEEDS).together
    assert not ModuleBatch.draw(network, large, seeds=SEEDS).together
    batch = draw_batch(network, large, seeds=SEEDS)
    assert isinstance(batch, ModuleBatch)
    assert batch.n_parameters == sum(part.numel() for part in network.build(large, seed=0).parameters())


def test_memory_of_a_chunk_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs of all layers of one sample, counted by hand: 2·6·6 and 4·4·4 by convolutions, 4·2·2 pooled is no layer, 5 and 3 linear."""
    monkeypatch.setattr(module_batch, "_CHUNK_ELEMENTS", 10 * (2 * 36 + 4 * 16 + 5 + 3))
    assert ModuleBatch.draw(NETWORKS["cnn"], pictures(), seeds=SEEDS).chunk_size == 10


CLUSTERS = DataSpec(name="clusters", n_train=10, n_test=4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: draw_batch(NETWORKS["cnn"], pictures(), seeds=()), "seeds must hold at least one seed, got none"),
        (
            lambda: draw_batch(NETWORKS["cnn"], CLUSTERS.load(), seeds=SEEDS),
            "data must be pictures for a network of kind 'cnn', got 'clusters'",
        ),
        (lambda: draw_batch(replace(NETWORKS["cnn"], channels=0.3), pictures(), seeds=SEEDS), "channels must make 32, 64 whole numbers"),
        (
            lambda: draw_batch(replace(NETWORKS["resnet-group"], variant="footnote"), pictures(), seeds=SEEDS),
            "image_shape must have at least 16 x 16 pixels",
        ),
        (lambda: NetworkSpec(kind="transformer"), "kind must be one of 'fully_connected', 'cnn', 'resnet9', got 'transformer'"),
        (lambda: NetworkSpec(kind="cnn", convention="pytorch"), "width must be an integer >= 1, got 0"),
        (lambda: NetworkSpec(kind="cnn", width=8), "convention of kind 'cnn' must be one of 'pytorch', got 'eq2'"),
        (lambda: NetworkSpec(kind="cnn", width=8, depth=2, convention="pytorch"), "depth must be left out for kind 'cnn', got 2"),
        (lambda: NetworkSpec(width=8, depth=2, channels=0.5), "channels must be left out for kind 'fully_connected', got 0.5"),
        (lambda: replace(NETWORKS["cnn"], activation="tanh"), "activation of kind 'cnn' must be one of 'relu', got 'tanh'"),
        (lambda: replace(NETWORKS["resnet-batch"], centred=True), "centred must be False with batch normalisation"),
        (lambda: replace(NETWORKS["resnet-batch"], normalization="layer"), "normalization must be one of 'batch', 'group', got 'layer'"),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_bad_input_is_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        make()
    assert "\n" not in str(error.value)
