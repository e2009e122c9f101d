"""A server on 127.0.0.1 that misbehaves in every way that servers do."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves files by name; what it does wrong is set by its attributes."""

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.url = f"http://127.0.0.1:{self.server_port}/weights"
        self.ranges: list[str | None] = []
        """The Range header of each request."""
        self.status = 200
        self.cut_after: int | None = None
        """Bytes of the whole file after which each connection ends."""
        self.num_cuts = 10**9
        self.knows_ranges = True
        self.length: str | None = None
        """What it says instead of the length that follows."""
        self.pause_sec = 0.0
        """Between blocks of 64 KiB."""

    def handle_error(self, *args):
        """A client that hangs up belongs to the tests."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers["Range"]
        server.ranges.append(wanted)
        content = server.files.get(self.path.removeprefix("/weights/"))
        if server.status != 200 or content is None:
            self.send_error(server.status if server.status != 200 else 404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and server.knows_ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", server.length or str(len(content) - start))
        self.end_headers()
        end = len(content)
        if server.cut_after is not None and server.num_cuts > 0:
            server.num_cuts -= 1
            end = start + server.cut_after
        for position in range(start, min(end, len(content)), 1 << 16):
            self.wfile.write(content[position : min(position + (1 << 16), end)])
            time.sleep(server.pause_sec)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Server]:
    with Server(files) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()
