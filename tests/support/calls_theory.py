"""A valid call of every public function of `theory`, as data: what tests/meta/test_hostile_input.py attacks."""

from __future__ import annotations

import numpy as np

import theory
from tests.support.hostile import Call

__all__ = ["CALLS", "NOT_CALLED"]

_ROWS = np.random.default_rng(0).normal(size=(6, 3))
_KERNEL = theory.ntk(_ROWS)
_NNGP = theory.nngp(_ROWS)
_TRUTH = np.array([0, 0, 0, 1, 1, 1])
_OBSERVED = np.array([0, 0, 1, 1, 1, 0])
_SEGMENTS = theory.Segments.from_labels(_TRUTH, _OBSERVED)
_LOGITS = np.linspace(-1.0, 1.0, 6)
_RESIDUALS = np.array([0.4, 0.5, -0.5, -0.4, -0.5, 0.6])
_ANGLES = np.array([0.1, 0.5, 2.0])
_TIMES = np.array([0.0, 1.0, 3.0, 7.0])
_ALPHAS = np.array([0.4, 0.7, 1.1, 1.2])
_RHOS = np.array([0.99, 0.95, 0.9, 0.8])
_ALIGNMENT = theory.eigen_alignment(_KERNEL, _TRUTH, _OBSERVED)

