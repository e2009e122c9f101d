"""Eager Paddle: the model as it is, from weights."""

import paddle
from paddle import nn

from inference.engines.engine import AtOnce, Classified, Running


class WithProbabilities(nn.Layer):
    """A model with softmax or sigmoid after it: what engines run and exports hold.

    Args:
        model: has `features(frames)`, `fc(features)` and `probabilities(logits)`, as models/tsn.py.
    """

    def __init__(self, model: nn.Layer):
        super().__init__()
        self.model = model

    def forward(self, frames: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        """uint8 (N, T, 3, H, W) -> probabilities (N, K) and features (N, num_features), float32."""
        features = self.model.features(frames)
        return self.model.probabilities(self.model.fc(features)), features


class EagerPaddle(AtOnce):
    """Runs a model on Paddle's current device.

    Args:
        model: as `WithProbabilities` takes it.
        running: its threads are set for the whole process; None: as they are.
    """

    def __init__(self, model: nn.Layer, running: Running | None = None):
        model.eval()
        self.model = model
        self._network = WithProbabilities(model)
        self.title = f"Paddle {paddle.__version__}, eager"
        if running:
            self.title += f", {running.where()}"
            if running.gpu is None:
                paddle.base.core.set_num_threads(running.num_threads)

    @paddle.no_grad()
    def __call__(self, frames: paddle.Tensor) -> Classified:
        """uint8 (N, T, 3, H, W) -> what it says of each."""
        probabilities, features = self._network(frames)
        return Classified(probabilities.numpy(), features.numpy())
