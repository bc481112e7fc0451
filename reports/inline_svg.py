"""Small drawings for the page: stored figures made to fit into it, and the picture of one interval against its margin."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from reports.compact_svg import DrawingStyles, compact
from reports.wording import effect, number_text

__all__ = ["interval_picture", "prepare_figure", "shift_picture"]

# Colours of style.py → variables of the page, so that a figure follows the light or dark scheme.
_VARIABLES = {
    "#1d2129": "ink",
    "#5d6673": "muted",
    "#e2e5ea": "grid",
    "#ffffff": "paper",
    "#0072b2": "blue",
    "#d55e00": "vermillion",
    "#009e73": "green",
    "#a8578b": "purple",
    "#b87a00": "orange",
    "#3a95cf": "sky",
}


def prepare_figure(svg: str, *, name: str, label: str, styles: DrawingStyles) -> Markup:
    """Make a stored SVG file part of the page.

    Names inside it become unique on the page, its colours become the page's variables, its text takes the page's font, its styles become
    classes that all drawings share, and it carries its alternative text.

    Args:
        svg: the file's text, as style.to_svg writes it.
        name: what names inside it begin with.
        label: alternative text.
        styles: where shared styles are kept; the page writes them out.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    used = {id: f"{name}-{k}" for k, id in enumerate(dict.fromkeys(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body)))}
    body = re.sub(r'\s+id="([^"]*)"', lambda found: f' id="{used[found[1]]}"' if found[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)([^)"]+)', lambda found: found[1] + used[found[2]], body).replace("xlink:href", "href")
    for color, variable in _VARIABLES.items():
        body = body.replace(color, f"var(--figure-{variable})")
    body = re.sub(r"font-family:[^;\"]*;\s*", "", body)
    body = _without_bare_groups(body)
    body = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", body)
    body = re.sub(r"\s*\n\s*", " ", body)
    body = re.sub(r">\s+<(?!tspan)", "><", body)
    body = compact(body, styles)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', body)
    width = float(size[1]) if size else 480.0
    head = re.compile(r"<svg\b[^>]*>")
    box = size[0] if size else 'viewBox="0 0 480 320"'
    opening = f'<svg class="drawing" role="img" aria-label="{escape(label)}" {box} style="--natural:{width:.0f}px">'
    return Markup(head.sub(lambda _found: opening, body, count=1).strip())


def _without_bare_groups(body: str) -> str:
    """Drop groups that carry no attribute: they only nest."""
    out: list[str] = []
    kept: list[bool] = []
    for token in re.split(r"(<g\b[^>]*>|</g>)", body):
        if token == "</g>":
            out.append(token if kept.pop() else "")
        elif token.startswith("<g"):
            kept.append("=" in token)
            out.append(token if kept[-1] else "")
        else:
            out.append(token)
    return "".join(out)


def interval_picture(check: Mapping[str, Any], *, width: float = 190.0, height: float = 22.0) -> Markup:
    """Draw one check: the margin as a band around the prediction, the interval as a bar, the measured value as a dot.

    The horizontal unit is the margin. An interval that leaves the picture ends in an arrow. For a prediction that is an inequality the
    band extends over all allowed values.

    Args:
        check: one entry of a row's ``checks``.
        width: width of the drawing in pixels.
        height: its height.
    """
    prediction, estimate, margin = (_float(check[key]) for key in ("prediction", "estimate", "margin"))
    lower, upper = (_float(end) for end in check["interval"])
    if not all(map(math.isfinite, (prediction, estimate, margin))) or math.isnan(lower) or math.isnan(upper):
        return Markup('<span class="no-picture">no picture: a value is missing</span>')
    reach = 2.6
    scale = margin if margin > 0 else max(abs(estimate - prediction), abs(upper - prediction), abs(lower - prediction), 1e-300) / 1.7
    low, value, high = ((part - prediction) / scale for part in (lower, estimate, upper))
    edge = 1.0 if margin > 0 else 0.0
    first, last = (_float(end) for end in check["region"])
    left, right = (first - prediction) / scale - edge, (last - prediction) / scale + edge

    def position(units: float) -> float:
        return round(width / 2 + max(-reach, min(reach, units)) / reach * (width / 2 - 7), 1)

    middle = height / 2
    parts = [
        f'<rect class="band" x="{position(left)}" y="3" width="{max(position(right) - position(left), 0):.1f}" height="{height - 6:.0f}"/>',
        f'<path class="centre" d="M{position(0)} 3V{height - 3:.0f}"/>',
        f'<path class="bar" d="M{position(low)} {middle:.0f}H{position(high)}"/>',
    ]
    for end, direction in ((low, -1), (high, 1)):
        x = position(end)
        if abs(end) <= reach:
            parts.append(f'<path class="bar" d="M{x} {middle - 3:.0f}v6"/>')
        elif end * direction > 0:  # this side of the interval leaves the picture
            parts.append(f'<path class="tip" d="M{x} {middle - 4:.0f}l{6 * direction} 4l{-6 * direction} 4z"/>')
    if abs(value) <= reach:
        parts.append(f'<circle class="dot" cx="{position(value)}" cy="{middle:.0f}" r="3"/>')
    label = f"measured {effect({**check, 'unit': ''})}, margin {number_text(margin, digits=2)}"
    return Markup(
        f'<svg class="interval" role="img" aria-label="{label}" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}">{"".join(parts)}</svg>'
    )


def shift_picture(before: Mapping[str, Any], after: Mapping[str, Any], *, width: float = 190.0, height: float = 30.0) -> Markup:
    """Draw the intervals of one check in two reports on one scale, the older one above.

    Args:
        before: ``estimate`` and ``interval`` in the older report.
        after: the same in the newer one.
        width: width of the drawing in pixels.
        height: its height.
    """
    sides = [(_float(one["estimate"]), *(_float(end) for end in one["interval"])) for one in (before, after)]
    finite = [value for side in sides for value in side if math.isfinite(value)]
    if len(finite) < 6:
        return Markup('<span class="no-picture">no picture: a value is missing</span>')
    low, reach = min(finite), max(max(finite) - min(finite), 1e-300)
    parts = []
    for (value, lower, upper), y, kind in zip(sides, (height * 0.3, height * 0.7), ("before", "after"), strict=True):
        x, left, right = (round(7 + (part - low) / reach * (width - 14), 1) for part in (value, lower, upper))
        parts.append(f'<g class="{kind}"><path class="bar" d="M{left} {y:.0f}H{right}M{left} {y - 3:.0f}v6M{right} {y - 3:.0f}v6"/>')
        parts.append(f'<circle class="dot" cx="{x}" cy="{y:.0f}" r="3"/></g>')
    texts = [f"{value:.4g} in [{lower:.4g}, {upper:.4g}]" for value, lower, upper in sides]
    label = f"before {texts[0]}; now {texts[1]}"
    return Markup(
        f'<svg class="interval" role="img" aria-label="{label}" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}">{"".join(parts)}</svg>'
    )


def _float(value: Any) -> float:
    return math.nan if value is None else float(value)
