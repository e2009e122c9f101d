"""Batches of clips, made by worker processes; each rank reads its share."""

import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import paddle

from datareader.ahead import read_ahead
from datareader.order import Order
from datareader.reader import ClipReader
from datareader.records import Record
from datareader.workers import SHARED_MEMORY, EndsWorker, Workers, stand_apart

PREFETCH_FACTOR = 2  # batches that each worker prepares ahead

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """The readable clips of one step. N may be smaller than the batch size, and 0."""

    frames: paddle.Tensor | None
    """uint8 (N, T, 3, H, W), where T counts the frames of all views; None if N is 0."""
    labels: paddle.Tensor | None
    """int64 (N,); -1 where no label is known; multi-label: float32 (N, K), 1 for true classes; None if N is 0."""
    indices: list[int]
    """The record that each row was asked for."""
    video_ids: list[str]
    """What results call each row."""
    unreadable: list[list]
    """[index, reason] of each record that could not be read."""
    in_order: list[list]
    """[index, reason] of each record that selective decoding had to decode in order."""
    read_sec: list[float]
    """Seconds that reading took, for each row."""


class Loader:
    """The batches of one rank, in an order that never depends on the number of workers.

    Args:
        reader: the data set.
        batch_size: clips per step over all ranks together.
        order: epoch -> the clips of it, int64 (as many as the reader has,); see datareader/order.py. None keeps the
            list's order.
        num_workers: processes that read; 0 reads in this one.
        rank, num_ranks: this rank reads its slice of each step.
        even_ranks: give every rank as many clips as the others at every step, as training needs; up to num_ranks - 1
            clips of an epoch's last step are left out for it. Otherwise each clip is read exactly once.
    """

    def __init__(
        self,
        reader: ClipReader,
        batch_size: int,
        *,
        order: Order | None = None,
        num_workers: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        even_ranks: bool = False,
    ):
        self.reader = reader
        self._batches = _Batches(len(reader), batch_size, order, rank, num_ranks, even_ranks)
        self._workers = None
        self.num_workers = num_workers
        self.shared_bytes = 0
        """Shared memory that batches may take which are under way."""
        self.in_order: dict[int, str] = {}
        """{index: reason} of the epoch's videos so far that selective decoding had to decode in order."""
        largest_batch = -(-batch_size // num_ranks)
        if num_workers == 0:
            self._batch_reader = BatchReader(reader, largest_batch, reuse_array=True)
            return
        clip_bytes = int(np.prod(reader.clip_shape))
        # those that the workers prepare, the one in use, and one to spare
        under_way_bytes = clip_bytes * largest_batch * (num_workers * PREFETCH_FACTOR + 2)
        use_shared_memory = _fits_shared_memory(under_way_bytes * num_ranks)  # as if all ranks ran on this machine
        self.shared_bytes = under_way_bytes if use_shared_memory else 0
        self._workers = Workers(
            paddle.io.DataLoader(
                # a batch that travels through a pipe is still needed while the next one is read
                EndsWorker(BatchReader(reader, largest_batch, reuse_array=use_shared_memory)),
                batch_sampler=self._batches,
                collate_fn=_only_item,
                num_workers=num_workers,
                prefetch_factor=PREFETCH_FACTOR,
                persistent_workers=True,
                use_shared_memory=use_shared_memory,
                worker_init_fn=stand_apart,
            )
        )

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self._batches)

    def start_workers(self) -> None:
        """Start the processes that read, which `epoch` would do otherwise.

        A small process is forked into small ones: before there is a model, they hold no copies of its weights.
        """
        if self._workers:
            self._workers.start()

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, counted from 0, from a step of it on.

        Once begun, it has to be read to its end before the next one: Paddle's workers cannot drop what they have.

        Raises:
            ReadingFailed: a worker has died.
        """
        self.start_workers()
        self._batches.begin_epoch(epoch, first_step)
        self.in_order = {}
        # without workers Paddle's DataLoader would read in a thread, and wait for ever if that fails
        for fields in self._workers or (self._batch_reader[keys] for (keys,) in self._batches):
            batch = _as_batch(fields)
            self.in_order.update(batch.in_order)
            yield batch

    def in_order_summary(self) -> str:
        """How many these are, and why, as text; empty if there were none."""
        if not self.in_order:
            return ""
        reasons = ", ".join(f"{number}: {reason}" for reason, number in Counter(self.in_order.values()).most_common())
        return f"{len(self.in_order)} of {len(self.reader)} videos were decoded in order, more slowly ({reasons})"

    def __del__(self):
        if getattr(self, "_workers", None):
            self._workers.end()


class _Batches(paddle.io.BatchSampler):
    """Each step's (epoch, index) keys, as one item. The epoch travels with them, so workers live on between epochs."""

    def __init__(
        self, num_clips: int, batch_size: int, order: Order | None, rank: int, num_ranks: int, even_ranks: bool
    ):
        self.num_clips = num_clips
        self.batch_size = batch_size
        self.order = order
        self.rank = rank
        self.num_ranks = num_ranks
        self.even_ranks = even_ranks
        self.begin_epoch(0, first_step=len(self))  # nothing is read until one is asked for

    def begin_epoch(self, epoch: int, first_step: int = 0) -> None:
        """The steps of this epoch are the next ones, from first_step on."""
        self.epoch, self.first_step = epoch, first_step

    def __len__(self) -> int:
        num_clips = self.num_clips
        if self.even_ranks and num_clips % self.batch_size < self.num_ranks:
            num_clips -= num_clips % self.batch_size
        return -(-num_clips // self.batch_size)

    def __iter__(self) -> Iterator[list[list[tuple[int, int]]]]:
        order = self.order(self.epoch) if self.order else np.arange(self.num_clips)
        for step in range(self.first_step, len(self)):
            step_clips = order[step * self.batch_size : (step + 1) * self.batch_size]
            if self.even_ranks:
                step_clips = step_clips[: len(step_clips) - len(step_clips) % self.num_ranks]
            yield [[(self.epoch, int(index)) for index in np.array_split(step_clips, self.num_ranks)[self.rank]]]


class BatchReader:
    """What a worker holds: a step's keys -> a placeholder and the fields of a Batch, with numpy arrays for tensors.

    Each clip is read straight into its place in the batch's array. The placeholder is there because Paddle's DataLoader
    waits for ever for a batch that holds no array.

    Args:
        reader: the data set.
        largest_batch: clips.
        reuse_array: use the same array for every batch; whoever gets a batch has to copy it before asking for the next.
    """

    def __init__(self, reader: ClipReader, largest_batch: int, reuse_array: bool):
        self.reader = reader
        self.largest_batch = largest_batch
        self.reuse_array = reuse_array
        self._array: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, keys: list[tuple[int, int]]) -> list:
        if self._array is None or not self.reuse_array:
            self._array = np.empty((self.largest_batch, *self.reader.clip_shape), np.uint8)
        samples, num_readable = [], 0
        for epoch, index in keys:
            samples.append(self.reader.read(epoch, index, self._array[num_readable]))
            num_readable += samples[-1].is_readable
        readable = [sample for sample in samples if sample.is_readable]
        return [
            np.zeros(1, dtype=np.int64),
            self._array[:num_readable] if readable else None,
            self.reader.label_array(readable) if readable else None,
            [sample.index for sample in readable],
            [sample.video_id for sample in readable],
            [entry for sample in samples for entry in sample.unreadable],
            [entry for sample in samples for entry in sample.in_order],
            [sample.read_sec for sample in readable],
        ]


