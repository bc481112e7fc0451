"""Pages of the documentation that follow from the code: one for each claim, API references, notes, and the figure of the stopping rule.

The folder that they are written to is made anew at every build and is not part of the repository.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import empirical  # noqa: E402 - after the path
import reports  # noqa: E402
import theory  # noqa: E402
from reports.equations import EquationSheet  # noqa: E402
from reports.wording import SECTIONS  # noqa: E402
from theory.claims import CLAIMS, SLIPS, Claim  # noqa: E402

PACKAGES = {
    "theory": (theory, "What the infinite-width theory says: NumPy and SciPy only."),
    "empirical": (empirical, "What finite networks do: PyTorch instruments, which borrow no formula from `theory`."),
    "reports": (reports, "Whether they agree, and how that is shown."),
}
NOT_SHOWN = {"register"}
VERDICTS = {"AGREES": "holds as printed", "DISAGREES": "is rejected as printed", "ASSUMPTION VIOLATED": "rests on a hypothesis that fails"}
RULES = {
    "rule": "δ known",
    "rule_low": "told δ − 0.05",
    "rule_high": "told δ + 0.04",
    "rule_train": "δ from training disagreement",
    "rule_held_out": "δ from held-out disagreement",
    "validation": "noisy validation set",
    "noise_peak": "peak of noisy loss (needs truth)",
    "end": "no stopping",
}


def write(target: Path) -> None:
    """Write all pages into a folder of their own."""
    shutil.rmtree(target, ignore_errors=True)
    for name in ("claims", "api", "notes"):
        (target / name).mkdir(parents=True)
    _claims(target / "claims", CLAIMS)
    _api(target / "api")
    _notes(target / "notes")
    _stopping_figure(target / "stopping_cost.svg")


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _claims(folder: Path, register: Mapping[str, Claim]) -> None:
    index = [
        "# Claims",
        "",
        "Every statement of the two papers, and what goes beyond them, with the verdict that it is expected to earn *as printed*.",
        "",
    ]
    for letter, heading in SECTIONS.items():
        chosen = [claim for claim in register.values() if claim.id[0] == letter]
        if not chosen:
            continue
        index += [f"## {heading}", "", "| claim | title | source | as printed |", "|---|---|---|---|"]
        index += [f"| [{c.id}]({c.id}.md) | {_text(c.title)} | {_text(', '.join(c.sources))} | {VERDICTS[c.expected]} |" for c in chosen]
        index += [""]
    index += ["## Slips of the papers", "", "| where | printed | correct | kind |", "|---|---|---|---|"]
    index += [f"| {' | '.join(_text(text) for text in (slip.where, slip.printed, slip.correct, slip.kind))} |" for slip in SLIPS]
    index += ["", "```{toctree}", ":hidden:", "", *register, "```"]
    _write(folder / "index.md", index)
    for claim in register.values():
        _write(folder / f"{claim.id}.md", _claim(claim))


def _claim(claim: Claim) -> list[str]:
    sheet = EquationSheet()
    lines = [f"# {claim.id} · {_text(claim.title)}", "", f"*{_text(', '.join(claim.sources))}* · {claim.kind} · audit: {claim.audit}", ""]
    if claim.quote:
        lines += [f"> {_text(claim.quote)}", ""]
    lines += [_text(claim.statement), ""]
    if claim.formula:
        lines += ["```{raw} html", str(sheet.render(claim.formula)), "```", ""]
    if claim.hypotheses:
        lines += ["## Hypotheses", "", *(f"* {_text(text)}" for text in claim.hypotheses), ""]
    lines += ["## Verdict", "", f"**{claim.expected}**: the statement {VERDICTS[claim.expected]}. {_text(claim.reason)}", ""]
    if claim.correction:
        lines += ["## What holds instead", "", _text(claim.correction), ""]
        if claim.correction_formula:
            lines += ["```{raw} html", str(sheet.render(claim.correction_formula)), "```", ""]
    lines += [
        "## Negative control",
        "",
        _text(claim.control),
        "",
        "## Judge it",
        "",
        "```shell",
        f"clean-priority report {claim.id}",
        "```",
        "",
    ]
    if sheet.ids:
        lines += ["```{raw} html", str(sheet.definitions()), "```", ""]
    return lines


def _text(words: str) -> str:
    """Plain words as Markdown: what could be read as markup is escaped; ``literals`` stay literals."""
    parts = words.split("``")
    for i, part in enumerate(parts):
        escaped = re.sub(r"([\\*_`\[\]<>|#])", r"\\\1", part)
        parts[i] = escaped if i % 2 == 0 else f"`{part}`"
    return " ".join("".join(parts).split())


def _api(folder: Path) -> None:
    """A page for each module, and one for each package that lists them with the first sentence of their docstrings."""
    for name, (package, sentence) in PACKAGES.items():
        found = [module.name for module in pkgutil.iter_modules(package.__path__)]
        modules = [module for module in found if not module.startswith("_") and module not in NOT_SHOWN]
        (folder / name).mkdir()
        lines = [f"# {name}", "", sentence, "", "| module | |", "|---|---|"]
        for module in modules:
            heading = f"{name}.{module}"
            _write(folder / name / f"{module}.rst", [heading, "=" * len(heading), "", f".. automodule:: {heading}", "   :members:"])
            words = (importlib.import_module(heading).__doc__ or "").strip().split("\n\n")[0]
            lines += [f"| [{module}]({name}/{module}.rst) | {_text(words)} |"]
        _write(folder / f"{name}.md", [*lines, "", "```{toctree}", ":hidden:", "", *(f"{name}/{module}" for module in modules), "```"])


def _notes(folder: Path) -> None:
    notes = sorted((ROOT / "theory" / "notes").glob("*.md"))
    for note in notes:
        _write(folder / note.name, [f"```{{include}} ../../../theory/notes/{note.name}", "```"])
    lines = [
        "# Derivations",
        "",
        "What the papers omit, one short page each; the code cites them.",
        "",
        "```{toctree}",
        *(n.stem for n in notes),
        "```",
    ]
    _write(folder / "index.md", lines)


def _stopping_figure(target: Path) -> None:
    """Heat maps: task and noise level against cost, one panel for each rule."""
    import csv

    import matplotlib as mpl
    import numpy as np
    from matplotlib.figure import Figure

    with (ROOT / "docs" / "data" / "stopping_cost.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    tasks, levels = (list(dict.fromkeys(row[name] for row in rows)) for name in ("task", "noise_level"))
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stopping", "font.size": 8, "axes.titlesize": 8}):
        figure = Figure(figsize=(11, 6.4), layout="constrained")
        panels = figure.subplots(2, 4, sharex=True, sharey=True)
        for panel, (rule, title) in zip(panels.flat, RULES.items(), strict=True):
            cost = np.array([float(row[rule]) for row in rows]).reshape(len(tasks), len(levels))
            image = panel.imshow(100 * cost, vmin=0, vmax=20, cmap="Oranges", aspect="auto")
            for (i, j), value in np.ndenumerate(100 * cost):
                panel.text(j, i, f"{value:.0f}", ha="center", va="center", color="white" if value > 12 else "black", fontsize=6.5)
            panel.set_title(title)
            panel.set_xticks(range(len(levels)), levels)
            panel.set_yticks(range(len(tasks)), tasks)
            panel.tick_params(length=0)
        figure.supxlabel("noise level δ")
        figure.colorbar(image, ax=panels, shrink=0.6, label="cost in points of test error (20 and more: darkest)")
        figure.savefig(target, metadata={"Date": None})
