"""Chromium for the tests of the server's page; they are skipped where it, or Playwright, is missing."""

import contextlib
import shutil
from collections.abc import Callable, Iterator

import pytest

from page_server import Server

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install playwright")
expect = sync_api.expect

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
CONTRASTS = """ids => ids.map(id => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const one = document.querySelector(id);
  let ground = one;
  while (numbers(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
  const pair = [getComputedStyle(one).color, getComputedStyle(ground).backgroundColor].map(numbers).map(light);
  return [id, (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
})"""
"""[selector, ratio of its text's luminance to that of what is behind it, as WCAG defines it], of each selector."""


@contextlib.contextmanager
def start_browser() -> Iterator[sync_api.Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no chromium here to open the page: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def watched_pages(browser: sync_api.Browser, server: Server) -> Iterator[Callable[..., sync_api.Page]]:
    """A function that opens the page; what must hold of it whatever is done with it is asserted at the end."""
    contexts, told, asked = [], [], []

    def open_page(width: int = 1280, before: str = "", **settings) -> sync_api.Page:
        context = browser.new_context(viewport={"width": width, "height": 800}, **{"locale": "en-US", **settings})
        contexts.append(context)
        context.add_init_script(before)
        page = context.new_page()
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url)
        expect(page.locator("#about")).to_contain_text("TSN")
        return page

    try:
        yield open_page
        for page in (page for context in contexts for page in context.pages):
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it scrolls sidewards"
    finally:
        for context in contexts:
            context.close()
    refused = {f"status of {status} " for status in server.statuses if status >= 400}  # the browser notes each itself
    assert [text for text in told if not any(status in text for status in refused)] == []
    assert [url for url in asked if not url.startswith((server.url, "data:", "blob:"))] == []
