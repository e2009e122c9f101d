"""What all actions have in common, and the swings and circles they are made of."""

import math

import numpy as np

from dataset.demo import scenes
from dataset.demo.drawing import Pen
from dataset.demo.figures import Body, Place, Pose, random_body

Range = tuple[float, float]


def wave(phase: float, low: float = -1.0, high: float = 1.0) -> float:
    """Swings from `low` at phase 0 to `high` at 0.5 and back at 1."""
    return low + (high - low) * (0.5 - 0.5 * math.cos(2 * math.pi * phase))


def circle(phase: float) -> tuple[float, float]:
    """The point of the unit circle at a phase in turns."""
    return math.cos(2 * math.pi * phase), math.sin(2 * math.pi * phase)


def walk(phase: float) -> Pose:
    """The pose of somebody who walks past."""
    x, y = circle(phase)
    return Pose(
        hip=(0, 0.48),
        lean=0.05,
        hands=((0.11 * x, 0.5), (-0.11 * x, 0.5)),
        feet=((-0.13 * x, 0.03 + 0.05 * max(0, y)), (0.13 * x, 0.03 + 0.05 * max(0, -y))),
    )


class Action:
    """One clip's performance of an action: what stays is drawn from `rng`, what moves follows the phase."""

    scene = staticmethod(scenes.hall)
    size: Range = (0.62, 0.7)  # the body's height as a share of the picture's height
    ground: Range = (0.08, 0.14)  # how high it is in the middle square of the picture, as a share
    rate: Range = (0.6, 1.0)  # repetitions per second
    phase: Range = (0.0, 1.0)  # in which a film begins, in repetitions
    num_frames: int | None = None  # of a film; None for films of 2 to 4 seconds
    speed: Range = (0.0, 0.0)  # body heights per second
    fall: Range = (0.0, 0.0)  # how far the ground falls for each pixel to the right
    passers_by = True  # whether somebody may walk past behind it

    def __init__(self, rng: np.random.Generator):
        self.body: Body = random_body(rng)

    def draw(self, pen: Pen, place: Place, phase: float) -> None:
        """Draws the person and the gear; the phase counts the repetitions."""
        raise NotImplementedError
