"""Writes a model as files that need no code of this project, and compares what they compute with the model.

A Paddle inference model is a folder: the model, its weights, export.json (an `ExportCard`) and SHA-256 sums. An ONNX
model is one file, which carries the card in its metadata. preprocess.py lies beside either. Both take `frames`, uint8
(N, T, 3, H, W) with any N and T, and give `probabilities` and `features`, as engines/eager.py does.
"""

import importlib.util
import inspect
import json
import logging
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from common import checksums
from inference.engines.eager import WithSoftmax
from inference.engines.engine import Engine
from inference.engines.onnx_runtime import INSTALL_ONNX
from inference.engines.paddle_inference import CARD_FILE, MODEL_STEM, program_file
from inference.exported import ExportCard

ONNX_FILE = "model.onnx"
PREPROCESS = Path(__file__).with_name("preprocess.py")
"""The program that is copied beside each model."""
OPSET = 13  # of ONNX: what paddle2onnx 1.3 and 2.1 both write for this model
LARGEST_DIFFERENCE = 1e-4  # of probabilities, and of features as a share of the largest
TIMED_RUNS = 3

logger = logging.getLogger("export")


def write_paddle(model: nn.Layer, folder: Path, card: ExportCard) -> None:
    """Write a Paddle inference model into a folder that is not there yet."""
    folder.mkdir(parents=True)
    model.eval()
    spec = paddle.static.InputSpec(list(card.clip_shape), "uint8", name="frames")
    paddle.jit.save(paddle.jit.to_static(WithSoftmax(model), [spec], full_graph=True), str(folder / MODEL_STEM))
    text = json.dumps(card._asdict(), indent=1, ensure_ascii=False)
    (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")
    shutil.copyfile(PREPROCESS, folder / PREPROCESS.name)
    checksums.record(folder)


def write_onnx(paddle_folder: Path, path: Path) -> None:
    """Convert what `write_paddle` wrote into an ONNX file.

    Raises:
        ValueError: paddle2onnx is not installed, or not the one for this Paddle.
    """
    check_onnx_export()
    import onnx
    import paddle2onnx

    program = program_file(paddle_folder)
    # Without Polygraphy, which folds constants as ONNX Runtime does anyway: paddle2onnx 2 lets it install packages from
    # a foreign index while it runs, and then the file depends on whether it could.
    can_fold = "optimize_tool" in inspect.signature(paddle2onnx.export).parameters
    options = {"optimize_tool": "None"} if can_fold else {}
    paddle2onnx.export(str(program), str(program.with_suffix(".pdiparams")), str(path), OPSET, **options)
    content = onnx.load(str(path))
    _name_ends(content.graph)
    card = content.metadata_props.add()
    card.key, card.value = "card", (paddle_folder / CARD_FILE).read_text(encoding="utf-8")
    onnx.checker.check_model(content)
    onnx.save(content, str(path))


def check_onnx_export() -> None:
    """Raise ValueError if what ONNX needs is not installed."""
    missing = [name for name in ("paddle2onnx", "onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {', '.join(missing)}: {INSTALL_ONNX}")
    try:
        import paddle2onnx  # noqa: F401
    except ValueError as error:  # how it refuses a Paddle that is too old for it
        raise ValueError(
            f"the installed paddle2onnx does not fit Paddle {paddle.__version__}: pip install paddle2onnx==1.3.1"
        ) from error


def compare(source: Engine, exported: Engine, clips: list[tuple[str, np.ndarray]], target: Path) -> None:
    """Print the largest differences between two engines, and how fast they are.

    Args:
        clips: (name, frames), uint8 (N, T, 3, H, W); the last is what the speed is measured on.
        target: what the export is to be, for messages.

    Raises:
        ValueError: a difference is above LARGEST_DIFFERENCE.
    """
    worst, worst_of_features, num_other_best = 0.0, 0.0, 0
    for name, frames in clips:
        ours, theirs = (engine(paddle.to_tensor(frames)) for engine in (source, exported))
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
    times = [statistics.median(_seconds(engine, frames) for _ in range(TIMED_RUNS)) for engine in (source, exported)]
    logger.info("[EXPORT] %s: %.1f times as fast as %s here", exported.title, times[0] / times[1], source.title)


def _seconds(engine: Engine, frames: paddle.Tensor) -> float:
    started_sec = time.perf_counter()
    engine(frames)
    return time.perf_counter() - started_sec


def _name_ends(graph: Any) -> None:
    """Call the outputs and the free lengths by their names."""
    names = dict(zip((output.name for output in graph.output), ("probabilities", "features"), strict=True))
    for node in graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    for output in graph.output:
        output.name = names[output.name]
        output.type.tensor_type.shape.dim[0].dim_param = "batch"
    for dim, name in zip(graph.input[0].type.tensor_type.shape.dim, ("batch", "num_frames"), strict=False):
        dim.dim_param = name
