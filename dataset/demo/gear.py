"""The things people use: a bicycle, a barbell, balls, a skirt, a chair, skis and gates, and splashing water."""

import math

import numpy as np

from dataset.demo.drawing import Colour, Pen, Point, shade
from dataset.demo.figures import Figure, Place

STEEL = (150, 154, 160)
BLACK = (38, 38, 44)


def draw_bicycle(pen: Pen, place: Place, colour: Colour, crank: float) -> None:
    """A bicycle whose cranks stand at the angle `crank`; its wheels turn with the way it has gone."""
    size, radius = place.size, 0.2
    rear, front, pedals = (-0.3, radius), (0.33, radius), (-0.02, 0.19)
    saddle, bar = (-0.12, 0.45), (0.25, 0.56)
    for hub in (rear, front):
        for spoke in range(4):
            angle = place.x / (radius * size) + spoke * math.pi / 4
            along = radius * math.cos(angle), -radius * math.sin(angle)
            ends = [place.at((hub[0] + side * along[0], hub[1] + side * along[1])) for side in (-1, 1)]
            pen.line(ends, 0.006 * size, STEEL)
        pen.ring(place.at(hub), (radius + 0.02) * size, 0.034 * size, BLACK)
        pen.disc(place.at(hub), 0.022 * size, BLACK)
    for start, end in (
        (rear, pedals),
        (rear, saddle),
        (pedals, saddle),
        (saddle, (0.24, 0.46)),
        (pedals, (0.24, 0.46)),
        (front, bar),
    ):
        pen.limb(place.at(start), place.at(end), 0.034 * size, 0.034 * size, colour)
    pen.limb(place.at((-0.19, 0.47)), place.at((-0.07, 0.47)), 0.045 * size, 0.03 * size, BLACK)
    pen.limb(place.at(bar), place.at((0.3, 0.58)), 0.03 * size, 0.03 * size, BLACK)
    pen.disc(place.at(pedals), 0.05 * size, STEEL)
    arm = 0.09 * math.cos(crank), 0.09 * math.sin(crank)
    ends = [place.at((pedals[0] + side * arm[0], pedals[1] + side * arm[1])) for side in (-1, 1)]
    pen.line(ends, 0.02 * size, BLACK)


def draw_helmet(pen: Pen, figure: Figure, colour: Colour) -> None:
    """A helmet on the figure's head."""
    head, radius, size = figure.head_at(), figure.body.head, figure.place.size
    for share in (-0.5, -0.25, 0.0, 0.25, 0.5):
        spot = figure.along(head, 0.5 * radius, share * radius)
        pen.disc(figure.place.at(spot), 0.6 * radius * size, colour)


def draw_barbell(pen: Pen, place: Place, height: float, plates: list[tuple[float, Colour]]) -> None:
    """A barbell at a height over the ground, with (radius, colour) plates from the inside to the outside."""
    size = place.size
    pen.limb(place.at((-0.62, height)), place.at((0.62, height)), 0.028 * size, 0.028 * size, BLACK)
    for side in (-1, 1):
        for number, (radius, colour) in enumerate(plates):
            centre = place.at((side * (0.4 + 0.065 * number), height))
            pen.ellipse(centre, 0.052 * size, radius * size, shade(colour, 0.7))
            outside = centre[0] + side * 0.016 * size, centre[1]
            pen.ellipse(outside, 0.045 * size, 0.94 * radius * size, colour)
            pen.ellipse(outside, 0.016 * size, 0.3 * radius * size, STEEL)


def ball_at(phase: float, top: float) -> Point:
    """Where a ball is (body units): thrown from hand to hand in an arc of height `top`, there and back."""
    phase %= 1
    side = 1 if phase < 0.5 else -1
    flight = 2 * (phase % 0.5)
    return side * 0.3 * (2 * flight - 1), 0.64 + top * 4 * flight * (1 - flight)


def draw_balls(pen: Pen, place: Place, phase: float, top: float, radius: float, colours: list[Colour]) -> None:
    """Balls that follow one another on the way of `ball_at`."""
    for number, colour in enumerate(colours):
        x, y = place.at(ball_at(phase + number / len(colours), top))
        pen.disc((x, y), radius * place.size, colour)
        shine = radius * place.size / 3
        pen.disc((x - shine, y - shine), shine, shade(colour, 1.6))


