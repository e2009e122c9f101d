"""The weights that the reference figures were made with: by formula, from each variable's name and shape.

The names are the 2019 original's (tests/reference/checkpoint_variables.tsv); `our_name` gives this project's.
"""

import csv
import re
import struct
import zlib
from pathlib import Path

import numpy as np

from models.weights import Weights
from models.weights.matching import tensor_names
from models.weights.names import OURS

REFERENCE = Path(__file__).parent / "reference"
BATCH_NORM = {"scale": "weight", "offset": "bias", "mean": "_mean", "variance": "_variance"}
BRANCHES = {"branch2a": "1", "branch2b": "2", "branch2c": "3"}

SMALL_ARRAYS = {
    name: np.full((4, 2) if name == "fc.weight" else 3, i, np.float32)
    for i, name in enumerate(tensor_names(OURS["resnet"], 18))
}
"""The names of a ResNet-18 with tiny arrays, where only names and numbers matter."""


def original_variables() -> dict[str, list[int]]:
    """Name -> shape of the 267 variables of the original's ResNet-50 TSN with 8 classes."""
    with (REFERENCE / "checkpoint_variables.tsv").open() as file:
        rows = {
            row["name"]: [int(n) for n in row["shape"].strip("[]").split(",")]
            for row in csv.DictReader(file, delimiter="\t")
        }
    endings = ("_weights", "_scale", "_offset", "_mean", "_variance", "fc_0.w_0", "fc_0.b_0")
    return {name: shape for name, shape in rows.items() if name.endswith(endings)}


def formula(name: str, shape: list[int]) -> np.ndarray:
    n = np.random.RandomState(zlib.crc32(name.encode())).randn(*shape)
    if name.endswith("_weights"):
        n = n * np.sqrt(2 / (shape[1] * shape[2] * shape[3]))
    elif name.endswith("_scale"):
        n = (0.2 if "branch2c" in name else 1.0) * (1 + 0.1 * n)
    elif name.endswith(("_offset", "_mean")):
        n = 0.1 * n
    elif name.endswith("_variance"):
        n = 3 * (1 + 0.1 * np.abs(n))
    else:
        n = 0.02 * n
    return n.astype(np.float32)


def our_name(name: str) -> str:
    if name.startswith("fc_0"):
        return "fc.weight" if name == "fc_0.w_0" else "fc.bias"
    if name == "conv1_weights":
        return "backbone.conv1.weight"
    if name.startswith("bn_conv1_"):
        return f"backbone.bn1.{BATCH_NORM[name.removeprefix('bn_conv1_')]}"
    kind, stage, block, branch, what = re.fullmatch(r"(res|bn)(\d)([a-z])_(branch\w+)_(\w+)", name).groups()
    where = f"backbone.layer{int(stage) - 1}.{ord(block) - ord('a')}"
    is_conv = kind == "res"
    leaf = "weight" if is_conv else BATCH_NORM[what]
    if branch == "branch1":
        return f"{where}.downsample.{0 if is_conv else 1}.{leaf}"
    return f"{where}.{'conv' if is_conv else 'bn'}{BRANCHES[branch]}.{leaf}"


def formula_arrays() -> dict[str, np.ndarray]:
    """The original's names -> arrays, for TSN with ResNet-50 and 8 classes."""
    return {name: formula(name, shape) for name, shape in original_variables().items()}


def formula_weights() -> Weights:
    """The same under this project's names."""
    arrays = {our_name(name): array for name, array in formula_arrays().items()}
    return Weights("formula weights", arrays, {name: name for name in arrays}, OURS["resnet"], 50, [])


def write_original_folder(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write float32 arrays as the original did, by the description of its format alone."""
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        description = bytes([8, 5])
        for size in array.shape:
            low, high = size % 128, size // 128
            description += bytes([16, low + 128, high]) if high else bytes([16, low])
        header = struct.pack("<IQIi", 0, 0, 0, len(description))
        (folder / name).write_bytes(header + description + array.astype("<f4").tobytes())
    return folder
