"""Numbers in theory that no other test looked at: found by changing every constant of the package in turn (tests/meta/test_mutation.py).

Tolerances without a comment are roundings of 1.1e-16: a few (1e-15), a few dozen (1e-14), a few thousand (1e-12).
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

import theory
from tests.support.sampling import deep_relu_gradients
from theory._validation import check_kernel
from theory.finite_width_depth import DRIFT_EXPONENTS, diagonal_moments
from theory.finite_width_laws import chi2_combination_cdf, gram_deviation_probability
from theory.initialization import initial_truth_cosine, sample_segment_cosine
from theory.initialization_law import probability_clean_dominates_both
from theory.losses import check_labels, errors
from theory.packed import PackedKernel, pack
from theory.reductions import equicorrelated_descent, equicorrelated_flow, turning_alpha, two_cluster_alpha
from theory.segment_history import segment_history
from theory.segments import SegmentGeometry, Segments, segment_geometry
from theory.step_size import largest_eigenvalue
from theory.stopping_rules import clean_loss_falls, first_crossing, label_free_stopping_time, transition_residual
from theory.truth_gradient import TruthGeometry, truth_geometry


def test_laws_of_one_sign_end_where_their_support_does() -> None:
    """P(Σ λχ² ≤ x) for weights of one sign: 0 below the support, 1 above it, whatever the other weights."""
    options = {"degrees": [3, 5]}
    assert chi2_combination_cdf([-2.0, -1e-9, 0.0], weights=[1.0, 0.25], **options).tolist() == [0, 0, 0]
    assert chi2_combination_cdf([0.0, 1e-9, 2.0], weights=[-1.0, -0.25], **options).tolist() == [1, 1, 1]


def test_variance_of_the_logit_is_one_at_any_width() -> None:
    """Mean of h² over 20,000 networks of width 4, two hidden layers: kurtosis 3·(1 + 5/4)² = 15, standard error √(14/20,000) = 0.026."""
    moments = diagonal_moments(depth=2, width=4)
    assert moments.logit_variance == 1
    logits, _ = deep_relu_gradients(np.random.default_rng(20230604), np.array([[1.0, 0.0]]), width=4, depth=2, draws=20_000)
    # The fourth moment of h² decides how normal the mean is: 6.5 standard errors instead of 5.
    assert abs(float(np.mean(logits**2)) - 1) < 6.5 * np.sqrt((moments.logit_kurtosis - 1) / 20_000)


def test_drift_exponents() -> None:
    stated = {name: record.exponent for name, record in DRIFT_EXPONENTS.items() if not name.startswith("weights")}
    assert stated["gradient-relu"] == -1 / 4
    assert stated["gradient-tanh"] == stated["kernel-relu"] == stated["linearisation-relu"] == -1 / 2
    assert stated["kernel-tanh"] == -1


def test_cosine_at_infinite_depth_is_what_depth_tends_to() -> None:
    """At L = 10⁴, cos θ_h is within 10·(log L)/L of its limit (G5)."""
    deep = float(np.cos(theory.gradient_angle(1.0, depth=10_000)))
    assert deep == pytest.approx(theory.INFINITE_DEPTH_COSINE, abs=10 * np.log(1e4) / 1e4)


def test_a_run_of_no_time_has_the_shape_of_a_run() -> None:
    run = equicorrelated_flow([0.0, 0.0], coupling=2.0, noise_level=0.25)
    assert [np.shape(part) for part in (run.clean_margin, run.noise_margin)] == [(2,), (2,)]
    assert np.all(np.asarray(run.clean_margin) == 0)


def test_cosines_of_segments_never_pass_one() -> None:
    """‖g‖ = √3: −3/(√3·√3) is −1.0000000000000002 without the guard."""
    for square in (3.0, 6.0, 7.0, 11.0):
        for sign in (-1, 1):
            gram = np.array([[square, 0, sign * square, 0], [0, 1, 0, -1], [sign * square, 0, square, 0], [0, -1, 0, 1]])
            assert np.abs(SegmentGeometry.from_gram(gram).rho).max() <= 1


@pytest.mark.parametrize("place", [(0, 0), (1, 1)])
def test_a_kernel_may_be_asymmetric_by_ten_thousand_roundings_of_its_largest_entry(place: tuple[int, int]) -> None:
    kernel = np.ones((2, 2))
    kernel[place] = 2.0**40
    limit = 1e4 * 2.0**-52 * 2.0**40  # 2.44; 1e-6 of it is far above the rounding of entries near it, 4e-16
    kernel[1, 0] = 1 + limit * (1 - 1e-6)
    np.testing.assert_array_equal(check_kernel(kernel), kernel)
    kernel[1, 0] = 1 + limit * (1 + 1e-6)
    with pytest.raises(ValueError, match=r"kernel must be symmetric, got \|K - K\^T\| = 2.44"):
        check_kernel(kernel)


@pytest.mark.parametrize("geometry", [SegmentGeometry, TruthGeometry])
def test_a_gram_matrix_of_nothing_is_refused(geometry: type) -> None:
    with pytest.raises(ValueError, match=r"gram must have shape \[\.\.\., .*, got \[0, 0\]"):
        geometry.from_gram(np.zeros((0, 0)))


@pytest.mark.parametrize("residuals", [np.zeros((2, 0)), [1.0]])
def test_residuals_of_no_logit_or_no_sample_are_refused(residuals: list[float]) -> None:
    with pytest.raises(ValueError, match=r"residuals must have shape \[2\] or \[2, C\]"):
        sample_segment_cosine(np.eye(2), residuals, [True, False])


def test_messages_name_the_offending_numbers() -> None:
    kernel = np.diag([5.0, -3.0, 4.0])
    with pytest.raises(ValueError, match="got smallest eigenvalue -3"):
        theory.early_stopping_curve(kernel, [0, 1, 1], 0.2, learning_rate=0.1, steps=2)
    with pytest.raises(ValueError, match=r"positive diagonal.* got 0\.0 and 2\.0"):
        probability_clean_dominates_both(0.3, covariance=[[0.0, 0.5], [0.5, 2.0]])
    with pytest.raises(ValueError, match=r"got 10\.0 before 8\.0"):
        first_crossing([0.0, 0.5, 10.0, 8.0], [0.1, 0.2, 0.3, 0.4])


def test_messages_name_the_first_offending_value() -> None:
    values = [0.5, -2.0, -3.0]
    law = theory.log_ratio_law(0.3, logit_deviation=1.0)
    for call in (
        lambda: theory.alpha_flow(values, alpha0=0.5, kernel_scale=1.0, noise_level=0.3),
        lambda: gram_deviation_probability(values, width=10, diagonal=True),
        lambda: law.cdf(values),
    ):
        with pytest.raises(ValueError, match=r"got -2\.0"):
            call()


def test_probability_of_a_gram_entry_to_deviate_is_that_of_chi_squared() -> None:
    epsilon = np.array([0.0, 0.2, 0.7, 1.0, 2.5])
    for width in (1, 3, 20):
        law = stats.chi2(width)
        wanted = law.sf(width * (1 + epsilon)) + law.cdf(width * (1 - epsilon))
        # Two incomplete gamma functions, each to 1e-14 relative.
        np.testing.assert_allclose(gram_deviation_probability(epsilon, width=width, diagonal=True), wanted, rtol=1e-13)


def test_logit_of_equation_7_is_smaller_by_the_root_of_two() -> None:
    assert theory.collapsed_logit_deviation(2.0, convention="eq7") == pytest.approx(np.sqrt(2), rel=1e-15)


def test_labels_of_two_values_are_told_apart_in_the_middle_and_of_one_value_at_zero() -> None:
    """Squared loss: 0/1 labels divide at ½, labels that are all 1 at 0, the middle of −1 and 1."""
    assert errors([0.3, 0.3, 0.7], [0.0, 1.0, 1.0], loss="squared").tolist() == [0, 1, 0]
    assert errors([0.3, 1.5, -0.3], [1.0, 1.0, 1.0], loss="squared").tolist() == [0, 0, 1]


def test_one_hot_labels_lie_along_the_last_axis() -> None:
    assert check_labels([[1, 0, 0], [0, 1, 0]], loss="softmax").shape == (2, 3)


def test_small_kernels_have_a_direction_too() -> None:
    tiny = 1e-3 * np.eye(4)
    wanted = initial_truth_cosine(np.eye(4), [0, 0, 1, 1], 0.25)
    assert initial_truth_cosine(tiny, [0, 0, 1, 1], 0.25) == pytest.approx(wanted, rel=1e-14)


def test_cosine_with_the_truth_over_all_draws_of_one_noisy_sample_in_two() -> None:
    """Classes of two samples, one of them noisy: the four label vectors, counted."""
    root = np.random.default_rng(20230604).normal(size=(4, 6))
    kernel, truth = root @ root.T, np.array([0, 0, 1, 1])
    true = np.array([-1.0, -1.0, 1.0, 1.0])
    flips = [np.where(np.isin(np.arange(4), chosen), -true, true) for chosen in ((0, 2), (0, 3), (1, 2), (1, 3))]
    # E s vanishes in each class here: the cosine of the expectations is 0, and three samples in a class give a number to compare.
    assert initial_truth_cosine(kernel, truth, 0.5 - 1e-9, n_noise=[1, 1]) == pytest.approx(0, abs=1e-12)
    square = np.mean([s @ kernel @ s for s in flips])
    cross = np.mean([true @ kernel @ s for s in flips])
    assert cross == pytest.approx(0, abs=1e-12 * square)
    kernel3 = np.block([[kernel, kernel[:, :1]], [kernel[:1], kernel[:1, :1]]]) + np.eye(5)
    truth3, true3 = np.array([0, 0, 1, 1, 0]), np.array([-1.0, -1.0, 1.0, 1.0, -1.0])
    flips3 = [np.where(np.isin(np.arange(5), chosen), -true3, true3) for chosen in itertools.product((0, 1, 4), (2, 3))]
    square = np.mean([s @ kernel3 @ s for s in flips3])
    cross = np.mean([true3 @ kernel3 @ s for s in flips3])
    wanted = cross / np.sqrt(square * (true3 @ kernel3 @ true3))
    assert initial_truth_cosine(kernel3, truth3, 0.4, n_noise=[1, 1]) == pytest.approx(wanted, rel=1e-12)


def test_linear_networks_keep_the_cosine() -> None:
    theta = np.linspace(0, np.pi, 9)
    np.testing.assert_allclose(theory.cos_gradient_angle(theta, activation="linear"), np.cos(theta), rtol=0, atol=4 * np.finfo(float).eps)


def test_no_ratio_without_noise() -> None:
    with pytest.raises(ValueError, match="got 0"):
        theory.multiclass_segment_ratio(0.0, n_classes=3)


def test_tiny_residuals_of_both_labels_are_not_lost() -> None:
    """At a logit of 40 the residual of label 1 is −e^(−40): 1 − σ(40) rounds to 0. A kernel of 1e18 makes it a step of 2.1."""
    run = theory.gradient_descent(1e18 * np.eye(2), [0, 1], learning_rate=1.0, steps=1, initial_logits=[-40.0, 40.0])
    step = 0.5e18 * np.exp(-40.0)
    np.testing.assert_allclose(np.asarray(run.logits)[-1], [-40 - step, 40 + step], rtol=1e-14)


def test_a_certain_error_is_one() -> None:
    """Without noise nothing is random: a test point on the wrong side is wrong with probability 1."""
    curve = theory.early_stopping_curve(
        np.eye(2), [0, 1], 0.0, learning_rate=0.5, steps=2, cross_kernel=np.array([[1.0, 0.0], [0.0, 1.0]]), test_truth=[1, 1]
    )
    assert np.asarray(curve.test_error)[-1] == 0.5
    assert np.asarray(curve.test_error).max() <= 1


def test_a_batch_of_one_out_of_two() -> None:
    """Two samples are enough: without replacement the factor 1 − (b − 1)/(n − 1) is 1 for b = 1."""
    one = theory.batch_alpha_deviation(0.5, noise_level=0.5, batch_size=1, n_samples=2)
    assert one == theory.batch_alpha_deviation(0.5, noise_level=0.5, batch_size=1)


def test_packed_kernel_says_its_size() -> None:
    packed = PackedKernel([np.zeros((512, 512))])
    assert repr(packed).endswith(" 2 MiB)")
    assert (packed.ndim, len(packed)) == (2, 512)


def test_a_class_without_noise_has_no_noisy_majority() -> None:
    assert theory.class_noise_majority_probability(20, 10, 0, batch_size=4) == pytest.approx(
        theory.noise_majority_probability(20, 0, batch_size=4), abs=1e-15
    )


def test_budget_of_a_packed_kernel_is_counted_to_the_byte() -> None:
    """Rows, 32 MiB, one panel of float64 and the panel kept: 10 rows of 3 numbers make one panel of 10 × 10."""

    def packed(budget: int) -> PackedKernel:
        return pack(np.eye(10, 3), lambda products, rows, columns: products, np.dtype(np.float64), budget)

    fixed = 8 * 30 + 2**25 + 8 * 100
    with pytest.raises(ValueError, match=f"at least {fixed + 400} bytes for 10 rows in float32, got {fixed + 399}"):
        packed(fixed + 399)
    assert [packed(fixed + extra).dtype for extra in (400, 799, 800)] == [np.float32, np.float32, np.float64]


def test_runs_of_no_step_and_of_one_time() -> None:
    for steps in (0, 3):
        run = equicorrelated_descent(2.0, noise_level=0.25, step=0.5, steps=steps)
        assert np.asarray(run.times).tolist() == (0.5 * np.arange(steps + 1)).tolist()
        assert np.shape(run.clean_margin) == (steps + 1,)
    alpha = two_cluster_alpha([[1, 0.5], [0.5, 1]], sizes=[20, 80], noise_levels=[0.5, 0.2], learning_rate=1.0, steps=0)
    assert alpha.tolist() == [[1.0, 0.25]]
    assert np.shape(equicorrelated_flow([0.5], coupling=2.0, noise_level=0.25).clean_margin) == (1,)
    assert np.shape(equicorrelated_flow([0.25, 0.5], coupling=2.0, noise_level=0.25).clean_margin) == (2,)
    with pytest.raises(ValueError, match=r"times must be \[T\] increasing numbers >= 0, got \[\]"):
        equicorrelated_flow([], coupling=2.0, noise_level=0.25)
    assert first_crossing([1.0], [2.0]) == 1


def test_noisy_loss_turns_from_the_coupling_on_at_which_it_rises() -> None:
    """That is 1/(1 − 2δ), 1.25 at δ = 0.1."""
    assert turning_alpha(1.26, 0.1) == pytest.approx(0.126 / 1.126, rel=1e-15)
    with pytest.raises(ValueError, match=r"coupling must exceed 1/\(1 - 2 noise_level\)"):
        turning_alpha(1.24, 0.1)


def test_cluster_sizes_may_be_shares() -> None:
    """Only n_c/n enters, so that shares of 1 do as well as counts."""
    options = {"noise_levels": [0.3, 0.2], "learning_rate": 1.0, "steps": 3}
    counts = two_cluster_alpha([[1, 0.5], [0.5, 1]], sizes=[20, 80], **options)
    np.testing.assert_allclose(two_cluster_alpha([[1, 0.5], [0.5, 1]], sizes=[0.2, 0.8], **options), counts, rtol=1e-14)


def test_history_without_noise_has_no_noisy_loss_at_any_time() -> None:
    segments = Segments(truth=np.array([0, 1]), observed=np.array([0, 1]))
    assert segments.n_classes == 2
    history = segment_history(np.eye(2), np.zeros((5, 2)), segments)
    assert np.shape(history.noise_loss) == (5,)
    assert np.isnan(history.noise_loss).all()


def test_geometry_of_one_sample_and_of_none() -> None:
    one = Segments.from_labels([0], [0])
    assert segment_geometry([[4.0]], [0.5], one).clean_norm.tolist() == [1.0, 0.0]
    assert segment_geometry([[4.0]], [[0.5, 0.5]], one).clean_norm.tolist() == pytest.approx([np.sqrt(2), 0.0], rel=1e-15)
    for nothing in (np.zeros((1, 0)), np.zeros(0)):
        with pytest.raises(ValueError, match=r"residuals must have shape \[1\] or \[1, C\]"):
            segment_geometry([[4.0]], nothing, one)


def top_beside_the_start(top: float, *, n: int = 320) -> np.ndarray:
    """A kernel whose top eigenvector is orthogonal to where the iteration starts, so that it finds the second eigenvalue, 1."""
    start = 1 + np.cos(np.sqrt(2) * np.arange(n, dtype=float) ** 2 + 1)
    start /= np.linalg.norm(start)
    other = np.zeros(n)
    other[:2] = start[1], -start[0]
    other /= np.linalg.norm(other)
    kernel = np.outer(start, start) + top * np.outer(other, other)
    return (kernel + kernel.T) / 2


def test_certificate_refuses_what_the_iteration_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = top_beside_the_start(1.5)
    assert largest_eigenvalue(kernel, certified=False) == pytest.approx(1, rel=1e-12)
    assert largest_eigenvalue(kernel) == pytest.approx(1.5, rel=1e-12)
    monkeypatch.setattr(np.linalg, "eigvalsh", None)  # and it is not needed where the iteration was right
    assert largest_eigenvalue(top_beside_the_start(0.5)) == pytest.approx(1, rel=1e-12)


def test_clean_loss_falls_until_the_product_is_one() -> None:
    assert clean_loss_falls([1.5, 1.0, 1.5, 0.5], [0.6, 1.0, 0.7, -1.0]).tolist() == [True, False, False, True]


def test_transitions_and_shares_are_checked_and_named() -> None:
    with pytest.raises(ValueError, match=r"transition must have shape \[C, C\] with C >= 2, got \[2, 3\]"):
        transition_residual([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]])
    with pytest.raises(ValueError, match=r"transition must not be negative, got -0\.25"):
        transition_residual([[0.75, 0.25], [1.25, -0.25]])
    matrix = [[0.75, 0.25], [0.5, 0.5]]
    expected = 1 - (0.625 + 2 * 0.5) / 3
    assert transition_residual(matrix, class_shares=[0.25, 0.5]) == pytest.approx(expected, rel=1e-15)
    assert transition_residual(matrix, class_shares=[0.0, 2.0]) == 0.5
    with pytest.raises(ValueError, match="class_shares must be 2 shares that are not all 0"):
        transition_residual(matrix, class_shares=[0.0, 0.0])


def test_messages_of_stopping_rules_name_the_offending_value() -> None:
    with pytest.raises(ValueError, match=r"mean_residual must lie in \[0, 1\], got 1\.5"):
        label_free_stopping_time([0.0, 1.0], [0.5, 1.5], 0.4)
    with pytest.raises(ValueError, match=r"mean_residual must lie in \[0, 1\], got -0\.5"):
        label_free_stopping_time([0.0, 1.0], [0.5, -0.5], 0.4)
    with pytest.raises(ValueError, match=r"pooled_alpha must not be negative, got -0\.25"):
        clean_loss_falls([0.5, -0.25], [1.0, 1.0])


def test_message_of_logits_counts_their_axes() -> None:
    segments = Segments.from_labels([0, 1], [0, 1])
    with pytest.raises(ValueError, match=r"logits must have 1 axes \(logistic\) or 2 \(softmax\), got shape \[1, 1, 2\]"):
        truth_geometry(np.eye(2), np.zeros((1, 1, 2)), segments)
