"""Config and weights, or an export -> the engine that classifies, and the names of its classes."""

import functools
import logging
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from common import checksums
from common.console import count
from common.processes import threads_each
from config import Config, changed_keys, dump_config, load_config
from datareader.build import build_loader, build_reader
from datareader.records import read_list
from datareader.unreadable import UnreadableVideos
from distributed.ranks import gpu_number, on_gpu
from evaluation.predictions import read_class_names
from inference.choice import AUTO, EAGER, FORMAT_OF, Choice, Wish, choose_engine, is_worth_converting
from inference.comparing import Contender, Samples, compare_precisions
from inference.converted import entry_key, has_entry, open_converted, room_for
from inference.engines.eager import EagerPaddle
from inference.engines.engine import Engine, Running
from inference.exported import (
    ENGINES,
    ExportCard,
    engine_of,
    is_exported,
    open_exported,
    open_verified,
    probe,
    read_card,
)
from inference.exporting import ONNX_FILE, versions_for, write_export
from inference.recipe import preprocessing_of
from models.build import build_model, fetch_published_weights, network_keys
from models.cost import Cost, model_cost
from models.weights import load_weights, read_weights

CALIBRATION_CLIPS = 300  # at most; NNCF's own number
FEW_CLIPS = 100
CHECKED_CLIPS, LEAST_AGREEMENT = 16, 0.5
COPIES = 4  # of the weights, on the disk while they are converted

logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """What an engine is wanted for."""

    num_videos: int | None = None
    """None: not known."""
    needs_layers: bool = False
    """For heat maps."""
    one_by_one: bool = True
    """Each video is waited for."""
    gpu: int | None = None
    """The GPU for an engine that runs there without Paddle; None: Paddle's device."""


class BuiltEngine(NamedTuple):
    engine: Engine
    class_names: list[str] | None
    """In label order; None: classes go by number."""
    weights: Path
    """The file or folder that it was made of."""
    reason: str = ""
    """Why it is this engine."""
    precision: str = "float32"
    cost: Cost | None = None
    """None: not known, of an export of an earlier version."""


def build_engine(config: Config, mode: str, weights: Path | None, wish: Wish, job: Job) -> BuiltEngine:
    """What classifies in a mode, "test" or "infer".

    Args:
        weights: of any known format, or an exported model; None: the published ones.

    Raises:
        ValueError: weights or export do not fit the config, or the wish cannot be met; the message says where.
        OSError: the model of an engine that was asked for cannot be kept in the cache.
    """
    if weights and is_exported(weights):
        return _open_export(config, mode, weights, wish, job)
    class_names = read_class_names(config.model.label_file, config.model.num_classes)
    choice = choose_engine(wish, on_gpu=on_gpu(), needs_layers=job.needs_layers)
    source = Source(config, mode, weights or fetch_published_weights(config))
    running = Running(threads_each(), _gpu(job), wish.precision or "float32", job.one_by_one)
    engine, cost, reason = _open(source, choice, running, wish, job)
    return BuiltEngine(engine, class_names, source.weights, reason, running.precision, cost)


