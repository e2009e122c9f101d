"""Checkpoint folders: written whole or not at all, found again, read strictly. Knows no model class."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from safe_pickle import load_pickle

MODEL_FILE = "model.pdparams"
OPTIMIZER_FILE = "optimizer.pdopt"
STATE_FILE = "state.json"
CONFIG_FILE = "config.yaml"


class TrainingState(NamedTuple):
    """What a resumed run needs besides weights and velocities."""

    epoch: int
    """Finished epochs, so also the epoch to go on with."""
    step: int
    """Steps taken since the start of training."""
    seed: int
    scores: dict[str, Any]
    """The last validation's, for people to read."""


def prepare_save_dir(save_dir: str | Path) -> Path:
    """Make the folder that results go to, and prove that it can be written.

    Raises:
        OSError: it cannot; the message names it.
    """
    save_dir = Path(save_dir)
    probe = save_dir / f".write_probe.{os.getpid()}"
    try:
        save_dir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OSError(f"{save_dir}: cannot write here ({error.strerror}); choose another --save_dir") from error
    return save_dir


def save_checkpoint(
    folder: Path,
    model: paddle.nn.Layer,
    optimizer_state: dict[str, np.ndarray],
    state: TrainingState,
    config_text: str,
) -> None:
    """Write a checkpoint folder under a temporary name, then rename it: under its own name it is always whole."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    paddle.save(model.state_dict(), str(unfinished / MODEL_FILE))
    paddle.save(optimizer_state, str(unfinished / OPTIMIZER_FILE))
    (unfinished / CONFIG_FILE).write_text(config_text, encoding="utf-8")
    readable = {**state._asdict(), "paddle": paddle.__version__}
    (unfinished / STATE_FILE).write_text(json.dumps(readable, indent=1) + "\n", encoding="utf-8")
    if folder.exists():
        replaced = folder.with_name(f".{folder.name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
        unfinished.rename(folder)
        shutil.rmtree(replaced)
    else:
        unfinished.rename(folder)


def load_training_state(folder: str | Path) -> tuple[TrainingState, dict[str, np.ndarray]]:
    """The state and the velocities of a checkpoint folder.

    Raises:
        FileNotFoundError: the folder is no whole checkpoint.
        ValueError: a file of it is damaged.
    """
    folder = Path(folder)
    for name in (MODEL_FILE, OPTIMIZER_FILE, STATE_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; --resume needs a whole checkpoint folder")
    try:
        content = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        state = TrainingState(**{field: content[field] for field in TrainingState._fields})
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / STATE_FILE}: damaged training state: {error!r}") from error
    return state, load_pickle(folder / OPTIMIZER_FILE)
