"""An ONNX export as a model repository, the folder that NVIDIA Triton Inference Server serves models from.

DIR/NAME/config.pbtxt says what goes in and comes out, DIR/NAME/labels.txt names the classes, DIR/NAME/1/model.onnx is
the export itself, version 1. The text format is that of `ModelConfig` in model_config.proto of
https://github.com/triton-inference-server/common.
"""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from common.whole_file import remove_leftovers, unfinished
from inference.exporting import ONNX_FILE

CONFIG_FILE, LABEL_FILE, VERSION = "config.pbtxt", "labels.txt", "1"
MAX_BATCH_SIZE, PREFERRED_BATCH_SIZES = 8, (4, 8)  # clips
MAX_DELAY_US = 5000  # that a clip waits for others: little beside the tens of ms that a CPU takes for it
ANY_LENGTH = -1
ENDS = {"frames": ("UINT8", 4), "probabilities": ("FP32", 1), "features": ("FP32", 1)}
"""What an export takes and gives: name -> type and number of dimensions, the batch aside."""
HEAD = f"""\
# Written by export.py --triton from the inputs and outputs of {VERSION}/{ONNX_FILE}.
name: "%(name)s"
backend: "onnxruntime"
max_batch_size: {MAX_BATCH_SIZE}
dynamic_batching {{
  preferred_batch_size: [ {", ".join(map(str, PREFERRED_BATCH_SIZES))} ]
  max_queue_delay_microseconds: {MAX_DELAY_US}
}}
"""


class End(NamedTuple):
    """What an input or output holds."""

    kind: str
    """Type of its numbers, as Triton calls it."""
    shape: list[int]
    """Without the batch; ANY_LENGTH where any will do."""


def model_folder(root: str | Path, model_name: str, export_format: str) -> Path:
    """Where a model is to be in a model repository, whose folder is made and cleaned up after runs that were killed.

    Args:
        model_name: MODEL.name of the config.

    Raises:
        ValueError: the export's format is another one than ONNX.
        FileExistsError: the model is in the repository already.
        OSError: the repository's folder cannot be made.
    """
    if export_format != "onnx":
        raise ValueError(f"--triton is for --format=onnx, not {export_format}")
    root = Path(root)
    folder = root / model_name.lower()
    if folder.is_symlink() or folder.exists():
        raise FileExistsError(f"{folder}: is there already; remove it, or choose another folder by --triton")
    root.mkdir(parents=True, exist_ok=True)
    remove_leftovers(root)
    return folder


def write_model(onnx_file: Path, folder: Path, class_names: list[str] | None) -> None:
    """Write a model of a model repository, whole or not at all.

    Args:
        onnx_file: an export without files of weights beside it.
        folder: see `model_folder`.
        class_names: in label order; None: they are numbered.

    Raises:
        ValueError: the file has other inputs or outputs than an export of this project.
        OSError: the folder cannot be written.
    """
    inputs, outputs = _ends(onnx_file)
    _check(onnx_file, inputs, outputs)
    (num_classes,) = outputs["probabilities"].shape
    names = class_names or [f"class {label}" for label in range(num_classes)]
    if len(names) != num_classes:
        raise ValueError(f"{onnx_file}: has {num_classes} classes, but there are {len(names)} names")
    parts = [HEAD % {"name": folder.name}]
    parts += [_block("input", name, end) for name, end in inputs.items()]
    parts += [_block("output", name, end, LABEL_FILE * (name == "probabilities")) for name, end in outputs.items()]
    with unfinished(folder) as hidden:
        (hidden / VERSION).mkdir(parents=True)
        shutil.copyfile(onnx_file, hidden / VERSION / ONNX_FILE)
        (hidden / CONFIG_FILE).write_text("".join(parts), encoding="utf-8")
        (hidden / LABEL_FILE).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _ends(onnx_file: Path) -> tuple[dict[str, End], dict[str, End]]:
    """The inputs and the outputs of a file, by name."""
    import onnx

    graph = onnx.load(str(onnx_file)).graph
    kinds = {onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.FLOAT: "FP32"}

    def end(value: Any) -> End:
        tensor = value.type.tensor_type
        _, *shape = [dim.dim_value or ANY_LENGTH for dim in tensor.shape.dim]
        return End(kinds.get(tensor.elem_type, "another type"), shape)

    inputs, outputs = ({value.name: end(value) for value in side} for side in (graph.input, graph.output))
    return inputs, outputs


def _check(onnx_file: Path, inputs: dict[str, End], outputs: dict[str, End]) -> None:
    """Compare what a file takes and gives with what every export does, but for the sizes."""
    found = {name: (kind, len(shape)) for name, (kind, shape) in (inputs | outputs).items()}
    if found != ENDS or list(inputs) != ["frames"] or any(ANY_LENGTH in end.shape for end in outputs.values()):
        raise ValueError(f"{onnx_file}: takes and gives {inputs | outputs}, which is no export of this project")


def _block(side: str, name: str, end: End, label_file: str = "") -> str:
    """An input or output in the text format."""
    lines = [f'name: "{name}"', f"data_type: TYPE_{end.kind}", f"dims: [ {', '.join(map(str, end.shape))} ]"]
    lines += [f'label_filename: "{label_file}"'] * bool(label_file)
    return f"{side} [\n  {{\n" + "".join(f"    {line}\n" for line in lines) + "  }\n]\n"
