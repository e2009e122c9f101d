"""Going on with a run: which checkpoint, and which changes since then it allows."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
from paddle import nn

from common.console import command
from config import Config, changed_keys, load_config
from models.build import network_keys
from training.checkpoint import CONFIG_FILE, Checkpoints, TrainingState
from training.optimizer import restore_optimizer
from training.run import TRAINED
from training.steps import Learner

AUTO = "auto"
SAME_EPOCH = ("TRAIN.batch_size",)  # within an epoch, a step has to mean the same videos as before

logger = logging.getLogger("train")


def choose_checkpoint(wanted: str | None, checkpoints: Checkpoints) -> str | None:
    """The path to go on with; None: start afresh.

    Args:
        wanted: --resume: None, "auto" or a path.

    Raises:
        ValueError: the save_dir holds checkpoints of another run or model, which a new one would mix with; or the path
            is that of a whole run.
    """
    if wanted and wanted != AUTO:
        newest = Checkpoints(Path(wanted), checkpoints.name).newest()
        if newest:
            whole_run, one = command("--resume=auto", f"--save_dir={wanted}"), command(f"--resume={newest}")
            raise ValueError(
                f"{wanted}: is the folder of a run; go on with it by {whole_run}, or give one of its checkpoints, such "
                f"as {one}"
            )
        if Path(wanted).resolve().parent == checkpoints.save_dir.resolve():
            return wanted
    newest = checkpoints.newest()
    if not newest and (others := checkpoints.of_others()):
        raise ValueError(
            f"{checkpoints.save_dir}: holds {others[0].name}, the checkpoint of another model than {checkpoints.name}; "
            "choose another --save_dir"
        )
    if wanted == AUTO:
        logger.info("[TRAIN] --resume=auto: %s", newest or "no checkpoint yet, starting afresh")
        return str(newest) if newest else None
    if newest:
        raise ValueError(
            f"{checkpoints.save_dir}: holds {newest.name} of an earlier run; go on with it by --resume=auto, choose "
            "another --save_dir, or delete its checkpoints"
        )
    return wanted


def check_network(path: str, config: Config) -> None:
    """Raise ValueError if a checkpoint is of another network than this run's; the message says in what."""
    changes = changed_keys(load_config(Path(path) / CONFIG_FILE), config)
    same_network = ["MODEL.name", *(f"MODEL.{key}" for key in network_keys(config.model))]
    if refused := [key for key in same_network if key in changes]:
        pretrain = command(f"--pretrain={path}")
        raise ValueError(
            f"{path}: is of another network ({_spell(refused, changes)}); to train a new run from its weights, give "
            f"{pretrain} instead of --resume"
        )


def resumed_state(
    path: str, saved: TrainingState, now: TrainingState, config: Config, epoch_steps: int, is_auto: bool
) -> TrainingState:
    """The state that a run goes on with; what has changed since is told in one line.

    Args:
        path: the checkpoint.
        saved: its state.
        now: a fresh state of this run, with its seed, list and ranks.
        config: this run's.
        epoch_steps: steps of an epoch of this run.
        is_auto: whether nothing is asked but that the run gets finished; then it may be so already.

    Raises:
        ValueError: going on would be meaningless with a change; the message says with which.
    """
    changes = changed_keys(load_config(Path(path) / CONFIG_FILE), config)
    for name, what in (("seed", "--seed"), ("list_digest", "the training list"), ("num_ranks", "the number of ranks")):
        if getattr(saved, name) != getattr(now, name):
            changes[what] = (getattr(saved, name), getattr(now, name))
    _refuse(path, saved, config, changes, is_auto)
    if changes:
        logger.warning("[TRAIN] changed since %s: %s", path, _spell(list(changes), changes))
    state = dataclasses.replace(saved, seed=now.seed, num_ranks=now.num_ranks, list_digest=now.list_digest)
    state.step = state.epoch * epoch_steps + state.step_in_epoch
    return state


def restore(learner: Learner, model: nn.Layer, saved: TrainingState, arrays: dict[str, np.ndarray]) -> None:
    """Give a model with a checkpoint's weights the rest of its state."""
    restore_optimizer(learner.optimizer, model, arrays)
    learner.precision.restore(saved.loss_scaling)
    trained = {name.removesuffix(TRAINED): array for name, array in arrays.items() if name.endswith(TRAINED)}
    if not trained:
        return  # the weights are no average; one that begins now begins with them
    if learner.average:
        learner.average.restore(trained)
    else:
        model.set_state_dict(trained)


def _refuse(path: str, saved: TrainingState, config: Config, changes: dict[str, tuple], is_auto: bool) -> None:
    within_epoch = [key for key in (*SAME_EPOCH, "--seed", "the training list") if key in changes]
    if saved.step_in_epoch and within_epoch:
        raise ValueError(
            f"{path}: was saved within epoch {saved.epoch}, whose remaining steps would not be the same videos "
            f"({_spell(within_epoch, changes)}); undo the change, or resume from the end of an epoch"
        )
    if saved.epoch >= config.train.epoch and not is_auto:
        raise ValueError(
            f"{path}: has finished {saved.epoch} epochs and TRAIN.epoch is {config.train.epoch}: nothing is left to "
            "train; raise --epoch_num to train on, or give --pretrain instead of --resume to train a new run from its "
            "weights"
        )


def _spell(keys: list[str], changes: dict[str, tuple]) -> str:
    return ", ".join(f"{key} was {changes[key][0]}, is {changes[key][1]}" for key in keys)
