"""How good a model is, from what it says of each labelled video. Pure numpy; knows no model, no files.

A new score is a function and its line in SCORES, MULTI_LABEL_SCORES or both: test.py prints it, scores.json and the
report show it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.console import count
from evaluation.calibration import calibration_error, wilson_interval
from evaluation.per_class import ClassScore, class_scores, confusion_matrix, mean_of_known, tables_of
from evaluation.predictions import Prediction, class_name

ROW_COLUMNS = (
    "path", "label", "name", "predicted", "predicted_name", "probability", "truth_rank", "truth_probability", "problem"
)  # fmt: skip


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
                self.num_hits5 += rank is not None and rank <= 5
                self.loss_sum += prediction.loss

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

    def __init__(self, predictions: Sequence[Prediction], num_classes: int, multi_label: bool = False):
        self.predictions = predictions
        self.num_classes = num_classes
        self.readable = [prediction for prediction in predictions if not prediction.problem]
        self.tally = Tally(predictions)
        tables = tables_of(predictions, num_classes, multi_label)
        self.classes = class_scores(tables, multi_label)
        self.num_right = int((tables.truth & tables.said).sum())
        """(video, class) pairs that were said and are true."""
        self.num_said_and_true = int(tables.truth.sum() + tables.said.sum())


def top1(scored: Scored) -> float:
    """The share of videos whose best class is the true one, or one of those; an unreadable video is a wrong answer."""
    return scored.tally.top1


def top5(scored: Scored) -> float:
    """The same for the five best classes; with fewer than 5 classes K: top-K."""
    return scored.tally.top5


def mean_class_accuracy(scored: Scored) -> float:
    """The mean of the classes' top-1, of those that have videos."""
    return mean_of_known([score.top1 for score in scored.classes])


def macro_precision(scored: Scored) -> float:
    """The mean of the classes' precision, of those that have videos or were said."""
    return mean_of_known([score.precision for score in scored.classes])


def macro_recall(scored: Scored) -> float:
    """The same of their recall."""
    return mean_of_known([score.recall for score in scored.classes])


def macro_f1(scored: Scored) -> float:
    """The same of their F1."""
    return mean_of_known([score.f1 for score in scored.classes])


def micro_f1(scored: Scored) -> float:
    """F1 of all pairs of a video and a class together; NaN if no class was said and none is true."""
    return 2 * scored.num_right / scored.num_said_and_true if scored.num_said_and_true else math.nan


def mean_average_precision(scored: Scored) -> float:
    """The mean of the classes' average precision, of those that have videos."""
    return mean_of_known([score.average_precision for score in scored.classes])


def loss(scored: Scored) -> float:
    """Cross entropy of the averaged probabilities, binary for a multi-label list; NaN without a readable video."""
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
    "macro_precision": Score(macro_precision, "precision", "mean of the classes"),
    "macro_recall": Score(macro_recall, "recall", "mean of the classes"),
    "macro_f1": Score(macro_f1, "F1", "mean of the classes"),
    "mean_average_precision": Score(mean_average_precision, "mAP", "mean average precision"),
    "loss": Score(loss, "loss", "cross entropy"),
    "calibration_error": Score(calibration, "calibration error", "0: as sure as it should be"),
}
"""Key in scores.json -> score."""
MULTI_LABEL_SCORES = {
    "mean_average_precision": SCORES["mean_average_precision"],
    "top1": Score(top1, "top-1", "the best class is a true one"),
    "top5": Score(top5, "top-5", "one of the five best classes is"),
    "micro_f1": Score(micro_f1, "micro F1", "all answers count the same"),
    "macro_f1": Score(macro_f1, "macro F1", "mean of the classes"),
    "macro_precision": SCORES["macro_precision"],
    "macro_recall": SCORES["macro_recall"],
    "loss": Score(loss, "loss", "binary cross entropy"),
    "calibration_error": SCORES["calibration_error"],
}
"""The same for lists in which a video may have several classes."""
IN_FIRST_LINE = ("top1", "top5", "loss")  # of what test.py prints, in the original's words


