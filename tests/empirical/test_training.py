"""Training in a batch of seeds is plain training, seed by seed, and the recorder records what it says.

Tolerances without a comment are SAME in float64: rounding of sums in another order. 1e-12 and 1e-14 are means over 60 samples and
differences of two such means.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from empirical import training
from empirical.batches import Batch, bytes_per_seed, draw_batch
from empirical.datasets import Dataset
from empirical.experiments import DataSpec, Experiment, NetworkSpec, TrainingSpec
from empirical.gradients import gradient_geometry
from empirical.noise import corrupt_labels
from empirical.recorder import Segmentation
from empirical.segment_gram import summarize_gram
from empirical.training import Trajectory, train

# Two orders of the same floating-point sums, through at most 60 steps that do not amplify (η below stability): the bounds.
SAME = {"float64": 1e-10, "float32": 1e-5}

BINARY = Experiment(
    name="binary",
    data=DataSpec(name="digits", classes=(7, 9), n_train=60, n_test=30),
    noise_level=0.4,
    network=NetworkSpec(width=32, depth=2, centred=True),
    training=TrainingSpec(learning_rate=0.5, steps=40, n_records=8),
    seeds=(11, 22, 33),
    dtype="float64",
)
MULTICLASS = replace(BINARY, name="multi-class", data=DataSpec(name="digits", classes=(1, 4, 7), n_train=60, n_test=30))
PYTORCH = replace(
    BINARY,
    name="pytorch",
    data=replace(BINARY.data, normalize="pixel"),
    network=NetworkSpec(width=32, depth=2, convention="pytorch"),
    training=TrainingSpec(learning_rate=0.1, steps=40, n_records=8),
)
STOCHASTIC = replace(PYTORCH, name="stochastic", training=TrainingSpec(learning_rate=0.1, steps=40, batch_size=16, n_records=8))
LINEAR = replace(BINARY, name="linear", network=NetworkSpec(width=32, depth=1, activation="linear", convention="eq6"))
TANH = replace(BINARY, name="tanh", network=NetworkSpec(width=32, depth=2, activation="tanh", convention="eq7"))
CNN = replace(
    MULTICLASS,
    name="cnn",
    data=replace(MULTICLASS.data, normalize="pixel"),
    network=NetworkSpec(kind="cnn", width=8, channels=1 / 8, convention="pytorch"),
    training=TrainingSpec(learning_rate=0.1, steps=20, n_records=4),
)
CENTRED_CNN = replace(CNN, name="cnn-centred", network=replace(CNN.network, centred=True))
CNN_SGD = replace(CNN, name="cnn-sgd", training=replace(CNN.training, batch_size=16))
RESNET = replace(
    CNN_SGD,
    name="resnet",
    network=NetworkSpec(kind="resnet9", channels=1 / 32, convention="pytorch", activation="mish"),
    training=TrainingSpec(learning_rate=0.02, steps=8, batch_size=20, n_records=3),
)
RESNET_GROUP = replace(RESNET, name="resnet-group", network=replace(RESNET.network, normalization="group"))


@functools.lru_cache
def random_pictures(classes: int, n_train: int, n_test: int) -> Dataset:
    """Pictures of 16 × 32 pixels, no two alike in any place, so that rounding never decides which of them max-pooling takes."""
    rng = np.random.default_rng(7)
    parts = [part for n in (n_train, n_test) for part in (rng.random((n, 512)), np.arange(n) % classes)]
    return Dataset.from_arrays(*parts, image_shape=(1, 16, 32), normalize="pixel")


@dataclass(frozen=True, kw_only=True)
class RandomPictures(DataSpec):
    """What no file is needed for."""

    def load(self) -> Dataset:
        """Make them, once."""
        assert isinstance(self.n_train, int)
        assert isinstance(self.n_test, int)
        return random_pictures(3, self.n_train, self.n_test)


RESNET_FOOTNOTE = replace(
    RESNET,
    name="resnet-footnote",
    data=RandomPictures(name="digits", classes=(1, 4, 7), n_train=60, n_test=30),
    network=replace(RESNET.network, variant="footnote", channels=1 / 64),
)
ALL = [BINARY, MULTICLASS, PYTORCH, STOCHASTIC, LINEAR, TANH, CNN, CENTRED_CNN, CNN_SGD, RESNET, RESNET_GROUP, RESNET_FOOTNOTE]


def by_name(specification: Experiment) -> str:
    return specification.name


def model_of(specification: Experiment, seed: int) -> nn.Module:
    return specification.network.build(specification.data.load(), seed=seed, dtype=torch.float64)


def loss_of(output: torch.Tensor, labels: np.ndarray, reduction: str = "mean") -> torch.Tensor:
    if output.ndim == 1:
        return nn.functional.binary_cross_entropy_with_logits(output, torch.tensor(labels, dtype=output.dtype), reduction=reduction)
    return nn.functional.cross_entropy(output, torch.tensor(labels), reduction=reduction)


@pytest.mark.parametrize("specification", [BINARY, MULTICLASS, PYTORCH, LINEAR, TANH, CNN], ids=by_name)
def test_full_batch_training_is_torch_sgd_on_the_single_network(specification: Experiment) -> None:
    """An independent trainer (autograd, torch.optim.SGD) and the single-network instrument give the same records."""
    trajectory = train(specification, device="cpu")
    data = specification.data.load()
    x, held_out = (torch.tensor(part, dtype=torch.float64) for part in (data.train_inputs, data.test_inputs))
    truth, steps = data.train_truth, specification.training.record_steps
    assert trajectory.steps.tolist() == list(steps)
    np.testing.assert_allclose(trajectory.times, specification.training.learning_rate * np.array(steps), rtol=1e-15)
    for position, seed in enumerate(specification.seeds[:2]):
        observed = corrupt_labels(truth, specification.noise_level, n_classes=data.n_classes, seed=seed).observed
        model = model_of(specification, seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=specification.training.learning_rate)
        for step in range(specification.training.steps + 1):
            output = model(x)
            if step in steps:
                time = steps.index(step)
                geometry = gradient_geometry(model, data.train_inputs, observed, truth=truth, n_classes=data.n_classes)
                np.testing.assert_allclose(trajectory.gram[position, time], geometry.gram, rtol=0, atol=1e-10 * np.abs(geometry.gram).max())
                if data.n_classes > 2:
                    own = gradient_geometry(model, data.train_inputs, observed, truth=truth, n_classes=data.n_classes, logit="own")
                    scale = np.abs(own.gram).max()
                    np.testing.assert_allclose(trajectory.own_gram[position, time], own.gram, rtol=0, atol=1e-10 * scale)
                    np.testing.assert_allclose(trajectory.own_alpha[position, time], own.alpha, rtol=1e-10)
                    np.testing.assert_allclose(trajectory.own_rho[position, time], own.rho, rtol=1e-10)
                noisy = observed != truth
                with torch.no_grad():
                    losses = loss_of(output, observed, "none").numpy()
                    logits = output.numpy() if output.ndim == 2 else np.stack([np.zeros(len(x)), output.numpy()], axis=1)
                    test_output = model(held_out)
                    expected = {
                        "train_loss": losses.mean(),
                        "clean_loss": losses[~noisy].mean(),
                        "noise_loss": losses[noisy].mean(),
                        "truth_loss": loss_of(output, truth).item(),
                        "test_loss": loss_of(test_output, data.test_truth).item(),
                    }
                    f_observed = torch.softmax(torch.tensor(logits), dim=1).numpy()[np.arange(len(x)), observed]
                    expected |= {"train_residual": (1 - f_observed).mean(), "noise_residual": (1 - f_observed[noisy]).mean()}
                    if data.n_classes > 2:
                        norms = np.linalg.norm(torch.softmax(output, dim=1).numpy() - np.eye(data.n_classes)[observed], axis=1)
                        expected |= {"clean_residual_norm": norms[~noisy].mean(), "noise_residual_norm": norms[noisy].mean()}
                    if step > 0:  # at step 0 a centred output ties
                        wrong = logits.argmax(1) != observed
                        expected |= {
                            "train_error": wrong.mean(),
                            "clean_error": wrong[~noisy].mean(),
                            "noise_error": wrong[noisy].mean(),
                        }
                        guess = test_output.argmax(1).numpy() if output.ndim == 2 else (test_output > 0).numpy().astype(int)
                        expected["test_error"] = (guess != data.test_truth).mean()
                    for c in range(data.n_classes):
                        column = output.detach().numpy()[:, c] if output.ndim == 2 else output.detach().numpy()
                        assert trajectory.mean_output[position, time, c] == pytest.approx(column[truth == c].mean(), rel=1e-10, abs=1e-12)
                for name, value in expected.items():
                    assert getattr(trajectory, name)[position, time] == pytest.approx(value, rel=1e-10), name
            optimizer.zero_grad()
            loss_of(output, observed).backward()
            optimizer.step()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("specification", ALL, ids=by_name)
def test_a_batch_of_seeds_is_one_seed_at_a_time(specification: Experiment, dtype: str) -> None:
    specification = replace(specification, dtype=dtype)
    together = train(specification, device="cpu")
    for position, seed in enumerate(specification.seeds):
        alone = train(replace(specification, seeds=(seed,)), device="cpu")
        for name in together.dataset.data_vars:
            ours, theirs = together.dataset[name].to_numpy()[position], alone.dataset[name].to_numpy()[0]
            if name.endswith("_change"):  # a difference of losses of size about 1
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=SAME[dtype], err_msg=str(name))
            elif name.endswith("_error") and dtype == "float32":
                # A sample whose |h| is below the rounding may fall on either side: one, not two, of the smallest group, 24 noisy of 60.
                fewest = round(specification.noise_level * specification.data.n_train)
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1.5 / fewest, err_msg=str(name))
            else:
                scale = np.abs(theirs).max()
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=SAME[dtype] * scale, err_msg=str(name))


@pytest.mark.parametrize("specification", [BINARY, STOCHASTIC, RESNET], ids=by_name)
def test_a_small_memory_budget_changes_nothing(specification: Experiment) -> None:
    together, apart = train(specification, device="cpu"), train(specification, device="cpu", memory_budget=1)
    for name in together.dataset.data_vars:
        ours, theirs = together.dataset[name].to_numpy(), apart.dataset[name].to_numpy()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * np.abs(theirs).max(), err_msg=str(name))


@pytest.mark.parametrize("specification", [BINARY, CNN], ids=by_name)
def test_a_memory_budget_splits_the_seeds(specification: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for two of three seeds and not quite for the third, for one, for none: a batch holds no more, and one at least."""
    sizes: list[int] = []

    def draw(*arguments: object, seeds: tuple[int, ...], **options: object) -> Batch:
        sizes.append(len(seeds))
        return draw_batch(*arguments, seeds=seeds, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "draw_batch", draw)
    each = bytes_per_seed(specification.network, specification.data.load(), torch.float64)
    for budget, expected in ((3 * each, [3]), (3 * each - 1, [2, 1]), (each, [1, 1, 1]), (1, [1, 1, 1])):
        sizes.clear()
        train(replace(specification, training=replace(specification.training, steps=0)), device="cpu", memory_budget=budget)
        assert sizes == expected


