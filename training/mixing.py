"""Mixup and CutMix: each clip of a step is mixed with its neighbour, and the loss counts both labels.

mix = Mixing(seed, mixup=0.2, cutmix=None, side_px=224).draw(step)
frames, partner_labels = mix.apply(frames), mix.of_partners(labels)
loss = mix.loss(F.cross_entropy, network(frames), labels, partner_labels)
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import paddle

MIX_STREAM = 2  # beside a sample's streams, see datareader/reader.py

LossFunction = Callable[[paddle.Tensor, paddle.Tensor], paddle.Tensor]
"""(logits, labels) -> the mean loss."""


class Box(NamedTuple):
    """A rectangle of a frame, in pixels; right and bottom are not part of it."""

    left: int
    top: int
    right: int
    bottom: int


class Mix(NamedTuple):
    """How the clips of one step are mixed; clips 0 and 1, 2 and 3, ... are partners, a last odd clip is its own."""

    share: float
    """Share of a clip in what becomes of it; its partner has the rest."""
    box: Box | None
    """CutMix: the part of all frames that is the partner's; None: mixup, the mean of both, weighed by their shares."""

    def apply(self, frames: paddle.Tensor) -> paddle.Tensor:
        """Mix the clips of a step.

        Args:
            frames: uint8 (N, T, 3, H, W), all clips of this rank.

        Returns:
            Of the same shape: float32 of 0 to 255, not rounded, by mixup; uint8 by CutMix.
        """
        if self.box is None:
            own = frames.astype("float32")
            return own + (1 - self.share) * (self.of_partners(own) - own)  # exact where a clip is its own partner
        left, top, right, bottom = self.box
        mixed = frames.clone()
        if left < right and top < bottom:
            mixed[..., top:bottom, left:right] = self.of_partners(frames[..., top:bottom, left:right])
        return mixed

    def of_partners(self, values: paddle.Tensor) -> paddle.Tensor:
        """What belongs to the partners of all clips of a step: labels (N, ...), for example."""
        num_clips = len(values)
        partners = np.arange(num_clips) ^ 1
        partners[partners == num_clips] -= 1
        return paddle.gather(values, paddle.to_tensor(partners))

    def loss(
        self,
        loss_fn: LossFunction,
        logits: paddle.Tensor,
        labels: paddle.Tensor,
        partner_labels: paddle.Tensor,
    ) -> paddle.Tensor:
        """The loss with each clip's label and with its partner's, weighed by their shares.

        Args:
            logits: (n, K), of any n clips of the step: it may be computed in parts, however they are cut.
            labels, partner_labels: of these clips.
        """
        return self.share * loss_fn(logits, labels) + (1 - self.share) * loss_fn(logits, partner_labels)

    def main_labels(self, labels: paddle.Tensor, partner_labels: paddle.Tensor) -> paddle.Tensor:
        """The labels of those that have the larger share in each clip, for the scores of training."""
        return labels if self.share >= 0.5 else partner_labels


class Targets(NamedTuple):
    """What the network is to say of clips."""

    labels: paddle.Tensor
    mix: Mix | None = None
    partner_labels: paddle.Tensor | None = None
    """Those of the clips that these are mixed with."""

    def rows(self, start: int, end: int) -> "Targets":
        partners = None if self.mix is None else self.partner_labels[start:end]
        return Targets(self.labels[start:end], self.mix, partners)

    def loss(self, loss_fn: LossFunction, logits: paddle.Tensor) -> paddle.Tensor:
        """The mean loss, float32 ()."""
        if self.mix is None:
            return loss_fn(logits, self.labels)
        return self.mix.loss(loss_fn, logits, self.labels, self.partner_labels)

    def main_labels(self) -> paddle.Tensor:
        """The labels that the scores of training count."""
        return self.labels if self.mix is None else self.mix.main_labels(self.labels, self.partner_labels)


class Mixing:
    """Draws how each step is mixed, the same on every rank and after a restart.

    Args:
        seed: of the run.
        mixup, cutmix: parameter of the Beta distribution (both of its parameters) that the share is drawn from; None:
            off. With both, one of them is drawn for each step, with probability 1/2.
        side_px: side of the square frames.

    Source: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019.
    """

    def __init__(self, seed: int, mixup: float | None, cutmix: float | None, side_px: int):
        if mixup is None and cutmix is None:
            raise ValueError("there is nothing to mix: mixup and cutmix are both off")
        self.seed = seed
        self.mixup = mixup
        self.cutmix = cutmix
        self.side_px = side_px

    def draw(self, step: int) -> Mix:
        """How a step is mixed: a function of the seed and of the step since the start of training, counted from 0."""
        rng = np.random.default_rng([self.seed, step, 0, MIX_STREAM])  # where samples have seed, epoch, index, stream
        cuts = self.mixup is None
        if self.mixup is not None and self.cutmix is not None:
            cuts = bool(rng.random() < 0.5)
        if not cuts:
            share = float(rng.beta(self.mixup, self.mixup))
            return Mix(max(share, 1 - share), None)  # the other way round, partners would swap what becomes of them
        share = rng.beta(self.cutmix, self.cutmix)
        center_x, center_y = rng.integers(0, self.side_px, size=2)
        return cutmix_of(float(share), int(center_x), int(center_y), self.side_px)


def cutmix_of(share: float, center_x: int, center_y: int, side_px: int) -> Mix:
    """The mix whose box is a square of 1 - share of the area around a pixel, without what would lie outside.

    Its share is what the box really leaves.
    """
    half_px = int(side_px * (1 - share) ** 0.5) // 2
    left, right = (int(np.clip(center_x + step, 0, side_px)) for step in (-half_px, half_px))
    top, bottom = (int(np.clip(center_y + step, 0, side_px)) for step in (-half_px, half_px))
    return Mix(1 - (right - left) * (bottom - top) / side_px**2, Box(left, top, right, bottom))
