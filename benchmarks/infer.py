"""How fast clips are classified on a CPU: every engine of infer.py in every precision that it has, and PyTorch.

    python benchmarks/infer.py                              # ResNet-50, 3 segments of 224 px: an hour on 2 cores
    python benchmarks/infer.py --batch_sizes 1 --threads 4 --seg_num 7
    python benchmarks/infer.py --batch_sizes 1 --threads 2 --seg_num 8 --model_name TSM
    python benchmarks/infer.py --engines openvino torch --precisions bf16
    python benchmarks/infer.py --batch_sizes 4 --threads 2 --rounds 1 --soak_clips 1000     # does the memory stay?

The engines run the same model on the same frames, each in a process of its own, since they change each other's threads.
They take turns, so that a noisy machine blurs the speeds more than their ratio; all open, they take 8 GB. Eager Paddle
in float32 is always measured: the others are compared with it. The weights are random, with a batch norm that fits real
frames; int8 is calibrated on the clips that are measured. What cannot be measured here is named, with the reason. The
rows:

- "model": the model alone, frames in memory. The memory is the process's at its highest, with Paddle, which all load.
- "mp4": three batches from files, read by one worker process, whose start counts.
- "end to end": as infer.py classifies a list, with as many workers as it starts. With --soak_clips, the memory growth
  is by how much the resident memory is higher after so many clips more.
- "cold start, converting" and "cold start, cached": infer.py for one clip, from the command to its end, without the
  converted model and with it. The programs themselves are in the system's cache. PyTorch has no such rows, and eager
  Paddle nothing to convert.

Every row is also a JSON line, before the table. ONNX Runtime needs requirements-onnx.txt, OpenVINO
requirements-openvino.txt, PyTorch pip install torch.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SIZES, make_clip  # noqa: E402
from benchmarks.processor import read_processor  # noqa: E402
from common import command_line  # noqa: E402

CLIPS = ROOT / "benchmarks" / "data" / "340x256"
NUM_CLIPS = 5
JOB = ROOT / "benchmarks" / "infer_job.py"
ANSWER = "answer: "
ENGINES = ("eager", "paddle", "onnxruntime", "openvino", "torch")
PRECISIONS = ("float32", "bf16", "int8")
EAGER = ("eager", "float32")
LEAST_CLIPS = 16  # of a round end to end
MODEL, MP4, END_TO_END = WHATS = ("model", "mp4", "end to end")
CONVERTING, CACHED = "cold start, converting", "cold start, cached"
COLUMNS = {
    "what": "what", "engine": "engine", "precision": "precision", "batch": "batch_size", "threads": "num_threads",
    "clips/s": "clips_per_sec", "seconds": "seconds", "eager = 1": "ratio_to_eager", "largest difference": "max_diff",
    "peak memory, MB": "peak_memory_mb", "memory growth, MB": "memory_growth_mb",
}  # fmt: skip

Contender = tuple[str, str]
"""Engine and precision."""


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    positive_int = command_line.positive_int
    parser.add_argument("--engines", choices=ENGINES, nargs="+", default=ENGINES, help="(default: all)")
    parser.add_argument("--precisions", choices=PRECISIONS, nargs="+", default=PRECISIONS, help="(default: all)")
    parser.add_argument("--model_name", default="TSN", help="(default: %(default)s)")
    parser.add_argument("--backbone", default="resnet", help="(default: %(default)s)")
    parser.add_argument("--num_layers", type=int, default=50, help="of the backbone (default: %(default)s)")
    parser.add_argument("--target_size", type=positive_int, default=224, help="pixels (default: %(default)s)")
    parser.add_argument("--seg_num", type=positive_int, default=3, help="segments (default: %(default)s)")
    parser.add_argument("--batch_sizes", type=positive_int, nargs="+", default=[1, 8], help="clips (default: 1 8)")
    parser.add_argument("--threads", type=positive_int, nargs="+", default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--rounds", type=positive_int, default=5, help="of each engine (default: %(default)s)")
    parser.add_argument(
        "--soak_clips", type=command_line.whole_number(0), default=0,
        help="clips after which the memory is looked at again; needs Linux (default: 0, not at all)",
    )  # fmt: skip
    args = parser.parse_args(argv)
    if args.soak_clips and not Path("/proc/self/statm").is_file():
        parser.error("--soak_clips needs Linux, which tells a process's memory")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    processor = read_processor()
    width, height = SIZES[CLIPS.name]
    for seed in range(NUM_CLIPS):
        make_clip(CLIPS / f"{seed}.mp4", width, height, seed)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(args, folder)
        print(f"{prepared['title']}; {processor}", *prepared["missing"], sep="\n")
        print(json.dumps({"processor": processor.name, "flags": processor.flags}), flush=True)
        contenders = [tuple(names) for names in prepared["contenders"]]
        rows = []
        for num_threads in args.threads:
            for batch_size in args.batch_sizes:
                rows += shown(measure(args, folder, contenders, batch_size, num_threads))
        rows += shown(cold_starts(folder, contenders, max(args.threads), args.rounds))
    print(f"\n{processor}\n\n{table(rows)}")


def prepare(args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """Have the folder written that is measured; what can be measured, and what cannot."""
    wanted = [(engine, precision) for engine in ENGINES for precision in PRECISIONS]
    wanted = [each for each in wanted if each[0] in args.engines and each[1] in args.precisions and each != EAGER]
    order = {
        "job": "prepare",
        "folder": folder,
        "clips": [str(CLIPS / f"{number}.mp4") for number in range(NUM_CLIPS)],
        "overrides": [
            f"MODEL.name={args.model_name}",
            f"MODEL.backbone={args.backbone}",
            f"MODEL.num_layers={args.num_layers}",
            f"INFER.seg_num={args.seg_num}",
            f"INFER.short_size={args.target_size * 8 // 7}",
            f"INFER.target_size={args.target_size}",
        ],
        "contenders": [EAGER, *wanted],
    }
    with Job(order, folder, max(args.threads)) as job:
        return job.answer()


class Job:
    """A measured process, whose libraries see the number of threads when they are loaded."""

    def __init__(self, order: dict[str, Any], folder: str, num_threads: int):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed at the end
        self._process = subprocess.Popen(
            [sys.executable, str(JOB), json.dumps(order)],
            env=environment(Path(folder, "cache"), num_threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()  # it ends with its orders
        self._process.wait()
        self._errors.close()

    def ask(self, what: str, num_clips: int) -> dict[str, Any]:
        self._process.stdin.write(json.dumps({"what": what, "num_clips": num_clips}) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next one; libraries may print lines of their own before it."""
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        self._errors.seek(0)
        raise ValueError(f"a measured process failed: {self._errors.read()[-1500:]}")