CALLS: tuple[Call, ...] = (
    Call(theory.claim, {"id": "D10"}, skip=("register",)),
    Call(theory.errors, {"logits": _LOGITS, "labels": _OBSERVED, "loss": "logistic", "axis": -1}, other={"logits": ("axis",)}),
    Call(theory.loss_values, {"logits": _LOGITS, "labels": _OBSERVED, "loss": "logistic", "axis": -1}, other={"logits": ("axis",)}),
    Call(theory.residuals, {"logits": _LOGITS, "labels": _OBSERVED, "loss": "logistic", "axis": -1}, other={"logits": ("axis",)}),
    Call(theory.sigmoid, {"logits": _LOGITS}),
    Call(theory.Segments.from_labels, {"truth": _TRUTH, "observed": _OBSERVED, "n_classes": 2}),
    Call(theory.SegmentGeometry.from_gram, {"gram": np.eye(4) - 0.1}, nan=("gram",)),
    Call(theory.segment_geometry, {"kernel": _KERNEL, "residuals": _RESIDUALS, "segments": _SEGMENTS}, nan=("residuals", "kernel")),
    Call(theory.cos_gradient_angle, {"theta": _ANGLES, "depth": 2, "activation": "relu"}),
    Call(theory.cos_gradient_angle_derivative, {"theta": _ANGLES, "depth": 2}),
    Call(theory.gradient_angle, {"theta": _ANGLES, "depth": 2, "activation": "relu"}),
    Call(theory.gradient_angle_derivative, {"theta": _ANGLES, "depth": 2, "activation": "relu"}),
    Call(theory.gradient_gap_bound, {"theta": _ANGLES / 2, "depth": 2}),
    Call(theory.hidden_angle, {"theta": _ANGLES, "depth": 2}),
    Call(theory.inverse_gradient_angle, {"theta_h": np.array([0.1, 0.5, 1.0]), "depth": 2, "activation": "relu"}),
    Call(theory.kappa0, {"theta": _ANGLES}),
    Call(theory.kappa1, {"theta": _ANGLES}),
    Call(theory.max_gradient_angle, {"depth": 2}),
    Call(theory.one_minus_cos_gradient_angle, {"theta": _ANGLES, "depth": 2, "activation": "relu"}),
    Call(theory.small_angle_law, {"theta": _ANGLES, "depth": 2}),
    Call(theory.spreading_threshold, {"depth": 2}),
    Call(theory.turning_point, {"depth": 2}),
    Call(theory.gaussian_kernel, {"x": _ROWS, "z": _ROWS[:2], "bandwidth": 1.5}),
    Call(theory.laplacian_kernel, {"x": _ROWS, "z": _ROWS[:2], "bandwidth": 1.5}),
    Call(theory.nngp, {"x": _ROWS, "z": _ROWS[:2], "depth": 2, "activation": "relu", "convention": "eq2"}),
    Call(theory.ntk, {"x": _ROWS, "z": _ROWS[:2], "depth": 2, "activation": "relu", "convention": "eq2"}),
    Call(theory.ntk, {"x": _ROWS, "memory_budget": 2**27}),
    Call(theory.nngp, {"x": _ROWS, "memory_budget": 2**27}),
    Call(theory.gaussian_kernel, {"x": _ROWS, "bandwidth": 1.5, "memory_budget": 2**27}),
    Call(theory.laplacian_kernel, {"x": _ROWS, "bandwidth": 1.5, "memory_budget": 2**27}),
    Call(
        theory.relu_drift,
        {"x": _ROWS, "inputs": _ROWS, "accumulated": np.linspace(-0.4, 0.5, len(_ROWS)), "width": 64, "directions": _ROWS[:2]},
    ),
    Call(theory.cross_logit_variance, {"theta": _ANGLES, "width": 64, "convention": "eq2"}),
    Call(theory.ntk_moments, {"theta": _ANGLES, "width": 64, "activation": "relu", "convention": "eq7"}),
    Call(theory.quadrant_moment, {"theta": _ANGLES, "first": 1, "second": 1}),
    Call(theory.chi2_combination_cdf, {"values": np.array([0.5, 2.0]), "weights": np.array([1.0, 0.5]), "degrees": np.array([3, 4])}),
    Call(theory.gram_chebyshev_bound, {"epsilon": 0.2, "width": 64, "diagonal": True, "form": "corrected"}),
    Call(theory.gram_deviation_probability, {"epsilon": np.array([0.1, 0.2]), "width": 64, "diagonal": True}),
    Call(theory.gram_entry_variance, {"width": 64, "diagonal": True}),
    Call(theory.gram_frobenius_moment, {"width": 64, "n_inputs": 3}),
    Call(theory.linear_ntk_cdf, {"values": np.array([0.5, 2.0]), "theta": 0.7, "width": 64, "convention": "eq6"}),
    Call(theory.relu_ntk_diagonal_cdf, {"values": np.array([0.5, 2.0]), "width": 64, "convention": "eq7"}),
    Call(theory.diagonal_moments, {"depth": 2, "width": 64}),
    Call(theory.class_kernel_means, {"kernel": _KERNEL}),
    Call(
        theory.expected_segments,
        {"mean_diagonal": 2.0, "mean_off_diagonal": 1.0, "n_clean": 7, "n_noise": 3, "clean_residual": 0.5, "noise_residual": 0.5},
    ),
    Call(theory.initial_truth_cosine, {"kernel": _KERNEL, "truth": _TRUTH, "noise_level": 0.3, "n_noise": [1, 1]}),
    Call(theory.parzen_margin, {"kernel": _KERNEL, "observed": _OBSERVED}),
    Call(theory.sample_segment_cosine, {"kernel": _KERNEL, "residuals": _RESIDUALS, "members": _TRUTH == 0}),
    Call(theory.class_logit_spread, {"covariance": _NNGP, "truth": _TRUTH, "kernel": _KERNEL}),
    Call(theory.class_mean_logit_covariance, {"covariance": _NNGP, "truth": _TRUTH, "kernel": _KERNEL}),
    Call(theory.collapsed_logit_deviation, {"input_norm": 1.5, "convention": "eq2"}),
    Call(theory.log_ratio_law, {"noise_level": 0.3, "logit_deviation": 1.5, "spread": 0.2}),
    Call(
        theory.probability_clean_dominates_both,
        {"noise_level": 0.3, "covariance": np.array([[1.0, 0.5], [0.5, 1.0]]), "spread": np.array([0.1, 0.2])},
    ),
    Call(
        theory.gradient_descent,
        {
            "kernel": _KERNEL,
            "labels": _OBSERVED,
            "learning_rate": 0.5,
            "steps": 4,
            "loss": "logistic",
            "initial_logits": _LOGITS,
            "cross_kernel": _KERNEL[:2],
            "initial_test_logits": _LOGITS[:2],
            "record": [0, 4],
        },
        other={"steps": ("record",), "cross_kernel": ("initial_test_logits",)},
    ),
    Call(
        theory.gradient_flow,
        {
            "kernel": _KERNEL,
            "labels": _OBSERVED,
            "times": _TIMES,
            "loss": "logistic",
            "initial_logits": _LOGITS,
            "cross_kernel": _KERNEL[:2],
            "initial_test_logits": _LOGITS[:2],
            "rtol": 1e-6,
        },
        other={"cross_kernel": ("initial_test_logits",)},
    ),
    Call(theory.clean_descent_rate, {"kernel": _KERNEL, "residuals": _RESIDUALS, "segments": _SEGMENTS}),
    Call(theory.clean_priority_rate, {"kernel": _KERNEL, "segments": _SEGMENTS, "alpha": 0.5}),
    Call(theory.largest_eigenvalue, {"kernel": _KERNEL, "certified": True}),
    Call(theory.max_learning_rate, {"kernel": _KERNEL, "loss": "logistic"}),
    Call(
        theory.segment_history,
        {
            "kernel": _KERNEL,
            "logits": np.stack([_LOGITS, -_LOGITS]),
            "segments": _SEGMENTS,
            "test_logits": np.ones((2, 3)),
            "test_truth": _TRUTH[2:5],
        },
        nan=("kernel",),
        other={"test_truth": ("test_logits",)},
    ),
    Call(theory.segment_residuals, {"logits": _LOGITS, "segments": _SEGMENTS, "loss": "logistic"}),
    Call(theory.truth_geometry, {"kernel": _KERNEL, "logits": _LOGITS, "segments": _SEGMENTS}, nan=("kernel", "logits")),
    Call(theory.truth_gram, {"kernel": _KERNEL, "logits": np.stack([_LOGITS, -_LOGITS]), "segments": _SEGMENTS}),
    Call(theory.batch_alpha_deviation, {"alpha": 0.7, "noise_level": 0.3, "batch_size": 32, "n_samples": 1000}),
    Call(theory.batch_noise_probabilities, {"n_samples": 100, "n_noise": 30, "batch_size": 32}),
    Call(theory.class_noise_majority_probability, {"n_samples": 100, "class_size": 50, "class_noise": 15, "batch_size": 32}),
    Call(theory.noise_majority_probability, {"n_samples": 100, "n_noise": 30, "batch_size": 32}),
    Call(theory.alpha_flow, {"times": _TIMES, "alpha0": np.array(0.4), "kernel_scale": 1.5, "noise_level": 0.3, "complement": False}),
    Call(theory.alpha_from_truth_residual, {"residual": np.array([0.5, 0.4]), "noise_level": 0.3}),
    Call(
        theory.alpha_recursion,
        {"alpha0": np.array(0.4), "learning_rate": 0.5, "kernel_scale": 1.5, "noise_level": 0.3, "steps": 5, "complement": False},
    ),
    Call(theory.cluster_kernel_scale, {"within": 2.0, "between": 0.5, "n_classes": 2, "loss": "logistic"}),
    Call(theory.effective_learning_rate, {"learning_rate": 0.5, "alpha": np.array([0.4, 0.6]), "noise_level": 0.3, "form": "corrected"}),
    Call(theory.first_step_overshoot_rate, {"kernel_scale": 1.5, "noise_level": 0.3}),
    Call(theory.initial_alpha, {"noise_level": 0.3, "n_classes": 3}),
    Call(theory.local_stability_rate, {"kernel_scale": 1.5, "noise_level": 0.3, "monotone": False}),
    Call(theory.no_overshoot_rate, {"kernel_scale": 1.5}),
    Call(theory.noise_threshold, {"n_classes": 3}),
    Call(theory.step_factor_from_residual, {"residual": np.array([0.5, 0.4]), "noise_level": 0.3}),
    Call(theory.cosine_from_alpha_gap, {"alpha": np.array([0.4, 0.6]), "within": 2.0, "between": 0.5}),
    Call(theory.equicorrelated_coupling, {"diagonal": 2.0, "within": 1.0, "between": 0.5, "class_size": 40}),
    Call(theory.equicorrelated_descent, {"coupling": 3.0, "noise_level": 0.3, "step": 0.1, "steps": 5}),
    Call(theory.equicorrelated_flow, {"times": _TIMES, "coupling": 3.0, "noise_level": 0.3}),
    Call(theory.same_alpha_imbalance, {"kernel": np.array([[2.0, 0.5], [0.5, 1.5]]), "sizes": np.array([30, 20])}),
    Call(theory.turning_alpha, {"coupling": 3.0, "noise_level": 0.3}),
    Call(theory.turning_time, {"coupling": 3.0, "noise_level": 0.3}),
    Call(
        theory.two_cluster_alpha,
        {
            "kernel": np.array([[2.0, 0.5], [0.5, 1.5]]),
            "sizes": np.array([30, 20]),
            "noise_levels": np.array([0.3, 0.2]),
            "learning_rate": 0.5,
            "steps": 4,
            "initial_logits": np.array([0.1, -0.1]),
        },
    ),
    Call(
        theory.early_stopping_curve,
        {
            "kernel": _KERNEL,
            "truth": _TRUTH,
            "noise_level": 0.3,
            "learning_rate": 0.2,
            "steps": 5,
            "cross_kernel": _KERNEL[:4],
            "test_truth": _TRUTH[:4],
        },
        other={"cross_kernel": ("test_truth",)},
    ),
    Call(
        theory.critical_depth,
        {"noise_level": 0.3, "samples_per_class": 100, "within_angle": 0.4, "between_angle": 1.2, "n_classes": 2, "max_depth": 60},
    ),
    Call(
        theory.largest_noise_for_clean_priority, {"samples_per_class": 100, "diagonal": 2.0, "within": 1.0, "between": 0.4, "n_classes": 2}
    ),
    Call(
        theory.noisy_sample_drift,
        {"noise_level": 0.3, "samples_per_class": 100, "diagonal": 2.0, "within": 1.0, "between": 0.4, "n_classes": 2},
    ),
    Call(theory.samples_for_clean_priority, {"noise_level": 0.3, "diagonal": 2.0, "within": 1.0, "between": 0.4, "n_classes": 2}),
    Call(theory.clean_loss_falls, {"pooled_alpha": _ALPHAS, "pooled_rho": _RHOS}),
    Call(theory.first_crossing, {"times": _TIMES, "values": _ALPHAS, "level": 1.0, "interpolate": True}, nan=("values", "level")),
    Call(theory.transition_residual, {"transition": np.array([[0.7, 0.3], [0.2, 0.8]]), "class_shares": np.array([0.4, 0.6])}),
    Call(theory.held_out_disagreement, {"noise_level": 0.3, "model_error": 0.1, "n_classes": 3}),
    Call(theory.label_free_residual, {"noise_level": 0.3, "n_classes": 3}),
    Call(
        theory.label_free_stopping_time,
        {"times": _TIMES, "mean_residual": np.array([0.5, 0.45, 0.41, 0.3]), "noise_level": 0.3, "n_classes": 2, "interpolate": True},
        nan=("mean_residual",),
    ),
    Call(theory.noise_loss_rises, {"pooled_alpha": _ALPHAS, "pooled_rho": _RHOS}),
    Call(theory.noise_loss_turn, {"times": _TIMES, "pooled_alpha": _ALPHAS, "pooled_rho": _RHOS, "interpolate": False}),
    Call(theory.eigen_alignment, {"kernel": _KERNEL, "truth": _TRUTH, "observed": _OBSERVED, "n_classes": 2, "rtol": 1e-9}),
    Call(theory.expected_flip_energy, {"alignment": _ALIGNMENT, "noise_level": 0.3}),
    Call(theory.learned_fraction, {"alignment": _ALIGNMENT, "times": _TIMES, "vector": "truth", "loss": "squared"}),
    Call(theory.learning_time, {"alignment": _ALIGNMENT, "fraction": 0.5, "vector": "truth", "loss": "squared"}),
    Call(
        theory.rival_accounts,
        {"kernel": _KERNEL, "truth": _TRUTH, "observed": _OBSERVED, "n_classes": 2, "fraction": 0.5, "loss": "squared"},
    ),
    Call(theory.initial_residuals, {"observed": _OBSERVED, "n_classes": 2}),
    Call(theory.full_gradient_cosine, {"mean_diagonal": 2.0, "mean_off_diagonal": 1.5, "n_clean": 7, "n_noise": 3, "n_classes": 4}),
    Call(theory.multiclass_segment_ratio, {"noise_level": 0.3, "n_classes": 4, "reading": "truth"}),
    Call(theory.noise_free_gradient_factor, {"noise_level": 0.3, "n_classes": 4}),
    Call(theory.opposed_residual_cosine, {"n_classes": 4}),
)

NOT_CALLED: dict[str, str] = {
    **dict.fromkeys(
        (
            "Claim",
            "Slip",
            "SegmentGeometry",
            "NtkMoments",
            "ReluDrift",
            "DiagonalMoments",
            "DriftExponent",
            "SegmentExpectation",
            "LogRatioLaw",
            "Trajectory",
            "SegmentHistory",
            "TruthGeometry",
            "EquicorrelatedRun",
            "EarlyStoppingCurve",
            "EigenAlignment",
            "RivalAccounts",
            "PackedKernel",
        ),
        "a record that functions return",
    ),
    "Segments": "built through Segments.from_labels, which is attacked",
    "orthogonal_angle": "takes no argument",
}
