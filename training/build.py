"""Config and flags -> a training run: its learner, its schedule, the point where it starts or goes on."""

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import paddle
from paddle import nn

from common.console import count
from common.whole_file import prepare_save_dir
from config import Config, dump_config
from datareader.build import build_loader, build_records
from datareader.loader import Loader
from datareader.overview import pair_warnings, report_list
from datareader.records import RecordList
from datareader.unreadable import UnreadableVideos
from distributed.ranks import Ranks, on_gpu, parallel, seed_everything
from evaluation.predictions import all_class_names, read_class_names
from models.build import build_model, load_start
from training.average import WeightAverage
from training.checkpoint import Checkpoints, TrainingState, load_training_arrays, load_training_state
from training.dropout import Dropout
from training.freezing import freeze_stages, still_norms
from training.log import Metrics
from training.loss import CROSS_ENTROPY, Loss, balanced_weights
from training.mixing import Mixing
from training.optimizer import Groups, create_optimizer
from training.overfit import first_batches
from training.precision import Precision
from training.resume import AUTO, check_network, choose_checkpoint, restore, resumed_state
from training.run import Run
from training.schedule import (
    Schedule,
    learning_rate_at,
    learning_rate_in_steps,
    learning_rate_in_thirds,
    learning_rate_on_cosine,
    rate_for_batch,
    steps_per_epoch,
    warmed_up,
)
from training.steps import Learner

logger = logging.getLogger("train")


@contextmanager
def open_checkpoints(save_dir: Path, config: Config, ranks: Ranks) -> Iterator[Checkpoints]:
    """The checkpoints in --save_dir, tidied up; while the context lasts, no other run may write there."""
    goes_on = config.train.on_save_error == "continue"
    checkpoints = Checkpoints(save_dir, config.model.name, config.train.keep_last, goes_on)
    if ranks.rank != 0:
        yield checkpoints
        return
    prepare_save_dir(save_dir)
    with checkpoints.alone():
        checkpoints.tidy()
        yield checkpoints


def build_run(
    config: Config,
    ranks: Ranks,
    checkpoints: Checkpoints | None,
    *,
    resume: str | None,
    pretrain: str | None,
    seed: int | None,
    log_interval: int,
    valid_interval: int,
    overfit_batches: int | None = None,
) -> Run:
    """Everything that a run needs, at the point where it starts or goes on; the arguments are train.py's flags."""
    path, saved = _read_start(resume, checkpoints, config, ranks)
    seed = seed if seed is not None else saved.seed if saved else 0
    seed_everything(seed)
    lists = _read_lists(config, ranks, has_validation=valid_interval > 0, overfit_batches=overfit_batches, seed=seed)
    loaders = _start_loaders(config, lists, ranks, seed)  # before there are weights, which each worker would hold
    model, epoch_steps = build_model(config, config.train.channels_last), len(loaders["train"])
    state = TrainingState(seed=seed, num_ranks=ranks.num_ranks, list_digest=lists["train"].digest)
    if saved:
        state = resumed_state(path, saved, state, config, epoch_steps, is_auto=resume == AUTO)
    load_start(model, config, path, pretrain)
    schedule, loss = build_schedule(config, len(lists["train"]), epoch_steps), build_loss(config, lists["train"])
    learner = build_learner(config, model, ranks, schedule, loss, seed)
    if saved:
        restore(learner, model, saved, load_training_arrays(path))
    run = Run(
        ranks=ranks,
        model=model,
        learner=learner,
        train_loader=loaders["train"],
        valid_loader=loaders.get("valid"),
        num_classes=config.model.num_classes,
        num_epochs=config.train.epoch,
        log_interval=log_interval,
        valid_interval=valid_interval,
        save_interval_steps=config.train.save_interval_steps,
        state=state,
        checkpoints=checkpoints,
        config_text=dump_config(config),
        metrics=_open_metrics(checkpoints, config, ranks),
        unreadable=UnreadableVideos(lists["train"], config.train.max_bad_fraction),
        saved_step=state.step,
        valid_loss=Loss(multi_label=config.model.multi_label),
        precise_bn_steps=config.train.precise_bn_steps,
        patience=config.train.patience,
    )
    _say_where(run, config, path, is_resumed=saved is not None)
    return run


