"""Every format of weights -> {name: array}, recognised by content. Knows nothing of names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from common import checksums
from common.plain_arrays import plain_array
from common.safe_pickle import load_pickle
from models.weights.archives import MAX_UNPACKED_BYTES, flat_tar_files, is_tar, zip_files
from models.weights.dtypes import from_bfloat16
from models.weights.original import looks_like_variable, parse_variable
from models.weights.pytorch import LEGACY_BEGINNING, PICKLE_NAME, Tensor, read_legacy, read_zip

MODEL_FILE = "model.pdparams"
PICKLE_BEGINNING = b"\x80"
ZIP_BEGINNING = b"PK\x03\x04"
WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Under which keys toolkits keep the weights in a larger checkpoint."""
SAFETENSORS_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "b1",
}  # fmt: skip
NPY_BEGINNING = b"\x93NUMPY"
NPY_HEADER = re.compile(
    rb"\s*{\s*'descr': *'([^']*)' *, *'fortran_order': *(True|False) *, *'shape': *\(([\d, ]*)\) *,? *}\s*"
)
MAX_NPY_HEADER_BYTES = 1000
KNOWN_FORMATS = (
    "a checkpoint folder, a .pdparams, .safetensors, .pth, .pt or .npz file, or the 2019 original's folder or .tar.gz"
)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file or folder by its own names, in its own types.

    Raises:
        FileNotFoundError: the folder holds no weights.
        ValueError: the file is damaged, unsafe or of an unknown format.
    """
    if path.is_dir():
        return _read_folder(path)
    checksums.verify(path)
    with path.open("rb") as file:
        beginning = file.read(16)
    if _is_safetensors(beginning, path.stat().st_size):  # first: the length that it begins with may look like anything
        return _read_safetensors(path)
    if is_tar(path):
        return _read_tar(path)
    if beginning.startswith(ZIP_BEGINNING):
        return _read_zip(path)
    if beginning.startswith(LEGACY_BEGINNING):
        return _named_tensors(*read_legacy(path.read_bytes(), path), path)
    if beginning.startswith(PICKLE_BEGINNING):
        return _named_arrays(load_pickle(path), path)
    raise ValueError(f"{path}: is of no known format of weights; give {KNOWN_FORMATS}")


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    if (folder / MODEL_FILE).is_file():
        return read_arrays(folder / MODEL_FILE)
    contents = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if len(contents) == 1 and contents[0].is_dir():  # an archive unpacks to a folder in a folder
        return _read_folder(contents[0])
    files = [path for path in contents if path.is_file() and path.name != checksums.FOLDER_SUMS]
    if not any(_is_variable(path) for path in files):
        checkpoints = ", ".join(path.name for path in contents if (path / MODEL_FILE).is_file())
        inside = f", but in its folders {checkpoints}: name one of them" if checkpoints else f"; give {KNOWN_FORMATS}"
        raise FileNotFoundError(f"{folder}: no weights in this folder{inside}")
    checksums.verify(folder)
    return _parse_variables({path.name: path.read_bytes() for path in files}, folder)


def _read_tar(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the 2019 original's folder, packed."""
    files = dict(flat_tar_files(path))
    sums = files.pop(checksums.FOLDER_SUMS, None)
    if sums is not None:
        checksums.verify_contents(files, sums, path)
    return _parse_variables(files, path)


def _is_variable(path: Path) -> bool:
    with path.open("rb") as file:
        return looks_like_variable(file.read(32))


def _parse_variables(files: dict[str, bytes], origin: Path) -> dict[str, np.ndarray]:
    """The arrays in files of the 2019 format."""
    arrays = {}
    for name, content in files.items():
        try:
            arrays[name] = parse_variable(content)
        except ValueError as error:
            raise ValueError(f"{origin}: its file {name} {error}; it is damaged, or no weights of 2019") from error
    return arrays


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    files = zip_files(path)
    if any(name.endswith(PICKLE_NAME) for name in files):
        return _named_tensors(*read_zip(files, path), path)
    arrays = {}
    for name, content in files.items():
        try:
            arrays[name.removesuffix(".npy")] = _parse_npy(content)
        except ValueError as error:
            raise ValueError(f"{path}: its member {name[:100]} is no array of numbers: it {error}") from error
    return arrays


