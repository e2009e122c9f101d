"""The loops over batches: train_steps, evaluate, predict. Know no TSN, no paths, no config.

A batch has `frames`, `labels`, `indices` (empty if no clip of it could be read), `video_ids` and `broken`; a meter has
`add(loss, logits, labels)`, `add_unreadable(number)`, `sums` and `scores(sums)`. Both are handed in.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from engine.average import WeightAverage
from engine.distributed import Ranks
from engine.precision import Precision
from engine.signals import Stopped, StopRequest


class Trainee(NamedTuple):
    """What is trained, and how a step of it goes."""

    network: nn.Layer
    """The model, in paddle.DataParallel if there are several ranks."""
    optimizer: paddle.optimizer.Optimizer
    learning_rate_at: Callable[[int], float]
    """Step since the start of training -> learning rate."""
    precision: Precision
    average: WeightAverage | None = None
    """The moving average to keep, if any."""
    accumulate_steps: int = 1
    """Parts that the clips of a step are computed in."""
    freeze_bn: bool = False
    """Whether batch norm keeps its running statistics, and uses them."""


class Interval(NamedTuple):
    """What happened since the last log line; everything over all ranks."""

    scores: Any
    """The meter's scores over these steps."""
    learning_rate: float
    """Of the last step."""
    grad_norm: float
    """L2 norm of all gradients of the last step together, before clipping."""
    clips_per_sec: float
    wait_fraction: float
    """Share of the time spent waiting for data, 0 to 1; rank 0's."""


class NonFiniteLoss(ValueError):
    """A loss that is NaN or infinite.

    Attributes:
        step: of the first such loss, counted from 1 since the start of training.
        video_ids: of the clips of that step.
    """

    def __init__(self, loss: float, step: int, video_ids: list[str]):
        self.step = step
        self.video_ids = video_ids
        shown = ", ".join(video_ids[:8]) + (f" and {len(video_ids) - 8} more" if len(video_ids) > 8 else "")
        super().__init__(
            f"the loss of step {step} is {loss}, on the videos {shown}; lower TRAIN.learning_rate, limit the gradients "
            "(TRAIN.clip_grad_norm), or take another TRAIN.amp if it is fp16"
        )


def train_steps(
    trainee: Trainee,
    batches: Iterable[Any],
    epoch_step: int,
    first_iteration: int,
    meter: Any,
    log_interval: int,
    on_broken: Callable[[list], None],
    ranks: Ranks = Ranks(),
    stop: StopRequest | None = None,
) -> Iterator[Interval | None]:
    """Take one optimizer step per batch, on the mean cross entropy of its clips over all ranks, and yield after each.

    Nothing is fetched from the device except for an Interval and at the end.

    Args:
        epoch_step: the step, since the start of training, that the epoch began with.
        first_iteration: how many steps of the epoch are done already.
        meter: gets what the network said of each clip at its step, on this rank, before each yield.
        log_interval: an Interval is yielded after an epoch's first step and every so many later; after others None.
        on_broken: called with each batch's broken entries; may raise to end training.

    Raises:
        ValueError: a rank's batch has no readable clip.
        NonFiniteLoss: a loss was NaN or infinite; noticed at the next Interval, or at the end of the epoch.
        Stopped: a rank was asked to stop; the steps that were yielded are done, no other is.
    """
    _train_mode(trainee)
    batches, losses = Waiting(batches), []
    sums_before = np.asarray(meter.sums)
    started_sec = time.perf_counter()
    for iteration, batch in enumerate(batches, first_iteration):
        on_broken(batch.broken)
        num_clips = _agree(len(batch.indices), ranks, stop)
        if min(num_clips) == 0:
            ranks.leave()  # they all raise this
            raise ValueError("not one video of a batch of the training list can be read; repair the list")
        step, is_logged = epoch_step + iteration, iteration % log_interval == 0
        learning_rate = trainee.learning_rate_at(step)
        trainee.optimizer.set_lr(learning_rate)
        loss = _gradients(trainee, batch, sum(num_clips), ranks.num_ranks, meter)
        losses.append((step + 1, batch.video_ids, loss))
        norm = _gradient_norm(trainee) if is_logged else None
        trainee.precision.step(trainee.optimizer)
        trainee.optimizer.clear_grad()
        if trainee.average:
            trainee.average.update(step)
        if not is_logged:
            yield None
            continue
        sums = np.asarray(meter.sums)  # fetches from the device, so it comes before the clock is read
        scores = meter.scores(np.array(ranks.sums((sums - sums_before).tolist())))
        if not np.isfinite(scores.loss):
            _check_finite(losses, ranks)
        elapsed_sec = time.perf_counter() - started_sec
        yield Interval(
            scores, learning_rate, float(norm), scores.num_videos / elapsed_sec, batches.waited_sec / elapsed_sec
        )
        sums_before, losses = sums, []
        started_sec, batches.waited_sec = time.perf_counter(), 0.0
    _check_finite(losses, ranks)


@paddle.no_grad()
def evaluate(
    model: nn.Layer,
    batches: Iterable[Any],
    meter: Any,
    on_broken: Callable[[list], None],
    ranks: Ranks = Ranks(),
    stop: StopRequest | None = None,
) -> Any:
    """Score every clip once, in float32; the unreadable ones count too.

    Args:
        meter: an empty one.
        on_broken: called with each batch's broken entries.

    Raises:
        Stopped: a rank was asked to stop.

    Returns:
        The meter's scores, over all ranks.
    """
    model.eval()
    for batch in batches:
        if stop:
            _agree(0, ranks, stop)
        on_broken(batch.broken)
        if batch.broken:
            meter.add_unreadable(len(batch.broken))
        if batch.indices:
            logits = model(batch.frames)
            meter.add(F.cross_entropy(logits, batch.labels), logits, batch.labels)
    return meter.scores(np.array(ranks.sums(np.asarray(meter.sums).tolist())))


