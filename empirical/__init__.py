"""Empirical: what finite networks do.

It measures, and borrows no formula from the theory that it tests: of ``theory`` only the vocabulary of segments is used.

>>> import empirical
>>> data = empirical.load_dataset("digits", classes=(7, 9), n_train=100)
>>> noisy = empirical.corrupt_labels(data.train_truth, 0.4, n_classes=2, seed=0)
>>> int(noisy.is_noisy.sum())
40
"""

# Data and label noise: §2 and Appendix B [A]
from empirical.datasets import DATASETS, Dataset, DatasetNotFound, arc_clusters, load_dataset

# Where and how: device, precision, determinism, provenance
from empirical.devices import policy, provenance, resolve_device

# Specifications of the papers' experiments, and their measurement: Figures 1 to 13
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
    seeds_by_rule,
)

# Instruments: sample-wise gradients, segments, tangent kernel (§3 [A], §3 [B])
from empirical.gradients import GradientGeometry, gradient_geometry

# Networks for pictures: Appendix B [A]
from empirical.image_networks import ConvolutionalNetwork, ResNet9

# Estimates with confidence sets over seeds
from empirical.inference import (
    Estimate,
    RateInWidth,
    SignFlipTest,
    TestResult,
    betting_sequence,
    binomial_test,
    empirical_bernstein_sequence,
    exact,
    hypergeometric_test,
    known_sigma_mean,
    ks_test,
    mean_interval,
    normal_mixture_radius,
    normal_mixture_sequence,
    proportion,
    rate_in_width,
    sign_flip_test,
    simultaneous_band,
    t_mixture_sequence,
    variance_interval,
)

# Networks: Eq. (2) [B], Eq. (6), (7) [A]
from empirical.networks import FullyConnected
from empirical.noise import NoisyLabels, corrupt_labels, corrupt_labels_batch, noisy_counts

# Measuring once, judging often
from empirical.runner import Progress, RunError, Specification, run
from empirical.store import Store, StoreWarning
from empirical.tangent_kernel import empirical_ntk, sample_tangent_kernels

# Training: §4 [A], §4 [B]
from empirical.training import Trajectory, train

__all__ = [
    "DATASETS",
    "EXPERIMENTS",
    "TIERS",
    "ConvolutionalNetwork",
    "DataSpec",
    "Dataset",
    "DatasetNotFound",
    "Estimate",
    "Experiment",
    "FullyConnected",
    "GradientGeometry",
    "GradientSample",
    "NetworkSpec",
    "NoisyLabels",
    "Progress",
    "RateInWidth",
    "ResNet9",
    "RunError",
    "SignFlipTest",
    "Specification",
    "Store",
    "StoreWarning",
    "TangentKernelSample",
    "TestResult",
    "TrainingSpec",
    "Trajectory",
    "arc_clusters",
    "betting_sequence",
    "binomial_test",
    "corrupt_labels",
    "corrupt_labels_batch",
    "empirical_bernstein_sequence",
    "empirical_ntk",
    "exact",
    "experiment",
    "gradient_geometry",
    "hypergeometric_test",
    "known_sigma_mean",
    "ks_test",
    "load_dataset",
    "mean_interval",
    "noisy_counts",
    "normal_mixture_radius",
    "normal_mixture_sequence",
    "policy",
    "proportion",
    "provenance",
    "rate_in_width",
    "resolve_device",
    "run",
    "sample_tangent_kernels",
    "seeds_by_rule",
    "sign_flip_test",
    "simultaneous_band",
    "t_mixture_sequence",
    "train",
    "variance_interval",
]
