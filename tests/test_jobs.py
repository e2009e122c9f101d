"""The runner of jobs over many files: it outlives what a job does to its process."""

import contextlib
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import signal
import time
from _multiprocessing import SemLock
from concurrent.futures.process import BrokenProcessPool

import pytest
from pebble import ProcessFuture

from dataset.jobs import Failure, _KeepsLocks, _start, run_jobs


def work(job: str) -> str:
    if job == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "hangs":
        time.sleep(1000)
    if job == "raises":
        raise OSError(28, "No space left on device", job)
    return job.upper()


def test_a_job_that_hangs_or_dies_is_a_failure_and_costs_no_other():
    jobs = ["a", "hangs", "b", "dies", *"cdefghijklmn"]
    results = dict(run_jobs(work, jobs, 2, "job", timeout_sec=1.0))
    assert set(results) == set(jobs)
    assert results.pop("hangs") == Failure("takes longer than 1 s")
    assert results.pop("dies") == Failure("the process that read it died (exit code -9)")
    assert all(result == job.upper() for job, result in results.items())


def test_what_a_job_raises_ends_everything():
    with pytest.raises(OSError, match="No space left on device") as caught:
        list(run_jobs(work, ["a", "raises", *["b"] * 20], 2, "job"))
    assert caught.value.errno == 28 and caught.value.filename == "raises"


def test_no_jobs():
    assert list(run_jobs(work, [], 2, "job")) == []


@pytest.mark.parametrize("moment", ["while jobs are given out", "while the first result is waited for"])
def test_a_process_that_is_killed_before_it_has_a_job_ends_everything_with_a_line(moment, monkeypatch):
    def start_and_kill(pool):
        _start(pool)
        for worker in multiprocessing.active_children():
            worker.kill()
        while pool.active:  # until it has noticed
            time.sleep(0.01)

    lost = ProcessFuture()
    lost.set_exception(BrokenProcessPool("All workers expired"))  # as pebble says it
    if "given out" in moment:
        monkeypatch.setattr("dataset.jobs._start", start_and_kill)
    else:
        monkeypatch.setattr("dataset.jobs.ProcessPool.schedule", lambda *args, **kwargs: lost)
    with pytest.raises(ValueError, match="a working process was killed as it started.*fewer --workers need less"):
        list(run_jobs(work, ["a"], 1, "job"))


def test_ctrl_c_while_the_processes_start_waits_until_each_has_what_it_needs(capfd, monkeypatch):
    start, started = multiprocessing.util.spawnv_passfds, []

    def start_and_interrupt(path, arguments, handles):
        started.append(start(path, arguments, handles))
        os.kill(os.getpid(), signal.SIGINT)  # before it is sent what it has to do
        return started[-1]

    multiprocessing.resource_tracker.ensure_running()
    monkeypatch.setattr("multiprocessing.util.spawnv_passfds", start_and_interrupt)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_jobs(work, ["a"] * 9, 2, "job"))
    finally:
        signal.signal(signal.SIGINT, handler)
    for pid in started:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    assert started and capfd.readouterr().err == "", "one that hears nothing shows a traceback"


def test_the_locks_stay_for_a_process_that_is_still_starting_when_pebble_lets_go_of_them():
    context = _KeepsLocks()
    name = context.RLock()._semlock.name  # nobody holds the lock any more
    assert SemLock._rebuild(-1, 0, 1, name).name == name, "what the process that starts does"
