"""KServe's interface, version 2 (the Open Inference Protocol): health, metadata, and inference on frames.

The binary tensor extension is spoken too. Source: kserve/open-inference-protocol, specification/protocol.
"""

import asyncio
import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from common.plain_json import fits, parse_json
from inference.engines.engine import Classified
from serving.house import House, unless_gone
from serving.refusals import Refusal

PLATFORM = "tsn_video_classification"
VERSION = "1"
MOST_JSON_BYTES = 32 << 20  # numbers as text take twenty times their memory once they are read; binary ones do not
MOST_READERS = 2  # requests whose JSON is in memory as numbers, some 350 MB each
MOST_CLIPS = 64
MOST_FRAMES = 512  # of all clips together: the engine is not interrupted
MOST_DIGITS = 18  # of a number of bytes
HEADER_LENGTH = "inference-header-content-length"
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can say it, UTF-8 cannot
OUTPUTS = ("probabilities", "features")
BINARY = "application/octet-stream"


class Asked(NamedTuple):
    """What an inference request wants."""

    clips: np.ndarray
    """uint8 (N, T, 3, H, W)."""
    outputs: dict[str, bool]
    """Name -> whether it is to be binary."""
    request_id: str | None


def kserve_routes(house: House) -> APIRouter:
    router = APIRouter(tags=["KServe v2"])
    model_path, side = f"/v2/models/{house.model.name}", house.model.side
    outputs = [("probabilities", house.model.num_classes), ("features", -1)]
    metadata = {
        "name": house.model.name,
        "versions": [VERSION],
        "platform": PLATFORM,
        "inputs": [{"name": "frames", "datatype": "UINT8", "shape": [-1, -1, 3, side, side]}],
        "outputs": [{"name": name, "datatype": "FP32", "shape": [-1, size]} for name, size in outputs],
    }
    reading = asyncio.Semaphore(MOST_READERS)
    add_health(router, house, model_path)

    @router.get(model_path, summary="The model's inputs and outputs")
    @router.get(f"{model_path}/versions/{VERSION}", include_in_schema=False)
    async def model_metadata() -> dict[str, Any]:
        return metadata

    @router.post(f"{model_path}/infer", summary="Classify clips that are frames already")
    @router.post(f"{model_path}/versions/{VERSION}/infer", include_in_schema=False)
    async def infer(request: Request) -> Response:
        length = header_length(request)
        most_bytes = house.uploads.max_bytes if length is not None else min(MOST_JSON_BYTES, house.uploads.max_bytes)

        async def receive(request: Request, path: Path) -> int:
            return await house.uploads.receive_body(request, path, most_bytes)

        async with contextlib.AsyncExitStack() as stack:
            path = await house.take_in(request, stack, receive)
            async with reading:
                asked = await run_in_threadpool(read_request, path, length, side)
            begun_sec = time.monotonic()
            classified = await unless_gone(request, house.service.classify_frames(asked.clips))
        house.note(request.state.visit, None, time.monotonic() - begun_sec)
        return infer_response(house.model.name, asked, classified)

    return router


def add_health(router: APIRouter, house: House, model_path: str) -> None:
    def ready(**about: Any) -> JSONResponse:
        is_ready = not house.doors.is_closed
        return JSONResponse(about | {"ready": is_ready}, 200 if is_ready else 503)

    @router.get("/v2", summary="What this server is")
    async def server_metadata() -> dict[str, Any]:
        return {"name": PLATFORM, "version": VERSION, "extensions": ["binary_tensor_data"]}

    @router.get("/v2/health/live", summary="Whether it runs")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @router.get("/v2/health/ready", summary="Whether it takes requests")
    async def server_ready() -> JSONResponse:
        return ready()

    @router.get(f"{model_path}/ready", summary="Whether the model takes requests")
    @router.get(f"{model_path}/versions/{VERSION}/ready", include_in_schema=False)
    async def model_ready() -> JSONResponse:
        return ready(name=house.model.name)


def header_length(request: Request) -> int | None:
    """Bytes of the JSON before the binary tensors; None: there are none."""
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > MOST_DIGITS:
        raise Refusal(400, f"the header {HEADER_LENGTH} has to be a number of bytes")
    return int(text)


