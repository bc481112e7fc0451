"""The stopping monitor: its rule on made-up residuals, its target on softmax descent, noise of mini-batches, resuming, bad input.

Tolerances of 1e-14 and 1e-15 are roundings of means over fewer than a hundred samples.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from empirical.monitor import EarlyStoppingMonitor
from empirical.noise_estimate import noise_residual
from theory.stopping_rules import label_free_residual, label_free_stopping_time

levels = st.floats(0.01, 0.49)
residual_lists = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(residuals=residual_lists, level=levels, window=st.integers(1, 40), confirm=st.integers(1, 3), seed=st.integers(0, 2**31))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_rule_is_what_the_docstring_says(residuals: list[float], level: float, window: int, confirm: int, seed: int):
    """Against the rule evaluated from its words on the whole list, at every length of it."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 20, size=len(residuals))
    monitor = EarlyStoppingMonitor(level, window=window, confirm=confirm)
    values: list[float] = []
    for k in range(len(residuals)):
        told = monitor.update(residuals[k], n_samples=int(counts[k]))
        most_recent = [j for j in range(k + 1) if counts[j : k + 1].sum() >= window]
        if most_recent:
            chosen = slice(max(most_recent), k + 1)
            values.append(float(np.average(residuals[chosen], weights=counts[chosen])))
            # One rounding per term and per operation, on numbers of at most 1.
            assert monitor.value == pytest.approx(values[-1], abs=1e-14)
        else:
            assert monitor.value is None
        below = [value <= monitor.target for value in values]
        runs = [all(below[j - confirm + 1 : j + 1]) for j in range(confirm - 1, len(below))]
        assert told == monitor.reached == any(runs)
        if any(runs):
            first = confirm - 1 + runs.index(True)
            assert monitor.stopped_at == len(residuals[: k + 1]) - len(values) + first + 1
            assert monitor.crossings_back == sum(not flag for flag in below[first + 1 :])
        else:
            assert monitor.crossing is None
            assert monitor.crossings_back == 0


@given(residuals=residual_lists, level=levels)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_the_crossing_is_that_of_the_rule_for_whole_records(residuals: list[float], level: float):
    """Without smoothing it is where `theory.label_free_stopping_time`, which sees the whole record, puts it."""
    monitor = EarlyStoppingMonitor(level)
    for k, residual in enumerate(residuals):
        monitor.update(residual, step=float(k))
    expected = label_free_stopping_time(np.arange(float(len(residuals))), residuals, level)
    # Both interpolate linearly; a gap of two residuals near rounding leaves the crossing anywhere within one step of eps/gap.
    assert (monitor.crossing if monitor.reached else math.inf) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_target_by_definition_is_the_closed_form_of_the_theory(n_classes: int):
    """1 − Σ p_k² against δ(2 − δC/(C − 1)); each is a sum of at most three numbers below 1."""
    for level in np.linspace(0, 0.99 * (n_classes - 1) / n_classes, 20):
        assert noise_residual(level, n_classes=n_classes) == pytest.approx(label_free_residual(level, n_classes=n_classes), abs=1e-15)


def test_smoothing_keeps_mini_batch_noise_from_stopping_early():
    """Residuals of single samples are 0 or 1 here, the noisiest that there are, 0.05 above the target.

    A window of 4096 is off by 0.05 with probability at most exp(−2 · 4096 · 0.05²) = 1.3e-9 (Hoeffding), 4000 updates by at most 5e-6.
    Without smoothing a batch of 32 has standard deviation 0.088: the control stops early with probability 1 − (1 − 0.28)^4000 ≈ 1.
    """
    rng = np.random.default_rng(0)
    means = rng.binomial(32, noise_residual(0.3) + 0.05, size=4000) / 32
    smooth, raw = EarlyStoppingMonitor(0.3, window=4096), EarlyStoppingMonitor(0.3)
    for mean in means:
        smooth.update(mean, n_samples=32)
        raw.update(mean, n_samples=32)
    assert raw.reached
    assert not smooth.reached
    assert smooth.standard_error is not None
    assert smooth.standard_error <= 0.5 / math.sqrt(4096)
    for _ in range(200):  # 6400 samples at 0.05 below the target: reached, by the same bound
        smooth.update(rng.binomial(32, noise_residual(0.3) - 0.05) / 32, n_samples=32)
    assert smooth.reached


def test_smoothing_does_not_delay_the_crossing_of_a_straight_line():
    """Residual 0.5 − k/1000 meets 0.42 at k = 80; the window's centre is where its mean is attained."""
    monitor = EarlyStoppingMonitor(0.3, window=1000)
    for k in range(200):
        monitor.update(0.5 - k / 1000, n_samples=100, step=k)
    # Centre and mean of ten equidistant updates: exact but for rounding of 0.5 − 0.08, a thousandth per step.
    assert monitor.crossing == pytest.approx(80, abs=1e-9)
    assert monitor.stopped_at == 85


