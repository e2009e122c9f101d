"""Processes of this machine: how many make sense, and workers that end with their parent."""

import multiprocessing
import os
import threading
from collections.abc import Callable

USERS_THREADS = os.environ.get("OMP_NUM_THREADS", "")
"""What the user set; `common.startup` sets it afterwards, for training."""


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def processes_here() -> int:
    """How many of the run's processes are on this machine, as paddle.distributed.launch tells them."""
    return int(os.environ.get("PADDLE_LOCAL_SIZE") or os.environ.get("PADDLE_TRAINERS_NUM") or 1)


def cores_each() -> int:
    """Cores for each of the run's processes on this machine, at least one."""
    return max(num_cores() // processes_here(), 1)


def threads_each() -> int:
    """Threads of an engine in each of the run's processes: the user's OMP_NUM_THREADS, else one for each core.

    Reading processes share the cores with it: they wait most of the time, for the engine to take what they have read.
    """
    return int(USERS_THREADS) if USERS_THREADS.isdecimal() and int(USERS_THREADS) > 0 else cores_each()


def end_with_parent(tidy_up: Callable[[], None] = lambda: None) -> None:
    """Make this worker process end as soon as its parent has, even if that was killed and could not tell it to.

    Args:
        tidy_up: called then.
    """

    def wait_and_end() -> None:
        multiprocessing.parent_process().join()
        tidy_up()
        os._exit(1)

    threading.Thread(target=wait_and_end, daemon=True).start()
