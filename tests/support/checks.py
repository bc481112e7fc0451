"""The checks that planted faults must not pass: claim tests judged in-process, and unit tests of the quick tier, under one name each.

A claim test gets a notebook made by hand, with the seeds of its rule; a row that is not as the register expects is red. Measurements are
made anew while a fault sits in the instruments, and once for all other faults, with the experiment's own seeds.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from empirical.datasets import load_dataset
from empirical.experiments import experiment
from reports.agreement import Verdict
from reports.evidence import Agreement
from reports.session import AgreementSession
from theory.claims import claim as claim_by_id

__all__ = ["CHECKS", "Check", "failure"]


@dataclass(frozen=True)
class Place:
    """An argument that lies in a module under tests, looked up when the check runs."""

    module: str
    name: str
    index: int | None = None

    def value(self) -> Any:
        """What lies there."""
        found = getattr(importlib.import_module(f"tests.{self.module}"), self.name)
        return found if self.index is None else found[self.index]


@dataclass(frozen=True)
class Check:
    """A test and its arguments.

    Attributes:
        test: "folder/module::function" under tests.
        arguments: parameters of the test; a `Place` stands for what lies there.
        seeds: networks measured instead of the experiment's own number; None keeps it.
    """

    test: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    seeds: int | None = None

    @property
    def function(self) -> Callable[..., None]:
        """The test function."""
        path, _, name = self.test.partition("::")
        found: Any = importlib.import_module("tests." + path.replace("/", "."))
        for part in name.split("::"):
            found = getattr(found() if isinstance(found, type) else found, part)
        return found  # type: ignore[no-any-return]

    @property
    def claim(self) -> str:
        """Id of the claim that the test judges, "" for a unit test."""
        mark = _marks(self.function).get("claim")
        return "" if mark is None else str(mark.args[0])


def failure(check: Check, *, fresh_measurements: bool) -> str:
    """Run a check: the first line of why it is red, "" if it is green.

    Args:
        check: what to run.
        fresh_measurements: measure anew instead of taking what was measured without any fault.

    Raises:
        Exception: whatever is neither a failed assertion, a refused value nor a warning: a fault that breaks the program has no place here.
    """
    function = check.function
    arguments = {name: value.value() if isinstance(value, Place) else value for name, value in check.arguments.items()}
    marks = _marks(function)
    try:
        if "claim" not in marks:
            for case in _cases(marks, arguments):
                function(**case)
            return ""
        notebook = _notebook(marks, arguments.get("regime"), _measured_now if fresh_measurements else _measured_once, check.seeds)
        function(notebook, **arguments)
        failures = notebook.result(seconds=0.0).failures()
    except (AssertionError, ValueError, Warning, pytest.fail.Exception) as error:
        return _line(f"{type(error).__name__}: {error}")
    return _line(failures[0]) if failures else ""


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:300]


def _marks(function: Callable[..., None]) -> dict[str, pytest.Mark]:
    return {mark.name: mark for mark in getattr(function, "pytestmark", [])}


def _cases(marks: Mapping[str, pytest.Mark], arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The given arguments; those of every case of the test's one ``parametrize`` mark where none are given."""
    if arguments or "parametrize" not in marks:
        return [arguments]
    names, values = marks["parametrize"].args
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    return [dict(zip(names, (case,) if len(names) == 1 else case, strict=True)) for case in values]


def _notebook(marks: Mapping[str, pytest.Mark], regime: Any, measure: Callable[..., xr.Dataset], seeds: int | None) -> Agreement:
    mark = marks["claim"]
    claim = claim_by_id(*mark.args)
    model, data = marks["regime"].args if "regime" in marks else ("by hand", getattr(regime, "data", ""))
    return Agreement(
        claim,
        model=model,
        data=data if isinstance(data, str) else regime.label,
        expected=Verdict(mark.kwargs.get("expected", claim.expected)),
        expected_reason=mark.kwargs.get("reason", claim.reason),
        command="",
        tier="quick",
        rng=_generator(claim.id, model, str(data)),
        seed_salt="",
        measure=lambda name: measure(name, seeds),
        replicates=lambda name, first, count: _own_seeds(measure(name, seeds), first, count),
        load=load_dataset,
    )


def _own_seeds(measured: xr.Dataset, first: int, count: int) -> xr.Dataset:
    """A check may not need more replicates than its experiment has, or a fault would be paid for by the hour."""
    assert first == 0, f"undecided after its own seeds: {count} more asked for"
    return measured


