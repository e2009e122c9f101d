"""What each model costs on a CPU: multiply-adds, parameters, and clips per second of every engine.

    python benchmarks/models.py                                     # 8 segments of 224 px: 4 minutes on 2 cores
    python benchmarks/models.py --segments 16 --ways openvino:bf16

Each engine, with all threads that infer.py gives it, classifies one clip at a time, frames in memory. The models take
turns on it, so that a noisy machine blurs the speeds more than their ratio to the first model, which is in brackets;
speeds are medians. The weights are random, with a batch norm that fits real frames.
"""

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import common.startup  # noqa: E402, F401  isort: skip
import paddle  # noqa: E402
from tabulate import tabulate  # noqa: E402

from benchmarks.clips import SIZES, make_clip  # noqa: E402
from benchmarks.infer_job import fit_batch_norm, read  # noqa: E402
from benchmarks.processor import read_processor  # noqa: E402
from common import command_line  # noqa: E402
from config import dump_config, load_config  # noqa: E402
from inference.choice import Wish  # noqa: E402
from inference.engines.engine import Engine  # noqa: E402
from inference.session import begin_session  # noqa: E402
from models.build import build_model  # noqa: E402
from models.cost import model_cost  # noqa: E402

CLIPS = ROOT / "benchmarks" / "data" / "340x256"
NUM_CLIPS = 5
WAYS = ("eager:float32", "onnxruntime:float32", "openvino:float32", "openvino:bf16")


class Measured(NamedTuple):
    title: str
    name: str
    backbone: str
    num_layers: int


MODELS = (
    Measured("TSN, ResNet-50", "TSN", "resnet", 50),
    Measured("TSM, ResNet-50", "TSM", "resnet", 50),
    Measured("TSN, ResNet-50-vd", "TSN", "resnet_vd", 50),
    Measured("TSM, ResNet-50-vd", "TSM", "resnet_vd", 50),
    Measured("TSM, leaky ResNet-50-vd", "TSM", "resnet_vd_leaky", 50),
    Measured("TSM, ResNet-18", "TSM", "resnet", 18),
    Measured("TSN, EfficientNet-Lite0", "TSN", "efficientnet_lite", 0),
    Measured("TSM, EfficientNet-Lite0", "TSM", "efficientnet_lite", 0),
)


def prepare(folder: Path, measured: Measured, num_segments: int, side: int) -> list:
    """Write a model's config and weights; its row of the table so far."""
    clips = folder.parent / "clips.list"
    clips.write_text("".join(f"{CLIPS / str(number)}.mp4\n" for number in range(NUM_CLIPS)), encoding="utf-8")
    overrides = [f"MODEL.{key}={getattr(measured, key)}" for key in ("name", "backbone", "num_layers")]
    overrides += [f"INFER.seg_num={num_segments}", f"INFER.target_size={side}", f"INFER.short_size={side * 8 // 7}"]
    overrides += [f"TRAIN.filelist={clips}", "MODEL.label_file=none"]
    config = load_config(ROOT / "configs" / "tsn.txt", overrides)
    folder.mkdir()
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    paddle.seed(0)
    model = build_model(config)
    fit_batch_norm(model, next(read(config, NUM_CLIPS, NUM_CLIPS, 0)).frames)
    paddle.save(model.state_dict(), str(folder / "weights.pdparams"))
    cost = model_cost(model, 1, side)
    return [measured.title, f"{cost.clip_gmacs(num_segments):.2f}", f"{cost.num_parameters / 1e6:.2f}"]


def open_engine(folder: Path, way: str) -> Engine:
    engine, precision = way.split(":")
    opening = begin_session(folder / "weights.pdparams", folder / "config.yaml", wish=Wish(engine, precision))
    return opening.open(one_by_one=True).engine


def clips_per_sec(engines: list[Engine], frames: paddle.Tensor, rounds: int) -> list[float]:
    """Of each engine, which take turns."""
    seconds = [[] for _ in engines]
    for _ in range(rounds + 1):
        for engine, taken in zip(engines, seconds, strict=True):
            started_sec = time.perf_counter()
            engine(frames)
            taken.append(time.perf_counter() - started_sec)
    return [1 / statistics.median(taken[1:]) for taken in seconds]  # the first round warms up


def main(argv: list[str] | None = None) -> None:
    parser = command_line.OneLineParser(__doc__)
    parser.add_argument("--segments", type=command_line.positive_int, default=8, help="(default: %(default)s)")
    parser.add_argument("--target_size", type=command_line.positive_int, default=224, help="(default: %(default)s)")
    parser.add_argument("--rounds", type=command_line.positive_int, default=5, help="(default: %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="engines and precisions (default: all)")
    args: argparse.Namespace = parser.parse_args(argv)
    logging.disable(logging.INFO)
    width, height = SIZES[CLIPS.name]
    for seed in range(NUM_CLIPS):
        make_clip(CLIPS / f"{seed}.mp4", width, height, seed)
    frames = paddle.randint(0, 256, [1, args.segments, 3, args.target_size, args.target_size]).astype("uint8")
    with tempfile.TemporaryDirectory() as place:
        os.environ["TSN_ENGINE_CACHE"] = f"{place}/cache"
        folders = [Path(place, str(number)) for number in range(len(MODELS))]
        rows = [prepare(*each, args.segments, args.target_size) for each in zip(folders, MODELS, strict=True)]
        for way in args.ways:
            speeds = clips_per_sec([open_engine(folder, way) for folder in folders], frames, args.rounds)
            for row, speed in zip(rows, speeds, strict=True):
                row.append(f"{speed:.2f} ({speed / speeds[0]:.2f})")
    print(f"{read_processor()}; {args.segments} segments of {args.target_size} px; clips/s\n")
    print(tabulate(rows, ["model", "GMACs", "M parameters", *args.ways], "github", disable_numparse=True))


if __name__ == "__main__":
    command_line.run(main)
