"""A picture that shows some clips of each class, for people."""

from pathlib import Path

import numpy as np
from PIL import Image

from dataset.contact_sheet import CELL, CLIPS_SHOWN, SHAPE, write_contact_sheet
from dataset.demo.clips import Clip, Film
from dataset.demo.sets import DemoSet

STRIP_SHAPE = (6, 2)  # frames of a film side by side, and films of a class one above another


def write_demo_sheet(path: Path, demo_set: DemoSet, seed: int) -> None:
    """Write a picture with some films of each class: a glimpse of each, or a strip of it."""
    shape, num_films, look = SHAPE, CLIPS_SHOWN, glimpses
    if demo_set.strips:
        shape, num_films, look = STRIP_SHAPE, STRIP_SHAPE[1], strips
    pictures = {
        name: look([Clip(demo_set, seed, label, number).film() for number in range(num_films)])
        for label, name in enumerate(demo_set.classes)
    }
    write_contact_sheet(path, pictures, shape)


def glimpses(films: list[Film]) -> list[Image.Image]:
    """A frame out of the first seconds of each film."""
    return [thumbnail(film, number % 2 * 25) for number, film in enumerate(films)]


def strips(films: list[Film]) -> list[Image.Image]:
    """Frames of each film in the order of time, from the first to the last."""
    return [thumbnail(film, round(frame)) for film in films for frame in np.linspace(0, film.count - 1, STRIP_SHAPE[0])]


def thumbnail(film: Film, frame: int) -> Image.Image:
    """A frame of the film, cut to the shape of a cell."""
    wide = min(film.width, film.height * CELL[0] / CELL[1])
    high = wide * CELL[1] / CELL[0]
    left, top = (film.width - wide) / 2, film.height - high
    box = (left, top, left + wide, top + high)
    return Image.fromarray(film.frame(frame)).resize(CELL, Image.Resampling.BOX, box)