def _generator(*key: str) -> np.random.Generator:
    """The seeds that the harness would give by rule."""
    return AgreementSession.generator(_RULE, *key)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Rule:
    seed_salt: str = ""


_RULE = _Rule()


def _measured_now(name: str, seeds: int | None) -> xr.Dataset:
    spec = experiment(name, tier="quick")
    return replace(spec, seeds=spec.seeds[:seeds]).measure(device="cpu")


_MEASURED: dict[tuple[str, int | None], xr.Dataset] = {}


def _measured_once(name: str, seeds: int | None) -> xr.Dataset:
    if (name, seeds) not in _MEASURED:
        _MEASURED[name, seeds] = _measured_now(name, seeds)
    return _MEASURED[name, seeds]


_SILENT = {"book": Place("meta.test_calibration", "SILENT")}
_CLUSTERS = Place("support.regimes", "FIXED_KERNEL", 0)


def _claims() -> dict[str, Check]:
    """Claim tests that need neither training nor many networks, and a few that measure networks at initialisation."""
    file = "claims/test_"
    return {
        "D1 symmetric rings": Check(file + "assumption_4_1::test_exact_on_symmetric_data"),
        "D4 collapsed class": Check(file + "proposition_4_2::test_step_size_in_the_exactly_solvable_model"),
        "D5 counts": Check(file + "remark_4_3::test_clean_samples_are_the_majority_of_a_batch"),
        "D9 kernel mean": Check(file + "agreement_with_update::test_agreement_is_the_kernel_mean_classifier"),
        "G2": Check(file + "theorem_3_1::test_relu_network_follows_equation_16"),
        "G3": Check(file + "equation_27::test_derivative_and_its_sign"),
        "G4": Check(file + "corollary_3_2::test_gradient_angle_is_monotone_at_infinite_width"),
        "G5": Check(file + "corollary_3_2::test_small_angles_give_small_gradient_angles_at_infinite_width"),
        "G6": Check(file + "lemma_a_2::test_gram_matrix_of_a_gaussian_matrix_tends_to_the_identity"),
        "I2 own kernel": Check(file + "sample_angles::test_closed_form_is_exact_in_the_networks_own_kernel"),
        "I2 clusters": Check(file + "sample_angles::test_angles_in_wide_networks", {"regime": Place("support.initial", "FIGURE_4", 0)}),
        "I4 digits": Check(
            file + "segment_gradients::test_expected_geometry_over_random_noisy_subsets",
            {"regime": Place("support.initial", "FIGURE_4", 1)},
        ),
        "I4 networks": Check(file + "segment_gradients::test_angle_in_networks", {"regime": Place("support.initial", "FIGURE_4", 0)}),
        "I5 random": Check(file + "equation_8::test_ratio_at_random_output", {"regime": Place("support.initial", "RANDOM", 0)}),
        "R2": Check(file + "label_free_rule::test_residuals_where_alpha_is_one"),
        "R3 collapsed": Check(file + "sharper_update_rule::test_factor_in_collapsed_classes"),
        "R3 two arcs": Check(file + "sharper_update_rule::test_factor_of_spread_classes"),
        "S2": Check(file + "setup::test_noise_has_the_stated_count_and_uniform_wrong_labels"),
        "S4 means": Check(file + "network::test_norms_and_kernel_are_preserved_in_expectation"),
        "S5": Check(file + "setup::test_first_layer_is_the_matrix_and_second_layer_the_vector"),
        "X1": Check(file + "rank_one_recursion::test_recursion_against_descent_on_all_samples"),
        "X2": Check(file + "rank_one_recursion::test_flow_is_the_limit_of_small_steps"),
        "X3 no overshoot": Check(file + "step_size_bounds::test_no_step_beyond_one"),
        "X3 fixed point": Check(file + "step_size_bounds::test_multiplier_at_the_fixed_point"),
        "X4 random problems": Check(file + "noisy_loss_turn::test_signs_of_both_losses_in_random_problems"),
        "X4 rate": Check(file + "noisy_loss_turn::test_clean_loss_falls_below_its_rate"),
        "X5": Check(file + "two_dimensional_reduction::test_two_logits_for_all_samples"),
        "X6": Check(file + "two_dimensional_reduction::test_turning_point_of_the_noisy_loss"),
        "X8 equal angles": Check(file + "existence_threshold::test_sample_size_and_depth"),
        "X9 ten classes": Check(file + "existence_threshold::test_noise_threshold_of_ten_classes"),
        "X10 map": Check(file + "unequal_clusters::test_map_of_two_logits_against_descent_on_all_samples"),
        "X10 same alpha": Check(file + "unequal_clusters::test_when_both_classes_have_the_same_alpha"),
    }


