"""The page: complete without a network, sound markup, readable by everyone, and nothing unescaped in it."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from markupsafe import escape

from reports.document import build_document
from reports.equations import EquationSheet
from reports.figure_data import FigureData
from reports.figures import render
from reports.html import render_html
from reports.inline_svg import interval_picture
from reports.markdown import render_markdown
from reports.schema import read_report
from reports.style import CYCLE, GRID, INK, MUTED
from reports.wording import SIGNS, effect, interval_text, number_text, prediction_text, typeset
from tests.support.sample_report import PROVENANCE, sample_figures, sample_results
from theory.claims import CLAIMS, SLIPS

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Elements of a page, with a check that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that opens."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that closes itself."""
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Check that the innermost element closes."""
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.text.append(data)

    def having(self, attribute: str) -> list[str]:
        """Values of an attribute, over all elements."""
        return [found[attribute] for _, found in self.elements if attribute in found]


@pytest.fixture(scope="module")
def text(written: Path) -> str:
    return (written / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_every_tag_is_closed_in_order(page: Page) -> None:
    assert page.open == []


def test_nothing_is_asked_of_any_network(text: str, page: Page) -> None:
    values = [value for _, found in page.elements for name, value in found.items() if name != "aria-label"]
    styles = re.findall(r"<(?:style|script)>.*?</(?:style|script)>", text, flags=re.DOTALL)
    assert [
        value for value in [*values, *styles] if re.search(r"\w+:/|//\w+\.\w", value)
    ] == []  # addresses in quotations are text, not links
    assert not {"link", "img", "iframe", "object", "embed", "image", "video", "audio"} & {tag for tag, _ in page.elements}
    assert page.having("src") == []
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]{1})", text)) <= {"#"}
    assert any("default-src 'none'" in content for content in page.having("content"))


def test_links_lead_somewhere(page: Page, written: Path) -> None:
    ids = page.having("id")
    assert len(ids) == len(set(ids)), sorted(id for id in set(ids) if ids.count(id) > 1)
    for target in page.having("href"):
        if target.startswith("#"):
            assert target[1:] in ids, target
        else:
            assert (written / target).is_file(), target
    for value in re.findall(r"url\(#([^)]+)\)", str(page.elements)):
        assert value in ids


def test_every_claim_and_slip_is_on_the_page(page: Page) -> None:
    ids = set(page.having("id"))
    assert set(CLAIMS) <= ids
    body = " ".join("".join(page.text).split())
    assert all(slip.where in body for slip in SLIPS)
    for result in sample_results():
        assert result.command in body


def test_landmarks_language_and_skip_link(text: str, page: Page) -> None:
    tags = [tag for tag, _ in page.elements]
    assert [tags.count(tag) for tag in ("main", "nav", "h1", "title")] == [1, 1, 1, 1]
    assert '<html lang="en">' in text
    assert any(found.get("href") == "#main" for tag, found in page.elements if tag == "a")
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_every_picture_has_alternative_text(page: Page) -> None:
    drawings = [found for tag, found in page.elements if tag == "svg"]
    assert len(drawings) > len(sample_figures())
    for found in drawings:
        assert found.get("aria-hidden") == "true" or (found.get("role") == "img" and len(found.get("aria-label", "")) > 0)
    labels = {found.get("aria-label", "") for found in drawings}
    assert {f"{figure.title}. {figure.caption}" for figure in sample_figures()} <= labels


def test_headings_do_not_skip_a_level(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_verdicts_stand_as_word_and_sign(page: Page) -> None:
    body = "".join(page.text)
    for verdict, sign in SIGNS.items():
        assert re.search(re.escape(sign) + r"\s*" + verdict, body), verdict


def test_unexpected_rows_are_named_first(text: str) -> None:
    alarm = text[text.index('id="unexpected"') : text.index('id="matrix"')]
    assert all(f'href="#{id}"' in alarm for id in ("D10", "X1", "X4"))
    assert "3 of 11 judgements did not come out as expected" in text


def test_green_report_says_so_and_has_no_alarm() -> None:
    results = [result for result in sample_results() if result.ok]
    assert len(results) >= 5
    text = render_html(build_document(results, [], PROVENANCE), {})
    assert f"All {len(results)} judgements came out as the register expects" in " ".join(text.split())
    assert 'id="unexpected"' not in text


def test_rejected_statements_stand_beside_their_corrections(text: str) -> None:
    part = text[text.index('<section id="rejected">') : text.index('<section id="papers-figures">')]
    assert 'href="#D2"' in part
    assert 'href="#D4"' in part
    assert 'href="#X4"' not in part  # not a statement of the papers
    assert part.count("As printed") == part.count("Correct</h4>") == 2


def test_evidence_names_what_was_measured_on_both_sides(text: str, written: Path) -> None:
    """A printed and a corrected form are often judged by different quantities: numbers without names would seem to contradict."""
    rows = [row for row in read_report(written)["claims"] if row["verdict"] == row["expected"] == "DISAGREES"]
    assert rows
    section = text[text.index('<section id="rejected">') : text.index('<section id="claims">')]
    for row in rows:
        assert f"{typeset(row['headline'])}: <b>{escape(effect(row))}</b>" in section
        correction = next((check for check in row["checks"] if check["role"] == "correction"), None)
        if correction:
            assert f"{typeset(correction['name'])}: {escape(effect(correction))}" in section


def test_an_inequality_is_shown_as_one() -> None:
    """Beside a measured share of 1, "predicted 1" would be the edge of the allowed values that happens to lie nearest."""
    results = sample_results()
    document = build_document(results, sample_figures(), PROVENANCE)
    row = next(row for row in document["claims"] if row["checks"] and row["verdict"] == "AGREES")
    check = row["checks"][0]
    check |= {"region": [0.5, "inf"], "prediction": 1.0, "estimate": 1.0, "interval": [0.64, 1.0], "unit": "", "role": "statement"}
    row |= {"headline": check["name"], "prediction": 1.0, "estimate": 1.0, "interval": [0.64, 1.0], "unit": ""}
    assert prediction_text(row) == prediction_text(check) == "≥ 0.5"
    page = render_html(document, {})
    assert page.count("1.00 [0.64, 1.00], predicted ≥ 0.5") >= 2  # the row's line, and the picture's alternative text
    assert "predicted ≥ 0.5" in render_markdown(document)


def test_no_blank_stands_before_a_comma(text: str) -> None:
    """As in "0.4593 , predicted 0.3425", where an exact value has no interval."""
    shown = re.sub(r"<(style|script|svg|pre)\b.*?</\1>", "", text, flags=re.DOTALL)
    shown = re.sub(r"<[^>]*>", "", shown)
    assert not re.findall(r"[^\s(,] ,[^,\n]{0,20}", shown)


def test_equations_side_by_side_may_break_apart() -> None:
    sheet = EquationSheet()
    both = str(sheet.render_all(r"a = 1, \quad b = 2"))
    assert both.count("<svg") == 2
    assert str(sheet.render_all(r"\mathrm{if}\quad b = 2")).count("<svg") == 1
    assert not sheet.render_all("")
    assert "<code" in sheet.render_all(r"a = \nonsense, \quad b = 2")


def test_texts_from_outside_are_escaped() -> None:
    """Names of classes, data sets and files are other people's words."""
    evil = "<script>alert(1)</script>\"'&{{ 7*7 }}"
    x = np.arange(3.0)
    figure = FigureData(
        "f", "comparison", evil, evil, "S1", {f"{evil}/x": x, f"{evil}/measured": x}, {"x": evil, "y": "a $ b", f"mark:{evil}": "1"}
    )
    result = sample_results()[0]
    record = type(result.records[0])(**{**vars(result.records[0]), "name": evil, "method": evil, "unit": evil, "margin_terms": {evil: 1.0}})
    hostile = type(result)(
        **{**vars(result), "data": evil, "command": evil, "notes": (evil,), "records": (record,), "figures": ("f",), "error": evil}
    )
    document = build_document([hostile], [figure], {"machine": {evil: evil}, "commit": evil, "date": evil}, problems=[evil])
    text = render_html(document, {"f": render(figure)[0]})
    page = Page(text)
    assert page.open == []
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)&lt;/script&gt;", "", text)
    assert not any(name.startswith("on") for _, found in page.elements for name in found)
    assert text.count("{{ 7*7 }}") > 10
    ids = page.having("id")
    assert len(ids) == len(set(ids))


