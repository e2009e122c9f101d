"""A copy of a video with something drawn on its frames; the sound is kept."""

import logging
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from common.whole_file import unfinished
from datareader.stream import Clock, time_sec
from datareader.upright import Upright
from datareader.video import VideoError, open_local

SOUND_IN_MP4 = ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac")
CRF = "20"  # of x264: visually close to the source

logger = logging.getLogger(__name__)


def copy_with_overlay(source: str, target: Path, draw: Callable[[np.ndarray, float], np.ndarray]) -> None:
    """Write an mp4 (H.264) with the source's frames, each drawn on, at their times, and with its sound.

    Args:
        source: a file.
        target: written whole or not at all.
        draw: (upright picture, uint8 RGB (H, W, 3); seconds since the first frame) -> the picture to write.

    Raises:
        VideoError: the source cannot be read.
        OSError: the target cannot be written.
    """
    with (
        open_local(source) as container,
        unfinished(target) as hidden,
        av.open(f"file:{hidden}", "w", format="mp4", options={"movflags": "+faststart"}) as copy,
    ):
        _copy(container, copy, draw)


def _copy(
    container: av.container.InputContainer,
    copy: av.container.OutputContainer,
    draw: Callable[[np.ndarray, float], np.ndarray],
) -> None:
    pictures = container.streams.best("video")
    if pictures is None:
        raise VideoError("has no video stream")
    drawn = _DrawnPictures(copy, pictures, draw)
    sound = _CopiedSound(copy, container)
    for packet in container.demux([pictures, *sound.streams]):
        if packet.stream is not pictures:
            sound.add(packet)
        else:
            drawn.add(packet)
        if drawn.last_time is not None:  # mp4 is begun with the pictures' size
            sound.write()
    if drawn.last_time is None:
        raise VideoError("not one frame can be decoded")
    sound.write()
    drawn.finish()


class _DrawnPictures:
    """The pictures of the copy: decoded, drawn on, encoded."""

    def __init__(
        self,
        copy: av.container.OutputContainer,
        pictures: av.VideoStream,
        draw: Callable[[np.ndarray, float], np.ndarray],
    ):
        self.last_time: int | None = None
        self._copy = copy
        self._draw = draw
        self._time_base = pictures.time_base
        rate = pictures.average_rate or 25
        self._frame_ticks = max(round(1 / rate / pictures.time_base), 1)
        self._clock = Clock()
        self._upright = Upright()
        self._encoder = copy.add_stream("libx264", rate=rate, options={"crf": CRF})
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.codec_context.time_base = pictures.time_base

    def add(self, packet: av.Packet) -> None:
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return  # a damaged packet: the frames around it are copied
        for frame in frames:
            self._encode(frame)

    def finish(self) -> None:
        self._copy.mux(self._encoder.encode())

    def _encode(self, frame: av.VideoFrame) -> None:
        time = 0 if frame.pts is None else frame.pts
        if self.last_time is not None and time <= self.last_time:
            time = self.last_time + self._frame_ticks  # H.264 wants rising times, which an AVI file does not have
        self.last_time = time
        drawn = self._draw(self._upright.rgb(frame), self._clock.elapsed_sec(time_sec(frame, self._time_base)))
        encoder = self._encoder
        if not encoder.codec_context.is_open:
            encoder.height, encoder.width = drawn.shape[0] // 2 * 2, drawn.shape[1] // 2 * 2  # yuv420p wants even ones
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="rgb24")
        picture = picture.reformat(encoder.width, encoder.height, "yuv420p")
        picture.pts, picture.time_base = time, self._time_base
        self._copy.mux(encoder.encode(picture))


class _CopiedSound:
    """The sound of the copy, packet by packet as it is; none where mp4 cannot hold it."""

    def __init__(self, copy: av.container.OutputContainer, container: av.container.InputContainer):
        self._copy = copy
        self._waiting: list[av.Packet] = []
        sound = container.streams.best("audio")
        if sound is not None and sound.codec_context.codec.canonical_name not in SOUND_IN_MP4:
            codec = sound.codec_context.name
            logger.warning("%s: the copy has no sound: mp4 cannot hold %s", container.name, codec)
            sound = None
        self.streams = [] if sound is None else [sound]
        self._target = None if sound is None else copy.add_stream_from_template(sound)

    def add(self, packet: av.Packet) -> None:
        if packet.dts is not None:
            self._waiting.append(packet)

    def write(self) -> None:
        for packet in self._waiting:
            packet.stream = self._target
            self._copy.mux(packet)
        self._waiting.clear()
