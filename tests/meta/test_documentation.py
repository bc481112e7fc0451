"""What the READMEs promise is true: examples run, commands exist, links lead somewhere."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("*/README.md")),
    *sorted(ROOT.glob("tests/*/README.md")),
    *sorted(ROOT.glob("theory/notes/*.md")),
]


def test_examples_of_the_readme_run() -> None:
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert result.attempted >= 9
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_two_commands_open_the_readme() -> None:
    commands = re.findall(r"^    (python -m pip .*)$", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert commands == [
        "python -m pip install -c constraints.txt -e . && clean-priority report",
        'python -m pip install -c constraints.txt -e ".[test]" && pytest',
    ]


def test_no_page_names_a_local_path() -> None:
    sources = [*PAGES, *ROOT.glob("*.toml"), *ROOT.glob("*.md"), *(ROOT / "theory").rglob("*.py"), *(ROOT / "empirical").rglob("*.py")]
    for page in sources:
        assert not re.search(r"(?<![\w.])/(work|root|home|tmp)/", page.read_text()), page
