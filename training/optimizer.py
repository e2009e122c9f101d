"""SGD with momentum as the original has it, or AdamW; and their state as arrays by the model's own names."""

from typing import Literal, NamedTuple

import numpy as np
import paddle
from paddle import nn

from models.weights.loading import HEAD

HEAD_BIAS_FACTOR = 2.0  # of the last layer's biases, on top of the head's rate
BETAS = (0.9, 0.999)  # of AdamW


class Groups(NamedTuple):
    """What is not the same for all parameters."""

    decay_bn_and_bias: bool | Literal["all_but_last"] = True
    """Whether the weight decay counts for batch norm and biases; or for all but the last layer's biases."""
    head_rate: float | None = None
    """Factor on the learning rate of the last layer's weights, half of that on its biases'; None: 1 for both."""

    def rate_of(self, name: str) -> float:
        """Factor on the learning rate of the parameter with this name in the model."""
        if self.head_rate is None or not name.startswith(HEAD):
            return 1.0
        return self.head_rate * (HEAD_BIAS_FACTOR if name.endswith("bias") else 1.0)

    def decays(self, name: str, parameter: paddle.Tensor) -> bool:
        """Whether it is decayed: a weight with an axis for inputs and one for outputs always is."""
        if self.decay_bn_and_bias == "all_but_last":
            return name != f"{HEAD}bias"
        return self.decay_bn_and_bias or len(parameter.shape) > 1


ALIKE = Groups()


def create_optimizer(
    model: nn.Layer,
    learning_rate: float,
    momentum: float,
    l2_weight_decay: float,
    clip_grad_norm: float | None = None,
    *,
    name: str = "sgd",
    nesterov: bool = False,
    groups: Groups = ALIKE,
) -> paddle.optimizer.Optimizer:
    """The optimizer of the parameters that are not frozen.

    "sgd": v = momentum * v + (g + l2_weight_decay * w), w -= rate * v, for every parameter, batch norm and biases too;
    with nesterov w -= rate * (g + l2_weight_decay * w + momentum * v) with the new v.
    "adamw": Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019: w -= rate * l2_weight_decay * w,
    then Adam's step.

    Args:
        clip_grad_norm: the gradients g are scaled down together where their L2 norm is larger; None: never.
        groups: where parameters differ.
    """
    trained = _trained(model)
    for own_name, parameter in trained:
        parameter.optimize_attr["learning_rate"] = groups.rate_of(own_name)
    arguments = {
        "learning_rate": learning_rate,
        "parameters": [parameter for _, parameter in trained],
        "grad_clip": nn.ClipGradByGlobalNorm(clip_grad_norm) if clip_grad_norm else None,
    }
    if name == "adamw":
        decayed = {parameter.name for own_name, parameter in trained if groups.decays(own_name, parameter)}
        return paddle.optimizer.AdamW(
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=l2_weight_decay,
            apply_decay_param_fun=decayed.__contains__,
            **arguments,
        )
    for own_name, parameter in trained:
        if not groups.decays(own_name, parameter):
            parameter.regularizer = paddle.regularizer.L2Decay(0.0)
    return paddle.optimizer.Momentum(
        momentum=momentum,
        use_nesterov=nesterov,
        weight_decay=paddle.regularizer.L2Decay(l2_weight_decay),
        **arguments,
    )


class Kept(NamedTuple):
    """An array that an optimizer keeps for each parameter."""

    theirs: str
    """What follows the parameter's name in Paddle's."""
    first: float
    """Its values before the first step; one value for the whole parameter if `is_scalar`."""
    is_scalar: bool = False

    def shape(self, parameter: paddle.Tensor) -> list[int]:
        return [1] if self.is_scalar else list(parameter.shape)


STATES = {
    paddle.optimizer.Momentum: {"velocity": Kept("velocity_0", 0.0)},
    paddle.optimizer.AdamW: {
        "moment1": Kept("moment1_0", 0.0),
        "moment2": Kept("moment2_0", 0.0),
        "beta1_power": Kept("beta1_pow_acc_0", BETAS[0], is_scalar=True),
        "beta2_power": Kept("beta2_pow_acc_0", BETAS[1], is_scalar=True),
    },
}
"""Optimizer -> our name of what it keeps -> where it is."""


def optimizer_arrays(optimizer: paddle.optimizer.Optimizer, model: nn.Layer) -> dict[str, np.ndarray]:
    """What the optimizer keeps, {"<name of the parameter in the model>.velocity": array} for SGD; see STATES.

    Paddle names it after counters of the running process (`conv2d_7.w_0_velocity_0`), which another run may count
    otherwise; the model's own names always fit.
    """
    state, arrays = optimizer.state_dict(), {}
    for name, parameter in _trained(model):
        for ours, kept in STATES[type(optimizer)].items():
            found = state.get(f"{parameter.name}_{kept.theirs}")
            if found is None:  # before the first step
                arrays[f"{name}.{ours}"] = np.full(kept.shape(parameter), kept.first, np.float32)
            else:
                arrays[f"{name}.{ours}"] = found.numpy()
    return arrays


def restore_optimizer(optimizer: paddle.optimizer.Optimizer, model: nn.Layer, arrays: dict[str, np.ndarray]) -> None:
    """Give a new optimizer what `optimizer_arrays` took.

    Raises:
        ValueError: an array of a parameter is missing or has another shape.
    """
    state = {}
    for name, parameter in _trained(model):
        for ours, kept in STATES[type(optimizer)].items():
            array, shape = arrays.get(f"{name}.{ours}"), kept.shape(parameter)
            if array is None or list(array.shape) != shape:
                found = "missing" if array is None else f"of shape {list(array.shape)}, not {shape}"
                raise ValueError(
                    f"optimizer state: the {ours} of {name} is {found}; resume from a whole checkpoint, with the "
                    "TRAIN.optimizer and TRAIN.frozen_stages that it was trained with"
                )
            state[f"{parameter.name}_{kept.theirs}"] = paddle.to_tensor(array)
    optimizer.set_state_dict(state)


def _trained(model: nn.Layer) -> list[tuple[str, paddle.Tensor]]:
    """Parameters by name, without frozen ones and the running statistics that Paddle's batch norm counts among them."""
    return [(name, parameter) for name, parameter in model.named_parameters() if not parameter.stop_gradient]
