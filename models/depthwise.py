"""Depthwise convolution that is fast on CPUs: Paddle's own unfolds each picture before it multiplies."""

import ctypes

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer


class DepthwiseConv2D(nn.Conv2D):
    """A filter for each channel, with the padding that TensorFlow calls "SAME", without bias.

    On a CPU it computes float32 pictures of "NCHW" by models/depthwise_kernels.py, with the same numbers up to
    rounding, in a quarter of the time; everything else, and what is exported, is Paddle's.

    Args:
        channels: of the pictures, and as many filters.
        kernel_size, stride: of both directions.
        data_format: layout of the pictures, "NCHW" or "NHWC".
    """

    def __init__(self, channels: int, kernel_size: int, stride: int, data_format: str):
        super().__init__(
            channels, channels, kernel_size, stride, "SAME", groups=channels, bias_attr=False, data_format=data_format
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """(N, channels, H, W) -> (N, channels, ceil(H / stride), ceil(W / stride)), or their NHWC forms."""
        if self._data_format == "NCHW" and paddle.get_device() == "cpu" and _is_float32_on_cpu(x, self.weight):
            return _Convolution.apply(x, self.weight, self._stride[0])
        return nn.Conv2D.forward(self, x)  # Paddle 2.6 exports no super()


@paddle.jit.not_to_static  # while a model is exported: there are no numbers yet
def _is_float32_on_cpu(x: paddle.Tensor, weight: paddle.Tensor) -> bool:
    return isinstance(x, paddle.Tensor) and x.place.is_cpu_place() and x.dtype == weight.dtype == paddle.float32


class _Convolution(PyLayer):
    @staticmethod
    def forward(ctx, x: paddle.Tensor, weight: paddle.Tensor, stride: int) -> paddle.Tensor:
        from models.depthwise_kernels import convolve  # numba takes half a second to import

        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        out = paddle.empty([*x.shape[:2], *(-(-length // stride) for length in x.shape[2:])])
        convolve(_array(x), _array(weight), _array(out), stride, *_padding_before(x, weight, stride))
        return out

    @staticmethod
    def backward(ctx, out_grad: paddle.Tensor) -> tuple[paddle.Tensor | None, paddle.Tensor | None]:
        from models.depthwise_kernels import convolve_gradients

        x, weight = ctx.saved_tensor()
        grads = paddle.empty_like(x), paddle.empty_like(weight)
        arrays = map(_array, (x, weight, out_grad.contiguous(), *grads))
        convolve_gradients(*arrays, ctx.stride, *_padding_before(x, weight, ctx.stride))
        return tuple(None if of.stop_gradient else grad for of, grad in zip((x, weight), grads, strict=True))


def _padding_before(x: paddle.Tensor, weight: paddle.Tensor, stride: int) -> tuple[int, int]:
    """Zeros above and to the left; an odd one goes below and to the right."""
    size = weight.shape[2]
    return tuple(max((-(-length // stride) - 1) * stride + size - length, 0) // 2 for length in x.shape[2:])


def _array(tensor: paddle.Tensor) -> np.ndarray:
    """A contiguous float32 tensor's own memory."""
    memory = (ctypes.c_float * tensor.size).from_address(tensor.data_ptr())
    return np.ctypeslib.as_array(memory).reshape(tensor.shape)
