"""The parts of a training run, which train.py puts in order: start or go on, train an epoch, validate, save."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from builders import build_class_names, build_loader, build_model, build_trainee, fetch_published_weights
from config import Config, dump_config
from datareader.broken import BrokenVideos
from datareader.loader import Loader
from engine.checkpoint import BEST, Checkpoints, Snapshot, TrainingState, load_training_state, prepare_save_dir
from engine.distributed import Ranks, broadcast, seed_everything
from engine.log import Metrics, duration, log_reading, progress
from engine.loop import Interval, Trainee, evaluate, train_steps
from engine.optimizer import optimizer_arrays, restore_optimizer
from engine.signals import StopRequest
from evaluation.metrics import ScoreMeter, Scores
from models.weights import RESNET50_IMAGENET, load_weights, read_weights
from resume import AUTO, check_resume, choose_checkpoint, list_digest

if TYPE_CHECKING:
    import paddle

TRAINED = ".trained"  # ends the names of the weights that a moving average is taken of

logger = logging.getLogger("train")


@dataclass
class Run:
    """What the parts of a training run work on."""

    args: argparse.Namespace
    """The flags of train.py."""
    config: Config
    ranks: Ranks
    model: paddle.nn.Layer
    trainee: Trainee
    train_loader: Loader
    valid_loader: Loader | None
    state: TrainingState
    checkpoints: Checkpoints
    metrics: Metrics
    broken: BrokenVideos
    """Of the epoch's training videos."""
    meter: ScoreMeter
    """Of the epoch's training, on this rank."""
    saved_step: int
    """Step of the last checkpoint that was written, or resumed."""


@contextmanager
def save_dir_of(args: argparse.Namespace, config: Config, ranks: Ranks) -> Iterator[Checkpoints]:
    """The checkpoints in --save_dir; while the context lasts, no other run may write there."""
    goes_on = config.train.on_save_error == "continue"
    checkpoints = Checkpoints(Path(args.save_dir), config.model.name, config.train.keep_last, goes_on)
    if ranks.rank != 0:
        yield checkpoints
        return
    prepare_save_dir(checkpoints.save_dir)
    with checkpoints.alone():
        yield checkpoints


def build_run(args: argparse.Namespace, config: Config, ranks: Ranks, checkpoints: Checkpoints) -> Run:
    """Everything that a run needs, at the point where it starts or goes on."""
    path = choose_checkpoint(args.resume, checkpoints) if ranks.rank == 0 else None
    path = ranks.exchange(path)[0]
    saved, arrays = (path and load_training_state(path)) or (None, {})
    seed = args.seed if args.seed is not None else saved.seed if saved else 0
    seed_everything(seed)
    build_class_names(config)  # a label file that does not fit is better found now than by infer.py

    model = build_model(config, config.train.channels_last)
    train_loader = build_loader(config, "train", ranks, seed)
    records = train_loader.reader.records
    state = TrainingState(seed=seed, num_ranks=ranks.num_ranks, list_digest=list_digest(records))
    if saved:
        check_resume(path, saved, state, config, is_auto=args.resume == AUTO)
        state = dataclasses.replace(saved, seed=seed, num_ranks=ranks.num_ranks, list_digest=state.list_digest)
        state.step = state.epoch * len(train_loader) + state.step_in_epoch
    load_start(model, path, args.pretrain, config)
    trainee = build_trainee(config, model, len(records), ranks)
    if saved:
        restore(trainee, model, saved, arrays)
        logger.info(
            "[TRAIN] going on with epoch %d, step %d of %d", state.epoch, state.step_in_epoch, len(train_loader)
        )
    elif path:
        logger.info("[TRAIN] %s carries no training state: starting with epoch 0", path)
    metrics = Metrics(
        checkpoints.save_dir / "metrics.jsonl" if ranks.rank == 0 else None,
        checkpoints.save_dir / "visualdl" if config.train.visualdl else None,
        checkpoints.goes_on,
    )
    metrics.write("resume" if saved else "start", state.step, epoch=state.epoch, path=path)
    logger.info(
        "[TRAIN] %d videos, %d steps per epoch, %d epochs, batch size %d over %d rank(s), seed %d, on %s",
        len(records),
        len(train_loader),
        config.train.epoch,
        config.train.batch_size,
        ranks.num_ranks,
        seed,
        next(iter(model.parameters())).place,
    )
    return Run(
        args=args,
        config=config,
        ranks=ranks,
        model=model,
        trainee=trainee,
        train_loader=train_loader,
        valid_loader=build_loader(config, "valid", ranks) if args.valid_interval > 0 else None,
        state=state,
        checkpoints=checkpoints,
        metrics=metrics,
        broken=BrokenVideos(records, config.train.max_bad_fraction),
        meter=ScoreMeter(),
        saved_step=state.step,
    )


