"""Device, precision and determinism: set within the policy, put back after it, and recorded."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from empirical import devices
from empirical.devices import policy, policy_departures, provenance, resolve_device

MATMUL = torch.backends.cuda.matmul


def settings() -> tuple[object, ...]:
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
    )


@pytest.fixture
def loose_settings():
    """Everything the other way round, so that a policy that does nothing is seen; put back afterwards."""
    before = settings()
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(2)
    yield settings()
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[2]
    torch.backends.cudnn.benchmark = before[3]
    torch.use_deterministic_algorithms(before[5])
    torch.set_num_threads(before[6])


def test_policy_sets_and_restores(loose_settings: tuple[object, ...]):
    with policy("cpu", threads=1) as device:
        assert device == torch.device("cpu")
        assert settings() == ("highest", False, False, False, True, True, 1)
        with policy("cpu"):
            assert settings()[-1] == 1
    assert settings() == loose_settings


def test_policy_restores_after_an_error(loose_settings: tuple[object, ...]):
    with pytest.raises(RuntimeError, match="inside"), policy("cpu", threads=1):
        raise RuntimeError("inside")
    assert settings() == loose_settings


def test_operations_without_a_deterministic_form_raise(loose_settings: tuple[object, ...]):
    """Writing through an index with repeats has none on the CPU for ``put_`` without accumulation: allowed outside, refused within."""
    target, index, source = torch.zeros(4), torch.tensor([1, 1]), torch.ones(2)
    target.put_(index, source)
    with policy("cpu"), pytest.raises(RuntimeError, match="deterministic"):
        target.put_(index, source)


@pytest.mark.parametrize(("set_by_user", "expected"), [("", ":4096:8"), (":16:8", ":16:8")], ids=["unset", "set"])
def test_cublas_is_told_to_be_deterministic(set_by_user: str, expected: str, monkeypatch: pytest.MonkeyPatch):
    """Without it deterministic matrix products on a GPU raise; what a user has set is left alone."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", set_by_user)
    if not set_by_user:
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    with policy("cpu"):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == expected


def test_auto_is_a_device_of_this_machine():
    resolved = resolve_device("auto")
    assert resolved.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>', got 'gpu'"),
        ("", "device must be"),
        (0, "device must be 'auto'"),
        (None, "device must be 'auto'"),
        ("meta", "device must be of type cpu or cuda, got 'meta'"),
        ("cuda:99", "device 'cuda:99' is not on this machine, which has"),
    ],
)
def test_unknown_devices(device: object, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        resolve_device(device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("threads", [0, 1.5, True, "2"])
def test_bad_threads(threads: object):
    with pytest.raises(ValueError, match="threads must be an integer >= 1"), policy("cpu", threads=threads):
        pass


def test_provenance_is_flat_and_anonymous():
    with policy("cpu", threads=1):
        facts = provenance()
    assert json.loads(json.dumps(facts)) == facts
    assert {"python", "numpy", "torch", "scipy", "machine", "cores", "processor", "device", "device_name"} <= set(facts)
    assert (facts["threads"], facts["matmul_precision"], facts["tf32"], facts["deterministic"]) == (1, "highest", False, True)
    text = json.dumps(facts)
    assert str(Path.home()) not in text.replace('"/"', "")
    assert str(Path(__file__).resolve().parents[2]) not in text
    assert socket.gethostname() not in facts.values()


def test_provenance_tells_a_looser_precision(loose_settings: tuple[object, ...]):
    assert provenance()["tf32"] is True
    assert provenance()["deterministic"] is False


@pytest.mark.parametrize(
    ("loosen", "says"),
    [
        (lambda: torch.set_float32_matmul_precision("high"), "matmul_precision high, expected highest"),
        (lambda: setattr(MATMUL, "allow_fp16_reduced_precision_reduction", True), "reduced_precision True, expected False"),
        (lambda: setattr(MATMUL, "allow_bf16_reduced_precision_reduction", True), "reduced_precision True, expected False"),
        (lambda: setattr(torch.backends.cudnn, "benchmark", True), "cudnn_benchmark True, expected False"),
        (lambda: torch.use_deterministic_algorithms(True, warn_only=True), "deterministic False, expected True"),
        (lambda: torch.set_num_threads(2), "threads 2, expected 1"),
    ],
    ids=["matmul", "fp16", "bf16", "benchmark", "warn-only", "threads"],
)
def test_each_looser_setting_is_recorded_as_a_departure(loosen: Callable[[], object], says: str):
    """Set by somebody else within the policy, which puts it back."""
    with policy("cpu", threads=1):
        assert policy_departures(provenance()) == ()
        loosen()
        assert says in policy_departures(provenance())


def test_commit_only_of_a_clone_of_its_own(tmp_path: Path):
    """A package inside somebody else's repository does not report that one's commit."""
    assert devices._commit(tmp_path) == {}
    for arguments in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "m"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)
    facts = devices._commit(tmp_path)
    assert len(facts["commit"]) == 40
    assert facts["modified"] is False
    (tmp_path / "inner").mkdir()
    assert devices._commit(tmp_path / "inner") == {}
    (tmp_path / "file").write_text("x")
    subprocess.run(["git", "-C", str(tmp_path), "add", "file"], check=True)
    assert devices._commit(tmp_path)["modified"] is True
