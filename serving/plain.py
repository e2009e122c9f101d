"""The plain interface: POST /classify, a video in, its best classes out; or a line of JSON for each window."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from serving.house import House, unless_gone
from serving.refusals import Refusal
from serving.service import WindowAnswer

LEAST_SEC = 0.5  # of a window and of a stride: a request may make a few thousand windows, not a million
MOST_OVERLAP = 20  # windows over one moment; the pictures of each are kept
JSON_LINES = "application/x-ndjson"


class Category(BaseModel):
    id: int
    name: str
    score: float


class Timing(BaseModel):
    upload_sec: float
    read_sec: float
    model_sec: float


class PicturesOut(BaseModel):
    frames: list[str]
    heat_maps: list[str] | None


class Classification(BaseModel):
    id: str
    model: str
    categories: list[Category]
    timing: Timing
    pictures: PicturesOut | None = None


class Problem(BaseModel):
    id: str
    error: str


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            },
        },
    }
}


class Lines(StreamingResponse):
    """JSON lines whose request is done when the last of them is sent, or when the client is gone."""

    def __init__(self, lines: AsyncIterator[str], stack: contextlib.AsyncExitStack):
        super().__init__(lines, media_type=JSON_LINES)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


def plain_routes(house: House) -> APIRouter:
    router = APIRouter(tags=["plain"])

    @router.post(
        "/classify",
        openapi_extra=BODY,
        responses={200: {"model": Classification}, "default": {"model": Problem}},
        summary="Classify a video, whole or by windows",
    )
    async def classify(
        request: Request,
        topk: Annotated[int, Query(ge=1, description="classes in the answer")] = 5,
        pictures: Annotated[bool, Query(description="add the frames that the model saw")] = False,
        window_sec: Annotated[float | None, Query(ge=LEAST_SEC, le=1e6, description="classify by windows")] = None,
        stride_sec: Annotated[float | None, Query(ge=LEAST_SEC, le=1e6, description="from window to window")] = None,
    ) -> Response:
        stride_sec = checked_stride(window_sec, stride_sec)
        async with contextlib.AsyncExitStack() as stack:
            path = await house.take_in(request, stack, house.uploads.receive_video)
            if window_sec is None:
                answer = await unless_gone(request, house.service.classify(path, topk, pictures))
                return JSONResponse(whole_answer(house, request, answer))
            windows = house.service.timeline(path, topk, window_sec, stride_sec)
            stack.push_async_callback(windows.aclose)
            first = await unless_gone(request, anext(windows, None))  # its refusal is the request's
            return Lines(timeline_lines(house, request, first, windows), stack.pop_all())

    return router


def checked_stride(window_sec: float | None, stride_sec: float | None) -> float | None:
    """The stride of a request's windows. Raises Refusal: they make no sense together."""
    if window_sec is None and stride_sec is not None:
        raise Refusal(422, "stride_sec needs window_sec")
    if window_sec is None:
        return None
    stride_sec = stride_sec or window_sec
    if window_sec > MOST_OVERLAP * stride_sec:
        raise Refusal(422, f"more than {MOST_OVERLAP} windows would overlap; give a larger stride_sec")
    return stride_sec


def whole_answer(house: House, request: Request, answer: Any) -> dict[str, Any]:
    visit = request.state.visit
    house.note(visit, answer.read_sec, answer.model_sec)
    timing = {"upload_sec": visit.upload_sec, "read_sec": answer.read_sec, "model_sec": answer.model_sec}
    content = {
        "id": visit.id,
        "model": house.model.name,
        "categories": house.categories(answer.prediction),
        "timing": {name: round(seconds, 4) for name, seconds in timing.items()},
    }
    return content | ({"pictures": answer.pictures._asdict()} if answer.pictures else {})


async def timeline_lines(
    house: House, request: Request, window: WindowAnswer | None, following: AsyncIterator[WindowAnswer]
) -> AsyncIterator[str]:
    """A line for each window, and one that says how it ended."""
    visit, num_windows = request.state.visit, 0
    end = {"id": visit.id, "model": house.model.name, "is_complete": True}
    try:
        while window is not None:
            num_windows += 1
            house.note(visit, window.answer.read_sec, window.answer.model_sec)
            yield json_line({
                "start_sec": round(window.start_sec, 3),
                "end_sec": round(window.end_sec, 3),
                "categories": house.categories(window.answer.prediction),
            })  # fmt: skip
            window = await anext(following, None)
    except Refusal as refusal:
        visit.reason = refusal.reason
        end |= {"is_complete": False, "error": refusal.reason, "status": refusal.status}
    yield json_line(end | {"num_windows": num_windows})


def json_line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
