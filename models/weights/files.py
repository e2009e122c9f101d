"""A weights file or checkpoint folder -> {name: array}."""

from pathlib import Path

import numpy as np

from safe_pickle import load_pickle

MODEL_FILE = "model.pdparams"


def read_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint folder of this project, or of a `.pdparams` file.

    Raises:
        FileNotFoundError: there is no such file or folder, or the folder is no checkpoint.
        ValueError: the file is damaged, or holds something else than named arrays.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such weights; give a checkpoint folder such as checkpoints/TSN_epoch0")
    if path.is_dir():
        path = path / MODEL_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file, so {path.parent} is no checkpoint folder of this project")
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, not weights by name")
    arrays = {name: array for name, array in content.items() if isinstance(array, np.ndarray)}
    if not arrays:
        raise ValueError(f"{path}: holds no arrays")
    return arrays
