"""The learning rate, as pure functions of the step, counted from 0 over the whole run."""

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]
"""Step -> learning rate."""


def steps_per_epoch(total_videos: int, batch_size: int) -> int:
    """Steps that the original counts as an epoch when it places the decay points."""
    return int(total_videos / batch_size + 1)


def learning_rate_at(step: int, base_rate: float, decay: float, num_epochs: int, epoch_steps: int) -> float:
    """The original's learning rate of a step.

    It is multiplied by `decay` when the step reaches 1/3 and again when it reaches 2/3 of `num_epochs * epoch_steps`.

    Args:
        base_rate: learning rate of the first third.
        epoch_steps: see `steps_per_epoch`.
    """
    return learning_rate_in_steps(step, base_rate, decay, (num_epochs / 3, 2 * num_epochs / 3), epoch_steps)


def learning_rate_in_thirds(step: int, base_rate: float, decay: float, num_steps: int) -> float:
    """The learning rate of a step: multiplied by `decay` at exactly 1/3 and 2/3 of a run's steps."""
    return base_rate * decay ** (3 * step // num_steps)


def learning_rate_in_steps(
    step: int, base_rate: float, decay: float, decay_epochs: Sequence[float], epoch_steps: int
) -> float:
    """The learning rate of a step: multiplied by `decay` when the step reaches each of the epochs."""
    return base_rate * decay ** sum(step >= epoch * epoch_steps for epoch in decay_epochs)


def learning_rate_on_cosine(step: int, base_rate: float, num_steps: int) -> float:
    """The learning rate of a step: half a cosine from `base_rate` to 0, which it would reach after the last step.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017, without restarts.
    """
    return base_rate * (1 + math.cos(math.pi * step / num_steps)) / 2


def warmed_up(step: int, schedule: Schedule, num_warmup_steps: int) -> float:
    """The learning rate of a step: rising in equal parts to where the schedule is after the warm-up, then on it.

    Source: Goyal et al., Accurate, Large Minibatch SGD, 2017, which ends where a constant rate is.
    """
    if step >= num_warmup_steps:
        return schedule(step)
    return schedule(num_warmup_steps) * (step + 1) / (num_warmup_steps + 1)


def rate_for_batch(rate: float, batch_size: int, meant_for: int | None) -> float:
    """A learning rate that is meant for so many videos per step, in proportion for batch_size of them."""
    return rate if meant_for is None else rate * batch_size / meant_for
