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


def _uniform(values: np.ndarray) -> np.ndarray:
    """Distribution function of U(0, 1)."""
    return np.clip(values, 0.0, 1.0)


CALLS: tuple[Call, ...] = (
    Call(empirical.arc_clusters, {"counts": [4, 5], "seed": 1, "span": 1.4, "relative_spread": 0.1}),
    Call(empirical.corrupt_labels, {"truth": _TRUTH, "noise_level": 0.3, "n_classes": 2, "seed": 1}),
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
        {"model": _MODEL, "inputs": _INPUTS, "labels": _OBSERVED, "truth": _TRUTH, "n_classes": 2, "chunk_size": 4},
        skip=("logit",),
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
    ),
    Call(empirical.empirical_ntk, {"model": _MODEL, "x": _INPUTS, "z": _INPUTS[:2], "blocks": False, "chunk_size": 4}),
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
    Call(empirical.hypergeometric_test, {"observed": 2, "population": 20, "marked": 6, "drawn": 7}),
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
)

NOT_CALLED: dict[str, str] = {}
