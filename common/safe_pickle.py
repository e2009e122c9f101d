"""Read pickles without running them: plain data and numpy arrays only.

A pickle is a program: `pickle.load` on a stranger's file can run anything. The unpickler here knows the few names that
numpy arrays and plain containers need, and refuses every other one, so that a file can only ever become data.
"""

import collections
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

# The functions that numpy itself names in a pickle; their modules are others in numpy 1 and numpy 2.
_reconstruct_array = np.empty(0).__reduce__()[0]
_array_from_buffer = np.empty(1).__reduce_ex__(5)[0]
_make_scalar = np.float32(0).__reduce__()[0]

ALLOWED = {
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin-1"),  # how protocol 2 spells bytes
    ("builtins", "tuple"): tuple,  # how paddle.save spells a tensor that lies in nested containers: (name, array)
    ("__builtin__", "tuple"): tuple,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct_array,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct_array,
    ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy.core.multiarray", "scalar"): _make_scalar,
    ("numpy._core.multiarray", "scalar"): _make_scalar,
}

PICKLE_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What unpickling a damaged or hostile file can raise; each of them means "not a readable pickle of plain data"."""


class PlainUnpickler(pickle.Unpickler):
    """Builds plain data and numpy arrays. A subclass may allow more names, each with a harmless stand-in."""

    allowed = ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.allowed[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it wants to use {module}.{name}, which plain data never needs") from None


def load_pickle(path: str | Path, encoding: str = "ASCII") -> Any:
    """The plain data in a pickle file.

    Args:
        path: the file.
        encoding: how to read the strings of a Python 2 pickle; "bytes" keeps them as bytes, as JPEG data needs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no pickle, is damaged, or holds more than plain data and numpy arrays.
    """
    content = Path(path).read_bytes()
    try:
        return PlainUnpickler(io.BytesIO(content), encoding=encoding).load()
    except PICKLE_ERRORS as error:
        reason = " ".join(str(error).split())  # some of them have several lines
        raise ValueError(f"{path}: cannot be read as a pickle of plain data: {reason}") from error
