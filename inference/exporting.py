"""Writes a model as files that need no code of this project.

A Paddle inference model is a folder: the model, its weights, export.json (an `ExportCard`) and SHA-256 sums. An ONNX
model is one file, which carries the card in its metadata. An OpenVINO model is a folder again. preprocess.py lies
beside each. All take `frames`, uint8 (N, T, 3, H, W) with any N and T, and give `probabilities` and `features`, as
engines/eager.py does.
"""

import importlib.metadata
import inspect
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from common import checksums
from common.console import quiet_stdout
from inference.engines.eager import WithProbabilities
from inference.engines.engine import CARD_FILE, MODEL_STEM, Running, missing_packages
from inference.engines.onnx_runtime import INSTALL_ONNX, OnnxRuntime
from inference.engines.openvino_runtime import INSTALL_OPENVINO, MODEL_FILE, OpenVino, core_of_process
from inference.engines.paddle_inference import program_file
from inference.exported import ExportCard, probe

ONNX_FILE = "model.onnx"
PREPROCESS = Path(__file__).with_name("preprocess.py")
"""The program that is copied beside each model."""
OPSET = 13  # of ONNX: what paddle2onnx 1.3 and 2.1 both write for this model
FORMATS = {"paddle": "paddle", "onnx": "onnxruntime", "openvino": "openvino"}
"""Format -> the engine that runs it."""
PACKAGES = {
    "paddle": (),
    "onnx": ("paddle2onnx", "onnx", "onnxruntime"),
    "openvino": ("paddle2onnx", "onnx", "openvino"),
}
"""Format -> the packages that writing it needs."""
INSTALL = {"onnx": ("ONNX", INSTALL_ONNX), "openvino": ("OpenVINO", INSTALL_OPENVINO)}
QUANTIZERS = {"onnx": ("ml_dtypes",), "openvino": ("nncf",)}
"""Formats that can be int8 -> the further packages that this needs."""

logger = logging.getLogger("export")


def check_format(name: str, precision: str) -> None:
    """Raise ValueError if an export cannot be written so, or if what it needs is not installed."""
    if precision == "int8" and name not in QUANTIZERS:
        raise ValueError(f"int8 is for --format={' and --format='.join(QUANTIZERS)}, not {name}")
    if precision == "bf16" and name == "onnx":
        raise ValueError("ONNX Runtime computes no bf16; take --format=openvino or paddle, or --precision=int8")
    missing = missing_for(name, precision)
    if missing:
        title, install = INSTALL[name]
        raise ValueError(f"{title} needs {', '.join(missing)}: {install}")
    if "paddle2onnx" in PACKAGES[name]:
        _check_paddle2onnx()


def missing_for(name: str, precision: str) -> list[str]:
    """The packages that writing a format lacks."""
    return missing_packages(*PACKAGES[name], *(QUANTIZERS.get(name, ()) if precision == "int8" else ()))


def versions_for(name: str, precision: str) -> dict[str, str]:
    """Package -> version of all that an export's content depends on."""
    packages = [*PACKAGES[name], *(QUANTIZERS.get(name, ()) if precision == "int8" else ())]
    return {"paddle": paddle.__version__} | {package: _version(package) for package in packages}


def _version(package: str) -> str:
    """That of the package, or of its build for GPUs, which goes by another name."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(f"{package}-gpu")


def write_export(
    name: str, model: nn.Layer, folder: Path, card: ExportCard, calibration: list[np.ndarray] | None = None
) -> Path:
    """Write a model into a folder that is not there yet.

    Args:
        name: one of FORMATS.
        calibration: for int8, clips uint8 (1, T, 3, H, W), whose activations set the ranges.

    Returns:
        What to open: the folder, or the file in it.
    """
    if name == "paddle":
        _write_program(model, folder, card)
        _finish_folder(folder, card)
        return folder
    source = folder / "paddle"
    _write_program(model, source, card)
    try:
        if name == "onnx":
            return _write_onnx_export(source, folder / ONNX_FILE, card, calibration)
        return _write_openvino_export(source, folder, card, calibration)
    finally:
        shutil.rmtree(source)


def _write_program(model: nn.Layer, folder: Path, card: ExportCard) -> None:
    """Write a model as Paddle's program and weights alone into a folder that is not there yet."""
    folder.mkdir(parents=True)
    model.eval()
    spec = paddle.static.InputSpec(list(card.clip_shape), "uint8", name="frames")
    paddle.jit.save(paddle.jit.to_static(WithProbabilities(model), [spec], full_graph=True), str(folder / MODEL_STEM))


def _write_onnx_export(source: Path, target: Path, card: ExportCard, calibration: list[np.ndarray] | None) -> Path:
    convert_to_onnx(source, target)
    if calibration is not None:
        from inference.quantizing import quantize_onnx

        quantize_onnx(target, calibration)
        card = card._replace(probe=probe(OnnxRuntime(target, Running(1, precision="int8")), card))
    _add_card(target, _card_text(card))
    shutil.copyfile(PREPROCESS, target.with_name(PREPROCESS.name))
    checksums.record(target)
    return target


def _write_openvino_export(source: Path, folder: Path, card: ExportCard, calibration: list[np.ndarray] | None) -> Path:
    import openvino

    convert_to_onnx(source, source / ONNX_FILE)
    model = core_of_process().read_model(source / ONNX_FILE)
    if calibration is not None:
        from inference.quantizing import quantize_openvino

        model = quantize_openvino(model, calibration)
    openvino.save_model(model, folder / MODEL_FILE, compress_to_fp16=False)
    del model  # which has the ONNX file open
    if calibration is not None:
        card = card._replace(probe=probe(OpenVino(folder, Running(1, precision="int8")), card))
    _finish_folder(folder, card)
    return folder


def _finish_folder(folder: Path, card: ExportCard) -> None:
    (folder / CARD_FILE).write_text(_card_text(card), encoding="utf-8")
    shutil.copyfile(PREPROCESS, folder / PREPROCESS.name)
    checksums.record(folder)


def _card_text(card: ExportCard) -> str:
    return json.dumps(card._asdict(), indent=1, ensure_ascii=False) + "\n"


def convert_to_onnx(paddle_folder: Path, path: Path) -> None:
    """Convert a Paddle inference model into an ONNX file, without a card."""
    import onnx
    import paddle2onnx

    program = program_file(paddle_folder)
    # Without Polygraphy, which folds constants as ONNX Runtime does anyway: paddle2onnx 2 lets it install packages from
    # a foreign index while it runs, and then the file depends on whether it could.
    can_fold = "optimize_tool" in inspect.signature(paddle2onnx.export).parameters
    options = {"optimize_tool": "None"} if can_fold else {}
    with quiet_stdout():
        paddle2onnx.export(str(program), str(program.with_suffix(".pdiparams")), str(path), OPSET, **options)
    content = onnx.load(str(path))
    _name_ends(content.graph)
    onnx.checker.check_model(content)
    onnx.save(content, str(path))


def _add_card(path: Path, text: str) -> None:
    import onnx

    content = onnx.load(str(path))
    card = content.metadata_props.add()
    card.key, card.value = "card", text
    onnx.save(content, str(path))


def _check_paddle2onnx() -> None:
    try:
        import paddle2onnx  # noqa: F401
    except ValueError as error:  # how it refuses a Paddle that is too old for it
        raise ValueError(
            f"the installed paddle2onnx does not fit Paddle {paddle.__version__}: pip install paddle2onnx==1.3.1"
        ) from error


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
