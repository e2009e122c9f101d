"""OpenVINO: runs an exported folder on a CPU; the fastest engine there, above all in bf16 and int8.

The folder holds model.xml, its weights model.bin, export.json (see `ExportCard`) and SHA-256 sums.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from inference.engines.engine import CARD_FILE, MODEL_STEM, Classified, Running, missing_packages

MODEL_FILE = f"{MODEL_STEM}.xml"
INSTALL_OPENVINO = "pip install -r requirements-openvino.txt"
OUTPUTS = ("probabilities", "features")
HINTS = {"float32": "f32", "bf16": "bf16"}
"""What OpenVINO calls a precision. What an int8 model leaves is computed as the processor likes it."""


class OpenVino:
    """Runs an exported folder.

    Clips that come one at a time are computed one after another by all threads. Otherwise each of OpenVINO's streams
    has requests of its own, which are in flight together: the parts of a batch, or batch after batch.

    Args:
        folder: what export.py wrote.
        running: threads and precision; gpu must be None.

    Raises:
        ValueError: OpenVINO is not installed, cannot read the model, or the processor lacks the precision.
    """

    name = "OpenVINO"
    precisions = ("float32", "bf16", "int8")
    install = INSTALL_OPENVINO

    def __init__(self, folder: Path, running: Running):
        if missing_packages("openvino"):
            raise ValueError(f"{folder}: needs OpenVINO: {INSTALL_OPENVINO}")
        if running.gpu is not None:
            raise ValueError("OpenVINO runs on the CPU here: --use_gpu=False, or --engine=onnxruntime for a GPU")
        import openvino

        if running.precision == "bf16" and not self.has_bf16():  # OpenVINO would compute float32 without a word
            raise ValueError("this processor computes no bf16; use --precision=float32, or int8")
        options = {
            "INFERENCE_NUM_THREADS": running.num_threads,
            "PERFORMANCE_HINT": "LATENCY" if running.one_by_one else "THROUGHPUT",
        }
        if running.precision in HINTS:
            options["INFERENCE_PRECISION_HINT"] = HINTS[running.precision]
        try:
            compiled = core_of_process().compile_model(str(folder / MODEL_FILE), "CPU", options)
        except RuntimeError as error:  # OpenVINO's
            raise ValueError(
                f"{folder}: cannot be opened by OpenVINO: {str(error).strip().splitlines()[-1]}"
            ) from error
        self._compiled = compiled
        self._num_requests = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
        self._free: list[Any] = []
        self.in_flight = 1 if running.one_by_one else self._num_requests + 1
        self.title = f"OpenVINO {openvino.__version__.split('-')[0]}, {running.where()}"

    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
        return self.start(frames)()

    def start(self, frames: paddle.Tensor) -> Callable[[], Classified]:
        """Begin with uint8 (N, T, 3, H, W), each request with a part; what is returned waits for the answer."""
        clips = frames.numpy()
        parts = np.array_split(clips, min(self._num_requests, len(clips)))
        requests = [self._free.pop() if self._free else self._compiled.create_infer_request() for _ in parts]
        for request, part in zip(requests, parts, strict=True):
            request.start_async({"frames": part}, share_inputs=True)

        def wait() -> Classified:
            for request in requests:
                request.wait()
            outputs = ([request.get_tensor(name).data for request in requests] for name in OUTPUTS)
            answer = Classified(*map(np.concatenate, outputs))
            self._free.extend(requests)
            del parts[:]  # which the requests have read until now
            return answer

        return wait

    @staticmethod
    def has_bf16() -> bool:
        """Whether this processor computes bf16."""
        return "BF16" in core_of_process().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    @staticmethod
    def recognises(path: Path) -> bool:
        return (path / MODEL_FILE).is_file()

    @staticmethod
    def card_text(folder: Path) -> str:
        return (folder / CARD_FILE).read_text(encoding="utf-8")


@functools.cache
def core_of_process() -> Any:
    """OpenVINO itself, which lives as long as the process.

    On a processor with AMX each new one changes its thread's stack for signals and puts back the one before as it goes:
    two that go in another order than they came leave a stack that is no more, and the next signal kills the process.
    """
    import openvino

    return openvino.Core()
