"""Somebody who sits down on a chair; shown backwards, who stands up from it."""

import math

import numpy as np
from PIL import Image

from dataset.demo import gear, scenes
from dataset.demo.action import Action, wave
from dataset.demo.drawing import Pen, Point, pick, vivid
from dataset.demo.figures import Figure, Place, Pose
from dataset.demo.props import WOOD


def anywhere(rng: np.random.Generator, stage: scenes.Stage) -> Image.Image:
    """One of the places where a chair may stand."""
    return pick(rng, (scenes.hall, scenes.gym, scenes.city))(rng, stage)


def between(start: Point, end: Point, share: float) -> Point:
    """The point that is a share of the way from start to end."""
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


class Sitting(Action):
    """The body stands until phase 0, sits down, and sits from phase 1 on."""

    scene = staticmethod(anywhere)
    rate, phase = (0.7, 1.0), (-0.85, -0.45)  # sits down from 0.45 to 1.2 s on, and sits at 1.4 to 2.6 s
    num_frames = 72  # 8 segments' middles lie as far from the start as from the end; those of 3, 4 or 6 all but a frame
    passers_by = False  # they would walk backwards in half of the clips

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self.seat, self.depth = rng.uniform(0.21, 0.26), rng.uniform(0.19, 0.24)
        self.bow, self.rest = rng.uniform(0.35, 0.75), rng.uniform(-0.12, 0.12)
        self.hands = rng.uniform(-0.1, 0.02), self.seat + rng.uniform(0.09, 0.16)
        self.colour = pick(rng, (WOOD, gear.BLACK, vivid(rng)))
        self.back, self.solid = pick(rng, (0.0, rng.uniform(0.25, 0.4))), bool(rng.integers(2))

    def draw(self, pen: Pen, place: Place, phase: float) -> None:
        sat = wave(min(max(phase, 0), 1) / 2, 0, 1)
        bow = math.sin(math.pi * sat)
        hands = between((0.04, 0.44), self.hands, sat)
        pose = Pose(
            hip=between((0.0, 0.48), (-self.depth, self.seat + 0.05), sat),
            lean=0.03 + self.bow * bow + self.rest * sat,
            hands=((hands[0] + 0.2 * bow, hands[1]), (hands[0] + 0.16 * bow, hands[1] - 0.01)),
            feet=((-0.01, 0.03), (0.04, 0.025)),
        )
        gear.draw_chair(pen, place, (-self.depth, self.seat), self.back, self.colour, self.solid)
        Figure(self.body, pose, place).draw(pen)
