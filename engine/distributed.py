"""Start-up: device, seeds, ranks; sums over ranks. Knows nothing else.

GPU paths follow Paddle's documentation; this project's tests run on CPU only.
"""

import random
from typing import NamedTuple

import numpy as np
import paddle


class Ranks(NamedTuple):
    """This process's place among the processes that `paddle.distributed.launch` started; (0, 1) without it."""

    rank: int
    num_ranks: int


def start(use_gpu: bool | str, seed: int) -> Ranks:
    """Choose the device, seed every generator, join the other ranks.

    Args:
        use_gpu: True, False or "auto" (a GPU if Paddle can use one).
        seed: of the weights' initial values.

    Raises:
        ValueError: use_gpu is True and there is no usable GPU.
    """
    has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if use_gpu is True and not has_gpu:
        reason = "no GPU is visible" if paddle.is_compiled_with_cuda() else "this Paddle is built for CPUs only"
        raise ValueError(
            f"use_gpu is True, but {reason}; use --use_gpu=auto, or requirements-gpu.txt on a machine with a CUDA GPU"
        )
    environment = paddle.distributed.ParallelEnv()
    paddle.set_device(f"gpu:{environment.device_id}" if has_gpu and use_gpu else "cpu")
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)
    if environment.world_size > 1:
        paddle.distributed.init_parallel_env()
    return Ranks(environment.rank, environment.world_size)


def parallel(model: paddle.nn.Layer, num_ranks: int) -> paddle.nn.Layer:
    """The model, with its gradients averaged over the ranks if there are several."""
    return paddle.DataParallel(model) if num_ranks > 1 else model


def sum_over_ranks(values: paddle.Tensor, num_ranks: int) -> paddle.Tensor:
    """The sum of each rank's values, a tensor of the same shape on every rank."""
    if num_ranks > 1:
        values = values.clone()
        paddle.distributed.all_reduce(values)
    return values
