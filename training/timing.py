"""How long the parts of a run's steps take, on this machine, from a few of them."""

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from datareader.loader import Batch, Loader
from datareader.workers import ReadingFailed
from training.meter import ScoreMeter
from training.run import Run
from training.steps import evaluate, train_steps

LONGEST_SEC = 60.0  # for one measurement, but a step that is begun is ended
NUM_TIMED = 5


class StepTime(NamedTuple):
    """Seconds that a step of training or validation takes."""

    reading_sec: float
    """Of reading alone, for a batch."""
    computing_sec: float
    """Of computing alone, the same batch again and again."""
    together_sec: float
    """Of real steps; 0 where none was taken."""
    num_workers: int
    """Processes that read meanwhile; 0: reading and computing take turns."""

    @property
    def is_bound_by_reading(self) -> bool:
        return self.reading_sec > self.computing_sec

    @property
    def step_sec(self) -> float:
        """What a step of a long run takes: its slower part, or what real steps took, since both share the cores."""
        parts = (self.reading_sec, self.computing_sec)
        return max(max(parts) if self.num_workers else sum(parts), self.together_sec)


def seconds_each(items: Iterable, num_warm: int) -> list[float]:
    """Seconds that each item took to come, those of the first `num_warm` left out unless they took all the time."""
    durations, started_sec = [], time.perf_counter()
    for _ in items:
        now_sec = time.perf_counter()
        durations.append(now_sec - started_sec)
        started_sec = now_sec
        if sum(durations) > LONGEST_SEC:
            break
    return durations[num_warm:] or durations


def endless(loader: Loader) -> Iterator[Batch]:
    """The batches of one epoch after the other."""
    for epoch in itertools.count():
        yield from loader.epoch(epoch)


def time_training(run: Run) -> StepTime:
    """Time a run's steps, of which a few are taken.

    Raises:
        ReadingFailed: not one video of the first batches can be read.
    """
    batches = endless(run.train_loader)
    reading_sec, batch = _time_reading(batches, run.train_loader.num_workers)
    together = seconds_each(_steps(run, itertools.islice(batches, 2 + NUM_TIMED)), num_warm=2)
    computing = seconds_each(_steps(run, itertools.repeat(batch, 1 + NUM_TIMED)), num_warm=1)
    return StepTime(reading_sec, float(np.median(computing)), float(np.median(together)), run.train_loader.num_workers)


def time_validation(run: Run) -> StepTime:
    """Time a run's validation.

    Raises:
        ReadingFailed: not one video of the first batches can be read.
    """
    loader = run.valid_loader
    reading_sec, batch = _time_reading(endless(loader), loader.num_workers)
    computing = seconds_each((_evaluate_once(run, batch) for _ in range(1 + NUM_TIMED)), num_warm=1)
    return StepTime(reading_sec, float(np.median(computing)), 0.0, loader.num_workers)


def _evaluate_once(run: Run, batch: Batch) -> None:
    evaluate(run.model, [batch], ScoreMeter(), loss=run.valid_loss)


def _time_reading(batches: Iterator[Batch], num_workers: int) -> tuple[float, Batch]:
    """Seconds per batch, and the largest of the batches."""
    largest: list[Batch] = []

    def watched() -> Iterator[None]:
        for batch in itertools.islice(batches, num_workers + max(NUM_TIMED, 2 * num_workers)):
            largest[:] = [max([*largest, batch], key=lambda one: len(one.indices))]
            yield

    # workers bring their batches all at the same time: a median would tell nothing
    reading_sec = float(np.mean(seconds_each(watched(), num_warm=num_workers)))
    if not largest[0].indices:
        raise ReadingFailed("not one video of the first batches can be read; repair the list")
    return reading_sec, largest[0]


def _steps(run: Run, batches: Iterable[Batch]) -> Iterator[None]:
    """Take steps, each of which the device has ended when it is yielded."""
    meter = ScoreMeter()
    # never at a log line, which costs time of its own
    for _ in train_steps(run.learner, batches, meter, 10**9, first_step=run.state.step, first_iteration=1):
        np.asarray(meter.sums)
        yield