def load_start(model: paddle.nn.Layer, resume: str | None, pretrain: str | None, config: Config) -> None:
    """Fill the model with the weights that training starts from, and say which."""
    if not resume and pretrain and pretrain.lower() == "none":
        logger.info("[TRAIN] from scratch")
        return
    weights = read_weights(resume or pretrain or fetch_published_weights(config, RESNET50_IMAGENET))
    report = load_weights(model, weights, fresh_head=not resume)
    logger.info("[TRAIN] weights of %s: %s", weights.path, report.summary())


def restore(trainee: Trainee, model: paddle.nn.Layer, saved: TrainingState, arrays: dict[str, np.ndarray]) -> None:
    """Give a model with a checkpoint's weights the rest of its state."""
    restore_optimizer(trainee.optimizer, model, arrays)
    trainee.precision.restore(saved.loss_scaling)
    trained = {name.removesuffix(TRAINED): array for name, array in arrays.items() if name.endswith(TRAINED)}
    if not trained:
        return  # the weights are no average; one that begins now begins with them
    if trainee.average:
        trainee.average.restore(trained)
    else:
        model.set_state_dict(trained)


def train_epoch(run: Run, stop: StopRequest) -> Scores:
    """Train on what is left of the state's epoch; returns the scores over all of it."""
    state, loader, ranks = run.state, run.train_loader, run.ranks
    run.meter = ScoreMeter(state.sums) if state.sums and ranks.rank == 0 else ScoreMeter()
    run.broken.start_epoch(state.broken)
    first_step, started_sec, already_sec = state.step, time.perf_counter(), state.elapsed_sec
    with progress(
        loader.epoch(state.epoch, state.step_in_epoch), len(loader), f"epoch {state.epoch}", state.step_in_epoch
    ) as batches:
        steps = train_steps(
            run.trainee,
            batches,
            state.step - state.step_in_epoch,
            state.step_in_epoch,
            run.meter,
            run.args.log_interval,
            on_broken=run.broken.add,
            ranks=ranks,
            stop=stop,
        )
        for interval in steps:
            state.step += 1
            state.step_in_epoch += 1
            here_sec = time.perf_counter() - started_sec
            state.elapsed_sec = already_sec + here_sec
            if interval:
                log_interval(run, interval, here_sec / (state.step - first_step))
            if is_save_due(run):
                save_progress(run)
    scores = run.meter.scores(ranks.sums(np.asarray(run.meter.sums).tolist()))
    logger.info("[TRAIN] Epoch %d training finished  %s, %s", state.epoch, scores.text(), duration(state.elapsed_sec))
    log_reading(f"[TRAIN] Epoch {state.epoch}:", run.broken, loader, ranks, "; their neighbours took their places")
    run.metrics.write("epoch", state.step, epoch=state.epoch, num_in_order=len(loader.in_order), **scores._asdict())
    return scores


def is_validation_due(run: Run) -> bool:
    """Whether this epoch ends with a validation."""
    return run.valid_loader is not None and (run.state.epoch + 1) % run.args.valid_interval == 0


def is_save_due(run: Run) -> bool:
    """Whether to save here, within an epoch."""
    state, every = run.state, run.config.train.save_interval_steps
    return every > 0 and state.step_in_epoch % every == 0 and state.step_in_epoch < len(run.train_loader)


def log_interval(run: Run, interval: Interval, step_sec: float) -> None:
    """A log line, and the same figures to metrics.jsonl."""
    state, scores = run.state, interval.scores
    steps_left = run.config.train.epoch * len(run.train_loader) - state.step
    logger.info(
        "[TRAIN] Epoch %d, iter %d  %s, lr: %.6g, clips/s: %.1f, data wait: %.0f %%, left: %s",
        state.epoch,
        state.step_in_epoch - 1,
        scores.text(),
        interval.learning_rate,
        interval.clips_per_sec,
        100 * interval.wait_fraction,
        duration(steps_left * step_sec),
    )
    run.metrics.write(
        "train",
        state.step,
        epoch=state.epoch,
        iter=state.step_in_epoch - 1,
        loss=scores.loss,
        top1=scores.top1,
        top5=scores.top5,
        learning_rate=interval.learning_rate,
        grad_norm=interval.grad_norm,
        clips_per_sec=interval.clips_per_sec,
        wait_fraction=interval.wait_fraction,
    )


