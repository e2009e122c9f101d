"""A small server on 127.0.0.1 that shows serving/page.html and answers it as serve.py does, with made-up classes."""

import base64
import contextlib
import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from PIL import Image

PAGE = Path(__file__).resolve().parent.parent / "serving" / "page.html"
NAMES = ["juggling balls", "riding a bike", "<b>playing</b> & 打篮球", "air drumming", "yoga", "abseiling", "zumba"]
SCORES = (0.83, 0.09, 0.05, 0.02, 0.01)
NUM_FRAMES = 3


def policy(page: str) -> str:
    """The content security policy that the page has to live under: only its own style and script."""
    hashes = {}
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}'; "
        "img-src data: blob:; media-src blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def picture(red: int, blue: int) -> str:
    content = io.BytesIO()
    Image.new("RGB", (224, 224), (red, 90, blue)).save(content, "JPEG")
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def best_classes(first: int) -> list[dict]:
    ids = [(first + place) % len(NAMES) for place in range(len(SCORES))]
    return [{"id": one, "name": NAMES[one], "score": score} for one, score in zip(ids, SCORES, strict=True)]


class Server(ThreadingHTTPServer):
    """Answers by the contract; its attributes say what it refuses, and hold what it was sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/prefix/"
        self.max_bytes = 10**6
        self.token: str | None = None
        self.has_heat_maps = True
        self.num_windows = 12
        self.end: dict = {"id": "w1", "model": "TSN", "num_windows": 12, "is_complete": True}
        """The last line after the windows."""
        self.refusals: list[tuple[int, dict, dict]] = []
        """(status, answer, headers) of the requests that come next."""
        self.may_read, self.may_go_on = threading.Event(), threading.Event()
        """While they are not set, videos are not read, and answers stop half way."""
        self.may_read.set()
        self.may_go_on.set()
        self.posts: list[tuple[dict, dict, bytes]] = []
        """(query, headers, body) of each video."""
        self.statuses: list[int] = []
        """Of all answers."""

    def handle_error(self, *args):
        """A browser that hangs up belongs to the tests."""

    def about(self) -> dict:
        return {
            "model": "TSN",
            "num_classes": len(NAMES),
            "class_names": NAMES,
            "engine": "OpenVINO 2026.1, 2 threads",
            "num_segments": NUM_FRAMES,
            "max_bytes": self.max_bytes,
            "max_video_sec": 600.0,
            "needs_token": self.token is not None,
            "has_heat_maps": self.has_heat_maps,
            "version": "1.0",
        }


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        if self.path == "/prefix/":
            page = PAGE.read_text(encoding="utf-8")
            self.answer(200, page.encode(), {"Content-Type": "text/html", "Content-Security-Policy": policy(page)})
        elif self.path == "/prefix/about":
            self.answer_json(200, self.server.about())
        else:
            self.answer_json(404, {"error": f"nothing at {self.path}"})

    def do_POST(self):
        address = urlsplit(self.path)
        self.server.may_read.wait(20)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        self.server.posts.append((query, dict(self.headers), body))
        if self.server.token and self.headers["Authorization"] != f"Bearer {self.server.token}":
            self.answer_json(401, {"id": "t1", "error": "a token is needed"})
        elif self.server.refusals:
            self.answer_json(*self.server.refusals.pop(0))
        elif "window_sec" in query:
            self.answer_windows(float(query["window_sec"]))
        else:
            self.server.may_go_on.wait(20)
            self.answer_json(200, self.whole())

    def whole(self) -> dict:
        frames = [picture(60 * number, 200) for number in range(NUM_FRAMES)]
        heat = [picture(250, 60 * number) for number in range(NUM_FRAMES)] if self.server.has_heat_maps else None
        timing = {"upload_sec": 0.1, "read_sec": 0.02, "model_sec": 0.3}
        pictures = {"frames": frames, "heat_maps": heat}
        return {"id": "a1", "model": "TSN", "categories": best_classes(2), "timing": timing, "pictures": pictures}

    def answer_windows(self, window_sec: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for number in range(self.server.num_windows):
            if number == self.server.num_windows // 2:
                self.server.may_go_on.wait(20)
            times = {"start_sec": number * window_sec, "end_sec": (number + 1) * window_sec}
            self.send_line({**times, "categories": best_classes(number // 4)})
        self.send_line(self.server.end)

    def send_line(self, line: dict) -> None:
        self.wfile.write(json.dumps(line).encode() + b"\n")

    def answer_json(self, status: int, answer: dict, headers: dict | None = None) -> None:
        self.answer(status, json.dumps(answer).encode(), {"Content-Type": "application/json", **(headers or {})})

    def answer(self, status: int, content: bytes, headers: dict) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def send_response(self, code, message=None):
        self.server.statuses.append(code)
        super().send_response(code, message)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve_page() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.may_read.set()
        server.may_go_on.set()
        server.shutdown()
