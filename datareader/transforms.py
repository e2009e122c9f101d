"""Frames -> a clip's pixels: resize, crop, mirror. Random choices come from a generator that is handed in."""

from typing import NamedTuple

import numpy as np
from PIL import Image


class View(NamedTuple):
    """Which part of a resized frame the network sees; one view for all frames of a clip."""

    left_px: int
    top_px: int
    mirrored: bool


def scaled_size(width: int, height: int, short_size: int) -> tuple[int, int]:
    """(width, height) after resizing: short side short_size, long side 4/3 of it whatever the aspect ratio was.

    A frame whose short side is short_size already keeps its size. Source: the original's group_scale.
    """
    if min(width, height) == short_size:
        return width, height
    long_size = int(short_size * 4.0 / 3.0)
    return (short_size, long_size) if width < height else (long_size, short_size)


def center_view(width: int, height: int, target_size: int) -> View:
    """The central crop, not mirrored; halves are rounded to even, as the original's round() does."""
    return View(round((width - target_size) / 2), round((height - target_size) / 2), False)


def three_views(width: int, height: int, target_size: int) -> list[View]:
    """Start, middle and end of the long side, in the middle of the short one; not mirrored."""
    center = center_view(width, height, target_size)
    if width >= height:
        return [center._replace(left_px=left_px) for left_px in (0, center.left_px, width - target_size)]
    return [center._replace(top_px=top_px) for top_px in (0, center.top_px, height - target_size)]


def ten_views(width: int, height: int, target_size: int) -> list[View]:
    """The four corners and the centre, then the same mirrored. Source: Wang et al., ECCV 2016, section 3.3."""
    right_px, bottom_px = width - target_size, height - target_size
    corners = [View(left_px, top_px, False) for top_px in (0, bottom_px) for left_px in (0, right_px)]
    views = [*corners, center_view(width, height, target_size)]
    return views + [view._replace(mirrored=True) for view in views]


CROPS = {"center": lambda *size: [center_view(*size)], "three": three_views, "ten": ten_views}
"""Name -> (width, height, target_size) -> views of a frame."""


def random_view(width: int, height: int, target_size: int, rng: np.random.Generator) -> View:
    """A crop anywhere in the frame, mirrored with probability 1/2."""
    left_px = int(rng.integers(0, width - target_size, endpoint=True))
    top_px = int(rng.integers(0, height - target_size, endpoint=True))
    return View(left_px, top_px, bool(rng.random() < 0.5))


def resize(frames: list[np.ndarray], short_size: int) -> list[np.ndarray]:
    """Resize with Pillow's bilinear filter.

    Args:
        frames: T pictures of one size, uint8 (H, W, 3).
        short_size: see `scaled_size`.

    Returns:
        T pictures, uint8 (h, w, 3); the frames themselves if they have that size already.
    """
    height, width = frames[0].shape[:2]
    size = scaled_size(width, height, short_size)
    if size == (width, height):
        return frames
    return [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)) for frame in frames]


def crop_into(clip: np.ndarray, frames: list[np.ndarray], view: View) -> None:
    """Cut the view out of each frame, channels first, straight into a clip's place in a batch.

    Args:
        clip: uint8 (T, 3, target_size, target_size), overwritten.
        frames: T pictures, uint8 (H, W, 3).
        view: where to cut, and whether to mirror.
    """
    size = clip.shape[-1]
    for channels, frame in zip(clip, frames, strict=True):
        square = frame[view.top_px : view.top_px + size, view.left_px : view.left_px + size]
        np.copyto(channels, (square[:, ::-1] if view.mirrored else square).transpose(2, 0, 1))


class Views:
    """The fixed crops in which a video is scored.

    Args:
        short_size: pixels, see `scaled_size`.
        target_size: side of the crops, pixels.
        crop: a key of CROPS.
    """

    def __init__(self, short_size: int, target_size: int, crop: str = "center"):
        self.short_size = short_size
        self.target_size = target_size
        self.crop = crop
        self.num_crops = len(CROPS[crop](target_size, target_size, target_size))

    def cut_into(self, clip: np.ndarray, frames: list[np.ndarray], clip_frames: int, rng: None = None) -> None:
        """Fill a video's place in a batch: each crop of its first clip, one after the other, then of its second, ...

        Args:
            clip: uint8 (num_clips * num_crops * clip_frames, 3, target_size, target_size), overwritten.
            frames: num_clips * clip_frames resized pictures, uint8 (H, W, 3).
            clip_frames: pictures of each clip.
            rng: not needed: nothing is drawn.
        """
        height, width = frames[0].shape[:2]
        crops = CROPS[self.crop](width, height, self.target_size)
        parts = iter(np.split(clip, len(clip) // clip_frames))
        for start in range(0, len(frames), clip_frames):
            for view in crops:
                crop_into(next(parts), frames[start : start + clip_frames], view)

    def cut(self, frames: list[np.ndarray]) -> np.ndarray:
        """The crops of one clip, uint8 (num_crops * T, 3, target_size, target_size), of T resized pictures."""
        side = self.target_size
        clip = np.empty((self.num_crops * len(frames), 3, side, side), np.uint8)
        self.cut_into(clip, frames, len(frames))
        return clip


class RandomView:
    """The random crop, sometimes mirrored, in which training sees a video.

    Args:
        short_size: pixels, see `scaled_size`.
        target_size: side of the crop, pixels.
    """

    num_crops = 1

    def __init__(self, short_size: int, target_size: int):
        self.short_size = short_size
        self.target_size = target_size

    def cut_into(self, clip: np.ndarray, frames: list[np.ndarray], clip_frames: int, rng: np.random.Generator) -> None:
        """Fill a video's place in a batch, uint8 (clip_frames, 3, target_size, target_size), with one view of it."""
        height, width = frames[0].shape[:2]
        crop_into(clip, frames, random_view(width, height, self.target_size, rng))
