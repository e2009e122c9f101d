"""The loops over batches: train_one_epoch, evaluate, predict. Know no TSN, no paths, no config.

A batch has `frames`, `labels`, `indices` (empty if no clip of it could be read) and `broken`; a meter has
`add(loss, logits, labels)`, `add_unreadable(number)`, `sums` and `scores()`. Both are handed in.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F

from engine.distributed import sum_over_ranks


class Interval(NamedTuple):
    """What happened since the last log line."""

    iteration: int
    """Of the last step, counted from 0 in its epoch."""
    scores: Any
    """The meter's scores over these steps."""
    learning_rate: float
    clips_per_sec: float
    """Of this rank."""
    wait_fraction: float
    """Share of the time spent waiting for data, 0 to 1."""


def train_one_epoch(
    model: paddle.nn.Layer,
    batches: Iterable[Any],
    optimizer: paddle.optimizer.Optimizer,
    learning_rate_at: Callable[[int], float],
    first_step: int,
    new_meter: Callable[[], Any],
    log_interval: int,
    on_interval: Callable[[Interval], None],
    on_broken: Callable[[list], None],
) -> tuple[int, Any]:
    """Take one optimizer step per batch, on the mean cross entropy of its clips.

    Args:
        learning_rate_at: step since the start of training -> learning rate.
        first_step: the first batch's step.
        new_meter: makes an empty meter.
        on_interval: called after the epoch's first step, then every `log_interval` steps.
        on_broken: called with each batch's broken entries; may raise to end training.

    Raises:
        ValueError: a batch without a readable clip.

    Returns:
        The step that comes next, and the scores over the epoch (each clip as the network saw it at its step).
    """
    model.train()
    step = first_step
    epoch_meter, meter, batches = new_meter(), new_meter(), Waiting(batches)
    started_sec, num_clips = time.perf_counter(), 0
    for iteration, batch in enumerate(batches):
        on_broken(batch.broken)
        if not batch.indices:
            raise ValueError("not one video of the training list can be read")
        learning_rate = learning_rate_at(step)
        optimizer.set_lr(learning_rate)
        logits = model(batch.frames)
        loss = F.cross_entropy(logits, batch.labels)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        step += 1
        meter.add(loss, logits, batch.labels)
        num_clips += len(batch.indices)
        if iteration % log_interval == 0:
            scores = meter.scores()  # fetches from the device, so it comes before the clock is read
            elapsed_sec = time.perf_counter() - started_sec
            on_interval(
                Interval(iteration, scores, learning_rate, num_clips / elapsed_sec, batches.waited_sec / elapsed_sec)
            )
            epoch_meter.sums = epoch_meter.sums + meter.sums
            meter = new_meter()
            started_sec, num_clips, batches.waited_sec = time.perf_counter(), 0, 0.0
    epoch_meter.sums = epoch_meter.sums + meter.sums
    return step, epoch_meter.scores()


@paddle.no_grad()
def evaluate(
    model: paddle.nn.Layer,
    batches: Iterable[Any],
    meter: Any,
    on_broken: Callable[[list], None],
    on_batch: Callable[[int, Any], None] = lambda iteration, meter: None,
    num_ranks: int = 1,
) -> Any:
    """Score every clip once; the unreadable ones count too.

    Args:
        meter: an empty one; it holds the sums over all ranks in the end.
        on_broken: called with each batch's broken entries.
        on_batch: called after each batch with its number and the meter so far.

    Returns:
        The meter's scores.
    """
    model.eval()
    for iteration, batch in enumerate(batches):
        on_broken(batch.broken)
        if batch.broken:
            meter.add_unreadable(len(batch.broken))
        if batch.indices:
            logits = model(batch.frames)
            meter.add(F.cross_entropy(logits, batch.labels), logits, batch.labels)
        on_batch(iteration, meter)
    meter.sums = sum_over_ranks(meter.sums, num_ranks)
    return meter.scores()


@paddle.no_grad()
def predict(
    model: paddle.nn.Layer, batches: Iterable[Any], on_broken: Callable[[list], None]
) -> Iterator[tuple[Any, np.ndarray]]:
    """Each batch with its softmax probabilities, float32 (N, K); a batch without a readable clip has none, (0, 0)."""
    model.eval()
    for batch in batches:
        on_broken(batch.broken)
        if batch.indices:
            yield batch, F.softmax(model(batch.frames), axis=1).numpy()
        else:
            yield batch, np.zeros((0, 0), np.float32)


class Waiting:
    """Iterates over batches and adds up the time spent waiting for them, in `waited_sec`."""

    def __init__(self, batches: Iterable[Any]):
        self.batches = batches
        self.waited_sec = 0.0

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self.batches)
        while True:
            started_sec = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self.waited_sec += time.perf_counter() - started_sec
            yield batch
