"""A copy of a video with something drawn on its frames; the sound is kept."""

import logging
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from datareader.video import VideoError, open_local, upright_rgb

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
    unfinished = target.with_name(f".unfinished.{target.name}")
    try:
        with (
            open_local(source) as container,
            av.open(str(unfinished), "w", format="mp4", options={"movflags": "+faststart"}) as copy,
        ):
            _copy(container, copy, draw)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _copy(
    container: av.container.InputContainer,
    copy: av.container.OutputContainer,
    draw: Callable[[np.ndarray, float], np.ndarray],
) -> None:
    pictures, sound = container.streams.best("video"), container.streams.best("audio")
    if pictures is None:
        raise VideoError("has no video stream")
    if sound is not None and sound.codec_context.codec.canonical_name not in SOUND_IN_MP4:
        logger.warning(
            "%s: its sound is left out of the copy: %s does not go into mp4", container.name, sound.codec_context.name
        )
        sound = None
    encoder = copy.add_stream("libx264", rate=pictures.average_rate or 25, options={"crf": CRF})
    encoder.pix_fmt = "yuv420p"
    encoder.codec_context.time_base = pictures.time_base
    sound_copy = copy.add_stream_from_template(sound) if sound is not None else None
    frame_ticks = max(round(1 / (pictures.average_rate or 25) / pictures.time_base), 1)
    first_time = last_time = None

    def encode(frame: av.VideoFrame) -> None:
        nonlocal first_time, last_time
        time = 0 if frame.pts is None else frame.pts
        if last_time is not None and time <= last_time:
            time = last_time + frame_ticks  # H.264 wants rising times, which an AVI file does not have
        first_time, last_time = time if first_time is None else first_time, time
        drawn = draw(upright_rgb(frame), float((time - first_time) * pictures.time_base))
        if not encoder.codec_context.is_open:
            encoder.height, encoder.width = drawn.shape[0] // 2 * 2, drawn.shape[1] // 2 * 2  # yuv420p wants even ones
        written = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="rgb24")
        written = written.reformat(encoder.width, encoder.height, "yuv420p")
        written.pts, written.time_base = time, pictures.time_base
        copy.mux(encoder.encode(written))

    waiting: list[av.Packet] = []  # sound before the first picture, whose size the file's header has to know

    def copy_sound() -> None:
        for packet in waiting:
            packet.stream = sound_copy
            copy.mux(packet)
        waiting.clear()

    for packet in container.demux([stream for stream in (pictures, sound) if stream is not None]):
        if packet.stream is not pictures:
            if packet.dts is not None:
                waiting.append(packet)
            if last_time is not None:
                copy_sound()
            continue
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue  # a damaged packet: the frames around it are copied
        for frame in frames:
            encode(frame)
    if last_time is None:
        raise VideoError("not one frame can be decoded")
    copy_sound()
    copy.mux(encoder.encode())
