"""The processes that read batches: how they start, how their death is noticed, how they end. Knows no batch."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing import connection, queues
from pathlib import Path
from typing import Any, NoReturn

import paddle
from paddle.io import multiprocess_utils
from paddle.io.dataloader.dataloader_iter import _DataLoaderIterMultiProcess

from common.command_line import what_is_short
from common.processes import end_with_parent

SHARED_MEMORY = Path("/dev/shm")
END_SEC = 5.0  # a worker that has not ended by then is killed
NOTICE_SEC = 2.0  # Paddle may hear of a death before the watch does
WAIT_SEC = 0.002
OUT_OF_MEMORY, UNFORESEEN = 70, 71  # exit codes of a worker, which Python and signals do not use
LESS_MEMORY = "lower num_reader_threads or batch_size, or give the machine more memory"


class ReadingFailed(ValueError):
    """No further batch can be had. Whatever was done with those before is whole."""


class Workers:
    """What a Paddle DataLoader with persistent workers gives, epoch after epoch.

    When a worker dies, Paddle raises from a signal handler, in the midst of whatever the main thread does, or waits for
    the dead one for ever. Here it is the next batch that cannot be had.

    Args:
        loader: its sampler is asked anew at each epoch, and has to be empty until the first begins.
    """

    def __init__(self, loader: paddle.io.DataLoader):
        self._loader = loader
        self._owner = os.getpid()
        self._watch: _Watch | None = None
        atexit.register(self.end)  # before Python's own farewell, which waits for workers that SIGTERM does not end

    def start(self) -> None:
        """Start the processes, if they are not yet. What this one holds by then is theirs too, and stays it."""
        if self._watch:
            return
        multiprocess_utils._SIGCHLD_handler_set = True  # which keeps Paddle from setting its own
        _DataLoaderIterMultiProcess._shutdown = True  # of one that is not made to its end, for Paddle 2.6's __del__
        others = multiprocessing.active_children()
        held_back = {signal.SIGTERM, signal.SIGINT}  # until a worker knows what to do with them, see stand_apart
        signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
        try:
            self._watch = _Watch(iter(self._loader))
        except BaseException:  # some may run, and would wait for ever
            for worker in set(multiprocessing.active_children()).difference(others):
                worker.kill()
                worker.join(END_SEC)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)

    def __iter__(self) -> Iterator[Any]:
        """The batches of an epoch; `start` comes first.

        Raises:
            ReadingFailed: a worker has died.
        """
        try:
            yield from _epoch(self._loader._iterator)
        except Exception as error:  # of which type depends on where the death has met Paddle
            if not self._watch.noticed.wait(NOTICE_SEC):
                raise
            raise ReadingFailed(self._watch.death) from error

    def end(self) -> None:
        """End the workers. Nothing can be read afterwards."""
        atexit.unregister(self.end)
        if not self._watch or os.getpid() != self._owner:  # a worker has a copy of this
            return
        batches, self._watch.is_over = self._loader._iterator, True
        if not self._watch.death:
            with contextlib.suppress(RuntimeError):  # it may need a thread, and there may be none; they are killed then
                batches._try_shutdown_all(END_SEC)
        batches._shutdown = True  # Paddle would wait for the rest of what a dead one was about to say
        for worker in batches._workers:
            worker.kill()
            worker.join(END_SEC)
        _free_shared_memory(worker.pid for worker in batches._workers)


def _epoch(batches: Any) -> Iterator[Any]:
    """The batches of Paddle's iterator, waited for in Python: while Paddle waits, in C++, no signal is heard."""
    if batches._batches_outstanding:
        raise RuntimeError("the epoch before has to be read to its end")
    # as Paddle begins an epoch, but for half a second's sleep until each worker has said that it is there
    batches._sampler_iter = iter(batches._index_sampler)
    for _ in range(batches._outstanding_capacity):
        batches._try_put_indices()
    while True:
        # Paddle notes a batch's structure when it has come
        while batches._batches_outstanding and not batches._structure_infos:
            if batches._thread_done_event.wait(WAIT_SEC):
                break
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch


class _Watch:
    """Waits, in a thread, for the death of a worker, and makes whoever waits for a batch then go on."""

    def __init__(self, batches: Any):
        self.death = ""
        """How a worker has died, in words."""
        self.noticed = threading.Event()
        """Set when one has."""
        self.is_over = False
        """Whether they may end."""
        threading.Thread(target=self._wait, args=(batches,), daemon=True).start()

    def _wait(self, batches: Any) -> None:
        dead = connection.wait([worker.sentinel for worker in batches._workers])
        if self.is_over:
            return
        (worker, *_) = [worker for worker in batches._workers if worker.sentinel in dead]
        worker.join()
        self.death = f"a process that reads videos (pid {worker.pid}) {_how_it_ended(worker.exitcode)}"
        self.noticed.set()
        batches._exit_thread_unexpectedly()  # ends the wait for a batch


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code == UNFORESEEN:
        return "has failed by an error that nobody foresaw; the traceback above says which and where"
    if exit_code == OUT_OF_MEMORY:
        return f"could not get the memory that it needs; {LESS_MEMORY}"
    if exit_code == -signal.SIGKILL:
        return f"was killed: in most cases the memory was used up, and the kernel says so in dmesg; {LESS_MEMORY}"
    if exit_code is not None and exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}; {LESS_MEMORY}"
    return f"has ended with exit code {exit_code}; {LESS_MEMORY}"


class EndsWorker:
    """A data set as a worker holds it: an error ends the worker, and its death is noticed as any other.

    Paddle would print the error from a thread, and the main process would meet a SystemError that says nothing.
    """

    def __init__(self, dataset: Any):
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, key: Any) -> Any:
        try:
            return self._dataset[key]
        except Exception as error:
            _end_worker(error)


def _end_worker(error: Exception, _unsent: object = None) -> NoReturn:
    """End this process at once: without memory nothing more can be promised."""
    if what_is_short(error):
        os._exit(OUT_OF_MEMORY)
    traceback.print_exception(error)
    os._exit(UNFORESEEN)


def stand_apart(worker: int) -> None:
    """Make this worker live as long as the main process, which still needs it after a first Ctrl-C or SIGTERM."""
    try:
        _stand_apart()
    except Exception as error:
        _end_worker(error)


def _stand_apart() -> None:
    os.setpgid(0, 0)  # a terminal's Ctrl-C goes to the main process's group
    for number in (signal.SIGTERM, signal.SIGINT):  # systemd and Slurm send SIGTERM to each process
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
    # Python would drop a batch that cannot be sent, and whoever waits for it would wait for ever
    queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)
    # Paddle means to see to it, but its wait for the next batch never looks up
    end_with_parent(lambda: _free_shared_memory([os.getpid()]))


def _free_shared_memory(pids: Iterable[int]) -> None:
    """Remove the batches that these workers have left in shared memory; whoever has one already keeps it."""
    for pid in pids:
        for path in SHARED_MEMORY.glob(f"paddle_{pid}_*"):
            path.unlink(missing_ok=True)
