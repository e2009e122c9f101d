"""ONNX Runtime: an exported .onnx file, which carries its card in its metadata."""

from pathlib import Path
from typing import Any

import paddle

from inference.engines.engine import AtOnce, Classified, Running, missing_packages

INSTALL_ONNX = "pip install -r requirements-onnx.txt"
CUDA = "CUDAExecutionProvider"


class OnnxRuntime(AtOnce):
    """Runs an .onnx file; on a GPU if one is asked for, which needs onnxruntime-gpu but no Paddle for GPUs.

    Args:
        path: what export.py wrote.
        running: threads, GPU and precision; int8 is in the file, if it is.

    Raises:
        ValueError: ONNX Runtime is not installed, or cannot read the file.
    """

    name = "ONNX Runtime"
    precisions = ("float32", "int8")
    install = INSTALL_ONNX

    def __init__(self, path: Path, running: Running):
        self._session = _open(path, running)
        if running.gpu is not None and CUDA not in self._session.get_providers():
            raise ValueError(f"ONNX Runtime cannot use GPU {running.gpu}; does its CUDA fit? Or give --use_gpu=False")
        self.title = f"ONNX Runtime {_onnxruntime().__version__}, {running.where()}"

    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
        return Classified(*self._session.run(["probabilities", "features"], {"frames": frames.numpy()}))

    @staticmethod
    def recognises(path: Path) -> bool:
        return path.is_file() and path.suffix == ".onnx"

    @staticmethod
    def card_text(path: Path) -> str | None:
        return _open(path, Running(1), optimize=False).get_modelmeta().custom_metadata_map.get("card")

    @staticmethod
    def has_cuda() -> bool:
        """Whether the installed ONNX Runtime is one for CUDA GPUs."""
        return not missing_packages("onnxruntime") and CUDA in _onnxruntime().get_available_providers()


def _onnxruntime() -> Any:
    if missing_packages("onnxruntime"):
        raise ValueError(f"an .onnx file needs ONNX Runtime: {INSTALL_ONNX}")
    import onnxruntime

    return onnxruntime


def _open(path: Path, running: Running, optimize: bool = True) -> Any:
    """An inference session; `optimize` makes running faster and opening slower."""
    onnxruntime = _onnxruntime()
    options = onnxruntime.SessionOptions()
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = running.num_threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # reading processes need the cores
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if running.gpu is not None:
        if not OnnxRuntime.has_cuda():
            raise ValueError(f"{path}: this ONNX Runtime has no CUDA; pip install onnxruntime-gpu, or --use_gpu=False")
        providers.insert(0, (CUDA, {"device_id": running.gpu}))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # its errors have no common class of their own
        if type(error).__module__.startswith("onnxruntime"):
            raise ValueError(f"{path}: cannot be opened by ONNX Runtime: {str(error).splitlines()[0]}") from error
        raise
