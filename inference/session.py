"""A classifier that is ready to use, from weights or from an export: the door for infer.py, test.py and other programs.

from inference.session import open_session

session = open_session("checkpoints/demo/TSN_epoch14")      # or an export, or None: the published weights
prediction = session.classify("my.mp4")
print(session.best(prediction, 5))                          # [("biking through city", 0.997), ...]
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import common.startup  # noqa: F401
from common import checksums
from common.command_line import DEFAULT_CONFIG, PROJECT
from common.console import count
from config import Config, load_config
from datareader.build import build_reader
from datareader.loader import read_one_by_one
from datareader.reader import ClipReader
from datareader.records import Record
from datareader.video import VideoError
from distributed.ranks import Ranks, gpu_is_here, start
from evaluation.predictions import Prediction, best_classes
from inference.build import BuiltEngine, Job, build_engine
from inference.choice import AUTO, Wish
from inference.cost import model_cost
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
        self.engine, self.class_names, self.weights = built.engine, built.class_names, built.weights
        self.precision = built.precision
        self._cost = built.cost

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
        sampling, views = reader.sampling, reader.views
        cost = self._cost or model_cost(build_model(self.config), sampling.seglen, views.target_size)
        return {
            "seg_num": sampling.seg_num,
            "seglen": sampling.seglen,
            "num_clips": sampling.num_clips,
            "crop": views.crop,
            "num_views": reader.num_views,
            "resize": views.resize,
            "short_size": views.short_size,
            "target_size": views.target_size,
            "frames_per_video": reader.clip_shape[0],
            "gmacs_per_video": round(cost.clip_gmacs(sampling.seg_num) * reader.num_views, 4),
            "num_parameters": cost.num_parameters,
        }

    def settings(self, protocol: dict[str, Any]) -> dict[str, Any]:
        """What the results of a video depend on."""
        rounding = {} if self.precision == "float32" else {"precision": self.precision}
        about = {"weights": str(self.weights), "weights_sha256": checksums.fingerprint(self.weights)}
        return about | protocol | rounding


class Opening(NamedTuple):
    """A session whose config is read and whose ranks have met: what is missing is the engine."""

    config: Config
    mode: str
    ranks: Ranks
    weights: Path | None
    wish: Wish
    gpu: int | None
    """See `Job`."""

    def open(self, num_videos: int | None = None, *, needs_layers: bool = False, one_by_one: bool = False) -> Session:
        """Load or convert the model.

        Args:
            num_videos: how long the job is, which decides whether a faster engine is worth its start; None: unknown.
            needs_layers: for heat maps.
            one_by_one: each video is waited for; else they come in batches.
        """
        own_share = None if num_videos is None else -(-num_videos // self.ranks.num_ranks)
        job = Job(own_share, needs_layers, one_by_one, self.gpu)
        built = build_engine(self.config, self.mode, self.weights, self.wish, job)
        logger.info("[%s] %s: %s", self.mode.upper(), built.engine.title, built.reason)
        return Session(self.config, self.mode, self.ranks, built)


def begin_session(
    weights: str | Path | None = None,
    config: str | Path | None = None,
    overrides: list[str] | None = None,
    *,
    flags: dict[str, Any] | None = None,
    mode: str = "infer",
    wish: Wish,
) -> Opening:
    """Read the config, choose the device, join the ranks if there are several; see `open_session`."""
    weights = find_weights(weights) if weights else None
    read = read_config(weights, config, overrides, flags)
    gpu = _gpu_of_onnx_runtime(weights, wish, read.train.use_gpu)
    ranks = start(read.train.use_gpu if gpu is None else False)
    return Opening(read, mode, ranks, weights, wish, gpu)


def open_session(
    weights: str | Path | None = None,
    config: str | Path | None = None,
    overrides: list[str] | None = None,
    *,
    flags: dict[str, Any] | None = None,
    mode: str = "infer",
    engine: str = AUTO,
    precision: str | None = None,
) -> Session:
    """Read the config, choose the device, join the ranks if there are several, load the model.

    Args:
        weights: of any known format, the folder of a run, or an export; None: the published ones, downloaded.
        config: config file; None: that of the weights if they are a checkpoint or an export, else configs/tsn.txt.
        overrides: "SECTION.key=value", such as "TRAIN.use_gpu=False".
        flags: {"SECTION.key": value}; they win over the overrides; None values are left out.
        mode: "infer" or "test": the section of the config that counts.
        engine, precision: as the flags of these names.

    Raises:
        ValueError, OSError: what was given cannot be used; the message names it and says what to do.
    """
    wish = Wish(engine, precision)
    return begin_session(weights, config, overrides, flags=flags, mode=mode, wish=wish).open(one_by_one=True)


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


def _gpu_of_onnx_runtime(weights: Path | None, wish: Wish, use_gpu: bool | str) -> int | None:
    """The GPU that ONNX Runtime is to use, which needs no Paddle for GPUs; None: Paddle's device counts."""
    is_wanted = wish.engine == "onnxruntime" or (weights and OnnxRuntime.recognises(weights))
    if not is_wanted or not (use_gpu is True or (use_gpu == "auto" and OnnxRuntime.has_cuda() and gpu_is_here())):
        return None
    return int(os.environ.get("PADDLE_LOCAL_RANK", 0))