def environment(cache: Path, num_threads: int) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": str(num_threads), "TSN_ENGINE_CACHE": str(cache)}


def measure(
    args: argparse.Namespace, folder: str, contenders: list[Contender], batch_size: int, num_threads: int
) -> list[dict[str, Any]]:
    """A row for each contender and each of WHATS."""
    rows = []
    with contextlib.ExitStack() as stack:
        jobs = {}
        for engine, precision in contenders:
            order = {"engine": engine, "precision": precision, "batch_size": batch_size}
            job = Job({"job": "serve", "folder": folder} | order, folder, num_threads)
            jobs[engine, precision] = stack.enter_context(job)
        said = {contender: np.array(job.answer()["probabilities"]) for contender, job in jobs.items()}
        sizes = {MODEL: batch_size, MP4: 3 * batch_size, END_TO_END: max(3 * batch_size, LEAST_CLIPS)}
        for what in WHATS:
            rounds = [turns(jobs, what, sizes[what]) for _ in range(args.rounds + 1)][1:]  # the first warms up
            for contender, job in jobs.items():
                last, growth_mb = rounds[-1][contender], None
                if what == END_TO_END and args.soak_clips:
                    growth_mb = round(job.ask(what, args.soak_clips)["memory_mb"] - last["memory_mb"], 1)
                seconds = [each[contender]["seconds"] for each in rounds]
                rows.append(
                    row(contender, what, batch_size, num_threads)
                    | {
                        "clips_per_sec": round(sizes[what] / statistics.median(seconds), 2),
                        "ratio_to_eager": ratio([each[EAGER]["seconds"] for each in rounds], seconds),
                        "max_diff": float(np.abs(said[contender] - said[EAGER]).max()),
                        "peak_memory_mb": last["peak_memory_mb"] if what == MODEL else None,
                        "memory_growth_mb": growth_mb,
                    }
                )
    return rows


