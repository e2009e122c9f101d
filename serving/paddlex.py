"""PaddleX' interface: POST /video-classification with a JSON body, so that its clients need no change.

Source: PaddlePaddle/PaddleX, paddlex/inference/serving (schemas/video_classification.py, basic_serving/_app.py).
"""

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse

from serving.house import House, unless_gone
from serving.json_bodies import LongText, decode_base64, read_json_body
from serving.plain import Category
from serving.refusals import Refusal
from serving.uploads import SPARE_BYTES, too_large

PATH = "/video-classification"
DEFAULT_CLASSES = 5
BASE64_SHARE = 3 / 4
ADDRESSES = ("http://", "https://")


class InferRequest(BaseModel):
    video: str = Field(description="the video's content in base64, or its address if the server allows the host")
    topk: Annotated[int, Field(gt=0)] | None = None


class InferResult(BaseModel):
    categories: list[Category]


class InferResponse(BaseModel):
    logId: str
    errorCode: Literal[0] = 0
    errorMsg: Literal["Success"] = "Success"
    result: InferResult


class NoResult(BaseModel):
    logId: str
    errorCode: int
    errorMsg: str


def paddlex_routes(house: House) -> APIRouter:
    router = APIRouter(tags=["PaddleX"])

    @router.post(
        PATH,
        openapi_extra={"requestBody": {"content": {"application/json": {"schema": InferRequest.model_json_schema()}}}},
        responses={200: {"model": InferResponse}, "default": {"model": NoResult}},
        summary="Classify a video, as PaddleX does",
    )
    async def infer(request: Request) -> JSONResponse:
        top_k = DEFAULT_CLASSES

        async def receive(request: Request, path: Path) -> int:
            nonlocal top_k
            with house.uploads.new_file() as body:
                most_bytes = int(house.uploads.max_bytes / BASE64_SHARE) + SPARE_BYTES
                await house.uploads.receive_body(request, body, most_bytes)
                video, top_k = await run_in_threadpool(checked_fields, body)
                if isinstance(video, str) and video.startswith(ADDRESSES):
                    with path.open("wb") as file:
                        await house.fetcher.fetch(video, file)
                else:
                    await run_in_threadpool(write_video, body, video, path)
            if path.stat().st_size > house.uploads.max_bytes:
                raise too_large(house.uploads.max_bytes)
            return path.stat().st_size

        async with contextlib.AsyncExitStack() as stack:
            path = await house.take_in(request, stack, receive)
            answer = await unless_gone(request, house.service.classify(path, top_k))
        house.note(request.state.visit, answer.read_sec, answer.model_sec)
        result = {"categories": house.categories(answer.prediction)}
        return JSONResponse({
            "logId": request.state.visit.id, "errorCode": 0, "errorMsg": "Success", "result": result
        })  # fmt: skip

    @router.get("/health", responses={200: {"model": NoResult}}, summary="Whether the server runs")
    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"logId": request.state.visit.id, "errorCode": 0, "errorMsg": "Healthy"})

    return router


def checked_fields(body: Path) -> tuple[LongText | str, int]:
    """The video and the number of classes of a request.

    Raises:
        Refusal: it is not what PaddleX takes.
    """
    content: Any = read_json_body(body)
    if not isinstance(content, dict) or not isinstance(content.get("video"), LongText | str) or not content["video"]:
        raise Refusal(422, 'the body has to be {"video": base64 or an address, "topk": a number}')
    top_k = content.get("topk")
    if top_k is None:
        return content["video"], DEFAULT_CLASSES
    if type(top_k) is not int or top_k < 1:
        raise Refusal(422, "topk has to be a whole number from 1 on")
    return content["video"], top_k


def write_video(body: Path, video: LongText | str, path: Path) -> None:
    with path.open("wb") as file:
        decode_base64(body, video, file)
