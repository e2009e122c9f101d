"""How a viewer turns and mirrors a picture: by the display matrix that cameras write into their files."""

import math
import struct
from typing import NamedTuple

import av
import numpy as np


class Orientation(NamedTuple):
    """What is to be done to a decoded picture, in this order."""

    changes_sides: bool = False
    """Rows become columns."""
    down: int = 1
    """-1: the last row becomes the first."""
    across: int = 1
    """-1: the last column becomes the first."""


UPRIGHT = Orientation()


def orientation(frame: av.VideoFrame) -> Orientation:
    """As FFmpeg's programs understand the frame's matrix, but angles are rounded to the nearest quarter.

    The matrix's numbers (a, b, _, c, d) move what is at (x, y) to (a x + c y, b x + d y).
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    area = a * d - b * c
    if area == 0:
        return UPRIGHT  # no picture could be shown with it
    mirror = 1 if area > 0 else -1
    if abs(a) * math.hypot(b, d) >= abs(b) * math.hypot(a, c):
        across = 1 if a > 0 else -1
        return Orientation(False, mirror * across, across)
    down = 1 if b > 0 else -1
    return Orientation(True, down, -mirror * down)


def turned(picture: np.ndarray, how: Orientation) -> np.ndarray:
    """A view of the picture or of one of its planes, (H, W, ...)."""
    return (picture.swapaxes(0, 1) if how.changes_sides else picture)[:: how.down, :: how.across]


class Upright:
    """The pictures of one video as a viewer shows them.

    The matrix is read of one frame for each angle: to ask a frame for it keeps the frame in memory for some time.
    """

    def __init__(self) -> None:
        self._known: dict[int, Orientation] = {}

    def turned(self, picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        """A view of the frame's picture (H, W, ...)."""
        angle = frame.rotation
        if angle not in self._known:
            self._known[angle] = orientation(frame)
        return turned(picture, self._known[angle])

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """The frame's picture, uint8 (H, W, 3); `Video.to_rgb` copies less."""
        return self.turned(frame.to_ndarray(format="rgb24"), frame)
