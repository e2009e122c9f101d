"""Whether a model is as sure as it should be, and how far a measured share may be from the true one. Pure numpy."""

import math
from collections.abc import Sequence

import numpy as np

from evaluation.predictions import Prediction

NUM_CALIBRATION_BINS = 15
Z_95 = 1.959964  # of the normal distribution: 95 % lie within it on both sides


def wilson_interval(num_hits: int, num_tries: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, which stays within 0 and 1 and is right for few tries too.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22, 1927.
    """
    if not num_tries:
        return math.nan, math.nan
    share, ratio = num_hits / num_tries, z * z / num_tries
    middle = (share + ratio / 2) / (1 + ratio)
    reach = z * math.sqrt(share * (1 - share) / num_tries + ratio / (4 * num_tries)) / (1 + ratio)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def calibration_error(confidences: np.ndarray, are_correct: np.ndarray, num_bins: int = NUM_CALIBRATION_BINS) -> float:
    """Expected calibration error: the mean over videos of |confidence - accuracy| of their bin.

    Args:
        confidences: of the best class, float (N,).
        are_correct: bool (N,).

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    if not len(confidences):
        return math.nan
    bins = _bins(confidences, num_bins)
    gaps = np.bincount(bins, confidences - are_correct, num_bins)
    return float(np.abs(gaps).sum() / len(confidences))


def calibration_curve(predictions: Sequence[Prediction], num_bins: int = NUM_CALIBRATION_BINS) -> list[tuple]:
    """(mean confidence, top-1, number of videos) of each bin that has videos."""
    read = [prediction for prediction in predictions if not prediction.problem]
    confidences = np.array([prediction.confidence for prediction in read])
    hits = np.array([prediction.is_correct for prediction in read])
    bins = _bins(confidences, num_bins)
    return [
        (float(confidences[bins == number].mean()), float(hits[bins == number].mean()), int((bins == number).sum()))
        for number in range(num_bins)
        if (bins == number).any()
    ]


def _bins(confidences: np.ndarray, num_bins: int) -> np.ndarray:
    """The bin of each confidence; a bin ends with its upper edge."""
    return np.clip(np.ceil(confidences * num_bins) - 1, 0, num_bins - 1).astype(int)
