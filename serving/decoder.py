"""A process that reads strangers' videos, one at a time; `serving/decoders.py` starts it and kills it where it hangs.

    python -m serving.decoder < jobs

Each line of standard input is a JSON object: first the setup, then the jobs. Each job is answered on standard output by
JSON lines, and a line that has a shape is followed by so many bytes of pixels. No pickles: what a video has taken over
can send wrong pixels, and nothing else.
"""

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from datareader.reader import ClipReader, Decoding
from datareader.records import Record
from datareader.sampling import Sampling
from datareader.stream import play, windows
from datareader.transforms import Views
from datareader.video import Bounds, VideoError

CONTAINERS = ",".join((
    "mov", "mp4", "m4a", "3gp", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "gif",
    "h264", "hevc", "m4v", "ivf", "obu", "mjpeg", "mxf", "rm", "dv", "nut", "wtv", "swf", "h263", "amv", "vc1", "apng",
))  # fmt: skip
"""FFmpeg's names of the formats that are read: none that is a list of other files."""
MEMORY_BYTES = 4 << 30
"""Address space of this process: a video that wants more is refused, and the machine does not feel it."""
LOOK_UP_SEC = 1.0

Message = tuple[dict[str, Any], np.ndarray | None]


class Setup(NamedTuple):
    """How videos are looked at; what `ClipReader` takes, as JSON can hold it."""

    sampling: list[int]
    """As `Sampling`."""
    views: list[Any]
    """The arguments of `Views`."""
    decoder: str
    num_threads: int
    read_sec: float
    """Time that reading one file may take."""
    max_pixels: int
    """Of a frame."""
    max_video_sec: float

    def reader(self) -> ClipReader:
        decoding = Decoding("mp4", self.decoder, self.read_sec, self.num_threads, self.bounds())
        return ClipReader([], decoding, Sampling(*self.sampling), Views(*self.views))

    def bounds(self) -> Bounds:
        return Bounds(self.max_pixels, self.max_video_sec, CONTAINERS)


def main() -> None:
    answers = take_stdout()
    stand_apart()
    setup = Setup(**json.loads(sys.stdin.readline()))
    reader = setup.reader()
    for line in sys.stdin:
        for message in answered(reader, setup.bounds(), **json.loads(line)):
            send(answers, *message)


def answered(
    reader: ClipReader, bounds: Bounds, path: str, window_sec: float | None = None, stride_sec: float | None = None
) -> Iterator[Message]:
    """What is to be said of a job: its clip, or its windows and an end, or why there is none."""
    try:
        if window_sec is None:
            yield read_clip(reader, path)
            return
        views, sampling = reader.views, reader.sampling
        cut = windows(play(path, bounds), window_sec, stride_sec, sampling.seg_num, sampling.seglen, views.prepare)
        for window in cut:
            yield {"start_sec": window.start_sec, "end_sec": window.end_sec}, views.cut(window.pictures)
        yield {"is_end": True}, None
    except VideoError as error:
        yield {"problem": str(error)}, None
    except MemoryError:
        yield {"problem": f"takes more than {MEMORY_BYTES >> 30} GB of memory to read"}, None


def read_clip(reader: ClipReader, path: str) -> Message:
    """All views of a video, as infer.py reads them."""
    reader.records = [Record(path, None, path)]
    clip, started_sec = np.empty(reader.clip_shape, np.uint8), time.perf_counter()
    sample = reader.read(0, 0, clip)
    if not sample.is_readable:
        raise VideoError(sample.unreadable[0][1])
    return {"read_sec": time.perf_counter() - started_sec}, clip


def send(answers: BinaryIO, about: dict[str, Any], pixels: np.ndarray | None) -> None:
    if pixels is not None:
        about["shape"] = pixels.shape
    answers.write(json.dumps(about).encode() + b"\n")
    if pixels is not None:
        answers.write(memoryview(pixels).cast("B"))
    answers.flush()


def take_stdout() -> BinaryIO:
    """Standard output for the answers alone: what libraries print there goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def stand_apart() -> None:
    """End with the server, not with its signals; take no more memory than one video should, and write no file."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    server = os.getppid()

    def wait_and_end() -> None:
        while os.getppid() == server:
            time.sleep(LOOK_UP_SEC)
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()


if __name__ == "__main__":
    main()
