"""Equations without a network: a LaTeX subset set by matplotlib, as inline SVG whose outlines are shared over the whole page.

Every glyph is stored once for a page; an equation is a list of references to glyphs. Colour is that of the text around it, and
the TeX source is the alternative text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from markupsafe import Markup, escape
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextToPath
from numpy.typing import ArrayLike

__all__ = ["EquationSheet"]

_UNIT = TextToPath.FONT_SCALE  # glyph units per em


@dataclass
class EquationSheet:
    r"""All equations of one page.

    Attributes:
        ids: glyph → its short name on the page, in the order in which glyphs were first used.

    Example:
        >>> sheet = EquationSheet()
        >>> picture = sheet.render(r"\alpha_0 = \delta/(1 - \delta)")
        >>> picture.startswith("<svg"), len(sheet.ids)
        (True, 9)
    """

    ids: dict[str, str] = field(default_factory=dict)
    _outlines: dict[str, str] = field(default_factory=dict)

    def render(self, tex: str) -> Markup:
        """Set one equation; text that is no valid equation is shown as it stands.

        Args:
            tex: the equation in matplotlib's mathtext subset of LaTeX, without dollar signs.
        """
        layout = _set(tex)
        if layout is None:
            return Markup('<code class="equation">{}</code>').format(tex)
        body = []
        for glyph, x, y, scale in layout.placed:
            if glyph not in self.ids:
                self.ids[glyph] = f"q{len(self.ids)}"
                self._outlines[glyph] = layout.outlines[glyph]
            size = f" scale({scale:.4g})" if abs(scale - 1) > 1e-9 else ""
            body.append(f'<use href="#{self.ids[glyph]}" transform="translate({x:.1f} {y:.1f}){size}"/>')
        body += [f'<path d="{rule}"/>' for rule in layout.rules]
        pad = 4.0
        box = f"{-pad:.0f} {-(layout.height - layout.depth) - pad:.1f} {layout.width + 2 * pad:.1f} {layout.height + 2 * pad:.1f}"
        wide, high, low = ((part + pad) / _UNIT for part in (layout.width + pad, layout.height + pad, layout.depth))
        style = f"width:{wide:.3f}em;height:{high:.3f}em;vertical-align:{-low:.3f}em"
        return Markup(
            f'<svg class="equation" role="img" aria-label="{escape(tex)}" viewBox="{box}" style="{style}">'
            f'<g transform="scale(1 -1)">{"".join(body)}</g></svg>'
        )

    def render_all(self, tex: str) -> Markup:
        r"""Set equations that stand side by side, separated by ``,\quad``, one by one, so that a narrow page can break between them.

        Args:
            tex: as in `render`; may be empty.
        """
        parts = [part.strip() for part in re.split(r"(?<=,)\s*\\q?quad\b", tex)]
        if len(parts) > 1 and any(_set(part) is None for part in parts):
            parts = [tex]
        return Markup(" ").join(self.render(part) for part in parts if part)

    def definitions(self) -> Markup:
        """The hidden drawing that holds every outline; it stands once on the page."""
        shapes = "".join(f'<path id="{name}" d="{self._outlines[glyph]}"/>' for glyph, name in self.ids.items())
        return Markup(f'<svg class="glyphs" width="0" height="0" aria-hidden="true" focusable="false"><defs>{shapes}</defs></svg>')


@dataclass(frozen=True)
class _Layout:
    """An equation set: glyphs with place and scale, their outlines, fraction bars and the like, and the size of the whole."""

    placed: tuple[tuple[str, float, float, float], ...]
    outlines: Mapping[str, str]
    rules: tuple[str, ...]
    width: float
    height: float
    depth: float


@lru_cache(maxsize=1024)
def _set(tex: str) -> _Layout | None:
    """Set an equation, or return None where matplotlib cannot read it."""
    setter = TextToPath()
    font = FontProperties(family="DejaVu Sans", math_fontfamily="stix", size=_UNIT)
    try:
        placed, glyphs, rules = setter.get_glyphs_mathtext(font, f"${tex}$")
        width, height, depth = setter.get_text_width_height_descent(f"${tex}$", font, ismath=True)
    except (ValueError, RuntimeError):
        return None
    return _Layout(
        placed=tuple((str(glyph), float(x), float(y), float(scale)) for glyph, x, y, scale in placed),
        outlines={str(glyph): _outline(*outline) for glyph, outline in glyphs.items()},
        rules=tuple(_outline(vertices, codes) for vertices, codes in rules),
        width=float(width),
        height=float(height),
        depth=float(depth),
    )


def _outline(vertices: ArrayLike, codes: Iterable[int]) -> str:
    """An outline as SVG path data, to a tenth of a hundredth of an em."""
    letters = {int(Outline.MOVETO): "M", int(Outline.LINETO): "L", int(Outline.CURVE3): "Q", int(Outline.CURVE4): "C"}
    parts, previous = [], ""
    pairs = iter(zip(np.asarray(vertices, dtype=float), codes, strict=True))
    for point, code in pairs:
        if code == Outline.CLOSEPOLY:
            parts.append("Z")
            previous = ""
            continue
        letter = letters[int(code)]
        points = [point] + [next(pairs)[0] for _ in range({"Q": 1, "C": 2}.get(letter, 0))]
        numbers = " ".join(f"{value:.1f}".removesuffix(".0").replace("-0.", "-.") for value in np.ravel(points))
        parts.append((letter if letter != previous else " ") + numbers)
        previous = letter
    return "".join(parts)
