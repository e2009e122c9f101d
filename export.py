"""Write a trained model as files that run without this project, and prove that they compute the same.

python export.py --config=configs/tsn.txt --weights=checkpoints/TSN_epoch44 --save_dir=exported --format=onnx
python infer.py --weights=exported/model.onnx --video my.mp4

--format=paddle writes a Paddle inference model into SAVE_DIR, --format=onnx the file SAVE_DIR/model.onnx, which needs
requirements-onnx.txt. Both take uint8 frames (N, T, 3, H, W), N and T of any size, have normalisation and softmax
inside, give probabilities and features, and carry the class names.
"""

import argparse
import dataclasses
import logging
import os
import shutil
import statistics
import time
from pathlib import Path

import numpy as np

import before_paddle  # noqa: F401  isort: skip
import paddle

import checksums
from builders import Classifier, build_classifier, build_reader, build_records
from classification import add_weights, config_of, engine_advice
from command_line import config_parser, run
from config import Config, dump_config
from datareader.records import Record, records_of
from engine.checkpoint import prepare_save_dir
from engine.distributed import gpu_number, start
from engine.log import start_logging
from models.exported import (
    ONNX_FILE,
    ExportCard,
    check_onnx_export,
    is_exported,
    open_exported,
    write_onnx,
    write_paddle,
)
from processes import num_cores

LARGEST_DIFFERENCE = 1e-4  # of probabilities, and of features as a share of the largest
RANDOM_SHAPES = ((1, 1), (1, 3), (2, 7), (5, 2))  # clips, segments
REAL_CLIPS = 4
TIMED_RUNS = 3

logger = logging.getLogger("export")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = config_parser(__doc__)
    add_weights(parser)
    parser.add_argument("--save_dir", default="exported", help="folder for the export (default: %(default)s)")
    parser.add_argument("--format", choices=("paddle", "onnx"), default="paddle", help="default: %(default)s")
    parser.add_argument(
        "--video", nargs="+", metavar="PATH", help="real videos to compare on (default: the first of INFER.filelist)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> Path:
    args = parse_args(argv)
    config = config_of(args, {"MODEL.name": args.model_name, "TRAIN.use_gpu": args.use_gpu})
    start_logging()
    start(config.train.use_gpu)
    if args.weights and is_exported(args.weights):
        raise ValueError(f"{args.weights}: is an export already; give the weights that it was made of")
    if args.format == "onnx":
        check_onnx_export()
    save_dir = Path(args.save_dir)
    target = save_dir / ONNX_FILE if args.format == "onnx" else save_dir
    if is_exported(target):
        raise FileExistsError(f"{target}: holds an export already; remove it, or choose another --save_dir")
    prepare_save_dir(save_dir)
    source, class_names, weights = build_classifier(config, "infer", args.weights)
    card = card_of(config, class_names, weights)

    unfinished = save_dir / ".unfinished.export"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        write_paddle(source.model, unfinished, card)
        written = unfinished
        if args.format == "onnx":
            written = unfinished / ONNX_FILE
            write_onnx(unfinished, written)
        source.model.eval()
        exported = open_exported(written, num_cores(), gpu_number())
        compare(source, exported, config, clips_to_compare(args, config), target)
        for file in [written] if args.format == "onnx" else sorted(unfinished.iterdir()):
            os.replace(file, save_dir / file.name)
        if args.format == "onnx":
            checksums.record(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("[EXPORT] wrote %s, for --weights=%s%s", target, target, engine_advice(exported, weights))
    return target


def card_of(config: Config, class_names: list[str] | None, weights: Path) -> ExportCard:
    """What the export says of itself; it needs no label file, since it carries the names."""
    model = dataclasses.replace(config.model, label_file=None) if class_names else config.model
    side = config.infer.target_size
    return ExportCard(
        class_names=class_names,
        config=dump_config(dataclasses.replace(config, model=model)),
        weights=str(weights),
        clip_shape=[None, None, 3, side, side],
        num_classes=config.model.num_classes,
        paddle_version=paddle.__version__,
    )


def clips_to_compare(args: argparse.Namespace, config: Config) -> list[tuple[str, np.ndarray]]:
    """(name, frames): random ones, uint8 (N, T, 3, H, W), then real ones, (1, T, 3, H, W)."""
    rng, side, seglen = np.random.default_rng(0), config.infer.target_size, config.model.seglen
    clips = [
        (f"random, {num_clips} x {segments}", rng.integers(0, 256, (num_clips, segments * seglen, 3, side, side)))
        for num_clips, segments in RANDOM_SHAPES
    ]
    clips = [(name, frames.astype(np.uint8)) for name, frames in clips]
    records = real_records(args, config)
    reader = build_reader(config, "infer", records)
    num_real = 0
    for index, record in enumerate(records):
        clip = np.empty(reader.clip_shape, np.uint8)
        sample = reader.read(0, index, clip)
        if sample.is_readable:
            clips.append((record.name, clip.reshape(reader.num_views, -1, *clip.shape[1:])))
            num_real += 1
        else:
            logger.warning("cannot read %s: %s", record.path, sample.broken[0][1])
        if num_real == REAL_CLIPS:
            break
    if not num_real:
        logger.warning("[EXPORT] no real video to compare on, only random ones; --video=PATH names some")
    return clips


def real_records(args: argparse.Namespace, config: Config) -> list[Record]:
    """Of --video, else of INFER.filelist, if there is one here."""
    if args.video:
        return records_of(args.video)
    if config.infer.filelist and Path(config.infer.filelist).is_file():
        return build_records(config, "infer")
    return []


def compare(
    source: Classifier, exported: Classifier, config: Config, clips: list[tuple[str, np.ndarray]], target: Path
) -> None:
    """Print the largest differences between two classifiers, and how fast they are.

    Raises:
        ValueError: a difference is above LARGEST_DIFFERENCE.
    """
    worst, worst_of_features, num_other_best = 0.0, 0.0, 0
    for name, frames in clips:
        ours, theirs = (classify(paddle.to_tensor(frames)) for classify in (source, exported))
        difference = float(np.abs(ours.probabilities - theirs.probabilities).max())
        of_features = float(np.abs(ours.features - theirs.features).max() / np.abs(ours.features).max())
        num_other_best += int((ours.probabilities.argmax(1) != theirs.probabilities.argmax(1)).sum())
        logger.info("[EXPORT] %s: probabilities differ by %.1e, features by %.1e", name, difference, of_features)
        worst, worst_of_features = max(worst, difference), max(worst_of_features, of_features)
    logger.info(
        "[EXPORT] largest difference %.1e (features: %.1e of the largest), another best class for %d clips; at most %g "
        "is allowed",
        worst, worst_of_features, num_other_best, LARGEST_DIFFERENCE,
    )  # fmt: skip
    if not max(worst, worst_of_features) <= LARGEST_DIFFERENCE:  # NaN fails too
        raise ValueError(
            f"{target}: the exported model computes something else: probabilities differ by {worst:.1e}, features by "
            f"{worst_of_features:.1e}, more than {LARGEST_DIFFERENCE:g}; nothing was written"
        )
    frames = paddle.to_tensor(clips[-1][1])
    times = [statistics.median(seconds(classify, frames) for _ in range(TIMED_RUNS)) for classify in (source, exported)]
    logger.info("[EXPORT] %s: %.1f times as fast as %s here", exported.title, times[0] / times[1], source.title)


def seconds(classify: Classifier, frames: paddle.Tensor) -> float:
    started_sec = time.perf_counter()
    classify(frames)
    return time.perf_counter() - started_sec


if __name__ == "__main__":
    run(main)