def read_one_by_one(reader: ClipReader, records: Iterable[Record]) -> Iterator[Batch]:
    """A batch of each record as it comes, read in this process; the reader's list of records grows with them.

    The next record is awaited and read in a thread while a batch is used.
    """
    batch_reader = BatchReader(reader, 1, reuse_array=False)

    def read() -> Iterator[list]:
        for record in records:
            reader.records.append(record)
            yield batch_reader[[(0, len(reader.records) - 1)]]

    for fields in read_ahead(read()):
        yield _as_batch(fields)


def _as_batch(fields: list) -> Batch:
    """The batch in what a BatchReader gives, or in what Paddle's DataLoader has made of that."""
    return Batch(*(paddle.to_tensor(field) if isinstance(field, np.ndarray) else field for field in fields[1:]))


def _only_item(items: list) -> list:
    return items[0]


def _fits_shared_memory(needed: int) -> bool:
    """Whether the batches that are under way fit into shared memory; a batch beyond it would kill the process."""
    if not SHARED_MEMORY.is_dir():
        return False
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        logger.warning(
            "reader: %s has %.0f MB free and %.0f MB may be needed, so batches travel through pipes, more slowly; "
            "a larger one (docker run --shm-size) or fewer num_reader_threads helps",
            SHARED_MEMORY,
            free / 1e6,
            needed / 1e6,
        )
    return needed <= free
