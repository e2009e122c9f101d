"""The page of the server, as people use it: in a real browser, with a mouse, a keyboard, a phone's width."""

import json
import re

import numpy as np
import pytest

from conftest import grey_frames, write_video
from page_browser import CONTRASTS, expect, start_browser, watched_pages
from page_server import NAMES, PAGE, serve_page

WIDTHS = pytest.mark.parametrize("width", [1280, 390])


@pytest.fixture(scope="module")
def browser():
    with start_browser() as browser:
        yield browser


@pytest.fixture
def server():
    """Who shows the page at `server.url`, and answers it."""
    with serve_page() as server:
        yield server


@pytest.fixture
def open_page(browser, server):
    """Opens the page; afterwards the browser must have complained of nothing and asked nobody else."""
    with watched_pages(browser, server) as open_:
        yield open_


@pytest.fixture
def clip(tmp_path):
    return write_video(tmp_path / "my clip.mp4", grey_frames(30))


def choose(page, path) -> None:
    """Chooses a file as users do: through the browser's own dialog."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Drop a video").click()
    chooser.value.set_files(path)


def bars(page) -> list[str]:
    expect(page.locator("#bars li")).to_have_count(5)
    return [text.replace("\n", " ") for text in page.locator("#bars li").all_inner_texts()]


def test_it_is_one_file_with_one_style_and_one_script():
    page = PAGE.read_text(encoding="utf-8")
    assert page.count("<style") == page.count("<script") == 1
    assert not re.findall(r'\s(?:style|on\w+)="', page) and "innerHTML" not in page
    assert set(re.findall(r'https?://[^"\s]+', page)) == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "url(" not in page and "@import" not in page


@WIDTHS
def test_a_video_has_five_bars_and_its_frames_with_heat_maps(width, open_page, server, clip):
    page = open_page(width)
    choose(page, clip)
    assert bars(page) == [f"{NAMES[2]} 83.0%", f"{NAMES[3]} 9.0%", "yoga 5.0%", "abseiling 2.0%", "zumba 1.0%"]
    expect(page.get_by_role("heading", name=NAMES[2])).to_be_focused()  # a name is text, whatever is in it
    widths = [page.locator(".bar").nth(place).bounding_box()["width"] for place in range(5)]
    assert widths == sorted(widths, reverse=True) and widths[0] > 60 * widths[4]
    assert page.locator("#strip img:visible").count() == 6 and page.locator("#preview").is_visible()
    page.get_by_role("switch", name="heat maps").uncheck()
    assert page.locator("#strip img:visible").count() == 3
    assert page.locator("#strip img").evaluate_all("all => all.every(one => one.naturalWidth === 224)")
    ((query, headers, body),) = server.posts
    assert query == {"topk": "5", "pictures": "true"} and headers["Content-Type"] == "video/mp4"
    assert body == clip.read_bytes()


def test_an_engine_without_heat_maps_has_no_switch(open_page, server, clip):
    server.has_heat_maps = False
    page = open_page()
    choose(page, clip)
    assert bars(page) and page.locator("#strip img:visible").count() == 3
    expect(page.get_by_role("switch")).to_be_hidden()


@WIDTHS
def test_an_error_is_one_line_and_the_next_video_works(width, open_page, server, clip, tmp_path):
    (tmp_path / "notes.txt").write_text("no video")
    server.refusals = [
        (422, {"id": "e42", "error": "The file is <b>no</b> video."}, {}),
        (429, {"id": "e43", "error": "64 requests are waiting already"}, {"Retry-After": "7"}),
        (503, "a proxy's own page", {}),
    ]
    page = open_page(width)
    choose(page, tmp_path / "notes.txt")
    expect(page.get_by_role("alert")).to_have_text("The file is <b>no</b> video. (request e42)")
    assert server.posts[0][1]["Content-Type"] == "application/octet-stream"
    expect(page.locator("#answer")).to_be_hidden()
    choose(page, clip)
    expect(page.get_by_role("alert")).to_have_text(
        "64 requests are waiting already (worth trying again in 7 s) (request e43)"
    )
    page.get_by_role("button", name="Classify it again").click()
    expect(page.get_by_role("alert")).to_contain_text("status 503")
    choose(page, clip)
    assert bars(page)
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_file_above_the_limit_is_not_sent(open_page, server, clip, tmp_path):
    (tmp_path / "large.mp4").write_bytes(bytes(server.max_bytes + 1))
    page = open_page()
    choose(page, tmp_path / "large.mp4")
    expect(page.get_by_role("alert")).to_have_text("large.mp4 has 1.1 MB; this server takes at most 1 MB.")
    assert server.posts == []
    choose(page, clip)
    assert bars(page) and len(server.posts) == 1


def test_the_upload_and_the_wait_are_shown_and_can_be_cancelled(open_page, server, clip, tmp_path):
    server.max_bytes = 64 << 20
    (tmp_path / "large.mp4").write_bytes(bytes(32 << 20))
    server.may_read.clear()
    page = open_page()
    choose(page, tmp_path / "large.mp4")
    expect(page.locator("#work")).to_contain_text("large.mp4: uploading")
    expect(page.locator("#percent")).to_have_text(re.compile(r"^[1-9]\d?%$"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("Cancelled")
    server.may_read.set()
    server.may_go_on.clear()
    choose(page, clip)
    expect(page.locator("#work")).to_contain_text("my clip.mp4: the model looks at it")
    assert page.get_by_role("progressbar").get_attribute("value") is None
    page.get_by_role("button", name="Cancel").click()
    server.may_go_on.set()
    choose(page, clip)
    assert bars(page)
    expect(page.get_by_role("alert")).to_be_empty()


@WIDTHS
def test_the_timeline_grows_and_tells_what_is_where(width, open_page, server, clip):
    server.may_go_on.clear()
    page = open_page(width)
    page.get_by_role("spinbutton").fill("2.5")
    assert page.get_by_role("radio", name="windows of").is_checked()
    choose(page, clip)
    expect(page.locator("#facts")).to_have_text("my clip.mp4 · 6 windows")
    expect(page.locator("#work")).to_contain_text("seen up to 0:15")
    assert page.locator("#rows > div:not([id])").all_inner_texts() == NAMES[:2]
    server.may_go_on.set()
    expect(page.locator("#facts")).to_have_text("my clip.mp4 · 12 windows · request w1")
    assert page.locator("#rows > div:not([id])").all_inner_texts() == NAMES[:3]
    assert server.posts[0][0] == {"topk": "5", "window_sec": "2.5"}
    row = page.locator("#rows svg").nth(1)
    row.hover(position={"x": 5.5 / 12 * row.bounding_box()["width"], "y": 9})
    expect(page.locator("#told")).to_have_text("0:12.5 to 0:15: riding a bike, 83.0%")
    assert bars(page)[0] == "riding a bike 83.0%"
    darkness = row.locator(".cell").evaluate_all("cells => cells.map(cell => +cell.getAttribute('fill-opacity'))")
    assert darkness == [0.09] * 4 + [0.83] * 4
    slider = page.get_by_role("slider")
    slider.focus()
    for key in ("Home", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    expect(slider).to_have_attribute("aria-valuetext", "0:02.5 to 0:05: juggling balls, 83.0%")
    page.keyboard.press("End")
    expect(page.locator("#told")).to_have_text("0:27.5 to 0:30: juggling balls, not among the best 5")


def test_at_most_eight_classes_have_a_row(open_page, server, clip, monkeypatch):
    windows = iter([*range(12), 11])
    monkeypatch.setattr(
        "page_server.best_classes",
        lambda first: [{"id": (one := next(windows)), "name": f"class number {one}", "score": 0.9}],
    )
    server.num_windows = 13
    page = open_page()
    page.get_by_role("radio", name="windows of").check()
    choose(page, clip)
    expect(page.locator("#facts")).to_contain_text("13 windows")
    names = page.locator("#rows > div:not([id])").all_inner_texts()
    assert names == [f"class number {one}" for one in (0, 1, 2, 3, 4, 5, 6, 11)]


def test_windows_that_break_off_stay_with_the_reason(open_page, server, clip):
    server.end = {"id": "w2", "error": "The video is damaged.", "status": 422, "is_complete": False}
    page = open_page()
    page.get_by_role("radio", name="windows of").check()
    choose(page, clip)
    expect(page.get_by_role("alert")).to_have_text("The video is damaged. (request w2)")
    expect(page.locator("#facts")).to_contain_text("12 windows")


@pytest.mark.parametrize(("button", "query"), [("windows of 4 seconds", "window_sec"), ("whole video", "pictures")])
def test_windows_are_suggested_for_a_long_video(button, query, open_page, server, tmp_path):
    long = write_video(tmp_path / "long.mp4", np.zeros((1600, 32, 32, 3), np.uint8))
    page = open_page()
    choose(page, long)
    expect(page.locator("#question")).to_contain_text("long.mp4 lasts 1:04.")
    assert server.posts == []
    page.get_by_role("button", name=button).click()
    expect(page.locator("#answer")).to_be_visible()
    assert query in server.posts[0][0]


@pytest.mark.parametrize(
    ("locale", "title", "other"), [("zh-CN", "这个视频里发生了什么？", "English"), ("de", "What", "中文")]
)
def test_it_speaks_the_browsers_language_and_another_on_demand(locale, title, other, open_page, server, clip):
    server.refusals = [(422, {"id": "e42", "error": "no video"}, {})]
    page = open_page(390, locale=locale)
    assert page.locator("html").get_attribute("lang") == ("zh-CN" if locale == "zh-CN" else "en")
    expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    page.set_input_files("#file", clip)
    expect(page.get_by_role("alert")).to_contain_text("请求编号" if locale == "zh-CN" else "request")
    page.get_by_role("button", name=other).click()
    expect(page.get_by_role("alert")).to_contain_text("request" if locale == "zh-CN" else "请求编号")
    page.set_input_files("#file", clip)
    expect(page.locator("#copy")).to_have_text("Copy as JSON" if locale == "zh-CN" else "复制为 JSON")
    texts = page.locator("[data-text]").all_text_contents()
    assert all(texts) and not any("undefined" in text or "{" in text for text in texts)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_by_day_and_by_night(scheme, open_page, server, clip):
    page = open_page(color_scheme=scheme)
    choose(page, clip)
    assert bars(page)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")
    texts = ["h1", "#about", "#drop span", "#drop b", "#limits", "legend", "#bars li span", "#facts", "#copy", "#alert"]
    assert {one: ratio for one, ratio in page.evaluate(CONTRASTS, texts) if ratio < 4.5} == {}


def test_a_keyboard_is_enough(open_page, server, clip):
    page = open_page()
    with page.expect_file_chooser() as chooser:
        for _ in range(2):
            page.keyboard.press("Tab")
        expect(page.locator("#drop")).to_be_focused()
        expect(page.locator("#drop")).to_have_css("outline-style", "solid")
        page.keyboard.press("Enter")
    chooser.value.set_files(clip)
    expect(page.locator("#best")).to_be_focused()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.locator("#heat").evaluate("one => one === document.activeElement"):
            break
    page.keyboard.press("Space")
    assert page.locator("#strip img:visible").count() == 3


def test_a_video_can_be_dropped_anywhere(open_page, server, clip):
    page = open_page()
    data = page.evaluate_handle(
        """bytes => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "dropped.mp4", {type: "video/mp4"}));
          return data;
        }""",
        list(clip.read_bytes()),
    )
    page.dispatch_event("h1", "drop", {"dataTransfer": data})
    assert bars(page) and "dropped.mp4" in page.locator("#facts").inner_text()
    assert server.posts[0][2] == clip.read_bytes()


@WIDTHS
def test_the_camera_records_a_video(width, open_page, server):
    page = open_page(width, permissions=["camera"])
    page.get_by_role("button", name="Record from the camera").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Record from the camera").click()
    expect(page.get_by_role("button", name="Start recording")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#recording")).to_have_text("1 of 10 s")
    page.get_by_role("button", name="Stop and classify").click()
    assert bars(page)
    ((_, headers, body),) = server.posts
    assert headers["Content-Type"] == "video/webm" and body[:4] == b"\x1aE\xdf\xa3"


def test_without_a_camera_there_is_no_button(open_page, server):
    page = open_page(before="Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")
    expect(page.get_by_role("button", name="Record from the camera")).to_be_hidden()


@pytest.mark.parametrize("before", ["", "Object.defineProperty(navigator, 'clipboard', {value: undefined})"])
def test_the_answer_is_copied_as_json(before, open_page, server, clip):
    page = open_page(before=before, permissions=["clipboard-read", "clipboard-write"])
    choose(page, clip)
    page.get_by_role("button", name="Copy as JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_focused()
    page.evaluate("document.body.append(document.createElement('textarea'))")
    page.locator("textarea").focus()
    page.keyboard.press("Control+V")
    copied = json.loads(page.locator("textarea").input_value())
    assert copied["id"] == "a1" and copied["name"] == "my clip.mp4" and "pictures" not in copied
    assert [one["name"] for one in copied["categories"]][0] == NAMES[2]


def test_a_token_is_asked_for_kept_for_the_session_and_asked_again(open_page, server, clip):
    server.token = "secret"
    page = open_page()
    choose(page, clip)
    expect(page.get_by_role("alert")).to_have_text("This server asks for a token.")
    assert server.posts == []
    field = page.get_by_label("Token of this server")
    expect(field).to_be_focused()
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("This token is not accepted.")
    expect(field).to_be_focused()
    field.fill("secret")
    page.keyboard.press("Enter")
    assert bars(page)
    page.reload()
    choose(page, clip)
    assert bars(page) and page.evaluate("localStorage.length") == 0
