"""What every engine is: frames in, probabilities and features out."""

import importlib.util
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import paddle

PRECISIONS = ("float32", "bf16", "int8")
CARD_FILE = "export.json"
"""What an export that is a folder says of itself; see `ExportCard`."""
MODEL_STEM = "model"


class Classified(NamedTuple):
    """What an engine says of N clips."""

    probabilities: np.ndarray
    """float32 (N, K); rows add up to 1, but for a multi-label model."""
    features: np.ndarray
    """float32 (N, num_features): what the last layer sees, averaged over the segments."""


class Running(NamedTuple):
    """How an engine is to run."""

    num_threads: int
    """On a CPU."""
    gpu: int | None = None
    """Number of the GPU to run on; None: the CPU."""
    precision: str = "float32"
    """One of PRECISIONS, in which convolutions are computed."""
    one_by_one: bool = False
    """Clips come one at a time, and each is waited for."""

    def where(self) -> str:
        """For titles."""
        threads = "1 thread" if self.num_threads == 1 else f"{self.num_threads} threads"
        place = threads if self.gpu is None else "GPU"
        return place if self.precision == "float32" else f"{self.precision}, {place}"


class Engine(Protocol):
    """A model that is ready to run."""

    title: str
    """Engine, version and where it runs, for people."""
    in_flight: int
    """Clips that should be started before the answer to the first is waited for, to keep it busy."""

    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""

    def start(self, frames: paddle.Tensor) -> Callable[[], Classified]:
        """Begin with uint8 (N, T, 3, H, W); what is returned waits for the answer."""


class AtOnce:
    """How an engine starts that has one request at a time: it answers before it returns."""

    in_flight = 1

    def start(self, frames: paddle.Tensor) -> Callable[[], Classified]:
        """Begin with uint8 (N, T, 3, H, W); what is returned gives the answer."""
        answer = self(frames)
        return lambda: answer


def missing_packages(*packages: str) -> list[str]:
    """Those that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]
