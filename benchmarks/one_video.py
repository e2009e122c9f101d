"""How much sooner one video is read where several threads decode it: for clips with few and with many key frames.

    python benchmarks/one_video.py                     # on clips that it makes, into benchmarks/data; 1 and 2 threads
    python benchmarks/one_video.py --threads 4 --runs 20

Both ways take turns on each clip. Ratios are medians over the runs, and only mean something on a machine whose other
cores have nothing else to do.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import KEY_FRAME_EVERY, SIZES, make_clip  # noqa: E402
from common import command_line  # noqa: E402
from datareader.decode import decode_video  # noqa: E402
from datareader.sampling import segment_indices  # noqa: E402
from datareader.transforms import resize  # noqa: E402

OWN_CLIPS = ROOT / "benchmarks" / "data" / "key frames"
KEY_FRAMES = (KEY_FRAME_EVERY, 50, 16)  # x264's own choice, that of streaming sites, that of transcode.py


def read_sec(path: Path, seg_num: int, num_threads: int) -> float:
    """Seconds from a path to resized pictures."""
    started_sec = time.perf_counter()
    decode_video(
        str(path),
        lambda num_frames: segment_indices(num_frames, seg_num),
        prepare=lambda picture: resize([picture], 256)[0],
        num_threads=num_threads,
    )
    return time.perf_counter() - started_sec


def main(argv: list[str] | None = None) -> None:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("--threads", type=command_line.positive_int, default=2, help="default: %(default)s")
    parser.add_argument("--runs", type=command_line.positive_int, default=10, help="default: %(default)s")
    args: argparse.Namespace = parser.parse_args(argv)
    rows = []
    for size, (width, height) in SIZES.items():
        for key_frame_every in KEY_FRAMES:
            path = OWN_CLIPS / f"{size} {key_frame_every}.mp4"
            make_clip(path, width, height, seed=0, key_frame_every=key_frame_every)
            for seg_num in (3, 7, 25):
                runs = [[read_sec(path, seg_num, number) for number in (1, args.threads)] for _ in range(args.runs)]
                milliseconds = [statistics.median(column) * 1e3 for column in zip(*runs, strict=True)]
                ratio = statistics.median(one / several for one, several in runs)
                rows.append([size, key_frame_every, seg_num, *milliseconds, ratio])
    headings = ["clip", "key frame every", "segments", "ms, 1 thread", f"ms, {args.threads} threads", "times as fast"]
    print(tabulate(rows, headings, "github", floatfmt=("", "", "", ".1f", ".1f", ".2f")))


if __name__ == "__main__":
    command_line.run(main)
