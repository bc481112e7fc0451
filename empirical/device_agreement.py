"""Whether a device measures what the CPU measures: tiny networks trained on both, before anything measured on the device is judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from empirical.devices import resolve_device
from empirical.measurements import Experiment
from empirical.specifications import DataSpec, NetworkSpec, TrainingSpec
from empirical.training import train

__all__ = ["TOLERANCES", "DeviceDisagreementError", "check_device_agreement"]

_DATA = DataSpec(name="digits", classes=(1, 4, 7), n_train=30, n_test=12)
_NOISE_LEVEL = 0.3

TOLERANCES = {
    # A recorded number follows from at most P = 2·9·4 = 72 products in sequence (9 layers of ResNet-9, forward and backward, 3 steps and
    # the record) of at most K = 30·64 = 1920 terms (a filter's gradient: 30 samples, 64 places). Two orders of a sum differ by at most
    # 2·K·2⁻⁵³ relative: 2·1920·72·2⁻⁵³ = 3e-11. Three times that, for ratios and normalisations, which amplify a little. On CPUs 5e-15.
    "float64": 1e-10,
    # Rounding alone, adding like a random walk, is √(K·P)·2⁻²⁴ = 2e-5. But a hidden unit within rounding of 0 may be on for one device and
    # off for the other: one of 30 samples in one of 32 units, 1e-3 of a layer's gradient, and two of them at most, which is also the bound
    # between devices in the README of this folder.
    "float32": 2e-3,
}
"""Dtype → largest difference between two devices, relative to the largest number of a variable."""


class DeviceDisagreementError(RuntimeError):
    """A device measures something else than the CPU; the message is one line."""


def check_device_agreement(device: str | torch.device = "auto") -> None:
    """Train a tiny fully connected network, CNN and ResNet-9 for three steps on the CPU and on a device, and compare all that is recorded.

    In float64 the two differ by the order of sums, in float32 by rounding: at most ``TOLERANCES``. Takes about two seconds on a CPU.

    Args:
        device: as ``empirical.devices.resolve_device``.

    Raises:
        DeviceDisagreementError: where they differ by more, or the device cannot train them; names the device, the network, the variable
            and the difference.
        ValueError: if the device is unknown or not on this machine.

    Example:
        >>> check_device_agreement("cpu")
    """
    place = resolve_device(device)
    for specification in _experiments():
        here = train(specification, device="cpu").to_dataset()
        try:
            there = train(specification, device=place).to_dataset()
        except (RuntimeError, ValueError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DeviceDisagreementError(f"{_where(place, specification)}: the device cannot train it ({reason}), the CPU can") from None
        _compare(here, there, specification, place)


def _experiments() -> Iterator[Experiment]:
    """The networks, each in both dtypes; full-batch and stochastic, smooth and with kinks, with batch and with group normalisation."""
    pixels = replace(_DATA, normalize="pixel")
    resnet = NetworkSpec(kind="resnet9", channels=1 / 32, convention="pytorch", activation="mish")
    networks = {
        "fully connected": (_DATA, NetworkSpec(width=32, depth=2), 0.5, None),
        "CNN": (pixels, NetworkSpec(kind="cnn", width=32, channels=1 / 8, convention="pytorch"), 0.1, 10),
        "ResNet-9": (pixels, resnet, 0.02, None),
        "ResNet-9 with group normalisation": (pixels, replace(resnet, normalization="group"), 0.02, 10),
    }
    for name, (data, network, rate, batch_size) in networks.items():
        for dtype in TOLERANCES:
            yield Experiment(
                name=name,
                data=data,
                noise_level=_NOISE_LEVEL,
                network=network,
                training=TrainingSpec(learning_rate=rate, steps=3, batch_size=batch_size, n_records=4, record_logits=True),
                seeds=(1, 2),
                dtype=dtype,
            )


def _compare(here: xr.Dataset, there: xr.Dataset, specification: Experiment, place: torch.device) -> None:
    tolerance = TOLERANCES[specification.dtype]
    for name in map(str, here.data_vars):
        ours, theirs = (np.asarray(record[name].to_numpy(), dtype=np.float64) for record in (here, there))
        if name.endswith("_error") and specification.dtype == "float32":
            # A sample whose logits tie within rounding may be counted on either side: one, not two, of the smallest group, the noisy ones.
            allowed = 1.5 / round(_NOISE_LEVEL * len(here["sample"]))
        else:  # the change of a loss is a difference of two numbers of the size of the loss
            allowed = tolerance * float(np.nanmax(np.abs(here[name.removesuffix("_change")].to_numpy()), initial=0.0))
        empty = np.isnan(ours) & np.isnan(theirs)  # means over empty segments
        difference = float(np.where(empty, 0.0, np.abs(ours - theirs)).max(initial=0.0))
        if not difference <= allowed:  # a nan on one side alone is a disagreement, too
            raise DeviceDisagreementError(
                f"{_where(place, specification)}: {name} differs by {difference:.2g}, expected at most {allowed:.2g}"
            )


def _where(place: torch.device, specification: Experiment) -> str:
    return f"device {place} disagrees with the CPU on a small {specification.name} network in {specification.dtype}"
