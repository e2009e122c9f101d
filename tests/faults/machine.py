"""The machine around a run: workers that die, memory, /dev/shm, the clock, a second run, a poor environment."""

import os
import resource
import shlex
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from random import Random

from bench import Bench, Command, Place
from process import Ended, start_fresh

SHM = "/dev/shm"


def worker(number: signal.Signals) -> Callable[..., Ended]:
    """A fault: a signal to one of the processes that read, as the kernel sends it when memory is short."""
    return partial(_worker, number=number)


def _worker(bench: Bench, command: Command, place: Place, rng: Random, number: signal.Signals) -> Ended:
    job = bench.start(command, place, *command.again)
    has_struck = job.wait(lambda: bool(job.workers()))
    job.wait(lambda: False, rng.uniform(0, bench.reference(command.name).seconds / 2))
    workers = job.workers()
    job.strike(number, rng.sample(workers, min(1, len(workers))))
    return job.end()._replace(has_struck=has_struck and bool(workers))


def little_memory(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """The process may not take more than a random amount beyond what it has after its start."""
    more_bytes = rng.randint(0, 150) << 20

    def before() -> None:
        pages = int(open("/proc/self/statm").read().split()[5])  # data and stack, as RLIMIT_DATA counts them
        limit = pages * os.sysconf("SC_PAGESIZE") + more_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    ended = bench.start(command, place, before=before).end()
    return ended._replace(has_struck=ended.code != 0)


def small_shared_memory(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """/dev/shm of 8 MB, and batches that need more."""
    section = {"train": "TRAIN", "test": "TEST", "infer": "INFER"}[command.name]
    flags = ["-o", f"{section}.target_size=224", "-o", f"{section}.short_size=224", "-o", f"{section}.batch_size=8"]
    words = [sys.executable, *command.words(bench, place), *flags]
    script = f"mount -t tmpfs -o size=8m tmpfs {SHM} && exec {shlex.join(words)}"
    place.log.touch()
    return start_fresh(["unshare", "-m", "sh", "-c", script], place.log).end()


def clock_jumps(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """time.time() jumps by up to ten years, back or forth, again and again."""

    def before() -> None:
        real, random = time.time, Random(rng.random())
        time.time = lambda: real() + random.choice((0, 60, 3600, -3600, 3e8, -3e8))

    return bench.start(command, place, before=before).end()


def two_runs(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """The same command twice in one folder, the second a moment later. What counts is the worse of the two."""
    first = bench.start(command, place)
    first.wait(lambda: False, rng.uniform(0, bench.reference(command.name).seconds))
    other = Place(place.folder)
    log = place.log.rename(place.folder / "first log")
    first.log = log
    second = bench.start(command, other)
    ends = [second.end(), first.end()]
    worst = max(ends, key=lambda ended: (ended.code is None, "Traceback" in ended.output, ended.code or 0))
    log.unlink()
    return worst


def _no_stdin() -> None:
    os.close(0)


def _no_stdout() -> None:
    os.close(1)


def _full_stdout() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def _broken_stdout() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)


def _no_home() -> None:
    os.environ.pop("HOME", None)


def _no_tmpdir() -> None:
    os.environ["TMPDIR"] = "/nonexistent/tmp"


def _plain_locale() -> None:
    os.environ |= {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def _few_handles() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def _strict_umask() -> None:
    os.umask(0o777 if os.getuid() == 0 else 0o077)


SURROUNDINGS = {
    "stdin is closed": _no_stdin,
    "stdout is closed": _no_stdout,
    "stdout is /dev/full": _full_stdout,
    "stdout is a broken pipe": _broken_stdout,
    "HOME is not set": _no_home,
    "TMPDIR is gone": _no_tmpdir,
    "the locale is C": _plain_locale,
    "64 files may be open": _few_handles,
    "the umask is strict": _strict_umask,
}


def poor(surroundings: str) -> Callable[..., Ended]:
    """A fault: a run in poor surroundings, started afresh."""
    return partial(_poor, before=SURROUNDINGS[surroundings])


def _poor(bench: Bench, command: Command, place: Place, rng: Random, before: Callable[[], None]) -> Ended:
    fresh = command.name != "download"
    return bench.start(command, place, fresh=fresh, before=before).end()
