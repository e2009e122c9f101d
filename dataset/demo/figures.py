"""An articulated person: proportions and clothes that stay, and a pose that changes."""

import math
from dataclasses import dataclass

import numpy as np

from dataset.demo.drawing import Colour, Pen, Point, hsv, pick, shade, vivid

SKINS = ((255, 224, 196), (241, 194, 150), (224, 172, 120), (180, 124, 80), (120, 80, 52), (92, 60, 42))
HAIRS = ((40, 30, 28), (84, 54, 34), (140, 90, 48), (214, 178, 96), (160, 62, 34), (176, 176, 180))


@dataclass(frozen=True)
class Body:
    """Proportions in units of the body's height, and colours."""

    head: float
    torso: float
    arm: float  # upper arm; the forearm is as long
    leg: float  # thigh; the shin is as long
    width: float  # of a thigh; the other parts follow it
    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    shoes: Colour
    sleeves: int  # how many segments of an arm the top covers: 0, 1 or 2
    legs: int  # how many segments of a leg the bottom covers: 1 or 2
    bun: bool


def random_body(rng: np.random.Generator) -> Body:
    """A person of random build, skin, hair and clothes."""
    return Body(
        head=rng.uniform(0.078, 0.094),
        torso=rng.uniform(0.275, 0.305),
        arm=rng.uniform(0.155, 0.175),
        leg=rng.uniform(0.225, 0.245),
        width=rng.uniform(0.075, 0.1),
        skin=pick(rng, SKINS),
        hair=pick(rng, HAIRS),
        top=vivid(rng),
        bottom=hsv(rng.uniform(), 0.45, rng.uniform(0.2, 0.7)),
        shoes=vivid(rng),
        sleeves=int(rng.integers(3)),
        legs=int(rng.integers(1, 3)),
        bun=bool(rng.integers(2)),
    )


@dataclass(frozen=True)
class Pose:
    """Where the body's parts are, in units of its height: x to the front, y up, from a point on the ground.

    The elbows and knees follow from the hands and feet; `knees` and `elbows` say to which side they bend
    (+1 the front, -1 the back), far side first, as everywhere.
    """

    hip: Point
    hands: tuple[Point, Point]
    feet: tuple[Point, Point]
    lean: float = 0.0  # of the torso, in radians from upright to the front
    front: float = 0.0  # 0 is seen from the side, 1 from the front
    torso: float = 1.0  # below 1 when the torso leans towards the eye
    knees: tuple[int, int] = (1, 1)
    elbows: tuple[int, int] = (-1, -1)
    pointe: bool = False  # on the tips of the toes


@dataclass(frozen=True)
class Place:
    """Where a person is in the picture: maps the body's units to pixels."""

    x: float
    y: float
    size: float  # the body's height in pixels
    facing: int = 1  # 1 to the right, -1 to the left
    roll: float = 0.0  # in radians, turns the whole person to the front

    def at(self, point: Point) -> Point:
        """The pixel (x, y) of a point of the body."""
        sin, cos = math.sin(self.roll), math.cos(self.roll)
        ahead, up = point[0] * cos + point[1] * sin, point[1] * cos - point[0] * sin
        return self.x + self.facing * self.size * ahead, self.y - self.size * up


def bend(start: Point, end: Point, length: float, side: int) -> tuple[Point, Point]:
    """The joint and the end of a limb of two segments of `length` that reaches from start towards end."""
    span = math.dist(start, end)
    reach = min(span, 1.999 * length)
    ahead = (end[0] - start[0]) / (span or 1), (end[1] - start[1]) / (span or 1)
    rise = side * math.sqrt(length**2 - reach**2 / 4)
    middle = start[0] + ahead[0] * reach / 2, start[1] + ahead[1] * reach / 2
    joint = middle[0] - ahead[1] * rise, middle[1] + ahead[0] * rise
    return joint, (start[0] + ahead[0] * reach, start[1] + ahead[1] * reach)


