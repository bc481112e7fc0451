"""A device that measures something else than the CPU is refused, whichever network, dtype or recorded variable shows it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from empirical import device_agreement
from empirical.device_agreement import TOLERANCES, DeviceDisagreementError, _compare, _experiments, check_device_agreement
from empirical.experiments import Experiment
from empirical.training import Trajectory, train

EXPERIMENTS = list(_experiments())
CPU = torch.device("cpu")


def by_name(specification: Experiment) -> str:
    return f"{specification.name}-{specification.dtype}"


def wrong_on_the_second(wrong: Callable[[Experiment], Trajectory], only: Experiment) -> Callable[..., Trajectory]:
    """``train``, but the second time that a specification is trained, which is on the device, something else if it is this one."""
    seen: list[Experiment] = []

    def trained(specification: Experiment, *, device: torch.device | str) -> Trajectory:
        second = specification in seen
        seen.append(specification)
        return wrong(specification) if second and specification == only else train(specification, device=device)

    return trained


def test_a_device_agrees_with_itself_within_five_seconds() -> None:
    train(EXPERIMENTS[-1], device="cpu")  # what is imported and loaded once is not counted
    start = time.process_time()
    check_device_agreement("cpu")
    assert time.process_time() - start < 5  # about two are needed


def test_all_kinds_of_networks_are_trained_in_both_dtypes() -> None:
    assert {(spec.network.kind, spec.dtype) for spec in EXPERIMENTS} == {
        (kind, dtype) for kind in ("fully_connected", "cnn", "resnet9") for dtype in ("float64", "float32")
    }
    assert {spec.training.batch_size is None for spec in EXPERIMENTS} == {True, False}


@pytest.mark.parametrize("spec", EXPERIMENTS, ids=by_name)
def test_a_learning_rate_off_by_a_little_is_refused(spec: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a millionth in float64, by a twentieth in float32: each network by itself shows it."""
    factor = 1 + (1e-6 if spec.dtype == "float64" else 0.05)
    rate = spec.training.learning_rate * factor

    def wrong(one: Experiment) -> Trajectory:
        return train(replace(one, training=replace(one.training, learning_rate=rate)), device="cpu")

    monkeypatch.setattr(device_agreement, "train", wrong_on_the_second(wrong, spec))
    says = f"device cpu disagrees with the CPU on a small {spec.name} network in {spec.dtype}: "
    with pytest.raises(DeviceDisagreementError, match=re.escape(says) + r"\w+ differs by [^ ]+, expected at most [^ ]+$") as caught:
        check_device_agreement("cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("no\ndeterministic kernel"), ValueError("non-finite"), MemoryError("too small")])
def test_a_device_that_cannot_train_is_refused_in_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(one: Experiment) -> Trajectory:
        raise error

    monkeypatch.setattr(device_agreement, "train", wrong_on_the_second(wrong, EXPERIMENTS[0]))
    with pytest.raises(DeviceDisagreementError, match=f"the device cannot train it \\({' '.join(str(error).split())}\\), the CPU can$"):
        check_device_agreement("cpu")


@pytest.mark.parametrize("spec", [EXPERIMENTS[0], EXPERIMENTS[1]], ids=by_name)
def test_every_recorded_variable_is_compared(spec: Experiment) -> None:
    """One number that is off by five tolerances (for shares of float32: by two samples), or that is nan, in each variable in turn."""
    here = train(spec, device="cpu").to_dataset()
    assert {"gram", "own_gram", "alpha", "rho", "train_logits", "test_error", "clean_loss_change", "n_noise"} <= set(here.data_vars)
    for name in map(str, here.data_vars):
        values = here[name].to_numpy().astype(float)
        scale = float(np.abs(here[name.removesuffix("_change")].to_numpy()).max())
        share = name.endswith("_error") and spec.dtype == "float32"
        for departure in (2 / 9 if share else 5 * TOLERANCES[spec.dtype] * max(scale, 1e-3), np.nan):
            changed = values.copy()
            changed.flat[-1] += departure
            there = here.assign({name: (here[name].dims, changed)})
            with pytest.raises(DeviceDisagreementError, match=f": {name} differs by"):
                _compare(here, there, spec, CPU)


@pytest.mark.parametrize("spec", [spec for spec in EXPERIMENTS if spec.dtype == "float32"], ids=by_name)
def test_another_rounding_is_no_disagreement(spec: Experiment) -> None:
    """Control: the same run in float64 rounds each number of it otherwise, and stays within a tenth of the tolerance."""
    single, double = (train(replace(spec, dtype=dtype), device="cpu").to_dataset() for dtype in TOLERANCES)
    _compare(single, double, spec, CPU)
    for name in ("gram", "train_logits", "clean_loss", "alpha", "rho"):
        scale = np.abs(double[name].to_numpy()).max()
        assert np.abs(single[name].to_numpy() - double[name].to_numpy()).max() <= TOLERANCES["float32"] / 10 * scale, name


class TensorFloat32(TorchDispatchMode):
    """Matrix products and convolutions of float32 with factors of 10 bits, as GPUs make them where TF32 is on."""

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        """Round the factors, not what is added to their product."""
        name = operation.overloadpacket.__name__.rstrip("_")
        if name in ("mm", "bmm", "addmm", "baddbmm", "convolution", "convolution_backward"):
            added = 1 if "add" in name else 0
            arguments = (*arguments[:added], *tree_map(self.rounded, arguments[added:]))
        return operation(*arguments, **(options or {}))

    @staticmethod
    def rounded(value: Any) -> Any:
        """A factor with the last 13 of its 23 bits gone."""
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return value
        return ((value.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("spec", [spec for spec in EXPERIMENTS if spec.dtype == "float32"], ids=by_name)
def test_reduced_precision_is_refused(spec: Experiment) -> None:
    """The tolerance of float32 is narrow enough to notice factors of 10 bits, off by 2⁻¹¹ = 5e-4 each, in every network."""
    here = train(spec, device="cpu").to_dataset()
    with TensorFloat32():
        there = train(spec, device="cpu").to_dataset()
    with pytest.raises(DeviceDisagreementError, match="differs by"):
        _compare(here, there, spec, CPU)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu', 'cuda'"):
        check_device_agreement("tpu9")