class Source:
    """Weights in their network, which is built when it is first needed: not for what was converted before.

    Args:
        mode: "test" or "infer".
        weights: of any known format.
    """

    def __init__(self, config: Config, mode: str, weights: Path):
        self.config = config
        self.mode = mode
        self.weights = weights

    @cached_property
    def model(self) -> nn.Layer:
        model, found = build_model(self.config), read_weights(self.weights)
        logger.info("weights of %s: %s", found.path, load_weights(model, found).summary())
        return model

    @property
    def num_bytes(self) -> int:
        """Of the weights in float32."""
        return 4 * sum(tensor.size for tensor in self.model.state_dict().values())

    @cached_property
    def cost(self) -> Cost:
        return model_cost(self.model, self.config.model.seglen, getattr(self.config, self.mode).target_size)

    def gmacs_per_video(self) -> float:
        """Billions of multiply-adds, of all views."""
        reader = build_reader(self.config, self.mode, [])
        return self.cost.clip_gmacs(reader.sampling.seg_num) * reader.num_views

    def card(self, precision: str, class_names: list[str] | None = None) -> ExportCard:
        """What an export of it says of itself."""
        side, reader = getattr(self.config, self.mode).target_size, build_reader(self.config, self.mode, [])
        card = ExportCard(
            class_names=class_names,
            config=dump_config(self.config),
            weights=str(self.weights),
            clip_shape=[None, None, 3, side, side],
            num_classes=self.config.model.num_classes,
            paddle_version=paddle.__version__,
            precision=precision,
            cost=list(self.cost),
            preprocessing=preprocessing_of(reader.sampling, reader.views, self.config.model.multi_label),
            multi_label=self.config.model.multi_label,
            probe_picture="noise",
        )
        return card._replace(probe=probe(EagerPaddle(self.model), card))


class Conversion:
    """Weights converted for an engine, in the cache.

    Args:
        engine: a key of ENGINES.
        calibration: see `Wish`.
    """

    def __init__(self, source: Source, engine: str, precision: str, calibration: str | None):
        self._source, self._engine = source, engine
        self._calibration = calibration_list(source.config, calibration) if precision == "int8" else None
        model, section = source.config.model, getattr(source.config, source.mode)
        seen = [section.seg_num or model.seg_num, section.short_size, section.crop, section.resize]
        self.key = entry_key({
            "weights": checksums.fingerprint(source.weights),
            "network": {key: getattr(model, key) for key in ("name", *network_keys(model))},
            "target_size": section.target_size,
            "calibration": self._calibration and [checksums.sha256(self._calibration), seen],
            "engine": engine,
            "precision": precision if precision == "int8" else "float32",  # bf16 is a way to run the same files
            "versions": versions_for(FORMAT_OF[engine], precision),
        })  # fmt: skip

    def open(self, running: Running) -> tuple[Engine, Cost]:
        """The engine, and what its model costs; the model is converted if it is not in the cache."""
        return open_converted(self.key, self._convert, functools.partial(self._open_entry, running))

    def _convert(self, folder: Path) -> None:
        source, precision = self._source, "int8" if self._calibration else "float32"
        logger.info("converting the model for %s, once", ENGINES[self._engine].name)
        samples = None
        if self._calibration:
            samples = build_samples(source.config, source.mode, self._calibration, CALIBRATION_CLIPS)
        with room_for(folder.parent, COPIES * source.num_bytes):
            clips = samples and samples.clips
            write_export(FORMAT_OF[self._engine], source.model, folder, source.card(precision), clips)
        if samples:
            self._check_int8(folder, samples)

    def _check_int8(self, folder: Path, samples: Samples) -> None:
        """Tell what int8 makes of the first clips. Raise ValueError if that has nothing to do with the weights."""
        few = Samples(*(values[:CHECKED_CLIPS] for values in samples))
        exact = EagerPaddle(self._source.model)
        rounded, _ = self._open_entry(Running(threads_each(), precision="int8"), folder)
        _, row = compare_precisions([Contender("float32", exact, 0), Contender("int8", rounded, 0)], few)
        logger.info(
            "int8 beside float32 on %s: the same best class for %.0f %%, largest difference %.2g; export.py "
            "--precision=int8 tells more",
            count(len(few.clips), "clip"), 100 * row.agreement, row.max_difference,
        )  # fmt: skip
        if not row.agreement >= LEAST_AGREEMENT:
            raise ValueError(f"{self._source.weights}: int8 says something else than float32; use --precision=bf16")

    def _open_entry(self, running: Running, folder: Path) -> tuple[Engine, Cost]:
        path = folder / ONNX_FILE if self._engine == "onnxruntime" else folder
        card = read_card(path)
        return open_verified(path, running, card), Cost(*card.cost)


