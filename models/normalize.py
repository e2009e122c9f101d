"""uint8 pixels -> normalised floats, on the device, inside the model."""

from collections.abc import Sequence

import paddle
from paddle import nn


class Normalize(nn.Layer):
    """(pixels / 255 - mean) / std, channel by channel.

    Args:
        mean, std: of R, G and B on the 0..1 scale.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        # not persistable: the config holds these values, checkpoints need not
        self.register_buffer("mean", paddle.to_tensor(mean, "float32").reshape([3, 1, 1]), persistable=False)
        self.register_buffer("std", paddle.to_tensor(std, "float32").reshape([3, 1, 1]), persistable=False)

    def forward(self, frames: paddle.Tensor) -> paddle.Tensor:
        """uint8 (..., 3, H, W) -> float32 of the same shape."""
        return (frames.astype("float32") / 255.0 - self.mean) / self.std
