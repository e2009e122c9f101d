"""One clip: everything random about it, its frames, and its mp4 file."""

import copy
import math
import string
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import ImageOps

from dataset.demo.action import Action, walk
from dataset.demo.drawing import SCALE, Pen, pick
from dataset.demo.figures import Figure, Place, random_body
from dataset.demo.scenes import Stage
from dataset.demo.sets import ACTIONS, DemoSet

FPS = 25
# Width and height of the frames, like the mixture that Kinetics is: about one clip in ten is not 320 x 240.
SIZES = ((320, 240),) * 18 + ((340, 256), (240, 320))
ID_LETTERS = string.ascii_letters + string.digits + "-_"
MARGIN = 1.25  # how much larger than the frame the background is, for the camera to move


class Clip:
    """Clip `number` of class `label` of a data set, the same whenever and wherever it is made with the same seed.

    Classes of the same action show the same films. A clip that shows its film backwards has its id backwards.
    """

    def __init__(self, demo_set: DemoSet, seed: int, label: int, number: int):
        self.label, self.quality = label, demo_set.quality
        self.class_name, self.shown = list(demo_set.classes.items())[label]
        rng = np.random.default_rng([seed, ACTIONS.index(self.shown.action), number])
        letters = [ID_LETTERS[i] for i in rng.integers(len(ID_LETTERS), size=11)]
        self.youtube_id = "".join(reversed(letters) if self.shown.backwards else letters)
        self.start = int(rng.integers(300))  # seconds into the video it pretends to be cut from
        self.rng = rng

    @property
    def file_name(self) -> str:
        """The name Kinetics gives the ten seconds from `start` on."""
        return f"{self.youtube_id}_{self.start:06d}_{self.start + 10:06d}.mp4"

    def film(self) -> "Film":
        """What the clip shows; a new one, from the same random numbers, at each call."""
        return Film(copy.deepcopy(self.rng), *self.shown)

    def write(self, path: Path) -> None:
        """Encodes the clip as H.264; the file has its name only once it is whole."""
        film, unfinished = self.film(), path.with_suffix(".part")
        with av.open(str(unfinished), "w", format="mp4") as container:
            # Same pixels every time: more threads would make them depend on the machine, and x264's mbtree gives others
            # from run to run where the CPU has AVX-512.
            options = {**self.quality, "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.width, stream.height, stream.pix_fmt = film.width, film.height, "yuv420p"
            for image in film.frames():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        unfinished.replace(path)


class Film:
    """Who does what, where, and how the camera looks at it; all drawn from `rng` before the first frame."""

    def __init__(self, rng: np.random.Generator, action: type[Action], backwards: bool):
        self.width, self.height = pick(rng, SIZES)
        self.count = action.num_frames or round(FPS * rng.triangular(2, 2, 4))
        self.backwards = backwards
        self.mirror = bool(rng.integers(2))
        self.action = action(rng)
        # How far the camera is zoomed in; a tall frame does not make tall people.
        unit = min(self.height, 0.9 * self.width) * rng.uniform(0.95, 1.05)
        self.size = unit * rng.uniform(*action.size)
        self.rate, self.phase = rng.uniform(*action.rate), rng.uniform(*action.phase)
        self.speed = self.size * rng.uniform(*action.speed)
        self._set_stage(rng, action, unit)
        self._set_camera(rng)
        self._set_passer_by(rng)

    def _set_stage(self, rng: np.random.Generator, action: type[Action], unit: float) -> None:
        travel = self.speed * self.count / FPS
        fall = rng.uniform(*action.fall)
        self.start = MARGIN * self.width / 2
        height = MARGIN * self.height
        # Where the action starts; from there the camera follows the fall. It is in the middle of a tall frame.
        ground = height / 2 + (0.5 - rng.uniform(*action.ground)) * min(self.width, self.height) - fall * self.start
        self.stage = Stage(MARGIN * self.width + travel, height + fall * travel, ground, fall, unit)
        self.background = action.scene(rng, self.stage)

    def _set_camera(self, rng: np.random.Generator) -> None:
        self.aim = rng.uniform(-0.07, 0.07) * self.width
        self.pan = rng.uniform(-8, 8)  # pixels to the right over the whole clip
        self.shake = rng.uniform(0, 1.6), rng.uniform(0.8, 1.6), rng.uniform(0, 2 * math.pi)

    def _set_passer_by(self, rng: np.random.Generator) -> None:
        """Sometimes somebody walks past behind the action."""
        walks_past = rng.uniform() < 0.2 and self.action.passers_by
        self.passer_by = random_body(rng) if walks_past else None
        self.walk_from = pick(rng, (-1, 1)) * rng.uniform(0.25, 0.5) * self.width
        self.walk_speed = pick(rng, (-1, 1)) * rng.uniform(0.3, 0.5)  # in body heights per second

    def frames(self) -> Iterator[np.ndarray]:
        """Draws the frames: (height, width, 3) uint8 RGB, `count` of them."""
        for number in range(self.count):
            yield self.frame(number)

    def corner(self, time: float) -> tuple[int, int]:
        """The top left corner of what the camera sees at a time in seconds, on the enlarged background."""
        force, pace, offset = self.shake
        share = time * FPS / self.count - 0.5
        shake_x, shake_y = force * math.sin(5 * pace * time + offset), force * math.sin(7 * pace * time)
        travel = self.speed * time
        x = self.start - self.width / 2 + travel + self.aim + self.pan * share + shake_x
        y = (MARGIN - 1) * self.height / 2 + self.stage.fall * travel + shake_y
        return round(SCALE * x), round(SCALE * y)

    def frame(self, number: int) -> np.ndarray:
        """Draws frame `number`, counted from 0: (height, width, 3) uint8 RGB."""
        time = (self.count - 1 - number if self.backwards else number) / FPS
        left, top = self.corner(time)
        image = self.background.crop((left, top, left + SCALE * self.width, top + SCALE * self.height))
        pen = Pen(image, (left / SCALE, top / SCALE))
        if self.passer_by:
            self._draw_passer_by(pen, time)
        x = self.start + self.speed * time
        place = Place(x, self.stage.at(x), self.size, roll=math.atan(self.stage.fall))
        self.action.draw(pen, place, self.phase + self.rate * time)
        image = image.reduce(SCALE)
        return np.asarray(ImageOps.mirror(image) if self.mirror else image)

    def _draw_passer_by(self, pen: Pen, time: float) -> None:
        size, facing = 0.5 * self.stage.view, 1 if self.walk_speed > 0 else -1
        x = self.start + self.speed * time + self.walk_from + self.walk_speed * size * time
        place = Place(x, self.stage.at(x) - 0.09 * self.stage.view, size, facing)
        Figure(self.passer_by, walk(1.3 * time), place).draw(pen)
