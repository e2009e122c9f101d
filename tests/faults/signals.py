"""Signals at random moments: to one process, to all, and Ctrl-C of a pipe."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from random import Random

from bench import Bench, Command, Place
from process import Ended, Job, start_fresh

SHARE_FRESH = 0.3  # of the runs start as a user starts them, so that the import of Paddle is hit too
IMPORT_SEC = 3.0  # what that takes, about


def sent(number: signal.Signals, everyone: bool = False) -> Callable[..., Ended]:
    """A fault: a signal at a random moment, to the main process or to all of the run."""
    return partial(_sent, number=number, everyone=everyone)


def wait_for_moment(bench: Bench, command: Command, place: Place, job: Job, rng: Random, fresh: bool) -> None:
    """Any moment of the run, or, one time in three, one at which it writes."""
    if rng.random() < 1 / 3:
        seen = set(place.folder.rglob("*"))
        job.wait(lambda: bool(set(place.folder.rglob("*")) - seen))
        job.wait(lambda: False, rng.uniform(0, 0.05))
    else:
        import_sec = IMPORT_SEC if fresh and command.main else 0
        job.wait(lambda: False, rng.uniform(0, import_sec + bench.reference(command.name).seconds))


def _sent(bench: Bench, command: Command, place: Place, rng: Random, number: signal.Signals, everyone: bool) -> Ended:
    fresh = _is_fresh(command, rng)
    job = bench.start(command, place, *command.again, fresh=fresh)
    wait_for_moment(bench, command, place, job, rng, fresh)
    return _strike(job, number, [job.pid, *job.workers()] if everyone else [job.pid])


def _strike(job: Job, number: signal.Signals, pids: list[int]) -> Ended:
    """Send a signal and wait for the end. Who is ready soon, in the last third of the run, had nothing left to lose."""
    is_over, struck_sec = job.is_over(), time.monotonic()
    job.strike(number, pids)
    ended = job.end()
    soon_sec = 1 + (struck_sec - job.started_sec) / 2
    was_ready = is_over or (ended.code == 0 and time.monotonic() - struck_sec < soon_sec)
    return ended._replace(has_struck=not was_ready)


def _is_fresh(command: Command, rng: Random) -> bool:
    return command.name != "download" and (command.main is None or rng.random() < SHARE_FRESH)


def ctrl_c_in_a_pipe(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """`command | tee log`: Ctrl-C reaches tee too, and the pipe breaks."""
    seen, (reading, writing) = place.folder / "seen", os.pipe()
    tee = start_fresh(["tee", str(seen)], place.folder / "tee says", stdin=reading)
    job = bench.start(command, place, *command.again, fresh=True, stdout=writing)
    os.close(reading)
    os.close(writing)
    wait_for_moment(bench, command, place, job, rng, fresh=True)
    tee.strike(signal.SIGINT, [tee.pid])
    ended = _strike(job, signal.SIGINT, [job.pid, *job.workers()])
    tee.end()
    output = seen.read_text(errors="replace") + ended.output
    for path in (seen, tee.log):
        path.unlink()
    return ended._replace(output=output)
