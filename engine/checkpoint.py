"""Checkpoint folders: written whole or not at all, found again, read strictly. Knows no model class."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

import checksums
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
    checksums.record(unfinished)
    if folder.exists():
        replaced = folder.with_name(f".{folder.name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
        unfinished.rename(folder)
        shutil.rmtree(replaced)
    else:
        unfinished.rename(folder)


def load_training_state(path: str | Path) -> tuple[TrainingState, dict[str, np.ndarray]] | None:
    """The state and the velocities of a checkpoint folder; None for weights that carry neither.

    Raises:
        FileNotFoundError: there is no such path, or a file of the checkpoint is missing.
        ValueError: a file of it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; correct --resume")
    if not any((path / name).is_file() for name in (OPTIMIZER_FILE, STATE_FILE)):
        return None
    for name in (MODEL_FILE, OPTIMIZER_FILE, STATE_FILE):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path / name}: no such file; --resume needs a whole checkpoint folder")
    checksums.verify(path)
    try:
        content = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        state = TrainingState(**{field: content[field] for field in TrainingState._fields})
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path / STATE_FILE}: damaged training state: {error!r}") from error
    return state, load_pickle(path / OPTIMIZER_FILE)
