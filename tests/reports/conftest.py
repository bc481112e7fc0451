"""One made-up report, written once for all tests of this folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reports.writer import write_report
from tests.support.sample_report import PROVENANCE, sample_figures, sample_results


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the sample report; read only."""
    folder = tmp_path_factory.mktemp("reports") / "sample"
    write_report(folder, sample_results(), sample_figures(), PROVENANCE)
    return folder


@pytest.fixture
def report(written: Path, tmp_path: Path) -> Path:
    """A copy of the sample report that a test may change."""
    folder = tmp_path / "report"
    shutil.copytree(written, folder)
    return folder
