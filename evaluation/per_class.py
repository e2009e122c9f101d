"""What the model makes of each class: accuracy, precision, recall, F1, average precision, confusions. Pure numpy."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evaluation.curves import Curve, average_precision, curve_of
from evaluation.predictions import Prediction, probability_table

SAID = 0.5  # probability from which a multi-label model counts as saying a class
LAST = -1.0  # below all probabilities: an unreadable video ranks behind every other


class ClassScore(NamedTuple):
    """The scores of one class; unreadable videos count as videos that it was not said of, and rank last."""

    class_id: int
    num_videos: int
    """The unreadable ones included."""
    top1: float
    """NaN for a class without videos, and of a multi-label list."""
    precision: float
    """Of the videos that the class was said of, the share that are of it; 0 if it was said of none."""
    recall: float
    """Of its videos, the share that it was said of; 0 if it has none."""
    f1: float
    """2 * true / (said + videos). It, precision and recall are NaN for a class that has no video and was never said."""
    average_precision: float
    """NaN for a class without videos."""


class Tables(NamedTuple):
    """Truth and answers of N videos, for each of K classes."""

    truth: np.ndarray
    """bool (N, K)."""
    said: np.ndarray
    """bool (N, K): the best class; of a multi-label model those with a probability of SAID at least."""
    probabilities: np.ndarray
    """float32 (N, K); LAST in the rows of unreadable videos."""


def tables_of(predictions: Sequence[Prediction], num_classes: int, multi_label: bool) -> Tables:
    """The predictions, which have all classes, as tables; videos without a label have empty rows in `truth`."""
    probabilities = probability_table(predictions, num_classes)
    truth, said = (np.zeros(probabilities.shape, bool) for _ in range(2))
    for row, prediction in enumerate(predictions):
        truth[row, list(prediction.truth)] = True
        if prediction.problem:
            probabilities[row] = LAST
        elif not multi_label:
            said[row, prediction.class_ids[0]] = True
    return Tables(truth, probabilities >= SAID if multi_label else said, probabilities)


def class_scores(tables: Tables, multi_label: bool) -> list[ClassScore]:
    """The scores of each class, in the order of their numbers."""
    num_right = (tables.truth & tables.said).sum(axis=0)
    num_said, num_videos = tables.said.sum(axis=0), tables.truth.sum(axis=0)
    occurs = num_said + num_videos > 0
    recall = _ratio(num_right, num_videos)
    columns = (
        np.full(len(occurs), math.nan) if multi_label else np.where(num_videos > 0, recall, math.nan),
        np.where(occurs, _ratio(num_right, num_said), math.nan),
        np.where(occurs, recall, math.nan),
        np.where(occurs, _ratio(2 * num_right, num_said + num_videos), math.nan),
        average_precisions(tables.probabilities, tables.truth),
    )
    rows = zip(num_videos.tolist(), *(column.tolist() for column in columns), strict=True)
    return [ClassScore(class_id, *row) for class_id, row in enumerate(rows)]


def average_precisions(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Each class's average precision, float64 (K,); NaN for a class without videos.

    Args:
        probabilities: float (N, K).
        truth: bool (N, K).
    """
    return np.array([average_precision(*columns) for columns in zip(probabilities.T, truth.T, strict=True)])


def mean_of_known(values: Sequence[float]) -> float:
    """The mean of those that are defined; NaN if none is."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def confusion_matrix(labels: np.ndarray, best: np.ndarray, num_classes: int) -> np.ndarray:
    """int64 (K, K): videos of class [row] that were taken for class [column].

    Args:
        labels, best: the true class and the best one of each video, int64 (N,).
    """
    counts = np.bincount(labels * num_classes + best, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def most_confused(confusion: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """The commonest mistakes: (true class, taken for, number of videos), the most frequent first."""
    mistakes = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(confusion)) for place in order]
    return [(truth, taken, int(mistakes[truth, taken])) for truth, taken in pairs if mistakes[truth, taken]]


def class_curve(predictions: Sequence[Prediction], class_id: int) -> Curve:
    """How the probabilities of a class rank readable videos with all classes, one at least."""
    read = [prediction for prediction in predictions if not prediction.problem]
    given = [prediction.probabilities[prediction.class_ids == class_id][0] for prediction in read]
    return curve_of(np.array(given), np.array([class_id in prediction.truth for prediction in read]))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """0 where there is nothing, as scikit-learn has it."""
    return part / np.maximum(whole, 1)
