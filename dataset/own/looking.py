"""Videos, looked at in worker processes: size, length, a picture; which are unreadable, which are the same."""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from common.checksums import sha256
from datareader.decode import decode_video
from datareader.video import Video, VideoError
from dataset.contact_sheet import CELL, EMPTY
from dataset.jobs import GRACE_SEC, Failure, run_jobs
from dataset.whole_videos import open_video


class Look(NamedTuple):
    """What is known of a readable video."""

    width: int
    height: int
    """Of its first frame, upright, in pixels."""
    length_sec: float
    warning: str
    """What is wrong with it though it can be read; empty if nothing is."""


def look_at(path: str, timeout_sec: float) -> Look | Failure:
    """Read a video to its end and decode its first frame."""
    try:
        with open_video(path, timeout_sec) as video:
            frame = next(video.frames(), None)
            if frame is None:
                return Failure("not one frame can be decoded")
            height, width = video.to_rgb(frame).shape[:2]
            warning = f"its end cannot be read: {video.reading_error}" if video.reading_error else ""
            return Look(width, height, length_sec(video), warning)
    except VideoError as error:
        return Failure(str(error))
    except Exception as error:  # a defect, which would end a training here: name the video and go on with the others
        return Failure(f"reading it fails with {type(error).__name__}: {' '.join(str(error).split())}")


def length_sec(video: Video) -> float:
    """How long a video is, by its frames' number and rate, or by their times where it tells no rate."""
    if video.average_rate:
        return float(sum(info.is_shown for info in video.packet_infos) / video.average_rate)
    times = [info.time for info in video.packet_infos if info.time is not None]
    return float((max(times) - min(times)) * video.time_base) if times and video.time_base else 0.0


def middle_picture(path: str, timeout_sec: float) -> np.ndarray | None:
    """The frame in a video's middle, whole in a contact sheet's cell, uint8 (H, W, 3); None: unreadable."""

    def fit(picture: np.ndarray) -> np.ndarray:
        return np.asarray(ImageOps.pad(Image.fromarray(picture), CELL, Image.Resampling.BICUBIC, color=EMPTY))

    try:
        (picture,) = decode_video(
            path, lambda num_frames: np.array([num_frames // 2]), timeout_sec=timeout_sec, prepare=fit
        ).frames
    except VideoError:  # `look_at` has read its first frame; the list keeps it, as training copes with such
        return None
    return picture


def look_at_all(paths: Iterable[str], num_workers: int, timeout_sec: float) -> dict[str, Look | Failure]:
    """{path: what is known of it}, in the order of the paths."""
    paths = list(dict.fromkeys(paths))
    work = partial(look_at, timeout_sec=timeout_sec)
    found = dict(run_jobs(work, paths, num_workers, "video", timeout_sec + GRACE_SEC))
    return {path: found[path] for path in paths}


def pictures_of(paths: list[str], num_workers: int, timeout_sec: float) -> dict[str, Image.Image]:
    """{path: the picture of its middle}, of those that have one."""
    work = partial(middle_picture, timeout_sec=timeout_sec)
    found = dict(run_jobs(work, paths, num_workers, "picture", timeout_sec + GRACE_SEC))
    return {path: Image.fromarray(found[path]) for path in paths if isinstance(found[path], np.ndarray)}


def same_contents(paths: Iterable[str]) -> list[list[str]]:
    """The paths whose files hold the same bytes, those of each content together.

    A file of a size that no other has is not read.
    """
    by_size: dict[int, list[str]] = {}
    for path in dict.fromkeys(paths):
        by_size.setdefault(os.path.getsize(path), []).append(path)
    suspects = [path for same_size in by_size.values() if len(same_size) > 1 for path in same_size]
    by_content: dict[str, list[str]] = {}
    for path in tqdm(suspects, desc="comparing files of equal size", unit="file", disable=None):
        by_content.setdefault(sha256(Path(path)), []).append(path)
    return [same for same in by_content.values() if len(same) > 1]
