"""Write a trained model as files that run without this project, and prove that they compute the same.

python export.py --config=configs/tsn.txt --weights=checkpoints/TSN_epoch44 --save_dir=exported --format=onnx
python infer.py --weights=exported/model.onnx --video my.mp4
python export.py --weights=checkpoints/TSN_epoch44 --format=openvino --precision=int8 --compare=val.list

--format=paddle writes a Paddle inference model into SAVE_DIR, --format=openvino an OpenVINO model, --format=onnx the
file SAVE_DIR/model.onnx; the two last need requirements-openvino.txt or requirements-onnx.txt. All take uint8 frames
(N, T, 3, H, W), N and T of any size, have normalisation and softmax (multi-label: sigmoid) inside, give probabilities
and features, and carry the class names. SAVE_DIR/preprocess.py makes the frames of a video in programs that have only
PyAV, Pillow and numpy.
--triton=DIR writes, beside an ONNX export, the model repository that NVIDIA Triton Inference Server serves it from.
--precision=int8 and bf16 print a table of what they cost on the clips of --compare.
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

import common.startup  # noqa: F401
from common import command_line, console
from common.processes import threads_each
from common.whole_file import prepare_save_dir, unfinished_path
from config import Config
from datareader.build import build_reader, build_records
from datareader.records import RecordList, records_of
from distributed.ranks import gpu_number, start
from evaluation.predictions import read_class_names
from inference.build import CALIBRATION_CLIPS, FEW_CLIPS, Source, build_samples, calibration_list
from inference.choice import add_calibration
from inference.comparing import Contender, Samples, check_loss, compare, compare_precisions, precision_table
from inference.engines.eager import EagerPaddle
from inference.engines.engine import CARD_FILE, PRECISIONS, Engine, Running
from inference.exported import ENGINES, is_exported, open_exported
from inference.exporting import FORMATS, ONNX_FILE, PREPROCESS, check_format, write_export
from inference.session import read_config
from inference.triton import model_folder, write_model
from models.build import fetch_published_weights
from models.weights import find_weights

RANDOM_SHAPES = ((1, 1), (1, 3), (2, 7), (5, 2))  # clips, segments
REAL_CLIPS = 4
COMPARED_CLIPS = 300  # of a list, at most

logger = logging.getLogger("export")


def build_parser() -> command_line.OneLineParser:
    parser = command_line.config_parser(__doc__)
    command_line.add_weights(parser)
    parser.add_argument("--save_dir", default="exported", help="folder for the export (default: %(default)s)")
    parser.add_argument("--format", choices=FORMATS, default="paddle", help="default: %(default)s")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="default: %(default)s")
    add_calibration(parser)
    parser.add_argument(
        "--video", nargs="+", metavar="PATH", help="real videos to compare on (default: the first of INFER.filelist)"
    )
    parser.add_argument(
        "--compare", metavar="LIST",
        help="list, best with labels, that bf16 and int8 are compared with float32 on (default: VALID.filelist)",
    )  # fmt: skip
    parser.add_argument(
        "--max_loss", type=command_line.positive_float, default=1.0, metavar="POINTS",
        help="points of top-1 that bf16 or int8 may lose (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--triton", metavar="DIR", help="with --format=onnx: put the model into this model repository of Triton too"
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
    check_format(args.format, args.precision)
    save_dir = Path(args.save_dir)
    target = save_dir / ONNX_FILE if args.format == "onnx" else save_dir
    if is_exported(target):
        raise FileExistsError(f"{target}: holds an export already; remove it, or choose another --save_dir")
    theirs = save_dir / PREPROCESS.name
    if theirs.exists() and not filecmp.cmp(theirs, PREPROCESS, shallow=False):
        raise FileExistsError(
            f"{theirs}: is not the file that goes beside the model; remove it, or choose another --save_dir"
        )
    repository = model_folder(args.triton, config.model.name, args.format) if args.triton is not None else None
    prepare_save_dir(save_dir)
    Exporter(args, config, weights or fetch_published_weights(config), target, repository).export()
    logger.info("[EXPORT] next: %s", console.command("python", "infer.py", f"--weights={target}", "--video", "my.mp4"))
    return target


class Exporter:
    """Writes an export beside its place, compares it with its source, then gives it its name.

    Args:
        args: the flags.
        target: where it is to be.
        repository: where it is to be in a model repository of Triton too, if anywhere.
    """

    def __init__(
        self, args: argparse.Namespace, config: Config, weights: Path, target: Path, repository: Path | None = None
    ):
        self._args = args
        self._config = config
        self._target = target
        self._repository = repository
        self._save_dir = Path(args.save_dir)
        self._class_names = read_class_names(config.model.label_file, config.model.num_classes)
        if self._class_names:  # the card has them
            config = dataclasses.replace(config, model=dataclasses.replace(config.model, label_file=None))
        self._source = Source(config, "infer", weights)

    def export(self) -> None:
        hidden = unfinished_path(self._save_dir / "export")
        try:
            written = self._write_and_compare(hidden)
            if (
                self._repository
            ):  # first, so that without it there is no export, and the same command may be given again
                write_model(written, self._repository, self._class_names)
            names = self._move(written if written.is_dir() else written.parent)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        logger.info("[EXPORT] %s", console.written(self._save_dir / name for name in names))
        if self._repository:
            logger.info("[EXPORT] wrote %s, a model for Triton", self._repository)

    def _write_and_compare(self, hidden: Path) -> Path:
        """What was written, compared with the weights in float32, and with that in a smaller precision."""
        args = self._args
        if args.precision == "int8":  # before the work begins
            calibration_list(self._config, args.calibration)
        samples = self._samples() if args.precision != "float32" else None
        plain = self._write(hidden / "float32", "bf16" if args.precision == "bf16" else "float32")
        engine = self._open(plain, "float32")
        compare(EagerPaddle(self._source.model), engine, clips_to_compare(args, self._config), self._target)
        if samples is None:
            return plain
        contenders, written = [Contender("float32", engine, folder_bytes(plain))], plain
        if self._computes_bf16():
            contenders.append(Contender("bf16", self._open(plain, "bf16"), folder_bytes(plain)))
        if args.precision == "int8":
            written = self._write(hidden / "int8", "int8")
            contenders.append(Contender("int8", self._open(written, "int8"), folder_bytes(written)))
        rows = compare_precisions(contenders, samples)
        logger.info(
            "[EXPORT] %s by %s:\n%s",
            console.count(len(samples.clips), "clip"), engine.title, precision_table(rows),
        )  # fmt: skip
        check_loss(rows, args.max_loss, self._target)
        return written

    def _computes_bf16(self) -> bool:
        """Whether the table can have a row of bf16."""
        engine = ENGINES[FORMATS[self._args.format]]
        return "bf16" in engine.precisions and (self._args.precision == "bf16" or engine.has_bf16())

    def _write(self, folder: Path, precision: str) -> Path:
        calibration = None
        if precision == "int8":
            path = calibration_list(self._config, self._args.calibration)
            calibration = build_samples(self._config, "infer", path, CALIBRATION_CLIPS).clips
            log = logger.warning if len(calibration) < FEW_CLIPS else logger.info
            log("[EXPORT] calibrating on %s of %s", console.count(len(calibration), "clip"), path)
        card = self._source.card(precision, self._class_names)
        return write_export(self._args.format, self._source.model, folder, card, calibration)

    def _open(self, written: Path, precision: str) -> Engine:
        try:
            return open_exported(written, Running(threads_each(), gpu_number(), precision))
        except RuntimeError as error:  # Paddle does not look whether what it writes gets there
            reason = str(error).splitlines()[0]
            raise OSError(
                f"{self._save_dir}: what was just written cannot be read ({reason}); is the disk full?"
            ) from error

    def _samples(self) -> Samples:
        path = self._args.compare or self._config.valid.filelist
        if not path:
            raise ValueError(f"{self._args.precision} is compared with float32 on clips; name a list by --compare")
        return build_samples(self._config, "infer", Path(path), COMPARED_CLIPS)

    def _move(self, folder: Path) -> list[str]:
        """Give the files their names; that comes last which makes a folder an export."""
        names = sorted(file.name for file in folder.iterdir())
        names.sort(key=lambda name: (name == CARD_FILE, name == ONNX_FILE))
        for name in names:
            os.replace(folder / name, self._save_dir / name)
        return names


def folder_bytes(written: Path) -> int:
    """What an export's files take."""
    folder = written if written.is_dir() else written.parent
    return sum(file.stat().st_size for file in folder.iterdir())


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
