"""What the model says of each validation clip, and the scores that need all of them. Knows no files."""

import base64
import math
from collections.abc import Callable, Sequence

import numpy as np
import paddle

from datareader.loader import Batch
from datareader.records import Record
from distributed.ranks import Ranks
from evaluation.per_class import LAST, average_precisions, confusion_matrix, mean_of_known

MOST_CONFUSED = 100  # classes, up to which a confusion matrix is a line that can be read


class ValidatedClips:
    """The clips of this rank that were scored so far; nothing is fetched from the device before it is asked for.

    Args:
        records: the validation list.
        num_classes: K.
        to_probabilities: logits, float32 (N, K) -> probabilities of the same shape, as the model has them.
    """

    def __init__(
        self, records: Sequence[Record], num_classes: int, to_probabilities: Callable[[paddle.Tensor], paddle.Tensor]
    ):
        self.num_classes = num_classes
        self.indices: list[int] = []
        """The places in the list of the clips that could be read."""
        self._records = records
        self._to_probabilities = to_probabilities
        self._given: list[paddle.Tensor] = []
        self._labels: list[paddle.Tensor] = []
        self._unreadable: list[int] = []

    def add(self, batch: Batch, logits: paddle.Tensor | None) -> None:
        """Add a batch and its logits, float32 (N, K); None if N is 0."""
        self._unreadable += [index for index, _ in batch.unreadable]
        if logits is not None:
            self.indices += batch.indices
            self._given.append(self._to_probabilities(logits))
            self._labels.append(batch.labels)

    def probabilities(self) -> np.ndarray:
        """Float32 (N, K), a row for each of `indices`."""
        return self._fetched(self._given, np.zeros((0, self.num_classes), np.float32))

    def confusion_matrix(self, ranks: Ranks) -> list[list[int]] | None:
        """Readable videos of class [row] that were taken for class [column], K lists of K, over all ranks.

        None for more than MOST_CONFUSED classes.
        """
        if self.num_classes > MOST_CONFUSED:
            return None
        labels = self._fetched(self._labels, np.zeros(0, np.int64))
        own = confusion_matrix(labels, self.probabilities().argmax(axis=1), self.num_classes)
        return np.reshape(ranks.sums(own.ravel().tolist()), own.shape).tolist()

    def mean_average_precision(self, ranks: Ranks) -> float:
        """The mean over the classes that have videos, of a multi-label list, over all ranks; NaN without a video.

        Unreadable videos rank last.
        """
        truth = np.zeros((len(self._unreadable), self.num_classes), np.float32)
        for row, index in zip(truth, self._unreadable, strict=True):
            row[list(self._records[index].labels)] = 1
        labels = self._fetched(self._labels, np.zeros((0, self.num_classes), np.float32))
        tables = (
            np.concatenate([self.probabilities(), np.full_like(truth, LAST)]),
            np.concatenate([labels, truth]),
        )
        everyones = ranks.exchange([_packed(table) for table in tables])
        given, is_true = (
            np.concatenate([_unpacked(part, self.num_classes) for part in parts])
            for parts in zip(*everyones, strict=True)
        )
        return mean_of_known(average_precisions(given, is_true > 0)) if len(given) else math.nan

    @staticmethod
    def _fetched(parts: list[paddle.Tensor], nothing: np.ndarray) -> np.ndarray:
        return paddle.concat(parts).numpy() if parts else nothing


def _packed(table: np.ndarray) -> str:
    """A table of float32 as text, a quarter of what its numbers would be."""
    return base64.b64encode(table.astype("<f4").tobytes()).decode()


def _unpacked(text: str, num_columns: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, num_columns)
