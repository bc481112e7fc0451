"""The eigenvalue account of clean priority beside the gradient account: exact energies, learning times, and where the two disagree.

Tolerances without a comment are rounding: energies and averages over up to 2⁸ draws in an eigenbasis of fewer than 40 samples, 40 · 40
roundings of 1.1e-16 (1e-12, 1e-13); 1e-10 is what a root search leaves.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import expm

from theory.eigen_alignment import (
    EigenAlignment,
    eigen_alignment,
    expected_flip_energy,
    learned_fraction,
    learning_time,
    rival_accounts,
)
from theory.existence import samples_for_clean_priority

Array = NDArray[np.float64]


def clusters(per_class: int, *, diagonal: float, within: float, between: float, n_classes: int = 2) -> tuple[Array, NDArray[np.int64]]:
    """Equicorrelated kernel of balanced classes, and the true labels."""
    truth = np.repeat(np.arange(n_classes), per_class)
    kernel = np.where(truth[:, None] == truth[None], within, between) + (diagonal - within) * np.eye(truth.size)
    return kernel, truth


def flip(truth: NDArray[np.int64], per_class: int, n_classes: int = 2) -> NDArray[np.int64]:
    """Move the first ``per_class`` samples of every class to the next class (round robin over the wrong classes)."""
    observed = truth.copy()
    for c in range(n_classes):
        for k, i in enumerate(np.flatnonzero(truth == c)[:per_class]):
            observed[i] = (c + 1 + k % (n_classes - 1)) % n_classes
    return observed


@given(st.integers(0, 2**31), st.integers(2, 4))
@settings(max_examples=30, deadline=None)
def test_energies_are_squared_projections(seed: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    n = 10
    phi = rng.standard_normal((n, 5))
    truth, observed = rng.integers(0, n_classes, n), rng.integers(0, n_classes, n)
    alignment = eigen_alignment(phi @ phi.T, truth, observed, n_classes=n_classes)
    assert alignment.truth_energy.sum() == pytest.approx(1, abs=1e-12)
    assert alignment.flip_energy.sum() == pytest.approx(float((truth != observed).any()), abs=1e-12)
    assert alignment.dimensions.sum() == n
    assert (np.diff(alignment.eigenvalues) < 0).all()
    # Rank 5: the null space is one eigenspace, and its energy is what the features cannot express, by least squares.
    assert alignment.dimensions[-1] == 5
    centred = np.eye(n_classes)[truth] - 1 / n_classes
    rest = centred - phi @ np.linalg.lstsq(phi, centred, rcond=None)[0]
    assert alignment.truth_energy[-1] == pytest.approx(np.sum(rest**2) / np.sum(centred**2), abs=1e-10)


def test_eigenspaces_of_clusters_are_known() -> None:
    # Eigenvalues m(K_w + K_b) + K_d − K_w (constant), m(K_w − K_b) + K_d − K_w (the truth), K_d − K_w (2m − 2 dimensions).
    kernel, truth = clusters(5, diagonal=2.0, within=1.0, between=0.25)
    alignment = eigen_alignment(kernel, truth, flip(truth, 1))
    np.testing.assert_allclose(alignment.eigenvalues, [7.25, 4.75, 1.0], rtol=1e-13)
    assert alignment.dimensions.tolist() == [1, 1, 8]
    np.testing.assert_allclose(alignment.truth_energy, [0, 1, 0], atol=1e-14)
    np.testing.assert_allclose(alignment.flip_energy, [0, 0.2, 0.8], atol=1e-14)  # δ of their energy lies along the truth


@pytest.mark.parametrize(
    ("diagonal", "rtol", "eigenvalues"),
    [
        ([1e3, 0.0, -5e-6], 1e-9, [1e3, 0.0]),  # negative within 1e-8 of the largest: rounding, taken for zero
        ([100.0, 1.0, 0.5], 0.01, [100.0, 0.75]),  # half apart, up to 0.01 · 100 is one eigenspace
        ([100.0, 1.0, 0.5], 0.004, [100.0, 1.0, 0.5]),
    ],
)
def test_eigenvalues_are_compared_with_the_largest(diagonal: list[float], rtol: float, eigenvalues: list[float]) -> None:
    alignment = eigen_alignment(np.diag(diagonal), [0, 1, 0], [0, 0, 0], rtol=rtol)
    np.testing.assert_allclose(alignment.eigenvalues, eigenvalues, rtol=1e-13)


@pytest.mark.parametrize(("n_classes", "delta"), [(2, 0.3), (3, 0.45)])
def test_expected_flip_energy_by_enumeration(n_classes: int, delta: float) -> None:
    n = 6
    phi = np.random.default_rng(3).standard_normal((n, n))
    kernel, truth = phi @ phi.T, np.arange(n) % n_classes
    alignment = eigen_alignment(kernel, truth, truth, n_classes=n_classes)
    vectors = np.linalg.eigh(kernel)[1][:, ::-1]
    energy, total = np.zeros(n), 0.0
    for labels in itertools.product(range(n_classes), repeat=n):
        weight = math.prod(1 - delta if y == c else delta / (n_classes - 1) for c, y in zip(truth, labels, strict=True))
        e = np.eye(n_classes)[list(labels)] - np.eye(n_classes)[truth]
        energy += weight * np.sum((vectors.T @ e) ** 2, axis=1)
        total += weight * np.sum(e**2)
    np.testing.assert_allclose(expected_flip_energy(alignment, delta), energy / total, rtol=0, atol=1e-13)


def test_learned_fraction_is_the_exponential_of_the_kernel() -> None:
    phi = np.random.default_rng(4).standard_normal((7, 4))
    kernel, truth = phi @ phi.T, np.array([0, 1, 1, 0, 1, 0, 0])
    observed = np.array([0, 1, 0, 0, 1, 1, 0])
    alignment = eigen_alignment(kernel, truth, observed)
    signs, flips = 2.0 * truth - 1, 2.0 * (observed - truth)
    for t in (0.0, 0.3, 4.0, 100.0):
        learnt = np.eye(7) - expm(-kernel * t / 7)
        for vector, u in [("truth", signs), ("flips", flips)]:
            got = float(learned_fraction(alignment, t, vector=vector))
            assert got == pytest.approx(float(u @ learnt @ u / (u @ u)), abs=1e-12)
            for loss, slower in [("logistic", 4), ("softmax", 2)]:
                assert got == pytest.approx(float(learned_fraction(alignment, slower * t, vector=vector, loss=loss)), abs=1e-12)


@given(st.integers(0, 2**31), st.floats(0.05, 0.95), st.sampled_from(["truth", "flips"]))
@settings(max_examples=40, deadline=None)
def test_learning_time_inverts_the_fraction(seed: int, fraction: float, vector: str) -> None:
    rng = np.random.default_rng(seed)
    phi = rng.standard_normal((8, 8))
    truth = np.arange(8) % 2
    alignment = eigen_alignment(phi @ phi.T, truth, flip(truth, 1))
    time = learning_time(alignment, fraction=fraction, vector=vector)
    assert float(learned_fraction(alignment, time, vector=vector)) == pytest.approx(fraction, abs=1e-10)


def test_unreachable_label_vector_takes_for_ever() -> None:
    alignment = eigen_alignment(np.ones((2, 2)), [0, 1], [0, 0])  # the truth is orthogonal to the only eigenvector
    assert learning_time(alignment) == math.inf
    clean = eigen_alignment(np.eye(2), [0, 1], [0, 1])
    assert learning_time(clean, vector="flips") == math.inf


# --- where the accounts agree and differ (R1) ---


def test_accounts_agree_on_well_separated_clusters() -> None:
    kernel, truth = clusters(50, diagonal=2.0, within=1.0, between=0.2)
    accounts = rival_accounts(kernel, truth, flip(truth, 15))
    assert accounts.eigen_predicts
    assert accounts.gradient_predicts


def test_accounts_differ_below_the_sample_threshold() -> None:
    # The truth is an eigenvector with a large eigenvalue, but there are fewer samples than X8 asks for: noise is fitted from the start.
    delta = 0.4
    threshold = samples_for_clean_priority(delta, diagonal=2.0, within=1.0, between=0.2)
    few, many = int(threshold * 0.6) // 5 * 5, math.ceil(threshold * 1.6 / 5) * 5
    for per_class, gradient in [(few, False), (many, True)]:
        kernel, truth = clusters(per_class, diagonal=2.0, within=1.0, between=0.2)
        accounts = rival_accounts(kernel, truth, flip(truth, round(delta * per_class)))
        assert accounts.eigen_predicts
        assert accounts.gradient_predicts is gradient


def test_accounts_differ_above_the_noise_threshold() -> None:
    # δ = .7 of two classes: the truth is still the fastest vector, but the gradients have changed sides.
    kernel, truth = clusters(50, diagonal=2.0, within=1.0, between=0.2)
    accounts = rival_accounts(kernel, truth, flip(truth, 35))
    assert accounts.eigen_predicts
    assert not accounts.gradient_predicts
    assert accounts.pooled_alpha > 1


def test_many_classes_keep_priority_beyond_one_half() -> None:
    kernel, truth = clusters(90, diagonal=2.0, within=1.0, between=0.2, n_classes=5)
    below = rival_accounts(kernel, truth, flip(truth, 60, 5), n_classes=5, loss="softmax")  # δ = .67 < .8
    above = rival_accounts(kernel, truth, flip(truth, 80, 5), n_classes=5, loss="softmax")  # δ = .89 > .8
    assert below.gradient_predicts
    assert not above.gradient_predicts
    assert below.eigen_predicts
    assert above.eigen_predicts


def test_isotropic_data_have_no_priority() -> None:
    truth = np.arange(20) % 2
    accounts = rival_accounts(np.eye(20), truth, flip(truth, 3))
    assert accounts.truth_time == pytest.approx(accounts.flip_time, rel=1e-12)
    assert not accounts.gradient_predicts
    assert accounts.pooled_rho == 0


def test_permuted_labels_have_no_priority_by_gradients() -> None:
    # Labels without structure: ρ is of size 1/√n while a = √(δ/(1−δ)); 50 draws, none may show a < ρ.
    kernel, truth = clusters(40, diagonal=2.0, within=1.0, between=0.2)
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(50):
        # Exactly balanced within each cluster, so that the labels carry no cluster structure at all.
        permuted = np.concatenate([rng.permutation(np.arange(40) % 2), rng.permutation(np.arange(40) % 2)])
        accounts = rival_accounts(kernel, permuted, flip(permuted, 12))
        shares.append(accounts.gradient_predicts)
    assert not any(shares)
    assert rival_accounts(kernel, truth, flip(truth, 12)).gradient_predicts  # control: the unpermuted labels do


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: eigen_alignment(np.diag([3.0, 2.0, -1.0]), [0, 1, 0], [0, 0, 0]),
            "semi-definite and not zero, got smallest eigenvalue -1$",
        ),
        (lambda: eigen_alignment(np.eye(2), [0, 1], [0, 0], rtol=1.0), r"rtol must lie in \[0, 1\), got 1.0"),
        (lambda: eigen_alignment(np.eye(3), [0, 1], [0, 0]), r"truth must have shape \[3\]"),
        (lambda: eigen_alignment(np.eye(2), [0, 2], [0, 0]), "classes 0 ... 1, got 2"),
        (lambda: rival_accounts(np.eye(2), [0, 1], [0, 1]), "clean and noisy samples, got 0 noisy of 2"),
        (lambda: learning_time(_simple(), fraction=1.0), r"fraction must lie in \[1e-12, 1\), got 1.0"),
        (lambda: learned_fraction(_simple(), [0.5, -1.0]), "times must not be negative, got -1.0"),
        (lambda: learned_fraction(_simple(), 1.0, vector="noise"), "vector must be one of"),
        (lambda: learned_fraction(eigen_alignment(np.eye(3), [0, 1, 2], [0, 1, 1], n_classes=3), 1.0, loss="logistic"), "use 'softmax'"),
        (lambda: expected_flip_energy(_simple(), 1.0), r"noise_level must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_input_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def _simple() -> EigenAlignment:
    return eigen_alignment(np.eye(2), [0, 1], [0, 0])
