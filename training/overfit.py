"""A run on so few videos that a network which is wired right knows them by heart."""

import logging

import numpy as np

from common.console import count
from datareader.records import RecordList
from distributed.signals import StopRequest
from training.run import Run, finish_epoch, is_validation_due, train_epoch, validate

BY_HEART = 0.1  # of the first epoch's loss: a last one below it counts as learnt

logger = logging.getLogger("train")


def first_batches(records: RecordList, num_batches: int, batch_size: int, seed: int) -> RecordList:
    """The videos of the first batches of a list that is shuffled once: a list may be sorted by class."""
    order = np.random.default_rng(seed).permutation(len(records))
    return records.at(order[: num_batches * batch_size].tolist())


def overfit(run: Run, stop: StopRequest) -> None:
    """Train and validate a run that saves nothing, to its end, and say what has become of its loss."""
    records = run.train_loader.reader.records
    classes = count(len(records.label_counts()), "class", "classes")
    logger.info(
        "[TRAIN] trained and validated on the same %s of %s; nothing is saved", count(len(records), "video"), classes
    )
    while not run.is_finished:
        train_scores = train_epoch(run, stop)
        valid_scores = validate(run, stop) if is_validation_due(run) else None
        finish_epoch(run, train_scores, valid_scores)
    losses = [row["loss"] for row in run.state.history]
    level = logging.INFO if is_by_heart(losses[0], losses[-1]) else logging.WARNING
    logger.log(level, "[TRAIN] %s", verdict(losses[0], losses[-1], len(records)))


def is_by_heart(first_loss: float, last_loss: float) -> bool:
    return last_loss <= BY_HEART * first_loss


def verdict(first_loss: float, last_loss: float, num_videos: int) -> str:
    """What the mean losses of the first and the last epoch tell of a network and its training, in a line."""
    path = f"from {first_loss:.2f} to {last_loss:.2f} on {count(num_videos, 'video')}"
    if is_by_heart(first_loss, last_loss):
        return f"the loss fell {path}: the network, its labels and its learning rate are fit to learn"
    return (
        f"the loss went {path}, which is not near 0; usual causes: too high or too low a TRAIN.learning_rate "
        "(scripts/find_rate.py), too few epochs (--epoch_num), labels that are not those of the videos, frozen layers "
        "(TRAIN.frozen_stages, freeze_bn), or what keeps any loss up (TRAIN.mixup, cutmix, label_smoothing, "
        "TRAIN.dropout)"
    )
