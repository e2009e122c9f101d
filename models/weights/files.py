"""A weights file or folder of any origin -> its arrays under this project's names, and back."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import paddle
import safetensors.numpy

from common import checksums
from common.whole_file import remove_leftovers, unfinished
from models.weights.formats import KNOWN_FORMATS, MODEL_FILE, read_arrays
from models.weights.matching import find_naming, name_of_stranger, network_title, our_naming, rename_table
from models.weights.names import NAMINGS, NOT_WEIGHTS, OURS, RESNET_D, Naming
from models.weights.original import write_variable
from models.weights.shifts import MARKS, SHIFT, as_theirs

DATA_PARALLEL = "module."
"""What PyTorch's DataParallel puts before every name."""

MAX_NAME = 200  # characters of a tensor's name

logger = logging.getLogger(__name__)


class Weights(NamedTuple):
    """The arrays of a file, under this project's names."""

    path: str
    arrays: dict[str, np.ndarray]
    """Our name -> float32; what no naming knows keeps its own name."""
    their_names: dict[str, str]
    """Our name -> the file's."""
    naming: Naming
    num_layers: int | None
    """Size of the network in its family, `naming.family`; None: another network of this project."""
    passed_over: list[str]
    """State of a training among the weights, which is not used."""

    def description(self) -> str:
        network = network_title(self.naming.family, self.num_layers) + (" of a TSM" if SHIFT in self.arrays else "")
        return f"{network} in the names of {self.naming.title}"


def find_weights(path: str | Path) -> Path:
    """Where the weights are: the path itself, or, if that is the folder of a run, the best of its checkpoints."""
    path = Path(path)
    if not path.is_dir() or (path / MODEL_FILE).is_file():
        return path
    best = next((folder for folder in sorted(path.glob("*_best")) if (folder / MODEL_FILE).is_file()), None)
    if best:
        logger.info("%s is the folder of a run: taking its best checkpoint, %s", path, best)
    return best or path


def read_weights(path: str | Path) -> Weights:
    """Read weights of any known format, recognised by content, in any known naming, recognised by its keys.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: it is damaged, unsafe, of an unknown format or of an unknown network; the message says which.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such weights; give {KNOWN_FORMATS}")
    arrays = {}
    for their_name, array in read_arrays(path).items():
        if len(their_name) > MAX_NAME or not their_name.isprintable():
            raise ValueError(f"{path}: has a tensor whose name is none: {their_name[:MAX_NAME]!a}")
        name = their_name.removeprefix(DATA_PARALLEL)
        if name in arrays:
            raise ValueError(f"{path}: holds {name} both with and without {DATA_PARALLEL!r} before it")
        arrays[name] = array
    passed_over = [name for name in arrays if NOT_WEIGHTS.search(name)]
    arrays = {name: array for name, array in arrays.items() if not NOT_WEIGHTS.search(name)}
    return _rename(path, arrays, passed_over)


def write_weights(
    path: Path,
    arrays: dict[str, np.ndarray],
    num_layers: int | None,
    naming: Naming = OURS["resnet"],
    as_folder: bool = False,
) -> None:
    """Write arrays to a new file or folder, whole or not at all, with its checksums beside it.

    Args:
        path: `*.pdparams` or `*.safetensors`, or whatever a folder is to be called.
        arrays: by this project's names.
        num_layers: size of the network in the naming's family; None: another network of this project.
        naming: the names to write them under.
        as_folder: write the 2019 original's format, one file per variable.

    Raises:
        FileExistsError: there is such a file or folder already.
    """
    if path.exists():
        raise FileExistsError(f"{path}: exists already; remove it, or choose another name")
    ours = our_naming(naming.family)
    what = "TSM" if SHIFT in arrays else "TSN"
    if naming.shift:
        arrays = as_theirs(arrays, naming, num_layers, int(arrays[SHIFT][0]))
    if naming is not ours:
        arrays = {name: array for name, array in arrays.items() if name not in MARKS}
    their_names = {name: theirs for theirs, name in rename_table(naming, ours, num_layers).items()}
    renamed = {their_names.get(name, name): array for name, array in arrays.items()}
    weight = naming.head[0]
    if naming.head_is_transposed and weight in renamed:
        renamed[weight] = np.ascontiguousarray(renamed[weight].T)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    with unfinished(path) as hidden:
        if as_folder:
            hidden.mkdir()
            for name, array in renamed.items():
                write_variable(hidden / name, array)
            checksums.record(hidden)
        elif path.suffix == ".safetensors":
            title = network_title(naming.family, num_layers)
            hidden.write_bytes(safetensors.numpy.save(renamed, {"network": f"{what}, {title}"}))
        else:
            paddle.save({name: paddle.to_tensor(array) for name, array in renamed.items()}, str(hidden))
    if not as_folder:
        checksums.record(path)


def _rename(path: Path, arrays: dict[str, np.ndarray], passed_over: list[str]) -> Weights:
    if not arrays:
        raise ValueError(f"{path}: holds no tensors")
    match = find_naming({name: array.shape for name, array in arrays.items()})
    known = match.our_names if match else {}
    stranger = next((name for name in arrays if name not in known and RESNET_D.search(name)), None)
    if stranger and not (match and match.num_layers is None):  # a backbone of this project may have such a stem
        raise ValueError(
            f"{path}: is a ResNet-D (it has {stranger}) under names that are not PaddleClas', whose ResNet-vd "
            "MODEL.backbone=resnet_vd is; give weights of that, or of a plain ResNet"
        )
    if match is None:
        titles = ", ".join(dict.fromkeys(naming.title for naming in (*OURS.values(), *NAMINGS.values())))
        raise ValueError(
            f"{path}: no tensor is named as in a known backbone or TSN (it has {', '.join(list(arrays)[:3])}, ...); "
            f"known names: {titles}"
        )
    our_names = {name: match.our_names.get(name) or name_of_stranger(match, name) for name in arrays}
    renamed = {our_names[name]: _as_float32(array, f"{path}: {name}") for name, array in arrays.items()}
    weight = our_naming(match.naming.family).head[0]
    if match.naming.head_is_transposed and weight in renamed:
        renamed[weight] = np.ascontiguousarray(renamed[weight].T)
    if SHIFT in renamed and renamed[SHIFT].shape != (2,):
        raise ValueError(f"{path}: its {SHIFT} has shape {list(renamed[SHIFT].shape)}, but a TSM's is [2]")
    their_names = {ours: theirs for theirs, ours in our_names.items()}
    return Weights(str(path), renamed, their_names, match.naming, match.num_layers, passed_over)


def _as_float32(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind != "f":
        raise ValueError(f"{what} holds {array.dtype}, not floating-point numbers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} holds numbers that are not finite: the file is damaged, or its training diverged")
    return array
