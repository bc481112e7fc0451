"""empirical.record: leaves training as it was, measures what the other instruments measure, and keeps to its share of the time.

Tolerances of 1e-10 and 1e-12 are rounding in float64: inner products of gradients of a few thousand numbers, and means over 60 samples.
A quarter of the time is what the recorder promises.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import empirical
from empirical.general_segments import SegmentMeter, SegmentSample, segment_gram
from empirical.gradients import gradient_geometry
from empirical.record import Trace, record
from empirical.recording_schedule import RecordingSchedule, log_candidates
from empirical.segment_gram import summarize_gram

N = 60


def labels(n: int = N, classes: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truth in turn, a third of it wrong."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    return truth, np.where(rng.random(n) < 1 / 3, (truth + rng.integers(1, classes, n)) % classes, truth)


def inputs(n: int = N, d: int = 12, seed: int = 1) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).standard_normal((n, d)), dtype=torch.float32)


def awkward_network() -> nn.Module:
    """Everything that a careless recorder disturbs: dropout draws, running statistics, a frozen part in evaluation mode."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(12, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 16), nn.BatchNorm1d(16), nn.Linear(16, 1)
    )
    network[5].eval()
    return network


def train(network: nn.Module, trace: Trace | None, steps: int = 40) -> list[torch.Tensor]:
    """Momentum, shuffled mini-batches; returns everything that training has left."""
    x, (_, observed) = inputs(), labels()
    y = torch.tensor(observed, dtype=torch.float32)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(5)
    for _ in range(steps):
        index = torch.randperm(N)[:20]
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(network(x[index])[:, 0], y[index]).backward()
        optimizer.step()
        if trace is not None:
            trace.step()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    momenta = [state["momentum_buffer"] for state in optimizer.state.values()]
    return [*network.state_dict().values(), *gradients, *momenta, torch.get_rng_state()]


@pytest.mark.parametrize("every", [1, "log", (3, 17)])
def test_training_gives_the_same_bits_with_and_without(every: str | int | tuple[int, ...]) -> None:
    without = train(awkward_network(), None)
    network = awkward_network()
    truth, observed = labels()
    with record(network, inputs(), observed, truth=truth, test_inputs=inputs(), test_truth=truth, every=every, steps=40) as trace:
        after = train(network, trace)
    assert len(trace.steps) >= 3
    assert len(without) == len(after)
    assert all(torch.equal(a, b) for a, b in zip(without, after, strict=True))
    assert [module.training for module in network] == [True, True, True, True, True, False, True]


def test_a_recorder_that_disturbs_would_be_seen() -> None:
    """The comparison above can fail: a forward pass in training mode moves running statistics and random numbers."""
    network = awkward_network()

    class Disturbing:
        def step(self) -> None:
            network(inputs())

    without = train(awkward_network(), None)
    assert not all(torch.equal(a, b) for a, b in zip(without, train(network, Disturbing()), strict=True))  # type: ignore[arg-type]


class Tied(nn.Module):
    """One layer called twice: no instrument layer by layer takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(12, 12), nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.last(torch.tanh(self.inner(torch.tanh(self.inner(x)))))


class TokenBag(nn.Module):
    """Integer inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(7, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.last(torch.relu(self.words(x)).mean(1))


def brute_force(model: nn.Module, x: torch.Tensor, observed: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """A batch-of-one loop over the papers' loss: Gram matrix of the segment gradients."""
    vectors = [torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64) for _ in range(3 * classes)]

    def gradient(i: int, label: int) -> torch.Tensor:
        logits = model(x[i : i + 1]).reshape(1, -1)
        if logits.shape[1] == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(logits[0, 0], torch.tensor(float(label), dtype=logits.dtype))
        else:
            loss = nn.functional.cross_entropy(logits, torch.tensor([label]))
        return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))]).double()

    for i in range(len(x)):
        noisy = observed[i] != truth[i]
        vectors[truth[i] + classes * noisy] += gradient(i, int(observed[i]))
        if noisy:
            vectors[truth[i] + 2 * classes] += gradient(i, int(truth[i]))
    stacked = torch.stack(vectors)
    return (stacked @ stacked.T).numpy()


CASES: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, int, bool]] = {
    "linear-one-logit": (lambda: nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 1)), inputs().double(), 2, True),
    "linear-two-logits": (lambda: nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 2)), inputs().double(), 2, True),
    "batch-norm": (lambda: nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)), inputs().double(), 3, True),
    "layer-norm": (lambda: nn.Sequential(nn.Linear(12, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3)), inputs().double(), 3, True),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)),
        inputs().double().reshape(N, 1, 3, 4),
        4,
        True,
    ),
    "embedding": (TokenBag, torch.tensor(np.random.default_rng(0).integers(0, 7, (N, 4))), 3, True),
    "layer-called-twice": (Tied, inputs().double(), 2, False),
}


