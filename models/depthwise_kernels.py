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
def _layout(out_height, out_width, size, stride):
    """Phases of zeros, (stride * stride, rows, columns), and the length of a tap's run."""
    reach = (size - 1) // stride
    phases = np.zeros((stride**2, out_height + reach, out_width + reach), np.float32)
    return phases, (out_height - 1) * phases.shape[2] + out_width


@_compiled
def _shared(plane, phases, phase, stride, top, left):
    """The pixels of a phase, two views of one shape: where they are in the plane, and where in the phase."""
    row, column = (phase // stride - top) % stride, (phase % stride - left) % stride
    in_plane = plane[row::stride, column::stride]
    row, column = (row + top) // stride, (column + left) // stride
    return in_plane, phases[phase, row : row + in_plane.shape[0], column : column + in_plane.shape[1]]


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
    phases, length = _layout(out_height, out_width, size, stride)
    width, flat, run = phases.shape[2], phases.reshape(stride**2, -1), np.empty(length, np.float32)
    for picture in range(x.shape[0]):
        for channel in range(x.shape[1]):
            for phase in range(stride**2):
                in_plane, in_phase = _shared(x[picture, channel], phases, phase, stride, top, left)
                in_phase[:] = in_plane
            run[:] = 0
            for i in range(size):
                for j in range(size):
                    start, factor = i // stride * width + j // stride, weight[channel, 0, i, j]
                    source = flat[i % stride * stride + j % stride, start : start + length]
                    for index in range(length):
                        run[index] += factor * source[index]
            for row in range(out_height):
                out[picture, channel, row] = run[row * width : row * width + out_width]


@_compiled
def convolve_gradients(x, weight, out_grad, x_grad, weight_grad, stride, top, left):
    """Fill `x_grad` and `weight_grad` with the gradients; shapes and other arguments are those of `convolve`."""
    size, (out_height, out_width) = weight.shape[2], out_grad.shape[2:]
    phases, length = _layout(out_height, out_width, size, stride)
    width, grads = phases.shape[2], np.zeros_like(phases)
    flat, flat_grads = phases.reshape(stride**2, -1), grads.reshape(stride**2, -1)
    run = np.zeros(length, np.float32)  # between two rows its gradient is 0
    weight_grad[:] = 0
    for picture in range(x.shape[0]):
        for channel in range(x.shape[1]):
            for phase in range(stride**2):
                in_plane, in_phase = _shared(x[picture, channel], phases, phase, stride, top, left)
                in_phase[:] = in_plane
            for row in range(out_height):
                run[row * width : row * width + out_width] = out_grad[picture, channel, row]
            grads[:] = 0
            for i in range(size):
                for j in range(size):
                    start, factor = i // stride * width + j // stride, weight[channel, 0, i, j]
                    phase = i % stride * stride + j % stride
                    source, target = flat[phase, start : start + length], flat_grads[phase, start : start + length]
                    total = np.float32(0)
                    for index in range(length):
                        total += run[index] * source[index]
                        target[index] += factor * run[index]
                    weight_grad[channel, 0, i, j] += total
            for phase in range(stride**2):
                in_plane, in_phase = _shared(x_grad[picture, channel], grads, phase, stride, top, left)
                in_plane[:] = in_phase