def predict(
    classifier: Callable[[paddle.Tensor], Any],
    batches: Iterable[Any],
    on_broken: Callable[[list], None],
    num_views: int = 1,
    max_frames: int | None = None,
) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """What a classifier says of each batch's clips, averaged over their views.

    Args:
        classifier: uint8 (V, T, 3, H, W) -> probabilities (V, K) and features (V, num_features), numpy arrays.
        batches: their frames are uint8 (N, num_views * T, 3, H, W), view after view.
        on_broken: called with each batch's broken entries.
        max_frames: the classifier gets no more at once, but for one whole view at least; None: all.

    Yields:
        (batch, probabilities, features), float32 (N, K) and (N, num_features); N may be 0.
    """
    for batch in batches:
        on_broken(batch.broken)
        if batch.indices:
            yield batch, *classify_views(classifier, batch.frames, num_views, max_frames)
        else:
            yield batch, np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)


def classify_views(
    classifier: Callable[[paddle.Tensor], Any], frames: paddle.Tensor, num_views: int, max_frames: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and features of clips, averaged over their views; see `predict`."""
    num_clips, num_frames, *picture = frames.shape
    view_frames = num_frames // num_views
    views = frames.reshape([num_clips * num_views, view_frames, *picture])
    at_once = max((max_frames or len(views) * view_frames) // view_frames, 1)
    parts = [classifier(views[start : start + at_once]) for start in range(0, len(views), at_once)]
    probabilities, features = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if num_views == 1:
        return probabilities, features
    return tuple(array.reshape(num_clips, num_views, -1).mean(axis=1) for array in (probabilities, features))


class Waiting:
    """Iterates over batches and adds up the time spent waiting for them, in `waited_sec`."""

    def __init__(self, batches: Iterable[Any]):
        self.batches = batches
        self.waited_sec = 0.0

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self.batches)
        while True:
            started_sec = time.perf_counter()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self.waited_sec += time.perf_counter() - started_sec
            yield batch


def _agree(number: int, ranks: Ranks, stop: StopRequest | None) -> list[int]:
    """Every rank's number; Stopped on every rank if one of them was asked to stop."""
    numbers, signals = zip(*ranks.exchange([number, stop.signal_number if stop else 0]), strict=True)
    if any(signals):
        raise Stopped(max(signals))
    return list(numbers)


def _train_mode(trainee: Trainee) -> None:
    trainee.network.train()
    if trainee.freeze_bn:
        for layer in trainee.network.sublayers():
            if isinstance(layer, nn.BatchNorm2D):
                layer.eval()


def _gradients(trainee: Trainee, batch: Any, num_clips: int, num_ranks: int, meter: Any) -> paddle.Tensor:
    """Add the gradients of the mean loss over a step's `num_clips` clips; returns this rank's mean loss, float32 ()."""
    num_here = len(batch.labels)
    num_parts = min(trainee.accumulate_steps, num_here)
    ends = [num_here * part // num_parts for part in range(num_parts + 1)]
    losses = []
    for start, end in zip(ends[:-1], ends[1:], strict=True):
        frames, labels = batch.frames, batch.labels
        if num_parts > 1:
            frames, labels = frames[start:end], labels[start:end]
        with _local_gradients(trainee.network) if end < num_here else nullcontext():
            with trainee.precision.forward():
                logits = trainee.network(frames)
            logits = logits.astype("float32")
            loss = F.cross_entropy(logits, labels)
            share = (end - start) * num_ranks / num_clips  # paddle.DataParallel divides by the number of ranks
            trainee.precision.backward(loss * share if share != 1 else loss)
        meter.add(loss, logits, labels)
        losses.append(loss.detach() * ((end - start) / num_here))
    return losses[0] if num_parts == 1 else paddle.add_n(losses)


def _local_gradients(network: nn.Layer) -> AbstractContextManager:
    """Gradients are shared with the other ranks only after a step's last part."""
    return network.no_sync() if isinstance(network, paddle.DataParallel) else nullcontext()


@paddle.no_grad()
def _gradient_norm(trainee: Trainee) -> paddle.Tensor:
    trainee.precision.unscale(trainee.optimizer)
    gradients = [parameter.grad for parameter in trainee.network.parameters() if parameter.grad is not None]
    return paddle.add_n([(gradient * gradient).sum() for gradient in gradients]).sqrt()


def _check_finite(losses: list[tuple[int, list[str], paddle.Tensor]], ranks: Ranks) -> None:
    """Raise NonFiniteLoss, on every rank, for the first step with a loss that is not finite on any of them."""
    values = paddle.stack([loss for _, _, loss in losses]).numpy() if losses else []
    found = [
        (step, float(value), video_ids)
        for (step, video_ids, _), value in zip(losses, values, strict=True)
        if not np.isfinite(value)
    ]
    firsts = [entries[0] for entries in ranks.exchange(found) if entries]
    if not firsts:
        return
    ranks.leave()  # they all raise this
    step, loss, _ = min(firsts, key=lambda first: first[0])
    raise NonFiniteLoss(loss, step, [name for number, _, names in firsts if number == step for name in names])
