"""Video that is played from its start, frame by frame: long files, cameras, addresses. Knows no labels.

frames = play("rtsp://camera/live")
for window in windows(frames, window_sec=4, stride_sec=2, seg_num=7, seglen=1, prepare=resize):
    ...
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np

from datareader.upright import Upright
from datareader.video import Allowance, Bounds, Video, VideoError

OPENING_SEC, SILENCE_SEC = 20.0, 20.0  # how long an address may take to answer, and to send more
LONGEST_STEP_BACK_SEC, LONGEST_GAP_SEC = 1.0, 3600.0  # from frame to frame; a larger jump is one of the clock
CAMERA = "/dev/video"


class PlayedFrame(NamedTuple):
    time_sec: float
    """Since the first frame, never less than the frame's before; see `Clock`."""
    to_rgb: Callable[[], np.ndarray]
    """Makes its picture, upright, uint8 RGB (H, W, 3): only wanted frames have to be converted."""


class Window(NamedTuple):
    """A piece of a video, with the frames that stand for it."""

    start_sec: float
    end_sec: float
    pictures: list[np.ndarray]
    """seglen of each segment that the piece reaches, as `prepare` left them."""


def is_address(source: str) -> bool:
    """Whether this is an address or a camera, and no file."""
    return "://" in source or source.startswith(CAMERA)


def play(source: str, bounds: Bounds = Bounds()) -> Iterator[PlayedFrame]:
    """Every frame of a file, an address or a camera, each decoded once, in the order they are shown, by a `Clock`.

    Args:
        bounds: what a file may be.

    Raises:
        VideoError: it cannot be opened, has no video, or not one frame of it can be decoded.
    """
    clock = None
    for time_sec, to_rgb in _frames_of_address(source) if is_address(source) else _frames_of_file(source, bounds):
        clock = clock or Clock()
        yield PlayedFrame(clock.elapsed_sec(time_sec), to_rgb)
    if clock is None:
        raise VideoError("not one frame can be decoded")


class Clock:
    """The time since the first frame, by the frames' own times, which jump where a stream begins anew, for example.

    Over a jump back of more than LONGEST_STEP_BACK_SEC, and over one forward of more than LONGEST_GAP_SEC, time goes on
    by one step of the frames before. A shorter way back is a frame out of place, which is shown with the one before it,
    as is a frame without a time; a shorter way forward is a gap, and stays.
    """

    def __init__(self) -> None:
        self._start_sec: float | None = None
        self._elapsed_sec = self._step_sec = 0.0

    def elapsed_sec(self, time_sec: float | None) -> float:
        """Seconds from the first frame to this one.

        Args:
            time_sec: what the frame says; None: nothing.
        """
        if time_sec is None:
            return self._elapsed_sec
        if self._start_sec is None:
            self._start_sec = time_sec
        step_sec = time_sec - self._start_sec - self._elapsed_sec
        if step_sec < -LONGEST_STEP_BACK_SEC or step_sec > LONGEST_GAP_SEC:
            self._elapsed_sec += self._step_sec
            self._start_sec = time_sec - self._elapsed_sec
        elif step_sec > 0:
            self._step_sec, self._elapsed_sec = step_sec, time_sec - self._start_sec
        return self._elapsed_sec


def windows(
    frames: Iterable[PlayedFrame],
    window_sec: float,
    stride_sec: float,
    seg_num: int,
    seglen: int,
    prepare: Callable[[np.ndarray], np.ndarray],
) -> Iterator[Window]:
    """Cut a video into windows that begin every stride_sec, each as soon as it is over.

    Of each of a window's seg_num equal segments, the seglen frames from its middle on stand for it: from a time and not
    from a number, because a stream does not say how many frames are to come. Only these are kept, of the windows that
    are under way. The last window ends with the video and may be shorter. A gap between frames has no windows.

    Args:
        prepare: applied to the pictures that are kept, for example to make them smaller.
    """
    pending: list[_Pending] = []
    num_begun, covered_sec, frame = 0, 0.0, None
    for frame in frames:
        picture = functools.cache(lambda frame=frame: prepare(frame.to_rgb()))
        num_begun = max(num_begun, int((frame.time_sec - window_sec) // stride_sec))  # a gap's windows have no frames
        while num_begun * stride_sec <= frame.time_sec:
            pending.append(_Pending(num_begun * stride_sec, window_sec, seg_num, seglen))
            num_begun += 1
        while pending and pending[0].end_sec <= frame.time_sec:
            window = pending.pop(0)
            if window.pictures:  # none where a stream has a gap
                covered_sec = window.end_sec
                yield Window(window.start_sec, window.end_sec, window.pictures)
        for window in pending:
            window.take(frame.time_sec, picture)
    if frame is None or not pending or (covered_sec and frame.time_sec < covered_sec):
        return
    window = next((window for window in pending if window.pictures), pending[-1])
    # the last frame's own duration is not known; its time is when it begins
    yield Window(window.start_sec, min(window.end_sec, frame.time_sec), window.pictures or [picture()] * seglen)


class _Pending:
    """A window that is not over yet."""

    def __init__(self, start_sec: float, window_sec: float, seg_num: int, seglen: int):
        self.start_sec = start_sec
        self.end_sec = start_sec + window_sec
        self._middles_sec = [start_sec + (number + 0.5) * window_sec / seg_num for number in range(seg_num)]
        self._segments: list[list[np.ndarray]] = [[] for _ in range(seg_num)]
        self._seglen = seglen

    @property
    def pictures(self) -> list[np.ndarray]:
        """The pictures of the segments that have begun; one that the video's end cuts off repeats its last frame."""
        whole = [segment + segment[-1:] * (self._seglen - len(segment)) for segment in self._segments if segment]
        return [picture for segment in whole for picture in segment]

    def take(self, time_sec: float, picture: Callable[[], np.ndarray]) -> None:
        for middle_sec, segment in zip(self._middles_sec, self._segments, strict=True):
            if middle_sec <= time_sec and len(segment) < self._seglen:
                segment.append(picture())


def _frames_of_file(path: str, bounds: Bounds) -> Iterator[tuple[float | None, Callable[[], np.ndarray]]]:
    with Video(path, Allowance(None, bounds)) as video:
        for frame in video.frames():
            yield time_sec(frame, video.time_base), lambda frame=frame: video.to_rgb(frame)


def _frames_of_address(source: str) -> Iterator[tuple[float | None, Callable[[], np.ndarray]]]:
    """Decodes as it is received; not through `Video`, which reads a whole file before it decodes."""
    try:
        with av.open(
            source,
            format="v4l2" if source.startswith(CAMERA) else None,
            options=Bounds().of_file(),
            timeout=(OPENING_SEC, SILENCE_SEC),
        ) as container:
            stream = container.streams.best("video")
            if stream is None:
                raise VideoError("has no video stream")
            upright = Upright()
            for frame in container.decode(stream):
                yield time_sec(frame, stream.time_base), lambda frame=frame: upright.rgb(frame)
    except VideoError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"cannot be received: {getattr(error, 'strerror', None) or error}") from error


def time_sec(frame: av.VideoFrame, time_base: Fraction) -> float | None:
    """A frame's time by the stream's time base: the frames that the decoder gives last do not know theirs."""
    return None if frame.pts is None else float(frame.pts * time_base)
