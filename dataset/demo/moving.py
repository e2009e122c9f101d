"""Actions that go somewhere, followed by the camera: body and gear as functions of the action's phase."""

import math
from dataclasses import replace

import numpy as np

from dataset.demo import gear, scenes
from dataset.demo.action import Action, circle, wave
from dataset.demo.drawing import Pen, pick, shade, vivid
from dataset.demo.figures import Figure, Place, Pose


class Biking(Action):
    scene = staticmethod(scenes.city)
    size, rate, speed = (0.66, 0.76), (0.7, 1.2), (0.5, 0.9)

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self.colour, self.helmet = vivid(rng), pick(rng, (None, vivid(rng)))
        self.lean = rng.uniform(0.45, 0.8)

    def draw(self, pen: Pen, place: Place, phase: float) -> None:
        x, y = circle(-phase)
        feet = tuple((-0.04 + side * 0.09 * x, 0.215 + side * 0.09 * y) for side in (-1, 1))
        pose = Pose(hip=(-0.13, 0.52), hands=((0.29, 0.6), (0.29, 0.6)), feet=feet, lean=self.lean)
        figure = Figure(self.body, pose, place)
        figure.draw_far(pen)
        gear.draw_bicycle(pen, place, self.colour, crank=-2 * math.pi * phase)
        figure.draw_near(pen)
        if self.helmet:
            gear.draw_helmet(pen, figure, self.helmet)


class Skiing(Action):
    scene = staticmethod(scenes.slope)
    size, rate, speed, fall = (0.64, 0.74), (0.5, 0.9), (0.5, 0.9), (0.16, 0.34)

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self.body = replace(self.body, sleeves=2, legs=2, bottom=pick(rng, (self.body.top, self.body.bottom)))
        self.skis, self.helmet, self.spray = vivid(rng), vivid(rng), rng.uniform(size=(10, 2))

    def draw(self, pen: Pen, place: Place, phase: float) -> None:
        crouch, swing = wave(phase, 0.0, 1.0), wave(phase + 0.25)
        place = replace(place, roll=place.roll + 0.12 * swing)
        hands = ((0.24, 0.5 + 0.06 * swing), (0.2, 0.5 - 0.06 * swing))
        pose = Pose(
            hip=(-0.08, 0.42 - 0.08 * crouch),
            lean=0.55 + 0.25 * crouch,
            hands=hands,
            front=0.15,
            feet=((0.03, 0.05), (-0.02, 0.05)),
        )
        figure = Figure(self.body, pose, place)
        for side, draw_half in ((0, figure.draw_far), (1, figure.draw_near)):
            gear.draw_ski(pen, place, (0.06, 0.0)[side], shade(self.skis, (0.75, 1.0)[side]))
            draw_half(pen)
            tip = hands[side][0] - 0.5, hands[side][1] - 0.33
            pen.limb(place.at(hands[side]), place.at(tip), 0.02 * place.size, 0.014 * place.size, gear.BLACK)
        gear.draw_helmet(pen, figure, self.helmet)
        gear.draw_snow_spray(pen, place.at((-0.4, 0)), place.size, phase, self.spray)


class Backstroke(Action):
    scene = staticmethod(scenes.pool)
    size, rate, speed = (0.8, 0.95), (0.5, 0.8), (0.25, 0.45)
    ground, passers_by = (0.26, 0.32), False

    def __init__(self, rng: np.random.Generator):
        super().__init__(rng)
        self.body = replace(
            self.body,
            sleeves=0,
            legs=1,
            bun=False,
            shoes=self.body.skin,
            hair=vivid(rng),
            top=pick(rng, (self.body.skin, self.body.bottom)),
        )

    def draw(self, pen: Pen, place: Place, phase: float) -> None:
        # Lying on the back with the head ahead: the upright body, facing back, turned a quarter to its back.
        place = replace(place, facing=-1, roll=-math.pi / 2 + 0.08)
        kick = wave(3 * phase, -0.05, 0.05)
        hands = []
        for side in (0.0, 0.5):
            x, y = circle(0.25 - phase - side)
            hands.append((0.31 * x, 0.26 + 0.33 * y))
        feet = (kick, -0.46), (-kick, -0.46)
        pose = Pose(hip=(0, 0), hands=tuple(hands), feet=feet, pointe=True, elbows=(1, 1))
        with pen.under_water(place.y, 0.65):
            Figure(self.body, pose, place).draw(pen)
        for hand in hands:
            if abs(hand[0]) < 0.2:
                gear.draw_splash(pen, place.at(hand), 0.13 * place.size, phase)
        gear.draw_splash(pen, place.at((0, -0.5)), 0.15 * place.size, 3 * phase)
