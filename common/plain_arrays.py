"""Arrays from what a stranger's file says of them: type, shape and bytes, compared before anything is allocated."""

import math
from typing import Any

import numpy as np

PLAIN_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
"""Kind and bytes per element of the numbers that files here may hold; no objects, no text, no records."""
BYTE_ORDERS = ("<", ">", "=", "|")
MAX_DIMENSIONS = 32  # of numpy 1
MAX_ELEMENTS = 1 << 40
"""No real array has as many, so that products of sizes stay small numbers."""


def plain_array(dtype: str, shape: Any, data: bytes, is_fortran: bool = False) -> np.ndarray:
    """A read-only array over the bytes.

    Args:
        dtype: one of PLAIN_TYPES, one of BYTE_ORDERS before it or not.
        shape: a tuple or list of sizes, as the file says.
        data: its elements, row by row, or column by column if `is_fortran`.

    Raises:
        ValueError: another type, an impossible shape, or another number of bytes than both need.
    """
    if (dtype[1:] if dtype.startswith(BYTE_ORDERS) else dtype) not in PLAIN_TYPES:
        raise ValueError(f"has the type {dtype[:20]!r}; only numbers are read, object arrays never")
    check_shape(shape)
    numbers = np.dtype(dtype)
    expected = math.prod(shape) * numbers.itemsize
    if len(data) != expected:
        raise ValueError(f"holds {len(data)} bytes of data, but its shape {list(shape)} needs {expected}")
    return np.frombuffer(data, numbers).reshape(shape, order="F" if is_fortran else "C")


def check_shape(shape: Any) -> None:
    """Raise ValueError if these are no sizes that an array can have."""
    is_plausible = (
        isinstance(shape, tuple | list)
        and len(shape) <= MAX_DIMENSIONS
        and all(type(size) is int and 0 <= size <= MAX_ELEMENTS for size in shape)  # type(): True is no size
        and math.prod(max(size, 1) for size in shape) <= MAX_ELEMENTS
    )
    if not is_plausible:
        raise ValueError("has an impossible shape")
