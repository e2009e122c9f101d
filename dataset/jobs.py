"""Many files, several processes: a progress bar, a time limit for each file, and an end that leaves nothing behind."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnContext
from typing import Any, NamedTuple, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool
from tqdm import tqdm

from common.processes import end_with_parent

JOBS_AHEAD = 4  # jobs handed out per process: enough to keep them busy, few enough to stop soon
GRACE_SEC = 5.0  # what a job that keeps its own time is given on top, to end without losing its process
KILLED_EARLY = (
    "a working process was killed as it started, perhaps because memory is short: fewer --workers need less; "
    "the same command goes on"
)

Job = TypeVar("Job")
Result = TypeVar("Result")


class Failure(NamedTuple):
    """Takes the place of a result where the process was lost."""

    reason: str


class _KeepsLocks(SpawnContext):
    """Python's way to start processes, with locks that stay.

    Pebble lets go of them before it ends its processes, and one that is just starting would look for them in vain.
    """

    def __init__(self):
        super().__init__()
        self._locks = []

    def RLock(self) -> Any:
        self._locks.append(super().RLock())
        return self._locks[-1]


def run_jobs(
    work: Callable[[Job], Result], jobs: list[Job], num_workers: int, unit: str, timeout_sec: float | None = None
) -> Iterator[tuple[Job, Result | Failure]]:
    """Do the jobs in worker processes; yields each with its result, in the order in which they are done.

    Meanwhile Ctrl-C is a KeyboardInterrupt, so that it can be told what is done; a second one ends this process.

    Args:
        work: a function of a module, called with one job; what it raises ends everything.
        jobs: anything that can be pickled.
        num_workers: processes.
        unit: what a job is called on the progress bar, which is shown on a terminal only.
        timeout_sec: a job that takes longer is a Failure, and so is one whose process dies; None: no limit.

    Raises:
        ValueError: a process was killed before it had a job.
    """
    waiting: Iterable[Job] = iter(jobs)
    running = {}
    # where all processes are killed at once, Python's own that frees their semaphores would warn of it
    sys.warnoptions.append("ignore:resource_tracker")
    # a fork would copy threads and locks of the parent half-way
    pool = ProcessPool(max_workers=num_workers, initializer=end_with_parent, context=_KeepsLocks())
    try:
        with _interruptible(), tqdm(total=len(jobs), unit=unit, disable=None, smoothing=0.05) as bar:
            if jobs:
                _start(pool)
            while True:
                for job in waiting:
                    running[_schedule(pool, work, job, timeout_sec)] = job
                    if len(running) >= JOBS_AHEAD * num_workers:
                        break
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), _result(future, timeout_sec)
                    bar.update()
        pool.close()
    except BaseException:  # an error or Ctrl-C, with jobs still running
        pool.stop()
        raise
    finally:
        pool.join()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    if handler == signal.SIG_DFL:  # by common/beginning.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _start(pool: ProcessPool) -> None:
    """Start its processes, all of them or none: Ctrl-C interrupts the main thread, nothing that starts here."""
    resource_tracker.ensure_running()  # which lets signals through when it starts
    hold_back = (signal.SIG_BLOCK, [signal.SIGINT])
    with ThreadPoolExecutor(1, initializer=signal.pthread_sigmask, initargs=hold_back) as starter:
        starter.submit(lambda: pool.active).result()  # pebble starts whoever asks


def _schedule(pool: ProcessPool, work: Callable[[Job], Result], job: Job, timeout_sec: float | None) -> ProcessFuture:
    try:
        return pool.schedule(work, args=(job,), timeout=timeout_sec)
    except RuntimeError as error:  # how pebble answers where its pool has broken since the last result
        raise ValueError(KILLED_EARLY) from error


def _result(future: ProcessFuture, timeout_sec: float | None) -> Result | Failure:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ValueError(KILLED_EARLY) from error
    except TimeoutError:
        return Failure(f"takes longer than {timeout_sec:g} s")
    except ProcessExpired as error:
        return Failure(f"the process that read it died (exit code {error.exitcode})")
