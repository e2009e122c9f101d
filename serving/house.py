"""What the interfaces share: how a request comes in, and how its answer leaves."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from starlette.requests import ClientDisconnect, Request

from evaluation.predictions import Prediction, class_name
from serving.addresses import Fetcher
from serving.doors import Doors
from serving.metrics import Metrics
from serving.service import Service
from serving.uploads import Uploads
from serving.visits import Visit

Result = TypeVar("Result")


class Model(NamedTuple):
    """What is said of the model that answers."""

    name: str
    class_names: list[str] | None
    """In label order; None: classes go by number."""
    num_classes: int
    num_segments: int
    side: int
    """Of its frames, pixels."""
    engine: str
    """Its title."""


class House(NamedTuple):
    """All parts of a server."""

    model: Model
    service: Service
    doors: Doors
    uploads: Uploads
    fetcher: Fetcher
    metrics: Metrics
    token: str | None
    """What requests have to bring; None: nothing."""

    async def take_in(
        self, request: Request, stack: contextlib.AsyncExitStack, receive: Callable[[Request, Path], Awaitable[int]]
    ) -> Path:
        """The file of a request, which has got its place among those that are worked on.

        Args:
            stack: the file is deleted, and the place is free, when it is closed.
            receive: writes the request's content to a path, and returns its bytes.

        Raises:
            Refusal: it cannot come in.
        """
        visit: Visit = request.state.visit
        path = stack.enter_context(self.uploads.new_file())
        with self.doors.sending():
            begun_sec = time.monotonic()
            visit.num_bytes = await receive(request, path)
            visit.upload_sec = time.monotonic() - begun_sec
            self.metrics.upload_sec.observe(visit.upload_sec)
        stack.enter_context(self.doors.inside())
        return path

    def note(self, visit: Visit, read_sec: float | None, model_sec: float) -> None:
        """Count what an answer took; the log says what all answers to a request did. None: nothing was decoded."""
        if read_sec is not None:
            self.metrics.read_sec.observe(read_sec)
            visit.read_sec = (visit.read_sec or 0.0) + read_sec
        self.metrics.model_sec.observe(model_sec)
        visit.model_sec = (visit.model_sec or 0.0) + model_sec

    def categories(self, prediction: Prediction) -> list[dict[str, Any]]:
        """The best classes, as all interfaces write them."""
        _, scores, class_ids = prediction.plain()
        return [
            {"id": class_id, "name": class_name(class_id, self.model.class_names), "score": score}
            for class_id, score in zip(class_ids, scores, strict=True)
        ]


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The result of some work, which is dropped as soon as the client is gone; its request was read to the end.

    Raises:
        ClientDisconnect: it is gone.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_has_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect()
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _has_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
