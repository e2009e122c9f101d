"""PyTorch's checkpoint files, zip layout (since 1.6) and older one, without PyTorch and without running them.

Both are pickles whose tensors name a storage; the storages' raw data lie beside the pickle (zip) or after it (legacy).
"""

import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.pickle_machine import Name, StandIn
from common.pickle_reader import PickleReader, Refused
from common.plain_arrays import check_shape
from common.safe_pickle import ALLOWED, PlainUnpickler, only_tuple
from models.weights.dtypes import from_bfloat16

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
LEGACY_BEGINNING = pickle.dumps(LEGACY_MAGIC, protocol=2)

PICKLE_NAME = "/data.pkl"
MAX_NUMBER = 1 << 40
"""No size, stride or offset of a real tensor is as large."""

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

    @property
    def num_bytes(self) -> int:
        """What it takes once it is read."""
        return math.prod(self.shape) * max(_item_size(self.storage.dtype), 4)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_NUMBER  # type() and not isinstance(): True is no number here


def _rebuild_tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *rest: Any) -> Tensor:
    check_shape(shape)
    if type(storage) is not Storage or type(strides) is not tuple or not all(map(_is_count, (offset, *strides))):
        raise ValueError("says in no known way where its numbers lie")
    if len(shape) != len(strides) or math.prod(shape) > storage.num_elements:
        raise ValueError(f"has the shape {shape}, which is larger than its storage")
    return Tensor(storage, offset, tuple(shape), strides)


def _data_of_parameter(data: Any, *rest: Any) -> Any:
    return data


def _nothing(*arguments: Any) -> None:
    """In place of what checkpoints carry beside their tensors: it is called and does nothing."""


def _something(*arguments: Any) -> StandIn:
    """In place of objects that checkpoints carry beside their tensors."""
    return StandIn()


class _TorchUnpickler(PlainUnpickler):
    """Besides plain data: tensors, and empty stand-ins for what toolkits store beside them."""

    allowed = {
        **ALLOWED,
        ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _data_of_parameter,
        ("torch", "Size"): only_tuple,
        ("torch", "device"): _nothing,
        **{("torch", name): None for name in (*STORAGES, *DTYPE_NAMES)},
        ("argparse", "Namespace"): _something,  # torchvision's and timm's training arguments
        # MMEngine's log of the training, in MMAction2's published files too: numbers, and references to its methods
        ("mmengine.logging.history_buffer", "HistoryBuffer"): _something,
        ("builtins", "getattr"): _nothing,
        ("__builtin__", "getattr"): _nothing,
    }

    def __init__(self, reader: PickleReader):
        super().__init__(reader)
        self.storages: dict[str, Storage] = {}

    def persistent(self, reference: Any) -> Storage:
        if type(reference) is not tuple or len(reference) not in (5, 6):
            raise Refused("it has an unknown reference")
        kind, name, key, _, num_elements, view = (*reference, None)[:6]
        dtype = STORAGES.get(name.name) if type(name) is Name and name.module == "torch" else None
        is_known = type(kind) is type(key) is str and kind == "storage" and dtype and view is None
        if not is_known or not _is_count(num_elements):
            raise Refused("it has an unknown kind of storage")
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
    content, _ = _unpickle(_reader(files[pickle_name]), path)
    return content, lambda tensor: _read_tensor(tensor, files.get(f"{folder}data/{tensor.storage.key}"), path)


def read_legacy(data: bytes, path: Path) -> tuple[Any, Callable[[Tensor], np.ndarray]]:
    """The same for a file in the layout of PyTorch before 1.6.

    Raises:
        ValueError: the file is damaged, or holds more than plain data and tensors.
    """
    reader = _reader(data)
    magic, version, system = (_unpickle(reader, path)[0] for _ in range(3))
    is_known = type(magic) is type(version) is int and magic == LEGACY_MAGIC and version == LEGACY_VERSION
    if not is_known or not isinstance(system, dict) or system.get("little_endian", True) is not True:
        raise ValueError(
            f"{path}: unknown kind of PyTorch file (version {version if type(version) is int else 'unknown'})"
        )
    content, named = _unpickle(reader, path)
    keys, _ = _unpickle(reader, path)
    storages: dict[str, bytes] = {}
    for key in keys if isinstance(keys, list) else []:
        key = key if isinstance(key, str) else "?"
        storage = named.get(key)
        try:
            if storage is None or reader.take(8) != struct.pack("<q", storage.num_elements):
                raise Refused("it is not what the tensors name")
            storages[key] = reader.take(storage.num_elements * _item_size(storage.dtype))
        except Refused as error:
            raise ValueError(f"{path}: damaged: the storage {key[:20]!r}: {error}") from error
    return content, lambda tensor: _read_tensor(tensor, storages.get(tensor.storage.key), path)


def _reader(data: bytes) -> PickleReader:
    return PickleReader(data, encoding="utf-8")


def _unpickle(reader: PickleReader, path: Path) -> tuple[Any, dict[str, Storage]]:
    """The next pickle, and the storages that its tensors name."""
    unpickler = _TorchUnpickler(reader)
    try:
        return unpickler.load(), unpickler.storages
    except Refused as error:
        raise ValueError(
            f"{path}: cannot be read as a PyTorch file of tensors and plain data: {error}; "
            "if it holds more than that, save its state dict alone with torch.save(model.state_dict(), ...)"
        ) from error


def _read_tensor(tensor: Tensor, data: bytes | None, path: Path) -> np.ndarray:
    storage, offset, shape, strides = tensor
    if data is None or len(data) != storage.num_elements * _item_size(storage.dtype):
        raise ValueError(f"{path}: damaged: the storage {storage.key[:20]!r} is missing or cut")
    is_bfloat16 = storage.dtype == BFLOAT16
    elements = np.frombuffer(data, "<u2" if is_bfloat16 else storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= len(elements):
        raise ValueError(f"{path}: damaged: a tensor of shape {shape} is larger than its storage")
    byte_strides = [stride * elements.itemsize for stride in strides]
    view = np.lib.stride_tricks.as_strided(elements[offset:], shape, byte_strides)
    return from_bfloat16(view) if is_bfloat16 else view.copy()


def _item_size(dtype: str) -> int:
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize
