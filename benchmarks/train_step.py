"""How fast training steps are: this project's loop beside a bare Paddle loop, alone and with 1 and 2 processes.

    python benchmarks/train_step.py                        # ResNet-50, 112 px, 8 clips per step: 15 minutes on 2 cores
    python benchmarks/train_step.py --num_layers 18 --batch_size 32 --processes 1,2,4

Both loops train the same model on the same batches, and take turns at every step (at every epoch with real reading), so
that a noisy machine blurs the speeds more than their ratio. "synthetic" batches lie ready in memory, "real" ones are
read from clips that it makes, into benchmarks/data. Every row is also a JSON line, before the table. On CPUs.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.clips import SIZES, make_clip  # noqa: E402
from common import command_line  # noqa: E402

CLIPS = ROOT / "benchmarks" / "data" / "340x256"
NUM_CLIPS = 5
STEPS = 10  # of each loop in a round, one of them with a log line, as by default
LOOPS = ("bare", "engine")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = command_line.OneLineParser(__doc__)
    positive_int = command_line.positive_int
    parser.add_argument("--num_layers", type=positive_int, default=50, help="of the ResNet (default: %(default)s)")
    parser.add_argument("--target_size", type=positive_int, default=112, help="pixels (default: %(default)s)")
    parser.add_argument("--batch_size", type=positive_int, default=8, help="over all processes (default: %(default)s)")
    parser.add_argument("--seg_num", type=positive_int, default=3, help="segments (default: %(default)s)")
    parser.add_argument("--processes", default="1,2", help="how many to launch (default: %(default)s)")
    parser.add_argument("--rounds", type=positive_int, default=3, help=f"of {STEPS} steps each (default: %(default)s)")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)  # where a measured process leaves its figures
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    if args.worker:
        measure(args)
        return
    setups = [0, *(command_line.positive_int(text) for text in args.processes.split(","))]
    width, height = SIZES[CLIPS.name]
    for seed in range(NUM_CLIPS):
        make_clip(CLIPS / f"{seed}.mp4", width, height, seed)
    rows = []
    for num_processes in setups:
        found = run_setup(num_processes, sys.argv[1:] if argv is None else argv)
        print(*map(json.dumps, found), sep="\n", flush=True)
        rows += found
    print("\n" + table(rows))


def run_setup(num_processes: int, flags: list[str]) -> list[dict]:
    """Measure in processes of their own; 0 stands for one without the launcher."""
    with tempfile.TemporaryDirectory() as folder:
        launch = ["-m", "paddle.distributed.launch", f"--nproc_per_node={num_processes}", f"--log_dir={folder}/log"]
        figures = Path(folder) / "figures.json"
        command = [sys.executable, *(launch if num_processes else []), __file__, *flags, f"--worker={figures}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"a measured process failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        rows = json.loads(figures.read_text())
    return [{"case": row.pop("case"), "num_processes": num_processes or "alone", **row} for row in rows]


def measure(args: argparse.Namespace) -> None:
    """In each of the measured processes; rank 0 writes the figures."""
    import common.startup  # noqa: F401  isort: skip
    import paddle

    from distributed.ranks import seed_everything, start

    ranks = start(use_gpu=False)
    seed_everything(0)
    learner, loader = make_learner(args, ranks), make_loader(args, ranks)
    clips_here = args.batch_size // ranks.num_ranks
    shape = [clips_here, args.seg_num, 3, args.target_size, args.target_size]
    frames = (paddle.rand(shape) * 255).astype("uint8")
    synthetic = make_batch(frames, paddle.randint(0, 400, [clips_here]))
    steps = {"bare": bare_steps(learner, itertools.repeat(synthetic))}
    steps["engine"] = engine_steps(learner, itertools.repeat(synthetic), ranks)
    cases = {
        "synthetic": lambda: take_turns(steps),
        "real": lambda: {
            "bare": seconds(bare_steps(learner, loader.epoch(0))),
            "engine": seconds(engine_steps(learner, loader.epoch(0), ranks)),
        },
    }
    for _ in zip(*steps.values(), range(2), strict=False):
        pass  # warms up
    for _ in loader.epoch(0):
        pass  # starts the workers
    rows = [row for case, measure_round in cases.items() for row in measure_case(args, case, measure_round)]
    ranks.exchange("measured")
    if ranks.rank == 0:
        args.worker.write_text(json.dumps(rows))
    ranks.leave()


def measure_case(args: argparse.Namespace, case: str, measure_round: Callable[[], dict[str, float]]) -> list[dict]:
    """A row for each loop."""
    times, memory_mb = {loop: [] for loop in LOOPS}, [resident_mb()]
    for _ in range(args.rounds):
        for loop, elapsed_sec in measure_round().items():
            times[loop].append(elapsed_sec)
        memory_mb.append(resident_mb())
    rows = []
    for loop in LOOPS:
        ratios = [bare / own for bare, own in zip(times["bare"], times[loop], strict=True)]
        row = {
            "case": f"{loop}, {case}",
            "clips_per_sec": round(STEPS * args.batch_size / statistics.median(times[loop]), 2),
            "ratio_to_bare": round(statistics.median(ratios), 3),
            "memory_mb": memory_mb,
        }
        rows.append(row)
    return rows


def make_learner(args: argparse.Namespace, ranks):
    from distributed.ranks import parallel
    from models.registry import create_model
    from training.optimizer import create_optimizer
    from training.precision import Precision
    from training.steps import Learner

    model = create_model("TSN", num_classes=400, num_layers=args.num_layers)
    return Learner(
        network=parallel(model, ranks),
        optimizer=create_optimizer(model, 0.001, 0.9, 1e-4),
        learning_rate_at=lambda step: 0.001,
        precision=Precision("off", model, on_gpu=False),
    )


def make_batch(frames, labels):
    from datareader.loader import Batch

    names = [str(number) for number in range(len(labels))]
    return Batch(frames, labels, list(range(len(labels))), names, [], [], [])


def make_loader(args: argparse.Namespace, ranks):
    """An epoch of as many steps as a round has."""
    from datareader.augment import RandomView
    from datareader.loader import Loader
    from datareader.order import shuffled_order
    from datareader.reader import ClipReader, Decoding
    from datareader.records import Record
    from datareader.sampling import Sampling

    paths = [str(CLIPS / f"{number % NUM_CLIPS}.mp4") for number in range(STEPS * args.batch_size)]
    reader = ClipReader(
        [Record(path, 0, path) for path in paths],
        Decoding(),
        Sampling(args.seg_num),
        RandomView(args.target_size * 8 // 7, args.target_size),
        seed=0,
    )
    return Loader(
        reader, args.batch_size, order=partial(shuffled_order, num_clips=len(paths), seed=0), num_workers=1,
        rank=ranks.rank, num_ranks=ranks.num_ranks, even_ranks=True,
    )  # fmt: skip


def bare_steps(learner, batches: Iterable) -> Iterator[None]:
    """What a training step cannot do without."""
    import paddle.nn.functional as F

    for batch in batches:
        learner.network.train()
        loss = F.cross_entropy(learner.network(batch.frames), batch.labels)
        loss.backward()
        learner.optimizer.step()
        learner.optimizer.clear_grad()
        yield


def engine_steps(learner, batches: Iterable, ranks) -> Iterator:
    from training.meter import ScoreMeter
    from training.steps import train_steps

    return train_steps(learner, batches, ScoreMeter(), STEPS, ranks=ranks)


def take_turns(steps: dict[str, Iterator]) -> dict[str, float]:
    """The seconds that a round of each loop takes, a step of one after a step of the other."""
    times = dict.fromkeys(steps, 0.0)
    for _ in range(STEPS):
        for loop, iterator in steps.items():
            started_sec = time.perf_counter()
            next(iterator)
            times[loop] += time.perf_counter() - started_sec
    return times


def seconds(steps: Iterator) -> float:
    """How long all steps take."""
    started_sec = time.perf_counter()
    for _ in steps:
        pass
    return time.perf_counter() - started_sec


def resident_mb() -> int:
    """Memory of this process, without its reading workers."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return round(int(status.split("VmRSS:")[1].split()[0]) / 1e3)


def table(rows: list[dict]) -> str:
    """The rows as Markdown, with the speed as a multiple of that of the same case alone."""
    alone = {row["case"]: row["clips_per_sec"] for row in rows if row["num_processes"] == "alone"}
    cells = [
        {
            "case": row["case"],
            "processes": row["num_processes"],
            "clips/s": row["clips_per_sec"],
            "alone = 1": round(row["clips_per_sec"] / alone[row["case"]], 2),
            "bare loop = 1": row["ratio_to_bare"],
            "memory, MB, first to last round": f"{row['memory_mb'][0]} to {row['memory_mb'][-1]}",
        }
        for row in rows
    ]
    return tabulate(cells, headers="keys", tablefmt="github")


if __name__ == "__main__":
    command_line.run(main)