def test_a_confirmed_level_and_crossing_back():
    monitor = EarlyStoppingMonitor(0.4, confirm=2)
    for value in (0.5, 0.479, 0.49, 0.47):
        assert not monitor.update(value)
    assert monitor.update(0.47)
    assert monitor.stopped_at == 5
    assert monitor.crossing == pytest.approx(3.5)
    assert monitor.update(0.49), "it stays reached"
    assert monitor.crossings_back == 1
    assert "reached at 5 of 6 updates" in monitor.describe()
    assert "1 later values above it" in monitor.describe()


def test_never_reached_says_so():
    monitor = EarlyStoppingMonitor(0.0)
    for value in np.linspace(0.5, 1e-9, 20):
        assert not monitor.update(value)
    assert monitor.describe() == "not reached after 20 updates: mean residual 0.000, stops at 0.000"


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_logits_give_residual_and_disagreement(kind: str):
    """Against the definitions, for one logit (both shapes) and for several; logits of ±800 do not overflow."""
    rng = np.random.default_rng(1)
    binary, several = np.concatenate([rng.normal(size=20), [800, -800, 0]]), 5 * rng.normal(size=(23, 4))
    labels2, labels4 = rng.integers(0, 2, 23), rng.integers(0, 4, 23)
    cast = torch.tensor if kind == "torch" else np.asarray
    one = EarlyStoppingMonitor(0.3)
    one.update_from_logits(cast(binary), cast(labels2))
    # 23 terms of at most 1, each to a few ulp.
    assert one.value == pytest.approx(np.abs(expit(binary) - labels2).mean(), abs=1e-14)
    estimate = one.noise_level_estimate()
    assert estimate is None or estimate.value == ((binary > 0) != labels2)[binary != 0].sum() + 1
    for shaped in (binary[:, None], np.stack([0 * binary, binary], axis=1)):
        other = EarlyStoppingMonitor(0.3)
        other.update_from_logits(cast(shaped), cast(labels2))
        assert other.value == pytest.approx(one.value, abs=1e-14)
    many = EarlyStoppingMonitor(0.3, n_classes=4)
    many.update_from_logits(cast(several), cast(labels4))
    assert many.value == pytest.approx(1 - softmax(several, axis=1)[np.arange(23), labels4].mean(), abs=1e-14)


def test_logits_that_need_a_gradient_keep_it():
    logits = torch.zeros(3, requires_grad=True)
    EarlyStoppingMonitor(0.3).update_from_logits(2 * logits, torch.tensor([0, 1, 1]))
    logits.sum().backward()
    assert logits.grad is not None


def test_unknown_noise_level_follows_from_the_disagreement():
    """The target is that of the smallest disagreement that is clearly below chance; nothing is decided before."""
    monitor = EarlyStoppingMonitor()
    assert not monitor.update(0.1, disagreement=(490, 1000))  # chance: standard error 0.016
    assert monitor.target is None
    assert monitor.noise_level_estimate() is None
    assert "not known yet" in monitor.describe()
    assert not monitor.update(0.5, disagreement=(400, 1000))
    assert monitor.target == pytest.approx(0.48)
    assert not monitor.update(0.49, disagreement=(420, 1000))
    assert monitor.target == pytest.approx(0.48)
    assert monitor.update(0.4, disagreement=(300, 1000))
    assert monitor.target == pytest.approx(0.42)
    estimate = monitor.noise_level_estimate(max_model_error=0.02)
    assert estimate is not None
    assert estimate.lower < 0.3 < estimate.upper
    assert estimate.confidence == pytest.approx(1 - 0.05 / 4)
    monitor.update(0.3, disagreement=(10, 1000))
    later = monitor.noise_level_estimate(max_model_error=0.02)
    assert later is not None
    assert later.as_dict() == estimate.as_dict(), "what follows the stop does not count"


@given(residuals=residual_lists, cut=st.integers(0, 30), known=st.booleans(), window=st.integers(1, 500))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_resuming_changes_nothing(residuals: list[float], cut: int, known: bool, window: int):
    """Through JSON, at any place: the monitor that was saved and loaded ends in the same state as the one that was not."""

    def made() -> EarlyStoppingMonitor:
        return EarlyStoppingMonitor(0.2 if known else None, window=window, confirm=2)

    def feed(monitor: EarlyStoppingMonitor, k: int) -> None:
        monitor.update(residuals[k], n_samples=100, disagreement=(round(40 * residuals[k]), 100), step=k)

    whole, part, again = made(), made(), made()
    for k in range(len(residuals)):
        feed(whole, k)
        feed(part if k < cut else again, k) if k != cut else None
        if k == cut:
            again.load_state_dict(json.loads(json.dumps(part.state_dict())))
            feed(again, k)
    end = part if cut >= len(residuals) else again
    assert json.dumps(end.state_dict()) == json.dumps(whole.state_dict())
    assert end.describe() == whole.describe()


