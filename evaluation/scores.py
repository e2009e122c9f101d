"""How good a model is, from what it says of each labelled video. Pure numpy; knows no model, no files.

A new score is a function and its line in SCORES: test.py prints it, scores.json and the report show it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.console import count
from evaluation.predictions import Prediction, class_name

ROW_COLUMNS = (
    "path", "label", "name", "predicted", "predicted_name", "probability", "truth_rank", "truth_probability", "problem"
)  # fmt: skip
NUM_CALIBRATION_BINS = 15
Z_95 = 1.959964  # of the normal distribution: 95 % lie within it on both sides


class ClassScore(NamedTuple):
    class_id: int
    num_videos: int
    """The unreadable ones included."""
    top1: float
    """NaN for a class without videos."""


class Tally:
    """Loss and top-k of the predictions so far."""

    def __init__(self, predictions: Iterable[Prediction] = ()):
        self.num_videos = self.num_read = self.num_hits = self.num_hits5 = 0
        self.loss_sum = 0.0
        self.add(predictions)

    def add(self, predictions: Iterable[Prediction]) -> None:
        for prediction in predictions:
            self.num_videos += 1
            if not prediction.problem:
                rank = prediction.truth_rank
                self.num_read += 1
                self.num_hits += rank == 1
                self.num_hits5 += rank <= 5
                # a probability that float32 has rounded to nothing counts as the smallest there is
                self.loss_sum -= math.log(max(prediction.truth_probability, np.finfo(np.float32).tiny))

    @property
    def top1(self) -> float:
        return self.num_hits / self.num_videos if self.num_videos else math.nan

    @property
    def top5(self) -> float:
        return self.num_hits5 / self.num_videos if self.num_videos else math.nan

    @property
    def loss(self) -> float:
        return self.loss_sum / self.num_read if self.num_read else math.nan

    def text(self, num_classes: int) -> str:
        so_far = f"{count(self.num_videos, 'video')} so far"
        scores = {"loss": self.loss, "top1": self.top1, "top5": self.top5}
        return f"{scores_text(scores, num_classes)}, {so_far}"


class Scored:
    """The predictions on a labelled list, and what several scores are computed from."""

    def __init__(self, predictions: Sequence[Prediction], num_classes: int):
        self.predictions = predictions
        self.num_classes = num_classes
        self.readable = [prediction for prediction in predictions if not prediction.problem]
        self.tally = Tally(predictions)
        self.classes = _class_scores(predictions, num_classes)


def top1(scored: Scored) -> float:
    """The share of videos whose best class is the true one; an unreadable video is a wrong answer."""
    return scored.tally.top1


def top5(scored: Scored) -> float:
    """The same for the five best classes; with fewer than 5 classes K: top-K."""
    return scored.tally.top5


def mean_class_accuracy(scored: Scored) -> float:
    """The mean of the classes' top-1, of those that have videos."""
    known = [score.top1 for score in scored.classes if score.num_videos]
    return float(np.mean(known)) if known else math.nan


def loss(scored: Scored) -> float:
    """Cross entropy of the averaged probabilities; NaN without a readable video."""
    return scored.tally.loss


def calibration(scored: Scored) -> float:
    """Expected calibration error over the readable videos; see `calibration_error`."""
    return calibration_error(
        np.array([prediction.confidence for prediction in scored.readable]),
        np.array([prediction.is_correct for prediction in scored.readable]),
    )


class Score(NamedTuple):
    compute: Callable[[Scored], float]
    title: str
    note: str
    """What the report says beneath it."""


SCORES = {
    "top1": Score(top1, "top-1", "share of right answers"),
    "top5": Score(top5, "top-5", "the truth is among the five best classes"),
    "mean_class_accuracy": Score(mean_class_accuracy, "mean class accuracy", "each class counts the same"),
    "loss": Score(loss, "loss", "cross entropy"),
    "calibration_error": Score(calibration, "calibration error", "0: as sure as it should be"),
}
"""Key in scores.json -> score. A function of `probability_table` can be a score over all classes."""
IN_FIRST_LINE = ("top1", "top5", "loss")  # of what test.py prints, in the original's words