def test_figures_follow_the_colour_scheme(text: str) -> None:
    body = text[text.index("<main") :]
    assert not [color for color in (*CYCLE, INK, MUTED, GRID) if color in body]
    style = text[text.index("<style>") : text.index("</style>")]
    assert style.count("var(--figure-ink)") >= 2
    assert len(re.findall(r'<(?:path|text) class="d\d+"', body)) > 100


def test_page_is_small(text: str, written: Path) -> None:
    """What a page weighs follows from its parts: 300 rows of 5 checks and 100 figures then stay below 6 MB."""
    document = read_report(written)
    checks = sum(len(row["checks"]) for row in document["claims"])
    tables = sum(len(part.encode()) for part in re.findall(r'<table class="checks">.*?</table>', text, flags=re.DOTALL))
    assert tables / checks < 1500
    drawings = [len(part.encode()) for part in re.findall(r'<svg class="drawing".*?</svg>', text, flags=re.DOTALL)]
    assert len(drawings) == len(document["figures"])
    rest = len(text.encode()) - tables - sum(drawings)
    assert rest < 1_000_000  # register, formulas, planted faults: the same for every report


def test_every_formula_of_the_register_is_typeset() -> None:
    sheet = EquationSheet()
    for claim in CLAIMS.values():
        for formula in (claim.formula, claim.correction_formula):
            assert not formula or sheet.render(formula).startswith("<svg"), f"{claim.id}: {formula}"
    assert len(sheet.ids) < 200  # glyphs are shared