def draw_tutu(pen: Pen, place: Place, hip: Point, tilt: float, colour: Colour) -> None:
    """A stiff skirt: two layers of frills around the hip, tilted to the front by an angle."""
    for width, drop, light in ((0.29, 0.05, 0.85), (0.26, 0.015, 1.0)):
        rim = []
        for step in range(25):
            angle = 2 * math.pi * step / 24
            frill = 1 + 0.06 * (step % 2)
            x, y = width * frill * math.cos(angle), 0.065 * frill * math.sin(angle) - drop
            rim.append(
                place.at(
                    (hip[0] + x * math.cos(tilt) + y * math.sin(tilt), hip[1] + y * math.cos(tilt) - x * math.sin(tilt))
                )
            )
        pen.polygon(rim, shade(colour, light))


def draw_chair(pen: Pen, place: Place, seat: Point, back: float, colour: Colour, solid: bool) -> None:
    """A chair from its side: legs or a solid foot, a board around the point `seat`, a back of that height or none."""
    size, (x, y) = place.size, seat
    rear, front, board = x - 0.1, x + 0.11, 0.04 * size
    if solid:
        corners = ((rear, y), (front, y), (front - 0.02, 0), (rear + 0.02, 0))
        pen.polygon([place.at(corner) for corner in corners], shade(colour, 0.7))
    for top, foot in ((rear, rear - 0.02), (front, front + 0.01)) if not solid else ():
        pen.limb(place.at((top, y)), place.at((foot, 0)), 0.7 * board, 0.7 * board, shade(colour, 0.8))
    if back:
        pen.limb(place.at((rear, y)), place.at((rear - 0.04, y + back)), board, board, shade(colour, 0.9))
    pen.limb(place.at((rear, y)), place.at((front, y)), board, board, colour)


def draw_ski(pen: Pen, place: Place, ahead: float, colour: Colour) -> None:
    """One ski, seen from the side, `ahead` of the body's middle."""
    points = [place.at((ahead + x, y)) for x, y in ((-0.42, 0.0), (0.4, 0.0), (0.5, 0.05))]
    pen.limb(points[0], points[1], 0.034 * place.size, 0.034 * place.size, colour)
    pen.limb(points[1], points[2], 0.034 * place.size, 0.022 * place.size, colour)


def draw_gate(pen: Pen, foot: Point, height: float, colour: Colour) -> None:
    """A slalom gate: two poles, `height` pixels high, with a panel between them."""
    width = 0.42 * height
    x, y = foot
    pen.polygon(
        [(x, y - 0.92 * height), (x + width, y - 0.92 * height), (x + width, y - 0.5 * height), (x, y - 0.5 * height)],
        colour,
    )
    for pole in (x, x + width):
        pen.limb((pole, y), (pole, y - height), 0.05 * height, 0.05 * height, shade(colour, 0.8))


def draw_splash(pen: Pen, centre: Point, size: float, phase: float) -> None:
    """Drops of water that fly up from a point and fall back, `size` pixels wide."""
    for drop in range(9):
        flight = (phase * 2 + drop * 0.37) % 1
        angle = math.pi * (0.15 + 0.7 * ((drop * 0.618) % 1))
        x = centre[0] + size * flight * math.cos(angle)
        y = centre[1] - size * (flight * math.sin(angle) * 1.4 - 0.9 * flight**2)
        pen.disc((x, y), size * (0.15 - 0.08 * flight), (240, 250, 255))


def draw_snow_spray(pen: Pen, tail: Point, size: float, phase: float, flakes: np.ndarray) -> None:
    """Snow thrown up behind the skis; `flakes` are rows of (age, height) in 0..1, one for each flake."""
    for first_age, lift in flakes:
        age = (phase * 1.7 + first_age) % 1
        height = 0.02 + 0.16 * lift * math.sin(math.pi * age)
        pen.disc((tail[0] - size * 0.35 * age, tail[1] - size * height), size * (0.022 + 0.02 * age), (250, 252, 255))
