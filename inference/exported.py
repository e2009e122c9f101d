"""Models as files that need no code of this project: which engine runs them, and what they say of themselves."""

import typing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from common import checksums
from common.plain_json import fits, parse_json
from inference.engines.engine import PRECISIONS, Engine, Running
from inference.engines.onnx_runtime import OnnxRuntime
from inference.engines.openvino_runtime import MODEL_FILE, OpenVino
from inference.engines.paddle_inference import PaddleInference
from models.cost import Cost

ENGINES = {"paddle": PaddleInference, "onnxruntime": OnnxRuntime, "openvino": OpenVino}
"""Each tells by `recognises(path)` whether it runs what is there, by `card_text(path)` what that says of itself, and by
`name`, `precisions` and `install` what it is, what it computes in and how it is installed."""

PROBED_FEATURES = 64
LONGEST_SIDE_PX, MOST_FRAMES = 8192, 1000  # of a card that can be believed
LARGEST_PROBE_ERROR = {"float32": 1e-2, "bf16": 0.2, "int8": 0.6}
"""Of the probe's features, as a share of their spread: what rounding does to them stays far below, and an engine that
computes something else on some processor, as ONNX Runtime 1.23.1 does int8 with AMX, is far above."""


def _slopes(channels: int, height: int, width: int) -> np.ndarray:
    slopes = np.arange(channels)[:, None, None] * 60 + np.arange(height)[:, None] * 90 // height + np.arange(width)
    return (slopes % 256).astype(np.uint8)


def _noise(channels: int, height: int, width: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (channels, height, width)).astype(np.uint8)  # the same for ever


PROBE_PICTURES = {"noise": _noise, "slopes": _slopes}
"""Name -> (channels, height, width) -> uint8. Slopes leave most features of an EfficientNet-Lite at zero: rounding to
bf16 moves what is left by half of its spread, but by a twentieth with noise, as with real videos."""


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
    precision: str = "float32"
    """What its engine computes in, unless told otherwise; an int8 model can be run in nothing else."""
    probe: list[float] | None = None
    """What `probe` says of the weights themselves, and of an int8 model that of this model when it was written: the
    first PROBED_FEATURES features; None in older exports."""
    cost: list[float] | None = None
    """The fields of a `Cost`; None in older exports."""
    preprocessing: dict[str, Any] | None = None
    """How its input is made of a video, see inference/recipe.py; None in older exports."""
    probe_picture: str = "slopes"
    """What `probe` shows, a key of PROBE_PICTURES; "slopes" in older exports."""
    multi_label: bool = False
    """Whether a video may have several classes: each probability is a sigmoid then, and they do not add up to 1."""

    @property
    def seglen(self) -> int:
        """Frames of a snippet: T is a multiple of it."""
        return (self.preprocessing or {}).get("seglen", 1)


def is_exported(path: str | Path) -> bool:
    """Whether this is a folder or file that export.py writes, and not weights."""
    return any(engine.recognises(_place(path)) for engine in ENGINES.values())


def engine_of(path: str | Path) -> str:
    """The name of the engine that runs an export, a key of ENGINES.

    Raises:
        ValueError: it is no export.
    """
    found = next((name for name, engine in ENGINES.items() if engine.recognises(_place(path))), None)
    if found is None:
        raise ValueError(f"{path}: is no export; make one with export.py")
    return found


def open_exported(path: str | Path, running: Running) -> Engine:
    """The engine of an export, which has shown that it computes here what it should.

    Raises:
        ValueError: the export is damaged, or cannot be run so; see its engine's class too.
    """
    checksums.verify(_place(path))
    return open_verified(path, running, read_card(path))


def open_verified(path: str | Path, running: Running, card: ExportCard) -> Engine:
    """As `open_exported`, of files that were compared with their sums already."""
    name = engine_of(path)
    if "int8" in (card.precision, running.precision) and card.precision != running.precision:
        raise ValueError(f"{path}: computes in {card.precision}, not {running.precision}; export the model so")
    if running.precision not in ENGINES[name].precisions:
        raise ValueError(
            f"{path}: --engine={name} computes in {' or '.join(ENGINES[name].precisions)}, not {running.precision}"
        )
    engine = ENGINES[name](_place(path), running)
    if card.probe is not None:
        _check_probe(engine, card, running.precision, path)
    return engine


def probe(engine: Engine, card: ExportCard) -> list[float]:
    """What an engine makes of one snippet, the same picture in each frame."""
    picture = PROBE_PICTURES[card.probe_picture](*card.clip_shape[2:])
    frames = np.broadcast_to(picture, (1, card.seglen, *picture.shape))
    features = engine(paddle.to_tensor(frames.copy())).features[0, :PROBED_FEATURES]
    return [float(f"{value:.5g}") for value in features]


def _check_probe(engine: Engine, card: ExportCard, precision: str, path: str | Path) -> None:
    expected, found = np.array(card.probe), np.array(probe(engine, card))
    error = np.linalg.norm(found - expected) / max(np.linalg.norm(expected - expected.mean()), 1e-12)
    if not error <= LARGEST_PROBE_ERROR[precision]:  # NaN fails too
        raise ValueError(
            f"{path}: {engine.title} computes something else on this processor than it should (features differ by "
            f"{error:.0%}); take another --engine or --precision"
        )


def read_card(path: str | Path) -> ExportCard:
    """The card of an export.

    Raises:
        ValueError: it is damaged, or not of this project's making.
    """
    try:
        text = ENGINES[engine_of(path)].card_text(_place(path))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: damaged description: {error}; export the model again") from error
    if text is None:
        raise ValueError(f"{path}: was not written by export.py, so its classes and frame size are not known")
    try:
        fields = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path}: damaged description: {error}; export the model again") from error
    if not _is_whole(fields):
        raise ValueError(f"{path}: damaged description: it has not the entries it should; export the model again")
    return ExportCard(**fields)


def _is_whole(fields: object) -> bool:
    """Whether these are a card's entries; those that earlier versions did not write may be missing."""
    hints = typing.get_type_hints(ExportCard)
    if not fits(fields, dict) or not hints.keys() - ExportCard._field_defaults.keys() <= fields.keys() <= hints.keys():
        return False
    card = ExportCard(**fields)
    return (
        all(fits(getattr(card, name), hint) for name, hint in hints.items())
        and len(card.clip_shape) == 5
        and all(size is not None and 1 <= size <= LONGEST_SIDE_PX for size in card.clip_shape[2:])
        and type(card.seglen) is int
        and 1 <= card.seglen <= MOST_FRAMES
        and card.precision in PRECISIONS
        and card.probe_picture in PROBE_PICTURES
        and (card.cost is None or len(card.cost) == len(Cost._fields))
    )


def _place(path: str | Path) -> Path:
    """Where an export is; that of OpenVINO may be called by its model.xml."""
    path = Path(path)
    return path.parent if path.name == MODEL_FILE else path
