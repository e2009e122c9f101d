import numpy as np
import paddle
import pytest

from datareader.loader import Batch
from training.precise_bn import recompute_statistics


class Net(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = paddle.nn.BatchNorm2D(1)
        self.second = paddle.nn.BatchNorm2D(1)

    def forward(self, frames):
        return self.second(self.first(frames.astype("float32")))


def batch_of(values):
    frames = paddle.to_tensor(np.array(values).reshape(-1, 1, 1, 1), "uint8")
    return Batch(frames, None, list(range(len(values))), [], [], [], [])


EMPTY = Batch(None, None, [], [], [[0, "broken"]], [], [])


def test_statistics_are_the_means_over_the_batches():
    net = Net()
    net.first._mean.set_value(paddle.to_tensor([50.0]))
    norms = recompute_statistics(net, [batch_of([0, 4]), EMPTY, batch_of([10, 30]), batch_of([1, 1])])
    assert norms == [net.first, net.second]
    assert net.first._mean.item() == pytest.approx((2 + 20 + 1) / 3)
    assert net.first._variance.item() == pytest.approx((4 + 100 + 0) / 3)
    assert net.second._mean.item() == pytest.approx(0, abs=1e-6)  # of what the first one makes of each batch
    assert net.first._momentum == net.second._momentum == 0.9


def test_those_that_are_to_stay_do():
    net = Net()
    norms = recompute_statistics(net, [batch_of([0, 4])], still=[net.first])
    assert norms == [net.second] and net.first._mean.item() == 0
    assert net.second._mean.item() == pytest.approx(2, rel=1e-4)