def test_a_batch_of_all_samples_is_full_batch_descent() -> None:
    whole = train(PYTORCH, device="cpu")
    shuffled = train(replace(PYTORCH, training=replace(PYTORCH.training, batch_size=60)), device="cpu")
    np.testing.assert_allclose(shuffled.train_loss, whole.train_loss, rtol=1e-10)
    assert "clean_loss_change" not in shuffled.dataset
    smaller = train(STOCHASTIC, device="cpu")
    assert not np.allclose(smaller.train_loss[:, 1:], whole.train_loss[:, 1:], rtol=1e-4)  # control: the batches do matter


def test_an_epoch_sees_every_sample_once() -> None:
    from empirical.noise import corrupt_labels_batch
    from empirical.training import _Run

    data = STOCHASTIC.data.load()
    labels = corrupt_labels_batch(data.train_truth, 0.4, n_classes=2, seeds=STOCHASTIC.seeds)
    batches = _Run.start(STOCHASTIC, data, STOCHASTIC.seeds, labels, torch.device("cpu"))._batches()
    for _ in range(2):
        epoch = [next(batches) for _ in range(4)]  # 60 = 16 + 16 + 16 + 12
        assert [batch.shape[1] for batch in epoch] == [16, 16, 16, 12]
        order = torch.cat(epoch, dim=1)
        assert all(sorted(row.tolist()) == list(range(60)) for row in order)
        assert not torch.equal(order[0], order[1])


