"""Equality with the original's pixels is in test_parity.py."""

import numpy as np
import pytest

from datareader.transforms import View, center_view, crop_into, resize, scaled_size
from datareader.video import VideoError


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


@pytest.mark.parametrize(
    "size, expected",
    [
        ((320, 240), (341, 256)),  # 341.33
        ((240, 320), (256, 341)),
        ((1920, 1080), (455, 256)),  # 455.11
        ((720, 480), (384, 256)),
        ((300, 300), (256, 256)),
        ((512, 1025), (256, 513)),  # 512.5
        ((340, 256), (340, 256)),
    ],
)
def test_keep_gives_the_long_side_what_the_shape_makes_of_it(size, expected):
    assert scaled_size(*size, 256, "keep") == expected


def test_a_frame_too_narrow_to_keep_its_shape_is_refused():
    with pytest.raises(VideoError, match="frames of 2x4096 are too narrow .* short side of 256; with resize=stretch"):
        scaled_size(2, 4096, 256, "keep")
    assert scaled_size(2, 4096, 256) == (256, 341)


def test_center_rounds_halves_to_even():
    assert center_view(341, 256, 224) == View(58, 16, False)
    assert center_view(343, 256, 224) == View(60, 16, False)


def test_resize_keeps_frames_that_fit():
    frames = [np.zeros((64, 80, 3), np.uint8)] * 2
    assert resize(frames, 64) is frames
    assert [frame.shape for frame in resize(frames, 32)] == [(32, 42, 3)] * 2
    assert [frame.shape for frame in resize(frames, 32, "keep")] == [(32, 40, 3)] * 2


def test_crop_and_mirror():
    frame = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    plain, mirrored = np.empty((2, 2, 3, 3, 3), np.uint8)
    crop_into(plain, [frame, frame], View(2, 1, False))
    crop_into(mirrored, [frame, frame], View(2, 1, True))
    assert np.array_equal(plain[1, 1], frame[1:4, 2:5, 1])
    assert np.array_equal(mirrored, plain[..., ::-1])
