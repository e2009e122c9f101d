"""Drawing with rounded shapes and random colours, on pictures twice the size that is shown."""

import colorsys
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, ...]

# Pillow draws hard edges: pictures are drawn this many times too large, and made smaller by the camera.
SCALE = 2


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """The RGB colour (0..255) of a hue, a saturation and a value in 0..1; the hue wraps around."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def shade(colour: Colour, factor: float) -> Colour:
    """The colour made darker (factor below 1) or mixed with white (factor above 1, at most 2)."""
    if factor <= 1:
        return tuple(round(part * factor) for part in colour)
    return tuple(round(part + (255 - part) * (factor - 1)) for part in colour)


def vivid(rng: np.random.Generator) -> Colour:
    """A strong colour of any hue, as clothes, balls, plates and frames have it."""
    return hsv(rng.uniform(), rng.uniform(0.55, 0.9), rng.uniform(0.65, 0.95))


def tint(
    rng: np.random.Generator, hues: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> Colour:
    """A random colour from ranges of hue, saturation and value."""
    return hsv(rng.uniform(*hues), rng.uniform(*saturation), rng.uniform(*value))


def pick(rng: np.random.Generator, options: Sequence):
    """One of the options, each as likely as the others."""
    return options[rng.integers(len(options))]


def blank(width: float, height: float) -> Image.Image:
    """A new picture of width x height pixels, held at SCALE times that size."""
    return Image.new("RGB", (math.ceil(width * SCALE), math.ceil(height * SCALE)))


class Pen:
    """Draws on a picture made by `blank`, or cut out of one.

    Points, widths and radii are in pixels of the picture as it is shown; `origin` is the point at the
    picture's top left corner, so that a cut-out piece is drawn on in the coordinates of the whole.
    Colours are RGB, or RGBA to let what is beneath shine through.
    """

    def __init__(self, image: Image.Image, origin: Point = (0, 0)):
        self.image = image
        self.origin = origin
        self.draw = ImageDraw.Draw(image, "RGBA")

    def _place(self, point: Point) -> Point:
        return (point[0] - self.origin[0]) * SCALE, (point[1] - self.origin[1]) * SCALE

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self.draw.polygon([self._place(point) for point in points], fill=colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def ellipse(self, centre: Point, radius_x: float, radius_y: float, colour: Colour) -> None:
        (x, y), radius_x, radius_y = self._place(centre), radius_x * SCALE, radius_y * SCALE
        self.draw.ellipse((x - radius_x, y - radius_y, x + radius_x, y + radius_y), fill=colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        self.ellipse(centre, radius, radius, colour)

    def ring(self, centre: Point, radius: float, width: float, colour: Colour) -> None:
        (x, y), radius = self._place(centre), radius * SCALE
        box = (x - radius, y - radius, x + radius, y + radius)
        self.draw.ellipse(box, outline=colour, width=max(1, round(width * SCALE)))

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        places = [self._place(point) for point in points]
        self.draw.line(places, fill=colour, width=max(1, round(width * SCALE)), joint="curve")

    def limb(self, start: Point, end: Point, start_width: float, end_width: float, colour: Colour) -> None:
        """A segment with round ends that may grow thinner from its start to its end."""
        length = math.dist(start, end) or 1
        across = (start[1] - end[1]) / length / 2, (end[0] - start[0]) / length / 2
        corners = [
            (point[0] + side * width * across[0], point[1] + side * width * across[1])
            for point, width, side in (
                (start, start_width, 1),
                (end, end_width, 1),
                (end, end_width, -1),
                (start, start_width, -1),
            )
        ]
        self.polygon(corners, colour)
        self.disc(start, start_width / 2, colour)
        self.disc(end, end_width / 2, colour)

    def gradient(self, top: float, bottom: float, top_colour: Colour, bottom_colour: Colour) -> None:
        """Fills the rows from `top` to `bottom`, over the whole width, with a soft change of colour."""
        first, last = (round(self._place((0, y))[1]) for y in (top, bottom))
        share = np.linspace(0, 1, max(1, last - first))[:, None, None]
        rows = np.array(top_colour) * (1 - share) + np.array(bottom_colour) * share
        column = Image.fromarray(rows.round().astype(np.uint8))
        self.image.paste(column.resize((self.image.width, column.height)), (0, first))

    @contextmanager
    def under_water(self, surface: float, depth: float) -> Iterator[None]:
        """Covers what is drawn inside, below the row `surface`, by `depth` (0..1) of the picture beneath."""
        box = (0, round(self._place((0, surface))[1]), *self.image.size)
        water = self.image.crop(box)
        yield
        self.image.paste(Image.blend(self.image.crop(box), water, depth), box)