@pytest.mark.parametrize("case", CASES)
def test_gram_is_that_of_a_loop_over_samples(case: str) -> None:
    """Layer by layer where that is possible, by weighted backward passes otherwise; both give the brute-force Gram matrix."""
    make, x, classes, layerwise = CASES[case]
    torch.manual_seed(1)
    model = make().double().eval()
    truth, observed = labels(classes=classes)
    sample = SegmentSample.draw(truth, observed, classes, limit=N)
    expected = brute_force(model, x, observed, truth, classes)
    meter = SegmentMeter(sample)
    tensors = (torch.tensor(observed), torch.tensor(truth))
    # Sums of at most 60 terms in float64, relative to the largest entry: 60 · 2.2e-16 · a small factor.
    scale = np.abs(expected).max()
    np.testing.assert_allclose(meter.measure(model, x, *tensors), expected, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(segment_gram(model, x, *tensors, sample, chunk_size=7), expected, rtol=0, atol=1e-12 * scale)
    assert meter.layerwise == layerwise


def test_agrees_with_gradient_geometry() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 1)).double()
    truth, observed = labels()
    geometry = gradient_geometry(model, inputs(), observed, truth=truth)
    with record(model, inputs(), observed, truth=truth) as trace:
        pass
    trajectory = trace.trajectory
    np.testing.assert_allclose(trajectory.alpha[0, 0], geometry.alpha, rtol=1e-10)
    np.testing.assert_allclose(trajectory.pooled_rho[0, 0], geometry.pooled_rho, rtol=1e-10)
    np.testing.assert_allclose(trajectory.train_residual[0, 0], np.abs(geometry.residual).mean(), rtol=1e-12)
    assert trace.mean_residual == trajectory.train_residual[0, 0]


def test_gram_from_a_part_is_unbiased_and_naive_scaling_is_not() -> None:
    """800 draws of a part: every entry's mean within 5 standard errors of the whole set's (error rate 6e-7 per entry, 36 entries)."""
    torch.manual_seed(1)
    model = nn.Linear(12, 1).double().eval()
    n = 400
    x, (truth, observed) = inputs(n).double(), labels(n)
    tensors = (torch.tensor(observed), torch.tensor(truth))
    whole = segment_gram(model, x, *tensors, SegmentSample.draw(truth, observed, 2, limit=n))
    draws, naive = [], []
    for seed in range(800):
        sample = SegmentSample.draw(truth, observed, 2, limit=150, seed=seed)
        draws.append(SegmentMeter(sample).measure(model, x, *tensors))
        used = np.array([len(first) + len(second) for first, second in sample.halves])
        joined = SegmentSample(tuple((np.sort(np.concatenate(both)), both[0][:0]) for both in sample.halves), used, 2)
        ratio = np.concatenate([sample.sizes / used, (sample.sizes / used)[2:]])
        naive.append(SegmentMeter(joined).measure(model, x, *tensors) * np.outer(ratio, ratio))
    error = np.std(draws, axis=0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(np.mean(draws, axis=0) - whole) <= 5 * error).all()
    off = np.abs(np.mean(naive, axis=0) - whole) / (np.std(naive, axis=0, ddof=1) / np.sqrt(len(naive)))
    assert np.diag(off).min() > 5


def test_large_sets_are_measured_on_a_part() -> None:
    truth, observed = labels(500)
    with record(nn.Linear(12, 1), inputs(500), observed, truth=truth, samples=150) as trace:
        pass
    assert trace.sample.used < 200
    assert trace.trajectory.n_clean.sum() + trace.trajectory.n_noise.sum() == 500
    summary = summarize_gram(trace.trajectory.gram)
    np.testing.assert_array_equal(summary.alpha, trace.trajectory.alpha)


def simulate(schedule: RecordingSchedule, *, steps: int, step_time: float, cost: float) -> tuple[list[int], float]:
    """Run a schedule on a clock of its own; recorded steps and measuring time in units of training time."""
    schedule.costs.append(cost)
    recorded = [0]
    for step in range(1, steps + 1):
        if schedule.wants(step, training_seconds=step * step_time):
            schedule.costs.append(cost)
            recorded.append(step)
    if recorded[-1] != steps:
        schedule.costs.append(cost)
        recorded.append(steps)
    return recorded, schedule.seconds / (steps * step_time)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("steps", [300, 3000, 30000])
@pytest.mark.parametrize("cost", [0.5, 5.0, 40.0, 200.0])
def test_measuring_stays_within_its_share(known: bool, steps: int, cost: float) -> None:
    """Costs in units of a step; 25 % of any run that is longer than a dozen measurements, and as many records as that allows."""
    schedule = RecordingSchedule("log", total_steps=steps if known else None, grace=0.0)
    recorded, share = simulate(schedule, steps=steps, step_time=1.0, cost=cost)
    if steps >= 12 * cost:
        assert share <= 0.25
    affordable = 0.25 * steps / cost
    assert len(recorded) >= min(0.5 * affordable, 0.5 * len(log_candidates(steps)) if known else 2)
    assert recorded[0] == 0
    assert recorded[-1] == steps


