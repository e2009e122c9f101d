"""What training draws for a clip: a crop, whether it is mirrored, a change of its colours; and frames seen that way.

All is drawn from a generator that is handed in, and is the same for all frames of a clip.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from datareader.transforms import View, crop_into, resize, scaled_size

SCALES = (1, 0.875, 0.75, 0.66)
PLACES_IN_QUARTERS = (
    (0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3),
)  # fmt: skip
"""(x, y) in quarters of the room around a crop: corners, centre, middles of the edges, centres of the quarters."""
AREAS, RATIOS, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


class Box(NamedTuple):
    """A rectangle of a resized frame."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int


class Draw(NamedTuple):
    """What is drawn for a clip."""

    box: Box
    """What is seen of a resized frame."""
    mirrored: bool
    color_factors: tuple[float, float, float] | None
    """Factors of brightness, contrast and saturation; None: the colours stay."""


def random_box(width: int, height: int, short_size: int, target_size: int, rng: np.random.Generator) -> Box:
    """A square of target_size anywhere in the frame."""
    left_px = int(rng.integers(0, width - target_size, endpoint=True))
    top_px = int(rng.integers(0, height - target_size, endpoint=True))
    return Box(left_px, top_px, target_size, target_size)


def multi_scale_box(width: int, height: int, short_size: int, target_size: int, rng: np.random.Generator) -> Box:
    """A rectangle at one of 13 places, with sides of short_size times two SCALES that are equal or neighbours.

    Source: Wang et al., ECCV 2016, section 3.3, and MMAction2's MultiScaleCrop with max_wh_scale_gap=1 and
    num_fixed_crops=13, but for one thing: a side within 3 pixels of target_size is not set to it.
    """
    sides = [max(int(short_size * scale), 1) for scale in SCALES]
    sizes = [(wide, high) for i, high in enumerate(sides) for j, wide in enumerate(sides) if abs(i - j) <= 1]
    wide, high = sizes[rng.integers(len(sizes))]
    across, down = PLACES_IN_QUARTERS[rng.integers(len(PLACES_IN_QUARTERS))]
    return Box(across * ((width - wide) // 4), down * ((height - high) // 4), wide, high)


def random_resized_box(width: int, height: int, short_size: int, target_size: int, rng: np.random.Generator) -> Box:
    """A rectangle of 8 to 100 % of the frame's area, its sides 3:4 to 4:3; after ten that do not fit, the middle.

    Source: Szegedy et al., Going Deeper with Convolutions, CVPR 2015, as torchvision's RandomResizedCrop has it.
    """
    for _ in range(TRIES):
        area = width * height * rng.uniform(*AREAS)
        ratio = math.exp(rng.uniform(*map(math.log, RATIOS)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            top_px = int(rng.integers(0, height - high, endpoint=True))
            return Box(int(rng.integers(0, width - wide, endpoint=True)), top_px, wide, high)
    wide = min(width, round(height * RATIOS[1]))
    high = min(height, round(width / RATIOS[0]))
    return Box((width - wide) // 2, (height - high) // 2, wide, high)


RANDOM_CROPS = {"random": random_box, "multi_scale": multi_scale_box, "random_resized": random_resized_box}
"""Name -> (width, height, short_size, target_size, rng) -> a box of a frame that was resized to short_size."""


def jitter(picture: np.ndarray, factors: tuple[float, float, float]) -> np.ndarray:
    """Change brightness, then contrast, then saturation, as Pillow's ImageEnhance does; uint8 RGB (H, W, 3)."""
    image = Image.fromarray(picture)
    for enhancer, factor in zip(ENHANCERS, factors, strict=True):
        image = enhancer(image).enhance(factor)
    return np.asarray(image)


class RandomView:
    """The view of a video that is drawn anew whenever training sees it.

    Args:
        short_size: pixels, see `scaled_size`.
        target_size: side of what the network sees, pixels.
        crop: a key of RANDOM_CROPS.
        resize: "stretch" or "keep", see `scaled_size`.
        color_jitter: brightness, contrast and saturation each get a factor from 1 - it to 1 + it; 0: off.
        mirror: whether half of the clips are mirrored, left to right.
    """

    num_crops = 1

    def __init__(
        self,
        short_size: int,
        target_size: int,
        crop: str = "random",
        resize: str = "stretch",
        color_jitter: float = 0.0,
        mirror: bool = True,
    ):
        self.short_size = short_size
        self.target_size = target_size
        self.crop = crop
        self.resize = resize
        self.color_jitter = color_jitter
        self.mirror = mirror

    def draw(self, width: int, height: int, rng: np.random.Generator) -> Draw:
        """The view of frames of this size: what an augmentation that is off would draw is not drawn."""
        size = scaled_size(width, height, self.short_size, self.resize)
        box = RANDOM_CROPS[self.crop](*size, self.short_size, self.target_size, rng)
        mirrored, factors = bool(rng.random() < 0.5) and self.mirror, None
        if self.color_jitter:
            factors = tuple(rng.uniform(1 - self.color_jitter, 1 + self.color_jitter, 3).tolist())
        return Draw(box, mirrored, factors)

    def prepare(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What the network sees of a decoded picture, uint8 (target_size, target_size, 3).

        Args:
            picture: uint8 (H, W, 3).
            rng: in the same state for all pictures of a clip, which therefore get the same view.
        """
        height, width = picture.shape[:2]
        draw = self.draw(width, height, rng)
        square = self._seen(picture, draw.box)
        if draw.mirrored:
            square = square[:, ::-1]
        return jitter(square, draw.color_factors) if draw.color_factors else square

    def _seen(self, picture: np.ndarray, box: Box) -> np.ndarray:
        """The box, sized to target_size.

        A box of another size is cut out of the decoded picture and resized once, which is sharper and faster than to
        resize the whole picture first and what is cut out of it then.
        """
        if self.crop == "random":  # as the original does it
            frame = resize([picture], self.short_size, self.resize)[0]
            return frame[box.top_px : box.top_px + box.height_px, box.left_px : box.left_px + box.width_px]
        region = region_of(box, picture.shape[1::-1], scaled_size(*picture.shape[1::-1], self.short_size, self.resize))
        size = (self.target_size, self.target_size)
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, region))

    def cut_into(self, clip: np.ndarray, frames: list[np.ndarray], clip_frames: int) -> None:
        """Fill a video's place in a batch, uint8 (clip_frames, 3, target_size, target_size), with what was prepared."""
        crop_into(clip, frames, View(0, 0, False))


def region_of(box: Box, size: tuple[int, int], scaled: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in a picture of a (width, height) of the box in the picture resized to another."""
    (width, height), (scaled_width, scaled_height) = size, scaled
    return (
        box.left_px * width / scaled_width,
        box.top_px * height / scaled_height,
        (box.left_px + box.width_px) * width / scaled_width,
        (box.top_px + box.height_px) * height / scaled_height,
    )
