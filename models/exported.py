"""Models as files that need no code of this project: written, described, and run by their own runtimes.

A Paddle inference model is a folder: the model, its weights, export.json (an `ExportCard`) and SHA-256 sums. An ONNX
model is one file, which carries the card in its metadata. Both take `frames`, uint8 (N, T, 3, H, W) with any N and T,
and give `probabilities` and `features`, as models/classifier.py does.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
from paddle import nn

import checksums
from models.classifier import Classified, Classifier

CARD_FILE = "export.json"
MODEL_STEM = "model"
ONNX_FILE = "model.onnx"
OPSET = 13  # of ONNX: what paddle2onnx 1.3 and 2.1 both write for this model
INSTALL_ONNX = "pip install -r requirements-onnx.txt"
WORKSPACE_BYTES = 1 << 30  # TensorRT's
LARGEST_TENSORRT_SHAPE = (64, 25)  # clips, frames


class ExportCard(NamedTuple):
    """What an export says of itself."""

    class_names: list[str] | None
    """In label order."""
    config: str
    """The resolved config it was made with, YAML text."""
    weights: str
    """Where its weights came from."""
    clip_shape: list[int | None]
    """Of its input: [N, T, 3, H, W], None where any length will do."""
    num_classes: int
    paddle_version: str


def is_exported(path: str | Path) -> bool:
    """Whether this is a folder or file that this module writes, and not weights."""
    path = Path(path)
    return (path / CARD_FILE).is_file() or (path.is_file() and path.suffix == ".onnx")


def read_card(path: str | Path) -> ExportCard:
    """The card of an exported folder or .onnx file.

    Raises:
        ValueError: it is damaged, or not of this project's making.
    """
    path = Path(path)
    if path.is_dir():
        text, origin = (path / CARD_FILE).read_text(encoding="utf-8"), path / CARD_FILE
    else:
        session = _onnx_session(path, optimize=False)
        text, origin = session.get_modelmeta().custom_metadata_map.get("card"), path
    if text is None:
        raise ValueError(f"{path}: was not written by export.py, so its classes and frame size are not known")
    try:
        return ExportCard(**json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{origin}: damaged: {error}; export the model again") from error


def write_paddle(model: nn.Layer, folder: Path, card: ExportCard) -> None:
    """Write a Paddle inference model into a folder that is not there yet."""
    folder.mkdir(parents=True)
    model.eval()
    spec = paddle.static.InputSpec(list(card.clip_shape), "uint8", name="frames")
    paddle.jit.save(paddle.jit.to_static(Classifier(model), [spec], full_graph=True), str(folder / MODEL_STEM))
    (folder / CARD_FILE).write_text(_as_json(card) + "\n", encoding="utf-8")
    checksums.record(folder)


def write_onnx(paddle_folder: Path, path: Path) -> None:
    """Convert what `write_paddle` wrote into an ONNX file.

    Raises:
        ValueError: paddle2onnx is not installed, or not the one for this Paddle.
    """
    check_onnx_export()
    import onnx
    import paddle2onnx

    program = _program_file(paddle_folder)
    paddle2onnx.export(str(program), str(program.with_suffix(".pdiparams")), str(path), OPSET)
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


def open_exported(path: str | Path, num_threads: int, gpu: int | None = None) -> "PaddleInference | OnnxRuntime":
    """The classifier of an exported folder or .onnx file.

    Args:
        num_threads: of the CPU.
        gpu: number of the GPU to run on; None: the CPU.

    Raises:
        ValueError: it is damaged, or ONNX Runtime is not installed.
    """
    path = Path(path)
    return PaddleInference(path, num_threads, gpu) if path.is_dir() else OnnxRuntime(path, num_threads, gpu)


class PaddleInference:
    """Runs an exported folder: on a CPU with oneDNN; on a GPU with TensorRT, if Paddle has it and the model can."""

    def __init__(self, folder: Path, num_threads: int, gpu: int | None = None):
        checksums.verify(folder)
        program = _program_file(folder)
        if program.suffix == ".json" and paddle.__version__.startswith("2."):
            theirs = read_card(folder).paddle_version
            raise ValueError(
                f"{folder}: was exported by Paddle {theirs}, which Paddle {paddle.__version__} cannot read; export it "
                "with this Paddle, or with --format=onnx"
            )
        config = paddle.inference.Config(str(program), str(program.with_suffix(".pdiparams")))
        config.disable_glog_info()
        if gpu is None:
            config.disable_gpu()
            config.enable_mkldnn()
            config.set_cpu_math_library_num_threads(num_threads)
            how = f"oneDNN, {num_threads} thread(s)"
        else:
            config.enable_use_gpu(100, gpu)  # MB of memory to begin with
            how = "TensorRT" if _use_tensorrt(config, program, read_card(folder)) else "GPU"
        self._predictor = paddle.inference.create_predictor(config)
        self._input = self._predictor.get_input_handle("frames")
        self._outputs = [self._predictor.get_output_handle(name) for name in self._predictor.get_output_names()]
        self.title = f"Paddle Inference {paddle.__version__}, {how}"

    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
        self._input.reshape(frames.shape)
        self._input.copy_from_cpu(np.ascontiguousarray(frames.numpy()))
        self._predictor.run()
        return Classified(*(output.copy_to_cpu() for output in self._outputs))


class OnnxRuntime:
    """Runs an .onnx file; on a GPU if one is asked for, which needs onnxruntime-gpu."""

    def __init__(self, path: Path, num_threads: int, gpu: int | None = None):
        checksums.verify(path)
        self._session = _onnx_session(path, num_threads, gpu)
        where = "GPU" if gpu is not None else f"{num_threads} thread(s)"
        self.title = f"ONNX Runtime {_onnxruntime().__version__}, {where}"

    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
        return Classified(*self._session.run(["probabilities", "features"], {"frames": frames.numpy()}))


def _onnxruntime() -> Any:
    if importlib.util.find_spec("onnxruntime") is None:
        raise ValueError(f"an .onnx file needs ONNX Runtime: {INSTALL_ONNX}")
    import onnxruntime

    return onnxruntime


def _onnx_session(path: Path, num_threads: int = 1, gpu: int | None = None, optimize: bool = True) -> Any:
    """`optimize` makes running faster and opening slower."""
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if gpu is not None:
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise ValueError(f"{path}: this ONNX Runtime has no CUDA; pip install onnxruntime-gpu, or --use_gpu=False")
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": gpu}))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its errors have no common class of their own
        if type(error).__module__.startswith("onnxruntime"):
            raise ValueError(f"{path}: cannot be opened by ONNX Runtime: {str(error).splitlines()[0]}") from error
        raise


def _program_file(folder: Path) -> Path:
    """Paddle 3 writes model.json, Paddle 2 model.pdmodel."""
    for suffix in (".json", ".pdmodel"):
        if (folder / f"{MODEL_STEM}{suffix}").is_file():
            return folder / f"{MODEL_STEM}{suffix}"
    raise ValueError(f"{folder}: has no {MODEL_STEM}.json and no {MODEL_STEM}.pdmodel; export the model again")


def _use_tensorrt(config: Any, program: Path, card: ExportCard) -> bool:
    """Paddle 2's way; a model of Paddle 3 (.json) would have to be converted by paddle.tensorrt first."""
    if program.suffix != ".pdmodel" or paddle.inference.get_trt_compile_version() == (0, 0, 0):
        return False
    largest = [*LARGEST_TENSORRT_SHAPE, *card.clip_shape[2:]]
    config.enable_tensorrt_engine(WORKSPACE_BYTES, precision_mode=paddle.inference.PrecisionType.Float32)
    config.set_trt_dynamic_shape_info(
        {"frames": [1, 1, *largest[2:]]}, {"frames": largest}, {"frames": [1, 7, *largest[2:]]}
    )
    return True


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


def _as_json(card: ExportCard) -> str:
    return json.dumps(card._asdict(), indent=1, ensure_ascii=False)
