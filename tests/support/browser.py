"""Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

# A closed network: Chromium shall ask nobody outside, and needs no sandbox around our own pages.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDTH, HEIGHT = 1440, 900
SEEN_WITHIN_MS = 60_000  # at once, where no other test has the cores
expect.set_options(timeout=SEEN_WITHIN_MS)


_running: list[Browser] = []


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium, the one that runs already or a new one; its pages share nothing."""
    if _running:
        yield _running[0]
        return
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        _running.append(found)
        try:
            yield found
        finally:
            _running.clear()
            found.close()


@contextmanager
def page(colour_scheme: str = "light", width: int = WIDTH, height: int = HEIGHT) -> Iterator[Page]:
    """A page without a past; what the page itself logs as an error fails the test at the end."""
    with (
        browser() as opened,
        opened.new_context(
            color_scheme=colour_scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": height},
        ) as context,
    ):
        found = context.new_page()
        found.set_default_timeout(SEEN_WITHIN_MS)
        errors: list[str] = []
        found.on("pageerror", lambda error: errors.append(str(error)))
        asked: list[str] = []
        found.on("request", lambda request: asked.append(request.url))
        yield found
    assert errors == []
    outside = [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]
    assert outside == [], "the console asks nobody but its own server"
