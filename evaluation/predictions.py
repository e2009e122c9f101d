"""What the model says of each video: one record, from the model to scores, files and people. Knows no model."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.command_line import PROJECT

NOTHING = np.zeros(0, np.float32)
NO_CLASSES = np.zeros(0, np.int64)
TINY, EPSILON = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).epsneg)


class Prediction(NamedTuple):
    """What the model says of one video, all classes, best first; empty arrays if the video could not be read."""

    path: str
    """The video, as the list writes it."""
    video_id: str
    """What results call it: its path, or the id stored in a pkl."""
    probabilities: np.ndarray = NOTHING
    """float32 (K,), falling."""
    class_ids: np.ndarray = NO_CLASSES
    """int64 (K,): the classes of these probabilities."""
    features: np.ndarray = NOTHING
    """float32 (num_features,): what the last layer saw, averaged over segments and views; empty if not asked for."""
    label: int = -1
    """Class number by the list, or by the pkl; -1: not known."""
    read_sec: float = 0.0
    """Seconds that reading the video took."""
    problem: str = ""
    """Why the video could not be read; empty if it could."""
    labels: tuple[int, ...] | None = None
    """Class numbers by a multi-label list, whose `label` is -1, () for no class; None: not known."""

    @property
    def truth(self) -> tuple[int, ...]:
        """The true classes, however many a video may have; empty where they are not known."""
        return (self.labels or ()) if self.label < 0 else (self.label,)

    @property
    def truth_rank(self) -> int | None:
        """The place of the best true class, 1 for the first; None where it is not known or the video was unreadable."""
        places = [int(place) for label in self.truth for place in np.nonzero(self.class_ids == label)[0]]
        return min(places) + 1 if places else None

    @property
    def truth_probability(self) -> float:
        """What the model gave that class; 0 for a video that could not be read."""
        rank = self.truth_rank
        return float(self.probabilities[rank - 1]) if rank else 0.0

    @property
    def is_correct(self) -> bool:
        """Whether the best class is true, or one of those that are."""
        return bool(len(self.class_ids)) and int(self.class_ids[0]) in self.truth

    @property
    def loss(self) -> float:
        """Cross entropy of a readable video with all its classes; for a multi-label one binary, the mean over them.

        A probability that float32 has rounded to 0 counts as the smallest there is, one that is 1 as the largest below.
        """
        if self.labels is None:
            return -math.log(max(self.truth_probability, TINY))
        given, is_true = self.probabilities.astype(np.float64), np.isin(self.class_ids, self.labels)
        return float(-np.log(np.where(is_true, np.maximum(given, TINY), np.maximum(1 - given, EPSILON))).mean())

    @property
    def confidence(self) -> float:
        """The probability of the best class."""
        return float(self.probabilities[0])

    def top(self, top_k: int) -> "Prediction":
        """The same with the best classes only, and without features: what results keep."""
        return self._replace(
            probabilities=self.probabilities[:top_k], class_ids=self.class_ids[:top_k], features=NOTHING
        )

    def plain(self) -> tuple[str, list[float], list[int]]:
        """(video_id, probabilities, class ids), as the original's pickle has them."""
        return self.video_id, self.probabilities.tolist(), self.class_ids.tolist()

    def as_json(self) -> list[Any]:
        """The fields as JSON can hold them; `from_json` gives the same to the bit."""
        return [field.tolist() if isinstance(field, np.ndarray) else field for field in self]

    @classmethod
    def from_json(cls, fields: list[Any]) -> "Prediction":
        prediction = cls(*fields)
        return prediction._replace(
            probabilities=np.float32(prediction.probabilities),
            class_ids=np.array(prediction.class_ids, np.int64),
            features=np.float32(prediction.features),
            labels=None if prediction.labels is None else tuple(prediction.labels),
        )


def sort_classes(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of each video, falling, and their classes; of equal ones the lower number first.

    Args:
        probabilities: float32 (N, K).

    Returns:
        float32 (N, K) and int64 (N, K).
    """
    class_ids = np.argsort(-probabilities, axis=1, kind="stable")
    return np.take_along_axis(probabilities, class_ids, axis=1), class_ids


def probability_table(predictions: Sequence[Prediction], num_classes: int) -> np.ndarray:
    """Float32 (N, K): every video's probabilities in the order of the classes, for scores over all classes."""
    table = np.zeros((len(predictions), num_classes), np.float32)
    for row, prediction in zip(table, predictions, strict=True):
        row[prediction.class_ids] = prediction.probabilities
    return table


def read_class_names(path: str | Path | None, num_classes: int) -> list[str] | None:
    """The class names of a label file, one per line in label order; None without a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or names another number of classes than the model has.
    """
    if path is None:
        return None
    path = Path(path)
    if not path.is_absolute() and not path.exists() and (PROJECT / path).is_file():
        path = PROJECT / path  # the project's own label files are found from any working folder
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such label file; set MODEL.label_file, or -o MODEL.label_file=none")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8: {error.reason} at byte {error.start}") from error
    if len(names) != num_classes:
        raise ValueError(
            f"{path}: names {len(names)} classes, but MODEL.num_classes is {num_classes}; "
            "set one to match the other, or -o MODEL.label_file=none"
        )
    return names


def class_name(class_id: int, class_names: list[str] | None) -> str:
    return class_names[class_id] if class_names else f"class {class_id}"


def all_class_names(class_names: list[str] | None, num_classes: int) -> list[str]:
    """What each class is called, in label order."""
    return [class_name(class_id, class_names) for class_id in range(num_classes)]


def best_classes(prediction: Prediction, class_names: list[str] | None, top_k: int) -> list[tuple[str, float]]:
    """(name, probability) of the best classes."""
    _, probabilities, class_ids = prediction.top(top_k).plain()
    return [(class_name(class_id, class_names), one) for class_id, one in zip(class_ids, probabilities, strict=True)]


def describe(prediction: Prediction, class_names: list[str] | None, top_k: int = 5) -> str:
    """One line for people: the video and its best classes by name."""
    named = (f"{name} {probability:.3f}" for name, probability in best_classes(prediction, class_names, top_k))
    return f"{prediction.video_id}: {', '.join(named)}"
