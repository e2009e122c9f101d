"""Batches of clips, made by worker processes; each rank reads its share. A rank is a number here."""

import logging
import os
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import paddle

from datareader.kinetics_reader import KineticsReader, Sample

PREFETCH_FACTOR = 2  # batches that each worker prepares ahead
SHARED_MEMORY = "/dev/shm"

logger = logging.getLogger(__name__)


class Batch(NamedTuple):
    """The readable clips of one step. N may be smaller than the batch size, and 0."""

    frames: paddle.Tensor | None
    """uint8 (N, T, 3, H, W); None if N is 0."""
    labels: paddle.Tensor | None
    """int64 (N,); -1 where no label is known; None if N is 0."""
    indices: list[int]
    """The record that each row was asked for."""
    video_ids: list[str]
    """What results call each row."""
    broken: list[list]
    """[index, reason] of each record that could not be read."""


class Loader:
    """The batches of one rank, in an order that never depends on the number of workers.

    Args:
        reader: the data set.
        batch_size: clips per step over all ranks together.
        shuffle_seed: an epoch's order is drawn from (shuffle_seed, epoch); None keeps the list's order.
        num_workers: processes that read; 0 reads in this one.
        rank, num_ranks: this rank reads its slice of each step.
        even_ranks: give every rank as many clips as the others at every step, as training needs; up to num_ranks - 1
            clips of an epoch's last step are left out for it. Otherwise each clip is read exactly once.
    """

    def __init__(
        self,
        reader: KineticsReader,
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        num_workers: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        even_ranks: bool = False,
    ):
        self.reader = reader
        self._batches = _Batches(len(reader), batch_size, shuffle_seed, rank, num_ranks, even_ranks)
        self._workers = None
        if num_workers > 0:
            self._workers = paddle.io.DataLoader(
                reader,
                batch_sampler=self._batches,
                collate_fn=collate,
                num_workers=num_workers,
                prefetch_factor=PREFETCH_FACTOR,
                persistent_workers=True,
                use_shared_memory=_fits_shared_memory(reader, batch_size // num_ranks, num_workers),
            )

    def __len__(self) -> int:
        """Steps per epoch."""
        return len(self._batches)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, counted from 0."""
        self._batches.epoch = epoch
        # without workers Paddle's DataLoader would read in a thread, and wait for ever if that fails
        for _, *fields in self._workers or self._read_here():
            yield Batch(*fields)

    def _read_here(self) -> Iterator[list]:
        for keys in self._batches:
            fields = collate([self.reader[key] for key in keys])
            yield [paddle.to_tensor(field) if isinstance(field, np.ndarray) else field for field in fields]

    def __del__(self):
        # left to itself, Paddle stops workers that live on between epochs only after the interpreter has begun to exit
        iterator = getattr(getattr(self, "_workers", None), "_iterator", None)
        if iterator is not None:
            iterator._try_shutdown_all()


class _Batches(paddle.io.BatchSampler):
    """Lists of (epoch, index) keys. The epoch travels with the key, so workers live on from epoch to epoch."""

    def __init__(
        self, num_clips: int, batch_size: int, shuffle_seed: int | None, rank: int, num_ranks: int, even_ranks: bool
    ):
        self.num_clips = num_clips
        self.batch_size = batch_size
        self.shuffle_seed = shuffle_seed
        self.rank = rank
        self.num_ranks = num_ranks
        self.even_ranks = even_ranks
        self.epoch = 0

    def __len__(self) -> int:
        num_clips = self.num_clips
        if self.even_ranks and num_clips % self.batch_size < self.num_ranks:
            num_clips -= num_clips % self.batch_size
        return -(-num_clips // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.arange(self.num_clips)
        if self.shuffle_seed is not None:
            order = np.random.default_rng([self.shuffle_seed, self.epoch]).permutation(order)
        for step in range(len(self)):
            step_clips = order[step * self.batch_size : (step + 1) * self.batch_size]
            if self.even_ranks:
                step_clips = step_clips[: len(step_clips) - len(step_clips) % self.num_ranks]
            yield [(self.epoch, int(index)) for index in np.array_split(step_clips, self.num_ranks)[self.rank]]


def collate(samples: list[Sample]) -> list:
    """Samples -> a placeholder and the fields of a Batch, with numpy arrays in place of tensors.

    The placeholder is there because Paddle's DataLoader waits for ever for a batch that holds no array.
    """
    readable = [sample for sample in samples if sample.frames is not None]
    return [
        np.zeros(1, dtype=np.int64),
        np.stack([sample.frames for sample in readable]) if readable else None,
        np.array([sample.label for sample in readable], dtype=np.int64) if readable else None,
        [sample.index for sample in readable],
        [sample.video_id for sample in readable],
        [entry for sample in samples for entry in sample.broken],
    ]


def _fits_shared_memory(reader: KineticsReader, batch_size: int, num_workers: int) -> bool:
    """Whether the batches that are under way fit into shared memory; a batch beyond it would kill the process."""
    if not os.path.isdir(SHARED_MEMORY):
        return False
    batch_bytes = batch_size * reader.seg_num * reader.seglen * 3 * reader.target_size**2
    needed = batch_bytes * num_workers * (PREFETCH_FACTOR + 1)
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
