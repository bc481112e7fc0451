"""Whatever measures seeds in batches halves a batch that does not fit; one seed that does not fit is an error of one line.

Lack of memory is planted where networks are drawn. Training: test_training.py.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch

from empirical.batched import NetworkBatch
from empirical.linearized_runs import LinearizedRun
from empirical.measurements import TangentKernelSample
from empirical.seed_batches import in_seed_batches
from empirical.specifications import DataSpec, NetworkSpec, TrainingSpec

CPU = torch.device("cpu")
SPECIFICATIONS = [
    LinearizedRun(
        name="linearized",
        data=DataSpec(name="clusters", n_train=20, n_test=8),
        noise_level=0.3,
        network=NetworkSpec(width=12, depth=1),
        training=TrainingSpec(learning_rate=0.5, steps=4, n_records=3),
        seeds=(3, 5, 7),
    ),
    TangentKernelSample(name="kernels", network=NetworkSpec(width=12, depth=2), angles=(0.5, 1.0), seeds=(3, 5, 7), dtype="float64"),
]
LACKS = [MemoryError("Unable to allocate 8 GiB"), RuntimeError("can't allocate memory: you tried\nto …"), torch.OutOfMemoryError("CUDA …")]


def limited(most: int, error: Exception) -> Callable[..., NetworkBatch]:
    """``NetworkBatch.draw`` that finds no memory for more than ``most`` networks."""
    draw = NetworkBatch.draw

    def drawn(*arguments: object, seeds: tuple[int, ...], **options: object) -> NetworkBatch:
        if len(seeds) > most:
            raise error
        return draw(*arguments, seeds=seeds, **options)  # type: ignore[arg-type]

    return drawn


@pytest.mark.parametrize("error", LACKS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("spec", SPECIFICATIONS, ids=lambda spec: spec.name)
def test_out_of_memory_halves_the_batch_of_seeds(
    spec: LinearizedRun | TangentKernelSample, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = spec.measure(device="cpu")
    monkeypatch.setattr(NetworkBatch, "draw", limited(1, error))
    with pytest.warns(UserWarning, match=r"out of memory with . seeds at once, going on with half as many") as warned:
        apart = spec.measure(device="cpu")
    assert [str(warning.message).split(" seeds")[0][-1] for warning in warned] == ["3", "2"]  # 3 → 1 and 2 → 1 and 1 and 1
    assert apart["seed"].values.tolist() == [3, 5, 7]
    for name in together.data_vars:  # 1e-10 as in test_linearized_runs.py: sums of a few thousand products in another order
        scale = max(1.0, float(np.abs(together[name]).max()))
        np.testing.assert_allclose(apart[name], together[name], rtol=0, atol=1e-10 * scale, err_msg=str(name))


@pytest.mark.parametrize("error", LACKS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("spec", SPECIFICATIONS, ids=lambda spec: spec.name)
def test_a_single_seed_that_does_not_fit_is_one_line(
    spec: LinearizedRun | TangentKernelSample, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NetworkBatch, "draw", limited(0, error))
    with (
        pytest.raises(MemoryError, match="out of memory on device cpu with a single seed, which cannot be halved: ") as caught,
        pytest.warns(UserWarning, match="out of memory"),
    ):
        spec.measure(device="cpu")
    assert " ".join(str(error).split()) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_seeds_keep_their_order_and_every_one_is_measured_once() -> None:
    fits, asked = {5: 2, 1: 1}, []

    def measure(part: slice) -> list[int]:
        asked.append((part.start, part.stop))
        if part.stop - part.start > fits.get(part.start, 3):
            raise MemoryError
        return list(range(11))[part]

    with pytest.warns(UserWarning, match=r"^example: out of memory with 5 seeds at once"):
        parts = in_seed_batches(measure, 11, 5, name="example", device=CPU)
    assert asked == [(0, 5), (0, 2), (2, 5), (5, 10), (5, 7), (7, 10), (10, 11)]
    assert [seed for part in parts for seed in part] == list(range(11))
    with pytest.raises(
        MemoryError, match=r"^example: out of memory on device cpu with a single seed, which cannot be halved: MemoryError$"
    ):
        in_seed_batches(lambda part: limited(0, MemoryError())(seeds=(1,)), 1, 1, name="example", device=CPU)


def test_another_error_is_not_taken_for_lack_of_memory() -> None:
    def measure(part: slice) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match=r"^shapes do not match$"):
        in_seed_batches(measure, 4, 2, name="example", device=CPU)


def test_the_failed_batch_is_gone_before_the_halves_are_measured() -> None:
    """Its arrays hang on the exception; they must not be there when the next batch asks for memory."""
    held: list[weakref.ref[torch.Tensor]] = []

    def measure(part: slice) -> bool:
        gone = all(one() is None for one in held)
        array = torch.zeros(10)
        held.append(weakref.ref(array))
        if part.stop - part.start > 1:
            raise MemoryError
        return gone

    with pytest.warns(UserWarning, match="out of memory"):
        assert in_seed_batches(measure, 4, 4, name="example", device=CPU) == [True] * 4
