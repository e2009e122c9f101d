"""The things that stand around: windows, plants, houses and trees."""

import math

import numpy as np

from dataset.demo.drawing import Colour, Pen, Point, shade, tint, vivid

WOOD = (168, 118, 72)
LEAVES = (70, 132, 72)
NEEDLES = (44, 92, 72)


def draw_window(pen: Pen, left: float, top: float, width: float, height: float, sky: Colour) -> None:
    pen.box(left - 4, top - 4, left + width + 4, top + height + 4, (236, 232, 224))
    pen.box(left, top, left + width, top + height, sky)
    pen.polygon(
        [
            (left + 0.1 * width, top + height),
            (left + 0.5 * width, top),
            (left + 0.75 * width, top),
            (left + 0.35 * width, top + height),
        ],
        shade(sky, 1.25),
    )
    pen.box(left + width / 2 - 2, top, left + width / 2 + 2, top + height, (236, 232, 224))
    pen.box(left, top + height / 2 - 2, left + width, top + height / 2 + 2, (236, 232, 224))


def draw_plant(pen: Pen, foot: Point, height: float) -> None:
    x, y = foot
    for turn in (-0.7, -0.35, 0, 0.35, 0.7):
        tip = x + height * math.sin(turn), y - 0.3 * height - 0.8 * height * math.cos(turn)
        pen.limb((x, y - 0.3 * height), tip, 0.1 * height, 0.17 * height, shade(LEAVES, 1 - 0.2 * abs(turn)))
    pen.polygon(
        [
            (x - 0.2 * height, y - 0.35 * height),
            (x + 0.2 * height, y - 0.35 * height),
            (x + 0.14 * height, y),
            (x - 0.14 * height, y),
        ],
        (190, 104, 72),
    )


def draw_house(pen: Pen, rng: np.random.Generator, left: float, edge: float, view: float) -> None:
    wide, high = rng.uniform(0.36, 0.5) * view, rng.uniform(0.45, 0.85) * view
    wall = tint(rng, (0.0, 0.14), (0.1, 0.5), (0.55, 0.95))
    glass = tint(rng, (0.1, 0.6), (0.1, 0.4), (0.4, 0.9))
    pen.box(left, edge - high, left + wide, edge, wall)
    pen.box(left - 3, edge - high, left + wide + 3, edge - high + 5, shade(wall, 0.7))
    for row in np.arange(edge - high + 0.07 * view, edge - 0.25 * view, 0.13 * view):
        for column in (0.12, 0.41, 0.7):
            x = left + column * wide
            pen.box(x, row, x + 0.18 * wide, row + 0.075 * view, glass)
    pen.box(left + 0.1 * wide, edge - 0.15 * view, left + 0.6 * wide, edge - 0.03 * view, shade(glass, 1.3))
    pen.box(left + 0.72 * wide, edge - 0.16 * view, left + 0.9 * wide, edge, shade(wall, 0.5))
    pen.box(left + 0.05 * wide, edge - 0.2 * view, left + 0.95 * wide, edge - 0.15 * view, vivid(rng))


def draw_tree(pen: Pen, foot: Point, height: float, colour: Colour) -> None:
    x, y = foot
    pen.limb(foot, (x, y - 0.6 * height), 0.09 * height, 0.06 * height, shade(WOOD, 0.7))
    for dx, dy, radius in ((-0.15, 0.62, 0.2), (0.16, 0.64, 0.2), (0, 0.8, 0.24)):
        pen.disc((x + dx * height, y - dy * height), radius * height, shade(colour, 0.75 + 0.3 * dy))


def draw_fir(pen: Pen, foot: Point, height: float, light: float) -> None:
    x, y = foot
    for low, high, wide in ((0.0, 0.5, 0.26), (0.25, 0.75, 0.21), (0.5, 1.0, 0.16)):
        left, right, foot_row = x - wide * height, x + wide * height, y - low * height
        pen.polygon(
            [(left, foot_row), (x, y - high * height), (right, foot_row)], shade(NEEDLES, light * (0.85 + 0.3 * low))
        )
