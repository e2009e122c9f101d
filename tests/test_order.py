from collections import Counter

import numpy as np

from datareader.order import balanced_order, shuffled_order


def test_shuffled_has_each_clip_once_and_every_epoch_its_own_order():
    orders = [shuffled_order(epoch, num_clips=10, seed=1).tolist() for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == list(range(10)) and orders[0] == orders[2] != orders[1]


def test_balanced_draws_each_class_equally_often():
    labels = np.array([0] * 8 + [3] * 2 + [1] * 2)
    order = balanced_order(0, labels=labels, seed=5)
    assert Counter(labels[order].tolist()) == {0: 4, 1: 4, 3: 4}
    assert Counter(order.tolist())[8] == Counter(order.tolist())[9] == 2  # both of class 3, before one comes thrice
    assert len(set(order[labels[order] == 0].tolist())) == 4  # of the large class all different ones
    assert all(len(set(labels[order[turn : turn + 3]].tolist())) == 3 for turn in range(0, 12, 3))
    assert order.tolist() == balanced_order(0, labels=labels, seed=5).tolist()
    assert order.tolist() != balanced_order(1, labels=labels, seed=5).tolist()


def test_balanced_with_a_remainder_has_as_many_clips_as_the_list():
    labels = np.array([0, 0, 0, 1, 2])
    assert len(balanced_order(0, labels=labels, seed=0)) == 5
