"""Words of other people, and files that are not what they say: harmless on the page, refused in one line, and never run."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from reports.__main__ import main
from reports.document import build_document
from reports.figure_data import FigureData
from reports.figures import render
from reports.html import render_html
from reports.markdown import render_markdown
from reports.writer import write_report
from tests.support.sample_report import PROVENANCE, sample_results

ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"schema_version": "1.2", "claims": [', "cut short"),
        (b'{"schema_version": "3.0"}', "this program reads 1.x"),
        (b'{"schema_version": "1.9"}', "is missing"),
        (b'{"name": "left-pad"}', "no schema_version"),
        (b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.", "other bytes"),
        (b"", "not valid JSON"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "render"])
def test_unreadable_reports_are_one_line_and_exit_code_two(
    command: str, content: bytes, says: str, tmp_path: Path, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.json").write_bytes(content)
    words = ["compare", str(written), str(folder)] if command == "compare" else ["render", str(folder)]
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert says in err
    assert str(folder) in err
    assert [file.name for file in folder.iterdir()] == ["report.json"]


def test_a_class_called_script_is_harmless_in_every_form() -> None:
    """Class names become labels of series, names of data sets and captions."""
    x = np.arange(3.0)
    figure = FigureData(
        "f",
        "comparison",
        EVIL,
        EVIL,
        "S1",
        {f"{EVIL}/x": x, f"{EVIL}/measured": x, "b/x": x, "b/prediction": x},
        {"x": EVIL, f"name:{EVIL}": EVIL},
    )
    result = sample_results()[0]
    hostile = type(result)(**{**vars(result), "model": EVIL, "data": EVIL, "notes": (EVIL,), "figures": ("f",)})
    provenance = {**PROVENANCE, "data": {EVIL: EVIL}, "missing": {EVIL: EVIL}, "processor": EVIL}
    document = build_document([hostile], [figure], provenance)
    svg, _ = render(figure)
    assert EVIL not in svg
    page = render_html(document, {"f": svg})
    assert page.count("<script") == 1  # our own
    assert page.count("&lt;script&gt;alert(1)") > 5
    assert not re.search(r"(?<!\\)<script", render_markdown(document))  # a backslash makes it text in Markdown


@pytest.mark.parametrize("name", ["../escape", "a/b", EVIL, "", ".hidden", "a b", "nul\0"])
def test_names_of_files_stay_in_the_folder(name: str, report: Path) -> None:
    with pytest.raises(ValueError, match="figure id"):
        build_document([], [FigureData(name, "comparison", "", "", "S1", {"a/x": np.arange(2.0)})], {})
    document = json.loads((report / "report.json").read_text(encoding="utf-8"))
    document["figures"][0]["data"] = f"figures/{name}.csv"
    (report / "report.json").write_text(json.dumps(document), encoding="utf-8")
    assert main(["render", str(report)]) == 2


def test_a_folder_with_a_hostile_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, target = tmp_path / "plain", tmp_path / "<b>[red] & $(touch x)"
    write_report(folder, sample_results()[:1], [], PROVENANCE)
    assert main(["render", str(folder), "--out", str(target)]) == 0
    assert main(["compare", str(folder), str(target), "--html", str(tmp_path / "c.html")]) == 0
    assert "<b>" not in (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "[red]" in capsys.readouterr().out.replace("\n", "")


def test_nothing_is_unpickled() -> None:
    """No room of the program imports pickle or a loader that runs what it reads; NumPy is asked for plain arrays only."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}
    found = []
    for room in ("theory", "empirical", "reports"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found += [f"{path}: {alias.name}" for alias in node.names if alias.name.split(".")[0] in forbidden]
                elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in forbidden:
                    found.append(f"{path}: {node.module}")
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                    call = f"{node.func.value.id}.{node.func.attr}"
                    plain = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
                    if call in ("joblib.load", "pd.read_pickle") or (call == "np.load" and plain.get("allow_pickle", False) is not False):
                        found.append(f"{path}: {call}")
                    if call == "torch.load" and plain.get("weights_only") is not True:
                        found.append(f"{path}: {call}")
    assert found == []
