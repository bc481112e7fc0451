"""The same specification gives the same bytes: whatever the number and kind of workers, the order, the batch of seeds, the threads around.

Compared are all measured variables and attributes (``measurement_digest``); what differs between two records is their provenance. One
process and loky are compared here, Dask in test_cluster.py, both after faults in test_faults.py.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from empirical.device_agreement import check_device_agreement
from empirical.devices import POLICY, policy, policy_departures, provenance
from empirical.experiments import Experiment
from empirical.runner import run
from empirical.store import Store, measurement_digest
from empirical.training import train
from tests.support.fault_sweep import digests, sweep

ROOT = Path(__file__).resolve().parents[2]


def experiments() -> list[Experiment]:
    return [spec for spec in sweep() if isinstance(spec, Experiment)]


def test_workers_and_order_do_not_matter(tmp_path: Path) -> None:
    run(sweep(), store=tmp_path / "alone", device="cpu")
    run(sweep()[::-1], store=tmp_path / "reversed", device="cpu")
    run(sweep()[::2] + sweep()[1::2], store=tmp_path / "spread", n_jobs=2, device="cpu")
    wanted = digests(tmp_path / "alone")
    assert len(wanted) == len(sweep())
    assert digests(tmp_path / "reversed") == wanted
    assert digests(tmp_path / "spread") == wanted


def test_settings_of_the_process_do_not_matter(tmp_path: Path) -> None:
    """Four threads, TF32 and timing-chosen algorithms around it: the policy sets its own, and says so in the record."""
    run(experiments()[:1], store=tmp_path / "one", device="cpu")
    code = (
        "import sys, torch; torch.set_num_threads(4); torch.set_float32_matmul_precision('high'); torch.backends.cudnn.benchmark = True\n"
        "from empirical.runner import run; from tests.support.fault_sweep import sweep\n"
        "run(sweep()[:1], store=sys.argv[1], device='cpu')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "two")], cwd=ROOT, check=True, env=_environment(threads=4))
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def _environment(threads: int) -> dict[str, str]:
    import os

    return os.environ | {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}


def test_blas_runs_in_the_threads_of_the_policy() -> None:
    """Two threads around it, also where the environment asks for one."""
    np.ones((2, 2)) @ np.ones((2, 2))
    with threadpool_limits(limits=2):
        before = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
        assert set(before.values()) == {2}
        with policy("cpu", threads=1):
            assert {pool["num_threads"] for pool in threadpool_info()} == {1}
        assert {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()} == before


@pytest.mark.parametrize("spec", experiments()[:3], ids=lambda spec: spec.name)
def test_the_batch_of_seeds_changes_rounding_at_most(spec: Experiment) -> None:
    """Three seeds as one batch, and one by one.

    A batched matrix product may sum in another order than a single one, so bits may differ; the key does not depend on the batch, hence
    the bound is stated and tested: relative 1e-4 of the largest number of a variable. Where it comes from: rounding errors of float32 in
    60 steps with 4 products of K = 64 terms each add up like a random walk to √(60 · 4 · 64) · 2⁻²⁴ = 7e-6; a step of gradient descent
    with η below 2/λ_max does not amplify a difference in the weights; the cosine of segment gradients that nearly cancel does, tenfold.
    For every kind of network test_training.py asserts 1e-5 after at most 40 steps, and 1e-10 in float64.
    """
    together = train(spec, device="cpu").to_dataset()
    apart = [train(replace(spec, seeds=(seed,)), device="cpu").to_dataset() for seed in spec.seeds]
    for name, variable in together.data_vars.items():
        for index, one in enumerate(apart):
            difference = np.abs(variable.values[index].astype(float) - one[name].values[0].astype(float))
            scale = np.nanmax(np.abs(variable.values[index].astype(float)))
            assert np.nanmax(difference, initial=0) <= 1e-4 * scale, name


@pytest.mark.parametrize("spec", experiments()[:1], ids=lambda spec: spec.name)
def test_the_memory_budget_does_not_enter_the_key(spec: Experiment) -> None:
    whole = measurement_digest(train(spec, device="cpu").to_dataset())
    assert measurement_digest(train(spec, device="cpu").to_dataset()) == whole
    assert spec.key() == replace(spec, name="another name").key()


FLOAT32_BOUND = 1e-3
"""Largest departure of a float32 run from the same run in float64, relative to the largest number of a variable.

