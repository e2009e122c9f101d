r"""Make a copy of a folder of videos that reads fast: short side 256, a key frame every 16 frames, no sound.

    python dataset/kinetics/transcode.py --videos /data/k400 --out /data/k400_256
    python dataset/kinetics/transcode.py --videos /data/k400 --out /data/k400_256 --shard 2/8   # the second of 8

Each video below --videos becomes an mp4 (H.264) of the same place and name below --out, upright, with the same frames
in the same order. Files are whole or absent. Stop it whenever you like: the same command goes on. Links to folders are
followed. Videos that cannot be read are named here and in OUT/transcode_failed.tsv; the others are done.

Exit code: 0 if every video could be read, 1 if one could not, 2 for a mistake in the command, or a full disk.
"""

import argparse
import errno
import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    import common.beginning  # noqa: F401

import av

from common.command_line import positive_int, run
from common.console import say
from common.whole_file import remove_leftovers, unfinished, whole_file
from datareader.folders import VIDEO_SUFFIXES, find_videos
from datareader.video import VideoError
from dataset.jobs import GRACE_SEC, Failure, run_jobs
from dataset.kinetics.encoding import encode, verify
from dataset.whole_videos import open_video, refuse_long_name, resumable, video_parser

TIMEOUT_SEC = 600.0
IN_A_LINE = {ord(letter): repr(letter)[1:-1] for letter in "\t\n\r"}
WRITING_FAILED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class Job(NamedTuple):
    source: Path
    target: Path


class Outcome(NamedTuple):
    """What became of a video."""

    reason: str
    """Why it could not be read, or nothing."""
    is_damaged: bool
    """It could be read, but for some packets."""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = video_parser(__doc__)
    parser.set_defaults(timeout_sec=TIMEOUT_SEC)
    parser.add_argument("--videos", type=Path, required=True, metavar="FOLDER", help="folder with videos")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument(
        "--short_side", type=positive_int, default=256, help="pixels, an even number (default: %(default)s)"
    )
    parser.add_argument(
        "--shard", type=shard, default=(1, 1), metavar="I/N", help="do only the I-th of N shares (default: all)"
    )
    return parser.parse_args(argv)


def shard(text: str) -> tuple[int, int]:
    """An argparse type: I/N with 1 <= I <= N."""
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise argparse.ArgumentTypeError(f"{text!r} is no share; give I/N, for example 2/8, with I from 1 to N")
    return int(number), int(total)


def plan(videos: Path, out: Path) -> list[Job]:
    """All videos of the folder, sorted.

    Raises:
        ValueError, FileNotFoundError: no videos, the folders lie in one another, or two videos would become one file.
    """
    if not videos.is_dir():
        raise FileNotFoundError(f"{videos}: no such folder; correct --videos")
    sources, folders = find_videos(videos, on_error=lambda error: say(f"passed over: {error}"))
    if not folders.isdisjoint([out.resolve(), *out.resolve().parents]):
        raise ValueError(f"{out}: lies in {videos}, whose videos are transcoded; choose another --out")
    jobs: dict[Path, Job] = {}
    for source in sources:
        target = out / source.relative_to(videos).with_suffix(".mp4")
        refuse_long_name(source, target)
        if target in jobs:
            raise ValueError(f"{jobs[target].source} and {source} would both become {target}; rename one of them")
        jobs[target] = Job(source, target)
    if not jobs:
        raise ValueError(f"{videos}: no videos in it; known are {', '.join(VIDEO_SUFFIXES)}")
    return list(jobs.values())


def transcode(job: Job, short_side: int, timeout_sec: float) -> Outcome:
    """Write the target, unless the source cannot be read.

    Raises:
        OSError: the target cannot be written.
    """
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with open_video(str(job.source), timeout_sec) as video, unfinished(job.target) as path:
            try:
                num_frames = encode(path, video, short_side)
            except av.FFmpegError as error:
                if error.errno in WRITING_FAILED:
                    raise OSError(error.errno, os.strerror(error.errno), str(job.target)) from error
                raise VideoError(f"cannot be encoded: {error.strerror}") from error
            verify(path, num_frames)
            return Outcome("", bool(video.num_refused or video.reading_error))
    except VideoError as error:
        return Outcome(str(error), False)


def transcode_all(
    jobs: list[Job], outcomes: dict[Job, Outcome], short_side: int, num_workers: int, timeout_sec: float
) -> None:
    """Transcode; `outcomes` grows on the way."""
    work = partial(transcode, short_side=short_side, timeout_sec=timeout_sec)
    try:
        for job, result in run_jobs(work, jobs, num_workers, "video", timeout_sec + GRACE_SEC):
            outcomes[job] = Outcome(result.reason, False) if isinstance(result, Failure) else result
            if outcomes[job].reason:
                say(f"cannot be read: {job.source}: {outcomes[job].reason}")
    finally:
        clean_up(jobs)  # after processes that were ended


def clean_up(jobs: list[Job]) -> None:
    """Remove what killed processes have left beside the targets."""
    for folder in {job.target.parent for job in jobs}:
        remove_leftovers(folder)


def write_failed(path: Path, outcomes: dict[Job, Outcome]) -> None:
    """A line `path<TAB>reason` for each video that could not be read; no file if there are none."""
    lines = sorted(
        f"{str(job.source).translate(IN_A_LINE)}\t{outcome.reason}\n"
        for job, outcome in outcomes.items()
        if outcome.reason
    )
    if lines:
        with whole_file(path) as file:
            file.write("".join(lines).encode(errors="backslashreplace"))
    else:
        path.unlink(missing_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.short_side % 2:
        raise ValueError(f"--short_side={args.short_side} is odd; H.264 wants an even number")
    number, total = args.shard
    jobs = plan(args.videos, args.out)[number - 1 :: total]
    started_sec, outcomes = time.perf_counter(), {}
    to_do = [job for job in jobs if not job.target.exists()]
    share = "" if total == 1 else f" (share {number} of {total})"
    say(f"{len(jobs)} videos in {args.videos}{share}, {len(jobs) - len(to_do)} of them done already")
    with resumable(outcomes, len(to_do), args.out):
        args.out.mkdir(parents=True, exist_ok=True)
        clean_up(jobs)
        transcode_all(to_do, outcomes, args.short_side, args.workers, args.timeout_sec)
        suffix = "" if total == 1 else f".{number}-of-{total}"
        write_failed(args.out / f"transcode_failed{suffix}.tsv", outcomes)
    written = [job for job in to_do if not outcomes[job].reason]
    num_damaged = sum(outcome.is_damaged for outcome in outcomes.values())
    say(
        f"{len(written)} transcoded in {time.perf_counter() - started_sec:.0f} s, {num_damaged} of them damaged; "
        f"{len(to_do) - len(written)} cannot be read; {len(jobs) - len(to_do)} were done already; "
        f"{size_mb(job.source for job in written):.1f} MB have become {size_mb(job.target for job in written):.1f} MB"
    )
    return int(len(written) < len(to_do))


def size_mb(paths: Iterable[Path]) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
