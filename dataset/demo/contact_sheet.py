"""A picture that shows some clips of each action, for people."""

from itertools import islice
from pathlib import Path

from PIL import Image

from dataset.contact_sheet import CELL, CLIPS_SHOWN, write_contact_sheet
from dataset.demo.actions import ACTIONS
from dataset.demo.clips import Clip


def write_demo_sheet(path: Path, seed: int) -> None:
    """Writes a picture with some clips of each action."""
    actions = {
        name: [thumbnail(Clip(seed, label, number), number) for number in range(CLIPS_SHOWN)]
        for label, name in enumerate(ACTIONS)
    }
    write_contact_sheet(path, actions)


def thumbnail(clip: Clip, second: int) -> Image.Image:
    """A frame out of the clip's first seconds, cut to the shape of a cell."""
    film = clip.film()
    frame = next(islice(film.frames(), second % 2 * 25, None))
    wide = min(film.width, film.height * CELL[0] / CELL[1])
    high = wide * CELL[1] / CELL[0]
    left, top = (film.width - wide) / 2, film.height - high
    return Image.fromarray(frame).resize(CELL, Image.Resampling.BOX, (left, top, left + wide, top + high))
