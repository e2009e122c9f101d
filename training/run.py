"""The parts of a training run, which train.py puts in order: train an epoch, validate, save."""

from __future__ import annotations

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from paddle import nn

from common.console import duration, progress
from datareader.loader import Loader
from datareader.unreadable import UnreadableVideos, report_reading
from distributed.ranks import Ranks, broadcast
from distributed.signals import StopRequest
from training.checkpoint import BEST, Checkpoints, Snapshot, TrainingState
from training.log import Figure, Metrics, log_line
from training.loss import CROSS_ENTROPY, Loss
from training.meter import ScoreMeter, Scores
from training.optimizer import optimizer_arrays
from training.precise_bn import recompute_statistics
from training.steps import Learner, evaluate, train_steps
from training.validation import ValidatedClips

TRAINED = ".trained"  # ends the names of the weights that a moving average is taken of

logger = logging.getLogger("train")


@dataclass
class Run:
    """What the parts of a training run work on."""

    ranks: Ranks
    model: nn.Layer
    learner: Learner
    train_loader: Loader
    valid_loader: Loader | None
    """None: never validate."""
    num_classes: int
    num_epochs: int
    log_interval: int
    """Steps between log lines."""
    valid_interval: int
    """Epochs between validations."""
    save_interval_steps: int
    """Steps between checkpoints within an epoch; 0: none."""
    state: TrainingState
    checkpoints: Checkpoints | None
    """None: nothing is saved."""
    config_text: str
    """The resolved config, which checkpoints carry."""
    metrics: Metrics
    unreadable: UnreadableVideos
    """The epoch's training videos that could not be read."""
    saved_step: int
    """Step of the last checkpoint that was written, or resumed."""
    valid_loss: Loss = CROSS_ENTROPY
    """What validation tells, without what makes training harder."""
    precise_bn_steps: int = 0
    """Steps that batch norm's statistics are computed anew from before a validation; 0: none."""
    patience: int | None = None
    """See `is_stale`; None: train all epochs."""
    meter: ScoreMeter = field(default_factory=ScoreMeter)
    """What the epoch's training has added up, on this rank."""

    @property
    def is_finished(self) -> bool:
        return self.state.epoch >= self.num_epochs or self.is_stale

    @property
    def is_stale(self) -> bool:
        """Whether the last `patience` validated epochs are no better than one before."""
        return self.patience is not None and epochs_since_best(self.state.history) >= self.patience


def train_epoch(run: Run, stop: StopRequest) -> Scores:
    """Train on what is left of the state's epoch; returns the scores over all of it."""
    state, loader, ranks = run.state, run.train_loader, run.ranks
    run.meter = ScoreMeter(state.sums) if state.sums and ranks.rank == 0 else ScoreMeter()
    run.unreadable.start_epoch(state.broken)
    clock = _Clock(state.elapsed_sec)
    batches = loader.epoch(state.epoch, state.step_in_epoch)
    with progress(batches, len(loader), f"epoch {state.epoch}", state.step_in_epoch) as shown:
        steps = train_steps(
            run.learner,
            run.unreadable.watch(shown),
            run.meter,
            run.log_interval,
            first_step=state.step,
            first_iteration=state.step_in_epoch,
            ranks=ranks,
            stop=stop,
        )
        for figures in steps:
            state.step += 1
            state.step_in_epoch += 1
            state.elapsed_sec = clock.tick()
            if figures:
                _report_figures(run, figures, clock.step_sec())
            if _is_save_due(run):
                save_progress(run)
    scores = run.meter.scores(ranks.sums(np.asarray(run.meter.sums).tolist()))
    text = scores.text(run.num_classes)
    logger.info("[TRAIN] Epoch %d training finished  %s, %s", state.epoch, text, duration(state.elapsed_sec))
    report_reading(
        f"[TRAIN] Epoch {state.epoch}:", run.unreadable, loader, ranks, "; their neighbours took their places"
    )
    run.metrics.write("epoch", state.step, epoch=state.epoch, num_in_order=len(loader.in_order), **scores.row())
    return scores