def test_bad_formula_is_shown_as_it_stands() -> None:
    assert EquationSheet().render(r"\nonsense{<") == '<code class="equation">\\nonsense{&lt;</code>'


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("θ_h < θ_d", "θ<sub>h</sub> &lt; θ<sub>d</sub>"),
        ("g_clean^(c)", "g<sub>clean</sub><sup>(c)</sup>"),
        ("m^(−1/2)", "m<sup>−1/2</sup>"),
        ("χ²_(2N) is a variable", "χ²<sub>2N</sub> is a variable"),
        ("D_{t+1}", "D<sub>t+1</sub>"),
        ("2f_i − 1", "2f<sub>i</sub> − 1"),
        ("softmax(h)_c", "softmax(h)<sub>c</sub>"),
        ("snake_case stays", "snake_case stays"),
        ("a_<b>", "a_&lt;b&gt;"),
        ("√(Lθ_d/π)", "√(Lθ<sub>d</sub>/π)"),
        ("∑_{(x,y)∈S} l", "∑<sub>(x,y)∈S</sub> l"),
        ("{α_t}^T_{t=0}", "{α<sub>t</sub>}<sup>T</sup><sub>t=0</sub>"),
    ],
)
def test_indices_in_plain_text(given: str, wanted: str) -> None:
    assert typeset(given) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.70021, "0.7002"),
        (3e-13, "3·10⁻¹³"),
        (1e-10, "10⁻¹⁰"),
        (-2.5, "−2.5"),
        (None, "–"),
        ("-inf", "−∞"),
        (12345678.0, "1.235·10⁷"),
        (31680.0, "31680"),
        (483.2e3, "483200"),
    ],
)
def test_numbers_for_reading(value: float | str | None, wanted: str) -> None:
    assert number_text(value) == wanted


def test_interval_keeps_enough_digits_to_tell_its_ends_apart() -> None:
    assert interval_text([0.50001, 0.50002]) == "[0.500010, 0.500020]"
    assert interval_text([1.6883, 1.7021]) == "[1.688, 1.702]"  # two digits of the width, both ends alike
    assert interval_text([3.9e-9, 0.128]) == "[3.9·10⁻⁹, 0.13]"  # an end above zero is not written as zero
    assert interval_text([-1e9, 2e9]) == "[−10⁹, 2·10⁹]"
    assert interval_text([0.5, "inf"]) == "[0.5, ∞]"
    assert interval_text([0.5, 0.5]) == ""


def test_interval_picture_shows_what_the_verdict_says(written: Path) -> None:
    """The band, read back from the drawing, holds the whole bar exactly where the check agrees."""
    seen = set()
    for row in read_report(written)["claims"]:
        for check in row["checks"]:
            drawing = str(interval_picture(check))
            if "no-picture" in drawing:
                assert check["verdict"] == "ERROR"
                continue
            band = re.search(r'class="band" x="([\d.]+)" y="3" width="([\d.]+)"', drawing)
            bar = re.search(r'class="bar" d="M([\d.]+) \d+H([\d.]+)"', drawing)
            assert band is not None
            assert bar is not None
            left, right = float(band[1]), float(band[1]) + float(band[2])
            low, high = float(bar[1]), float(bar[2])
            # Positions are written with one decimal.
            verdict = (
                "AGREES" if left <= low + 0.11 and high <= right + 0.11 else "DISAGREES" if high < left or low > right else "INCONCLUSIVE"
            )
            assert verdict == check["verdict"], check["name"]
            seen.add(verdict)
    assert seen == {"AGREES", "DISAGREES", "INCONCLUSIVE"}
