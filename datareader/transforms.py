"""Frames -> a clip's pixels: resize, crop, mirror. Nothing is drawn here; what training draws is in augment.py."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from datareader.video import MOST_PIXELS, VideoError


class View(NamedTuple):
    """Which part of a resized frame the network sees; one view for all frames of a clip."""

    left_px: int
    top_px: int
    mirrored: bool


def scaled_size(width: int, height: int, short_size: int, mode: str = "stretch") -> tuple[int, int]:
    """(width, height) after resizing; a frame whose short side is short_size already keeps its size.

    Args:
        mode: "stretch", the long side becomes 4/3 of short_size whatever the aspect ratio was, as in the original's
            group_scale; "keep", it becomes what the aspect ratio makes of it, to the nearest pixel, halves upwards.

    Raises:
        VideoError: the frame is so narrow that it would have more than MOST_PIXELS.
    """
    short, long = sorted((width, height))
    if short == short_size:
        return width, height
    if mode == "stretch":
        long_size = int(short_size * 4.0 / 3.0)
    else:
        long_size = (2 * long * short_size + short) // (2 * short)
    if short_size * long_size > MOST_PIXELS:
        raise VideoError(
            f"its frames of {width}x{height} are too narrow to be enlarged to a short side of {short_size}; "
            "with resize=stretch they can be read"
        )
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


def resize(frames: list[np.ndarray], short_size: int, mode: str = "stretch") -> list[np.ndarray]:
    """Resize with Pillow's bilinear filter.

    Args:
        frames: T pictures of one size, uint8 (H, W, 3).
        short_size, mode: see `scaled_size`.

    Returns:
        T pictures, uint8 (h, w, 3); the frames themselves if they have that size already.
    """
    height, width = frames[0].shape[:2]
    size = scaled_size(width, height, short_size, mode)
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
        resize: "stretch" or "keep", see `scaled_size`.
    """

    def __init__(self, short_size: int, target_size: int, crop: str = "center", resize: str = "stretch"):
        self.short_size = short_size
        self.target_size = target_size
        self.crop = crop
        self.resize = resize
        self.num_crops = len(CROPS[crop](target_size, target_size, target_size))

    def prepare(self, picture: np.ndarray, rng: None = None) -> np.ndarray:
        """What is kept of a decoded picture, uint8 (H, W, 3): it, resized. Nothing is drawn."""
        return resize([picture], self.short_size, self.resize)[0]

    def cut_into(self, clip: np.ndarray, frames: list[np.ndarray], clip_frames: int) -> None:
        """Fill a video's place in a batch: each crop of its first clip, one after the other, then of its second, ...

        Args:
            clip: uint8 (num_clips * num_crops * clip_frames, 3, target_size, target_size), overwritten.
            frames: num_clips * clip_frames pictures as `prepare` leaves them.
            clip_frames: pictures of each clip.
        """
        height, width = frames[0].shape[:2]
        crops = CROPS[self.crop](width, height, self.target_size)
        parts = iter(np.split(clip, len(clip) // clip_frames))
        for start in range(0, len(frames), clip_frames):
            for view in crops:
                crop_into(next(parts), frames[start : start + clip_frames], view)

    def cut(self, frames: list[np.ndarray]) -> np.ndarray:
        """The crops of one clip, uint8 (num_crops * T, 3, target_size, target_size), of T prepared pictures."""
        side = self.target_size
        clip = np.empty((self.num_crops * len(frames), 3, side, side), np.uint8)
        self.cut_into(clip, frames, len(frames))
        return clip
