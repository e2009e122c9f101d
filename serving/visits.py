"""Around each request: its id, its token, its numbers, its line in the log, the headers of every answer."""

import hmac
import json
import re
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.console import say
from serving.metrics import Metrics
from serving.refusals import Refusal

USABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
OPEN_PATHS = ("/", "/about", "/health", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json")
"""Paths that need no token: they tell nothing of anybody's video."""
OPEN_FOLDER = "/static-offline-docs/"
INTERFACES = {"/classify": "plain", "/video-classification": "paddlex", "/v2": "kserve"}
"""Beginning of a path -> whose interface it is; the rest is "page"."""
GONE = 499  # a client that did not wait for its answer; only the log and the metrics say so
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-frame-options": "DENY",
}


@dataclass
class Visit:
    """What is known of a request, and what the log says of it."""

    id: str
    method: str
    path: str
    status: int = GONE
    num_bytes: int = 0
    """Of the video."""
    upload_sec: float | None = None
    read_sec: float | None = None
    model_sec: float | None = None
    total_sec: float = 0.0
    reason: str | None = None
    """Why it was refused."""
    begun_sec: float = field(default_factory=time.monotonic)

    @property
    def interface(self) -> str:
        return next((name for start, name in INTERFACES.items() if self.path.startswith(start)), "page")

    def line(self) -> str:
        """One JSON object, without the fields that are not known."""
        fields = {name: value for name, value in asdict(self).items() if value is not None and name != "begun_sec"}
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in fields.items()}
        return json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())} | rounded)


class Watched:
    """The app, with a `Visit` in the state of each request.

    Args:
        token: what requests have to bring as a bearer token; None: nothing.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None):
        self._app = app
        self._metrics = metrics
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked = headers.get("x-request-id", "")
        visit = Visit(asked if USABLE_ID.fullmatch(asked) else uuid.uuid4().hex, scope["method"], scope["path"][:200])
        scope.setdefault("state", {})["visit"] = visit

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                said = MutableHeaders(scope=message)
                said["x-request-id"] = visit.id
                for name, value in HEADERS.items():
                    said.setdefault(name, value)
            await send(message)

        try:
            if self._lets_in(visit.path, headers):
                await self._app(scope, receive, send_with_headers)
            else:
                refusal = Refusal(401, "a token is needed: send the header Authorization: Bearer TOKEN")
                await refused(visit, refusal)(scope, receive, send_with_headers)
        finally:
            visit.total_sec = time.monotonic() - visit.begun_sec
            self._metrics.requests.labels(visit.interface, str(visit.status)).inc()
            say(visit.line())

    def _lets_in(self, path: str, headers: Headers) -> bool:
        if self._token is None or path in OPEN_PATHS or path.startswith(OPEN_FOLDER):
            return True
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self._token.encode())


def refused(visit: Visit, refusal: Refusal) -> JSONResponse:
    """A refusal, worded as the interface of the request words its errors."""
    visit.reason = refusal.reason
    if visit.interface == "paddlex":
        content: dict[str, Any] = {"logId": visit.id, "errorCode": refusal.status, "errorMsg": refusal.reason}
    elif visit.interface == "kserve":
        content = {"error": refusal.reason}
    else:
        content = {"id": visit.id, "error": refusal.reason}
    headers = {} if refusal.retry_after_sec is None else {"retry-after": str(refusal.retry_after_sec)}
    if refusal.status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(content, refusal.status, headers)
