"""A real browser for the report: the system's Chromium, driven by Playwright without a network.

Run as a program it takes the README's two pictures of a report, or, to look at, its first screen at three widths, light and dark:

    python -m tests.support.browser REPORT_FOLDER PICTURE_FOLDER [--widths]
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["WIDTHS", "find_chromium", "open_browser", "take_pictures"]

WIDTHS = (1400, 800, 390)
"""A screen, a tablet, a telephone: CSS pixels."""

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """Path of a Chromium on this machine, or None; the environment variable CLEAN_PRIORITY_CHROMIUM names one outside the search path."""
    named = os.environ.get("CLEAN_PRIORITY_CHROMIUM")
    return named if named and Path(named).is_file() else next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start the system's Chromium; Playwright downloads none.

    Raises:
        RuntimeError: if there is none.
    """
    from playwright.sync_api import sync_playwright

    executable = find_chromium()
    if executable is None:
        raise RuntimeError(f"no Chromium found, expected one of {', '.join(NAMES)}")
    # A superuser, as in a container, cannot use the sandbox; the pages are our own and offline.
    options = ["--disable-gpu", "--disable-background-networking", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=options)
        try:
            yield browser
        finally:
            browser.close()


def take_pictures(report: Path, folder: Path, *, widths: bool = False) -> list[Path]:
    """Take pictures of a report.

    Args:
        report: folder of the report.
        folder: where the pictures go: ``report.png`` (first screen) and ``claim.png`` (a claim), or one for each width and scheme.
        widths: whether to show the first screen at every width in both schemes instead of the README's two pictures.

    Returns:
        The files made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    address = (report / "report.html").resolve().as_uri()
    made: list[Path] = []

    with open_browser() as browser:

        def shot(name: str, *, width: int, height: int, dark: bool = False, anchor: str = "") -> None:
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", offline=True
            )
            page = context.new_page()
            page.goto(address + anchor)
            page.wait_for_timeout(300)
            made.append(folder / name)
            page.screenshot(path=str(made[-1]))
            context.close()

        if widths:
            for scheme in ("light", "dark"):
                for width in WIDTHS:
                    shot(f"first-screen-{width}-{scheme}.png", width=width, height=1100, dark=scheme == "dark")
        else:
            shot("report.png", width=1400, height=1130)
            shot("claim.png", width=1400, height=1720, anchor="#D4")
    return made


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--widths"]
    if len(words) != 2 or not (Path(words[0]) / "report.html").is_file():
        sys.exit("usage: python -m tests.support.browser REPORT_FOLDER PICTURE_FOLDER [--widths] (REPORT_FOLDER holds report.html)")
    print("\n".join(str(path) for path in take_pictures(Path(words[0]), Path(words[1]), widths="--widths" in sys.argv)))
