"""What the commands over whole videos share: flags, every frame of a video, files that are whole or absent, the end."""

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import av

from command_line import OneLineParser, positive_int
from datareader.video import Deadline, Video, VideoError
from processes import num_cores


def video_parser(description: str) -> OneLineParser:
    """The parser with the flags that these commands take; a command adds its own."""
    parser = OneLineParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--workers", type=positive_int, default=num_cores(), help="processes (default: one for each core)"
    )
    parser.add_argument(
        "--timeout_sec", type=seconds, default=60.0, help="time that one video may take (default: %(default)g)"
    )
    return parser


def seconds(text: str) -> float:
    """An argparse type: a time above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid number of seconds: {text!r}") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no time; it must be above 0")
    return number


def open_video(path: str, timeout_sec: float) -> Video:
    """The video, to be read within the given time.

    Raises:
        VideoError: no such file, no video in it, damaged, or out of time.
    """
    if not Path(path).is_file():
        raise VideoError("no such file")
    return Video(path, Deadline(timeout_sec))


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
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write; it appears at `path` when it is complete, and not at all if anything is raised before.

    Raises:
        OSError: it cannot be written; its filename says which.
    """
    unfinished = path.with_name(f".unfinished.{path.name}")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk does not say which file it was
        raise


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
