"""What the commands over whole videos share: flags, every frame of a video, how a run ends."""

import os
import sys
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path

import av

from common.command_line import OneLineParser, positive_float, positive_int
from common.processes import num_cores
from datareader.video import Allowance, Video, VideoError

LONGEST_NAME = 255  # bytes


def video_parser(description: str) -> OneLineParser:
    """The parser with the flags that these commands take; a command adds its own."""
    parser = OneLineParser(description)
    parser.add_argument(
        "--workers", type=positive_int, default=num_cores(), help="processes (default: one for each core)"
    )
    parser.add_argument(
        "--timeout_sec", type=positive_float, default=60.0, help="time that one video may take (default: %(default)g)"
    )
    return parser


def open_video(path: str, timeout_sec: float) -> Video:
    """The video, to be read within the given time.

    Raises:
        VideoError: no such file, no video in it, damaged, or out of time.
    """
    if not Path(path).is_file():
        raise VideoError("no such file")
    return Video(path, Allowance(timeout_sec))


def refuse_long_name(source: str | Path, target: Path) -> None:
    """Raise ValueError if no file can be called as a video's target is."""
    num_bytes = len(os.fsencode(target.name))
    if num_bytes > LONGEST_NAME:
        raise ValueError(
            f"{source}: would become {target.name}, whose name of {num_bytes} bytes no file system takes (they take "
            f"{LONGEST_NAME}); rename it"
        )


def every_frame(video: Video) -> Iterator[av.VideoFrame]:
    """Every frame that training could ask for, in order.

    Raises:
        VideoError: there is not one, their size changes, or out of time.
    """
    first = None
    for frame in video.frames():
        size = f"{frame.width}x{frame.height}"
        first = first or size
        if size != first:
            raise VideoError(f"its frames change size: {first}, {size}")
        yield frame
    if first is None:
        raise VideoError("not one frame can be decoded")


@contextmanager
def resumable(done: Sized, num_videos: int, out: Path) -> Iterator[None]:
    """Around a run that can go on later: it tells in one line how it was ended before its time.

    Args:
        done: what has been done so far.
        num_videos: what there is to do.
        out: the folder that is written to.
    """
    try:
        yield
    except KeyboardInterrupt:
        print(f"stopped: {len(done)} of {num_videos} videos are done; the same command goes on", file=sys.stderr)
        raise
    except OSError as error:
        raise OSError(
            f"{error.filename or out}: cannot be written ({error.strerror or error}); mend that and give the same "
            "command again: what is done stays"
        ) from error
