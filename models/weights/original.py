"""The 2019 original's format: a folder with one file per variable.

A file holds: u32 0, u64 number of LoD levels (0), u32 0, i32 length of a TensorDesc message, that message (protobuf:
field 1 the data type, field 2, repeated, the dimensions), then the raw data; all little-endian.
"""

import math
import struct
from pathlib import Path

import numpy as np

from models.weights.dtypes import from_bfloat16

HEADER = struct.Struct("<IQIi")
DATA_TYPES = {0: "?", 1: "<i2", 2: "<i4", 3: "<i8", 4: "<f2", 5: "<f4", 6: "<f8", 20: "u1", 21: "i1"}
BFLOAT16 = 22
FLOAT32 = 5
MAX_DESCRIPTION_BYTES = 256


def looks_like_variable(content: bytes) -> bool:
    """Whether bytes begin as a variable's file does."""
    if len(content) < HEADER.size:
        return False
    version, _, tensor_version, length = HEADER.unpack_from(content)
    return version == tensor_version == 0 and 0 < length <= MAX_DESCRIPTION_BYTES


def parse_variable(content: bytes) -> np.ndarray:
    """The array in a variable's file.

    Raises:
        ValueError: the bytes are no whole variable. Nothing is allocated by a size that the file only claims.
    """
    if not looks_like_variable(content):
        raise ValueError("does not begin as a variable of the 2019 format")
    _, num_levels, _, length = HEADER.unpack_from(content)
    if num_levels:
        raise ValueError(f"has {num_levels} LoD levels, which weights never have")
    start = HEADER.size + length
    data_type, shape = _parse_description(content[HEADER.size : start])
    dtype = np.dtype("<u2" if data_type == BFLOAT16 else DATA_TYPES.get(data_type, "V0"))
    if not dtype.itemsize:
        raise ValueError(f"has the unknown data type {data_type}")
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise ValueError(f"holds {len(content) - start} bytes of data, but its shape {shape} needs {expected}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return from_bfloat16(array) if data_type == BFLOAT16 else array


def _parse_description(message: bytes) -> tuple[int, list[int]]:
    """The data type and the shape in a TensorDesc message."""
    data_type, shape, position = None, [], 0
    while position < len(message):
        tag, position = _parse_varint(message, position)
        value, position = _parse_varint(message, position)
        if tag == 0x08:
            data_type = value
        elif tag == 0x10:
            shape.append(value)
        elif tag == 0x12:  # the dimensions packed into one field
            end = position + value
            while position < end:
                dimension, position = _parse_varint(message, position)
                shape.append(dimension)
        else:
            raise ValueError(f"has the unknown field {tag} in its description")
    if data_type is None or max(shape, default=0) >= 1 << 63:
        raise ValueError("has a damaged description")
    return data_type, shape


def _parse_varint(message: bytes, position: int) -> tuple[int, int]:
    """A protobuf number, and where the next one begins."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("has a cut description")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("has a damaged number in its description")


def write_variable(path: Path, array: np.ndarray) -> None:
    """Write a float32 array as the original did, to the byte."""
    message = bytes([0x08, FLOAT32])
    for size in array.shape:
        message += b"\x10" + _varint(size)
    header = HEADER.pack(0, 0, 0, len(message))
    path.write_bytes(header + message + np.ascontiguousarray(array, "<f4").tobytes())


def _varint(value: int) -> bytes:
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])
