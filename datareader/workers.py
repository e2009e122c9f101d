"""The processes that read batches: how they start, how their death is noticed, how they end. Knows no batch."""

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

import paddle

from common.processes import end_with_parent

SHARED_MEMORY = Path("/dev/shm")
END_SEC = 5.0  # a worker that has not ended by then is killed
LOOK_SEC = 0.1


class ReadingFailed(ValueError):
    """No further batch can be had. Whatever was done with those before is whole."""


class Workers:
    """What a Paddle DataLoader with persistent workers gives, epoch after epoch.

    When a worker dies, Paddle raises from a signal handler, in the midst of whatever the main thread does, or waits for
    the dead one for ever. Here it is the next batch that cannot be had.
    """

    def __init__(self, loader: paddle.io.DataLoader):
        self._loader = loader
        self._owner = os.getpid()
        self._watch: _Watch | None = None
        atexit.register(self.end)  # before Python's own farewell, which waits for workers that SIGTERM does not end

    def __iter__(self) -> Iterator[Any]:
        """The batches of an epoch.

        Raises:
            ReadingFailed: a worker has died.
        """
        try:
            yield from self._begin_epoch()
        except Exception as error:  # of which type depends on where the death has met Paddle
            if not (self._watch and self._watch.death):
                raise
            raise ReadingFailed(self._watch.death) from error

    def _begin_epoch(self) -> Iterator[Any]:
        if self._watch:
            return iter(self._loader)
        held_back = {signal.SIGTERM, signal.SIGINT}  # until a worker knows what to do with them, see stand_apart
        handler = signal.getsignal(signal.SIGCHLD)
        signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
        try:
            batches = iter(self._loader)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)
        signal.signal(signal.SIGCHLD, handler)  # instead of Paddle's
        self._watch = _Watch(batches)
        return batches

    def end(self) -> None:
        """End the workers. Nothing can be read afterwards."""
        atexit.unregister(self.end)
        if not self._watch or os.getpid() != self._owner:  # a worker has a copy of this
            return
        batches, self._watch.is_over = self._loader._iterator, True
        if not self._watch.death:
            batches._try_shutdown_all(END_SEC)
        batches._shutdown = True  # Paddle would wait for the rest of what a dead one was about to say
        for worker in batches._workers:
            worker.kill()
            worker.join(END_SEC)
        _free_shared_memory(worker.pid for worker in batches._workers)


class _Watch:
    """Waits, in a thread, for the death of a worker, and makes whoever waits for a batch then go on."""

    def __init__(self, batches: Any):
        self.death = ""
        """How a worker has died, in words."""
        self.is_over = False
        """Whether they may end."""
        threading.Thread(target=self._wait, args=(batches,), daemon=True).start()

    def _wait(self, batches: Any) -> None:
        dead = connection.wait([worker.sentinel for worker in batches._workers])
        if self.is_over:
            return
        (worker, *_) = [worker for worker in batches._workers if worker.sentinel in dead]
        worker.join()
        self.death = (
            f"a process that reads videos (pid {worker.pid}) {_how_it_ended(worker.exitcode)}; "
            "lower num_reader_threads or batch_size, or give the machine more memory"
        )
        batches._exit_thread_unexpectedly()  # ends the wait for a batch
        while not self.is_over:
            batches._resume_worker_cnt = 0  # ends the wait for all workers to begin an epoch, whenever that begins
            time.sleep(LOOK_SEC)


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return "was killed: in most cases the memory was used up, and the kernel says so in dmesg"
    if exit_code is not None and exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"has ended with exit code {exit_code}"


def stand_apart(worker: int) -> None:
    """Make this worker live as long as the main process, which still needs it after a first Ctrl-C or SIGTERM."""
    os.setpgid(0, 0)  # a terminal's Ctrl-C goes to the main process's group
    for number in (signal.SIGTERM, signal.SIGINT):  # systemd and Slurm send SIGTERM to each process
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    # Paddle means to see to it, but its wait for the next batch never looks up
    end_with_parent(lambda: _free_shared_memory([os.getpid()]))


def _free_shared_memory(pids: Iterable[int]) -> None:
    """Remove the batches that these workers have left in shared memory; whoever has one already keeps it."""
    for pid in pids:
        for path in SHARED_MEMORY.glob(f"paddle_{pid}_*"):
            path.unlink(missing_ok=True)
