"""Top-k counts and their running sums. Knows no ranks."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import paddle

from evaluation.scores import coverage_text, score_texts
from training.log import Figure, log_line

NUM_SUMS = 5  # videos that were read, their loss, their top-1 hits, their top-5 hits, videos that could not be read


class Scores(NamedTuple):
    """Means over a set of videos."""

    num_videos: int
    """All videos, the unreadable ones included."""
    num_unreadable: int
    """Videos that could not be read; each counts as a wrong answer."""
    loss: float
    """Cross entropy, over the readable videos; NaN without any."""
    top1: float
    """Multi-label: the best class is a true one; top-5: one of the five best is."""
    top5: float
    """With fewer than 5 classes K: top-K."""
    mean_average_precision: float | None = None
    """Of a multi-label validation; None else."""

    @property
    def quality(self) -> float:
        """What the best checkpoint is chosen by: mean average precision where it is known, else top-1."""
        return self.top1 if self.mean_average_precision is None else self.mean_average_precision

    def row(self) -> dict[str, float]:
        """The scores that are known, as metrics.jsonl has them."""
        return {key: value for key, value in self._asdict().items() if value is not None}

    def figures(self, num_classes: int) -> dict[str, Figure]:
        """Loss and accuracies, as log lines say them."""
        texts = score_texts(num_classes)
        found = {key: Figure(getattr(self, key), texts.get(key)) for key in ("loss", "top1", "top5")}
        if self.mean_average_precision is not None:
            found["mean_average_precision"] = Figure(self.mean_average_precision, "mAP: {:.4f}")
        return found

    def text(self, num_classes: int) -> str:
        return log_line(self.figures(num_classes))

    def coverage(self) -> str:
        return coverage_text(self.num_videos, self.num_unreadable)


class ScoreMeter:
    """Adds up loss and hits on the device; nothing is fetched before `scores` is asked for.

    `sums` is float64 (NUM_SUMS,), so that ranks can add theirs, and a resumed run goes on from them.
    """

    def __init__(self, sums: Sequence[float] = (0.0,) * NUM_SUMS):
        self.sums = paddle.to_tensor(sums, "float64")
        self.num_classes = 0
        """Classes of the logits that were added last."""

    def add(self, loss: paddle.Tensor, logits: paddle.Tensor, labels: paddle.Tensor) -> None:
        """Add a batch: its mean loss, float (); logits, float (N, K); labels as `Batch` has them."""
        self.num_classes = logits.shape[1]
        count = paddle.full([], len(labels), "float64")
        zero = paddle.zeros([], "float64")
        sums = [count, loss.detach().astype("float64") * count, *top_k_hits(logits, labels), zero]
        self.sums = self.sums + paddle.stack(sums)

    def add_unreadable(self, num_videos: int) -> None:
        """Add videos that could not be read: they count as wrong answers."""
        self.sums = self.sums + paddle.to_tensor([0, 0, 0, 0, num_videos], "float64")

    def scores(self, sums: np.ndarray | None = None) -> Scores:
        """The means so far, or those of other sums, such as all ranks' together."""
        num_read, loss, top1, top5, num_unreadable = np.asarray(self.sums if sums is None else sums).tolist()
        num_videos = num_read + num_unreadable
        return Scores(
            int(num_videos),
            int(num_unreadable),
            loss / num_read if num_read else math.nan,
            top1 / num_videos if num_videos else math.nan,
            top5 / num_videos if num_videos else math.nan,
        )


def top_k_hits(logits: paddle.Tensor, labels: paddle.Tensor) -> list[paddle.Tensor]:
    """How many of the N labels are the best, and among the 5 best, of their K logits: two float64 ().

    Of a multi-label clip one of its classes has to be that.
    """
    best = paddle.topk(logits.detach(), min(5, logits.shape[1]), axis=1)[1]
    if labels.ndim == 2:
        hits = paddle.take_along_axis(labels, best, axis=1).astype("float64")
        return [hits[:, 0].sum(), hits.max(axis=1).sum()]
    hits = best == labels.reshape([-1, 1])
    return [hits[:, 0].astype("float64").sum(), hits.astype("float64").sum()]
