import math

import numpy as np
import paddle
import pytest

from training.meter import ScoreMeter, top_k_hits


def test_hits_by_hand():
    logits = paddle.to_tensor([[3.0, 2, 1, 0, -1, -2], [0, 1, 2, 3, 4, 5], [9, 1, 2, 3, 4, 5]])
    top1, top5 = top_k_hits(logits, paddle.to_tensor([0, 0, 1]))
    assert (float(top1), float(top5)) == (1.0, 1.0)
    top1, top5 = top_k_hits(logits, paddle.to_tensor([1, 1, 0]))
    assert (float(top1), float(top5)) == (1.0, 3.0)


def test_top5_with_fewer_classes_is_top_k():
    top1, top5 = top_k_hits(paddle.to_tensor([[1.0, 0.0], [1.0, 0.0]]), paddle.to_tensor([0, 1]))
    assert (float(top1), float(top5)) == (1.0, 2.0)


def test_running_sums_weigh_batches_by_their_size_and_count_unreadable_videos_as_wrong():
    rng = np.random.RandomState(0)
    logits, labels = rng.randn(10, 7).astype(np.float32), rng.randint(0, 7, 10)
    meter = ScoreMeter()
    for part in (slice(0, 7), slice(7, 10)):
        x, y = paddle.to_tensor(logits[part]), paddle.to_tensor(labels[part])
        meter.add(paddle.nn.functional.cross_entropy(x, y), x, y)
    log_softmax = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    order = np.argsort(-logits, axis=1)
    hits1, hits5 = (order[:, 0] == labels).sum(), (order[:, :5] == labels[:, None]).sum()
    scores = meter.scores()
    assert scores.loss == pytest.approx(-log_softmax[np.arange(10), labels].mean(), rel=1e-5)
    assert (scores.top1, scores.top5) == pytest.approx((hits1 / 10, hits5 / 10))
    meter.add_unreadable(2)
    scores = meter.scores()
    assert (scores.top1, scores.top5) == pytest.approx((hits1 / 12, hits5 / 12))
    assert scores.coverage() == "12 videos, 2 of them unreadable and counted as wrong"


def test_no_videos_have_no_scores():
    scores = ScoreMeter().scores()
    assert math.isnan(scores.loss) and math.isnan(scores.top1) and scores.num_videos == 0
