"""What the infinite-width theory of clean-priority learning says: NumPy and SciPy only, no input or output, no randomness.

Names stand in the order of the papers. Conventions, notation and "where does it go?": theory/README.md.
"""
# ruff: noqa: I001, RUF022 - the papers' order, not the alphabet's

from __future__ import annotations

# The claim register
from theory.claims import CLAIMS, SLIPS, Claim, Slip, claim

# Sec. 2: losses, segments of a noisy training set and their gradient geometry
from theory.losses import LOSSES, errors, loss_values, residuals, sigmoid
from theory.segments import SegmentGeometry, Segments, segment_geometry

# Sec. 3.1: model derivatives at infinite width
from theory.angles import (
    INFINITE_DEPTH_COSINE,
    cos_gradient_angle,
    cos_gradient_angle_derivative,
    gradient_angle,
    gradient_angle_derivative,
    gradient_gap_bound,
    hidden_angle,
    inverse_gradient_angle,
    kappa0,
    kappa1,
    max_gradient_angle,
    one_minus_cos_gradient_angle,
    orthogonal_angle,
    small_angle_law,
    spreading_threshold,
    turning_point,
)
from theory.kernels import gaussian_kernel, laplacian_kernel, nngp, ntk
from theory.packed import PackedKernel

# Sec. 3.1 and App. A at finite width
from theory.finite_width import NtkMoments, cross_logit_variance, ntk_moments, quadrant_moment
from theory.finite_width_drift import ReluDrift, relu_drift
from theory.finite_width_laws import (
    chi2_combination_cdf,
    gram_chebyshev_bound,
    gram_deviation_probability,
    gram_entry_variance,
    gram_frobenius_moment,
    linear_ntk_cdf,
    relu_ntk_diagonal_cdf,
)
from theory.finite_width_depth import DRIFT_EXPONENTS, DiagonalMoments, DriftExponent, diagonal_moments

# Sec. 3.2: sample-wise and segment gradients at initialisation
from theory.initialization import (
    SegmentExpectation,
    class_kernel_means,
    expected_segments,
    initial_truth_cosine,
    parzen_margin,
    sample_segment_cosine,
)
from theory.initialization_law import (
    LogRatioLaw,
    class_logit_spread,
    class_mean_logit_covariance,
    collapsed_logit_deviation,
    log_ratio_law,
    probability_clean_dominates_both,
)

# Sec. 4: training in function space, and the segments during training
from theory.dynamics import Trajectory, gradient_descent
from theory.flow import gradient_flow
from theory.step_size import clean_descent_rate, clean_priority_rate, largest_eigenvalue, max_learning_rate
from theory.segment_history import SegmentHistory, segment_history
from theory.truth_gradient import TruthGeometry, segment_residuals, truth_geometry, truth_gram
from theory.minibatch import (
    batch_alpha_deviation,
    batch_noise_probabilities,
    class_noise_majority_probability,
    noise_majority_probability,
)

# Sec. 4: the ratio α_t, and exactly solvable cases
from theory.alpha import (
    alpha_flow,
    alpha_from_truth_residual,
    alpha_recursion,
    cluster_kernel_scale,
    effective_learning_rate,
    first_step_overshoot_rate,
    initial_alpha,
    local_stability_rate,
    no_overshoot_rate,
    noise_threshold,
    step_factor_from_residual,
)
from theory.reductions import (
    EquicorrelatedRun,
    cosine_from_alpha_gap,
    equicorrelated_coupling,
    equicorrelated_descent,
    equicorrelated_flow,
    same_alpha_imbalance,
    turning_alpha,
    turning_time,
    two_cluster_alpha,
)

# Sec. 4.2: when learning turns
from theory.early_stopping import EarlyStoppingCurve, early_stopping_curve
from theory.existence import (
    critical_depth,
    largest_noise_for_clean_priority,
    noisy_sample_drift,
    samples_for_clean_priority,
)
from theory.stopping_rules import (
    clean_loss_falls,
    first_crossing,
    held_out_disagreement,
    label_free_residual,
    label_free_stopping_time,
    noise_loss_rises,
    noise_loss_turn,
    transition_residual,
)
from theory.eigen_alignment import (
    EigenAlignment,
    RivalAccounts,
    eigen_alignment,
    expected_flip_energy,
    learned_fraction,
    learning_time,
    rival_accounts,
)

