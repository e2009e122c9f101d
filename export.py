"""Write a trained model as files that run without this project, and prove that they compute the same.

python export.py --config=configs/tsn.txt --weights=checkpoints/TSN_epoch44 --save_dir=exported --format=onnx
python infer.py --weights=exported/model.onnx --video my.mp4

--format=paddle writes a Paddle inference model into SAVE_DIR, --format=onnx the file SAVE_DIR/model.onnx, which needs
requirements-onnx.txt. Both take uint8 frames (N, T, 3, H, W), N and T of any size, have normalisation and softmax
inside, give probabilities and features, and carry the class names. SAVE_DIR/preprocess.py makes the frames of a video
in programs that have only PyAV, Pillow and numpy.
"""

import argparse
import dataclasses
import filecmp
import logging
import os
import shutil
from pathlib import Path

if __name__ == "__main__":
    import common.beginning  # noqa: F401

import numpy as np

import common.startup  # noqa: F401  isort: skip
import paddle

from common import checksums, command_line, console
from common.processes import num_cores
from common.whole_file import prepare_save_dir, unfinished_path
from config import Config, dump_config
from datareader.build import build_reader, build_records
from datareader.records import RecordList, records_of
from distributed.ranks import gpu_number, start
from inference.build import build_engine
from inference.engines.paddle_inference import CARD_FILE
from inference.exported import ExportCard, is_exported, open_exported
from inference.exporting import ONNX_FILE, PREPROCESS, check_onnx_export, compare, write_onnx, write_paddle
from inference.recipe import preprocessing_of
from inference.session import read_config
from models.weights import find_weights

RANDOM_SHAPES = ((1, 1), (1, 3), (2, 7), (5, 2))  # clips, segments
REAL_CLIPS = 4

logger = logging.getLogger("export")


def build_parser() -> command_line.OneLineParser:
    parser = command_line.config_parser(__doc__)
    command_line.add_weights(parser)
    parser.add_argument("--save_dir", default="exported", help="folder for the export (default: %(default)s)")
    parser.add_argument("--format", choices=("paddle", "onnx"), default="paddle", help="default: %(default)s")
    parser.add_argument(
        "--video", nargs="+", metavar="PATH", help="real videos to compare on (default: the first of INFER.filelist)"
    )
    return parser


def main(argv: list[str] | None = None) -> Path:
    args = build_parser().parse_args(argv)
    console.start_logging()
    weights = find_weights(args.weights) if args.weights else None
    if weights and is_exported(weights):
        raise ValueError(f"{weights}: is an export already; give the weights that it was made of")
    flags = {"MODEL.name": args.model_name, "TRAIN.use_gpu": args.use_gpu}
    config = read_config(weights, args.config, args.overrides, flags)
    start(config.train.use_gpu)
    if args.format == "onnx":
        check_onnx_export()
    save_dir = Path(args.save_dir)
    target = save_dir / ONNX_FILE if args.format == "onnx" else save_dir
    if is_exported(target):
        raise FileExistsError(f"{target}: holds an export already; remove it, or choose another --save_dir")
    theirs = save_dir / PREPROCESS.name
    if theirs.exists() and not filecmp.cmp(theirs, PREPROCESS, shallow=False):
        raise FileExistsError(
            f"{theirs}: is not the file that goes beside the model; remove it, or choose another --save_dir"
        )
    prepare_save_dir(save_dir)
    export(args, config, weights, target)
    logger.info("[EXPORT] next: %s", console.command("python", "infer.py", f"--weights={target}", "--video", "my.mp4"))
    return target


def export(args: argparse.Namespace, config: Config, weights: Path | None, target: Path) -> None:
    """Write the export beside its place, compare it with its source, then give it its name."""
    source = build_engine(config, "infer", weights)
    card = card_of(config, source.class_names, source.weights)
    save_dir = Path(args.save_dir)
    hidden = unfinished_path(save_dir / "export")
    try:
        write_paddle(source.engine.model, hidden, card)
        written = hidden
        if args.format == "onnx":
            written = hidden / ONNX_FILE
            write_onnx(hidden, written)
        source.engine.model.eval()
        try:
            exported = open_exported(written, num_cores(), gpu_number())
        except RuntimeError as error:  # Paddle does not look whether what it writes gets there
            reason = str(error).splitlines()[0]
            raise OSError(f"{save_dir}: what was just written cannot be read ({reason}); is the disk full?") from error
        compare(source.engine, exported, clips_to_compare(args, config), target)
        names = (
            [PREPROCESS.name, written.name] if args.format == "onnx" else sorted(file.name for file in hidden.iterdir())
        )
        names.sort(key=lambda name: name == CARD_FILE)  # it is what makes a folder an export, so it comes last
        for name in names:
            os.replace(hidden / name, save_dir / name)
        if args.format == "onnx":
            checksums.record(target)
            names.append(checksums.sums_of_file(target).name)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    logger.info("[EXPORT] %s", console.written(save_dir / name for name in names))


def card_of(config: Config, class_names: list[str] | None, weights: Path) -> ExportCard:
    """What the export says of itself; it needs no label file, since it carries the names."""
    model = dataclasses.replace(config.model, label_file=None) if class_names else config.model
    side, reader = config.infer.target_size, build_reader(config, "infer", [])
    return ExportCard(
        class_names=class_names,
        config=dump_config(dataclasses.replace(config, model=model)),
        weights=str(weights),
        clip_shape=[None, None, 3, side, side],
        num_classes=config.model.num_classes,
        paddle_version=paddle.__version__,
        preprocessing=preprocessing_of(reader.sampling, reader.views),
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
            logger.warning("cannot read %s: %s", record.path, sample.unreadable[0][1])
        if num_real == REAL_CLIPS:
            break
    if not num_real:
        logger.warning("[EXPORT] no real video to compare on, only random ones; --video=PATH names some")
    return clips


def real_records(args: argparse.Namespace, config: Config) -> RecordList:
    """The videos of --video, else of INFER.filelist, if there is one here."""
    if args.video:
        return records_of(args.video)
    if config.infer.filelist and Path(config.infer.filelist).is_file():
        return build_records(config, "infer")
    return RecordList()


if __name__ == "__main__":
    command_line.run(main)
