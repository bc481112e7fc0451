"""A valid call of every public function of `reports`, as data: what tests/meta/test_hostile_input.py attacks.

Beside what the package itself exports these are the functions that its README and the tutorials name: comparing reports, own claims, and
what `judge_sequentially` is told about a value. Calls that write do so in the working folder, which the test replaces by an empty one.
"""

from __future__ import annotations

import numpy as np

import empirical
import reports
from reports.compare import compare, comparison_html
from reports.diagnose import diagnose, diagnose_trace
from reports.own_claims import load_own_claims
from reports.sequential import Bounded, Counted, KnownSpread, Normal
from tests.support.hostile import Call
from tests.support.sample_report import PROVENANCE, sample_results

__all__ = ["CALLS", "FURTHER", "NOT_CALLED"]

FURTHER = ("compare", "comparison_html", "load_own_claims", "Bounded", "Counted", "KnownSpread", "Normal")
"""Public without being exported by the package."""

_ESTIMATE = empirical.Estimate(value=0.5, lower=0.49, upper=0.51, confidence=0.999, n_seeds=20, method="made up")
_DATA = empirical.load_dataset("clusters", n_train=40, n_test=10)
_TRACE_INPUTS, _TRACE_TRUTH = _DATA.train_inputs, _DATA.train_truth
_OBSERVED = np.where(np.arange(40) % 5 == 0, 1 - _TRACE_TRUTH, _TRACE_TRUTH)
_EMPTY = {"claims": [], "provenance": {}}
_ROWS = tuple(sample_results()[:1])


def factory(n_inputs: int, seed: int) -> empirical.FullyConnected:
    """A small network."""
    return empirical.FullyConnected(n_inputs, 8, 1, seed=seed, centred=True)


def _trace() -> empirical.Trace:
    """What a training loop of two steps left."""
    import torch

    model = factory(_TRACE_INPUTS.shape[1], 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs, observed = torch.tensor(_TRACE_INPUTS), torch.tensor(_OBSERVED)
    with empirical.record(model, inputs, observed, truth=_TRACE_TRUTH, learning_rate=0.1, every=[0, 1, 2]) as trace:
        for _ in range(2):
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(model(inputs).reshape(-1), observed.float()).backward()
            optimizer.step()
            trace.step()
    return trace


def _draw(first: int, count: int) -> np.ndarray:
    """Values that decide at once."""
    return np.full(count, 0.5)


CALLS: tuple[Call, ...] = (
    Call(
        reports.judge,
        {
            "prediction": np.array([0.5, 0.5]),
            "estimate": _ESTIMATE,
            "margin": 0.02,
            "claim": "G2",
            "name": "made up",
            "role": "statement",
            "expected": "AGREES",
        },
        nan=("prediction",),
    ),
    Call(reports.judge, {"prediction": 0.5, "estimate": _ESTIMATE, "margin": {"rounding": 0.02}, "claim": "G2"}, nan=("prediction",)),
    Call(
        reports.judge_sequentially,
        {
            "prediction": 0.5,
            "draw": _draw,
            "sequence": Bounded(),
            "margin": 0.4,
            "claim": "G2",
            "error_rate": 0.01,
            "start": 8,
            "cap": 64,
            "name": "made up",
            "role": "statement",
            "expected": "AGREES",
            "unit": "",
        },
    ),
    Call(reports.Margin, {"terms": {"rounding": 0.1}}, other={"terms": ("margin",)}),
    Call(reports.Range, {"lower": 0.0, "upper": 1.0}, nan=("lower", "upper")),
    Call(Bounded, {"lower": 0.0, "upper": 1.0}),
    Call(Counted, {"start": 8}),
    Call(KnownSpread, {"sigma": 0.3, "tuned_at": 30}),
    Call(Normal, {"tuned_at": 30}),
    Call(
        diagnose,
        {
            "model_factory": factory,
            "dataset": _DATA,
            "noise_level": 0.3,
            "epochs": 2,
            "learning_rate": 0.1,
            "batch_size": 20,
            "seeds": 2,
            "validation_share": 0.1,
            "every": "log",
            "kernel_samples": 16,
            "device": "cpu",
            "out": "diagnosis",
            "command": "none",
        },
        skip=("observed_labels", "transition", "on_progress"),
        other={
            "model_factory": ("network",),
            "dataset": ("data must be", "train_inputs"),
            "noise_level": ("at noise level",),
            "out": ("folder",),
        },
        nan_result=True,  # the arrays of a run have NaN where a segment or a prediction is not there
    ),
    Call(
        diagnose,
        {"model_factory": factory, "dataset": _DATA, "observed_labels": _OBSERVED, "epochs": 2, "seeds": [3, 4], "device": "cpu"},
        skip=("noise_level", "transition", "model_factory", "dataset", "epochs", "device", "on_progress"),
        other={"observed_labels": ("observed labels",)},
        nan_result=True,
    ),
    Call(
        diagnose_trace,
        {
            "traces": _trace(),
            "kernel_samples": 16,
            "steps_per_epoch": 1.0,
            "device": "cpu",
            "out": "trace",
            "facts": {"data": "mine"},
            "notes": ["a remark"],
            "command": "none",
        },
        skip=("on_progress",),
        other={"out": ("folder",)},
        nan_result=True,
    ),
    Call(reports.load_schema, {"kind": "report"}),
    Call(reports.read_report, {"path": "sound", "kinds": ("report",)}, other={"path": ("report.json",)}),
    Call(reports.redraw, {"folder": "sound", "out": "redrawn"}),
    Call(
        reports.write_report,
        {
            "out": "written",
            "results": _ROWS,
            "figures": (),
            "provenance": PROVENANCE,
            "problems": ("a problem",),
            "selection": ("S1",),
        },
        skip=("register",),
        other={"out": ("folder",)},
    ),
    Call(compare, {"before": _EMPTY, "after": _EMPTY}),
    Call(comparison_html, {"comparison": compare(_EMPTY, _EMPTY), "before": "a", "after": "b"}),
    Call(load_own_claims, {"files": ["own.py"], "taken": ["digits"]}, other={"files": ("Python file",)}),
)

NOT_CALLED: dict[str, str] = {
    **dict.fromkeys(("AgreementRecord", "ClaimResult", "Diagnosis"), "a record that functions return"),
    "FigureData": "the arrays of a figure; checked when a report is written: tests/reports/test_hostile_input.py, test_figures.py",
    **dict.fromkeys(("Role", "Verdict"), "an enumeration"),
}
