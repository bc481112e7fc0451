"""Drawings made small for the page: shared styles, relative coordinates, one path for all symbols of a series.

The files beside the page keep matplotlib's own SVG. On the page the same picture takes a third of the bytes: styles become classes that
all drawings share, coordinates keep a tenth of a point and are written relative to the point before, and symbols that repeat (ticks,
round dots) become one path.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

__all__ = ["DrawingStyles", "compact", "short_path"]

FAR = 20_000.0  # points; browsers add relative coordinates in single precision, so places far outside every page are drawn in to here
SLACK = 0.125  # points by which a corner may leave the line that is drawn

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?"
_TOKEN = re.compile(rf"[A-Za-z]|{_NUMBER}")
_USE = re.compile(r'<use href="#([^"]+)" x="([^"]+)" y="([^"]+)"(?: style="([^"]*)")?\s*/>')
_DEFINED = re.compile(r'<path id="([^"]+)" d="([^"]+)"(?: style="([^"]*)")?\s*/>')
_Command = tuple[str, list[tuple[float, float]]]
_POINTS = {"M": 1, "L": 1, "Q": 2, "C": 3}


@dataclass
class DrawingStyles:
    """Styles that the drawings of one page share.

    Attributes:
        names: style → its class, in the order in which styles were first used.

    Example:
        >>> styles = DrawingStyles()
        >>> styles.name("fill:none;stroke-width:0.7"), styles.name("fill:none;stroke-width:0.7")
        ('d0', 'd0')
        >>> styles.css()
        '.drawing .d0{fill:none;stroke-width:0.7}'
    """

    names: dict[str, str] = field(default_factory=dict)

    def name(self, style: str) -> str:
        """The class of a style."""
        return self.names.setdefault(style, f"d{len(self.names)}")

    def css(self) -> str:
        """All rules, one for each class."""
        return "\n".join(f".drawing .{name}{{{style}}}" for style, name in self.names.items())


def compact(body: str, styles: DrawingStyles) -> str:
    """Write the inside of a drawing in fewer bytes.

    Args:
        body: SVG elements as matplotlib writes them, without newlines between elements.
        styles: where styles that drawings share are kept.
    """
    body = _merge_symbols(body)
    body = _merge_strokes(body)
    body = re.sub(r'(?<!id=)(?<=<path )d="([^"]*)"', lambda found: f'd="{short_path(found[1])}"', body)
    body = re.sub(r'(?<= )(?:style)="(?!--)([^"]*)"', lambda found: f'class="{styles.name(_squeeze(found[1]))}"', body)
    body = re.sub(r'\b(x|y|width|height)="(-?\d+\.\d{2,})"', lambda found: f'{found[1]}="{_text(round(float(found[2]) * 10))}"', body)
    return _without_unused(body)


def _squeeze(style: str) -> str:
    """A style without blanks after its colons and semicolons."""
    return re.sub(r"\s*([:;,])\s*", r"\1", style.strip()).strip(";")


def _rules(style: str) -> dict[str, str]:
    pairs = (rule.partition(":") for rule in _squeeze(style).split(";") if rule)
    return {name: value for name, _, value in pairs}


def _style(rules: dict[str, str]) -> str:
    return ";".join(f"{name}:{value}" for name, value in rules.items())


def _merge_symbols(body: str) -> str:
    """Turn each run of one symbol into one path, where the symbol is a straight tick or a round dot."""
    symbols = {name: (outline, style) for name, outline, style in _DEFINED.findall(body)}

    def merged(found: re.Match[str]) -> str:
        places = _USE.findall(found[0])
        name, _, _, own = places[0]
        outline, style = symbols.get(name, ("", ""))
        rules = {**_rules(own), **_rules(style)}
        spots = [(float(x), float(y)) for _, x, y, _ in places]
        if tick := re.fullmatch(rf"M 0 0 L ({_NUMBER}) ({_NUMBER}) ?", outline):
            across, along = float(tick[1]), float(tick[2])
            d = "".join(f"M {x:.2f} {y:.2f} L {x + across:.2f} {y + along:.2f} " for x, y in spots)
            return f'<path d="{d}" style="{_style({"fill": "none", **{key: value for key, value in rules.items() if key != "fill"}})}"/>'
        radius = _radius(outline)
        if radius is None or rules.get("fill", "none") == "none":
            return found[0]
        d = "".join(f"M {x:.2f} {y:.2f} L {x:.2f} {y:.2f} " for x, y in spots)
        edge = float(rules.get("stroke-width", 1.0)) if rules.get("stroke", "none") != "none" else 0.0
        rings = [(rules["stroke"], 2 * radius + edge)] if edge else []
        opacity = rules.get("opacity", rules.get("fill-opacity", ""))
        paths = []
        for color, width in [*rings, (rules["fill"], 2 * radius - edge)]:
            look = {"fill": "none", "stroke": color, "stroke-width": f"{width:.3g}", "stroke-linecap": "round"}
            look |= {"stroke-opacity": opacity} if opacity else {}
            paths.append(f'<path d="{d}" style="{_style(look)}"/>')
        return "".join(paths)

    return re.sub(r'<use href="#([^"]+)"[^>]*?(style="[^"]*")?\s*/>(?:<use href="#\1"[^>]*?(?(2)\2|)\s*/>)*', merged, body)


def _radius(outline: str) -> float | None:
    """Radius of a symbol that is a circle around the origin, as matplotlib draws it with eight curves; None for any other."""
    if [letter for letter in outline if letter.isalpha() and letter != "e"] != ["M", *"CCCCCCCC", "z"]:
        return None
    numbers = [float(part) for part in re.findall(_NUMBER, outline)]
    ends = [complex(*numbers[:2]), *(complex(*numbers[k + 4 : k + 6]) for k in range(2, len(numbers), 6))]
    radius = abs(ends[0])
    return radius if all(abs(abs(end) - radius) < 0.02 * radius for end in ends) else None


def _merge_strokes(body: str) -> str:
    """Join neighbouring paths that differ in nothing but their course, where only their strokes are seen."""

    def joined(found: re.Match[str]) -> str:
        course = " ".join(re.findall(r'<path d="([^"]*)"', found[0]))
        return f'<path d="{course}"{found[1]}/>'

    alike = r'<path d="[^"]*"((?: clip-path="[^"]*")? style="fill: ?none[^"]*")\s*/>(?:<path d="[^"]*"\1\s*/>)+'
    return re.sub(alike, joined, body)


def _text(tenths: int) -> str:
    """A number of tenths as short text."""
    text = f"{tenths / 10:.1f}".removesuffix(".0")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _commands(d: str) -> Iterator[_Command]:
    tokens = _TOKEN.findall(d)
    position, letter = 0, ""
    while position < len(tokens):
        if tokens[position].isalpha():
            letter = tokens[position]
            position += 1
        if letter in "zZ":
            yield "z", []
            continue
        if letter not in _POINTS:
            raise ValueError(f"path data must consist of M, L, Q, C and z, got {letter!r}")
        values = [min(max(float(token), -FAR), FAR) for token in tokens[position : position + 2 * _POINTS[letter]]]
        position += 2 * _POINTS[letter]
        yield letter, list(zip(values[::2], values[1::2], strict=True))
        letter = "L" if letter == "M" else letter


def short_path(d: str) -> str:
    """Path data with coordinates to a tenth, relative to the point before.

    Rounding is that of the absolute position, so errors do not add up. Points that fall on the one before are left out, and points
    that lie within an eighth of a point of the line between their neighbours.

    Example:
        >>> short_path("M 44.55 194.69 L 231.23 194.69 L 231.23 46.08 L 44.55 194.69 z ")
        'M44.6 194.7H231.2V46.1l-186.6 148.6z'
    """
    out: list[str] = []
    at = start = (0, 0)
    previous = ""
    dot = False
    for letter, points in _straightened(_commands(d)):
        if letter == "z":
            out.append("z")
            at, previous = start, "z"
            continue
        tenths = [(round(x * 10), round(y * 10)) for x, y in points]
        end = tenths[-1]
        if letter == "M":
            numbers, name = [*end], "M"
            start, dot = end, True
        elif end == at and letter == "L":
            if not dot:
                continue
            numbers, name = [0], "h"
            dot = False
        elif letter == "L" and end[1] == at[1]:
            numbers, name = [end[0]], "H"
            dot = False
        elif letter == "L" and end[0] == at[0]:
            numbers, name = [end[1]], "V"
            dot = False
        else:
            numbers, name = [part for x, y in tenths for part in (x - at[0], y - at[1])], letter.lower()
            dot = False
        text = ("" if name == previous and name not in "MHVh" else name) + _joined(numbers)
        out.append(" " + text if text[0].isdigit() or text[0] == "." else text)
        previous, at = name, end
    return "".join(out)


def _straightened(commands: Iterable[_Command]) -> Iterator[_Command]:
    """Leave out corners of long lines that lie almost on the line between those that stay."""
    line: list[tuple[float, float]] = []
    for letter, points in [*commands, ("", [])]:
        if letter == "L":
            line.append(points[0])
            continue
        yield from (("L", [point]) for point in (line[:1] + _thinned(line) if len(line) > 8 else line))
        line = []
        if letter:
            yield letter, points


def _thinned(line: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Corners after the first one that are needed to keep within `SLACK` of every corner; the last one always is."""
    kept: list[tuple[float, float]] = []
    anchor, skipped = line[0], []
    for here, ahead in itertools.pairwise([*line[1:], line[-1]]):
        skipped.append(here)
        if ahead is line[-1] and here is line[-1]:
            break
        if any(_distance(point, anchor, ahead) > SLACK for point in skipped):
            kept.append(here)
            anchor, skipped = here, []
    return [*kept, line[-1]]


def _distance(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """Distance of a point from the segment between two others."""
    across, along = end[0] - start[0], end[1] - start[1]
    length = across * across + along * along
    share = 0.0 if length == 0 else min(1.0, max(0.0, ((point[0] - start[0]) * across + (point[1] - start[1]) * along) / length))
    return math.hypot(point[0] - start[0] - share * across, point[1] - start[1] - share * along)


def _joined(tenths: list[int]) -> str:
    """Numbers one after the other, with a blank only where the next one would run into the last."""
    texts = [_text(value) for value in tenths]
    return texts[0] + "".join(text if text.startswith("-") else f" {text}" for text in texts[1:])


def _without_unused(body: str) -> str:
    """Drop definitions that nothing refers to any more, and shapes that show nothing."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", body))
    body = re.sub(r'<path id="([^"]+)"[^>]*/>', lambda found: found[0] if found[1] in used else "", body)
    return re.sub(r"<defs>\s*</defs>", "", body)