class Figure:
    """A body in a pose at a place; drawn in two halves, so that a bicycle can stand between the legs."""

    def __init__(self, body: Body, pose: Pose, place: Place):
        self.body, self.pose, self.place = body, pose, place
        self.up = math.sin(pose.lean), math.cos(pose.lean)
        self.neck = self.along(pose.hip, body.torso * pose.torso)

    def along(self, start: Point, up: float, ahead: float = 0.0) -> Point:
        """The point `up` along the spine and `ahead` across it, counted from start."""
        sin, cos = self.up
        return start[0] + up * sin + ahead * cos, start[1] + up * cos - ahead * sin

    def draw(self, pen: Pen) -> None:
        self.draw_far(pen)
        self.draw_near(pen)

    def draw_far(self, pen: Pen) -> None:
        """The arm and the leg on the far side, a little darker than the rest."""
        light = 1 - 0.2 * (1 - self.pose.front)
        self._arm(pen, 0, light)
        self._leg(pen, 0, light)

    def draw_near(self, pen: Pen) -> None:
        self._leg(pen, 1, 1)
        self._trunk(pen)
        self._head(pen)
        self._arm(pen, 1, 1)

    def _limb(self, pen: Pen, points: tuple[Point, ...], widths: tuple[float, ...], colours: tuple) -> None:
        places, size = [self.place.at(point) for point in points], self.place.size
        for i in reversed(range(len(colours))):  # the upper segment lies over the lower one
            pen.limb(places[i], places[i + 1], widths[i] * size, widths[i + 1] * size, colours[i])

    def _arm(self, pen: Pen, side: int, light: float) -> None:
        body, pose = self.body, self.pose
        offset = (2 * side - 1) * 0.1 * pose.front
        shoulder = self.along(self.neck, -0.03, offset)
        elbow, hand = bend(shoulder, pose.hands[side], body.arm, pose.elbows[side])
        colours = [body.top if i < body.sleeves else body.skin for i in range(2)]
        self._limb(
            pen,
            (shoulder, elbow, hand),
            tuple(body.width * part for part in (0.72, 0.6, 0.5)),
            tuple(shade(colour, light) for colour in colours),
        )
        pen.disc(self.place.at(hand), 0.03 * self.place.size, shade(body.skin, light))

    def _leg(self, pen: Pen, side: int, light: float) -> None:
        body, pose = self.body, self.pose
        hip = self.along(pose.hip, 0, (2 * side - 1) * 0.05 * pose.front)
        knee, ankle = bend(hip, pose.feet[side], body.leg, pose.knees[side])
        colours = [body.bottom if i < body.legs else body.skin for i in range(2)]
        self._limb(
            pen,
            (hip, knee, ankle),
            tuple(body.width * part for part in (1.0, 0.78, 0.58)),
            tuple(shade(colour, light) for colour in colours),
        )
        if pose.pointe:
            shin = ankle[0] - knee[0], ankle[1] - knee[1]
            toe = ankle[0] + 0.28 * shin[0], ankle[1] + 0.28 * shin[1]
        else:
            turn = pose.knees[side] * (1 - 0.4 * pose.front)
            toe = ankle[0] + 0.075 * turn, ankle[1] - 0.012
        self._limb(pen, (ankle, toe), (0.05, 0.035), (shade(body.shoes, light),))

    def _trunk(self, pen: Pen) -> None:
        body, front, size = self.body, self.pose.front, self.place.size
        chest, waist = self.along(self.neck, -0.045), self.along(self.pose.hip, 0.03)
        for offset in (-0.05 * front, 0.05 * front):
            start, end = self.along(chest, 0, offset), self.along(waist, 0, offset * 0.6)
            pen.limb(self.place.at(start), self.place.at(end), 0.125 * size, 0.105 * size, body.top)
        left, right = (self.along(self.pose.hip, 0, offset * front) for offset in (-0.03, 0.03))
        pen.limb(self.place.at(left), self.place.at(right), 0.11 * size, 0.11 * size, body.bottom)

    def _head(self, pen: Pen) -> None:
        body, size = self.body, self.place.size
        ahead, crown = 0.02 * (1 - self.pose.front), self.head_at()
        self._limb(pen, (self.neck, crown), (0.055, 0.055), (shade(body.skin, 0.9),))
        if body.bun:
            pen.disc(self.place.at(self.along(crown, 0.9 * body.head, -ahead * 2)), 0.045 * size, body.hair)
        pen.disc(self.place.at(self.along(crown, 0.2 * body.head, -0.012)), body.head * size, body.hair)
        face = self.along(crown, -0.12 * body.head, 0.25 * body.head * (1 - self.pose.front))
        pen.disc(self.place.at(face), 0.84 * body.head * size, body.skin)
        for eye in (-0.35, 0.35):
            side = (eye + 0.4 * (1 - self.pose.front)) * body.head
            spot = self.along(face, 0.15 * body.head, side)
            pen.disc(self.place.at(spot), 0.011 * size, (40, 30, 30))

    def head_at(self) -> Point:
        """The middle of the head, in units of the body."""
        return self.along(self.neck, 0.02 + self.body.head, 0.02 * (1 - self.pose.front))