def read_request(path: Path, length: int | None, side: int) -> Asked:
    """A request's clips, and which outputs it wants.

    Args:
        length: see `header_length`.
        side: of the model's frames, pixels.

    Raises:
        Refusal: it is not such a request, or not one for this model.
    """
    with path.open("rb") as file:
        text = file.read(MOST_JSON_BYTES if length is None else min(length, MOST_JSON_BYTES))
        # not read: as many requests as the queue has places may wait with such tensors
        has_more = length is not None and file.read(1)
    binary = np.memmap(path, np.uint8, "r", len(text)).view(np.ndarray) if has_more else np.empty(0, np.uint8)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise Refusal(400, f"the request is no JSON: {error}") from error
    if not fits(content, dict) or not fits(content.get("inputs"), list[dict]) or len(content["inputs"]) != 1:
        raise Refusal(400, "the request has to have one input, frames")
    return Asked(_clips(content["inputs"][0], binary, side), _wanted_outputs(content), _request_id(content))


def _clips(tensor: dict[str, Any], binary: np.ndarray, side: int) -> np.ndarray:
    if tensor.get("name") != "frames" or tensor.get("datatype") != "UINT8":
        raise Refusal(400, "the input has to be frames, of datatype UINT8")
    shape = tensor.get("shape")
    if not fits(shape, list[int]) or len(shape) != 5 or shape[2:] != [3, side, side] or min(shape) < 1:
        raise Refusal(400, f"the shape of frames has to be [clips, frames, 3, {side}, {side}]")
    if shape[0] > MOST_CLIPS or shape[0] * shape[1] > MOST_FRAMES:
        raise Refusal(413, f"at most {MOST_CLIPS} clips, and {MOST_FRAMES} frames in all, are taken at once")
    size, parameters = int(np.prod(shape)), tensor.get("parameters") or {}
    if "data" not in tensor:
        if not fits(parameters, dict) or parameters.get("binary_data_size") != len(binary) or len(binary) != size:
            raise Refusal(400, f"frames of this shape are {size} bytes; binary_data_size and the body have to be that")
        return binary.reshape(shape)
    try:
        numbers = np.array(tensor["data"])
    except ValueError as error:  # lists of several lengths
        raise Refusal(400, "the data of frames is no array of numbers") from error
    if numbers.dtype.kind not in "iu" or numbers.size != size or numbers.min() < 0 or numbers.max() > 255:
        raise Refusal(400, f"the data of frames has to be {size} whole numbers from 0 to 255")
    return numbers.astype(np.uint8).reshape(shape)


def _wanted_outputs(content: dict[str, Any]) -> dict[str, bool]:
    parameters = content.get("parameters") or {}
    by_default = fits(parameters, dict) and parameters.get("binary_data_output") is True
    wanted = content.get("outputs")
    if wanted is None:
        return dict.fromkeys(OUTPUTS, by_default)
    if not fits(wanted, list[dict]) or not wanted or not all(one.get("name") in OUTPUTS for one in wanted):
        raise Refusal(400, f"the outputs are {' and '.join(OUTPUTS)}")
    about = {one["name"]: one.get("parameters") or {} for one in wanted}
    if not all(fits(parameters, dict) for parameters in about.values()):
        raise Refusal(400, "the parameters of an output have to be an object")
    return {name: bool(parameters.get("binary_data", by_default)) for name, parameters in about.items()}


def _request_id(content: dict[str, Any]) -> str | None:
    request_id = content.get("id")
    if request_id is not None and (not fits(request_id, str) or LONE_SURROGATE.search(request_id)):
        raise Refusal(400, "the id has to be text")
    return request_id


def infer_response(model_name: str, asked: Asked, classified: Classified) -> Response:
    """The outputs as the request wants them: in the JSON, or behind it."""
    outputs, binary = [], b""
    for name, is_binary in asked.outputs.items():
        array = getattr(classified, name).astype("<f4")
        output: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
        if is_binary:
            binary += array.tobytes()
            output["parameters"] = {"binary_data_size": array.nbytes}
        else:
            output["data"] = array.ravel().tolist()
        outputs.append(output)
    content = {"model_name": model_name, "model_version": VERSION, "outputs": outputs}
    if asked.request_id is not None:
        content["id"] = asked.request_id
    if not binary:
        return JSONResponse(content)
    text = json.dumps(content).encode()
    return Response(text + binary, media_type=BINARY, headers={HEADER_LENGTH: str(len(text))})
