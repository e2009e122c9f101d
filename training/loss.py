"""What training makes smaller. Knows no model."""

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F


class Loss:
    """The mean loss of clips; without arguments the plain cross entropy, as the original has it.

    Args:
        label_smoothing: share of the truth that is spread over all classes evenly; 0: off. Source: Szegedy et al.,
            Rethinking the Inception Architecture, CVPR 2016.
        class_weights: factor on the loss of a clip by its class, float (K,), or on each class's part with multi_label.
            The mean is over the clips, not over their weights: so parts of a step add up to it. None: 1 for all.
        multi_label: labels are float32 (N, K) of zeros and ones, and the loss is the binary cross entropy of sigmoids,
            the mean over clips and classes.
    """

    def __init__(
        self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None, multi_label: bool = False
    ):
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else paddle.to_tensor(class_weights, "float32")
        self.multi_label = multi_label

    def __call__(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Logits, float32 (N, K), and labels, int64 (N,) -> the mean loss, float32 ()."""
        if self.multi_label:
            even = 0.5  # of a class that is either there or not
            labels = labels * (1 - self.label_smoothing) + even * self.label_smoothing
            return F.binary_cross_entropy_with_logits(logits, labels, weight=self.class_weights)
        if not self.label_smoothing and self.class_weights is None:
            return F.cross_entropy(logits, labels)
        losses = F.cross_entropy(logits, labels, reduction="none").reshape([-1])
        if self.label_smoothing:
            evenly = -F.log_softmax(logits, axis=1).mean(axis=1)
            losses = losses * (1 - self.label_smoothing) + evenly * self.label_smoothing
        if self.class_weights is not None:
            losses = losses * self.class_weights[labels]
        return losses.mean()


CROSS_ENTROPY = Loss()


def balanced_weights(counts: Sequence[int]) -> np.ndarray:
    """Weights of classes in inverse proportion to their videos, whose mean over all videos is 1; float64 (K,).

    Args:
        counts: videos of each class; one without any weighs nothing.
    """
    numbers = np.asarray(counts, np.float64)
    present = numbers > 0
    return np.divide(numbers.sum() / present.sum(), numbers, out=np.zeros_like(numbers), where=present)
