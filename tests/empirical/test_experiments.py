"""Specifications are values: frozen, with a canonical form and a key that changes with all that matters and nothing else.

Tolerances without a comment are rounding in float64: sums of p ≤ 20,000 products, √p roundings of 1.1e-16 of the largest number, 1e-13 or
less; 1e-10 leaves room for cosines, 1e-9 for the single logits of a convolutional network, which cancel to a tenth.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from empirical import keys
from empirical.datasets import DatasetNotFound
from empirical.experiments import (
    EXPERIMENTS,
    TIERS,
    DataSpec,
    Experiment,
    GradientSample,
    NetworkSpec,
    TangentKernelSample,
    TrainingSpec,
    experiment,
    log_spaced_steps,
    seeds_by_rule,
)
from empirical.keys import key_of
from empirical.networks import FullyConnected
from empirical.noise import corrupt_labels
from empirical.tangent_kernel import empirical_ntk
from tests.support.reference_gradients import derivative_matrix, loss_gradient_matrix, segment_gradient_matrix

SMALL = Experiment(
    name="small",
    data=DataSpec(name="digits", classes=(7, 9), n_train=40, n_test=20),
    noise_level=0.4,
    network=NetworkSpec(width=16, depth=1),
    training=TrainingSpec(learning_rate=0.5, steps=4),
    seeds=(1, 2),
)
DIRECTIONS = GradientSample(
    name="directions", data=SMALL.data, noise_level=0.3, network=SMALL.network, seeds=(1, 2), kernel=True, dtype="float64"
)
PINNED_KEY = "1d14f642a23ea0d8dd88c0ed93f0ee37569b70a1ec05a5ef55032c0dbcdbc3b9"  # of "digits-7-9" with data hash aa…a
KERNELS = TangentKernelSample(name="kernels", network=SMALL.network, angles=(0.0, 1.0), seeds=(1, 2))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_a_frozen_picklable_value(name: str, tier: str) -> None:
    specification = experiment(name, tier=tier)
    assert specification.name == name
    assert specification == experiment(name, tier=tier)
    assert pickle.loads(pickle.dumps(specification)) == specification
    assert specification.seeds == seeds_by_rule(name, len(specification.seeds))
    assert json.loads(json.dumps(specification.canonical(), allow_nan=False)) == specification.canonical()
    assert specification.regime
    with pytest.raises(dataclasses.FrozenInstanceError):
        specification.seeds = (1,)  # type: ignore[misc]


@pytest.mark.parametrize("tier", TIERS)
def test_every_experiment_asks_for_samples_that_there_are(tier: str) -> None:
    """Those whose data are here; the others are NOT RUN."""
    loaded = 0
    for name in EXPERIMENTS:
        data = getattr(experiment(name, tier=tier), "data", None)
        if data is not None:
            try:
                data.load()
            except DatasetNotFound:
                continue
            loaded += 1
    assert loaded >= 40, "the clusters and the digits are always here"


def test_different_names_have_different_keys() -> None:
    """A small experiment may be the same at several scales; no two experiments are the same."""
    names: dict[str, set[str]] = {}
    for name in EXPERIMENTS:
        for tier in TIERS:
            names.setdefault(key_of(experiment(name, tier=tier).canonical(), ""), set()).add(name)
    assert all(len(several) == 1 for several in names.values())
    assert len(names) >= 2 * len(EXPERIMENTS)


@pytest.mark.parametrize(
    "change",
    [
        {"noise_level": 0.3},
        {"seeds": (2, 1)},
        {"dtype": "float64"},
        {"data": replace(SMALL.data, n_train=42)},
        {"data": replace(SMALL.data, classes=(9, 7))},
        {"data": replace(SMALL.data, seed=1)},
        {"data": replace(SMALL.data, normalize="pixel")},
        {"network": NetworkSpec(width=17, depth=1)},
        {"network": NetworkSpec(width=16, depth=2)},
        {"network": NetworkSpec(width=16, depth=1, convention="eq7")},
        {"network": NetworkSpec(width=16, depth=1, activation="linear")},
        {"network": NetworkSpec(width=16, depth=1, centred=True)},
        {"training": TrainingSpec(learning_rate=0.6, steps=4)},
        {"training": TrainingSpec(learning_rate=0.5, steps=5)},
        {"training": TrainingSpec(learning_rate=0.5, steps=4, batch_size=8)},
        {"training": TrainingSpec(learning_rate=0.5, steps=4, n_records=2)},
        {"training": TrainingSpec(learning_rate=0.5, steps=4, record_logits=True)},
        {"training": TrainingSpec(learning_rate=0.5, steps=4, record_samples=20)},
        {"network": NetworkSpec(kind="cnn", width=16, convention="pytorch")},
        {"network": NetworkSpec(kind="resnet9", convention="pytorch")},
        {"network": NetworkSpec(kind="resnet9", convention="pytorch", normalization="group")},
        {"network": NetworkSpec(kind="resnet9", convention="pytorch", variant="footnote")},
    ],
    ids=lambda change: "-".join(f"{key}={value}" for key, value in change.items())[:60],
)
def test_the_key_changes_with_everything_that_matters(change: dict[str, Any]) -> None:
    assert replace(SMALL, **change).key() != SMALL.key()


def test_the_key_does_not_change_with_name_or_folder_but_with_data_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert replace(SMALL, name="other").key() == SMALL.key()
    assert replace(SMALL, data=replace(SMALL.data, root="elsewhere")).key() == SMALL.key()
    assert key_of(SMALL.canonical(), "a") != key_of(SMALL.canonical(), "b")
    before = SMALL.key()
    assert re.fullmatch("[0-9a-f]{64}", before)
    monkeypatch.setattr(keys, "MEASUREMENT_VERSION", keys.MEASUREMENT_VERSION + 1)
    assert SMALL.key() != before


def test_what_has_no_meaning_for_a_network_is_not_in_its_canonical_form() -> None:
    """And what stores hold of fully connected networks keeps its key."""
    assert list(SMALL.network.canonical()) == ["width", "depth", "activation", "convention", "centred"]
    assert list(NetworkSpec(kind="cnn", width=8, convention="pytorch").canonical()) == [
        "kind",
        "width",
        "activation",
        "convention",
        "centred",
        "channels",
    ]
    assert "zero_output" in NetworkSpec(kind="cnn", width=8, convention="pytorch", zero_output=True).canonical()
    assert "record_samples" not in SMALL.training.canonical()
    assert "single_logit" not in DIRECTIONS.canonical()
    pinned = "a" * 64
    assert key_of(experiment("digits-7-9").canonical(), pinned) == PINNED_KEY


@pytest.mark.parametrize(
    "kind", [{"kind": "cnn", "width": 8, "channels": 0.125}, {"kind": "resnet9", "channels": 1 / 16}], ids=lambda kind: kind["kind"]
)
def test_zero_output_starts_from_equal_probabilities_and_changes_nothing_else(kind: dict[str, Any]) -> None:
    data = DataSpec(name="digits", n_train=20, n_test=0, normalize="pixel").load()
    usual, zero = (NetworkSpec(**kind, convention="pytorch", zero_output=flag).build(data, seed=3) for flag in (False, True))
    rows = torch.tensor(data.train_inputs)
    assert (zero(rows) == 0).all()
    assert (usual(rows) != 0).any()
    for (name, one), (_, other) in zip(usual.named_parameters(), zero.named_parameters(), strict=True):
        assert torch.equal(one, other) != name.startswith("last."), name


def test_single_logit_gradients_of_each_logit() -> None:
    """Beside the batch-of-one loop, on ResNet-9 as it is measured: calibrated, in evaluation mode."""
    specification = replace(
        DIRECTIONS,
        data=DataSpec(name="digits", classes=(1, 4, 7), n_train=30, n_test=0, normalize="pixel"),
        network=NetworkSpec(kind="resnet9", channels=1 / 64, convention="pytorch"),
        kernel=False,
        single_logit=True,
    )
    measured, data = specification.measure(device="cpu"), specification.data.load()
    assert measured["gram"].dims == ("seed", "logit", "segment", "segment_")
    for position, seed in enumerate(specification.seeds):
        observed, truth = measured["observed"].to_numpy()[position], data.train_truth
        model = specification.network.build(data, seed=seed, dtype=torch.float64)
        model.calibrate(torch.tensor(data.train_inputs, dtype=torch.float64)).eval()
        for c in range(3):
            ours, true = (loss_gradient_matrix(model, data.train_inputs, labels, logit=c) for labels in (observed, truth))
            segments = segment_gradient_matrix(ours, true, observed, truth, 3)
            gram = segments @ segments.T
            np.testing.assert_allclose(measured["gram"][position, c], gram, rtol=0, atol=1e-9 * np.abs(gram).max())
            cosines = ours @ segments[c] / np.linalg.norm(ours, axis=1) / np.linalg.norm(segments[c])
            np.testing.assert_allclose(measured["sample_cosines"][position, :, c], cosines, atol=1e-9)
            np.testing.assert_allclose(measured["sample_norm"][position, :, c], np.linalg.norm(ours, axis=1), rtol=1e-9)
            assert float(measured["alpha"][position, c]) == pytest.approx(np.sqrt(gram[3 + c, 3 + c] / gram[c, c]), rel=1e-9)
            assert float(measured["rho"][position, c]) == pytest.approx(
                -gram[c, 3 + c] / np.sqrt(gram[3 + c, 3 + c] * gram[c, c]), rel=1e-9
            )
    with pytest.raises(ValueError, match="single_logit must be False for two classes, which have one logit, got True"):
        replace(DIRECTIONS, single_logit=True, kernel=False).measure(device="cpu")


def test_seeds_are_a_pure_function_of_the_name() -> None:
    assert seeds_by_rule("clusters", 3) == (1770877446, 1151369522, 948560827)  # pinned: records in stores depend on it
    assert seeds_by_rule("clusters", 100)[:3] == seeds_by_rule("clusters", 3)
    assert len(set(seeds_by_rule("clusters", 5000))) == 5000
    assert not set(seeds_by_rule("clusters", 100)) & set(seeds_by_rule("clusters", 100, salt="1"))
    assert all(0 <= seed < 2**31 for seed in seeds_by_rule("digits", 100))


@pytest.mark.parametrize(("steps", "count"), [(0, 5), (3, 10), (100, 30), (1000, 30), (10, 2), (7, 1)], ids=str)
def test_record_steps_are_distinct_sorted_and_reach_both_ends(steps: int, count: int) -> None:
    chosen = log_spaced_steps(steps, count)
    assert list(chosen) == sorted(set(chosen))
    assert chosen[-1] == steps
    assert count == 1 or chosen[0] == 0
    assert len(chosen) <= count
    assert len(chosen) >= min(count, steps + 1) - 2  # collisions on integers may cost a point or two


def test_gradient_sample_measures_each_network() -> None:
    measured = DIRECTIONS.measure(device="cpu")
    data = DIRECTIONS.data.load()
    for position, seed in enumerate(DIRECTIONS.seeds):
        observed = corrupt_labels(data.train_truth, 0.3, n_classes=2, seed=seed).observed
        model = FullyConnected(64, 16, 1, seed=seed, dtype=torch.float64)
        gradients, derivatives = loss_gradient_matrix(model, data.train_inputs, observed), derivative_matrix(model, data.train_inputs)[0]
        clean = gradients[(data.train_truth == 1) & (observed == 1)].sum(0)
        cosines = gradients @ clean / np.linalg.norm(gradients, axis=1) / np.linalg.norm(clean)
        np.testing.assert_array_equal(measured["observed"][position], observed)
        np.testing.assert_allclose(measured["sample_cosines"][position, :, 1], cosines, atol=1e-10)
        np.testing.assert_allclose(measured["kernel"][position], derivatives @ derivatives.T, rtol=1e-10, atol=1e-12)
    assert measured.attrs["data_sha256"] == data.sha256


def test_gradient_sample_measures_the_kernel_to_test_samples() -> None:
    """In a record of its own: other keys stay as they were without the flag."""
    specification = replace(DIRECTIONS, test_kernel=True)
    assert "test_kernel" not in DIRECTIONS.canonical()
    assert specification.key() != DIRECTIONS.key()
    measured, data = specification.measure(device="cpu"), specification.data.load()
    assert measured["kernel_test"].dims == ("seed", "test_sample", "sample")
    np.testing.assert_array_equal(measured["test_truth"], data.test_truth)
    for position, seed in enumerate(specification.seeds):
        model = FullyConnected(64, 16, 1, seed=seed, dtype=torch.float64)
        train, test = (derivative_matrix(model, inputs)[0] for inputs in (data.train_inputs, data.test_inputs))
        np.testing.assert_allclose(measured["kernel_test"][position], test @ train.T, rtol=1e-10, atol=1e-12)
        assert not np.allclose(measured["kernel_test"][position], (train @ train.T)[: len(test)])  # not the block of training samples
    with pytest.raises(ValueError, match="test_kernel must be False for data without test samples, got True"):
        replace(specification, data=replace(specification.data, n_test=0)).measure(device="cpu")


def test_tangent_kernel_sample_measures_each_network() -> None:
    measured = replace(KERNELS, dtype="float64").measure(device="cpu")
    for position, seed in enumerate(KERNELS.seeds):
        model = FullyConnected(2, 16, 1, seed=seed, dtype=torch.float64)
        kernel = empirical_ntk(model, [[1.0, 0.0], [np.cos(1.0), np.sin(1.0)]])
        np.testing.assert_allclose(measured["kernel_xz"][position, 1], kernel[0, 1], rtol=1e-10)
    assert measured["kernel_xx"].dims == ("seed", "angle")


@pytest.mark.parametrize("specification", [SMALL, DIRECTIONS, KERNELS], ids=lambda specification: specification.name)
def test_measuring_again_gives_the_same_numbers(specification: Any) -> None:
    assert specification.measure(device="cpu").identical(specification.measure(device="cpu"))


@pytest.mark.parametrize("name", ["clusters", "clusters-imbalanced", "digits-1-7", "digits-7-9", "digits-7-9-imbalanced", "mnist-7-9"])
def test_learning_rates_of_descent_keep_the_stated_distance_from_overshoot(name: str) -> None:
    """η ≤ 4n/λ_max(K) with K measured at initialisation; the module says why."""
    specification = experiment(name)
    assert isinstance(specification, Experiment)
    try:
        data = specification.data.load()
    except DatasetNotFound as missing:
        pytest.skip(str(missing))
    model = FullyConnected(
        data.train_inputs.shape[1], specification.network.width, specification.network.depth, seed=specification.seeds[0]
    )
    kernel = empirical_ntk(model, data.train_inputs)
    bound = 4 * len(kernel) / np.linalg.eigvalsh(kernel)[-1]
    assert specification.training.learning_rate <= bound
    assert specification.training.learning_rate >= bound / 8  # and no run is needlessly slow


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: experiment("mnist-7-8"), "experiment must be one of"),
        (lambda: experiment("mnist-7-9", tier="fast"), "tier must be one of 'quick', 'standard', 'full', got 'fast'"),
        (lambda: replace(SMALL, noise_level=1.2), "noise_level must lie in [0, 1), got 1.2"),
        (lambda: replace(SMALL, seeds=()), "seeds must be at least one integer, got none"),
        (lambda: replace(SMALL, seeds=(1, 1)), "seeds must be at least one integer, all different, got 1 1"),
        (lambda: replace(SMALL, seeds=(-1,)), "seeds[0] must be an integer >= 0, got -1"),
        (lambda: replace(SMALL, dtype="float16"), "dtype must be one of 'float32', 'float64', got 'float16'"),
        (lambda: replace(SMALL, name=""), "name must be a non-empty string, got ''"),
        (lambda: NetworkSpec(width=0, depth=1), "width must be an integer >= 1, got 0"),
        (lambda: NetworkSpec(width=4, depth=1, zero_output=True), "zero_output must be left out for kind 'fully_connected', got True"),
        (lambda: NetworkSpec(kind="cnn", width=4, convention="pytorch", zero_output=1), "zero_output must be True or False, got 1"),
        (lambda: NetworkSpec(width=4, depth=1, activation="gelu"), "activation must be one of"),
        (lambda: TrainingSpec(learning_rate=0.0, steps=1), "learning_rate must be a positive finite number, got 0.0"),
        (lambda: TrainingSpec(learning_rate=1.0, steps=-1), "steps must be an integer >= 0, got -1"),
        (lambda: TrainingSpec(learning_rate=1.0, steps=1, record_samples=0), "record_samples must be an integer >= 1, got 0"),
        (lambda: TrainingSpec(learning_rate=1.0, steps=1, batch_size=0), "batch_size must be an integer >= 1, got 0"),
        (lambda: replace(KERNELS, angles=()), "angles must be a sequence of numbers, at least one, got shape [0]"),
        (lambda: replace(KERNELS, angles=(float("nan"),)), "angles must be finite, got nan at index [0]"),
    ],
    ids=lambda value: value[:50] if isinstance(value, str) else "",
)
def test_bad_specifications_are_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        make()
    assert "\n" not in str(error.value)
