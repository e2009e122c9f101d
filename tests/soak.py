"""Training for an hour, on a list with broken files, killed and resumed now and then: is what it holds flat?

    python tests/soak.py --minutes=60 --stretches=4

Every stretch is a process of its own that goes on where the last was killed. Memory, open files and processes are read
from /proc; a stretch's last quarter is compared with its second. Ends with a table, and with 1 if anything grows.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from conftest import class_frames, small_flags, write_video  # noqa: E402

NUM_VIDEOS, NUM_BROKEN = 60, 12
SAMPLE_SEC = 2.0
ALLOWED_GROWTH = 0.02  # of memory, from the second to the last quarter


class Use(NamedTuple):
    """What a run holds at a moment, its worker processes included."""

    memory_mb: float
    num_files: int
    num_processes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--stretches", type=int, default=4)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak "))
    try:
        write_lists(folder)
        rows = [run_stretch(folder, 60 * args.minutes / args.stretches) for _ in range(args.stretches)]
        left_behind = sorted(path.name for path in (folder / "run").glob(".*") if path.name != ".lock")
    finally:
        shutil.rmtree(folder)
    print(f"{'stretch':>7} {'epochs':>7} {'memory, MB':>16} {'open files':>12} {'processes':>10}")
    for number, (epochs, early, late) in enumerate(rows, start=1):
        memory = f"{early.memory_mb:.0f} -> {late.memory_mb:.0f}"
        files, processes = (f"{before:.0f} -> {after:.0f}" for before, after in zip(early[1:], late[1:], strict=True))
        print(f"{number:>7} {epochs:>7} {memory:>16} {files:>12} {processes:>10}")
    print(f"left behind by the kills after the last resume: {', '.join(left_behind) or 'nothing'}")
    grows = any(
        late.memory_mb > early.memory_mb * (1 + ALLOWED_GROWTH) or late[1:] > early[1:] for _, early, late in rows
    )
    print("something grows" if grows else "flat")
    sys.exit(grows)


def write_lists(folder: Path) -> None:
    """A training list of which a fifth is broken in four ways, and a validation list."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(NUM_VIDEOS):
        path = write_video(folder / f"{number}.mp4", class_frames(number % 3, rng), crf=20)
        lines.append(f"{path} {number % 3}\n")
    for number in range(0, NUM_VIDEOS, NUM_VIDEOS // NUM_BROKEN):
        path, way = folder / f"{number}.mp4", number // (NUM_VIDEOS // NUM_BROKEN) % 4
        content = path.read_bytes()
        broken = (b"", b"no video\n" * 99, content[: len(content) // 2], None)[way]
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken)
    (folder / "train.list").write_text("".join(lines))
    (folder / "val.list").write_text("".join(lines[1:9]))


def run_stretch(folder: Path, length_sec: float) -> tuple[int, Use, Use]:
    """Train for so long, kill the run; its epochs, and what it held in its second quarter and in its last."""
    settings = {"TRAIN__epoch": 1_000_000, "TRAIN__max_bad_fraction": 0.5, "TRAIN__save_interval_steps": 5}
    flags = [*small_flags(folder, **settings), "--pretrain=none", "--resume=auto", f"--save_dir={folder / 'run'}"]
    first_epoch = newest_epoch(folder)
    uses = []
    with (folder / "log").open("ab") as log:
        run = subprocess.Popen([sys.executable, "train.py", *flags], cwd=ROOT, stdout=log, stderr=log)
        end_sec = time.monotonic() + length_sec
        while time.monotonic() < end_sec:
            if run.poll() is not None:
                print((folder / "log").read_text()[-3000:])
                raise SystemExit(f"the run ended by itself, with {run.returncode}")
            uses.append(use_of(run.pid))
            time.sleep(SAMPLE_SEC)
        run.send_signal(signal.SIGKILL)
        run.wait()
    quarter = len(uses) // 4
    return newest_epoch(folder) - first_epoch, median(uses[quarter : 2 * quarter]), median(uses[3 * quarter :])


def newest_epoch(folder: Path) -> int:
    names = [path.name.removeprefix("TSN_epoch").partition("_")[0] for path in (folder / "run").glob("TSN_epoch*")]
    return max(map(int, names), default=0)


def use_of(pid: int) -> Use:
    family = [pid, *children_of(pid)]
    memory_kb = num_files = 0
    for member in family:
        try:
            rollup = Path(f"/proc/{member}/smaps_rollup").read_text()
            num_files += len(os.listdir(f"/proc/{member}/fd"))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended in this moment
        # each process's share: what several map is counted once
        memory_kb += int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
    return Use(memory_kb / 1e3, num_files, len(family))


def children_of(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for child in children]


def median(uses: list[Use]) -> Use:
    return Use(*(statistics.median(column) for column in zip(*uses, strict=True)))


if __name__ == "__main__":
    main()
