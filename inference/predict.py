"""Batches -> predictions: an engine run over the views of each video, gathered over ranks, in the list's order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import paddle

from datareader.loader import Batch
from datareader.reader import ClipReader
from datareader.records import Record
from distributed.ranks import Ranks
from distributed.signals import StopRequest
from evaluation.predictions import NOTHING, Prediction, sort_classes
from inference.engines.engine import Classified, Engine


class Step(NamedTuple):
    """What came of one step."""

    predictions: list[Prediction]
    """The predictions of all ranks, in the list's order; those of the steps, one after the other, follow it too."""
    seen: list[tuple[Record, Prediction, paddle.Tensor]]
    """The readable videos of this rank, with the frames of their first view, uint8 (T, 3, H, W)."""


def predict(
    engine: Engine,
    batches: Iterable[Batch],
    reader: ClipReader,
    *,
    max_frames: int | None = None,
    keep_features: bool = False,
    ranks: Ranks = Ranks(),
    stop: StopRequest | None = None,
) -> Iterator[Step]:
    """Classify every video once; its probabilities and features are averaged over its views.

    Args:
        batches: what `reader` has read, in the list's order.
        max_frames: the engine gets no more at once, but for one whole view at least; None: all.
        keep_features: whether predictions carry features.
        stop: ends the steps, on all ranks, after the one in which a rank was asked to stop.

    The engine begins with a batch before the answer to the one before is waited for, as far as its `in_flight` goes.
    """
    under_way: deque[_Started] = deque()

    def finish() -> Step:
        started = under_way.popleft()
        own = _predictions(started, reader.records, keep_features)
        view_frames, batch = reader.sampling.frames_per_clip, started.batch
        frames = zip(batch.indices, batch.frames if batch.indices else (), strict=False)
        seen = [(reader.records[index], own[index], clip[:view_frames]) for index, clip in frames]
        return Step(_gather([own[index] for index in sorted(own)], ranks, stop), seen)

    for batch in batches:
        answer = start_views(engine, batch.frames, reader.num_views, max_frames) if batch.indices else None
        under_way.append(_Started(batch, answer))
        while sum(max(len(started.batch.indices), 1) for started in under_way) >= engine.in_flight:
            yield finish()
            if stop and stop.signal_number:
                return
    while under_way:
        yield finish()
        if stop and stop.signal_number:
            return


def classify_views(engine: Engine, frames: paddle.Tensor, num_views: int, max_frames: int | None = None) -> Classified:
    """What an engine says of clips, averaged over their views.

    Args:
        frames: uint8 (N, num_views * T, 3, H, W), view after view.
        max_frames: see `predict`.
    """
    return start_views(engine, frames, num_views, max_frames)()


def start_views(
    engine: Engine, frames: paddle.Tensor, num_views: int, max_frames: int | None
) -> Callable[[], Classified]:
    """Let an engine begin as `classify_views` does; what is returned waits for the answer."""
    num_clips, num_frames, *picture = frames.shape
    view_frames = num_frames // num_views
    views = frames.reshape([num_clips * num_views, view_frames, *picture])
    at_once = max((max_frames or len(views) * view_frames) // view_frames, 1)
    *firsts, last = range(0, len(views), at_once)
    parts = [engine(views[start : start + at_once]) for start in firsts]
    wait = engine.start(views[last:])

    def answer() -> Classified:
        probabilities, features = (np.concatenate(arrays) for arrays in zip(*parts, wait(), strict=True))
        if num_views == 1:
            return Classified(probabilities, features)
        return Classified(
            *(array.reshape(num_clips, num_views, -1).mean(axis=1) for array in (probabilities, features))
        )

    return answer


class _Started(NamedTuple):
    """A batch that an engine has begun with."""

    batch: Batch
    answer: Callable[[], Classified] | None
    """Waits for what it says of the rows; None if there are none."""


def _predictions(started: _Started, records: Sequence[Record], keep_features: bool) -> dict[int, Prediction]:
    """This rank's predictions by place in the list: the batch's rows and its unreadable videos."""
    batch, found = started.batch, {}
    for index, problem in batch.unreadable:
        record = records[index]
        label = -1 if record.label is None else record.label
        found[index] = Prediction(record.name, record.name, label=label, problem=problem, labels=record.labels)
    if not started.answer:
        return found
    classified = started.answer()
    probabilities, class_ids = sort_classes(classified.probabilities)
    # a multi-label list has its labels in the records, a pkl its label in the file
    labels = batch.labels.tolist() if batch.labels.ndim == 1 else [-1] * len(batch.indices)
    for row, index in enumerate(batch.indices):
        found[index] = Prediction(
            records[index].name,
            batch.video_ids[row],
            probabilities[row],
            class_ids[row],
            classified.features[row] if keep_features else NOTHING,
            labels[row],
            batch.read_sec[row],
            labels=records[index].labels,
        )
    return found


def _gather(own: list[Prediction], ranks: Ranks, stop: StopRequest | None) -> list[Prediction]:
    """Every rank's predictions; a stop that one of them was asked for is asked of all."""
    if ranks.num_ranks == 1:
        return own
    signal_number = stop.signal_number if stop else 0
    everyones = ranks.exchange([signal_number, [prediction.as_json() for prediction in own]])
    if stop:
        stop.signal_number = max(number for number, _ in everyones)
    return [Prediction.from_json(fields) for _, part in everyones for fields in part]
