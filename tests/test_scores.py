import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from evaluation.predictions import Prediction, sort_classes
from evaluation.scores import (
    ROW_COLUMNS,
    calibration_curve,
    calibration_error,
    most_confused,
    prediction_rows,
    summarize,
    summary_as_json,
    wilson_interval,
)


def predictions_of(probabilities, labels) -> list[Prediction]:
    best, class_ids = sort_classes(np.float32(probabilities))
    names = [f"{number}.mp4" for number in range(len(labels))]
    rows = zip(names, best, class_ids, labels, strict=True)
    return [Prediction(name, name, *row, label=label, read_sec=0.5) for name, *row, label in rows]


def unreadable(name: str, label: int | None) -> Prediction:
    return Prediction(name, name, label=-1 if label is None else label, problem="no such file")


def test_by_hand_with_a_broken_video():
    predictions = predictions_of([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.25, 0.5, 0.25]], [0, 1, 2, 2])
    assert [one.truth_rank for one in predictions] == [1, 2, 1, 3]  # of equal ones the lower class is first
    predictions.append(unreadable("cut.mp4", 0))
    summary = summarize(predictions, 3)
    assert (summary.num_videos, summary.num_unreadable, summary.scores["top1"], summary.scores["top5"]) == (
        5,
        1,
        2 / 5,
        4 / 5,
    )
    assert [score.num_videos for score in summary.classes] == [2, 1, 2]
    assert [score.top1 for score in summary.classes] == [1 / 2, 0, 1 / 2]
    assert summary.scores["mean_class_accuracy"] == pytest.approx(1 / 3)
    assert summary.scores["loss"] == pytest.approx(-sum(map(math.log, (0.5, 0.3, 0.7, 0.25))) / 4, rel=1e-6)
    assert summary.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    # bins of 1/15: 0.5 twice (one right), 0.6, 0.7; sums of confidence - right: 0.0, 0.6, -0.3
    assert summary.scores["calibration_error"] == pytest.approx((0.0 + 0.6 + 0.3) / 4, abs=1e-6)
    assert summary.coverage() == "5 videos, 1 of them unreadable and counted as wrong"
    assert most_confused(summary.confusion, 5) == [(1, 0, 1), (2, 1, 1)]
    rows = [dict(zip(ROW_COLUMNS, row, strict=True)) for row in prediction_rows(predictions, ["a", "b", "c"])]
    assert rows[1] == {
        "path": "1.mp4", "label": 1, "name": "b", "predicted": 0, "predicted_name": "a",
        "probability": pytest.approx(0.6), "truth_rank": 2, "truth_probability": pytest.approx(0.3), "problem": None,
    }  # fmt: skip
    assert rows[4]["problem"] == "no such file" and rows[4]["name"] == "a" and rows[4]["predicted"] is None


@pytest.mark.parametrize("num_classes", [2, 6, 400])
def test_random_cases_agree_with_scikit_learn(num_classes):
    rng = np.random.default_rng(num_classes)
    num_videos = 5 * num_classes + 7
    labels = rng.integers(0, num_classes, num_videos)
    logits = rng.normal(size=(num_videos, num_classes)) + 2 * np.eye(num_classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    summary = summarize(predictions_of(probabilities, labels.tolist()), num_classes)
    best, every = probabilities.argmax(axis=1), range(num_classes)
    assert summary.scores["top1"] == pytest.approx(sklearn_metrics.accuracy_score(labels, best))
    assert summary.scores["mean_class_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(labels, best))
    assert summary.scores["loss"] == pytest.approx(
        sklearn_metrics.log_loss(labels, probabilities, labels=every), rel=1e-5
    )
    assert np.array_equal(summary.confusion, sklearn_metrics.confusion_matrix(labels, best, labels=every))
    recalls = sklearn_metrics.recall_score(labels, best, labels=every, average=None, zero_division=np.nan)
    assert np.allclose([score.top1 for score in summary.classes], recalls, equal_nan=True)
    if num_classes > 5:
        top5 = sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=5, labels=every)
        assert summary.scores["top5"] == pytest.approx(top5)
    else:
        assert summary.scores["top5"] == 1.0


def test_wilson_interval_of_known_cases():
    # R: binom::binom.confint(8, 10, methods = "wilson") and (0, 20)
    assert wilson_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611252), abs=1e-6)
    assert all(map(math.isnan, wilson_interval(0, 0)))


def test_a_model_as_sure_as_it_is_right_has_no_calibration_error():
    confidences = np.array([0.75] * 4 + [0.5] * 2)
    assert calibration_error(confidences, np.array([1, 1, 1, 0, 1, 0], bool)) == pytest.approx(0)
    assert calibration_error(np.array([1.0, 1.0]), np.array([False, False])) == 1.0
    curve = calibration_curve(predictions_of([[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]], [0, 1, 0]))
    assert curve == [(0.5, 1.0, 1), (0.75, 0.5, 2)]


def test_no_readable_video_and_absent_classes_are_no_numbers():
    summary = summarize([unreadable("a.mp4", None)], 2)
    scores = summary_as_json(summary, [unreadable("a.mp4", None)], None)
    assert (scores["top1"], scores["loss"], scores["calibration_error"]) == (0.0, None, None)
    assert scores["classes"][1] == {"class_id": 1, "name": "class 1", "num_videos": 0, "top1": None}
    assert scores["unreadable"] == [{"path": "a.mp4", "problem": "no such file"}]


def test_a_probability_of_zero_has_a_finite_loss():
    assert summarize(predictions_of([[1.0, 0.0]], [1]), 2).scores["loss"] == pytest.approx(
        -math.log(np.finfo(np.float32).tiny)
    )
