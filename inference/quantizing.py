"""float32 models -> int8, by post-training quantization: what a few hundred clips make of a model sets its ranges."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from common.console import quiet_stdout


def quantize_openvino(model: Any, clips: list[np.ndarray]) -> Any:
    """An OpenVINO model -> one whose convolutions are int8, by NNCF.

    Args:
        clips: uint8 (1, T, 3, H, W).
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    with quiet_stdout():  # without its bars
        return nncf.quantize(
            model,
            nncf.Dataset([{"frames": clip} for clip in clips]),
            subset_size=len(clips),
            preset=nncf.QuantizationPreset.MIXED,  # asymmetric activations: those after a ReLU have no negative ones
        )


def quantize_onnx(path: Path, clips: list[np.ndarray]) -> None:
    """Replace a float32 .onnx file by one whose convolutions are int8, by ONNX Runtime (QDQ, weights by channel).

    Args:
        clips: uint8 (1, T, 3, H, W).
    """
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Clips(CalibrationDataReader):
        def __init__(self) -> None:
            self._clips: Iterator[np.ndarray] = iter(clips)

        def get_next(self) -> dict[str, np.ndarray] | None:
            clip = next(self._clips, None)
            return None if clip is None else {"frames": clip}

    onnxruntime.set_default_logger_severity(3)  # errors
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, _quiet():
        prepared = Path(folder, path.name)
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            Clips(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "MaxPool", "MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=_needs_smaller_weights(),
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that ONNX Runtime's tools print on the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _needs_smaller_weights() -> bool:
    """Whether this processor adds products of 8 bits in 16, without VNNI: those of weights of 7 bits fit."""
    capabilities = Path("/proc/cpuinfo")
    return capabilities.is_file() and "vnni" not in capabilities.read_text(encoding="utf-8", errors="replace")
