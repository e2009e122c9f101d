"""Start-up of a process: its device, its seeds, its rank; and what ranks share.

GPU paths follow Paddle's documentation; this project's tests run on CPU only.
"""

import contextlib
import faulthandler
import logging
import os
import random
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle

from common.console import count
from common.processes import num_cores, processes_here
from distributed.link import Invitation, Link

logger = logging.getLogger(__name__)

START_SEC = 300.0  # for the processes to find each other by Paddle's means; Paddle itself would wait far longer


class Ranks(NamedTuple):
    """This process's place among the processes that `paddle.distributed.launch` started; alone without it."""

    rank: int = 0
    num_ranks: int = 1
    link: Link | None = None

    def exchange(self, value: Any) -> list[Any]:
        """Every rank's value, what JSON can hold, in the order of ranks; each rank has to call it as often."""
        return self.link.exchange(value) if self.link else [value]

    def sums(self, values: list[float]) -> list[float]:
        """The sums over all ranks of each of the values."""
        return [sum(column) for column in zip(*self.exchange(values), strict=True)]

    def chain(self, entries: Iterable[Iterable[Any]]) -> list[list[Any]]:
        """Every rank's entries, one rank after the other."""
        return [entry for part in self.exchange([list(entry) for entry in entries]) for entry in part]

    def leave(self) -> None:
        """Say that this rank has done its work. One that ends without it takes the others down."""
        if self.link:
            self.link.leave()


def start(use_gpu: bool | str) -> Ranks:
    """Choose the device and join the other ranks.

    Args:
        use_gpu: True, False or "auto" (a GPU if Paddle can use one).

    Raises:
        ValueError: use_gpu is True and there is no usable GPU.
        OSError: the ranks do not come together.
    """
    is_for_gpus = paddle.is_compiled_with_cuda()
    has_gpu = is_for_gpus and paddle.device.cuda.device_count() > 0
    if use_gpu is True and not has_gpu:
        reason = "no GPU is visible" if is_for_gpus else "this Paddle is built for CPUs only"
        raise ValueError(
            f"use_gpu is True, but {reason}; use --use_gpu=auto, or requirements-gpu.txt on a machine with a CUDA GPU"
        )
    environment = paddle.distributed.ParallelEnv()
    if has_gpu and use_gpu:
        paddle.set_device(f"gpu:{environment.device_id}")
    else:
        paddle.set_device("cpu")
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"
        if is_for_gpus and use_gpu:
            logger.info("this Paddle is built for GPUs, but none is visible: running on the CPU (--use_gpu=auto)")
    return _join(environment) if environment.world_size > 1 else Ranks()


def seed_everything(seed: int) -> None:
    """Seed all generators: the weights' initial values come from them, samples have random streams of their own."""
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)


def on_gpu() -> bool:
    return paddle.device.get_device().startswith("gpu")


def gpu_number() -> int | None:
    """The number of the GPU that this process runs on; None on a CPU."""
    return int(paddle.device.get_device().partition(":")[2] or 0) if on_gpu() else None


def gpu_is_here() -> bool:
    """Whether this machine has a CUDA GPU, whatever Paddle it has."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def parallel(model: paddle.nn.Layer, ranks: Ranks) -> paddle.nn.Layer:
    """The model with its gradients averaged over the ranks, and with rank 0's weights; itself if there is one rank."""
    return paddle.DataParallel(model) if ranks.num_ranks > 1 else model


def broadcast(tensors: list[paddle.Tensor], ranks: Ranks) -> None:
    """Give every rank the values that rank 0 has."""
    if ranks.num_ranks > 1:
        for tensor in tensors:
            paddle.distributed.broadcast(tensor, src=0)


def _join(environment: paddle.distributed.ParallelEnv) -> Ranks:
    rank, num_ranks = environment.rank, environment.world_size
    meeting_place = meeting_address(environment.trainer_endpoints)
    if rank == 0 and not paddle.distributed.is_initialized():
        check_port(os.environ.get("PADDLE_MASTER") or environment.trainer_endpoints[0])
    logger.info(
        "rank %d waits for the others of %d, %.0f s at most; if one is missing, its log says why",
        rank, num_ranks, START_SEC,
    )  # fmt: skip
    with _at_most(START_SEC):
        with _meeting():
            paddle.distributed.init_parallel_env()
        invitation = Invitation(meeting_place) if rank == 0 else None
        address = paddle.to_tensor([invitation.port, invitation.key] if invitation else [0, 0], "int64")
        with _meeting():
            paddle.distributed.broadcast(address, src=0)
            address = address.tolist()
    if invitation:
        return Ranks(rank, num_ranks, Link.host(invitation, num_ranks))
    return Ranks(rank, num_ranks, Link.join(meeting_place, *address, rank))


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """End the process if this takes longer: Paddle itself would wait on, and let no other thread of Python's run."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextlib.contextmanager
def _meeting() -> Iterator[None]:
    """Around what waits for the other ranks by Paddle's means."""
    try:
        yield
    except (RuntimeError, OSError) as error:  # of Gloo, of NCCL
        reason = (str(error).strip() or repr(error)).splitlines()[-1]
        raise OSError(f"a rank was lost before all had met ({reason}); the log of each says more") from error


def check_port(endpoint: str) -> None:
    """Try the port at which Paddle's part of the ranks meets: if it is taken, Paddle aborts."""
    port = int(endpoint.rpartition(":")[2])
    try:
        socket.create_server(("", port)).close()
    except OSError as error:
        raise OSError(
            f"rank 0 cannot listen on port {port}, which the launcher has chosen ({os.strerror(error.errno)}); start "
            "the run again, and it chooses another"
        ) from None


def meeting_address(endpoints: list[str]) -> str:
    """Where rank 0 listens: out of other machines' reach if all ranks are on one.

    Args:
        endpoints: "address:port" of each rank, as the launcher names them.
    """
    addresses = [endpoint.rpartition(":")[0] for endpoint in endpoints]
    return "127.0.0.1" if len(set(addresses)) == 1 else addresses[0]


def say_threads() -> None:
    """On a CPU, tell what its cores are for."""
    if not on_gpu():
        logger.info(
            "on the CPU: %s, OMP_NUM_THREADS=%s, %s",
            count(processes_here(), "process", "processes"),
            os.environ.get("OMP_NUM_THREADS", "all"),
            count(num_cores(), "core"),
        )
