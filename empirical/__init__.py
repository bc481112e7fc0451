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
from empirical.devices import POLICY, policy, policy_departures, provenance, resolve_device

# The official files, on request: HTTPS and pinned SHA-256
from empirical.downloads import DOWNLOADS, fetch_dataset

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

# The first-order model of a network: Remark 3.3 [A], §4.1 [B]
from empirical.linearize import Linearization, LinearizedTrajectory, linearize, train_with_linearization
from empirical.linearized_runs import LinearizedRun

# Stopping without true labels: row R2
from empirical.monitor import EarlyStoppingMonitor

# Networks: Eq. (2) [B], Eq. (6), (7) [A]
from empirical.networks import FullyConnected
from empirical.noise import NoisyLabels, corrupt_labels, corrupt_labels_batch, noisy_counts, transition_counts
from empirical.noise_estimate import noise_level_from_checked, noise_level_from_disagreement, noise_residual
from empirical.noise_files import load_noise, save_noise

# Training of one's own, followed: §4 [A], §4 [B]
from empirical.record import Trace, record

# Measuring once, judging often
from empirical.runner import Progress, RunError, Specification, run
from empirical.store import Store, StoreWarning, measurement_digest
from empirical.store_upkeep import StoreEntry, Sweep, export_store, list_store, sweep_store
from empirical.tangent_kernel import empirical_ntk, sample_tangent_kernels

# Training: §4 [A], §4 [B]
from empirical.training import Trajectory, train

__all__ = [
    "DATASETS",
    "DOWNLOADS",
    "EXPERIMENTS",
    "POLICY",
    "TIERS",
    "ConvolutionalNetwork",
    "DataSpec",
    "Dataset",
    "DatasetNotFound",
    "EarlyStoppingMonitor",
    "Estimate",
    "Experiment",
    "FullyConnected",
    "GradientGeometry",
    "GradientSample",
    "Linearization",
    "LinearizedRun",
    "LinearizedTrajectory",
    "NetworkSpec",
    "NoisyLabels",
    "Progress",
    "RateInWidth",
    "ResNet9",
    "RunError",
    "SignFlipTest",
    "Specification",
    "Store",
    "StoreEntry",
    "StoreWarning",
    "Sweep",
    "TangentKernelSample",
    "TestResult",
    "Trace",
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
    "export_store",
    "fetch_dataset",
    "gradient_geometry",
    "hypergeometric_test",
    "known_sigma_mean",
    "ks_test",
    "linearize",
    "list_store",
    "load_dataset",
    "load_noise",
    "mean_interval",
    "measurement_digest",
    "noise_level_from_checked",
    "noise_level_from_disagreement",
    "noise_residual",
    "noisy_counts",
    "normal_mixture_radius",
    "normal_mixture_sequence",
    "policy",
    "policy_departures",
    "proportion",
    "provenance",
    "rate_in_width",
    "record",
    "resolve_device",
    "run",
    "sample_tangent_kernels",
    "save_noise",
    "seeds_by_rule",
    "sign_flip_test",
    "simultaneous_band",
    "sweep_store",
    "t_mixture_sequence",
    "train",
    "train_with_linearization",
    "transition_counts",
    "variance_interval",
]
