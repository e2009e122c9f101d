"""The data sets by name: which classes each has, and what a class shows."""

from dataclasses import dataclass
from typing import NamedTuple

from dataset.demo.action import Action
from dataset.demo.moving import Backstroke, Biking, Skiing
from dataset.demo.sitting import Sitting
from dataset.demo.standing import Ballet, Deadlifting, Juggling


class Shown(NamedTuple):
    """What the clips of a class show."""

    action: type[Action]
    backwards: bool = False  # the films run from their last frame to their first


@dataclass(frozen=True)
class DemoSet:
    """A data set: its classes in label order, and what the command takes where no flag says otherwise."""

    version: int | str  # of the drawings, recorded with the data: change it when a change makes other pixels
    classes: dict[str, Shown]
    folder: str
    train_clips: int  # per class, as are val_clips
    val_clips: int
    quality: dict[str, str]  # options of x264
    strips: bool = False  # whether the contact sheet shows films frame by frame


SETS = {
    "actions": DemoSet(
        version=1,
        classes={  # in the alphabetical order of Kinetics
            "biking through city": Shown(Biking),
            "dancing ballet": Shown(Ballet),
            "deadlifting": Shown(Deadlifting),
            "juggling balls": Shown(Juggling),
            "skiing slalom": Shown(Skiing),
            "swimming backstroke": Shown(Backstroke),
        },
        folder="data",
        train_clips=40,
        val_clips=10,
        quality={"crf": "23"},
    ),
    # The same films forwards and backwards: only the order of the frames tells the classes apart.
    "order": DemoSet(
        version="order 1",
        classes={"sitting down": Shown(Sitting), "standing up": Shown(Sitting, backwards=True)},
        folder="order_data",
        train_clips=60,
        val_clips=30,
        # Each frame by itself, at a fixed quality, is decoded the same in either direction. Those predicted from others
        # keep traces of what came before them: too faint for the eye, but enough to tell the classes apart by.
        quality={"qp": "26", "g": "1"},
        strips=True,
    ),
}
ACTIONS = list(dict.fromkeys(shown.action for one in SETS.values() for shown in one.classes.values()))
"""Each action once; its place is part of its films' seed. A set of new actions must come last to change no other's."""
