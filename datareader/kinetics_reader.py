"""Joins records, sampling, decoding and transforms into a data set of clips. Knows no model, no ranks."""

import time
from typing import NamedTuple

import numpy as np

from datareader import transforms
from datareader.decode import VideoError, decode_pkl, decode_video
from datareader.records import Record
from datareader.sampling import segment_indices

FRAMES_STREAM, VIEW_STREAM = 0, 1  # a sample's two random streams: frames may be picked twice, the view must not notice


class Sample(NamedTuple):
    """What is known of a clip besides its pixels."""

    is_readable: bool
    """False where no video could be read; the pixels mean nothing then."""
    label: int
    """Class number; -1 where none is known."""
    index: int
    """The record that was asked for."""
    video_id: str
    """The name in the list, or the id stored in a pkl."""
    broken: list[list]
    """[index, reason] of each record that could not be read on the way to this clip."""
    in_order: list[list]
    """[index, reason] of the record if selective decoding had to decode it in order."""
    read_sec: float
    """Seconds that reading took, those spent on unreadable records included."""


class KineticsReader:
    """The clips of a list: all randomness of a sample comes from seed, epoch and index.

    Args:
        records: the list.
        clip_format: "mp4" or "pkl".
        decoder, timeout_sec: see `decode_video`.
        seg_num, seglen: see `segment_indices`.
        short_size, target_size: pixels, see datareader/transforms.py.
        num_classes: labels stored in pkl files must lie below it; None where labels do not matter.
        seed: of the random draws in training; None gives the middle frames and the crops.
        num_clips: see `segment_indices`; 1 in training.
        crop: a key of transforms.CROPS; of no effect in training.
        max_broken: in training, after how many unreadable records in a row the search for a readable one ends.
    """

    def __init__(
        self,
        records: list[Record],
        *,
        clip_format: str,
        decoder: str = "selective",
        timeout_sec: float | None = None,
        seg_num: int,
        seglen: int,
        short_size: int,
        target_size: int,
        num_classes: int | None = None,
        seed: int | None = None,
        num_clips: int = 1,
        crop: str = "center",
        max_broken: int = 0,
    ):
        self.records = records
        self.clip_format = clip_format
        self.decoder = decoder
        self.timeout_sec = timeout_sec
        self.seg_num = seg_num
        self.seglen = seglen
        self.short_size = short_size
        self.target_size = target_size
        self.num_classes = num_classes
        self.seed = seed
        self.num_clips = num_clips
        self.crop = crop
        self.max_broken = max_broken

    def __len__(self) -> int:
        return len(self.records)

    @property
    def num_views(self) -> int:
        """Views of a video: clips x crops; 1 in training."""
        return 1 if self.seed is not None else self.num_clips * self.num_crops

    @property
    def num_crops(self) -> int:
        """Crops of a frame, outside of training."""
        return len(transforms.CROPS[self.crop](self.target_size, self.target_size, self.target_size))

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """Of a video's pixels, view after view: (num_views * seg_num * seglen, 3, target_size, target_size)."""
        return (self.num_views * self.seg_num * self.seglen, 3, self.target_size, self.target_size)

    def read(self, epoch: int, index: int, clip: np.ndarray) -> Sample:
        """Read the clip of a record; in training, the next readable one of the list if that cannot be read.

        Args:
            epoch: counted from 0.
            index: the record's place in the list.
            clip: uint8 of `clip_shape`, overwritten with the clip's pixels.
        """
        broken, started_sec = [], time.perf_counter()
        for attempt in range(1 + (self.max_broken if self.seed is not None else 0)):
            position = (index + attempt) % len(self.records)
            record = self.records[position]
            try:
                label, video_id, doubt = self._read(record, epoch, position, clip)
            except VideoError as error:
                broken.append([position, str(error)])
                continue
            in_order, read_sec = [[position, doubt]] if doubt else [], time.perf_counter() - started_sec
            return Sample(True, -1 if label is None else label, index, video_id, broken, in_order, read_sec)
        record, read_sec = self.records[index], time.perf_counter() - started_sec
        return Sample(False, -1 if record.label is None else record.label, index, record.name, broken, [], read_sec)

    def cut(self, pictures: list[np.ndarray]) -> np.ndarray:
        """The crops of a clip's pictures, which have been resized: uint8 (num_crops * T, 3, H, W), crop after crop."""
        height, width = pictures[0].shape[:2]
        views = transforms.CROPS[self.crop](width, height, self.target_size)
        clip = np.empty((len(views) * len(pictures), *self.clip_shape[1:]), np.uint8)
        _cut(clip, pictures, views, len(pictures))
        return clip

    def _read(self, record: Record, epoch: int, index: int, clip: np.ndarray) -> tuple[int | None, str, str]:
        is_training = self.seed is not None

        def pick_indices(num_frames: int) -> np.ndarray:
            rng = np.random.default_rng([self.seed, epoch, index, FRAMES_STREAM]) if is_training else None
            return segment_indices(num_frames, self.seg_num, self.seglen, rng, self.num_clips)

        if self.clip_format == "pkl":
            video_id, label, frames = decode_pkl(record.path, pick_indices)
            label, doubt = self._checked(label), ""
        else:
            frames, doubt = decode_video(record.path, pick_indices, self.decoder, self.timeout_sec)
            video_id, label = record.name, record.label
        frames = transforms.resize(frames, self.short_size)
        height, width = frames[0].shape[:2]
        if is_training:
            rng = np.random.default_rng([self.seed, epoch, index, VIEW_STREAM])
            views = [transforms.random_view(width, height, self.target_size, rng)]
        else:
            views = transforms.CROPS[self.crop](width, height, self.target_size)
        _cut(clip, frames, views, self.seg_num * self.seglen)
        return label, video_id, doubt

    def _checked(self, label: object) -> int | None:
        if self.num_classes is None:
            return None
        if not isinstance(label, int) or not 0 <= label < self.num_classes:
            raise VideoError(f"its stored label {label!r} is outside 0..{self.num_classes - 1}")
        return label


def _cut(clip: np.ndarray, frames: list[np.ndarray], views: list[transforms.View], length: int) -> None:
    """Fill a video's place in the batch: of each run of `length` frames each view, one after the other."""
    parts = iter(np.split(clip, len(clip) // length))
    for start in range(0, len(frames), length):
        for view in views:
            transforms.crop_into(next(parts), frames[start : start + length], view)
