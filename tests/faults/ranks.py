"""Two ranks: one is killed, stopped, late, or finds its port taken."""

import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from random import Random

from bench import Bench, Command, Place
from process import Ended, Job, start_fork


def _start(bench: Bench, command: Command, place: Place, rank: int, ports: list[int]) -> Job:
    ends = [f"127.0.0.1:{port}" for port in ports]

    def before() -> None:
        os.environ |= {
            "PADDLE_TRAINER_ID": str(rank),
            "PADDLE_TRAINERS_NUM": "2",
            "PADDLE_LOCAL_SIZE": "2",
            "PADDLE_TRAINER_ENDPOINTS": ",".join(ends),
            "PADDLE_CURRENT_ENDPOINT": ends[rank],
            "PADDLE_DISTRI_BACKEND": "gloo",
        }

    log = place.folder / f"log {rank}"
    log.write_text("")
    return start_fork(command.main, command.words(bench, place), log, before)


def free_ports() -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def _end(place: Place, jobs: list[Job], victim: int | None) -> Ended:
    """How the ranks ended that nobody hurt: the one with the higher exit code."""
    ends = [job.end() for job in jobs]
    for rank in range(len(jobs)):
        (place.folder / f"log {rank}").unlink()
    return max((end for rank, end in enumerate(ends) if rank != victim), key=lambda end: (end.code is None, end.code))


def signalled(number: signal.Signals) -> Callable[..., Ended]:
    """A fault: a signal to one of two ranks at a random moment."""
    return partial(_signalled, number=number)


def _signalled(bench: Bench, command: Command, place: Place, rng: Random, number: signal.Signals) -> Ended:
    ports, victim = free_ports(), rng.randint(0, 1)
    jobs = [_start(bench, command, place, rank, ports) for rank in range(2)]
    jobs[0].wait(lambda: False, rng.uniform(0, 1.5 * bench.reference(command.name).seconds))
    has_struck = not jobs[victim].is_over()
    jobs[victim].strike(number, [jobs[victim].pid])
    if number != signal.SIGSTOP:
        return _end(place, jobs, victim if number == signal.SIGKILL else None)._replace(has_struck=has_struck)
    other = jobs[1 - victim].end()
    jobs[victim].strike(signal.SIGKILL, [jobs[victim].pid])
    _end(place, jobs, victim)
    return other._replace(has_struck=has_struck)


def late(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """A rank comes seconds after the other."""
    ports, first = free_ports(), rng.randint(0, 1)
    jobs = {first: _start(bench, command, place, first, ports)}
    jobs[first].wait(lambda: False, rng.uniform(1, 8))
    jobs[1 - first] = _start(bench, command, place, 1 - first, ports)
    return _end(place, [jobs[0], jobs[1]], None)


def taken_port(bench: Bench, command: Command, place: Place, rng: Random) -> Ended:
    """Another program listens where rank 0 wants to. Then the launcher ends rank 1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = [server.getsockname()[1], *free_ports()[:1]]
        jobs = [_start(bench, command, place, rank, ports) for rank in range(2)]
        jobs[0].wait(lambda: False)
        jobs[1].strike(signal.SIGTERM, [jobs[1].pid])
        return _end(place, jobs, victim=1)
