"""The page on clusters: its lines run as they stand, with a Slurm of a few lines of shell, and the workers measure the same numbers."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.util
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from empirical.runner import run
from reports.__main__ import _parser as command_line
from tests.support.fault_sweep import digests, sweep

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "empirical" / "CLUSTER.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
jobqueue = pytest.importorskip("dask_jobqueue", reason="dask-jobqueue, which the extra [test] brings, is not installed")

# What sbatch and scancel are asked for: take a script, print the number of the job; end the job of that number.
SBATCH = """#!/bin/sh
cp "$1" "$FAKE_SLURM/script"
setsid sh "$FAKE_SLURM/script" >"$FAKE_SLURM/log" 2>&1 &
echo $! >>"$FAKE_SLURM/jobs"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -- "-$1" 2>/dev/null || true
"""


def block(word: str) -> str:
    """The one block of Python on the page with this word."""
    (found,) = [text for text in BLOCKS if word in text]
    return found


def slurm_block(*, workers: int) -> str:
    """The Slurm lines for fewer workers per job and any free port."""
    text = block("SLURMCluster(")
    for old, new in (
        ("cores=8", f"cores={workers}"),
        ("processes=8", f"processes={workers}"),
        ('"port": 8786', '"port": 0'),
        ("jobs=16", "jobs=1"),
    ):
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with ``sbatch`` and ``scancel`` in front of the path; jobs that are left are ended."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for job in (tmp_path / "jobs").read_text().split() if (tmp_path / "jobs").exists() else []:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(job), signal.SIGKILL)


@pytest.mark.skipif(os.name != "posix", reason="the made-up sbatch is a shell script")
def test_the_lines_for_slurm_measure_the_same_numbers(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines are run up to Enter; instead of it the sweep is measured through the address that they have printed."""
    printed: list[str] = []
    monkeypatch.setattr(builtins, "print", lambda *words, **_: printed.append(" ".join(map(str, words))))

    def enter(prompt: str) -> str:
        run(sweep(), store=slurm / "spread", cluster=printed[0], device="cpu")
        return prompt

    monkeypatch.setattr(builtins, "input", enter)
    names: dict[str, Any] = {}
    exec(compile(slurm_block(workers=2), "CLUSTER.md", "exec"), names)
    names["cluster"].close()
    monkeypatch.undo()
    run(sweep(), store=slurm / "alone", device="cpu")
    assert digests(slurm / "spread") == digests(slurm / "alone")
    assert len(digests(slurm / "alone")) == len(sweep())


def test_what_the_lines_ask_of_slurm(slurm: Path) -> None:
    """Eight workers of one thread on eight cores, which leave before the wall does, with and without a GPU."""
    names: dict[str, Any] = {}
    lines = [line for line in block("SLURMCluster(").replace("8786", "0").splitlines() if not re.match(r"cluster\.|print|input", line)]
    exec(compile("\n".join(lines), "CLUSTER.md", "exec"), names)
    with names["cluster"] as cluster:
        script = cluster.job_script()
    for words in ("-p normal", "--cpus-per-task=8", "-t 04:00:00", "--nworkers 8", "--nthreads 1", "--lifetime 230m --lifetime-stagger 5m"):
        assert words in script, words
    ((processes, cores, directives),) = re.findall(r"`(processes=1)`,\s`(cores=1)`, `(job_extra_directives=[^`]*)`", PAGE)
    options = eval(f"dict({processes}, {cores}, {directives})", {"__builtins__": {"dict": dict}})
    with jobqueue.SLURMCluster(memory="1GB", scheduler_options={"port": 0, "dashboard": False}, **options) as cluster:
        script = cluster.job_script()
    assert "#SBATCH --gres=gpu:1" in script
    assert "--nthreads 1" in script


def test_the_lines_for_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The specification of the pods as the package makes it; starting them needs a cluster."""
    text = block("KubeCluster")
    ast.parse(text)
    operator = pytest.importorskip("dask_kubernetes.operator", reason="dask-kubernetes is not installed; the lines were only parsed")
    made: list[dict[str, Any]] = []

    class Recorded:
        """Takes the specification in place of a cluster."""

        scheduler_address = "tcp://clean-priority-scheduler:8786"

        def __init__(self, *, custom_cluster_spec: dict[str, Any]) -> None:
            made.append(custom_cluster_spec)

    monkeypatch.setattr(operator, "KubeCluster", Recorded)
    exec(compile(text, "CLUSTER.md", "exec"), {})
    worker = made[0]["spec"]["worker"]
    assert worker["replicas"] == 64
    assert worker["spec"]["containers"][0]["args"][:4] == ["dask", "worker", "--nthreads", "1"]
    assert worker["spec"]["containers"][0]["volumeMounts"][0]["name"] == worker["spec"]["volumes"][0]["name"]


SHELL = [text.replace("\n", " ") for text in re.findall(r"`(dask (?:ssh|scheduler|worker)[^`]*)`", PAGE)]


@pytest.mark.parametrize("line", SHELL)
def test_lines_for_the_shell_are_understood_by_dask(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed.cli.dask_scheduler
    import distributed.cli.dask_ssh
    import distributed.cli.dask_worker

    monkeypatch.chdir(tmp_path)
    Path("hosts.txt").write_text("here\n")
    _, command, *words = shlex.split(line)
    parser = getattr(distributed.cli, f"dask_{command}").main
    values = parser.make_context(command, words).params
    if command != "scheduler":
        assert (str(values["n_workers"]), values["nthreads"]) == ("8", 1)


def test_there_are_lines_for_the_shell() -> None:
    assert [line.split()[1] for line in SHELL] == ["ssh", "scheduler", "worker"]


COMMANDS = re.findall(
    r"(?:^ {4}|`)(clean-priority report [^`#\n]*?)\s*(?:#|`|$)", PAGE + (ROOT / "README.md").read_text(), flags=re.MULTILINE
)


def test_the_three_commands_are_shown_and_understood() -> None:
    """Install, four processes here, any scheduler: in the README and on the page; the line for Slurm besides."""
    readme = (ROOT / "README.md").read_text().split("## Beyond one machine")[1].split("\n## ")[0]
    three = re.findall(r"^(python -m pip install .*|clean-priority report .*?)\s*(?:#.*)?$", readme, flags=re.MULTILINE)
    assert len(three) == 3
    assert all(command in PAGE for command in three)
    spread = [command for command in {*COMMANDS, *three[1:]} if "--cluster" in command]
    assert len(spread) >= 3
    for command in spread:
        options = command_line().parse_args(shlex.split(command)[1:])
        assert options.cluster.startswith(("local:", "tcp://"))


def test_the_install_line_brings_dask() -> None:
    """The extra that the page names has what the code imports."""
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert '-e ".[cluster]"' in PAGE
    assert {re.split(r"[<>=]", name)[0] for name in extras["cluster"]} == {"dask", "distributed"}
    assert importlib.util.find_spec("distributed")
    assert sys.version_info >= (3, 11)
