"""The original's own figures are in test_parity.py."""

import numpy as np
import pytest

from datareader.sampling import segment_indices


@pytest.mark.parametrize(
    "num_frames, seg_num, seglen, expected",
    [
        (9, 3, 1, [1, 4, 7]),
        (10, 3, 1, [1, 4, 7]),
        (12, 3, 2, [1, 2, 5, 6, 9, 10]),
        (2, 3, 1, [0, 1, 0]),
        (3, 3, 2, [0, 1, 1, 2, 2, 0]),
        (1, 2, 2, [0, 0, 0, 0]),
    ],
)
def test_middle_of_each_segment(num_frames, seg_num, seglen, expected):
    assert segment_indices(num_frames, seg_num, seglen).tolist() == expected


def test_random_draws_fill_each_segment_and_repeat_with_the_seed():
    draws = np.array([segment_indices(30, 3, 2, np.random.default_rng(seed)) for seed in range(500)])
    for segment in range(3):
        starts = draws[:, 2 * segment]
        assert set(starts) == set(range(10 * segment, 10 * segment + 9))  # the last start leaves room for two frames
        assert (draws[:, 2 * segment + 1] == starts + 1).all()
    assert segment_indices(30, 3, 2, np.random.default_rng(7)).tolist() == draws[7].tolist()
