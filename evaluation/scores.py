"""How good a model is, from what it says of each labelled video. Pure numpy; knows no model, no files."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.results import Prediction, best_order, class_name

OUTCOME_COLUMNS = (
    "path", "label", "name", "predicted", "predicted_name", "probability", "truth_rank", "truth_probability", "problem"
)  # fmt: skip
NUM_CALIBRATION_BINS = 15
Z_95 = 1.959964  # of the normal distribution: 95 % lie within it on both sides


class Outcome(NamedTuple):
    """A labelled video and what the model says of it."""

    prediction: Prediction
    label: int
    """-1 where it is not known (a pkl that cannot be read)."""
    truth_probability: float
    """What the model gave the true class; 0 for an unreadable video."""
    truth_rank: int | None
    """The true class's place, 1 for the best; None for an unreadable video."""
    read_sec: float
    problem: str = ""
    """Why the video could not be read; empty if it could."""

    @property
    def is_correct(self) -> bool:
        return self.truth_rank == 1


class ClassScore(NamedTuple):
    class_id: int
    num_videos: int
    """The unreadable ones included."""
    top1: float
    """NaN for a class without videos."""


class Summary(NamedTuple):
    """The scores of a list. An unreadable video is a wrong answer; loss, calibration and confusion are without them."""

    num_videos: int
    num_unreadable: int
    top1: float
    top1_interval: tuple[float, float]
    """Where the top-1 lies with 95 % confidence: Wilson's score interval."""
    top5: float
    """With fewer than 5 classes K: top-K."""
    mean_class_accuracy: float
    """Of the classes that have videos."""
    loss: float
    """Cross entropy of the averaged probabilities; NaN without a readable video."""
    calibration_error: float
    """Expected difference of confidence and top-1, in NUM_CALIBRATION_BINS bins of equal width."""
    classes: list[ClassScore]
    confusion: np.ndarray
    """int64 (K, K): videos of class [row] that were taken for class [column]."""

    def text(self) -> str:
        return scores_text(self.loss, self.top1, self.top5)

    def further_text(self) -> str:
        """What the original did not say."""
        low, high = self.top1_interval
        return (
            f"top-1 lies between {low:.4f} and {high:.4f} (95 % interval), mean class accuracy "
            f"{self.mean_class_accuracy:.4f}, calibration error {self.calibration_error:.4f}"
        )

    def coverage(self) -> str:
        return coverage_text(self.num_videos, self.num_unreadable)


