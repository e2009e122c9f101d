"""How fast clips are classified on a CPU: eager Paddle, Paddle Inference and ONNX Runtime.

    python benchmarks/infer.py                              # ResNet-50, 3 segments of 224 px: 10 minutes on 2 cores
    python benchmarks/infer.py --batch_sizes 1 --threads 4 --seg_num 7

The engines run the same model on the same frames, each in a process of its own, since they change each other's threads.
They take turns, so that a noisy machine blurs the speeds more than their ratio. "model" is the model alone, "mp4" reads
the clips too, by a worker process, as infer.py does. The memory is that of the model alone, at its highest. Every row
is also a JSON line, before the table. ONNX Runtime needs requirements-onnx.txt.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SIZES, make_clip  # noqa: E402
from common import command_line  # noqa: E402

CLIPS = ROOT / "benchmarks" / "data" / "340x256"
NUM_CLIPS = 5
ANSWER = "answer: "
PAUSE_SEC = 0.5  # before a turn: the threads of the engine before go on spinning for a while, to be at hand
EAGER = "eager"
ENGINES = (EAGER, "paddle_inference", "onnxruntime")
NUM_CLASSES = 400
WEIGHTS = "weights.pdparams"


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    positive_int = command_line.positive_int
    parser.add_argument("--num_layers", type=positive_int, default=50, help="of the ResNet (default: %(default)s)")
    parser.add_argument("--target_size", type=positive_int, default=224, help="pixels (default: %(default)s)")
    parser.add_argument("--seg_num", type=positive_int, default=3, help="segments (default: %(default)s)")
    parser.add_argument("--batch_sizes", type=positive_int, nargs="+", default=[1, 8], help="clips (default: 1 8)")
    parser.add_argument("--threads", type=positive_int, nargs="+", default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--rounds", type=positive_int, default=5, help="of each engine (default: %(default)s)")
    # how the measured processes are told what to do
    parser.add_argument("--job", choices=("prepare", "serve"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.job:
        prepare(args) if args.job == "prepare" else serve(args)
        return
    width, height = SIZES[CLIPS.name]
    for seed in range(NUM_CLIPS):
        make_clip(CLIPS / f"{seed}.mp4", width, height, seed)
    with tempfile.TemporaryDirectory() as folder:
        with Job(args, folder, "prepare", EAGER, 1, 1) as job:
            print(job.answer()["title"], flush=True)
        rows = []
        for num_threads in args.threads:
            for batch_size in args.batch_sizes:
                found = measure(args, folder, batch_size, num_threads)
                print(*map(json.dumps, found), sep="\n", flush=True)
                rows += found
    print("\n" + table(rows))


class Job:
    """A measured process, whose libraries see the number of threads when they are loaded."""

    def __init__(self, args: argparse.Namespace, folder: str, job: str, engine: str, batch_size: int, num_threads: int):
        command = [
            sys.executable, __file__, f"--job={job}", f"--folder={folder}", f"--engine={engine}",
            f"--num_layers={args.num_layers}", f"--target_size={args.target_size}", f"--seg_num={args.seg_num}",
            f"--batch_sizes={batch_size}", f"--threads={num_threads}",
        ]  # fmt: skip
        environment = os.environ | {"OMP_NUM_THREADS": str(num_threads)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=environment, **pipes)

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()  # it ends with its orders
        self._process.wait()

    def ask(self, what: str) -> dict:
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict:
        """The next one; libraries may print lines of their own before it."""
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        raise ValueError(f"a measured process failed: {self._process.stderr.read()[-3000:]}")


def measure(args: argparse.Namespace, folder: str, batch_size: int, num_threads: int) -> list[dict]:
    """A row for each engine and each of "model" and "mp4"."""
    rows = []
    with contextlib.ExitStack() as stack:
        jobs = {
            engine: stack.enter_context(Job(args, folder, "serve", engine, batch_size, num_threads))
            for engine in engines_in(Path(folder))
        }
        said = {engine: np.array(job.answer()["probabilities"]) for engine, job in jobs.items()}
        for what, num_clips in (("model", batch_size), ("mp4", 3 * batch_size)):
            rounds = [{engine: job.ask(what) for engine, job in jobs.items()} for _ in range(args.rounds + 1)]
            times = {engine: [turn[engine]["seconds"] for turn in rounds[1:]] for engine in jobs}  # the first warms up
            for engine in jobs:
                ratios = [eager / own for eager, own in zip(times[EAGER], times[engine], strict=True)]
                rows.append({
                    "engine": engine,
                    "what": what,
                    "batch_size": batch_size,
                    "num_threads": num_threads,
                    "clips_per_sec": round(num_clips / statistics.median(times[engine]), 2),
                    "ratio_to_eager": round(statistics.median(ratios), 2),
                    "max_diff": float(np.abs(said[engine] - said[EAGER]).max()),
                    "peak_memory_mb": rounds[-1][engine]["peak_memory_mb"] if what == "model" else None,
                })  # fmt: skip
    return rows


def answer(content: dict) -> None:
    print(f"\n{ANSWER}{json.dumps(content)}", flush=True)


def prepare(args: argparse.Namespace) -> None:
    """Write weights and exports into the folder: random weights, whose batch norm fits real frames."""
    import common.startup  # noqa: F401  isort: skip
    import paddle

    from inference.cost import model_cost
    from inference.exported import ExportCard
    from inference.exporting import check_onnx_export, write_onnx, write_paddle

    paddle.seed(0)
    model = build_model(args)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.0  # its running statistics become those of the last batch
    model.train()
    model(next(batches(args, 0, NUM_CLIPS)).frames)
    model.eval()
    paddle.save(model.state_dict(), str(args.folder / WEIGHTS))
    side = args.target_size
    card = ExportCard(None, "", "random", [None, None, 3, side, side], NUM_CLASSES, paddle.__version__)
    write_paddle(model, args.folder / "exported", card)
    try:
        check_onnx_export()
        write_onnx(args.folder / "exported", args.folder / "model.onnx")
    except ValueError as error:
        print(f"without ONNX Runtime: {error}", file=sys.stderr)
    cost = model_cost(model, 1, side)
    title = (
        f"ResNet-{args.num_layers}, {args.seg_num} segments of {side} px, {NUM_CLASSES} classes: "
        f"{cost.clip_gmacs(args.seg_num):.2f} billion multiply-adds (papers' FLOPs) per clip, "
        f"{cost.num_parameters / 1e6:.2f} million parameters"
    )
    answer({"title": title})


def serve(args: argparse.Namespace) -> None:
    """Say what the engine makes of the frames, then run "model" or "mp4" at each order on standard input."""
    classify = open_engine(args, args.engine)
    batch_size = args.batch_sizes[0]
    frames = next(batches(args, 0, batch_size)).frames
    answer({"probabilities": classify(frames).probabilities.tolist()})
    for what in sys.stdin:
        time.sleep(PAUSE_SEC)
        started_sec = time.perf_counter()
        if what.strip() == "model":
            classify(frames)
        else:  # three batches, the start of the reading worker included
            for batch in batches(args, 1, 3 * batch_size, batch_size):
                classify(batch.frames)
        elapsed_sec = time.perf_counter() - started_sec
        memory_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
        answer({"seconds": elapsed_sec, "peak_memory_mb": memory_mb})


def engines_in(folder: Path) -> list[str]:
    return [engine for engine in ENGINES if engine != "onnxruntime" or (folder / "model.onnx").is_file()]


def open_engine(args: argparse.Namespace, engine: str) -> Callable:
    import common.startup  # noqa: F401
    from inference.engines.eager import EagerPaddle
    from inference.exported import open_exported
    from models.weights import load_weights, read_weights

    if engine != EAGER:
        path = args.folder / ("model.onnx" if engine == "onnxruntime" else "exported")
        return open_exported(path, args.threads[0])
    model = build_model(args)
    load_weights(model, read_weights(args.folder / WEIGHTS))
    return EagerPaddle(model)


def build_model(args: argparse.Namespace):
    from models.registry import create_model

    return create_model("TSN", num_classes=NUM_CLASSES, num_layers=args.num_layers)


def batches(args: argparse.Namespace, num_workers: int, num_clips: int, batch_size: int | None = None):
    """The batches of an epoch of so many clips."""
    import common.startup  # noqa: F401
    from datareader.loader import Loader
    from datareader.reader import ClipReader, Decoding
    from datareader.records import Record
    from datareader.sampling import Sampling
    from datareader.transforms import Views

    paths = [str(CLIPS / f"{number % NUM_CLIPS}.mp4") for number in range(num_clips)]
    reader = ClipReader(
        [Record(path, None, path) for path in paths],
        Decoding(),
        Sampling(args.seg_num),
        Views(args.target_size * 8 // 7, args.target_size),
    )
    return Loader(reader, batch_size or num_clips, num_workers=num_workers).epoch(0)


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    columns = {
        "what": "what", "engine": "engine", "batch": "batch_size", "threads": "num_threads", "clips/s": "clips_per_sec",
        "eager = 1": "ratio_to_eager", "largest difference": "max_diff", "peak memory, MB": "peak_memory_mb",
    }  # fmt: skip
    ordered = sorted(rows, key=lambda row: row["what"])
    return tabulate([[row[key] for key in columns.values()] for row in ordered], list(columns), "github")


if __name__ == "__main__":
    command_line.run(main)
