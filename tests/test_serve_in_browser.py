"""The page on the real server, in a real browser; tests/test_serve_page.py tries all that it does."""

from typing import NamedTuple

import numpy as np
import pytest

from conftest import SIDE, SMALL_MODEL, class_frames, write_random_weights, write_video
from page_browser import expect, start_browser, watched_pages
from serve_process import ServeProcess


class Place(NamedTuple):
    """Where a page is, and which errors it may meet, as `watched_pages` asks for it."""

    url: str
    statuses: list[int]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    sizes = [f"INFER.short_size={SIDE + 8}", f"INFER.target_size={SIDE}"]
    flags = [*SMALL_MODEL, *(part for size in sizes for part in ("-o", size))]
    weights = f"--weights={write_random_weights(folder)}"
    with ServeProcess([*flags, weights, "--engine=eager", "--workers=2"], folder) as process:
        yield process


@pytest.fixture
def open_page(server):
    with start_browser() as browser, watched_pages(browser, Place(f"{server.address}/", [422])) as open_:
        yield open_


def choose(page, path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Drop a video").click()
    chooser.value.set_files(path)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_clip_a_text_file_and_a_second_clip(width, server, open_page, tmp_path):
    rng = np.random.default_rng(width)
    first, second = (write_video(tmp_path / f"{label}.mp4", class_frames(label, rng, 30), crf=20) for label in (0, 1))
    text = tmp_path / "notes.txt"
    text.write_text("no video")
    page = open_page(width)

    def shown(path) -> list[str]:
        with page.expect_response("**/classify*"):
            choose(page, path)
        expect(page.locator("#bars")).to_be_visible()
        expect(page.locator("#bars li")).to_have_count(3)
        return [line.replace("\n", " ") for line in page.locator("#bars li").all_inner_texts()]

    def said(path) -> list[str]:
        found = server.ask("/classify", path.read_bytes()).json["categories"]
        return [f"{one['name']} {100 * one['score']:.1f}%" for one in found]

    assert shown(first) == said(first)
    assert page.locator("#strip img:visible").count() == 6, "frames and heat maps"
    choose(page, text)
    expect(page.get_by_role("alert")).to_contain_text("damaged or no video")
    assert shown(second) == said(second)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_description_of_the_interfaces_needs_no_network(server, open_page):
    page = open_page(1280)
    page.goto(f"{server.address}/docs")
    expect(page.get_by_text("Classify a video, as PaddleX does")).to_be_visible()
    page.get_by_text("Classify a video, whole or by windows").click()
    expect(page.get_by_text("from window to window")).to_be_visible()
