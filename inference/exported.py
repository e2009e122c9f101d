"""Models as files that need no code of this project: which engine runs them, and what they say of themselves."""

import typing
from pathlib import Path
from typing import Any, NamedTuple

from common.plain_json import fits, parse_json
from inference.engines.engine import Engine
from inference.engines.onnx_runtime import OnnxRuntime
from inference.engines.paddle_inference import PaddleInference

ENGINES = (PaddleInference, OnnxRuntime)
"""Each tells by `recognises(path)` whether it runs what is there, and by `card_text(path)` what that says of itself."""


class ExportCard(NamedTuple):
    """What an export says of itself."""

    class_names: list[str] | None
    """In label order."""
    config: str
    """The resolved config it was made with, YAML text."""
    weights: str
    """Where its weights came from."""
    clip_shape: list[int | None]
    """Shape of its input: [N, T, 3, H, W], None where any length will do."""
    num_classes: int
    paddle_version: str
    preprocessing: dict[str, Any] | None = None
    """How its input is made of a video, see inference/recipe.py; None in exports of before there was one."""


def is_exported(path: str | Path) -> bool:
    """Whether this is a folder or file that export.py writes, and not weights."""
    return any(engine.recognises(Path(path)) for engine in ENGINES)


def open_exported(path: str | Path, num_threads: int, gpu: int | None = None) -> Engine:
    """The engine of an export; see its class for arguments and errors."""
    return _engine_of(Path(path))(Path(path), num_threads, gpu)


def read_card(path: str | Path) -> ExportCard:
    """The card of an export.

    Raises:
        ValueError: it is damaged, or not of this project's making.
    """
    path = Path(path)
    try:
        text = _engine_of(path).card_text(path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: damaged description: {error}; export the model again") from error
    if text is None:
        raise ValueError(f"{path}: was not written by export.py, so its classes and frame size are not known")
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: damaged description: {error}; export the model again") from error
    hints = typing.get_type_hints(ExportCard)
    is_whole = fits(fields, dict) and hints.keys() - ExportCard._field_defaults.keys() <= fields.keys() <= hints.keys()
    if not is_whole or not all(fits(value, hints[name]) for name, value in fields.items()):
        raise ValueError(f"{path}: damaged description: it has not the entries it should; export the model again")
    return ExportCard(**fields)


def _engine_of(path: Path) -> type:
    engine = next((engine for engine in ENGINES if engine.recognises(path)), None)
    if engine is None:
        raise ValueError(f"{path}: is no export; make one with export.py")
    return engine
