"""Micro-batches: serving/batching.py with an engine that a test holds."""

import asyncio
import threading

import numpy as np
import pytest

from inference.engines.engine import Classified
from serving.batching import Batcher


class HeldEngine:
    """Says of each clip the sum of its pixels, once it may go on.

    Args:
        in_flight: see `Engine`.
    """

    title = "held"

    def __init__(self, in_flight: int = 1):
        self.in_flight = in_flight
        self.may_go_on = threading.Event()
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, frames) -> Classified:
        return self.start(frames)()

    def start(self, frames):
        clips = frames.numpy().astype(np.float32)
        self.shapes.append(clips.shape)
        sums = clips.reshape(len(clips), -1).sum(axis=1, keepdims=True)

        def wait() -> Classified:
            self.may_go_on.wait(60)
            if (sums < 0.5).any():
                raise RuntimeError("a black clip")
            return Classified(np.hstack([sums, -sums]), sums)

        if self.in_flight > 1:
            return wait
        answer = wait()
        return lambda: answer


def clip(value: int, num_frames: int = 2) -> np.ndarray:
    return np.full((num_frames, 3, 4, 4), value, np.uint8)


def classified(engine: HeldEngine, clips: list[np.ndarray], num_views: int = 1, **settings) -> list:
    """What comes of clips that are asked for while the engine is busy with a first one."""

    async def ask_all() -> list:
        batcher = Batcher(engine, **({"max_clips": 8, "max_frames": 1000} | settings))
        first = asyncio.ensure_future(batcher.classify(clip(1), 1))
        while not engine.shapes:
            await asyncio.sleep(0.001)
        others = [asyncio.ensure_future(batcher.classify(one, num_views)) for one in clips]
        await asyncio.sleep(0)  # they are in the line now
        engine.may_go_on.set()
        answers = await asyncio.gather(*others, return_exceptions=True)
        await first
        batcher.close()
        return answers

    return asyncio.run(ask_all())


def test_what_waits_is_one_batch_and_each_gets_its_own():
    engine, sizes = HeldEngine(), []
    answers = classified(engine, [clip(value) for value in range(2, 7)], observe=sizes.append)
    assert engine.shapes == [(1, 2, 3, 4, 4), (5, 2, 3, 4, 4)] and sizes == [1, 5]
    for value, answer in zip(range(2, 7), answers, strict=True):
        assert answer.probabilities.tolist() == [[96 * value, -96 * value]] and answer.features.shape == (1, 1)


def test_a_batch_has_no_more_clips_than_it_may():
    engine = HeldEngine()
    classified(engine, [clip(2)] * 7, max_clips=3)
    assert [shape[0] for shape in engine.shapes] == [1, 3, 3, 1]


def test_clips_of_other_shapes_or_views_do_not_share_a_batch():
    engine = HeldEngine()
    answers = classified(engine, [clip(2), clip(3), clip(4, num_frames=1), clip(5)])
    assert [shape[:2] for shape in engine.shapes] == [(1, 2), (2, 2), (1, 1), (1, 2)]
    assert [answer.features.item() for answer in answers] == [192, 288, 192, 480]


def test_the_views_of_a_clip_are_averaged():
    engine = HeldEngine()
    views = np.concatenate([clip(2), clip(4)])
    (answer,) = classified(engine, [views], num_views=2)
    assert answer.features.tolist() == [[96 * 3]] and engine.shapes[-1] == (2, 2, 3, 4, 4)


def test_an_error_reaches_those_of_its_batch_only():
    engine = HeldEngine()
    answers = classified(engine, [clip(0), clip(3), clip(3, num_frames=1)])
    assert [str(answer) for answer in answers[:2]] == ["a black clip"] * 2
    assert answers[2].features.item() == 144


def test_an_engine_with_requests_in_flight_gets_the_clips_one_by_one():
    engine = HeldEngine(in_flight=3)
    answers = classified(engine, [clip(value) for value in (2, 3, 4)])
    assert [shape[0] for shape in engine.shapes] == [1] * 4
    assert [answer.features.item() for answer in answers] == [192, 288, 384]


def test_a_clip_that_comes_alone_has_an_engine_of_its_own():
    many, lone = HeldEngine(in_flight=2), HeldEngine(in_flight=2)
    many.may_go_on.set()

    async def run() -> None:
        batcher = Batcher(many, max_clips=8, max_frames=1000, lone_engine=lone)
        first = asyncio.ensure_future(batcher.classify(clip(1), 1))
        while not lone.shapes:
            await asyncio.sleep(0.001)
        others = await asyncio.gather(*(batcher.classify(clip(value), 1) for value in (2, 3)))
        assert [one.features.item() for one in others] == [192, 288], "they do not wait for the one before"
        lone.may_go_on.set()
        assert (await first).features.item() == 96
        while batcher._num_running:
            await asyncio.sleep(0.001)
        assert (await batcher.classify(clip(4), 1)).features.item() == 384
        batcher.close()

    asyncio.run(run())
    assert len(lone.shapes) == 2 and len(many.shapes) == 2


def test_what_nobody_waits_for_is_not_computed():
    engine = HeldEngine()

    async def run() -> None:
        batcher = Batcher(engine, max_clips=1, max_frames=1000)
        first = asyncio.ensure_future(batcher.classify(clip(1), 1))
        while not engine.shapes:
            await asyncio.sleep(0.001)
        left, stayed = (asyncio.ensure_future(batcher.classify(clip(value), 1)) for value in (2, 3))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
        engine.may_go_on.set()
        assert (await stayed).features.item() == 288 and (await first).features.item() == 96
        with pytest.raises(asyncio.CancelledError):
            await left
        assert await batcher.run(lambda: threading.current_thread().name) == "engine"
        batcher.close()

    asyncio.run(run())
    assert len(engine.shapes) == 2
