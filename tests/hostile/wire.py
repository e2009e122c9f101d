"""HTTP as it goes over the wire: what a client may write that no library would, and what a server answers."""

import base64
import contextlib
import http.client
import json
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

Address = tuple[str, int]
PATIENCE_SEC = 60.0  # a server that says nothing for so long hangs
CLOSED = "closed"
"""An outcome: the server has closed the connection without an answer."""
TOKEN = "a token, of 30 letters or so"
NO_HTTP = b"Invalid HTTP request received."
BOUNDARY = "-----b0undary"


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


class Hangs(Exception):
    """The server neither answers nor closes the connection."""


class Damaged(Exception):
    """What the server has sent is no HTTP, or ends in its middle."""


@contextlib.contextmanager
def connected(address: Address, receive_bytes: int | None = None) -> Iterator[socket.socket]:
    """A connection; `receive_bytes` is the size of its buffer."""
    with socket.socket() as line:
        if receive_bytes is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        line.settimeout(PATIENCE_SEC)
        line.connect(address)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield line


def head(path: str, method: str = "POST", *, length: int | None = None, **headers: str) -> bytes:
    """A request's head; names of headers as content_type."""
    fields = {"host": "127.0.0.1", "authorization": f"Bearer {TOKEN}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    if length is not None:
        fields["content-length"] = str(length)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def request(path: str, body: bytes = b"", method: str = "POST", **headers: str) -> bytes:
    """A whole request."""
    return head(path, method, length=len(body), **headers) + body


def multipart(content: bytes, name: str = "x.mp4", field: str = "file") -> bytes:
    about = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return about.encode("latin-1") + content + f"\r\n--{BOUNDARY}--\r\n".encode()


MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def paddlex(content: bytes, **fields: Any) -> bytes:
    """The JSON body of PaddleX' clients."""
    return json.dumps({"video": base64.b64encode(content).decode()} | fields).encode()


def chunked(*pieces: bytes, ends: bool = True) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n" * ends


def send(line: socket.socket, pieces: bytes | Iterable[bytes], pause_sec: float = 0.0) -> bool:
    """Write pieces, with pauses; False if the server closed the connection before the end."""
    try:
        for piece in [pieces] if isinstance(pieces, bytes) else pieces:
            line.sendall(piece)
            if pause_sec:
                time.sleep(pause_sec)
    except TimeoutError as error:
        raise Hangs("it does not read") from error
    except OSError:
        return False
    return True


def receive(file: BinaryIO, method: str = "POST") -> Answer | None:
    """The next answer; None: the connection is closed.

    Raises:
        Hangs, Damaged: there is none.
    """
    try:
        first = file.readline(10_000)
        if not first:
            return None
        version, status, *_ = first.split(b" ", 2)
        if not version.startswith(b"HTTP/1."):
            raise Damaged(f"it begins with {first[:80]!r}")
        said = http.client.parse_headers(file)
        headers = {name.lower(): value for name, value in said.items()}
        if status == b"100":
            return receive(file, method)
        return Answer(int(status), headers, b"" if method == "HEAD" else _body(file, headers))
    except TimeoutError as error:
        raise Hangs("neither an answer nor an end") from error
    except OSError:  # reset
        return None
    except (ValueError, http.client.HTTPException) as error:
        raise Damaged(f"the answer is no HTTP: {error}") from error


def _body(file: BinaryIO, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        length = headers.get("content-length")
        return file.read() if length is None else _exactly(file, int(length))
    body = b""
    while size := int(file.readline(100).strip() or b"-1", 16):
        if size < 0:
            raise Damaged("the answer ends in its middle")
        body += _exactly(file, size)
        file.readline(100)
    file.readline(100)
    return body


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise Damaged(f"the answer ends after {len(content)} of {size} bytes")
    return content


def talk(
    address: Address, pieces: bytes | Iterable[bytes], pause_sec: float = 0.0, method: str = "POST"
) -> Answer | None:
    """Send bytes, and hear the first answer; None: the connection was closed without one."""
    with connected(address) as line, line.makefile("rb") as file:
        send(line, pieces, pause_sec)
        return receive(file, method)


def ask(address: Address, path: str, body: bytes = b"", method: str | None = None, **headers: str) -> Answer:
    """The answer to an ordinary request, which bears an id.

    Raises:
        Damaged: there is none, or it is another's.
    """
    method, mark = method or ("POST" if body else "GET"), uuid.uuid4().hex
    answer = talk(address, request(path, body, method, **({"x_request_id": mark} | headers)), method=method)
    if answer is None:
        raise Damaged("no answer")
    mark = headers.get("x_request_id", mark)
    if answer.headers.get("x-request-id") != mark:
        raise Damaged(f"an answer of another's: asked as {mark}, got {answer.headers.get('x-request-id')}")
    return answer


def outcome(answer: Answer | None, path: str) -> str:
    """The status as text, or CLOSED.

    Raises:
        Damaged: the answer does not look as docs/serving.md says.
    """
    if answer is None:
        return CLOSED
    if b"root:" in answer.body:
        raise Damaged("a file of this machine is in the answer")
    if answer.status in (429, 503) and not answer.headers.get("retry-after", "").isdigit():
        raise Damaged(f"{answer.status} without Retry-After")
    if answer.status >= 400 and answer.body and not (answer.status == 400 and answer.body == NO_HTTP):
        _check_error(answer, path)
    return str(answer.status)


def _check_error(answer: Answer, path: str) -> None:
    try:
        content = answer.content
        if path.startswith("/video-classification"):
            is_right = list(content) == ["logId", "errorCode", "errorMsg"] and content["errorCode"] == answer.status
        elif path.startswith("/v2"):
            is_right = list(content) == ["error"]
        else:
            is_right = list(content) == ["id", "error"] and content["id"] == answer.headers["x-request-id"]
    except (ValueError, KeyError, TypeError):
        is_right = False
    if not is_right:
        raise Damaged(f"an error of another shape, {answer.status}: {answer.body[:200]!r}")