class Summary(NamedTuple):
    """The scores of a list. An unreadable video is a wrong answer; loss, calibration and confusion are without them."""

    num_videos: int
    num_unreadable: int
    scores: dict[str, float]
    """The keys of SCORES, or of MULTI_LABEL_SCORES."""
    top1_interval: tuple[float, float]
    """Where the top-1 lies with 95 % confidence: Wilson's score interval."""
    classes: list[ClassScore]
    confusion: np.ndarray | None
    """int64 (K, K): videos of class [row] that were taken for class [column]; None: multi-label."""

    @property
    def registry(self) -> dict[str, Score]:
        """What `scores` holds: SCORES or MULTI_LABEL_SCORES."""
        return MULTI_LABEL_SCORES if self.confusion is None else SCORES

    def text(self) -> str:
        """The scores in the original's words."""
        return scores_text(self.scores, len(self.classes))

    def further_text(self) -> str:
        """What the original did not say."""
        low, high = self.top1_interval
        titles = {key: score.title for key, score in self.registry.items() if key not in IN_FIRST_LINE}
        others = [f"{title} {self.scores[key]:.4f}" for key, title in titles.items()]
        return ", ".join([f"top-1 lies between {low:.4f} and {high:.4f} (95 % interval)", *others])

    def coverage(self) -> str:
        return coverage_text(self.num_videos, self.num_unreadable)

    def warning(self) -> str:
        """What looks wrong: the model gives one answer to videos of several classes. Empty if nothing does."""
        if self.confusion is None:
            return ""
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


def summarize(predictions: Sequence[Prediction], num_classes: int, multi_label: bool = False) -> Summary:
    """The scores over these videos, whose predictions have all classes."""
    scored = Scored(predictions, num_classes, multi_label)
    labels = np.array([prediction.label for prediction in scored.readable], np.int64)
    best = np.array([prediction.class_ids[0] for prediction in scored.readable], np.int64)
    return Summary(
        num_videos=len(predictions),
        num_unreadable=len(predictions) - len(scored.readable),
        scores={key: score.compute(scored) for key, score in (MULTI_LABEL_SCORES if multi_label else SCORES).items()},
        top1_interval=wilson_interval(scored.tally.num_hits, len(predictions)),
        classes=scored.classes,
        confusion=None if multi_label else confusion_matrix(labels, best, num_classes),
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
    content |= {
        "unreadable": [
            {"path": prediction.path, "problem": prediction.problem} for prediction in predictions if prediction.problem
        ],
        "classes": [
            {
                "class_id": score.class_id,
                "name": class_name(score.class_id, class_names),
                "num_videos": score.num_videos,
            }
            | {key: _or_null(value) for key, value in score._asdict().items() if isinstance(value, float)}
            for score in summary.classes
        ],
    }
    return content if summary.confusion is None else content | {"confusion_matrix": summary.confusion.tolist()}


def prediction_rows(predictions: Sequence[Prediction], class_names: list[str] | None) -> Iterator[list[Any]]:
    """A row of ROW_COLUMNS for each video; empty where something is not known. Several classes are "3,7" and "a; b"."""
    for prediction in predictions:
        truth = [
            _joined(",", prediction.truth),
            _joined("; ", [class_name(one, class_names) for one in prediction.truth]),
        ]
        if prediction.problem:
            yield [prediction.video_id, *truth, None, None, None, None, None, prediction.problem]
            continue
        best = int(prediction.class_ids[0])
        said = [best, class_name(best, class_names), prediction.confidence]
        yield [prediction.video_id, *truth, *said, prediction.truth_rank, prediction.truth_probability, None]


def _joined(separator: str, parts: Sequence[Any]) -> Any:
    """The parts as text; one alone as it is, None if there are none."""
    return separator.join(map(str, parts)) if len(parts) > 1 else next(iter(parts), None)


def _or_null(figure: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(figure) else figure
