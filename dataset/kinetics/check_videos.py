r"""Find the videos that cannot be read, before a training of days does.

    python dataset/kinetics/check_videos.py dataset/kinetics/train.list dataset/kinetics/val.list

Decodes every frame of every video of the lists. A video is
    ok        every frame can be read
    damaged   it can be read, but part of it is missing or wrong; training reads what is left
    broken    it cannot: missing, no video, of changing frame size, too slow, or the end of the process that reads it

Beside each list it writes train.check.csv, a row for each video, and train.checked.list, the list without the broken.
Stop it whenever you like: the same command goes on. Given later, it checks only what is new, has changed since (size or
time of modification), or was broken.

Exit code: 0 if no video is broken, 1 if one is, 2 for a mistake in the command or its lists.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    import common.beginning  # noqa: F401

from common.command_line import run
from common.console import say
from common.whole_file import remove_leftovers
from datareader.sampling import segment_indices
from datareader.selective import Doubt, decode_selectively
from datareader.video import VideoError
from dataset.jobs import GRACE_SEC, Failure, run_jobs
from dataset.kinetics.checked_list import BROKEN, DAMAGED, OK, SELECTIVE, CheckedList, Finding
from dataset.whole_videos import every_frame, open_video, resumable, video_parser

SEG_NUM = 3  # segments whose middle frames are decoded selectively, as validation and test do


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = video_parser(__doc__)
    parser.add_argument("lists", type=Path, nargs="+", metavar="LIST", help="list of videos; labels are optional")
    parser.add_argument("--drop_damaged", action="store_true", help="leave the damaged out of the checked lists too")
    return parser.parse_args(argv)


def read_lists(paths: list[Path]) -> list[CheckedList]:
    lists: dict[Path, CheckedList] = {}
    for path in paths:
        checked_list = CheckedList(path)
        other = lists.setdefault(checked_list.csv_path.resolve(), checked_list)
        if other is not checked_list:
            raise ValueError(f"{other.path} and {path} would both write {checked_list.csv_path}; give one of them")
    return list(lists.values())


def check_video(path: str, timeout_sec: float) -> Finding:
    """Read a video in both ways in which training does.

    First selectively, the frames that validation and test pick: jumping meets doubts that decoding in order cannot.
    Then all frames in order; `decode_video` would only have played them once more where there is a doubt.
    """
    num_frames = num_corrupt = 0
    try:
        with open_video(path, timeout_sec) as video:
            try:
                decode_selectively(video, lambda num_frames: segment_indices(num_frames, SEG_NUM))
                decoding = SELECTIVE
            except Doubt as doubt:
                decoding = f"in order: {doubt}"
            for frame in every_frame(video):
                num_frames += 1
                num_corrupt += frame.is_corrupt
            video.to_rgb(frame)
            damages = {
                f"{video.num_refused} of its packets cannot be decoded": video.num_refused,
                f"{num_corrupt} of its frames are incomplete": num_corrupt,
                f"its end cannot be read: {video.reading_error}": video.reading_error,
            }
    except VideoError as error:
        return Finding(BROKEN, 0, "", str(error))
    except Exception as error:  # a defect, which would end a training here: name the video and go on with the others
        return Finding(BROKEN, 0, "", f"reading it fails with {type(error).__name__}: {' '.join(str(error).split())}")
    reason = "; ".join(damage for damage, is_there in damages.items() if is_there)
    return Finding(DAMAGED if reason else OK, num_frames, decoding, reason)


def check_lists(
    lists: list[CheckedList], findings: dict[str, Finding], videos: list[str], num_workers: int, timeout_sec: float
) -> None:
    """Check the videos; `findings` and the lists' csv files grow on the way."""
    work = partial(check_video, timeout_sec=timeout_sec)
    for video, result in run_jobs(work, videos, num_workers, "video", timeout_sec + GRACE_SEC):
        finding = Finding(BROKEN, 0, "", result.reason) if isinstance(result, Failure) else result
        findings[video] = finding
        for checked_list in lists:
            if video in checked_list.videos:
                checked_list.append(video, finding)
        if finding.status != OK:
            say(f"{finding.status}: {video}: {finding.reason}")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    lists = read_lists(args.lists)
    findings: dict[str, Finding] = {}
    for checked_list in lists:
        findings |= checked_list.known()
    videos = dict.fromkeys(video for checked_list in lists for video in checked_list.videos)
    with resumable(findings, len(videos), lists[0].path.parent):
        for checked_list in lists:
            remove_leftovers(checked_list.path.parent)
            checked_list.write_csv(findings)
        unchecked = [video for video in videos if video not in findings]
        check_lists(lists, findings, unchecked, args.workers, args.timeout_sec)
        dropped = (BROKEN, DAMAGED) if args.drop_damaged else (BROKEN,)
        for checked_list in lists:
            checked_list.write_csv(findings)
            say(checked_list.write_checked(findings, dropped))
    return int(any(finding.status == BROKEN for finding in findings.values()))


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
