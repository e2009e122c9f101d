"""What to choose for training on a CPU: how fast train.py is, by network, picture size, processes and threads.

    python benchmarks/train_cpu.py                         # ResNet-18 and 50, 32 to 224 px: over 20 minutes on 2 cores
    python benchmarks/train_cpu.py --networks 18x112,34x112 --setups 1x4,2x2,4x1

Each row is a run of train.py by its command line, from scratch, on clips that it makes, into benchmarks/data; every
process has one worker that reads. The speed is the median of the steps but for the first two. The memory is the highest
sum of the PSS (memory that processes share is split among them) of all processes of the run, workers and launcher too,
seen twice a second from its start to its checkpoint. Every row is also a JSON line, with the share of time spent
waiting for data, before the table. Needs Linux.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SIZES, make_clip  # noqa: E402
from common import command_line  # noqa: E402

CLIPS = ROOT / "benchmarks" / "data" / "340x256"
NUM_CLIPS = 5  # each a class of its own
WARM_UP_STEPS, SAMPLE_SEC = 2, 0.5


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    positive_int, networks, setups = command_line.positive_int, "18x32,18x112,50x112,50x224", "1x1,1x2,2x1"
    parser.add_argument("--networks", type=pairs, default=networks, help="layers x pixels (default: %(default)s)")
    parser.add_argument("--setups", type=pairs, default=setups, help="processes x threads (default: %(default)s)")
    parser.add_argument("--batch_size", type=positive_int, default=8, help="over all processes (default: %(default)s)")
    parser.add_argument("--seg_num", type=positive_int, default=3, help="segments (default: %(default)s)")
    parser.add_argument("--steps", type=positive_int, default=8, help="to measure in each run (default: %(default)s)")
    return parser.parse_args(argv)


def pairs(text: str) -> list[list[int]]:
    """Pairs of whole numbers, for example 18x32,50x224, as an argparse type."""
    found = [[command_line.positive_int(number) for number in pair.split("x")] for pair in text.split(",")]
    if any(len(pair) != 2 for pair in found):
        raise argparse.ArgumentTypeError(f"{text!r} are no pairs, for example 18x32,50x224")
    return found


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    width, height = SIZES[CLIPS.name]
    for seed in range(NUM_CLIPS):
        make_clip(CLIPS / f"{seed}.mp4", width, height, seed)
    rows = []
    for network, setup in itertools.product(args.networks, args.setups):
        rows.append(measure(args, *network, *setup))
        print(json.dumps(rows[-1]), flush=True)
    print("\n" + table(rows))


def measure(args: argparse.Namespace, num_layers: int, target_size: int, num_processes: int, num_threads: int) -> dict:
    """Train for an epoch of as many steps as wanted."""
    numbers = [number % NUM_CLIPS for number in range((WARM_UP_STEPS + args.steps) * args.batch_size)]
    with tempfile.TemporaryDirectory() as folder:
        filelist = Path(folder, "train.list")
        filelist.write_text("".join(f"{CLIPS}/{number}.mp4 {number}\n" for number in numbers), encoding="utf-8")
        launch = ["-m", "paddle.distributed.launch", f"--nproc_per_node={num_processes}", f"--log_dir={folder}/log"]
        overrides = [
            f"MODEL.num_layers={num_layers}", f"MODEL.num_classes={NUM_CLIPS}", f"MODEL.seg_num={args.seg_num}",
            "MODEL.label_file=none", f"TRAIN.filelist={filelist}", f"TRAIN.target_size={target_size}",
            f"TRAIN.short_size={target_size * 8 // 7}", "TRAIN.total_videos=none", "TRAIN.num_reader_threads=1",
        ]  # fmt: skip
        command = [
            sys.executable, *(launch if num_processes > 1 else []), "train.py", "--config=configs/tsn.txt",
            *(f"-o{override}" for override in overrides), f"--batch_size={args.batch_size}", "--epoch_num=1",
            "--use_gpu=False", "--pretrain=none", "--valid_interval=0", "--log_interval=1", f"--save_dir={folder}/run",
        ]  # fmt: skip
        peak_memory_mb = run(command, num_threads, Path(folder, "output"))
        lines = Path(folder, "run", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [step for step in map(json.loads, lines) if step["event"] == "train"][WARM_UP_STEPS:]
    speed, waiting = (statistics.median(step[key] for step in steps) for key in ("clips_per_sec", "wait_fraction"))
    return {
        "num_layers": num_layers, "target_size": target_size, "num_processes": num_processes,
        "num_threads": num_threads, "clips_per_sec": round(speed, 2), "wait_fraction": round(waiting, 3),
        "peak_memory_mb": peak_memory_mb,
    }  # fmt: skip


def run(command: list[str], num_threads: int, output: Path) -> int:
    """Run a command to its end; returns the highest memory of its processes together, in MB."""
    environment, peak_mb = os.environ | {"OMP_NUM_THREADS": str(num_threads)}, 0.0
    with output.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak_mb = max(peak_mb, pss_mb(process.pid))
            time.sleep(SAMPLE_SEC)
    if process.returncode:
        raise ValueError(f"a measured run failed: {output.read_text(encoding='utf-8', errors='replace')[-3000:]}")
    return round(peak_mb)


def pss_mb(pid: int | str) -> float:
    """Memory of a process and of all that it has started; 0 of one that has ended."""
    try:
        own_mb = int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()[0]) / 1e3
        children = " ".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    except OSError:
        return 0.0
    return own_mb + sum(map(pss_mb, children))


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    headers = ["network", "size, px", "processes", "threads", "clips/s", "peak memory, MB"]
    keys = ["target_size", "num_processes", "num_threads", "clips_per_sec", "peak_memory_mb"]
    cells = [[f"ResNet-{row['num_layers']}", *(row[key] for key in keys)] for row in rows]
    return tabulate(cells, headers, tablefmt="github", floatfmt=".2f")


if __name__ == "__main__":
    command_line.run(main)
