"""Drawing the figures of a report, and not drawing again what is drawn already.

Beside the drawings lies ``drawn.json``: for each figure a digest of everything that its picture depends on (data, labels, drawing code,
matplotlib) and of the two files made from it. Where all of that is unchanged, `clean-priority render` takes the files as they are; the
bytes are those that drawing would give, for drawing is deterministic.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import matplotlib as mpl
from joblib import Parallel, delayed

from reports.figure_data import FigureData
from reports.figure_store import arrays_to_csv
from reports.figures import render

__all__ = ["draw_all"]

INDEX = "drawn.json"
CODE = ("figure_data.py", "figures.py", "figures_papers.py", "panel_texts.py", "panels.py", "series.py", "style.py", "ticks.py")
MANY_FIGURES = 12  # below this, starting processes costs more than drawing


def draw_all(figures: Sequence[FigureData], folder: Path, *, earlier: Path | None = None) -> dict[str, str]:
    """Write SVG, PNG and CSV of every figure into a folder.

    Args:
        figures: what to draw.
        folder: where the files go.
        earlier: a folder that this function wrote before; what is unchanged is taken from there.

    Returns:
        Figure id → SVG text.
    """
    tables = {figure.id: arrays_to_csv(figure.arrays) for figure in figures}
    wanted = {figure.id: _digest(figure, tables[figure.id]) for figure in figures}
    done = {} if earlier is None else _unchanged(earlier, wanted)
    missing = [figure for figure in figures if figure.id not in done]
    # Two passes of matplotlib each: a few figures are drawn here, many are spread over the cores.
    n_jobs = 1 if len(missing) < MANY_FIGURES else -1
    with _fewer_collections():
        fresh = list(zip(missing, Parallel(n_jobs=n_jobs)(delayed(render)(figure) for figure in missing), strict=True))
    drawn = done | {figure.id: (svg.encode("utf-8", errors="replace"), png) for figure, (svg, png) in fresh}
    index = {}
    for figure in figures:
        svg, png = drawn[figure.id]
        (folder / f"{figure.id}.svg").write_bytes(svg)
        (folder / f"{figure.id}.png").write_bytes(png)
        (folder / f"{figure.id}.csv").write_bytes(tables[figure.id].encode("utf-8", errors="replace"))
        index[figure.id] = [wanted[figure.id], _hash(svg), _hash(png)]
    if figures:
        (folder / INDEX).write_text(json.dumps(dict(sorted(index.items())), indent=1) + "\n", encoding="utf-8")
    return {figure.id: drawn[figure.id][0].decode("utf-8") for figure in figures}


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Look for unreachable objects less often: a figure makes some hundred thousand that live as long as it does."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _unchanged(folder: Path, wanted: Mapping[str, str]) -> dict[str, tuple[bytes, bytes]]:
    """Drawings in a folder whose digests are the wanted ones and whose files are as they were written."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        entries = {name: tuple(map(str, entry)) for name, entry in index.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    found = {}
    for name, digest in wanted.items():
        try:
            svg, png = ((folder / f"{name}{ending}").read_bytes() for ending in (".svg", ".png"))
        except OSError:
            continue
        if entries.get(name) == (digest, _hash(svg), _hash(png)):
            found[name] = (svg, png)
    return found


def _digest(figure: FigureData, table: str) -> str:
    types = {name: ["str" if array.dtype.kind == "U" else array.dtype.name, list(array.shape)] for name, array in figure.arrays.items()}
    facts = [_code(), figure.id, figure.kind, figure.title, figure.caption, dict(figure.labels), types, table]
    return _hash(json.dumps(facts, ensure_ascii=True).encode())


@cache
def _code() -> str:
    """Digest of the files that decide how a figure looks."""
    here = Path(__file__).parent
    return _hash(b"\0".join([mpl.__version__.encode(), *((here / name).read_bytes() for name in CODE)]))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
