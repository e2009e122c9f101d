"""Processes that are started to be hurt: how they begin, who belongs to them, how they ended."""

import atexit
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from common import command_line

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SEC = 300.0  # a run that takes longer hangs; the undisturbed ones take 15 s at most
LINGER_SEC = 15.0  # workers may outlive a killed parent by that much


class Ended(NamedTuple):
    """How a run ended."""

    code: int | None
    """The exit code, negative for a signal; None: it did not end."""
    output: str
    """What the user saw, stdout and stderr."""
    left_behind: list[str]
    """Processes that still live."""
    has_struck: bool = True
    """Whether the fault met the run, and did not come too late."""


class Job:
    """A run in a session of its own, so that all its processes can be found."""

    def __init__(self, pid: int, log: Path):
        self.pid = pid
        self.log = log
        self.started_sec = time.monotonic()
        self.code: int | None = None
        self._is_over = False

    def is_over(self) -> bool:
        if not self._is_over:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._is_over, self.code = True, os.waitstatus_to_exitcode(status)
        return self._is_over

    def wait(self, until: Callable[[], bool], seconds: float = LONGEST_SEC) -> bool:
        """Wait until something has happened; False if the run ended or the time was over before."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.is_over():
            if until():
                return True
            time.sleep(0.002)
        return False

    def processes(self) -> dict[int, str]:
        """{pid: command} of all living processes of the session."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                name, _, rest = (folder / "stat").read_text().rpartition(")")
                if int(rest.split()[3]) == self.pid and rest.split()[0] != "Z":
                    found[int(folder.name)] = name.partition("(")[2]
            except (OSError, IndexError):
                continue  # it has just ended
        return found

    def workers(self) -> list[int]:
        """The other processes of the run, without the one by which Python keeps its semaphores."""
        others = [pid for pid in self.processes() if pid != self.pid]
        return [pid for pid in others if b"resource_tracker import" not in _command_line(pid)]

    def strike(self, number: signal.Signals, pids: list[int]) -> None:
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass  # faster than the fault

    def end(self, seconds: float = LONGEST_SEC) -> Ended:
        """Wait for the end; what does not end is killed, and told."""
        self.wait(lambda: False, seconds)
        deadline = time.monotonic() + LINGER_SEC
        while self._is_over and self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        left = self.processes()
        self.strike(signal.SIGKILL, list(left))
        if not self._is_over:
            os.waitpid(self.pid, 0)
        self._is_over = True
        return Ended(self.code, self.log.read_text(errors="replace"), [f"{pid} {left[pid]}" for pid in left])


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # it has just ended


def start_fresh(command: list[str], log: Path, before: Callable[[], None] | None = None, **settings) -> Job:
    """A new process, as a user starts it; `before` runs in it first."""
    environment = os.environ | settings.pop("env", {})
    with log.open("ab") as file:
        settings = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, "cwd": ROOT} | settings
        process = subprocess.Popen(
            command, start_new_session=True, preexec_fn=lambda: _prepare(before), env=environment, **settings
        )
    process.returncode = 0  # the Job waits for it
    return Job(process.pid, log)


def start_fork(main: Callable[[], object], argv: list[str], log: Path, before: Callable[[], None] | None = None) -> Job:
    """A copy of this process, which has imported Paddle and not used it yet: it saves the seconds of a start."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return Job(pid, log)
    code = 1
    try:
        os.setsid()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        for target, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, descriptor), (2, descriptor)):
            os.dup2(source, target)
        os.closerange(3, 1024)
        sys.argv = argv
        _prepare(before)
        import common.beginning  # noqa: F401  as the command does

        command_line.run(main)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            atexit._run_exitfuncs()
        finally:
            os._exit(code)


def _prepare(before: Callable[[], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells switch it off for what runs in the background
    if before:
        before()