def test_segment_gradients_of_a_recorded_subset() -> None:
    """About the number asked for, the same share of each segment, drawn by the seed; their gram is that of a data set of these alone."""
    part = replace(MULTICLASS, training=replace(MULTICLASS.training, record_samples=20, record_logits=True))
    trajectory, whole = train(part, device="cpu"), train(MULTICLASS, device="cpu")
    assert (trajectory.n_clean == 12).all()
    assert (trajectory.n_noise == 8).all()
    assert (trajectory.n_clean_recorded == 4).all()  # a third of 12
    assert (trajectory.n_noise_recorded == 3).all()  # a third of 8, rounded
    np.testing.assert_array_equal(trajectory.clean_loss, whole.clean_loss)  # losses count all samples
    assert "n_clean_recorded" not in whole.dataset
    data = part.data.load()
    truth = torch.tensor(data.train_truth)
    observed = torch.tensor(trajectory.observed)
    drawn = Segmentation.drawn(truth, observed, 3, seeds=part.seeds, n_samples=20)
    rows = [torch.cat([index[position] for index in drawn.indices]).numpy() for position in range(3)]
    assert len({tuple(chosen) for chosen in rows}) == 3
    for position, seed in enumerate(part.seeds):
        chosen, labels = rows[position], trajectory.observed[position]
        geometry = gradient_geometry(
            model_of(part, seed), data.train_inputs[chosen], labels[chosen], truth=data.train_truth[chosen], n_classes=3
        )
        np.testing.assert_allclose(trajectory.gram[position, 0], geometry.gram, rtol=0, atol=1e-10 * np.abs(geometry.gram).max())
    few = Segmentation.drawn(truth, observed, 3, seeds=part.seeds, n_samples=1)
    assert (few.counts == 1).all()  # one sample of each segment at least
    all_of_them = Segmentation.drawn(truth, observed, 3, seeds=part.seeds, n_samples=1000)
    np.testing.assert_array_equal(all_of_them.counts, Segmentation.from_labels(truth, observed, 3).counts)


