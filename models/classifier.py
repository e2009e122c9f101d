"""Frames -> probabilities and features, by the model itself; models/exported.py does the same with exported models."""

from typing import NamedTuple

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


class Classified(NamedTuple):
    """What a classifier says of N clips."""

    probabilities: np.ndarray
    """float32 (N, K), rows add up to 1."""
    features: np.ndarray
    """float32 (N, num_features): what the last layer sees, averaged over the segments."""


class Classifier(nn.Layer):
    """A model with the softmax after it: what is exported.

    Args:
        model: has `features(frames)` and `fc(features)`, as models/tsn.py.
    """

    def __init__(self, model: nn.Layer):
        super().__init__()
        self.model = model

    def forward(self, frames: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """uint8 (N, T, 3, H, W) -> probabilities (N, K) and features (N, num_features), float32."""
        features = self.model.features(frames)
        return F.softmax(self.model.fc(features), axis=1), features


class EagerClassifier:
    """Runs a model as it is, on Paddle's current device."""

    def __init__(self, model: nn.Layer):
        model.eval()
        self.model = model
        self._classifier = Classifier(model)
        self.title = f"Paddle {paddle.__version__}, eager"

    @paddle.no_grad()
    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
        probabilities, features = self._classifier(frames)
        return Classified(probabilities.numpy(), features.numpy())
