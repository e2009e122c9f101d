import math

import numpy as np
import paddle
import pytest

from config import load_config
from datareader.records import RecordList
from training.build import build_loss
from training.loss import Loss, balanced_weights

LOGITS = [[2.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
LABELS = [0, 2]


def log_softmax(row):
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def value(loss, labels=LABELS, logits=LOGITS):
    dtype = "float32" if loss.multi_label else "int64"
    return float(loss(paddle.to_tensor(logits), paddle.to_tensor(labels, dtype)))


def test_cross_entropy():
    logs = [log_softmax(row) for row in LOGITS]
    assert value(Loss()) == pytest.approx(-(logs[0][0] + logs[1][2]) / 2, abs=1e-6)


def test_smoothing_spreads_a_share_of_the_truth_over_all_classes():
    logs = [log_softmax(row) for row in LOGITS]
    targets = [[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3], [0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]]
    by_hand = -sum(
        t * log for row, target in zip(logs, targets, strict=True) for log, t in zip(row, target, strict=True)
    )
    assert value(Loss(label_smoothing=0.1)) == pytest.approx(by_hand / 2, abs=1e-6)


def test_class_weights_are_factors_and_the_mean_is_over_clips():
    logs = [log_softmax(row) for row in LOGITS]
    assert value(Loss(class_weights=[0.5, 1, 3])) == pytest.approx(-(0.5 * logs[0][0] + 3 * logs[1][2]) / 2, abs=1e-6)
    smoothed = [Loss(0.1, [0.5, 1, 3]), Loss(0.1)]
    single = [value(loss, [2], LOGITS[1:]) for loss in smoothed]
    assert single[0] == pytest.approx(3 * single[1], abs=1e-6)


def test_parts_of_a_step_add_up_to_it():
    loss = Loss(0.1, [0.5, 1, 3])
    parts = [value(loss, [label], [row]) for label, row in zip(LABELS, LOGITS, strict=True)]
    assert sum(parts) / 2 == pytest.approx(value(loss), abs=1e-6)


def test_several_labels_are_a_binary_cross_entropy_of_each_class():
    def sigmoid(number):
        return 1 / (1 + math.exp(-number))

    labels = [[1, 0, 1], [0, 0, 0]]
    by_hand = [
        -math.log(sigmoid(logit) if label else 1 - sigmoid(logit))
        for logits, row in zip(LOGITS, labels, strict=True)
        for logit, label in zip(logits, row, strict=True)
    ]
    assert value(Loss(multi_label=True), labels) == pytest.approx(sum(by_hand) / 6, abs=1e-6)
    weighted = [part * weight for part, weight in zip(by_hand, [2, 1, 0.5] * 2, strict=True)]
    assert value(Loss(class_weights=[2, 1, 0.5], multi_label=True), labels) == pytest.approx(
        sum(weighted) / 6, abs=1e-6
    )


def test_balanced_weights_are_in_inverse_proportion_and_one_on_the_average():
    weights = balanced_weights([6, 2, 0, 4])
    assert weights == pytest.approx([12 / 3 / 6, 12 / 3 / 2, 0, 12 / 3 / 4])
    assert np.dot(weights, [6, 2, 0, 4]) / 12 == pytest.approx(1)


def records(labels):
    found = RecordList()
    for number, label in enumerate(labels):
        found.append(f"{number}.mp4", label)
    return found


def test_the_config_chooses_the_loss():
    def loss(*settings):
        return build_loss(load_config("configs/tsn.txt", ["MODEL.num_classes=3", *settings]), records([0, 0, 0, 1]))

    assert loss().class_weights is None and loss().label_smoothing == 0
    assert loss("TRAIN.class_weights=balanced").class_weights.tolist() == pytest.approx([4 / 2 / 3, 4 / 2, 0])
    assert loss("TRAIN.class_weights=[1, 2, 3]", "TRAIN.label_smoothing=0.1").class_weights.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="TRAIN.class_weights are 2, but MODEL.num_classes is 3"):
        loss("TRAIN.class_weights=[1, 2]")
