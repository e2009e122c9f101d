"""Config and weights, or an export -> the engine that classifies, and the names of its classes."""

import logging
from pathlib import Path
from typing import NamedTuple

from common.processes import cores_each
from config import Config, changed_keys, load_config
from distributed.ranks import gpu_number
from evaluation.predictions import read_class_names
from inference.engines.eager import EagerPaddle
from inference.engines.engine import Engine
from inference.exported import is_exported, open_exported, read_card
from models.build import build_model, fetch_published_weights, network_keys
from models.weights import load_weights, read_weights

logger = logging.getLogger(__name__)


class BuiltEngine(NamedTuple):
    engine: Engine
    class_names: list[str] | None
    """In label order; None: classes go by number."""
    weights: Path
    """The file or folder that it was made of."""


def build_engine(config: Config, mode: str, weights: Path | None) -> BuiltEngine:
    """What classifies in a mode, "test" or "infer".

    Args:
        weights: of any known format, or an exported model; None: the published ones.

    Raises:
        ValueError: the weights or the export do not fit the config; the message says where.
    """
    if weights and is_exported(weights):
        return _open_export(config, mode, weights)
    class_names = read_class_names(config.model.label_file, config.model.num_classes)
    model = build_model(config)
    weights = weights or fetch_published_weights(config)
    found = read_weights(weights)
    logger.info("weights of %s: %s", found.path, load_weights(model, found).summary())
    return BuiltEngine(EagerPaddle(model), class_names, weights)


def _open_export(config: Config, mode: str, path: Path) -> BuiltEngine:
    card = read_card(path)
    changed = changed_keys(load_config(path, text=card.config), config)
    fixed = ["MODEL.name", *(f"MODEL.{key}" for key in network_keys(config.model))]
    wrong = [f"{key} {changed[key][0]}, the config has {changed[key][1]}" for key in fixed if key in changed]
    side, ours = card.clip_shape[-1], getattr(config, mode).target_size
    if side != ours:
        wrong.append(f"{mode.upper()}.target_size {side}, the config has {ours}")
    if wrong:
        raise ValueError(f"{path}: was exported with {'; '.join(wrong)}; leave out --config, or export again")
    engine = open_exported(path, cores_each(), gpu_number())
    logger.info("%s: exported from %s", path, card.weights)
    names = card.class_names or read_class_names(config.model.label_file, config.model.num_classes)
    return BuiltEngine(engine, names, path)
