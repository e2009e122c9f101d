"""Actions that stay where they are: the body and its gear as functions of the action's phase."""

from dataclasses import replace

import numpy as np

from dataset.demo import gear, scenes
from dataset.demo.action import Action, circle, wave
from dataset.demo.drawing import Pen, pick, shade, vivid
from dataset.demo.figures import Figure, Place, Pose


class Ballet(Action):
    rate = (0.35, 0.6)

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self.body = replace(self.body, bun=True, sleeves=0, legs=2, bottom=shade(self.body.skin, 1.3))
        self.colour = shade(self.body.top, rng.uniform(1.1, 1.6))
        self.figure_of_dance = pick(rng, (self.arabesque, self.jete, self.second))

    def arabesque(self, phase: float) -> Pose:
        lift, sway = wave(phase, 0.75, 1.0), wave(phase, -0.02, 0.02)
        return Pose(
            hip=(0, 0.54),
            lean=0.25 + 0.2 * lift,
            front=0.2,
            pointe=True,
            elbows=(1, 1),
            feet=((-0.42 * lift, 0.48 * lift + 0.06), (0.0, 0.08)),
            hands=((0.46, 0.86 + sway), (-0.12, 0.62 - sway)),
        )

    def jete(self, phase: float) -> Pose:
        leap, sway = wave(phase, 0.0, 0.14), wave(2 * phase, -0.03, 0.03)
        return Pose(
            hip=(0, 0.5 + leap),
            lean=0.1,
            front=0.2,
            pointe=True,
            knees=(1, -1),
            elbows=(1, 1),
            feet=((-0.45, 0.42 + leap - sway), (0.45, 0.46 + leap + sway)),
            hands=((-0.34, 0.84 + leap), (0.36, 0.9 + leap)),
        )

    def second(self, phase: float) -> Pose:
        lift = wave(phase, 0.8, 1.0)
        return Pose(
            hip=(0, 0.54),
            front=1,
            pointe=True,
            knees=(-1, 1),
            elbows=(1, -1),
            feet=((0.0, 0.08), (0.45 * lift, 0.14 + 0.42 * lift)),
            hands=((-0.38, 0.86 + 0.06 * lift), (0.12, 1.09)),
        )

    def draw(self, pen: Pen, place: Place, phase: float) -> None:
        pose = self.figure_of_dance(phase)
        Figure(self.body, pose, place).draw(pen)
        gear.draw_tutu(pen, place, pose.hip, 0.7 * pose.lean, self.colour)


class Juggling(Action):
    rate = (0.5, 0.8)

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self.top, self.radius = rng.uniform(0.48, 0.58), rng.uniform(0.068, 0.08)
        self.colours = [vivid(rng) for _ in range(rng.integers(4, 7))]

    def draw(self, pen: Pen, place: Place, phase: float) -> None:
        x, y = circle(2 * phase)
        hands = tuple((side * (0.27 + 0.025 * x), 0.6 + side * 0.03 * y) for side in (-1, 1))
        pose = Pose(
            hip=(0.01 * y, 0.495),
            front=1,
            knees=(-1, 1),
            elbows=(1, -1),
            hands=hands,
            feet=((-0.08, 0.03), (0.08, 0.03)),
        )
        Figure(self.body, pose, place).draw(pen)
        gear.draw_balls(pen, place, phase, self.top, self.radius, self.colours)


class Deadlifting(Action):
    scene = staticmethod(scenes.gym)
    size, rate = (0.74, 0.84), (0.3, 0.5)

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        large, small = rng.uniform(0.18, 0.21), rng.uniform(0.13, 0.16)
        self.plates = [(large, vivid(rng)), (small, vivid(rng))][: rng.integers(1, 3)]

    def draw(self, pen: Pen, place: Place, phase: float) -> None:
        lift = wave(phase, 0, 1)
        bar = self.plates[0][0] + (0.43 - self.plates[0][0]) * lift
        pose = Pose(
            hip=(0, 0.3 + 0.18 * lift),
            torso=0.72 + 0.28 * lift,
            front=1,
            knees=(-1, 1),
            elbows=(-1, 1),
            hands=((-0.2, bar), (0.2, bar)),
            feet=((-0.09, 0.03), (0.09, 0.03)),
        )
        figure = Figure(self.body, pose, place)
        figure.draw_far(pen)
        figure.draw_near(pen)
        gear.draw_barbell(pen, place, bar, self.plates)
        for hand in pose.hands:
            pen.disc(place.at(hand), 0.034 * place.size, self.body.skin)
