"""What training draws for a clip, in numbers that were computed by hand, and that nothing else is drawn."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from config import load_config
from datareader.augment import (
    PLACES_IN_QUARTERS,
    Box,
    Draw,
    RandomView,
    jitter,
    multi_scale_box,
    random_box,
    random_resized_box,
    region_of,
)
from datareader.build import build_reader
from datareader.transforms import resize


def test_the_reader_of_training_has_what_the_config_says():
    keys = ["crop=multi_scale", "resize=keep", "color_jitter=0.4", "mirror=False", "short_size=80", "target_size=64"]
    config = load_config("configs/tsn.yaml", [*(f"TRAIN.{key}" for key in keys), "TEST.resize=keep"])
    views = build_reader(config, "train", [], seed=0).views
    assert vars(views) == {
        "short_size": 80, "target_size": 64, "crop": "multi_scale", "resize": "keep", "color_jitter": 0.4,
        "mirror": False,
    }  # fmt: skip
    assert [build_reader(config, mode, []).views.resize for mode in ("valid", "test")] == ["stretch", "keep"]


class Script:
    """A generator whose draws are given."""

    def __init__(self, *values: float):
        self.values = list(values)
        self.asked: list[tuple] = []

    def integers(self, low: int, high: int | None = None, *, endpoint: bool = False) -> int:
        self.asked.append((low, high, endpoint))
        return self.values.pop(0)

    def uniform(self, low: float, high: float, size: int | None = None) -> float:
        return self.values.pop(0)

    def random(self) -> float:
        return self.values.pop(0)


def picture(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_random_boxes_reach_every_place_and_stay_inside():
    boxes = [random_box(6, 5, 5, 4, np.random.default_rng(seed)) for seed in range(300)]
    assert set(boxes) == {Box(x, y, 4, 4) for x in range(3) for y in range(2)}
    views = [RandomView(5, 4).draw(6, 5, np.random.default_rng(seed)) for seed in range(300)]
    assert [view.box for view in views] == boxes and 0.4 < np.mean([view.mirrored for view in views]) < 0.6


@pytest.mark.parametrize(
    "size, place, expected",
    [  # 340 x 256, short_size 256: sides 256, 224, 192, 168; pairs by height, then width
        (0, 0, Box(0, 0, 256, 256)),
        (1, 0, Box(0, 0, 224, 256)),
        (2, 1, Box(84, 0, 256, 224)),  # 340 - 256 = 84, in quarters of 21
        (3, 3, Box(116, 32, 224, 224)),  # 116 = 4 * 29, 32 = 4 * 8
        (4, 4, Box(74, 16, 192, 224)),  # 148 // 4 = 37, twice; 8, twice
        (6, 9, Box(37, 16, 192, 192)),
        (7, 12, Box(129, 48, 168, 192)),  # 172 // 4 = 43, three times; 16, three times
        (9, 3, Box(172, 88, 168, 168)),
    ],
)
def test_multi_scale_boxes(size, place, expected):
    draws = Script(size, place)
    assert multi_scale_box(340, 256, 256, 224, draws) == expected
    assert draws.asked == [(10, None, False), (13, None, False)]


def test_the_thirteen_places_are_other_ones_and_as_far_as_the_corners():
    assert len(set(PLACES_IN_QUARTERS)) == 13
    for place, (across, down) in enumerate(PLACES_IN_QUARTERS):
        assert multi_scale_box(256, 256, 256, 224, Script(9, place)) == Box(22 * across, 22 * down, 168, 168)


def test_random_resized_boxes():
    # 100 x 80: a half is 4000, square: 63.2; the draws for top and left follow
    draws = Script(0.5, 0.0, 7, 9)
    assert random_resized_box(100, 80, 80, 64, draws) == Box(9, 7, 63, 63)
    assert draws.asked == [(0, 80 - 63, True), (0, 100 - 63, True)]
    # the whole as a square, 89 high, does not fit; as 4:3 it is sqrt(8000 * 4 / 3) = 103 wide; then a quarter as 4:3
    draws = Script(1.0, 0.0, 1.0, np.log(4 / 3), 0.25, np.log(4 / 3), 0, 0)
    assert random_resized_box(100, 80, 80, 64, draws) == Box(0, 0, 52, 39)


@pytest.mark.parametrize(
    "size, expected",
    [
        ((100, 80), Box(0, 0, 100, 80)),
        ((300, 60), Box(110, 0, 80, 60)),  # 4:3
        ((60, 300), Box(0, 110, 60, 80)),  # 3:4
    ],
)
def test_after_ten_boxes_that_do_not_fit_it_is_the_middle(size, expected):
    ratio = np.log(4 / 3) if size[0] < size[1] else np.log(3 / 4)
    draws = Script(*[1.0, ratio] * 10)
    assert random_resized_box(*size, min(size), 48, draws) == expected and not draws.values


def test_a_box_lies_in_the_picture_where_it_lay_in_the_resized_one():
    assert region_of(Box(84, 32, 256, 224), (640, 480), (340, 256)) == (84 * 640 / 340, 60, 640, 480)
    assert region_of(Box(0, 0, 341, 256), (1920, 1080), (341, 256)) == (0, 0, 1920, 1080)


@pytest.mark.parametrize("mode", ["stretch", "keep"])
def test_random_crops_are_cut_from_the_resized_picture_and_draw_as_ever(mode):
    frame, seed = picture(), 7
    rng, seen = np.random.default_rng(seed), RandomView(40, 32, resize=mode).prepare(frame, np.random.default_rng(seed))
    (small,) = resize([frame], 40, mode)
    left, top = (int(rng.integers(0, small.shape[axis] - 32, endpoint=True)) for axis in (1, 0))
    square = small[top : top + 32, left : left + 32]
    assert np.array_equal(seen, square[:, ::-1] if rng.random() < 0.5 else square)


def fixed(view: RandomView, draw: Draw) -> RandomView:
    view.draw = lambda width, height, rng: draw
    return view


def test_other_crops_are_resized_once_from_the_decoded_picture():
    frame = picture(480, 640)
    view = fixed(RandomView(256, 224, "multi_scale", "keep"), Draw(Box(0, 0, 171, 128), False, None))
    corner = np.asarray(Image.fromarray(frame).resize((224, 224), Image.Resampling.BILINEAR, (0, 0, 320.9384164, 240)))
    assert np.abs(view.prepare(frame, None).astype(int) - corner).max() <= 1
    mirrored = fixed(view, Draw(Box(0, 0, 171, 128), True, None)).prepare(frame, None)
    assert np.abs(mirrored[:, ::-1].astype(int) - corner).max() <= 1


@pytest.mark.parametrize("crop", ["multi_scale", "random_resized"])
@pytest.mark.parametrize("size", [(340, 256), (256, 340), (256, 256), (1000, 256), (1, 9)])
def test_any_draw_stays_inside(crop, size):
    view, clip = RandomView(256, 224, crop, "keep"), np.empty((2, 3, 224, 224), np.uint8)
    for seed in range(100):
        left, top, width, height = view.draw(*size, np.random.default_rng(seed)).box
        wide, high = (256, 2304) if size == (1, 9) else size
        assert 0 <= left <= wide - width and 0 <= top <= high - height and min(width, height) > 0
    frame = picture(size[1], size[0])
    view.cut_into(clip, [view.prepare(frame, np.random.default_rng(seed)) for _ in range(2)], 2)
    assert np.array_equal(clip[0], clip[1]) and np.array_equal(
        clip[0].transpose(1, 2, 0), view.prepare(frame, np.random.default_rng(seed))
    )


def test_a_side_of_one_pixel_has_a_box():
    assert multi_scale_box(1, 1, 1, 1, Script(9, 12)) == Box(0, 0, 1, 1)


def test_colours_change_in_pillows_order():
    frame = picture(8, 8)
    image = ImageEnhance.Brightness(Image.fromarray(frame)).enhance(1.5)
    image = ImageEnhance.Color(ImageEnhance.Contrast(image).enhance(0.5)).enhance(0.0)
    changed = jitter(frame, (1.5, 0.5, 0.0))
    assert np.array_equal(changed, np.asarray(image))
    assert np.array_equal(changed[..., 0], changed[..., 1]), "without saturation it is grey"
    assert np.array_equal(jitter(frame, (1.0, 1.0, 1.0)), frame)
    assert np.array_equal(jitter(np.full((2, 2, 3), 100, np.uint8), (1.25, 1, 1)), np.full((2, 2, 3), 125))


def test_colour_factors_are_drawn_last_and_only_if_they_are_wanted():
    plain = RandomView(256, 224, "multi_scale").draw(340, 256, np.random.default_rng(3))
    coloured = RandomView(256, 224, "multi_scale", color_jitter=0.4).draw(340, 256, np.random.default_rng(3))
    assert coloured._replace(color_factors=None) == plain and plain.color_factors is None
    rng = np.random.default_rng(3)
    rng.integers(10), rng.integers(13), rng.random()
    assert coloured.color_factors == tuple(0.6 + 0.8 * rng.random(3))


def test_without_mirroring_the_boxes_are_the_same_and_none_is_turned():
    views = [
        [RandomView(40, 32, mirror=mirror).draw(80, 60, np.random.default_rng(seed)) for seed in range(20)]
        for mirror in (True, False)
    ]
    assert [view.box for view in views[0]] == [view.box for view in views[1]]
    assert any(view.mirrored for view in views[0]) and not any(view.mirrored for view in views[1])
