"""Going on with a run: which checkpoint, and which changes since then it allows."""

import hashlib
import logging
from pathlib import Path

from config import Config, changed_keys, load_config
from datareader.records import Record
from engine.checkpoint import CONFIG_FILE, Checkpoints, TrainingState

AUTO = "auto"
SAME_NETWORK = ("MODEL.name", "MODEL.num_classes", "MODEL.num_layers", "MODEL.seglen")
SAME_EPOCH = ("TRAIN.batch_size",)  # within an epoch, a step has to mean the same videos as before

logger = logging.getLogger("train")


def choose_checkpoint(wanted: str | None, checkpoints: Checkpoints) -> str | None:
    """The path to go on with; None: start afresh. Also cleans up what a killed run has left behind.

    Args:
        wanted: --resume: None, "auto" or a path.

    Raises:
        ValueError: the save_dir holds checkpoints of another run, which a new one would mix with.
    """
    checkpoints.tidy()
    if wanted and wanted != AUTO and Path(wanted).resolve().parent == checkpoints.save_dir.resolve():
        return wanted
    newest = checkpoints.newest()
    if wanted == AUTO:
        logger.info("[TRAIN] --resume=auto: %s", newest or "no checkpoint yet, starting afresh")
        return str(newest) if newest else None
    if newest:
        raise ValueError(
            f"{checkpoints.save_dir}: holds {newest.name} of an earlier run; go on with it by --resume=auto, choose "
            "another --save_dir, or delete its checkpoints"
        )
    return wanted


def list_digest(records: list[Record]) -> str:
    """SHA-256 of a list's names and labels: the steps of an epoch follow from it, the seed and the batch size."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{record.name} {record.label}\n".encode("utf-8", errors="surrogateescape"))
    return digest.hexdigest()


def check_resume(path: str, state: TrainingState, now: TrainingState, config: Config, is_auto: bool) -> None:
    """Report what has changed since a checkpoint, key by key.

    Args:
        path: the checkpoint.
        state: its state.
        now: a fresh state of this run, with its seed, list and ranks.
        config: this run's.
        is_auto: whether nothing is asked but that the run gets finished; then it may be so already.

    Raises:
        ValueError: going on would be meaningless with that change; the message says with which.
    """
    changes = changed_keys(load_config(Path(path) / CONFIG_FILE), config)
    for name, what in (("seed", "--seed"), ("list_digest", "the training list"), ("num_ranks", "the number of ranks")):
        if getattr(state, name) != getattr(now, name):
            changes[what] = (getattr(state, name), getattr(now, name))
    for key, (old, new) in changes.items():
        logger.warning("[TRAIN] changed since %s: %s was %s, is %s", path, key, old, new)
    if refused := [key for key in SAME_NETWORK if key in changes]:
        raise ValueError(
            f"{path}: is of another network ({_spell(refused, changes)}); undo the change, or start a new run from its "
            f"weights by --pretrain={path}"
        )
    within_epoch = [key for key in (*SAME_EPOCH, "--seed", "the training list") if key in changes]
    if state.step_in_epoch and within_epoch:
        raise ValueError(
            f"{path}: was saved within epoch {state.epoch}, whose remaining steps would not be the same videos "
            f"({_spell(within_epoch, changes)}); undo the change, or resume from the end of an epoch"
        )
    if state.epoch >= config.train.epoch and not is_auto:
        raise ValueError(
            f"{path}: has finished {state.epoch} epochs and TRAIN.epoch is {config.train.epoch}: "
            "nothing is left to train; raise --epoch_num"
        )


def _spell(keys: list[str], changes: dict) -> str:
    return ", ".join(f"{key} was {changes[key][0]}, is {changes[key][1]}" for key in keys)