class Summary(NamedTuple):
    """The scores of a list. An unreadable video is a wrong answer; loss, calibration and confusion are without them."""

    num_videos: int
    num_unreadable: int
    scores: dict[str, float]
    """The keys of SCORES."""
    top1_interval: tuple[float, float]
    """Where the top-1 lies with 95 % confidence: Wilson's score interval."""
    classes: list[ClassScore]
    confusion: np.ndarray
    """int64 (K, K): videos of class [row] that were taken for class [column]."""

    def text(self) -> str:
        """The scores in the original's words."""
        return scores_text(self.scores, len(self.classes))

    def further_text(self) -> str:
        """What the original did not say."""
        low, high = self.top1_interval
        others = [f"{score.title} {self.scores[key]:.4f}" for key, score in SCORES.items() if key not in IN_FIRST_LINE]
        return ", ".join([f"top-1 lies between {low:.4f} and {high:.4f} (95 % interval)", *others])

    def coverage(self) -> str:
        return coverage_text(self.num_videos, self.num_unreadable)

    def warning(self) -> str:
        """What looks wrong: the model gives one answer to videos of several classes. Empty if nothing does."""
        answers, truths = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        if (answers > 0).sum() == 1 and (truths > 0).sum() > 1:
            return (
                f"the model takes every video for class {int(answers.argmax())}: it has learnt nothing; are its "
                "weights those of this config, and was its learning rate not too high?"
            )
        return ""


def score_texts(num_classes: int) -> dict[str, str]:
    """How log lines say loss and accuracies: the original's words, as formats.

    A top-5 says nothing where there are no more than five classes, and is left out.
    """
    texts = {"loss": "Loss: {:.6f}", "top1": "top1_acc: {:.4f}", "top5": "top5_acc: {:.4f}"}
    return {key: text for key, text in texts.items() if key != "top5" or num_classes > 5}


def scores_text(scores: dict[str, float], num_classes: int) -> str:
    """The scores of `score_texts` on one line."""
    return ", ".join(text.format(scores[key]) for key, text in score_texts(num_classes).items())


def coverage_text(num_videos: int, num_unreadable: int) -> str:
    wrong = f", {num_unreadable} of them unreadable and counted as wrong" if num_unreadable else ""
    return f"{count(num_videos, 'video')}{wrong}"


def summarize(predictions: Sequence[Prediction], num_classes: int) -> Summary:
    """The scores over these videos."""
    scored = Scored(predictions, num_classes)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    for prediction in scored.readable:
        confusion[prediction.label, prediction.class_ids[0]] += 1
    return Summary(
        num_videos=len(predictions),
        num_unreadable=len(predictions) - len(scored.readable),
        scores={key: score.compute(scored) for key, score in SCORES.items()},
        top1_interval=wilson_interval(scored.tally.num_hits, len(predictions)),
        classes=scored.classes,
        confusion=confusion,
    )


def summary_as_json(
    summary: Summary, predictions: Sequence[Prediction], class_names: list[str] | None
) -> dict[str, Any]:
    """The scores as plain data, null for what is not defined."""
    content: dict[str, Any] = {"num_videos": summary.num_videos, "num_unreadable": summary.num_unreadable}
    for key, value in summary.scores.items():
        content[key] = _or_null(value)
        if key == "top1":
            content["top1_interval_95"] = [_or_null(edge) for edge in summary.top1_interval]
    return content | {
        "unreadable": [
            {"path": prediction.path, "problem": prediction.problem} for prediction in predictions if prediction.problem
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


def prediction_rows(predictions: Sequence[Prediction], class_names: list[str] | None) -> Iterator[list[Any]]:
    """A row of ROW_COLUMNS for each video; empty where something is not known."""
    for prediction in predictions:
        label = prediction.label
        truth = [label, class_name(label, class_names)] if label >= 0 else [None, None]
        if prediction.problem:
            yield [prediction.video_id, *truth, None, None, None, None, None, prediction.problem]
            continue
        best = int(prediction.class_ids[0])
        said = [best, class_name(best, class_names), prediction.confidence]
        yield [prediction.video_id, *truth, *said, prediction.truth_rank, prediction.truth_probability, None]


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


def _class_scores(predictions: Sequence[Prediction], num_classes: int) -> list[ClassScore]:
    labels = np.array([prediction.label for prediction in predictions if prediction.label >= 0], np.int64)
    hits = np.array([prediction.label for prediction in predictions if prediction.is_correct], np.int64)
    num_videos, num_hits = np.bincount(labels, minlength=num_classes), np.bincount(hits, minlength=num_classes)
    return [
        ClassScore(number, int(videos), int(right) / int(videos) if videos else math.nan)
        for number, (videos, right) in enumerate(zip(num_videos, num_hits, strict=True))
    ]