def _read_start(
    resume: str | None, checkpoints: Checkpoints | None, config: Config, ranks: Ranks
) -> tuple[str | None, TrainingState | None]:
    """What --resume comes to: the path, if any, and the state that lies there, if any.

    Without checkpoints nothing is saved, and --resume is the path.
    """
    path = resume
    if checkpoints:
        path = ranks.exchange(choose_checkpoint(resume, checkpoints) if ranks.rank == 0 else None)[0]
    saved = load_training_state(path) if path else None
    if saved:
        check_network(path, config)
    return path, saved


def _read_lists(
    config: Config, ranks: Ranks, *, has_validation: bool, overfit_batches: int | None, seed: int
) -> dict[str, RecordList]:
    """The records of "train" and "valid"; what they hold, and what looks wrong with them, is told once."""
    num_classes = config.model.num_classes
    # a label file that does not fit is better found now than by infer.py
    names = all_class_names(read_class_names(config.model.label_file, num_classes), num_classes)
    modes = ("train", "valid") if has_validation and not overfit_batches else ("train",)
    lists = {mode: build_records(config, mode, ranks) for mode in modes}
    if ranks.rank == 0:
        for mode, records in lists.items():
            report_list(f"[{mode.upper()}]", getattr(config, mode).filelist, records, names)
        for warning in pair_warnings(lists["train"], lists["valid"], names) if "valid" in lists else ():
            logger.warning("[VALID] %s", warning)
    if not overfit_batches:
        return lists
    few = first_batches(lists["train"], overfit_batches, config.train.batch_size, seed)
    return {"train": few, "valid": few} if has_validation else {"train": few}


def _start_loaders(config: Config, lists: dict[str, RecordList], ranks: Ranks, seed: int) -> dict[str, Loader]:
    """The loaders of the lists, whose workers run."""
    loaders = {mode: build_loader(config, mode, records, ranks, seed) for mode, records in lists.items()}
    for loader in loaders.values():
        loader.start_workers()
    return loaders


def _open_metrics(checkpoints: Checkpoints | None, config: Config, ranks: Ranks) -> Metrics:
    if checkpoints is None or ranks.rank != 0:
        return Metrics(None)
    return Metrics(
        checkpoints.save_dir / "metrics.jsonl",
        checkpoints.save_dir / "visualdl" if config.train.visualdl else None,
        checkpoints.goes_on,
    )


def _say_where(run: Run, config: Config, path: str | None, is_resumed: bool) -> None:
    """Say, and write down, where the run is, and how large."""
    state, epoch_steps = run.state, len(run.train_loader)
    run.metrics.write("resume" if is_resumed else "start", state.step, epoch=state.epoch, path=path)
    if is_resumed and run.is_finished:
        more = "a larger TRAIN.patience trains on" if run.is_stale else "a larger --epoch_num trains on"
        logger.info(
            "[TRAIN] %s has finished its %s: nothing is left to train; %s", path, count(state.epoch, "epoch"), more
        )
        return
    if is_resumed:
        logger.info("[TRAIN] going on with epoch %d, step %d of %d", state.epoch, state.step_in_epoch, epoch_steps)
    elif path:
        logger.info("[TRAIN] %s carries no training state: starting with epoch 0", path)
    logger.info(
        "[TRAIN] %s of %s, batch size %d over %s, seed %d, on the %s",
        count(run.num_epochs, "epoch"),
        count(epoch_steps, "step"),
        config.train.batch_size,
        count(run.ranks.num_ranks, "rank"),
        state.seed,
        "GPU" if on_gpu() else "CPU",
    )


