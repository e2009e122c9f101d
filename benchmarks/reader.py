"""How fast videos are read: each decoder by itself, then the whole reader.

    python benchmarks/reader.py                                   # on clips that it makes, into benchmarks/data
    python benchmarks/reader.py --videos /data/k400/val --seg_num 3,7,25
    python benchmarks/reader.py --videos dataset/kinetics/val.list --num_clips 100

Needs requirements-dev.txt (decord, OpenCV). Every row is also a JSON line, before the table. Times are per clip; CPU
time counts every thread. The decoders take turns on each clip, and ratios are medians over the runs, so that a noisy
machine blurs the times more than the ratios.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SIZES, make_clip  # noqa: E402
from common import command_line  # noqa: E402
from datareader.decode import VideoError, check_decoder, decode_video  # noqa: E402
from datareader.reader import ClipReader, Decoding  # noqa: E402
from datareader.records import Record, read_list  # noqa: E402
from datareader.sampling import Sampling, segment_indices  # noqa: E402
from datareader.transforms import Views  # noqa: E402

OWN_CLIPS = ROOT / "benchmarks" / "data"
REFERENCE = "decord"
ORDER = ("opencv", "decord", "pyav", "selective")
BATCH_SIZE = 4
EPOCH_CLIPS = 40  # of the whole reader, at least: it repeats the clips until there are so many


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("--videos", type=Path, metavar="DIR|LIST", help="what to read (default: clips of its own)")
    parser.add_argument("--seg_num", default="3,7,25", help="segments per clip (default: %(default)s)")
    parser.add_argument(
        "--num_clips", type=command_line.positive_int, default=5, help="clips of each set (default: %(default)s)"
    )
    parser.add_argument("--runs", type=command_line.positive_int, default=5, help="default: %(default)s")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    seg_nums = [command_line.positive_int(text) for text in args.seg_num.split(",")]
    for decoder in ORDER:
        check_decoder(decoder)
    sets = {args.videos.name: find_videos(args.videos, args.num_clips)} if args.videos else own_clips(args.num_clips)
    rows = []
    for name, paths in sets.items():
        for seg_num in seg_nums:
            rows += [{"videos": name, **row} for row in measure_decoders(paths, seg_num, args.runs)]
            print(*map(json.dumps, rows[-len(ORDER) :]), sep="\n", flush=True)
    add_ratio_to_originals(rows)
    print("\n" + decoder_table(rows) + "\n")
    rows = []
    for name, paths in sets.items():
        for seg_num in seg_nums:
            rows += [{"videos": name, **row} for row in measure_reader(paths, seg_num, args.runs)]
            print(*map(json.dumps, rows[-3:]), sep="\n", flush=True)
    print("\n" + reader_table(rows))


def find_videos(videos: Path, num_clips: int) -> list[str]:
    """The first readable videos of a folder or a list."""
    if videos.is_dir():
        paths = sorted(str(path) for path in videos.rglob("*") if path.is_file())
    else:
        paths = [record.path for record in read_list(videos)]
    readable = []
    for path in paths:
        try:
            decode_video(path, lambda num_frames: segment_indices(num_frames, 1))
        except VideoError as error:
            print(f"left out: {path}: {error}", file=sys.stderr)
            continue
        readable.append(path)
        if len(readable) == num_clips:
            break
    if not readable:
        raise ValueError(f"{videos}: no video that can be read; give a folder or a list of videos")
    return readable


def own_clips(num_clips: int) -> dict[str, list[str]]:
    """Clips as people have them, and the same after dataset/kinetics/transcode.py."""
    sets = {}
    for name, (width, height) in SIZES.items():
        paths = [OWN_CLIPS / name / f"{seed}.mp4" for seed in range(num_clips)]
        print(f"making {num_clips} clips in {OWN_CLIPS / name}", file=sys.stderr)
        for seed, path in enumerate(paths):
            make_clip(path, width, height, seed)
        transcoded = OWN_CLIPS / f"{name} transcoded"
        command = [sys.executable, ROOT / "dataset/kinetics/transcode.py", "--videos", OWN_CLIPS / name]
        subprocess.run([*command, "--out", transcoded], check=True, stdout=subprocess.DEVNULL)
        sets[name] = [str(path) for path in paths]
        sets[transcoded.name] = [str(transcoded / path.name) for path in paths]
    return sets


def measure_decoders(paths: list[str], seg_num: int, runs: int) -> list[dict]:
    """A row per decoder. `ratio_to_decord` is decord's CPU time over this decoder's, the median of the runs."""

    def pick_indices(num_frames: int):
        return segment_indices(num_frames, seg_num)

    cpu_sec = {decoder: [0.0] * runs for decoder in ORDER}
    wall_sec = {decoder: [0.0] * runs for decoder in ORDER}
    exact = dict.fromkeys(ORDER, True)
    for run in range(runs):
        for path in paths:
            frames = {}
            for decoder in ORDER:
                cpu, wall = time.process_time(), time.perf_counter()
                try:
                    frames[decoder] = decode_video(path, pick_indices, decoder).frames
                except VideoError:
                    frames[decoder] = []  # not exact; its time counts
                cpu_sec[decoder][run] += time.process_time() - cpu
                wall_sec[decoder][run] += time.perf_counter() - wall
            for decoder in ORDER:
                exact[decoder] &= equal(frames[decoder], frames["pyav"])
    return [
        {
            "decoder": decoder,
            "seg_num": seg_num,
            "num_clips": len(paths),
            "cpu_ms": milliseconds(cpu_sec[decoder], len(paths)),
            "wall_ms": milliseconds(wall_sec[decoder], len(paths)),
            "ratio_to_decord": ratio(cpu_sec[REFERENCE], cpu_sec[decoder]),
            "exact": exact[decoder],
        }
        for decoder in ORDER
    ]


def equal(frames: list, others: list) -> bool:
    return len(frames) == len(others) and all((a == b).all() for a, b in zip(frames, others, strict=True))


def measure_reader(paths: list[str], seg_num: int, runs: int) -> list[dict]:
    """A row for each number of workers; without workers also how much CPU time comes on top of decoding alone."""
    rows = []
    for num_workers in (0, 1, 2):
        spawn = multiprocessing.get_context("spawn")  # a fresh process each, for its own peak of memory
        with ProcessPoolExecutor(1, spawn) as pool:
            figures = pool.submit(read_epochs, paths, seg_num, num_workers, runs).result()
        rows.append({"reader": "whole", "num_workers": num_workers, "seg_num": seg_num, **figures})
    return rows


def read_epochs(paths: list[str], seg_num: int, num_workers: int, runs: int) -> dict:
    """In a process of its own: read the clips in batches, over and over."""
    import common.startup  # noqa: F401
    from datareader.loader import Loader

    records = [Record(path, 0, path) for path in paths]
    reader = ClipReader(
        records * -(-EPOCH_CLIPS // len(records)),
        Decoding(),
        Sampling(seg_num),
        Views(256, 224),
    )
    result = {}
    if num_workers == 0:
        result["cpu_ms"], result["ratio_to_decoding"] = compare_with_decoding(reader, paths, seg_num, runs)
    loader = Loader(reader, BATCH_SIZE, num_workers=num_workers)
    arrivals_sec = [time.perf_counter() for _ in loader.epoch(0)]  # from the first batch on: workers have started then
    num_clips = len(reader) - BATCH_SIZE
    result["clips_per_sec"] = round(num_clips / (arrivals_sec[-1] - arrivals_sec[0]), 1)
    result["peak_memory_mb"] = round(sum(peak_memory_mb(pid) for pid in [None, *worker_pids()]))
    return result


def compare_with_decoding(reader: ClipReader, paths: list[str], seg_num: int, runs: int) -> tuple[float, float]:
    """CPU milliseconds per clip of the reader, and their ratio to those of decoding alone; clip by clip in turn."""
    import paddle

    from datareader.loader import BatchReader

    batch_reader = BatchReader(reader, 1, reuse_array=True)
    cpu_sec = {"whole": [0.0] * runs, "decoding": [0.0] * runs}
    for run in range(runs):
        for index, path in enumerate(paths):
            steps: dict[str, Callable] = {
                "decoding": lambda path=path: decode_video(path, lambda n: segment_indices(n, seg_num)),
                "whole": lambda index=index: paddle.to_tensor(batch_reader[[(0, index)]][1]),
            }
            for what, step in steps.items():
                started_sec = time.process_time()
                step()
                cpu_sec[what][run] += time.process_time() - started_sec
    return milliseconds(cpu_sec["whole"], len(paths)), ratio(cpu_sec["whole"], cpu_sec["decoding"])


def worker_pids() -> list[int]:
    return [process.pid for process in multiprocessing.active_children()]


def peak_memory_mb(pid: int | None) -> float:
    """Resident memory at its highest, of this process or another; pages that processes share count in each."""
    if pid is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3


def milliseconds(seconds: list[float], num_clips: int) -> float:
    return round(statistics.median(seconds) / num_clips * 1e3, 2)


def ratio(numerators: list[float], denominators: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(numerators, denominators, strict=True)), 2)


def add_ratio_to_originals(rows: list[dict]) -> None:
    """Transcoded clips: how many times less CPU time than decord takes for the originals."""
    cpu_ms = {(row["videos"], row["seg_num"]): row["cpu_ms"] for row in rows if row["decoder"] == REFERENCE}
    for row in rows:
        original = row["videos"].removesuffix(" transcoded")
        if original != row["videos"]:
            row["ratio_to_decord_on_originals"] = round(cpu_ms[original, row["seg_num"]] / row["cpu_ms"], 1)


def decoder_table(rows: list[dict]) -> str:
    columns = {
        "videos": "videos", "segments": "seg_num", "decoder": "decoder", "CPU ms": "cpu_ms", "wall ms": "wall_ms",
        "speed, decord = 1": "ratio_to_decord", "decord on originals = 1": "ratio_to_decord_on_originals",
        "exact": "exact",
    }  # fmt: skip
    return table(rows, columns)


def reader_table(rows: list[dict]) -> str:
    columns = {
        "videos": "videos", "segments": "seg_num", "workers": "num_workers", "clips/s": "clips_per_sec",
        "CPU ms": "cpu_ms", "CPU, decoding alone = 1": "ratio_to_decoding", "peak memory, MB": "peak_memory_mb",
    }  # fmt: skip
    return table(rows, columns)


def table(rows: list[dict], columns: dict[str, str]) -> str:
    """The rows as Markdown; {heading: key}."""
    return tabulate([[row.get(key) for key in columns.values()] for row in rows], list(columns), "github")


if __name__ == "__main__":
    command_line.run(main)
