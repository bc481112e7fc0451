"""Every command in README.md is run by a test: here as it stands, or by the test that is named here."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from reports.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"(?:^ {4}|`|&& |^)((?:clean-priority|python -m|sphinx-build|pytest)(?: [^`#&\n]+)?)", flags=re.MULTILINE)

HERE = (
    "clean-priority claims",
    "clean-priority claims D4",
    "clean-priority --help",
    "clean-priority diagnose --data digits --classes 7,9 --noise 0.4",
)
SMALLER = {  # run here on less
    "clean-priority report --tier full --cluster local:4": "clean-priority report G2 --cluster local:2",
}
ELSEWHERE = {
    "python -m pip install -c constraints.txt -e .": ".ci/run: ",
    'python -m pip install -c constraints.txt -e ".[test]"': ".ci/run: test_line=",
    "pytest": ".ci/run: test_line=",
    "clean-priority report": ".ci/run: clean-priority report",
    'python -m pip install -c constraints.txt -e ".[cluster]"': "pyproject.toml: cluster = [",  # what the tests of the cluster import
    "clean-priority report --tier full --cluster tcp://10.0.0.7:8786 --store /shared/store": "tests/empirical/test_cluster.py: the_sweep",
    "clean-priority report U1 --claims docs/tutorials/leaky_relu.py": "tests/meta/test_own_claims.py: def test_the_command_line_judges",
    "clean-priority fetch mnist DATA": "tests/meta/test_security.py: def test_only_the_pinned_file_is_kept",
    "clean-priority store ls | verify | gc | export": "tests/reports/test_store_commands.py: def test_verify_tells",
    "clean-priority compare A B": "tests/reports/test_command_line.py: def test_compare_exit_codes",
    "clean-priority render DIR": "tests/reports/test_command_line.py: def test_render_writes",
    "sphinx-build -W docs docs/_build": "tests/meta/test_tutorials.py: def test_the_documentation_builds",
}
"""Command → file and text of the test that runs it."""


def test_every_command_has_its_test() -> None:
    shown = {command.strip() for command in COMMAND.findall((ROOT / "README.md").read_text())}
    assert shown == {*HERE, *SMALLER, *ELSEWHERE}
    for where in ELSEWHERE.values():
        file, _, text = where.partition(": ")
        assert text in (ROOT / file).read_text(), where


@pytest.mark.parametrize("command", HERE)
def test_command_as_it_stands(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out
    if "diagnose" in command:
        assert (tmp_path / "diagnosis" / "report.html").is_file()


@pytest.mark.parametrize("command", SMALLER.values())
def test_command_on_less(command: str, tmp_path: Path) -> None:
    """In a process of its own: measured by the workers of a cluster into a new store, and every verdict is the expected one."""
    pytest.importorskip("distributed", reason="needs the extra [cluster]")
    words = [sys.executable, "-m", "reports", *shlex.split(command)[1:], "--out", "report", "--store", "store"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    rows = [row for row in report["claims"] if row["verdict"] != "NOT RUN"]
    assert rows
    assert all(row["ok"] for row in rows)
    assert list((tmp_path / "store").rglob("*.nc"))
