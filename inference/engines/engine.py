"""What every engine is: frames in, probabilities and features out."""

from typing import NamedTuple, Protocol

import numpy as np
import paddle


class Classified(NamedTuple):
    """What an engine says of N clips."""

    probabilities: np.ndarray
    """float32 (N, K), rows add up to 1."""
    features: np.ndarray
    """float32 (N, num_features): what the last layer sees, averaged over the segments."""


class Engine(Protocol):
    """A model that is ready to run."""

    title: str
    """Engine, version and where it runs, for people."""

    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
