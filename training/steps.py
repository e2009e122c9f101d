"""The loops over batches: train_steps and evaluate. Know no TSN, no paths, no config."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import paddle
from paddle import nn

from common.console import count
from datareader.loader import Batch
from datareader.workers import ReadingFailed
from distributed.ranks import Ranks
from distributed.signals import Stopped, StopRequest
from training.average import WeightAverage
from training.dropout import Dropout
from training.finite import TakenStep, check_finite
from training.log import Figure
from training.loss import CROSS_ENTROPY, Loss
from training.meter import ScoreMeter, Scores
from training.mixing import Mixing, Targets
from training.precision import Precision
from training.schedule import Schedule
from training.validation import ValidatedClips

logger = logging.getLogger("train")


class Learner(NamedTuple):
    """What is trained, and how a step of it goes."""

    network: nn.Layer
    """The model, in paddle.DataParallel if there are several ranks."""
    optimizer: paddle.optimizer.Optimizer
    learning_rate_at: Schedule
    """Of a step since the start of training."""
    precision: Precision
    loss: Loss = CROSS_ENTROPY
    average: WeightAverage | None = None
    """The moving average to keep, if any."""
    accumulate_steps: int = 1
    """Parts that the clips of a step are computed in."""
    still_norms: Sequence[nn.Layer] = ()
    """The batch norms that keep their running statistics, and use them."""
    dropout: Dropout | None = None
    mixing: Mixing | None = None


def train_steps(
    learner: Learner,
    batches: Iterable[Batch],
    meter: ScoreMeter,
    log_interval: int,
    *,
    first_step: int = 0,
    first_iteration: int = 0,
    ranks: Ranks = Ranks(),
    stop: StopRequest | None = None,
) -> Iterator[dict[str, Figure] | None]:
    """Take one optimizer step per batch, on the mean cross entropy of its clips over all ranks, and yield after each.

    A batch without a readable clip on some rank is passed over by all. Nothing is fetched from the device except for
    figures and at the end.

    Args:
        meter: gets what the network said of each clip at its step, on this rank, before each yield.
        log_interval: figures are yielded after an epoch's first step and every so many later, if taken; else None.
        first_step: steps since the start of training that are done already.
        first_iteration: steps of the epoch that are done already.

    Raises:
        NonFiniteLoss: a loss was NaN or infinite; noticed at the next figures, or at the end of the epoch.
        Stopped: a rank was asked to stop; the steps that were yielded are done, no other is.
        ReadingFailed: a rank cannot read its next batch, likewise; or not one batch of the epoch has a readable clip on
            every rank.
    """
    _train_mode(learner)
    batches, taken, passed_over, step = Waiting(batches), [], [], first_step
    sums_before, started_sec = np.asarray(meter.sums), time.perf_counter()
    for step, (batch, num_clips) in enumerate(_agreed(batches, ranks, stop), first_step):
        is_logged = (first_iteration + step - first_step) % log_interval == 0
        if min(num_clips) > 0:
            taken.append(_take_step(learner, batch, step, num_clips, ranks, meter, is_logged))
        else:
            passed_over.append(step)
        if not is_logged or min(num_clips) == 0:
            yield None
            continue
        sums = np.asarray(meter.sums)  # fetches from the device, so it comes before the clock is read
        scores = meter.scores(np.array(ranks.sums((sums - sums_before).tolist())))
        if not np.isfinite(scores.loss):
            check_finite(taken, ranks)
        elapsed_sec = time.perf_counter() - started_sec
        yield _figures(scores, meter.num_classes, taken[-1], elapsed_sec, batches.waited_sec)
        sums_before, taken = sums, []
        started_sec, batches.waited_sec = time.perf_counter(), 0.0
    check_finite(taken, ranks)
    _report_passed_over(passed_over, is_whole_epoch=first_iteration == 0 and len(passed_over) == step + 1 - first_step)


def _report_passed_over(steps: list[int], is_whole_epoch: bool) -> None:
    """Warn of the steps that could not be taken.

    Raises:
        ReadingFailed: they are all of an epoch.
    """
    if steps and is_whole_epoch:
        raise ReadingFailed("not one batch of an epoch has a video that can be read on every rank; repair the list")
    if steps:
        logger.warning(
            "[TRAIN] %s passed over, since not one video of a rank's batch could be read; the first is step %d",
            count(len(steps), "step was", "steps were"),
            steps[0] + 1,
        )


def _figures(
    scores: Scores, num_classes: int, step: TakenStep, elapsed_sec: float, waited_sec: float
) -> dict[str, Figure]:
    """What an interval of steps has to say, over all ranks: for the log line, metrics.jsonl and the curves.

    Args:
        scores: over the interval's clips.
        step: its last.
        waited_sec: time spent waiting for data, on rank 0.
    """
    return {
        **scores.figures(num_classes),
        "learning_rate": Figure(step.learning_rate, "lr: {:.6g}"),
        "grad_norm": Figure(float(step.grad_norm)),
        "clips_per_sec": Figure(scores.num_videos / elapsed_sec, "clips/s: {:.1f}"),
        "wait_fraction": Figure(waited_sec / elapsed_sec, "data wait: {:.0%}"),
    }


@paddle.no_grad()
def evaluate(
    model: nn.Layer,
    batches: Iterable[Batch],
    meter: ScoreMeter,
    ranks: Ranks = Ranks(),
    stop: StopRequest | None = None,
    loss: Loss = CROSS_ENTROPY,
    clips: ValidatedClips | None = None,
) -> Scores:
    """Score every clip once, in float32; the unreadable ones count too.

    Args:
        meter: an empty one.
        loss: what is said of it: plain, without what makes training harder.
        clips: gets what the model says of each clip of this rank.

    Raises:
        Stopped: a rank was asked to stop.
        ReadingFailed: a rank cannot read its next batch.

    Returns:
        The meter's scores, over all ranks.
    """
    model.eval()
    for batch, _ in _agreed(batches, ranks, stop):
        if batch.unreadable:
            meter.add_unreadable(len(batch.unreadable))
        logits = None
        if batch.indices:
            logits = model(batch.frames)
            meter.add(loss(logits, batch.labels), logits, batch.labels)
        if clips:
            clips.add(batch, logits)
    return meter.scores(np.array(ranks.sums(np.asarray(meter.sums).tolist())))


class Waiting:
    """Iterates over batches and adds up the time spent waiting for them, in `waited_sec`."""

    def __init__(self, batches: Iterable[Batch]):
        self.batches = batches
        self.waited_sec = 0.0

    def __iter__(self) -> Iterator[Batch]:
        iterator = iter(self.batches)
        while True:
            started_sec = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self.waited_sec += time.perf_counter() - started_sec
            yield batch


def _agreed(
    batches: Iterable[Batch], ranks: Ranks, stop: StopRequest | None
) -> Iterator[tuple[Batch, tuple[int, ...]]]:
    """Each batch, and how many readable clips every rank's has, once all ranks have theirs and none was asked to stop.

    Args:
        batches: as many on every rank.

    Raises:
        Stopped, ReadingFailed: on every rank, if it is so on one of them.
    """
    iterator = iter(batches)
    while True:
        batch, trouble = None, ""
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except ReadingFailed as error:
            trouble = str(error)
        own = [stop.signal_number if stop else 0, trouble, len(batch.indices) if batch else 0]
        signals, troubles, num_clips = zip(*ranks.exchange(own), strict=True)
        if any(troubles):
            raise ReadingFailed(next(filter(None, troubles)))
        if any(signals):
            raise Stopped(max(signals))
        yield batch, num_clips


def _train_mode(learner: Learner) -> None:
    learner.network.train()
    for norm in learner.still_norms:
        norm.eval()


def _take_step(
    learner: Learner,
    batch: Batch,
    step: int,
    num_clips: Sequence[int],
    ranks: Ranks,
    meter: ScoreMeter,
    needs_norm: bool,
) -> TakenStep:
    """Take the optimizer step with this number, counted from 0 since the start of training.

    Args:
        num_clips: of each rank.
    """
    learning_rate = learner.learning_rate_at(step)
    learner.optimizer.set_lr(learning_rate)
    loss = _gradients(learner, batch, step, num_clips, ranks, meter)
    norm = _gradient_norm(learner) if needs_norm else None
    learner.precision.step(learner.optimizer)
    learner.optimizer.clear_grad()
    if learner.average:
        learner.average.update(step)
    return TakenStep(step + 1, batch.video_ids, loss, learning_rate, norm)


def _gradients(
    learner: Learner, batch: Batch, step: int, num_clips: Sequence[int], ranks: Ranks, meter: ScoreMeter
) -> paddle.Tensor:
    """Add the gradients of a step's mean loss over the clips of all ranks; returns this rank's mean, float32 ()."""
    num_here = len(batch.labels)
    num_parts = min(learner.accumulate_steps, num_here)
    ends = [num_here * part // num_parts for part in range(num_parts + 1)]
    targets = Targets(batch.labels)
    inputs = [batch.frames]
    if learner.mixing:
        mix = learner.mixing.draw(step)
        inputs, targets = [mix.apply(batch.frames)], Targets(batch.labels, mix, mix.of_partners(batch.labels))
    if learner.dropout:
        inputs.append(learner.dropout.keep(step, sum(num_clips[: ranks.rank]), num_here))
    losses = []
    for start, end in zip(ends[:-1], ends[1:], strict=True):
        part, aims = inputs, targets
        if num_parts > 1:
            part, aims = [tensor[start:end] for tensor in inputs], targets.rows(start, end)
        with _local_gradients(learner.network) if end < num_here else nullcontext():
            with learner.precision.forward():
                logits = learner.network(*part)
            logits = logits.astype("float32")
            loss = aims.loss(learner.loss, logits)
            # paddle.DataParallel divides by the number of ranks
            share = (end - start) * ranks.num_ranks / sum(num_clips)
            learner.precision.backward(loss * share if share != 1 else loss)
        meter.add(loss, logits, aims.main_labels())
        losses.append(loss.detach() * ((end - start) / num_here))
    return losses[0] if num_parts == 1 else paddle.add_n(losses)


def _local_gradients(network: nn.Layer) -> AbstractContextManager:
    """Gradients are shared with the other ranks only after a step's last part."""
    return network.no_sync() if isinstance(network, paddle.DataParallel) else nullcontext()


@paddle.no_grad()
def _gradient_norm(learner: Learner) -> paddle.Tensor:
    learner.precision.unscale(learner.optimizer)
    gradients = [parameter.grad for parameter in learner.network.parameters() if parameter.grad is not None]
    return paddle.add_n([(gradient * gradient).sum() for gradient in gradients]).sqrt()
