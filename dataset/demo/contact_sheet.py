"""A picture that shows some clips of each class, for people."""

from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dataset.demo.actions import ACTIONS
from dataset.demo.clips import Clip

COLUMNS = 3  # classes beside one another
CELL = (160, 120)  # a clip's width and height
GAP, CAPTION = 4, 26  # pixels between the clips, and for the name over a class
PAPER, INK = (250, 249, 246), (45, 45, 50)


def write_contact_sheet(path: Path, seed: int) -> None:
    """Writes a picture with four clips of each class, two by two under the class's name."""
    wide, high = 2 * (CELL[0] + GAP) + 3 * GAP, 2 * (CELL[1] + GAP) + CAPTION + 3 * GAP
    rows = -(-len(ACTIONS) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * wide + 2 * GAP, rows * high + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=17)
    for label, name in enumerate(ACTIONS):
        left, top = 3 * GAP + label % COLUMNS * wide, label // COLUMNS * high
        draw.text((left, top + CAPTION / 2 + 2), name, INK, font, anchor="lm")
        for number in range(4):
            place = left + number % 2 * (CELL[0] + GAP), top + CAPTION + number // 2 * (CELL[1] + GAP)
            sheet.paste(thumbnail(Clip(seed, label, number), number), place)

    sheet.save(path, format="PNG", optimize=True)


def thumbnail(clip: Clip, second: int) -> Image.Image:
    """A frame out of the clip's first seconds, cut to the shape of a cell."""
    film = clip.film()
    frame = next(islice(film.frames(), second % 2 * 25, None))
    wide = min(film.width, film.height * CELL[0] / CELL[1])
    high = wide * CELL[1] / CELL[0]
    left, top = (film.width - wide) / 2, film.height - high
    return Image.fromarray(frame).resize(CELL, Image.Resampling.BOX, (left, top, left + wide, top + high))