Here the errors need not be random: inputs and weights are rounded once, the same way in every sample. One product of K = 64 terms is off by
at most K·2⁻²⁴ = 4e-6, and 60 steps with 4 products each by 60 · 4 · 4e-6 = 1e-3.
"""


@pytest.mark.parametrize("spec", [spec for spec in experiments() if spec.data.name == "digits"], ids=lambda spec: spec.name)
def test_float32_stays_within_the_stated_bound_of_float64(spec: Experiment) -> None:
    """So two devices that each round to float32 in their own way stay within twice the bound of each other."""
    single, double = (train(replace(spec, dtype=dtype), device="cpu").to_dataset() for dtype in ("float32", "float64"))
    for name in ("clean_loss", "noise_loss", "test_loss", "alpha", "rho", "gram"):
        scale = np.abs(double[name].values).max()
        assert np.abs(single[name].values - double[name].values).max() <= FLOAT32_BOUND * scale, name


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")


@CUDA
def test_cpu_and_gpu_agree_on_every_kind_of_network() -> None:
    """What every run asks before it judges anything: fully connected, CNN and ResNet-9, in float64 and float32, all recorded variables."""
    check_device_agreement("cuda")


@CUDA
@pytest.mark.parametrize("spec", experiments(), ids=lambda spec: spec.name)
def test_cpu_and_gpu_agree_within_twice_that_bound(spec: Experiment) -> None:
    here, there = (train(spec, device=device).to_dataset() for device in ("cpu", "cuda"))
    for name in ("clean_loss", "noise_loss", "test_loss", "alpha", "rho", "gram"):
        scale = np.abs(here[name].values).max()
        assert np.abs(here[name].values - there[name].values).max() <= 2 * FLOAT32_BOUND * scale, name


def test_records_say_under_which_policy_they_were_made(tmp_path: Path) -> None:
    import json

    (record,) = run(experiments()[:1], store=tmp_path, device="cpu")
    facts = json.loads(record.attrs["provenance"])
    assert {name: facts[name] for name in POLICY} == dict(POLICY)
    assert facts["device"] == "cpu"
    assert policy_departures(facts) == ()
    (record,) = run(experiments()[:1], store=tmp_path / "four", device="cpu", threads=4)
    assert policy_departures(json.loads(record.attrs["provenance"])) == ("threads 4, expected 1",)
    assert Store(tmp_path).get(experiments()[0].key()) is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tf32": True}, "tf32 True, expected False"),
        ({"deterministic": False}, "deterministic False, expected True"),
        ({"threads": 8}, "threads 8, expected 1"),
        ({"threads": True}, "threads True, expected 1"),
        ({"matmul_precision": "high"}, "matmul_precision high, expected highest"),
        ({"cudnn_benchmark": True}, "cudnn_benchmark True, expected False"),
        ({"reduced_precision": True}, "reduced_precision True, expected False"),
    ],
)
def test_each_departure_is_named(change: dict[str, object], says: str) -> None:
    with policy("cpu", threads=1):
        facts = provenance()
    assert policy_departures(facts | change) == (says,)
    assert policy_departures(facts | {"device": "cuda", "torch": "9.9", "cores": 1}) == ()  # shown, not refused


def test_a_record_that_says_nothing_is_refused() -> None:
    assert policy_departures({}) == (
        "tf32 not recorded, expected False",
        "deterministic not recorded, expected True",
        "threads not recorded, expected 1",
    )
    with pytest.raises(ValueError, match="provenance must be a mapping, got NoneType"):
        policy_departures(None)