def limited(most: int, error: type[Exception] = RuntimeError, message: str = "DefaultCPUAllocator: not enough memory: you tried …"):  # type: ignore[no-untyped-def]
    """A ``draw_batch`` that finds no memory for more than ``most`` networks."""

    def draw(*arguments: object, seeds: tuple[int, ...], **options: object) -> Batch:
        if len(seeds) > most:
            raise error(message)
        return draw_batch(*arguments, seeds=seeds, **options)  # type: ignore[arg-type]

    return draw


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, torch.OutOfMemoryError])
@pytest.mark.parametrize("specification", [STOCHASTIC, CNN_SGD], ids=by_name)
def test_out_of_memory_halves_the_batch_of_seeds(
    specification: Experiment, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = train(specification, device="cpu")
    monkeypatch.setattr(training, "draw_batch", limited(1, error))
    with pytest.warns(UserWarning, match="out of memory with .* seeds at once, going on with half as many") as warned:
        apart = train(specification, device="cpu")
    assert [str(warning.message).split()[5] for warning in warned] == ["3", "2"]  # 3 → 1 and 2 → 1 and 1 and 1
    assert all("\n" not in str(warning.message) for warning in warned)
    assert apart.seeds == together.seeds
    for name in together.dataset.data_vars:
        ours, theirs = apart.dataset[name].to_numpy(), together.dataset[name].to_numpy()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10 * np.abs(theirs).max(), err_msg=str(name))


def test_what_cannot_be_halved_or_is_no_lack_of_memory_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "draw_batch", limited(0))
    says = r"^stochastic: out of memory on device cpu with a single seed, which cannot be halved: .* not enough memory"
    with pytest.raises(MemoryError, match=says) as caught, pytest.warns(UserWarning, match="out of memory"):
        train(STOCHASTIC, device="cpu")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(training, "draw_batch", limited(0, message="something else"))
    with pytest.raises(RuntimeError, match="something else"):
        train(STOCHASTIC, device="cpu")


def test_no_steps_measure_the_initialisation() -> None:
    trajectory = train(replace(BINARY, training=TrainingSpec(learning_rate=0.5, steps=0)), device="cpu")
    assert trajectory.gram.shape == (3, 1, 6, 6)
    np.testing.assert_allclose(trajectory.train_loss, np.log(2), rtol=1e-14)  # centred: f = ½ exactly
    assert (trajectory.train_error == 0.5).all()
    np.testing.assert_array_equal(trajectory.gram[:, 0], train(BINARY, device="cpu").gram[:, 0])


def test_changes_are_differences_of_successive_losses() -> None:
    every = train(replace(BINARY, training=replace(BINARY.training, steps=12, n_records=100)), device="cpu")
    for part in ("clean_loss", "noise_loss"):
        losses = every.dataset[part].to_numpy()
        np.testing.assert_allclose(every.dataset[f"{part}_change"].to_numpy()[:, :-1], np.diff(losses, axis=1), atol=1e-14)
    longer = train(replace(BINARY, training=replace(BINARY.training, steps=13, n_records=100)), device="cpu")
    last = longer.noise_loss[:, 13] - longer.noise_loss[:, 12]
    np.testing.assert_allclose(every.noise_loss_change[:, -1], last, atol=1e-14)


