"""Paddle Inference: runs an exported folder.

On a CPU it uses oneDNN; on a GPU TensorRT, if Paddle has it and the model can. The folder holds the model, its weights,
export.json (see `ExportCard`) and SHA-256 sums.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from inference.engines.engine import CARD_FILE, MODEL_STEM, AtOnce, Classified, Running

WORKSPACE_BYTES = 1 << 30  # TensorRT's
LARGEST_TENSORRT_SHAPE = (64, 25)  # clips, frames


class PaddleInference(AtOnce):
    """Runs an exported folder.

    Args:
        folder: what export.py wrote.
        running: threads, GPU and precision.

    Raises:
        ValueError: this Paddle cannot read the folder, or the processor lacks the precision.
    """

    name = "Paddle Inference"
    precisions = ("float32", "bf16")
    install = ""

    def __init__(self, folder: Path, running: Running):
        program, card = program_file(folder), json.loads(self.card_text(folder))
        if program.suffix == ".json" and paddle.__version__.startswith("2."):
            raise ValueError(
                f"{folder}: was exported by Paddle {card['paddle_version']}, which Paddle {paddle.__version__} cannot "
                "read; export it with this Paddle, or with --format=onnx"
            )
        config = paddle.inference.Config(str(program), str(program.with_suffix(".pdiparams")))
        config.disable_glog_info()
        if running.gpu is None:
            config.disable_gpu()
            config.enable_mkldnn()
            config.set_cpu_math_library_num_threads(running.num_threads)
            how = f"oneDNN, {running.where()}"
            if running.precision == "bf16":
                if not self.has_bf16():
                    raise ValueError("this processor computes no bf16; use --precision=float32")
                config.enable_mkldnn_bfloat16()
        else:
            if running.precision != "float32":
                raise ValueError(f"Paddle Inference computes {running.precision} on CPUs only; leave out --precision")
            config.enable_use_gpu(100, running.gpu)  # MB of memory to begin with
            how = "TensorRT" if _use_tensorrt(config, program, card["clip_shape"]) else "GPU"
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

    @staticmethod
    def has_bf16() -> bool:
        """Whether this processor computes bf16."""
        return paddle.base.core.supports_bfloat16()

    @staticmethod
    def recognises(path: Path) -> bool:
        return (path / CARD_FILE).is_file() and not (path / f"{MODEL_STEM}.xml").is_file()

    @staticmethod
    def card_text(folder: Path) -> str:
        return (folder / CARD_FILE).read_text(encoding="utf-8")


def program_file(folder: Path) -> Path:
    """The model in a folder: Paddle 3 writes model.json, Paddle 2 model.pdmodel."""
    for suffix in (".json", ".pdmodel"):
        if (folder / f"{MODEL_STEM}{suffix}").is_file():
            return folder / f"{MODEL_STEM}{suffix}"
    raise ValueError(f"{folder}: has no {MODEL_STEM}.json and no {MODEL_STEM}.pdmodel; export the model again")


def _use_tensorrt(config: Any, program: Path, clip_shape: list[int | None]) -> bool:
    """Paddle 2's way; a model of Paddle 3 (.json) would have to be converted by paddle.tensorrt first."""
    if program.suffix != ".pdmodel" or paddle.inference.get_trt_compile_version() == (0, 0, 0):
        return False
    largest = [*LARGEST_TENSORRT_SHAPE, *clip_shape[2:]]
    config.enable_tensorrt_engine(WORKSPACE_BYTES, precision_mode=paddle.inference.PrecisionType.Float32)
    config.set_trt_dynamic_shape_info(
        {"frames": [1, 1, *largest[2:]]}, {"frames": largest}, {"frames": [1, 7, *largest[2:]]}
    )
    return True
