r"""Take videos apart into the original's pkl clips, for MODEL.format = "pkl".

    python dataset/kinetics/video2pkl.py dataset/kinetics/train.list --out /data/k400_pkl

Written are OUT/NAME.pkl for each video NAME.mp4 of the list, a pickle of (video id, label, [JPEG bytes of each frame]),
and OUT/train.list, which names them. All frames are kept, at full size: they take some 20 times the room of the videos.
Stop it whenever you like: the same command goes on.

Exit code: 0 if every video could be read, 1 if one could not, 2 for a mistake in the command or its list.
"""

import argparse
import io
import os
import pickle
import struct
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    import common.beginning  # noqa: F401

from PIL import Image

from common.command_line import run
from common.console import say
from common.whole_file import remove_leftovers, whole_file
from datareader.records import Record, read_list
from datareader.video import VideoError
from dataset.jobs import GRACE_SEC, Failure, run_jobs
from dataset.whole_videos import every_frame, open_video, refuse_long_name, resumable, video_parser

JPEG_QUALITY = 95  # the highest that Pillow advises; the original took ffmpeg's best
NUM_LABELS = 2**31  # what pickle.BININT holds
CLOCK_SEC = 2  # the coarsest clock of a file system (FAT)


class Clip(NamedTuple):
    """A video and the file that it becomes."""

    video: Record
    pkl: Path

    def head(self) -> bytes:
        """What its pickle begins with: the id as the original named it, the label, a list to be filled.

        Written by hand in protocol 2, as Python 2 would: its byte strings are what both Pythons and `decode_pkl` read.
        Python 3's pickle spells bytes in protocol 2 as text, half as large again; Python 2 cannot read protocol 4.
        """
        video_id = f"./{self.pkl.stem}".encode()
        id_and_label = pickle.BINUNICODE + struct.pack("<I", len(video_id)) + video_id
        id_and_label += pickle.BININT + struct.pack("<i", self.video.label)
        return pickle.PROTO + b"\x02" + id_and_label + pickle.EMPTY_LIST


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = video_parser(__doc__)
    parser.add_argument("list", type=Path, metavar="LIST", help="list of videos with labels")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    return parser.parse_args(argv)


def plan(list_path: Path, out: Path) -> list[Clip]:
    """The clips of a list, in its order.

    Raises:
        ValueError, FileNotFoundError: the list cannot be read, would be overwritten, or has two videos of one name.
    """
    clips: dict[Path, Clip] = {}
    for record in read_list(list_path, num_classes=NUM_LABELS):
        clip = Clip(record, out / f"{Path(record.name).stem}.pkl")
        refuse_long_name(record.name, clip.pkl)
        other = clips.setdefault(clip.pkl, clip).video
        if other is not record:
            raise ValueError(
                f"{list_path}: {other.name!r} and {record.name!r} would both become {clip.pkl}; rename one of them"
            )
    if (out / list_path.name).resolve() == list_path.resolve():
        raise ValueError(f"{list_path}: would be overwritten by the new list; choose another --out")
    return list(clips.values())


def is_finished(clip: Clip) -> bool:
    """Whether its file is there.

    Raises:
        ValueError: the file is another video's, or another label's.
    """
    if not clip.pkl.exists():
        return False
    with clip.pkl.open("rb") as file:
        is_this = file.read(len(clip.head())) == clip.head()
    if is_this and os.path.exists(clip.video.path):
        is_this = abs(os.path.getmtime(clip.pkl) - os.path.getmtime(clip.video.path)) < CLOCK_SEC
    if not is_this:
        raise ValueError(
            f"{clip.pkl}: is there already, but not made of {clip.video.name!r} as it is now, with label "
            f"{clip.video.label}; delete it, or choose another --out"
        )
    return True


def write_clip(clip: Clip, timeout_sec: float) -> str:
    """Write the clip's file, with the video's time of modification. Returns why the video cannot be read, or nothing.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        with open_video(clip.video.path, timeout_sec) as video, whole_file(clip.pkl) as file:
            modified_ns = os.stat(clip.video.path).st_mtime_ns
            file.write(clip.head())
            for frame in every_frame(video):
                jpeg = io.BytesIO()
                Image.fromarray(video.to_rgb(frame)).save(jpeg, "jpeg", quality=JPEG_QUALITY)
                file.write(pickle.BINSTRING + struct.pack("<i", jpeg.tell()) + jpeg.getvalue() + pickle.APPEND)
            file.write(pickle.TUPLE3 + pickle.STOP)
            file.flush()
            os.utime(file.name, ns=(modified_ns, modified_ns))
    except VideoError as error:
        return str(error)
    return ""


def write_clips(clips: list[Clip], reasons: dict[Clip, str], out: Path, num_workers: int, timeout_sec: float) -> None:
    """Write the clips; `reasons` grows on the way: why the video cannot be read, or nothing."""
    work = partial(write_clip, timeout_sec=timeout_sec)
    try:
        for clip, result in run_jobs(work, clips, num_workers, "video", timeout_sec + GRACE_SEC):
            reasons[clip] = result.reason if isinstance(result, Failure) else result
            if reasons[clip]:
                say(f"cannot be read: {clip.video.path}: {reasons[clip]}")
    finally:
        remove_leftovers(out)  # of processes that were ended


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    clips = plan(args.list, args.out)
    reasons = {clip: "" for clip in clips if is_finished(clip)}
    list_path = args.out / args.list.name
    with resumable(reasons, len(clips), args.out):
        args.out.mkdir(parents=True, exist_ok=True)
        remove_leftovers(args.out)
        write_clips([clip for clip in clips if clip not in reasons], reasons, args.out, args.workers, args.timeout_sec)
        readable = [clip for clip in clips if not reasons[clip]]
        with whole_file(list_path) as file:  # ./ keeps names that begin with a space or a # what they are
            file.write("".join(f"./{clip.pkl.name}\n" for clip in readable).encode())
    num_unreadable = len(clips) - len(readable)
    say(f"{args.list}: {len(readable)} of {len(clips)} videos are in {list_path}, {num_unreadable} cannot be read")
    return int(num_unreadable > 0)


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