def test_state_of_another_monitor_is_refused_and_leaves_this_one_unchanged():
    monitor = EarlyStoppingMonitor(0.3)
    monitor.update(0.45)
    before = monitor.state_dict()
    state = EarlyStoppingMonitor(0.2).state_dict()
    with pytest.raises(ValueError, match="settings"):
        monitor.load_state_dict(state)
    with pytest.raises(ValueError, match="must come from state_dict"):
        monitor.load_state_dict({"epoch": 3})
    with pytest.raises(ValueError, match="must come from state_dict"):
        monitor.load_state_dict([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="state has no 'looks'"):
        monitor.load_state_dict({key: value for key, value in before.items() if key != "looks"})
    assert monitor.state_dict() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_level": 0.5}, r"noise_level must be below \(C - 1\)/C = 0.5, where labels say nothing, got 0.5"),
        ({"noise_level": -0.1}, "noise_level must lie in"),
        ({"noise_level": math.nan}, "noise_level must be a finite real number, got nan"),
        ({"noise_level": 0.3, "target": 0.4}, "give noise_level or target, got both"),
        ({"target": 1.0}, r"target must lie in \[0, 1\), got 1.0"),
        ({"target": math.inf}, "target must be a finite real number, got inf"),
        ({"noise_level": 0.3, "n_classes": 1}, "n_classes must be an integer >= 2"),
        ({"noise_level": 0.3, "window": 0}, "window must be an integer >= 1, got 0"),
        ({"noise_level": 0.3, "confirm": 1.5}, "confirm must be an integer >= 1, got 1.5"),
    ],
)
def test_bad_settings(arguments: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message) as caught:
        EarlyStoppingMonitor(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean_residual": math.nan}, "mean_residual must be a finite real number, got nan"),
        ({"mean_residual": -math.inf}, "mean_residual must be a finite real number, got -inf"),
        ({"mean_residual": 1.01}, r"mean_residual must lie in \[0, 1\], got 1.01"),
        ({"mean_residual": [0.5]}, "mean_residual must be a finite real number"),
        ({"mean_residual": "0.5"}, "mean_residual must be a finite real number"),
        ({"n_samples": 0}, "n_samples must be an integer >= 1, got 0"),
        ({"step": 1.0}, "step must increase, got 1 after 1"),
        ({"step": math.nan}, "step must be a finite real number, got nan"),
        ({"disagreement": 0.3}, r"disagreement must be the pair \(wrong, checked\), got 0.3"),
        ({"disagreement": (5, 4)}, "must not count more wrong than checked samples, got 5 of 4"),
        ({"disagreement": (0, 0)}, r"disagreement\[1\] must be an integer >= 1, got 0"),
    ],
)
def test_bad_updates_are_refused_and_leave_no_trace(arguments: dict[str, object], message: str):
    monitor = EarlyStoppingMonitor(0.3)
    monitor.update(0.45, n_samples=10)
    before = monitor.state_dict()
    with pytest.raises(ValueError, match=message) as caught:
        monitor.update(**({"mean_residual": 0.4} | arguments))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert monitor.state_dict() == before


def test_unknown_noise_level_needs_the_disagreement():
    with pytest.raises(ValueError, match="disagreement must be given where the noise level is not known"):
        EarlyStoppingMonitor().update(0.4)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([0.0, math.nan], [0, 1], "logits must be finite, got nan"),
        ([0.0, math.inf], [0, 1], "logits must be finite, got inf"),
        ([0.0], [0, 1], r"logits must have shape \[2\] for 2 labels of 2 classes, got \[1\]"),
        ([[0.0, 1.0, 2.0]] * 2, [0, 1], r"logits must have shape \[2, 2\] for 2 labels of 2 classes, got \[2, 3\]"),
        ([0.0, 1.0], [0, 2], "labels must lie in 0..1"),
        ([0.0, 1.0], [0.0, 1.0], "labels must hold integers"),
    ],
)
def test_bad_logits(logits: object, labels: object, message: str):
    with pytest.raises(ValueError, match=message):
        EarlyStoppingMonitor(0.3).update_from_logits(logits, labels)  # type: ignore[arg-type]