def turns(jobs: dict[Contender, Job], what: str, num_clips: int) -> dict[Contender, dict[str, Any]]:
    """A round."""
    return {contender: job.ask(what, num_clips) for contender, job in jobs.items()}


def cold_starts(folder: str, contenders: list[Contender], num_threads: int, rounds: int) -> list[dict[str, Any]]:
    """The rows of infer.py for one clip, each with a cache of its own, which is empty at first."""
    verbs = [contender for contender in contenders if contender[0] != "torch"]
    first = {contender: cold_start(folder, contender, num_threads) for contender in verbs}
    cached = [{contender: cold_start(folder, contender, num_threads) for contender in verbs} for _ in range(rounds)]
    rows = [
        row(contender, CONVERTING, 1, num_threads) | {"seconds": round(first[contender], 2)}
        for contender in verbs
        if contender != EAGER
    ]
    for contender in verbs:
        seconds = [each[contender] for each in cached]
        rows.append(
            row(contender, CACHED, 1, num_threads)
            | {
                "seconds": round(statistics.median(seconds), 2),
                "ratio_to_eager": ratio([each[EAGER] for each in cached], seconds),
            }
        )
    return rows


def cold_start(folder: str, contender: Contender, num_threads: int) -> float:
    """Seconds from the command to its end."""
    engine, precision = contender
    command = [
        sys.executable, str(ROOT / "infer.py"), f"--video={CLIPS}/0.mp4", f"--engine={engine}",
        f"--precision={precision}", f"--config={folder}/config.yaml", f"--weights={folder}/weights.pdparams",
        f"--save_dir={folder}/results",
    ]  # fmt: skip
    variables = environment(Path(folder, f"cache of {engine} in {precision}"), num_threads)
    started_sec = time.perf_counter()
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    elapsed_sec = time.perf_counter() - started_sec
    if done.returncode:
        raise ValueError(f"infer.py failed: {done.stderr[-1500:]}")
    return elapsed_sec


def row(contender: Contender, what: str, batch_size: int, num_threads: int) -> dict[str, Any]:
    """A row in which nothing is measured yet."""
    engine, precision = contender
    known = {"engine": engine, "precision": precision, "what": what, "batch_size": batch_size}
    return dict.fromkeys(COLUMNS.values()) | known | {"num_threads": num_threads}


def ratio(eager: list[float], own: list[float]) -> float:
    """How many times as fast as eager Paddle, by turns of the same rounds."""
    return round(statistics.median(each / ours for each, ours in zip(eager, own, strict=True)), 2)


def shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    print(*map(json.dumps, rows), sep="\n", flush=True)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    ordered = sorted(rows, key=lambda row: [*WHATS, CONVERTING, CACHED].index(row["what"]))
    columns = {title: key for title, key in COLUMNS.items() if any(row[key] is not None for row in rows)}
    formats = [".1e" if key == "max_diff" else "g" for key in columns.values()]
    return tabulate([[row[key] for key in columns.values()] for row in ordered], list(columns), "github", formats)


if __name__ == "__main__":
    command_line.run(main)
