"""Checkpoint folders: written whole or not at all, found again, read strictly. Knows no model class.

A folder is written under a hidden name, synced to the disk, then renamed, so a crash, a full disk or a power cut never
leaves half of one under its own name. The state in it lists the size and the SHA-256 of every file.
"""

import json
import logging
import platform
import shutil
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
from filelock import FileLock, Timeout

from common import checksums
from common.plain_json import fits, parse_json
from common.safe_pickle import load_pickle
from common.whole_file import sync

MODEL_FILE = "model.pdparams"
OPTIMIZER_FILE = "optimizer.pdopt"
STATE_FILE = "state.json"
CONFIG_FILE = "config.yaml"
BEST = "best"
LOCK_FILE = ".lock"
LOCK_WAIT_SEC = 5.0  # a run that was killed needs a moment to end
UNFINISHED, REPLACED, REMOVED = ".unfinished", ".replaced", ".removed"  # endings of hidden folders

logger = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """What a resumed run needs besides arrays; plain data, as JSON holds it."""

    seed: int
    """The seed of everything random."""
    num_ranks: int = 1
    list_digest: str = ""
    """SHA-256 of the training list, whose order the steps of an epoch follow."""
    epoch: int = 0
    """The epoch to go on with, counted from 0."""
    step_in_epoch: int = 0
    """Steps of that epoch that are done."""
    step: int = 0
    """Steps done since the start of training; the learning rate follows from it."""
    sums: list[float] | None = None
    """What the meter has added up in that epoch, over all ranks; None: nothing."""
    broken: list[list] = field(default_factory=list)
    """[index, reason] of the videos of that epoch that could not be read."""
    elapsed_sec: float = 0.0
    """Time spent on that epoch's training."""
    loss_scaling: dict[str, Any] = field(default_factory=dict)
    """The state of fp16's loss scaling; empty without."""
    best_top1: float | None = None
    """The validation top-1 of the best checkpoint in the save_dir; multi-label: its mean average precision."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """The figures of each finished epoch."""
    serial: int = 0
    """Counts the checkpoints that a save_dir has seen; the newest has the highest."""


class Snapshot(NamedTuple):
    """What a checkpoint holds."""

    weights: dict[str, paddle.Tensor]
    """The model's weights, as validated."""
    training: dict[str, np.ndarray]
    """"<name>.velocity" of the optimizer, and "<name>.trained" where the weights are a moving average."""
    state: TrainingState
    config_text: str


