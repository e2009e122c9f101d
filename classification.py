"""What test.py and infer.py share: which config, which classifier, how a video is looked at and what that costs."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from pathlib import Path
from typing import Any, NamedTuple

import checksums
import command_line
from builders import Classifier, build_classifier, build_model
from config import Config, load_config
from datareader.kinetics_reader import KineticsReader
from engine.distributed import Ranks, on_gpu, start
from engine.log import start_logging
from models.classifier import EagerClassifier
from models.cost import clip_cost
from models.exported import OnnxRuntime, is_exported, read_card

logger = logging.getLogger("classification")


class Session(NamedTuple):
    """A classifier that is ready, and what it came from."""

    config: Config
    ranks: Ranks
    classifier: Classifier
    class_names: list[str] | None
    """In label order; None: classes go by number."""
    weights: Path
    """The file or folder that the classifier was made of."""


def add_weights(parser: command_line.OneLineParser) -> None:
    """The flag --weights, which may bring a config too."""
    parser.set_defaults(config=None)
    parser.add_argument(
        "--weights",
        help="weights of any known format, or what export.py wrote (default: the published ones, downloaded); without "
        f"--config, a checkpoint or an export brings its own config, other weights take {command_line.DEFAULT_CONFIG}",
    )


def config_of(args: argparse.Namespace, flags: dict[str, Any]) -> Config:
    """The config of --config; without it that of the weights, if they are a checkpoint or an export."""
    weights = Path(args.weights) if args.weights else None
    if args.config:
        return load_config(args.config, args.overrides, flags)
    if weights and is_exported(weights):
        return load_config(weights, args.overrides, flags, read_card(weights).config)
    if weights and (weights / "config.yaml").is_file():
        return load_config(weights / "config.yaml", args.overrides, flags)
    return load_config(command_line.DEFAULT_CONFIG, args.overrides, flags)


def open_session(args: argparse.Namespace, mode: str, flags: dict[str, Any]) -> Session:
    """Read the config, join the ranks, make the classifier of a mode, "test" or "infer"."""
    common = {
        "MODEL.name": args.model_name,
        f"{mode.upper()}.batch_size": args.batch_size,
        "TRAIN.use_gpu": args.use_gpu,
    }
    config = config_of(args, common | flags)
    start_logging()
    ranks = start(config.train.use_gpu)
    classifier, class_names, weights = build_classifier(config, mode, args.weights)
    logger.info("[%s] %s%s", mode.upper(), classifier.title, engine_advice(classifier, weights))
    return Session(config, ranks, classifier, class_names, weights)


def protocol_of(session: Session, reader: KineticsReader) -> dict[str, Any]:
    """How each video is looked at, and what that costs."""
    config = session.config
    model = session.classifier.model if isinstance(session.classifier, EagerClassifier) else build_model(config)
    cost = clip_cost(model, reader.seg_num, reader.seglen, reader.target_size)
    return {
        "seg_num": reader.seg_num,
        "seglen": reader.seglen,
        "num_clips": reader.num_clips,
        "crop": reader.crop,
        "num_views": reader.num_views,
        "short_size": reader.short_size,
        "target_size": reader.target_size,
        "frames_per_video": reader.clip_shape[0],
        "gmacs_per_video": round(cost.gmacs * reader.num_views, 4),
        "num_parameters": cost.num_parameters,
    }


def describe_protocol(protocol: dict[str, Any]) -> str:
    """The protocol on one line."""
    num_clips, num_crops = protocol["num_clips"], protocol["num_views"] // protocol["num_clips"]
    clips = f"{num_clips} clips x " if num_clips > 1 else ""
    crops = f"{num_crops} crops" if num_crops > 1 else "the center crop"
    gmacs = protocol["gmacs_per_video"]
    cost = f"{protocol['frames_per_video']} frames and {gmacs:.{0 if gmacs >= 100 else 2}f} billion multiply-adds"
    return f"{protocol['seg_num']} segments x {clips}{crops} of {protocol['target_size']} px: {cost} per video"


def settings_of(session: Session, protocol: dict[str, Any]) -> dict[str, Any]:
    """What the results of a video depend on."""
    return {"weights": str(session.weights), "weights_sha256": checksums.fingerprint(session.weights), **protocol}


def engine_advice(classifier: Classifier, weights: Path) -> str:
    """Which engine would be faster on a CPU, of those that are here; measured by benchmarks/infer.py."""
    if on_gpu() or isinstance(classifier, OnnxRuntime):
        return ""
    source = weights if isinstance(classifier, EagerClassifier) else "..."
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("paddle2onnx"):
        return (
            f"; on a CPU ONNX Runtime is the fastest: python export.py --weights={source} --format=onnx, then "
            "--weights=exported/model.onnx"
        )
    if isinstance(classifier, EagerClassifier):
        return (
            f"; on a CPU Paddle Inference is faster: python export.py --weights={source}, then --weights=exported "
            "(ONNX Runtime is the fastest: requirements-onnx.txt)"
        )
    return "; on a CPU ONNX Runtime is the fastest: requirements-onnx.txt"
