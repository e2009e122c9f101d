"""A classifier that is ready to use, from weights or from an export: the door for infer.py, test.py and other programs.

from inference.session import open_session

session = open_session("checkpoints/demo/TSN_epoch14")      # or an export, or None: the published weights
prediction = session.classify("my.mp4")
print(session.best(prediction, 5))                          # [("biking through city", 0.997), ...]
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import common.startup  # noqa: F401
from common import checksums
from common.command_line import DEFAULT_CONFIG, PROJECT
from common.console import command, count
from config import Config, load_config
from datareader.build import build_reader
from datareader.loader import read_one_by_one
from datareader.reader import ClipReader
from datareader.records import Record
from datareader.video import VideoError
from distributed.ranks import Ranks, on_gpu, start
from evaluation.predictions import Prediction, best_classes
from inference.build import BuiltEngine, build_engine
from inference.cost import clip_cost
from inference.engines.eager import EagerPaddle
from inference.engines.onnx_runtime import OnnxRuntime
from inference.exported import is_exported, read_card
from inference.predict import predict
from models.build import build_model
from models.weights import find_weights

logger = logging.getLogger("session")


class Session:
    """An engine that is ready, and what it came from.

    Args:
        config: says how videos are looked at.
        mode: "infer" or "test": the section of the config that counts.
        ranks: the processes of this run.
        built: the engine, its class names and weights.
    """

    def __init__(self, config: Config, mode: str, ranks: Ranks, built: BuiltEngine):
        self.config = config
        self.mode = mode
        self.ranks = ranks
        self.engine, self.class_names, self.weights = built

    @property
    def max_frames(self) -> int:
        """Frames that the engine gets at once."""
        return getattr(self.config, self.mode).max_frames_per_batch

    def classify(self, path: str | Path) -> Prediction:
        """What the model says of one video file, features included.

        Raises:
            VideoError: the file cannot be read; the message names it and says why.
        """
        reader = build_reader(self.config, self.mode, [])
        batches = read_one_by_one(reader, [Record(str(path), None, str(path))])
        (step,) = predict(self.engine, batches, reader, max_frames=self.max_frames, keep_features=True)
        (prediction,) = step.predictions
        if prediction.problem:
            raise VideoError(f"{path}: {prediction.problem}")
        return prediction

    def best(self, prediction: Prediction, top_k: int = 5) -> list[tuple[str, float]]:
        """(class name, probability) of the best classes."""
        return best_classes(prediction, self.class_names, top_k)

    def protocol(self, reader: ClipReader) -> dict[str, Any]:
        """How each video is looked at, and what that costs."""
        model = self.engine.model if isinstance(self.engine, EagerPaddle) else build_model(self.config)
        sampling, views = reader.sampling, reader.views
        cost = clip_cost(model, sampling.seg_num, sampling.seglen, views.target_size)
        return {
            "seg_num": sampling.seg_num,
            "seglen": sampling.seglen,
            "num_clips": sampling.num_clips,
            "crop": views.crop,
            "num_views": reader.num_views,
            "short_size": views.short_size,
            "target_size": views.target_size,
            "frames_per_video": reader.clip_shape[0],
            "gmacs_per_video": round(cost.gmacs * reader.num_views, 4),
            "num_parameters": cost.num_parameters,
        }

    def settings(self, protocol: dict[str, Any]) -> dict[str, Any]:
        """What the results of a video depend on."""
        return {"weights": str(self.weights), "weights_sha256": checksums.fingerprint(self.weights), **protocol}


def open_session(
    weights: str | Path | None = None,
    config: str | Path | None = None,
    overrides: list[str] | None = None,
    *,
    flags: dict[str, Any] | None = None,
    mode: str = "infer",
) -> Session:
    """Read the config, choose the device, join the ranks if there are several, load the model.

    Args:
        weights: of any known format, the folder of a run, or an export; None: the published ones, downloaded.
        config: config file; None: that of the weights if they are a checkpoint or an export, else configs/tsn.txt.
        overrides: "SECTION.key=value", such as "TRAIN.use_gpu=False".
        flags: {"SECTION.key": value}; they win over the overrides; None values are left out.
        mode: "infer" or "test": the section of the config that counts.

    Raises:
        ValueError, OSError: what was given cannot be used; the message names it and says what to do.
    """
    weights = find_weights(weights) if weights else None
    read = read_config(weights, config, overrides, flags)
    ranks = start(read.train.use_gpu)
    session = Session(read, mode, ranks, build_engine(read, mode, weights))
    logger.info("[%s] %s%s", mode.upper(), session.engine.title, _engine_advice(session))
    return session


def read_config(
    weights: Path | None, config: str | Path | None, overrides: list[str] | None, flags: dict[str, Any] | None
) -> Config:
    """The config; see `open_session`."""
    if config:
        return load_config(config, overrides, flags)
    if weights and is_exported(weights):
        return load_config(weights, overrides, flags, read_card(weights).config)
    if weights and (weights / "config.yaml").is_file():
        return load_config(weights / "config.yaml", overrides, flags)
    default = Path(DEFAULT_CONFIG) if Path(DEFAULT_CONFIG).is_file() else PROJECT / DEFAULT_CONFIG
    return load_config(default, overrides, flags)


def describe_protocol(reader: ClipReader, protocol: dict[str, Any]) -> str:
    """The protocol and its cost on one line."""
    gmacs = protocol["gmacs_per_video"]
    frames = count(protocol["frames_per_video"], "frame")
    return f"{reader.describe()}: {frames} and {gmacs:.{0 if gmacs >= 100 else 2}f} billion multiply-adds per video"


def _engine_advice(session: Session) -> str:
    """Which engine would be faster on a CPU, of those that are here; measured by benchmarks/infer.py."""
    if on_gpu() or isinstance(session.engine, OnnxRuntime):
        return ""
    source = session.weights if isinstance(session.engine, EagerPaddle) else "..."
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("paddle2onnx"):
        export = command("python", "export.py", f"--weights={source}", "--format=onnx")
        return f"; on a CPU ONNX Runtime is faster: {export}, then --weights=exported/model.onnx"
    if isinstance(session.engine, EagerPaddle):
        export = command("python", "export.py", f"--weights={source}")
        return (
            f"; on a CPU Paddle Inference is faster: {export}, then --weights=exported (ONNX Runtime is the fastest: "
            "requirements-onnx.txt)"
        )
    return "; on a CPU ONNX Runtime is the fastest: requirements-onnx.txt"
