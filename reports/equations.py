"""Equations without a network: a LaTeX subset set by matplotlib, as inline SVG whose outlines are shared over the whole page.

Every glyph is stored once for a page; an equation is a list of references to glyphs. Colour is that of the text around it, and
the TeX source is the alternative text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from markupsafe import Markup, escape
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextToPath

__all__ = ["EquationSheet"]

_UNIT = TextToPath.FONT_SCALE  # glyph units per em


@dataclass
class EquationSheet:
    """All equations of one page.

    Attributes:
        ids: glyph → its short name on the page, in the order in which glyphs were first used.

    Example:
        >>> sheet = EquationSheet()
        >>> picture = sheet.render(r"\\alpha_0 = \\delta/(1 - \\delta)")
        >>> picture.startswith("<svg"), len(sheet.ids)
        (True, 8)
    """

    ids: dict[str, str] = field(default_factory=dict)
    _outlines: dict[str, str] = field(default_factory=dict)
    _font: FontProperties = field(default_factory=lambda: FontProperties(family="DejaVu Sans", math_fontfamily="stix", size=_UNIT))

    def render(self, tex: str) -> Markup:
        """Set one equation; text that is no valid equation is shown as it stands.

        Args:
            tex: the equation in matplotlib's mathtext subset of LaTeX, without dollar signs.
        """
        setter = TextToPath()
        try:
            placed, glyphs, rules = setter.get_glyphs_mathtext(self._font, f"${tex}$")
            width, height, depth = setter.get_text_width_height_descent(f"${tex}$", self._font, ismath=True)
        except (ValueError, RuntimeError):
            return Markup('<code class="equation">{}</code>').format(tex)
        body = []
        for glyph, x, y, scale in placed:
            if glyph not in self.ids:
                self.ids[glyph] = f"q{len(self.ids)}"
                self._outlines[glyph] = _outline(*glyphs[glyph])
            size = f" scale({scale:.4g})" if abs(scale - 1) > 1e-9 else ""
            body.append(f'<use href="#{self.ids[glyph]}" transform="translate({x:.1f} {y:.1f}){size}"/>')
        body += [f'<path d="{_outline(vertices, codes)}"/>' for vertices, codes in rules]
        pad = 4.0
        box = f"{-pad:.0f} {-(height - depth) - pad:.1f} {width + 2 * pad:.1f} {height + 2 * pad:.1f}"
        style = f"width:{(width + 2 * pad) / _UNIT:.3f}em;height:{(height + 2 * pad) / _UNIT:.3f}em;vertical-align:{-(depth + pad) / _UNIT:.3f}em"
        return Markup(
            f'<svg class="equation" role="img" aria-label="{escape(tex)}" viewBox="{box}" style="{style}">'
            f'<g transform="scale(1 -1)">{"".join(body)}</g></svg>'
        )

    def definitions(self) -> Markup:
        """The hidden drawing that holds every outline; it stands once on the page."""
        shapes = "".join(f'<path id="{name}" d="{self._outlines[glyph]}"/>' for glyph, name in self.ids.items())
        return Markup(f'<svg class="glyphs" width="0" height="0" aria-hidden="true" focusable="false"><defs>{shapes}</defs></svg>')


def _outline(vertices: np.ndarray, codes: np.ndarray) -> str:
    """An outline as SVG path data, to a tenth of a hundredth of an em."""
    letters = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}
    parts, previous = [], ""
    pairs = iter(zip(np.asarray(vertices, dtype=float), codes, strict=True))
    for point, code in pairs:
        if code == Outline.CLOSEPOLY:
            parts.append("Z")
            previous = ""
            continue
        points = [point] + [next(pairs)[0] for _ in range({Outline.CURVE3: 1, Outline.CURVE4: 2}.get(code, 0))]
        letter = letters[code]
        numbers = " ".join(f"{value:.1f}".removesuffix(".0").replace("-0.", "-.") for value in np.ravel(points))
        parts.append((letter if letter != previous else " ") + numbers)
        previous = letter
    return "".join(parts)
