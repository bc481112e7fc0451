"""A valid call of every public function of `empirical`, as data: what tests/meta/test_hostile_input.py attacks."""

from __future__ import annotations

import numpy as np

import empirical
from tests.support.hostile import Call

__all__ = ["CALLS", "NOT_CALLED"]

_GENERATOR = np.random.default_rng(0)
_INPUTS = _GENERATOR.normal(size=(6, 3))
_TRUTH = np.array([0, 0, 0, 1, 1, 1])
_OBSERVED = np.array([0, 0, 1, 1, 1, 0])
_SAMPLES = _GENERATOR.uniform(0.2, 0.8, size=12)
_TRAJECTORIES = _GENERATOR.normal(size=(12, 4))
_MODEL = empirical.FullyConnected(3, 8, 1)
_RATE = 1e-3
_DATA = empirical.DataSpec(name="clusters", n_train=12, n_test=6)
_NETWORK = empirical.NetworkSpec(width=8, depth=1)
_TRAINING = empirical.TrainingSpec(learning_rate=0.5, steps=4, batch_size=6, n_records=3)
_FULL_BATCH = empirical.TrainingSpec(learning_rate=0.5, steps=4, n_records=3)
_EXPERIMENT = empirical.Experiment(name="mine", data=_DATA, noise_level=0.3, network=_NETWORK, training=_TRAINING, seeds=(1, 2))
_RUN = {"name": "mine", "data": _DATA, "noise_level": 0.3, "network": _NETWORK, "seeds": (1, 2), "dtype": "float32"}


def _uniform(values: np.ndarray) -> np.ndarray:
    """Distribution function of U(0, 1)."""
    return np.clip(values, 0.0, 1.0)