class Tally:
    """Loss and top-k of the outcomes so far."""

    def __init__(self, outcomes: Iterable[Outcome] = ()):
        self.num_videos = self.num_read = self.num_hits = self.num_hits5 = 0
        self.loss_sum = 0.0
        self.add(outcomes)

    def add(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.num_videos += 1
            if not outcome.problem:
                self.num_read += 1
                self.num_hits += outcome.is_correct
                self.num_hits5 += outcome.truth_rank <= 5
                # a probability that float32 has rounded to nothing counts as the smallest there is
                self.loss_sum -= math.log(max(outcome.truth_probability, np.finfo(np.float32).tiny))

    @property
    def top1(self) -> float:
        return self.num_hits / self.num_videos if self.num_videos else math.nan

    @property
    def top5(self) -> float:
        return self.num_hits5 / self.num_videos if self.num_videos else math.nan

    @property
    def loss(self) -> float:
        return self.loss_sum / self.num_read if self.num_read else math.nan

    def text(self) -> str:
        return f"{scores_text(self.loss, self.top1, self.top5)}, {self.num_videos} videos so far"


def scores_text(loss: float, top1: float, top5: float) -> str:
    """In the original's wording."""
    return f"Loss: {loss:.6f}, top1_acc: {top1:.4f}, top5_acc: {top5:.4f}"


def coverage_text(num_videos: int, num_unreadable: int) -> str:
    wrong = f", {num_unreadable} of them unreadable and counted as wrong" if num_unreadable else ""
    return f"{num_videos} videos{wrong}"


def judge(
    predictions: Sequence[Prediction], probabilities: np.ndarray, labels: Sequence[int], read_sec: Sequence[float]
) -> list[Outcome]:
    """Compare what the model says of N videos, float (N, K), with their labels."""
    ranks = np.argsort(best_order(probabilities), axis=1) + 1
    rows = zip(predictions, labels, probabilities, ranks, read_sec, strict=True)
    return [
        Outcome(prediction, int(label), float(row[label]), int(rank[label]), float(seconds))
        for prediction, label, row, rank, seconds in rows
    ]


def unreadable(name: str, label: int | None, problem: str) -> Outcome:
    return Outcome(Prediction(name, [], []), -1 if label is None else label, 0.0, None, 0.0, problem)


def summarize(outcomes: Sequence[Outcome], num_classes: int) -> Summary:
    """The scores over these videos."""
    read = [outcome for outcome in outcomes if not outcome.problem]
    tally, classes = Tally(outcomes), _class_scores(outcomes, num_classes)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    for outcome in read:
        confusion[outcome.label, outcome.prediction.class_ids[0]] += 1
    known = [score.top1 for score in classes if score.num_videos]
    return Summary(
        num_videos=tally.num_videos,
        num_unreadable=tally.num_videos - tally.num_read,
        top1=tally.top1,
        top1_interval=wilson_interval(tally.num_hits, tally.num_videos),
        top5=tally.top5,
        mean_class_accuracy=float(np.mean(known)) if known else math.nan,
        loss=tally.loss,
        calibration_error=calibration_error(
            np.array([outcome.prediction.probabilities[0] for outcome in read]),
            np.array([outcome.is_correct for outcome in read]),
        ),
        classes=classes,
        confusion=confusion,
    )


def summary_as_json(summary: Summary, outcomes: Sequence[Outcome], class_names: list[str] | None) -> dict[str, Any]:
    """The scores as plain data, null for what is not defined."""
    return {
        "num_videos": summary.num_videos,
        "num_unreadable": summary.num_unreadable,
        "top1": _or_null(summary.top1),
        "top1_interval_95": [_or_null(edge) for edge in summary.top1_interval],
        "top5": _or_null(summary.top5),
        "mean_class_accuracy": _or_null(summary.mean_class_accuracy),
        "loss": _or_null(summary.loss),
        "calibration_error": _or_null(summary.calibration_error),
        "unreadable": [
            {"path": outcome.prediction.video_id, "problem": outcome.problem} for outcome in outcomes if outcome.problem
        ],
        "classes": [
            {
                "class_id": score.class_id,
                "name": class_name(score.class_id, class_names),
                "num_videos": score.num_videos,
                "top1": _or_null(score.top1),
            }
            for score in summary.classes
        ],
        "confusion_matrix": summary.confusion.tolist(),
    }


def outcome_rows(outcomes: Sequence[Outcome], class_names: list[str] | None) -> Iterator[list[Any]]:
    """A row of OUTCOME_COLUMNS for each video; empty where something is not known."""
    for outcome in outcomes:
        truth = [outcome.label, class_name(outcome.label, class_names)] if outcome.label >= 0 else [None, None]
        if outcome.problem:
            yield [outcome.prediction.video_id, *truth, None, None, None, None, None, outcome.problem]
            continue
        best = outcome.prediction.class_ids[0]
        said = [best, class_name(best, class_names), outcome.prediction.probabilities[0]]
        yield [outcome.prediction.video_id, *truth, *said, outcome.truth_rank, outcome.truth_probability, None]


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


def calibration_curve(outcomes: Sequence[Outcome], num_bins: int = NUM_CALIBRATION_BINS) -> list[tuple]:
    """(mean confidence, top-1, number of videos) of each bin that has videos."""
    read = [outcome for outcome in outcomes if not outcome.problem]
    confidences = np.array([outcome.prediction.probabilities[0] for outcome in read])
    hits = np.array([outcome.is_correct for outcome in read])
    bins = _bins(confidences, num_bins)
    return [
        (float(confidences[bins == number].mean()), float(hits[bins == number].mean()), int((bins == number).sum()))
        for number in range(num_bins)
        if (bins == number).any()
    ]


def most_confused(confusion: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """The commonest mistakes: (true class, taken for, number of videos), the most frequent first."""
    mistakes = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(confusion)) for place in order]
    return [(truth, taken, int(mistakes[truth, taken])) for truth, taken in pairs if mistakes[truth, taken]]


def _or_null(figure: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(figure) else figure


def _bins(confidences: np.ndarray, num_bins: int) -> np.ndarray:
    """The bin of each confidence; a bin ends with its upper edge."""
    return np.clip(np.ceil(confidences * num_bins) - 1, 0, num_bins - 1).astype(int)


def _class_scores(outcomes: Sequence[Outcome], num_classes: int) -> list[ClassScore]:
    labels = np.array([outcome.label for outcome in outcomes if outcome.label >= 0], np.int64)
    hits = np.array([outcome.label for outcome in outcomes if outcome.is_correct], np.int64)
    num_videos, num_hits = np.bincount(labels, minlength=num_classes), np.bincount(hits, minlength=num_classes)
    return [
        ClassScore(number, int(videos), int(right) / int(videos) if videos else math.nan)
        for number, (videos, right) in enumerate(zip(num_videos, num_hits, strict=True))
    ]