def _parse_npy(content: bytes) -> np.ndarray:
    """The array in a .npy file: the magic, two bytes of version, the header's length and text, the data."""
    if content[:6] != NPY_BEGINNING:
        raise ValueError("does not begin as a .npy file")
    start = 10 if content[6:7] == b"\1" else 12
    end = start + int.from_bytes(content[8:start], "little")
    header = NPY_HEADER.fullmatch(content[start:end]) if end - start <= MAX_NPY_HEADER_BYTES else None
    if header is None:
        raise ValueError("has a header that describes no array of numbers")
    dtype, is_fortran, sizes = (part.decode("latin-1") for part in header.groups())
    shape = [int(size) for size in sizes.replace(",", " ").split()]
    return plain_array(dtype, shape, content[end:], is_fortran == "True")


def _is_safetensors(beginning: bytes, num_bytes: int) -> bool:
    """Whether a file begins with the length of a header that it can hold, and with that header's brace."""
    return beginning[8:9] == b"{" and int.from_bytes(beginning[:8], "little") <= num_bytes - 8


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        tensors = safetensors.deserialize(path.read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: damaged safetensors file: {_first_line(error)}") from error
    arrays = {}
    for name, tensor in tensors:
        if tensor["dtype"] not in SAFETENSORS_DTYPES:
            raise ValueError(f"{path}: {name[:100]} has the type {tensor['dtype']}, which weights here never have")
        try:
            array = plain_array(SAFETENSORS_DTYPES[tensor["dtype"]], tensor["shape"], tensor["data"])
        except ValueError as error:
            raise ValueError(f"{path}: damaged safetensors file: {name[:100]} {error}") from error
        arrays[name] = from_bfloat16(array) if tensor["dtype"] == "BF16" else array
    return arrays


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


def _named_arrays(content: Any, path: Path) -> dict[str, np.ndarray]:
    """The weights in a Paddle file: arrays by name, or (name, array) as paddle.save writes nested tensors."""

    def array_of(value: Any) -> np.ndarray | None:
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
            value = value[1]
        return value if isinstance(value, np.ndarray) else None

    named = _find_state_dict(content, lambda value: array_of(value) is not None, path)
    return {name: array_of(value) for name, value in named.items()}


def _named_tensors(content: Any, read: Callable[[Tensor], np.ndarray], path: Path) -> dict[str, np.ndarray]:
    named = _find_state_dict(content, lambda value: isinstance(value, Tensor), path)
    num_bytes = sum(tensor.num_bytes for tensor in named.values())
    if num_bytes > MAX_UNPACKED_BYTES:  # each of them may claim the whole of one storage
        raise ValueError(f"{path}: claims to unpack to {num_bytes} bytes, which no weights need")
    return {name: read(tensor) for name, tensor in named.items()}


def _find_state_dict(content: Any, is_tensor: Callable[[Any], bool], path: Path) -> dict[str, Any]:
    """The tensors by name, from the content itself or from the part of it where toolkits keep them."""
    candidates = [content]
    if isinstance(content, dict):
        candidates += [content[key] for key in WRAPPERS if key in content]
    for candidate in candidates:
        if isinstance(candidate, dict):
            named = {name: value for name, value in candidate.items() if isinstance(name, str) and is_tensor(value)}
            if named:
                return named
    keys = [str(key)[:50] for key in list(content)[:5]] if isinstance(content, dict) else []
    keys = f" of {', '.join(keys)}" if keys else ""
    raise ValueError(f"{path}: holds a {type(content).__name__}{keys}, not weights by name")
