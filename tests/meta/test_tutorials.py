"""The documentation builds without a warning, and what its tutorials show is what happens."""

from __future__ import annotations

import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from reports.__main__ import _parser as command_line
from reports.__main__ import main
from theory.claims import CLAIMS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
HAS_SPHINX = all(importlib.util.find_spec(name) for name in ("sphinx", "myst_parser", "furo"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_code_of_a_tutorial_runs(page: Path) -> None:
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 9
    assert result.failed == 0


def test_the_three_tutorials_are_there() -> None:
    assert [page.stem for page in TUTORIALS] == ["diagnose_your_task", "theory_standalone", "verify_a_claim"]


def test_the_theory_tutorial_needs_no_torch() -> None:
    code = f"import doctest, sys; doctest.testfile({str(TUTORIALS[1])!r}, module_relative=False); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "False"


@pytest.mark.parametrize("page", [*TUTORIALS, DOCS / "index.md", DOCS / "stopping_rule.md"], ids=lambda page: page.stem)
def test_links_lead_to_pages_that_are_there_or_generated(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        path = (page.parent / target).resolve()
        assert path.exists() or "generated" in path.parts, f"{page.name} links to {target}"


@pytest.mark.skipif(not HAS_SPHINX, reason="the documentation needs the extra [docs]: Sphinx, MyST, furo")
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    """Every page is written and resolved, warnings are errors; a page for each claim and an entry for each public name of theory."""
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "xml", str(DOCS), str(tmp_path / "pages")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = tmp_path / "pages"
    assert {path.stem for path in (pages / "generated" / "claims").glob("*.xml")} == {*CLAIMS, "index"}
    reference = "".join(path.read_text() for path in (pages / "generated" / "api" / "theory").glob("*.xml"))
    import theory

    functions = [name for name in theory.__all__ if callable(getattr(theory, name)) and name[0].islower()]
    assert not [name for name in functions if f".{name}" not in reference]


COMMAND = re.compile(r"(?:^ {4}|`|&& |^)(clean-priority(?: [^`#&\n]+)?)", flags=re.MULTILINE)


def commands() -> list[str]:
    """Every ``clean-priority …`` that README or documentation shows, once."""
    pages = [ROOT / "README.md", DOCS / "stopping_rule.md", *TUTORIALS]
    found = [match.strip() for page in pages for match in COMMAND.findall(page.read_text())]
    return [text for text in dict.fromkeys(found) if text != "clean-priority" and not set("'|") & set(text)]


@pytest.mark.parametrize("command", commands())
def test_every_command_shown_is_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the parser; what the commands do is run in tests/reports, tests/meta/test_own_claims.py and, for the install lines, .ci/run."""
    words = shlex.split(command)[1:]
    if len(words) == 1:  # a command named in a sentence, without what it may need
        assert main([*words, *(["--help"] if words != ["--help"] else [])]) == 0
        return
    options = command_line().parse_args(words)
    assert callable(options.run)
    if options.command == "claims":
        assert main(words) == 0
        assert (options.id or "D4") in capsys.readouterr().out


def test_commands_are_found() -> None:
    assert len(commands()) >= 9
    assert "clean-priority report U1 --claims docs/tutorials/leaky_relu.py" in commands()


def test_the_citation_names_both_papers() -> None:
    """As YAML of the Citation File Format 1.2.0, with the version of the package."""
    yaml = pytest.importorskip("yaml", reason="PyYAML, which Dask brings, is not installed")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"title", "authors", "message", "references"} <= set(citation)
    titles = [reference["title"] for reference in citation["references"]]
    assert len(titles) == 2
    assert titles[0].startswith("On Emergence of Clean-Priority Learning")
    assert titles[1].startswith("Mechanism of Clean-Priority Learning")
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2306.02533"
    assert f'version = "{citation["version"]}"' in (ROOT / "pyproject.toml").read_text()
