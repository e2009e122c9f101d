"""Eager Paddle: the model as it is, from weights."""

import paddle
import paddle.nn.functional as F
from paddle import nn

from inference.engines.engine import Classified


class WithSoftmax(nn.Layer):
    """A model with the softmax after it: what engines run and exports hold.

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


class EagerPaddle:
    """Runs a model on Paddle's current device."""

    def __init__(self, model: nn.Layer):
        model.eval()
        self.model = model
        self._network = WithSoftmax(model)
        self.title = f"Paddle {paddle.__version__}, eager"

    @paddle.no_grad()
    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
        probabilities, features = self._network(frames)
        return Classified(probabilities.numpy(), features.numpy())
