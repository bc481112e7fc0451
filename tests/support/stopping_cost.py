"""What it costs to stop by the label-free rule (R2): a sweep over noise level, separation, imbalance, task and width.

``python -m tests.support.stopping_cost docs/data`` measures everything again and writes ``stopping_cost.csv`` (fixed kernel) and
``stopping_cost_networks.csv`` (trained networks); the page docs/stopping_rule.md shows them. On one core: about three minutes.

Cost = test error where the rule stops less the smallest test error of the run after its start, in the mean over label draws; a run in
which the rule does not stop is charged with the error at its end.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from empirical.datasets import arc_clusters, load_dataset
from empirical.experiments import seeds_by_rule
from empirical.monitor import EarlyStoppingMonitor
from empirical.networks import FullyConnected
from empirical.noise import corrupt_labels_batch
from theory.dynamics import gradient_descent
from theory.kernels import ntk
from theory.step_size import max_learning_rate

__all__ = [
    "DRAWS",
    "FIELDS",
    "LEVELS",
    "NETWORKS",
    "RULES",
    "TASKS",
    "Run",
    "Task",
    "costs",
    "fixed_kernel_row",
    "network_row",
    "read_rows",
]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.45)
DRAWS, STEPS, RATE = 24, 600, 0.25  # label draws; steps of descent; learning rate in units of 8n/λ_max
TRUST = 0.02  # error that the rule may cost


class Loaded(NamedTuple):
    """Inputs ``[n, d]`` and true labels ``[n]`` of the three parts."""

    train: Array
    train_truth: Labels
    held_out: Array
    held_out_truth: Labels
    test: Array
    test_truth: Labels


@dataclass(frozen=True)
class Task:
    """Two classes: arc clusters of a given spread and size, or two digits.

    Attributes:
        name: as the table shows it.
        classes: two digits, or () for clusters.
        spread: standard deviation of a cluster's angle over the distance of the centres (clusters).
        counts: training samples of each class (clusters).
    """

    name: str
    classes: tuple[int, ...] = ()
    spread: float = 0.0
    counts: tuple[int, int] = (100, 100)

    def load(self) -> Loaded:
        """Inputs on the unit sphere: training, held out in the same proportions of the classes, and test."""
        if self.classes:
            data = load_dataset("digits", classes=self.classes)
            held_out = np.arange(len(data.test_truth)) % 2 == 0
            test, truth = data.test_inputs.astype(float), data.test_truth
            return Loaded(
                data.train_inputs.astype(float), data.train_truth, test[held_out], truth[held_out], test[~held_out], truth[~held_out]
            )
        parts = []
        for seed, counts in enumerate((self.counts, tuple(3 * count // 2 for count in self.counts), (300, 300))):
            points, truth = arc_clusters(counts, seed=seed, relative_spread=self.spread)
            parts += [points / np.linalg.norm(points, axis=1, keepdims=True), truth]
        return Loaded(*parts)


TASKS = (
    *(Task(f"clusters, spread {spread:g}", spread=spread) for spread in (0.125, 0.25, 0.4, 0.8)),
    *(Task(f"clusters {one}:{other}", spread=0.125, counts=(one, other)) for one, other in ((160, 40), (180, 20))),
    *(Task(f"clusters, spread 0.25, {one}:{other}", spread=0.25, counts=(one, other)) for one, other in ((160, 40),)),
    *(Task(f"digits {one}/{other}", classes=(one, other)) for one, other in ((0, 1), (1, 7), (7, 9), (3, 8))),
)
NETWORKS = tuple(
    (classes, level, width, start)
    for classes in ((0, 1), (7, 9))
    for level in (0.2, 0.4)
    for width in (32, 512)
    for start in ("zero", "random")
)
NETWORK_STEPS = 800


@dataclass(frozen=True, eq=False)
class Run:
    """What every rule reads, for R label draws at T times.

    Attributes:
        residual: mean residual to the observed labels ``[T, R]``.
        disagreement: training samples predicted otherwise than their observed label ``[T, R]``, counts.
        held_out: the same of held-out samples with noisy labels ``[T, R]``, counts.
        noise_loss: mean loss of the noisy samples ``[T, R]``.
        test_error: against the true labels, of the other half of the test points ``[T, R]``.
        n: training samples.
        n_held_out: held-out samples.
        steps: ``[T]``.
    """

    residual: Array
    disagreement: Array
    held_out: Array
    noise_loss: Array
    test_error: Array
    n: int
    n_held_out: int
    steps: Labels

    @classmethod
    def from_logits(cls, logits: tuple[Array, Array, Array], observed: Labels, held_out_labels: Labels, task: Loaded) -> Run:
        """From logits of training, held-out and test points ``[T, ., R]`` and observed labels ``[., R]``; every step is recorded."""
        train, held_out, test = logits
        noisy = observed != task.train_truth[:, None]
        loss = np.logaddexp(0, np.where(observed == 1, -train, train))
        return cls(
            residual=np.abs(expit(train) - observed).mean(axis=1),
            disagreement=_wrong(train, observed).sum(axis=1),
            held_out=_wrong(held_out, held_out_labels).sum(axis=1),
            noise_loss=np.einsum("tnr,nr->tr", loss, noisy) / noisy.sum(axis=0),
            test_error=_wrong(test, task.test_truth[:, None]).mean(axis=1),
            n=len(observed),
            n_held_out=len(held_out_labels),
            steps=np.arange(len(train)),
        )


Rule = Callable[[Run, float], NDArray[np.intp]]


def monitored(*, offset: float = 0.0, known: bool = True, held_out: bool = False) -> Rule:
    """Stop by the monitor: index of the time ``[R]``, −1 where it does not stop. ``offset`` is added to the noise level that it is told."""

    def rule(run: Run, level: float) -> NDArray[np.intp]:
        stops = []
        for r in range(run.residual.shape[1]):
            monitor = EarlyStoppingMonitor(level + offset if known else None)
            for t in range(1, len(run.steps)):
                counts, checked = (run.held_out, run.n_held_out) if held_out else (run.disagreement, run.n)
                seen = None if known else (int(counts[t, r]), checked)
                if monitor.update(min(run.residual[t, r], 1.0), n_samples=run.n, disagreement=seen, step=t):
                    break
            stops.append(-1 if monitor.stopped_at is None else int(monitor.stopped_at))
        return np.array(stops)

    return rule


RULES: Mapping[str, Rule] = {
    "rule": monitored(),
    "rule_low": monitored(offset=-0.05),
    "rule_high": monitored(offset=0.04),
    "rule_train": monitored(known=False),
    "rule_held_out": monitored(known=False, held_out=True),
    "validation": lambda run, level: 1 + np.argmin(run.held_out[1:], axis=0),
    "noise_peak": lambda run, level: np.argmax(run.noise_loss, axis=0),
    "end": lambda run, level: np.full(run.residual.shape[1], -1),
}
"""Name → where it stops: δ known; told 0.05 too little; 0.04 too much; δ from the training disagreement; from a noisy held-out set; at the
smallest error on that set; at the largest loss of the noisy samples (needs the truth); never."""

FIELDS = (
    "task",
    "noise_level",
    "width",
    "start",
    "smallest",
    *RULES,
    *(f"{name}_never" for name in ("rule", "rule_low", "rule_high", "rule_train", "rule_held_out")),
    "estimate_train",
    "estimate_held_out",
)


def costs(run: Run, level: float) -> dict[str, float]:
    """Mean over the draws: the smallest test error, what each rule adds to it, share of draws in which it never stops, estimates of δ."""
    columns = np.arange(run.residual.shape[1])
    best = run.test_error[1:].min(axis=0)
    found = {"smallest": float(best.mean())}
    for name, rule in RULES.items():
        stop = rule(run, level)
        found[name] = float((run.test_error[stop, columns] - best).mean())
        if name.startswith("rule"):
            found[f"{name}_never"] = float((stop < 0).mean())
        for source, counts, checked in (("train", run.disagreement, run.n), ("held_out", run.held_out, run.n_held_out)):
            if name == f"rule_{source}":
                until = np.where(stop < 0, len(run.steps) - 1, stop)
                lowest = [counts[1 : end + 1, r].min() / checked for r, end in zip(columns, until, strict=True)]
                found[f"estimate_{source}"] = float(np.mean(lowest))
    return found


def fixed_kernel_row(task: Task, level: float, *, draws: int = DRAWS, steps: int = STEPS) -> dict[str, str | float]:
    """Descent with the logistic loss on the infinite-width tangent kernel (L = 1), from zero, ``draws`` label draws."""
    data = task.load()
    kernel = np.asarray(ntk(data.train))
    seeds = seeds_by_rule(f"stopping-cost-{task.name}-{level:g}", draws)
    observed, held_out = (
        corrupt_labels_batch(truth, level, n_classes=2, seeds=seeds).T for truth in (data.train_truth, data.held_out_truth)
    )
    cross = np.asarray(ntk(np.concatenate([data.held_out, data.test]), data.train))
    path = gradient_descent(kernel, observed, learning_rate=RATE * max_learning_rate(kernel), steps=steps, cross_kernel=cross)
    others = np.split(np.asarray(path.test_logits), [len(data.held_out)], axis=1)
    run = Run.from_logits((np.asarray(path.logits), *others), observed, held_out, data)
    return {"task": task.name, "noise_level": level, "width": "infinite", "start": "zero"} | costs(run, level)


def network_row(classes: tuple[int, int], level: float, width: int, start: str, *, seeds: int = 6) -> dict[str, str | float]:
    """Networks of Eq. (2) [B], one hidden layer, full-batch descent from output zero (centred) or from their random output."""
    data = Task("", classes=classes).load()
    inputs = [torch.from_numpy(part).float() for part in (data.train, data.held_out, data.test)]
    drawn = seeds_by_rule(f"stopping-cost-{classes}-{level:g}-{width}", seeds)
    observed, held_out = (
        corrupt_labels_batch(truth, level, n_classes=2, seeds=drawn).T for truth in (data.train_truth, data.held_out_truth)
    )
    paths = []
    for r, seed in enumerate(drawn):
        network = FullyConnected(inputs[0].shape[1], width, 1, centred=start == "zero", seed=seed)
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
        labels = torch.from_numpy(observed[:, r].copy()).float()
        found = []
        for _ in range(NETWORK_STEPS + 1):
            logits = network(inputs[0])
            with torch.no_grad():
                found.append([part.numpy().astype(float) for part in (logits, network(inputs[1]), network(inputs[2]))])
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
            optimizer.step()
        paths.append([np.stack(part) for part in zip(*found, strict=True)])
    train, other, test = (np.stack(part, axis=2) for part in zip(*paths, strict=True))
    run = Run.from_logits((train, other, test), observed, held_out, data)
    task = f"digits {classes[0]}/{classes[1]}"
    return {"task": task, "noise_level": level, "width": width, "start": start} | costs(run, level)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table that this module wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, rows: Sequence[Mapping[str, str | float]]) -> None:
    """Numbers to four decimals: a count of 12 test points in a few thousand shows."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(FIELDS)
        for row in rows:
            writer.writerow(
                [f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else value for value in map(row.get, FIELDS)]
            )


def _wrong(logits: Array, labels: Labels) -> Array:
    """1 where the sign of a logit ``[T, n, R]`` is not that of the label ``[n, R]``; a tie at zero counts as wrong."""
    return np.asarray(np.where(labels == 1, logits, -logits) <= 0, dtype=float)


def main(folder: str) -> None:
    """Measure everything and write the two tables."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    write_rows(target / "stopping_cost.csv", [fixed_kernel_row(task, level) for task in TASKS for level in LEVELS])
    write_rows(target / "stopping_cost_networks.csv", [network_row(*spec) for spec in NETWORKS])


if __name__ == "__main__":
    main(sys.argv[1])
