"""Mixed precision: forward and backward in bfloat16 or float16 where it is safe, weights and loss in float32.

On GPUs this is Paddle's automatic mixed precision. Paddle has none on CPUs: there "bf16" computes in float32 and rounds
what goes into and comes out of convolutions and linear layers, as a GPU does with bfloat16. The effect, not the speed.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import paddle
from paddle import nn

DTYPES = {"bf16": "bfloat16", "fp16": "float16"}


class Precision:
    """How a training step computes.

    Args:
        amp: "off", "bf16" or "fp16".
        model: the model to train.
        on_gpu: whether it lies on a GPU.

    Raises:
        ValueError: "fp16" on a CPU, "bf16" on a GPU that has none.
    """

    def __init__(self, amp: str, model: nn.Layer, on_gpu: bool):
        if amp == "fp16" and not on_gpu:
            raise ValueError("TRAIN.amp fp16 is for GPUs; on a CPU use -o TRAIN.amp=bf16 or off")
        if amp == "bf16" and on_gpu and not paddle.amp.is_bfloat16_supported():
            raise ValueError("TRAIN.amp is bf16, which this GPU does not compute; use -o TRAIN.amp=fp16 or off")
        self.amp = amp
        self._autocast = on_gpu and amp != "off"
        self._scaler = paddle.amp.GradScaler(init_loss_scaling=2.0**16) if amp == "fp16" else None
        if amp == "bf16" and not on_gpu:
            for layer in model.sublayers():
                if isinstance(layer, nn.Conv2D | nn.Linear):
                    layer.register_forward_pre_hook(_round_operands)
                    layer.register_forward_post_hook(_round_result)

    def forward(self) -> AbstractContextManager:
        """The context of a training step's forward pass."""
        return paddle.amp.auto_cast(dtype=DTYPES[self.amp], level="O1") if self._autocast else nullcontext()

    def backward(self, loss: paddle.Tensor) -> None:
        (self._scaler.scale(loss) if self._scaler else loss).backward()

    def unscale(self, optimizer: paddle.optimizer.Optimizer) -> None:
        """Make the gradients what they are without loss scaling; optional, before `step`."""
        if self._scaler:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: paddle.optimizer.Optimizer) -> None:
        """Let the optimizer take its step; with loss scaling, unless a gradient has overflowed."""
        if self._scaler:
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            optimizer.step()

    def state(self) -> dict[str, Any]:
        """The state of the loss scaling, as JSON can hold it; empty without any."""
        state = self._scaler.state_dict() if self._scaler else {}
        return {key: np.asarray(value).tolist() for key, value in state.items()}

    def restore(self, state: dict[str, Any]) -> None:
        if self._scaler and state:
            self._scaler.load_state_dict({**state, "scale": np.array(state["scale"], np.float32)})


def _round(tensor: paddle.Tensor) -> paddle.Tensor:
    return tensor.astype("bfloat16").astype("float32")


def _round_operands(layer: nn.Layer, inputs: tuple) -> tuple | None:
    if not layer.training:
        return None
    # an attribute of the object hides the parameter of that name, which stays as it is
    layer.__dict__["weight"] = _round(layer._parameters["weight"])
    return tuple(_round(tensor) for tensor in inputs)


def _round_result(layer: nn.Layer, inputs: tuple, output: paddle.Tensor) -> paddle.Tensor:
    if not layer.training:
        return output
    del layer.__dict__["weight"]
    return _round(output)
