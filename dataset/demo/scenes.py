"""The backgrounds, drawn once per clip on a picture larger than the frame, for the camera to move over."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from dataset.demo.drawing import Colour, Pen, blank, shade, tint, vivid
from dataset.demo.gear import BLACK, STEEL, draw_gate
from dataset.demo.props import LEAVES, WOOD, draw_fir, draw_house, draw_plant, draw_tree, draw_window


@dataclass(frozen=True)
class Stage:
    """The room for a background, in pixels of the picture."""

    width: float
    height: float
    ground: float  # the row of the ground at the left edge
    fall: float  # how far the ground falls for each pixel to the right
    view: float  # the height of a frame, by which the props are sized

    def at(self, x: float) -> float:
        """The row of the ground at column x."""
        return self.ground + self.fall * x


def spread(rng: np.random.Generator, stage: Stage, gap: tuple[float, float]) -> list[float]:
    """Columns over the whole stage with random gaps, which are given in shares of the frame's height."""
    columns, x = [], -rng.uniform(0, gap[1]) * stage.view
    while x < stage.width:
        columns.append(x)
        x += rng.uniform(*gap) * stage.view
    return columns


def room(pen: Pen, rng: np.random.Generator, stage: Stage, wall: Colour, floor: Colour) -> float:
    """Draws a wall and a floor; returns the row where they meet."""
    edge = stage.ground - rng.uniform(0.1, 0.2) * stage.view
    pen.gradient(0, edge, shade(wall, 1.12), wall)
    pen.gradient(edge, stage.height, shade(floor, 0.85), shade(floor, 1.1))
    pen.box(0, edge - 0.025 * stage.view, stage.width, edge, shade(wall, 0.75))
    return edge


def hall(rng: np.random.Generator, stage: Stage) -> Image.Image:
    """A hall with windows, posters and plants, where people dance and juggle alike."""
    pen, view = Pen(blank(stage.width, stage.height)), stage.view
    wall = tint(rng, (0, 1), (0.04, 0.22), (0.78, 0.95))
    edge = room(pen, rng, stage, wall, floor=tint(rng, (0.05, 0.13), (0.2, 0.5), (0.55, 0.85)))
    sky = tint(rng, (0.52, 0.6), (0.1, 0.3), (0.9, 1.0))
    props, top = rng.integers(1, 4), edge - rng.uniform(0.55, 0.7) * view
    for x in spread(rng, stage, (0.5, 0.8)):
        prop = rng.integers(4)
        if prop <= props - 1:
            draw_window(pen, x, top, 0.24 * view, 0.36 * view, sky)
        elif prop == 3:
            paper, print_ = (tint(rng, (0, 1), (0.1, 0.4), (0.6, 0.95)) for _ in range(2))
            pen.box(x, top + 0.04 * view, x + 0.17 * view, top + 0.24 * view, paper)
            pen.box(x + 0.03 * view, top + 0.07 * view, x + 0.14 * view, top + 0.16 * view, print_)
        else:
            draw_plant(pen, (x + 0.1 * view, edge + 0.03 * view), 0.2 * view)
    if rng.uniform() < 0.5:  # a rail along the wall
        pen.line([(0, edge - 0.2 * view), (stage.width, edge - 0.2 * view)], 0.018 * view, WOOD)
    return pen.image


def gym(rng: np.random.Generator, stage: Stage) -> Image.Image:
    """A gym with racks of dumbbells, wall bars and a mat to lift on."""
    pen, view = Pen(blank(stage.width, stage.height)), stage.view
    wall = tint(rng, (0, 1), (0.04, 0.25), (0.6, 0.92))
    edge = room(pen, rng, stage, wall, floor=tint(rng, (0, 0.75), (0.0, 0.25), (0.3, 0.6)))
    for x in spread(rng, stage, (0.5, 0.75)):
        if rng.uniform() < 0.5:
            for shelf in (0.16, 0.32):
                pen.box(x, edge - shelf * view, x + 0.42 * view, edge - (shelf - 0.02) * view, BLACK)
                for weight in range(4):
                    spot = x + (0.06 + 0.1 * weight) * view, edge - (shelf + 0.03) * view
                    pen.disc(spot, 0.035 * view, shade(STEEL, 0.6))
                    pen.disc(spot, 0.012 * view, STEEL)
        else:
            for bar in range(7):
                y = edge - (0.1 + 0.09 * bar) * view
                pen.line([(x, y), (x + 0.3 * view, y)], 0.02 * view, WOOD)
            for side in (0, 0.3):
                pen.box(x + side * view - 3, edge - 0.7 * view, x + side * view + 3, edge, shade(WOOD, 0.8))
    mat = tint(rng, (0, 1), (0.2, 0.6), (0.3, 0.6))
    pen.polygon(
        [
            (0.1 * stage.width, stage.height),
            (0.18 * stage.width, stage.ground - 0.04 * view),
            (0.82 * stage.width, stage.ground - 0.04 * view),
            (0.9 * stage.width, stage.height),
        ],
        mat,
    )
    return pen.image


