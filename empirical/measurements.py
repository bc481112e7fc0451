"""Three kinds of measurement on many random networks, each a frozen specification that can carry itself out.

* ``Experiment``: training on partly wrong labels (with 0 steps: the initialisation alone);
* ``GradientSample``: the directions of all sample-wise gradients at initialisation;
* ``TangentKernelSample``: tangent kernels at initialisation between unit vectors at given angles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from empirical._validation import check_flag, check_instance, check_reals
from empirical.datasets import Dataset
from empirical.devices import policy
from empirical.gradients import gradient_geometry
from empirical.image_networks import ResNet9
from empirical.keys import canonical_form, key_of, record_attributes
from empirical.noise import corrupt_labels_batch
from empirical.segment_gram import segment_names
from empirical.specifications import DataSpec, NetworkSpec, TrainingSpec, check_common, check_seeds
from empirical.tangent_kernel import empirical_ntk, sample_tangent_kernels
from empirical.training import train

__all__ = ["Experiment", "GradientSample", "TangentKernelSample"]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Networks trained on partly wrong labels; each seed draws its own initialisation, label noise and order of mini-batches.

    Attributes:
        name: in the registry and in reports; not part of the key.
        data: training and test samples.
        noise_level: δ in [0, 1), exact in every class.
        network: architecture.
        training: gradient descent or stochastic gradient descent.
        seeds: one network each.
        dtype: ``"float32"`` or ``"float64"``.

    Example:
        >>> Experiment(
        ...     name="example",
        ...     data=DataSpec(name="digits", classes=(7, 9)),
        ...     noise_level=0.4,
        ...     network=NetworkSpec(width=64, depth=1),
        ...     training=TrainingSpec(learning_rate=1.0, steps=0),
        ...     seeds=(1, 2),
        ... ).regime
        'finite network · digits 7/9 · δ = 0.4'
    """

    name: str
    data: DataSpec
    noise_level: float
    network: NetworkSpec
    training: TrainingSpec
    seeds: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_common(self.name, self.noise_level, self.dtype)
        check_instance(self.data, "data", DataSpec)
        check_instance(self.network, "network", NetworkSpec)
        check_instance(self.training, "training", TrainingSpec)
        object.__setattr__(self, "seeds", check_seeds(self.seeds))

    @property
    def regime(self) -> str:
        """Short text for people."""
        return f"{_kind(self.network)} · {self.data.label} · δ = {self.noise_level:g}"

    def canonical(self) -> dict[str, Any]:
        """JSON-able form of all that determines the measurement, but for the data themselves."""
        return canonical_form("experiment", self)

    def key(self) -> str:
        """SHA-256 of canonical form, data and version of the instruments."""
        return key_of(self.canonical(), self.data.load().sha256)

    @property
    def effort(self) -> float:
        """Multiplications of all forward passes, roughly: of many measurements the longest are begun first."""
        data, training = self.data.load(), self.training
        n_train = len(data.train_inputs)
        rows = training.steps * (training.batch_size or n_train) + len(training.record_steps) * (n_train + len(data.test_inputs))
        model = self.network.build(data, seed=self.seeds[0])
        places = 1 if data.image_shape is None else data.train_inputs.shape[1]  # a convolution's weights meet every pixel
        weights = sum(part.numel() * (places if part.ndim == 4 else 1) for part in model.parameters())
        return float(len(self.seeds) * rows * weights)

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Train; the dataset is that of ``Trajectory``."""
        return train(self, device=device).to_dataset()


@dataclass(frozen=True, kw_only=True)
class GradientSample:
    """Directions of all sample-wise gradients at initialisation, network by network.

    Measured: ``sample_cosines`` ``[seed, sample, class_]`` (with each class's clean segment gradient), ``sample_norm``, ``residual``,
    ``observed`` ``[seed, sample]``, ``gram`` ``[seed, 3C, 3C]``, ``alpha``, ``rho`` ``[seed, C]``, ``truth`` ``[sample]``, and with
    ``kernel`` the tangent kernel ``[seed, sample, sample_]`` (the θ_h of all pairs). With ``test_kernel`` also ``kernel_test``
    ``[seed, test_sample, sample]``, the tangent kernel between test samples and samples, and ``test_truth`` ``[test_sample]``.

    With ``single_logit``, of the single-logit gradients r_ic ∇h_c(x_i) at every logit c: ``sample_cosines`` ``[seed, sample, class_]``,
    with the clean segment gradient of class c at logit c; ``sample_norm``, ``residual`` ``[seed, sample, logit]``; ``gram``
    ``[seed, logit, 3C, 3C]``, the segments of all classes at logit c; ``alpha``, ``rho`` ``[seed, C]`` of class c at its own logit.

    A network is measured in evaluation mode, its batch normalisation calibrated on the samples.

    Attributes:
        name: in the registry and in reports; not part of the key.
        data: the samples (the test set is used by ``test_kernel`` alone).
        noise_level: δ in [0, 1).
        network: architecture.
        seeds: one network and label draw each.
        kernel: also measure the tangent kernel.
        test_kernel: also measure the tangent kernel between test samples and samples.
        single_logit: measure single-logit gradients, for three classes or more (C calls of the instrument for C logits).
        dtype: ``"float32"`` or ``"float64"``.

    Source: Fig. 3, 4, 10 [A].
    """

    name: str
    data: DataSpec
    noise_level: float
    network: NetworkSpec
    seeds: tuple[int, ...]
    kernel: bool = False
    test_kernel: bool = False
    single_logit: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_common(self.name, self.noise_level, self.dtype)
        check_instance(self.data, "data", DataSpec)
        check_instance(self.network, "network", NetworkSpec)
        check_flag(self.kernel, "kernel")
        check_flag(self.test_kernel, "test_kernel")
        check_flag(self.single_logit, "single_logit")
        object.__setattr__(self, "seeds", check_seeds(self.seeds))

    @property
    def regime(self) -> str:
        """Short text for people."""
        return f"{_kind(self.network)} at initialisation · {self.data.label} · δ = {self.noise_level:g}"

    def canonical(self) -> dict[str, Any]:
        """JSON-able form of all that determines the measurement, but for the data themselves."""
        return canonical_form("gradient sample", self, only_if_set=("single_logit", "test_kernel"))

    def key(self) -> str:
        """SHA-256 of canonical form, data and version of the instruments."""
        return key_of(self.canonical(), self.data.load().sha256)

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Measure every network.

        Raises:
            ValueError: if ``test_kernel`` is asked of data without test samples, or ``single_logit`` of two classes.
        """
        data = self.data.load()
        classes = data.n_classes
        if self.test_kernel and not len(data.test_inputs):
            raise ValueError("test_kernel must be False for data without test samples, got True")
        observed = corrupt_labels_batch(data.train_truth, self.noise_level, n_classes=classes, seeds=self.seeds)
        measured: dict[str, list[NDArray[np.floating]]] = {}
        with policy(device) as place:
            inputs = torch.tensor(data.train_inputs, dtype=getattr(torch, self.dtype), device=place)
            for seed, labels in zip(self.seeds, observed, strict=True):
                model = self.network.build(data, seed=seed, dtype=inputs.dtype).to(place).eval()
                if isinstance(model, ResNet9):
                    model.calibrate(inputs)
                parts = self._measure_network(model, data, labels)
                if self.kernel:
                    parts["kernel"] = empirical_ntk(model, data.train_inputs)
                if self.test_kernel:
                    parts["kernel_test"] = empirical_ntk(model, data.test_inputs, data.train_inputs)
                for name, part in parts.items():
                    measured.setdefault(name, []).append(part)
        single = self.single_logit
        axes = {
            "gram": ("seed", *(["logit"] if single else []), "segment", "segment_"),
            "alpha": ("seed", "class_"),
            "rho": ("seed", "class_"),
            "sample_cosines": ("seed", "sample", "class_"),
            "sample_norm": ("seed", "sample", "logit") if single else ("seed", "sample"),
            "residual": ("seed", "sample") if classes == 2 else ("seed", "sample", "logit"),
            "kernel": ("seed", "sample", "sample_"),
            "kernel_test": ("seed", "test_sample", "sample"),
        }
        variables = {name: (axes[name], np.stack(parts), {"units": "1"}) for name, parts in measured.items()}
        names = list(segment_names(classes))
        return xr.Dataset(
            {**variables, "observed": (("seed", "sample"), observed)},
            coords={
                "seed": np.array(self.seeds, dtype=np.int64),
                "truth": ("sample", data.train_truth),
                **({"test_truth": ("test_sample", data.test_truth)} if self.test_kernel else {}),
                "class_": list(data.class_names),
                "segment": names,
                "segment_": names,
            },
            attrs={**record_attributes(self), "data_sha256": data.sha256},
        )

    def _measure_network(self, model: nn.Module, data: Dataset, labels: NDArray[np.int64]) -> dict[str, NDArray[np.floating]]:
        classes, inputs, truth = data.n_classes, data.train_inputs, data.train_truth
        if not self.single_logit:
            geometry = gradient_geometry(model, inputs, labels, truth=truth, n_classes=classes)
            names = ("gram", "alpha", "rho", "sample_cosines", "sample_norm", "residual")
            return {name: getattr(geometry, name) for name in names}
        if classes == 2:
            raise ValueError("single_logit must be False for two classes, which have one logit, got True")
        each = [gradient_geometry(model, inputs, labels, truth=truth, n_classes=classes, logit=c) for c in range(classes)]
        return {
            "gram": np.stack([geometry.gram for geometry in each]),
            "alpha": np.array([geometry.alpha[c] for c, geometry in enumerate(each)]),
            "rho": np.array([geometry.rho[c] for c, geometry in enumerate(each)]),
            "sample_cosines": np.stack([geometry.sample_cosines[:, c] for c, geometry in enumerate(each)], axis=1),
            "sample_norm": np.stack([geometry.sample_norm for geometry in each], axis=1),
            "residual": np.stack([geometry.residual for geometry in each], axis=1),
        }


@dataclass(frozen=True, kw_only=True)
class TangentKernelSample:
    """Tangent kernels of many random networks at initialisation between unit vectors x, z at given angles.

    Measured: ``kernel_xx``, ``kernel_xz``, ``kernel_zz`` ``[seed, angle]`` float64; the coordinate ``angle`` is θ_d in radians.

    Attributes:
        name: in the registry and in reports; not part of the key.
        network: architecture (centring changes no derivative).
        angles: input angles θ_d, radians.
        seeds: one network each.
        dtype: ``"float32"`` or ``"float64"``.

    Source: Thm 3.1 [A], Thm 3.1 [B], Fig. 2 [A].
    """

    name: str
    network: NetworkSpec
    angles: tuple[float, ...]
    seeds: tuple[int, ...]
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_common(self.name, 0.0, self.dtype)
        check_instance(self.network, "network", NetworkSpec)
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        object.__setattr__(self, "angles", check_reals(self.angles, "angles"))

    @property
    def regime(self) -> str:
        """Short text for people."""
        return f"finite network at initialisation · {self.network.activation} · L = {self.network.depth} · m = {self.network.width}"

    def canonical(self) -> dict[str, Any]:
        """JSON-able form of all that determines the measurement."""
        return canonical_form("tangent kernel sample", self)

    def key(self) -> str:
        """SHA-256 of canonical form and version of the instruments."""
        return key_of(self.canonical(), "")

    def measure(self, *, device: str | torch.device = "auto") -> xr.Dataset:
        """Measure every network."""
        with policy(device) as place:
            xx, xz, zz = sample_tangent_kernels(
                self.angles,
                width=self.network.width,
                depth=self.network.depth,
                seeds=self.seeds,
                activation=self.network.activation,
                convention=self.network.convention,
                dtype=getattr(torch, self.dtype),
                device=place,
            )
        axes = ("seed", "angle")
        return xr.Dataset(
            {
                "kernel_xx": (axes, xx, {"units": "1", "long_name": "K(x, x)"}),
                "kernel_xz": (axes, xz, {"units": "1", "long_name": "K(x, z)"}),
                "kernel_zz": (axes, zz, {"units": "1", "long_name": "K(z, z)"}),
            },
            coords={
                "seed": np.array(self.seeds, dtype=np.int64),
                "angle": ("angle", np.array(self.angles), {"units": "radians", "long_name": "input angle"}),
            },
            attrs=record_attributes(self),
        )


def _kind(network: NetworkSpec) -> str:
    """What a regime calls the network."""
    return "finite network" if network.kind == "fully_connected" else network.label
