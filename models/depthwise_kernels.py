"""Depthwise convolution of float32 pictures and its gradients, compiled by numba. Pure numpy; knows no Paddle.

A plane (H, W), one channel of one picture, is laid out with its padding as `stride * stride` flat phases: pixel (row,
column) is in phase (row % stride, column % stride) at (row // stride, column // stride). With that, what a tap of the
kernel meets is one run of numbers of the phase it belongs to, whatever the stride, and each loop over it becomes vector
instructions. Runs go on from row to row: what they compute between two rows is left out in the end.
"""

from collections.abc import Callable

import numba
import numpy as np


def _compiled(function: Callable) -> Callable:
    """Compiled at its first call, and kept on disk where that is possible.

    Sums may be reordered, multiplied and added in one instruction; what is no number stays none.
    """
    options = {"fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy", "nogil": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep it in: it takes some seconds at each start
        return numba.njit(**options)(function)


@_compiled
def _spread(plane, phases, stride, top, left, width):
    """A plane into its phases, whose padding stays as it is."""
    for row in range(plane.shape[0]):
        place, phase = (row + top) // stride * width, (row + top) % stride * stride
        for column in range(stride):
            first = (column - left) % stride
            source = plane[row, first::stride]
            start = place + (first + left) // stride
            target = phases[phase + column, start : start + len(source)]
            for index in range(len(source)):
                target[index] = source[index]


@_compiled
def _collect(phases, plane, stride, top, left, width):
    """The way back: phases into the plane, without the padding."""
    for row in range(plane.shape[0]):
        place, phase = (row + top) // stride * width, (row + top) % stride * stride
        for column in range(stride):
            first = (column - left) % stride
            target = plane[row, first::stride]
            start = place + (first + left) // stride
            source = phases[phase + column, start : start + len(target)]
            for index in range(len(target)):
                target[index] = source[index]


@_compiled
def _layout(out_height, out_width, size, stride):
    """The width of a phase's rows, the length of a tap's run, and phases of zeros."""
    reach = (size - 1) // stride
    width = out_width + reach
    return width, (out_height - 1) * width + out_width, np.zeros((stride**2, (out_height + reach) * width), np.float32)


@_compiled
def convolve(x, weight, out, stride, top, left):
    """Fill `out` with the convolution.

    Args:
        x: float32 (N, C, H, W).
        weight: float32 (C, 1, size, size).
        out: float32 (N, C, out height, out width), contiguous as the others.
        stride: of both directions.
        top, left: zeros above and to the left of a picture; as many as are needed are below and to the right.
    """
    size, (out_height, out_width) = weight.shape[2], out.shape[2:]
    width, length, phases = _layout(out_height, out_width, size, stride)
    run = np.empty(length, np.float32)
    for picture in range(x.shape[0]):
        for channel in range(x.shape[1]):
            _spread(x[picture, channel], phases, stride, top, left, width)
            run[:] = 0
            for i in range(size):
                for j in range(size):
                    start, factor = i // stride * width + j // stride, weight[channel, 0, i, j]
                    source = phases[i % stride * stride + j % stride, start : start + length]
                    for index in range(length):
                        run[index] += factor * source[index]
            for row in range(out_height):
                out[picture, channel, row] = run[row * width : row * width + out_width]


@_compiled
def convolve_gradients(x, weight, out_grad, x_grad, weight_grad, stride, top, left):
    """Fill `x_grad` and `weight_grad` with the gradients; shapes and other arguments are those of `convolve`."""
    size, (out_height, out_width) = weight.shape[2], out_grad.shape[2:]
    width, length, phases = _layout(out_height, out_width, size, stride)
    grads, run = np.zeros_like(phases), np.zeros(length, np.float32)  # between two rows the run's gradient is 0
    weight_grad[:] = 0
    for picture in range(x.shape[0]):
        for channel in range(x.shape[1]):
            _spread(x[picture, channel], phases, stride, top, left, width)
            for row in range(out_height):
                run[row * width : row * width + out_width] = out_grad[picture, channel, row]
            grads[:] = 0
            for i in range(size):
                for j in range(size):
                    start, factor = i // stride * width + j // stride, weight[channel, 0, i, j]
                    phase = i % stride * stride + j % stride
                    source, target = phases[phase, start : start + length], grads[phase, start : start + length]
                    total = np.float32(0)
                    for index in range(length):
                        total += run[index] * source[index]
                        target[index] += factor * run[index]
                    weight_grad[channel, 0, i, j] += total
            _collect(grads, x_grad[picture, channel], stride, top, left, width)