def city(rng: np.random.Generator, stage: Stage) -> Image.Image:
    """A street with houses, trees and lamps."""
    pen, view = Pen(blank(stage.width, stage.height)), stage.view
    sky = tint(rng, (0.5, 0.62), (0.15, 0.5), (0.75, 1.0))
    edge, road = stage.ground - 0.16 * view, tint(rng, (0.55, 0.7), (0.0, 0.12), (0.35, 0.5))
    pen.gradient(0, edge, sky, shade(sky, 1.6))
    for x in spread(rng, stage, (0.2, 0.4)):
        high, haze = rng.uniform(0.5, 0.95) * view, shade(sky, rng.uniform(0.75, 0.9))
        pen.box(x, edge - high, x + 0.3 * view, edge, haze)
    for x in spread(rng, stage, (0.42, 0.6)):
        draw_house(pen, rng, x, edge, view)
    pen.gradient(edge, stage.height, shade(road, 1.5), road)
    pen.box(0, edge + 0.1 * view, stage.width, stage.height, road)
    pen.box(0, edge + 0.1 * view, stage.width, edge + 0.12 * view, shade(road, 1.6))
    for x in np.arange(0, stage.width, 0.3 * view):
        pen.box(x, stage.ground + 0.08 * view, x + 0.15 * view, stage.ground + 0.1 * view, (240, 236, 220))
    for x in spread(rng, stage, (0.5, 0.9)):
        if rng.uniform() < 0.6:
            leaves = shade(LEAVES, rng.uniform(0.8, 1.2))
            draw_tree(pen, (x, edge + 0.05 * view), rng.uniform(0.4, 0.6) * view, leaves)
        else:
            pen.limb((x, edge + 0.06 * view), (x, edge - 0.55 * view), 5, 3, BLACK)
            pen.disc((x, edge - 0.56 * view), 0.03 * view, (255, 240, 190))
    return pen.image


def slope(rng: np.random.Generator, stage: Stage) -> Image.Image:
    """A snowy slope with mountains, firs and slalom gates."""
    pen, view = Pen(blank(stage.width, stage.height)), stage.view
    sky = tint(rng, (0.53, 0.62), (0.25, 0.6), (0.75, 1.0))
    pen.gradient(0, stage.height, sky, shade(sky, 1.8))
    rock = tint(rng, (0.55, 0.68), (0.15, 0.35), (0.45, 0.7))
    for x in spread(rng, stage, (0.35, 0.7)):
        high, wide = rng.uniform(0.4, 0.75) * view, rng.uniform(0.4, 0.6) * view
        top, snow_line, foot = stage.at(x) - high, stage.at(x) - 0.7 * high, stage.at(x) + 0.25 * view
        pen.polygon([(x - wide, foot), (x, top), (x + wide, foot)], rock)
        wide *= high / (high + 0.25 * view)  # of the mountain at the row where the slope begins
        pen.polygon(
            [
                (x - 0.3 * wide, snow_line),
                (x, top),
                (x + 0.3 * wide, snow_line),
                (x + 0.1 * wide, snow_line + 0.06 * high),
                (x - 0.1 * wide, snow_line),
            ],
            (245, 248, 252),
        )
    back, snow = -0.2 * view, tint(rng, (0.55, 0.62), (0.02, 0.1), (0.93, 1.0))
    for x in spread(rng, stage, (0.12, 0.4)):
        foot = x, stage.at(x) + back + 0.06 * view
        draw_fir(pen, foot, rng.uniform(0.25, 0.5) * view, rng.uniform(0.6, 1))
    for drop, light in ((back, 0.9), (-0.06 * view, 0.95), (0.06 * view, 1.0)):
        pen.polygon(
            [
                (0, stage.at(0) + drop),
                (stage.width, stage.at(stage.width) + drop),
                (stage.width, stage.height),
                (0, stage.height),
            ],
            shade(snow, light),
        )
    for number, x in enumerate(spread(rng, stage, (0.4, 0.6))):
        draw_gate(pen, (x, stage.at(x) - 0.04 * view), 0.4 * view, ((214, 44, 52), (44, 84, 200))[number % 2])
    return pen.image


def pool(rng: np.random.Generator, stage: Stage) -> Image.Image:
    """A swimming pool with lane ropes, seen from its side."""
    pen, view = Pen(blank(stage.width, stage.height)), stage.view
    edge = stage.ground - rng.uniform(0.36, 0.46) * view
    water = tint(rng, (0.49, 0.58), (0.5, 0.8), (0.65, 0.9))
    wall = tint(rng, (0, 1), (0.05, 0.25), (0.7, 0.95))
    pen.gradient(0, edge, shade(wall, 1.2), wall)
    for x in spread(rng, stage, (0.35, 0.6)):
        draw_window(pen, x, edge - 0.5 * view, 0.2 * view, 0.28 * view, (206, 232, 246))
    pen.box(0, edge - 0.08 * view, stage.width, edge, (222, 216, 204))
    pen.gradient(edge, stage.height, shade(water, 1.25), shade(water, 0.85))
    for x, y in rng.uniform((0, edge), (stage.width, stage.height), size=(int(stage.width / 7), 2)):
        long = 0.02 * view + 0.05 * (y - edge)
        pen.limb((x, y), (x + long, y), 1.5, 1.5, shade(water, 1.3))
    floats = (vivid(rng), (246, 246, 246))
    for depth, radius in ((0.1, 0.012), (0.24, 0.018), (0.62, 0.03)):
        y = edge + depth * view
        for number, x in enumerate(np.arange(0, stage.width, 2.2 * radius * view)):
            pen.disc((x, y), radius * view, floats[number // 4 % 2])
    return pen.image
