"""Clips of many requests -> micro-batches on one engine. A batch forms while the engine is busy; none is waited for."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

import numpy as np
import paddle

from inference.engines.engine import Classified, Engine
from inference.predict import start_views

Result = TypeVar("Result")


class Batcher:
    """Runs an engine in threads of its own, as many as it wants batches in flight.

    Args:
        engine: for many clips; not used by anybody else meanwhile.
        lone_engine: the same model for a clip that comes alone, which all threads compute; None: there is none.
        max_clips: clips of a batch, at most.
        max_frames: see `inference.predict.predict`.
        observe: told the number of clips of each batch.
    """

    def __init__(
        self,
        engine: Engine,
        max_clips: int,
        max_frames: int,
        observe: Callable[[int], None] = lambda clips: None,
        lone_engine: Engine | None = None,
    ):
        self._engine = engine
        self._lone_engine = lone_engine
        self._max_frames = max_frames
        # an engine that has several batches in flight is busy with small ones, whose clips are answered sooner
        self._max_clips = max_clips if engine.in_flight == 1 else 1
        self._observe = observe
        self._waiting: deque[_Wanted] = deque()
        self._num_running = 0
        self._changed = threading.Condition()
        self._one_starts = threading.Lock()
        self._is_over = False
        self._threads = [threading.Thread(target=self._run, name="engine") for _ in range(engine.in_flight)]
        for thread in self._threads:
            thread.start()

    async def classify(self, pixels: np.ndarray, num_views: int) -> Classified:
        """What the engine says of one clip, averaged over its views: arrays of one row.

        Args:
            pixels: uint8 (num_views * T, 3, H, W), view after view. Clips of one shape may share a batch.
        """
        return await self._ask(_Wanted(Future(), pixels, num_views, None))

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of something else that needs the engine's thread."""
        return await self._ask(_Wanted(Future(), None, 0, work))

    def close(self) -> None:
        """End the threads, once all that waits is done."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    async def _ask(self, wanted: "_Wanted") -> Any:
        with self._changed:
            self._waiting.append(wanted)
            self._changed.notify()
        return await asyncio.wrap_future(wanted.answer)

    def _run(self) -> None:
        while wanted := self._next():
            try:
                for one, answer in zip(wanted, self._answers(wanted, self._engine_for(wanted)), strict=True):
                    one.answer.set_result(answer)
            except Exception as error:  # whoever waits for it hears of it
                for one in wanted:
                    one.answer.set_exception(error)
            finally:
                with self._changed:
                    self._num_running -= 1

    def _next(self) -> list["_Wanted"]:
        """What is to be done together, which counts as running from now on; waits for it. Empty: nothing will come."""
        with self._changed:
            while True:
                wanted: list[_Wanted] = []
                while self._waiting and len(wanted) < self._max_clips and self._waiting[0].goes_with(wanted):
                    one = self._waiting.popleft()
                    if one.answer.set_running_or_notify_cancel():  # nobody waits for it any more
                        wanted.append(one)
                if wanted or self._is_over:
                    self._num_running += bool(wanted)
                    return wanted
                self._changed.wait()

    def _engine_for(self, wanted: list["_Wanted"]) -> Engine:
        with self._changed:
            is_alone = len(wanted) == self._num_running == 1 and not self._waiting
        return self._lone_engine if self._lone_engine and is_alone else self._engine

    def _answers(self, wanted: list["_Wanted"], engine: Engine) -> list[Any]:
        if wanted[0].work:
            return [wanted[0].work()]
        self._observe(len(wanted))
        with self._one_starts:
            frames = paddle.to_tensor(np.stack([one.pixels for one in wanted]))
            wait = start_views(engine, frames, wanted[0].num_views, self._max_frames)
        probabilities, features = wait()
        return [Classified(*row) for row in zip(probabilities[:, None], features[:, None], strict=True)]


class _Wanted(NamedTuple):
    """Something that waits for the engine."""

    answer: Future
    pixels: np.ndarray | None
    num_views: int
    work: Callable[[], Any] | None

    def goes_with(self, others: list["_Wanted"]) -> bool:
        """Whether it can share a batch with these."""
        if not others:
            return True
        if self.work or others[0].work:
            return False
        return self.pixels.shape == others[0].pixels.shape and self.num_views == others[0].num_views