# Sec. 5: several classes
from theory.initialization_multiclass import (
    full_gradient_cosine,
    initial_residuals,
    multiclass_segment_ratio,
    noise_free_gradient_factor,
    opposed_residual_cosine,
)

__all__ = [
    # The claim register
    "CLAIMS",
    "SLIPS",
    "Claim",
    "Slip",
    "claim",
    # Sec. 2: losses, segments of a noisy training set and their gradient geometry
    "LOSSES",
    "errors",
    "loss_values",
    "residuals",
    "sigmoid",
    "SegmentGeometry",
    "Segments",
    "segment_geometry",
    # Sec. 3.1: model derivatives at infinite width
    "INFINITE_DEPTH_COSINE",
    "cos_gradient_angle",
    "cos_gradient_angle_derivative",
    "gradient_angle",
    "gradient_angle_derivative",
    "gradient_gap_bound",
    "held_out_disagreement",
    "hidden_angle",
    "inverse_gradient_angle",
    "kappa0",
    "kappa1",
    "max_gradient_angle",
    "one_minus_cos_gradient_angle",
    "orthogonal_angle",
    "small_angle_law",
    "spreading_threshold",
    "turning_point",
    "gaussian_kernel",
    "laplacian_kernel",
    "nngp",
    "ntk",
    "PackedKernel",
    # Sec. 3.1 and App. A at finite width
    "NtkMoments",
    "cross_logit_variance",
    "ntk_moments",
    "ReluDrift",
    "relu_drift",
    "quadrant_moment",
    "chi2_combination_cdf",
    "gram_chebyshev_bound",
    "gram_deviation_probability",
    "gram_entry_variance",
    "gram_frobenius_moment",
    "linear_ntk_cdf",
    "relu_ntk_diagonal_cdf",
    "DRIFT_EXPONENTS",
    "DiagonalMoments",
    "DriftExponent",
    "diagonal_moments",
    # Sec. 3.2: sample-wise and segment gradients at initialisation
    "SegmentExpectation",
    "class_kernel_means",
    "expected_segments",
    "initial_truth_cosine",
    "parzen_margin",
    "sample_segment_cosine",
    "LogRatioLaw",
    "class_logit_spread",
    "class_mean_logit_covariance",
    "collapsed_logit_deviation",
    "log_ratio_law",
    "probability_clean_dominates_both",
    # Sec. 4: training in function space, and the segments during training
    "Trajectory",
    "gradient_descent",
    "gradient_flow",
    "clean_descent_rate",
    "clean_priority_rate",
    "largest_eigenvalue",
    "max_learning_rate",
    "SegmentHistory",
    "segment_history",
    "TruthGeometry",
    "segment_residuals",
    "transition_residual",
    "truth_geometry",
    "truth_gram",
    "batch_alpha_deviation",
    "batch_noise_probabilities",
    "class_noise_majority_probability",
    "noise_majority_probability",
    # Sec. 4: the ratio α_t, and exactly solvable cases
    "alpha_flow",
    "alpha_from_truth_residual",
    "alpha_recursion",
    "cluster_kernel_scale",
    "effective_learning_rate",
    "first_step_overshoot_rate",
    "initial_alpha",
    "local_stability_rate",
    "no_overshoot_rate",
    "noise_threshold",
    "step_factor_from_residual",
    "EquicorrelatedRun",
    "cosine_from_alpha_gap",
    "equicorrelated_coupling",
    "equicorrelated_descent",
    "equicorrelated_flow",
    "same_alpha_imbalance",
    "turning_alpha",
    "turning_time",
    "two_cluster_alpha",
    # Sec. 4.2: when learning turns
    "EarlyStoppingCurve",
    "early_stopping_curve",
    "critical_depth",
    "largest_noise_for_clean_priority",
    "noisy_sample_drift",
    "samples_for_clean_priority",
    "clean_loss_falls",
    "first_crossing",
    "label_free_residual",
    "label_free_stopping_time",
    "noise_loss_rises",
    "noise_loss_turn",
    "EigenAlignment",
    "RivalAccounts",
    "eigen_alignment",
    "expected_flip_energy",
    "learned_fraction",
    "learning_time",
    "rival_accounts",
    # Sec. 5: several classes
    "initial_residuals",
    "full_gradient_cosine",
    "multiclass_segment_ratio",
    "noise_free_gradient_factor",
    "opposed_residual_cosine",
]
