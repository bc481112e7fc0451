"""One look for every figure: colours, type, scales, and saving to bytes that depend on the figure alone.

Text in the SVG files stays text (``svg.fonttype: none``): it can be searched, selected and read aloud, the page gives it its own font and
colour, and no glyph outlines are stored. The PNG beside each SVG shows the exact layout. Colours are those of Okabe and Ito, which
people with any common colour vision tell apart. Nothing here touches matplotlib's global state.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.text import Text
from PIL import Image

__all__ = ["CYCLE", "GRID", "INK", "MUTED", "PAPER", "color_of", "plain_or_math", "style", "to_png", "to_svg"]

INK, MUTED, GRID, PAPER = "#1d2129", "#5d6673", "#e2e5ea", "#ffffff"
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#a8578b", "#b87a00", "#3a95cf"
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)

_INDEX = re.compile(r"(?<!\w)(d?[A-Za-zα-ωΑ-Ω])_([A-Za-z0-9]+)(?!\w)")

# Words that keep one colour in every figure.
_MEANING = (
    ("relabel", PURPLE),
    ("clean", BLUE),
    ("noise", VERMILLION),
    ("noisy", VERMILLION),
    ("other", GREEN),
    ("within", BLUE),
    ("between", VERMILLION),
    ("test", PURPLE),
    ("train", GREEN),
)

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.labelsize": 9.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 1.8,
    "ytick.minor.size": 1.8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.solid_capstyle": "round",
    "lines.dash_capstyle": "butt",
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
}


_applied: ContextVar[bool] = ContextVar("whether the style is applied", default=False)


@contextmanager
def style(salt: str = "clean-priority") -> Iterator[None]:
    """Apply the look for the time of drawing or saving one figure.

    Args:
        salt: text from which the names inside an SVG file are derived; the same salt gives the same names.
    """
    if _applied.get():  # within a style only the salt differs
        before = mpl.rcParams["svg.hashsalt"]
        mpl.rcParams["svg.hashsalt"] = salt
        try:
            yield
        finally:
            mpl.rcParams["svg.hashsalt"] = before
        return
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, **_SETTINGS, "svg.hashsalt": salt}
    with mpl.rc_context(settings), warnings.catch_warnings():
        # A class named in a script that the font lacks is drawn as a box in the PNG and correctly in the SVG.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        # Restoring the defaults passes through parameters that matplotlib has renamed.
        warnings.simplefilter("ignore", category=mpl.MatplotlibDeprecationWarning)
        token = _applied.set(True)
        try:
            yield
        finally:
            _applied.reset(token)


def color_of(name: str, position: int) -> str:
    """Colour of a series: by the meaning of its name where it has one, else by its position."""
    lowered = name.lower()
    return next((color for word, color in _MEANING if word in lowered), CYCLE[position % len(CYCLE)])


def plain_or_math(text: str) -> str:
    """Return the text as matplotlib may show it: mathematics between dollar signs if it parses, otherwise every sign literally."""
    if "$" not in text:
        return text
    try:
        MathTextParser("agg").parse(text)
    except ValueError:
        return text.replace("$", r"\$")
    return text


def to_svg(figure: Figure, *, name: str) -> str:
    """Write a figure as SVG text; the same figure gives the same bytes.

    Args:
        figure: the drawn figure.
        name: its id, from which names inside the file are derived.
    """
    buffer = io.StringIO()
    with style(salt=hashlib.sha256(name.encode()).hexdigest()[:12]):
        FigureCanvasSVG(figure)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _set_indices(_round_coordinates(buffer.getvalue()))


def to_png(figure: Figure, *, dpi: int = 160) -> bytes:
    """Write a figure as PNG; no date, no program version."""
    buffer = io.BytesIO()
    with style():
        canvas = FigureCanvasAgg(figure)
        texts = [(artist, artist.get_text()) for artist in figure.findobj(Text) if isinstance(artist, Text)]
        for artist, text in texts:
            if "$" not in text:
                artist.set_text(_INDEX.sub(lambda found: f"${found[1]}_{{\\mathrm{{{found[2]}}}}}$", text))
        natural = figure.dpi
        figure.dpi = dpi
        canvas.draw()  # type: ignore[no-untyped-call]
        # On white paper a fourth channel says nothing; without it the file is smaller and written faster.
        picture = Image.frombuffer("RGBA", canvas.get_width_height(), canvas.buffer_rgba(), "raw", "RGBA", 0, 1)  # type: ignore[no-untyped-call]
        picture.convert("RGB").save(buffer, format="png", compress_level=4, dpi=(dpi, dpi))
        figure.dpi = natural
        for artist, text in texts:
            artist.set_text(text)
    return buffer.getvalue()


def _set_indices(svg: str) -> str:
    """Lower the index in texts such as ``θ_d`` and ``g_clean``; the text stays one run of characters for search and speech."""

    def lowered(found: re.Match[str]) -> str:
        index = r'\1<tspan dy="2.2" font-size="75%">\2</tspan><tspan dy="-2.2">&#8203;</tspan>'
        return found[1] + _INDEX.sub(index, found[2]) + "</text>"

    return re.sub(r"(<text\b[^>]*>)([^<]*_[^<]*)</text>", lowered, svg)


def _round_coordinates(svg: str) -> str:
    """Keep two decimals of a point: a hundredth of 1/72 inch is below what any screen or printer shows."""

    def shorten(match: re.Match[str]) -> str:
        text = f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
        return "0" if text in ("", "-0", "-") else text

    def within(match: re.Match[str]) -> str:
        return re.sub(r"-?\d+\.\d{3,}", shorten, match[0])

    return re.sub(r"""\b(?:d|x|y|width|height|transform|points)="[^"]*\"""", within, svg)