def epochs_since_best(history: list[dict[str, Any]]) -> int:
    """How many validated epochs lie after the best one, the first of equals; 0 without any."""
    scores = [entry.get("valid_mAP", entry["valid_top1"]) for entry in history if entry["valid_top1"] is not None]
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


class _Clock:
    """The time of an epoch's training, and how long a step takes once the first is over."""

    def __init__(self, already_sec: float):
        self._already_sec = already_sec
        self._started_sec = self._warm_sec = time.perf_counter()
        self._num_steps = 0

    def tick(self) -> float:
        """Note that a step has ended; returns the seconds spent on the epoch so far."""
        now_sec = time.perf_counter()
        self._num_steps += 1
        if self._num_steps == 1:
            self._warm_sec = now_sec
        return self._already_sec + now_sec - self._started_sec

    def step_sec(self) -> float | None:
        """Seconds per step; None after the first, in which reading and computing warm up."""
        if self._num_steps < 2:
            return None
        return (time.perf_counter() - self._warm_sec) / (self._num_steps - 1)


def is_validation_due(run: Run) -> bool:
    """Whether this epoch ends with a validation."""
    return run.valid_loader is not None and (run.state.epoch + 1) % run.valid_interval == 0


def _is_save_due(run: Run) -> bool:
    """Whether to save here, within an epoch."""
    state, every = run.state, run.save_interval_steps
    return every > 0 and state.step_in_epoch % every == 0 and state.step_in_epoch < len(run.train_loader)


def _report_figures(run: Run, figures: dict[str, Figure], step_sec: float | None) -> None:
    """Write figures down: a log line, a line of metrics.jsonl, points of curves."""
    state = run.state
    steps_left = run.num_epochs * len(run.train_loader) - state.step
    left = f", left: {duration(steps_left * step_sec)}" if step_sec else ""
    logger.info("[TRAIN] Epoch %d, iter %d  %s%s", state.epoch, state.step_in_epoch - 1, log_line(figures), left)
    values = {key: figure.value for key, figure in figures.items()}
    run.metrics.write("train", state.step, epoch=state.epoch, iter=state.step_in_epoch - 1, **values)


def validate(run: Run, stop: StopRequest) -> Scores:
    """Score the validation list, every video once; unreadable ones count as wrong answers."""
    state, loader, ranks = run.state, run.valid_loader, run.ranks
    save_progress(run)  # the epoch's training is not lost if this is interrupted
    unreadable = UnreadableVideos(loader.reader.records)
    with _validated_weights(run), progress(loader.epoch(0), len(loader), "validation") as batches:
        if run.precise_bn_steps:
            _recompute_statistics(run)
        # rank 0's running statistics are the ones that are saved
        broadcast([tensor for tensor in run.model.state_dict().values() if tensor.stop_gradient], ranks)
        clips = ValidatedClips(loader.reader.records, run.num_classes, run.model.probabilities)
        scores = evaluate(run.model, unreadable.watch(batches), ScoreMeter(), ranks, stop, run.valid_loss, clips)
    details = {}
    if loader.reader.multi_label:
        scores = scores._replace(mean_average_precision=clips.mean_average_precision(ranks))
    elif (confusion := clips.confusion_matrix(ranks)) is not None:
        details["confusion_matrix"] = confusion
    run.metrics.write("valid", state.step, epoch=state.epoch, **scores.row(), **details)
    text, looked_at = scores.text(run.num_classes), loader.reader.describe()
    logger.info("[VALID] Epoch %d  %s, %s, %s", state.epoch, text, scores.coverage(), looked_at)
    report_reading(f"[VALID] Epoch {state.epoch}:", unreadable, loader, ranks)
    return scores


