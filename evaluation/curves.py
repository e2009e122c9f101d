"""How well scores rank the positives of one class: average precision, ROC, thresholds. Pure numpy; no predictions."""

import math
from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """What each threshold lets through: the videos whose score is at least that. The highest threshold comes first."""

    thresholds: np.ndarray
    """float (M,), falling: the M scores that occur."""
    num_true: np.ndarray
    """int64 (M,): positives at or above the threshold."""
    num_false: np.ndarray
    """int64 (M,): negatives at or above it."""

    @property
    def precision(self) -> np.ndarray:
        return self.num_true / (self.num_true + self.num_false)

    @property
    def recall(self) -> np.ndarray:
        """The true positive rate; NaN without a positive."""
        return _share(self.num_true)

    @property
    def false_rate(self) -> np.ndarray:
        """The false positive rate; NaN without a negative."""
        return _share(self.num_false)

    @property
    def f1(self) -> np.ndarray:
        return 2 * self.num_true / (self.num_true + self.num_false + self.num_true[-1])


class Threshold(NamedTuple):
    """Where to say yes, and what comes of it."""

    value: float
    precision: float
    recall: float
    false_rate: float
    f1: float


def curve_of(scores: np.ndarray, is_positive: np.ndarray) -> Curve:
    """Counts at each score, equal ones together.

    Args:
        scores: float (N,), N at least 1.
        is_positive: bool (N,).
    """
    order = np.argsort(-scores, kind="stable")
    scores, is_positive = scores[order], is_positive[order]
    ends = np.append(np.nonzero(np.diff(scores))[0], len(scores) - 1)
    num_true = np.cumsum(is_positive, dtype=np.int64)[ends]
    return Curve(scores[ends], num_true, ends + 1 - num_true)


def average_precision(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """The sum over thresholds of precision, weighed by the recall that each adds; NaN without a positive.

    Equal scores are one threshold, so that their order does not matter. Source: scikit-learn's
    average_precision_score, which says 0 without a positive.

    Args:
        scores: float (N,).
        is_positive: bool (N,).
    """
    if not is_positive.any():
        return math.nan
    curve = curve_of(scores, is_positive)
    return float((np.diff(curve.recall, prepend=0.0) * curve.precision).sum())


def area_under_roc(curve: Curve) -> float:
    """The share of pairs of a positive and a negative that are in order, equal ones half; NaN without either."""
    false_rate, recall = (np.append(0.0, rates) for rates in (curve.false_rate, curve.recall))
    return float((np.diff(false_rate) * (recall[1:] + recall[:-1]) / 2).sum())


def best_f1(curve: Curve) -> Threshold:
    """The threshold with the highest F1; of several the highest."""
    return _at(curve, int(np.argmax(curve.f1)))


def best_youden(curve: Curve) -> Threshold:
    """The threshold where recall is furthest above the false positive rate (Youden's J); of several the highest.

    Source: W. J. Youden, Index for rating diagnostic tests, Cancer 3, 1950.
    """
    return _at(curve, int(np.argmax(curve.recall - curve.false_rate)))


def _at(curve: Curve, place: int) -> Threshold:
    columns = (curve.thresholds, curve.precision, curve.recall, curve.false_rate, curve.f1)
    return Threshold(*(float(column[place]) for column in columns))


def _share(counts: np.ndarray) -> np.ndarray:
    return counts / counts[-1] if counts[-1] else np.full(len(counts), math.nan)
