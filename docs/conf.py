"""Sphinx configuration: ``sphinx-build -W -b html docs docs/_build``. Pages that follow from the code are written by docs/pages.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import pages  # noqa: E402 - after the path

project = "clean-priority"
author = "The clean-priority authors"
version = release = "1.0.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "data", "README.md"]
html_theme = "furo"
html_title = "clean-priority"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
highlight_language = "python"
myst_heading_anchors = 3
default_role = "py:obj"
suppress_warnings = ["ref.python"]  # a class that two modules export: either page will do

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_default_options = {"members": True}
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "notes_style"), ("Legend", "notes_style")]


def escape(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Escape what Sphinx would read as markup: ``|f − y|``, ``h*``, ``rows_``; literals, *emphasis*, doctests, tables stay."""
    table = False
    for i, line in enumerate(lines):
        if re.fullmatch(r"\s*=+( +=+)+\s*", line):
            table = not table or (i + 1 < len(lines) and bool(lines[i + 1].strip()))
            continue
        if not line.strip():
            table = False
        if table or line.lstrip().startswith((">>>", "...")):
            continue
        parts = re.split(r"(``[^`]*``|`[^`]*`|(?<![\w*])\*\w[^*|]*\w\*(?![\w*]))", line)
        parts[::2] = [re.sub(r"([|*])|(?<=\w)(_)(?!\w)", lambda found: "\\" + found[0], part) for part in parts[::2]]
        if line.lstrip().startswith("* "):
            parts[0] = parts[0].replace("\\* ", "* ", 1)
        lines[i] = "".join(parts)


def setup(app: Any) -> None:
    """Write the generated pages first; treat docstrings before napoleon does."""
    pages.write(HERE / "generated")
    app.connect("autodoc-process-docstring", escape, priority=100)
