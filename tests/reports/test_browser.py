"""A real browser opens the report: silent, offline, readable at every width, by keyboard, without scripts, on paper, in light and dark.

Skipped, with the reason, where there is no Chromium or no Playwright.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from reports.compare import compare, comparison_html
from reports.schema import read_report
from reports.wording import SIGNS, slug
from tests.support.browser import WIDTHS, find_chromium, open_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install -e .[test]")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        find_chromium() is None, reason="no Chromium on this machine (apt install chromium): the report was not opened in a browser"
    ),
]

PAPER = (680, 920)  # CSS pixels: A4 without the margins of the print style, 180 x 263 mm, at 96 dots an inch, less some slack in height


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as started:
        yield started


@pytest.fixture(scope="module")
def pages(written: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The report, and a comparison of it with a changed one."""
    document = read_report(written)
    other = read_report(written)
    other["claims"][0]["verdict"] = "ERROR"
    other["provenance"]["commit"] = "fedcba9876543210"
    changes = compare(document, other)
    file = tmp_path_factory.mktemp("comparison") / "comparison.html"
    file.write_text(comparison_html(changes, before="a", after="b"), encoding="utf-8")
    return {"report": written / "report.html", "comparison": file}


@pytest.fixture
def opened(browser: Browser, pages: dict[str, Path]) -> Iterator[Any]:
    """Opens a page in a context of its own; whatever it says or asks for is taken down and must be nothing."""
    contexts = []
    said: list[str] = []

    def open_page(name: str = "report", *, width: int = 1400, height: int = 1000, **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith(pages[name].as_uri()) else None)
        page.goto(pages[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def open_all(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")


def shown(page: Page, selector: str) -> list[str]:
    """Ids or claim ids of the elements that take up space."""
    found: list[str] = page.evaluate(
        "selector => [...document.querySelectorAll(selector)].filter(one => one.getClientRects().length)"
        ".map(one => one.dataset.claim || one.id)",
        selector,
    )
    return found


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_page_is_silent_and_asks_nothing_of_any_network(opened: Any, name: str) -> None:
    page = opened(name)
    open_all(page)
    for button in page.get_by_role("button").all():
        button.click()
    page.wait_for_load_state("networkidle")  # the fixture checks what was said and asked for


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_page_does_not_scroll_sideways(opened: Any, name: str, width: int) -> None:
    page = opened(name, width=width)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        open_all(page)


@pytest.mark.parametrize("width", WIDTHS)
def test_every_figure_is_seen(opened: Any, written: Path, width: int) -> None:
    page = opened(width=width)
    for figure in read_report(written)["figures"]:
        box = page.locator(f"#figure-{figure['id']} svg.drawing").bounding_box()
        assert box is not None, figure["id"]
        # Half a telephone's width: smaller letters than that would have to be zoomed.
        assert min(box["width"], 1.5 * box["height"]) > 180, (figure["id"], box)
        text = page.locator(f"#figure-{figure['id']} svg.drawing text").first
        size = text.evaluate("one => one.getBoundingClientRect().height")
        assert size >= 8, (figure["id"], size)


def test_filter_by_word_and_by_verdict(opened: Any, written: Path) -> None:
    page = opened()
    rows = read_report(written)["claims"]
    page.get_by_label("Find").fill("eight input angles")
    assert shown(page, "section.claim") == shown(page, "table.matrix tbody tr") == ["G2"]
    page.get_by_label("Find").fill("")
    page.locator(".filter button", has_text="disagrees").click()
    wanted = {row["id"] for row in rows if row["verdict"] == "DISAGREES"}
    assert set(shown(page, "table.matrix tbody tr")) == wanted
    assert set(shown(page, "section.claim")) == wanted
    assert f"{len(wanted)} claims shown" in page.locator("#shown").inner_text()
    page.keyboard.press("Escape")
    assert len(shown(page, "section.claim")) == len({row["id"] for row in rows})


def test_sort_by_title_and_by_verdict_and_back(opened: Any) -> None:
    page = opened()
    first = shown(page, "table.matrix tbody tr")
    heads = page.locator("table.matrix thead button")
    heads.nth(0).click()
    titles = page.evaluate("[...document.querySelectorAll('table.matrix tbody tr')].map(one => one.dataset.title.toLowerCase())")
    assert titles == sorted(titles)
    assert page.locator("table.matrix thead th").nth(0).get_attribute("aria-sort") == "ascending"
    heads.nth(0).click()
    assert (
        page.evaluate("[...document.querySelectorAll('table.matrix tbody tr')].map(one => one.dataset.title.toLowerCase())") == titles[::-1]
    )
    heads.nth(0).click()
    assert shown(page, "table.matrix tbody tr") == first
    column = page.evaluate(
        "[...document.querySelectorAll('table.matrix thead th')].findIndex(one => one.textContent.includes('other settings'))"
    )
    heads.nth(column).click()
    order = ["error", "disagrees", "inconclusive", "assumption-violated", "agrees", "not-run"]
    cells = page.evaluate(
        "column => [...document.querySelectorAll('table.matrix tbody tr')].map(row => [...row.cells[column].querySelectorAll('.cell')]"
        ".map(one => [...one.classList]))",
        column,
    )
    ranks = [min((order.index(name) for names in row for name in names if name in order), default=len(order)) for row in cells]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) >= 3


def test_headings_of_tables_stay_text_when_printed(opened: Any) -> None:
    """Paper repeats the head of a long table on every page, and prints it there without its buttons."""
    page = opened()
    head = page.locator("table.matrix thead th").first
    assert page.evaluate("document.querySelector('table.matrix thead th').firstChild.nodeType") == 3  # a text node
    assert head.locator("button").get_attribute("aria-label") == "Sort by Claim"
    page.emulate_media(media="print")
    assert head.inner_text().strip() == "Claim"
    assert not head.locator("button").is_visible()


def focused(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(
        "(() => { const one = document.activeElement, look = getComputedStyle(one);"
        " return {tag: one.tagName, text: one.textContent.trim(), href: one.getAttribute('href') || '', id: one.id,"
        " ring: look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 2, y: one.getBoundingClientRect().top + scrollY,"
        " x: one.getBoundingClientRect().left, inMain: !!one.closest('main')}; })()"
    )
    return found


def test_keyboard_alone(opened: Any) -> None:
    """Skip link first, then down the page in its order, each stop with a ring; Enter and Space work."""
    page = opened(width=800)
    page.keyboard.press("Tab")
    assert focused(page)["href"] == "#main"
    stops = []
    for _ in range(400):
        page.keyboard.press("Tab")
        stops.append(focused(page))
        if stops[-1]["id"] == "find":
            break
    assert stops[-1]["id"] == "find"
    assert [stop["text"] for stop in stops if not stop["ring"]] == []
    below = [stop["y"] for stop in stops if stop["inMain"]]
    assert below == sorted(below)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    some = len(shown(page, "section.claim"))
    page.keyboard.press("Enter")
    assert len(shown(page, "section.claim")) > some
    page.keyboard.press("Space")
    assert len(shown(page, "section.claim")) == some
    page.keyboard.press("Escape")
    assert len(shown(page, "section.claim")) > some
    cell = page.locator("table.matrix a.cell").first
    cell.focus()
    page.keyboard.press("Enter")
    target = page.locator(page.evaluate("'#' + CSS.escape(location.hash.slice(1))"))
    assert target.is_visible()  # the closed regime has opened
    assert abs(target.evaluate("one => one.getBoundingClientRect().top")) < 200
    head = page.locator("table.matrix thead button").first
    head.focus()
    page.keyboard.press("Space")
    assert page.locator("table.matrix thead th").first.get_attribute("aria-sort") == "ascending"


def test_without_scripts_everything_is_there(opened: Any, written: Path) -> None:
    page = opened(java_script_enabled=False)
    assert not page.locator(".filter").is_visible()
    document = read_report(written)
    for claim in document["register"]:
        assert page.locator(f"section#{claim['id']} > header").is_visible()
    for figure in document["figures"]:
        assert page.locator(f"#figure-{figure['id']} svg.drawing").is_visible()
    assert page.locator("table.matrix thead th").first.inner_text() == "Claim"
    regime = page.locator("section#D2 details.judgement").first
    assert not regime.locator("table.checks").is_visible()
    regime.locator("summary").first.click()
    assert regime.locator("table.checks").is_visible()


def test_paper(opened: Any, tmp_path: Path) -> None:
    """Several sheets; nothing wider or, figures, higher than a sheet; no heading parted from what it heads; every regime open."""
    page = opened(width=PAPER[0])
    file = tmp_path / "report.pdf"
    page.pdf(path=str(file), format="A4", prefer_css_page_size=True)
    sheets = len(re.findall(rb"/Type\s*/Page\b(?!s)", file.read_bytes()))
    assert sheets >= 10
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator("nav.contents").is_visible()
    assert not page.locator(".filter").is_visible()
    boxes = page.evaluate(
        "[...document.querySelectorAll('main figure.plot, main table, main .equation')].filter(one => one.getClientRects().length)"
        ".map(one => { const box = one.getBoundingClientRect();"
        " return [one.tagName, one.className.baseVal || one.className, box.right, box.height]; })"
    )
    assert [box for box in boxes if box[2] > PAPER[0] + 1] == []
    assert [box for box in boxes if box[0] == "FIGURE" and box[3] > PAPER[1]] == []
    kept = page.evaluate(
        "[['h1, h2, h3, h4, .judgement > summary', 'breakAfter'], ['figure.plot, .checks tr, .matrix tr', 'breakInside']]"
        ".map(([names, rule]) => [...document.querySelectorAll(names)].every(one => getComputedStyle(one)[rule] === 'avoid'))"
    )
    assert kept == [True, True]
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


def test_drawings_on_the_page_show_the_stored_files(opened: Any, written: Path) -> None:
    """The compact drawing and the SVG file beside the page, painted at the same size, differ in antialiasing only."""
    page = opened(width=1000)
    for figure in read_report(written)["figures"]:
        paint = []
        stored = (written / figure["path"]).read_text(encoding="utf-8")
        for svg in (
            stored[stored.index("<svg") :],
            page.evaluate("id => document.getElementById(id).querySelector('svg.drawing').outerHTML", f"figure-{figure['id']}"),
        ):
            page.evaluate(
                "svg => { document.getElementById('stage')?.remove(); const stage = document.createElement('div'); stage.id = 'stage';"
                " stage.style = 'position:absolute;left:0;top:0;width:700px;background:#fff;z-index:9;line-height:0';"
                " stage.innerHTML = svg; const one = stage.firstElementChild;"
                " one.setAttribute('width', 700); one.removeAttribute('height'); one.style = 'width:700px;max-width:none;min-width:0';"
                " stage.querySelectorAll('text').forEach(text => text.remove()); document.body.append(stage); }",
                svg,
            )
            picture = Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("L")
            paint.append(np.asarray(picture, dtype=float))
        assert paint[0].shape == paint[1].shape
        # A tenth of a point is 0.2 pixels here: an edge may change its grey, no line may move or be lost. Overlapping translucent dots
        # of one series are painted as one shape, which is why clouds of dots may differ in a few pixels.
        assert np.mean(np.abs(paint[0] - paint[1]) > 100) < 2e-3, figure["id"]
        assert np.mean(paint[0] < 250) > 0.01


FEW_OF_EACH = """
() => {
  const seen = new Map();
  for (const one of document.querySelectorAll('section.claim.idle, table.trust tr, table.slips tr, #code details')) {
    const kind = one.matches('section') ? 'idle' : one.tagName + (one.closest('.scroll')?.ariaLabel || '');
    seen.set(kind, (seen.get(kind) || 0) + 1);
    if (seen.get(kind) > 6) one.remove();
  }
  document.querySelectorAll('a[href^="#"]').forEach(one => {
    if (!document.getElementById(one.hash.slice(1))) one.removeAttribute('href');
  });
}
"""
"""Leaves six of what repeats hundreds of times in the same form: the engine looks at each element."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "comparison"])
def test_accessibility_engine_finds_nothing(opened: Any, name: str, scheme: str) -> None:
    """axe-core, rules of WCAG 2.2 A and AA and its best practices: contrast, names, landmarks, headings, tables, target sizes."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(name, color_scheme=scheme)
    open_all(page)
    page.evaluate(FEW_OF_EACH)
    found = axe.Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [(one["id"], one["help"], one["nodes"][0]["target"], one["nodes"][0].get("failureSummary", "")[:200]) for one in found] == []


CONTRAST = """
selectors => {
  const channel = value => { const part = value / 255; return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4; };
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = one => {
    for (let node = one; node; node = node.parentElement) {
      const found = parse(getComputedStyle(node).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const out = {};
  for (const one of document.querySelectorAll(selectors)) {
    if (!one.getClientRects().length || !one.textContent.trim()) continue;
    const look = getComputedStyle(one);
    const color = parse(one.closest('svg.drawing') ? look.fill : look.color);
    const [a, b] = [light(color), light(ground(one))].sort((x, y) => y - x);
    const name = one.tagName + '.' + (one.className.baseVal ?? one.className);
    out[name] = Math.min(out[name] ?? 99, (a + 0.05) / (b + 0.05));
  }
  return out;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_of_text_signs_and_drawings(opened: Any, scheme: str) -> None:
    """WCAG AA computed in the page: 4.5 for text and verdict signs; 3 for the names of series, which repeat the colour of a line."""
    page = opened(color_scheme=scheme)
    open_all(page)
    ratios = page.evaluate(
        CONTRAST, "p, li, td, th, dt, dd, a, b, summary, figcaption, h1, h2, h3, h4, code, pre, .sign, .chip, .cell, .id, .under"
    )
    assert len(ratios) > 20
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
    drawn = page.evaluate(CONTRAST, "svg.drawing text")
    assert len(drawn) >= 4
    assert {name: ratio for name, ratio in drawn.items() if ratio < 3.0} == {}


def test_landmarks_and_alternative_texts(opened: Any, written: Path) -> None:
    page = opened()
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("navigation", name="Contents").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1
    for figure in read_report(written)["figures"]:
        assert page.get_by_role("img", name=f"{figure['title']}. {figure['caption']}", exact=True).count() == 1
    for text in set(page.locator(".chip").all_text_contents()):
        assert any(sign in text for sign in SIGNS.values()), text
    for verdict in SIGNS:
        assert page.locator(f".{slug(verdict)}").count() > 0