def _recompute_statistics(run: Run) -> None:
    """Compute batch norm's statistics from the clips of the epoch's last steps, for the weights that are validated."""
    loader, model = run.train_loader, run.model
    batches = loader.epoch(run.state.epoch, max(len(loader) - run.precise_bn_steps, 0))
    norms = recompute_statistics(model, batches, run.learner.still_norms)
    if run.learner.average:
        tensors = {id(tensor) for norm in norms for tensor in (norm._mean, norm._variance)}
        names = [name for name, tensor in model.state_dict().items() if id(tensor) in tensors]
        run.learner.average.take_over(names)


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
            **_multi_label_history(valid_scores),
            "learning_rate": run.learner.learning_rate_at(state.step - 1),
            "minutes": state.elapsed_sec / 60,
        }
    )
    state.epoch, state.step_in_epoch, state.sums, state.broken, state.elapsed_sec = epoch + 1, 0, None, [], 0.0
    run.unreadable.start_epoch()
    run.meter = ScoreMeter()
    if run.checkpoints is None:
        return
    # the best first: if the run is killed between the two, it validates again and finds the best again
    # a checkpoint that the run went on from may be older than the best one on the disk
    best_top1 = run.ranks.exchange(run.checkpoints.best_top1() if run.ranks.rank == 0 else None)[0]
    is_best = bool(valid_scores) and (best_top1 is None or valid_scores.quality > best_top1)
    state.best_top1 = valid_scores.quality if is_best else best_top1
    if is_best:
        _save(run, BEST)
    if _save(run, f"epoch{epoch}"):
        folder = run.checkpoints.folder(f"epoch{epoch}")
        best = f", the best so far, so also as {run.checkpoints.folder(BEST).name}" if is_best else ""
        logger.info("[TRAIN] saved %s%s", folder, best)


def _multi_label_history(scores: Scores | None) -> dict[str, float]:
    """What the table in the end has of a multi-label validation alone."""
    if scores is None or scores.mean_average_precision is None:
        return {}
    return {"valid_mAP": scores.mean_average_precision}


def _validated_weights(run: Run) -> AbstractContextManager:
    """Inside, the model has the weights that are validated and saved: the moving average if there is one."""
    return run.learner.average.applied() if run.learner.average else nullcontext()


def save_progress(run: Run) -> bool:
    """Save where the run is, within its epoch, unless that is saved or nothing is; whether that is done."""
    state, label = run.state, f"epoch{run.state.epoch}_step{run.state.step_in_epoch}"
    if run.checkpoints is None or run.saved_step == state.step:
        return True
    is_saved = _save(run, label)
    if is_saved and state.step_in_epoch < len(run.train_loader):  # the end of an epoch has a line of its own
        logger.info("[TRAIN] saved %s", run.checkpoints.folder(label))
    return is_saved


def training_arrays(learner: Learner, model: nn.Layer) -> dict[str, np.ndarray]:
    """What a checkpoint holds besides the weights that are validated; see `Snapshot.training`."""
    arrays = optimizer_arrays(learner.optimizer, model)
    if learner.average:
        arrays |= {f"{name}{TRAINED}": array for name, array in learner.average.weights().items()}
    return arrays


def _save(run: Run, label: str) -> bool:
    """Save a checkpoint; every rank takes part, rank 0 writes.

    Raises:
        ValueError: the weights are not finite any more.
        OSError: it cannot be written, see `Checkpoints.save`.

    Returns:
        Whether it was written.
    """
    state, ranks, learner = run.state, run.ranks, run.learner
    state.sums = ranks.sums(np.asarray(run.meter.sums).tolist())
    state.broken = ranks.chain(run.unreadable.this_epoch.items())
    state.loss_scaling = learner.precision.state()
    is_written = False
    if ranks.rank == 0:
        arrays = training_arrays(learner, run.model)
        with _validated_weights(run):
            weights = run.model.state_dict()
            if broken := [name for name, tensor in weights.items() if not np.isfinite(tensor.numpy()).all()]:
                raise ValueError(
                    f"after step {state.step} the weights are not finite any more ({broken[0]}, for example) and not "
                    f"saved; lower TRAIN.learning_rate, or set TRAIN.clip_grad_norm; {run.checkpoints.last_good()}"
                )
            is_written = run.checkpoints.save(label, Snapshot(weights, arrays, state, run.config_text))
    is_written = ranks.exchange(is_written)[0]
    if is_written:
        run.saved_step = state.step
    return is_written
