"""Writes PyTorch's two file layouts without PyTorch, so that the tests can read whole networks from them."""

import collections
import contextlib
import io
import math
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

STORAGE_NAMES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}


class HistoryBuffer:
    """As MMEngine's: besides numbers, its pickle holds references to its own methods."""

    def __init__(self):
        self._log_history = [np.float64(0.5)]
        self.statistics_methods = {"min": HistoryBuffer.min}

    def min(self):
        return min(self._log_history)


HistoryBuffer.__module__ = "mmengine.logging.history_buffer"
HistoryBuffer.min.__module__ = "mmengine.logging.history_buffer"


def _rebuild_tensor_v2(*arguments):
    raise AssertionError("only its name is pickled")


_rebuild_tensor_v2.__module__ = "torch._utils"


def save(path: Path, content: Any, legacy: bool = False, change: dict | None = None) -> Path:
    """Write content, numpy arrays as tensors; `change` replaces what the file says of every tensor."""
    storages: dict[str, np.ndarray] = {}
    with _fake_modules() as fakes:

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                if not isinstance(value, _Storage):
                    return None
                storage_type = fakes[STORAGE_NAMES[value.array.dtype.name]]
                number = (change or {}).get("num_elements", value.array.size)
                reference = ("storage", storage_type, value.key, "cpu", number)
                return (*reference, None) if legacy else reference

            def reducer_override(self, value):
                if not isinstance(value, np.ndarray):
                    return NotImplemented
                key = str(len(storages))
                storages[key] = value
                strides = tuple(math.prod(value.shape[i + 1 :]) for i in range(value.ndim))
                said = {"offset": 0, "shape": value.shape, "strides": strides, **(change or {})}
                arguments = (_Storage(key, value), said["offset"], said["shape"], said["strides"], False)
                return _rebuild_tensor_v2, (*arguments, collections.OrderedDict())

        stream = io.BytesIO()
        if legacy:
            for beginning in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
                pickle.dump(beginning, stream, protocol=2)
        Pickler(stream, protocol=2).dump(content)
    if legacy:
        pickle.dump(list(storages), stream, protocol=2)
        for array in storages.values():
            stream.write(struct.pack("<q", array.size) + array.tobytes())
        path.write_bytes(stream.getvalue())
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/version", "3\n")
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return path


class _Storage:
    def __init__(self, key: str, array: np.ndarray):
        self.key, self.array = key, array


@contextlib.contextmanager
def _fake_modules():
    """Modules of the names that the pickle has to mention."""
    names = ("torch", "torch._utils", "mmengine", "mmengine.logging", "mmengine.logging.history_buffer")
    before = {name: sys.modules.get(name) for name in names}
    modules = {name: types.ModuleType(name) for name in names}
    storages = {name: type(name, (), {"__module__": "torch"}) for name in STORAGE_NAMES.values()}
    vars(modules["torch"]).update(storages)
    modules["torch._utils"]._rebuild_tensor_v2 = _rebuild_tensor_v2
    modules["mmengine.logging.history_buffer"].HistoryBuffer = HistoryBuffer
    sys.modules.update(modules)
    try:
        yield storages
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
