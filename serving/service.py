"""A video's file -> what the model says of it. Knows no HTTP but the statuses of refusals."""

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import paddle
from PIL import Image

from evaluation.predictions import Prediction, sort_classes
from inference.cam import class_maps
from inference.engines.eager import EagerPaddle
from inference.engines.engine import Classified, Engine
from inference.pictures import heated
from serving.batching import Batcher
from serving.decoders import Decoders
from serving.limits import Limits
from serving.refusals import Refusal

JPEG_QUALITY = 85

Result = TypeVar("Result")


class Pictures(NamedTuple):
    """What the model saw, as data URLs of JPEG."""

    frames: list[str]
    """One of each segment, of the first view."""
    heat_maps: list[str] | None
    """The same with the best class's heat map; None: the engine has none."""


class Answer(NamedTuple):
    """What is said of a video, or of a window of it."""

    prediction: Prediction
    """The best classes, with features."""
    read_sec: float
    model_sec: float
    pictures: Pictures | None = None


class WindowAnswer(NamedTuple):
    start_sec: float
    end_sec: float
    answer: Answer


class ClipShape(NamedTuple):
    """What a clip's pixels are made of, view after view."""

    num_views: int
    """Of a video: clips x crops."""
    num_crops: int
    """Of a window, which is one clip."""
    seglen: int
    """Frames of a segment."""


class Service:
    """Decoders and an engine that work for many requests at once.

    Args:
        engine: that of the batcher; heat maps are made of it, if it is one that has them.
        shape: how many frames and views a video comes as.
    """

    def __init__(self, engine: Engine, decoders: Decoders, batcher: Batcher, limits: Limits, shape: ClipShape):
        self.decoders = decoders
        self.batcher = batcher
        self.limits = limits
        self.has_heat_maps = isinstance(engine, EagerPaddle)
        self._engine = engine
        self._shape = shape

    async def classify(self, path: Path, top_k: int, wants_pictures: bool = False) -> Answer:
        """What the model says of a whole video.

        Raises:
            Refusal: the video cannot be read, or it takes too long.
        """
        return await self._in_time(self._classify(path, top_k, wants_pictures))

    async def timeline(
        self, path: Path, top_k: int, window_sec: float, stride_sec: float
    ) -> AsyncIterator[WindowAnswer]:
        """What the model says of each window, while the video is read.

        Raises:
            Refusal: as `classify` does, for each window.
        """
        windows = self.decoders.windows(path, window_sec, stride_sec)
        try:
            while True:
                begun_sec = time.monotonic()
                window = await self._in_time(anext(windows, None))
                if window is None:
                    return
                read_sec = time.monotonic() - begun_sec
                answer = await self._in_time(self._answer(window.pixels, self._shape.num_crops, top_k, read_sec))
                yield WindowAnswer(window.start_sec, window.end_sec, answer)
        finally:
            await windows.aclose()

    async def classify_frames(self, clips: np.ndarray) -> Classified:
        """What the engine says of clips, uint8 (N, T, 3, H, W): arrays of N rows.

        Raises:
            Refusal: it takes too long.
        """
        rows = await self._in_time(asyncio.gather(*(self.batcher.classify(clip, 1) for clip in clips)))
        return Classified(*map(np.concatenate, zip(*rows, strict=True)))

    async def _classify(self, path: Path, top_k: int, wants_pictures: bool) -> Answer:
        clip = await self.decoders.clip(path)
        answer = await self._answer(clip.pixels, self._shape.num_views, top_k, clip.read_sec)
        if not wants_pictures:
            return answer
        frames = clip.pixels[: len(clip.pixels) // self._shape.num_views]
        return answer._replace(pictures=await self._pictures(frames, int(answer.prediction.class_ids[0])))

    async def _answer(self, pixels: np.ndarray, num_views: int, top_k: int, read_sec: float) -> Answer:
        begun_sec = time.monotonic()
        classified = await self.batcher.classify(pixels, num_views)
        probabilities, class_ids = sort_classes(classified.probabilities)
        best = Prediction("", "", probabilities[0], class_ids[0]).top(top_k)
        return Answer(best._replace(features=classified.features[0]), read_sec, time.monotonic() - begun_sec)

    async def _pictures(self, frames: np.ndarray, class_id: int) -> Pictures:
        """Those of a clip, uint8 (T, 3, H, W)."""
        shown = frames[:: self._shape.seglen].transpose(0, 2, 3, 1)
        heat_maps = None
        if self.has_heat_maps:
            model = self._engine.model
            maps = await self.batcher.run(
                lambda: class_maps(model, paddle.to_tensor(frames[None]), [class_id])[0].numpy()
            )
            heat_maps = await asyncio.to_thread(_data_urls, heated(shown, maps))
        return Pictures(await asyncio.to_thread(_data_urls, shown), heat_maps)

    async def _in_time(self, work: Awaitable[Result]) -> Result:
        try:
            return await asyncio.wait_for(work, self.limits.timeout_sec)
        except asyncio.TimeoutError:
            raise Refusal(504, f"no answer within {self.limits.timeout_sec:g} s: the server is busy", 10) from None


def _data_urls(pictures: np.ndarray) -> list[str]:
    """JPEG of uint8 (T, H, W, 3)."""
    urls = []
    for picture in pictures:
        with io.BytesIO() as file:
            Image.fromarray(picture).save(file, "JPEG", quality=JPEG_QUALITY)
            urls.append(f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}")
    return urls
