import json
import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from evaluation.calibration import calibration_curve, calibration_error, wilson_interval
from evaluation.curves import area_under_roc, average_precision, best_f1, best_youden, curve_of
from evaluation.per_class import most_confused
from evaluation.predictions import Prediction, sort_classes
from evaluation.scores import MULTI_LABEL_SCORES, ROW_COLUMNS, prediction_rows, summarize, summary_as_json


def predictions_of(probabilities, labels) -> list[Prediction]:
    best, class_ids = sort_classes(np.float32(probabilities))
    names = [f"{number}.mp4" for number in range(len(labels))]
    rows = zip(names, best, class_ids, labels, strict=True)
    return [Prediction(name, name, *row, read_sec=0.5)._replace(**truth(label)) for name, *row, label in rows]


def truth(label: int | tuple[int, ...] | None) -> dict:
    return {"labels": label} if isinstance(label, tuple) else {"label": -1 if label is None else label}


def unreadable(name: str, label: int | tuple[int, ...] | None) -> Prediction:
    return Prediction(name, name, problem="no such file", **truth(label))


def with_ties(num_videos: int, num_classes: int, seed: int) -> np.ndarray:
    """Probabilities of which many are equal, float32 (N, K)."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 21, (num_videos, num_classes)) / 20).astype(np.float32)


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
    keys = ("top1", "precision", "recall", "f1", "average_precision")
    assert scores["classes"][1] == {"class_id": 1, "name": "class 1", "num_videos": 0} | dict.fromkeys(keys)
    assert scores["macro_f1"] is None and scores["mean_average_precision"] is None
    assert scores["unreadable"] == [{"path": "a.mp4", "problem": "no such file"}]


def test_a_probability_of_zero_has_a_finite_loss():
    assert summarize(predictions_of([[1.0, 0.0]], [1]), 2).scores["loss"] == pytest.approx(
        -math.log(np.finfo(np.float32).tiny)
    )


@pytest.mark.parametrize("num_classes", [2, 6, 400])
@pytest.mark.parametrize("num_unreadable", [0, 3])
def test_each_class_agrees_with_scikit_learn(num_classes, num_unreadable):
    rng = np.random.default_rng(num_classes)
    num_videos = 3 * num_classes + 11
    labels = rng.integers(0, max(num_classes - 2, 1), num_videos)  # the last classes have no videos
    table = with_ties(num_videos, num_classes, seed=1)
    table[:, -1] = np.where(labels == 0, table[:, -1], 0)  # of these the very last is hardly ever said
    predictions = predictions_of(table, labels.tolist())
    for place in range(num_unreadable):
        predictions[place] = unreadable("cut.mp4", int(labels[place]))
    summary = summarize(predictions, num_classes)
    best = table.argmax(axis=1)
    best[:num_unreadable] = num_classes  # a wrong answer, and one to no class
    occurring = sorted(set(labels.tolist()) | set(best[num_unreadable:].tolist()))
    expected = sklearn_metrics.precision_recall_fscore_support(labels, best, labels=occurring, zero_division=0)
    for key, column in zip(("precision", "recall", "f1", "num_videos"), expected, strict=True):
        found = [getattr(summary.classes[class_id], key) for class_id in occurring]
        assert np.abs(np.array(found) - column).max() < 1e-9, key
    macro = sklearn_metrics.precision_recall_fscore_support(
        labels, best, labels=occurring, average="macro", zero_division=0
    )
    found = [summary.scores[key] for key in ("macro_precision", "macro_recall", "macro_f1")]
    assert np.abs(np.array(found) - macro[:3]).max() < 1e-9
    others = [score for score in summary.classes if score.class_id not in occurring]
    assert all(math.isnan(value) for score in others for value in (score.precision, score.recall, score.f1))
    ranking = table.astype(np.float64)
    ranking[:num_unreadable] = -1  # last
    precisions = [
        sklearn_metrics.average_precision_score(labels == class_id, ranking[:, class_id])
        for class_id in sorted(set(labels.tolist()))
    ]
    found = [score.average_precision for score in summary.classes if score.num_videos]
    assert np.abs(np.array(found) - precisions).max() < 1e-9
    assert abs(summary.scores["mean_average_precision"] - np.mean(precisions)) < 1e-9
    assert all(math.isnan(score.average_precision) for score in summary.classes if not score.num_videos)


@pytest.mark.parametrize("num_classes", [2, 6, 400])
@pytest.mark.parametrize("num_unreadable", [0, 3])
def test_several_classes_of_a_video_agree_with_scikit_learn(num_classes, num_unreadable):
    rng = np.random.default_rng(num_classes)
    num_videos = 2 * num_classes + 9
    truths = rng.uniform(size=(num_videos, num_classes)) < 0.3
    truths[:, -1] = num_classes == 2  # else a class without positives
    truths[np.arange(num_videos), rng.integers(0, max(num_classes - 1, 1), num_videos)] = True
    table = with_ties(num_videos, num_classes, seed=2)
    predictions = predictions_of(table, [tuple(np.nonzero(row)[0].tolist()) for row in truths])
    for place in range(num_unreadable):
        predictions[place] = unreadable("cut.mp4", predictions[place].labels)
    summary = summarize(predictions, num_classes, multi_label=True)
    assert summary.scores.keys() == MULTI_LABEL_SCORES.keys() and summary.confusion is None
    said, ranking = table >= 0.5, table.astype(np.float64)
    said[:num_unreadable], ranking[:num_unreadable] = False, -1
    expected = sklearn_metrics.precision_recall_fscore_support(truths, said, zero_division=0)
    for key, column in zip(("precision", "recall", "f1", "num_videos"), expected, strict=True):
        assert np.abs(np.array([getattr(score, key) for score in summary.classes]) - column).max() < 1e-9, key
    for key, average in (("macro_f1", "macro"), ("micro_f1", "micro")):
        expected = sklearn_metrics.f1_score(truths, said, average=average, zero_division=0)
        assert abs(summary.scores[key] - expected) < 1e-9, key
    known = truths.any(axis=0)
    expected = sklearn_metrics.average_precision_score(truths[:, known], ranking[:, known], average="macro")
    assert abs(summary.scores["mean_average_precision"] - expected) < 1e-9
    assert math.isnan(summary.classes[-1].average_precision) != known[-1]
    read = slice(num_unreadable, None)
    hits = truths[read][np.arange(num_videos - num_unreadable), table[read].argmax(axis=1)]
    assert summary.scores["top1"] == pytest.approx(hits.sum() / num_videos)
    given = np.where(truths, np.maximum(table, 1e-38), np.maximum(1 - table, 6e-8))[read].astype(np.float64)
    assert summary.scores["loss"] == pytest.approx(-np.log(given).mean(), rel=1e-2)


def test_several_classes_by_hand():
    predictions = predictions_of([[0.9, 0.6, 0.2], [0.3, 0.5, 0.4]], [(0, 2), (2,)]) + [unreadable("c.mp4", (1,))]
    assert [one.truth_rank for one in predictions] == [1, 2, None]
    assert [one.is_correct for one in predictions] == [True, False, False]
    summary = summarize(predictions, 3, multi_label=True)
    assert summary.scores["top1"] == 1 / 3 and summary.scores["top5"] == 2 / 3
    assert [(score.precision, score.recall) for score in summary.classes] == [(1, 1), (0, 0), (0, 0)]
    assert summary.scores["micro_f1"] == 2 * 1 / (3 + 4)
    # class 1: 0.6 and 0.5 are wrong, the unreadable one comes last: 1/3; class 2: 0.4 and 0.2 come first
    assert [score.average_precision for score in summary.classes] == pytest.approx([1, 1 / 3, 1])
    logs = [math.log(share) for share in (0.9, 0.4, 0.2, 0.7, 0.5, 0.4)]
    assert summary.scores["loss"] == pytest.approx(-sum(logs) / 6, rel=1e-6)
    assert "confusion_matrix" not in summary_as_json(summary, predictions, None) and summary.warning() == ""
    rows = [dict(zip(ROW_COLUMNS, row, strict=True)) for row in prediction_rows(predictions, ["a", "b", "c"])]
    assert [(row["label"], row["name"]) for row in rows] == [("0,2", "a; c"), (2, "c"), (1, "b")]
    assert (rows[1]["predicted"], rows[1]["truth_rank"], rows[1]["truth_probability"]) == (1, 2, pytest.approx(0.4))


def test_a_video_of_no_class_makes_each_answer_to_it_a_wrong_one():
    predictions = predictions_of([[0.9, 0.2], [0.8, 0.1]], [(), (0,)])
    summary = summarize(predictions, 2, multi_label=True)
    assert (summary.scores["top1"], summary.scores["top5"]) == (0.5, 0.5)
    assert summary.classes[0][1:] == (1, pytest.approx(math.nan, nan_ok=True), 0.5, 1, 2 / 3, 0.5)
    logs = [math.log(share) for share in (0.1, 0.8, 0.8, 0.9)]
    assert summary.scores["loss"] == pytest.approx(-sum(logs) / 4, rel=1e-6)
    (row, _) = prediction_rows(predictions, None)
    assert row[1:3] == [None, None] and row[6:8] == [None, 0.0]


def test_a_prediction_travels_between_ranks_with_its_classes():
    (prediction,) = predictions_of([[0.9, 0.6, 0.2]], [(0, 2)])
    again = Prediction.from_json(json.loads(json.dumps(prediction.as_json())))
    assert again.labels == (0, 2) and again.plain() == prediction.plain() and again.loss == prediction.loss


@pytest.mark.parametrize("seed", range(4))
def test_curves_agree_with_scikit_learn(seed):
    scores, labels = with_ties(40, 1, seed)[:, 0], np.random.default_rng(seed).uniform(size=40) < 0.4
    curve = curve_of(scores, labels)
    false_rate, recall, thresholds = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert np.abs(curve.false_rate - false_rate[1:]).max() < 1e-9 and np.abs(curve.recall - recall[1:]).max() < 1e-9
    assert np.array_equal(curve.thresholds, thresholds[1:])
    assert abs(area_under_roc(curve) - sklearn_metrics.roc_auc_score(labels, scores)) < 1e-9
    figures = {one: sklearn_metrics.f1_score(labels, scores >= one) for one in thresholds[1:]}
    best = best_f1(curve)
    assert best.f1 == pytest.approx(max(figures.values())) == pytest.approx(figures[np.float32(best.value)])
    youden = best_youden(curve)
    assert youden.recall - youden.false_rate == pytest.approx((recall - false_rate).max())
    assert youden.precision == pytest.approx(sklearn_metrics.precision_score(labels, scores >= youden.value))


def test_thresholds_by_hand():
    curve = curve_of(np.array([0.9, 0.8, 0.8, 0.3, 0.1]), np.array([True, True, False, True, False]))
    assert curve.num_true.tolist() == [1, 2, 3, 3] and curve.num_false.tolist() == [0, 1, 1, 2]
    assert best_f1(curve) == pytest.approx((0.3, 3 / 4, 1, 1 / 2, 6 / 7))
    assert area_under_roc(curve) == pytest.approx((1 + 1 + 0.5 + 1 + 0 + 1) / 6)


def test_a_class_without_positives_or_negatives_has_no_area():
    for labels in ([True, True], [False, False]):
        assert math.isnan(area_under_roc(curve_of(np.array([0.5, 0.25]), np.array(labels))))
    assert math.isnan(average_precision(np.array([0.5]), np.array([False])))