def build_learner(
    config: Config, model: nn.Layer, ranks: Ranks, schedule: Schedule, loss: Loss = CROSS_ENTROPY, seed: int = 0
) -> Learner:
    """What the training loop takes: network, optimizer, schedule, loss, precision, moving average."""
    train = config.train
    if train.sync_bn and not on_gpu():
        raise ValueError("TRAIN.sync_bn is for GPUs; on a CPU use -o TRAIN.sync_bn=False")
    if train.accumulate_steps > (share := train.batch_size // ranks.num_ranks):
        raise ValueError(
            f"TRAIN.accumulate_steps is {train.accumulate_steps}, but each of {ranks.num_ranks} ranks has {share} of a "
            f"step's {count(train.batch_size, 'video')}; lower it to {share}, or raise batch_size"
        )
    dropped = model.dropout_shape(train.seg_num or config.model.seg_num)
    freeze_stages(model, train.frozen_stages)
    if train.sync_bn and ranks.num_ranks > 1:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return Learner(
        network=parallel(paddle.jit.to_static(model, full_graph=True) if train.to_static else model, ranks),
        optimizer=create_optimizer(
            model,
            schedule(0),
            train.momentum,
            train.l2_weight_decay,
            train.clip_grad_norm,
            name=train.optimizer,
            nesterov=train.nesterov,
            groups=Groups(train.decay_bn_and_bias, train.head_rate),
        ),
        learning_rate_at=schedule,
        precision=Precision(train.amp, model, on_gpu()),
        loss=loss,
        average=WeightAverage(model, train.ema_decay) if train.ema_decay else None,
        accumulate_steps=train.accumulate_steps,
        still_norms=still_norms(model, train.freeze_bn, train.frozen_stages),
        mixing=_build_mixing(config, seed),
        dropout=Dropout(train.dropout, dropped, seed) if train.dropout else None,
    )


def _build_mixing(config: Config, seed: int) -> Mixing | None:
    train = config.train
    is_on = train.mixup is not None or train.cutmix is not None
    return Mixing(seed, train.mixup, train.cutmix, train.target_size) if is_on else None


def build_loss(config: Config, records: RecordList) -> Loss:
    """What training makes smaller, for a training list.

    Raises:
        ValueError: class weights of another number than there are classes.
    """
    weights, num_classes = config.train.class_weights, config.model.num_classes
    if weights == "off":
        weights = None
    elif weights == "balanced":
        counts = records.label_counts()
        weights = balanced_weights([counts[label] for label in range(num_classes)])
    elif len(weights) != num_classes:
        raise ValueError(
            f"TRAIN.class_weights are {len(weights)}, but MODEL.num_classes is {num_classes}; give one "
            "for each class, in label order"
        )
    return Loss(config.train.label_smoothing, weights, config.model.multi_label)


def build_schedule(config: Config, list_length: int, epoch_steps: int) -> Schedule:
    """Step -> learning rate, for a training list of that length and the steps that an epoch of it takes."""
    train = config.train
    after = functools.partial(
        _after_warmup(config, list_length, epoch_steps),
        base_rate=rate_for_batch(train.learning_rate, train.batch_size, train.rate_for_batch),
    )
    if not train.warmup_epochs:
        return after
    return functools.partial(warmed_up, schedule=after, num_warmup_steps=round(train.warmup_epochs * epoch_steps))


def _after_warmup(config: Config, list_length: int, epoch_steps: int) -> Callable[..., float]:
    """(step, base_rate) -> learning rate."""
    train, num_steps = config.train, config.train.epoch * epoch_steps
    if train.schedule == "cosine":
        return functools.partial(learning_rate_on_cosine, num_steps=num_steps)
    in_steps = {"decay": train.learning_rate_decay}
    if train.total_videos is not None:
        epoch_steps = steps_per_epoch(train.total_videos, train.batch_size)
        if abs(train.total_videos - list_length) > 0.1 * list_length:
            logger.warning(
                "TRAIN.total_videos is %d, but the list has %s: the learning rate drops where total_videos says; "
                "-o TRAIN.total_videos=none takes the list's length",
                train.total_videos,
                count(list_length, "video"),
            )
    if train.decay_epochs is not None:
        return functools.partial(
            learning_rate_in_steps, decay_epochs=train.decay_epochs, epoch_steps=epoch_steps, **in_steps
        )
    if train.total_videos is None:
        return functools.partial(learning_rate_in_thirds, num_steps=num_steps, **in_steps)
    return functools.partial(learning_rate_at, num_epochs=train.epoch, epoch_steps=epoch_steps, **in_steps)
