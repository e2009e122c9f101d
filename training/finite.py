"""Losses that are NaN or infinite: what they end a run with, and how ranks notice them."""

from typing import NamedTuple

import numpy as np
import paddle

from distributed.ranks import Ranks


class NonFiniteLoss(ValueError):
    """A loss that is NaN or infinite.

    Attributes:
        step: the first step with such a loss, counted from 1 since the start of training.
        video_ids: the clips of that step.
    """

    def __init__(self, loss: float, step: int, video_ids: list[str]):
        self.step = step
        self.video_ids = video_ids
        shown = ", ".join(video_ids[:8]) + (f" and {len(video_ids) - 8} more" if len(video_ids) > 8 else "")
        super().__init__(
            f"the loss of step {step} is {loss}, on the videos {shown}; lower TRAIN.learning_rate, limit the gradients "
            "(TRAIN.clip_grad_norm), or take another TRAIN.amp if it is fp16"
        )


class TakenStep(NamedTuple):
    """A step that is done, and what the device still holds of it."""

    number: int
    """Counted from 1 since the start of training."""
    video_ids: list[str]
    """The clips of this rank."""
    loss: paddle.Tensor
    """The mean loss of these clips, float32 ()."""
    learning_rate: float
    grad_norm: paddle.Tensor | None
    """L2 norm of all gradients together, before clipping, float32 (); None if it was not asked for."""


def check_finite(taken: list[TakenStep], ranks: Ranks) -> None:
    """Raise NonFiniteLoss, on every rank, for the first step with a loss that is not finite on any of them."""
    values = paddle.stack([step.loss for step in taken]).numpy() if taken else []
    found = [
        (step.number, float(value), step.video_ids)
        for step, value in zip(taken, values, strict=True)
        if not np.isfinite(value)
    ]
    firsts = [entries[0] for entries in ranks.exchange(found) if entries]
    if not firsts:
        return
    ranks.leave()  # they all raise this
    number, loss, _ = min(firsts, key=lambda first: first[0])
    raise NonFiniteLoss(loss, number, [name for at, _, names in firsts if at == number for name in names])
