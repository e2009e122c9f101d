"""The life of the processes that read: signals, death, end. What is wrong here hangs: each case is a process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")

NUM_BATCHES = "12"  # of an epoch: more than the workers have read when one of them dies
SCRIPT = """
import common.startup, multiprocessing, os, paddle, signal, sys, threading, time
sys.path.insert(0, "tests")
from conftest import clip_reader
from datareader import loader
from datareader.records import read_list

if "pipes" in sys.argv[2]:
    loader._fits_shared_memory = lambda needed: False
settings = {"clip_format": "mp4", "seg_num": 3, "seglen": 1, "short_size": 256, "target_size": 224}
reader = clip_reader(read_list(sys.argv[1])[:] * 4, **settings)
batches = loader.Loader(reader, 4, num_workers=2)

def workers():
    return [worker.pid for worker in multiprocessing.active_children()]

def read(epoch, what=lambda: None, after=2):
    for number, batch in enumerate(batches.epoch(epoch)):
        if number == after:
            what()
    return number + 1

def kill():
    os.kill(workers()[0], signal.SIGKILL)
    multiprocessing.active_children()
    sum(range(10**6))  # the main thread is at work, and must not be interrupted
    print("step done", flush=True)

def kill_soon():
    loader.BatchReader.__getitem__ = lambda *arguments: time.sleep(99)
    threading.Timer(1, lambda: os.kill(workers()[0], signal.SIGKILL)).start()

"""


def run(small_set, how: str, code: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", SCRIPT + code, small_set / "train.list", how]
    root = Path(__file__).resolve().parent.parent
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100)


def in_shared_memory(pids: list[int]) -> list[Path]:
    return [path for pid in pids for path in Path("/dev/shm").glob(f"paddle_{pid}_*")]


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is not only waiting to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


DEATHS = {
    "in an epoch": "read(0, kill)",
    "between epochs": "read(0); kill(); read(1)",
    "while one waits for it": "kill_soon(); read(0)",
}


@pytest.mark.parametrize("how", ["shared memory", "pipes"])
@pytest.mark.parametrize("when", DEATHS)
def test_the_death_of_a_worker_is_the_next_batch_that_cannot_be_had(small_set, how, when):
    code = f"""
from datareader.workers import ReadingFailed
try:
    {DEATHS[when]}
except ReadingFailed as error:
    print(error)
"""
    done = run(small_set, how, code)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:-1] == ([] if "wait" in when else ["step done"]), "the step in which it dies is taken to its end"
    line = said[-1]
    assert line.startswith("a process that reads videos (pid ") and "was killed: in most cases the memory" in line
    assert "lower num_reader_threads" in line


def test_a_death_leaves_neither_processes_nor_shared_memory(small_set):
    done = run(small_set, "shared memory", "print(*workers()) if read(0, lambda: (print(*workers()), kill())) else 0")
    pids = [int(pid) for pid in done.stdout.splitlines()[0].split()]
    assert done.returncode == 1 and len(pids) == 2 and "ReadingFailed" in done.stderr
    assert not any(map(is_running, pids)) and not in_shared_memory(pids)


FAILURES = {
    "memory in reading": ("shared memory", "loader.ClipReader.read = use_up", "could not get the memory"),
    "memory in sending": ("shared memory", "send_unsendable()", "could not get the memory"),
    "an error in reading": ("pipes", "loader.ClipReader.read = None", "has failed by an error that nobody foresaw"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_worker_that_fails_is_the_next_batch_that_cannot_be_had(small_set, what):
    how, fail, words = FAILURES[what]
    code = f"""
from datareader.workers import ReadingFailed

def use_up(*arguments):
    return bytearray(1 << 62)

def send_unsendable():
    whole, unsendable = loader.BatchReader.__getitem__, type("Unsendable", (), {{"__reduce__": use_up}})
    loader.BatchReader.__getitem__ = lambda self, keys: [*whole(self, keys)[:-1], unsendable()]

{fail}
try:
    read(0)
except ReadingFailed as error:
    print(error)
