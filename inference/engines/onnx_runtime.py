"""ONNX Runtime: an exported .onnx file, which carries its card in its metadata."""

import importlib.util
from pathlib import Path
from typing import Any

import paddle

from common import checksums
from inference.engines.engine import Classified

INSTALL_ONNX = "pip install -r requirements-onnx.txt"


class OnnxRuntime:
    """Runs an .onnx file; on a GPU if one is asked for, which needs onnxruntime-gpu.

    Args:
        path: what export.py wrote.
        num_threads: threads on a CPU.
        gpu: number of the GPU to run on; None: the CPU.

    Raises:
        ValueError: the file is damaged, or ONNX Runtime is not installed.
    """

    def __init__(self, path: Path, num_threads: int, gpu: int | None = None):
        checksums.verify(path)
        self._session = _open(path, num_threads, gpu)
        where = "GPU" if gpu is not None else f"{num_threads} thread(s)"
        self.title = f"ONNX Runtime {_onnxruntime().__version__}, {where}"

    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
        return Classified(*self._session.run(["probabilities", "features"], {"frames": frames.numpy()}))

    @staticmethod
    def recognises(path: Path) -> bool:
        return path.is_file() and path.suffix == ".onnx"

    @staticmethod
    def card_text(path: Path) -> str | None:
        return _open(path, optimize=False).get_modelmeta().custom_metadata_map.get("card")


def _onnxruntime() -> Any:
    if importlib.util.find_spec("onnxruntime") is None:
        raise ValueError(f"an .onnx file needs ONNX Runtime: {INSTALL_ONNX}")
    import onnxruntime

    return onnxruntime


def _open(path: Path, num_threads: int = 1, gpu: int | None = None, optimize: bool = True) -> Any:
    """An inference session; `optimize` makes running faster and opening slower."""
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
