"""What the length of a list costs: from the start of train.py to its first step, and in memory.

    python benchmarks/lists.py                     # lists of 100 and of 1,000,000 lines: a few minutes
    python benchmarks/lists.py --lines 100 240000

Each row is a run of train.py by its command line (ResNet-18 at 64 px, a worker process), which ends at its first step.
The lists name one clip, which the script makes, again and again. Private memory is what a process holds alone
(Private_Clean and Private_Dirty of /proc/PID/smaps_rollup). Needs Linux.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SIZES, make_clip  # noqa: E402
from common import command_line  # noqa: E402

CLIP = ROOT / "benchmarks" / "data" / "340x256" / "0.mp4"
NUM_CLASSES = 400
FIRST_STEP_BEGINS = re.compile(r"\[TRAIN\] \d+ epochs? of .* steps?, batch size ")
FIRST_STEP_ENDS = re.compile(r"\[TRAIN\] Epoch 0, iter 0 ")
SETTINGS = {
    "MODEL.num_classes": NUM_CLASSES, "MODEL.num_layers": 18, "MODEL.label_file": "none", "TRAIN.batch_size": 4,
    "TRAIN.short_size": 72, "TRAIN.target_size": 64, "TRAIN.num_reader_threads": 1, "TRAIN.total_videos": "none",
}  # fmt: skip


class Cost(NamedTuple):
    """What a run has taken when its first step began, or ended."""

    wall_sec: float
    cpu_sec: float
    """Of the main process."""
    resident_mb: float
    """Of the main process; part of it, Paddle's code, is shared with other processes."""
    main_mb: float
    """Of it, private."""
    worker_mb: float
    """Private memory of a worker."""


def main(argv: list[str] | None = None) -> None:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("--lines", type=command_line.positive_int, nargs="+", default=[100, 1_000_000])
    args = parser.parse_args(argv)
    make_clip(CLIP, *SIZES["340x256"], 0)
    rows = []
    for num_lines in args.lines:
        for moment, cost in measure(num_lines).items():
            rows.append([f"{num_lines:,}", moment, *cost])
    headers = ["lines", "first step", "wall, s", "CPU, s", "resident, MB", "private, MB", "a worker, MB"]
    print(processor())
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".1f"))


def measure(num_lines: int) -> dict[str, Cost]:
    """Start train.py on a list of so many lines, and end it after its first step."""
    with tempfile.TemporaryDirectory() as folder:
        filelist = Path(folder, "train.list")
        with filelist.open("w", encoding="utf-8") as file:
            file.writelines(f"{CLIP} {number % NUM_CLASSES}\n" for number in range(num_lines))
        flags = [f"-o{key}={value}" for key, value in SETTINGS.items()]
        command = [
            sys.executable, "train.py", *flags, f"-oTRAIN.filelist={filelist}", "--pretrain=none", "--valid_interval=0",
            f"--save_dir={folder}/run",
        ]  # fmt: skip
        started_sec = time.perf_counter()
        run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            costs = {}
            for moment, sign in (("begins", FIRST_STEP_BEGINS), ("ends", FIRST_STEP_ENDS)):
                if not any(sign.search(line) for line in run.stdout):
                    raise ValueError(f"train.py has ended with {run.wait()} before its first step: {' '.join(command)}")
                costs[moment] = cost_now(run.pid, time.perf_counter() - started_sec)
            return costs
        finally:
            run.kill()
            run.communicate()


def cost_now(pid: int, wall_sec: float) -> Cost:
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    (worker,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return Cost(
        wall_sec,
        sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
        memory_mb(pid, "Rss"),
        memory_mb(pid, "Private_Clean") + memory_mb(pid, "Private_Dirty"),
        memory_mb(int(worker), "Private_Clean") + memory_mb(int(worker), "Private_Dirty"),
    )


def memory_mb(pid: int, kind: str) -> float:
    """A line of /proc/PID/smaps_rollup."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(rf"^{kind}: +(\d+) kB", rollup, re.MULTILINE)[1]) / 1e3


def processor() -> str:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return model[1] if model else "an unknown processor"


if __name__ == "__main__":
    command_line.run(main)