class Checkpoints:
    """The checkpoints of one run in its save_dir: `<name>_epoch3`, `<name>_epoch4_step500`, `<name>_best`.

    Args:
        save_dir: their folder.
        name: of the model.
        keep_last: how many to keep besides the best one; None: all.
        goes_on: whether a checkpoint that cannot be written is a warning only.
    """

    def __init__(self, save_dir: Path, name: str, keep_last: int | None = None, goes_on: bool = False):
        self.save_dir = save_dir
        self.name = name
        self.keep_last = keep_last
        self.goes_on = goes_on

    def folder(self, label: str) -> Path:
        return self.save_dir / f"{self.name}_{label}"

    def save(self, label: str, snapshot: Snapshot) -> bool:
        """Write the checkpoint `<name>_<label>`, then delete what is older than `keep_last` allows.

        Raises:
            OSError: it cannot be written and `goes_on` is not set; the message says what is left.

        Returns:
            Whether it was written.
        """
        folder = self.folder(label)
        snapshot.state.serial = 1 + max([0, *(state.serial for state, _ in self._found())])
        try:
            save_checkpoint(folder, snapshot)
        except OSError as error:
            message = f"{folder}: cannot be saved ({error.strerror or error}); {self.last_good()}; free some space"
            if not self.goes_on:
                raise OSError(f"{message}, then go on with --resume=auto") from error
            logger.error("%s: training goes on (TRAIN.on_save_error)", message)
            return False
        if label != BEST:  # its epoch's own is still to come
            self._delete_old(snapshot.state)
        return True

    def newest(self) -> Path | None:
        """The newest checkpoint that is whole, None if there is none; those that are not are named in warnings."""
        for _, folder in self._found(logging.WARNING):
            try:
                verify_checkpoint(folder)
            except (FileNotFoundError, ValueError) as error:
                logger.warning("passed over: %s", error)
                continue
            return folder
        return None

    def last_good(self) -> str:
        """Text that names the newest checkpoint."""
        folders = [folder for _, folder in self._found()]
        return f"{folders[0]} is the newest checkpoint" if folders else "there is no checkpoint yet"

    def best_top1(self) -> float | None:
        """The validation top-1 of the best checkpoint, whichever run it is of; None if there is none."""
        return next((state.best_top1 for state, folder in self._found() if folder == self.folder(BEST)), None)

    def of_others(self) -> list[Path]:
        """The checkpoints of models of another name in the save_dir."""
        folders = (path.parent for path in self.save_dir.glob(f"*/{STATE_FILE}"))
        return sorted(path for path in folders if not path.name.startswith((f"{self.name}_", ".")))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the context lasts, no other run may use the save_dir.

        Raises:
            ValueError: another one does.
        """
        lock = FileLock(self.save_dir / LOCK_FILE)
        try:
            lock.acquire(timeout=LOCK_WAIT_SEC)
        except Timeout:
            raise ValueError(
                f"{self.save_dir}: another run is writing here; wait for its end, or choose another --save_dir"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def tidy(self) -> None:
        """Clean up after a run that was killed: a folder that was being replaced returns, unfinished ones go."""
        for path in self.save_dir.glob(f".{self.name}_*"):
            folder = self.save_dir / path.stem.removeprefix(".")
            if path.suffix == REPLACED and not folder.exists():
                path.rename(folder)
            elif path.suffix in (UNFINISHED, REPLACED, REMOVED):
                shutil.rmtree(path)

    def _found(self, level: int = logging.DEBUG) -> list[tuple[TrainingState, Path]]:
        """All checkpoints whose state can be read, the newest first; the others are named in the log at that level.

        The best one comes last. It is saved before its epoch's own: going on from it would leave that out.
        """
        found = []
        for folder in self.save_dir.glob(f"{self.name}_*"):
            try:
                found.append((_read_state(folder), folder))
            except (FileNotFoundError, NotADirectoryError):
                continue  # no checkpoint
            except ValueError as error:
                logger.log(level, "passed over: %s", error)
        return sorted(found, key=lambda entry: (entry[1] != self.folder(BEST), entry[0].serial), reverse=True)

    def _delete_old(self, now: TrainingState) -> None:
        """Delete what `keep_last` does not keep, and what was saved within an epoch that is finished now."""
        best = self.folder(BEST)
        others = [(state, folder) for state, folder in self._found() if folder != best]
        superseded = [
            folder
            for state, folder in others
            if state.step_in_epoch and state.epoch < now.epoch and (self.keep_last or _is_end_of_epoch(state, now))
        ]
        kept = [folder for _, folder in others if folder not in superseded]
        for folder in superseded + (kept[self.keep_last :] if self.keep_last else []):
            removed = _hidden(folder, REMOVED)
            folder.rename(removed)
            shutil.rmtree(removed)


def _is_end_of_epoch(state: TrainingState, now: TrainingState) -> bool:
    """Whether `state` was saved where the epoch ended that is the last finished one in `now`.

    The step alone does not tell: an earlier epoch may have reached it with another batch size.
    """
    epoch_steps = now.step // now.epoch
    return (state.epoch + 1, state.step_in_epoch, state.step) == (now.epoch, epoch_steps, now.step)


def save_checkpoint(folder: Path, snapshot: Snapshot) -> None:
    """Write a checkpoint folder, in place of an earlier one of that name.

    Raises:
        OSError: it cannot be written; the earlier one is still there, and nothing else.
    """
    unfinished = _hidden(folder, UNFINISHED)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        paddle.save(snapshot.weights, str(unfinished / MODEL_FILE))
        paddle.save(snapshot.training, str(unfinished / OPTIMIZER_FILE))
        (unfinished / CONFIG_FILE).write_text(snapshot.config_text, encoding="utf-8")
        digests = {path.name: checksums.sha256(path) for path in sorted(unfinished.iterdir())}
        files = {name: {"bytes": (unfinished / name).stat().st_size, "sha256": sum_} for name, sum_ in digests.items()}
        versions = {"paddle": paddle.__version__, "numpy": np.__version__, "python": platform.python_version()}
        readable = {**asdict(snapshot.state), "versions": versions, "files": files}
        (unfinished / STATE_FILE).write_text(json.dumps(readable, indent=1) + "\n", encoding="utf-8")
        checksums.record(unfinished, digests)
        for path in [*unfinished.iterdir(), unfinished]:
            sync(path)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    replaced = _hidden(folder, REPLACED)
    if folder.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        folder.rename(replaced)
    unfinished.rename(folder)
    sync(folder.parent)
    if replaced.exists():
        shutil.rmtree(replaced)


def verify_checkpoint(folder: Path) -> TrainingState:
    """The state of a checkpoint folder that is whole.

    Raises:
        FileNotFoundError: a file of it is missing; the message names it.
        ValueError: a file of it is damaged; the message names it.
    """
    for name in (STATE_FILE, MODEL_FILE, OPTIMIZER_FILE, CONFIG_FILE, checksums.FOLDER_SUMS):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file; a checkpoint is a whole folder")
    state = _read_state(folder)
    sums = checksums.recorded(folder / checksums.FOLDER_SUMS)
    for name, expected in _read_json(folder)["files"].items():
        if name not in (MODEL_FILE, OPTIMIZER_FILE, CONFIG_FILE) or not {"bytes", "sha256"} <= expected.keys():
            raise ValueError(f"{folder / STATE_FILE}: damaged training state: its list of files is none")
        size = (folder / name).stat().st_size
        if size != expected["bytes"]:
            raise ValueError(f"{folder / name}: has {size} bytes and had {expected['bytes']}: it is incomplete")
        if sums.get(name) != expected["sha256"]:
            raise ValueError(
                f"{folder}: {STATE_FILE} and {checksums.FOLDER_SUMS} disagree on {name}: damaged checkpoint"
            )
    checksums.verify(folder)
    return state


def load_training_state(path: str | Path) -> TrainingState | None:
    """The state of a checkpoint folder, which is whole; None for weights that carry none.

    Raises:
        FileNotFoundError: there is no such path, or a file of the checkpoint is missing.
        ValueError: a file of it is damaged.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such checkpoint; correct --resume")
    carries_state = any((path / name).is_file() for name in (OPTIMIZER_FILE, STATE_FILE))
    return verify_checkpoint(path) if carries_state else None


