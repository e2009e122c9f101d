"""SGD with momentum as the original has it, and its learning rate as a pure function of the step."""

import numpy as np
import paddle


def steps_per_epoch(total_videos: int, batch_size: int) -> int:
    """Steps that the original counts as an epoch when it places the decay points."""
    return int(total_videos / batch_size + 1)


def learning_rate_at(step: int, base_rate: float, decay: float, num_epochs: int, epoch_steps: int) -> float:
    """The original's learning rate of a step, counted from 0 over the whole run.

    It is multiplied by `decay` when the step reaches 1/3 and again when it reaches 2/3 of `num_epochs * epoch_steps`.

    Args:
        base_rate: learning rate of the first third.
        epoch_steps: see `steps_per_epoch`.
    """
    boundaries = (num_epochs / 3 * epoch_steps, 2 * num_epochs / 3 * epoch_steps)
    return base_rate * decay ** sum(step >= boundary for boundary in boundaries)


def learning_rate_in_thirds(step: int, base_rate: float, decay: float, num_steps: int) -> float:
    """The learning rate of a step, counted from 0: multiplied by `decay` at exactly 1/3 and 2/3 of a run's steps."""
    return base_rate * decay ** (3 * step // num_steps)


def create_optimizer(
    model: paddle.nn.Layer,
    learning_rate: float,
    momentum: float,
    l2_weight_decay: float,
    clip_grad_norm: float | None = None,
) -> paddle.optimizer.Momentum:
    """v = momentum * v + (g + l2_weight_decay * w), w -= rate * v, for every parameter, batch norm and biases too.

    Args:
        clip_grad_norm: the gradients g are scaled down together where their L2 norm is larger; None: never.
    """
    return paddle.optimizer.Momentum(
        learning_rate=learning_rate,
        momentum=momentum,
        parameters=model.parameters(),
        weight_decay=paddle.regularizer.L2Decay(l2_weight_decay),
        grad_clip=paddle.nn.ClipGradByGlobalNorm(clip_grad_norm) if clip_grad_norm else None,
    )


def optimizer_arrays(optimizer: paddle.optimizer.Optimizer, model: paddle.nn.Layer) -> dict[str, np.ndarray]:
    """The optimizer's velocities, {"<name of the parameter in the model>.velocity": array}.

    Paddle names them after counters of the running process (`conv2d_7.w_0_velocity_0`), which another run may count
    otherwise; the model's own names always fit.
    """
    state = optimizer.state_dict()
    found = {name: state.get(f"{p.name}_velocity_0") for name, p in _trained(model)}
    shapes = {name: p.shape for name, p in _trained(model)}
    # before the first step there are none, which is the same as zeros
    return {
        f"{name}.velocity": np.zeros(shapes[name], np.float32) if velocity is None else velocity.numpy()
        for name, velocity in found.items()
    }


def restore_optimizer(
    optimizer: paddle.optimizer.Optimizer, model: paddle.nn.Layer, arrays: dict[str, np.ndarray]
) -> None:
    """Give a new optimizer the velocities that `optimizer_arrays` took.

    Raises:
        ValueError: a parameter's velocity is missing or has another shape.
    """
    state = {}
    for name, parameter in _trained(model):
        velocity = arrays.get(f"{name}.velocity")
        if velocity is None or list(velocity.shape) != list(parameter.shape):
            found = "missing" if velocity is None else f"of shape {list(velocity.shape)}, not {list(parameter.shape)}"
            raise ValueError(f"optimizer state: the velocity of {name} is {found}; resume from a whole checkpoint")
        state[f"{parameter.name}_velocity_0"] = paddle.to_tensor(velocity)
    optimizer.set_state_dict(state)


def _trained(model: paddle.nn.Layer) -> list[tuple[str, paddle.Tensor]]:
    """Parameters by name, without the running statistics that Paddle's batch norm counts among them."""
    return [(name, parameter) for name, parameter in model.named_parameters() if not parameter.stop_gradient]
