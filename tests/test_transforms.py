"""Equality with the original's pixels is in test_parity.py."""

import numpy as np
import pytest

from datareader.transforms import View, center_view, crop_into, random_view, resize, scaled_size


@pytest.mark.parametrize(
    "size, expected",
    [
        ((320, 240), (341, 256)),
        ((1920, 1080), (341, 256)),
        ((240, 320), (256, 341)),
        ((300, 300), (341, 256)),
        ((340, 256), (340, 256)),
        ((256, 1000), (256, 1000)),
    ],
)
def test_scaled_size(size, expected):
    assert scaled_size(*size, 256) == expected


def test_center_rounds_halves_to_even():
    assert center_view(341, 256, 224) == View(58, 16, False)
    assert center_view(343, 256, 224) == View(60, 16, False)


def test_resize_keeps_frames_that_fit():
    frames = [np.zeros((64, 80, 3), np.uint8)] * 2
    assert resize(frames, 64) is frames
    assert [frame.shape for frame in resize(frames, 32)] == [(32, 42, 3)] * 2


def test_crop_and_mirror():
    frame = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    plain, mirrored = np.empty((2, 2, 3, 3, 3), np.uint8)
    crop_into(plain, [frame, frame], View(2, 1, False))
    crop_into(mirrored, [frame, frame], View(2, 1, True))
    assert np.array_equal(plain[1, 1], frame[1:4, 2:5, 1])
    assert np.array_equal(mirrored, plain[..., ::-1])


def test_random_views_reach_every_place_and_stay_inside():
    views = [random_view(6, 5, 4, np.random.default_rng(seed)) for seed in range(300)]
    assert {(view.left_px, view.top_px) for view in views} == {(x, y) for x in range(3) for y in range(2)}
    assert 0.4 < np.mean([view.mirrored for view in views]) < 0.6
