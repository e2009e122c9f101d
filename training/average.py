"""An exponential moving average of a model's weights. Knows no model class."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import paddle


def decay_at(step: int, decay: float) -> float:
    """The share of the average that a step keeps: less at first, so that the first weights are soon forgotten.

    Source: the warm-up of TensorFlow's ExponentialMovingAverage, min(decay, (1 + step) / (10 + step)).
    """
    return min(decay, (1 + step) / (10 + step))


class WeightAverage:
    """Averages of all floats that a model saves, the running statistics of batch norm included.

    Args:
        model: the model, whose present weights are the first average.
        decay: see `decay_at`.
    """

    def __init__(self, model: paddle.nn.Layer, decay: float):
        self.decay = decay
        self._weights = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
        self._averages = {name: tensor.detach().clone() for name, tensor in self._weights.items()}

    @paddle.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        share = 1 - decay_at(step, self.decay)
        for name, average in self._averages.items():
            average.set_value(average + (self._weights[name] - average) * share)

    @paddle.no_grad()
    def take_over(self, names: Iterable[str]) -> None:
        """Let the averages of these tensors be what the model has now, inside `applied` too."""
        for name in names:
            self._averages[name].set_value(self._weights[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the average weights; afterwards its own again, to the bit."""
        own = self.weights()
        self._set_weights(self._averages)
        try:
            yield
        finally:
            self._set_weights(own)

    def weights(self) -> dict[str, np.ndarray]:
        """The model's own weights, without those that are no floats."""
        return {name: tensor.numpy() for name, tensor in self._weights.items()}

    def restore(self, own: dict[str, np.ndarray]) -> None:
        """Go on from a model that was loaded with the average: that is the average, `own` are the model's weights."""
        for name, average in self._averages.items():
            average.set_value(self._weights[name])
        self._set_weights(own)

    @paddle.no_grad()
    def _set_weights(self, values: dict) -> None:
        for name, tensor in self._weights.items():
            tensor.set_value(values[name])
