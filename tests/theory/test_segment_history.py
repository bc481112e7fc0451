"""Losses, errors and geometry of the segments along a run, against a loop over times.

Tolerances without a comment: 1e-12 and 1e-10 for means and ratios of at most a few hundred numbers of both signs, 1e-15 for a few
roundings.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.support.oracles_segments import random_problem
from theory.segment_history import segment_history
from theory.segments import Segments, segment_geometry
from theory.truth_gradient import segment_residuals, truth_geometry


@pytest.mark.parametrize("n_classes", [2, 3])
def test_matches_a_loop_over_times(n_classes: int) -> None:
    features, _, segments = random_problem(3, n_classes)
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(6, segments.n) if n_classes == 2 else (6, segments.n, n_classes))
    kernel, loss = features @ features.T, "logistic" if n_classes == 2 else "softmax"
    history = segment_history(kernel, logits, segments, test_logits=logits, test_truth=segments.truth)
    for t, h in enumerate(logits):
        observed, _ = segment_residuals(h, segments, loss=loss)
        one, truth = segment_geometry(kernel, observed, segments), truth_geometry(kernel, h, segments)
        np.testing.assert_allclose(history.alpha[t], one.alpha, rtol=1e-10)
        np.testing.assert_allclose(history.rho[t], one.rho, rtol=1e-10)
        np.testing.assert_allclose(history.pooled_alpha[t], one.pooled_alpha, rtol=1e-10)
        np.testing.assert_allclose(history.clean_share[t], truth.clean_share, rtol=1e-10)
        np.testing.assert_allclose(history.cosine_with_truth[t], truth.cosine_with_truth, rtol=1e-10)
        scores = np.stack([np.zeros_like(h), h], axis=1) if n_classes == 2 else h
        chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        seen = chance[np.arange(segments.n), segments.observed]
        clean, noise = segments.clean(), segments.noise()
        assert history.clean_loss[t] == pytest.approx(-np.log(seen[clean]).mean(), rel=1e-12)
        assert history.noise_loss[t] == pytest.approx(-np.log(seen[noise]).mean(), rel=1e-12)
        assert history.train_loss[t] == pytest.approx(-np.log(seen).mean(), rel=1e-12)
        assert history.clean_residual[t] == pytest.approx((1 - seen)[clean].mean(), rel=1e-12)
        assert history.noise_residual[t] == pytest.approx((1 - seen)[noise].mean(), rel=1e-12)
        wrong = scores.argmax(axis=1) != segments.observed
        assert history.clean_error[t] == pytest.approx(wrong[clean].mean(), abs=1e-15)
        assert history.noise_error[t] == pytest.approx(wrong[noise].mean(), abs=1e-15)
        assert history.train_error[t] == pytest.approx(wrong.mean(), abs=1e-15)
        assert history.truth_loss[t] == history.test_loss[t]
        assert history.test_error[t] == pytest.approx((scores.argmax(axis=1) != segments.truth).mean(), abs=1e-15)
    assert history.n_clean.sum() + history.n_noise.sum() == segments.n


def test_no_noise_is_nan_in_noise_columns_only() -> None:
    history = segment_history(np.eye(2), np.ones((1, 2)), Segments.from_labels([0, 1], [0, 1]))
    assert np.isnan(history.noise_loss).all()
    assert np.isnan(history.pooled_alpha).all()
    assert np.isfinite(history.clean_loss).all()
    assert np.isnan(history.test_loss).all()
    # L(D) = L(D̂): no noise, full step.
    assert float(history.step_factor[0]) == pytest.approx(1, rel=1e-15)


def test_bad_input_is_named_by_history() -> None:
    segments = Segments.from_labels([0, 1, 2], [0, 1, 1], 3)
    with pytest.raises(ValueError, match="logits must have a class axis of 3 for 3 classes"):
        segment_history(np.eye(3), np.zeros((2, 3)), segments)
    with pytest.raises(ValueError, match="test_logits and test_truth must come together, got no test_truth"):
        segment_history(np.eye(3), np.zeros((2, 3, 3)), segments, test_logits=np.zeros((2, 1, 3)))
    with pytest.raises(ValueError, match=re.escape("test_logits must have the form of the logits at 2 times")):
        segment_history(np.eye(3), np.zeros((2, 3, 3)), segments, test_logits=np.zeros((1, 1, 3)), test_truth=[0])