def _units() -> dict[str, Check]:
    """Unit tests of the quick tier."""
    gradients = "empirical/test_gradients::test_agrees_with_one_autograd_call_per_sample"
    shape = {"depth": 2, "n_classes": 2, "chunk_size": 64}
    training, inference = "empirical/test_training::test_", "empirical/test_inference::test_"
    pictures = "empirical/test_module_batch::test_outputs_steps_and_running_statistics_are_those_of_single_networks"
    sequences, rows = "empirical/test_sequences::test_", "reports/test_agreement::test_"
    return {
        # Theory
        "bias of the cosine": Check("theory/test_finite_width::test_bias_times_width_has_the_worked_values"),
        "law of K(x, x)": Check("theory/test_finite_width_laws::test_relu_diagonal_law_holds_in_networks", {"width": 2}),
        "linear law": Check("theory/test_finite_width_laws::test_linear_law_holds_in_networks", {"width": 5, "theta": 1.2}),
        "kernel recursion": Check("theory/test_kernels::test_kernels_agree_with_the_definition_on_degenerate_rows", {"depth": 2}),
        "moments of three neurons": Check(
            "theory/test_finite_width::test_exact_moments_hold_in_networks_of_three_neurons", {"activation": "relu", "theta": 0.4}
        ),
        "largest stable rate": Check("theory/test_step_size::test_no_overshoot_below_the_largest_rate", {"loss": "logistic", "factor": 8}),
        "moments in depth": Check("theory/test_finite_width_depth::test_one_neuron_per_layer_is_a_product", {"depth": 2}),
        "law of the output": Check("theory/test_initialization_law::test_collapsed_class_in_wide_random_networks_follows_the_law"),
        "multi-class ratio": Check(
            "theory/test_initialization_multiclass::test_multiclass_ratios_by_counting", {"n_classes": 4, "per_class": 30, "delta": 0.6}
        ),
        "cosine under a gap of α": Check("theory/test_reductions::test_cosine_under_an_alpha_gap"),
        "drift by enumeration": Check(
            "theory/test_existence::test_drift_of_a_noisy_sample_by_enumeration", {"n_classes": 3, "per_class": 2, "delta": 0.3}
        ),
        "batch fluctuations": Check("theory/test_minibatch::test_batch_alpha_fluctuates_as_stated"),
        "U-curve, all draws": Check("theory/test_early_stopping::test_moments_are_exact_over_all_label_draws"),
        "U-curve, sampled draws": Check("theory/test_early_stopping::test_errors_are_those_of_sampled_label_draws"),
        # Instruments
        "gradients": Check(gradients, {"convention": "eq2", "activation": "relu", "centred": False, **shape}),
        "gradients PyTorch": Check(gradients, {"convention": "pytorch", "activation": "relu", "centred": True, **shape}),
        "BatchNorm refused": Check(
            "empirical/test_gradients::test_unsupported_networks_are_refused_in_one_line",
            {"kind": "batch-norm", "message": "call model.eval() first"},
        ),
        "tangent kernel": Check(
            "empirical/test_tangent_kernel::test_agrees_with_one_autograd_call_per_sample",
            {"convention": "eq2", "activation": "relu", "outputs": 1, "chunk_size": 64},
        ),
        "sampled kernels": Check(
            "empirical/test_tangent_kernel::test_a_sample_holds_the_kernels_of_single_networks", {"convention": "eq2", "activation": "relu"}
        ),
        "laws of the parameters": Check("empirical/test_networks::test_parameters_have_the_stated_laws"),
        "Eq. (2) written out": Check("empirical/test_networks::test_eq2_is_equation_2_of_b_written_out"),
        "noise by seed": Check("empirical/test_noise::test_seeds_reproduce_and_differ"),
        "unit rows": Check("empirical/test_datasets::TestDigits::test_unit_rows"),
        "training": Check(
            training + "full_batch_training_is_torch_sgd_on_the_single_network",
            {"specification": Place("empirical.test_training", "BINARY")},
        ),
        "training PyTorch": Check(
            training + "full_batch_training_is_torch_sgd_on_the_single_network",
            {"specification": Place("empirical.test_training", "PYTORCH")},
        ),
        "training, several classes": Check(
            training + "full_batch_training_is_torch_sgd_on_the_single_network",
            {"specification": Place("empirical.test_training", "MULTICLASS")},
        ),
        "picture networks": Check(pictures, {"name": "cnn", "classes": 3, "together": True}),
        "picture networks, BatchNorm": Check(pictures, {"name": "resnet-batch", "classes": 2, "together": False}),
        "epochs": Check(training + "an_epoch_sees_every_sample_once"),
        "changes of the losses": Check(training + "changes_are_differences_of_successive_losses"),
        # Judging
        "Student interval": Check(inference + "student_interval_is_scipys"),
        "coverage of means": Check(inference + "student_and_known_sigma_cover_at_their_level", {"n": 30}),
        "coverage of variances": Check(inference + "variance_interval_covers_for_any_tail", {"law": "exponential"}),
        "coverage of proportions": Check(inference + "proportion_is_scipys"),
        "Kolmogorov-Smirnov": Check(inference + "ks_is_scipys_and_keeps_its_level"),
        "bands": Check(
            "empirical/test_bands::test_bands_cover_everywhere_at_once", {"method": "bonferroni-t", "dependence": "independent"}
        ),
        "sign flips": Check("empirical/test_bands::test_sign_flip_test_keeps_its_level_without_normality"),
        "betting": Check(sequences + "betting_is_its_definition"),
        "empirical Bernstein": Check(sequences + "empirical_bernstein_is_its_definition"),
        "normal mixture": Check(sequences + "radius_is_the_mixture_s_crossing_and_least_where_tuned"),
        "Student mixture": Check(sequences + "student_mixture_is_exact_where_the_plug_in_is_not"),
        "rates": Check("empirical/test_rates::test_other_statistics", {"statistic": "sd", "exponent": -1.0}),
        "verdicts": Check(rows + "verdict_is_decided_by_the_interval_not_by_the_value"),
        "ranges": Check(rows + "one_sided_range"),
        "verdict of a row": Check(rows + "verdict_of_a_row"),
        "wide intervals": Check(rows + "wide_interval_around_the_prediction_is_not_agreement"),
        "arrays": Check(rows + "array_disagrees_if_one_component_does_and_reports_that_component"),
        "NaN": Check(rows + "nan_is_an_error_never_a_pass"),
        "sum of margins": Check(rows + "margin_is_the_sum_of_its_terms"),
        "detectable": Check(rows + "detectable_is_sure_to_be_rejected"),
        "controls": Check(rows + "a_control_that_passes_is_red"),
        "green rows": Check(rows + "green_needs_the_expected_verdict_and_a_control"),
        "turned verdicts": Check(rows + "better_than_expected_is_red_too"),
        "corrections": Check(rows + "rejection_of_a_printed_form_needs_its_correction"),
        "budget": Check("reports/test_budget::test_error_rates_add_up_to_the_budget"),
        "blocks of seeds": Check("reports/test_sequential::test_an_undecided_case_draws_consecutive_blocks_that_double_what_there_is"),
        "cap on seeds": Check("reports/test_sequential::test_the_cap_is_kept_and_says_what_could_have_been_seen"),
        "drawing until decided": Check("meta/test_calibration::test_looks_decide_as_judge_sequentially_does", {"kind": "Student mixture"}),
        "betting e-values": Check(
            "empirical/test_e_values::test_at_least_one_over_the_error_rate_exactly_where_the_sequence_is_disjoint", {"kind": "betting"}
        ),
        "mixture e-values": Check(
            "empirical/test_e_values::test_at_least_one_over_the_error_rate_exactly_where_the_sequence_is_disjoint",
            {"kind": "normal mixture"},
        ),
        "Holm": Check("reports/test_budget::test_a_rejected_fixed_check_reaches_the_level_of_the_run_among_a_thousand"),
        "alarms": Check("reports/test_budget::test_only_what_ought_to_hold_can_be_an_alarm"),
        "joint statements": Check("meta/test_calibration::test_joint_intervals_hold_at_once", _SILENT),
        "law distance": Check("meta/test_calibration::test_distance_of_laws", _SILENT),
        "pairs": Check("meta/test_calibration::test_paired_intervals", _SILENT),
        "variances": Check("meta/test_calibration::test_variances", _SILENT),
    }


CHECKS: Mapping[str, Check] = _claims() | _units()

for _check in CHECKS.values():
    _ = _check.function  # imported before any fault is planted: a module that imports a faulty function would keep it
