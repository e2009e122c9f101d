"""Read pickles without running them: plain data and numpy arrays only.

A pickle is a program: `pickle.load` on a stranger's file can run anything. The machine of pickle_machine.py runs the
steps that plain data needs; here are the few names that numpy arrays and plain containers need, each with a stand-in.
"""

import collections
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common.pickle_machine import PickleMachine, StandIn, checked_key
from common.pickle_reader import PickleReader, Refused
from common.plain_arrays import plain_array


class _Type(StandIn):
    """A numpy dtype; its byte order is its state."""

    def __init__(self, code: str):
        super().__init__()
        self.code, self.order = code, "="

    def filled(self, state: Any) -> "_Type":
        if type(state) is not tuple or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise ValueError("has a type that is none of numbers")
        self.order = _word(state[1])
        return self

    def array(self, shape: Any, data: Any, is_fortran: bool = False) -> np.ndarray:
        if not isinstance(data, bytes):
            raise ValueError("has no bytes")
        return plain_array(self.order + self.code, shape, data, is_fortran)


class _Array(StandIn):
    """A numpy array; all that it is is its state."""

    def filled(self, state: Any) -> np.ndarray:
        if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], _Type):
            raise ValueError("is described in no known way")
        _, shape, kind, is_fortran, data = state
        return kind.array(shape, data, type(is_fortran) in (bool, int) and bool(is_fortran))


def _word(value: Any) -> str:
    """A word of a numpy array's description; Python 2 wrote bytes."""
    if not isinstance(value, str | bytes) or len(value) > 4:
        raise ValueError("has an unknown type of numbers")
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _dtype(code: Any, *options: Any) -> _Type:
    return _Type(_word(code))


def _new_array(*arguments: Any) -> _Array:
    return _Array()


def _array_from_buffer(data: bytes, kind: _Type, shape: tuple, order: str, axes: Any = None) -> np.ndarray:
    if not isinstance(kind, _Type) or order not in ("C", "F", "K"):
        raise ValueError("has no array of numbers")
    array = kind.array(shape, data, order == "F")
    if axes is None:
        return array
    if type(axes) is not tuple or any(type(axis) is not int for axis in axes) or sorted(axes) != [*range(array.ndim)]:
        raise ValueError("has an unknown order of axes")
    return array.transpose(axes)


def _scalar(kind: _Type, data: bytes) -> np.generic:
    if not isinstance(kind, _Type):
        raise ValueError("has no number")
    return kind.array((), data)[()]


def _encode(text: str, encoding: str) -> bytes:
    if not isinstance(text, str) or not isinstance(encoding, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("has no bytes")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


def only_tuple(items: Any) -> tuple:
    """What a tuple, or a kind of it, is made of."""
    if type(items) is not tuple:
        raise ValueError("has no tuple")
    return items


def _ordered_dict(pairs: Any = ()) -> collections.OrderedDict:
    """Empty, or as Python 2 wrote it, with all pairs at once."""
    result = collections.OrderedDict()
    for pair in pairs if type(pairs) in (list, tuple) else [None]:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise ValueError("has no pairs")
        result[checked_key(pair[0])] = pair[1]
    return result


ALLOWED: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("_codecs", "encode"): _encode,  # how protocol 2 spells bytes, and
    ("builtins", "bytes"): _no_bytes,  # none
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "tuple"): only_tuple,  # how paddle.save spells a tensor that lies in nested containers: (name, array)
    ("__builtin__", "tuple"): only_tuple,
    ("collections", "OrderedDict"): _ordered_dict,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
    # the modules are others in numpy 1 and numpy 2
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _array_from_buffer,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class PlainUnpickler(PickleMachine):
    """Builds plain data and numpy arrays. A subclass may allow more names, each with a harmless stand-in."""

    allowed = ALLOWED


def load_pickle(path: str | Path, encoding: str = "ascii", check: Callable[[], None] = lambda: None) -> Any:
    """The plain data in a pickle file; arrays are read-only.

    It may lie in itself, and be as deep as the file is long: never walk, compare or print it as a whole.

    Args:
        path: the file.
        encoding: how to read the strings of a Python 2 pickle; "bytes" keeps them as bytes, as JPEG data needs.
        check: called now and then, to raise when time is up.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no pickle, is damaged, or holds more than plain data and numpy arrays.
    """
    content = Path(path).read_bytes()
    try:
        return PlainUnpickler(PickleReader(content, encoding), check).load()
    except Refused as error:
        raise ValueError(f"{path}: cannot be read as a pickle of plain data: {error}") from error