def validate(run: Run, stop: StopRequest) -> Scores:
    """Score the validation list, every video once; unreadable ones count as wrong answers."""
    state, loader, ranks = run.state, run.valid_loader, run.ranks
    save_progress(run)  # the epoch's training is not lost if this is interrupted
    broken = BrokenVideos(loader.reader.records)
    with validated_weights(run), progress(loader.epoch(0), len(loader), "validation") as batches:
        # rank 0's running statistics are the ones that are saved
        broadcast([tensor for tensor in run.model.state_dict().values() if tensor.stop_gradient], ranks)
        scores = evaluate(run.model, batches, ScoreMeter(), broken.add, ranks=ranks, stop=stop)
    run.metrics.write("valid", state.step, epoch=state.epoch, **scores._asdict())
    logger.info("[VALID] Epoch %d  %s, %s", state.epoch, scores.text(), scores.coverage())
    log_reading(f"[VALID] Epoch {state.epoch}:", broken, loader, ranks)
    return scores


def finish_epoch(run: Run, train_scores: Scores, valid_scores: Scores | None) -> None:
    """Note the epoch in the state and save it, as the best one too if it is."""
    state, epoch = run.state, run.state.epoch
    state.history.append(
        {
            "epoch": epoch,
            "loss": train_scores.loss,
            "top1": train_scores.top1,
            "valid_loss": valid_scores and valid_scores.loss,
            "valid_top1": valid_scores and valid_scores.top1,
            "learning_rate": run.trainee.learning_rate_at(state.step - 1),
            "minutes": state.elapsed_sec / 60,
        }
    )
    state.epoch, state.step_in_epoch, state.sums, state.broken, state.elapsed_sec = epoch + 1, 0, None, [], 0.0
    run.broken.start_epoch()
    run.meter = ScoreMeter()
    # the best first: if the run is killed between the two, it validates again and finds the best again
    if valid_scores and (state.best_top1 is None or valid_scores.top1 > state.best_top1):
        state.best_top1 = valid_scores.top1
        save(run, BEST)
    save(run, f"epoch{epoch}")


def validated_weights(run: Run) -> AbstractContextManager:
    """Inside, the model has the weights that are validated and saved: the moving average if there is one."""
    return run.trainee.average.applied() if run.trainee.average else nullcontext()


def save_progress(run: Run) -> bool:
    """Save where the run is, within its epoch, unless that is saved; whether it is saved now."""
    state = run.state
    return run.saved_step == state.step or save(run, f"epoch{state.epoch}_step{state.step_in_epoch}")


def save(run: Run, label: str) -> bool:
    """Save a checkpoint; every rank takes part, rank 0 writes.

    Raises:
        ValueError: the weights are not finite any more.
        OSError: it cannot be written, see `Checkpoints.save`.

    Returns:
        Whether it was written.
    """
    state, ranks, trainee = run.state, run.ranks, run.trainee
    state.sums = ranks.sums(np.asarray(run.meter.sums).tolist())
    state.broken = ranks.chain(run.broken.this_epoch.items())
    state.loss_scaling = trainee.precision.state()
    is_written = False
    if ranks.rank == 0:
        arrays = optimizer_arrays(trainee.optimizer, run.model)
        if trainee.average:
            arrays |= {f"{name}{TRAINED}": array for name, array in trainee.average.weights().items()}
        with validated_weights(run):
            weights = run.model.state_dict()
            if broken := [name for name, tensor in weights.items() if not np.isfinite(tensor.numpy()).all()]:
                raise ValueError(
                    f"after step {state.step} the weights are not finite any more ({broken[0]}, for example) and not "
                    f"saved; lower TRAIN.learning_rate, or set TRAIN.clip_grad_norm; {run.checkpoints.last_good()}"
                )
            is_written = run.checkpoints.save(label, Snapshot(weights, arrays, state, dump_config(run.config)))
    is_written = ranks.exchange(is_written)[0]
    if is_written:
        run.saved_step = state.step
        logger.info("[TRAIN] step %d saved to %s", state.step, run.checkpoints.folder(label))
    return is_written
