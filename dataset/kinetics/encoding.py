"""Encoding for fast reading: small frames, a key frame every 16, the source's frames, times and colours, upright."""

import errno
import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, VideoReformatter

from datareader.selective import Doubt, check_packets
from datareader.upright import UPRIGHT, Orientation, orientation, turned
from datareader.video import Allowance, Video, VideoError
from dataset.whole_videos import every_frame

KEY_FRAME_EVERY = 16
ENCODING = {
    "crf": "20",  # hardly to be told from the source at this size
    "preset": "veryfast",  # also the easiest to decode
    "threads": "1",  # more threads, and mbtree on some processors, give other bytes from run to run
    "x264-params": f"keyint={KEY_FRAME_EVERY}:scenecut=0:open-gop=0:mbtree=0",
}


def encode(path: Path, video: Video, short_side: int) -> int:
    """Write all frames of the video as a mp4; returns their number."""
    frames = every_frame(video)
    first = next(frames)
    width, height = _scaled_size(first.width, first.height, short_side)
    how = orientation(first)
    reformatter = VideoReformatter()
    with av.open(f"file:{path}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_frame_rate(video), options=ENCODING)
        stream.width, stream.height = (height, width) if how.changes_sides else (width, height)
        encoder = stream.codec_context
        encoder.pix_fmt, encoder.color_range, encoder.colorspace = "yuv420p", ColorRange.MPEG, first.colorspace
        encoder.color_primaries, encoder.color_trc = video.decoder.color_primaries, video.decoder.color_trc
        encoder.time_base, time_of = _frame_times(video)
        last_time = -1
        for number, frame in enumerate(itertools.chain([first], frames)):
            picture = reformatter.reformat(
                frame, width, height, "yuv420p", interpolation="BICUBIC", dst_color_range=ColorRange.MPEG
            )
            picture = _turned(picture, how)
            last_time = picture.pts = max(time_of(number, frame, first), last_time + 1)
            picture.time_base = encoder.time_base
            picture.pict_type = PictureType.NONE  # the encoder would make a key frame of what was one in the source
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return number + 1


def verify(path: Path, num_frames: int) -> None:
    """Raise OSError if the file does not hold what was written: a full disk is not always told in time."""
    try:
        with Video(str(path), Allowance(None)) as video:
            infos = video.packet_infos
    except VideoError:
        infos = []
    if len(infos) != num_frames or sum(info.is_key for info in infos) != -(-num_frames // KEY_FRAME_EVERY):
        raise OSError(errno.EIO, "it does not read back as it was written", str(path))


def _scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with that short side and the same aspect ratio, even as H.264 wants them."""
    long_side = 2 * round(max(width, height) / min(width, height) * short_side / 2)
    return (short_side, long_side) if width < height else (long_side, short_side)


def _frame_rate(video: Video) -> Fraction:
    """The file's own, or 25 per second where that is missing or absurd."""
    rate = video.average_rate
    return rate if rate and 1 <= rate <= 240 else Fraction(25)


def _frame_times(video: Video) -> tuple[Fraction, Callable[[int, av.VideoFrame, av.VideoFrame], int]]:
    """The unit of time, and a function of (number, frame, first frame) to the frame's time in it.

    Times of the file if its packets can be trusted, else frames follow one another at its rate.
    """
    try:
        check_packets(video)
    except Doubt:
        return 1 / _frame_rate(video), lambda number, frame, first: number
    return video.time_base, lambda number, frame, first: (frame.pts or 0) - (first.pts or 0)


def _turned(picture: av.VideoFrame, how: Orientation) -> av.VideoFrame:
    """The picture, yuv420p, turned and mirrored."""
    if how == UPRIGHT:
        return picture
    luma, *chroma = np.split(picture.to_ndarray().reshape(-1), [4 * (s := picture.width * picture.height // 4), 5 * s])
    planes = [luma.reshape(picture.height, -1), *(c.reshape(picture.height // 2, -1) for c in chroma)]
    planes = [turned(plane, how) for plane in planes]
    content = np.concatenate([plane.reshape(-1) for plane in planes])
    return av.VideoFrame.from_ndarray(content.reshape(-1, planes[0].shape[1]), format="yuv420p")
