"""The distributions that are built: the source one is the clone, the wheel works where there is no clone.

Offline: built with the setuptools that is here, installed into a fresh environment that sees this interpreter's libraries. About 20 s.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("theory", "empirical", "reports", "tests", "docs", ".ci")
MADE = ("__pycache__", "*.egg-info", "latest", "_build", "generated")


def ran(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """What a command prints, errors included; it must end with this exit code."""
    apart = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=apart, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the clone without what tools made in it."""
    copy = tmp_path_factory.mktemp("build") / "source"
    copy.mkdir()
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, copy)
    for folder in FOLDERS:
        if (ROOT / folder).is_dir():
            shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(*MADE))
    return copy


@pytest.fixture(scope="module")
def archive(source: Path) -> Path:
    """The source distribution."""
    build = "import setuptools.build_meta, sys; setuptools.build_meta.build_sdist(sys.argv[1])"
    ran(sys.executable, "-c", build, source.parent, cwd=source)
    (built,) = source.parent.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def installed(archive: Path) -> Path:
    """The scripts of a fresh environment with the wheel, which is built from the source distribution, as ``python -m build`` does."""
    folder = archive.parent
    ran(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, archive, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "environment", with_pip=False)
    scripts = folder / "environment" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    own = Path(ran(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (own / "libraries.pth").write_text("".join(f"{sysconfig.get_path(name)}\n" for name in ("purelib", "platlib")))
    ran(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    place = ran(python, "-c", "import theory, empirical, reports; print(theory.__file__, empirical.__file__, reports.__file__)", cwd=folder)
    assert all(Path(file).is_relative_to(own) for file in place.split()), place  # not the clone
    return scripts


def test_source_distribution_is_the_clone(source: Path, archive: Path) -> None:
    with tarfile.open(archive) as content:
        packed = {name.partition("/")[2] for name in content.getnames()}
    ours = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    made = {".gitignore", *(path for path in ours if ".egg-info/" in path)}
    assert ours - packed - made == set()
    assert not [name for name in packed if "__pycache__" in name]


def test_wheel_holds_what_is_read_at_run_time(source: Path, installed: Path) -> None:
    code = "import reports; from pathlib import Path; print(Path(reports.__file__).parents[1])"
    site = Path(ran(installed / "python", "-c", code, cwd=installed).strip())
    for room in ("theory", "empirical", "reports"):
        ours = {path.relative_to(source) for path in (source / room).rglob("*") if path.is_file()}
        left_out = {path for path in ours if not (site / path).is_file()}
        assert {path for path in left_out if path.parts[:2] != ("reports", "published")} == set()


def test_commands_work_without_a_clone(installed: Path, tmp_path: Path) -> None:
    command = installed / "clean-priority"
    assert "X11" in ran(command, "claims", cwd=tmp_path)
    assert "Thm 4.4" in ran(command, "claims", "D7", cwd=tmp_path)
    refusal = ran(command, "report", cwd=tmp_path, code=2)
    assert "pip install -e ." in refusal
    assert len(refusal.strip().splitlines()) == 1


def test_diagnose_works_without_a_clone(installed: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(80) % 2
    inputs = rng.normal(size=(80, 3)) + 2 * (truth[:, None] - 0.5)
    np.savez(tmp_path / "tiny.npz", x_train=inputs[:60], y_train=truth[:60], x_test=inputs[60:], y_test=truth[60:])
    options = ["--data", "tiny.npz", "--noise", "0.3", "--epochs", "4", "--seeds", "2", "--out", "report"]
    shown = ran(installed / "clean-priority", "diagnose", *options, cwd=tmp_path)
    assert "Is there clean priority?" in shown
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.html", "report.json", "report.md", "figures"}