def test_steps_given_as_numbers_are_all_taken() -> None:
    recorded, share = simulate(RecordingSchedule(7), steps=50, step_time=1.0, cost=100.0)
    assert recorded == [0, 7, 14, 21, 28, 35, 42, 49, 50]
    assert share > 1
    assert simulate(RecordingSchedule((5, 30)), steps=50, step_time=1.0, cost=1.0)[0] == [0, 5, 30, 50]


def test_short_runs_have_half_a_second() -> None:
    """A run of 0.4 s with measurements of 20 ms: 25 records in place of 5."""
    recorded, _ = simulate(RecordingSchedule("log", total_steps=400), steps=400, step_time=0.001, cost=0.02)
    assert 18 <= len(recorded) <= 26


def test_validation_and_class_errors() -> None:
    truth, observed = labels(classes=3)
    model = nn.Linear(12, 3)
    with record(model, inputs(), observed, truth=truth, n_classes=3, noisy_validation=(inputs(), observed), learning_rate=0.5) as trace:
        trace.step()
        trace.step()
    trajectory = trace.trajectory
    np.testing.assert_allclose(trajectory.validation_error, trajectory.train_error)
    with torch.no_grad():
        wrong = model(inputs()).argmax(1).numpy() != observed
    for c in range(3):
        assert trajectory.class_clean_error[0, 0, c] == pytest.approx(wrong[(truth == c) & (observed == truth)].mean())
        assert trajectory.class_noise_error[0, 0, c] == pytest.approx(wrong[(truth == c) & (observed != truth)].mean())
    assert trajectory.times.tolist() == [0.0, 0.5, 1.0]
    assert empirical.record is record


def test_no_noise_and_broken_runs() -> None:
    truth, observed = labels()
    with record(nn.Linear(12, 1), inputs(), truth, truth=truth) as trace:
        trace.step()
    assert np.isnan(trace.trajectory.pooled_alpha).all()
    assert np.isnan(trace.trajectory.noise_loss).all()
    with pytest.raises(RuntimeError, match="boom"), record(nn.Linear(12, 1), inputs(), observed, truth=truth) as trace:
        raise RuntimeError("boom")
    assert trace.steps == (0,)
    with pytest.raises(ValueError, match=r"step\(\) must be called inside"):
        trace.step()


class Stubborn(nn.BatchNorm1d):
    """Cannot be put into evaluation mode."""

    def train(self, mode: bool = True) -> Stubborn:
        """Stay in training mode."""
        return super().train(True)


BAD: dict[str, tuple[dict[str, object], str]] = {
    "no-module": ({"model": len}, r"model must be a torch.nn.Module"),
    "labels-of-wrong-length": ({"observed": [0, 1]}, r"observed must have one label per row of inputs \(60\), got 2"),
    "labels-outside": ({"observed": np.full(N, 2)}, r"observed must lie in 0..1"),
    "labels-as-text": ({"observed": ["a"] * N}, r"observed must hold integers"),
    "nan": ({"inputs": inputs() * float("nan")}, r"inputs must be finite"),
    "wrong-output": ({"model": nn.Linear(12, 3)}, r"network output must have 1 or 2 logits for 2 classes, got 3"),
    "no-clean-sample": ({"observed": 1 - labels()[0]}, r"got no clean sample"),
    "test-without-labels": ({"test_inputs": inputs()}, r"test_inputs and test_truth must be given together"),
    "every": ({"every": "often"}, r"every must be 'log'"),
    "learning-rate": ({"learning_rate": -1.0}, r"learning_rate must be a positive"),
    "batch-norm-without-statistics": (
        {"model": nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 1))},
        r"layer '1' \(BatchNorm1d\) has no running statistics: it couples the samples",
    ),
    "batch-norm-in-training-mode": (
        {"model": nn.Sequential(nn.Linear(12, 4), Stubborn(4), nn.Linear(4, 1))},
        r"layer '1' \(Stubborn\) stays in training mode after model.eval\(\): it couples the samples",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str) -> None:
    changed, message = BAD[case]
    truth, observed = labels()
    arguments: dict[str, object] = {"model": nn.Linear(12, 1), "inputs": inputs(), "observed": observed, "truth": truth} | changed
    with (
        pytest.raises(ValueError, match=message) as caught,
        record(arguments.pop("model"), arguments.pop("inputs"), arguments.pop("observed"), **arguments),
    ):  # type: ignore[arg-type]
        pass
    assert "\n" not in str(caught.value)


def test_divergence_is_said_with_its_step() -> None:
    truth, observed = labels()
    model = nn.Linear(12, 1)

    def broken() -> None:
        with record(model, inputs(), observed, truth=truth) as trace:
            with torch.no_grad():
                model.weight.fill_(float("nan"))
            trace.step()

    with pytest.raises(ValueError, match=r"network output must be finite, got nan \(at step 1\)"):
        broken()