CALLS: tuple[Call, ...] = (
    Call(empirical.arc_clusters, {"counts": [4, 5], "seed": 1, "span": 1.4, "relative_spread": 0.1}),
    Call(empirical.corrupt_labels, {"truth": _TRUTH, "noise_level": 0.3, "n_classes": 2, "seed": 1}, skip=("transition",)),
    Call(
        empirical.corrupt_labels,
        {"truth": _TRUTH, "transition": np.array([[0.7, 0.3], [0.2, 0.8]]), "n_classes": 2, "seed": 1},
        skip=("noise_level", "n_classes", "seed", "truth"),
    ),
    Call(empirical.corrupt_labels_batch, {"truth": _TRUTH, "noise_level": 0.3, "n_classes": 2, "seeds": [1, 2]}),
    Call(empirical.noisy_counts, {"class_counts": np.array([5, 7]), "noise_level": 0.3}),
    Call(
        empirical.load_dataset,
        {"name": "clusters", "classes": [0, 1], "n_train": 20, "n_test": 10, "seed": 0, "normalize": "unit"},
        skip=("root",),
    ),
    Call(
        empirical.load_dataset,
        {"name": "digits", "classes": [1, 7], "n_train": [5, 6], "n_test": [4, 4]},
        skip=("root", "seed", "normalize"),
        other={"classes": ("n_train",)},
    ),
    Call(
        empirical.FullyConnected,
        {"n_inputs": 3, "width": 8, "depth": 1, "n_outputs": 1, "activation": "relu", "convention": "eq2", "centred": False, "seed": 0},
        skip=("generator", "dtype"),
    ),
    Call(
        empirical.ConvolutionalNetwork,
        {"image_shape": [1, 8, 8], "n_outputs": 3, "channels": (2, 3), "hidden": 4, "seed": 0},
        skip=("generator", "dtype"),
    ),
    Call(
        empirical.ResNet9,
        {
            "image_shape": [1, 16, 16],
            "n_outputs": 3,
            "channels": 0.125,
            "variant": "usual",
            "normalization": "batch",
            "activation": "relu",
            "seed": 0,
        },
        skip=("generator", "dtype"),
    ),
    Call(
        empirical.gradient_geometry,
        {"model": _MODEL, "inputs": _INPUTS, "labels": _OBSERVED, "truth": _TRUTH, "n_classes": 2, "chunk_size": 4, "memory_budget": 2**27},
        skip=("logit",),
        other={"inputs": ("labels",)},
    ),
    Call(empirical.linearize, {"model": _MODEL, "chunk_size": 4}),
    Call(
        empirical.train_with_linearization,
        {
            "model": _MODEL,
            "inputs": _INPUTS,
            "labels": _OBSERVED,
            "learning_rate": 1.0,
            "steps": 2,
            "test_inputs": _INPUTS[:2],
            "record": [0, 2],
            "method": "auto",
            "memory_budget": 2**20,
            "chunk_size": 4,
        },
        skip=("batches",),
        other={"inputs": ("labels",), "steps": ("record",)},
    ),
    Call(
        empirical.empirical_ntk, {"model": _MODEL, "x": _INPUTS, "z": _INPUTS[:2], "blocks": False, "chunk_size": 4, "memory_budget": 2**28}
    ),
    Call(
        empirical.sample_tangent_kernels,
        {
            "angles": np.array([0.1, 1.0]),
            "width": 8,
            "depth": 1,
            "seeds": [1, 2],
            "activation": "relu",
            "convention": "eq2",
            "device": "cpu",
            "memory_budget": 2**24,
        },
        skip=("dtype",),
    ),
    Call(empirical.seeds_by_rule, {"name": "clusters", "count": 3, "salt": ""}),
    Call(empirical.experiment, {"name": "clusters", "tier": "quick"}),
    Call(empirical.resolve_device, {"device": "cpu"}),
    Call(empirical.provenance, {"device": "cpu"}),
    Call(empirical.exact, {"value": np.array([1.0, 2.0]), "n_seeds": 1, "unit": ""}),
    Call(empirical.mean_interval, {"samples": _SAMPLES, "error_rate": _RATE, "unit": ""}),
    Call(empirical.known_sigma_mean, {"samples": _SAMPLES, "sigma": np.array(0.2), "error_rate": _RATE, "unit": ""}),
    Call(empirical.variance_interval, {"samples": _SAMPLES, "error_rate": _RATE, "excess_kurtosis": np.array(0.5), "unit": ""}),
    Call(empirical.proportion, {"successes": 3, "trials": 10, "error_rate": _RATE}),
    Call(empirical.binomial_test, {"successes": 3, "trials": 10, "probability": 0.4}),
    Call(
        empirical.hypergeometric_test,
        {"observed": 2, "population": 20, "marked": 6, "drawn": 7},
        other={"marked": ("observed",), "drawn": ("observed",)},
    ),
    Call(empirical.ks_test, {"samples": _SAMPLES, "cdf": _uniform}),
    Call(
        empirical.betting_sequence,
        {"samples": _SAMPLES, "error_rate": _RATE, "lower_bound": 0.0, "upper_bound": 1.0, "path": False, "unit": ""},
    ),
    Call(
        empirical.empirical_bernstein_sequence,
        {"samples": _SAMPLES, "error_rate": _RATE, "lower_bound": 0.0, "upper_bound": 1.0, "path": False, "unit": ""},
    ),
    Call(
        empirical.normal_mixture_sequence,
        {"samples": _SAMPLES, "error_rate": _RATE, "sigma": np.array(0.2), "tuned_at": 30, "path": False, "unit": ""},
    ),
    Call(empirical.t_mixture_sequence, {"samples": _SAMPLES, "error_rate": _RATE, "tuned_at": 30, "path": False, "unit": ""}),
    Call(empirical.normal_mixture_radius, {"n": np.array([3, 10]), "error_rate": _RATE, "tuned_at": 30}),
    Call(
        empirical.simultaneous_band,
        {"trajectories": _TRAJECTORIES, "error_rate": 0.05, "method": "bonferroni-t", "seed": 0, "n_resamples": 200, "unit": ""},
    ),
    Call(empirical.sign_flip_test, {"trajectories": _TRAJECTORIES, "prediction": np.zeros(4), "seed": 0, "n_resamples": 200}),
    Call(
        empirical.rate_in_width,
        {
            "widths": [64.0, 128.0, 256.0],
            "samples": [_GENERATOR.normal(size=20) / np.sqrt(m) for m in (64, 128, 256)],
            "error_rate": 0.01,
            "statistic": "sd",
            "target": 0.0,
            "limit_power": -1.0,
            "unit": "",
        },
    ),
    Call(
        empirical.DataSpec,
        {"name": "digits", "classes": (1, 7), "n_train": 20, "n_test": 10, "seed": 0, "normalize": "unit"},
        skip=("root",),
    ),
    Call(
        empirical.NetworkSpec,
        {
            "kind": "fully_connected",
            "width": 8,
            "depth": 1,
            "activation": "relu",
            "convention": "eq2",
            "centred": False,
            "zero_output": False,
        },
        skip=("channels", "normalization", "variant"),
    ),
    Call(
        empirical.NetworkSpec,
        {"kind": "resnet9", "convention": "pytorch", "channels": 0.125, "normalization": "batch", "variant": "usual", "activation": "mish"},
        skip=("kind", "width", "depth", "convention", "centred", "zero_output"),
    ),
    Call(
        empirical.TrainingSpec,
        {"learning_rate": 0.5, "steps": 4, "batch_size": 2, "n_records": 3, "record_logits": False, "record_samples": 10},
    ),
    Call(empirical.Experiment, {**_RUN, "training": _TRAINING}, other={"data": ("DataSpec",)}),
    Call(empirical.GradientSample, {**_RUN, "kernel": False, "single_logit": False, "test_kernel": False}),
    Call(empirical.LinearizedRun, {**_RUN, "training": _FULL_BATCH, "n_kernel": 4, "scale": "kernel"}),
    Call(empirical.TangentKernelSample, {"name": "mine", "network": _NETWORK, "angles": (0.1, 1.0), "seeds": (1, 2), "dtype": "float32"}),
    Call(empirical.EarlyStoppingMonitor, {"noise_level": 0.3, "n_classes": 2, "window": 1, "confirm": 1}, skip=("target",)),
    Call(empirical.EarlyStoppingMonitor, {"target": 0.4}, skip=("noise_level", "n_classes", "window", "confirm")),
    Call(empirical.noise_residual, {"noise_level": 0.3, "n_classes": 2}, skip=("transition", "class_shares")),
    Call(
        empirical.noise_residual,
        {"transition": np.array([[0.7, 0.3], [0.2, 0.8]]), "class_shares": np.array([0.4, 0.6])},
        skip=("noise_level", "n_classes"),
    ),
    Call(empirical.noise_level_from_checked, {"wrong": 3, "checked": 10, "error_rate": 0.05}),
    Call(
        empirical.noise_level_from_disagreement,
        {"wrong": 3, "checked": 10, "n_classes": 2, "max_model_error": 0.1, "error_rate": 0.05},
    ),
    Call(empirical.transition_counts, {"class_counts": np.array([5, 7]), "transition": np.array([[0.7, 0.3], [0.2, 0.8]])}),
    Call(empirical.train, {"experiment": _EXPERIMENT, "device": "cpu", "memory_budget": 2**24}),
    Call(
        empirical.run,
        {"specifications": [_EXPERIMENT], "n_jobs": 1, "device": "cpu", "threads": 1},
        skip=("store", "progress", "cluster"),
    ),
    Call(
        empirical.record,
        {
            "model": _MODEL,
            "inputs": _INPUTS,
            "observed": _OBSERVED,
            "truth": _TRUTH,
            "n_classes": 2,
            "test_inputs": _INPUTS[:3],
            "test_truth": _TRUTH[:3],
            "learning_rate": 0.5,
            "steps": 10,
            "every": "log",
            "samples": 32,
            "evaluated": 32,
            "seed": 0,
            "name": "own training",
        },
        skip=("noisy_validation", "class_names"),
        other={"test_inputs": ("test_truth",), "test_truth": ("test_inputs",)},
    ),
    Call(empirical.policy_departures, {"provenance": {"tf32": False}}),
)

NOT_CALLED: dict[str, str] = {
    **dict.fromkeys(
        (
            "Dataset",
            "Estimate",
            "GradientGeometry",
            "Linearization",
            "LinearizedTrajectory",
            "NoisyLabels",
            "Progress",
            "RateInWidth",
            "RunError",
            "SignFlipTest",
            "StoreEntry",
            "Sweep",
            "TestResult",
            "Trace",
            "Trajectory",
        ),
        "a record that functions return",
    ),
    **dict.fromkeys(("DatasetNotFound", "Specification", "StoreWarning"), "an exception, a protocol or a warning"),
    **dict.fromkeys(
        ("Store", "export_store", "fetch_dataset", "list_store", "load_noise", "measurement_digest", "save_noise", "sweep_store"),
        "works on files: attacked with damaged and foreign ones in tests/empirical/test_store*.py, test_noise_files.py, test_pictures.py",
    ),
    "policy": "a context manager; resolve_device, which it calls first, is attacked",
}