def load_training_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of `Snapshot.training` of a checkpoint folder; ValueError if they are damaged."""
    file = Path(path) / OPTIMIZER_FILE
    arrays = load_pickle(file)
    if not isinstance(arrays, dict) or not all(isinstance(array, np.ndarray | np.generic) for array in arrays.values()):
        raise ValueError(f"{file}: damaged training state: holds other things than arrays by name")
    return arrays


def _read_state(folder: Path) -> TrainingState:
    content = _read_json(folder)
    for name, hint in typing.get_type_hints(TrainingState).items():
        if name not in content:
            raise ValueError(f"{folder / STATE_FILE}: damaged training state: it has no {name!r}")
        if not fits(content[name], hint):
            raise ValueError(f"{folder / STATE_FILE}: damaged training state: its {name} is of another type")
    return TrainingState(**{one.name: content[one.name] for one in fields(TrainingState)})


def _read_json(folder: Path) -> dict[str, Any]:
    try:
        content = parse_json((folder / STATE_FILE).read_bytes())
    except ValueError as error:
        raise ValueError(f"{folder / STATE_FILE}: damaged training state: {error}") from error
    if not isinstance(content, dict) or not fits(content.get("files"), dict[str, dict]):
        raise ValueError(f"{folder / STATE_FILE}: damaged training state: it has no list of files")
    return content


def _hidden(folder: Path, suffix: str) -> Path:
    return folder.with_name(f".{folder.name}{suffix}")