def test_ratios_are_those_of_the_gram_matrix() -> None:
    trajectory = train(BINARY, device="cpu")
    summary = summarize_gram(trajectory.gram)
    for name in ("alpha", "rho", "pooled_alpha", "pooled_rho", "cosine_with_truth"):
        np.testing.assert_array_equal(trajectory.dataset[name].to_numpy(), getattr(summary, name))


def test_each_seed_has_its_own_network_and_its_own_noise_of_exact_counts() -> None:
    recorded = train(replace(BINARY, training=replace(BINARY.training, record_logits=True)), device="cpu")
    truth = recorded.dataset["truth"].to_numpy()
    observed = recorded.observed
    assert recorded.n_noise.tolist() == [[12, 12]] * 3
    assert recorded.n_clean.tolist() == [[18, 18]] * 3
    assert len({row.tobytes() for row in observed}) == 3
    assert ((observed != truth).sum(1) == 24).all()
    assert recorded.train_logits.shape == (3, 8, 60, 1)
    assert (recorded.train_logits[:, 0] == 0).all()
    assert len({row.tobytes() for row in recorded.train_logits[:, 1]}) == 3


def test_without_noise_only_what_speaks_of_noise_is_nan() -> None:
    trajectory = train(replace(BINARY, noise_level=0.0), device="cpu")
    missing = {name for name, array in trajectory.dataset.data_vars.items() if np.isnan(array.to_numpy().astype(float)).any()}
    assert missing == {"alpha", "rho", "pooled_alpha", "pooled_rho", "noise_loss", "noise_error", "noise_residual", "noise_loss_change"}
    np.testing.assert_allclose(trajectory.cosine_with_truth, 1, atol=1e-12)


def test_a_trajectory_is_its_dataset() -> None:
    trajectory = train(BINARY, device="cpu")
    again = Trajectory.from_dataset(trajectory.to_dataset())
    assert again.gram is not None
    assert again.seeds == BINARY.seeds
    assert trajectory.dataset["time"].attrs["units"] == "learning rate x step"
    assert all("long_name" in array.attrs for array in trajectory.dataset.data_vars.values())
    with pytest.raises(AttributeError, match="Trajectory has no variable 'loss'"):
        _ = trajectory.loss
    with pytest.raises(ValueError, match="dataset must hold a trajectory, got one without gram"):
        Trajectory.from_dataset(trajectory.dataset.drop_vars("gram"))


@pytest.mark.parametrize("specification", [BINARY, CNN_SGD], ids=by_name)
def test_a_class_with_one_sample_is_measured_and_its_empty_segment_is_nan(specification: Experiment) -> None:
    """One sample per class at δ = 0.4 stays clean (0.4 rounds to 0); the other class has both segments."""
    classes = len(specification.data.classes or ())
    counts = (1, *[20] * (classes - 1))
    trajectory = train(replace(specification, data=replace(specification.data, n_train=counts, n_test=10)), device="cpu")
    assert trajectory.n_clean[:, 0].tolist() == [1, 1, 1]
    assert trajectory.n_noise[:, 0].tolist() == [0, 0, 0]
    assert np.isnan(trajectory.alpha[..., 0]).all()
    assert np.isfinite(trajectory.alpha[..., 1:]).all()
    assert np.isfinite(trajectory.train_loss).all()


def test_more_noise_than_samples_leaves_no_clean_segment() -> None:
    """δ = 0.9 of two samples is two wrong labels: the clean segment is empty, and says so by nan, not by 0."""
    trajectory = train(replace(BINARY, noise_level=0.9, data=replace(BINARY.data, n_train=4)), device="cpu")
    assert trajectory.n_clean.tolist() == [[0, 0]] * 3
    assert np.isnan(trajectory.alpha).all()
    assert np.isnan(trajectory.clean_loss).all()
    assert np.isfinite(trajectory.noise_loss).all()


def test_divergence_is_an_error_not_a_nan() -> None:
    wild = replace(BINARY, dtype="float32", training=TrainingSpec(learning_rate=1e12, steps=40))
    with pytest.raises(ValueError, match=re.escape("learning_rate 1000000000000.0 is too large")) as error:
        train(wild, device="cpu")
    assert "\n" not in str(error.value)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="device must be"):
        train(BINARY, device="gpu")
