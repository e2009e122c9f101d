"""serve.py as its users run it: a process, an address, requests."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from common.processes import threads_each

ROOT = Path(__file__).resolve().parent.parent
READY = re.compile(r"ready at http://([\d.]+):(\d+)")
START_SEC, END_SEC, ANSWER_SEC = 120.0, 60.0, 60.0


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    """Names in small letters."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """Of JSON lines."""
        return [json.loads(line) for line in self.body.splitlines()]


class ServeProcess:
    """Starts serve.py on a free port of 127.0.0.1; stop it, or use it in a `with`.

    Args:
        flags: of serve.py, besides --port and --temp_dir.
        folder: for its log and the videos that are under way.
        port: 0 takes any that is free.
        script: another beginning of serve.py.
        temp_dir: another folder for the videos.
        token: what the server asks for; `ask` brings it.
    """

    def __init__(
        self,
        flags: Iterable[str],
        folder: Path,
        port: int = 0,
        script: str = "serve.py",
        temp_dir: Path | None = None,
        token: str | None = None,
    ):
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        flags = [*flags, f"--token={token}"] if token else flags
        self.temp_dir = temp_dir or folder / "under way"
        self._log = folder / "serve.log"
        command = [sys.executable, script, f"--port={port}", f"--temp_dir={self.temp_dir}", *flags]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads_each())}  # the bits of a sum depend on them
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            self.host, self.port = self._wait_until_ready()
        except BaseException:
            self.process.kill()
            raise

    def __enter__(self) -> "ServeProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            for pid in self.decoders():  # one that a test has stopped could not end
                os.kill(pid, signal.SIGCONT)
            self.process.kill()
        self.process.wait(END_SEC)

    def _wait_until_ready(self) -> tuple[str, int]:
        end_sec = time.monotonic() + START_SEC
        while time.monotonic() < end_sec:
            if found := READY.search(self.log()):
                return found[1], int(found[2])
            assert self.process.poll() is None, self.log()
            time.sleep(0.05)
        raise AssertionError(f"not ready in time: {self.log()}")

    @property
    def address(self) -> str:
        return f"http://{self.host}:{self.port}"

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def requests(self) -> list[dict[str, Any]]:
        """What the log says of each request that has been answered."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def decoders(self) -> list[int]:
        """Their process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"serving.decoder" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def files(self) -> list[Path]:
        """The videos that are under way."""
        return [path for path in self.temp_dir.rglob("*") if path.is_file()]

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str | None = None
    ) -> Reply:
        """The answer to one request, on a connection of its own; a body of bytes, a file or an iterable of chunks."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_SEC)
        try:
            connection.request(
                method or ("GET" if body is None else "POST"), path, body, self._headers | (headers or {})
            )
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def metric(self, name: str) -> float:
        """A number of /metrics by its name, with labels as Prometheus writes them."""
        text = self.ask("/metrics").body.decode()
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)


def multipart(content: bytes, name: str = "clip.mp4", boundary: str = "B0undary") -> tuple[bytes, dict[str, str]]:
    """A body with a field and a file, and its header."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n--{boundary}\r\n'
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: video/mp4\r\n\r\n'
    )
    tail = f"\r\n--{boundary}--\r\n"
    return head.encode() + content + tail.encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}
