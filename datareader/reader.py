"""Joins records, sampling, decoding and transforms into a data set of clips. Knows no model, no ranks."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.console import count
from datareader.augment import RandomView
from datareader.decode import VideoError, decode_pkl, decode_video
from datareader.records import Record
from datareader.sampling import Sampling
from datareader.transforms import Views
from datareader.video import Bounds

FRAMES_STREAM, VIEW_STREAM = 0, 1  # a sample's two random streams: frames may be picked twice, the view must not notice


class Decoding(NamedTuple):
    """How files become pictures."""

    clip_format: str = "mp4"
    """ "mp4" for videos of any format, "pkl" for pickled JPEG frames."""
    decoder: str = "selective"
    """A key of datareader.decode.DECODERS."""
    timeout_sec: float | None = None
    """Time that one file may take; None: any."""
    num_threads: int = 1
    """How many may decode one video; see `decode_selectively`."""
    bounds: Bounds = Bounds()
    """What a video may be; pickled frames have none."""


class Sample(NamedTuple):
    """What is known of a clip besides its pixels."""

    is_readable: bool
    """False where no video could be read; the pixels mean nothing then."""
    label: int
    """Class number; -1 where none is known, and of a multi-label list."""
    index: int
    """The record that was asked for."""
    video_id: str
    """The name in the list, or the id stored in a pkl."""
    unreadable: list[list]
    """[index, reason] of each record that could not be read on the way to this clip."""
    in_order: list[list]
    """[index, reason] of the record if selective decoding had to decode it in order."""
    read_sec: float
    """Seconds that reading took, those spent on unreadable records included."""
    labels: tuple[int, ...] | None = None
    """Class numbers of a multi-label list."""


class ClipReader:
    """The clips of a list: all randomness of a sample comes from seed, epoch and index.

    Args:
        records: the list.
        decoding: how files become pictures.
        sampling: which pictures stand for a video.
        views: which part of the pictures is seen: a random one in training, fixed ones else.
        num_classes: labels stored in pkl files must lie below it; None where labels do not matter.
        multi_label: whether a video may have several classes.
        seed: seed of the random draws; None gives the middle frames.
        max_unreadable: in training, how many of the records after an unreadable one are tried in its place.
    """

    def __init__(
        self,
        records: Sequence[Record],
        decoding: Decoding,
        sampling: Sampling,
        views: Views | RandomView,
        *,
        num_classes: int | None = None,
        multi_label: bool = False,
        seed: int | None = None,
        max_unreadable: int = 0,
    ):
        self.records = records
        self.decoding = decoding
        self.sampling = sampling
        self.views = views
        self.num_classes = num_classes
        self.multi_label = multi_label
        self.seed = seed
        self.max_unreadable = max_unreadable

    def __len__(self) -> int:
        return len(self.records)

    @property
    def num_views(self) -> int:
        """Views of a video: clips x crops; 1 in training."""
        return self.sampling.num_clips * self.views.num_crops

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Shape of a video's pixels, view after view: (num_views * seg_num * seglen, 3, target_size, target_size)."""
        side = self.views.target_size
        return (self.num_views * self.sampling.frames_per_clip, 3, side, side)

    def describe(self) -> str:
        """How a video is looked at, in words."""
        clips = f"{self.sampling.num_clips} clips x " if self.sampling.num_clips > 1 else ""
        crops = f"{self.views.num_crops} crops" if self.views.num_crops > 1 else "the center crop"
        return f"{count(self.sampling.seg_num, 'segment')} x {clips}{crops} of {self.views.target_size} px"

    def read(self, epoch: int, index: int, clip: np.ndarray) -> Sample:
        """Read the clip of a record; in training, the next readable one of the list if that cannot be read.

        Args:
            epoch: counted from 0.
            index: the record's place in the list.
            clip: uint8 of `clip_shape`, overwritten with the clip's pixels.
        """
        unreadable, started_sec = [], time.perf_counter()
        for attempt in range(1 + (self.max_unreadable if self.seed is not None else 0)):
            position = (index + attempt) % len(self.records)
            try:
                label, video_id, doubt = self._read(self.records[position], epoch, position, clip)
            except VideoError as error:
                unreadable.append([position, str(error)])
                continue
            in_order, read_sec = [[position, doubt]] if doubt else [], time.perf_counter() - started_sec
            label, labels = -1 if label is None else label, self.records[position].labels
            return Sample(True, label, index, video_id, unreadable, in_order, read_sec, labels)
        record, read_sec = self.records[index], time.perf_counter() - started_sec
        label = -1 if record.label is None else record.label
        return Sample(False, label, index, record.name, unreadable, [], read_sec, record.labels)

    def label_array(self, samples: Sequence[Sample]) -> np.ndarray:
        """The labels of N samples: int64 (N,), or of a multi-label list float32 (N, num_classes), 1 for true classes.

        Where labels do not matter, a multi-label list has -1, int64 (N,), too.
        """
        if not self.multi_label or self.num_classes is None:
            return np.array([sample.label for sample in samples], dtype=np.int64)
        array = np.zeros((len(samples), self.num_classes), np.float32)
        for row, sample in zip(array, samples, strict=True):
            row[list(sample.labels)] = 1
        return array

    def _read(self, record: Record, epoch: int, index: int, clip: np.ndarray) -> tuple[int | None, str, str]:
        def rng(stream: int) -> np.random.Generator | None:
            return None if self.seed is None else np.random.default_rng([self.seed, epoch, index, stream])

        def pick_indices(num_frames: int) -> np.ndarray:
            return self.sampling.indices(num_frames, rng(FRAMES_STREAM))

        def prepare(picture: np.ndarray) -> np.ndarray:
            return self.views.prepare(picture, rng(VIEW_STREAM))

        if self.decoding.clip_format == "pkl":
            video_id, label, frames = decode_pkl(record.path, pick_indices, self.decoding.timeout_sec, prepare)
            label, doubt = self._checked(label), ""
        else:
            _, decoder, timeout_sec, num_threads, bounds = self.decoding
            frames, doubt = decode_video(record.path, pick_indices, decoder, timeout_sec, prepare, num_threads, bounds)
            video_id, label = record.name, record.label
        self.views.cut_into(clip, frames, self.sampling.frames_per_clip)
        return label, video_id, doubt

    def _checked(self, label: object) -> int | None:
        if self.num_classes is None:
            return None
        if type(label) is not int or not 0 <= label < self.num_classes:
            shown = f"{label} is outside" if type(label) is int else "is none of"  # what else it is may have no end
            raise VideoError(f"its stored label {shown} 0..{self.num_classes - 1}")
        return label