def calibration_list(config: Config, path: str | None) -> Path:
    """The list of clips for int8.

    Raises:
        ValueError: there is none.
    """
    found = path or config.train.filelist
    if not found or not Path(found).is_file():
        raise ValueError(
            f"int8 is calibrated on training clips, but {found or 'TRAIN.filelist'} is no file; name a list by "
            "--calibration"
        )
    return Path(found)


def build_samples(config: Config, mode: str, list_path: Path, most: int) -> Samples:
    """Clips of a list, at even distances, as the first view of a mode shows them; unreadable ones are named.

    Raises:
        ValueError: none can be read.
    """
    listed = read_list(list_path, config.model.format, None, config.model.multi_label)
    places = np.linspace(0, len(listed) - 1, min(most, len(listed))).round().astype(int)
    records = [listed[place] for place in places.tolist()]
    loader, samples = build_loader(config, mode, records), Samples([], [], [])
    view_frames = loader.reader.sampling.frames_per_clip
    for batch in UnreadableVideos(records).watch(loader.epoch(0)):
        for row, index in enumerate(batch.indices):
            samples.names.append(records[index].name)
            samples.clips.append(batch.frames[row : row + 1, :view_frames].numpy())
            samples.labels.append(records[index].classes)
    if not samples.clips:
        raise ValueError(f"{list_path}: not one of {len(records)} videos of it can be read")
    return samples


def _open(source: Source, choice: Choice, running: Running, wish: Wish, job: Job) -> tuple[Engine, Cost, str]:
    """The engine for the weights, its model's cost, and why it is this one."""

    def eager(reason: str) -> tuple[Engine, Cost, str]:
        return EagerPaddle(source.model, running), source.cost, reason

    if choice.engine == EAGER:
        return eager(choice.reason)
    title = ENGINES[choice.engine].name
    conversion = Conversion(source, choice.engine, running.precision, wish.calibration)
    is_worth = has_entry(conversion.key) or not wish.is_open
    if not is_worth and not is_worth_converting(job.num_videos, source.gmacs_per_video()):
        return eager(f"converting it for {title} would take longer than it saves here")
    try:
        return *conversion.open(running), choice.reason
    except (OSError, ValueError) as error:
        if not wish.is_open:
            raise
        logger.warning("%s", error)
        return eager(f"{title} could not be used")


def _open_export(config: Config, mode: str, path: Path, wish: Wish, job: Job) -> BuiltEngine:
    card, name = read_card(path), engine_of(path)
    if job.needs_layers:
        raise ValueError(f"{path}: an exported model has no heat maps; give --cam the weights themselves")
    if wish.engine not in (AUTO, name):
        raise ValueError(
            f"{path}: is an export for --engine={name}; {wish.engine} takes the weights that it was made of"
        )
    changed = changed_keys(load_config(path, text=card.config), config)
    fixed = ["MODEL.name", *(f"MODEL.{key}" for key in network_keys(config.model))]
    wrong = [f"{key} {changed[key][0]}, the config has {changed[key][1]}" for key in fixed if key in changed]
    side, ours = card.clip_shape[-1], getattr(config, mode).target_size
    if side != ours:
        wrong.append(f"{mode.upper()}.target_size {side}, the config has {ours}")
    if wrong:
        raise ValueError(f"{path}: was exported with {'; '.join(wrong)}; leave out --config, or export again")
    running = Running(threads_each(), _gpu(job), wish.precision or card.precision, job.one_by_one)
    engine = open_exported(path, running)
    logger.info("%s: exported from %s", path, card.weights)
    names = card.class_names or read_class_names(config.model.label_file, config.model.num_classes)
    cost = Cost(*card.cost) if card.cost else None
    return BuiltEngine(engine, names, path, "as exported", running.precision, cost)


def _gpu(job: Job) -> int | None:
    return gpu_number() if job.gpu is None else job.gpu
