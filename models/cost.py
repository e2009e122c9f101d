"""What a model costs: multiply-adds and parameters. `paddle.flops` fails with a recent numpy."""

from typing import NamedTuple

import paddle
from paddle import nn


class Cost(NamedTuple):
    snippet_gmacs: float
    """Billions of multiply-adds in convolutions and linear layers, which papers call GFLOPs, for each snippet."""
    head_gmacs: float
    """The same of the last layer, which runs once per clip."""
    num_parameters: int
    """Trained numbers only: the running statistics of batch norm are not counted."""

    def clip_gmacs(self, seg_num: int) -> float:
        """Billions of multiply-adds of a clip."""
        return self.snippet_gmacs * seg_num + self.head_gmacs


@paddle.no_grad()
def model_cost(model: nn.Layer, seglen: int, target_size: int) -> Cost:
    """What the model costs; it is run on a snippet to see its shapes."""
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
    *snippet_macs, head_macs = macs
    num_trained = sum(parameter.size for parameter in model.parameters() if not parameter.stop_gradient)
    return Cost(sum(snippet_macs) / 1e9, head_macs / 1e9, num_trained)
