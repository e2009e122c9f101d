"""What a model costs: multiply-adds and parameters. `paddle.flops` fails with a recent numpy."""

from typing import NamedTuple

import paddle
from paddle import nn


class Cost(NamedTuple):
    gmacs: float
    """Billions of multiply-adds in convolutions and linear layers, which papers call GFLOPs."""
    num_parameters: int
    """Trained numbers only: the running statistics of batch norm are not counted."""


@paddle.no_grad()
def clip_cost(model: nn.Layer, seg_num: int, seglen: int, target_size: int) -> Cost:
    """Cost of one clip of seg_num segments; the model is run on a snippet to see its shapes."""
    macs: list[int] = []
    is_training = model.training

    def count(layer: nn.Layer, inputs: tuple, output: paddle.Tensor) -> None:
        terms = layer.weight.shape[0] if isinstance(layer, nn.Linear) else layer.weight[0].size
        macs.append(output.size * terms)

    layers = [layer for layer in model.sublayers() if isinstance(layer, nn.Conv2D | nn.Linear)]
    hooks = [layer.register_forward_post_hook(count) for layer in layers]
    model.eval()
    model(paddle.zeros([1, seglen, 3, target_size, target_size], "uint8"))
    for hook in hooks:
        hook.remove()
    if is_training:
        model.train()
    head_macs = macs.pop()  # the last layer runs once per clip
    return Cost((sum(macs) * seg_num + head_macs) / 1e9, _num_trained(model))


def _num_trained(model: nn.Layer) -> int:
    return sum(parameter.size for parameter in model.parameters() if not parameter.stop_gradient)
