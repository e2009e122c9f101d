"""PyTorch's checkpoint files, zip layout (since 1.6) and older one, without PyTorch and without running them.

Both are pickles whose tensors name a storage; the storages' raw data lie beside the pickle (zip) or after it (legacy).
"""

import io
import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from common.safe_pickle import ALLOWED, PICKLE_ERRORS, PlainUnpickler
from models.weights.dtypes import from_bfloat16

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_BEGINNING = pickle.dumps(LEGACY_MAGIC, protocol=2)

PICKLE_NAME = "/data.pkl"
MAX_NUMBER = 1 << 40
"""No size, stride or offset of a real tensor is as large."""
MAX_DIMENSIONS = 8

BFLOAT16 = "bfloat16"
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": BFLOAT16,
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?",
}  # fmt: skip
DTYPE_NAMES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip


class Storage(NamedTuple):
    dtype: str
    key: str
    num_elements: int


class Tensor(NamedTuple):
    """A tensor before its storage has been read."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In elements."""


def _rebuild_tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *rest: Any) -> Tensor:
    tensor = Tensor(storage, offset, tuple(shape), tuple(strides))
    numbers = (offset, *tensor.shape, *tensor.strides)
    has_plausible_numbers = all(isinstance(number, int) and 0 <= number < MAX_NUMBER for number in numbers)
    has_plausible_shape = len(tensor.shape) == len(tensor.strides) <= MAX_DIMENSIONS
    if not (isinstance(storage, Storage) and has_plausible_numbers and has_plausible_shape):
        raise pickle.UnpicklingError(f"impossible tensor: offset {offset}, shape {shape}, strides {strides}")
    return tensor


def _data_of_parameter(data: Tensor, *rest: Any) -> Tensor:
    return data


def _nothing(*arguments: Any) -> None:
    """In place of what checkpoints carry beside their tensors: it is called and does nothing."""


class _TorchUnpickler(PlainUnpickler):
    """Besides plain data: tensors, and empty stand-ins for what toolkits store beside them."""

    allowed = {
        **ALLOWED,
        ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _data_of_parameter,
        ("torch", "Size"): tuple,
        ("torch", "device"): _nothing,
        **{("torch", name): dtype for name, dtype in STORAGES.items()},
        **{("torch", name): name for name in DTYPE_NAMES},
        ("argparse", "Namespace"): SimpleNamespace,  # torchvision's and timm's training arguments
        # MMEngine's log of the training, in MMAction2's published files too: numbers, and references to its methods
        ("mmengine.logging.history_buffer", "HistoryBuffer"): SimpleNamespace,
        ("builtins", "getattr"): _nothing,
        ("__builtin__", "getattr"): _nothing,
    }

    def __init__(self, stream: BinaryIO):
        super().__init__(stream, encoding="utf-8")
        self.storages: dict[str, Storage] = {}

    def persistent_load(self, reference: Any) -> Storage:
        kind, dtype, key, _, num_elements, *view = reference
        is_known = kind == "storage" and dtype in STORAGES.values() and not (view and view[0] is not None)
        if not is_known or not 0 <= num_elements < MAX_NUMBER:
            raise pickle.UnpicklingError(f"unknown storage {reference!r}")
        return self.storages.setdefault(key, Storage(dtype, key, num_elements))


def read_zip(files: dict[str, bytes], path: Path) -> tuple[Any, Callable[[Tensor], np.ndarray]]:
    """What a zip checkpoint holds, with its tensors unread, and the function that reads one.

    Args:
        files: the archive's members.
        path: its name, for messages.

    Raises:
        ValueError: the file is damaged, or holds more than plain data and tensors.
    """
    pickle_name = next(name for name in files if name.endswith(PICKLE_NAME))
    folder = pickle_name.removesuffix(PICKLE_NAME[1:])
    if files.get(f"{folder}byteorder", b"little") != b"little":
        raise ValueError(f"{path}: was written on a big-endian machine, which is not supported")
    content, _ = _unpickle(io.BytesIO(files[pickle_name]), path)
    return content, lambda tensor: _read_tensor(tensor, files.get(f"{folder}data/{tensor.storage.key}"), path)


def read_legacy(data: bytes, path: Path) -> tuple[Any, Callable[[Tensor], np.ndarray]]:
    """The same for a file in the layout of PyTorch before 1.6.

    Raises:
        ValueError: the file is damaged, or holds more than plain data and tensors.
    """
    stream = io.BytesIO(data)
    magic, version, system = (_unpickle(stream, path)[0] for _ in range(3))
    if magic != LEGACY_MAGIC or version != 1001 or not (isinstance(system, dict) and system.get("little_endian", True)):
        raise ValueError(f"{path}: unknown kind of PyTorch file (version {version!r}, {system!r})")
    content, named = _unpickle(stream, path)
    keys, _ = _unpickle(stream, path)
    storages: dict[str, bytes] = {}
    for key in keys if isinstance(keys, list) else []:
        storage, count = named.get(str(key)), stream.read(8)
        if storage is None or count != struct.pack("<q", storage.num_elements):
            raise ValueError(f"{path}: damaged: the storage {key!r} is not what the tensors name")
        storages[key] = stream.read(storage.num_elements * _item_size(storage.dtype))
    return content, lambda tensor: _read_tensor(tensor, storages.get(tensor.storage.key), path)


def _unpickle(stream: BinaryIO, path: Path) -> tuple[Any, dict[str, Storage]]:
    """The next pickle of a stream, and the storages that its tensors name."""
    unpickler = _TorchUnpickler(stream)
    try:
        return unpickler.load(), unpickler.storages
    except PICKLE_ERRORS as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: cannot be read as a PyTorch file of tensors and plain data: {reason}; "
            "if it holds more than that, save its state dict alone with torch.save(model.state_dict(), ...)"
        ) from error


def _read_tensor(tensor: Tensor, data: bytes | None, path: Path) -> np.ndarray:
    storage, offset, shape, strides = tensor
    if data is None or len(data) != storage.num_elements * _item_size(storage.dtype):
        raise ValueError(f"{path}: damaged: the storage {storage.key!r} is missing or cut")
    is_bfloat16 = storage.dtype == BFLOAT16
    elements = from_bfloat16(np.frombuffer(data, "<u2")) if is_bfloat16 else np.frombuffer(data, storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > len(elements) or (math.prod(shape) and last >= len(elements)):
        raise ValueError(f"{path}: damaged: a tensor of shape {shape} is larger than its storage")
    byte_strides = [stride * elements.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(elements[offset:], shape, byte_strides).copy()


def _item_size(dtype: str) -> int:
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize
