"""A straightforward server, which benchmarks/serve.py compares with: PaddleX' interface, and one lock around the model.

    python benchmarks/single_lock.py --weights=WEIGHTS --config=CONFIG --engine=paddle --port=8081

It does what PaddleX 3's basic serving does: the whole body is parsed as JSON, its video decoded from base64 and written
to a file, which a thread reads and classifies while nobody else does. Only reading and computing are this project's,
so that a difference is one of serving.

Source: PaddlePaddle/PaddleX, paddlex/inference/serving/basic_serving (_app.py, _pipeline_apps/video_classification.py).
"""

import asyncio
import base64
import os
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import common.startup  # noqa: E402, F401  isort: skip
import uvicorn  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from fastapi.concurrency import run_in_threadpool  # noqa: E402
from pydantic import BaseModel  # noqa: E402

from common import command_line  # noqa: E402
from evaluation.predictions import class_name  # noqa: E402
from inference.choice import add_engine, wish_of  # noqa: E402
from inference.session import Session, begin_session  # noqa: E402

MANY_REQUESTS = 10**6


class InferRequest(BaseModel):
    video: str
    topk: int = 5


def build_app(session: Session) -> FastAPI:
    app, lock = FastAPI(), asyncio.Lock()

    @app.post("/video-classification")
    async def infer(request: InferRequest) -> dict[str, Any]:
        content = base64.b64decode(request.video)
        path = await run_in_threadpool(write_file, content)
        try:
            async with lock:
                prediction = await run_in_threadpool(session.classify, path)
        finally:
            await run_in_threadpool(os.unlink, path)
        _, scores, class_ids = prediction.top(request.topk).plain()
        categories = [
            {"id": class_id, "name": class_name(class_id, session.class_names), "score": score}
            for class_id, score in zip(class_ids, scores, strict=True)
        ]
        return {"logId": str(uuid.uuid4()), "errorCode": 0, "errorMsg": "Success", "result": {"categories": categories}}

    return app


def write_file(content: bytes) -> str:
    with tempfile.NamedTemporaryFile("wb", suffix=".mp4", delete=False) as file:
        file.write(content)
        return file.name


def main(argv: list[str] | None = None) -> None:
    parser = command_line.config_parser(__doc__)
    command_line.add_weights(parser)
    add_engine(parser)
    parser.add_argument(
        "--port", type=command_line.whole_number(0, 65535), default=0, help="(default: any that is free)"
    )
    args = parser.parse_args(argv)
    opening = begin_session(args.weights, args.config, args.overrides, wish=wish_of(args))
    session = opening.open(MANY_REQUESTS, one_by_one=True)
    uvicorn.run(build_app(session), host="127.0.0.1", port=args.port, access_log=False)


if __name__ == "__main__":
    command_line.run(main)
