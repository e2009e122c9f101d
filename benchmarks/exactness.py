"""Whether selective decoding gives the frames that decoding in order gives, over the kinds of file in tests/kinds.py.

    python benchmarks/exactness.py                     # all kinds, 25,000 picks and more; some ten minutes on 2 cores
    python benchmarks/exactness.py --picks 8 --kinds "H.264"
    python benchmarks/exactness.py --threads 2         # decoded side by side

A pick is a list of frames that is asked of a file. Each picked frame is compared with that of PyAV's own loop over the
file, with a decoder of its own; the number of frames too. Exit code: 1 if one differs.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import av  # noqa: E402
import numpy as np  # noqa: E402
from tabulate import tabulate  # noqa: E402

import spoiled_kinds  # noqa: E402, F401  adds its kinds
from common import command_line  # noqa: E402
from datareader import selective  # noqa: E402
from datareader.decode import VideoError, decode_video  # noqa: E402
from datareader.upright import orientation, turned  # noqa: E402
from kinds import KINDS  # noqa: E402


class Row(NamedTuple):
    """What was found of one file."""

    kind: str
    num_picks: int
    num_different: int
    num_in_order: int
    """Picks for which the file was decoded in order after all."""
    doubts: tuple[str, ...]


def frames_in_order(path: Path) -> list[np.ndarray]:
    """All frames, by PyAV's own loop; packets that cannot be decoded are passed over, as FFmpeg does."""
    frames = []
    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.FFmpegError):
                break
            frames += _decoded(stream.codec_context, packet)
        frames += _decoded(stream.codec_context, None)
    return [turned(frame.to_ndarray(format="rgb24"), orientation(frame)) for frame in frames]


def _decoded(decoder: av.VideoCodecContext, packet: av.Packet | None) -> list[av.VideoFrame]:
    try:
        return decoder.decode(packet) if packet is None or packet.size else []
    except av.FFmpegError:
        return []


def compare(kind: str, path: Path, num_picks: int, num_threads: int = 1) -> Row:
    """Make picks of the file: single frames, and lists of 2, 3, 7 and 25 in any order."""
    reference, doubts, num_different = frames_in_order(path), [], 0
    num_frames, rng = len(reference), np.random.default_rng(sum(kind.encode()))
    singles = rng.permutation(max(num_frames, 1))[: num_picks // 2, None].tolist()
    picks = singles + [
        rng.integers(0, max(num_frames, 1), (2, 3, 7, 25)[number % 4]).tolist()
        for number in range(num_picks - len(singles))
    ]
    for pick in picks:
        asked = []

        def pick_indices(number: int, pick: list[int] = pick, asked: list[int] = asked) -> np.ndarray:
            asked.append(number)
            return np.array(pick) % number

        try:
            decoded = decode_video(str(path), pick_indices, num_threads=num_threads)
        except VideoError as error:
            is_same, doubt = num_frames == 0, str(error)
        else:
            expected = [reference[index] for index in pick] if num_frames else []
            is_same, doubt = asked[-1] == num_frames and _equal(decoded.frames, expected), decoded.doubt
        num_different += not is_same
        doubts.append(doubt)
    return Row(kind, len(picks), num_different, sum(map(bool, doubts)), tuple(sorted(set(doubts) - {""})))


def _equal(frames: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return len(frames) == len(others) and all(map(np.array_equal, frames, others))


def compare_kind(task: tuple[str, int, int]) -> Row:
    """Make a file of the kind and compare."""
    selective.PACKETS_EACH = 1  # the files are short
    kind, *numbers = task
    with tempfile.TemporaryDirectory() as folder:
        return compare(kind, KINDS[kind](Path(folder)), *numbers)


def table(rows: list[Row]) -> str:
    """A line for each group of kinds, and a sum."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.kind.split(":")[0], []).append(row)
    lines = [
        [group, len(of), *(sum(column) for column in list(zip(*of, strict=True))[1:4])]
        for group, of in [*groups.items(), ("all", rows)]
    ]
    lines = [[*line[:4], f"{line[4] / line[2]:.0%}"] for line in lines]
    return tabulate(lines, ["kinds", "files", "picks", "differences", "decoded in order"], "github")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("--picks", type=command_line.positive_int, default=70, help="for a file (default: %(default)s)")
    parser.add_argument("--kinds", default="", metavar="TEXT", help="only those whose name has it (default: all)")
    parser.add_argument("--verbose", action="store_true", help="tell the doubts of each kind")
    parser.add_argument("--threads", type=command_line.positive_int, default=1, help="per file (default: %(default)s)")
    parser.add_argument("--workers", type=command_line.positive_int, default=1, help="default: %(default)s")
    args: argparse.Namespace = parser.parse_args(argv)
    os.environ["SVT_LOG"] = "0"
    tasks = [(kind, args.picks, args.threads) for kind in KINDS if args.kinds in kind]
    if not tasks:
        raise ValueError(f"--kinds {args.kinds!r}: no kind has this in its name")
    rows = []
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        for row in pool.imap(compare_kind, tasks):
            rows.append(row)
            if row.num_different or args.verbose:
                print(f"{row.kind}: {row.num_different} of {row.num_picks} differ; {'; '.join(row.doubts)}", flush=True)
    print(table(rows))
    return int(any(row.num_different for row in rows))


if __name__ == "__main__":
    command_line.run(lambda: sys.exit(main()))