"""
    done = run(small_set, how, code)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("a process that reads videos (pid ") and words in line
    assert ("lower num_reader_threads or batch_size" in line) == ("memory in" in what)
    assert ("TypeError" in done.stderr) == ("error" in what), "only what nobody foresaw needs a traceback"


ENDS = {
    "the end of the program": ("read(0, lambda: print(*workers(), flush=True))", 0),
    "an exception": ("read(0, lambda: 1 / print(*workers(), flush=True))", 1),
    "an exit": ("read(0, lambda: (print(*workers(), flush=True), sys.exit(3)))", 3),
    "SIGKILL": ("read(0, lambda: (print(*workers(), flush=True), time.sleep(0.5), os.kill(os.getpid(), 9)))", -9),
}


@pytest.mark.parametrize("how", ENDS)
def test_no_worker_and_no_shared_memory_outlives_the_main_process(small_set, how):
    code, exit_code = ENDS[how]
    done = run(small_set, "shared memory", code)
    pids = [int(pid) for pid in done.stdout.split()]
    assert done.returncode == exit_code and len(pids) == 2, done.stderr
    while any(map(is_running, pids)):  # they notice it, but not at once
        time.sleep(0.01)
    assert not in_shared_memory(pids)


def test_sigterm_does_not_end_a_worker(small_set):
    terminate = "[os.kill(pid, number) for pid in workers() for number in (signal.SIGTERM, signal.SIGINT)]"
    done = run(small_set, "shared memory", f"print(read(0, lambda: {terminate}, after=0), read(1))")
    assert (done.returncode, done.stdout.split()) == (0, [NUM_BATCHES] * 2), done.stderr


def test_sigterm_while_workers_start_does_not_end_them(small_set):
    # the child of a fork gets it before it can know what to do with it
    code = """
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
print(read(0), read(1))
"""
    done = run(small_set, "shared memory", code)
    assert (done.returncode, done.stdout.split()) == (0, [NUM_BATCHES] * 2), done.stderr


def test_signals_are_heard_while_a_worker_hangs_on_a_file(small_set):
    code = """
from distributed.signals import StopRequest

def hang(*arguments):
    time.sleep(9999)

def signals():
    while not workers():
        time.sleep(0.1)
    time.sleep(1)  # until the main thread waits
    os.kill(os.getpid(), signal.SIGTERM)
    while not stop.signal_number:
        time.sleep(0.01)
    print("workers", *workers(), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

loader.ClipReader.read = hang
with StopRequest() as stop:
    threading.Thread(target=signals, daemon=True).start()
    read(0)
"""
    done = run(small_set, "shared memory", code)
    assert done.returncode == 143, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("workers ")]
    pids = [int(pid) for pid in line.split()[1:]]
    assert len(pids) == 2 and "stopping: this step ends" in done.stdout
    while any(map(is_running, pids)):
        time.sleep(0.01)


START = """
import datareader.workers as workers_module
from common import command_line

def fail(*arguments):
    raise RuntimeError("can't start new thread")

def fail_in_paddle(*arguments):
    raise RuntimeError("Resource temporarily unavailable")  # a std::system_error

def once(start, started=[]):
    def start_one(process):
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(start(process))
    return start_one

real_start = threading.Thread.start
def fail_at(number, started=[]):
    def start(thread):
        started.append(thread)
        return fail() if len(started) == number and os.getpid() == main_pid else real_start(thread)
    return start
main_pid = os.getpid()
"""
SHORTAGES = {
    "no thread of Paddle's": "threading.Thread.start = fail_at(1)",
    "no thread of Paddle's core": "paddle.base.core.create_py_reader = fail_in_paddle",
    "no thread to watch the workers": "threading.Thread.start = fail_at(2)",
    "no second process": "multiprocessing.Process.start = once(multiprocessing.Process.start)",
    "no thread of a worker's": "stand_apart, workers_module._stand_apart = workers_module._stand_apart, fail",
}


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_workers_that_cannot_start_end_the_run_with_one_line(small_set, shortage):
    done = run(small_set, "shared memory", f"{START}{SHORTAGES[shortage]}\ncommand_line.run(lambda: read(0))")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    line = done.stderr
    assert line.startswith("error: ") and "memory" in line and "num_reader_threads" in line


def test_workers_end_without_a_thread_to_tell_them(small_set):
    # as when the next loader's cannot start: those that wait for their first batch have no thread that sends it
    code = """
batches.start_workers()
print(*workers(), flush=True)
threading.Thread.start = fail
batches._workers.end()
print(*workers())
"""
    done = run(small_set, "shared memory", START + code)
    assert (done.returncode, done.stderr) == (0, "")
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) == 2 and not any(map(is_running, pids)) and not in_shared_memory(pids)
